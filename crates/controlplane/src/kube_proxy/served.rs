//! What a client must know of a service port: where it is served, and what the Service says of it.

use std::net::IpAddr;

use podwire_cluster::ObjectName;
use podwire_packet::{Prefix, Protocol};

use super::ServicePorts;
use super::service_ports::ProxiedPort;

/// A port of a Service in one family, as kube-proxy reads it from the objects.
#[derive(Clone, Debug)]
pub struct ServedPort<'a> {
    /// The Service.
    pub service: &'a ObjectName,
    /// Name of the port; empty if there is none.
    pub port_name: &'a str,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// Port on the Service's addresses.
    pub port: u16,
    /// Port on every node; 0 if there is none.
    pub node_port: u16,
    /// Its ClusterIP.
    pub cluster_ip: IpAddr,
    /// Its external IPs.
    pub external_ips: &'a [IpAddr],
    /// Load balancer addresses that packets arrive with.
    pub vips: &'a [IpAddr],
    /// Who may send to those; anybody if there is none.
    pub source_ranges: &'a [Prefix],
    /// Whether `internalTrafficPolicy` is Local.
    pub internal_local: bool,
    /// Whether `externalTrafficPolicy` is Local.
    pub external_local: bool,
    /// Whether a client keeps its endpoint.
    pub has_affinity: bool,
    /// Every endpoint, of whatever condition.
    pub endpoints: Vec<ServedEndpoint<'a>>,
}

/// An endpoint of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedEndpoint<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The node it is on, where its slice says so.
    pub node: Option<&'a str>,
    /// Whether new connections go to it.
    pub ready: bool,
    /// Whether it can still answer.
    pub serving: bool,
    /// Whether it is about to go.
    pub terminating: bool,
}

impl ServicePorts<'_> {
    /// Every service port that is proxied, in the order in which rules are written.
    pub fn served(&self) -> impl Iterator<Item = ServedPort<'_>> {
        self.ports.iter().map(served)
    }
}

fn served<'a>(port: &'a ProxiedPort<'a>) -> ServedPort<'a> {
    let addresses = &port.addresses;
    ServedPort {
        service: port.service,
        port_name: port.port_name,
        protocol: port.l4.protocol(),
        port: port.port,
        node_port: port.node_port,
        cluster_ip: addresses.cluster_ip,
        external_ips: &addresses.external_ips,
        vips: &addresses.vips,
        source_ranges: &addresses.source_ranges,
        internal_local: addresses.internal_local,
        external_local: addresses.external_local,
        has_affinity: addresses.affinity_seconds.is_some(),
        endpoints: port
            .endpoints
            .iter()
            .map(|endpoint| {
                let first = endpoint.first();
                ServedEndpoint {
                    address: endpoint.address,
                    port: endpoint.port,
                    node: first.node.as_deref(),
                    ready: first.ready,
                    serving: first.serving,
                    terminating: first.terminating,
                }
            })
            .collect(),
    }
}
