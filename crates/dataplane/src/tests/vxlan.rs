//! Tunnels: drivers/net/vxlan/vxlan_core.c, wired as flannel does it.

use podwire_packet::{DeviceName, Headers, MacAddr, Protocol};
use podwire_ruleset::Hook;

use super::{ETH0, Lab, VETH1, delivered, dropped, end, ip, mac_of, packet, tcp};
use crate::{
    Disposition, DropReason, Event, Frame, Link, LinkKind, Outcome, Payload, Route, VxlanLink,
};

const FLANNEL: DeviceName = DeviceName::literal("flannel.1");
const OTHER_END: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

/// A node that reaches 10.0.9.0/24 through another node, 192.0.2.9.
fn lab() -> Lab {
    let vxlan = VxlanLink {
        vni: 1,
        port: 8472,
        local: ip("192.0.2.1"),
        device: ETH0,
        fdb: vec![(OTHER_END, ip("192.0.2.9"))],
    };
    let flannel = Link::new(
        FLANNEL,
        LinkKind::Vxlan(vxlan),
        MacAddr([2, 0, 0, 0, 0, 8]),
        1450,
    );
    let links = Lab::new().ns.links.into_values();
    let mut lab = Lab::of(links.chain([flannel.with_address(ip("10.0.0.0"), 32)]));
    let to = "10.0.9.0/24".parse().unwrap();
    lab.ns.add_route(Route {
        onlink: true,
        ..Route::via(to, FLANNEL, ip("10.0.9.0"))
    });
    lab.ns
        .neighbors
        .insert((FLANNEL, ip("10.0.9.0")), OTHER_END);
    lab
}

fn to_other_node() -> Headers {
    tcp("10.0.0.2:40000", "10.0.9.3:80")
}

/// What comes back from the other end.
fn tunnelled(vni: u32, port: u16, to: MacAddr) -> Frame {
    let headers = tcp("10.0.9.3:80", "10.0.0.1:40000");
    let inner = Frame {
        src: OTHER_END,
        dst: to,
        headers,
        payload: Payload::Data,
    };
    Frame {
        src: mac_of(ip("192.0.2.9")),
        dst: MacAddr([2, 0, 0, 0, 0, 1]),
        headers: packet(
            Protocol::UDP,
            "192.0.2.9:50000",
            &format!("192.0.2.1:{port}"),
        ),
        payload: Payload::Vxlan {
            vni,
            inner: Box::new(inner),
        },
    }
}

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 8]);

#[test]
fn a_packet_for_the_other_node_is_packed_into_udp() {
    let mut lab = lab();
    let Outcome::Transmitted { device, frame } = lab.receive(VETH1, to_other_node()) else {
        panic!("it did not leave")
    };
    let outer = frame.headers;
    assert_eq!((device, frame.dst), (ETH0, mac_of(ip("192.0.2.9"))));
    assert_eq!(
        (outer.src, outer.dst, outer.dport),
        (ip("192.0.2.1"), ip("192.0.2.9"), 8472)
    );
    assert_eq!(
        (outer.protocol, outer.ttl, outer.length),
        (Protocol::UDP, 64, 60 + 50)
    );
    let Payload::Vxlan { vni, inner } = frame.payload else {
        panic!("no tunnel")
    };
    assert_eq!((vni, inner.src, inner.dst), (1, OWN, OTHER_END));
    assert_eq!((inner.headers.ttl, inner.headers.dst), (63, ip("10.0.9.3")));
}

#[test]
fn the_outer_source_port_is_ephemeral_and_the_same_for_a_flow() {
    let port = |headers: Headers| match lab().receive(VETH1, headers) {
        Outcome::Transmitted { frame, .. } => frame.headers.sport,
        Outcome::Ended(end) => panic!("{end:?}"),
    };
    assert!((32_768..=60_999).contains(&port(to_other_node())));
    assert_eq!(port(to_other_node()), port(to_other_node()));
    assert_ne!(
        port(to_other_node()),
        port(tcp("10.0.0.2:40001", "10.0.9.3:80"))
    );
}

