//! Matchers of many nodes: what they share is compiled once, and a node has only what differs.
//!
//! kube-proxy's rules are nearly the same on every node. [`Shared`] is the matcher of one node's rules, and
//! [`Shared::overlay`] that of another's, found by comparing. It decides as [`Matcher::new`] of those rules
//! does, to the number of a rule and the endpoint of a draw.
//!
//! A chain that differs is the node's own; of a long one, such as KUBE-SERVICES, only the rules that
//! differ. Where nodes differ in one source all over, as with `detectLocalMode: NodeCIDR` in the range of
//! their own pods, that source is kept once. Rules in shared chains that lead to a chain which differs are
//! put in where they fold to something else. A table more than half of which would be the node's own is
//! compiled by itself.
//!
//! # Map
//! - `compare`: which chains differ, and in which rules. `assemble` makes a `part` of them, `splice` a long
//!   chain of which some rules are shared. `reach`: where packets of the node come to.
//! - `decide`: **the hot function**, one more probe than in a matcher. `walk::spliced` is the way through
//!   a long chain.
//! - `runs`: where the items of one list stand in another.
//!
//! # Cost
//! A part takes what its rules take in a [`Matcher`], and some 2 kB. Making it looks at every chain of the
//! node; chains that both rule sets share in memory are not compared.

mod assemble;
mod compare;
mod decide;
mod part;
mod reach;
mod runs;
mod splice;

use std::collections::BTreeMap;
use std::sync::Arc;

use podwire_packet::{Family, Headers};
use podwire_ruleset::{
    CallGraph, ChainId, Choose, Classify, Decision, Draw, Hook, LinkError, Observe, Packet,
    RuleSet, State, Table, TableName,
};

use self::assemble::Assembly;
use self::compare::{Difference, is_all_or_one};
use self::part::{Part, Patched};
use crate::brief::Brief;
use crate::decide::AtHook;
use crate::fields::{Fields, Narrow, Wide};
use crate::live::callers::Callers;
use crate::program::{Program, to_u32};
use crate::test::{Masked, Test};
use crate::{Matcher, Programs, Tables, compile, walk, whole};

pub(crate) use self::splice::Splice;

/// Rules that many nodes have nearly alike, compiled.
#[derive(Clone, Debug)]
pub struct Shared {
    rules: RuleSet,
    matcher: Matcher,
    indexes: Indexes,
}

/// What is known of each table beside its program.
#[derive(Clone, Debug)]
enum Indexes {
    Ipv4([Option<Index<Narrow>>; TableName::ALL.len()]),
    Ipv6([Option<Index<Wide>>; TableName::ALL.len()]),
}

/// What a comparison looks up.
#[derive(Clone, Debug)]
struct Index<F: Fields> {
    callers: Callers,
    /// Chains that name a source, by its number and mask, ascending; not those of all or one.
    sources: BTreeMap<(F::Address, F::Address), Vec<ChainId>>,
    /// Jumps that walks go through, since they are not folded: chain and how many rules stand before,
    /// ascending.
    open: Vec<(ChainId, u32)>,
}

/// A table that nodes share.
struct Common<'a, F: Fields> {
    table: &'a Table,
    program: &'a Program<F>,
    index: &'a Index<F>,
}

impl<F: Fields> Index<F> {
    fn of(program: &Program<F>) -> Self {
        let mut sources: BTreeMap<_, Vec<ChainId>> = BTreeMap::new();
        for chain in (0..program.chains.len()).map(|index| ChainId(to_u32(index))) {
            for test in program
                .rules_of(chain)
                .iter()
                .flat_map(|rule| program.tests_of(rule))
            {
                if let Test::Source(source) = test
                    && !is_all_or_one::<F>(source.mask)
                {
                    let chains = sources.entry((source.value, source.mask)).or_default();
                    if chains.last() != Some(&chain) {
                        chains.push(chain);
                    }
                }
            }
        }
        Self {
            callers: Callers::of(program),
            sources,
            open: reach::open_jumps(program),
        }
    }

    /// The chains that name a source.
    fn naming(&self, source: &Masked<F::Address>) -> &[ChainId] {
        let chains = self.sources.get(&(source.value, source.mask));
        chains.map_or(&[], Vec::as_slice)
    }
}

