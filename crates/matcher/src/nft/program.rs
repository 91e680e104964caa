//! What the compiler writes and the walk reads.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use podwire_packet::{Family, SimTime};
use podwire_ruleset::nft::{RuleId, SetId, SetMark, SetOperation};
use podwire_ruleset::{ChainId, NatKind, NatRange, Policy, RejectWith};

use super::field::Part;
use super::index::Index;
use super::span::{Span, Spans};

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    /// Its place in the rule set.
    pub(super) table: u32,
    /// Chains, in the order of the table.
    pub(super) chains: Vec<Chain>,
    /// Rules of all chains, one chain behind another.
    pub(super) rules: Vec<Rule>,
    /// Steps of all rules, one rule behind another.
    pub(super) steps: Vec<Step>,
    pub(super) tests: Vec<Test>,
    pub(super) lookups: Vec<Lookup>,
    pub(super) translations: Vec<Translation>,
    pub(super) changes: Vec<Change>,
    pub(super) limits: Vec<Limit>,
    pub(super) marks: Vec<SetMark>,
    /// Named sets in the order of the table, then anonymous maps.
    pub(super) sets: Vec<Set>,
    /// Indices of sets, for what is looked up in them.
    pub(super) indices: Vec<Index>,
    /// What maps give translations.
    pub(super) targets: Vec<Target>,
}

/// Rules of a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    pub(super) first: u32,
    pub(super) end: u32,
    /// What a base chain says at its end.
    pub(super) policy: Policy,
}

/// Steps of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) first: u32,
    pub(super) end: u32,
    pub(super) chain: ChainId,
    /// Number within the chain, from 1.
    pub(super) number: u32,
}

impl Rule {
    pub(super) const fn id(&self, table: u32) -> RuleId {
        RuleId {
            table,
            chain: self.chain,
            number: self.number,
        }
    }
}

/// A statement; those that have much to say are in a list of their kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Test(u32),
    VerdictMap(u32),
    Go(Go),
    Reject(RejectWith, Option<Family>),
    SetMark(u32),
    Translate(u32),
    Change(u32),
    Limit(u32),
    Log,
    Notrack,
    Trace(bool),
    Unknown,
}

/// A verdict.
#[derive(Clone, Copy, Debug)]
pub(super) enum Go {
    Accept,
    Drop,
    Continue,
    Return,
    /// To a chain, by its place.
    Jump(u32),
    Goto(u32),
}

/// What is read, and which statement asks.
#[derive(Clone, Debug)]
pub(super) struct Reads {
    pub(super) parts: Box<[Part]>,
    /// Place of the statement in its rule.
    pub(super) statement: u32,
}

/// A test.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pub(super) reads: Reads,
    pub(super) inverted: bool,
    pub(super) wanted: Wanted,
}

/// What a test holds of.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Nothing,
    One(Span),
    Many(Spans),
    /// Any of these bits.
    Bits(u128),
    /// Values of an anonymous set.
    Anonymous(u32),
    /// Values of a named set.
    Named {
        set: u32,
        index: u32,
    },
}

/// A look into a map.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) reads: Reads,
    pub(super) map: u32,
    pub(super) index: u32,
}

/// An address translation.
#[derive(Clone, Debug)]
pub(super) struct Translation {
    pub(super) kind: NatKind,
    pub(super) family: Option<Family>,
    pub(super) range: NatRange,
    /// The place of the lookup that gives the rest.
    pub(super) lookup: Option<u32>,
}

/// `add`, `update` or `delete`.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) reads: Reads,
    pub(super) operation: SetOperation,
    pub(super) set: u32,
    pub(super) index: u32,
    /// How long the element is to stay; for ever if not said.
    pub(super) timeout: Option<Duration>,
}

/// A token bucket, in nanoseconds of its rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) statement: u32,
    /// What a token costs.
    pub(super) token_ns: u64,
    /// What the bucket holds.
    pub(super) size_ns: u64,
    pub(super) over: bool,
}

/// A set or map.
#[derive(Clone, Debug)]
pub(super) struct Set {
    /// Which; none if it is anonymous.
    pub(super) id: Option<SetId>,
    /// How many elements fit.
    pub(super) room: Option<usize>,
    /// Elements as they were declared.
    pub(super) elements: Vec<Element>,
}

/// An element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// When it goes; never if not said.
    pub(super) expires: Option<SimTime>,
    pub(super) value: Mapped,
}

/// What a map has for a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mapped {
    /// Of a set: nothing.
    Nothing,
    Go(Go),
    /// Of a map for translations: a place among the targets.
    Target(u32),
    /// Something that a translation cannot take.
    Other,
}

/// An address, and a port if the map has one.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) addresses: RangeInclusive<IpAddr>,
    pub(super) ports: Option<RangeInclusive<u16>>,
}
