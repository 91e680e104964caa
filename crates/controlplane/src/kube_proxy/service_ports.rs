//! Which service ports reach the proxier, with their endpoints.

mod update;

pub use update::SliceChange;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use podwire_cluster::{
    AddressKind, Cluster, EndpointSlice, IpMode, Labels, Meta, ObjectName, Service, ServiceType,
    TrafficPolicy,
};
use podwire_packet::{Family, Prefix, Protocol};
use podwire_ruleset::{L4, Origin};

use super::KubeProxyVersion;
use super::endpoints::{Endpoints, ProxiedEndpoint};
use super::names::{ChainHash, printed_name};
use super::provenance::{ObjectKind, Provenance};

/// More endpoints than this, of all service ports, and comments are left out of the rules that
/// grow with endpoints (`largeClusterEndpointsThreshold`, pkg/proxy/iptables/proxier.go).
const LARGE_CLUSTER_ENDPOINTS: usize = 1000;

/// A port of a Service, as the proxier of one family sees it.
#[derive(Clone, Debug)]
pub(super) struct ProxiedPort<'a> {
    /// The Service it belongs to.
    pub(super) service: &'a ObjectName,
    /// Name of the port; empty if there is none.
    pub(super) port_name: &'a str,
    /// `namespace/name:port`.
    pub(super) name: Box<str>,
    /// What its chains are called by.
    pub(super) hash: ChainHash,
    /// Protocol.
    pub(super) l4: L4,
    /// Port number.
    pub(super) port: u16,
    /// Port on every node; 0 if there is none.
    pub(super) node_port: u16,
    /// What all ports of the Service share.
    pub(super) addresses: Arc<ServiceAddresses>,
    /// Who its own rules come from.
    pub(super) origin: Origin,
    /// Its endpoints, sorted by text.
    pub(super) endpoints: Vec<ProxiedEndpoint<'a>>,
}

/// Addresses and policies of a Service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceAddresses {
    pub(super) cluster_ip: IpAddr,
    pub(super) external_ips: Vec<IpAddr>,
    /// Load balancer addresses that packets arrive with.
    pub(super) vips: Vec<IpAddr>,
    pub(super) source_ranges: Vec<Prefix>,
    /// 0 if there is none.
    pub(super) health_check_node_port: u16,
    pub(super) internal_local: bool,
    pub(super) external_local: bool,
    /// Whether an annotation asks for topology aware routing.
    pub(super) topology_mode: bool,
    /// Seconds of ClientIP affinity.
    pub(super) affinity_seconds: Option<u32>,
}

impl ProxiedPort<'_> {
    /// Whether traffic from outside the cluster has an address for it (`ExternallyAccessible`).
    pub(super) fn is_externally_accessible(&self) -> bool {
        self.node_port != 0
            || !self.addresses.vips.is_empty()
            || !self.addresses.external_ips.is_empty()
    }

    /// Whether any of its traffic may go to every endpoint. With an external policy of Local that is
    /// traffic of the node itself and its pods (`UsesClusterEndpoints`, pkg/proxy/serviceport.go).
    pub(super) fn uses_cluster_endpoints(&self) -> bool {
        !self.addresses.internal_local || self.is_externally_accessible()
    }

    /// Whether any of its traffic must stay on the node (`UsesLocalEndpoints`).
    pub(super) fn uses_local_endpoints(&self) -> bool {
        self.addresses.internal_local
            || (self.addresses.external_local && self.is_externally_accessible())
    }
}

/// A Service whose endpoints on a node its load balancer asks for.
#[derive(Clone, Debug)]
pub(super) struct HealthCheckPort<'a> {
    pub(super) service: &'a ObjectName,
    pub(super) port: u16,
    /// On all ports that the slices name.
    pub(super) endpoints: Endpoints<'a>,
}

/// Slices by namespace and name of their Service, each with its place in the [`Provenance`].
pub(super) type SlicesByService<'a> = BTreeMap<(&'a str, &'a str), Vec<(&'a EndpointSlice, usize)>>;

/// All service ports of a cluster in one family, in the order in which they are written.
///
/// kube-proxy keeps them in a Go map and so writes them in random order; here they come by
/// namespace, name, port name and protocol, compared as bytes. They are the same for every node, so
/// one value serves the proxiers of all.
#[derive(Clone, Debug)]
pub struct ServicePorts<'a> {
    pub(super) ports: Vec<ProxiedPort<'a>>,
    pub(super) health_checks: Vec<HealthCheckPort<'a>>,
    /// Slices by namespace and name of their Service.
    pub(super) slices: SlicesByService<'a>,
    pub(super) family: Family,
    /// Of all service ports.
    endpoint_count: usize,
    /// Who rules come from that no Service asks for.
    pub(super) base_origin: Origin,
    provenance: Arc<Provenance>,
}

