//! Cases of a script: no member goes unread.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// What an answer has, and a script may have recorded beside its steps.
const RECORDED: [&str; 14] = [
    "got",
    "first",
    "last",
    "count",
    "ok",
    "error",
    "owned",
    "free",
    "state",
    "donated",
    "donated_size",
    "ranges",
    "owner",
    "note",
];

/// A history: the space, and what happens to it in order.
#[derive(Debug)]
pub(super) struct Case<H, S> {
    pub(super) id: Value,
    pub(super) space: H,
    pub(super) steps: Vec<S>,
}

/// A step without what is recorded of its answer.
struct Step<S>(S);

/// Members that have not been read yet.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    fn add<E: Error>(&mut self, name: String, value: Value) -> Result<(), E> {
        if self.0.contains_key(&name) {
            return Err(E::custom(format_args!("`{name}` is there twice")));
        }
        self.0.insert(name, value);
        Ok(())
    }

    fn read<T: DeserializeOwned, E: Error>(self) -> Result<T, E> {
        T::deserialize(Value::Object(self.0)).map_err(E::custom)
    }
}

impl<'de, S: DeserializeOwned> Deserialize<'de> for Step<S> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(OfStep(PhantomData))
    }
}

struct OfStep<S>(PhantomData<S>);

impl<'de, S: DeserializeOwned> Visitor<'de> for OfStep<S> {
    type Value = Step<S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step: a mapping with `op`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Step<S>, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key::<String>()? {
            if RECORDED.contains(&&*name) {
                map.next_value::<IgnoredAny>()?;
            } else {
                members.add(name, map.next_value()?)?;
            }
        }
        members.read().map(Step)
    }
}

impl<'de, H: DeserializeOwned, S: DeserializeOwned> Deserialize<'de> for Case<H, S> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(OfCase(PhantomData))
    }
}

struct OfCase<H, S>(PhantomData<(H, S)>);

impl<'de, H: DeserializeOwned, S: DeserializeOwned> Visitor<'de> for OfCase<H, S> {
    type Value = Case<H, S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a case: a mapping with `steps`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Case<H, S>, A::Error> {
        let (mut id, mut steps) = (None, None);
        let mut space = Members::default();
        while let Some(name) = map.next_key::<String>()? {
            match &*name {
                "id" if id.is_none() => id = Some(map.next_value()?),
                "steps" if steps.is_none() => steps = Some(map.next_value::<Vec<Step<S>>>()?),
                "note" => drop(map.next_value::<IgnoredAny>()?),
                "id" | "steps" => {
                    return Err(A::Error::custom(format_args!("`{name}` is there twice")));
                }
                _ => space.add(name, map.next_value()?)?,
            }
        }
        let steps = steps.ok_or_else(|| A::Error::missing_field("steps"))?;
        Ok(Case {
            id: id.unwrap_or_default(),
            space: space.read()?,
            steps: steps.into_iter().map(|Step(step)| step).collect(),
        })
    }
}
