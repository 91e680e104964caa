//! VXLAN: Ethernet frames in UDP (RFC 7348; drivers/net/vxlan/vxlan_core.c).

use podwire_packet::{FiveTuple, Headers, MacAddr, Mark, Protocol};
use podwire_ruleset::{Choose, Classify, Draw};

use crate::hooks::Kernel;
use crate::skb::{Frame, Payload, Skb};
use crate::watch::{Event, Watch};
use crate::{Disposition, DropReason, Link, LinkKind, Outcome, Surroundings, VxlanLink};

/// What VXLAN adds to a packet: inner Ethernet 14, VXLAN 8, UDP 8 bytes; the outer IP header comes on
/// top (`VXLAN_HEADROOM` is 50 with an IPv4 header, `VXLAN6_HEADROOM` 70).
const OVERHEAD: u32 = 14 + 8 + 8;

impl<C: Classify, S: Surroundings, H: Choose, W: Watch> Kernel<'_, C, S, H, W> {
    /// Packs a packet and sends it to the other end that has its Ethernet address (`vxlan_xmit_one`).
    pub(crate) fn vxlan_transmit(
        &mut self,
        skb: Skb,
        link: &Link,
        vxlan: &VxlanLink,
        to: MacAddr,
    ) -> Outcome {
        let Some(&(_, remote)) = vxlan.fdb.iter().find(|(mac, _)| *mac == to) else {
            return Disposition::Dropped(DropReason::NoVtep(link.name)).into();
        };
        let ip_header = if remote.is_ipv4() { 20 } else { 40 };
        let mut outer = Headers::first_of_flow(
            vxlan.local,
            remote,
            Protocol::UDP,
            source_port(skb.headers.five_tuple()),
            vxlan.port,
        );
        outer.length = skb.headers.length + OVERHEAD + ip_header;
        // The device's `df` is off unless asked for: routers may cut the outer packet.
        outer.dont_fragment = false;
        self.watch.event(Event::Encapsulated {
            device: link.name,
            outer: outer.five_tuple(),
            vni: vxlan.vni,
        });
        let mark = skb.mark;
        let inner = Box::new(skb.into_frame(link.mac, to));
        let payload = Payload::Vxlan {
            vni: vxlan.vni,
            inner,
        };
        self.send_outer(outer, payload, mark)
    }

    /// Unpacks a frame and takes it in by the device of its network (`vxlan_rcv`); it has the outer
    /// packet's mark.
    pub(crate) fn vxlan_receive(
        &mut self,
        vni: u32,
        port: u16,
        mark: Mark,
        inner: Frame,
    ) -> Outcome {
        let device = self.ns.links.values().find(|link| match &link.kind {
            LinkKind::Vxlan(vxlan) => vxlan.vni == vni && vxlan.port == port,
            LinkKind::Loopback
            | LinkKind::Nic
            | LinkKind::Veth
            | LinkKind::Bridge
            | LinkKind::Dummy => false,
        });
        let Some(device) = device.map(|link| link.name) else {
            return Disposition::Dropped(DropReason::UnknownVni(vni)).into();
        };
        self.watch.event(Event::Decapsulated { device, vni });
        self.receive(device, inner, mark)
    }
}

/// The outer source port: a hash of the inner flow in the range of ephemeral ports
/// (`udp_flow_src_port`; sysctl `net.ipv4.ip_local_port_range`, 32768 to 60999), so that a flow keeps
/// to one path and flows spread over several.
fn source_port(flow: FiveTuple) -> u16 {
    const FIRST: u16 = 32_768;
    const COUNT: u32 = 60_999 - 32_768 + 1;
    let ports = u64::from(flow.sport) << 16 | u64::from(flow.dport);
    let addresses = [flow.src, flow.dst]
        .into_iter()
        .fold(0_u64, |hash, address| {
            let bytes = match address {
                std::net::IpAddr::V4(ip) => u128::from(u32::from(ip)),
                std::net::IpAddr::V6(ip) => u128::from(ip),
            };
            let mut draw =
                Draw(hash ^ u64::try_from(bytes % u128::from(u64::MAX)).unwrap_or_default());
            draw.next()
        });
    let offset = Draw(addresses ^ ports).one_of(COUNT);
    FIRST + u16::try_from(offset).expect("fewer than 28,232")
}