impl<'a> ServicePorts<'a> {
    /// Collects the service ports of `cluster` that have a ClusterIP of `family`, and their
    /// endpoints; names are those of `version`.
    #[must_use]
    pub fn new(cluster: &'a Cluster, family: Family, version: KubeProxyVersion) -> Self {
        let mut provenance = Provenance::default();
        let base = provenance.add_kube_proxy(cluster.kube_proxy_source);
        let services: Vec<_> = cluster
            .services
            .values()
            .filter(|service| is_seen(&service.meta))
            .filter_map(|service| Some((service, ServiceAddresses::of(service, family)?)))
            .map(|(service, addresses)| {
                let place = provenance.add(ObjectKind::Service, &service.meta);
                (service, Arc::new(addresses), place)
            })
            .collect();
        let seen = cluster.endpoint_slices.values();
        let seen = seen.filter_map(|slice| Some((service_of(slice, family)?, slice)));
        let mut seen: Vec<_> = seen
            .map(|(key, slice)| {
                (
                    key,
                    (
                        slice,
                        provenance.add(ObjectKind::EndpointSlice, &slice.meta),
                    ),
                )
            })
            .collect();
        // Slices of a Service keep their order, which is by name.
        seen.sort_by_key(|&(key, _)| key);
        let slices: SlicesByService<'_> = seen
            .chunk_by(|(a, _), (b, _)| a == b)
            .filter_map(|of| Some((of.first()?.0, of.iter().map(|&(_, slice)| slice).collect())))
            .collect();

        let endpoints = seen.iter().map(|(_, (slice, _))| slice.endpoints.len());
        provenance.reserve_endpoints(endpoints.sum());
        let mut ports = Vec::with_capacity(services.len());
        let mut health_checks = Vec::new();
        let mut endpoint_count = 0;
        // Both come by namespace and name.
        let mut by_service = slices.iter().peekable();
        for (service, addresses, place) in services {
            let key = (&*service.meta.name.namespace, &*service.meta.name.name);
            // Slices of Services that are not proxied count too.
            while let Some((_, others)) = by_service.next_if(|(of, _)| **of < key) {
                endpoint_count += Endpoints::of_slices(others, family).count();
            }
            let own = by_service.next_if(|(of, _)| **of == key);
            let slices = own.map_or(&[][..], |(_, slices)| slices.as_slice());
            let endpoints = Endpoints::of_slices(slices, family);
            endpoint_count += endpoints.count();
            let first = ports.len();
            for port in &service.ports {
                let Some((l4, protocol)) = proxied_protocol(port.protocol) else {
                    continue;
                };
                let name = printed_name(version, key.0, key.1, &port.name);
                let endpoints = endpoints.of_port(&port.name, port.protocol, |slice, endpoint| {
                    provenance.add_endpoint(slice, endpoint)
                });
                ports.push(ProxiedPort {
                    service: &service.meta.name,
                    port_name: &port.name,
                    hash: ChainHash::of_service_port(&name, protocol),
                    name: name.into(),
                    l4,
                    port: port.port,
                    node_port: port.node_port,
                    addresses: Arc::clone(&addresses),
                    origin: Provenance::object(place),
                    endpoints,
                });
            }
            if addresses.health_check_node_port != 0 {
                health_checks.push(HealthCheckPort {
                    service: &service.meta.name,
                    port: addresses.health_check_node_port,
                    endpoints,
                });
            }
            // Services come by name already.
            ports[first..].sort_by_key(|port| (port.port_name, l4_rank(port.l4)));
        }
        endpoint_count += by_service
            .map(|(_, others)| Endpoints::of_slices(others, family).count())
            .sum::<usize>();
        Self {
            ports,
            health_checks,
            slices,
            family,
            endpoint_count,
            base_origin: Provenance::object(base),
            provenance: Arc::new(provenance),
        }
    }

    /// The family.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// How many service ports there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Whether comments are left out of endpoints' rules: more than 1,000 endpoints of any condition.
    #[must_use]
    pub const fn is_large_cluster(&self) -> bool {
        self.endpoint_count > LARGE_CLUSTER_ENDPOINTS
    }

    /// What the origins of the rules stand for.
    #[must_use]
    pub const fn provenance(&self) -> &Arc<Provenance> {
        &self.provenance
    }
}

impl ServiceAddresses {
    /// `None` if the proxier of that family has nothing to do for the Service.
    fn of(service: &Service, family: Family) -> Option<Self> {
        // `ExternalPolicyLocal`, pkg/api/v1/service/util.go.
        let external_local = service.external_traffic_policy == TrafficPolicy::Local
            && match service.kind {
                ServiceType::LoadBalancer | ServiceType::NodePort => true,
                ServiceType::ClusterIp => !service.external_ips.is_empty(),
                ServiceType::ExternalName => false,
            };
        Some(Self {
            cluster_ip: cluster_ip(service, family)?,
            external_ips: of_family(service.external_ips.iter(), family),
            vips: of_family(
                service
                    .load_balancer
                    .iter()
                    .filter(|ingress| ingress.ip_mode == IpMode::Vip)
                    .map(|ingress| &ingress.ip),
                family,
            ),
            source_ranges: service
                .load_balancer_source_ranges
                .iter()
                .filter(|range| range.contains('/'))
                .filter_map(|range| range.trim().parse::<Prefix>().ok())
                .filter(|range| range.family() == family)
                .collect(),
            health_check_node_port: if service.kind == ServiceType::LoadBalancer && external_local {
                service.health_check_node_port
            } else {
                0
            },
            internal_local: service.internal_traffic_policy == TrafficPolicy::Local,
            external_local,
            topology_mode: asks_for_topology(&service.meta.annotations),
            affinity_seconds: service
                .session_affinity
                .map(|affinity| u32::try_from(affinity.timeout.as_secs()).unwrap_or(u32::MAX)),
        })
    }
}

