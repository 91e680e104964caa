//! What happens at one hook: tables, base chains of nftables, connection tracking and translation, in
//! the kernel's order.
//!
//! Sources: `ip_vs_ops4`, net/netfilter/ipvs/ip_vs_core.c; `enum nf_ip_hook_priorities`, include/uapi/linux/netfilter_ipv4.h; `nf_hook_entries_grow`,
//! net/netfilter/core.c: of two with the same priority the one that came later is asked first. Tables
//! of iptables count as older than nftables' chains.

mod translation;

use std::net::IpAddr;

use podwire_packet::{DeviceName, SimTime};
use podwire_ruleset::{
    BaseChainRef, Choose, Classify, ConntrackInfo, CtState, Decision, Hook, NatKind, NatRange,
    Observe, Packet, RuleId, RuleRef, TableName, Verdict, nft,
};

use crate::nat::Manip;
use crate::skb::{Skb, Tracked};
use crate::watch::{Event, Watch};
use crate::{Disposition, DropReason, Netns, NetnsState, Surroundings};
use translation::{NAT_DESTINATION, NAT_SOURCE, is_behind_nat};

/// A namespace at work on one packet.
pub(crate) struct Kernel<'a, C, S, H, W> {
    pub(crate) ns: &'a Netns<C>,
    pub(crate) state: &'a mut NetnsState,
    pub(crate) around: &'a S,
    pub(crate) choose: &'a mut H,
    pub(crate) watch: &'a mut W,
}

/// Where a packet is, besides its hook.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub(crate) input: Option<DeviceName>,
    pub(crate) output: Option<DeviceName>,
    /// Bridge port it leaves by.
    pub(crate) physdev_out: Option<DeviceName>,
    /// Who gets it next; MASQUERADE picks an address that this host can answer.
    pub(crate) next_hop: Option<IpAddr>,
}

/// One thing that a hook does.
#[derive(Clone, Copy)]
enum Stage {
    Table(TableName),
    Track,
    Nat(Manip),
    /// Answers of real servers get the virtual address.
    IpvsOut,
    /// What is for a virtual server gets a real one.
    IpvsIn,
    Confirm,
}

/// What each hook does besides nftables' chains, by priority.
const fn stages(hook: Hook) -> &'static [(i32, Stage)] {
    use Stage::{Confirm, IpvsIn, IpvsOut, Nat, Table, Track};
    const LAST: i32 = i32::MAX;
    match hook {
        Hook::Prerouting => &[
            (-300, Table(TableName::Raw)),
            (-200, Track),
            (-150, Table(TableName::Mangle)),
            (NAT_DESTINATION, Nat(Manip::Destination)),
        ],
        Hook::Input => &[
            (-150, Table(TableName::Mangle)),
            (0, Table(TableName::Filter)),
            (50, Table(TableName::Security)),
            (NAT_SOURCE - 2, IpvsOut),
            (NAT_SOURCE - 1, IpvsIn),
            (NAT_SOURCE, Nat(Manip::Source)),
            (LAST, Confirm),
        ],
        Hook::Forward => &[
            (-150, Table(TableName::Mangle)),
            (0, Table(TableName::Filter)),
            (50, Table(TableName::Security)),
            (100, IpvsOut),
        ],
        Hook::Output => &[
            (-300, Table(TableName::Raw)),
            (-200, Track),
            (-150, Table(TableName::Mangle)),
            (NAT_DESTINATION, Nat(Manip::Destination)),
            (NAT_DESTINATION + 1, IpvsOut),
            (NAT_DESTINATION + 2, IpvsIn),
            (0, Table(TableName::Filter)),
            (50, Table(TableName::Security)),
        ],
        Hook::Postrouting => &[
            (-150, Table(TableName::Mangle)),
            (NAT_SOURCE, Nat(Manip::Source)),
            (LAST, Confirm),
        ],
    }
}

/// A translation that a rule asked for, with what to choose from.
type NatAsked = Option<(NatKind, NatRange)>;

/// Tells the watcher which rules matched, and keeps the last word.
struct Notes<'w, W> {
    watch: &'w mut W,
    hook: Hook,
    place: Place,
    last_rule: Option<RuleRef>,
    by_policy: bool,
}

