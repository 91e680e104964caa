//! In, on and out: net/ipv4/{route,fib_frontend,ip_forward,ip_output}.c.

use podwire_packet::{DeviceName, Headers, MacAddr, Protocol};

use super::{CNI0, ETH0, Lab, VETH1, delivered, dropped, end, flow, ip, mac_of, packet, sent, tcp};
use crate::{
    Disposition, DropReason, Event, Link, LinkKind, Listeners, Route, RouteKind, Unroutable,
};

const OUTSIDE: &str = "198.51.100.7:40000";

/// From an outside host to a pod, by way of this one.
fn passing() -> Headers {
    tcp(OUTSIDE, "10.0.0.3:80")
}

fn of_kind(lab: Lab, to: &str, kind: RouteKind) -> Lab {
    let mut lab = lab;
    let to = to.parse().unwrap();
    lab.ns.add_route(Route {
        kind,
        ..Route::connected(to, ETH0, ip("192.0.2.1"))
    });
    lab
}

#[test]
fn a_packet_for_an_own_address_goes_to_whoever_listens() {
    let mut lab = Lab::new();
    let flow = delivered(lab.receive(ETH0, tcp(OUTSIDE, "192.0.2.1:80")));
    assert_eq!(flow, "tcp 198.51.100.7:40000 > 192.0.2.1:80");
    // Linux is a weak host: the address may be another device's.
    delivered(lab.receive(ETH0, tcp(OUTSIDE, "10.0.0.1:80")));
}

#[test]
fn where_nobody_listens_the_sender_is_refused() {
    let mut lab = Lab::new();
    lab.ns.listeners = Listeners {
        everything: false,
        ports: vec![
            (Protocol::TCP, None, 80..=80),
            (Protocol::UDP, Some(ip("192.0.2.1")), 53..=53),
        ],
    };
    delivered(lab.receive(ETH0, tcp(OUTSIDE, "192.0.2.1:80")));
    delivered(lab.receive(ETH0, packet(Protocol::UDP, OUTSIDE, "192.0.2.1:53")));
    for refused in [
        tcp(OUTSIDE, "192.0.2.1:81"),
        packet(Protocol::UDP, OUTSIDE, "192.0.2.1:80"),
        packet(Protocol::UDP, OUTSIDE, "10.0.0.1:53"),
        // A SYN-ACK that nobody here asked for.
        tcp("192.0.2.1:80", OUTSIDE).first_of_reply(),
    ] {
        assert_eq!(end(lab.receive(ETH0, refused)), Disposition::Refused);
    }
}

#[test]
fn ping_is_answered_by_the_kernel() {
    let mut lab = Lab::new();
    lab.ns.listeners = Listeners::default();
    delivered(lab.receive(ETH0, packet(Protocol::ICMP, OUTSIDE, "192.0.2.1:0")));
}

#[test]
fn a_packet_that_passes_loses_one_of_its_ttl() {
    let mut lab = Lab::new();
    let (device, headers, to) = sent(lab.receive(ETH0, passing()));
    assert_eq!(
        (device, headers.ttl, to),
        (DeviceName::literal("veth2"), 63, mac_of(ip("10.0.0.3")))
    );
    let (device, headers, to) = sent(lab.receive(VETH1, tcp("10.0.0.2:1", "198.51.100.7:2")));
    assert_eq!(
        (device, headers.ttl, to),
        (ETH0, 63, mac_of(ip("192.0.2.254")))
    );
}

#[test]
fn ttl_1_goes_to_this_host_and_no_further() {
    let mut lab = Lab::new();
    assert_eq!(
        end(lab.receive(
            ETH0,
            Headers {
                ttl: 1,
                ..passing()
            }
        )),
        Disposition::Ttl
    );
    assert_eq!(lab.state.conntrack.connections().count(), 0);
    delivered(lab.receive(
        ETH0,
        Headers {
            ttl: 1,
            ..tcp(OUTSIDE, "192.0.2.1:80")
        },
    ));
    let v6 = Headers {
        ttl: 1,
        ..tcp("[2001:db8:1::7]:1", "[fd00::3]:80")
    };
    assert_eq!(end(lab.receive(ETH0, v6)), Disposition::Ttl);
}

