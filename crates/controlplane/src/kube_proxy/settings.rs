//! The configuration with its defaults, as it holds for one node and family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podwire_cluster::{KubeProxyConfiguration, Node};
use podwire_packet::{Family, Mark, Prefix};

use super::ProxierError;
use super::local_detector::LocalDetector;

/// `masqueradeBit` of each mode, unless said.
const MASQUERADE_BIT: u8 = 14;

/// On which addresses of the node its node ports are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NodePortAddresses {
    /// On all.
    All,
    /// On these, sorted by text; loopback addresses left out where they cannot work.
    Some(Vec<IpAddr>),
}

/// What a mode has settings of its own for.
struct OfMode {
    /// The name of its `masqueradeBit`.
    bit_field: &'static str,
    bit: Option<u8>,
    masquerade_all: bool,
    /// Where node ports are open unless `nodePortAddresses` says.
    node_ports: Prefix,
    /// Whether they may be open on 127.0.0.0/8.
    localhost_node_ports: bool,
}

/// What a proxier works by.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The bit that says that a packet's source is to be masqueraded.
    pub(super) masquerade_mark: Mark,
    /// Whether all traffic to ClusterIPs is.
    pub(super) masquerade_all: bool,
    /// How packets of the node's pods are known.
    pub(super) local_detector: Option<LocalDetector>,
    /// Where node ports are open.
    pub(super) node_port_addresses: NodePortAddresses,
    /// Whether node ports are open on 127.0.0.0/8, by sysctl route_localnet.
    pub(super) localhost_node_ports: bool,
    /// Addresses of the node's devices but loopback.
    pub(super) own_addresses: Vec<IpAddr>,
    /// The node's address.
    pub(super) node_ip: IpAddr,
    /// Whether packets outside the TCP window are left alone.
    pub(super) conntrack_tcp_be_liberal: bool,
    /// The node's zone; `None` where topology aware routing is off.
    pub(super) zone: Option<Box<str>>,
    /// Whether topology annotations need not be there (gate ServiceTrafficDistribution).
    pub(super) ignores_topology_annotations: bool,
}

impl Settings {
    /// The settings of iptables mode, and of ipvs mode.
    pub(super) fn of(
        config: &KubeProxyConfiguration,
        node: &Node,
        family: Family,
    ) -> Result<Self, ProxierError> {
        let of_mode = OfMode {
            bit_field: "iptables.masqueradeBit",
            bit: config.iptables.masquerade_bit,
            masquerade_all: config.iptables.masquerade_all,
            node_ports: Prefix::any(family),
            localhost_node_ports: config.iptables.localhost_node_ports.unwrap_or(true),
        };
        Self::of_mode(config, node, family, of_mode)
    }

    /// The settings of nftables mode. It opens node ports on the node's own address unless told
    /// otherwise, and never on loopback addresses.
    pub(super) fn of_nftables(
        config: &KubeProxyConfiguration,
        node: &Node,
        family: Family,
    ) -> Result<Self, ProxierError> {
        let of_mode = OfMode {
            bit_field: "nftables.masqueradeBit",
            bit: config.nftables.masquerade_bit,
            masquerade_all: config.nftables.masquerade_all,
            node_ports: Prefix::host(node_ip(config, node, family)),
            localhost_node_ports: false,
        };
        Self::of_mode(config, node, family, of_mode)
    }

    /// Applies the defaults of `SetDefaults_KubeProxyConfiguration`
    /// (pkg/proxy/apis/config/v1alpha1/defaults.go) and what the node says.
    fn of_mode(
        config: &KubeProxyConfiguration,
        node: &Node,
        family: Family,
        mode: OfMode,
    ) -> Result<Self, ProxierError> {
        let bit = mode.bit.unwrap_or(MASQUERADE_BIT);
        let mark = 1u32
            .checked_shl(bit.into())
            .ok_or(ProxierError::MasqueradeBit {
                field: mode.bit_field,
                bit,
            })?;
        let ranges = prefixes(
            "nodePortAddresses",
            config.node_port_addresses.iter().map(String::as_str),
        )?;
        let mut ranges: Vec<Prefix> = ranges
            .into_iter()
            .filter(|p| p.family() == family)
            .collect();
        if ranges.is_empty() {
            ranges.push(mode.node_ports);
        }
        let localhost_node_ports =
            mode.localhost_node_ports && ranges.iter().any(holds_ipv4_loopback);
        let gate = |name: &str, default| {
            let gates = &config.feature_gates;
            gates.get(name).copied().unwrap_or(default)
        };
        Ok(Self {
            masquerade_mark: Mark(mark),
            masquerade_all: mode.masquerade_all,
            local_detector: LocalDetector::of(config, node, family)?,
            node_port_addresses: node_port_addresses(&ranges, node, family, localhost_node_ports),
            localhost_node_ports,
            own_addresses: own_addresses(node, family).collect(),
            node_ip: node_ip(config, node, family),
            conntrack_tcp_be_liberal: config.conntrack.tcp_be_liberal,
            zone: node
                .zone()
                .filter(|zone| !zone.is_empty() && gate("TopologyAwareHints", true))
                .map(Into::into),
            ignores_topology_annotations: gate("ServiceTrafficDistribution", false),
        })
    }
}

/// The node's address: the one that kube-proxy is bound to, if it is to one, else the node's first
/// (`detectNodeIPs`, cmd/kube-proxy/app/server.go).
fn node_ip(config: &KubeProxyConfiguration, node: &Node, family: Family) -> IpAddr {
    let bound = config.bind_address.parse().ok();
    bound
        .filter(|&ip: &IpAddr| !ip.is_unspecified() && Family::of(ip) == family)
        .or_else(|| node.internal_ips(family).next())
        .unwrap_or_else(|| loopback(family))
}

/// Reads the prefixes of a field.
pub(super) fn prefixes<'a>(
    field: &'static str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<Prefix>, ProxierError> {
    texts
        .map(|text| text.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|source| ProxierError::Prefix { field, source })
}

const fn loopback(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

fn holds_ipv4_loopback(range: &Prefix) -> bool {
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    range.contains(localhost) || (range.family() == Family::Ipv4 && range.address().is_loopback())
}

/// The addresses of the node's devices in `ranges` (`GetNodeIPs`, pkg/proxy/util/nodeport_addresses.go).
///
/// Where the model gives the node no devices, its InternalIPs and the loopback address are all it has:
/// addresses of bridges and overlays, which the real one would see too, are not known here.
fn node_port_addresses(
    ranges: &[Prefix],
    node: &Node,
    family: Family,
    localhost_node_ports: bool,
) -> NodePortAddresses {
    if ranges.iter().any(Prefix::is_empty) {
        return NodePortAddresses::All;
    }
    let mut addresses: Vec<IpAddr> = std::iter::once(loopback(family))
        .chain(own_addresses(node, family))
        .filter(|ip| localhost_node_ports || !ip.is_loopback())
        .filter(|&ip| ranges.iter().any(|range| range.contains(ip)))
        .collect();
    addresses.sort_by_cached_key(IpAddr::to_string);
    addresses.dedup();
    NodePortAddresses::Some(addresses)
}

/// The addresses of the node's devices but loopback.
fn own_addresses(node: &Node, family: Family) -> impl Iterator<Item = IpAddr> {
    let nics = node.nics.iter().flat_map(|nic| &nic.addresses);
    node.internal_ips(family)
        .chain(nics.map(|&(ip, _)| ip))
        .filter(move |&ip| Family::of(ip) == family)
}
