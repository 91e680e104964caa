//! A tree read as any type that serde knows.

use std::borrow::Cow;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::fault::{BoxedFault, Fault, What};
use super::{Tree, Value};

impl<'de> Deserializer<'de> for &Tree<'de> {
    type Error = BoxedFault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BoxedFault> {
        let done = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Unsigned(n) => visitor.visit_u64(*n),
            Value::Signed(n) => visitor.visit_i64(*n),
            Value::Float(n) => visitor.visit_f64(*n),
            Value::Text(Cow::Borrowed(text)) | Value::Word(Cow::Borrowed(text), _) => {
                visitor.visit_borrowed_str(text)
            }
            Value::Text(Cow::Owned(text)) | Value::Word(Cow::Owned(text), _) => {
                visitor.visit_str(text)
            }
            Value::Seq(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        };
        done.map_err(|fault| fault.at(self.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BoxedFault> {
        if let Value::Word(_, is) = self.value {
            return visitor.visit_bool(is);
        }
        self.deserialize_any(visitor)
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
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
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
