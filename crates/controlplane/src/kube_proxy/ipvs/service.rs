//! What service ports add: virtual servers, entries of sets, addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podwire_ruleset::L4;
use podwire_ruleset::ipvs::{
    Persistence, RealServer, Scheduler, SchedulerFlags, VirtualAddress, VirtualServer,
    VirtualServers,
};

use super::IpvsProxier;
use super::sets::{KubeSet, KubeSets, PortOf};
use crate::kube_proxy::endpoints::{Choice, NodeEndpoint};
use crate::kube_proxy::port_on_node::PortOnNode;
use crate::kube_proxy::service_ports::ProxiedPort;
use crate::kube_proxy::settings::NodePortAddresses;

/// All that does not go into iptables.
#[derive(Debug)]
pub(super) struct ProgrammedPorts<'a> {
    pub(super) virtual_servers: VirtualServers,
    pub(super) sets: KubeSets,
    pub(super) addresses: Vec<IpAddr>,
    /// Load balancer addresses that the node itself may not use, each with its service port.
    pub(super) shut: Vec<(IpAddr, &'a ProxiedPort<'a>)>,
}

impl<'a> IpvsProxier<'a> {
    /// Goes through the service ports: the loop in `syncProxyRules` (pkg/proxy/ipvs/proxier.go).
    pub(super) fn programmed_ports(&self) -> ProgrammedPorts<'a> {
        let mut writer = PortWriter {
            proxier: self,
            node_ips: self.node_ips(),
            own_addresses: self.settings.own_addresses.iter().copied().collect(),
            bound: BTreeSet::new(),
            virtual_servers: VirtualServers::new(),
            sets: KubeSets::new(self.services.family()),
            shut: Vec::new(),
        };
        for port in &self.services.ports {
            writer.write(port);
        }
        let PortWriter {
            bound,
            virtual_servers,
            mut sets,
            shut,
            ..
        } = writer;
        for &address in &bound {
            sets.add_ip(KubeSet::IpvsIps, address);
        }
        sets.sort();
        ProgrammedPorts {
            virtual_servers,
            sets,
            addresses: bound.into_iter().collect(),
            shut,
        }
    }

    /// The addresses under which node ports are open.
    fn node_ips(&self) -> Vec<IpAddr> {
        match &self.settings.node_port_addresses {
            NodePortAddresses::All => self.settings.own_addresses.clone(),
            NodePortAddresses::Some(addresses) => {
                let addresses = addresses.iter().copied();
                addresses.filter(|ip| !ip.is_loopback()).collect()
            }
        }
    }
}

struct PortWriter<'w, 'a> {
    proxier: &'w IpvsProxier<'a>,
    node_ips: Vec<IpAddr>,
    /// Addresses of the node's other devices.
    own_addresses: BTreeSet<IpAddr>,
    /// Addresses for `kube-ipvs0`.
    bound: BTreeSet<IpAddr>,
    virtual_servers: VirtualServers,
    sets: KubeSets,
    shut: Vec<(IpAddr, &'a ProxiedPort<'a>)>,
}

