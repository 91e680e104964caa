//! What happens at one hook: tables, connection tracking and translation, in the kernel's order.
//!
//! Source: `enum nf_ip_hook_priorities`, include/uapi/linux/netfilter_ipv4.h.

use std::net::IpAddr;

use podwire_packet::{DeviceName, Family, SimTime};
use podwire_ruleset::{
    Choose, Classify, ConntrackInfo, CtState, Decision, Hook, NatKind, NatRange, Observe, Packet,
    RuleId, TableName, Verdict,
};

use crate::nat::{Manip, PortsExhausted, set_up, translate};
use crate::skb::{Skb, Tracked};
use crate::watch::{Event, Watch};
use crate::{Direction, Disposition, DropReason, Netns, NetnsState, Surroundings};

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
    Confirm,
}

/// What each hook does, by priority.
const fn stages(hook: Hook) -> &'static [Stage] {
    use Stage::{Confirm, Nat, Table, Track};
    match hook {
        Hook::Prerouting => &[
            Table(TableName::Raw),    // -300
            Track,                    // -200
            Table(TableName::Mangle), // -150
            Nat(Manip::Destination),  // -100
        ],
        Hook::Input => &[
            Table(TableName::Mangle),
            Table(TableName::Filter),   // 0
            Table(TableName::Security), // 50
            Nat(Manip::Source),         // 100
            Confirm,                    // the last
        ],
        Hook::Forward => &[
            Table(TableName::Mangle),
            Table(TableName::Filter),
            Table(TableName::Security),
        ],
        Hook::Output => &[
            Table(TableName::Raw),
            Track,
            Table(TableName::Mangle),
            Nat(Manip::Destination),
            Table(TableName::Filter),
            Table(TableName::Security),
        ],
        Hook::Postrouting => &[Table(TableName::Mangle), Nat(Manip::Source), Confirm],
    }
}

/// Tells the watcher which rules matched, and keeps the last word.
struct Notes<'w, W> {
    watch: &'w mut W,
    hook: Hook,
    place: Place,
    last_rule: Option<RuleId>,
    by_policy: bool,
}

impl<W: Watch> Observe for Notes<'_, W> {
    fn matched(&mut self, rule: RuleId) {
        self.last_rule = Some(rule);
        self.watch.event(Event::Rule {
            hook: self.hook,
            input: self.place.input,
            output: self.place.output,
            rule,
        });
    }

    fn policy(&mut self, table: TableName, hook: Hook) {
        self.by_policy = true;
        self.watch.event(Event::Policy { table, hook });
    }
}

