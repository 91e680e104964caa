//! Namespaces, and who owns which address.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use podwire_cluster::{Cluster, Cni, FlannelBackend, ObjectName, Pod};
use podwire_controlplane::cni::{CNI0, NodeNetwork, PodNetwork};
use podwire_controlplane::kube_proxy::{KubeProxyVersion, Object};
use podwire_dataplane::{Link, LinkKind, Listeners, Netns, Route, Surroundings};
use podwire_interp::Interp;
use podwire_packet::{DeviceName, Family, MacAddr, Prefix, Protocol, SimTime};
use podwire_ruleset::Origin;

use crate::rules::{NodeRules, Program, RulesError};
use crate::topology::{End, NetnsId, Topology, Vertex};

/// What a simulation may be told besides the cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The kube-proxy that writes the rules.
    pub kube_proxy_version: KubeProxyVersion,
}

/// A pod's namespace: of a Pod object, of an endpoint without one, or of an address of a node's range
/// that somebody asked about.
#[derive(Clone, Debug)]
pub(crate) struct PodPlace {
    pub(crate) name: Option<ObjectName>,
    pub(crate) node: usize,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A host outside the cluster.
#[derive(Clone, Debug)]
pub(crate) struct OutsideHost {
    pub(crate) address: IpAddr,
    /// The node network it is on; `None` is beyond the router.
    pub(crate) segment: Option<Prefix>,
}

/// Where the router meets what lies beyond it.
const WAN: DeviceName = DeviceName::literal("wan0");

/// A simulated cluster.
///
/// Nodes and the addresses of objects are known from the start; namespaces with their links, routes
/// and rules are built when a packet first comes to them, and kept.
#[derive(Debug)]
pub struct World<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) network: PodNetwork,
    program: Program<'c>,
    pub(crate) pods: Vec<PodPlace>,
    pods_of_node: Vec<Vec<usize>>,
    pub(crate) outside: Vec<OutsideHost>,
    owners: IndexMap<IpAddr, NetnsId>,
    service_addresses: IndexSet<IpAddr>,
    topology: Topology,
    /// Ports on which an address has a listener because a slice names them.
    slice_ports: BTreeMap<IpAddr, Vec<(Protocol, u16)>>,
    namespaces: RefCell<IndexMap<NetnsId, Rc<Netns<Interp>>>>,
    rules: RefCell<IndexMap<usize, NodeRules>>,
}

impl<'c> World<'c> {
    /// The world of a cluster.
    ///
    /// # Errors
    /// [`RulesError`] where kube-proxy is configured in a way that is not modelled.
    pub fn new(cluster: &'c Cluster, options: &Options) -> Result<Self, RulesError> {
        let network = PodNetwork::new(cluster);
        let mut world = Self {
            cluster,
            program: Program::new(cluster, options.kube_proxy_version)?,
            pods: Vec::new(),
            pods_of_node: vec![Vec::new(); network.nodes().len()],
            outside: Vec::new(),
            owners: IndexMap::new(),
            service_addresses: service_addresses(cluster),
            topology: Topology::default(),
            slice_ports: BTreeMap::new(),
            namespaces: RefCell::default(),
            rules: RefCell::default(),
            network,
        };
        world.place_nodes();
        world.place_pods();
        world.place_endpoints();
        Ok(world)
    }

    fn place_nodes(&mut self) {
        let nodes: Vec<NodeNetwork> = self.network.nodes().to_vec();
        let has_overlay = self.has_overlay();
        for (index, node) in nodes.iter().enumerate() {
            let at = NetnsId::Node(index);
            let of_nics = node
                .nics
                .iter()
                .flat_map(|nic| nic.addresses.iter().map(|&(ip, _)| ip));
            let gateways = node.pod_cidrs.iter().filter_map(|cidr| cidr.nth(1));
            let overlay = node
                .pod_cidrs
                .iter()
                .filter(|_| has_overlay)
                .map(Prefix::address);
            for ip in of_nics.chain(gateways).chain(overlay) {
                self.owners.entry(ip).or_insert(at);
            }
        }
        // The router owns the gateways' addresses; segments are the networks of the nodes' devices.
        for nic in nodes.iter().flat_map(|node| &node.nics) {
            if let Some(gateway) = nic.gateway {
                self.owners.entry(gateway).or_insert(NetnsId::Router);
            }
        }
        for (index, node) in nodes.iter().enumerate() {
            let links: Netns<Interp> = self.network.host(node, []);
            for nic in &node.nics {
                if let (Some(segment), Some(link)) =
                    (nic.networks().next(), links.links.get(&nic.name))
                {
                    let end = End {
                        at: NetnsId::Node(index),
                        device: nic.name,
                        mac: link.mac,
                    };
                    self.topology.attach(end, Vertex::Segment(segment));
                }
            }
        }
        let router = self.router();
        for link in router.links.values() {
            let end = End {
                at: NetnsId::Router,
                device: link.name,
                mac: link.mac,
            };
            if link.name == WAN {
                self.topology.attach(end, Vertex::Beyond);
            } else if let Some((_, segment)) = link
                .networks()
                .next()
                .filter(|_| link.kind == LinkKind::Nic)
            {
                self.topology.attach(end, Vertex::Segment(segment));
            }
        }
        self.namespaces
            .get_mut()
            .insert(NetnsId::Router, Rc::new(router));
    }