impl<'a> PortWriter<'_, 'a> {
    fn write(&mut self, port: &'a ProxiedPort<'a>) {
        let PortOnNode { choice, .. } =
            PortOnNode::new(port, self.proxier.node, &self.proxier.settings);
        let addresses = &port.addresses;
        let protocol = port.l4.protocol();
        let at = PortOf {
            protocol,
            port: port.port,
        };
        for endpoint in port.local_endpoints(self.proxier.node) {
            let at = PortOf {
                protocol,
                port: endpoint.port,
            };
            self.sets
                .add_ip_port_ip(KubeSet::LoopBack, endpoint.ip_text(), endpoint.address, at);
        }

        let ip = addresses.cluster_ip;
        self.sets.add_ip_port(KubeSet::ClusterIp, ip, at);
        self.bound.insert(ip);
        let internal = self.server(port, real_servers(&choice, addresses.internal_local));
        self.serve(ip, at, internal);

        if port.is_externally_accessible() {
            let server = self.server(port, real_servers(&choice, addresses.external_local));
            self.write_external(port, at, &server);
        }
        // Without an address for the node port, kube-proxy gives up on the rest of the service port.
        if addresses.health_check_node_port != 0 && !self.lacks_node_ips(port) {
            let health_check = addresses.health_check_node_port;
            self.sets
                .add_port(KubeSet::HealthCheckNodePort, health_check);
        }
    }

    fn write_external(&mut self, port: &'a ProxiedPort<'a>, at: PortOf, server: &VirtualServer) {
        let addresses = &port.addresses;
        for &ip in &addresses.external_ips {
            let set = if addresses.external_local {
                KubeSet::ExternalIpLocal
            } else {
                KubeSet::ExternalIp
            };
            self.sets.add_ip_port(set, ip, at);
            self.bind(ip);
            self.serve(ip, at, server.clone());
        }
        for &ip in &addresses.vips {
            self.write_vip(port, ip, at);
            self.bind(ip);
            self.serve(ip, at, server.clone());
        }
        if port.node_port != 0 && !self.lacks_node_ips(port) {
            self.write_node_port(port, server);
        }
    }

    /// Whether a node port is wanted and the node has no address for it.
    const fn lacks_node_ips(&self, port: &ProxiedPort<'_>) -> bool {
        port.node_port != 0 && self.node_ips.is_empty()
    }

    fn write_vip(&mut self, port: &'a ProxiedPort<'a>, ip: IpAddr, at: PortOf) {
        let addresses = &port.addresses;
        let sets = &mut self.sets;
        sets.add_ip_port(KubeSet::LoadBalancer, ip, at);
        if addresses.external_local {
            sets.add_ip_port(KubeSet::LoadBalancerLocal, ip, at);
        }
        if addresses.source_ranges.is_empty() {
            return;
        }
        sets.add_ip_port(KubeSet::LoadBalancerFw, ip, at);
        for &range in &addresses.source_ranges {
            sets.add_ip_port_net(KubeSet::LoadBalancerSourceCidr, ip, at, range);
        }
        let node_ip = self.proxier.settings.node_ip;
        if addresses
            .source_ranges
            .iter()
            .any(|range| range.contains(node_ip))
        {
            // What the node sends to the address comes from it: `kube-ipvs0` has it.
            sets.add_ip_port_ip(KubeSet::LoadBalancerSourceIp, &ip.to_string(), ip, at);
        } else {
            self.shut.push((ip, port));
        }
    }

    fn write_node_port(&mut self, port: &ProxiedPort<'_>, server: &VirtualServer) {
        let at = PortOf {
            protocol: port.l4.protocol(),
            port: port.node_port,
        };
        let (all, local) = match port.l4 {
            L4::Tcp => (KubeSet::NodePortTcp, KubeSet::NodePortLocalTcp),
            L4::Udp => (KubeSet::NodePortUdp, KubeSet::NodePortLocalUdp),
            L4::Sctp | L4::Icmp | L4::Icmp6 => (KubeSet::NodePortSctp, KubeSet::NodePortLocalSctp),
        };
        let wanted = [Some(all), port.addresses.external_local.then_some(local)];
        for set in wanted.into_iter().flatten() {
            if matches!(set, KubeSet::NodePortSctp | KubeSet::NodePortLocalSctp) {
                for &ip in &self.node_ips {
                    self.sets.add_ip_port(set, ip, at);
                }
            } else {
                self.sets.add_port(set, port.node_port);
            }
        }
        for place in 0..self.node_ips.len() {
            self.serve(self.node_ips[place], at, server.clone());
        }
    }

    /// Gives the address to `kube-ipvs0`, if no other device has it.
    fn bind(&mut self, ip: IpAddr) {
        if !self.own_addresses.contains(&ip) {
            self.bound.insert(ip);
        }
    }

    /// A later service port with the same address takes it over (`syncService`).
    fn serve(&mut self, address: IpAddr, at: PortOf, server: VirtualServer) {
        let address = VirtualAddress {
            protocol: at.protocol,
            address,
            port: at.port,
        };
        self.virtual_servers.insert(address, server);
    }

    fn server(&self, port: &ProxiedPort<'_>, real_servers: Vec<RealServer>) -> VirtualServer {
        let scheduler = self.proxier.scheduler;
        VirtualServer {
            scheduler,
            // kube-proxy calls it the source hash flag.
            flags: if scheduler == Scheduler::MaglevHashing {
                SchedulerFlags::PORT
            } else {
                SchedulerFlags::none()
            },
            persistence: port.addresses.affinity_seconds.map(|seconds| Persistence {
                timeout_seconds: seconds,
                mask_bits: self.sets.family().bits(),
            }),
            one_packet: false,
            real_servers,
        }
    }
}

/// Endpoints as real servers, in order of address: those on the node for traffic that should stay
/// there, but all where it has none (`syncEndpoint`).
fn real_servers(choice: &Choice<'_>, is_local: bool) -> Vec<RealServer> {
    const WEIGHT: u16 = 1;
    let endpoints: &[NodeEndpoint<'_>] = if is_local && !choice.local.is_empty() {
        &choice.local
    } else {
        &choice.cluster
    };
    let mut servers: Vec<_> = endpoints
        .iter()
        .map(|found| {
            let endpoint = found.endpoint;
            RealServer::masquerading(endpoint.address, endpoint.port, WEIGHT)
        })
        .collect();
    servers.sort_by_key(|server| (server.address, server.port));
    servers.dedup();
    servers
}
