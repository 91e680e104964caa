//! Compiles a rule set into a classifier: rules in, a [`Decision`] per packet out.
//!
//! The meaning of a rule set is defined by `podwire-interp`; this crate must agree with it on every
//! packet, rule for rule and choice for choice (`tests/agrees_with_interp.rs`), and shares no matching
//! code with it.
//!
//! # Map
//! - [`Matcher::decide`]: **the hot function**, in `decide`: one packet, or a batch. It answers at once what
//!   a table of Services (`dispatch`) or the trees of a firewall (`boxes`, by `at_once`) hold whole.
//! - [`Matcher::classify`](Classify::classify): the same with every rule on the way; the general walk, in
//!   `walk`, is what both fall back on.
//! - [`Matcher::new`], [`Matcher::read`]: compilation. `lower` makes each rule small by itself, `plan` gives
//!   each chain its form, `fold` turns chains that end in one of several translations into one choice.
//! - `behind`: what is left to ask where the first table has nothing: NodePorts, and the policy.
//! - `program`: what the compiler writes and the walk reads.
//! - Forms of a run of rules: `dispatch` (destination, protocol and port), `tuple_space` (hash tables, one a
//!   kind of rule), `boxes` (prefixes and ranges), or a list. [`Matcher::plan`] says which were chosen.
//! - [`Live`]: rules that change, a chain at a time. [`Shared`] and [`Overlay`]: rules that many nodes have
//!   nearly alike. What they and one matcher have in common for a walk is in `code`.
//! - [`NftMatcher`]: the same of nftables, a walk of its own, in `nft`.
//! - `fields`: a packet's headers as numbers; `view`: the packet as rules have changed it; `test`: what a rule
//!   asks; `addrtype`, `sets`, `memory` belong to it.
//!
//! # Cost
//! A Service with at most five endpoints of one port (two of IPv6) is one entry of 32 bytes (64) behind two
//! bytes of a pilot table; one with more is two more loads. A packet that no Service has costs that entry and
//! what is behind the table: for kube-proxy's rules whether the destination is the host's, and then an entry
//! of the table of NodePorts. A block of hash tables costs a probe for each kind
//! of rule in it, at most six, and then what is left to ask of the rules found; trees cost what `boxes` says.
//! A list costs each of its rules. A rule takes 28 bytes, and 16 (48 for IPv6) for each test that no other
//! rule shares. No allocation (`tests/allocations.rs`), but for effects and for more than 16 chains on the
//! way.
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
mod at_once;
mod behind;
mod boxes;
mod brief;
mod code;
mod compile;
mod decide;
mod dispatch;
mod explain;
mod fields;
mod fold;
mod hook_entry;
mod live;
mod lower;
mod memory;
mod nft;
mod overlay;
mod plan;
mod prefetch;
mod program;
mod read;
mod sets;
mod test;
mod tuple_space;
mod view;
mod walk;

use podwire_packet::Family;
use podwire_ruleset::nft as tables;
use podwire_ruleset::{
    CallGraph, Choose, Classify, Decision, Hook, LinkError, Observe, Packet, RuleSet, State,
    TableName,
};

pub use crate::brief::{Brief, Nat};
use crate::decide::AtHook;
pub use crate::explain::{BlockPlan, ChainPlan};
use crate::fields::{Fields, Narrow, Wide};
pub use crate::hook_entry::HookEntry;
use crate::hook_entry::OfFamily;
pub use crate::live::{ChangeError, Live};
pub use crate::nft::NftMatcher;
pub use crate::overlay::{Overlay, Shared};
use crate::program::Program;
pub use crate::read::CompileError;
use crate::walk::Outcome;

/// A compiled rule set.
#[derive(Clone, Debug)]
pub struct Matcher {
    tables: Tables,
    nft: Option<Box<NftMatcher>>,
}

/// Programs by table.
type Programs<F> = [Option<Program<F>>; TableName::ALL.len()];

/// Each family has its own form of headers.
#[derive(Clone, Debug)]
enum Tables {
    Ipv4(Box<Programs<Narrow>>),
    Ipv6(Box<Programs<Wide>>),
}

fn compile_all<F: Fields>(rules: &RuleSet) -> Box<Programs<F>> {
    Box::new(TableName::ALL.map(|name| {
        let table = rules.tables.get(&name)?;
        Some(compile::compile(name, table))
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
                Family::Ipv4 => Tables::Ipv4(compile_all(rules)),
                Family::Ipv6 => Tables::Ipv6(compile_all(rules)),
            },
            nft: None,
        })
    }

    /// The same rules, with nftables' beside them.
    #[must_use]
    pub fn with_nft(mut self, nft: NftMatcher) -> Self {
        self.nft = Some(Box::new(nft));
        self
    }
}

impl Matcher {
    /// A table at a hook, to be asked about one packet after another.
    #[inline]
    #[must_use]
    pub fn at(&self, table: TableName, hook: Hook) -> HookEntry<'_> {
        HookEntry(match &self.tables {
            Tables::Ipv4(of) => match &of[table as usize] {
                Some(program) => OfFamily::Ipv4(AtHook::new(program, hook)),
                None => OfFamily::Empty,
            },
            Tables::Ipv6(of) => match &of[table as usize] {
                Some(program) => OfFamily::Ipv6(AtHook::new(program, hook)),
                None => OfFamily::Empty,
            },
        })
    }

    /// What `table` says about the packet at its hook, without the rules on the way: the fast way to
    /// ask, and [`at`](Self::at) is faster still for many packets of a hook. Allocates nothing, unless a
    /// rule remembers or chains call each other more than 16 deep.
    #[inline]
    #[must_use]
    pub fn decide(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'_> {
        self.at(table, packet.hook).decide(packet, state, choose)
    }
}

/// A decision with all that a walk left.
fn whole(outcome: Outcome<'_>) -> Decision {
    let brief = outcome.brief;
    Decision {
        verdict: brief.verdict,
        mark: brief.mark,
        conntrack_mark: brief.conntrack_mark,
        nat: brief.nat.to_range(),
        notrack: brief.notrack,
        trace: brief.trace,
        effects: outcome.effects,
        uncertain: outcome.uncertain,
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
                Some(program) => whole(program.run(packet, state, choose, observe)),
                None => Decision::accept(packet),
            },
            Tables::Ipv6(of) => match &of[table as usize] {
                Some(program) => whole(program.run(packet, state, choose, observe)),
                None => Decision::accept(packet),
            },
        }
    }

    fn base_chains(&self, hook: Hook) -> &[tables::HookedChain] {
        let nft = self.nft.as_ref();
        nft.map_or(&[], |nft| nft.base_chains(hook))
    }

    fn classify_chain(
        &self,
        chain: tables::BaseChainId,
        packet: &Packet<'_>,
        state: &tables::State,
        choose: &mut impl Choose,
        observe: &mut impl tables::Observe,
    ) -> tables::Decision {
        match &self.nft {
            Some(nft) => nft.classify(chain, packet, state, choose, observe),
            None => Decision::accept(packet),
        }
    }
}
