//! The reference evaluator of nftables: runs a base chain's rules one by one, as `nft_do_chain` does.
//!
//! - [`NftInterp::classify`]: the walk through chains. **Begin here.**
//! - `statement`: what each statement of a rule does.
//! - `expression`: what is read from the packet.
//! - `sets`: sets and maps, with what rules have put into them.
//!
//! # Departures
//! - A rule with something that podwire does not evaluate is passed over, unless a test of it that
//!   podwire knows fails; the decision names the first such rule as
//!   [`uncertain`](podwire_ruleset::Decision::uncertain). `fib … oif` and `oifname`, which ask for a
//!   route, are such.
//! - `th sport` and `th dport` read ports: of a protocol without them, where the kernel reads the bytes
//!   that stand there, they have no value.
//! - Elements that have expired, or that a rule deleted, are not counted against the size of their set:
//!   in the kernel they are until its garbage collection comes to them, within a second.
//! - `ct status` has the bits that podwire keeps; compared for equality (`!=`, or in a set) it differs from
//!   the kernel's where that has others. `ct original proto-dst` of ICMP is the identifier.
//!
//! # Sources
//! Linux: `nft_do_chain`, net/netfilter/nf_tables_core.c; net/netfilter/nft_*.c, each named where it is
//! followed. nft(8).

mod expression;
mod sets;
mod statement;

use std::sync::Arc;

use podwire_packet::Family;
use podwire_ruleset::nft::{
    BaseChainId, Chain, Decision, ElementId, HookedChain, LinkError, Name, Observe, RuleId,
    RuleSet, State, Table, Verdict as RuleVerdict, check,
};
use podwire_ruleset::{ChainId, Choose, Hook, Packet, Policy, Verdict};

use statement::{Ran, Rule};

/// The nftables of a namespace, ready to be asked about packets of one family.
#[derive(Clone, Debug)]
pub struct NftInterp {
    rules: Arc<RuleSet>,
    /// Base chains of each hook, in the order of [`Hook::ALL`].
    hooks: [Vec<HookedChain>; 5],
}

/// Where a walk goes on when a chain ends.
#[derive(Clone, Copy)]
struct Position<'t> {
    id: ChainId,
    chain: &'t Chain,
    /// Rules behind it.
    next: usize,
}

impl NftInterp {
    /// Takes rules that the kernel would take; those that see packets of `family` are asked.
    ///
    /// # Errors
    /// [`LinkError`] where a rule leads to a chain or set that does not exist or does not fit, or chains
    /// call each other in a circle.
    pub fn new(rules: impl Into<Arc<RuleSet>>, family: Family) -> Result<Self, LinkError> {
        let rules = rules.into();
        check(&rules)?;
        let hooks = rules.hooked(family);
        Ok(Self { rules, hooks })
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        &self.rules
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
        let found = self.rules.tables.get_index(base.table as usize);
        let at_start = found.and_then(|(_, table)| Some((table, table.chain(base.chain)?)));
        match at_start {
            Some((table, chain)) => Walk {
                table,
                base,
                packet: *packet,
                decision: Decision::accept(packet),
                state,
                found: None,
            }
            .run(chain, choose, observe),
            None => Decision::accept(packet),
        }
    }
}

/// One walk through a table.
struct Walk<'a> {
    table: &'a Table,
    base: BaseChainId,
    /// The packet, as rules have changed it so far.
    packet: Packet<'a>,
    decision: Decision,
    state: &'a State,
    /// What the rule at work found in a named map.
    found: Option<ElementId>,
}

impl<'a> Walk<'a> {
    fn run(
        mut self,
        base: &'a Chain,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Decision {
        // Where to go on when a chain ends: the rule behind the jump.
        let mut callers: Vec<Position<'a>> = Vec::new();
        let mut at = Position {
            id: self.base.chain,
            chain: base,
            next: 0,
        };
        self.decision.verdict = loop {
            let Some(rule) = at.chain.rules.get(at.next) else {
                match callers.pop() {
                    Some(caller) => at = caller,
                    None => break self.policy(base, observe),
                }
                continue;
            };
            at.next += 1;
            let id = RuleId {
                table: self.base.table,
                chain: at.id,
                number: u32::try_from(at.next).expect("a chain has fewer than 2^32 rules"),
            };
            self.found = None;
            let ran = Rule {
                walk: &mut self,
                id,
            }
            .run(rule, choose);
            match ran {
                Ran::Failed => continue,
                Ran::Unknown => {
                    self.decision.uncertain.get_or_insert(id);
                    continue;
                }
                Ran::Through | Ran::Ended(_) | Ran::Verdict(_) => observe.matched(id, self.found),
            }
            match ran {
                Ran::Failed | Ran::Unknown | Ran::Through => {}
                Ran::Ended(verdict) => break verdict,
                Ran::Verdict(RuleVerdict::Continue) => {}
                Ran::Verdict(RuleVerdict::Accept) => break Verdict::Accept,
                Ran::Verdict(RuleVerdict::Drop) => break Verdict::Drop,
                Ran::Verdict(RuleVerdict::Return) => match callers.pop() {
                    Some(caller) => at = caller,
                    None => break self.policy(base, observe),
                },
                Ran::Verdict(RuleVerdict::Jump(to)) => {
                    callers.push(at);
                    at = self.start_of(to);
                }
                // A goto leaves nothing to come back to: the called chain's end is this one's.
                Ran::Verdict(RuleVerdict::Goto(to)) => at = self.start_of(to),
            }
        };
        self.decision
    }

    /// The beginning of a chain.
    fn start_of(&self, name: &Name) -> Position<'a> {
        let found = self.table.chain_id(name.as_str());
        let chain = found.and_then(|id| Some((id, self.table.chain(id)?)));
        let (id, chain) = chain.expect("NftInterp::new checked every jump");
        Position { id, chain, next: 0 }
    }

    /// What the base chain says at its end.
    fn policy(&self, base: &Chain, observe: &mut impl Observe) -> Verdict {
        observe.policy(self.base);
        match base.base.map(|base| base.policy) {
            Some(Policy::Drop) => Verdict::Drop,
            Some(Policy::Accept) | None => Verdict::Accept,
        }
    }
}
