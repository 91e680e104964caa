//! Compiles nftables: a rule set in, a [`Decision`] of a base chain per packet out.
//!
//! A table becomes a [`Program`]: chains are places, statements steps, and all that a rule reads is a number
//! of a kind that is known beforehand, so that constants are compared as numbers and the keys of sets and
//! maps are packed and hashed as one.
//!
//! # Map
//! - [`NftMatcher::classify`]: **the hot function**; its walk is in `walk`.
//! - `compile`: rules to steps. `program`: what it writes and the walk reads.
//! - `field`: what is read from a packet, as numbers. `span`: values, ranges and prefixes of them.
//! - `index`: which element of a set or map holds the numbers that were read.
//! - `memory`: elements that rules put into sets, buckets, counts.
//!
//! # Cost
//! A rule costs the tests up to the first that fails; a set or map of exact keys one probe, whatever its
//! size, and one of prefixes and ranges a binary search. What several parts with prefixes or ranges are
//! looked up in is a list. `numgen random mod n vmap` is one draw and one load. No allocation but for
//! effects.
//!
//! # Departures
//! As those of `podwire-interp`.
//!
//! # Sources
//! Linux: `nft_do_chain`, net/netfilter/nf_tables_core.c; `nft_set_hash.c` and `nft_set_rbtree.c` for what
//! sets hold; statements where they are followed. nft(8).

mod compile;
mod field;
mod index;
mod memory;
mod program;
mod span;
mod walk;

use podwire_packet::Family;
use podwire_ruleset::nft::{
    BaseChainId, Decision, HookedChain, LinkError, Observe, RuleSet, State, check,
};
use podwire_ruleset::{Choose, Hook, Packet};

use program::Program;

/// The compiled nftables of a namespace, to be asked about packets of one family.
#[derive(Clone, Debug)]
pub struct NftMatcher {
    /// By table; none for a table that does not see packets of the family.
    programs: Vec<Option<Program>>,
    /// Base chains of each hook, in the order of [`Hook::ALL`].
    hooks: [Vec<HookedChain>; 5],
}

impl NftMatcher {
    /// Compiles those tables of a rule set that see packets of `family`.
    ///
    /// # Errors
    /// [`LinkError`] where a rule leads to a chain or set that does not exist or does not fit, or chains
    /// call each other in a circle.
    pub fn new(rules: &RuleSet, family: Family) -> Result<Self, LinkError> {
        check(rules)?;
        let tables = (0..).zip(rules.tables.values());
        let programs = tables.map(|(place, table)| {
            let sees = table.family.sees(family);
            sees.then(|| compile::compile(place, table))
        });
        Ok(Self {
            programs: programs.collect(),
            hooks: rules.hooked(family),
        })
    }

    /// The base chains of a hook, in the order in which the kernel asks them.
    #[must_use]
    pub fn base_chains(&self, hook: Hook) -> &[HookedChain] {
        &self.hooks[hook as usize]
    }

    /// What a base chain says about the packet. It is accepted if there is no such chain.
    pub fn classify(
        &self,
        base: BaseChainId,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Decision {
        match self.programs.get(base.table as usize) {
            Some(Some(program)) => program.run(base, packet, state, choose, observe),
            Some(None) | None => Decision::accept(packet),
        }
    }
}