    const fn has_overlay(&self) -> bool {
        matches!(
            self.cluster.network.cni,
            Cni::Flannel(FlannelBackend::Vxlan { .. })
        )
    }

    /// The router: a device on each node network that names it as gateway, and one to the world.
    fn router(&self) -> Netns<Interp> {
        let mut interfaces: IndexMap<Prefix, IpAddr> = IndexMap::new();
        for nic in self.network.nodes().iter().flat_map(|node| &node.nics) {
            if let Some(gateway) = nic.gateway
                && let Some(segment) = nic.networks().find(|network| network.contains(gateway))
            {
                interfaces.entry(segment).or_insert(gateway);
            }
        }
        let mut links = vec![Link::loopback()];
        for (number, (segment, gateway)) in interfaces.iter().enumerate() {
            let name = format!("lan{number}")
                .parse()
                .expect("at most 15 letters and digits");
            let link = Link::new(name, LinkKind::Nic, router_mac(number), Link::ETHERNET_MTU);
            links.push(link.with_address(*gateway, segment.len()));
        }
        links.push(Link::new(
            WAN,
            LinkKind::Nic,
            router_mac(usize::from(u16::MAX)),
            Link::ETHERNET_MTU,
        ));
        let mut router = Netns::new(links);
        router.sysctls.ip_forward = true;
        for family in [Family::Ipv4, Family::Ipv6] {
            router.add_route(Route {
                via: None,
                ..Route::via(Prefix::any(family), WAN, family.unspecified())
            });
        }
        if self.cluster.network.cni == Cni::Routes {
            for node in self.network.nodes() {
                for cidr in &node.pod_cidrs {
                    let next_hop = node.internal_ip(cidr.family());
                    let segment = next_hop
                        .and_then(|ip| interfaces.keys().position(|segment| segment.contains(ip)));
                    if let (Some(next_hop), Some(number)) = (next_hop, segment) {
                        let device = format!("lan{number}")
                            .parse()
                            .expect("at most 15 letters and digits");
                        router.add_route(Route::via(*cidr, device, next_hop));
                    }
                }
            }
        }
        router
    }

    fn place_pods(&mut self) {
        let cluster = self.cluster;
        let running = |pod: &&Pod| !pod.host_network && !pod.finished && !pod.ips.is_empty();
        for pod in cluster.pods.values().filter(running) {
            let node = pod.node.as_ref().and_then(|node| self.node_index(node));
            if let Some(node) = node.or_else(|| self.node_of_range(pod.ips[0])) {
                self.add_pod(Some(pod.meta.name.clone()), node, pod.ips.clone());
            }
        }
    }

    fn place_endpoints(&mut self) {
        let cluster = self.cluster;
        for slice in cluster.endpoint_slices.values() {
            for endpoint in &slice.endpoints {
                let Some(ip) = endpoint
                    .addresses
                    .first()
                    .and_then(|text| text.parse::<IpAddr>().ok())
                else {
                    continue;
                };
                let ports = slice
                    .ports
                    .iter()
                    .filter_map(|port| Some((port.protocol, port.port?)));
                self.slice_ports.entry(ip).or_default().extend(ports);
                if self.owners.contains_key(&ip) {
                    continue;
                }
                let node = endpoint
                    .node
                    .as_ref()
                    .and_then(|node| self.node_index(node));
                // An address outside every pod range is a pod's only if the slice says on which node.
                match self
                    .node_of_range(ip)
                    .or(node.filter(|_| self.topology.segment_of(ip).is_none()))
                {
                    Some(node) => self.add_pod(endpoint.target.clone(), node, vec![ip]),
                    None => self.add_outside(ip),
                }
            }
        }
    }

