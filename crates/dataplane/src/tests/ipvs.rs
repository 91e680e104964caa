//! Packets for virtual servers.
//!
//! kube-ipvs0 has 10.96.0.1. Behind port 80 of it is the pod 10.0.0.2:8080, behind port 81 nobody, behind
//! port 82 the node itself.

use podwire_ruleset::ipvs::{Change, RealServer, VirtualAddress};
use podwire_ruleset::{RejectWith, ipvs};

use super::*;

const KUBE_IPVS0: DeviceName = DeviceName::literal("kube-ipvs0");

const SERVERS: &str = "\
-A -t 10.96.0.1:80 -s rr
-a -t 10.96.0.1:80 -r 10.0.0.2:8080 -m -w 1
-A -t 10.96.0.1:81 -s rr
-A -t 10.96.0.1:82 -s rr
-a -t 10.96.0.1:82 -r 192.0.2.1:8082 -m -w 1
-A -t 10.96.0.1:83 -s rr
-a -t 10.96.0.1:83 -r 10.0.0.2:83 -g -w 1
";

fn lab() -> Lab {
    let mut lab = Lab::new();
    let dummy = Link::new(KUBE_IPVS0, LinkKind::Dummy, MacAddr::default(), 1500);
    lab.ns.add_link(dummy.with_address(ip("10.96.0.1"), 32));
    lab.ns.virtual_servers = Arc::new(ipvs::parse(SERVERS).unwrap());
    lab
}

/// A rule in each chain of mangle and of filter that counts.
const COUNT_BOTH: &str = "\
*mangle\n-A PREROUTING\n-A INPUT\n-A FORWARD\n-A OUTPUT\n-A POSTROUTING\nCOMMIT\n\
*filter\n-A INPUT\n-A FORWARD\n-A OUTPUT\nCOMMIT\n";

#[test]
fn a_packet_for_a_virtual_server_comes_to_input_and_leaves_through_output() {
    let mut lab = lab().rules(COUNT_BOTH);
    let out = lab.receive(ETH0, tcp("203.0.113.9:5000", "10.96.0.1:80"));
    let (device, headers, to) = sent(out);
    assert_eq!(
        (device, to, headers.five_tuple().to_string().as_str()),
        (
            VETH1,
            mac_of(ip("10.0.0.2")),
            "tcp 203.0.113.9:5000 > 10.0.0.2:8080"
        )
    );
    assert_eq!(headers.ttl, 63);
    assert_eq!(
        lab.met(),
        [
            "mangle/PREROUTING/1",
            "mangle/INPUT/1",
            "filter/INPUT/1",
            "mangle/OUTPUT/1",
            "filter/OUTPUT/1",
            "mangle/POSTROUTING/1",
        ]
    );
}

#[test]
fn its_answer_is_forwarded_and_comes_from_the_virtual_address() {
    let mut lab = lab().rules(COUNT_BOTH);
    sent(lab.receive(ETH0, tcp("203.0.113.9:5000", "10.96.0.1:80")));
    lab.events.clear();
    let answer = tcp("10.0.0.2:8080", "203.0.113.9:5000");
    let out = flow(lab.receive(VETH1, answer));
    assert_eq!(out.to_string(), "tcp 10.96.0.1:80 > 203.0.113.9:5000");
    assert_eq!(
        lab.hooks(),
        [
            Hook::Prerouting,
            Hook::Forward,
            Hook::Forward,
            Hook::Postrouting
        ]
    );
    // Connection tracking saw one connection, whose replies come from the real server.
    let connections: Vec<_> = lab.state.conntrack.connections().collect();
    assert_eq!(connections.len(), 1);
    assert_eq!(
        connections[0].reply.to_string(),
        "tcp 10.0.0.2:8080 > 203.0.113.9:5000"
    );
}

#[test]
fn masquerading_works_on_top() {
    let mut lab = lab().nat("-A POSTROUTING -d 10.0.0.2 -j MASQUERADE");
    let out = flow(lab.receive(ETH0, tcp("203.0.113.9:5000", "10.96.0.1:80")));
    assert_eq!(out.to_string(), "tcp 10.0.0.1:5000 > 10.0.0.2:8080");
    let answer = flow(lab.receive(VETH1, tcp("10.0.0.2:8080", "10.0.0.1:5000")));
    assert_eq!(answer.to_string(), "tcp 10.96.0.1:80 > 203.0.113.9:5000");
    let again = flow(lab.receive(ETH0, tcp("203.0.113.9:5000", "10.96.0.1:80")));
    assert_eq!(again, out);
}

