//! A bridge, and what br_netfilter makes of it: bridged packets meet the hooks of IP.
//!
//! Source: net/bridge/{br_input,br_forward,br_device}.c and net/bridge/br_netfilter_hooks.c.

use podwire_packet::{DeviceName, MacAddr, Mark};
use podwire_ruleset::{Choose, Classify, Hook};

use crate::hooks::{Kernel, Place};
use crate::skb::{Frame, Skb};
use crate::watch::{Event, Watch};
use crate::{BridgePort, Disposition, DropReason, Link, Outcome, Surroundings};

impl<C: Classify, S: Surroundings, H: Choose, W: Watch> Kernel<'_, C, S, H, W> {
    /// A frame comes in by a port (`br_handle_frame`, `br_nf_pre_routing`).
    pub(crate) fn bridge_receive(
        &mut self,
        port: DeviceName,
        of: BridgePort,
        frame: Frame,
        mark: Mark,
    ) -> Outcome {
        let Some(bridge) = self.ns.links.get(&of.bridge) else {
            return Disposition::Dropped(DropReason::DeadDevice(of.bridge)).into();
        };
        let mut to = frame.dst;
        let mut skb = Skb::new(frame.headers, frame.payload);
        skb.input = Some(bridge.name);
        skb.mark = mark;
        if self.ns.sysctls.bridge_nf_call_iptables {
            skb.physdev_in = Some(port);
            let before = skb.headers.dst;
            let place = Place {
                input: Some(bridge.name),
                ..Place::default()
            };
            if let Err(end) = self.hook(&mut skb, Hook::Prerouting, place) {
                return end.into();
            }
            if skb.headers.dst != before {
                to = match self.after_bridged_dnat(&mut skb, bridge) {
                    Ok(to) => to,
                    Err(end) => return self.end(&skb, end),
                };
            }
        }
        if to != bridge.mac {
            return self.bridge_forward(skb, bridge, port, to);
        }
        self.watch.event(Event::Bridged {
            bridge: bridge.name,
            from: Some(port),
            to: None,
        });
        if self.ns.sysctls.bridge_nf_call_iptables {
            // PREROUTING has been asked (`ip_sabotage_in`).
            self.ip_rcv_finish(skb)
        } else {
            self.ip_rcv(skb)
        }
    }

    /// Where a frame goes whose packet has a new destination: to the next hop behind the same bridge,
    /// or up to this host (`br_nf_pre_routing_finish`).
    fn after_bridged_dnat(&mut self, skb: &mut Skb, bridge: &Link) -> Result<MacAddr, Disposition> {
        match self.route_input(skb)? {
            Some(route) if route.device == bridge.name => {
                self.neighbor_of_route(&route, skb.headers.dst)
            }
            routed => {
                skb.routed = Some(routed);
                Ok(bridge.mac)
            }
        }
    }

    /// From port to port (`br_forward`, `br_nf_forward_ip`, `br_nf_post_routing`).
    fn bridge_forward(
        &mut self,
        mut skb: Skb,
        bridge: &Link,
        from: DeviceName,
        to_mac: MacAddr,
    ) -> Outcome {
        let bridge_name = bridge.name;
        let Some(to) = self.around.learned_port(bridge_name, to_mac) else {
            return self.end(
                &skb,
                Disposition::Dropped(DropReason::NoBridgePort(bridge_name)),
            );
        };
        let hairpin = self
            .ns
            .links
            .get(&to)
            .and_then(|link| link.port_of)
            .is_some_and(|port| port.hairpin);
        if to == from && !hairpin {
            return self.end(&skb, Disposition::Dropped(DropReason::NoHairpin(to)));
        }
        self.watch.event(Event::Bridged {
            bridge: bridge_name,
            from: Some(from),
            to: Some(to),
        });
        if self.ns.sysctls.bridge_nf_call_iptables {
            let place = Place {
                input: Some(bridge_name),
                output: Some(bridge_name),
                physdev_out: Some(to),
                next_hop: Some(skb.headers.dst),
            };
            let forwarded = self.hook(&mut skb, Hook::Forward, place);
            let place = Place {
                input: None,
                ..place
            };
            if let Err(end) = forwarded.and_then(|()| self.hook(&mut skb, Hook::Postrouting, place))
            {
                return end.into();
            }
        }
        self.out_by_port(skb, to, to_mac)
    }

    /// The host itself sends by the bridge (`br_dev_xmit`).
    pub(crate) fn bridge_transmit(&mut self, skb: Skb, bridge: &Link, to_mac: MacAddr) -> Outcome {
        let Some(to) = self.around.learned_port(bridge.name, to_mac) else {
            return Disposition::Dropped(DropReason::NoBridgePort(bridge.name)).into();
        };
        self.watch.event(Event::Bridged {
            bridge: bridge.name,
            from: None,
            to: Some(to),
        });
        self.out_by_port(skb, to, to_mac)
    }

    fn out_by_port(&mut self, skb: Skb, port: DeviceName, to: MacAddr) -> Outcome {
        match self.fits(&skb.headers, port) {
            Ok(()) => self.transmit(skb, port, to),
            Err(end) => end.into(),
        }
    }
}
