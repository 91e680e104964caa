//! Regular expressions of `rewrite` and `template`.
//!
//! # Departures
//! Go's `\Q…\E` and `\C` are refused, and `\d`, `\w` and `\s` know other scripts, of which names have none: their
//! odd bytes are escaped.

use regex::Regex;

/// A regular expression, with the text that it was made of.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// If the text is none.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        Regex::new(text).map(Self)
    }

    /// The expression, to match with.
    pub fn regex(&self) -> &Regex {
        &self.0
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}