impl Shared {
    /// Compiles the rules of one of the nodes.
    ///
    /// # Errors
    /// As [`Matcher::new`].
    pub fn new(rules: RuleSet) -> Result<Self, LinkError> {
        let matcher = Matcher::new(&rules)?;
        let indexes = match &matcher.tables {
            Tables::Ipv4(of) => Indexes::Ipv4(of.each_ref().map(|of| of.as_ref().map(Index::of))),
            Tables::Ipv6(of) => Indexes::Ipv6(of.each_ref().map(|of| of.as_ref().map(Index::of))),
        };
        Ok(Self {
            rules,
            matcher,
            indexes,
        })
    }

    /// The matcher of the rules that it was made of.
    #[must_use]
    pub const fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// The matcher of a node's rules, which may differ in anything.
    ///
    /// # Errors
    /// As [`Matcher::new`].
    pub fn overlay(self: &Arc<Self>, node: &RuleSet) -> Result<Overlay, LinkError> {
        let parts = match (&self.matcher.tables, &self.indexes, node.family) {
            (Tables::Ipv4(of), Indexes::Ipv4(indexes), Family::Ipv4) => {
                Parts::Ipv4(Box::new(self.parts(of, indexes, node)?))
            }
            (Tables::Ipv6(of), Indexes::Ipv6(indexes), Family::Ipv6) => {
                Parts::Ipv6(Box::new(self.parts(of, indexes, node)?))
            }
            // Rules of the other family share nothing.
            _ => match Matcher::new(node)?.tables {
                Tables::Ipv4(of) => Parts::Ipv4(Box::new(of.map(Own::alone))),
                Tables::Ipv6(of) => Parts::Ipv6(Box::new(of.map(Own::alone))),
            },
        };
        Ok(Overlay {
            shared: Arc::clone(self),
            parts,
        })
    }

    fn parts<F: Fields>(
        &self,
        programs: &Programs<F>,
        indexes: &[Option<Index<F>>; TableName::ALL.len()],
        node: &RuleSet,
    ) -> Result<[Own<F>; TableName::ALL.len()], LinkError> {
        let mut parts = TableName::ALL.map(|_| Own::Nothing);
        for (name, part) in TableName::ALL.into_iter().zip(&mut parts) {
            let Some(table) = node.tables.get(&name) else {
                continue;
            };
            let place = name as usize;
            *part = match (
                self.rules.tables.get(&name),
                &programs[place],
                &indexes[place],
            ) {
                (Some(common), Some(program), Some(index)) => {
                    let common = Common {
                        table: common,
                        program,
                        index,
                    };
                    part_of(&common, name, table)?
                }
                _ => alone(name, table)?,
            };
        }
        Ok(parts)
    }
}

fn part_of<F: Fields>(
    common: &Common<'_, F>,
    name: TableName,
    node: &Table,
) -> Result<Own<F>, LinkError> {
    let difference = Difference::of(common, node);
    let policies = |table: &Table| Hook::ALL.map(|hook| Some(table.at(hook)?.1.built_in));
    if difference.is_none(common.table) && policies(common.table) == policies(node) {
        return Ok(Own::Same);
    }
    CallGraph::of(name, node)?;
    let assembly = Assembly {
        common,
        node,
        difference,
    };
    Ok(match assembly.part() {
        Some(part) => Own::Part(Box::new(part)),
        None => Own::Alone(Box::new(compile::compile(name, node))),
    })
}

/// A table that shares nothing.
fn alone<F: Fields>(name: TableName, table: &Table) -> Result<Own<F>, LinkError> {
    CallGraph::of(name, table)?;
    Ok(Own::Alone(Box::new(compile::compile(name, table))))
}

/// The matcher of a node's rules, most of which other nodes have too.
#[derive(Clone, Debug)]
pub struct Overlay {
    shared: Arc<Shared>,
    parts: Parts,
}

#[derive(Clone, Debug)]
enum Parts {
    Ipv4(Box<[Own<Narrow>; TableName::ALL.len()]>),
    Ipv6(Box<[Own<Wide>; TableName::ALL.len()]>),
}

/// What a node has of a table.
#[derive(Clone, Debug)]
enum Own<F: Fields> {
    /// No such table.
    Nothing,
    /// The common one.
    Same,
    /// The common one, in part.
    Part(Box<Part<F>>),
    /// One that shares nothing.
    Alone(Box<Program<F>>),
}

impl<F: Fields> Own<F> {
    fn alone(program: Option<Program<F>>) -> Self {
        program.map_or(Self::Nothing, |program| Self::Alone(Box::new(program)))
    }

    fn rules(&self) -> usize {
        match self {
            Self::Nothing | Self::Same => 0,
            Self::Part(part) => part.own.rules.len(),
            Self::Alone(program) => program.rules.len(),
        }
    }

