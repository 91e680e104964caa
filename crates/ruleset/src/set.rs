//! ipsets.
//!
//! Source: ipset(8); net/netfilter/ipset/ip_set_core.c.

mod elements;

pub use elements::{Element, Elements, KeyPart};

use std::net::IpAddr;
use std::ops::RangeInclusive;

use indexmap::IndexMap;
use podwire_packet::{Family, MacAddr, Prefix, Protocol};

/// One part of a set's key: the words behind the colon of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetPart {
    /// `ip`.
    Ip,
    /// `net`.
    Net,
    /// `port`, which is a protocol and a port.
    Port,
    /// `mac`.
    Mac,
    /// `iface`.
    Interface,
    /// `mark`.
    Mark,
    /// `set`: the elements are names of sets.
    Set,
}

/// A set's type, such as `hash:ip,port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetKind {
    /// `hash`, `bitmap` or `list`.
    pub method: Box<str>,
    /// The parts of the key, in order.
    pub parts: Vec<SetPart>,
}

/// One value of an element, a part of the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SetEntry {
    /// An address or prefix.
    Net(Prefix),
    /// Addresses from one to another (bitmap:ip, or a range given to a hash).
    Range(RangeInclusive<IpAddr>),
    /// Ports of a protocol; no protocol in bitmap:port.
    Ports(Option<Protocol>, RangeInclusive<u16>),
    /// An Ethernet address.
    Mac(MacAddr),
    /// Anything else, as it was written: a device, a mark, the name of a set.
    Word(Box<str>),
}

/// A set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpSet {
    /// Its type.
    pub kind: SetKind,
    /// Family of its addresses, where it has any.
    pub family: Family,
    /// Options of `create` behind the type, as they were written.
    pub options: Box<str>,
    /// Elements, in written order.
    pub entries: Elements,
}

/// Sets by name.
pub type Sets = IndexMap<Box<str>, IpSet>;
