//! Compiles a rule set into a classifier: rules in, a [`Decision`] per packet out.
//!
//! The meaning of a rule set is defined by `podwire-interp`; this crate must agree with it on every
//! packet, rule for rule and choice for choice (`tests/agrees_with_interp.rs`), and shares no matching
//! code with it.
//!
//! # Map
//! - [`Matcher::new`]: compilation, in `compile`. Chains become blocks; a run of rules that test
//!   addresses, protocol or ports for equality becomes hash tables (`tuple_space`), whatever fits
//!   nothing stays a list.
//! - [`Matcher::classify`](Classify::classify): **the hot path**, in `walk`.
//! - `fold`: chains that end in one of several translations, as one choice.
//! - `fields`: a packet's headers as numbers; `view`: the packet as rules have changed it.
//! - `test`: what a rule still has to ask; `addrtype`, `sets`, `memory` belong to it.
//!
//! # Cost
//! A block of hash tables costs a probe for each kind of rule in it (a kind is which fields are
//! tested, and prefix lengths), at most six, and then the residual tests of the rules found. A list
//! costs each of its rules: many prefix lengths, ranges of ports and `!` are lists. A rule takes 64
//! bytes and its residual tests. No allocation (`tests/allocations.rs`), but for effects and for more
//! than 16 chains on the way.
//!
//! # Chance
//! With an observer that listens, choices are asked for one by one, as `podwire-interp` asks for them:
//! one [`Draw`](podwire_ruleset::Draw) gives both the same answer. With a silent one a folded chain is
//! one choice ([`Choose::even_ladder`]): a `Draw` may then choose another endpoint, of the same
//! distribution to 2^-28. [`outcomes`](podwire_ruleset::outcomes) are the same either way.
//!
//! # Departures
//! As those of `podwire-interp`.

mod addrtype;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the compiler does not use it yet")
)]
mod boxes;
mod compile;
mod fields;
mod fold;
mod memory;
mod sets;
mod test;
mod tuple_space;
mod view;
mod walk;

use podwire_packet::Family;
use podwire_ruleset::{
    CallGraph, Choose, Classify, Decision, Hook, LinkError, Observe, Packet, RuleSet, State,
    TableName,
};

use crate::compile::Program;
use crate::fields::{Fields, Narrow, Wide};

/// A compiled rule set.
#[derive(Clone, Debug)]
pub struct Matcher {
    tables: Tables,
}

/// Programs by table.
type Programs<F> = [Option<Program<F>>; TableName::ALL.len()];

/// Each family has its own form of headers.
#[derive(Clone, Debug)]
enum Tables {
    Ipv4(Box<Programs<Narrow>>),
    Ipv6(Box<Programs<Wide>>),
}

fn compile<F: Fields>(rules: &RuleSet) -> Box<Programs<F>> {
    Box::new(TableName::ALL.map(|name| {
        let table = rules.tables.get(&name)?;
        Some(Program::of(name, table))
    }))
}

impl Matcher {
    /// Compiles a rule set that the kernel would take.
    ///
    /// # Errors
    /// [`LinkError`] where a rule jumps to a chain that does not exist, or chains call each other in
    /// a circle.
    pub fn new(rules: &RuleSet) -> Result<Self, LinkError> {
        CallGraph::check(rules)?;
        Ok(Self {
            tables: match rules.family {
                Family::Ipv4 => Tables::Ipv4(compile(rules)),
                Family::Ipv6 => Tables::Ipv6(compile(rules)),
            },
        })
    }
}

impl Classify for Matcher {
    fn has_rules(&self, table: TableName, hook: Hook) -> bool {
        let is_asked = match &self.tables {
            Tables::Ipv4(of) => of[table as usize].as_ref().map(|own| own.has_rules(hook)),
            Tables::Ipv6(of) => of[table as usize].as_ref().map(|own| own.has_rules(hook)),
        };
        is_asked.unwrap_or(false)
    }

    fn classify(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Decision {
        match &self.tables {
            Tables::Ipv4(of) => match &of[table as usize] {
                Some(program) => program.run(table, packet, state, choose, observe),
                None => Decision::accept(packet),
            },
            Tables::Ipv6(of) => match &of[table as usize] {
                Some(program) => program.run(table, packet, state, choose, observe),
                None => Decision::accept(packet),
            },
        }
    }
}
