//! Connections, verdicts and what rules remember.

use podwire_packet::{Headers, Mark, Protocol, TcpFlags};
use podwire_ruleset::{BaseChainRef, CtState, Hook, RejectWith, TableName};

use super::{ETH0, Lab, VETH1, VETH2, delivered, dropped, end, flow, ip, packet, sent, tcp};
use crate::{Disposition, DropReason, Event};

fn states(lab: &Lab) -> Vec<CtState> {
    let of = |event: &Event| {
        if let Event::Tracked { state } = event {
            Some(*state)
        } else {
            None
        }
    };
    lab.events.iter().filter_map(of).collect()
}

#[test]
fn a_connection_is_new_until_somebody_answers() {
    let mut lab = Lab::new();
    let syn = tcp("198.51.100.7:9", "10.0.0.3:80");
    sent(lab.receive(ETH0, syn));
    sent(lab.receive(ETH0, syn));
    sent(lab.receive(VETH2, syn.first_of_reply()));
    sent(lab.receive(ETH0, syn));
    use CtState::{Established, New};
    assert_eq!(states(&lab), [New, New, Established, Established]);
}

#[test]
fn what_cannot_begin_a_connection_is_invalid() {
    let flags = |flags| Headers {
        tcp_flags: flags,
        ..tcp("198.51.100.7:9", "10.0.0.3:80")
    };
    let (ack, fin) = (TcpFlags::ACK, TcpFlags::FIN);
    // `tcp_conntracks[0][…][TCP_CONNTRACK_NONE]`, nf_conntrack_proto_tcp.c: an ACK alone may be of a
    // connection that was not seen to begin.
    for (of, state) in [
        (TcpFlags::SYN, CtState::New),
        (ack, CtState::New),
        (TcpFlags::SYN.union(ack), CtState::Invalid),
        (fin.union(ack), CtState::Invalid),
        (fin, CtState::Invalid),
        (TcpFlags::RST, CtState::Invalid),
        (TcpFlags::RST.union(ack), CtState::Invalid),
        (TcpFlags::SYN.union(fin), CtState::Invalid),
        (TcpFlags(0), CtState::Invalid),
    ] {
        let mut lab = Lab::new();
        sent(lab.receive(ETH0, flags(of)));
        assert_eq!(states(&lab), [state], "{of:?}");
    }
    let mut lab = Lab::new();
    sent(lab.receive(
        ETH0,
        packet(Protocol::ICMP, "198.51.100.7:9", "10.0.0.3:0").first_of_reply(),
    ));
    assert_eq!(states(&lab), [CtState::Invalid]);
}

#[test]
fn a_full_table_drops_what_would_begin_a_connection() {
    let mut lab = Lab::new();
    lab.state.conntrack.max = 1;
    let first = tcp("198.51.100.7:9", "10.0.0.3:80");
    sent(lab.receive(ETH0, first));
    let second = tcp("198.51.100.7:10", "10.0.0.3:80");
    assert_eq!(
        dropped(lab.receive(ETH0, second)),
        DropReason::ConntrackFull
    );
    sent(lab.receive(VETH2, first.first_of_reply()));
}