/// Namespace and name of the Service that a slice is of, if the proxier of that family sees it.
fn service_of(slice: &EndpointSlice, family: Family) -> Option<(&str, &str)> {
    let kind = match family {
        Family::Ipv4 => AddressKind::Ipv4,
        Family::Ipv6 => AddressKind::Ipv6,
    };
    let service = slice.meta.labels.get("kubernetes.io/service-name")?;
    let is_seen = slice.address_type == kind && is_seen(&slice.meta);
    is_seen.then_some((&*slice.meta.name.namespace, &**service))
}

/// Whether kube-proxy's informers list the object.
fn is_seen(meta: &Meta) -> bool {
    [
        "service.kubernetes.io/service-proxy-name",
        "service.kubernetes.io/headless",
    ]
    .iter()
    .all(|label| !meta.labels.contains_key(*label))
}

/// The ClusterIP of a family (`GetClusterIPByFamily`, pkg/proxy/util/utils.go).
fn cluster_ip(service: &Service, family: Family) -> Option<IpAddr> {
    let first = service.cluster_ips.first()?;
    if service.kind == ServiceType::ExternalName || first.is_empty() || &**first == "None" {
        return None;
    }
    let text = if service.ip_families.is_empty() {
        first
    } else {
        let families = service.ip_families.iter();
        let (_, text) = families
            .zip(&service.cluster_ips)
            .find(|(of, _)| **of == family)?;
        text
    };
    parse_ip(text).filter(|&ip| Family::of(ip) == family)
}

/// Whether an annotation asks for it; any word but these two does. The older annotation comes first.
fn asks_for_topology(annotations: &Labels) -> bool {
    annotations
        .get("service.kubernetes.io/topology-aware-hints")
        .or_else(|| annotations.get("service.kubernetes.io/topology-mode"))
        .is_some_and(|mode| !matches!(&**mode, "" | "disabled" | "Disabled"))
}

fn of_family<'a>(texts: impl Iterator<Item = &'a Box<str>>, family: Family) -> Vec<IpAddr> {
    texts
        .filter_map(|text| parse_ip(text))
        .filter(|&ip| Family::of(ip) == family)
        .collect()
}

/// Reads an address as `ParseIPSloppy` of k8s.io/utils does: IPv4 numbers may begin with zeros and
/// are decimal all the same; an IPv4 address mapped into IPv6 is IPv4.
pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    let parsed: Option<IpAddr> = text.parse().ok();
    let parsed = parsed.or_else(|| {
        let numbers: Vec<&str> = text
            .split('.')
            .map(|number| match number.trim_start_matches('0') {
                "" if !number.is_empty() => "0",
                rest => rest,
            })
            .collect();
        numbers.join(".").parse().ok()
    });
    parsed.map(|ip| ip.to_canonical())
}

/// The module of a protocol that Services may have, and its name in rules and hashes.
fn proxied_protocol(protocol: Protocol) -> Option<(L4, &'static str)> {
    match protocol {
        Protocol::TCP => Some((L4::Tcp, "tcp")),
        Protocol::UDP => Some((L4::Udp, "udp")),
        Protocol::SCTP => Some((L4::Sctp, "sctp")),
        _ => None,
    }
}

/// SCTP, TCP, UDP: by name.
const fn l4_rank(l4: L4) -> u8 {
    match l4 {
        L4::Sctp => 0,
        L4::Tcp => 1,
        L4::Udp => 2,
        L4::Icmp | L4::Icmp6 => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_go_reads_them() {
        for (text, ip) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("010.000.0.09", Some("10.0.0.9")),
            ("2001:0DB8:0:0::9", Some("2001:db8::9")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("10..0.1", None),
            ("", None),
            ("web", None),
        ] {
            assert_eq!(parse_ip(text).map(|ip| ip.to_string()).as_deref(), ip);
        }
    }

    #[test]
    fn the_older_topology_annotation_comes_first() {
        let annotations = |pairs: &[(&str, &str)]| -> Labels {
            pairs
                .iter()
                .map(|&(key, value)| (key.into(), value.into()))
                .collect()
        };
        let mode = "service.kubernetes.io/topology-mode";
        let hints = "service.kubernetes.io/topology-aware-hints";
        assert!(asks_for_topology(&annotations(&[(mode, "Auto")])));
        assert!(asks_for_topology(&annotations(&[(mode, "whatever")])));
        assert!(!asks_for_topology(&annotations(&[(mode, "Disabled")])));
        assert!(!asks_for_topology(&annotations(&[])));
        assert!(!asks_for_topology(&annotations(&[
            (mode, "Auto"),
            (hints, "disabled")
        ])));
    }
}
