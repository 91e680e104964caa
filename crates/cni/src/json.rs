//! JSON as Go's encoding/json takes and writes it.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
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
    T::deserialize(value).map_err(|error| error.to_string())
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