#[test]
fn a_host_that_does_not_forward_drops_what_is_not_for_it() {
    let mut lab = Lab::new().sysctl(|s| s.ip_forward = false);
    assert_eq!(
        dropped(lab.receive(ETH0, passing())),
        DropReason::ForwardingOff
    );
    let v6 = tcp("[2001:db8:1::7]:1", "[fd00::3]:80");
    assert_eq!(dropped(lab.receive(ETH0, v6)), DropReason::ForwardingOff);
    delivered(lab.receive(ETH0, tcp(OUTSIDE, "192.0.2.1:80")));
}

#[test]
fn nobody_outside_has_an_address_of_this_host() {
    let mut lab = Lab::new();
    for own in [
        "192.0.2.1:1",
        "10.0.0.1:1",
        "127.0.0.1:1",
        "127.0.0.9:1",
        "224.0.0.1:1",
    ] {
        let reason = dropped(lab.receive(ETH0, tcp(own, "10.0.0.3:80")));
        assert_eq!(reason, DropReason::MartianSource, "{own}");
    }
}

#[test]
fn loopback_is_no_destination_from_outside_unless_route_localnet_says_so() {
    let to_loopback = tcp(OUTSIDE, "127.0.0.1:80");
    let reason = dropped(Lab::new().receive(ETH0, to_loopback));
    assert_eq!(reason, DropReason::MartianDestination);
    delivered(
        Lab::new()
            .sysctl(|s| s.route_localnet = true)
            .receive(ETH0, to_loopback),
    );
}

#[test]
fn route_localnet_lets_loopback_sources_in_but_for_the_own_address() {
    let mut lab = Lab::new().sysctl(|s| s.route_localnet = true);
    delivered(lab.receive(ETH0, tcp("127.0.0.9:1", "192.0.2.1:80")));
    let reason = dropped(lab.receive(ETH0, tcp("127.0.0.1:1", "192.0.2.1:80")));
    assert_eq!(reason, DropReason::MartianSource);
    let mut filtered = lab.sysctl(|s| s.rp_filter = 2);
    let reason = dropped(filtered.receive(ETH0, tcp("127.0.0.9:1", "192.0.2.1:80")));
    assert_eq!(reason, DropReason::MartianSource);
}

#[test]
fn groups_and_broadcasts_are_not_followed() {
    let mut lab = Lab::new();
    for to in ["224.0.0.1:1", "255.255.255.255:1", "192.0.2.255:1"] {
        assert_eq!(
            dropped(lab.receive(ETH0, tcp(OUTSIDE, to))),
            DropReason::NotUnicast,
            "{to}"
        );
    }
    for to in ["224.0.0.1:1", "10.0.0.255:1"] {
        assert_eq!(
            dropped(lab.send(tcp("0.0.0.0:1", to))),
            DropReason::NotUnicast,
            "{to}"
        );
    }
}

#[test]
fn strict_rp_filter_wants_the_way_back_to_be_the_way_it_came() {
    // "1 - Strict mode as defined in RFC3704 Strict Reverse Path" (ip-sysctl.rst).
    let mut lab = Lab::new().sysctl(|s| s.rp_filter = 1);
    sent(lab.receive(ETH0, passing()));
    let spoofed = tcp("10.0.0.2:1", "10.0.0.3:80");
    assert_eq!(
        dropped(lab.receive(ETH0, spoofed)),
        DropReason::ReversePathFilter
    );
    let spoofed = tcp("10.0.0.2:1", "192.0.2.1:80");
    assert_eq!(
        dropped(lab.receive(ETH0, spoofed)),
        DropReason::ReversePathFilter
    );
}

