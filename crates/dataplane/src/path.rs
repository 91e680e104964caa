//! The way of a packet through the kernel: in by a device or from a process, out by a device or to a
//! socket.
//!
//! Functions have the names of the kernel's: net/ipv4/{ip_input,ip_forward,ip_output,route}.c. IPv6
//! goes the same way here; where it differs (it has no rp_filter) the function says so.

use std::net::IpAddr;

use podwire_packet::{DeviceName, Family, FiveTuple, Headers, MacAddr, Mark, Protocol, TcpFlags};
use podwire_ruleset::{Choose, Classify, Hook};

use crate::hooks::{Kernel, Place};
use crate::skb::{Frame, Payload, Skb};
use crate::watch::{Event, Watch};
use crate::{
    Delivery, Disposition, DropReason, LinkKind, Lookup, Netns, NetnsState, Route, RouteKind,
    Surroundings, Unroutable,
};

/// What became of a packet inside a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It left by a device whose other end is elsewhere.
    Transmitted {
        /// The device.
        device: DeviceName,
        /// The frame.
        frame: Frame,
    },
    /// It ended here.
    Ended(Disposition),
}

impl From<Disposition> for Outcome {
    fn from(end: Disposition) -> Self {
        Self::Ended(end)
    }
}

/// A frame comes in by a device.
pub fn receive<C: Classify>(
    ns: &Netns<C>,
    state: &mut NetnsState,
    around: &impl Surroundings,
    device: DeviceName,
    frame: Frame,
    choose: &mut impl Choose,
    watch: &mut impl Watch,
) -> Outcome {
    Kernel {
        ns,
        state,
        around,
        choose,
        watch,
    }
    .receive(device, frame, Mark(0))
}

/// A local process sends a packet. An unspecified source address is chosen by the route, as for a
/// socket that is not bound.
pub fn send<C: Classify>(
    ns: &Netns<C>,
    state: &mut NetnsState,
    around: &impl Surroundings,
    headers: Headers,
    choose: &mut impl Choose,
    watch: &mut impl Watch,
) -> Outcome {
    Kernel {
        ns,
        state,
        around,
        choose,
        watch,
    }
    .send(headers)
}

/// Where a packet made here, or passing through, leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WayOut {
    pub(crate) device: DeviceName,
    next_hop: IpAddr,
}

