//! Translation at a hook: which rules are asked for it, and what they mean here and now.
//!
//! Source: net/netfilter/nf_nat_core.c.

use std::net::IpAddr;
use std::sync::Arc;

use podwire_packet::{DeviceName, Family};
use podwire_ruleset::{Choose, Classify, CtState, Hook, NatKind, NatRange, TableName, nft};

use super::{Kernel, NatAsked, Place};
use crate::nat::{Manip, PortsExhausted, set_up, translate};
use crate::skb::{Skb, Tracked};
use crate::watch::{Event, Watch};
use crate::{Direction, Disposition, DropReason, Netns, Surroundings};

/// `NF_IP_PRI_NAT_DST`: translation happens there, whatever the priority of the chain that asks for it.
pub(super) const NAT_DESTINATION: i32 = -100;
/// `NF_IP_PRI_NAT_SRC`.
pub(super) const NAT_SOURCE: i32 = 100;

impl<C: Classify, S: Surroundings, H: Choose, W: Watch> Kernel<'_, C, S, H, W> {
    /// `nf_nat_inet_fn`: rules decide about the first packet of a connection; every packet of it is
    /// then translated as was decided.
    pub(super) fn nat(
        &mut self,
        skb: &mut Skb,
        chains: &[nft::HookedChain],
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
            let range = match self.nat_rules(skb, chains, manip, hook, place)? {
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

    /// Asks the chains of a hook that translate, by priority, until one does.
    fn nat_rules(
        &mut self,
        skb: &mut Skb,
        chains: &[nft::HookedChain],
        manip: Manip,
        hook: Hook,
        place: Place,
    ) -> Result<NatAsked, Disposition> {
        let table_priority = match manip {
            Manip::Destination => NAT_DESTINATION,
            Manip::Source => NAT_SOURCE,
        };
        let mut chains = chains.iter().filter(|chain| chain.is_nat).peekable();
        while let Some(before) = chains.next_if(|chain| chain.priority <= table_priority) {
            if let Some(asked) = self.base_chain(skb, before.chain, hook, place)? {
                return Ok(Some(asked));
            }
        }
        if let Some(asked) = self.table(skb, TableName::Nat, hook, place)? {
            return Ok(Some(asked));
        }
        for after in chains {
            if let Some(asked) = self.base_chain(skb, after.chain, hook, place)? {
                return Ok(Some(asked));
            }
        }
        Ok(None)
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

/// Whether a chain with the priority of translation is asked after it: it was made before translation was
/// hung on the hook, by the first chain of type nat or by iptables' table.
pub(super) fn is_behind_nat<C: Classify>(
    ns: &Netns<C>,
    family: Family,
    chain: &nft::HookedChain,
) -> bool {
    let has_table = |rules: &Arc<C>| {
        let mut hooks = TableName::Nat.hooks().iter();
        hooks.any(|&hook| rules.has_rules(TableName::Nat, hook))
    };
    chain.is_older_than_nat && !ns.rules(family).is_some_and(has_table)
}
