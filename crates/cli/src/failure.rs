//! Why podwire could not answer.

use std::fmt;
use std::io;

/// An answer, as an exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Exit code 0.
    Yes,
    /// Exit code 1.
    No,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Why there is no answer: exit code 2.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The input is at fault; the text says where and how.
    Input(String),
    /// Standard output refused.
    Output(io::Error),
}

impl Failure {
    /// A fault of the input.
    pub(crate) fn input(why: impl fmt::Display) -> Self {
        Self::Input(why.to_string())
    }

    /// A fault of the input behind what it is about, and on the next line what is accepted.
    pub(crate) fn with_help(about: &str, error: &dyn miette::Diagnostic) -> Self {
        let help = error
            .help()
            .map(|help| format!("\n  help: {help}"))
            .unwrap_or_default();
        Self::Input(format!("{about}{error}{help}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(why) => write!(f, "error: {why}"),
            Self::Output(error) => write!(f, "error: standard output: {error}"),
        }
    }
}
