//! Why a tree is not the wanted object.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::load::error::{Place, Problem};

/// A text in quotes, cut after 40 characters.
pub(super) fn quoted(text: &str) -> String {
    let mut cut: String = text.chars().take(40).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

/// Why a tree is not the wanted object.
#[derive(Debug)]
pub(crate) struct Fault {
    place: Option<Place>,
    /// Path from the object to the value, innermost last.
    path: String,
    what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Type { found: String, accepted: String },
    Value { found: String, accepted: String },
    Missing(&'static str),
    Duplicate(&'static str),
    Other(String),
}

impl Fault {
    pub(super) fn new(what: What) -> Box<Self> {
        Box::new(Self {
            place: None,
            path: String::new(),
            what,
        })
    }

    /// Where it is, and what to tell people.
    pub(crate) fn into_problem(self, whole: Place) -> (Place, Problem) {
        let place = self.place.unwrap_or(whole);
        let join = |name: &str| {
            if self.path.is_empty() {
                name.to_owned()
            } else {
                format!("{}.{name}", self.path)
            }
        };
        let problem = match self.what {
            What::Missing(name) => Problem::MissingField { field: join(name) },
            What::Duplicate(name) => Problem::DuplicateField { field: join(name) },
            What::Type { found, accepted } => Problem::WrongType {
                field: self.path,
                found,
                accepted,
            },
            What::Value { found, accepted } => Problem::WrongValue {
                field: self.path,
                found,
                accepted,
            },
            What::Other(reason) => Problem::WrongValue {
                field: self.path,
                found: "not usable".to_owned(),
                accepted: reason,
            },
        };
        (place, problem)
    }
}

/// A fault, boxed as it is rare and large.
#[derive(Debug)]
pub(crate) struct BoxedFault(pub(crate) Box<Fault>);

impl BoxedFault {
    pub(super) fn at(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }

    pub(super) fn under(mut self, step: &str) -> Self {
        let path = &mut self.0.path;
        if !path.is_empty() && !path.starts_with('[') {
            path.insert(0, '.');
        }
        path.insert_str(0, step);
        self
    }
}

impl fmt::Display for BoxedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.what {
            What::Type { found, accepted } | What::Value { found, accepted } => {
                write!(f, "found {found}, accepted is {accepted}")
            }
            What::Missing(name) => write!(f, "`{name}` is missing"),
            What::Duplicate(name) => write!(f, "`{name}` stands twice"),
            What::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for BoxedFault {}

/// Serde's words for what it found, in ours.
fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(b) => b.to_string(),
        Unexpected::Unsigned(n) => n.to_string(),
        Unexpected::Signed(n) => n.to_string(),
        // With its point or exponent, which is what is wrong with it.
        Unexpected::Float(n) => format!("{n:?}"),
        Unexpected::Str(text) => quoted(text),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        Unexpected::Char(_)
        | Unexpected::Bytes(_)
        | Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => unexpected.to_string(),
    }
}

/// Serde's words for what it wants, in ours.
fn accepted(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "a string" => "text; a number or true/false needs quotes to be text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        other => whole_numbers(other).unwrap_or_else(|| other.to_owned()),
    }
}

/// The whole numbers that a type of Rust's takes.
pub(crate) fn whole_numbers(of: &str) -> Option<String> {
    let (least, most): (i128, i128) = match of {
        "i32" => (i32::MIN.into(), i32::MAX.into()),
        "i64" => (i64::MIN.into(), i64::MAX.into()),
        "u8" => (0, u8::MAX.into()),
        "u16" => (0, u16::MAX.into()),
        "u32" => (0, u32::MAX.into()),
        "u64" => (0, u64::MAX.into()),
        _ => return None,
    };
    Some(format!("a whole number from {least} to {most}"))
}

impl de::Error for BoxedFault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(Fault::new(What::Other(message.to_string())))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(Fault::new(What::Type {
            found: found(unexpected),
            accepted: accepted(expected),
        }))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(Fault::new(What::Value {
            found: found(unexpected),
            accepted: accepted(expected),
        }))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self(Fault::new(What::Value {
            found: quoted(variant),
            accepted: expected.join(", "),
        }))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(Fault::new(What::Missing(field)))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self(Fault::new(What::Duplicate(field)))
    }
}
