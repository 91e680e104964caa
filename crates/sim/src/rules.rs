//! The rules of each node, from the components that write them.

use std::net::IpAddr;
use std::sync::Arc;

use podwire_cluster::{Cluster, KubeProxyConfiguration, ProxyMode};
use podwire_controlplane::cni::{NodeNetwork, PodNetwork};
use podwire_controlplane::kube_proxy::{
    IptablesProxier, IpvsProxier, KubeProxyVersion, NftablesProxier, ProxierError, ServicePorts,
    SideEffects, check_mode,
};
use podwire_interp::{Interp, NftInterp};
use podwire_packet::Family;
use podwire_ruleset::ipvs::VirtualServers;
use podwire_ruleset::{LinkError, RuleSet, Sets, nft};

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
    /// What kube-proxy programs besides rules in IPVS mode; empty in others.
    pub ipvs: IpvsNode,
    /// Whether kube-proxy lets loopback addresses out (sysctl `net.ipv4.conf.all.route_localnet`).
    pub route_localnet: bool,
}

/// What IPVS mode has on a node besides rules.
#[derive(Clone, Debug, Default)]
pub struct IpvsNode {
    /// Virtual servers of both families.
    pub virtual_servers: Arc<VirtualServers>,
    /// Addresses of the device `kube-ipvs0`.
    pub addresses: Vec<IpAddr>,
    /// ipsets that IPv4 rules ask.
    pub ipv4_sets: Arc<Sets>,
    /// ipsets that IPv6 rules ask.
    pub ipv6_sets: Arc<Sets>,
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
const MODES: &[ProxyMode] = &[ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs];

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
        let of_families = |of: &dyn Fn(Family) -> Result<Arc<Interp>, RulesError>| {
            Ok(NodeRules {
                ipv4: of(Family::Ipv4)?,
                ipv6: of(Family::Ipv6)?,
                ipvs: IpvsNode::default(),
                route_localnet: false,
            })
        };
        match self.mode {
            ProxyMode::Nftables => of_families(&|family| self.nftables(network, node, family)),
            ProxyMode::Ipvs => self.ipvs(network, node),
            ProxyMode::Iptables | ProxyMode::Userspace | ProxyMode::Kernelspace => {
                let sysctls = SideEffects::new(self.cluster, &self.ipv4, &node.name)?.sysctls;
                let route_localnet = sysctls
                    .iter()
                    .any(|s| s.name == "net/ipv4/conf/all/route_localnet" && s.value == 1);
                let rules = of_families(&|family| self.iptables(network, node, family))?;
                Ok(NodeRules {
                    route_localnet,
                    ..rules
                })
            }
        }
    }

    /// kube-proxy's virtual servers, sets and rules in IPVS mode, and the pod network's rules.
    fn ipvs(&self, network: &PodNetwork, node: &NodeNetwork) -> Result<NodeRules, RulesError> {
        let program = |family| -> Result<_, RulesError> {
            let proxier = IpvsProxier::new(self.cluster, self.services(family), &node.name)?;
            Ok(proxier.program())
        };
        let (ipv4, ipv6) = (program(Family::Ipv4)?, program(Family::Ipv6)?);
        let mut virtual_servers = ipv4.virtual_servers().clone();
        virtual_servers.extend(ipv6.virtual_servers().clone());
        Ok(NodeRules {
            ipv4: interp(network, node, ipv4.rule_set())?,
            ipv6: interp(network, node, ipv6.rule_set())?,
            ipvs: IpvsNode {
                virtual_servers: virtual_servers.into(),
                addresses: [ipv4.addresses(), ipv6.addresses()].concat(),
                ipv4_sets: ipv4.sets().into(),
                ipv6_sets: ipv6.sets().into(),
            },
            route_localnet: false,
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
        interp(network, node, proxier.rule_set())
    }

    /// kube-proxy's table in nftables mode, and the pod network's rules.
    fn nftables(
        &self,
        network: &PodNetwork,
        node: &NodeNetwork,
        family: Family,
    ) -> Result<Arc<Interp>, RulesError> {
        let proxier = NftablesProxier::new(self.cluster, self.services(family), &node.name)?;
        nft_interp(network, node, family, proxier.table())
    }
}

/// The evaluator of kube-proxy's rules on a node, those of the pod network added.
pub(crate) fn interp(
    network: &PodNetwork,
    node: &NodeNetwork,
    mut rules: RuleSet,
) -> Result<Arc<Interp>, RulesError> {
    network.add_rules(node, &mut rules);
    Ok(Arc::new(Interp::new(rules)?))
}

/// The evaluator of kube-proxy's table in nftables mode; the pod network's rules stay iptables.
pub(crate) fn nft_interp(
    network: &PodNetwork,
    node: &NodeNetwork,
    family: Family,
    table: nft::Table,
) -> Result<Arc<Interp>, RulesError> {
    let mut rules = RuleSet::empty(family);
    network.add_rules(node, &mut rules);
    let mut tables = nft::RuleSet::default();
    tables
        .tables
        .insert((table.family, table.name.clone()), table);
    let nft = NftInterp::new(tables, family)?;
    Ok(Arc::new(Interp::new(rules)?.with_nft(nft)))
}