#[test]
fn loose_rp_filter_wants_any_way_back() {
    let from_pod = tcp("10.0.0.2:1", "10.0.0.3:80");
    sent(
        Lab::new()
            .sysctl(|s| s.rp_filter = 2)
            .receive(ETH0, from_pod),
    );
    sent(Lab::new().receive(ETH0, from_pod));
    let links = Lab::new().ns.links.into_values();
    let mut without_default = Lab::of(links).sysctl(|s| s.rp_filter = 2);
    assert_eq!(
        dropped(without_default.receive(ETH0, passing())),
        DropReason::ReversePathFilter
    );
}

#[test]
fn a_device_without_an_address_is_never_loose() {
    // `__fib_validate_source`: "if (no_addr) goto last_resort". Tried on Linux 6.18.
    let mut lab = Lab::new()
        .sysctl(|s| s.rp_filter = 2)
        .link(ETH0, |eth0| eth0.addresses.clear());
    let from_pod = tcp("10.0.0.2:1", "10.0.0.3:80");
    assert_eq!(
        dropped(lab.receive(ETH0, from_pod)),
        DropReason::ReversePathFilter
    );
    sent(lab.receive(ETH0, passing()));
}

#[test]
fn ipv6_has_no_rp_filter() {
    let mut lab = Lab::new().sysctl(|s| s.rp_filter = 1);
    sent(lab.receive(ETH0, tcp("[fd00::2]:1", "[fd00::3]:80")));
}

#[test]
fn a_packet_that_is_too_large_and_may_not_be_cut_ends() {
    let mut lab = Lab::new().link(CNI0, |cni0| cni0.mtu = 1400);
    let large = Headers {
        length: 1401,
        ..passing()
    };
    assert_eq!(
        end(lab.receive(ETH0, large)),
        Disposition::Mtu {
            device: CNI0,
            mtu: 1400
        }
    );
    sent(lab.receive(
        ETH0,
        Headers {
            length: 1400,
            ..passing()
        },
    ));
    sent(lab.receive(
        ETH0,
        Headers {
            dont_fragment: false,
            ..large
        },
    ));
    let own = Headers {
        length: 1501,
        ..tcp("0.0.0.0:1", "198.51.100.7:2")
    };
    assert_eq!(
        end(lab.send(own)),
        Disposition::Mtu {
            device: ETH0,
            mtu: 1500
        }
    );
}

#[test]
fn routes_may_refuse() {
    let lab = || of_kind(Lab::new(), "203.0.113.0/24", RouteKind::Blackhole);
    let to = tcp("10.0.0.2:1", "203.0.113.1:80");
    assert_eq!(dropped(lab().receive(VETH1, to)), DropReason::Blackhole);
    assert_eq!(dropped(lab().send(to)), DropReason::Blackhole);
    for kind in [RouteKind::Unreachable, RouteKind::Prohibit] {
        let mut lab = of_kind(Lab::new(), "203.0.113.0/24", kind);
        let refused = Disposition::Unroutable(Unroutable::RouteRefuses);
        assert_eq!(end(lab.receive(VETH1, to)), refused);
        assert_eq!(end(lab.send(to)), refused);
    }
}

#[test]
fn a_route_that_drops_is_found_before_the_source_is_looked_at() {
    let lab = of_kind(Lab::new(), "203.0.113.0/24", RouteKind::Blackhole);
    let mut lab = lab.sysctl(|s| s.rp_filter = 1);
    let spoofed = tcp("10.0.0.2:1", "203.0.113.1:80");
    assert_eq!(dropped(lab.receive(ETH0, spoofed)), DropReason::Blackhole);
}

