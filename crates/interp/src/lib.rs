//! The reference evaluator: asks rules one by one, in the kernel's order, and *is* the definition of
//! what a rule set means.
//!
//! A [`RuleSet`] and a [`Packet`] go in, a [`Decision`] comes out, and every rule that matched is told
//! to an observer on the way. It is slow on purpose and meant to be read beside the kernel. Other
//! evaluators must agree with it and share no matching code with it.
//!
//! # Map
//! - [`Interp::classify`](Classify::classify): the walk through chains. **Begin here.**
//! - `rule`: whether a rule's matches hold.
//! - `memory`: the matches that remember: `recent`, `limit`, `statistic --mode nth`.
//! - `ipset`: `-m set`.
//! - [`NftInterp`]: the same for nftables.
//!
//! ```
//! use podwire_interp::Interp;
//! use podwire_packet::{Family, Headers, Mark, Protocol, SimTime};
//! use podwire_ruleset::*;
//!
//! let mut rules = RuleSet::empty(Family::Ipv4);
//! let input = rules.table_mut(TableName::Filter).chain_mut(&Hook::Input.into());
//! let ssh = Match::DestinationPort(L4::Tcp, Inv::is(22..=22));
//! input.rules.push(Rule::to(Target::Drop).when(Match::Protocol(Inv::is(Protocol::TCP))).when(ssh));
//!
//! let host = HostAddresses::of(["192.0.2.1".parse().unwrap()]);
//! let packet = Packet {
//!     headers: Headers::first_of_flow(
//!         "198.51.100.7".parse().unwrap(),
//!         "192.0.2.1".parse().unwrap(),
//!         Protocol::TCP,
//!         40_000,
//!         22,
//!     ),
//!     mark: Mark(0),
//!     hook: Hook::Input,
//!     input: Some("eth0".parse().unwrap()),
//!     output: None,
//!     physdev_in: None,
//!     physdev_out: None,
//!     conntrack: ConntrackInfo::of_state(CtState::New),
//!     host: &host,
//!     now: SimTime::START,
//! };
//! let interp = Interp::new(rules).unwrap();
//! let decision = interp.classify(TableName::Filter, &packet, &State::default(), &mut Draw(1), &mut ());
//! assert_eq!(decision.verdict, Verdict::Drop);
//! ```
//!
//! # Departures
//! - A rule with a module that podwire does not know is passed over, as if it had not matched; a
//!   target that it does not know does nothing. The decision names the first such rule as
//!   [`uncertain`](Decision::uncertain).
//! - LOG and NFLOG write nothing; that they would have is an [`Effect`].
//! - Those of nftables are on the page of the module `nft`.
//! - CHECKSUM and TCPMSS change no field that a rule can test, so they only count as matched.
//!
//! # Sources
//! `ipt_do_table`, net/ipv4/netfilter/ip_tables.c; `nft_do_chain`, net/netfilter/nf_tables_core.c;
//! the modules under net/netfilter/xt_*.c, each named where it is followed.

mod address_type;
mod ipset;
mod memory;
mod nft;
mod rule;

use podwire_packet::Mark;
use podwire_ruleset::nft as tables;
use podwire_ruleset::{
    CallGraph, Chain, ChainId, Choose, Classify, ConnmarkTarget, ConntrackInfo, CtState, Decision,
    Effect, Hook, LinkError, NatKind, Observe, Packet, Policy, RuleId, RuleSet, State, TableName,
    Target, Verdict,
};

use crate::memory::Memory;
pub use crate::nft::NftInterp;
use crate::rule::{Holds, rule_holds};

/// The rules of a family in a namespace, ready to be asked.
#[derive(Clone, Debug)]
pub struct Interp {
    rules: RuleSet,
    nft: Option<NftInterp>,
}

impl Interp {
    /// Takes a rule set that the kernel would take.
    ///
    /// # Errors
    /// [`LinkError`] where a rule jumps to a chain that does not exist, or chains call each other in
    /// a circle.
    pub fn new(rules: RuleSet) -> Result<Self, LinkError> {
        CallGraph::check(&rules)?;
        Ok(Self { rules, nft: None })
    }

    /// The same rules, with nftables' beside them.
    #[must_use]
    pub fn with_nft(mut self, nft: NftInterp) -> Self {
        self.nft = Some(nft);
        self
    }

    /// The rules.
    #[must_use]
    pub const fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// nftables' rules, if it has any.
    #[must_use]
    pub const fn nft(&self) -> Option<&NftInterp> {
        self.nft.as_ref()
    }
}

impl Classify for Interp {
    fn has_rules(&self, table: TableName, hook: Hook) -> bool {
        let chain = self
            .rules
            .tables
            .get(&table)
            .and_then(|table| table.at(hook));
        chain.is_some_and(|(_, chain)| {
            !chain.rules.is_empty() || chain.built_in.is_some_and(|b| b.policy == Policy::Drop)
        })
    }

