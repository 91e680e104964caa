//! What is put in the place of words: imported snippets and files, values of variables.
//!
//! # Sources
//! `doImport`, `doSingleImport` and `replaceEnvVars`, caddyfile/parse.go of coredns/caddy.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::dispenser::wrong_count;
use super::super::lexer::{Token, tokens};
use super::super::refusal::Refusal;
use super::Parser;

/// Snippets or files that one Corefile may import.
const EXPANSIONS: usize = 1000;
/// Words that all imports together may bring.
const IMPORTED: usize = 1 << 20;

impl Parser<'_> {
    /// Puts what is imported in the place of `import NAME`. The current word is then the first of it.
    pub(super) fn import(&mut self) -> Result<(), Refusal> {
        if !self.next_arg() {
            return Err(self.err(wrong_count(self.val())));
        }
        let pattern = self.replace_env(self.val());
        if pattern.is_empty() {
            return Err(self.err("Import requires a non-empty filepath"));
        }
        if self.next_arg() {
            return Err(self.err("Import takes only one argument (glob pattern or file)"));
        }
        let imported = match self.snippets.get(&pattern) {
            Some(body) => {
                if self.snippets_imported >= EXPANSIONS {
                    return Err(self.err(too_many("snippet")));
                }
                self.snippets_imported += 1;
                body.clone()
            }
            None => {
                if self.files_imported >= EXPANSIONS {
                    return Err(self.err(too_many("file")));
                }
                self.files_imported += 1;
                self.files(&pattern)?
            }
        };
        self.words_imported += imported.len();
        if self.words_imported > IMPORTED {
            return Err(self.err(format!("imports bring more than {IMPORTED} words")));
        }
        self.current = None;
        self.done.pop();
        self.rest.extend(imported.into_iter().rev());
        self.current = self.rest.pop();
        Ok(())
    }

    /// The words of the files that a pattern names.
    fn files(&self, pattern: &str) -> Result<Vec<Token>, Refusal> {
        let place = self.place();
        let folder = Path::new(&*place.file).parent().unwrap_or(Path::new(""));
        let path = folder.join(pattern);
        let shown = path.to_string_lossy();
        let count = |c| shown.matches(c).count();
        if count('*') > 1 || count('?') > 1 || (shown.contains('[') && shown.contains(']')) {
            return Err(self.err(format!(
                "Glob pattern may only contain one wildcard (*), but has others: {shown}"
            )));
        }
        let mut words = Vec::new();
        if shown.contains(['*', '?', '[', ']']) {
            for file in self.glob(&path) {
                words.extend(self.file(&file)?);
            }
            return Ok(words);
        }
        match self.around.read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(self.err(format!("File to import not found: {pattern}")))
            }
            _ => self.file(&path),
        }
    }

    fn file(&self, path: &Path) -> Result<Vec<Token>, Refusal> {
        let name = path.to_string_lossy();
        let text = self.around.read(path).map_err(|error| {
            let why = if error.kind() == ErrorKind::IsADirectory {
                "is a directory".to_owned()
            } else {
                error.to_string()
            };
            self.err(format!("Could not import {name}: {why}"))
        })?;
        Ok(tokens(&name.into(), &text))
    }

    /// The files that a path with at most one `*` and one `?` names, by name.
    fn glob(&self, path: &Path) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::new()];
        for part in path {
            let name = part.to_string_lossy();
            if !name.contains(['*', '?']) {
                found.iter_mut().for_each(|path| path.push(part));
                continue;
            }
            found = found
                .iter()
                .flat_map(|folder| {
                    let here = if folder.as_os_str().is_empty() {
                        Path::new(".")
                    } else {
                        folder
                    };
                    let names = self.around.list(here).unwrap_or_default();
                    let fits = names
                        .into_iter()
                        .filter(|n| fits(name.as_bytes(), n.as_bytes()));
                    fits.map(|name| folder.join(name)).collect::<Vec<_>>()
                })
                .collect();
        }
        found
    }

    /// Replaces `{%NAME%}` and `{$NAME}` by the environment's values.
    pub(super) fn replace_env(&self, word: &str) -> String {
        let mut word = word.to_owned();
        for (open, close) in [("{%", "%}"), ("{$", "}")] {
            for _ in 0..100 {
                let Some(at) = word.find(open) else { break };
                let Some(length) = word[at..].find(close) else {
                    break;
                };
                if length <= open.len() || word.len() > 1 << 16 {
                    break;
                }
                let reference = word[at..at + length + close.len()].to_owned();
                let value = self.around.env(&reference[open.len()..length]);
                word = word.replace(&reference, &value.unwrap_or_default());
            }
        }
        word
    }
}

/// What Caddy says of imports without end.
pub(super) fn too_many(what: &str) -> String {
    format!("maximum {what} import depth ({EXPANSIONS}) exceeded")
}

/// Whether a name fits a pattern of letters, `?` and at most one `*`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| fits(rest, &name[skip..])),
        ([b'?', pattern @ ..], [_, name @ ..]) => fits(pattern, name),
        ([p, pattern @ ..], [n, name @ ..]) => p == n && fits(pattern, name),
        _ => false,
    }
}