    fn add_pod(&mut self, name: Option<ObjectName>, node: usize, addresses: Vec<IpAddr>) {
        let index = self.pods.len();
        let at = NetnsId::Pod(index);
        for &ip in &addresses {
            self.owners.entry(ip).or_insert(at);
        }
        let network = &self.network.nodes()[node];
        let netns: Netns<Interp> = self.network.pod(network, &addresses);
        let mac = netns.links[&DeviceName::ETH0].mac;
        let port = PodNetwork::port_name(network, addresses[0]);
        self.topology.pair(
            End {
                at,
                device: DeviceName::ETH0,
                mac,
            },
            End {
                at: NetnsId::Node(node),
                device: port,
                mac: MacAddr::default(),
            },
        );
        self.pods.push(PodPlace {
            name,
            node,
            addresses,
        });
        self.pods_of_node[node].push(index);
        self.namespaces.get_mut().shift_remove(&NetnsId::Node(node));
    }

    fn add_outside(&mut self, address: IpAddr) {
        let index = self.outside.len();
        let at = NetnsId::Outside(index);
        let segment = self.topology.segment_of(address);
        self.outside.push(OutsideHost { address, segment });
        self.owners.insert(address, at);
        let end = End {
            at,
            device: DeviceName::ETH0,
            mac: outside_mac(address),
        };
        self.topology
            .attach(end, segment.map_or(Vertex::Beyond, Vertex::Segment));
    }

    /// Makes sure that somebody owns an address that a person named: a pod of the node whose range
    /// holds it, else a host outside. An address of a Service has no owner.
    pub(crate) fn settle(&mut self, address: IpAddr) {
        if self.owners.contains_key(&address)
            || self.is_service_address(address)
            || address.is_loopback()
        {
            return;
        }
        match self.node_of_range(address) {
            Some(node) => self.add_pod(None, node, vec![address]),
            None => self.add_outside(address),
        }
    }

    /// Whether an address is a Service's, or of the range of ClusterIPs.
    pub(crate) fn is_service_address(&self, address: IpAddr) -> bool {
        self.service_addresses.contains(&address)
            || self
                .cluster
                .network
                .service_cidrs
                .iter()
                .any(|range| range.contains(address))
    }

    pub(crate) fn node_index(&self, name: &str) -> Option<usize> {
        self.cluster.nodes.get_index_of(name)
    }

    fn node_of_range(&self, address: IpAddr) -> Option<usize> {
        self.network
            .nodes()
            .iter()
            .position(|node| node.pod_cidrs.iter().any(|cidr| cidr.contains(address)))
    }

