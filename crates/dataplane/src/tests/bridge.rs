//! Bridged packets: net/bridge/{br_forward,br_netfilter_hooks}.c.

use podwire_packet::Headers;

use super::{
    CNI0, COUNT_ALL, ETH0, Lab, VETH1, VETH2, delivered, dropped, flow, ip, mac_of, sent, tcp,
};
use crate::{BridgePort, DropReason, Event};

fn from_pod_to_pod() -> Headers {
    tcp("10.0.0.2:40000", "10.0.0.3:80")
}

/// One pod sends straight to the other.
fn bridged(lab: &mut Lab, headers: Headers) -> (podwire_packet::DeviceName, Headers) {
    let port = if headers.src == ip("10.0.0.2") {
        VETH1
    } else {
        VETH2
    };
    let (device, headers, _) = sent(lab.receive_for(port, mac_of(headers.dst), headers));
    (device, headers)
}

#[test]
fn a_bridged_packet_meets_the_hooks_of_ip_and_keeps_its_ttl() {
    let mut lab = Lab::new().rules(COUNT_ALL);
    let (device, headers) = bridged(&mut lab, from_pod_to_pod());
    assert_eq!((device, headers.ttl), (VETH2, 64));
    assert_eq!(
        lab.met(),
        [
            "mangle/PREROUTING/1",
            "mangle/FORWARD/1",
            "mangle/POSTROUTING/1"
        ]
    );
    let to = Some(VETH2);
    assert!(lab.events.contains(&Event::Bridged {
        bridge: CNI0,
        from: Some(VETH1),
        to
    }));
}

#[test]
fn rules_see_the_bridge_as_device_and_its_ports_as_physdev() {
    let rules = "*mangle\n-A PREROUTING -i cni0 -m physdev --physdev-in veth1\n-A PREROUTING -i veth1\n\
        -A FORWARD -i cni0 -o cni0 -m physdev --physdev-in veth1 --physdev-out veth2 --physdev-is-bridged\n\
        -A POSTROUTING -o cni0 -m physdev --physdev-out veth2 --physdev-is-bridged\nCOMMIT\n";
    let mut lab = Lab::new().rules(rules);
    bridged(&mut lab, from_pod_to_pod());
    assert_eq!(
        lab.met(),
        [
            "mangle/PREROUTING/1",
            "mangle/FORWARD/1",
            "mangle/POSTROUTING/1"
        ]
    );
}

#[test]
fn a_packet_routed_off_a_bridge_has_a_port_it_came_in_by_only() {
    let rules = "*mangle\n-A FORWARD -m physdev --physdev-in veth1 ! --physdev-is-bridged\n\
        -A FORWARD -m physdev --physdev-is-bridged\n-A POSTROUTING -m physdev --physdev-is-out\nCOMMIT\n";
    let mut lab = Lab::new().rules(rules);
    sent(lab.receive(VETH1, tcp("10.0.0.2:1", "198.51.100.7:80")));
    assert_eq!(lab.met(), ["mangle/FORWARD/1"]);
}

#[test]
fn a_packet_for_this_host_meets_prerouting_once() {
    let mut lab = Lab::new().rules(COUNT_ALL);
    delivered(lab.receive(VETH1, tcp("10.0.0.2:1", "10.0.0.1:80")));
    assert_eq!(lab.met(), ["mangle/PREROUTING/1", "mangle/INPUT/1"]);
}

#[test]
fn without_bridge_nf_call_iptables_a_bridged_packet_meets_no_rule() {
    let mut lab = Lab::new()
        .rules(COUNT_ALL)
        .sysctl(|s| s.bridge_nf_call_iptables = false);
    bridged(&mut lab, from_pod_to_pod());
    assert!(lab.met().is_empty());
    // One that is routed meets them all the same.
    sent(lab.receive(VETH1, tcp("10.0.0.2:1", "198.51.100.7:80")));
    assert_eq!(
        lab.met(),
        [
            "mangle/PREROUTING/1",
            "mangle/FORWARD/1",
            "mangle/POSTROUTING/1"
        ]
    );
}

const SERVICE: &str = "-A PREROUTING -d 10.96.0.1 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.3:8080\n\
    -A PREROUTING -d 10.96.0.2 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080";

fn to_service() -> Headers {
    tcp("10.0.0.2:40000", "10.96.0.1:80")
}

/// From a pod to a Service that it stands behind itself.
fn to_itself() -> Headers {
    tcp("10.0.0.2:40000", "10.96.0.2:80")
}

#[test]
fn a_packet_translated_to_a_neighbour_on_the_bridge_is_bridged() {
    // `br_nf_pre_routing_finish`. Tried on Linux 6.18: TTL 64, FORWARD sees it bridged.
    let mut lab = Lab::new().nat(SERVICE);
    let (device, headers, to) = sent(lab.receive(VETH1, to_service()));
    assert_eq!(
        (device, headers.ttl, to),
        (VETH2, 64, mac_of(ip("10.0.0.3")))
    );
}

#[test]
fn without_bridge_nf_call_iptables_it_is_routed() {
    let mut lab = Lab::new()
        .nat(SERVICE)
        .sysctl(|s| s.bridge_nf_call_iptables = false);
    let (device, headers, _) = sent(lab.receive(VETH1, to_service()));
    assert_eq!((device, headers.ttl), (VETH2, 63));
}

#[test]
fn bridged_packets_need_forwarding_only_if_they_are_translated() {
    // Tried on Linux 6.18, whose own comment says otherwise.
    let mut lab = Lab::new().nat(SERVICE).sysctl(|s| s.ip_forward = false);
    bridged(&mut lab, from_pod_to_pod());
    assert_eq!(
        dropped(lab.receive(VETH1, to_service())),
        DropReason::ForwardingOff
    );
}