impl<'w, W: Watch> Notes<'w, W> {
    const fn new(watch: &'w mut W, hook: Hook, place: Place) -> Self {
        Self {
            watch,
            hook,
            place,
            last_rule: None,
            by_policy: false,
        }
    }

    /// The rule that had the last word, if it was not a policy.
    fn last_word(&self) -> Option<RuleRef> {
        self.last_rule.filter(|_| !self.by_policy)
    }

    fn rule(&mut self, rule: RuleRef, found: Option<nft::ElementId>) {
        self.last_rule = Some(rule);
        self.watch.event(Event::Rule {
            hook: self.hook,
            input: self.place.input,
            output: self.place.output,
            rule,
            found,
        });
    }

    fn base_chain_ended(&mut self, chain: BaseChainRef) {
        self.by_policy = true;
        self.watch.event(Event::Policy { chain });
    }
}

impl<W: Watch> Observe for Notes<'_, W> {
    fn matched(&mut self, rule: RuleId) {
        self.rule(rule.into(), None);
    }

    fn policy(&mut self, table: TableName, hook: Hook) {
        self.base_chain_ended(BaseChainRef::Iptables { table, hook });
    }
}

impl<W: Watch> nft::Observe for Notes<'_, W> {
    fn matched(&mut self, rule: nft::RuleId, found: Option<nft::ElementId>) {
        self.rule(rule.into(), found);
    }

    fn policy(&mut self, chain: nft::BaseChainId) {
        let hook = self.hook;
        self.base_chain_ended(BaseChainRef::Nft { chain, hook });
    }
}

impl<'n, C: Classify, S: Surroundings, H: Choose, W: Watch> Kernel<'n, C, S, H, W> {
    /// Takes a packet through a hook.
    ///
    /// # Errors
    /// The packet's end, if it ends here. A connection that it began is forgotten then.
    pub(crate) fn hook(
        &mut self,
        skb: &mut Skb,
        hook: Hook,
        place: Place,
    ) -> Result<(), Disposition> {
        let Some(rules) = self.ns.rules(skb.headers.family()) else {
            return Ok(());
        };
        let went = self.stages(skb, rules.base_chains(hook), hook, place);
        if let (Err(_), Some((id, _))) = (&went, skb.tracked.and_then(|tracked| tracked.connection))
        {
            self.state.conntrack.forget_unconfirmed(id);
        }
        went
    }

    /// All that hangs on a hook, in the kernel's order.
    fn stages(
        &mut self,
        skb: &mut Skb,
        chains: &[nft::HookedChain],
        hook: Hook,
        place: Place,
    ) -> Result<(), Disposition> {
        let (ns, family) = (self.ns, skb.headers.family());
        let mut filters = chains.iter().filter(|chain| !chain.is_nat).peekable();
        for &(priority, stage) in stages(hook) {
            let is_due = |chain: &&nft::HookedChain| {
                let is_behind = matches!(stage, Stage::Nat(_)) && is_behind_nat(ns, family, chain);
                chain.priority < priority || chain.priority == priority && !is_behind
            };
            while let Some(filter) = filters.next_if(is_due) {
                self.base_chain(skb, filter.chain, hook, place)?;
            }
            match stage {
                Stage::Table(table) => self.table(skb, table, hook, place).map(drop)?,
                Stage::Track => self.track(skb)?,
                Stage::Nat(manip) => self.nat(skb, chains, manip, hook, place)?,
                Stage::IpvsOut => self.ip_vs_out(skb, hook),
                Stage::IpvsIn => {
                    self.ip_vs_in(skb, hook)?;
                    if skb.leaves_by.is_some() {
                        return Ok(());
                    }
                }
                Stage::Confirm => {
                    if let Some((id, _)) = skb.tracked.and_then(|tracked| tracked.connection) {
                        self.state.conntrack.confirm(id);
                    }
                }
            }
        }
        for filter in filters {
            self.base_chain(skb, filter.chain, hook, place)?;
        }
        Ok(())
    }

