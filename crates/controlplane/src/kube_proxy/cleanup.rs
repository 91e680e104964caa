//! Which connections a sync makes the kernel forget, all of UDP: those that were translated, or not,
//! by what the Services were before, and that packets of the same flow would go on following.
//!
//! Three generations of kube-proxy do it differently:
//!
//! | release | entries that are deleted |
//! |---|---|
//! | to 1.31 | by event: to an endpoint that is gone, to a Service that had no endpoint, to a deleted one |
//! | from 1.32 | whatever is to a port of a Service with endpoints and not at one of them |
//! | from 1.37 | those at a Service without endpoints too (kubernetes#139628) |
//!
//! Sources: `CleanStaleEntries`, pkg/proxy/conntrack/cleanup.go of 1.30 and of 1.32;
//! `detectStaleConntrackEntries`, pkg/proxy/endpointschangetracker.go; kubernetes#139629.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use podwire_dataplane::Connection;
use podwire_packet::{Family, FiveTuple, Protocol};
use podwire_ruleset::L4;

use super::endpoints::Endpoints;
use super::service_ports::ProxiedPort;
use super::{KubeProxyVersion, ServicePorts};

/// Connections that are forgotten because of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConntrackClear {
    /// Entries whose first packet went to this node port.
    NodePort(u16),
    /// Entries whose first packet went to this node port, and was translated to that endpoint.
    NodePortToEndpoint {
        /// The node port.
        port: u16,
        /// The endpoint.
        endpoint: IpAddr,
    },
    /// Entries whose first packet went to this address.
    OriginalDestination(IpAddr),
    /// Entries whose first packet went to that address and was translated to that endpoint.
    ToEndpoint {
        /// The address.
        original: IpAddr,
        /// The endpoint.
        endpoint: IpAddr,
    },
}

impl ConntrackClear {
    /// Whether a connection is one of them.
    #[must_use]
    pub fn deletes(&self, connection: &Connection) -> bool {
        let Connection {
            original, reply, ..
        } = connection;
        original.protocol == Protocol::UDP
            && match *self {
                Self::NodePort(port) => original.dport == port,
                Self::NodePortToEndpoint { port, endpoint } => {
                    original.dport == port && reply.src == endpoint
                }
                Self::OriginalDestination(ip) => original.dst == ip,
                Self::ToEndpoint {
                    original: ip,
                    endpoint,
                } => original.dst == ip && reply.src == endpoint,
            }
    }
}

impl fmt::Display for ConntrackClear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodePort(port) => write!(f, "clear dport {port} proto udp"),
            Self::NodePortToEndpoint { port, endpoint } => {
                write!(f, "clear dport {port} dst-nat {endpoint} proto udp")
            }
            Self::OriginalDestination(ip) => write!(f, "clear orig-dst {ip} proto udp"),
            Self::ToEndpoint { original, endpoint } => {
                write!(f, "clear orig-dst {original} dst-nat {endpoint} proto udp")
            }
        }
    }
}

/// What the events between two syncs make kube-proxy delete; `before` is `None` at the first sync, where
/// no Service had an endpoint before. Each is named once, sorted as text.
///
/// Endpoints are what slices say, whether or not there was a Service for them: one that comes after its
/// slices has none that are new.
pub(super) fn cleared(
    before: Option<&ServicePorts<'_>>,
    after: &ServicePorts<'_>,
    node: &str,
) -> Vec<ConntrackClear> {
    let mut clears = BTreeSet::new();
    let is_udp = |port: &&ProxiedPort<'_>| port.l4 == L4::Udp;
    let earlier_ports = before.into_iter().flat_map(|services| &services.ports);
    let mut deleted: BTreeMap<_, _> = earlier_ports
        .filter(is_udp)
        .map(|port| (port.key(), port.addresses.cluster_ip))
        .collect();
    for port in after.ports.iter().filter(is_udp) {
        deleted.remove(&port.key());
        let key = (&*port.service.namespace, &*port.service.name);
        let earlier = before.and_then(|services| services.slices.get(&key));
        let earlier = Endpoints::of_slices(earlier.map_or(&[], Vec::as_slice), after.family);
        let serving = || earlier.serving(port.port_name, Protocol::UDP, node);
        if serving().next().is_none() && port.endpoints.iter().any(|e| e.is_serving_on(node)) {
            clears.extend(
                port.all_addresses()
                    .map(ConntrackClear::OriginalDestination),
            );
            if port.node_port != 0 {
                clears.insert(ConntrackClear::NodePort(port.node_port));
            }
        }
        // One that stays and stops serving is not looked for.
        let gone =
            serving().filter(|(text, _)| !port.endpoints.iter().any(|now| &*now.text == *text));
        for (_, endpoint) in gone {
            let to_endpoint = |original| ConntrackClear::ToEndpoint { original, endpoint };
            clears.extend(port.all_addresses().map(to_endpoint));
            if port.node_port != 0 {
                let port = port.node_port;
                clears.insert(ConntrackClear::NodePortToEndpoint { port, endpoint });
            }
        }
    }
    clears.extend(
        deleted
            .into_values()
            .map(ConntrackClear::OriginalDestination),
    );
    let mut clears: Vec<_> = clears.into_iter().collect();
    clears.sort_by_cached_key(ConntrackClear::to_string);
    clears
}

