//! flannel's own rules: which packets it masquerades, and that it lets pod packets through.
//!
//! Source: pkg/trafficmngr/iptables/iptables.go of flannel-io/flannel 0.26, `masqRules` and
//! `forwardRules`. flannel appends its jumps, kube-proxy inserts its own at the top; so flannel's
//! stand behind kube-proxy's, whoever came first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podwire_packet::{Family, Mark, Prefix};
use podwire_ruleset::{
    AddressMatch, ChainName, Hook, Inv, MarkMatch, Match, NatRange, Rule, RuleSet, TableName,
    Target,
};

/// kube-proxy's mark of packets that it masquerades itself.
const KUBE_PROXY_MARK: Mark = Mark(0x4000);
const MASQ_COMMENT: &str = "flanneld masq";
const FORWARD_COMMENT: &str = "flanneld forward";

/// Adds the rules of a node with the pod range `node`, in a cluster with the pod range `cluster`.
pub(in crate::cni) fn add(rules: &mut RuleSet, cluster: Prefix, node: Prefix, ip_masq: bool) {
    if ip_masq {
        add_masquerade(rules, cluster, node);
    }
    let chain = ChainName::from("FLANNEL-FWD");
    let table = rules.table_mut(TableName::Filter);
    table
        .chain_mut(&Hook::Forward.into())
        .rules
        .push(jump(&chain, FORWARD_COMMENT));
    let accept = |address| commented(Rule::to(Target::Accept).when(address), FORWARD_COMMENT);
    table.chain_mut(&chain).rules = vec![
        accept(Match::Source(is(cluster))),
        accept(Match::Destination(is(cluster))),
    ];
}

fn add_masquerade(rules: &mut RuleSet, cluster: Prefix, node: Prefix) {
    let chain = ChainName::from("FLANNEL-POSTRTG");
    let marked = Match::Mark(Inv::is(MarkMatch {
        value: KUBE_PROXY_MARK,
        mask: KUBE_PROXY_MARK,
    }));
    let to = |target: Target, source: Inv<AddressMatch>, destination: Inv<AddressMatch>| {
        let rule = Rule::to(target)
            .when(Match::Source(source))
            .when(Match::Destination(destination));
        commented(rule, MASQ_COMMENT)
    };
    let masquerade = Target::Masquerade(NatRange {
        random_fully: true,
        ..NatRange::default()
    });
    let table = rules.table_mut(TableName::Nat);
    table
        .chain_mut(&Hook::Postrouting.into())
        .rules
        .push(jump(&chain, MASQ_COMMENT));
    table.chain_mut(&chain).rules = vec![
        commented(Rule::to(Target::Return).when(marked), MASQ_COMMENT),
        to(Target::Return, is(node), is(cluster)),
        to(Target::Return, is(cluster), is(node)),
        to(Target::Return, is_not(cluster), is(node)),
        to(
            masquerade.clone(),
            is(cluster),
            is_not(multicast(cluster.family())),
        ),
        to(masquerade, is_not(cluster), is(cluster)),
    ];
}

fn jump(chain: &ChainName, comment: &str) -> Rule {
    commented(Rule::to(Target::Jump(chain.clone())), comment)
}

fn commented(rule: Rule, comment: &str) -> Rule {
    rule.when(Match::Comment(comment.into()))
}

const fn is(prefix: Prefix) -> Inv<AddressMatch> {
    Inv::is(AddressMatch::Prefix(prefix))
}

const fn is_not(prefix: Prefix) -> Inv<AddressMatch> {
    Inv::not(AddressMatch::Prefix(prefix))
}

fn multicast(family: Family) -> Prefix {
    match family {
        Family::Ipv4 => Prefix::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
        Family::Ipv6 => Prefix::new(IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
    }
}