    fn asked<'m>(&'m self, common: Option<&'m Program<F>>) -> Option<Asked<'m, F>> {
        Some(match self {
            Self::Nothing => return None,
            Self::Same => Asked::Program(common?),
            Self::Part(part) => Asked::Patched(Patched {
                common: common?,
                part,
            }),
            Self::Alone(program) => Asked::Program(program),
        })
    }
}

/// A table as it is asked.
enum Asked<'m, F: Fields> {
    Program(&'m Program<F>),
    Patched(Patched<'m, F>),
}

impl<'m, F: Fields> Asked<'m, F> {
    #[inline]
    fn decide(
        &self,
        packet: &Packet<'_>,
        headers: &Headers,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        match self {
            Self::Program(program) => {
                AtHook::new(program, packet.hook).decide(packet, headers, state, choose)
            }
            Self::Patched(patched) => patched.decide(packet, headers, state, choose),
        }
    }

    fn decide_batch(
        &self,
        packets: &[Packet<'_>],
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        let Some(like) = packets.first() else {
            return;
        };
        match self {
            Self::Program(program) => {
                AtHook::new(program, like.hook).decide_batch(packets, like, state, draws, out);
            }
            Self::Patched(patched) => {
                for (at, (packet, brief)) in packets.iter().zip(out).enumerate() {
                    *brief = patched.decide(packet, &packet.headers, state, &mut draws(at));
                }
            }
        }
    }

    fn classify(
        &self,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Decision {
        whole(match self {
            Self::Program(program) => program.run(packet, state, choose, observe),
            Self::Patched(patched) => walk::run(*patched, packet, state, choose, observe),
        })
    }

    fn has_rules(&self, hook: Hook) -> bool {
        match self {
            Self::Program(program) => program.has_rules(hook),
            Self::Patched(patched) => patched.has_rules(hook),
        }
    }
}

/// Evaluates an expression for the table of that name, whatever the family, if there is one.
macro_rules! with_table {
    ($overlay:expr, $table:expr, |$asked:ident| $then:expr) => {
        match (&$overlay.parts, &$overlay.shared.matcher.tables) {
            (Parts::Ipv4(own), Tables::Ipv4(of)) => own[$table as usize]
                .asked(of[$table as usize].as_ref())
                .map(|$asked| $then),
            (Parts::Ipv6(own), Tables::Ipv6(of)) => own[$table as usize]
                .asked(of[$table as usize].as_ref())
                .map(|$asked| $then),
            (Parts::Ipv4(own), Tables::Ipv6(_)) => {
                own[$table as usize].asked(None).map(|$asked| $then)
            }
            (Parts::Ipv6(own), Tables::Ipv4(_)) => {
                own[$table as usize].asked(None).map(|$asked| $then)
            }
        }
    };
}

impl Overlay {
    /// How many rules the node does not share, as they are compiled.
    #[must_use]
    pub fn own_rules(&self) -> usize {
        match &self.parts {
            Parts::Ipv4(own) => own.iter().map(Own::rules).sum(),
            Parts::Ipv6(own) => own.iter().map(Own::rules).sum(),
        }
    }

    /// As [`Matcher::decide`].
    #[inline]
    #[must_use]
    pub fn decide(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'_> {
        let decided = with_table!(self, table, |asked| asked.decide(
            packet,
            &packet.headers,
            state,
            choose
        ));
        decided.unwrap_or_else(|| Brief::accept(packet))
    }

    /// As [`HookEntry::decide_batch`](crate::HookEntry::decide_batch); packets are decided one after another.
    ///
    /// # Panics
    /// If `out` is shorter than `packets`.
    pub fn decide_batch<'m>(
        &'m self,
        table: TableName,
        packets: &[Packet<'_>],
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        let out = &mut out[..packets.len()];
        let draws = &draws;
        let decided = with_table!(self, table, |asked| asked
            .decide_batch(packets, state, draws, out));
        if decided.is_none() {
            for (packet, brief) in packets.iter().zip(out) {
                *brief = Brief::accept(packet);
            }
        }
    }
}

impl Classify for Overlay {
    fn has_rules(&self, table: TableName, hook: Hook) -> bool {
        with_table!(self, table, |asked| asked.has_rules(hook)).unwrap_or(false)
    }

    fn classify(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Decision {
        let decided = with_table!(self, table, |asked| asked
            .classify(packet, state, choose, observe));
        decided.unwrap_or_else(|| Decision::accept(packet))
    }
}