    /// The cluster it was made of.
    #[must_use]
    pub const fn cluster(&self) -> &'c Cluster {
        self.cluster
    }

    /// Who owns an address.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<NetnsId> {
        self.owners.get(&address).copied()
    }

    /// The node that a namespace is on, and the namespace's name there: `host` for the node's own, a
    /// pod's name or address, an outside host's address.
    #[must_use]
    pub fn names(&self, id: NetnsId) -> (Arc<str>, Arc<str>) {
        match id {
            NetnsId::Node(index) => (self.network.nodes()[index].name.clone(), "host".into()),
            NetnsId::Pod(index) => {
                let pod = &self.pods[index];
                let name = pod
                    .name
                    .as_ref()
                    .map_or_else(|| pod.addresses[0].to_string(), ObjectName::to_string);
                (self.network.nodes()[pod.node].name.clone(), name.into())
            }
            NetnsId::Router => ("router".into(), "host".into()),
            NetnsId::Outside(index) => (
                self.outside[index].address.to_string().into(),
                "host".into(),
            ),
        }
    }

    /// What a namespace is called as a place: `pod/default/web`, `node/a`, an address.
    #[must_use]
    pub fn place_name(&self, id: NetnsId) -> String {
        match id {
            NetnsId::Node(index) => format!("node/{}", self.network.nodes()[index].name),
            NetnsId::Pod(index) => {
                let pod = &self.pods[index];
                pod.name.as_ref().map_or_else(
                    || pod.addresses[0].to_string(),
                    |name| format!("pod/{name}"),
                )
            }
            NetnsId::Router => "router".to_owned(),
            NetnsId::Outside(index) => self.outside[index].address.to_string(),
        }
    }

    /// The rules of a node.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn rules(&self, node: usize) -> Result<NodeRules, RulesError> {
        if let Some(rules) = self.rules.borrow().get(&node) {
            return Ok(rules.clone());
        }
        let rules = self.program.node(&self.network.nodes()[node].name)?;
        self.rules.borrow_mut().insert(node, rules.clone());
        Ok(rules)
    }

    /// The object that a rule comes from, and the endpoint if it is about one.
    #[must_use]
    pub fn object(&self, family: Family, origin: Origin) -> Option<(&Object, Option<&str>)> {
        self.program.services(family).provenance().get(origin)
    }

    /// A namespace, built if it was not yet.
    ///
    /// # Errors
    /// [`RulesError`] where its node's rules cannot be made.
    pub(crate) fn netns(&self, id: NetnsId) -> Result<Rc<Netns<Interp>>, RulesError> {
        if let Some(netns) = self.namespaces.borrow().get(&id) {
            return Ok(netns.clone());
        }
        let netns = Rc::new(match id {
            NetnsId::Node(index) => self.build_node(index)?,
            NetnsId::Pod(index) => self.build_pod(index),
            NetnsId::Router => self.router(),
            NetnsId::Outside(index) => self.build_outside(&self.outside[index]),
        });
        self.namespaces.borrow_mut().insert(id, netns.clone());
        Ok(netns)
    }

    /// Puts a namespace in place of the one that the world has.
    pub(crate) fn replace(&mut self, id: NetnsId, netns: Rc<Netns<Interp>>) {
        self.namespaces.get_mut().insert(id, netns);
    }

    fn build_node(&self, index: usize) -> Result<Netns<Interp>, RulesError> {
        let node = &self.network.nodes()[index];
        let pods = self.pods_of_node[index]
            .iter()
            .map(|&pod| self.pods[pod].addresses[0]);
        let mut host: Netns<Interp> = self.network.host(node, pods);
        let rules = self.rules(index)?;
        host.sysctls.route_localnet = rules.route_localnet;
        host.ipv4_rules = Some(rules.ipv4);
        host.ipv6_rules = Some(rules.ipv6);
        host.listeners = self.node_listeners(index);
        Ok(host)
    }

    /// What listens on a node: kubelet, kube-proxy's health check, pods on the host network, and what
    /// slices say of the node's addresses; VXLAN's port is the kernel's own.
    fn node_listeners(&self, index: usize) -> Listeners {
        let node = &self.network.nodes()[index];
        let mut ports = vec![
            (Protocol::TCP, None, 10_250..=10_250),
            (Protocol::TCP, None, 10_256..=10_256),
        ];
        let here = |pod: &&Pod| {
            pod.host_network && !pod.finished && pod.node.as_deref() == Some(&*node.name)
        };
        for port in self
            .cluster
            .pods
            .values()
            .filter(here)
            .flat_map(|pod| &pod.ports)
        {
            ports.push((port.protocol, None, port.port..=port.port));
        }
        let addresses = node
            .nics
            .iter()
            .flat_map(|nic| nic.addresses.iter().map(|&(ip, _)| ip));
        for ip in addresses {
            for &(protocol, port) in self.slice_ports.get(&ip).into_iter().flatten() {
                ports.push((protocol, Some(ip), port..=port));
            }
        }
        let health = self
            .cluster
            .services
            .values()
            .map(|service| service.health_check_node_port);
        ports.extend(
            health
                .filter(|&port| port != 0)
                .map(|port| (Protocol::TCP, None, port..=port)),
        );
        Listeners {
            everything: false,
            ports,
        }
    }

    fn build_pod(&self, index: usize) -> Netns<Interp> {
        let place = &self.pods[index];
        let mut pod: Netns<Interp> = self
            .network
            .pod(&self.network.nodes()[place.node], &place.addresses);
        let object = place
            .name
            .as_ref()
            .and_then(|name| self.cluster.pods.get(name));
        let named = object
            .into_iter()
            .flat_map(|pod| &pod.ports)
            .map(|port| (port.protocol, port.port));
        let of_slices = place
            .addresses
            .iter()
            .filter_map(|ip| self.slice_ports.get(ip))
            .flatten()
            .copied();
        // Nothing is known of the ports of an address without a Pod object, or of a pod that names none.
        pod.listeners = Listeners {
            everything: object.is_none_or(|pod| pod.ports.is_empty()),
            ports: named
                .chain(of_slices)
                .map(|(protocol, port)| (protocol, None, port..=port))
                .collect(),
        };
        pod
    }

    fn build_outside(&self, host: &OutsideHost) -> Netns<Interp> {
        let family = Family::of(host.address);
        let length = host.segment.map_or(family.bits(), |segment| segment.len());
        let eth0 = Link::new(
            DeviceName::ETH0,
            LinkKind::Nic,
            outside_mac(host.address),
            Link::ETHERNET_MTU,
        );
        let mut netns = Netns::new([Link::loopback(), eth0.with_address(host.address, length)]);
        let everything = Prefix::any(family);
        match host.segment {
            None => netns.add_route(Route {
                via: None,
                ..Route::via(everything, DeviceName::ETH0, host.address)
            }),
            Some(segment) => {
                if let Some(gateway) = self.gateway_of(segment) {
                    netns.add_route(Route::via(everything, DeviceName::ETH0, gateway));
                }
            }
        }
        netns.listeners.everything = true;
        netns
    }

    fn gateway_of(&self, segment: Prefix) -> Option<IpAddr> {
        let nics = self.network.nodes().iter().flat_map(|node| &node.nics);
        nics.filter_map(|nic| nic.gateway)
            .find(|&gateway| segment.contains(gateway))
    }

    /// The other end of a device's wire.
    pub(crate) fn carry(&self, from: NetnsId, device: DeviceName, to: MacAddr) -> Option<End> {
        self.topology.carry(from, device, to)
    }
}

