//! Service ports for those who read rules that others wrote: what each could be called there.

use std::net::IpAddr;
use std::sync::Arc;

use podwire_packet::Protocol;
use podwire_ruleset::{L4, Origin};

use super::ServicePorts;
use super::nftables::PortName;
use super::service_ports::ProxiedPort;

/// A service port and the names that kube-proxy could give its chains, whether a node has them or not.
#[derive(Clone, Copy, Debug)]
pub struct KnownPort<'s> {
    port: &'s ProxiedPort<'s>,
}

/// What a node thinks of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointConditions {
    /// `conditions.ready`.
    pub ready: bool,
    /// `conditions.serving`.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// Whether it is on that node.
    pub is_local: bool,
    /// The slice that names it.
    pub origin: Origin,
}

/// A chain's name, and the endpoint that it is for, as `ip:port`; `None` for those of the port itself.
pub type KnownChain = (Box<str>, Option<Arc<str>>);

impl ServicePorts<'_> {
    /// The service ports, in the order in which they are written.
    pub fn known_ports(&self) -> impl Iterator<Item = KnownPort<'_>> {
        self.ports.iter().map(|port| KnownPort { port })
    }
}

impl<'s> KnownPort<'s> {
    /// `namespace/name:port`, as comments have it.
    #[must_use]
    pub fn name(&self) -> &'s str {
        &self.port.name
    }

    /// Its Service.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.port.origin
    }

    /// Protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self.port.l4 {
            L4::Tcp => Protocol::TCP,
            L4::Udp => Protocol::UDP,
            L4::Sctp => Protocol::SCTP,
            L4::Icmp => Protocol::ICMP,
            L4::Icmp6 => Protocol::ICMPV6,
        }
    }

    /// Port number at its [`addresses`](Self::addresses).
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.port
    }

    /// Port on every node; 0 if there is none.
    #[must_use]
    pub const fn node_port(&self) -> u16 {
        self.port.node_port
    }

    /// Port at which its load balancer asks for local endpoints; 0 if there is none.
    #[must_use]
    pub fn health_check_node_port(&self) -> u16 {
        self.port.addresses.health_check_node_port
    }

    /// The ClusterIP, then external and load balancer addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'s> {
        let of = &self.port.addresses;
        let others = of.external_ips.iter().chain(&of.vips).copied();
        std::iter::once(of.cluster_ip).chain(others)
    }

    /// Its endpoints, whatever their conditions, as `ip:port`.
    pub fn endpoints(&self) -> impl Iterator<Item = &'s str> + use<'s> {
        self.port.endpoints.iter().map(|endpoint| &*endpoint.text)
    }

    /// What a node thinks of one of its endpoints; `None` if no slice names it.
    #[must_use]
    pub fn conditions(&self, endpoint: &str, node: &str) -> Option<EndpointConditions> {
        let endpoints = &self.port.endpoints;
        let place = endpoints.binary_search_by(|own| (*own.text).cmp(endpoint));
        Some(endpoints[place.ok()?].conditions_on(node))
    }

    /// Names of chains in iptables mode.
    pub fn iptables_chains(&self) -> impl Iterator<Item = KnownChain> + use<'s> {
        let port = self.port;
        let own = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-"].into_iter();
        let own = own.map(|prefix| (port.hash.chain(prefix).as_str().into(), None));
        own.chain(port.endpoints.iter().map(|endpoint| {
            let chain = port.endpoint_chain(endpoint);
            (chain.as_str().into(), Some(Arc::from(&*endpoint.text)))
        }))
    }

    /// Names of chains in nftables mode.
    #[must_use]
    pub fn nftables_chains(&self) -> Vec<KnownChain> {
        let name = PortName::of(self.port);
        let own = ["service-", "local-", "external-", "firewall-"].into_iter();
        let own = own.map(|prefix| (name.chain(prefix).as_str().into(), None));
        let mut chains: Vec<KnownChain> = own.collect();
        name.for_endpoints(self.port.endpoints.iter(), |chain, _, text| {
            chains.push((chain.into(), Some(Arc::from(text))));
        });
        chains
    }
}
