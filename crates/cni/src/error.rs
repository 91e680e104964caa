//! Errors as the protocol tells them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Codes of the specification (section 5, "Error"), and the one of the reference library.
pub mod code {
    /// The plugin does not speak the configuration's version.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// The container is unknown.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// An environment variable is missing or wrong.
    pub const ENVIRONMENT: u32 = 4;
    /// Standard input could not be read.
    pub const IO: u32 = 5;
    /// What was read is not what it should be.
    pub const DECODING: u32 = 6;
    /// A value of the configuration is wrong.
    pub const NETWORK_CONFIG: u32 = 7;
    /// Any error of a plugin's own: `ErrInternal` of pkg/types.
    pub const INTERNAL: u32 = 999;
}

/// What a plugin says when it fails: a code of [`code`] and words.
///
/// A plugin's own words have no closer type: they are the reference plugins' texts, which callers
/// print and compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { "; " })]
pub struct CniError {
    /// A code of the specification.
    #[serde(default)]
    pub code: u32,
    /// What is wrong.
    #[serde(default)]
    pub msg: String,
    /// More of it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl CniError {
    /// An error with a code.
    pub fn new(code: u32, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: details.into(),
        }
    }

    /// An error of a plugin's own.
    pub fn other(msg: impl Into<String>) -> Self {
        Self::new(code::INTERNAL, msg, "")
    }
}

/// What went wrong with the files of the state directory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file or folder cannot be used.
    #[error("`{path}`: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what podwire wrote there.
    #[error("`{path}` does not hold what podwire keeps there: {why}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl From<StateError> for CniError {
    fn from(error: StateError) -> Self {
        Self::new(code::IO, error.to_string(), "")
    }
}
