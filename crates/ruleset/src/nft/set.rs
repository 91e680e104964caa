//! Sets, maps and verdict maps.

use std::time::Duration;

use indexmap::IndexMap;
use podwire_packet::Family;

use super::{Key, Name, Span, Verdict};
use crate::Origin;

/// The type of one part of a key or of a map's data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// `ipv4_addr`, `ipv6_addr`.
    Address(Family),
    /// `inet_proto`.
    Protocol,
    /// `inet_service`.
    Port,
    /// `mark`.
    Mark,
    /// `ifname`.
    Ifname,
    /// `iface_index`.
    IfaceIndex,
    /// `nf_proto`.
    Nfproto,
    /// `ct_state`.
    CtState,
    /// `ct_status`.
    CtStatus,
    /// `ct_dir`.
    CtDirection,
    /// `fib_addrtype`.
    AddressType,
    /// `icmp_type`, `icmpv6_type`.
    IcmpType(Family),
    /// A plain number, as `numgen` makes it; no word of nft's.
    Number,
    /// `boolean`.
    Boolean,
    /// `verdict`, of a map's data only.
    Verdict,
    /// A type that podwire does not evaluate, by its name.
    Other(Box<str>),
}

/// Flags of a set, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SetFlags(pub u8);

impl SetFlags {
    /// `constant`: its elements never change while a rule uses it.
    pub const CONSTANT: Self = Self(1);
    /// `interval`: it has prefixes and ranges.
    pub const INTERVAL: Self = Self(1 << 1);
    /// `dynamic`: rules put elements into it.
    pub const DYNAMIC: Self = Self(1 << 2);
    /// `timeout`: elements go after a time.
    pub const TIMEOUT: Self = Self(1 << 3);

    /// Every flag with its word, in the order in which nft lists them (`set_print_declaration`,
    /// src/rule.c).
    pub const NAMES: [(&'static str, Self); 4] = [
        ("constant", Self::CONSTANT),
        ("interval", Self::INTERVAL),
        ("dynamic", Self::DYNAMIC),
        ("timeout", Self::TIMEOUT),
    ];

    /// Both together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a map has for a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MapValue {
    /// Of a verdict map.
    Verdict(Verdict),
    /// Of any other map: a part for each part of its data type.
    Data(Key),
}

/// What stands behind the key of an element.
#[derive(Clone, Debug, Default)]
pub struct Element {
    /// A map's value; `None` in a set.
    pub value: Option<MapValue>,
    /// `comment "…"`.
    pub comment: Option<Box<str>>,
    /// Its own timeout.
    pub timeout: Option<Duration>,
    /// How long it still has, where the text said so.
    pub expires: Option<Duration>,
    /// Who made it.
    pub origin: Option<Origin>,
}

impl PartialEq for Element {
    /// Whether the two say the same. How long one still has, and who made it, does not count.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value && self.comment == other.comment && self.timeout == other.timeout
    }
}

impl Eq for Element {}

/// A named set, map or verdict map: what nft calls so by what its elements have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Types of the key's parts.
    pub key: Vec<DataType>,
    /// `typeof …` as it was written, where the types were not named.
    pub type_of: Option<Box<str>>,
    /// Types of the data's parts; empty in a set, `verdict` alone in a verdict map.
    pub data: Vec<DataType>,
    /// Its flags.
    pub flags: SetFlags,
    /// How long an element stays that has no timeout of its own.
    pub timeout: Option<Duration>,
    /// How many elements it can hold.
    pub size: Option<u32>,
    /// How often elements that are over their time are looked for; as the kernel likes if not said.
    pub gc_interval: Option<Duration>,
    /// `auto-merge`: intervals that touch become one.
    pub auto_merge: bool,
    /// Other properties as they were written: `policy memory`, `counter`.
    pub properties: Vec<Box<str>>,
    /// Its comment.
    pub comment: Option<Box<str>>,
    /// Its elements, in written order.
    ///
    /// A key without ranges is found by its hash; with [`SetFlags::INTERVAL`] the one that holds a value
    /// must be looked for ([`Set::find`]).
    pub elements: IndexMap<Key, Element>,
}

impl Set {
    /// A set with these types of key.
    #[must_use]
    pub fn of(key: impl Into<Vec<DataType>>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    /// A verdict map with these types of key.
    #[must_use]
    pub fn verdict_map(key: impl Into<Vec<DataType>>) -> Self {
        Self {
            key: key.into(),
            data: vec![DataType::Verdict],
            ..Self::default()
        }
    }

    /// Whether it is a map of any kind.
    #[must_use]
    pub fn is_map(&self) -> bool {
        !self.data.is_empty()
    }

    /// Whether podwire knows every type of it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let types = self.key.iter().chain(&self.data);
        !types
            .into_iter()
            .any(|own| matches!(own, DataType::Other(_)))
    }

    /// The element for values, of which there is one for each part of the key: the exact one, else the
    /// first that holds them, else `*`.
    ///
    /// # Cost
    /// One probe where every element is exact, else a walk through all of them.
    #[must_use]
    pub fn find(&self, values: &[super::Value]) -> Option<(&Key, &Element)> {
        let exact: Key = values.iter().cloned().map(Span::One).collect();
        let any: &[Span] = &[Span::Any];
        self.elements
            .get_key_value(&exact)
            .or_else(|| {
                let holds = |&(key, _): &(&Key, &Element)| **key != *any && key.contains(values);
                let interval = self.flags.contains(SetFlags::INTERVAL);
                interval.then(|| self.elements.iter().find(holds)).flatten()
            })
            .or_else(|| self.elements.get_key_value(any))
    }
}

/// A map that a statement looks into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// `@map`.
    Named(Name),
    /// `{ 0 : goto a, 1 : goto b }`, in written order.
    Anonymous(Vec<(Key, MapValue)>),
}
