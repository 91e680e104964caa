//! Translation: net/netfilter/{nf_nat_core,nf_nat_masquerade,nf_nat_redirect}.c.

use podwire_packet::{FiveTuple, Headers, Protocol};

use super::{ETH0, Lab, VETH1, VETH2, delivered, dropped, end, flow, ip, packet, sent, tcp};
use crate::{Disposition, DropReason, Link};

/// A flow as text.
fn seen(flow: FiveTuple) -> String {
    flow.to_string().replace("tcp ", "").replace("udp ", "")
}

fn udp(from: &str, to: &str) -> Headers {
    packet(Protocol::UDP, from, to)
}

/// The answer to a packet as it left.
fn answer(to: FiveTuple) -> Headers {
    Headers::first_of_flow(to.src, to.dst, to.protocol, to.sport, to.dport).first_of_reply()
}

const DNAT: &str =
    "-A PREROUTING -d 192.0.2.80 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.3:8080";

#[test]
fn the_answer_to_a_translated_packet_is_translated_back() {
    let mut lab = Lab::new().nat(DNAT);
    let to_pod = flow(lab.receive(ETH0, tcp("198.51.100.7:40000", "192.0.2.80:80")));
    assert_eq!(seen(to_pod), "198.51.100.7:40000 > 10.0.0.3:8080");
    let back = flow(lab.receive(VETH2, answer(to_pod)));
    assert_eq!(seen(back), "192.0.2.80:80 > 198.51.100.7:40000");
    let connection = lab.state.conntrack.connections().next().unwrap();
    assert!(connection.dnat && !connection.snat && connection.seen_reply);
}

#[test]
fn rules_decide_about_the_first_packet_only() {
    let mut lab = Lab::new().nat(DNAT);
    let syn = tcp("198.51.100.7:40000", "192.0.2.80:80");
    let first = flow(lab.receive(ETH0, syn));
    let mut changed = lab.nat(&DNAT.replace("10.0.0.3", "10.0.0.2"));
    assert_eq!(flow(changed.receive(ETH0, syn)), first);
    let other = tcp("198.51.100.7:40001", "192.0.2.80:80");
    assert_eq!(flow(changed.receive(ETH0, other)).dst, ip("10.0.0.2"));
}

#[test]
fn both_ends_can_be_translated() {
    let rules = format!("{DNAT}\n-A POSTROUTING -d 10.0.0.3 -j MASQUERADE");
    let mut lab = Lab::new().nat(&rules);
    let to_pod = flow(lab.receive(ETH0, tcp("198.51.100.7:40000", "192.0.2.80:80")));
    assert_eq!(seen(to_pod), "10.0.0.1:40000 > 10.0.0.3:8080");
    let back = flow(lab.receive(VETH2, answer(to_pod)));
    assert_eq!(seen(back), "192.0.2.80:80 > 198.51.100.7:40000");
}

#[test]
fn ping_is_translated_by_its_identifier() {
    let mut lab = Lab::new().nat("-A POSTROUTING -o eth0 -j MASQUERADE");
    let ping = packet(Protocol::ICMP, "10.0.0.2:77", "198.51.100.7:0");
    let left = sent(lab.receive(VETH1, ping)).1;
    assert_eq!((left.src, left.icmp_id), (ip("192.0.2.1"), 77));
    let back = sent(lab.receive(ETH0, left.first_of_reply())).1;
    assert_eq!((back.dst, back.icmp_id), (ip("10.0.0.2"), 77));
}

/// What MASQUERADE makes of 10.0.0.2 on the way to an address.
fn masqueraded(lab: Lab, to: &str) -> String {
    let mut lab = lab.nat("-A POSTROUTING -j MASQUERADE");
    flow(lab.receive(VETH1, tcp("10.0.0.2:40000", to)))
        .src
        .to_string()
}

#[test]
fn masquerade_takes_the_address_nearest_to_the_next_hop() {
    let several = || {
        Lab::new().link(ETH0, |eth0| {
            eth0.addresses = vec![(ip("198.18.0.1"), 24), (ip("192.0.2.1"), 24)];
        })
    };
    assert_eq!(masqueraded(several(), "198.51.100.7:80"), "192.0.2.1");
    let direct = several().route("203.0.113.0/24", ETH0, None);
    assert_eq!(masqueraded(direct, "203.0.113.1:80"), "198.18.0.1");
}

