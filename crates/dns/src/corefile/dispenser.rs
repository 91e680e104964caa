//! Words of a directive, one after the other, as a plugin's set-up reads them.
//!
//! # Sources
//! caddyfile/dispenser.go of coredns/caddy.

use std::sync::Arc;

use super::lexer::Token;
use super::refusal::{Place, Refusal, RefusalKind};

/// A cursor over the words of a directive.
#[derive(Clone, Debug)]
pub(crate) struct Dispenser {
    tokens: Vec<Token>,
    /// How many words were read; the last of them is the current one.
    read: usize,
    nesting: u32,
}

impl Dispenser {
    pub(crate) fn new(tokens: Vec<Token>) -> Self {
        Self {
            tokens,
            read: 0,
            nesting: 0,
        }
    }

    fn current(&self) -> Option<&Token> {
        self.tokens.get(self.read.checked_sub(1)?)
    }

    /// Goes to the next word, if there is one.
    pub(crate) fn next(&mut self) -> bool {
        let more = self.read < self.tokens.len();
        self.read += usize::from(more);
        more
    }

    /// Goes to the next word if it stands on the same line.
    pub(crate) fn next_arg(&mut self) -> bool {
        let Some(current) = self.current() else {
            return self.next();
        };
        match self.tokens.get(self.read) {
            Some(next) if current.same_line(next) => self.next(),
            _ => false,
        }
    }

    /// Goes to the next word of the block that opens on this line; `false` at its end.
    ///
    /// As in Caddy, a block that lacks its end ends with the text: the parser has counted braces.
    pub(crate) fn next_block(&mut self) -> bool {
        if self.nesting > 0 {
            let more = self.next();
            if self.val() == "}" || !more {
                self.nesting -= 1;
                return false;
            }
            return true;
        }
        if !self.next_arg() {
            return false;
        }
        if self.val() != "{" {
            self.read -= 1;
            return false;
        }
        let more = self.next();
        if self.val() == "}" || !more {
            return false;
        }
        self.nesting += 1;
        true
    }

    /// The current word; empty before the first.
    pub(crate) fn val(&self) -> &str {
        self.current().map_or("", |token| &token.text)
    }

    /// The current word, shared.
    pub(crate) fn word(&self) -> Arc<str> {
        self.current()
            .map_or_else(|| "".into(), |token| Arc::clone(&token.text))
    }

    /// The rest of the line, up to a brace that opens.
    pub(crate) fn remaining_args(&mut self) -> Vec<Arc<str>> {
        let mut args = Vec::new();
        while self.next_arg() {
            if self.val() == "{" {
                self.read -= 1;
                break;
            }
            args.push(self.word());
        }
        args
    }

    /// Where the first word stands.
    pub(crate) fn first_place(&self) -> Option<Place> {
        self.tokens.first().map(Token::place)
    }

    /// Where the current word stands.
    pub(crate) fn place(&self) -> Option<Place> {
        self.current().map(Token::place)
    }

    /// A refusal that names file and line.
    pub(crate) fn err(&self, message: impl Into<String>) -> Refusal {
        Refusal {
            kind: RefusalKind::Parsing,
            ..self.plain(message)
        }
    }

    /// A refusal that does not.
    pub(crate) fn plain(&self, message: impl Into<String>) -> Refusal {
        Refusal::plain(message, self.place())
    }

    /// There are too many words, or too few.
    pub(crate) fn arg_err(&self) -> Refusal {
        self.err(wrong_count(self.val()))
    }

    /// Another word was expected.
    pub(crate) fn syntax_err(&self, expected: &str) -> Refusal {
        Refusal {
            kind: RefusalKind::Syntax,
            ..self.plain(unexpected(self.val(), expected))
        }
    }
}

/// What Caddy says where there are too many words, or too few.
pub(super) fn wrong_count(val: &str) -> String {
    if val == "{" {
        return "Unexpected token '{', expecting argument".to_owned();
    }
    format!("Wrong argument count or unexpected line ending after '{val}'")
}

/// What Caddy says where another word was expected.
pub(super) fn unexpected(val: &str, expected: &str) -> String {
    format!("Unexpected token '{val}', expecting '{expected}'")
}
