//! Which packets are sent: every kind of sender to every address and port of every Service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use podwire_cluster::ObjectName;
use podwire_controlplane::kube_proxy::ServedPort;
use podwire_packet::{Family, Prefix, Protocol};
use podwire_sim::{NetnsId, Place, Query, Target, World};

/// Source port of every packet.
const SPORT: u16 = 40_000;
/// A port that nobody is likely to have a Service on.
const QUIET_PORT: u16 = 9;
/// kubelet's, on which every node listens.
const KUBELET_PORT: u16 = 10_250;

/// Who sends, as far as rules can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SenderKind {
    /// A pod of the node that is none of the Service's endpoints.
    Pod,
    /// An endpoint of the Service, on the node.
    Endpoint,
    /// The node.
    Node,
    /// A pod of another node that is none of the Service's endpoints.
    PodElsewhere,
    /// An endpoint of the Service, on another node.
    EndpointElsewhere,
    /// Another node.
    OtherNode,
    /// A host outside the cluster, in none of the Service's source ranges.
    Outside,
    /// A host outside the cluster, in a source range of the Service.
    OutsideInRange,
}

impl SenderKind {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod on the node",
            Self::Endpoint => "endpoint on the node",
            Self::Node => "the node",
            Self::PodElsewhere => "pod on another node",
            Self::EndpointElsewhere => "endpoint on another node",
            Self::OtherNode => "another node",
            Self::Outside => "outside",
            Self::OutsideInRange => "outside, in a source range",
        }
    }

    /// Whether it is a node or a pod.
    #[must_use]
    pub const fn is_of_cluster(self) -> bool {
        !matches!(self, Self::Outside | Self::OutsideInRange)
    }

    /// The same, of another node.
    const fn elsewhere(self) -> Self {
        match self {
            Self::Pod => Self::PodElsewhere,
            Self::Endpoint => Self::EndpointElsewhere,
            Self::Node => Self::OtherNode,
            Self::PodElsewhere
            | Self::EndpointElsewhere
            | Self::OtherNode
            | Self::Outside
            | Self::OutsideInRange => self,
        }
    }
}

/// What kind of address it is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DestinationKind {
    /// A ClusterIP.
    ClusterIp,
    /// An external IP.
    ExternalIp,
    /// A load balancer's address.
    LoadBalancerIp,
    /// A node port, on the node's first address.
    NodeIp,
    /// A node port, on another address of the node.
    OtherNodeIp,
    /// A node port, on 127.0.0.1 or `::1`.
    Loopback,
}

impl DestinationKind {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::ExternalIp => "external IP",
            Self::LoadBalancerIp => "load balancer IP",
            Self::NodeIp => "node port on the node's IP",
            Self::OtherNodeIp => "node port on another IP of the node",
            Self::Loopback => "node port on localhost",
        }
    }

    /// Whether it is an address of a node.
    #[must_use]
    pub const fn is_of_node(self) -> bool {
        matches!(self, Self::NodeIp | Self::OtherNodeIp | Self::Loopback)
    }
}

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// Who sends, as far as rules can tell.
    pub sender: SenderKind,
    /// Who sends.
    pub from: Place,
    /// The node that a packet from outside comes to first.
    pub via: Option<Arc<str>>,
    /// The node that serves it: whose address it is sent to, or whose rules see it first.
    pub node: Arc<str>,
    /// What kind of address it is sent to.
    pub destination: DestinationKind,
    /// The address.
    pub to: IpAddr,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The Service whose address or port it is.
    pub service: ObjectName,
    /// The service port, by its place in [`Diff::ports`](super::Diff::ports); `None` where the Service
    /// has no such port there.
    pub of: Option<usize>,
}

impl Probe {
    /// The family of its addresses.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.to)
    }

    /// The question to the simulation.
    #[must_use]
    pub fn query(&self) -> Query {
        Query {
            from: self.from.clone(),
            to: Target {
                place: Place::Address(self.to),
                port: Some(self.port.to_string()),
            },
            protocol: Some(self.protocol),
            sport: SPORT,
            length: None,
            via: self.via.as_deref().map(str::to_owned),
        }
    }
}

