//! What a statement reads from a packet.

use podwire_packet::Family;

use super::Value;
use crate::{CtDirection, L4};

/// A field of the packet's headers.
///
/// A field asks for its protocol too: `tcp dport 80` holds of TCP only, and `ip saddr` in a table of
/// family `inet` of IPv4 only (`payload_gen_dependency`, src/payload.c). `th` asks for no protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// `ip saddr`, `ip6 saddr`.
    Saddr(Family),
    /// `ip daddr`, `ip6 daddr`.
    Daddr(Family),
    /// `ip protocol`, `ip6 nexthdr`.
    Protocol(Family),
    /// `tcp sport` and its like; `th sport` without a protocol.
    Sport(Option<L4>),
    /// `tcp dport` and its like; `th dport` without a protocol.
    Dport(Option<L4>),
    /// `icmp type`, `icmpv6 type`.
    IcmpType(Family),
}

/// What the kernel keeps beside the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetaKey {
    /// `meta l4proto`.
    L4proto,
    /// `meta nfproto`.
    Nfproto,
    /// `meta mark`, `mark`.
    Mark,
    /// `iif`: the device that it came in by.
    Iif,
    /// `oif`: the device that it leaves by.
    Oif,
    /// `iifname`.
    Iifname,
    /// `oifname`.
    Oifname,
}

/// What connection tracking says of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CtKey {
    /// `ct state`.
    State,
    /// `ct status`.
    Status,
    /// `ct mark`.
    Mark,
    /// `ct direction`.
    Direction,
    /// `ct original ip saddr` and its like.
    Saddr(CtDirection, Family),
    /// `ct original ip daddr` and its like.
    Daddr(CtDirection, Family),
    /// `ct original proto-src`.
    ProtoSrc(CtDirection),
    /// `ct original proto-dst`.
    ProtoDst(CtDirection),
    /// `ct original protocol`.
    Protocol(CtDirection),
}

/// How `numgen` makes its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NumgenMode {
    /// By chance, every number as likely as another.
    Random,
    /// One after the other.
    Inc,
}

/// What `fib` looks up by: a bit for each word, joined with ` . ` in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FibSelectors(pub u8);

impl FibSelectors {
    /// `saddr`: the source address.
    pub const SADDR: Self = Self(1);
    /// `daddr`: the destination address.
    pub const DADDR: Self = Self(1 << 1);
    /// `mark`: with the packet's mark.
    pub const MARK: Self = Self(1 << 2);
    /// `iif`: on the device that it came in by.
    pub const IIF: Self = Self(1 << 3);
    /// `oif`: on the device that it leaves by.
    pub const OIF: Self = Self(1 << 4);

    /// Every selector with its word.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("saddr", Self::SADDR),
        ("daddr", Self::DADDR),
        ("mark", Self::MARK),
        ("iif", Self::IIF),
        ("oif", Self::OIF),
    ];

    /// Both sets together.
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

/// What `fib` answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FibResult {
    /// `type`: the kind of the address.
    Type,
    /// `oif`: the device of the route; compared with a device, or `exists` and `missing`.
    Oif,
    /// `oifname`: its name.
    Oifname,
}

/// What a statement reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expression {
    /// A header field.
    Payload(Payload),
    /// `meta …`.
    Meta(MetaKey),
    /// `ct …`.
    Ct(CtKey),
    /// `fib saddr . iif oif`.
    Fib {
        /// What is looked up.
        selectors: FibSelectors,
        /// What is answered.
        result: FibResult,
    },
    /// `numgen random mod 3 offset 1`: a number from `offset` to `offset` + `modulus` − 1.
    Numgen {
        /// How.
        mode: NumgenMode,
        /// How many numbers there are; at least 1.
        modulus: u32,
        /// The first of them.
        offset: u32,
    },
    /// `mark and 0x4000`: bits of a mark, or of an address.
    Masked(Box<Self>, Value),
    /// `ip daddr . meta l4proto . th dport`.
    Concat(Vec<Self>),
}

impl Expression {
    /// The parts of a concatenation; the expression alone if it is none.
    #[must_use]
    pub fn parts(&self) -> &[Self] {
        if let Self::Concat(parts) = self {
            parts
        } else {
            std::slice::from_ref(self)
        }
    }

    /// Whether its value is left to chance.
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.parts().iter().any(|part| match part {
            Self::Numgen { mode, .. } => *mode == NumgenMode::Random,
            Self::Masked(inner, _) => inner.is_random(),
            Self::Payload(_) | Self::Meta(_) | Self::Ct(_) | Self::Fib { .. } | Self::Concat(_) => {
                false
            }
        })
    }
}
