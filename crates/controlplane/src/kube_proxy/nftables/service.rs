//! Chains and elements of one service port.

use std::net::IpAddr;
use std::time::Duration;

use podwire_packet::Protocol;
use podwire_ruleset::nft::{
    DataType, Element, Expression, FibResult, FibSelectors, Key, Lookup, MapValue, MetaKey, Name,
    Nat, NumgenMode, Payload, Rule, Set, SetFlags, SetOperation, SetStatement, Span, Statement,
    Value, Verdict,
};
use podwire_ruleset::{AddressType, L4, NatKind, NatRange, Origin};

use super::NftablesProxier;
use super::names::{PortName, affinity_set};
use crate::kube_proxy::endpoints::{NodeEndpoint, ProxiedEndpoint};
use crate::kube_proxy::port_on_node::PortOnNode;
use crate::kube_proxy::service_ports::ProxiedPort;

/// A service port and the names of its chains.
#[derive(Debug)]
pub(super) struct PlannedPort<'p> {
    on_node: PortOnNode<'p>,
    name: PortName,
    /// Of the endpoints that need one, in their order.
    pub(super) endpoint_chains: Vec<Name>,
}

impl<'p> PlannedPort<'p> {
    pub(super) fn new(proxier: &'p NftablesProxier<'p>, port: &'p ProxiedPort<'p>) -> Self {
        let on_node = PortOnNode::new(port, proxier.node, &proxier.settings);
        let name = PortName::of(port);
        let reachable = on_node.choice.reachable().iter();
        let endpoint_chains = name.endpoints(reachable.map(|found| found.endpoint));
        Self {
            on_node,
            name,
            endpoint_chains,
        }
    }