fn with_hairpin(lab: Lab) -> Lab {
    let port = BridgePort {
        bridge: CNI0,
        hairpin: true,
    };
    lab.link(VETH1, |veth1| veth1.port_of = Some(port))
}

#[test]
fn a_packet_bridged_back_needs_a_port_in_hairpin_mode() {
    // Both tried on Linux 6.18.
    let mut lab = Lab::new().nat(SERVICE);
    assert_eq!(
        dropped(lab.receive(VETH1, to_itself())),
        DropReason::NoHairpin(VETH1)
    );
    assert_eq!(lab.state.conntrack.connections().count(), 0);
    let mut lab = with_hairpin(Lab::new().nat(SERVICE));
    assert_eq!(sent(lab.receive(VETH1, to_itself())).0, VETH1);
}

#[test]
fn a_packet_routed_back_needs_none() {
    let mut lab = Lab::new()
        .nat(SERVICE)
        .sysctl(|s| s.bridge_nf_call_iptables = false);
    let (device, headers, _) = sent(lab.receive(VETH1, to_itself()));
    assert_eq!((device, headers.ttl), (VETH1, 63));
}

#[test]
fn the_answer_of_a_neighbour_is_translated_back_on_the_bridge() {
    let mut lab = Lab::new().nat(SERVICE);
    let to_pod = sent(lab.receive(VETH1, to_service())).1;
    let (device, back) = bridged(&mut lab, to_pod.first_of_reply());
    assert_eq!((device, back.src, back.sport), (VETH1, ip("10.96.0.1"), 80));
}

#[test]
fn without_bridge_nf_call_iptables_the_answer_keeps_the_neighbours_address() {
    let mut lab = Lab::new()
        .nat(SERVICE)
        .sysctl(|s| s.bridge_nf_call_iptables = false);
    let to_pod = sent(lab.receive(VETH1, to_service())).1;
    let (_, back) = bridged(&mut lab, to_pod.first_of_reply());
    assert_eq!((back.src, back.sport), (ip("10.0.0.3"), 8080));
}

#[test]
fn a_translation_off_the_bridge_is_routed() {
    let rule = "-A PREROUTING -d 10.96.0.1 -p tcp -j DNAT --to-destination 198.51.100.7:80";
    let mut lab = Lab::new().nat(rule);
    let (device, headers, _) = sent(lab.receive(VETH1, to_service()));
    assert_eq!((device, headers.ttl), (ETH0, 63));
}

#[test]
fn a_translation_to_this_host_ends_here() {
    let rule = "-A PREROUTING -d 10.96.0.1 -p tcp -j DNAT --to-destination 192.0.2.1:6443";
    let mut lab = Lab::new().nat(rule);
    let arrived = delivered(lab.receive(VETH1, to_service()));
    assert_eq!(arrived, "tcp 10.0.0.2:40000 > 192.0.2.1:6443");
}

#[test]
fn masquerade_of_a_bridged_packet_takes_the_bridges_address() {
    let rules = format!("{SERVICE}\n-A POSTROUTING -s 10.0.0.2 -d 10.0.0.2 -j MASQUERADE");
    let mut lab = with_hairpin(Lab::new().nat(&rules));
    let left = flow(lab.receive(VETH1, to_itself()));
    assert_eq!((left.src, left.dst), (ip("10.0.0.1"), ip("10.0.0.2")));
}

#[test]
fn a_frame_for_nobody_ends_at_the_bridge() {
    let mut lab = Lab::new();
    let reason = dropped(lab.receive_for(
        VETH1,
        mac_of(ip("10.0.0.77")),
        tcp("10.0.0.2:1", "10.0.0.77:80"),
    ));
    assert_eq!(reason, DropReason::NoBridgePort(CNI0));
    assert_eq!(
        dropped(lab.send(tcp("0.0.0.0:1", "10.0.0.77:80"))),
        DropReason::NoBridgePort(CNI0)
    );
}

#[test]
fn a_port_without_its_bridge_leads_nowhere() {
    let gone = "br9".parse().unwrap();
    let mut lab = Lab::new();
    lab = lab.link(VETH1, |port| {
        port.port_of = Some(BridgePort {
            bridge: gone,
            hairpin: false,
        })
    });
    let reason = dropped(lab.receive_for(VETH1, mac_of(ip("10.0.0.3")), from_pod_to_pod()));
    assert_eq!(reason, DropReason::DeadDevice(gone));
}

#[test]
fn a_bridged_packet_must_fit_the_port() {
    let mut lab = Lab::new().link(VETH2, |veth2| veth2.mtu = 1400);
    let large = Headers {
        length: 1401,
        ..from_pod_to_pod()
    };
    let end = super::end(lab.receive_for(VETH1, mac_of(large.dst), large));
    assert_eq!(
        end,
        crate::Disposition::Mtu {
            device: VETH2,
            mtu: 1400
        }
    );
}

#[test]
fn ipv6_is_bridged_and_translated_alike() {
    let rule =
        "*nat\n-A PREROUTING -d fd96::1 -p tcp -j DNAT --to-destination [fd00::3]:8080\nCOMMIT\n";
    let mut lab = Lab::new().rules6(rule);
    let (device, headers, _) = sent(lab.receive(VETH1, tcp("[fd00::2]:9", "[fd96::1]:80")));
    assert_eq!(
        (device, headers.ttl, headers.dst),
        (VETH2, 64, ip("fd00::3"))
    );
}
