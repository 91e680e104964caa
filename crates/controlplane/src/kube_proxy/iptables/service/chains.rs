//! Chains of a service port's own: policies, firewall, endpoints.

use podwire_packet::Prefix;
use podwire_ruleset::{ChainName, Match, NatRange, RecentOperation, Rule, Target};

use super::{PortRules, PortWriter};
use crate::kube_proxy::endpoints::NodeEndpoint;
use crate::kube_proxy::iptables::shared::{OfNodes, PolicyChains, PolicyKey, Sharing};
use crate::kube_proxy::local_detector::LocalDetector;
use crate::kube_proxy::spelling::Spelling;
use crate::kube_proxy::tables::OwnChain;
use crate::kube_proxy::words::{comment, one_of, protocol, recent, rule, source, source_is_local};

impl PortWriter<'_> {
    /// Chains of its own.
    pub(super) fn write_chains(&self, rules: &mut PortRules) {
        let policies = match self.common_policies() {
            Some((of_nodes, key)) => of_nodes.get(key, || self.policy_chains()),
            None => self.policy_chains(),
        };
        rules.masquerade = policies.masquerade;
        rules.chains = policies.chains;
        let reachable = self.on_node.choice.reachable();
        rules.chains.extend(reachable.iter().map(|found| {
            let of_nodes = found.common().filter(|_| self.sharing == Sharing::Nodes);
            match of_nodes {
                Some(of_nodes) => of_nodes.get((), || self.endpoint_chain(found)),
                None => self.endpoint_chain(found),
            }
        }));
    }

    /// Where the chains of policies are kept that all nodes have alike, and the settings that they depend
    /// on; none if they depend on the node.
    fn common_policies(&self) -> Option<(&OfNodes<PolicyKey, PolicyChains>, PolicyKey)> {
        let is_common = self.sharing == Sharing::Nodes && self.port.is_alike_on_all_nodes();
        let settings = &self.proxier.settings;
        is_common.then(|| {
            let key = (settings.masquerade_all, settings.local_detector.clone());
            (&self.port.policy_chains, key)
        })
    }

    fn policy_chains(&self) -> PolicyChains {
        let mut policies = PolicyChains::default();
        let chains = &mut policies.chains;
        if self.on_node.uses_external_chain() {
            chains.push(self.external_chain());
        }
        if let Some(firewall) = &self.chains.firewall {
            chains.push(self.firewall_chain(firewall));
        }
        for (name, endpoints) in [
            (&self.chains.svc, self.on_node.cluster_endpoints()),
            (&self.chains.svl, self.on_node.local_endpoints()),
        ] {
            let Some(endpoints) = endpoints else {
                continue;
            };
            let mut policy_rules = Vec::with_capacity(endpoints.len() * 2 + 1);
            if name == self.internal_chain()
                && let Some(masquerade) = self.masquerade_rule()
            {
                policies.masquerade = Some(chains.len());
                policy_rules.push(masquerade);
            }
            self.balance(endpoints, &mut policy_rules);
            chains.push(self.own_chain(name, policy_rules));
        }
        policies
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
        let to = |found: &NodeEndpoint<'_>, condition: Option<Match>| {
            let text = || format!("{} -> {}", self.port.name, found.endpoint.text);
            let described = (!self.proxier.services.is_large).then(|| comment(text()));
            let matches = described.into_iter().chain(condition).collect();
            let target = Target::Jump(self.port.endpoint_chain(found.endpoint).clone());
            rule(matches, target, found.origin)
        };
        if let Some(seconds) = self.port.addresses.affinity_seconds {
            rules.extend(endpoints.iter().map(|found| {
                let chain = self.port.endpoint_chain(found.endpoint);
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
        let name = self.port.endpoint_chain(endpoint);
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
            matches.push(recent(name, RecentOperation::Set, None, family));
        }
        matches.extend(protocol(self.port.l4));
        let to = NatRange::to(endpoint.address, Some(endpoint.port));
        let translate = rule(matches, Target::Dnat(to), found.origin);

        OwnChain {
            spelling: Spelling::of_endpoint(endpoint).map(Box::new),
            ..OwnChain::user(name.clone(), vec![hairpin, translate])
        }
    }

    fn own_chain(&self, name: &ChainName, rules: Vec<Rule>) -> OwnChain {
        let detector = self.proxier.settings.local_detector.as_ref();
        OwnChain {
            spelling: detector.and_then(LocalDetector::spelling),
            ..OwnChain::user(name.clone(), rules)
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
