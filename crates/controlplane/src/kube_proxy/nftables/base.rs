//! Chains and sets that every node has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podwire_packet::{Family, Mark, Prefix};
use podwire_ruleset::nft::{
    BaseChain, Chain, ChainKind, DataType, Element, Expression, FibResult, FibSelectors, Key,
    Lookup, Match, MetaKey, Name, Nat, Operand, Payload, Rule, Set, SetMark, Span, Statement,
    Value, Verdict,
};
use podwire_ruleset::{AddressType, CtStates, Hook, NatKind, NatRange, Policy, RejectWith};

use super::NftablesProxier;
use crate::kube_proxy::settings::NodePortAddresses;

/// Names of what does not depend on services.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) table: Name,
    pub(super) mark_for_masquerade: Name,
    pub(super) reject: Name,
    pub(super) cluster_ips: Name,
    pub(super) node_port_ips: Name,
    pub(super) firewall_ips: Name,
    pub(super) no_endpoint_services: Name,
    pub(super) no_endpoint_node_ports: Name,
    pub(super) service_ips: Name,
    pub(super) service_node_ports: Name,
    masquerading: Name,
    services: Name,
    service_endpoints_check: Name,
    node_port_endpoints_check: Name,
    firewall_check: Name,
    cluster_ips_check: Name,
}

impl Common {
    pub(super) fn new() -> Self {
        Self {
            table: Name::literal("kube-proxy"),
            mark_for_masquerade: Name::literal("mark-for-masquerade"),
            reject: Name::literal("reject-chain"),
            cluster_ips: Name::literal("cluster-ips"),
            node_port_ips: Name::literal("nodeport-ips"),
            firewall_ips: Name::literal("firewall-ips"),
            no_endpoint_services: Name::literal("no-endpoint-services"),
            no_endpoint_node_ports: Name::literal("no-endpoint-nodeports"),
            service_ips: Name::literal("service-ips"),
            service_node_ports: Name::literal("service-nodeports"),
            masquerading: Name::literal("masquerading"),
            services: Name::literal("services"),
            service_endpoints_check: Name::literal("service-endpoints-check"),
            node_port_endpoints_check: Name::literal("nodeport-endpoints-check"),
            firewall_check: Name::literal("firewall-check"),
            cluster_ips_check: Name::literal("cluster-ips-check"),
        }
    }
}

/// The comment of the table.
pub(super) const TABLE_COMMENT: &str = "rules for kube-proxy";

/// `type … hook … priority …`.
const fn base(kind: ChainKind, hook: Hook, priority: i32) -> BaseChain {
    BaseChain {
        kind,
        hook,
        priority,
        policy: Policy::Accept,
    }
}

