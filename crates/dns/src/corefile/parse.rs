//! Words to server blocks: keys, directives, snippets and imports.
//!
//! # Sources
//! caddyfile/parse.go of coredns/caddy.
//!
//! # Departures
//! Releases before 1.13 run out of memory where snippets import each other; here every release stops
//! as 1.13 does. Beyond that, imports may bring no more than a million words, and a variable
//! that names itself is replaced a hundred times.

mod import;

use std::sync::Arc;

use indexmap::IndexMap;

use super::dispenser::unexpected;
use super::lexer::{Token, tokens};
use super::refusal::{Place, Refusal, RefusalKind};
use super::surroundings::Surroundings;

use self::import::too_many;

/// A server block before its plugins have read what they are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// The keys, as written.
    pub(super) keys: Vec<Token>,
    /// The words of each directive, of all its uses one after the other.
    pub(super) directives: IndexMap<Arc<str>, Vec<Token>>,
}

/// Parses a text.
pub(super) fn blocks(
    file: &str,
    text: &str,
    known: &dyn Fn(&str) -> bool,
    around: &dyn Surroundings,
) -> Result<Vec<Block>, Refusal> {
    let file: Arc<str> = file.into();
    let mut rest = tokens(&file, text);
    rest.reverse();
    let mut parser = Parser {
        file,
        done: Vec::new(),
        current: None,
        rest,
        known,
        around,
        block: Block::default(),
        eof: false,
        snippets: IndexMap::new(),
        snippets_imported: 0,
        files_imported: 0,
        words_imported: 0,
    };
    let mut blocks = Vec::new();
    while parser.next() {
        parser.block = Block::default();
        parser.one()?;
        let block = std::mem::take(&mut parser.block);
        if !block.keys.is_empty() {
            blocks.push(block);
        }
    }
    Ok(blocks)
}