/// What the objects of one side say of a service port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortFacts {
    /// The Service.
    pub service: ObjectName,
    /// Name of the port; empty if there is none.
    pub name: Box<str>,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// Port on the Service's addresses.
    pub port: u16,
    /// Port on every node; 0 if there is none.
    pub node_port: u16,
    /// External IPs.
    pub external_ips: Vec<IpAddr>,
    /// Load balancer addresses that packets arrive with.
    pub vips: Vec<IpAddr>,
    /// Who may send to those.
    pub source_ranges: Vec<Prefix>,
    /// Whether `internalTrafficPolicy` is Local.
    pub internal_local: bool,
    /// Whether `externalTrafficPolicy` is Local.
    pub external_local: bool,
    /// Whether a client keeps its endpoint.
    pub has_affinity: bool,
}

impl PortFacts {
    fn of(port: &ServedPort<'_>) -> Self {
        Self {
            service: port.service.clone(),
            name: port.port_name.into(),
            protocol: port.protocol,
            port: port.port,
            node_port: port.node_port,
            external_ips: port.external_ips.to_vec(),
            vips: port.vips.to_vec(),
            source_ranges: port.source_ranges.to_vec(),
            internal_local: port.internal_local,
            external_local: port.external_local,
            has_affinity: port.has_affinity,
        }
    }
}

/// The packets of one family, and the service ports that they are for.
pub(super) struct Probes<'w, 'c> {
    world: &'w World<'c>,
    family: Family,
    /// Nodes that are asked.
    nodes: Vec<NodePlaces>,
    outside: IpAddr,
    /// Addresses, protocols and ports that some Service has.
    served: IndexSet<(IpAddr, Protocol, u16)>,
    pub(super) ports: IndexSet<PortFacts>,
    pub(super) probes: IndexSet<Probe>,
}

/// A node, and what sends from it.
struct NodePlaces {
    name: Arc<str>,
    addresses: Vec<(IpAddr, DestinationKind)>,
    pod: Option<Place>,
}

impl<'w, 'c> Probes<'w, 'c> {
    /// Adds the packets of a family that a side's Services are asked with, to those that there are.
    pub(super) fn add(
        world: &'w World<'c>,
        family: Family,
        ports: IndexSet<PortFacts>,
        probes: IndexSet<Probe>,
    ) -> (IndexSet<PortFacts>, IndexSet<Probe>) {
        let nodes = representatives(world, family);
        let served_ports: Vec<ServedPort<'_>> = world.services(family).served().collect();
        let mut all = Self {
            world,
            family,
            outside: outside_host(world, family, &served_ports),
            served: served(&served_ports, &nodes),
            nodes,
            ports,
            probes,
        };
        for port in &served_ports {
            all.add_port(port);
        }
        (all.ports, all.probes)
    }