#[test]
fn without_a_route_a_packet_ends() {
    let mut lab = Lab::of(Lab::new().ns.links.into_values());
    let none = Disposition::Unroutable(Unroutable::NoRoute);
    assert_eq!(end(lab.send(tcp("0.0.0.0:1", "203.0.113.1:80"))), none);
    assert_eq!(
        end(lab.receive(VETH1, tcp("10.0.0.2:1", "203.0.113.1:80"))),
        none
    );
}

#[test]
fn a_next_hop_that_does_not_answer_ends_a_packet() {
    let silent = tcp(OUTSIDE, "10.0.0.99:80");
    let (next_hop, device) = (ip("10.0.0.99"), CNI0);
    let nobody = Disposition::Unroutable(Unroutable::NoNeighbor { next_hop, device });
    assert_eq!(end(Lab::new().receive(ETH0, silent)), nobody);
    let mut known = Lab::new();
    known
        .ns
        .neighbors
        .insert((CNI0, next_hop), mac_of(ip("10.0.0.2")));
    assert_eq!(sent(known.receive(ETH0, silent)).0, VETH1);
}

#[test]
fn a_frame_for_another_host_is_not_looked_into() {
    let mut lab = Lab::new();
    let reason = dropped(lab.receive_for(ETH0, MacAddr([2, 9, 9, 9, 9, 9]), passing()));
    assert_eq!(reason, DropReason::OtherHost);
}

#[test]
fn a_device_that_carries_nothing_swallows_packets() {
    let docker0 = DeviceName::literal("docker0");
    let dummy = Link::new(docker0, LinkKind::Dummy, MacAddr::default(), 1500);
    let mut lab = Lab::of([Link::loopback(), dummy.with_address(ip("172.17.0.1"), 16)]);
    let reason = dropped(lab.send(tcp("0.0.0.0:1", "172.17.0.2:80")));
    assert_eq!(reason, DropReason::DeadDevice(docker0));
}

#[test]
fn the_route_picks_the_source_of_a_socket_that_is_not_bound() {
    let mut lab = Lab::new();
    let mut source = |to: &str| flow(lab.send(tcp("0.0.0.0:1", to))).src;
    assert_eq!(source("198.51.100.7:80"), ip("192.0.2.1"));
    assert_eq!(source("10.0.0.3:80"), ip("10.0.0.1"));
    let mut lab = Lab::new();
    lab.ns.add_route(Route {
        src: Some(ip("10.0.0.1")),
        ..Route::via("203.0.113.0/24".parse().unwrap(), ETH0, ip("192.0.2.254"))
    });
    assert_eq!(
        flow(lab.send(tcp("0.0.0.0:1", "203.0.113.9:80"))).src,
        ip("10.0.0.1")
    );
}

#[test]
fn packets_to_an_own_address_have_it_for_their_source_too() {
    let mut lab = Lab::new();
    let to_own = delivered(lab.send(tcp("0.0.0.0:1", "192.0.2.1:80")));
    assert_eq!(to_own, "tcp 192.0.2.1:1 > 192.0.2.1:80");
    assert!(lab.events.contains(&Event::RoutedLocal {
        to: ip("192.0.2.1")
    }));
    // All of 127.0.0.0/8 is local by the route of 127.0.0.1. Tried on Linux 6.18.
    let to_loopback = delivered(lab.send(tcp("0.0.0.0:1", "127.0.0.3:80")));
    assert_eq!(to_loopback, "tcp 127.0.0.1:1 > 127.0.0.3:80");
    assert_eq!(
        delivered(lab.send(tcp("[::]:1", "[::1]:80"))),
        "tcp [::1]:1 > [::1]:80"
    );
}

#[test]
fn loopback_sources_stay_at_home() {
    let from_loopback = tcp("127.0.0.1:1", "10.0.0.3:80");
    assert_eq!(
        dropped(Lab::new().send(from_loopback)),
        DropReason::MartianSource
    );
    sent(
        Lab::new()
            .sysctl(|s| s.route_localnet = true)
            .send(from_loopback),
    );
}