#[test]
fn masquerade_takes_another_devices_address_where_the_device_has_none() {
    let lab = Lab::new().link(ETH0, |eth0| eth0.addresses.clear());
    assert_eq!(masqueraded(lab, "198.51.100.7:80"), "10.0.0.1");
}

#[test]
fn masquerade_never_takes_a_loopback_address() {
    // `inet_select_addr` skips what is of host scope. Tried on Linux 6.18.
    let mut lab = Lab::new().nat("-A POSTROUTING -o lo -j MASQUERADE");
    let arrived = delivered(lab.send(tcp("0.0.0.0:1", "127.0.0.3:80")));
    assert_eq!(arrived, "tcp 192.0.2.1:1 > 127.0.0.3:80");
    let mut alone = Lab::of([Link::loopback()]).nat("-A POSTROUTING -o lo -j MASQUERADE");
    let reason = dropped(alone.send(tcp("0.0.0.0:1", "127.0.0.1:80")));
    assert_eq!(
        reason,
        DropReason::NoMasqueradeAddress("lo".parse().unwrap())
    );
}

#[test]
fn masquerade_of_ipv6_takes_the_longest_common_prefix() {
    // RFC 6724, rule 8; rule 1 where the destination is this host's own.
    let rules = "*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n";
    let mut lab = Lab::new().rules6(rules).link(ETH0, |eth0| {
        eth0.addresses.push((ip("2001:db8:ffff::1"), 64));
    });
    let far = flow(lab.receive(VETH1, tcp("[fd00::2]:1", "[2001:db8:ffff:7::1]:80")));
    assert_eq!(far.src, ip("2001:db8:ffff::1"));
    let near = flow(lab.receive(VETH1, tcp("[fd00::2]:1", "[2001:db8:1::1]:80")));
    assert_eq!(near.src, ip("2001:db8::1"));
    let own = delivered(lab.send(tcp("[fd00::1]:1", "[2001:db8::1]:80")));
    assert_eq!(own, "tcp [2001:db8::1]:1 > [2001:db8::1]:80");
}

#[test]
fn two_flows_that_would_look_the_same_get_different_ports() {
    let mut lab = Lab::new().nat("-A POSTROUTING -o eth0 -j MASQUERADE");
    let first = flow(lab.receive(VETH1, tcp("10.0.0.2:40000", "198.51.100.7:80")));
    let second = flow(lab.receive(VETH2, tcp("10.0.0.3:40000", "198.51.100.7:80")));
    assert_eq!((first.src, first.sport), (ip("192.0.2.1"), 40_000));
    assert_eq!(second.src, ip("192.0.2.1"));
    assert!(second.sport != 40_000 && second.sport >= 1_024);
    assert_eq!(flow(lab.receive(ETH0, answer(second))).dst, ip("10.0.0.3"));
    assert_eq!(flow(lab.receive(ETH0, answer(first))).dst, ip("10.0.0.2"));
    let elsewhere = flow(lab.receive(VETH2, tcp("10.0.0.3:40000", "198.51.100.8:80")));
    assert_eq!(elsewhere.sport, 40_000);
}

#[test]
fn a_low_port_stays_low() {
    // "Loose convention: >> 512 is credential passing" (nf_nat_core.c).
    let mut lab = Lab::new().nat("-A POSTROUTING -o eth0 -j MASQUERADE");
    for (port, range) in [(111, 1..=511), (700, 600..=1023)] {
        let from = |pod: &str| tcp(&format!("{pod}:{port}"), "198.51.100.7:80");
        assert_eq!(flow(lab.receive(VETH1, from("10.0.0.2"))).sport, port);
        let second = flow(lab.receive(VETH2, from("10.0.0.3"))).sport;
        assert!(second != port && range.contains(&second), "{second}");
    }
}

#[test]
fn a_port_is_free_again_once_its_connection_has_expired() {
    let mut lab = Lab::new().nat("-A POSTROUTING -o eth0 -j MASQUERADE");
    flow(lab.receive(VETH1, tcp("10.0.0.2:40000", "198.51.100.7:80")));
    // `nf_conntrack_tcp_timeout_syn_sent`.
    lab.around.now.0 = 121_000_000_000;
    let second = flow(lab.receive(VETH2, tcp("10.0.0.3:40000", "198.51.100.7:80")));
    assert_eq!(second.sport, 40_000);
    // The first one, sent again, has lost its port and leaves the second alone.
    let first = flow(lab.receive(VETH1, tcp("10.0.0.2:40000", "198.51.100.7:80")));
    assert_ne!(first.sport, 40_000);
    assert_eq!(flow(lab.receive(ETH0, answer(second))).dst, ip("10.0.0.3"));
}