    fn add_port(&mut self, port: &ServedPort<'_>) {
        let (of, _) = self.ports.insert_full(PortFacts::of(port));
        let of_service = [(port.cluster_ip, DestinationKind::ClusterIp)].into_iter();
        let external = port
            .external_ips
            .iter()
            .map(|&ip| (ip, DestinationKind::ExternalIp));
        let vips = port
            .vips
            .iter()
            .map(|&ip| (ip, DestinationKind::LoadBalancerIp));
        let addresses: Vec<_> = of_service.chain(external).chain(vips).collect();
        for &(to, kind) in &addresses {
            for index in 0..self.nodes.len() {
                let mut senders = self.senders_on(index, port);
                senders.extend(self.senders_outside(index, port, kind));
                for sender in senders {
                    let target = (to, kind, port.port);
                    self.push(&sender, target, port, Some(of));
                    if sender.kind != SenderKind::OutsideInRange {
                        for other in [port.node_port, QUIET_PORT, KUBELET_PORT] {
                            self.push(&sender, (to, kind, other), port, None);
                        }
                    }
                }
            }
        }
        if port.node_port == 0 {
            return;
        }
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let before = (index + self.nodes.len() - 1) % self.nodes.len();
            let own = self.senders_on(index, port);
            let mut all = self.senders_on(index, port);
            if before != index {
                let elsewhere = self.senders_on(before, port).into_iter();
                all.extend(elsewhere.map(|sender| Sender {
                    kind: sender.kind.elsewhere(),
                    node: node.name.clone(),
                    ..sender
                }));
            }
            all.push(Sender {
                kind: SenderKind::Outside,
                from: Place::Address(self.outside),
                via: None,
                node: node.name.clone(),
            });
            for (to, kind) in node.addresses.clone() {
                // Nobody else's packet can go to the node's loopback address.
                let local = own.iter().filter(|sender| sender.kind == SenderKind::Node);
                let senders: Vec<&Sender> = if kind == DestinationKind::Loopback {
                    local.collect()
                } else {
                    all.iter().collect()
                };
                for sender in senders {
                    self.push(sender, (to, kind, port.node_port), port, Some(of));
                    for other in [port.port, QUIET_PORT, KUBELET_PORT] {
                        self.push(sender, (to, kind, other), port, None);
                    }
                }
            }
        }
    }

    /// The node itself, a pod of it, and an endpoint of the service port on it.
    fn senders_on(&self, index: usize, port: &ServedPort<'_>) -> Vec<Sender> {
        let node = &self.nodes[index];
        let sender = |kind, from| Sender {
            kind,
            from,
            via: None,
            node: node.name.clone(),
        };
        let here = port.endpoints.iter().filter(|endpoint| {
            endpoint.node == Some(&*node.name)
                && matches!(self.world.owner(endpoint.address), Some(NetnsId::Pod(_)))
        });
        let endpoint = here.map(|endpoint| Place::Address(endpoint.address)).next();
        let own = (!node.addresses.is_empty()).then(|| Place::Node(node.name.to_string()));
        let pod = node.pod.clone().map(|pod| sender(SenderKind::Pod, pod));
        let endpoint = endpoint.map(|ip| sender(SenderKind::Endpoint, ip));
        let own = own.map(|own| sender(SenderKind::Node, own));
        pod.into_iter().chain(endpoint).chain(own).collect()
    }

    /// Hosts outside whose packets come to that node: one that nobody speaks of, and for a load
    /// balancer's address one in each source range.
    fn senders_outside(
        &self,
        index: usize,
        port: &ServedPort<'_>,
        to: DestinationKind,
    ) -> Vec<Sender> {
        let node = &self.nodes[index];
        if node.addresses.is_empty() {
            return Vec::new();
        }
        let sender = |kind, ip| Sender {
            kind,
            from: Place::Address(ip),
            via: Some(node.name.clone()),
            node: node.name.clone(),
        };
        let ranges = if to == DestinationKind::LoadBalancerIp {
            port.source_ranges
        } else {
            &[]
        };
        let is_free = |ip: IpAddr| is_free_outside(self.world, self.family, ip);
        let in_ranges = ranges.iter().filter(|range| !range.is_empty());
        let in_ranges = in_ranges.filter_map(|range| spread(*range).find(|&ip| is_free(ip)));
        // Everybody is in a range of no length.
        let kind = if ranges.iter().any(Prefix::is_empty) {
            SenderKind::OutsideInRange
        } else {
            SenderKind::Outside
        };
        [sender(kind, self.outside)]
            .into_iter()
            .chain(in_ranges.map(|ip| sender(SenderKind::OutsideInRange, ip)))
            .collect()
    }

    fn push(
        &mut self,
        sender: &Sender,
        (to, destination, number): (IpAddr, DestinationKind, u16),
        port: &ServedPort<'_>,
        of: Option<usize>,
    ) {
        let is_served = self.served.contains(&(to, port.protocol, number));
        // A port of another Service on the same address is that Service's.
        if number == 0 || (of.is_none() && is_served) {
            return;
        }
        self.probes.insert(Probe {
            sender: sender.kind,
            from: sender.from.clone(),
            via: sender.via.clone(),
            node: sender.node.clone(),
            destination,
            to,
            port: number,
            protocol: port.protocol,
            service: port.service.clone(),
            of,
        });
    }
}

