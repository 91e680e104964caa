//! Rules of one service port.

use std::net::IpAddr;

use podwire_packet::Prefix;
use podwire_ruleset::{ChainName, L4, Match, NatRange, RecentOperation, RejectWith, Target};

use super::IptablesProxier;
use super::words::{
    address_and_port, comment, destination_is_local, destination_port, one_of, protocol, recent,
    rule, source, source_is_local,
};
use super::written::{OwnChain, Placed, Written};
use crate::kube_proxy::endpoints::{Choice, NodeEndpoint};
use crate::kube_proxy::local_detector::LocalDetector;
use crate::kube_proxy::service_ports::ProxiedPort;

/// What a service port adds to the tables, in the order of writing.
///
/// Every sync writes `filter` and `dispatch`; a partial one writes `chains` only for Services that
/// changed.
#[derive(Debug, Default)]
pub(super) struct PortRules {
    /// Rules in common chains of filter.
    pub(super) filter: Vec<Placed>,
    /// Rules in common chains of nat.
    pub(super) dispatch: Vec<Placed>,
    /// Chains of its own in nat.
    pub(super) chains: Vec<OwnChain>,
    /// The place in `chains` of the one whose first rule, the ClusterIP's masquerade rule, is written
    /// before the rules of all others.
    pub(super) masquerade: Option<usize>,
}

impl PortRules {
    /// Rules of its own chains in the order of writing.
    pub(super) fn own_rules(&self) -> impl Iterator<Item = (&ChainName, &Written)> {
        let first = self.masquerade.and_then(|place| self.chains.get(place));
        let masquerade = first.and_then(|chain| Some((&chain.name, chain.rules.first()?)));
        let others = self.chains.iter().enumerate().flat_map(|(place, chain)| {
            let skipped = usize::from(Some(place) == self.masquerade);
            let rules = chain.rules.iter().skip(skipped);
            rules.map(move |written| (&chain.name, written))
        });
        masquerade.into_iter().chain(others)
    }
}

/// The names of a service port's chains, and which of them it has.
struct PortChains {
    /// Traffic with policy Cluster.
    svc: ChainName,
    /// Traffic with policy Local.
    svl: ChainName,
    /// Traffic from outside.
    ext: ChainName,
    /// Traffic to load balancer addresses with source ranges; `None` if they need no chain.
    firewall: Option<ChainName>,
}

/// Builds one service port's rules for one node.
struct PortWriter<'w> {
    proxier: &'w IptablesProxier<'w>,
    port: &'w ProxiedPort<'w>,
    choice: Choice<'w>,
    chains: PortChains,
    /// Whether traffic to the ClusterIP has an endpoint that its policy allows.
    has_internal: bool,
    /// The same of traffic from outside.
    has_external: bool,
}

impl<'w> IptablesProxier<'w> {
    /// Builds the rules of a service port: the body of the loop in `syncProxyRules`
    /// (pkg/proxy/iptables/proxier.go).
    pub(super) fn port_rules(&self, port: &ProxiedPort<'_>) -> PortRules {
        let zone =
            self.settings.zone.as_deref().filter(|_| {
                port.addresses.topology_mode || self.settings.ignores_topology_annotations
            });
        let choice = Choice::new(port, self.node, zone);
        let addresses = &port.addresses;
        let has_local = !choice.local.is_empty();
        let uses_firewall = choice.has_endpoints
            && !addresses.vips.is_empty()
            && !addresses.source_ranges.is_empty();
        let writer = PortWriter {
            proxier: self,
            port,
            chains: PortChains {
                svc: port.hash.chain("KUBE-SVC-"),
                svl: port.hash.chain("KUBE-SVL-"),
                ext: port.hash.chain("KUBE-EXT-"),
                firewall: uses_firewall.then(|| port.hash.chain("KUBE-FW-")),
            },
            has_internal: choice.has_endpoints && (!addresses.internal_local || has_local),
            has_external: choice.has_endpoints && (!addresses.external_local || has_local),
            choice,
        };
        let mut rules = PortRules::default();
        writer.write_addresses(&mut rules);
        writer.write_chains(&mut rules);
        rules
    }
}