#[test]
fn the_tunnels_mtu_bounds_the_inner_packet() {
    let large = Headers {
        length: 1451,
        ..to_other_node()
    };
    let mtu = Disposition::Mtu {
        device: FLANNEL,
        mtu: 1450,
    };
    assert_eq!(end(lab().receive(VETH1, large)), mtu);
    let Outcome::Transmitted { .. } = lab().receive(
        VETH1,
        Headers {
            length: 1450,
            ..large
        },
    ) else {
        panic!("it did not leave")
    };
}

#[test]
fn the_outer_packet_is_one_of_the_hosts_own_and_has_the_inner_ones_mark() {
    // `skb_scrub_packet` clears the mark between namespaces only.
    let rules = "*mangle\n-A PREROUTING -s 10.0.0.2 -j MARK --set-mark 7\n-A FORWARD -o flannel.1\n\
        -A OUTPUT -p udp --dport 8472 -o eth0 -m mark --mark 7\n-A POSTROUTING -o eth0\nCOMMIT\n";
    let mut lab = lab().rules(rules);
    lab.receive(VETH1, to_other_node());
    let met = ["PREROUTING", "FORWARD", "OUTPUT", "POSTROUTING"].map(|c| format!("mangle/{c}/1"));
    assert_eq!(lab.met(), met);
}

#[test]
fn a_frame_for_an_unknown_end_is_dropped() {
    let mut lab = lab();
    lab.ns
        .neighbors
        .insert((FLANNEL, ip("10.0.9.0")), MacAddr([2, 7, 7, 7, 7, 7]));
    assert_eq!(
        dropped(lab.receive(VETH1, to_other_node())),
        DropReason::NoVtep(FLANNEL)
    );
}

#[test]
fn what_comes_out_of_a_tunnel_came_in_by_its_device() {
    let rules = "*mangle\n-A PREROUTING -i eth0 -p udp\n-A INPUT -p udp\n-A PREROUTING -i flannel.1\nCOMMIT\n";
    let mut lab = lab().rules(rules);
    lab.state
        .connected
        .push(tcp("10.0.9.3:80", "10.0.0.1:40000").five_tuple());
    let arrived = delivered(lab.receive_frame(ETH0, tunnelled(1, 8472, OWN)));
    assert_eq!(arrived, "tcp 10.0.9.3:80 > 10.0.0.1:40000");
    assert!(lab.events.contains(&Event::Decapsulated {
        device: FLANNEL,
        vni: 1
    }));
    assert_eq!(
        lab.hooks(),
        [Hook::Prerouting, Hook::Input, Hook::Prerouting]
    );
}

#[test]
fn a_network_without_a_device_here_is_dropped() {
    let reason = dropped(lab().receive_frame(ETH0, tunnelled(2, 8472, OWN)));
    assert_eq!(reason, DropReason::UnknownVni(2));
    let reason = dropped(lab().receive_frame(ETH0, tunnelled(1, 4789, OWN)));
    assert_eq!(reason, DropReason::UnknownVni(1));
}

#[test]
fn an_inner_frame_for_another_host_is_not_looked_into() {
    let reason = dropped(lab().receive_frame(ETH0, tunnelled(1, 8472, OTHER_END)));
    assert_eq!(reason, DropReason::OtherHost);
}

#[test]
fn the_hosts_rules_can_stop_a_tunnel() {
    let mut lab = lab().rules("*filter\n-A INPUT -p udp --dport 8472 -j DROP\nCOMMIT\n");
    let reason = dropped(lab.receive_frame(ETH0, tunnelled(1, 8472, OWN)));
    assert!(matches!(reason, DropReason::Rule(_)));
}

#[test]
fn over_ipv6_a_tunnel_adds_70_bytes() {
    let mut lab = lab();
    let LinkKind::Vxlan(vxlan) = &mut lab.ns.links[&FLANNEL].kind else {
        panic!("no tunnel")
    };
    vxlan.local = ip("2001:db8::1");
    vxlan.fdb = vec![(OTHER_END, ip("2001:db8::9"))];
    let Outcome::Transmitted { frame, .. } = lab.receive(VETH1, to_other_node()) else {
        panic!("it did not leave")
    };
    assert_eq!(
        (frame.headers.length, frame.headers.src),
        (60 + 70, ip("2001:db8::1"))
    );
}
