//! Rules of one service port.

mod chains;
mod dispatch;
mod plain;

use std::net::IpAddr;

pub(super) use plain::EndpointLines;

use podwire_ruleset::{ChainName, Match, RejectWith, Rule, Target};

use super::IptablesProxier;
use super::sync_text::SyncText;
use crate::kube_proxy::port_on_node::PortOnNode;
use crate::kube_proxy::service_ports::ProxiedPort;
use crate::kube_proxy::tables::{OwnChain, Placed};
use crate::kube_proxy::words::{address_and_port, rule};

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
    /// Rules of its own chains in the order of writing, each with its chain.
    pub(super) fn own_rules(&self) -> impl Iterator<Item = (&OwnChain, &Rule)> {
        let first = self.masquerade.and_then(|place| self.chains.get(place));
        let masquerade = first.and_then(|chain| Some((chain, chain.rules.first()?)));
        let others = self.chains.iter().enumerate().flat_map(|(place, chain)| {
            let skipped = usize::from(Some(place) == self.masquerade);
            chain
                .rules
                .iter()
                .skip(skipped)
                .map(move |rule| (chain, rule))
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
    on_node: PortOnNode<'w>,
    chains: PortChains,
}

impl<'w> IptablesProxier<'w> {
    /// Builds the rules of a service port: the body of the loop in `syncProxyRules`
    /// (pkg/proxy/iptables/proxier.go).
    pub(super) fn port_rules(&self, port: &ProxiedPort<'_>) -> PortRules {
        let mut rules = PortRules::default();
        let writer = self.port_writer(port);
        writer.write_addresses(&mut rules);
        writer.write_chains(&mut rules);
        writer.write_ladders(&mut rules);
        writer.write_endpoints(&mut rules);
        rules
    }

    /// Adds the text of a service port. Rules that lead to endpoints and those of endpoints, which are most,
    /// are printed without being made where they can be.
    pub(super) fn print_port(
        &self,
        port: &ProxiedPort<'_>,
        lines: &mut EndpointLines,
        text: &mut SyncText,
    ) {
        let mut rules = PortRules::default();
        let writer = self.port_writer(port);
        writer.write_addresses(&mut rules);
        writer.write_chains(&mut rules);
        let is_plain = writer.is_plain();
        if !is_plain {
            writer.write_ladders(&mut rules);
        }
        text.add_common(&rules, self.family());
        text.add_own(&rules, self.family());
        if is_plain {
            writer.print_plain(lines, text);
        } else {
            writer.print_endpoints(text);
        }
    }

    /// The rules of a service port without chains of its own.
    pub(super) fn common_rules(&self, port: &ProxiedPort<'_>) -> PortRules {
        let mut rules = PortRules::default();
        self.port_writer(port).write_addresses(&mut rules);
        rules
    }

    fn port_writer<'p>(&'p self, port: &'p ProxiedPort<'p>) -> PortWriter<'p> {
        let on_node = PortOnNode::new(port, self.node, &self.settings);
        let addresses = &port.addresses;
        let uses_firewall = on_node.choice.has_endpoints
            && !addresses.vips.is_empty()
            && !addresses.source_ranges.is_empty();
        PortWriter {
            proxier: self,
            port,
            on_node,
            chains: PortChains {
                svc: port.hash.chain("KUBE-SVC-"),
                svl: port.hash.chain("KUBE-SVL-"),
                ext: port.hash.chain("KUBE-EXT-"),
                firewall: uses_firewall.then(|| port.hash.chain("KUBE-FW-")),
            },
        }
    }
}

impl PortWriter<'_> {
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
        if self.on_node.choice.has_endpoints {
            Target::Drop
        } else {
            Target::Reject(RejectWith::PortUnreachable)
        }
    }

    fn why_none(&self) -> String {
        let local = if self.on_node.choice.has_endpoints {
            "local "
        } else {
            ""
        };
        format!("{} has no {local}endpoints", self.port.name)
    }

    fn mark_masq(&self) -> Target {
        Target::Jump(self.proxier.chains.mark_masq.clone())
    }

    fn at(&self, ip: IpAddr, text: String) -> Vec<Match> {
        address_and_port(text, self.port.l4, ip, self.port.port)
    }

    fn own(&self, matches: Vec<Match>, target: Target) -> Rule {
        rule(matches, target, self.port.origin)
    }

    fn placed(&self, chain: &ChainName, matches: Vec<Match>, target: Target) -> Placed {
        Placed {
            chain: chain.clone(),
            rule: self.own(matches, target),
        }
    }
}