impl NftablesProxier<'_> {
    /// Sets and maps that every node has, empty but for the addresses of node ports: sets by name,
    /// then maps by name (`setupNFTables`).
    pub(super) fn common_sets(&self) -> Vec<(Name, Set)> {
        let address = || DataType::Address(self.family());
        let service = || vec![address(), DataType::Protocol, DataType::Port];
        let node_port = || vec![DataType::Protocol, DataType::Port];
        let described = |set: Set, comment: &str| Set {
            comment: Some(comment.into()),
            ..set
        };
        let common = &self.common;
        let mut sets = vec![(
            common.cluster_ips.clone(),
            described(Set::of([address()]), "Active ClusterIPs"),
        )];
        if let NodePortAddresses::Some(addresses) = &self.settings.node_port_addresses {
            let mut set = described(Set::of([address()]), "IPs that accept NodePort traffic");
            let elements = addresses.iter().map(|&ip| {
                let element = Element {
                    origin: Some(self.services.base_origin),
                    ..Element::default()
                };
                (Key::from(Span::address(ip)), element)
            });
            set.elements.extend(elements);
            sets.push((common.node_port_ips.clone(), set));
        }
        let maps = [
            (
                &common.firewall_ips,
                service(),
                "destinations that are subject to LoadBalancerSourceRanges",
            ),
            (
                &common.no_endpoint_node_ports,
                node_port(),
                "vmap to drop or reject packets to service nodeports with no endpoints",
            ),
            (
                &common.no_endpoint_services,
                service(),
                "vmap to drop or reject packets to services with no endpoints",
            ),
            (
                &common.service_ips,
                service(),
                "ClusterIP, ExternalIP and LoadBalancer IP traffic",
            ),
            (&common.service_node_ports, node_port(), "NodePort traffic"),
        ];
        sets.extend(
            maps.map(|(name, key, comment)| {
                (name.clone(), described(Set::verdict_map(key), comment))
            }),
        );
        sets
    }

    /// Chains that every node has.
    pub(super) fn common_chains(&self) -> Vec<Chain> {
        let mut chains = Vec::from(self.filter_chains());
        chains.extend(self.check_chains());
        chains.extend(self.nat_chains());
        for rule in chains.iter_mut().flat_map(|chain| &mut chain.rules) {
            rule.origin = Some(self.services.base_origin);
        }
        chains
    }

    /// What packets of new connections go through, before translation and behind it.
    fn filter_chains(&self) -> [Chain; 5] {
        const BEFORE_DNAT: i32 = -110;
        const AFTER_DNAT: i32 = -90;
        let common = &self.common;
        let chain = |name: &str, hook, priority, to: &[&Name]| {
            let rules = to.iter().map(|chain| {
                let new = Span::One(Value::CtStates(CtStates::NEW));
                Rule::of(vec![
                    Statement::is(Expression::Ct(podwire_ruleset::nft::CtKey::State), new),
                    Statement::Verdict(Verdict::Jump((*chain).clone())),
                ])
            });
            Chain {
                base: Some(base(ChainKind::Filter, hook, priority)),
                rules: rules.collect(),
                ..Chain::regular(Name::literal(name))
            }
        };
        let services = &common.service_endpoints_check;
        let node_ports = &common.node_port_endpoints_check;
        let firewall = &common.firewall_check;
        let cluster_ips = &common.cluster_ips_check;
        [
            chain(
                "filter-prerouting",
                Hook::Prerouting,
                BEFORE_DNAT,
                &[firewall],
            ),
            chain(
                "filter-input",
                Hook::Input,
                BEFORE_DNAT,
                &[node_ports, services],
            ),
            chain(
                "filter-forward",
                Hook::Forward,
                BEFORE_DNAT,
                &[services, cluster_ips],
            ),
            chain(
                "filter-output",
                Hook::Output,
                BEFORE_DNAT,
                &[services, firewall],
            ),
            chain(
                "filter-output-post-dnat",
                Hook::Output,
                AFTER_DNAT,
                &[cluster_ips],
            ),
        ]
    }

    /// Looks into the maps.
    fn check_chains(&self) -> [Chain; 6] {
        let common = &self.common;
        let chain = |name: &Name, rules: Vec<Rule>| Chain {
            rules,
            ..Chain::regular(name.clone())
        };
        let service = |map: &Name| Rule::of(vec![self.look_up(true, map)]);
        let node_port = |is_input: bool, map: &Name| {
            let mut statements = self.to_node_port(is_input);
            statements.push(self.look_up(false, map));
            Rule::of(statements)
        };
        let reject = || Statement::Reject {
            with: RejectWith::PortUnreachable,
            family: None,
        };
        let cluster_ip = Rule {
            comment: Some("Reject traffic to invalid ports of ClusterIPs".into()),
            ..Rule::of(vec![
                Statement::is_in(self.daddr(), common.cluster_ips.clone()),
                reject(),
            ])
        };
        let comment = "helper for @no-endpoint-services / @no-endpoint-nodeports";
        let services = vec![
            service(&common.service_ips),
            node_port(false, &common.service_node_ports),
        ];
        [
            chain(&common.services, services),
            chain(
                &common.service_endpoints_check,
                vec![service(&common.no_endpoint_services)],
            ),
            chain(
                &common.node_port_endpoints_check,
                vec![node_port(true, &common.no_endpoint_node_ports)],
            ),
            chain(&common.firewall_check, vec![service(&common.firewall_ips)]),
            chain(&common.cluster_ips_check, vec![cluster_ip]),
            Chain {
                comment: Some(comment.into()),
                ..chain(&common.reject, vec![Rule::of(vec![reject()])])
            },
        ]
    }

    fn nat_chains(&self) -> [Chain; 5] {
        let common = &self.common;
        let chain = |name: &str, hook, priority, to: &Name| Chain {
            base: Some(base(ChainKind::Nat, hook, priority)),
            rules: vec![Rule::of(vec![Statement::Verdict(Verdict::Jump(
                to.clone(),
            ))])],
            ..Chain::regular(Name::literal(name))
        };
        let mark = self.settings.masquerade_mark;
        let marked =
            Expression::Masked(Box::new(Expression::Meta(MetaKey::Mark)), Value::Mark(mark));
        let masquerade = NatRange {
            random_fully: true,
            ..NatRange::default()
        };
        let masquerading = vec![
            Rule::of(vec![
                Statement::is(marked, Span::One(Value::Mark(Mark(0)))),
                Statement::Verdict(Verdict::Return),
            ]),
            // The mark is cleared so that a packet that passes twice is not masqueraded twice.
            Rule::of(vec![Statement::SetMark(SetMark::xor(mark))]),
            Rule::of(vec![Statement::Nat(Nat::to(
                NatKind::Masquerade,
                masquerade,
            ))]),
        ];
        let set_mark = vec![Rule::of(vec![Statement::SetMark(SetMark::or(mark))])];
        [
            chain("nat-prerouting", Hook::Prerouting, -100, &common.services),
            chain("nat-output", Hook::Output, -100, &common.services),
            chain(
                "nat-postrouting",
                Hook::Postrouting,
                100,
                &common.masquerading,
            ),
            Chain {
                rules: set_mark,
                ..Chain::regular(common.mark_for_masquerade.clone())
            },
            Chain {
                rules: masquerading,
                ..Chain::regular(common.masquerading.clone())
            },
        ]
    }

    /// Holds for packets to an address where node ports are open. At INPUT every destination is one of
    /// the node's own.
    fn to_node_port(&self, is_input: bool) -> Vec<Statement> {
        if let NodePortAddresses::Some(_) = self.settings.node_port_addresses {
            let set = self.common.node_port_ips.clone();
            return vec![Statement::is_in(self.daddr(), set)];
        }
        let localhost = match self.family() {
            Family::Ipv4 => Span::Prefix(Prefix::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8)),
            Family::Ipv6 => Span::address(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        };
        let mut statements = Vec::with_capacity(3);
        if !is_input {
            let fib = Expression::Fib {
                selectors: FibSelectors::DADDR,
                result: FibResult::Type,
            };
            let local = Span::One(Value::AddressType(AddressType::Local));
            statements.push(Statement::is(fib, local));
        }
        statements.push(Statement::is_not(self.daddr(), localhost));
        statements
    }

    /// Looks a packet up in a verdict map, by address, protocol and port, or without the address.
    fn look_up(&self, by_address: bool, map: &Name) -> Statement {
        let address = by_address.then(|| self.daddr());
        let protocol = Expression::Meta(MetaKey::L4proto);
        let port = Expression::Payload(Payload::Dport(None));
        let parts = address.into_iter().chain([protocol, port]);
        Statement::VerdictMap {
            key: Expression::Concat(parts.collect()),
            map: Lookup::Named(map.clone()),
        }
    }

    pub(super) const fn daddr(&self) -> Expression {
        Expression::Payload(Payload::Daddr(self.family()))
    }

    pub(super) const fn saddr(&self) -> Expression {
        Expression::Payload(Payload::Saddr(self.family()))
    }

    /// Holds for packets whose source is none of these.
    pub(super) fn is_not_from(&self, sources: Vec<Key>) -> Statement {
        Statement::Match(Match {
            left: self.saddr(),
            inverted: true,
            right: Operand::Anonymous(sources),
        })
    }
}
