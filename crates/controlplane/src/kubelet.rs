//! kubelet's own rules, which are on a node before any pod runs there.
//!
//! Source: pkg/kubelet/kubelet_network_linux.go of kubernetes 1.30: `initNetworkUtil` and
//! `syncIPTablesRules`. kube-proxy, a pod, inserts its jumps above kubelet's; a rule that both write is
//! there once, where kubelet put it.

use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::{Family, Prefix};
use podwire_ruleset::{
    AddressMatch, ChainName, ConntrackMatch, CtStates, Hook, Inv, Match, Rule, RuleSet, TableName,
    Target,
};

/// Whose disappearance tells kubelet that somebody flushed the table.
const CANARY: &str = "KUBE-KUBELET-CANARY";
/// By which others see whether the node has iptables of the legacy or of the nft kind.
const HINT: &str = "KUBE-IPTABLES-HINT";
const FIREWALL: &str = "KUBE-FIREWALL";

/// Adds the rules to those of kube-proxy.
pub fn add_rules(rules: &mut RuleSet) {
    for table in [TableName::Mangle, TableName::Nat, TableName::Filter] {
        rules.table_mut(table).chain_mut(&CANARY.into());
    }
    rules.table_mut(TableName::Mangle).chain_mut(&HINT.into());
    if rules.family == Family::Ipv6 {
        return;
    }
    let filter = rules.table_mut(TableName::Filter);
    let firewall = filter.chain_mut(&FIREWALL.into());
    if firewall.rules.is_empty() {
        firewall.rules.push(no_martians());
    }
    let jump = Target::Jump(FIREWALL.into());
    for hook in [Hook::Input, Hook::Output] {
        let chain = filter.chain_mut(&ChainName::from(hook));
        chain
            .rules
            .retain(|rule| rule.target.as_ref() != Some(&jump));
        chain.rules.push(Rule::to(jump.clone()));
    }
}

/// Packets for 127.0.0.0/8 from elsewhere, which only route_localnet lets come so far.
fn no_martians() -> Rule {
    let loopback = AddressMatch::Prefix(Prefix::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8));
    let states = CtStates::RELATED
        .union(CtStates::ESTABLISHED)
        .union(CtStates::DNAT);
    Rule::to(Target::Drop)
        .when(Match::Comment("block incoming localnet connections".into()))
        .when(Match::Destination(Inv::is(loopback)))
        .when(Match::Source(Inv::not(loopback)))
        .when(Match::Conntrack(Box::new(ConntrackMatch {
            state: Some(Inv::not(states)),
            ..ConntrackMatch::default()
        })))
}
