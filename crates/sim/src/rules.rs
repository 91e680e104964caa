//! The rules of each node, from the components that write them.

use std::sync::Arc;

use podwire_cluster::{Cluster, KubeProxyConfiguration, ProxyMode};
use podwire_controlplane::cni::{NodeNetwork, PodNetwork};
use podwire_controlplane::kube_proxy::{
    IptablesProxier, KubeProxyVersion, NftablesProxier, ProxierError, ServicePorts, SideEffects,
    check_mode,
};
use podwire_interp::{Interp, NftInterp};
use podwire_packet::Family;
use podwire_ruleset::{LinkError, RuleSet, nft};

/// Why a node's rules could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// kube-proxy would not run so.
    #[error(transparent)]
    Proxier(#[from] ProxierError),
    /// The rules contradict themselves.
    #[error("kube-proxy's rules: {0}")]
    Link(#[from] LinkError),
    /// The rules of nftables contradict themselves.
    #[error("kube-proxy's rules: {0}")]
    LinkNft(#[from] nft::LinkError),
}

/// The rules of one node.
#[derive(Clone, Debug)]
pub struct NodeRules {
    /// IPv4.
    pub ipv4: Arc<Interp>,
    /// IPv6.
    pub ipv6: Arc<Interp>,
    /// Whether kube-proxy lets loopback addresses out (sysctl `net.ipv4.conf.all.route_localnet`).
    pub route_localnet: bool,
}

impl NodeRules {
    /// The rules of a family.
    #[must_use]
    pub const fn of(&self, family: Family) -> &Arc<Interp> {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }
}

/// Modes of kube-proxy whose rules packets can walk.
const MODES: &[ProxyMode] = &[ProxyMode::Iptables, ProxyMode::Nftables];

/// Makes the rules of any node; what all nodes share is made once.
#[derive(Clone, Debug)]
pub(crate) struct Program<'c> {
    cluster: &'c Cluster,
    mode: ProxyMode,
    ipv4: ServicePorts<'c>,
    ipv6: ServicePorts<'c>,
}

impl<'c> Program<'c> {
    pub(crate) fn new(cluster: &'c Cluster, version: KubeProxyVersion) -> Result<Self, RulesError> {
        let mode = cluster
            .kube_proxy
            .as_ref()
            .map_or(ProxyMode::Iptables, KubeProxyConfiguration::proxy_mode);
        check_mode(mode, MODES)?;
        Ok(Self {
            cluster,
            mode,
            ipv4: ServicePorts::new(cluster, Family::Ipv4, version),
            ipv6: ServicePorts::new(cluster, Family::Ipv6, version),
        })
    }

    pub(crate) const fn services(&self, family: Family) -> &ServicePorts<'c> {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }

    pub(crate) fn node(
        &self,
        network: &PodNetwork,
        node: &NodeNetwork,
    ) -> Result<NodeRules, RulesError> {
        if self.mode == ProxyMode::Nftables {
            return Ok(NodeRules {
                route_localnet: false,
                ipv4: self.nftables(network, node, Family::Ipv4)?,
                ipv6: self.nftables(network, node, Family::Ipv6)?,
            });
        }
        let sysctls = SideEffects::new(self.cluster, &self.ipv4, &node.name)?.sysctls;
        let route_localnet = sysctls
            .iter()
            .any(|s| s.name == "net/ipv4/conf/all/route_localnet" && s.value == 1);
        Ok(NodeRules {
            route_localnet,
            ipv4: self.iptables(network, node, Family::Ipv4)?,
            ipv6: self.iptables(network, node, Family::Ipv6)?,
        })
    }

    /// kube-proxy's rules in iptables mode, and the pod network's.
    fn iptables(
        &self,
        network: &PodNetwork,
        node: &NodeNetwork,
        family: Family,
    ) -> Result<Arc<Interp>, RulesError> {
        let proxier = IptablesProxier::new(self.cluster, self.services(family), &node.name)?;
        let mut rules = proxier.rule_set();
        network.add_rules(node, &mut rules);
        Ok(Arc::new(Interp::new(rules)?))
    }

    /// kube-proxy's table in nftables mode; the pod network's rules stay iptables.
    fn nftables(
        &self,
        network: &PodNetwork,
        node: &NodeNetwork,
        family: Family,
    ) -> Result<Arc<Interp>, RulesError> {
        let proxier = NftablesProxier::new(self.cluster, self.services(family), &node.name)?;
        let table = proxier.table();
        let mut rules = RuleSet::empty(family);
        network.add_rules(node, &mut rules);
        let mut tables = nft::RuleSet::default();
        tables
            .tables
            .insert((table.family, table.name.clone()), table);
        let nft = NftInterp::new(tables, family)?;
        Ok(Arc::new(Interp::new(rules)?.with_nft(nft)))
    }
}