    /// The packet as rules see it.
    fn packet(&self, skb: &Skb, hook: Hook, place: Place) -> Packet<'n> {
        let now = self.around.now();
        Packet {
            headers: skb.headers,
            mark: skb.mark,
            hook,
            input: place.input,
            output: place.output,
            physdev_in: skb.physdev_in,
            physdev_out: place.physdev_out,
            conntrack: ConntrackInfo {
                ipvs: skb.ipvs,
                ..self.info(skb, now)
            },
            host: self.ns.addresses(),
            now,
        }
    }

    /// Asks one table.
    fn table(
        &mut self,
        skb: &mut Skb,
        table: TableName,
        hook: Hook,
        place: Place,
    ) -> Result<NatAsked, Disposition> {
        let family = skb.headers.family();
        let rules = match self.ns.rules(family) {
            Some(rules) if rules.has_rules(table, hook) => rules,
            Some(_) | None => return Ok(None),
        };
        let packet = self.packet(skb, hook, place);
        let mut notes = Notes::new(&mut *self.watch, hook, place);
        let memory = self.state.rules(family);
        let decision = rules.classify(table, &packet, memory, &mut *self.choose, &mut notes);
        let last_word = notes.last_word();
        memory.apply(&decision.effects);
        let chain = BaseChainRef::Iptables { table, hook };
        self.carry_out(skb, decision, chain, last_word)
    }

    /// Asks one base chain of nftables.
    fn base_chain(
        &mut self,
        skb: &mut Skb,
        chain: nft::BaseChainId,
        hook: Hook,
        place: Place,
    ) -> Result<NatAsked, Disposition> {
        let family = skb.headers.family();
        let Some(rules) = self.ns.rules(family) else {
            return Ok(None);
        };
        let packet = self.packet(skb, hook, place);
        let mut notes = Notes::new(&mut *self.watch, hook, place);
        let memory = &mut self.state.rules(family).nft;
        let decision = rules.classify_chain(chain, &packet, memory, &mut *self.choose, &mut notes);
        let last_word = notes.last_word();
        memory.apply(&decision.effects);
        let chain = BaseChainRef::Nft { chain, hook };
        self.carry_out(skb, decision, chain, last_word)
    }

    /// Does to the packet what rules decided; what they want translated is the answer.
    fn carry_out<R: Into<RuleRef>, E>(
        &mut self,
        skb: &mut Skb,
        decision: Decision<R, E>,
        chain: BaseChainRef,
        last_word: Option<RuleRef>,
    ) -> Result<NatAsked, Disposition> {
        skb.mark = decision.mark;
        if let Some(rule) = decision.uncertain {
            self.watch.event(Event::Uncertain { rule: rule.into() });
        }
        if let Some((id, _)) = skb.tracked.and_then(|tracked| tracked.connection) {
            self.state.conntrack.set_mark(id, decision.conntrack_mark);
        }
        // `notrack_tg`: what has no connection, be it not looked at yet or invalid, stays without.
        if decision.notrack
            && skb
                .tracked
                .is_none_or(|tracked| tracked.connection.is_none())
        {
            skb.tracked = Some(Tracked {
                state: CtState::Untracked,
                connection: None,
            });
        }
        match decision.verdict {
            Verdict::Accept => Ok(decision.nat),
            Verdict::Drop => Err(Disposition::Dropped(match last_word {
                Some(rule) => DropReason::Rule(rule),
                None => DropReason::Policy(chain),
            })),
            Verdict::Reject(with) => Err(Disposition::Rejected {
                with,
                rule: last_word,
            }),
        }
    }

    /// What rules see of the packet's connection.
    fn info(&self, skb: &Skb, now: SimTime) -> ConntrackInfo {
        match skb.tracked {
            None => ConntrackInfo::of_state(CtState::Invalid),
            Some(Tracked { state, connection }) => {
                let known = connection
                    .and_then(|(id, direction)| Some((self.state.conntrack.get(id)?, direction)));
                known.map_or_else(
                    || ConntrackInfo::of_state(state),
                    |(connection, direction)| connection.info(state, direction, now),
                )
            }
        }
    }

    /// `nf_conntrack_in`. A packet that came back by loopback is known already.
    fn track(&mut self, skb: &mut Skb) -> Result<(), Disposition> {
        if skb.tracked.is_none() {
            let now = self.around.now();
            let tracked = self.state.conntrack.track(&skb.headers, now);
            let (state, connection) =
                tracked.map_err(|_| Disposition::Dropped(DropReason::ConntrackFull))?;
            self.watch.event(Event::Tracked { state });
            skb.tracked = Some(Tracked { state, connection });
        }
        Ok(())
    }
}
