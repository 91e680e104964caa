//! A document as a tree in which every value knows its place.
//!
//! YAML is read into it, as `kind`, which says what the rest means, may stand last. JSON is read into
//! it only to find the place of a fault.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::error::{Place, Problem};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree<'a> {
    pub(crate) place: Place,
    pub(crate) value: Value<'a>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Seq(Vec<Tree<'a>>),
    Map(Vec<(Cow<'a, str>, Tree<'a>)>),
}

impl<'a> Tree<'a> {
    /// The value at a key, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            Value::Null
            | Value::Bool(_)
            | Value::Unsigned(_)
            | Value::Signed(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Seq(_) => None,
        }
    }

    /// The text, if this is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null
            | Value::Bool(_)
            | Value::Unsigned(_)
            | Value::Signed(_)
            | Value::Float(_)
            | Value::Seq(_)
            | Value::Map(_) => None,
        }
    }

    /// What is here, for people.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Unsigned(n) => n.to_string(),
            Value::Signed(n) => n.to_string(),
            Value::Float(n) => n.to_string(),
            Value::Text(text) => quoted(text),
            Value::Seq(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// A text in quotes, cut after 40 characters.
pub(crate) fn quoted(text: &str) -> String {
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
enum What {
    Type { found: String, accepted: String },
    Value { found: String, accepted: String },
    Missing(&'static str),
    Duplicate(&'static str),
    Other(String),
}

impl Fault {
    fn new(what: What) -> Box<Self> {
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
    fn at(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }

    fn under(mut self, step: &str) -> Self {
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
        Unexpected::Float(n) => n.to_string(),
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
        "i32" | "i64" | "u8" | "u16" | "u32" | "u64" => "a whole number in range".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        other => other.to_owned(),
    }
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

impl<'de> Deserializer<'de> for &Tree<'de> {
    type Error = BoxedFault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BoxedFault> {
        let done = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Unsigned(n) => visitor.visit_u64(*n),
            Value::Signed(n) => visitor.visit_i64(*n),
            Value::Float(n) => visitor.visit_f64(*n),
            Value::Text(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Value::Text(Cow::Owned(text)) => visitor.visit_str(text),
            Value::Seq(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        };
        done.map_err(|fault| fault.at(self.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BoxedFault> {
        if self.value == Value::Null {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, BoxedFault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BoxedFault> {
        let done = match self.text() {
            Some(text) => visitor.visit_enum(Variant(text)),
            None => Err(BoxedFault(Fault::new(What::Type {
                found: self.describe(),
                accepted: variants.join(", "),
            }))),
        };
        done.map_err(|fault| fault.at(self.place))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BoxedFault> {
        // Serde would take a list for the fields in their order.
        if matches!(self.value, Value::Seq(_)) {
            let fault: BoxedFault = de::Error::invalid_type(Unexpected::Seq, &visitor);
            return Err(fault.at(self.place));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BoxedFault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier
    }
}

/// The name of an enum's variant without content.
struct Variant<'s>(&'s str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = BoxedFault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), BoxedFault> {
        let value = seed.deserialize(self.0.into_deserializer())?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = BoxedFault;

    fn unit_variant(self) -> Result<(), BoxedFault> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, BoxedFault> {
        Err(de::Error::invalid_type(
            Unexpected::UnitVariant,
            &"a variant with a value",
        ))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, BoxedFault> {
        Err(de::Error::invalid_type(
            Unexpected::UnitVariant,
            &"a variant with values",
        ))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, BoxedFault> {
        Err(de::Error::invalid_type(
            Unexpected::UnitVariant,
            &"a variant with fields",
        ))
    }
}

struct Items<'s, 'de> {
    items: &'s [Tree<'de>],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = BoxedFault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, BoxedFault> {
        let Some(item) = self.items.get(self.next) else {
            return Ok(None);
        };
        let index = self.next;
        self.next += 1;
        seed.deserialize(item)
            .map(Some)
            .map_err(|fault| fault.at(item.place).under(&format!("[{index}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

struct Entries<'s, 'de> {
    entries: &'s [(Cow<'de, str>, Tree<'de>)],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = BoxedFault;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, BoxedFault> {
        let Some((key, _)) = self.entries.get(self.next) else {
            return Ok(None);
        };
        seed.deserialize(key.as_ref().into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, BoxedFault> {
        let Some((key, value)) = self.entries.get(self.next) else {
            return Err(de::Error::custom("a value without a key"));
        };
        self.next += 1;
        seed.deserialize(value)
            .map_err(|fault| fault.at(value.place).under(key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len() - self.next)
    }
}

/// Builds a value; places come from the [`de::DeserializeSeed`] of the format.
pub(crate) struct ValueVisitor<N>(pub(crate) std::marker::PhantomData<N>);

impl<'de, N> Visitor<'de> for ValueVisitor<N>
where
    N: de::Deserialize<'de> + Into<Tree<'de>>,
{
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value<'de>, D::Error> {
        d.deserialize_any(self)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(b))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value<'de>, E> {
        Ok(Value::Unsigned(n))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value<'de>, E> {
        Ok(u64::try_from(n).map_or(Value::Signed(n), Value::Unsigned))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(n))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<N>()? {
            items.push(item.into());
        }
        Ok(Value::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            entries.push((key, map.next_value::<N>()?.into()));
        }
        Ok(Value::Map(entries))
    }
}

/// A key, whatever scalar it was written as.
pub(crate) struct Key<'a>(pub(crate) Cow<'a, str>);

impl<'de> de::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text)))
            }
        }
        d.deserialize_str(KeyVisitor)
    }
}