impl<C: Classify, S: Surroundings, H: Choose, W: Watch> Kernel<'_, C, S, H, W> {
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
        if self.ns.rules(skb.headers.family()).is_none() {
            return Ok(());
        }
        let went = stages(hook).iter().try_for_each(|stage| match stage {
            Stage::Table(table) => self.table(skb, *table, hook, place).map(drop),
            Stage::Track => self.track(skb),
            Stage::Nat(manip) => self.nat(skb, *manip, hook, place),
            Stage::Confirm => {
                if let Some((id, _)) = skb.tracked.and_then(|tracked| tracked.connection) {
                    self.state.conntrack.confirm(id);
                }
                Ok(())
            }
        });
        if let (Err(_), Some((id, _))) = (&went, skb.tracked.and_then(|tracked| tracked.connection))
        {
            self.state.conntrack.forget_unconfirmed(id);
        }
        went
    }

    /// Asks one table.
    fn table(
        &mut self,
        skb: &mut Skb,
        table: TableName,
        hook: Hook,
        place: Place,
    ) -> Result<Decision, Disposition> {
        let family = skb.headers.family();
        let now = self.around.now();
        let packet = Packet {
            headers: skb.headers,
            mark: skb.mark,
            hook,
            input: place.input,
            output: place.output,
            physdev_in: skb.physdev_in,
            physdev_out: place.physdev_out,
            conntrack: self.info(skb, now),
            host: self.ns.addresses(),
            now,
        };
        let rules = match self.ns.rules(family) {
            Some(rules) if rules.has_rules(table, hook) => rules,
            Some(_) | None => return Ok(Decision::accept(&packet)),
        };
        let mut notes = Notes {
            watch: &mut *self.watch,
            hook,
            place,
            last_rule: None,
            by_policy: false,
        };
        let memory = self.state.rules(family);
        let decision = rules.classify(table, &packet, memory, &mut *self.choose, &mut notes);
        let Notes {
            last_rule,
            by_policy,
            ..
        } = notes;
        memory.apply(&decision.effects);
        skb.mark = decision.mark;
        if let Some(rule) = decision.uncertain {
            self.watch.event(Event::Uncertain { rule });
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
            Verdict::Accept => Ok(decision),
            Verdict::Drop => Err(Disposition::Dropped(match last_rule {
                Some(rule) if !by_policy => DropReason::Rule(rule),
                Some(_) | None => DropReason::Policy { table, hook },
            })),
            Verdict::Reject(with) => Err(Disposition::Rejected {
                with,
                rule: last_rule,
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

    /// `nf_nat_inet_fn`: rules decide about the first packet of a connection; every packet of it is
    /// then translated as was decided.
    fn nat(
        &mut self,
        skb: &mut Skb,
        manip: Manip,
        hook: Hook,
        place: Place,
    ) -> Result<(), Disposition> {
        let Some(Tracked {
            state,
            connection: Some((id, direction)),
        }) = skb.tracked
        else {
            return Ok(());
        };
        let settled = self
            .state
            .conntrack
            .get(id)
            .is_none_or(|connection| match manip {
                Manip::Source => connection.source_settled,
                Manip::Destination => connection.destination_settled,
            });
        if state == CtState::New && direction == Direction::Original && !settled {
            let decision = self.table(skb, TableName::Nat, hook, place)?;
            let range = match decision.nat {
                Some(asked) => self.range(skb, asked, place)?,
                // `nf_nat_alloc_null_binding`: it stays, but for its port if another connection has it.
                None => {
                    let keep = match manip {
                        Manip::Source => skb.headers.src,
                        Manip::Destination => skb.headers.dst,
                    };
                    NatRange::to(keep, None)
                }
            };
            let now = self.around.now();
            set_up(
                &mut self.state.conntrack,
                id,
                manip,
                &range,
                now,
                self.choose,
            )
            .map_err(|PortsExhausted| Disposition::Dropped(DropReason::NatPortsExhausted))?;
        }
        let translated = translate(
            &mut skb.headers,
            &self.state.conntrack,
            id,
            direction,
            manip,
        );
        if let Some((before, after)) = translated {
            self.watch.event(Event::Translated {
                hook,
                before,
                after,
            });
        }
        Ok(())
    }

    /// The addresses that a target means here and now.
    fn range(
        &self,
        skb: &Skb,
        (kind, range): (NatKind, NatRange),
        place: Place,
    ) -> Result<NatRange, Disposition> {
        let family = skb.headers.family();
        let address = match kind {
            NatKind::Dnat | NatKind::Snat => return Ok(range),
            // `nf_nat_masquerade_ipv4` asks for the next hop, `nf_nat_masquerade_ipv6` for the
            // destination.
            NatKind::Masquerade => {
                let output = place.output.unwrap_or(DeviceName::LO);
                let toward = match family {
                    Family::Ipv4 => place.next_hop.unwrap_or(skb.headers.dst),
                    Family::Ipv6 => skb.headers.dst,
                };
                let chosen = self.ns.select_address(output, toward);
                chosen.ok_or(Disposition::Dropped(DropReason::NoMasqueradeAddress(
                    output,
                )))?
            }
            // `nf_nat_redirect_ipv4`: loopback for what was made here, else the device's first address.
            NatKind::Redirect => {
                let loopback = match family {
                    Family::Ipv4 => IpAddr::from([127, 0, 0, 1]),
                    Family::Ipv6 => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
                };
                let device = place.input.and_then(|input| self.ns.links.get(&input));
                match device {
                    None => loopback,
                    Some(link) => {
                        let own = link.addresses_of(family).next();
                        own.ok_or(Disposition::Dropped(DropReason::NoMasqueradeAddress(
                            link.name,
                        )))?
                        .0
                    }
                }
            }
        };
        Ok(NatRange {
            addresses: Some(address..=address),
            ..range
        })
    }
}
