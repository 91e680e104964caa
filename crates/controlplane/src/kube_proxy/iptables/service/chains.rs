//! Chains of a service port's own: policies, firewall, endpoints.

use std::mem::take;

use podwire_packet::Prefix;
use podwire_ruleset::{ChainName, Match, NatRange, RecentOperation, Rule, Target};

use super::{PortRules, PortWriter};
use crate::kube_proxy::endpoints::NodeEndpoint;
use crate::kube_proxy::iptables::sync_text::SyncText;
use crate::kube_proxy::local_detector::LocalDetector;
use crate::kube_proxy::spelling::Spelling;
use crate::kube_proxy::tables::{OwnChain, chain_line, print_rule};
use crate::kube_proxy::words::{comment, one_of, protocol, recent, rule, source, source_is_local};

impl PortWriter<'_> {
    /// Chains of its own that lead to endpoints, without the rules that choose one.
    pub(super) fn write_chains(&self, rules: &mut PortRules) {
        let chains = &mut rules.chains;
        if self.on_node.uses_external_chain() {
            chains.push(self.external_chain());
        }
        if let Some(firewall) = &self.chains.firewall {
            chains.push(self.firewall_chain(firewall));
        }
        for (name, endpoints) in self.policies() {
            let mut policy_rules = Vec::with_capacity(endpoints.len() * 2 + 1);
            if name == self.internal_chain()
                && let Some(masquerade) = self.masquerade_rule()
            {
                rules.masquerade = Some(chains.len());
                policy_rules.push(masquerade);
            }
            chains.push(self.own_chain(name, policy_rules));
        }
    }

    /// What the chains of policies end with: rules that choose an endpoint.
    pub(super) fn write_ladders(&self, rules: &mut PortRules) {
        for (name, endpoints) in self.policies() {
            let mut chains = rules.chains.iter_mut();
            let chain = chains.find(|chain| chain.name == *name);
            let chain = chain.expect("chains of policies are made first");
            self.balance(endpoints, &mut chain.rules);
        }
    }

    /// The chains that choose an endpoint, and among which.
    pub(super) fn policies(&self) -> impl Iterator<Item = (&ChainName, &[NodeEndpoint<'_>])> {
        let all = [
            (&self.chains.svc, self.on_node.cluster_endpoints()),
            (&self.chains.svl, self.on_node.local_endpoints()),
        ];
        let used = all.into_iter();
        used.filter_map(|(name, endpoints)| Some((name, endpoints?)))
    }

    /// Chains of endpoints, which come last.
    pub(super) fn write_endpoints(&self, rules: &mut PortRules) {
        let reachable = self.on_node.choice.reachable().iter();
        rules
            .chains
            .extend(reachable.map(|endpoint| self.endpoint_chain(endpoint)));
    }

    /// Traffic to the ClusterIP that does not come from a pod of this node needs the node's address
    /// as source, or the answer might take another way. With `masqueradeAll` all of it does.
    fn masquerade_rule(&self) -> Option<Rule> {
        if !self.on_node.has_internal {
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
        Some(self.own(matches, self.mark_masq()))
    }

    fn external_chain(&self) -> OwnChain {
        let name = &self.port.name;
        let to_svc = || Target::Jump(self.chains.svc.clone());
        let mut rules = Vec::with_capacity(4);
        if self.port.addresses.external_local {
            if let Some(detector) = &self.proxier.settings.local_detector {
                let text = format!("pod traffic for {name} external destinations");
                let matches = vec![comment(text), detector.if_local()];
                rules.push(self.own(matches, to_svc()));
            }
            let text = format!("masquerade LOCAL traffic for {name} external destinations");
            let matches = vec![comment(text), source_is_local()];
            rules.push(self.own(matches, self.mark_masq()));
            let text = format!("route LOCAL traffic for {name} external destinations");
            let matches = vec![comment(text), source_is_local()];
            rules.push(self.own(matches, to_svc()));
            if self.on_node.has_external {
                rules.push(self.own(Vec::new(), Target::Jump(self.chains.svl.clone())));
            }
        } else {
            let text = format!("masquerade traffic for {name} external destinations");
            rules.push(self.own(vec![comment(text)], self.mark_masq()));
            rules.push(self.own(Vec::new(), to_svc()));
        }
        self.own_chain(&self.chains.ext, rules)
    }

    fn firewall_chain(&self, chain: &ChainName) -> OwnChain {
        let name = &self.port.name;
        let addresses = &self.port.addresses;
        let accept = |from: Prefix| {
            let matches = vec![comment(format!("{name} loadbalancer IP")), source(from)];
            self.own(matches, Target::Jump(self.chains.ext.clone()))
        };
        let ranges = addresses.source_ranges.iter();
        let mut rules: Vec<Rule> = ranges.map(|&range| accept(range)).collect();
        for rule in &mut rules {
            rule.host_lengths = true;
        }
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
        last.target = None;
        rules.push(last);
        self.own_chain(chain, rules)
    }

    /// Rules that choose an endpoint: the one that a client had before, else each with the same
    /// probability.
    fn balance(&self, endpoints: &[NodeEndpoint<'_>], rules: &mut Vec<Rule>) {
        let family = self.proxier.services.family;
        if let Some(seconds) = self.port.addresses.affinity_seconds {
            rules.extend(endpoints.iter().map(|found| {
                let chain = self.port.endpoint_chain(found.endpoint);
                let seen = recent(chain, RecentOperation::Check, Some(seconds), family);
                self.to_endpoint(found, Some(seen))
            }));
        }
        let rungs = (1..=endpoints.len()).rev().zip(endpoints);
        rules.extend(rungs.map(|(left, found)| self.rung(found, left)));
    }

    /// Leads to an endpoint with the probability of one among so many.
    pub(super) fn rung(&self, found: &NodeEndpoint<'_>, left: usize) -> Rule {
        self.to_endpoint(found, (left > 1).then(|| one_of(left)))
    }

    fn to_endpoint(&self, found: &NodeEndpoint<'_>, condition: Option<Match>) -> Rule {
        let text = || format!("{} -> {}", self.port.name, found.endpoint.text);
        let described = (!self.proxier.services.is_large_cluster()).then(|| comment(text()));
        let matches = described.into_iter().chain(condition).collect();
        let target = Target::Jump(self.port.endpoint_chain(found.endpoint).clone());
        rule(matches, target, found.origin)
    }

    fn endpoint_chain(&self, found: &NodeEndpoint<'_>) -> OwnChain {
        let mut rules = Vec::with_capacity(2);
        self.write_endpoint(found, &mut Rule::default(), |rule| rules.push(take(rule)));
        OwnChain {
            name: self.port.endpoint_chain(found.endpoint).clone(),
            rules,
            spelling: Spelling::of_endpoint(found.endpoint).map(Box::new),
        }
    }

    /// Adds the text of endpoints' chains. There may be many, so that one rule serves for all.
    pub(super) fn print_endpoints(&self, text: &mut SyncText) {
        let mut rule = Rule::default();
        for found in self.on_node.choice.reachable() {
            chain_line(self.port.endpoint_chain(found.endpoint), &mut text.chains);
            self.print_endpoint(found, &mut rule, &mut text.rules);
        }
    }

    /// Adds the text of the rules of an endpoint's chain, which are made of `rule`.
    pub(super) fn print_endpoint(
        &self,
        found: &NodeEndpoint<'_>,
        rule: &mut Rule,
        text: &mut String,
    ) {
        let family = self.proxier.services.family;
        let chain = self.port.endpoint_chain(found.endpoint);
        let spelling = Spelling::of_endpoint(found.endpoint);
        self.write_endpoint(found, rule, |rule| {
            print_rule(chain, rule, spelling.as_ref(), family, text);
            rule.matches.clear();
        });
    }

    /// Makes the rules of an endpoint's chain, one after the other, of `rule`, whose matches `end` takes.
    pub(super) fn write_endpoint(
        &self,
        found: &NodeEndpoint<'_>,
        rule: &mut Rule,
        mut end: impl FnMut(&mut Rule),
    ) {
        let endpoint = found.endpoint;
        let services = &self.proxier.services;
        let described = || (!services.is_large_cluster()).then(|| comment(self.port.name.clone()));

        rule.origin = Some(found.origin);
        rule.matches.extend(described());
        rule.matches.push(source(Prefix::host(endpoint.address)));
        rule.target = Some(self.mark_masq());
        end(rule);

        rule.origin = Some(found.origin);
        rule.matches.extend(described());
        if self.port.addresses.affinity_seconds.is_some() {
            let chain = self.port.endpoint_chain(endpoint);
            let seen = recent(chain, RecentOperation::Set, None, services.family);
            rule.matches.push(seen);
        }
        rule.matches.extend(protocol(self.port.l4));
        let to = NatRange::to(endpoint.address, Some(endpoint.port));
        rule.target = Some(Target::Dnat(to));
        end(rule);
    }

    fn own_chain(&self, name: &ChainName, rules: Vec<Rule>) -> OwnChain {
        let detector = self.proxier.settings.local_detector.as_ref();
        OwnChain {
            name: name.clone(),
            rules,
            spelling: detector.and_then(LocalDetector::spelling),
        }
    }
}

impl LocalDetector {
    /// How its prefix is spelled in rules that ask for it: with the length, if it is one address too.
    fn spelling(&self) -> Option<Box<Spelling>> {
        match self {
            Self::Source(prefix) if prefix.is_host() => Some(Box::new(Spelling {
                printed: format!(" -s {} -j", prefix.address()),
                written: format!(" -s {prefix} -j"),
            })),
            Self::Source(_) | Self::Interface(_) => None,
        }
    }
}