#[test]
fn notrack_keeps_a_packet_out_of_the_table_and_of_nat() {
    let rules = "*raw\n-A PREROUTING -p tcp --dport 80 -j CT --notrack\nCOMMIT\n\
        *nat\n-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.2\nCOMMIT\n\
        *filter\n-A FORWARD -m conntrack --ctstate UNTRACKED\nCOMMIT\n";
    let mut lab = Lab::new().rules(rules);
    let left = flow(lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80")));
    assert_eq!(left.dst, ip("10.0.0.3"));
    assert_eq!(lab.met(), ["raw/PREROUTING/1", "filter/FORWARD/1"]);
    assert_eq!(lab.state.conntrack.connections().count(), 0);
}

#[test]
fn an_invalid_packet_that_comes_again_by_loopback_can_be_untracked() {
    // As Linux 6.18 does: `notrack_tg` asks whether the packet has a connection, not whether
    // connection tracking has seen it.
    let rules = "*raw\n-A PREROUTING -j CT --notrack\nCOMMIT\n\
        *filter\n-A OUTPUT -m conntrack --ctstate INVALID\n\
        -A INPUT -m conntrack --ctstate UNTRACKED\nCOMMIT\n";
    let mut lab = Lab::new().rules(rules);
    lab.send(Headers {
        tcp_flags: TcpFlags::FIN,
        ..tcp("192.0.2.1:9", "192.0.2.1:80")
    });
    assert_eq!(
        lab.met(),
        ["filter/OUTPUT/1", "raw/PREROUTING/1", "filter/INPUT/1"]
    );
}

#[test]
fn a_namespace_without_rules_tracks_nothing() {
    let mut lab = Lab::new();
    lab.ns.ipv4_rules = None;
    sent(lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80")));
    assert_eq!(lab.state.conntrack.connections().count(), 0);
}

#[test]
fn a_dropped_first_packet_leaves_no_connection() {
    let mut lab = Lab::new().rules("*filter\n-A FORWARD -j DROP\nCOMMIT\n");
    let reason = dropped(lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80")));
    assert!(matches!(reason, DropReason::Rule(rule) if rule.number() == 1));
    assert_eq!(lab.state.conntrack.connections().count(), 0);
}

#[test]
fn a_verdict_names_the_rule_or_the_policy_that_spoke_it() {
    let mut lab = Lab::new().rules("*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp\nCOMMIT\n");
    let reason = dropped(lab.receive(ETH0, tcp("198.51.100.7:9", "192.0.2.1:80")));
    assert_eq!(
        reason,
        DropReason::Policy(BaseChainRef::Iptables {
            table: TableName::Filter,
            hook: Hook::Input
        })
    );
    let mut lab =
        Lab::new().rules("*filter\n-A FORWARD -p tcp -j REJECT --reject-with tcp-reset\nCOMMIT\n");
    let rejected = end(lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80")));
    let Disposition::Rejected {
        with,
        rule: Some(rule),
    } = rejected
    else {
        panic!("{rejected:?}")
    };
    assert_eq!((with, rule.number()), (RejectWith::TcpReset, 1));
}

#[test]
fn hooks_are_met_in_the_kernels_order() {
    let mut lab = Lab::new().rules(super::COUNT_ALL);
    use Hook::{Forward, Input, Output, Postrouting, Prerouting};
    sent(lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80")));
    assert_eq!(lab.hooks(), [Prerouting, Forward, Postrouting]);
    lab.events.clear();
    delivered(lab.receive(ETH0, tcp("198.51.100.7:9", "192.0.2.1:80")));
    assert_eq!(lab.hooks(), [Prerouting, Input]);
    lab.events.clear();
    sent(lab.send(tcp("0.0.0.0:9", "198.51.100.7:80")));
    assert_eq!(lab.hooks(), [Output, Postrouting]);
    lab.events.clear();
    delivered(lab.send(tcp("0.0.0.0:9", "192.0.2.1:80")));
    assert_eq!(lab.hooks(), [Output, Postrouting, Prerouting, Input]);
}

#[test]
fn tables_are_asked_by_their_priority() {
    let chains = |hook: &str, tables: &[&str]| {
        let texts = tables
            .iter()
            .rev()
            .map(|table| format!("*{table}\n-A {hook} -p tcp\nCOMMIT\n"));
        texts.collect::<String>()
    };
    let mut lab = Lab::new().rules(&chains(
        "OUTPUT",
        &["raw", "mangle", "nat", "filter", "security"],
    ));
    sent(lab.send(tcp("0.0.0.0:9", "198.51.100.7:80")));
    let order = ["raw", "mangle", "nat", "filter", "security"].map(|t| format!("{t}/OUTPUT/1"));
    assert_eq!(lab.met(), order);
    // Translation of the source comes after filter.
    let mut lab = Lab::new().rules(&chains("INPUT", &["mangle", "filter", "security", "nat"]));
    delivered(lab.receive(ETH0, tcp("198.51.100.7:9", "192.0.2.1:80")));
    assert_eq!(
        lab.met(),
        ["mangle", "filter", "security", "nat"].map(|t| format!("{t}/INPUT/1"))
    );
}

#[test]
fn a_mark_goes_with_the_packet_from_hook_to_hook_and_no_further() {
    let rules =
        "*mangle\n-A PREROUTING -j MARK --set-mark 7\n-A POSTROUTING -m mark --mark 7\nCOMMIT\n";
    let mut lab = Lab::new().rules(rules);
    sent(lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80")));
    assert_eq!(lab.met(), ["mangle/PREROUTING/1", "mangle/POSTROUTING/1"]);
    lab.events.clear();
    sent(lab.send(tcp("0.0.0.0:9", "10.0.0.3:80")));
    assert!(lab.met().is_empty());
}

#[test]
fn a_connection_keeps_its_mark() {
    let rules = "*mangle\n-A PREROUTING -i eth0 -j MARK --set-mark 7\n-A PREROUTING -i eth0 -j CONNMARK --save-mark\n\
        -A PREROUTING -i cni0 -j CONNMARK --restore-mark\n-A FORWARD -i cni0 -m mark --mark 7\nCOMMIT\n";
    let mut lab = Lab::new().rules(rules);
    let syn = tcp("198.51.100.7:9", "10.0.0.3:80");
    sent(lab.receive(ETH0, syn));
    assert_eq!(
        lab.state.conntrack.connections().next().map(|c| c.mark),
        Some(Mark(7))
    );
    sent(lab.receive(VETH2, syn.first_of_reply()));
    assert_eq!(
        lab.met().last().map(String::as_str),
        Some("mangle/FORWARD/1")
    );
}

#[test]
fn what_rules_remember_is_kept_for_the_next_packet() {
    let rules =
        "*filter\n-A FORWARD -m recent --rcheck -j DROP\n-A FORWARD -m recent --set\nCOMMIT\n";
    let mut lab = Lab::new().rules(rules);
    sent(lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80")));
    dropped(lab.receive(ETH0, tcp("198.51.100.7:10", "10.0.0.3:80")));
    sent(lab.receive(ETH0, tcp("198.51.100.8:9", "10.0.0.3:80")));
}

#[test]
fn a_rule_that_cannot_be_evaluated_is_told() {
    let mut lab = Lab::new().rules("*filter\n-A FORWARD -m quota --quota 9 -j DROP\nCOMMIT\n");
    sent(lab.receive(VETH1, tcp("10.0.0.2:9", "198.51.100.7:80")));
    assert!(
        lab.events
            .iter()
            .any(|event| matches!(event, Event::Uncertain { .. }))
    );
}