/// What a sync does to a node's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Deletes what events name.
    Events(Vec<ConntrackClear>),
    /// Deletes what no longer fits.
    Reconcile {
        /// Endpoints that serve, by the address and port of their Service.
        by_address: BTreeMap<(IpAddr, u16), BTreeSet<IpAddr>>,
        /// The same by node port.
        by_node_port: BTreeMap<(Family, u16), BTreeSet<IpAddr>>,
    },
}

impl Cleanup {
    /// That of a sync on a node, after a sync of `before` or as the first one.
    #[must_use]
    pub fn new(
        version: KubeProxyVersion,
        before: Option<&ServicePorts<'_>>,
        after: &ServicePorts<'_>,
        node: &str,
    ) -> Self {
        let is_since = |minor| (version.major, version.minor) >= (1, minor);
        if !is_since(32) {
            return Self::Events(cleared(before, after, node));
        }
        let mut by_address = BTreeMap::new();
        let mut by_node_port = BTreeMap::new();
        for port in after.ports.iter().filter(|port| port.l4 == L4::Udp) {
            let serving = port.endpoints.iter().filter(|e| e.is_serving_on(node));
            let serving: BTreeSet<IpAddr> = serving.map(|endpoint| endpoint.address).collect();
            if serving.is_empty() && !is_since(37) {
                continue;
            }
            for ip in port.all_addresses() {
                by_address.insert((ip, port.port), serving.clone());
            }
            if port.node_port != 0 {
                by_node_port.insert((after.family, port.node_port), serving);
            }
        }
        Self::Reconcile {
            by_address,
            by_node_port,
        }
    }

    /// What events name; nothing where what no longer fits is looked for.
    #[must_use]
    pub fn clears(&self) -> &[ConntrackClear] {
        match self {
            Self::Events(clears) => clears,
            Self::Reconcile { .. } => &[],
        }
    }

    /// Whether it deletes a connection.
    #[must_use]
    pub fn deletes(&self, connection: &Connection) -> bool {
        match self {
            Self::Events(clears) => clears.iter().any(|clear| clear.deletes(connection)),
            Self::Reconcile {
                by_address,
                by_node_port,
            } => {
                let FiveTuple {
                    dst,
                    dport,
                    protocol,
                    ..
                } = connection.original;
                let is_gone = |serving: &BTreeSet<IpAddr>| !serving.contains(&connection.reply.src);
                protocol == Protocol::UDP
                    && (by_address.get(&(dst, dport)).is_some_and(is_gone)
                        || by_node_port
                            .get(&(Family::of(dst), dport))
                            .is_some_and(is_gone))
            }
        }
    }
}

impl ProxiedPort<'_> {
    /// What it is to kube-proxy among ports of one protocol: the Service, and the port's name.
    fn key(&self) -> (&str, &str, &str) {
        let service = self.service;
        (&service.namespace, &service.name, self.port_name)
    }

    /// ClusterIP, external addresses and those of load balancers.
    fn all_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = &self.addresses;
        let externals = addresses.external_ips.iter().chain(&addresses.vips);
        std::iter::once(&addresses.cluster_ip)
            .chain(externals)
            .copied()
    }
}
