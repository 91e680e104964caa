//! Base chains of nftables among all else that hangs on a hook. The orders here are those that Linux
//! 6.18 traced (`nft monitor trace`) for the same chains.

use std::sync::Arc;

use podwire_interp::{Interp, NftInterp};
use podwire_packet::Family;
use podwire_ruleset::nft::{
    BaseChain, ChainKind, CtKey, Expression, Name, Nat, Payload, Rule, RuleSet, Span, Statement,
    TableFamily, Value, Verdict,
};
use podwire_ruleset::{
    BaseChainRef, CtStates, Hook, NatKind, NatRange, Policy, RejectWith, RuleRef, iptables,
};

use super::{ETH0, Lab, VETH1, dropped, end, flow, ip, tcp};
use crate::{Disposition, DropReason, Event};

/// Chains to be hung on hooks.
struct Chains(RuleSet);

impl Chains {
    fn new() -> Self {
        Self(RuleSet::default())
    }

    fn chain(
        mut self,
        name: &str,
        (kind, hook, priority): (ChainKind, Hook, i32),
        policy: Policy,
        rule: Vec<Statement>,
    ) -> Self {
        let name = Name::literal(name);
        let table = self.0.table_mut(TableFamily::Ip, &Name::literal("t"));
        let chain = table.chain_mut(&name);
        chain.base = Some(BaseChain {
            kind,
            hook,
            priority,
            policy,
        });
        chain.rules = vec![Rule::of(rule)];
        self
    }

    /// A chain that counts every packet.
    fn counts(self, name: &str, at: (ChainKind, Hook, i32)) -> Self {
        self.chain(name, at, Policy::Accept, vec![Statement::Counter(None)])
    }

    /// The namespace with these chains beside tables of iptables.
    fn beside(self, text: &str) -> Lab {
        let nft = NftInterp::new(self.0, Family::Ipv4).unwrap_or_else(|error| panic!("{error}"));
        let read = iptables::parse(text, Family::Ipv4).unwrap_or_else(|e| panic!("{e}: {text}"));
        let rules = Interp::new(read.rules).unwrap().with_nft(nft);
        let mut lab = Lab::new();
        lab.ns.ipv4_rules = Some(Arc::new(rules));
        lab
    }
}

/// Names of the rules that matched, in order: an iptables rule by its table and chain.
fn met(lab: &Lab) -> String {
    let rules = lab.ns.ipv4_rules.as_ref().expect("set by `beside`");
    let nft = rules.nft().expect("set by `beside`").rules();
    let of = |event: &Event| {
        if let Event::Rule { rule, .. } = event {
            Some(match rule {
                RuleRef::Iptables(rule) => rules.rules().label(*rule).replace("/1", ""),
                RuleRef::Nft(rule) => nft.label(*rule).replace("ip t/", "").replace("/1", ""),
            })
        } else {
            None
        }
    };
    lab.events
        .iter()
        .filter_map(of)
        .collect::<Vec<_>>()
        .join(" ")
}

fn daddr(address: &str) -> Statement {
    let field = Expression::Payload(Payload::Daddr(Family::Ipv4));
    Statement::is(field, Span::address(ip(address)))
}

fn dnat(address: &str) -> Statement {
    let to = NatRange::to(ip(address), Some(8080));
    Statement::Nat(Nat::to(NatKind::Dnat, to))
}

const FILTER: ChainKind = ChainKind::Filter;
const NAT: ChainKind = ChainKind::Nat;
const PREROUTING: Hook = Hook::Prerouting;

#[test]
fn chains_are_asked_by_priority_among_tables_and_at_the_same_one_before_them() {
    let mut lab = Chains::new()
        .counts("after_mangle", (FILTER, PREROUTING, -149))
        .counts("with_raw", (FILTER, PREROUTING, -300))
        .counts("last", (FILTER, PREROUTING, 300))
        .counts("with_mangle", (FILTER, PREROUTING, -150))
        .beside(
            "*raw\n-A PREROUTING\nCOMMIT\n*mangle\n-A PREROUTING\nCOMMIT\n*nat\n-A PREROUTING\nCOMMIT\n",
        );
    lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80"));
    assert_eq!(
        met(&lab),
        "with_raw raw/PREROUTING with_mangle mangle/PREROUTING after_mangle nat/PREROUTING last"
    );
}

/// `nf_nat_inet_fn`: all chains of type nat are asked where translation happens, at -100, whatever their
/// own priority, which orders them among themselves; the later of two equal ones first.
#[test]
fn nat_chains_are_asked_together_where_translation_happens() {
    let mut lab = Chains::new()
        .counts("n1", (NAT, PREROUTING, -100))
        .counts("n2", (NAT, PREROUTING, -100))
        .counts("early", (NAT, PREROUTING, -190))
        .counts("late", (NAT, PREROUTING, 50))
        .counts("before", (FILTER, PREROUTING, -150))
        .counts("after", (FILTER, PREROUTING, -99))
        .beside("*nat\n-A PREROUTING\nCOMMIT\n");
    let packet = tcp("198.51.100.7:9", "10.0.0.3:80");
    lab.receive(ETH0, packet);
    assert_eq!(met(&lab), "before early n2 n1 nat/PREROUTING late after");
    lab.events.clear();
    lab.receive(ETH0, packet);
    assert_eq!(
        met(&lab),
        "before after",
        "only the first packet of a connection meets nat chains"
    );
}

