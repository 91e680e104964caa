//! Options of a rule and their values.

use std::ops::Range;

use miette::SourceSpan;
use podwire_packet::Family;

use super::ParseError;
use super::lex::{Word, find};

/// A value and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arg<'w> {
    pub(super) text: &'w str,
    pub(super) at: SourceSpan,
}

impl<'w> Arg<'w> {
    /// A part of it. Exact in place where no quote or backslash stands in the value.
    pub(super) fn slice(self, part: Range<usize>) -> Self {
        let at = if self.at.len() == self.text.len() {
            (self.at.offset() + part.start, part.len()).into()
        } else {
            self.at
        };
        Self {
            text: &self.text[part],
            at,
        }
    }

    /// Where a byte stands first.
    pub(super) fn find(self, byte: u8) -> Option<usize> {
        let at = find(self.text.as_bytes(), 0, byte);
        (at < self.text.len()).then_some(at)
    }

    /// The parts between commas.
    pub(super) fn list(self) -> impl Iterator<Item = Self> {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let from = next?;
            let end = find(self.text.as_bytes(), from, b',');
            next = (end < self.text.len()).then_some(end + 1);
            Some(self.slice(from..end))
        })
    }
}

/// One option: its name as written, and whether `!` stands before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opt<'w> {
    /// With its dashes, without a value that `=` joins to it.
    pub(super) written: &'w str,
    pub(super) at: SourceSpan,
    pub(super) inverted: bool,
    /// What stands behind `=`.
    joined: Option<Arg<'w>>,
}

impl<'w> Opt<'w> {
    /// The option that a word is, if it is one. Every word of a rule comes here: moved out of a call
    /// the option would be written in parts and read as a whole, for which the processor waits.
    #[inline(always)]
    pub(super) fn of(word: &'w Word<'_>, inverted: bool) -> Option<Self> {
        let text: &str = &word.text;
        let end = match text.as_bytes() {
            bytes @ [b'-', b'-', _, ..] => find(bytes, 2, b'='),
            [b'-', letter, ..] if letter.is_ascii_alphanumeric() => 2,
            _ => return None,
        };
        if end < text.len() {
            return Some(Self::joined(word, end, inverted));
        }
        Some(Self {
            written: text,
            at: word.span(),
            inverted,
            joined: None,
        })
    }

    /// An option whose name ends at byte `end` of the word, where its value begins.
    fn joined(word: &'w Word<'_>, end: usize, inverted: bool) -> Self {
        let whole = Arg {
            text: &word.text,
            at: word.span(),
        };
        let written = whole.slice(0..end);
        let equals = usize::from(whole.text.as_bytes()[end] == b'=');
        Self {
            written: written.text,
            at: written.at,
            inverted,
            joined: Some(whole.slice(end + equals..whole.text.len())),
        }
    }

    /// The long name without dashes; empty for a short one.
    pub(super) fn long(&self) -> &'w str {
        self.written.strip_prefix("--").unwrap_or("")
    }

    /// Notes that the option was given, which it may be once.
    pub(super) fn once(&self, seen: &mut u32, bit: u32) -> Result<(), ParseError> {
        if *seen & bit != 0 {
            return Err(ParseError::RepeatedOption {
                option: self.written.into(),
                at: self.at,
            });
        }
        *seen |= bit;
        Ok(())
    }

    /// For an option that `!` cannot stand before.
    pub(super) fn not_inverted(&self) -> Result<(), ParseError> {
        if self.inverted {
            return Err(self.not_invertible());
        }
        Ok(())
    }

    pub(super) fn not_invertible(&self) -> ParseError {
        ParseError::NotInvertible {
            option: self.written.into(),
            at: self.at,
        }
    }

    /// Nothing takes the option.
    pub(super) fn unknown(&self) -> ParseError {
        ParseError::UnknownOption {
            option: self.written.into(),
            at: self.at,
        }
    }

    /// The option does not take that word.
    pub(super) fn bad_word(&self, word: Arg<'_>, accepted: &'static str) -> ParseError {
        ParseError::BadWord {
            option: self.written.into(),
            text: word.text.into(),
            accepted,
            at: word.at,
        }
    }
}

/// The words of a rule, read one after the other.
#[derive(Debug)]
pub(super) struct Words<'w, 't> {
    words: &'w [Word<'t>],
    next: usize,
    /// Family of the rule set.
    pub(super) family: Family,
    /// Comments are left empty.
    pub(super) without_comments: bool,
}

impl<'w, 't> Words<'w, 't> {
    pub(super) const fn new(words: &'w [Word<'t>], family: Family) -> Self {
        Self {
            words,
            next: 0,
            family,
            without_comments: false,
        }
    }

    /// How many were read.
    pub(super) const fn position(&self) -> usize {
        self.next
    }

    /// Words by their places.
    pub(super) fn range(&self, range: Range<usize>) -> &'w [Word<'t>] {
        &self.words[range]
    }

    pub(super) fn peek(&self) -> Option<&'w Word<'t>> {
        self.words.get(self.next)
    }

    /// The word behind the next one.
    pub(super) fn peek_second(&self) -> Option<&'w Word<'t>> {
        self.words.get(self.next + 1)
    }

    pub(super) fn next(&mut self) -> Option<&'w Word<'t>> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    /// The value of an option that takes any text.
    pub(super) fn text(&mut self, option: &mut Opt<'w>) -> Result<Arg<'w>, ParseError> {
        if let Some(value) = option.joined.take() {
            return Ok(value);
        }
        match self.next() {
            Some(word) => Ok(Arg {
                text: &word.text,
                at: word.span(),
            }),
            None => Err(ParseError::MissingArgument {
                option: option.written.into(),
                at: option.at,
            }),
        }
    }

    /// The value of an option that may be inverted; `!` before the value inverts it too, as
    /// iptables took it before 1.4.
    pub(super) fn value(&mut self, option: &mut Opt<'w>) -> Result<Arg<'w>, ParseError> {
        let value = self.text(option)?;
        if value.text == "!" && self.next < self.words.len() {
            option.not_inverted()?;
            option.inverted = true;
            return self.text(option);
        }
        Ok(value)
    }

    /// The value of an option that cannot be inverted.
    pub(super) fn plain(&mut self, option: &mut Opt<'w>) -> Result<Arg<'w>, ParseError> {
        option.not_inverted()?;
        self.text(option)
    }

    /// For an option that takes no value.
    pub(super) fn none(&self, option: &Opt<'w>) -> Result<(), ParseError> {
        match option.joined {
            None => Ok(()),
            Some(value) => Err(ParseError::UnexpectedWord {
                text: value.text.into(),
                at: value.at,
            }),
        }
    }
}
