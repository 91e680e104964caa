//! Who is where: every address gets its owner, every device its wire.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podwire_cluster::{ObjectName, Pod};
use podwire_controlplane::cni::{NodeNetwork, PodNetwork};
use podwire_dataplane::LinkKind;
use podwire_packet::{DeviceName, MacAddr, Prefix};

use super::building::{WAN, outside_mac};
use super::{OutsideHost, PodPlace, World};
use crate::topology::{End, NetnsId, Vertex};

impl World<'_> {
    pub(super) fn place_nodes(&mut self) {
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
            for nic in &node.nics {
                if let Some(segment) = nic.networks().next() {
                    let end = End {
                        at: NetnsId::Node(index),
                        device: nic.name,
                        mac: PodNetwork::nic_mac(node, nic),
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
    }

    pub(super) fn place_pods(&mut self) {
        let cluster = self.cluster;
        let running = |pod: &&Pod| !pod.host_network && !pod.finished && !pod.ips.is_empty();
        for pod in cluster.pods.values().filter(running) {
            let node = pod.node.as_ref().and_then(|node| self.node_index(node));
            if let Some(node) = node.or_else(|| self.node_of_range(pod.ips[0])) {
                self.add_pod(Some(pod.meta.name.clone()), node, pod.ips.clone());
            }
        }
    }

    pub(super) fn place_endpoints(&mut self) {
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
                if self.owners.contains_key(&ip) || self.absent.contains(&ip) {
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

    /// Keeps who has an address without being an object, and was not said to be gone: that a slice no
    /// longer lists a pod does not end it.
    pub(crate) fn keep_places(&mut self, before: &World<'_>) {
        let of_objects: BTreeSet<IpAddr> = before
            .cluster
            .pods
            .values()
            .flat_map(|pod| pod.ips.iter().copied())
            .collect();
        for pod in &before.pods {
            let ip = pod.addresses[0];
            let node = self.node_index(&before.network.nodes()[pod.node].name);
            if let Some(node) = node.filter(|_| !of_objects.contains(&ip) && self.is_free(ip)) {
                self.add_pod(pod.name.clone(), node, vec![ip]);
            }
        }
        for host in &before.outside {
            if self.is_free(host.address) {
                self.add_outside(host.address);
            }
        }
    }

    /// Whether somebody may have an address that nobody has.
    fn is_free(&self, ip: IpAddr) -> bool {
        !self.owners.contains_key(&ip) && !self.absent.contains(&ip) && !self.is_service_address(ip)
    }

    fn add_pod(&mut self, name: Option<ObjectName>, node: usize, addresses: Vec<IpAddr>) {
        let index = self.pods.len();
        let at = NetnsId::Pod(index);
        for &ip in &addresses {
            self.owners.entry(ip).or_insert(at);
        }
        let network = &self.network.nodes()[node];
        let mac = PodNetwork::pod_mac(network, addresses[0]);
        let port = self.network.port_name(network, addresses[0]);
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
        let strays = addresses.iter().filter(|&&ip| !network.holds(ip));
        self.strays.extend(strays.map(|&ip| (ip, node)));
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
            || address.is_unspecified()
            || address.is_multicast()
            || address == IpAddr::from([255, 255, 255, 255])
        {
            return;
        }
        match self.node_of_range(address) {
            Some(node) => self.add_pod(None, node, vec![address]),
            None => self.add_outside(address),
        }
    }
}
