//! What packets are compared with.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use podwire_packet::{DeviceName, Family, Mark, Prefix, Protocol};

use crate::{AddressType, CtDirection, CtStates, CtStatuses};

/// One value of one type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// `ipv4_addr`, `ipv6_addr`.
    Address(IpAddr),
    /// `inet_proto`.
    Protocol(Protocol),
    /// `inet_service`.
    Port(u16),
    /// `mark`.
    Mark(Mark),
    /// `ifname`, and `iface_index` by its name.
    Interface(DeviceName),
    /// `nf_proto`.
    Family(Family),
    /// `fib_addrtype`.
    AddressType(AddressType),
    /// `ct_state`. Compared alone, it asks whether the packet has **any** of these states
    /// (`ct state new,established`), and with `!=` whether it has other than exactly these; in a set it is one
    /// state.
    CtStates(CtStates),
    /// `ct_status`; compared as `CtStates` is.
    CtStatuses(CtStatuses),
    /// `ct_dir`.
    CtDirection(CtDirection),
    /// `icmp_type`, `icmpv6_type`.
    IcmpType(Family, u8),
    /// `boolean`: `exists`, `missing`.
    Present(bool),
    /// A plain number, as `numgen` makes it.
    Number(u32),
    /// A value of a type that podwire does not evaluate, as it was written.
    Other(Arc<str>),
}

/// One value, or several that have a word of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// One value.
    One(Value),
    /// `10.0.0.0/8`. A prefix of full length is written `10.0.0.1/32`, which is the same as the
    /// address alone.
    Prefix(Prefix),
    /// `1024-65535`: both ends and all between; they are of one type, and the first is not above the second.
    Range(Value, Value),
    /// `eth*`: every device whose name begins so.
    InterfacePrefix(DeviceName),
    /// `*`, the element that takes what no other one does.
    Any,
}

impl Span {
    /// An address.
    #[must_use]
    pub const fn address(address: IpAddr) -> Self {
        Self::One(Value::Address(address))
    }

    /// A port.
    #[must_use]
    pub const fn port(port: u16) -> Self {
        Self::One(Value::Port(port))
    }

    /// A protocol.
    #[must_use]
    pub const fn protocol(protocol: Protocol) -> Self {
        Self::One(Value::Protocol(protocol))
    }

    /// The first and the last value, where it is one value or can be counted through. A prefix is the
    /// range of its addresses.
    #[must_use]
    pub fn ends(&self) -> Option<(Value, Value)> {
        match self {
            Self::One(value) => Some((value.clone(), value.clone())),
            Self::Prefix(prefix) => Some((
                Value::Address(prefix.address()),
                Value::Address(prefix.last()),
            )),
            Self::Range(first, last) => Some((first.clone(), last.clone())),
            Self::InterfacePrefix(_) | Self::Any => None,
        }
    }

    /// Whether it holds a value.
    ///
    /// Connection states and statuses are compared for equality here, as in a set.
    #[must_use]
    pub fn contains(&self, value: &Value) -> bool {
        match self {
            Self::One(own) => own == value,
            Self::Prefix(prefix) => {
                matches!(value, Value::Address(address) if prefix.contains(*address))
            }
            // Values of one type compare as their numbers do; of two, never as between.
            Self::Range(first, last) => {
                std::mem::discriminant(first) == std::mem::discriminant(value)
                    && (first..=last).contains(&value)
            }
            Self::InterfacePrefix(prefix) => {
                matches!(value, Value::Interface(name) if name.as_str().starts_with(prefix.as_str()))
            }
            Self::Any => true,
        }
    }
}

impl From<Value> for Span {
    fn from(value: Value) -> Self {
        Self::One(value)
    }
}

/// What an expression is compared with, or looked up by: a part for each part of the concatenation.
///
/// It borrows as a slice, so a map keyed by it can be asked with an array.
#[derive(Clone, Debug)]
pub struct Key(Spans);

/// Most keys have one part, and need no memory of their own.
#[derive(Clone, Debug)]
enum Spans {
    One(Span),
    Many(Box<[Span]>),
}

impl Key {
    /// A key of one value.
    #[must_use]
    pub fn one(value: Value) -> Self {
        Self(Spans::One(Span::One(value)))
    }

    /// Whether it holds the values, of which there is one for each part. `*` alone holds any.
    #[must_use]
    pub fn contains(&self, values: &[Value]) -> bool {
        match &**self {
            [Span::Any] => true,
            spans => {
                spans.len() == values.len()
                    && spans
                        .iter()
                        .zip(values)
                        .all(|(span, value)| span.contains(value))
            }
        }
    }

    /// Whether each part is one value: such a key is found by its hash.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.iter().all(|span| matches!(span, Span::One(_)))
    }
}

impl Deref for Key {
    type Target = [Span];

    fn deref(&self) -> &[Span] {
        match &self.0 {
            Spans::One(span) => std::slice::from_ref(span),
            Spans::Many(spans) => spans,
        }
    }
}

impl Borrow<[Span]> for Key {
    fn borrow(&self) -> &[Span] {
        self
    }
}

// A key compares and hashes as the slice does that it borrows as.

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(other)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl From<Span> for Key {
    fn from(span: Span) -> Self {
        Self(Spans::One(span))
    }
}

impl<const N: usize> From<[Span; N]> for Key {
    fn from(spans: [Span; N]) -> Self {
        Self(Spans::Many(Box::new(spans)))
    }
}

impl From<Vec<Span>> for Key {
    fn from(mut spans: Vec<Span>) -> Self {
        match spans.pop() {
            Some(only) if spans.is_empty() => Self(Spans::One(only)),
            last => {
                spans.extend(last);
                Self(Spans::Many(spans.into()))
            }
        }
    }
}

impl FromIterator<Span> for Key {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        spans.into_iter().collect::<Vec<_>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexmap::IndexMap;

    #[test]
    fn a_map_of_keys_is_asked_with_spans() {
        let one = || Span::port(80);
        let keys = [
            Key::one(Value::Port(80)),
            Key::from([one(), one()]),
            Key::from(vec![Span::Any]),
        ];
        let map: IndexMap<Key, usize> = keys.into_iter().zip(0..).collect();
        assert_eq!(map.get([one()].as_slice()), Some(&0));
        assert_eq!(map.get([one(), one()].as_slice()), Some(&1));
        assert_eq!(map.get([Span::Any].as_slice()), Some(&2));
        assert_eq!(map.get([one(), Span::Any].as_slice()), None);
    }

    #[test]
    fn one_part_is_the_same_however_it_is_given() {
        let span = Span::port(80);
        assert_eq!(Key::from([span.clone()]), Key::from(span.clone()));
        assert_eq!(Key::from(vec![span.clone()]), Key::from(span));
    }

    #[test]
    fn a_span_holds_values_of_its_type_between_its_ends() {
        let ports = Span::Range(Value::Port(80), Value::Port(90));
        assert!(ports.contains(&Value::Port(80)) && ports.contains(&Value::Port(90)));
        assert!(!ports.contains(&Value::Port(91)) && !ports.contains(&Value::Number(85)));
        let net = Span::Prefix("10.0.0.0/8".parse().unwrap());
        assert!(net.contains(&Value::Address("10.1.2.3".parse().unwrap())));
        let ports = Span::InterfacePrefix(DeviceName::literal("eth"));
        assert!(ports.contains(&Value::Interface(DeviceName::ETH0)));
        assert!(!ports.contains(&Value::Interface(DeviceName::LO)));
    }
}