impl PortWriter<'_> {
    /// Rules that find the service port by address and port.
    fn write_addresses(&self, rules: &mut PortRules) {
        let common = &self.proxier.chains;
        let addresses = &self.port.addresses;
        let name = &self.port.name;
        let has_endpoints = self.choice.has_endpoints;

        if self.has_internal {
            let matches = self.at(addresses.cluster_ip, format!("{name} cluster IP"));
            let target = Target::Jump(self.internal_chain().clone());
            rules
                .dispatch
                .push(self.placed(&common.services, matches, target));
        } else {
            let matches = self.at(addresses.cluster_ip, self.why_none());
            let target = self.refusal();
            rules
                .filter
                .push(self.placed(&common.services, matches, target));
        }

        for &ip in &addresses.external_ips {
            if has_endpoints {
                let matches = self.at(ip, format!("{name} external IP"));
                let target = Target::Jump(self.chains.ext.clone());
                rules
                    .dispatch
                    .push(self.placed(&common.services, matches, target));
            }
            if !self.has_external {
                rules.filter.push(self.refuse_external(ip));
            }
        }

        for &ip in &addresses.vips {
            if has_endpoints {
                let matches = self.at(ip, format!("{name} loadbalancer IP"));
                let chain = self.chains.firewall.as_ref().unwrap_or(&self.chains.ext);
                let target = Target::Jump(chain.clone());
                rules
                    .dispatch
                    .push(self.placed(&common.services, matches, target));
            }
            if let Some(firewall) = &self.chains.firewall {
                let text = format!("{name} traffic not accepted by {firewall}");
                let matches = self.at(ip, text);
                rules
                    .filter
                    .push(self.placed(&common.proxy_firewall, matches, Target::Drop));
            }
        }
        if !self.has_external {
            let vips = addresses.vips.iter();
            rules
                .filter
                .extend(vips.map(|&ip| self.refuse_external(ip)));
        }

        if self.port.node_port != 0 {
            self.write_node_port(rules);
        }
        if addresses.health_check_node_port != 0 {
            let [module, is_tcp] = protocol(L4::Tcp);
            let matches = vec![
                comment(format!("{name} health check node port")),
                module,
                is_tcp,
                destination_port(L4::Tcp, addresses.health_check_node_port),
            ];
            rules
                .filter
                .push(self.placed(&common.node_ports, matches, Target::Accept));
        }
    }

    fn write_node_port(&self, rules: &mut PortRules) {
        let common = &self.proxier.chains;
        let l4 = self.port.l4;
        let [module, is_protocol] = protocol(l4);
        let port = destination_port(l4, self.port.node_port);
        if self.choice.has_endpoints {
            let matches = vec![
                comment(self.port.name.clone()),
                module.clone(),
                is_protocol.clone(),
                port.clone(),
            ];
            let target = Target::Jump(self.chains.ext.clone());
            rules
                .dispatch
                .push(self.placed(&common.node_ports, matches, target));
        }
        if !self.has_external {
            let matches = vec![
                comment(self.why_none()),
                destination_is_local(),
                module,
                is_protocol,
                port,
            ];
            let target = self.refusal();
            rules
                .filter
                .push(self.placed(&common.external_services, matches, target));
        }
    }

    /// Chains of its own.
    fn write_chains(&self, rules: &mut PortRules) {
        let port = self.port;
        let chains = &mut rules.chains;
        if self.choice.has_endpoints && port.is_externally_accessible() {
            chains.push(self.external_chain());
        }
        if let Some(firewall) = &self.chains.firewall {
            chains.push(self.firewall_chain(firewall));
        }
        for (name, endpoints, is_used) in [
            (
                &self.chains.svc,
                &self.choice.cluster,
                port.uses_cluster_endpoints(),
            ),
            (
                &self.chains.svl,
                &self.choice.local,
                port.uses_local_endpoints(),
            ),
        ] {
            if !is_used || endpoints.is_empty() {
                continue;
            }
            let mut policy_rules = Vec::with_capacity(endpoints.len() * 2 + 1);
            if name == self.internal_chain()
                && let Some(masquerade) = self.masquerade_rule()
            {
                rules.masquerade = Some(chains.len());
                policy_rules.push(masquerade);
            }
            self.balance(endpoints, &mut policy_rules);
            chains.push(OwnChain {
                name: name.clone(),
                rules: policy_rules,
            });
        }
        let reachable = self.choice.reachable();
        chains.extend(
            reachable
                .iter()
                .map(|endpoint| self.endpoint_chain(endpoint)),
        );
    }

    /// Traffic to the ClusterIP that does not come from a pod of this node needs the node's address
    /// as source, or the answer might take another way. With `masqueradeAll` all of it does.
    fn masquerade_rule(&self) -> Option<Written> {
        if !self.has_internal {
            return None;
        }
        let settings = &self.proxier.settings;
        let text = format!("{} cluster IP", self.port.name);
        let mut matches = self.at(self.port.addresses.cluster_ip, text);
        if settings.masquerade_all {
            return Some(self.own(matches, self.mark_masq()));
        }
        let detector = settings.local_detector.as_ref()?;
        matches.push(detector.if_not_local());
        Some(detector.spell(self.own(matches, self.mark_masq())))
    }

    fn external_chain(&self) -> OwnChain {
        let name = &self.port.name;
        let to_svc = || Target::Jump(self.chains.svc.clone());
        let mut rules = Vec::with_capacity(4);
        if self.port.addresses.external_local {
            if let Some(detector) = &self.proxier.settings.local_detector {
                let text = format!("pod traffic for {name} external destinations");
                let matches = vec![comment(text), detector.if_local()];
                rules.push(detector.spell(self.own(matches, to_svc())));
            }
            let text = format!("masquerade LOCAL traffic for {name} external destinations");
            let matches = vec![comment(text), source_is_local()];
            rules.push(self.own(matches, self.mark_masq()));
            let text = format!("route LOCAL traffic for {name} external destinations");
            let matches = vec![comment(text), source_is_local()];
            rules.push(self.own(matches, to_svc()));
            if self.has_external {
                rules.push(self.own(Vec::new(), Target::Jump(self.chains.svl.clone())));
            }
        } else {
            let text = format!("masquerade traffic for {name} external destinations");
            rules.push(self.own(vec![comment(text)], self.mark_masq()));
            rules.push(self.own(Vec::new(), to_svc()));
        }
        OwnChain {
            name: self.chains.ext.clone(),
            rules,
        }
    }

    fn firewall_chain(&self, chain: &ChainName) -> OwnChain {
        let name = &self.port.name;
        let addresses = &self.port.addresses;
        let accept = |from: Prefix| {
            let matches = vec![comment(format!("{name} loadbalancer IP")), source(from)];
            self.own(matches, Target::Jump(self.chains.ext.clone()))
        };
        let ranges = addresses.source_ranges.iter();
        let mut rules: Vec<Written> = ranges.map(|&range| accept(range).with_lengths()).collect();
        let node_ip = self.proxier.settings.node_ip;
        if addresses
            .source_ranges
            .iter()
            .any(|range| range.contains(node_ip))
        {
            // Some balancers' addresses are bound on the nodes: a node's own packets come from them.
            rules.extend(addresses.vips.iter().map(|&ip| accept(Prefix::host(ip))));
        }
        let text = format!("other traffic to {name} will be dropped by KUBE-PROXY-FIREWALL");
        let mut last = self.own(vec![comment(text)], Target::Return);
        last.rule.target = None;
        rules.push(last);
        OwnChain {
            name: chain.clone(),
            rules,
        }
    }

    /// Rules that choose an endpoint: the one that a client had before, else each with the same
    /// probability.
    fn balance(&self, endpoints: &[NodeEndpoint<'_>], rules: &mut Vec<Written>) {
        let family = self.proxier.services.family;
        let to = |found: &NodeEndpoint<'_>, condition: Option<Match>| {
            let text = || format!("{} -> {}", self.port.name, found.endpoint.text);
            let described = (!self.proxier.services.is_large).then(|| comment(text()));
            let matches = described.into_iter().chain(condition).collect();
            let target = Target::Jump(found.endpoint.chain.clone());
            Written::from(rule(matches, target, found.origin))
        };
        if let Some(seconds) = self.port.addresses.affinity_seconds {
            rules.extend(endpoints.iter().map(|found| {
                let chain = &found.endpoint.chain;
                let seen = recent(chain, RecentOperation::Check, Some(seconds), family);
                to(found, Some(seen))
            }));
        }
        rules.extend(endpoints.iter().enumerate().map(|(i, found)| {
            let left = endpoints.len() - i;
            to(found, (left > 1).then(|| one_of(left)))
        }));
    }

    fn endpoint_chain(&self, found: &NodeEndpoint<'_>) -> OwnChain {
        let endpoint = found.endpoint;
        let proxier = self.proxier;
        let described = || (!proxier.services.is_large).then(|| comment(self.port.name.clone()));

        let mut matches = Vec::with_capacity(2);
        matches.extend(described());
        matches.push(source(Prefix::host(endpoint.address)));
        let hairpin = rule(matches, self.mark_masq(), found.origin);

        let mut matches = Vec::with_capacity(4);
        matches.extend(described());
        if self.port.addresses.affinity_seconds.is_some() {
            let family = proxier.services.family;
            matches.push(recent(&endpoint.chain, RecentOperation::Set, None, family));
        }
        matches.extend(protocol(self.port.l4));
        let to = NatRange::to(endpoint.address, Some(endpoint.port));
        let translate = rule(matches, Target::Dnat(to), found.origin);

        let spelled = |rule| {
            let written = Written::from(rule);
            if endpoint.is_canonical() {
                written
            } else {
                written.spelled(endpoint.address.to_string(), endpoint.ip_text.to_owned())
            }
        };
        OwnChain {
            name: endpoint.chain.clone(),
            rules: vec![spelled(hairpin), spelled(translate)],
        }
    }

    /// The chain for traffic to the ClusterIP.
    fn internal_chain(&self) -> &ChainName {
        if self.port.addresses.internal_local {
            &self.chains.svl
        } else {
            &self.chains.svc
        }
    }

    /// What happens to traffic that finds no endpoint: an answer if there is none at all, silence if
    /// there are some elsewhere, so that a client tries again.
    const fn refusal(&self) -> Target {
        if self.choice.has_endpoints {
            Target::Drop
        } else {
            Target::Reject(RejectWith::PortUnreachable)
        }
    }

    fn why_none(&self) -> String {
        let local = if self.choice.has_endpoints {
            "local "
        } else {
            ""
        };
        format!("{} has no {local}endpoints", self.port.name)
    }

    fn refuse_external(&self, ip: IpAddr) -> Placed {
        let chain = &self.proxier.chains.external_services;
        self.placed(chain, self.at(ip, self.why_none()), self.refusal())
    }

    fn mark_masq(&self) -> Target {
        Target::Jump(self.proxier.chains.mark_masq.clone())
    }

    fn at(&self, ip: IpAddr, text: String) -> Vec<Match> {
        address_and_port(text, self.port.l4, ip, self.port.port)
    }

    fn own(&self, matches: Vec<Match>, target: Target) -> Written {
        rule(matches, target, self.port.origin).into()
    }

    fn placed(&self, chain: &ChainName, matches: Vec<Match>, target: Target) -> Placed {
        Placed {
            chain: chain.clone(),
            written: self.own(matches, target),
        }
    }
}

impl LocalDetector {
    /// Spells its prefix, in a rule that asks for it, with the length.
    fn spell(&self, written: Written) -> Written {
        match self {
            Self::Source(prefix) if prefix.is_host() => {
                written.spelled(prefix.address().to_string(), prefix.to_string())
            }
            Self::Source(_) | Self::Interface(_) => written,
        }
    }
}
