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
use super::planned_chains::{Owner, PlannedChains};
use crate::kube_proxy::endpoints::{NodeEndpoint, ProxiedEndpoint};
use crate::kube_proxy::port_on_node::PortOnNode;
use crate::kube_proxy::service_ports::ProxiedPort;

/// A service port and where the chains of its endpoints are.
#[derive(Debug)]
pub(super) struct PlannedPort<'p> {
    on_node: PortOnNode<'p>,
    name: PortName,
    /// The place of its first endpoint's chain. The chains of all that need one stand there in their order.
    pub(super) first_chain: usize,
}

/// Gives the names of endpoints' chains by place.
pub(super) type EndpointNames<'n> = dyn Fn(usize) -> Name + 'n;

impl<'p> PlannedPort<'p> {
    /// Plans a service port and the chains of its endpoints; `place` is its own.
    pub(super) fn new(
        proxier: &'p NftablesProxier<'p>,
        port: &'p ProxiedPort<'p>,
        place: u32,
        chains: &mut PlannedChains,
    ) -> Self {
        let planned = Self {
            on_node: PortOnNode::new(port, proxier.node, &proxier.settings),
            name: PortName::of(port),
            first_chain: chains.len(),
        };
        let has_affinity = port.addresses.affinity_seconds.is_some();
        let reachable = planned.on_node.choice.reachable().iter();
        let mut index = 0;
        let endpoints = reachable.map(|found| found.endpoint);
        planned
            .name
            .for_endpoints(endpoints, |name, endpoint, text| {
                let is_plain = endpoint.is_canonical && !has_affinity;
                let plain = is_plain.then_some((port.l4, text));
                chains.push_endpoint(name, (place, index), plain);
                index += 1;
            });
        planned
    }

    /// What the names of its other chains begin with, and whose they are; `place` is the port's own.
    pub(super) fn own_chains(&self, place: u32) -> impl Iterator<Item = (&'static str, Owner)> {
        let on_node = &self.on_node;
        let own = [
            (
                "service-",
                Owner::Cluster(place),
                on_node.cluster_endpoints().is_some(),
            ),
            (
                "local-",
                Owner::Local(place),
                on_node.local_endpoints().is_some(),
            ),
            (
                "external-",
                Owner::External(place),
                on_node.uses_external_chain(),
            ),
            ("firewall-", Owner::Firewall(place), self.has_firewall()),
        ];
        let used = own.into_iter().filter(|(.., is_used)| *is_used);
        used.map(|(prefix, of, _)| (prefix, of))
    }

    /// What the names of all its chains have behind what they begin with.
    pub(super) fn hashed_name(&self) -> &str {
        self.name.hashed()
    }

    /// The endpoint whose chain is at that place of its own.
    pub(super) fn endpoint(&self, index: u32) -> &ProxiedEndpoint<'p> {
        self.on_node.choice.reachable()[index as usize].endpoint
    }

    /// How many endpoints have a chain.
    pub(super) fn endpoint_count(&self) -> usize {
        self.on_node.choice.reachable().len()
    }

    /// The chain of the traffic from outside.
    fn external_chain(&self) -> Option<Name> {
        let is_used = self.on_node.uses_external_chain();
        is_used.then(|| self.name.chain("external-"))
    }

    /// The chain of the traffic to load balancer addresses with source ranges.
    fn firewall_chain(&self) -> Option<Name> {
        self.has_firewall().then(|| self.name.chain("firewall-"))
    }

    /// Whether there is one. It does not ask for endpoints.
    fn has_firewall(&self) -> bool {
        let addresses = &self.on_node.port.addresses;
        !addresses.vips.is_empty() && !addresses.source_ranges.is_empty()
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

    /// Rules of the traffic that may go anywhere, or that must stay on the node, up to the one that chooses
    /// among all endpoints (`writeServiceToEndpointRules`).
    pub(super) fn policy_rules(
        &self,
        proxier: &NftablesProxier<'_>,
        is_local: bool,
        names: &EndpointNames<'_>,
    ) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(2);
        if is_local == self.on_node.port.addresses.internal_local
            && let Some(masquerade) = self.masquerade_rule(proxier)
        {
            rules.push(masquerade);
        }
        if self.on_node.port.addresses.affinity_seconds.is_some() {
            rules.extend(self.chains_of(is_local).map(|(found, chain)| {
                let chain = names(chain);
                let statements = vec![
                    Statement::is_in(proxier.saddr(), affinity_set(chain.as_str())),
                    Statement::Verdict(Verdict::Goto(chain)),
                ];
                rule(statements, found.origin)
            }));
        }
        rules
    }

    /// The places of the chains among which such traffic chooses, each with the same probability.
    pub(super) fn choice(&self, is_local: bool) -> impl Iterator<Item = usize> {
        self.chains_of(is_local).map(|(_, chain)| chain)
    }

    /// The rule that does so.
    pub(super) fn choice_rule(&self, is_local: bool, names: &EndpointNames<'_>) -> Rule {
        let elements = (0..).zip(self.choice(is_local)).map(|(number, chain)| {
            let to = MapValue::Verdict(Verdict::Goto(names(chain)));
            (Key::one(Value::Number(number)), to)
        });
        let elements: Vec<_> = elements.collect();
        let count = u32::try_from(elements.len()).expect("a port has fewer than 2^32 endpoints");
        let choose = Statement::VerdictMap {
            key: Expression::Numgen {
                mode: NumgenMode::Random,
                modulus: count,
                offset: 0,
            },
            map: Lookup::Anonymous(elements),
        };
        self.own(vec![choose])
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

    /// Endpoints of a policy with the places of their chains.
    fn chains_of(&self, is_local: bool) -> impl Iterator<Item = (&NodeEndpoint<'p>, usize)> {
        let on_node = &self.on_node;
        let endpoints = if is_local {
            on_node.local_endpoints()
        } else {
            on_node.cluster_endpoints()
        };
        let placed = on_node.choice.placed(endpoints.unwrap_or_default());
        placed.map(|(found, place)| (found, self.first_chain + place))
    }

    /// Rules of the endpoint at that place of its own, whose chain it is: they translate to it.
    pub(super) fn endpoint_rules(
        &self,
        proxier: &NftablesProxier<'_>,
        index: u32,
        chain: &str,
    ) -> Vec<Rule> {
        let found = &self.on_node.choice.reachable()[index as usize];
        let port = self.on_node.port;
        let own = |statements| rule(statements, found.origin);
        let mut rules = Vec::with_capacity(3);
        // A pod that meets itself behind a Service needs another source.
        rules.push(own(vec![
            Statement::is(proxier.saddr(), Span::address(found.endpoint.address)),
            mark_for_masquerade(proxier),
        ]));
        if port.addresses.affinity_seconds.is_some() {
            let remember = SetStatement {
                operation: SetOperation::Update,
                set: affinity_set(chain),
                key: proxier.saddr(),
                timeout: None,
            };
            rules.push(own(vec![Statement::Set(remember)]));
        }
        let protocol = Expression::Meta(MetaKey::L4proto);
        let to = NatRange::to(found.endpoint.address, Some(found.endpoint.port));
        rules.push(own(vec![
            Statement::is(protocol, Span::protocol(port.l4.protocol())),
            Statement::Nat(Nat::to(NatKind::Dnat, to)),
        ]));
        rules
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