    /// The endpoint whose chain is at that place.
    pub(super) fn endpoint(&self, index: usize) -> &ProxiedEndpoint<'p> {
        self.on_node.choice.reachable()[index].endpoint
    }

    /// The chain of the traffic that may go anywhere, if there is one.
    pub(super) fn cluster_chain(&self) -> Option<Name> {
        self.on_node
            .cluster_endpoints()
            .map(|_| self.name.chain("service-"))
    }

    /// The chain of the traffic that must stay on the node.
    pub(super) fn local_chain(&self) -> Option<Name> {
        self.on_node
            .local_endpoints()
            .map(|_| self.name.chain("local-"))
    }

    /// The chain of the traffic from outside.
    pub(super) fn external_chain(&self) -> Option<Name> {
        let is_used = self.on_node.uses_external_chain();
        is_used.then(|| self.name.chain("external-"))
    }

    /// The chain of the traffic to load balancer addresses with source ranges. It does not ask for
    /// endpoints.
    pub(super) fn firewall_chain(&self) -> Option<Name> {
        let addresses = &self.on_node.port.addresses;
        let is_used = !addresses.vips.is_empty() && !addresses.source_ranges.is_empty();
        is_used.then(|| self.name.chain("firewall-"))
    }

    /// The set that remembers the clients of one of its endpoints, if it has session affinity.
    pub(super) fn affinity_set(&self, proxier: &NftablesProxier<'_>) -> Option<Set> {
        let seconds = self.on_node.port.addresses.affinity_seconds?;
        Some(Set {
            flags: SetFlags::DYNAMIC.union(SetFlags::TIMEOUT),
            timeout: Some(Duration::from_secs(seconds.into())),
            ..Set::of([DataType::Address(proxier.family())])
        })
    }

    /// Puts its addresses into the sets and maps.
    pub(super) fn add_elements(&self, proxier: &NftablesProxier<'_>, sets: &mut [(Name, Set)]) {
        let common = &proxier.common;
        let port = self.on_node.port;
        let addresses = &port.addresses;
        let mut add = |set: &Name, key: Key, comment: bool, value: Option<Verdict>| {
            let found = sets.iter_mut().find(|(name, _)| name == set);
            let (_, set) = found.expect("common sets are all made first");
            let element = Element {
                value: value.map(MapValue::Verdict),
                comment: comment.then(|| port.name.clone()),
                origin: Some(port.origin),
                ..Element::default()
            };
            set.elements.insert(key, element);
        };
        let at = |ip: IpAddr| {
            Key::from([
                Span::address(ip),
                Span::protocol(self.protocol()),
                Span::port(port.port),
            ])
        };
        let external = self.external_chain().map(Verdict::Goto);
        let refusal = || Some(self.refusal(proxier));

        let cluster_ip = addresses.cluster_ip;
        add(
            &common.cluster_ips,
            Span::address(cluster_ip).into(),
            false,
            None,
        );
        if self.on_node.has_internal {
            let chain = self.name.chain(self.internal_prefix());
            let to = Some(Verdict::Goto(chain));
            add(&common.service_ips, at(cluster_ip), false, to);
        } else {
            let map = &common.no_endpoint_services;
            add(map, at(cluster_ip), true, refusal());
        }
        let firewall = self.firewall_chain();
        let vips = addresses.vips.iter().map(|ip| (ip, firewall.as_ref()));
        let externals = addresses.external_ips.iter().map(|ip| (ip, None));
        for (&ip, firewall) in externals.chain(vips) {
            if external.is_some() {
                add(&common.service_ips, at(ip), false, external.clone());
            }
            if let Some(chain) = firewall {
                let to = Some(Verdict::Goto(chain.clone()));
                add(&common.firewall_ips, at(ip), true, to);
            }
            if !self.on_node.has_external {
                add(&common.no_endpoint_services, at(ip), true, refusal());
            }
        }
        if port.node_port != 0 {
            let key = || Key::from([Span::protocol(self.protocol()), Span::port(port.node_port)]);
            if external.is_some() {
                add(&common.service_node_ports, key(), false, external);
            }
            if !self.on_node.has_external {
                add(&common.no_endpoint_node_ports, key(), true, refusal());
            }
        }
    }

    /// Rules of the traffic that may go anywhere.
    pub(super) fn cluster_rules(&self, proxier: &NftablesProxier<'_>) -> Vec<Rule> {
        let endpoints = self.on_node.cluster_endpoints().unwrap_or_default();
        self.policy_rules(proxier, "service-", endpoints)
    }

    /// Rules of the traffic that must stay on the node.
    pub(super) fn local_rules(&self, proxier: &NftablesProxier<'_>) -> Vec<Rule> {
        let endpoints = self.on_node.local_endpoints().unwrap_or_default();
        self.policy_rules(proxier, "local-", endpoints)
    }

    /// Chooses an endpoint: the one that a client had before, else each with the same probability
    /// (`writeServiceToEndpointRules`).
    fn policy_rules(
        &self,
        proxier: &NftablesProxier<'_>,
        prefix: &str,
        endpoints: &[NodeEndpoint<'_>],
    ) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(2);
        if prefix == self.internal_prefix()
            && let Some(masquerade) = self.masquerade_rule(proxier)
        {
            rules.push(masquerade);
        }
        if self.on_node.port.addresses.affinity_seconds.is_some() {
            rules.extend(self.chains_of(endpoints).map(|(found, chain)| {
                let statements = vec![
                    Statement::is_in(proxier.saddr(), affinity_set(chain)),
                    Statement::Verdict(Verdict::Goto(chain.clone())),
                ];
                rule(statements, found.origin)
            }));
        }
        let elements = (0..).zip(self.chains_of(endpoints));
        let elements = elements.map(|(number, (_, chain))| {
            let to = MapValue::Verdict(Verdict::Goto(chain.clone()));
            (Key::one(Value::Number(number)), to)
        });
        let count = u32::try_from(endpoints.len()).expect("a port has fewer than 2^32 endpoints");
        let choose = Statement::VerdictMap {
            key: Expression::Numgen {
                mode: NumgenMode::Random,
                modulus: count,
                offset: 0,
            },
            map: Lookup::Anonymous(elements.collect()),
        };
        rules.push(self.own(vec![choose]));
        rules
    }

    /// Traffic to the ClusterIP that does not come from a pod of this node needs the node's address
    /// as source, or the answer might take another way. With `masqueradeAll` all of it does.
    fn masquerade_rule(&self, proxier: &NftablesProxier<'_>) -> Option<Rule> {
        if !self.on_node.has_internal {
            return None;
        }
        let port = self.on_node.port;
        let settings = &proxier.settings;
        let cluster_ip = Span::address(port.addresses.cluster_ip);
        let dport = Expression::Payload(Payload::Dport(Some(port.l4)));
        let mut statements = vec![
            Statement::is(proxier.daddr(), cluster_ip),
            Statement::is(dport, Span::port(port.port)),
        ];
        if !settings.masquerade_all {
            statements.push(settings.local_detector.as_ref()?.nft(false));
        }
        statements.push(mark_for_masquerade(proxier));
        Some(self.own(statements))
    }

    /// Rules of the traffic from outside.
    pub(super) fn external_rules(&self, proxier: &NftablesProxier<'_>) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(4);
        let mark = || mark_for_masquerade(proxier);
        let to_cluster = || Statement::Verdict(Verdict::Goto(self.name.chain("service-")));
        let described = |statements, comment: &str| Rule {
            comment: Some(comment.into()),
            ..self.own(statements)
        };
        let is_local = self.on_node.port.addresses.external_local;
        if is_local {
            if let Some(detector) = &proxier.settings.local_detector {
                let statements = vec![detector.nft(true), to_cluster()];
                rules.push(described(statements, "short-circuit pod traffic"));
            }
            let statements = vec![source_is_local(), mark()];
            rules.push(described(statements, "masquerade local traffic"));
            let statements = vec![source_is_local(), to_cluster()];
            rules.push(described(statements, "short-circuit local traffic"));
        } else {
            rules.push(self.own(vec![mark()]));
        }
        if self.on_node.has_external {
            let prefix = if is_local { "local-" } else { "service-" };
            let to = Verdict::Goto(self.name.chain(prefix));
            rules.push(self.own(vec![Statement::Verdict(to)]));
        }
        rules
    }

    /// Drops what does not come from a source range.
    pub(super) fn firewall_rules(&self, proxier: &NftablesProxier<'_>) -> Vec<Rule> {
        let addresses = &self.on_node.port.addresses;
        let ranges = addresses.source_ranges.iter();
        let mut sources: Vec<Key> = ranges.map(|&range| Span::Prefix(range).into()).collect();
        let node_ip = proxier.settings.node_ip;
        let mut ranges = addresses.source_ranges.iter();
        if ranges.any(|range| range.contains(node_ip)) {
            // Some balancers' addresses are bound on the nodes: a node's own packets come from them.
            let vips = addresses.vips.iter();
            sources.extend(vips.map(|&ip| Key::from(Span::address(ip))));
        }
        let statements = vec![
            proxier.is_not_from(sources),
            Statement::Verdict(Verdict::Drop),
        ];
        vec![self.own(statements)]
    }

    /// Translates to an endpoint.
    pub(super) fn endpoint_rules(&self, proxier: &NftablesProxier<'_>, index: usize) -> Vec<Rule> {
        let found = &self.on_node.choice.reachable()[index];
        let endpoint = found.endpoint;
        let mut rules = Vec::with_capacity(3);
        // A pod that meets itself behind a Service needs another source.
        let hairpin = vec![
            Statement::is(proxier.saddr(), Span::address(endpoint.address)),
            mark_for_masquerade(proxier),
        ];
        rules.push(rule(hairpin, found.origin));
        if self.on_node.port.addresses.affinity_seconds.is_some() {
            let remember = SetStatement {
                operation: SetOperation::Update,
                set: affinity_set(&self.endpoint_chains[index]),
                key: proxier.saddr(),
                timeout: None,
            };
            rules.push(rule(vec![Statement::Set(remember)], found.origin));
        }
        let to = NatRange::to(endpoint.address, Some(endpoint.port));
        let translate = vec![
            Statement::is(
                Expression::Meta(MetaKey::L4proto),
                Span::protocol(self.protocol()),
            ),
            Statement::Nat(Nat::to(NatKind::Dnat, to)),
        ];
        rules.push(rule(translate, found.origin));
        rules
    }

    /// Endpoints with the names of their chains. Both lists are sorted by text, and every endpoint of
    /// a policy is among those that need a chain.
    fn chains_of<'s>(
        &'s self,
        endpoints: &'s [NodeEndpoint<'_>],
    ) -> impl Iterator<Item = (&'s NodeEndpoint<'s>, &'s Name)> {
        let reachable = self.on_node.choice.reachable().iter();
        let mut named = reachable.zip(&self.endpoint_chains);
        endpoints.iter().map(move |wanted| {
            let text = &wanted.endpoint.text;
            let found = named.find(|(found, _)| found.endpoint.text == *text);
            let (_, chain) = found.expect("every endpoint in use has a chain");
            (wanted, chain)
        })
    }

    /// What the chain of traffic to the ClusterIP begins with.
    fn internal_prefix(&self) -> &'static str {
        if self.on_node.port.addresses.internal_local {
            "local-"
        } else {
            "service-"
        }
    }

    /// What happens to traffic that finds no endpoint: an answer if there is none at all, silence if
    /// there are some elsewhere, so that a client tries again.
    fn refusal(&self, proxier: &NftablesProxier<'_>) -> Verdict {
        if self.on_node.choice.has_endpoints {
            Verdict::Drop
        } else {
            Verdict::Goto(proxier.common.reject.clone())
        }
    }

    const fn protocol(&self) -> Protocol {
        match self.on_node.port.l4 {
            L4::Tcp => Protocol::TCP,
            L4::Udp => Protocol::UDP,
            L4::Sctp => Protocol::SCTP,
            L4::Icmp => Protocol::ICMP,
            L4::Icmp6 => Protocol::ICMPV6,
        }
    }

    fn own(&self, statements: Vec<Statement>) -> Rule {
        rule(statements, self.on_node.port.origin)
    }
}

fn rule(statements: Vec<Statement>, origin: Origin) -> Rule {
    Rule {
        origin: Some(origin),
        ..Rule::of(statements)
    }
}

fn mark_for_masquerade(proxier: &NftablesProxier<'_>) -> Statement {
    Statement::Verdict(Verdict::Jump(proxier.common.mark_for_masquerade.clone()))
}

/// Holds for packets from an address of the node.
fn source_is_local() -> Statement {
    let fib = Expression::Fib {
        selectors: FibSelectors::SADDR,
        result: FibResult::Type,
    };
    Statement::is(fib, Span::One(Value::AddressType(AddressType::Local)))
}
