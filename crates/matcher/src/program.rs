//! A table as a program: what the compiler writes and the walk reads.
//!
//! Rules are small and plain; what they need beyond a few bytes stands in pools beside them. Equal
//! tests and targets are kept once, since kube-proxy writes the same few over and over.

use indexmap::IndexSet;
use podwire_packet::Mark;
use podwire_ruleset::{ChainId, Hook, Policy, TableName, Target, Verdict};
use rustc_hash::FxBuildHasher;

use crate::at_once::Ranges;
use crate::behind::Front;
use crate::dispatch::Dispatch;
use crate::fields::Fields;
use crate::fold::Folds;
use crate::test::Test;
use crate::tuple_space::TupleSpace;

/// A rule: 28 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Place of the first test, in the order in which they are asked.
    pub(crate) tests: u32,
    pub(crate) test_count: u32,
    /// How many of the tests, from the first on, one probe of a hash table can make.
    pub(crate) hashable: u8,
    /// How many of them a table of ranges can make; no fewer than `hashable`, or none
    /// where a mask has holes or a field is tested twice.
    pub(crate) boxable: u8,
    /// How many of the tests its block has made already.
    pub(crate) made: u8,
    /// Whether a later fragment fails it: it has a test that looks behind the IP header.
    pub(crate) needs_transport: bool,
    /// Whether it has a test that is not known.
    pub(crate) is_uncertain: bool,
    pub(crate) then: Then,
    /// One more than the place of the fold of the chain that it jumps to; 0 if there is none.
    pub(crate) fold: u32,
}

/// A rule's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It only counts.
    Nothing,
    Jump(ChainId),
    Goto(ChainId),
    /// Place among the changes of marks.
    Mark(u32),
    Accept,
    Drop,
    Return,
    /// Place among the sockets: DNAT to one address.
    Dnat(u32),
    /// Place among the targets.
    Target(u32),
}

impl Then {
    /// The chain that it goes to, if it goes to one.
    pub(crate) const fn chain(self) -> Option<ChainId> {
        if let Self::Jump(to) | Self::Goto(to) = self {
            Some(to)
        } else {
            None
        }
    }
}

/// Bits of the mark to clear, and then to flip; none of either changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct MarkChange {
    pub(crate) value: Mark,
    pub(crate) mask: Mark,
}

impl MarkChange {
    #[inline]
    pub(crate) const fn of(self, mark: Mark) -> Mark {
        Mark((mark.0 & !self.mask.0) ^ self.value.0)
    }

    /// Both as one.
    pub(crate) const fn then(self, next: Self) -> Self {
        Self {
            value: Mark(self.value.0 & !next.mask.0 ^ next.value.0),
            mask: Mark(self.mask.0 | next.mask.0),
        }
    }

    /// Whether doing it twice is doing it once.
    pub(crate) const fn is_idempotent(self) -> bool {
        self.value.0 & !self.mask.0 == 0
    }
}

/// An address, and a port if it is translated too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Socket<A> {
    pub(crate) address: A,
    pub(crate) port: Option<u16>,
}

/// A chain: its rules stand together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chain {
    /// Place of the first rule.
    pub(crate) first: u32,
    pub(crate) len: u32,
    /// One more than the place of its plan; 0 if its rules are asked one by one.
    pub(crate) plan: u32,
    /// Whether a walk can come to it, so that its jumps are folded where they can be.
    pub(crate) is_walked: bool,
}

/// A part of a chain.
#[derive(Clone, Debug)]
pub(crate) enum Block<F: Fields> {
    /// Rules asked one by one: from a place up to another.
    List(u32, u32),
    /// Rules that all compare destination, protocol and port, or all the last two: place of the table of
    /// Services.
    Dispatch(u32),
    /// Rules found by hashing.
    Hashed(TupleSpace<F>),
    /// Rules found by ranges.
    Ranges(Ranges<F>),
}

/// A base chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    pub(crate) chain: ChainId,
    pub(crate) policy: Policy,
}

impl Base {
    /// Of packets that no rule ended.
    pub(crate) const fn verdict(&self) -> Verdict {
        match self.policy {
            Policy::Accept => Verdict::Accept,
            Policy::Drop => Verdict::Drop,
        }
    }
}

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct Program<F: Fields> {
    pub(crate) table: TableName,
    pub(crate) rules: Vec<Rule>,
    pub(crate) chains: Vec<Chain>,
    pub(crate) plans: Vec<Box<[Block<F>]>>,
    pub(crate) tables: Vec<Dispatch<F>>,
    pub(crate) bases: [Option<Base>; Hook::ALL.len()],
    /// The table of Services that every packet of a hook comes to first, if there is one.
    pub(crate) fronts: [Option<Front>; Hook::ALL.len()],
    pub(crate) tests: Vec<Test<F>>,
    pub(crate) sockets: Vec<Socket<F::Address>>,
    pub(crate) marks: IndexSet<MarkChange, FxBuildHasher>,
    pub(crate) targets: Vec<Target>,
    pub(crate) folds: Folds<F>,
    /// Where lists of tests that name no address stand, the first few.
    pub(crate) known_tests: Vec<(u32, u32)>,
    /// What changes have let go of.
    pub(crate) free: Free,
    /// How many rules and folds changes have left behind in the pools.
    pub(crate) garbage: usize,
}

/// Places that are free.
#[derive(Clone, Debug, Default)]
pub(crate) struct Free {
    pub(crate) plans: Vec<u32>,
    pub(crate) tables: Vec<u32>,
}

impl<F: Fields> Program<F> {
    pub(crate) fn has_rules(&self, hook: Hook) -> bool {
        self.bases[hook as usize].is_some_and(|base| {
            base.policy == Policy::Drop || self.chains[base.chain.index()].len > 0
        })
    }

    /// All tests of a rule.
    pub(crate) fn tests_of(&self, rule: &Rule) -> &[Test<F>] {
        let first = rule.tests as usize;
        &self.tests[first..first + rule.test_count as usize]
    }

    /// The rules of a chain.
    pub(crate) fn rules_of(&self, chain: ChainId) -> &[Rule] {
        self.chains.get(chain.index()).map_or(&[], |chain| {
            &self.rules[chain.first as usize..(chain.first + chain.len) as usize]
        })
    }
}

pub(crate) fn to_u32(place: usize) -> u32 {
    u32::try_from(place).expect("a table has fewer than 2^32 of anything")
}