    fn classify(
        &self,
        table_name: TableName,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Decision {
        let mut decision = Decision::accept(packet);
        let Some(table) = self.rules.tables.get(&table_name) else {
            return decision;
        };
        let Some((base_id, base)) = table.at(packet.hook) else {
            return decision;
        };
        let mut packet = *packet;
        let mut memory = Memory::new(state);
        // Where to go on when a chain ends: the rule behind the jump.
        let mut callers: Vec<(ChainId, &Chain, usize)> = Vec::new();
        let (mut id, mut chain, mut next) = (base_id, base, 0);
        decision.verdict = loop {
            let Some(rule) = chain.rules.get(next) else {
                match callers.pop() {
                    Some(caller) => (id, chain, next) = caller,
                    None => break policy(base, table_name, packet.hook, observe),
                }
                continue;
            };
            next += 1;
            let rule_id = RuleId {
                table: table_name,
                chain: id,
                number: u32::try_from(next).expect("a chain has fewer than 2^32 rules"),
            };
            match rule_holds(rule, rule_id, &packet, &mut memory, choose) {
                Holds::Yes => observe.matched(rule_id),
                Holds::No => continue,
                Holds::Unknown => {
                    decision.uncertain.get_or_insert(rule_id);
                    continue;
                }
            }
            match &rule.target {
                None | Some(Target::Checksum(_) | Target::Tcpmss(_)) => {}
                Some(Target::Accept) => break Verdict::Accept,
                Some(Target::Drop) => break Verdict::Drop,
                Some(Target::Reject(with)) => break Verdict::Reject(*with),
                Some(Target::Return) => match callers.pop() {
                    Some(caller) => (id, chain, next) = caller,
                    None => break policy(base, table_name, packet.hook, observe),
                },
                Some(Target::Jump(to) | Target::Goto(to)) => {
                    // A goto leaves nothing to come back to: the called chain's end is this one's.
                    if matches!(rule.target, Some(Target::Jump(_))) {
                        callers.push((id, chain, next));
                    }
                    id = table
                        .chain_id(to.as_str())
                        .expect("Interp::new checked every jump");
                    chain = table.chain(id).expect("Interp::new checked every jump");
                    next = 0;
                }
                Some(Target::Mark { value, mask }) => {
                    packet.mark = set_xmark(packet.mark, *value, *mask);
                    decision.mark = packet.mark;
                }
                // `connmark_tg`: without a connection there is nothing to save or restore.
                Some(Target::Connmark(_)) if !packet.conntrack.state.has_connection() => {}
                Some(Target::Connmark(operation)) => {
                    connmark(*operation, &mut packet);
                    decision.mark = packet.mark;
                    decision.conntrack_mark = packet.conntrack.mark;
                }
                Some(Target::Dnat(range)) => {
                    decision.nat = Some((NatKind::Dnat, range.clone()));
                    break Verdict::Accept;
                }
                Some(Target::Snat(range)) => {
                    decision.nat = Some((NatKind::Snat, range.clone()));
                    break Verdict::Accept;
                }
                Some(Target::Masquerade(range)) => {
                    decision.nat = Some((NatKind::Masquerade, range.clone()));
                    break Verdict::Accept;
                }
                Some(Target::Redirect(range)) => {
                    decision.nat = Some((NatKind::Redirect, range.clone()));
                    break Verdict::Accept;
                }
                Some(Target::Log(_) | Target::Nflog(_)) => {
                    memory.effects.push(Effect::Logged { rule: rule_id })
                }
                Some(Target::Notrack) => {
                    decision.notrack = true;
                    // `notrack_tg`, net/netfilter/xt_CT.c: what has a connection keeps it.
                    if packet.conntrack.state == CtState::Invalid {
                        packet.conntrack = ConntrackInfo {
                            ipvs: packet.conntrack.ipvs,
                            ..ConntrackInfo::of_state(CtState::Untracked)
                        };
                    }
                }
                Some(Target::Trace) => decision.trace = true,
                Some(Target::Unknown(_)) => {
                    decision.uncertain.get_or_insert(rule_id);
                }
            }
        };
        decision.effects = memory.effects;
        decision
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

/// What the built-in chain says at its end.
fn policy(base: &Chain, table: TableName, hook: Hook, observe: &mut impl Observe) -> Verdict {
    observe.policy(table, hook);
    match base.built_in.map(|built_in| built_in.policy) {
        Some(Policy::Drop) => Verdict::Drop,
        Some(Policy::Accept) | None => Verdict::Accept,
    }
}

/// `mark_tg`, net/netfilter/xt_mark.c: `(mark & ~mask) ^ value`.
const fn set_xmark(mark: Mark, value: Mark, mask: Mark) -> Mark {
    Mark((mark.0 & !mask.0) ^ value.0)
}

/// `connmark_tg_shift`, net/netfilter/xt_connmark.c, without its shifts.
const fn connmark(operation: ConnmarkTarget, packet: &mut Packet<'_>) {
    let (mark, conntrack_mark) = (packet.mark.0, packet.conntrack.mark.0);
    match operation {
        ConnmarkTarget::Set { value, mask } => {
            packet.conntrack.mark = set_xmark(packet.conntrack.mark, value, mask);
        }
        ConnmarkTarget::Save {
            packet_mask,
            connection_mask,
        } => {
            packet.conntrack.mark =
                Mark((conntrack_mark & !connection_mask.0) ^ (mark & packet_mask.0));
        }
        ConnmarkTarget::Restore {
            packet_mask,
            connection_mask,
        } => {
            packet.mark = Mark((mark & !packet_mask.0) ^ (conntrack_mark & connection_mask.0));
        }
    }
}

#[cfg(test)]
mod tests;
