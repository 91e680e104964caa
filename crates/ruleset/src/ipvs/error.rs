//! What may be wrong with a text.

use miette::{Diagnostic, SourceSpan};
use thiserror::Error;

const LINES: &str = "lines are `-A -t ADDRESS:PORT -s SCHEDULER` and `-a -t ADDRESS:PORT -r ADDRESS:PORT -m -w WEIGHT`, as `ipvsadm-save -n` writes them";

/// Why a text does not describe virtual servers.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[non_exhaustive]
pub enum ParseError {
    /// A line that neither adds a virtual nor a real server.
    #[error("`{text}` is not a command")]
    #[diagnostic(code(podwire::ipvs::unknown_command), help("{LINES}"))]
    UnknownCommand {
        /// First word of the line.
        text: Box<str>,
        /// Its place.
        #[label("not a command")]
        at: SourceSpan,
    },
    /// An option that is none, or that podwire does not model.
    #[error("`{text}` is not an option of `{command}`")]
    #[diagnostic(
        code(podwire::ipvs::unknown_option),
        help(
            "-A takes -t, -u or --sctp-service, -s, -b, -p, -M and -o; -a takes -r, -m, -g or -i, -w, -x and -y; firewall marks (-f) and --pe are not modelled"
        )
    )]
    UnknownOption {
        /// The option.
        text: Box<str>,
        /// The command.
        command: Box<str>,
        /// Its place.
        #[label("not an option here")]
        at: SourceSpan,
    },
    /// A line that ends too early.
    #[error("`{command}` lacks {needs}")]
    #[diagnostic(code(podwire::ipvs::missing_word), help("{LINES}"))]
    MissingWord {
        /// The command or option.
        command: Box<str>,
        /// What is missing.
        needs: &'static str,
        /// Place of the last word.
        #[label("something is missing behind this")]
        at: SourceSpan,
    },
    /// A value that cannot be one.
    #[error("`{text}` is not {expected}")]
    #[diagnostic(code(podwire::ipvs::bad_value), help("{LINES}"))]
    BadValue {
        /// The value.
        text: Box<str>,
        /// What is accepted.
        expected: &'static str,
        /// Its place.
        #[label("not accepted")]
        at: SourceSpan,
    },
    /// A virtual or real server that is there.
    #[error("`{text}` is there already")]
    #[diagnostic(
        code(podwire::ipvs::server_exists),
        help("a virtual server is added once, and so is a real server to it")
    )]
    ServerExists {
        /// Its address.
        text: Box<str>,
        /// Its place.
        #[label("already there")]
        at: SourceSpan,
    },
    /// A real server of a virtual server that nobody added.
    #[error("there is no virtual server `{text}`")]
    #[diagnostic(
        code(podwire::ipvs::unknown_server),
        help("`-A` adds it, and stands before")
    )]
    UnknownServer {
        /// The virtual server.
        text: Box<str>,
        /// Its place.
        #[label("no such virtual server")]
        at: SourceSpan,
    },
    /// A double quote without its pair.
    #[error("the quote does not close")]
    #[diagnostic(
        code(podwire::ipvs::unclosed_quote),
        help("a double quote closes on its line")
    )]
    UnclosedQuote {
        /// From the quote to the end of the line.
        #[label("opened here")]
        at: SourceSpan,
    },
}

impl ParseError {
    /// Where the fault is.
    #[must_use]
    pub const fn span(&self) -> SourceSpan {
        match self {
            Self::UnknownCommand { at, .. }
            | Self::UnknownOption { at, .. }
            | Self::MissingWord { at, .. }
            | Self::BadValue { at, .. }
            | Self::ServerExists { at, .. }
            | Self::UnknownServer { at, .. }
            | Self::UnclosedQuote { at } => *at,
        }
    }
}
