//! Values of a model that know their place.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use ron::error::SpannedError;
use ron::extensions::Extensions;
use ron::value::RawValue;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};

use crate::load::{Format, Place, Problem, whole_numbers};

/// How models are read: `Some` may be left out.
pub(crate) fn options() -> ron::Options {
    ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME)
}

/// Reads a whole document; where it is none, why and where.
pub(crate) fn document<T: DeserializeOwned>(text: &str) -> Result<T, (Place, Problem)> {
    options().from_str(text).map_err(|error| {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        let place = Place {
            line: number(error.span.start.line),
            column: number(error.span.start.col),
        };
        let end = end(text);
        let problem = if place >= end {
            let format = Format::Ron;
            Problem::CutOff { format }
        } else {
            problem(&error, "")
        };
        (place.min(end), problem)
    })
}

/// Where a text ends, but for white space.
fn end(text: &str) -> Place {
    let text = text.trim_end();
    let last = text.lines().next_back().unwrap_or_default();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place {
        line: number(text.lines().count().max(1)),
        column: number(last.chars().count() + 1),
    }
}

/// A value, or why it is none, and where it stands. A wrong one does not end the reading.
#[derive(Debug)]
pub(crate) struct At<T> {
    /// Address of its first byte in the model's text.
    address: usize,
    value: Result<T, SpannedError>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(d)?.get_ron();
        Ok(Self {
            address: text.as_ptr() as usize,
            value: options().from_str(text),
        })
    }
}

/// How a key that stands twice is told through the reader of RON.
const TWICE: &str = "twice: ";

/// Reads pairs in braces, none of whose keys may stand twice; RON would take the last.
pub(crate) fn unique<'de, D, K, V>(d: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    struct Pairs<K, V>(PhantomData<(K, V)>);
    impl<'de, K, V> Visitor<'de> for Pairs<K, V>
    where
        K: Deserialize<'de> + Ord + fmt::Display,
        V: Deserialize<'de>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("pairs in braces")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = BTreeMap::new();
            while let Some(key) = map.next_key::<K>()? {
                if pairs.contains_key(&key) {
                    return Err(de::Error::custom(format_args!("{TWICE}{key}")));
                }
                pairs.insert(key, map.next_value()?);
            }
            Ok(pairs)
        }
    }
    d.deserialize_map(Pairs(PhantomData))
}

/// The same, if there are any.
pub(crate) fn unique_if_any<'de, D, K, V>(d: D) -> Result<Option<BTreeMap<K, V>>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    unique(d).map(Some)
}

/// A model's text, and what is wrong with it so far.
pub(crate) struct Reader<'a> {
    text: &'a str,
    pub(crate) problems: Vec<(Place, Problem)>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            problems: Vec::new(),
        }
    }

    /// The value; a fault in it is kept.
    pub(crate) fn get<'v, T>(&mut self, at: &'v At<T>, field: &str) -> Option<&'v T> {
        match &at.value {
            Ok(value) => Some(value),
            Err(error) => {
                let problem = match (&error.code, whole_numbers(std::any::type_name::<T>())) {
                    (ron::Error::IntegerOutOfBounds, Some(accepted)) => Problem::WrongType {
                        field: field.to_owned(),
                        found: "a number that does not fit".to_owned(),
                        accepted,
                    },
                    _ => problem(error, field),
                };
                self.fault(at, problem);
                None
            }
        }
    }

    /// The value, where faults were told before.
    pub(crate) fn quiet<'v, T>(&self, at: &'v At<T>) -> Option<&'v T> {
        at.value.as_ref().ok()
    }

    /// Keeps a fault at a value's place.
    pub(crate) fn fault<T>(&mut self, at: &At<T>, problem: Problem) {
        let place = self.place(at);
        self.problems.push((place, problem));
    }

    /// Where a value stands.
    pub(crate) fn place<T>(&self, at: &At<T>) -> Place {
        let offset = at.address.wrapping_sub(self.text.as_ptr() as usize);
        place_of(self.text, offset)
    }
}

/// The place of a byte in a text.
pub(crate) fn place_of(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place {
        line: number(before.bytes().filter(|&b| b == b'\n').count() + 1),
        column: number(before[start..].chars().count() + 1),
    }
}

/// A text without the white space and the comments that it begins with.
pub(crate) fn content(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("//") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else {
            return rest;
        }
        .trim_start();
    }
}

/// RON's fault, in our words.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "RON's own words do for faults of syntax"
)]
pub(crate) fn problem(error: &SpannedError, field: &str) -> Problem {
    let format = Format::Ron;
    let field = field.to_owned();
    if let Some(wanted) = wanted(&error.code) {
        return if field.is_empty() {
            Problem::Unexpected { wanted }
        } else {
            Problem::WrongType {
                field,
                found: "of another type".to_owned(),
                accepted: wanted.to_owned(),
            }
        };
    }
    match &error.code {
        ron::Error::Message(text) if text.starts_with(TWICE) => Problem::DuplicateField {
            field: text[TWICE.len()..].to_owned(),
        },
        ron::Error::InvalidValueForType { expected, found } => Problem::WrongValue {
            field,
            found: found.clone(),
            accepted: expected.clone(),
        },
        ron::Error::NoSuchStructField {
            expected, found, ..
        } => Problem::UnknownField {
            field: found.clone(),
            accepted: expected.join(", "),
        },
        ron::Error::NoSuchEnumVariant {
            expected, found, ..
        } => Problem::UnknownWord {
            word: found.clone(),
            accepted: expected.join(", "),
        },
        ron::Error::MissingStructField { field, .. } => Problem::MissingField {
            field: (*field).to_owned(),
        },
        ron::Error::DuplicateStructField { field, .. } => Problem::DuplicateField {
            field: (*field).to_owned(),
        },
        ron::Error::ExpectedDifferentStructName { .. } => Problem::Unexpected {
            wanted: "an entry of a list; `]` ends the list",
        },
        other => Problem::Syntax {
            format,
            reason: other.to_string(),
        },
    }
}

/// What RON wanted where it found a value of another type.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the many other faults are of syntax"
)]
fn wanted(error: &ron::Error) -> Option<&'static str> {
    Some(match error {
        ron::Error::ExpectedInteger => "a whole number",
        ron::Error::IntegerOutOfBounds => "a whole number from 0 to 4294967295, of ports to 65535",
        ron::Error::ExpectedBoolean => "true or false",
        ron::Error::ExpectedString => "text in quotes",
        ron::Error::ExpectedArray => "a list in brackets: [ ]",
        ron::Error::ExpectedMap => "pairs in braces: { }",
        ron::Error::ExpectedStructLike | ron::Error::ExpectedNamedStructLike(_) => {
            "fields in parentheses: ( )"
        }
        _ => return None,
    })
}
