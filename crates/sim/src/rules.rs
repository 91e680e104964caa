//! The rules of each node, from the components that write them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use podwire_cluster::{Cluster, KubeProxyConfiguration, ProxyMode};
use podwire_controlplane::cni::{NodeNetwork, PodNetwork};
use podwire_controlplane::kube_proxy::{
    IptablesProxier, IpvsProgram, IpvsProxier, KubeProxyVersion, NftablesProxier, ProxierError,
    ProxySocket, ServicePorts, SideEffects, UserspaceHistory, UserspaceProxier, check_mode,
};
use podwire_interp::{Interp, NftInterp};
use podwire_packet::{Family, FiveTuple, Protocol};
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
    /// kube-proxy's sockets for service ports in userspace mode; none in others.
    pub proxy_sockets: Arc<ProxySockets>,
    /// Whether kube-proxy lets loopback addresses out (sysctl `net.ipv4.conf.all.route_localnet`).
    pub route_localnet: bool,
    /// What the real tools refuse of what kube-proxy hands them, and is therefore not there.
    pub refused: Vec<Refusal>,
}

/// Something that a real tool refuses of what kube-proxy hands it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// nft refuses the rule, and with it the whole transaction: the node has no table of that family.
    NftTable {
        /// The family of the table.
        family: Family,
        /// The rule.
        rule: String,
    },
    /// ipset refuses the entry; all else is there.
    IpsetEntry {
        /// The set.
        set: String,
        /// The entry.
        entry: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NftTable { family, rule } => write!(
                f,
                "nft refuses kube-proxy's rule `{rule}`, and so its whole {family} table: nothing of it is loaded"
            ),
            Self::IpsetEntry { set, entry } => {
                write!(
                    f,
                    "ipset refuses the entry `{entry}` of {set}: the set lacks it"
                )
            }
        }
    }
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

/// kube-proxy's sockets on a node in userspace mode, by protocol and port.
#[derive(Clone, Debug, Default)]
pub struct ProxySockets(BTreeMap<(Protocol, u16), ProxySocket>);

impl ProxySockets {
    /// The socket that a packet is for.
    #[must_use]
    pub fn of(&self, flow: FiveTuple) -> Option<&ProxySocket> {
        let socket = self.0.get(&(flow.protocol, flow.dport))?;
        socket
            .address
            .is_none_or(|address| address == flow.dst)
            .then_some(socket)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ProxySocket> {
        self.0.values()
    }
}

impl FromIterator<ProxySocket> for ProxySockets {
    fn from_iter<I: IntoIterator<Item = ProxySocket>>(sockets: I) -> Self {
        let keyed = |socket: ProxySocket| ((socket.protocol, socket.port), socket);
        Self(sockets.into_iter().map(keyed).collect())
    }
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
const MODES: &[ProxyMode] = &[
    ProxyMode::Iptables,
    ProxyMode::Nftables,
    ProxyMode::Ipvs,
    ProxyMode::Userspace,
];

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
        match self.mode {
            ProxyMode::Nftables => self.nftables(network, node),
            ProxyMode::Ipvs => self.ipvs(network, node),
            ProxyMode::Userspace => self.userspace(network, node),
            ProxyMode::Iptables | ProxyMode::Kernelspace => {
                let sysctls = SideEffects::new(self.cluster, &self.ipv4, &node.name)?.sysctls;
                let route_localnet = sysctls
                    .iter()
                    .any(|s| s.name == "net/ipv4/conf/all/route_localnet" && s.value == 1);
                Ok(NodeRules {
                    ipv4: self.iptables(network, node, Family::Ipv4)?,
                    ipv6: self.iptables(network, node, Family::Ipv6)?,
                    ipvs: IpvsNode::default(),
                    proxy_sockets: Arc::default(),
                    route_localnet,
                    refused: Vec::new(),
                })
            }
        }
    }

    /// kube-proxy's virtual servers, sets and rules in IPVS mode, and the pod network's rules.
    fn ipvs(&self, network: &PodNetwork, node: &NodeNetwork) -> Result<NodeRules, RulesError> {
        let program = |family| -> Result<_, RulesError> {
            let proxier = IpvsProxier::new(self.cluster, self.services(family), &node.name)?;
            Ok(proxier.with_addresses(&bridge_addresses(node)).program())
        };
        ipvs_rules(
            network,
            node,
            [&program(Family::Ipv4)?, &program(Family::Ipv6)?],
        )
    }

