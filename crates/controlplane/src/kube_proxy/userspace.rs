//! The userspace proxier: pkg/proxy/userspace of Kubernetes 1.25, the last release that has it.
//!
//! A service port becomes a socket of kube-proxy on the node, and rules that lead its addresses there:
//! a *portal*. kube-proxy takes a connection at the socket and opens one of its own to an endpoint, so
//! rules know no endpoint and the endpoint sees the node's address.
//!
//! # Map
//! - [`UserspaceProxier`]: one node. [`UserspaceHistory`]: the portals that its syncs left, their rules
//!   and [sockets](ProxySocket).
//! - `portal.rs`: the rules of one service port. `chains.rs`: the chains that they stand in.
//! - [`LoadBalancer`]: which endpoint the next connection gets.

mod chains;
mod history;
mod load_balancer;
mod portal;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::RangeInclusive;

use podwire_cluster::{Cluster, KubeProxyConfiguration, Node};
use podwire_packet::{Family, Protocol};
use podwire_ruleset::Origin;

pub use history::UserspaceHistory;
pub use load_balancer::{Dials, LoadBalancer};

use super::settings::node_ip;
use super::{ProxierError, ServicePorts};

/// Ports that proxies get where `portRange` says none: those that Linux gives to sockets that ask for
/// no port in particular (sysctl `net.ipv4.ip_local_port_range`).
const EPHEMERAL_PORTS: RangeInclusive<u16> = 32_768..=60_999;

/// kube-proxy of one node in userspace mode. It works in one family, that of the node's address.
#[derive(Clone, Debug)]
pub struct UserspaceProxier<'a> {
    services: &'a ServicePorts<'a>,
    node: &'a str,
    /// The address that the node's own connections are led to.
    host_ip: IpAddr,
    /// The address that sockets are bound to; `None` is all.
    listen_ip: Option<IpAddr>,
    ports: RangeInclusive<u16>,
}

/// A socket on which kube-proxy waits for the connections of one service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySocket {
    /// The service port, as `namespace/name:port`.
    pub name: Box<str>,
    /// Protocol: TCP or UDP.
    pub protocol: Protocol,
    /// The address it is bound to; `None` is all of the node's.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Ready endpoints of the service port, sorted by text.
    pub endpoints: Vec<(IpAddr, u16)>,
    /// Seconds of ClientIP affinity.
    pub affinity_seconds: Option<u32>,
    /// The Service.
    pub origin: Origin,
}

impl<'a> UserspaceProxier<'a> {
    /// The proxier of `node`, configured as the cluster says.
    ///
    /// # Errors
    /// [`ProxierError::UnknownNode`]; [`ProxierError::OneFamily`] where the node's address is not of
    /// the family of `services`; [`ProxierError::Loopback`].
    pub fn new(
        cluster: &'a Cluster,
        services: &'a ServicePorts<'a>,
        node: &str,
    ) -> Result<Self, ProxierError> {
        let (name, node) = super::node(cluster, node)?;
        let config = cluster.kube_proxy.clone().unwrap_or_default();
        let family = family_of(&config, node);
        if family != services.family() {
            return Err(ProxierError::OneFamily {
                node: name.to_owned(),
                family,
            });
        }
        let bound: Option<IpAddr> = config.bind_address.parse().ok();
        let listen_ip = bound.filter(|ip| !ip.is_unspecified());
        if listen_ip.is_some_and(|ip| ip.is_loopback()) {
            return Err(ProxierError::Loopback);
        }
        Ok(Self {
            services,
            node: name,
            host_ip: node_ip(&config, node, family),
            listen_ip,
            ports: config.proxy_ports().unwrap_or(EPHEMERAL_PORTS),
        })
    }

    /// The family that the proxier of a node works in.
    ///
    /// # Errors
    /// [`ProxierError::UnknownNode`].
    pub fn family_of(cluster: &Cluster, node: &str) -> Result<Family, ProxierError> {
        let (_, node) = super::node(cluster, node)?;
        let config = cluster.kube_proxy.clone().unwrap_or_default();
        Ok(family_of(&config, node))
    }
}

/// The family of the address that kube-proxy is bound to, else of the node's first InternalIP
/// (`newProxyServer`, cmd/kube-proxy/app/server_others.go).
fn family_of(config: &KubeProxyConfiguration, node: &Node) -> Family {
    let bound: Option<IpAddr> = config.bind_address.parse().ok();
    bound
        .filter(|ip| !ip.is_unspecified())
        .or_else(|| node.internal_ip())
        .map_or(Family::Ipv4, Family::of)
}