#[test]
fn nobody_behind_it_is_an_unreachable_port() {
    let mut lab = lab();
    let refused = end(lab.receive(ETH0, tcp("203.0.113.9:5000", "10.96.0.1:81")));
    assert_eq!(
        refused,
        Disposition::Rejected {
            with: RejectWith::PortUnreachable,
            rule: None
        }
    );
    assert_eq!(lab.state.conntrack.connections().count(), 0);
}

#[test]
fn filter_is_asked_before_it() {
    let mut lab = lab().rules("*filter\n-A INPUT -p tcp --dport 80 -j DROP\nCOMMIT\n");
    let reason = dropped(lab.receive(ETH0, tcp("203.0.113.9:5000", "10.96.0.1:80")));
    assert!(matches!(reason, DropReason::Rule(_)));
}

#[test]
fn a_port_of_no_virtual_server_is_the_nodes_own() {
    let mut lab = lab();
    let got = delivered(lab.receive(ETH0, tcp("203.0.113.9:5000", "10.96.0.1:22")));
    assert_eq!(got, "tcp 203.0.113.9:5000 > 10.96.0.1:22");
}

#[test]
fn a_real_server_of_this_host_gets_it_in_place() {
    let mut lab = lab().rules(COUNT_BOTH);
    let got = delivered(lab.receive(ETH0, tcp("203.0.113.9:5000", "10.96.0.1:82")));
    assert_eq!(got, "tcp 203.0.113.9:5000 > 192.0.2.1:8082");
    lab.events.clear();
    let answer = flow(lab.send(tcp("192.0.2.1:8082", "203.0.113.9:5000")));
    assert_eq!(answer.to_string(), "tcp 10.96.0.1:82 > 203.0.113.9:5000");
}

#[test]
fn the_hosts_own_packets_are_scheduled_at_output() {
    let mut lab = lab().nat("-A POSTROUTING -s 10.96.0.1 -j MASQUERADE");
    let mut own = tcp("0.0.0.0:5000", "10.96.0.1:80");
    own.src = IpAddr::from([0, 0, 0, 0]);
    let out = flow(lab.send(own));
    assert_eq!(out.to_string(), "tcp 10.0.0.1:5000 > 10.0.0.2:8080");
    let back = delivered(lab.receive(VETH1, tcp("10.0.0.2:8080", "10.0.0.1:5000")));
    assert_eq!(back, "tcp 10.96.0.1:80 > 10.96.0.1:5000");
}

#[test]
fn the_last_hop_of_a_ttl_ends_at_it() {
    let mut lab = lab();
    let mut last = tcp("203.0.113.9:5000", "10.96.0.1:80");
    last.ttl = 1;
    assert_eq!(end(lab.receive(ETH0, last)), Disposition::Ttl);
}

#[test]
fn a_connection_whose_server_is_gone_takes_one_packet_along() {
    let mut lab = lab();
    let packet = || tcp("203.0.113.9:5000", "10.96.0.1:80");
    sent(lab.receive(ETH0, packet()));
    let to: VirtualAddress = ipvs::parse(SERVERS).unwrap().into_keys().next().unwrap();
    let gone = (ip("10.0.0.2"), 8080);
    lab.state.ipvs.apply(&Change::DeleteReal(to, gone));
    let back = RealServer::masquerading(ip("10.0.0.2"), 8181, 1);
    lab.state.ipvs.apply(&Change::AddReal(to, back));
    // The connection was confirmed: connection tracking cannot lead it to another server.
    let reason = dropped(lab.receive(ETH0, packet()));
    assert_eq!(reason, DropReason::IpvsServerGone);
    assert_eq!(lab.state.conntrack.connections().count(), 0);
    let again = flow(lab.receive(ETH0, packet()));
    assert_eq!(again.to_string(), "tcp 203.0.113.9:5000 > 10.0.0.2:8181");
}

#[test]
fn direct_routing_is_not_walked() {
    let mut lab = lab();
    let reason = dropped(lab.receive(ETH0, tcp("203.0.113.9:5000", "10.96.0.1:83")));
    assert_eq!(reason, DropReason::IpvsForwarding);
}

#[test]
fn rules_behind_it_may_ask_for_the_virtual_server() {
    // As kube-proxy shuts a load balancer's address to the node.
    let rule = "-A OUTPUT -s 10.96.0.1 -m ipvs --vaddr 10.96.0.1 --vproto tcp --vport 80 -j DROP";
    let mut lab = lab().rules(&format!("*filter\n{rule}\nCOMMIT\n"));
    let own = |port: &str| {
        let mut own = tcp("0.0.0.0:5000", &format!("10.96.0.1:{port}"));
        own.src = IpAddr::from([0, 0, 0, 0]);
        own
    };
    assert!(matches!(dropped(lab.send(own("80"))), DropReason::Rule(_)));
    assert_eq!(
        delivered(lab.send(own("82"))),
        "tcp 10.96.0.1:5000 > 192.0.2.1:8082"
    );
}