#[test]
fn a_range_of_ports_can_run_out() {
    let mut lab =
        Lab::new().nat("-A POSTROUTING -p tcp -o eth0 -j MASQUERADE --to-ports 5000-5001");
    let mut from =
        |port: u16| lab.receive(VETH1, tcp(&format!("10.0.0.2:{port}"), "198.51.100.7:80"));
    let ports = [flow(from(1)).sport, flow(from(2)).sport];
    assert!(ports == [5000, 5001] || ports == [5001, 5000], "{ports:?}");
    assert_eq!(dropped(from(3)), DropReason::NatPortsExhausted);
    assert_eq!(lab.state.conntrack.connections().count(), 2);
}

#[test]
fn an_untranslated_flow_makes_way_for_one_that_looks_the_same() {
    // `nf_nat_alloc_null_binding`: 192.0.2.1:40000 is taken by a masqueraded flow.
    let mut lab = Lab::new().nat("-A POSTROUTING -s 10.0.0.2 -o eth0 -j MASQUERADE");
    flow(lab.receive(VETH1, tcp("10.0.0.2:40000", "198.51.100.7:80")));
    let own = flow(lab.send(tcp("192.0.2.1:40000", "198.51.100.7:80")));
    assert!(own.src == ip("192.0.2.1") && own.sport != 40_000);
}

#[test]
fn a_random_port_is_of_the_range_and_always_the_same_for_a_flow() {
    let left = || {
        let mut lab = Lab::new().nat("-A POSTROUTING -o eth0 -j MASQUERADE --random-fully");
        flow(lab.receive(VETH1, tcp("10.0.0.2:40000", "198.51.100.7:80")))
    };
    assert!(left().sport >= 1_024 && left().sport != 40_000);
    assert_eq!(left(), left());
}

#[test]
fn a_range_for_a_destination_is_tried_from_its_beginning() {
    // `nf_nat_l4proto_unique_tuple`: "off = 0" for a destination. Tried on Linux 6.18.
    let rule = "-A PREROUTING -p udp -d 192.0.2.80 -j DNAT --to-destination 10.0.0.3:5000-5010";
    let mut lab = Lab::new().nat(rule);
    assert_eq!(
        flow(lab.receive(ETH0, udp("198.51.100.7:9", "192.0.2.80:53"))).dport,
        5000
    );
    assert_eq!(
        flow(lab.receive(ETH0, udp("198.51.100.7:9", "192.0.2.80:5003"))).dport,
        5003
    );
}

#[test]
fn a_base_port_shifts_the_range() {
    // "DNAT --to-destination 1.1.1.1:5000-6000/2000". Tried on Linux 6.18.
    let rule =
        "-A PREROUTING -p udp -d 192.0.2.80 -j DNAT --to-destination 10.0.0.3:5000-6000/2000";
    let mut lab = Lab::new().nat(rule);
    assert_eq!(
        flow(lab.receive(ETH0, udp("198.51.100.7:9", "192.0.2.80:2007"))).dport,
        5007
    );
    assert_eq!(
        flow(lab.receive(ETH0, udp("198.51.100.7:9", "192.0.2.80:5500"))).dport,
        5497
    );
}

#[test]
fn redirect_means_this_host_itself() {
    let rules = "-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080\n\
                 -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 8080";
    let mut lab = Lab::new().nat(rules);
    let incoming = delivered(lab.receive(ETH0, tcp("198.51.100.7:9", "203.0.113.1:80")));
    assert_eq!(incoming, "tcp 198.51.100.7:9 > 192.0.2.1:8080");
    let of_pod = delivered(lab.receive(VETH1, tcp("10.0.0.2:9", "203.0.113.1:80")));
    assert_eq!(of_pod, "tcp 10.0.0.2:9 > 10.0.0.1:8080");
    // "In OUTPUT, to localhost"; the source stays as the first route chose it.
    let own = delivered(lab.send(tcp("0.0.0.0:9", "203.0.113.1:80")));
    assert_eq!(own, "tcp 192.0.2.1:9 > 127.0.0.1:8080");
}

