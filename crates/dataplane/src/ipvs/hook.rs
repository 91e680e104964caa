//! IPVS on its hooks.
//!
//! Source: net/netfilter/ipvs/ip_vs_core.c (`ip_vs_ops4`), ip_vs_xmit.c (`ip_vs_nat_xmit`,
//! `ip_vs_nat_send_or_cont`), ip_vs_nfct.c (`ip_vs_update_conntrack`).

use podwire_packet::Protocol;
use podwire_ruleset::ipvs::{Forwarding, RealServer, VirtualAddress};
use podwire_ruleset::{Choose, Classify, CtState, Hook, IpvsInfo, RejectWith};

use super::Admission;
use crate::hooks::{Kernel, Place};
use crate::path::{Outcome, WayOut};
use crate::skb::{Skb, Tracked};
use crate::watch::{Event, Watch};
use crate::{Direction, Disposition, DropReason, Lookup, Surroundings};

impl<C: Classify, S: Surroundings, H: Choose, W: Watch> Kernel<'_, C, S, H, W> {
    /// `ip_vs_in_hook`: sends what is for a virtual server to a real one. Where that is another host
    /// the packet leaves the hook with [`Skb::leaves_by`] set.
    pub(crate) fn ip_vs_in(&mut self, skb: &mut Skb, hook: Hook) -> Result<(), Disposition> {
        if skb.ipvs != IpvsInfo::Untouched || self.ns.virtual_servers.is_empty() {
            return Ok(());
        }
        let now = self.around.now();
        let configured = Some(&*self.ns.virtual_servers);
        let mut admission = Admission::Expired;
        while admission == Admission::Expired {
            admission = self
                .state
                .ipvs
                .admit(configured, &skb.headers, now, self.choose);
            // A connection that was confirmed cannot be led elsewhere: it is forgotten, and its next
            // packet begins anew (`ip_vs_conn_uses_old_conntrack`).
            if admission == Admission::Expired && self.forget_confirmed(skb) {
                return Err(Disposition::Dropped(DropReason::IpvsServerGone));
            }
        }
        match admission {
            Admission::NotTaken | Admission::Expired => Ok(()),
            // A client learns at once that nobody serves (`ip_vs_leave`).
            Admission::NoDestination(_) => Err(Disposition::Rejected {
                with: RejectWith::PortUnreachable,
                rule: None,
            }),
            Admission::To {
                virtual_server,
                real,
                is_new,
            } => {
                if is_new {
                    self.watch.event(Event::Scheduled {
                        hook,
                        virtual_server,
                        real: (real.address, real.port),
                    });
                }
                self.nat_xmit(skb, hook, virtual_server, real)
            }
        }
    }

    /// Forgets the packet's connection, unless this is its first packet; says whether it did.
    fn forget_confirmed(&mut self, skb: &Skb) -> bool {
        let connection = skb.tracked.and_then(|tracked| tracked.connection);
        let id = connection.map(|(id, _)| id);
        let id = id.filter(|&id| self.state.conntrack.get(id).is_some_and(|c| c.confirmed));
        if let Some(id) = id {
            self.state.conntrack.kill(id);
        }
        id.is_some()
    }

    fn nat_xmit(
        &mut self,
        skb: &mut Skb,
        hook: Hook,
        virtual_server: VirtualAddress,
        real: RealServer,
    ) -> Result<(), Disposition> {
        if real.forwarding != Forwarding::Masquerading {
            return Err(Disposition::Dropped(DropReason::IpvsForwarding));
        }
        let before = skb.headers.five_tuple();
        (skb.headers.dst, skb.headers.dport) = (real.address, real.port);
        let after = skb.headers.five_tuple();
        self.watch.event(Event::Translated {
            hook,
            before,
            after,
        });
        skb.ipvs = IpvsInfo::Request;
        // Replies are to be known by the real server's address.
        if let Some(Tracked {
            state: CtState::New,
            connection: Some((id, Direction::Original)),
        }) = skb.tracked
        {
            debug_assert!(virtual_server.protocol != Protocol::ICMP);
            self.state.conntrack.alter_reply(id, after);
        }
        if let Lookup::Local(_) = self.ns.fib.lookup(real.address) {
            return Ok(());
        }
        let way = self.route_output(&mut skb.headers)?;
        // `decrement_ttl`: to the client this is a hop.
        if skb.headers.ttl <= 1 {
            return Err(Disposition::Ttl);
        }
        skb.headers.ttl -= 1;
        self.fits(&skb.headers, way.device)?;
        skb.leaves_by = Some(way);
        Ok(())
    }

    /// Sends a packet that was taken from its hook: as if it were made here, so OUTPUT is asked (again).
    pub(crate) fn ip_vs_send(&mut self, mut skb: Skb, way: WayOut) -> Outcome {
        let place = Place {
            output: Some(way.device),
            ..Place::default()
        };
        match self.hook(&mut skb, Hook::Output, place) {
            Ok(()) => self.ip_output(skb, way),
            Err(end) => end.into(),
        }
    }

    /// `ip_vs_out_hook`: what a real server answers comes from the virtual address.
    pub(crate) fn ip_vs_out(&mut self, skb: &mut Skb, hook: Hook) {
        if skb.ipvs != IpvsInfo::Untouched || self.ns.virtual_servers.is_empty() {
            return;
        }
        let now = self.around.now();
        if let Some((address, port)) = self.state.ipvs.answer(&skb.headers, now) {
            let before = skb.headers.five_tuple();
            (skb.headers.src, skb.headers.sport) = (address, port);
            let after = skb.headers.five_tuple();
            self.watch.event(Event::Translated {
                hook,
                before,
                after,
            });
            skb.ipvs = IpvsInfo::Answer;
        }
    }
}
