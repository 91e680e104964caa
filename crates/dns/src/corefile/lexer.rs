//! A Corefile's words.
//!
//! A word ends at white space; one that begins with `"` ends at the next, and `\"` in it is a quote.
//! `#` where it is not within quotes begins a comment, in the middle of a word too. A line ends only
//! where a line ends: there are no continuations but a quoted word over several lines.
//!
//! # Sources
//! caddyfile/lexer.go of coredns/caddy.

use std::sync::Arc;

use super::refusal::Place;

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The file.
    pub(crate) file: Arc<str>,
    /// The line that it begins on.
    pub(crate) line: u32,
    /// The column of its first character.
    pub(crate) column: u32,
    /// The word without its quotes.
    pub(crate) text: Arc<str>,
}

impl Token {
    pub(crate) fn place(&self) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line: self.line,
            column: self.column,
        }
    }

    /// The line that it ends on.
    pub(crate) fn last_line(&self) -> u32 {
        let breaks = self.text.bytes().filter(|&b| b == b'\n').count();
        self.line
            .saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX))
    }

    /// Whether the next token stands on the line that this one ends on.
    pub(crate) fn same_line(&self, next: &Self) -> bool {
        self.file == next.file && self.last_line() == next.line
    }

    /// Whether the next token begins a line, counted as Caddy does.
    pub(crate) fn new_line(&self, next: &Self) -> bool {
        self.file != next.file || self.last_line() < next.line
    }
}

/// The words of a text.
pub(crate) fn tokens(file: &Arc<str>, text: &str) -> Vec<Token> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut tokens = Vec::new();
    let (mut line, mut column) = (1u32, 0u32);
    let mut word = String::new();
    let mut begin = (1, 1);
    let (mut comment, mut quoted, mut escaped) = (false, false, false);
    let mut finish = |word: &mut String, (line, column): (u32, u32)| {
        tokens.push(Token {
            file: Arc::clone(file),
            line,
            column,
            text: word.as_str().into(),
        });
        word.clear();
    };
    for ch in text.chars() {
        column = column.saturating_add(1);
        if quoted {
            match ch {
                '\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                '"' if !escaped => {
                    quoted = false;
                    finish(&mut word, begin);
                    continue;
                }
                '\n' => (line, column) = (line.saturating_add(1), 0),
                _ => {}
            }
            if escaped && ch != '"' {
                word.push('\\');
            }
            escaped = false;
            word.push(ch);
            continue;
        }
        if ch == '\r' {
            continue;
        }
        if ch.is_whitespace() {
            if !word.is_empty() {
                finish(&mut word, begin);
            }
            if ch == '\n' {
                (line, column, comment) = (line.saturating_add(1), 0, false);
            }
            continue;
        }
        comment |= ch == '#';
        if comment {
            continue;
        }
        if word.is_empty() {
            begin = (line, column);
            if ch == '"' {
                quoted = true;
                continue;
            }
        }
        word.push(ch);
    }
    if !word.is_empty() {
        finish(&mut word, begin);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(u32, u32, String)> {
        let tokens = tokens(&"Corefile".into(), text);
        let told = tokens.iter();
        told.map(|t| (t.line, t.column, t.text.to_string()))
            .collect()
    }

    #[test]
    fn words_know_their_line_and_column() {
        let found = words("a b # no\n  \"c \\\" \\d\n\" e#f\r\n{");
        let expected = [
            (1, 1, "a"),
            (1, 3, "b"),
            (2, 3, "c \" \\d\n"),
            (3, 3, "e"),
            (4, 1, "{"),
        ];
        let expected = expected.map(|(line, column, text)| (line, column, text.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_quote_inside_a_word_is_a_part_of_it() {
        assert_eq!(
            words("a\"b c"),
            [(1, 1, "a\"b".to_owned()), (1, 5, "c".to_owned())]
        );
    }
}