/// Every address that a Service has.
fn service_addresses(cluster: &Cluster) -> IndexSet<IpAddr> {
    let texts = cluster.services.values().flat_map(|service| {
        let balancer = service.load_balancer.iter().map(|ingress| &ingress.ip);
        service
            .cluster_ips
            .iter()
            .chain(&service.external_ips)
            .chain(balancer)
    });
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn router_mac(number: usize) -> MacAddr {
    MacAddr::of_bits(0x02_00_5e_00_00_00_00_00 | number as u64)
}

fn outside_mac(address: IpAddr) -> MacAddr {
    match address {
        IpAddr::V4(ip) => MacAddr::of_docker(ip),
        IpAddr::V6(ip) => {
            let [.., a, b, c, d, e, f] = ip.octets();
            MacAddr([(a & 0xfe) | 0x02, b, c, d, e, f])
        }
    }
}

/// What one namespace sees around it.
pub(crate) struct View<'w, 'c> {
    pub(crate) world: &'w World<'c>,
    pub(crate) at: NetnsId,
}

/// A link-layer network: who is in the same one can answer ARP.
#[derive(PartialEq, Eq)]
enum Domain {
    Bridge(usize),
    Shared(Vertex),
}

impl World<'_> {
    fn domain(&self, at: NetnsId, device: DeviceName) -> Option<Domain> {
        match at {
            NetnsId::Node(index) if device == CNI0 => Some(Domain::Bridge(index)),
            NetnsId::Pod(index) if device == DeviceName::ETH0 => {
                Some(Domain::Bridge(self.pods[index].node))
            }
            NetnsId::Node(_) | NetnsId::Pod(_) | NetnsId::Router | NetnsId::Outside(_) => {
                self.topology.shared_network(at, device).map(Domain::Shared)
            }
        }
    }
}

impl Surroundings for View<'_, '_> {
    fn resolve(&self, device: DeviceName, address: IpAddr) -> Option<MacAddr> {
        let here = self.world.domain(self.at, device)?;
        if here == Domain::Shared(Vertex::Beyond) && self.at != NetnsId::Router {
            // From beyond, every address is behind the router.
            let router = self.world.netns(NetnsId::Router).ok()?;
            return router.links.get(&WAN).map(|link| link.mac);
        }
        let owner = self.world.owner(address)?;
        let netns = self.world.netns(owner).ok()?;
        let link = netns
            .links
            .values()
            .find(|link| link.has_address(address))?;
        (self.world.domain(owner, link.name)? == here).then_some(link.mac)
    }

    fn learned_port(&self, bridge: DeviceName, mac: MacAddr) -> Option<DeviceName> {
        let NetnsId::Node(index) = self.at else {
            return None;
        };
        if bridge != CNI0 {
            return None;
        }
        let pods = self.world.pods_of_node[index].iter();
        pods.into_iter().find_map(|&pod| {
            let netns = self.world.netns(NetnsId::Pod(pod)).ok()?;
            let place = &self.world.pods[pod];
            let node = &self.world.network.nodes()[index];
            let is_his = netns.links.get(&DeviceName::ETH0)?.mac == mac;
            is_his.then(|| PodNetwork::port_name(node, place.addresses[0]))
        })
    }

    fn now(&self) -> SimTime {
        SimTime::START
    }
}
