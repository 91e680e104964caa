//! Clusters of many nodes: what the matchers of all of them take, and packets for any of them.

use std::net::{IpAddr, Ipv4Addr};

use podwire_cluster::{
    Cluster, DetectLocalMode, KubeProxyConfiguration, NodeAddress, NodeAddressKind, ServiceType,
    TrafficPolicy, synthetic,
};
use podwire_controlplane::kube_proxy::{IptablesProxier, ServicePorts};
use podwire_packet::{DeviceName, Headers, Mark, Prefix, Protocol, SimTime};
use podwire_ruleset::{ConntrackInfo, CtState, Draw, Hook, HostAddresses, Packet, RuleSet};

/// Endpoints of each Service.
pub const ENDPOINTS: u32 = 3;
/// One of so many Services of [`Kind::Own`] has a node port that its own endpoints answer.
pub const LOCAL: u32 = 10;

/// How much the rules of nodes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In nothing: ClusterIPs, and pods known by the range of the cluster.
    Alike,
    /// Pods are known by the range of the node (`detectLocalMode: NodeCIDR`), node ports are open on the
    /// node's address only (`nodePortAddresses`), and one of ten Services has a node port with
    /// `externalTrafficPolicy: Local`.
    Own,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Alike, Self::Own];

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alike => "alike",
            Self::Own => "own",
        }
    }
}

fn pod(node: u32, number: u32) -> IpAddr {
    let range = u32::from(Ipv4Addr::new(10, 128, 0, 0));
    Ipv4Addr::from(range + (node << 8) + number).into()
}

fn address(node: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 168, 0, 0)) + 1 + node).into()
}

fn node_port(service: u32) -> u16 {
    30_000 + u16::try_from(service / LOCAL).expect("node ports for so many Services")
}

fn name(node: u32) -> String {
    format!("node-{node:05}")
}

/// A cluster of so many nodes and Services, whose endpoints are all over the nodes.
///
/// # Panics
/// If there are more nodes than ranges or addresses for them.
#[must_use]
pub fn cluster(kind: Kind, nodes: u32, services: u32) -> Cluster {
    let mut cluster = synthetic::services(services, ENDPOINTS);
    let (_, first) = cluster.nodes.pop().expect("there is a node");
    for number in 0..nodes {
        let mut node = first.clone();
        node.meta.name.name = name(number).into();
        node.pod_cidrs = vec![Prefix::new(pod(number, 0), 24)];
        node.addresses = vec![NodeAddress {
            kind: NodeAddressKind::InternalIp,
            address: address(number).to_string().into(),
        }];
        cluster.nodes.insert(name(number).into(), node);
    }
    for (number, slice) in (0..).zip(cluster.endpoint_slices.values_mut()) {
        for (own, endpoint) in (0..).zip(&mut slice.endpoints) {
            let place: u32 = number * ENDPOINTS + own;
            let node = place % nodes;
            endpoint.node = Some(name(node).into());
            endpoint.addresses = vec![pod(node, 2 + place / nodes).to_string().into()];
        }
    }
    let mut config = KubeProxyConfiguration {
        cluster_cidr: "10.128.0.0/9".into(),
        ..KubeProxyConfiguration::default()
    };
    if kind == Kind::Own {
        config.detect_local_mode = DetectLocalMode::NodeCidr;
        config.node_port_addresses = vec!["192.168.0.0/16".into()];
        for (number, service) in (0..).zip(cluster.services.values_mut()) {
            if number % LOCAL == 0 {
                service.kind = ServiceType::NodePort;
                service.external_traffic_policy = TrafficPolicy::Local;
                service.ports[0].node_port = node_port(number);
            }
        }
    }
    cluster.kube_proxy = Some(config);
    cluster
}

/// The rules of a node.
///
/// # Panics
/// If the cluster is not one of [`cluster`].
#[must_use]
pub fn rules(cluster: &Cluster, ports: &ServicePorts<'_>, node: u32) -> RuleSet {
    let proxier = IptablesProxier::new(cluster, ports, &name(node));
    proxier.expect("the node's proxier").rule_set()
}

/// What a node calls its own.
#[must_use]
pub fn host(node: u32) -> HostAddresses {
    HostAddresses::of([address(node)])
}

/// Packets that come to a node: for ClusterIPs, and where there are any for its node ports; of its pods,
/// of other nodes' pods and from outside.
pub fn packets(
    kind: Kind,
    (node, nodes, services): (u32, u32, u32),
    host: &HostAddresses,
    count: usize,
) -> Vec<Packet<'_>> {
    let mut draw = Draw(u64::from(node));
    let mut below = |n: u32| podwire_ruleset::Choose::one_of(&mut draw, n);
    let mut packet = || {
        let src = match below(3) {
            0 => pod(node, 2 + below(200)),
            1 => pod(below(nodes), 2 + below(200)),
            _ => Ipv4Addr::new(203, 0, 113, 7).into(),
        };
        let service = below(services);
        let (dst, dport) = if kind == Kind::Own && below(4) == 0 {
            (address(node), node_port(service))
        } else {
            synthetic::cluster_ip(service)
        };
        Packet {
            headers: Headers::first_of_flow(src, dst, Protocol::TCP, 40_000, dport),
            mark: Mark(0),
            hook: Hook::Prerouting,
            input: Some(DeviceName::ETH0),
            output: None,
            physdev_in: None,
            physdev_out: None,
            conntrack: ConntrackInfo::of_state(CtState::New),
            host,
            now: SimTime::START,
        }
    };
    (0..count).map(|_| packet()).collect()
}