#[test]
fn a_packet_made_here_is_routed_again_once_it_is_translated() {
    let rules = "*nat\n-A OUTPUT -d 203.0.113.1 -p tcp -j DNAT --to-destination 10.0.0.3:8080\nCOMMIT\n\
        *filter\n-A OUTPUT -o eth0\n-A OUTPUT -o cni0\nCOMMIT\n\
        *mangle\n-A POSTROUTING -o eth0\n-A POSTROUTING -o cni0\nCOMMIT\n";
    let mut lab = Lab::new().rules(rules);
    let left = flow(lab.send(tcp("0.0.0.0:40000", "203.0.113.1:80")));
    // The source is the one that the first route chose.
    assert_eq!(seen(left), "192.0.2.1:40000 > 10.0.0.3:8080");
    // filter OUTPUT still sees the first route's device (`nf_nat_ipv4_local_fn`).
    assert_eq!(
        lab.met(),
        ["nat/OUTPUT/1", "filter/OUTPUT/1", "mangle/POSTROUTING/2"]
    );
    lab.state
        .connected
        .push(tcp("203.0.113.1:80", "192.0.2.1:40000").five_tuple());
    let back = delivered(lab.receive(VETH2, answer(left)));
    assert_eq!(back, "tcp 203.0.113.1:80 > 192.0.2.1:40000");
}

#[test]
fn a_node_port_on_127_0_0_1_needs_route_localnet() {
    let rules = "-A OUTPUT -p tcp --dport 30080 -j DNAT --to-destination 10.0.0.3:8080\n\
                 -A POSTROUTING -d 10.0.0.3 -j MASQUERADE";
    let to_node_port = tcp("0.0.0.0:40000", "127.0.0.1:30080");
    let mut lab = Lab::new().nat(rules);
    assert_eq!(dropped(lab.send(to_node_port)), DropReason::MartianSource);
    let mut lab = Lab::new().nat(rules).sysctl(|s| s.route_localnet = true);
    let left = flow(lab.send(to_node_port));
    assert_eq!(seen(left), "10.0.0.1:40000 > 10.0.0.3:8080");
    lab.state
        .connected
        .push(tcp("127.0.0.1:30080", "127.0.0.1:40000").five_tuple());
    let back = delivered(lab.receive(VETH2, answer(left)));
    assert_eq!(back, "tcp 127.0.0.1:30080 > 127.0.0.1:40000");
}

#[test]
fn a_packet_can_be_sent_back_out_by_the_device_it_came_in_by() {
    let mut lab = Lab::new().nat(&format!(
        "{}\n-A POSTROUTING -j MASQUERADE",
        DNAT.replace("10.0.0.3:8080", "192.0.2.9:8080")
    ));
    let left = flow(lab.receive(ETH0, tcp("192.0.2.7:40000", "192.0.2.80:80")));
    assert_eq!(seen(left), "192.0.2.1:40000 > 192.0.2.9:8080");
    assert_eq!(
        seen(flow(lab.receive(ETH0, answer(left)))),
        "192.0.2.80:80 > 192.0.2.7:40000"
    );
}

#[test]
fn snat_at_input_changes_what_the_socket_sees() {
    let mut lab = Lab::new().nat("-A INPUT -s 198.51.100.7 -j SNAT --to-source 203.0.113.9");
    let arrived = delivered(lab.receive(ETH0, tcp("198.51.100.7:9", "192.0.2.1:80")));
    assert_eq!(arrived, "tcp 203.0.113.9:9 > 192.0.2.1:80");
    let asked = tcp("203.0.113.9:9", "192.0.2.1:80");
    assert_eq!(
        seen(flow(lab.send(asked.first_of_reply()))),
        "192.0.2.1:80 > 198.51.100.7:9"
    );
}

#[test]
fn ipv6_is_translated_by_its_own_rules() {
    let rules = "*nat\n-A PREROUTING -d 2001:db8::80 -p tcp -j DNAT --to-destination [fd00::3]:8080\nCOMMIT\n";
    let mut lab = Lab::new().rules6(rules).nat(DNAT);
    let to_pod = flow(lab.receive(ETH0, tcp("[2001:db8:1::7]:9", "[2001:db8::80]:80")));
    assert_eq!(seen(to_pod), "[2001:db8:1::7]:9 > [fd00::3]:8080");
    assert_eq!(
        seen(flow(lab.receive(VETH2, answer(to_pod)))),
        "[2001:db8::80]:80 > [2001:db8:1::7]:9"
    );
}

#[test]
fn a_translation_to_nowhere_ends_as_any_packet() {
    let mut lab = Lab::new().nat(&DNAT.replace("10.0.0.3", "10.0.0.99"));
    let gone = end(lab.receive(ETH0, tcp("198.51.100.7:9", "192.0.2.80:80")));
    assert!(matches!(gone, Disposition::Unroutable(_)), "{gone:?}");
}
