//! JSON as Go's encoding/json takes and writes it.
//!
//! A structure's members are found by their names in any case, a map's keys are what they are. Source:
//! encoding/json/{decode,fold}.go of Go 1.22.
//!
//! # Departures
//! - Of members whose names differ in case only, the last in byte order counts, as after libcni, which
//!   sorts them; the real plugin takes the last of the text that it is given.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, forward_to_deserialize_any};
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer as JsonSerializer};

/// Four blanks a level, as `json.MarshalIndent(v, "", "    ")` writes.
pub(crate) fn indented(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    value
        .serialize(&mut JsonSerializer::with_formatter(&mut out, formatter))
        .expect("what podwire prints has text keys");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The same value without the members that are `null`, which Go takes for absent.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// What a value means; members that are not asked for are passed over.
pub(crate) fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(Folded(value)).map_err(|error| error.to_string())
}

/// The member of a structure that is read as `name`.
pub(crate) fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let members = value.as_object()?.iter();
    let mut named = members.filter(|(key, _)| folds(key, name));
    named.next_back().map(|(_, value)| value)
}

/// Whether two names are one to Go: equal but for case.
fn folds(one: &str, other: &str) -> bool {
    one.chars().map(fold).eq(other.chars().map(fold))
}

/// What stands for a character and those that differ from it in case. Two beyond ASCII fold to letters
/// of ASCII; no member's name has others.
const fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => c.to_ascii_lowercase(),
    }
}

/// A value that is read as Go reads it.
#[derive(Clone, Copy)]
struct Folded<'v>(&'v Value);

impl<'de> IntoDeserializer<'de, serde_json::Error> for Folded<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Folded<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(Folded));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(members) => {
                let members = members.iter();
                let members = members.map(|(key, value)| (key.as_str(), Folded(value)));
                visitor.visit_map(MapDeserializer::new(members))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.0.deserialize_any(visitor)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    /// An object's members under the structure's own names; `null` says nothing of any.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let no_object = |value| Self::Error::invalid_type(value, &"an object");
        let members = match self.0 {
            Value::Object(members) => Some(members),
            Value::Null => None,
            // Not an array's items in the order of the fields.
            Value::Array(_) => return Err(no_object(Unexpected::Seq)),
            Value::String(text) => return Err(no_object(Unexpected::Str(text))),
            Value::Bool(flag) => return Err(no_object(Unexpected::Bool(*flag))),
            Value::Number(_) => return Err(no_object(Unexpected::Other("number"))),
        };
        let mut found: Vec<Option<Folded<'de>>> = vec![None; fields.len()];
        for (key, value) in members.into_iter().flatten() {
            let exact = fields.iter().position(|field| field == key);
            let place = exact.or_else(|| fields.iter().position(|field| folds(field, key)));
            if let Some(place) = place {
                found[place] = Some(Folded(value));
            }
        }
        let named = fields.iter().zip(found);
        let named = named.filter_map(|(field, value)| Some((*field, value?)));
        visitor.visit_map(MapDeserializer::new(named))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// An object that is read as two structures, of which one is embedded in the other in Go.
#[derive(Debug, Default)]
pub(crate) struct Embedding<T, E> {
    pub(crate) own: T,
    pub(crate) embedded: E,
}

impl<'de, T: DeserializeOwned, E: DeserializeOwned> Deserialize<'de> for Embedding<T, E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Self {
            own: decode(&value).map_err(D::Error::custom)?,
            embedded: decode(&value).map_err(D::Error::custom)?,
        })
    }
}

/// Types that are a text in JSON.
pub(crate) mod text {
    use super::{Deserialize, Deserializer, Display, FromStr, Serialize, Serializer, serde_error};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.to_string().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde_error)
    }
}

fn serde_error<E: serde::de::Error>(error: impl Display) -> E {
    E::custom(error)
}

/// An address, with or without a length behind it that does not count (`ip.IP` of the plugins).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LooseIp(pub(crate) std::net::IpAddr);

impl FromStr for LooseIp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once('/') {
            Some(_) => text.parse().map(|cidr: crate::result::Cidr| cidr.ip).ok(),
            None => text.parse().ok(),
        };
        parsed
            .map(Self)
            .ok_or_else(|| format!("invalid IP address {text}"))
    }
}

impl<'de> Deserialize<'de> for LooseIp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// An address whose empty text means none, with Go's words for a wrong one.
pub(crate) fn address<'de, D>(deserializer: D) -> Result<Option<std::net::IpAddr>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse();
    parsed
        .map(Some)
        .map_err(|_| D::Error::custom(format_args!("invalid IP address: {text}")))
}
