//! What can be wrong with the text, and where.

use miette::{Diagnostic, SourceSpan};
use thiserror::Error;

use crate::nft::{LinkError, NameError};

/// Why a text is not a rule set.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[non_exhaustive]
pub enum ParseError {
    /// Something stands where something else must.
    #[error("{found} stands where {expected} must")]
    #[diagnostic(code(podwire::nft::unexpected))]
    Unexpected {
        /// What stands there.
        found: Box<str>,
        /// What must.
        expected: &'static str,
        /// Its place.
        #[label("{expected} must stand here")]
        at: SourceSpan,
    },
    /// A value that does not fit what it is compared with, or its set.
    #[error("`{text}` is not {expected}")]
    #[diagnostic(code(podwire::nft::bad_value))]
    BadValue {
        /// The value.
        text: Box<str>,
        /// What it would have to be.
        expected: &'static str,
        /// Its place.
        #[label("not {expected}")]
        at: SourceSpan,
    },
    /// A name that nothing may have.
    #[error("{source}")]
    #[diagnostic(code(podwire::nft::bad_name))]
    BadName {
        /// What is wrong.
        source: NameError,
        /// Its place.
        #[label("not a name")]
        at: SourceSpan,
    },
    /// A command that `nft -f` has and podwire does not read, or that is none.
    #[error("`{text}` is not a command that podwire reads")]
    #[diagnostic(
        code(podwire::nft::unknown_command),
        help(
            "read are `table` blocks as `nft list ruleset` prints them, and the commands `add`, `create`, `flush`, \
             `delete` and `destroy` of tables, chains, rules, sets, maps and elements"
        )
    )]
    UnknownCommand {
        /// The command.
        text: Box<str>,
        /// Its place.
        #[label("not read")]
        at: SourceSpan,
    },
    /// Something that nobody made.
    #[error("there is no {what} `{name}`")]
    #[diagnostic(
        code(podwire::nft::missing),
        help("`add {what}` makes it, and stands before")
    )]
    Missing {
        /// `table`, `chain`, `set` or `map`.
        what: &'static str,
        /// The name.
        name: Box<str>,
        /// Its place.
        #[label("no such {what}")]
        at: SourceSpan,
    },
    /// A brace without its pair.
    #[error("the block does not end")]
    #[diagnostic(
        code(podwire::nft::unclosed_block),
        help("a file without the closing brace may have been cut")
    )]
    UnclosedBlock {
        /// Its place.
        #[label("this brace does not close")]
        at: SourceSpan,
    },
    /// A double quote without its pair.
    #[error("the quote does not close")]
    #[diagnostic(
        code(podwire::nft::unclosed_quote),
        help("a double quote closes on its line")
    )]
    UnclosedQuote {
        /// From the quote to the end of the line.
        #[label("no closing quote behind this")]
        at: SourceSpan,
    },
    /// More deletions than are read from one text.
    #[error("a text with more than {} deletions is not read", super::MAX_DELETIONS)]
    #[diagnostic(code(podwire::nft::too_many_deletions))]
    TooManyDeletions {
        /// The first that is too many.
        #[label("one deletion too many")]
        at: SourceSpan,
    },
    /// Not JSON, or not that of nft.
    #[error("{why}")]
    #[diagnostic(
        code(podwire::nft::json),
        help("read is what `nft -j list ruleset` prints: an object with a list called `nftables`")
    )]
    Json {
        /// What is wrong.
        why: Box<str>,
        /// Its place.
        #[label("not the JSON of nft")]
        at: SourceSpan,
    },
    /// An object of the JSON form that cannot be read.
    #[error("{why}")]
    #[diagnostic(
        code(podwire::nft::object),
        help("libnftables-json(5) says what an object has")
    )]
    Object {
        /// What is wrong.
        why: Box<str>,
        /// Place of the object.
        #[label("in this object")]
        at: SourceSpan,
    },
    /// The kernel would refuse the table.
    #[error("{source}")]
    #[diagnostic(code(podwire::nft::link))]
    Link {
        /// What is wrong.
        source: Box<LinkError>,
        /// Where the table begins.
        #[label("in this table")]
        at: SourceSpan,
    },
}

impl ParseError {
    /// The place of what is wrong, in bytes;
    /// [`line_column`](crate::iptables::line_column) gives its line and column.
    #[must_use]
    pub const fn span(&self) -> SourceSpan {
        match self {
            Self::Unexpected { at, .. }
            | Self::BadValue { at, .. }
            | Self::BadName { at, .. }
            | Self::UnknownCommand { at, .. }
            | Self::Missing { at, .. }
            | Self::UnclosedBlock { at }
            | Self::UnclosedQuote { at }
            | Self::TooManyDeletions { at }
            | Self::Json { at, .. }
            | Self::Object { at, .. }
            | Self::Link { at, .. } => *at,
        }
    }
}
