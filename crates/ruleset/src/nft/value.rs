//! What packets are compared with.

use std::borrow::Borrow;
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<[Span]>);

impl Key {
    /// A key of one value.
    #[must_use]
    pub fn one(value: Value) -> Self {
        Self(Box::new([Span::One(value)]))
    }

    /// Whether it holds the values, of which there is one for each part. `*` alone holds any.
    #[must_use]
    pub fn contains(&self, values: &[Value]) -> bool {
        match &*self.0 {
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
        self.0.iter().all(|span| matches!(span, Span::One(_)))
    }
}

impl Deref for Key {
    type Target = [Span];

    fn deref(&self) -> &[Span] {
        &self.0
    }
}

impl Borrow<[Span]> for Key {
    fn borrow(&self) -> &[Span] {
        &self.0
    }
}

impl From<Span> for Key {
    fn from(span: Span) -> Self {
        Self(Box::new([span]))
    }
}

impl<const N: usize> From<[Span; N]> for Key {
    fn from(spans: [Span; N]) -> Self {
        Self(Box::new(spans))
    }
}

impl From<Vec<Span>> for Key {
    fn from(spans: Vec<Span>) -> Self {
        Self(spans.into())
    }
}

impl FromIterator<Span> for Key {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        Self(spans.into_iter().collect())
    }
}
