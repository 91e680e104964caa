//! A Corefile as lines within lines, whatever they mean, and printed again.
//!
//! # Departures
//! Comments are not kept, as corefile-migration does not keep them.

use std::fmt;
use std::sync::Arc;

use crate::corefile::lexer::{Token, tokens};

/// The lines of a Corefile.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outline {
    /// Server blocks and snippets.
    pub(super) lines: Vec<Line>,
}

/// Words of a line, and the lines between its braces.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Line {
    pub(super) words: Vec<Token>,
    pub(super) block: Option<Vec<Self>>,
}

/// Blocks within blocks; deeper ones are read as lines of the last level.
const DEEPEST: usize = 8;

impl Line {
    /// A line that is not in the text.
    pub(super) fn new(words: &[&str], block: Option<Vec<Self>>) -> Self {
        let file: Arc<str> = "".into();
        let word = |text: &&str| Token {
            file: Arc::clone(&file),
            line: 1,
            column: 1,
            text: (*text).into(),
        };
        Self {
            words: words.iter().map(word).collect(),
            block,
        }
    }

    /// The first word.
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", |word| &word.text)
    }

    /// The word at a place; `""` if there is none.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| &word.text)
    }

    /// Makes another word of one.
    pub(super) fn set_word(&mut self, at: usize, text: &str) {
        if let Some(word) = self.words.get_mut(at) {
            word.text = text.into();
        }
    }

    /// The lines between its braces.
    pub(super) fn block(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }
}

impl Outline {
    pub(super) fn read(file: &str, text: &str) -> Self {
        let tokens = tokens(&file.into(), text);
        // Lines of the levels that are open, the outermost first.
        let mut open: Vec<Vec<Line>> = vec![Vec::new()];
        let mut line = Line::default();
        let mut before: Option<&Token> = None;
        for token in &tokens {
            if before.is_some_and(|before| before.new_line(token)) {
                end_line(&mut open, &mut line);
            }
            match &*token.text {
                "{" if open.len() < DEEPEST => {
                    line.block = Some(Vec::new());
                    if let Some(level) = open.last_mut() {
                        level.push(std::mem::take(&mut line));
                    }
                    open.push(Vec::new());
                }
                "}" => {
                    end_line(&mut open, &mut line);
                    end_block(&mut open);
                }
                _ => line.words.push(token.clone()),
            }
            before = Some(token);
        }
        end_line(&mut open, &mut line);
        while open.len() > 1 {
            end_block(&mut open);
        }
        Self {
            lines: open.pop().unwrap_or_default(),
        }
    }
}

fn end_line(open: &mut [Vec<Line>], line: &mut Line) {
    if !line.words.is_empty()
        && let Some(level) = open.last_mut()
    {
        level.push(std::mem::take(line));
    }
}

fn end_block(open: &mut Vec<Vec<Line>>) {
    if open.len() < 2 {
        return;
    }
    let lines = open.pop();
    if let Some(owner) = open.last_mut().and_then(|level| level.last_mut()) {
        owner.block = lines;
    }
}

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.lines.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write_line(f, line, 0)?;
        }
        Ok(())
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, line: &Line, depth: usize) -> fmt::Result {
    let indent = depth * 4;
    write!(f, "{:indent$}", "")?;
    for (at, word) in line.words.iter().enumerate() {
        if at > 0 {
            f.write_str(" ")?;
        }
        write_word(f, &word.text)?;
    }
    let Some(block) = &line.block else {
        return writeln!(f);
    };
    writeln!(f, " {{")?;
    for line in block {
        write_line(f, line, depth + 1)?;
    }
    writeln!(f, "{:indent$}}}", "")
}

/// A word so that it is read as it was.
fn write_word(f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
    let special = |c: char| c.is_whitespace() || c == '#';
    if word.is_empty() || word.starts_with('"') || word.contains(special) {
        return write!(f, "\"{}\"", word.replace('"', "\\\""));
    }
    f.write_str(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_prints_what_it_read() {
        let text = ".:53 {\n    errors\n    template IN A {\n        answer \"{{ .Name }} 60 IN A 1.1.1.1\"\n    }\n}\n\n(a) {\n    log\n}\n";
        assert_eq!(Outline::read("Corefile", text).to_string(), text);
    }

    #[test]
    fn braces_that_do_not_match_are_no_trouble() {
        for text in ["}", "{ {", "a { b", "} } a {", &"{".repeat(100)] {
            let _ = Outline::read("Corefile", text).to_string();
        }
    }
}
