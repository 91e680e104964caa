//! Namespaces, built when a packet first comes to them.

use std::net::{IpAddr, SocketAddr};

use indexmap::IndexMap;
use podwire_cluster::Pod;
use podwire_dataplane::{Link, LinkKind, Listeners, Netns, Route};
use podwire_interp::Interp;
use podwire_packet::{DeviceName, Family, MacAddr, Prefix, Protocol};

use super::{OutsideHost, World};
use crate::rules::RulesError;

/// Where the router meets what lies beyond it.
pub(super) const WAN: DeviceName = DeviceName::literal("wan0");
/// kube-proxy's device in IPVS mode (`defaultDummyDevice`, pkg/proxy/ipvs/proxier.go).
const KUBE_IPVS0: DeviceName = DeviceName::literal("kube-ipvs0");

impl World<'_> {
    /// The router: a device on each node network that names it as gateway, and one to the world.
    pub(super) fn router(&self) -> Netns<Interp> {
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
        if self.network.routes_to_pods() {
            let ranges = self.network.nodes().iter().flat_map(|node| {
                let ranges = node.pod_cidrs.iter();
                ranges.map(move |&cidr| (cidr, node))
            });
            let strays = self.strays().map(|(ip, node)| (Prefix::host(ip), node));
            for (pods, node) in ranges.chain(strays) {
                let next_hop = node.internal_ip(pods.family());
                let segment = next_hop
                    .and_then(|ip| interfaces.keys().position(|segment| segment.contains(ip)));
                if let (Some(next_hop), Some(number)) = (next_hop, segment) {
                    let device = format!("lan{number}")
                        .parse()
                        .expect("at most 15 letters and digits");
                    router.add_route(Route::via(pods, device, next_hop));
                }
            }
        }
        router
    }

    pub(super) fn build_node(&self, index: usize) -> Result<Netns<Interp>, RulesError> {
        let node = &self.network.nodes()[index];
        let pods = self.pods_of_node[index]
            .iter()
            .map(|&pod| self.pods[pod].addresses[0]);
        let mut host: Netns<Interp> = self.network.host(node, pods);
        self.network
            .add_stray_routes(&mut host, node, self.strays());
        let rules = self.rules(index)?;
        host.sysctls.route_localnet = rules.route_localnet;
        host.ipv4_rules = Some(rules.ipv4);
        host.ipv6_rules = Some(rules.ipv6);
        if !rules.ipvs.addresses.is_empty() {
            host.add_link(ipvs_link(&rules.ipvs.addresses));
        }
        host.virtual_servers = rules.ipvs.virtual_servers;
        host.listeners = self.node_listeners(index);
        let proxies = rules.proxy_sockets.iter();
        let listening =
            proxies.map(|socket| (socket.protocol, socket.address, socket.port..=socket.port));
        host.listeners.ports.extend(listening);
        Ok(host)
    }

    /// What listens on a node: kubelet, kube-proxy's health check and metrics, pods on the host network, and what
    /// slices say of the node's addresses; VXLAN's port is the kernel's own.
    fn node_listeners(&self, index: usize) -> Listeners {
        let node = &self.network.nodes()[index];
        let mut ports = vec![(Protocol::TCP, None, 10_250..=10_250)];
        let config = self.cluster.kube_proxy.clone().unwrap_or_default();
        let config = config.with_defaults();
        for bound in [&config.healthz_bind_address, &config.metrics_bind_address] {
            if let Ok(socket) = bound.parse::<SocketAddr>() {
                let address = Some(socket.ip()).filter(|ip| !ip.is_unspecified());
                ports.push((Protocol::TCP, address, socket.port()..=socket.port()));
            }
        }
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

    pub(super) fn build_pod(&self, index: usize) -> Netns<Interp> {
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

    pub(super) fn build_outside(&self, host: &OutsideHost) -> Netns<Interp> {
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
}

/// The device that holds the addresses of virtual servers, so that packets for them come to INPUT.
fn ipvs_link(addresses: &[IpAddr]) -> Link {
    let link = Link::new(
        KUBE_IPVS0,
        LinkKind::Dummy,
        MacAddr::default(),
        Link::ETHERNET_MTU,
    );
    let hosts = addresses.iter().map(|&ip| (ip, Family::of(ip).bits()));
    hosts.fold(link, |link, (ip, length)| link.with_address(ip, length))
}

fn router_mac(number: usize) -> MacAddr {
    MacAddr::of_bits(0x02_00_5e_00_00_00_00_00 | number as u64)
}

pub(super) fn outside_mac(address: IpAddr) -> MacAddr {
    match address {
        IpAddr::V4(ip) => MacAddr::of_docker(ip),
        IpAddr::V6(ip) => {
            let [.., a, b, c, d, e, f] = ip.octets();
            MacAddr([(a & 0xfe) | 0x02, b, c, d, e, f])
        }
    }
}
