//! What can be wrong with a stream, and where: nobody has its text afterwards.

use std::io;

use miette::Diagnostic;
use thiserror::Error;

use super::MAX_LINE;
use crate::iptables::{ParseError, line_column};

/// Why a stream is not a rule set. Lines and columns count from 1, columns in characters.
#[derive(Debug, Error, Diagnostic)]
#[non_exhaustive]
pub enum ReadError {
    /// The input could not be read.
    #[error("the input cannot be read")]
    #[diagnostic(code(podwire::iptables::input))]
    Input {
        /// The line that was being read.
        line: usize,
        /// Why.
        source: io::Error,
    },
    /// Bytes that are no text.
    #[error("the line is not UTF-8")]
    #[diagnostic(
        code(podwire::iptables::not_utf8),
        help("the text is that of `iptables-save`, not compressed and not in another encoding")
    )]
    NotUtf8 {
        /// The line.
        line: usize,
        /// The column of the first such byte.
        column: usize,
    },
    /// A line that is too long.
    #[error("the line has more than {MAX_LINE} bytes")]
    #[diagnostic(
        code(podwire::iptables::long_line),
        help("`iptables-restore` takes 10239; the file may have lost its line ends")
    )]
    LongLine {
        /// The line.
        line: usize,
    },
    /// A line that is wrong.
    #[error("{cause}")]
    #[diagnostic(forward(cause))]
    Line {
        /// The line; of a table that has no COMMIT, its first one.
        line: usize,
        /// The column.
        column: usize,
        /// The text of the line, in which [`ParseError::span`] counts.
        text: Box<str>,
        /// What is wrong.
        #[source]
        cause: Box<ParseError>,
    },
}

impl ReadError {
    pub(super) fn of_line(line: usize, text: &str, cause: ParseError) -> Self {
        let (_, column) = line_column(text, cause.span().offset());
        Self::Line {
            line,
            column,
            text: text.trim_end_matches(['\n', '\r']).into(),
            cause: Box::new(cause),
        }
    }

    /// Line and column of the fault.
    #[must_use]
    pub const fn place(&self) -> (usize, usize) {
        match *self {
            Self::Line { line, column, .. } | Self::NotUtf8 { line, column } => (line, column),
            Self::Input { line, .. } | Self::LongLine { line } => (line, 1),
        }
    }
}
