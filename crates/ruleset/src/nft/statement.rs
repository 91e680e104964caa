//! What a rule is made of.

use std::time::Duration;

use podwire_packet::{Family, Mark};

use super::{Expression, Key, Lookup, Name};
use crate::{Counters, LimitMatch, NatKind, NatRange, RejectWith};

/// What an expression is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A value, a prefix, a range; a part for each part of the expression.
    One(Key),
    /// `{ 10.0.0.0/8, 192.0.2.1 }`, in written order.
    Anonymous(Vec<Key>),
    /// `@set`.
    Named(Name),
}

/// A test; a packet that fails it goes on to the next rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// What is read. A packet that has no such field fails the test, inverted or not.
    pub left: Expression,
    /// Whether `!=` stands between.
    pub inverted: bool,
    /// What it is compared with.
    pub right: Operand,
}

/// What ends a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The base chain is done with the packet; it goes on to the next.
    Accept,
    /// It is gone.
    Drop,
    /// On to the next rule, as without a verdict.
    Continue,
    /// Back to the rule behind the jump; in a base chain, its policy.
    Return,
    /// Through that chain, then back here.
    Jump(Name),
    /// Through that chain, then back to where this chain was jumped to from.
    Goto(Name),
}

impl Verdict {
    /// The chain that it leads to.
    #[must_use]
    pub const fn chain(&self) -> Option<&Name> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            Self::Accept | Self::Drop | Self::Continue | Self::Return => None,
        }
    }
}

/// Which mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkField {
    /// The packet's: `meta mark`, `mark`.
    Meta,
    /// The connection's: `ct mark`.
    Ct,
}

/// `meta mark set …`: takes a mark, clears the bits that are not in `mask`, then flips those of `value`.
///
/// That is how the kernel holds it (`nft_bitwise`), and every wording comes down to it: `mark or V` is
/// mask `!V` and value `V`, `mark xor V` is mask `!0`, a constant is mask 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetMark {
    /// The mark that is set.
    pub field: MarkField,
    /// The mark that it is made from.
    pub from: MarkField,
    /// Bits to keep.
    pub mask: Mark,
    /// Bits to flip then.
    pub value: Mark,
}

impl SetMark {
    /// `meta mark set V`.
    #[must_use]
    pub const fn constant(value: Mark) -> Self {
        Self {
            field: MarkField::Meta,
            from: MarkField::Meta,
            mask: Mark(0),
            value,
        }
    }

    /// `meta mark set mark or V`.
    #[must_use]
    pub const fn or(value: Mark) -> Self {
        Self {
            field: MarkField::Meta,
            from: MarkField::Meta,
            mask: Mark(!value.0),
            value,
        }
    }

    /// `meta mark set mark xor V`.
    #[must_use]
    pub const fn xor(value: Mark) -> Self {
        Self {
            field: MarkField::Meta,
            from: MarkField::Meta,
            mask: Mark(!0),
            value,
        }
    }

    /// The new mark, made from the old one.
    #[must_use]
    pub const fn apply(&self, mark: Mark) -> Mark {
        Mark((mark.0 & self.mask.0) ^ self.value.0)
    }
}

/// Addresses and ports that a map gives a translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatMap {
    /// What is looked up.
    pub key: Expression,
    /// Where. Its data is an address, or an address and a port.
    pub map: Lookup,
}

/// `dnat to …`, `snat to …`, `masquerade`, `redirect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Which.
    pub kind: NatKind,
    /// `dnat ip to`, in a table of family `inet`.
    pub family: Option<Family>,
    /// Where to, and the words behind it: `random`, `fully-random`, `persistent`.
    pub range: NatRange,
    /// The map that gives the address, and the port if it has one; `range` has no addresses then. A
    /// packet that the map has nothing for goes on to the next rule.
    pub map: Option<Box<NatMap>>,
}

impl Nat {
    /// A translation to a range.
    #[must_use]
    pub const fn to(kind: NatKind, range: NatRange) -> Self {
        Self {
            kind,
            family: None,
            range,
            map: None,
        }
    }
}

/// What a rule does to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetOperation {
    /// `add`: puts the element in if it is not there.
    Add,
    /// `update`: the same, and begins its timeout again.
    Update,
    /// `delete`: takes it out.
    Delete,
}

/// `update @set { ip saddr timeout 60s }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetStatement {
    /// What.
    pub operation: SetOperation,
    /// The set, of this table.
    pub set: Name,
    /// What the element is made of.
    pub key: Expression,
    /// The element's own timeout; the set's if it has none.
    pub timeout: Option<Duration>,
}

/// `limit rate 10/second burst 5 packets`: a token bucket that lets packets through while it has tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Rate and burst.
    pub bucket: LimitMatch,
    /// `over`: holds of packets that find no token.
    pub over: bool,
}

impl Limit {
    /// The size of the bucket, unless said (`limit_burst_pkts`, src/parser_bison.y).
    pub const BURST: u32 = 5;
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A test.
    Match(Match),
    /// `EXPRESSION vmap @map`: the verdict that a map has for the packet. Without one it goes on to the
    /// next rule.
    VerdictMap {
        /// What is looked up.
        key: Expression,
        /// Where.
        map: Lookup,
    },
    /// A verdict.
    Verdict(Verdict),
    /// `reject`: the packet is gone, and its sender is told.
    Reject {
        /// What is told.
        with: RejectWith,
        /// The family of `icmp` and `icmpv6`, where a table of family `inet` names one: the statement
        /// holds of its packets only.
        family: Option<Family>,
    },
    /// `meta mark set`, `ct mark set`.
    SetMark(SetMark),
    /// An address translation.
    Nat(Nat),
    /// Puts an element into a set, or takes it out.
    Set(SetStatement),
    /// `limit rate`.
    Limit(Limit),
    /// `counter`, with what it has counted where the text says so.
    Counter(Option<Counters>),
    /// `log`, with its options as they were written.
    Log(Box<str>),
    /// `notrack`: no connection tracking.
    Notrack,
    /// `meta nftrace set 1`: whether the packet is traced from here on.
    Nftrace(bool),
    /// A statement that podwire does not evaluate, as it was written. It may be a test, or do
    /// something; an answer that depends on it says so.
    Unknown(Box<str>),
}

impl Statement {
    /// A test for equality with one value, range or prefix.
    #[must_use]
    pub fn is(left: Expression, right: impl Into<Key>) -> Self {
        Self::Match(Match {
            left,
            inverted: false,
            right: Operand::One(right.into()),
        })
    }

    /// A test for a difference.
    #[must_use]
    pub fn is_not(left: Expression, right: impl Into<Key>) -> Self {
        Self::Match(Match {
            left,
            inverted: true,
            right: Operand::One(right.into()),
        })
    }

    /// A look into a named set.
    #[must_use]
    pub const fn is_in(left: Expression, set: Name) -> Self {
        Self::Match(Match {
            left,
            inverted: false,
            right: Operand::Named(set),
        })
    }
}
