//! What can be wrong with an input, and how it is said.

use std::fmt;
use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

/// The language of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Kubernetes YAML.
    Yaml,
    /// Kubernetes JSON.
    Json,
    /// A model in RON.
    Ron,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yaml => "YAML",
            Self::Json => "JSON",
            Self::Ron => "RON",
        })
    }
}

/// A place in a text; both numbers from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// One thing that is wrong, where, and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[error("{}:{}:{}: {problem}", file.display(), place.line, place.column)]
pub struct LoadError {
    /// The file; `-` is standard input.
    pub file: PathBuf,
    /// The place in it.
    pub place: Place,
    /// What is wrong.
    #[diagnostic(transparent)]
    #[diagnostic_source]
    pub problem: Problem,
}

/// What is wrong at a place of an input.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not of its language.
    #[error("not {format}: {reason}")]
    #[diagnostic(
        code(podwire::cluster::syntax),
        help("accepted: Kubernetes YAML or JSON as kubectl prints it, or a podwire model in RON")
    )]
    Syntax {
        /// The language.
        format: Format,
        /// What its reader said.
        reason: String,
    },
    /// The text ends too early.
    #[error("the {format} text ends before the object does")]
    #[diagnostic(
        code(podwire::cluster::cut_off),
        help("the file seems to be cut off: write it again")
    )]
    CutOff {
        /// The language.
        format: Format,
    },
    /// A document expands to far more than its text.
    #[error("aliases, or nesting, make this document too large")]
    #[diagnostic(
        code(podwire::cluster::too_much),
        help("write the values out where `*` repeats them; at most 128 levels are accepted")
    )]
    TooMuch,
    /// A document is not an object.
    #[error("found {found} where a Kubernetes object was expected")]
    #[diagnostic(
        code(podwire::cluster::not_an_object),
        help("an object has `apiVersion`, `kind` and `metadata`")
    )]
    NotAnObject {
        /// What is there.
        found: String,
    },
    /// A field holds a value of another type.
    #[error("`{field}` is {found}")]
    #[diagnostic(code(podwire::cluster::wrong_type), help("accepted: {accepted}"))]
    WrongType {
        /// The field's path in the object.
        field: String,
        /// What is there.
        found: String,
        /// What may be there.
        accepted: String,
    },
    /// A field holds a value out of range.
    #[error("`{field}` is {found}")]
    #[diagnostic(code(podwire::cluster::wrong_value), help("accepted: {accepted}"))]
    WrongValue {
        /// The field's path in the object.
        field: String,
        /// What is there.
        found: String,
        /// What may be there.
        accepted: String,
    },
    /// A field that every such object has is not there.
    #[error("`{field}` is missing")]
    #[diagnostic(
        code(podwire::cluster::missing_field),
        help("every object of this kind has it")
    )]
    MissingField {
        /// The field's path in the object.
        field: String,
    },
    /// Something is wrong in the text that a ConfigMap holds.
    #[error("in `config.conf`, line {line}: {problem}")]
    #[diagnostic(forward(problem))]
    InConfigMap {
        /// The line of that text.
        line: u32,
        /// What is wrong there.
        problem: Box<Self>,
    },
    /// A key stands twice.
    #[error("`{field}` stands twice")]
    #[diagnostic(code(podwire::cluster::duplicate_field), help("keep one of the two"))]
    DuplicateField {
        /// The field's path in the object.
        field: String,
    },
}

impl LoadError {
    /// What to do, or what is accepted.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Diagnostic::help(&self.problem).map(|help| help.to_string())
    }

    /// The stable name of this kind of error, such as `podwire::cluster::wrong_type`.
    #[must_use]
    pub fn code(&self) -> String {
        Diagnostic::code(&self.problem).map_or_else(String::new, |code| code.to_string())
    }
}

/// All that is wrong with the inputs, in the order of files and lines.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[diagnostic(code(podwire::cluster::load))]
pub struct LoadErrors {
    /// The errors; at least one.
    #[related]
    pub errors: Vec<LoadError>,
}

impl fmt::Display for LoadErrors {
    /// Writes `file:line:column: message` of each, and its help on a line below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
            if let Some(help) = error.help() {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}