/// Who sends, and through which node.
struct Sender {
    kind: SenderKind,
    from: Place,
    via: Option<Arc<str>>,
    node: Arc<str>,
}

/// Every address, protocol and port that some Service has.
fn served(ports: &[ServedPort<'_>], nodes: &[NodePlaces]) -> IndexSet<(IpAddr, Protocol, u16)> {
    let mut served = IndexSet::new();
    for port in ports {
        let own = port
            .external_ips
            .iter()
            .chain(port.vips)
            .chain([&port.cluster_ip]);
        served.extend(own.map(|&ip| (ip, port.protocol, port.port)));
        if port.node_port != 0 {
            let addresses = nodes.iter().flat_map(|node| &node.addresses);
            served.extend(addresses.map(|&(ip, _)| (ip, port.protocol, port.node_port)));
        }
    }
    served
}

/// What makes a node's rules, or what packets find there, differ from another's.
#[derive(PartialEq, Eq, Hash)]
struct Likeness<'w> {
    zone: Option<&'w str>,
    addresses: usize,
    has_pods: bool,
    /// Source ranges that hold an address of the node's.
    in_ranges: Vec<(&'w ObjectName, usize)>,
    /// Service ports with an endpoint here, and of which conditions: ready, serving, terminating.
    endpoints: Vec<(usize, [bool; 8])>,
}

/// One of each kind of node.
fn representatives(world: &World<'_>, family: Family) -> Vec<NodePlaces> {
    let ports: Vec<ServedPort<'_>> = world.services(family).served().collect();
    let cluster = world.cluster();
    let mut on_node: IndexMap<&str, Vec<(usize, [bool; 8])>> = IndexMap::new();
    for (index, port) in ports.iter().enumerate() {
        for endpoint in &port.endpoints {
            let Some(node) = endpoint.node else { continue };
            let known = on_node.entry(node).or_default();
            if known.last().is_none_or(|(of, _)| *of != index) {
                known.push((index, [false; 8]));
            }
            let conditions = usize::from(endpoint.ready)
                | usize::from(endpoint.serving) << 1
                | usize::from(endpoint.terminating) << 2;
            if let Some((_, kinds)) = known.last_mut() {
                kinds[conditions] = true;
            }
        }
    }
    let mut kinds: IndexMap<Likeness<'_>, NodePlaces> = IndexMap::new();
    for (name, node) in &cluster.nodes {
        let places = NodePlaces {
            name: name.clone(),
            addresses: node_addresses(world, name, family),
            pod: free_pod(world, name, family),
        };
        let holds = |range: &Prefix| places.addresses.iter().any(|&(ip, _)| range.contains(ip));
        let in_ranges = ports.iter().flat_map(|port| {
            let ranges = port.source_ranges.iter().enumerate();
            let holding = ranges.filter(|(_, range)| holds(range));
            holding.map(|(number, _)| (port.service, number))
        });
        let likeness = Likeness {
            zone: node.zone(),
            addresses: places.addresses.len(),
            has_pods: places.pod.is_some(),
            in_ranges: in_ranges.collect(),
            endpoints: on_node.get(&**name).cloned().unwrap_or_default(),
        };
        kinds.entry(likeness).or_insert(places);
    }
    kinds.into_values().collect()
}

/// The addresses that a node listens on, its bridge's among them; none where it has none of the family.
fn node_addresses(world: &World<'_>, name: &str, family: Family) -> Vec<(IpAddr, DestinationKind)> {
    let Some(node) = world.cluster().nodes.get(name) else {
        return Vec::new();
    };
    let nics = node.nics.iter().flat_map(|nic| &nic.addresses);
    let own = node.internal_ips(family).chain(nics.map(|&(ip, _)| ip));
    let own = own.chain(node.pod_cidr(family).and_then(|cidr| cidr.nth(1)));
    let own: IndexSet<IpAddr> = own
        .filter(|&ip| Family::of(ip) == family)
        .filter(|&ip| matches!(world.owner(ip), Some(NetnsId::Node(_))))
        .collect();
    if own.is_empty() {
        return Vec::new();
    }
    let loopback = match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let kind = |index| match index {
        0 => DestinationKind::NodeIp,
        _ => DestinationKind::OtherNodeIp,
    };
    let own = own.into_iter().enumerate();
    own.map(|(index, ip)| (ip, kind(index)))
        .chain([(loopback, DestinationKind::Loopback)])
        .collect()
}

/// A pod of the node that no Service knows: an address of its pod range that nobody has, or a pod.
fn free_pod(world: &World<'_>, node: &str, family: Family) -> Option<Place> {
    /// High enough that pods seldom have it.
    const FIRST_TRIED: u128 = 250;
    let cluster = world.cluster();
    let cidr = cluster.nodes.get(node)?.pod_cidr(family);
    let addresses = cidr.into_iter().flat_map(|cidr| {
        let tried = (2..=FIRST_TRIED).rev();
        tried.filter_map(move |number| cidr.nth(number))
    });
    let mut free = addresses.filter(|&ip| world.owner(ip).is_none());
    let last = cidr.map(|cidr| cidr.last());
    let of_range = free.find(|&ip| Some(ip) != last).map(Place::Address);
    of_range.or_else(|| {
        let mut pods = cluster.pods.values().filter(|pod| {
            pod.node.as_deref() == Some(node)
                && !pod.host_network
                && !pod.finished
                && pod.ips.iter().any(|&ip| Family::of(ip) == family)
        });
        pods.next().map(|pod| Place::Pod(pod.meta.name.clone()))
    })
}

/// A host beyond the router that no source range of less than everybody holds, if there is one.
fn outside_host(world: &World<'_>, family: Family, ports: &[ServedPort<'_>]) -> IpAddr {
    /// Networks for documentation (RFC 5737, RFC 3849), and one for benchmarks (RFC 2544).
    const TRIED: [(IpAddr, u8); 5] = [
        (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0)), 24),
        (IpAddr::V4(Ipv4Addr::new(198, 51, 100, 0)), 24),
        (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 0)), 24),
        (IpAddr::V4(Ipv4Addr::new(198, 18, 0, 0)), 15),
        (
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0)),
            48,
        ),
    ];
    let tried = TRIED.iter().map(|&(ip, length)| Prefix::new(ip, length));
    let free: Vec<IpAddr> = tried
        .filter(|range| range.family() == family)
        .flat_map(spread)
        .filter(|&ip| is_free_outside(world, family, ip))
        .collect();
    let ranges = || ports.iter().flat_map(|port| port.source_ranges);
    let is_named = |ip: IpAddr| ranges().any(|range| !range.is_empty() && range.contains(ip));
    let unnamed = free.iter().copied().find(|&ip| !is_named(ip));
    unnamed
        .or(free.first().copied())
        .unwrap_or_else(|| match family {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7)),
        })
}

/// Some addresses of a range, from its beginning to its end.
fn spread(range: Prefix) -> impl Iterator<Item = IpAddr> {
    /// How many are tried.
    const COUNT: u128 = 64;
    let bits = u32::from(range.family().bits() - range.len());
    let size = 1u128.checked_shl(bits).unwrap_or(u128::MAX);
    let offset = 7 % size;
    let step = (size / COUNT).max(1);
    (0..COUNT.min(size)).filter_map(move |number| range.nth((offset + number * step) % size))
}

/// Whether an address is of no pod, node, Service or range of theirs.
fn is_free_outside(world: &World<'_>, family: Family, ip: IpAddr) -> bool {
    let cluster = world.cluster();
    let in_pod_range = cluster
        .nodes
        .values()
        .filter_map(|node| node.pod_cidr(family))
        .any(|cidr| cidr.contains(ip));
    !in_pod_range
        && !world.is_service_address(ip)
        && world.owner(ip).is_none()
        && !ip.is_loopback()
        && !ip.is_multicast()
        && !ip.is_unspecified()
}