/// `nf_nat_register_fn`: translation comes to its hooks with the first chain of type nat.
#[test]
fn a_chain_at_the_priority_of_translation_is_asked_before_it_if_it_is_younger() {
    let order = |tables: &str| {
        let mut lab = Chains::new()
            .counts("older", (FILTER, PREROUTING, -100))
            .counts("nat", (NAT, PREROUTING, -100))
            .counts("younger", (FILTER, PREROUTING, -100))
            .beside(tables);
        lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80"));
        met(&lab)
    };
    assert_eq!(order(""), "younger nat older");
    // The tables of iptables were there before.
    assert_eq!(order("*nat\n-A OUTPUT\nCOMMIT\n"), "younger older nat");
}

#[test]
fn the_first_chain_that_translates_ends_the_search() {
    let mut lab = Chains::new()
        .chain(
            "nat",
            (NAT, PREROUTING, -100),
            Policy::Accept,
            vec![daddr("192.0.2.80"), dnat("10.0.0.3")],
        )
        .counts("late", (NAT, PREROUTING, 0))
        .chain(
            "sees_it",
            (FILTER, PREROUTING, -90),
            Policy::Accept,
            vec![daddr("10.0.0.3")],
        )
        .beside("*nat\n-A PREROUTING -j DNAT --to-destination 10.0.0.2\nCOMMIT\n");
    let to_pod = flow(lab.receive(ETH0, tcp("198.51.100.7:9", "192.0.2.80:80")));
    assert_eq!((to_pod.dst, to_pod.dport), (ip("10.0.0.3"), 8080));
    assert_eq!(met(&lab), "nat sees_it");
    let mut other = lab;
    other.events.clear();
    let to_pod = flow(other.receive(ETH0, tcp("198.51.100.7:10", "10.0.0.3:80")));
    assert_eq!(to_pod.dst, ip("10.0.0.2"));
    assert_eq!(met(&other), "nat/PREROUTING");
}

/// nft(8): accept is the last word of its base chain only.
#[test]
fn what_one_chain_accepts_another_may_drop() {
    let drop_new = vec![
        Statement::is(
            Expression::Ct(CtKey::State),
            Span::One(Value::CtStates(CtStates::NEW)),
        ),
        Statement::Verdict(Verdict::Drop),
    ];
    let accepts = vec![Statement::Verdict(Verdict::Accept)];
    let at = |priority| (FILTER, Hook::Forward, priority);
    let mut lab = Chains::new()
        .chain("accepts", at(-10), Policy::Accept, accepts.clone())
        .beside("*filter\n-A FORWARD -j DROP\nCOMMIT\n");
    let reason = dropped(lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80")));
    assert!(matches!(reason, DropReason::Rule(RuleRef::Iptables(_))));
    assert_eq!(lab.state.conntrack.connections().count(), 0);

    let mut lab = Chains::new()
        .chain("drops", at(10), Policy::Accept, drop_new)
        .beside("*filter\n-A FORWARD -j ACCEPT\nCOMMIT\n");
    let reason = dropped(lab.receive(ETH0, tcp("198.51.100.7:9", "10.0.0.3:80")));
    assert!(matches!(reason, DropReason::Rule(RuleRef::Nft(rule)) if rule.number == 1));
    assert_eq!(met(&lab), "filter/FORWARD drops");
}

#[test]
fn a_policy_and_a_reject_are_named() {
    let mut lab = Chains::new()
        .chain(
            "closed",
            (FILTER, Hook::Output, -90),
            Policy::Drop,
            vec![daddr("192.0.2.9"), Statement::Verdict(Verdict::Accept)],
        )
        .beside("");
    let reason = dropped(lab.send(tcp("192.0.2.1:9", "10.0.0.3:80")));
    let DropReason::Policy(BaseChainRef::Nft { hook, .. }) = reason else {
        panic!("{reason:?}")
    };
    assert_eq!(hook, Hook::Output);
    let reject = Statement::Reject {
        with: RejectWith::PortUnreachable,
        family: None,
    };
    let mut lab = Chains::new()
        .chain(
            "closed",
            (FILTER, PREROUTING, -110),
            Policy::Accept,
            vec![reject],
        )
        .beside("");
    let rejected = end(lab.receive(VETH1, tcp("10.0.0.2:9", "192.0.2.1:80")));
    let Disposition::Rejected {
        with: RejectWith::PortUnreachable,
        rule: Some(rule),
    } = rejected
    else {
        panic!("{rejected:?}")
    };
    assert_eq!(rule.number(), 1);
}