impl<C: Classify, S: Surroundings, H: Choose, W: Watch> Kernel<'_, C, S, H, W> {
    pub(crate) fn receive(&mut self, device: DeviceName, frame: Frame, mark: Mark) -> Outcome {
        let Some(link) = self.ns.links.get(&device) else {
            return Disposition::Dropped(DropReason::DeadDevice(device)).into();
        };
        self.watch.event(Event::Received { device });
        if let Some(port) = link.port_of {
            return self.bridge_receive(device, port, frame, mark);
        }
        if frame.dst != link.mac && frame.dst != MacAddr::BROADCAST {
            return Disposition::Dropped(DropReason::OtherHost).into();
        }
        let mut skb = Skb::new(frame.headers, frame.payload);
        skb.input = Some(device);
        skb.mark = mark;
        self.ip_rcv(skb)
    }

    fn send(&mut self, mut headers: Headers) -> Outcome {
        let way = match self.route_output(&mut headers) {
            Ok(way) => way,
            Err(end) => return end.into(),
        };
        self.watch.event(Event::Sent {
            flow: headers.five_tuple(),
        });
        self.ip_local_out(Skb::new(headers, Payload::Data), way)
    }

    pub(crate) fn ip_rcv(&mut self, mut skb: Skb) -> Outcome {
        let place = Place {
            input: skb.input,
            ..Place::default()
        };
        match self.hook(&mut skb, Hook::Prerouting, place) {
            Ok(()) => self.ip_rcv_finish(skb),
            Err(end) => end.into(),
        }
    }

    pub(crate) fn ip_rcv_finish(&mut self, mut skb: Skb) -> Outcome {
        let routed = match skb.routed.take() {
            Some(routed) => Ok(routed),
            None => self.route_input(&skb),
        };
        match routed {
            Ok(None) => self.ip_local_deliver(skb),
            Ok(Some(route)) => self.ip_forward(skb, &route),
            Err(end) => self.end(&skb, end),
        }
    }

    /// `ip_route_input_slow`: by which route the packet goes on; none if it is for this host.
    pub(crate) fn route_input(&mut self, skb: &Skb) -> Result<Option<Route>, Disposition> {
        let (src, dst) = (skb.headers.src, skb.headers.dst);
        let from_outside = skb.input != Some(DeviceName::LO);
        let localnet = self.ns.sysctls.route_localnet && src.is_ipv4();
        let drop = |reason| Err(Disposition::Dropped(reason));
        if src.is_multicast() || (from_outside && src.is_loopback() && !localnet) {
            return drop(DropReason::MartianSource);
        }
        if from_outside && dst.is_loopback() && !localnet {
            return drop(DropReason::MartianDestination);
        }
        if dst.is_multicast() || dst == IpAddr::from([255, 255, 255, 255]) {
            return drop(DropReason::NotUnicast);
        }
        match self.ns.fib.lookup(dst) {
            Lookup::Local(_) => {
                self.validate_source(skb)?;
                self.watch.event(Event::RoutedLocal { to: dst });
                Ok(None)
            }
            Lookup::Broadcast(_) => drop(DropReason::NotUnicast),
            Lookup::By(_) | Lookup::None if !self.ns.sysctls.ip_forward => {
                drop(DropReason::ForwardingOff)
            }
            Lookup::None => Err(Disposition::Unroutable(Unroutable::NoRoute)),
            Lookup::By(route) => {
                usable(&route)?;
                self.validate_source(skb)?;
                self.watch.event(Event::Routed { to: dst, route });
                Ok(Some(route))
            }
        }
    }

    /// `fib_validate_source`: a packet from outside has none of this host's addresses, and with
    /// rp_filter its sender must be reachable by the device that it came in by (strict), or at all
    /// (loose; by that device even so where it has no address).
    fn validate_source(&self, skb: &Skb) -> Result<(), Disposition> {
        let src = skb.headers.src;
        if skb.input == Some(DeviceName::LO) || Family::of(src) == Family::Ipv6 {
            return Ok(());
        }
        if self.ns.has_address(src) {
            return Err(Disposition::Dropped(DropReason::MartianSource));
        }
        if self.ns.sysctls.rp_filter == 0 {
            return Ok(());
        }
        let input = skb.input.and_then(|input| self.ns.links.get(&input));
        let has_address =
            || input.is_some_and(|link| link.addresses_of(Family::Ipv4).next().is_some());
        let is_loose = self.ns.sysctls.rp_filter != 1;
        match self.ns.fib.lookup(src) {
            Lookup::By(route)
                if route.kind == RouteKind::Unicast
                    && (skb.input == Some(route.device) || is_loose && has_address()) =>
            {
                Ok(())
            }
            Lookup::By(_) | Lookup::None => {
                Err(Disposition::Dropped(DropReason::ReversePathFilter))
            }
            Lookup::Local(_) | Lookup::Broadcast(_) => {
                Err(Disposition::Dropped(DropReason::MartianSource))
            }
        }
    }

    fn ip_forward(&mut self, mut skb: Skb, route: &Route) -> Outcome {
        if skb.headers.ttl <= 1 {
            return self.end(&skb, Disposition::Ttl);
        }
        if let Err(end) = self.fits(&skb.headers, route.device) {
            return self.end(&skb, end);
        }
        skb.headers.ttl -= 1;
        self.watch.event(Event::Forwarded {
            ttl: skb.headers.ttl,
        });
        let place = Place {
            input: skb.input,
            output: Some(route.device),
            ..Place::default()
        };
        if let Err(end) = self.hook(&mut skb, Hook::Forward, place) {
            return end.into();
        }
        let next_hop = route.via.unwrap_or(skb.headers.dst);
        self.ip_output(
            skb,
            WayOut {
                device: route.device,
                next_hop,
            },
        )
    }

    fn ip_local_deliver(&mut self, mut skb: Skb) -> Outcome {
        let place = Place {
            input: skb.input,
            ..Place::default()
        };
        if let Err(end) = self.hook(&mut skb, Hook::Input, place) {
            return end.into();
        }
        if let Some(way) = skb.leaves_by.take() {
            return self.ip_vs_send(skb, way);
        }
        if let Payload::Vxlan { vni, inner } = skb.payload {
            return self.vxlan_receive(&skb.headers, vni, skb.mark, *inner);
        }
        let flow = skb.headers.five_tuple();
        if self.has_socket(&skb.headers, flow) {
            self.watch.event(Event::Delivered { flow });
            let icmp_id = skb.headers.icmp_id;
            Disposition::Delivered(Delivery { flow, icmp_id }).into()
        } else {
            Disposition::Refused.into()
        }
    }

    /// Whether a socket takes the packet. ICMP goes to the kernel itself.
    fn has_socket(&self, headers: &Headers, flow: FiveTuple) -> bool {
        if self.state.connected.contains(&flow)
            || matches!(headers.protocol, Protocol::ICMP | Protocol::ICMPV6)
        {
            return true;
        }
        // What answers a connection is for the socket that began it, not for one that listens.
        let answers =
            headers.protocol == Protocol::TCP && headers.tcp_flags.contains(TcpFlags::ACK);
        !answers
            && self
                .ns
                .listeners
                .accepts(flow.dst, flow.protocol, flow.dport)
    }

    /// `ip_route_output_key`: where a packet made here leaves, and its source address if it has none.
    pub(crate) fn route_output(&mut self, headers: &mut Headers) -> Result<WayOut, Disposition> {
        let dst = headers.dst;
        if dst.is_multicast() {
            return Err(Disposition::Dropped(DropReason::NotUnicast));
        }
        let lookup = self.ns.fib.lookup(dst);
        let way = match lookup {
            Lookup::Local(device) => {
                if headers.src.is_unspecified() {
                    headers.src = self.ns.source_toward_own(device, dst);
                }
                WayOut {
                    device: DeviceName::LO,
                    next_hop: dst,
                }
            }
            Lookup::Broadcast(_) => return Err(Disposition::Dropped(DropReason::NotUnicast)),
            Lookup::None => return Err(Disposition::Unroutable(Unroutable::NoRoute)),
            Lookup::By(route) => {
                usable(&route)?;
                self.watch.event(Event::Routed { to: dst, route });
                let next_hop = route.via.unwrap_or(dst);
                if headers.src.is_unspecified() {
                    // IPv4 looks at the gateway, and without one takes the device's first address
                    // (`fib_info_update_nhc_saddr`); IPv6 looks at the destination.
                    let toward = match Family::of(dst) {
                        Family::Ipv4 => route.via.unwrap_or(Family::Ipv4.unspecified()),
                        Family::Ipv6 => dst,
                    };
                    let chosen = route
                        .src
                        .or_else(|| self.ns.select_address(route.device, toward));
                    headers.src = chosen.ok_or(Disposition::Unroutable(Unroutable::NoRoute))?;
                }
                WayOut {
                    device: route.device,
                    next_hop,
                }
            }
        };
        // `__mkroute_output`: 127.0.0.0/8 stays on loopback.
        if headers.src.is_loopback()
            && way.device != DeviceName::LO
            && !self.ns.sysctls.route_localnet
        {
            return Err(Disposition::Dropped(DropReason::MartianSource));
        }
        Ok(way)
    }

    fn ip_local_out(&mut self, mut skb: Skb, mut way: WayOut) -> Outcome {
        let before = skb.headers.dst;
        let place = Place {
            output: Some(way.device),
            ..Place::default()
        };
        if let Err(end) = self.hook(&mut skb, Hook::Output, place) {
            return end.into();
        }
        if let Some(way) = skb.leaves_by.take() {
            return self.ip_vs_send(skb, way);
        }
        // `ip_route_me_harder`: a new destination needs a new route; the source stays.
        if skb.headers.dst != before {
            way = match self.route_output(&mut skb.headers) {
                Ok(way) => way,
                Err(end) => return self.end(&skb, end),
            };
        }
        self.ip_output(skb, way)
    }

    pub(crate) fn ip_output(&mut self, mut skb: Skb, way: WayOut) -> Outcome {
        let place = Place {
            input: skb.input,
            output: Some(way.device),
            next_hop: Some(way.next_hop),
            ..Place::default()
        };
        if let Err(end) = self.hook(&mut skb, Hook::Postrouting, place) {
            return end.into();
        }
        if let Err(end) = self.fits(&skb.headers, way.device) {
            return end.into();
        }
        if way.device == DeviceName::LO {
            return self.transmit(skb, way.device, MacAddr::default());
        }
        match self.neighbor(way) {
            Ok(mac) => self.transmit(skb, way.device, mac),
            Err(end) => end.into(),
        }
    }

    /// The Ethernet address of the next hop.
    fn neighbor(&self, WayOut { device, next_hop }: WayOut) -> Result<MacAddr, Disposition> {
        let known = self.ns.neighbors.get(&(device, next_hop)).copied();
        known
            .or_else(|| self.around.resolve(device, next_hop))
            .ok_or(Disposition::Unroutable(Unroutable::NoNeighbor {
                next_hop,
                device,
            }))
    }

    /// The port of a bridge that leads to the next hop behind it, found as for the host's own packets.
    pub(crate) fn neighbor_of_route(
        &self,
        route: &Route,
        dst: IpAddr,
    ) -> Result<MacAddr, Disposition> {
        let next_hop = route.via.unwrap_or(dst);
        self.neighbor(WayOut {
            device: route.device,
            next_hop,
        })
    }

    /// Hands the packet to a device (`dev_queue_xmit`).
    pub(crate) fn transmit(&mut self, skb: Skb, device: DeviceName, to: MacAddr) -> Outcome {
        let Some(link) = self.ns.links.get(&device) else {
            return Disposition::Dropped(DropReason::DeadDevice(device)).into();
        };
        match &link.kind {
            LinkKind::Loopback => {
                let mut skb = skb;
                skb.input = Some(device);
                self.ip_rcv(skb)
            }
            LinkKind::Nic | LinkKind::Veth => {
                self.watch.event(Event::Transmitted { device, to });
                Outcome::Transmitted {
                    device,
                    frame: skb.into_frame(link.mac, to),
                }
            }
            LinkKind::Bridge => self.bridge_transmit(skb, link, to),
            LinkKind::Vxlan(vxlan) => self.vxlan_transmit(skb, link, vxlan, to),
            LinkKind::Dummy => Disposition::Dropped(DropReason::DeadDevice(device)).into(),
        }
    }

    /// Sends a packet that this kernel made: the outer one of a tunnel, which has the mark of the
    /// inner one (`skb_scrub_packet` keeps it within a namespace).
    pub(crate) fn send_outer(
        &mut self,
        mut headers: Headers,
        payload: Payload,
        mark: Mark,
    ) -> Outcome {
        match self.route_output(&mut headers) {
            Ok(way) => {
                let mut skb = Skb::new(headers, payload);
                skb.mark = mark;
                self.ip_local_out(skb, way)
            }
            Err(end) => end.into(),
        }
    }

    /// Whether the device takes a packet of that size.
    pub(crate) fn fits(&self, headers: &Headers, device: DeviceName) -> Result<(), Disposition> {
        let mtu = self.ns.links.get(&device).map_or(u32::MAX, |link| link.mtu);
        if headers.length > mtu && headers.dont_fragment {
            return Err(Disposition::Mtu { device, mtu });
        }
        Ok(())
    }

    /// Ends a packet outside a hook; a connection that it began is forgotten.
    pub(crate) fn end(&mut self, skb: &Skb, end: Disposition) -> Outcome {
        if let Some((id, _)) = skb.tracked.and_then(|tracked| tracked.connection) {
            self.state.conntrack.forget_unconfirmed(id);
        }
        end.into()
    }
}

/// Whether a route leads on.
const fn usable(route: &Route) -> Result<(), Disposition> {
    match route.kind {
        RouteKind::Unicast => Ok(()),
        RouteKind::Blackhole => Err(Disposition::Dropped(DropReason::Blackhole)),
        RouteKind::Unreachable | RouteKind::Prohibit => {
            Err(Disposition::Unroutable(Unroutable::RouteRefuses))
        }
    }
}