struct Parser<'p> {
    file: Arc<str>,
    /// Words before the current one.
    done: Vec<Token>,
    current: Option<Token>,
    /// Words after it, the next one last: an import puts its words there.
    rest: Vec<Token>,
    known: &'p dyn Fn(&str) -> bool,
    around: &'p dyn Surroundings,
    block: Block,
    /// Whether the text ended with the keys of a block.
    eof: bool,
    snippets: IndexMap<String, Vec<Token>>,
    snippets_imported: usize,
    files_imported: usize,
    words_imported: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> bool {
        let Some(next) = self.rest.pop() else {
            return false;
        };
        self.done.extend(self.current.replace(next));
        true
    }

    fn back(&mut self) {
        self.rest.extend(self.current.take());
        self.current = self.done.pop();
    }

    fn next_arg(&mut self) -> bool {
        match (&self.current, self.rest.last()) {
            (None, _) => self.next(),
            (Some(current), Some(next)) if current.same_line(next) => self.next(),
            _ => false,
        }
    }

    fn val(&self) -> &str {
        self.current.as_ref().map_or("", |token| &token.text)
    }

    /// Whether the current word begins a line.
    fn new_line(&self) -> bool {
        match (self.done.last(), &self.current) {
            (None, _) => true,
            (_, None) => false,
            (Some(before), Some(current)) => before.new_line(current),
        }
    }

    fn place(&self) -> Place {
        let last = self.current.as_ref().or(self.done.last());
        last.map_or_else(
            || Place {
                file: Arc::clone(&self.file),
                line: 1,
                column: 1,
            },
            Token::place,
        )
    }

    fn err(&self, message: impl Into<String>) -> Refusal {
        Refusal {
            plugin: None,
            kind: RefusalKind::Parsing,
            message: message.into(),
            place: Some(self.place()),
        }
    }

    fn syntax_err(&self, expected: &str) -> Refusal {
        Refusal {
            kind: RefusalKind::Syntax,
            ..self.err(unexpected(self.val(), expected))
        }
    }

    /// A server block or a snippet; the current word is its first.
    fn one(&mut self) -> Result<(), Refusal> {
        self.addresses()?;
        if self.eof {
            return Ok(());
        }
        if let [key] = &*self.block.keys
            && let Some(name) = key.text.strip_prefix('(')
            && let Some(name) = name.strip_suffix(')')
        {
            let name = name.to_owned();
            return self.snippet(name);
        }
        let braces = self.val() == "{";
        if !braces {
            self.back();
        }
        self.directives()?;
        if braces && self.val() != "}" {
            return Err(self.syntax_err("}"));
        }
        Ok(())
    }

    fn addresses(&mut self) -> Result<(), Refusal> {
        loop {
            let key = self.replace_env(self.val());
            if key == "import" && self.new_line() {
                self.import()?;
                continue;
            }
            let mut more = false;
            if key == "{" {
                return Ok(());
            }
            if !key.is_empty() {
                let bare = key.strip_suffix(',');
                more = bare.is_some();
                if let Some(token) = &self.current {
                    self.block.keys.push(Token {
                        text: bare.unwrap_or(&key).into(),
                        ..token.clone()
                    });
                }
            }
            let any = self.next();
            if more && !any {
                return Err(self.err("Unexpected EOF"));
            }
            if !any {
                self.eof = true;
                return Ok(());
            }
            if more && self.val() == "{" {
                let message = "Expected another address but had '{' - check for extra comma";
                return Err(self.err(message));
            }
            if !more && self.new_line() {
                return Ok(());
            }
        }
    }

    fn snippet(&mut self, name: String) -> Result<(), Refusal> {
        if self.snippets.contains_key(&name) {
            let message = format!("redeclaration of previously declared snippet {name}");
            return Err(self.err(message));
        }
        if self.val() != "{" {
            return Err(self.syntax_err("{"));
        }
        let mut depth = 1;
        let mut body: Vec<Token> = Vec::new();
        while self.next() {
            match self.val() {
                "}" => depth -= 1,
                "{" => depth += 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            body.extend(self.current.clone());
        }
        if depth != 0 {
            return Err(self.syntax_err("}"));
        }
        for (i, pair) in body.windows(2).enumerate() {
            let begins =
                i == 0 || body[i - 1].file != pair[0].file || body[i - 1].line != pair[0].line;
            if &*pair[0].text == "import" && begins && self.replace_env(&pair[1].text) == name {
                return Err(self.err(too_many("snippet")));
            }
        }
        self.snippets.insert(name, body);
        // No server: its keys are forgotten.
        self.block.keys.clear();
        Ok(())
    }

    fn directives(&mut self) -> Result<(), Refusal> {
        while self.next() {
            match self.val() {
                "}" => break,
                "import" => {
                    self.import()?;
                    self.back();
                }
                _ => self.directive()?,
            }
        }
        Ok(())
    }

    fn directive(&mut self) -> Result<(), Refusal> {
        let name = self.replace_env(self.val());
        if !(self.known)(&name) {
            return Err(self.err(format!("Unknown directive '{name}'")));
        }
        let mut words: Vec<Token> = self.current.iter().cloned().collect();
        let mut nesting = 0u32;
        while self.next() {
            match self.val() {
                "{" => nesting += 1,
                _ if nesting == 0 && self.new_line() => {
                    self.back();
                    break;
                }
                "}" if nesting > 0 => nesting -= 1,
                "}" => {
                    return Err(self.err("Unexpected '}' because no matching opening brace"));
                }
                "import" if self.new_line() => {
                    self.import()?;
                    self.back();
                    continue;
                }
                _ => {}
            }
            let text = self.replace_env(self.val());
            if let Some(current) = &mut self.current {
                if *current.text != *text {
                    current.text = text.into();
                }
                words.push(current.clone());
            }
        }
        if nesting > 0 {
            return Err(self.err("Unexpected EOF"));
        }
        self.block
            .directives
            .entry(name.into())
            .or_default()
            .extend(words);
        Ok(())
    }
}