    /// kube-proxy's portals and sockets in userspace mode, and the pod network's rules. kube-proxy
    /// leaves the other family alone.
    fn userspace(&self, network: &PodNetwork, node: &NodeNetwork) -> Result<NodeRules, RulesError> {
        let family = UserspaceProxier::family_of(self.cluster, &node.name)?;
        let proxier = UserspaceProxier::new(self.cluster, self.services(family), &node.name)?;
        let history = UserspaceHistory::first(proxier);
        userspace_rules(network, node, &history)
    }

    /// kube-proxy's rules in iptables mode, and the pod network's.
    fn iptables(
        &self,
        network: &PodNetwork,
        node: &NodeNetwork,
        family: Family,
    ) -> Result<Arc<Interp>, RulesError> {
        let proxier = IptablesProxier::new(self.cluster, self.services(family), &node.name)?;
        let proxier = proxier.with_addresses(&bridge_addresses(node));
        interp(network, node, proxier.rule_set())
    }

    /// kube-proxy's tables in nftables mode, unless nft refuses them, and the pod network's rules.
    fn nftables(&self, network: &PodNetwork, node: &NodeNetwork) -> Result<NodeRules, RulesError> {
        let of = |family| -> Result<_, RulesError> {
            let proxier = NftablesProxier::new(self.cluster, self.services(family), &node.name)?;
            let proxier = proxier.with_addresses(&bridge_addresses(node));
            nft_interp(network, node, family, proxier.table())
        };
        let ((ipv4, refused_ipv4), (ipv6, refused_ipv6)) = (of(Family::Ipv4)?, of(Family::Ipv6)?);
        Ok(NodeRules {
            ipv4,
            ipv6,
            ipvs: IpvsNode::default(),
            proxy_sockets: Arc::default(),
            route_localnet: false,
            refused: [refused_ipv4, refused_ipv6].into_iter().flatten().collect(),
        })
    }
}

/// Addresses of the node's bridge, which no Node lists.
pub(crate) fn bridge_addresses(node: &NodeNetwork) -> Vec<IpAddr> {
    let families = [Family::Ipv4, Family::Ipv6].into_iter();
    families
        .filter_map(|family| node.pod_gateway(family))
        .collect()
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

/// kube-proxy's virtual servers, sets and rules in IPVS mode, of IPv4 and IPv6.
pub(crate) fn ipvs_rules(
    network: &PodNetwork,
    node: &NodeNetwork,
    programs: [&IpvsProgram; 2],
) -> Result<NodeRules, RulesError> {
    let [ipv4, ipv6] = programs;
    let refused = programs.into_iter().flat_map(IpvsProgram::refused_entries);
    let refused = refused.map(|(set, entry)| Refusal::IpsetEntry {
        set,
        entry: entry.to_owned(),
    });
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
        proxy_sockets: Arc::default(),
        route_localnet: false,
        refused: refused.collect(),
    })
}

/// kube-proxy's portals and sockets in userspace mode; its rules are of one family.
pub(crate) fn userspace_rules(
    network: &PodNetwork,
    node: &NodeNetwork,
    history: &UserspaceHistory<'_>,
) -> Result<NodeRules, RulesError> {
    let rules = |family| {
        let rules = if family == history.family() {
            history.rule_set()
        } else {
            RuleSet::empty(family)
        };
        interp(network, node, rules)
    };
    Ok(NodeRules {
        ipv4: rules(Family::Ipv4)?,
        ipv6: rules(Family::Ipv6)?,
        ipvs: IpvsNode::default(),
        proxy_sockets: Arc::new(history.sockets().collect()),
        route_localnet: false,
        refused: Vec::new(),
    })
}

/// The evaluator of kube-proxy's table in nftables mode; the pod network's rules stay iptables. Without
/// the table where nft refuses it.
pub(crate) fn nft_interp(
    network: &PodNetwork,
    node: &NodeNetwork,
    family: Family,
    table: nft::Table,
) -> Result<(Arc<Interp>, Option<Refusal>), RulesError> {
    let refused = table.refused_rule().map(|rule| Refusal::NftTable {
        family,
        rule: nft::rule_text(rule, nft::Wording::KubeProxy),
    });
    let mut rules = RuleSet::empty(family);
    network.add_rules(node, &mut rules);
    let mut tables = nft::RuleSet::default();
    if refused.is_none() {
        let name = (table.family, table.name.clone());
        tables.tables.insert(name, table);
    }
    let nft = NftInterp::new(tables, family)?;
    Ok((Arc::new(Interp::new(rules)?.with_nft(nft)), refused))
}
