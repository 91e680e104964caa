//! Endpoints of a service port: merged from its slices, and chosen for a node.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::OnceLock;

use podwire_cluster::{Endpoint, EndpointSlice};
use podwire_packet::{Family, Protocol};
use podwire_ruleset::digits::push_number;
use podwire_ruleset::{ChainName, Origin};

use super::endpoint_text::{EndpointText, ip_and_port};
use super::known_port::EndpointConditions;
use super::names::ChainHash;
use super::service_ports::{ProxiedPort, parse_ip};

/// An endpoint as one slice names it.
#[derive(Clone, Debug)]
pub(super) struct Found<'a> {
    port_name: &'a str,
    protocol: Protocol,
    /// `ip:port`, the address as written; IPv6 in brackets.
    text: EndpointText,
    address: IpAddr,
    /// Whether the address is written as it would be printed.
    is_canonical: bool,
    port: u16,
    endpoint: &'a Endpoint,
    slice: usize,
}

impl Found<'_> {
    /// Compares by port name, protocol and text.
    fn by_key(&self, other: &Self) -> Ordering {
        // Most of a Service's endpoints are of one port of one slice.
        let by_name = if std::ptr::eq(self.port_name, other.port_name) {
            Ordering::Equal
        } else {
            self.port_name.cmp(other.port_name)
        };
        let by_port = by_name.then(self.protocol.cmp(&other.protocol));
        by_port.then_with(|| self.text.cmp(&other.text))
    }
}

/// The endpoints of one Service, by port name and protocol.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoints<'a> {
    /// Sorted by port name, protocol and text; equal ones in the order of the slices.
    found: Vec<Found<'a>>,
}

impl<'a> Endpoints<'a> {
    /// Collects what kube-proxy takes from the slices (`endpointInfoByServicePort` and `addEndpoints`,
    /// pkg/proxy/endpointslicecache.go): ports with a name, if only an empty one, and a number; first
    /// addresses of the family. A slice is given with its place in the provenance.
    ///
    /// kube-proxy walks slices in random order; here they keep their order, which is by name. It takes
    /// an IPv4 address that cannot be read for a text; here such an endpoint, which the API refuses,
    /// is left out.
    pub(super) fn of_slices(slices: &[(&'a EndpointSlice, usize)], family: Family) -> Self {
        let room = slices
            .iter()
            .map(|(slice, _)| slice.ports.len() * slice.endpoints.len());
        let mut found = Vec::with_capacity(room.sum());
        let mut text = String::new();
        for &(slice, place) in slices {
            for slice_port in &slice.ports {
                let (Some(port_name), Some(port @ 1..)) = (&slice_port.name, slice_port.port)
                else {
                    continue;
                };
                for endpoint in &slice.endpoints {
                    let Some(ip_text) = endpoint.addresses.first() else {
                        continue;
                    };
                    let Some((address, is_canonical)) =
                        read_ip(ip_text).filter(|&(ip, _)| Family::of(ip) == family)
                    else {
                        continue;
                    };
                    write_socket(&mut text, ip_text, port);
                    found.push(Found {
                        port_name,
                        protocol: slice_port.protocol,
                        text: EndpointText::from(text.as_str()),
                        address,
                        is_canonical,
                        port,
                        endpoint,
                        slice: place,
                    });
                }
            }
        }
        found.sort_by(Found::by_key);
        Self { found }
    }

    /// How many different endpoints there are on all ports.
    pub(super) fn count(&self) -> usize {
        by_key(&self.found).count()
    }

    /// How many addresses of ready endpoints are on a node (`getLocalReadyEndpointIPs`,
    /// pkg/proxy/endpointschangetracker.go), on whatever port.
    pub(super) fn count_local_ready(&self, node: &str) -> usize {
        let mut addresses: Vec<&str> = by_key(&self.found)
            .filter_map(|(first, others)| {
                let (chosen, is_local) = on_node(node, first, others, |found| found.endpoint);
                (is_local && chosen.endpoint.ready).then(|| ip_and_port(&chosen.text).0)
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.len()
    }

    /// The endpoints of a service port that serve, as a node sees them: texts and addresses.
    pub(super) fn serving(
        &self,
        port_name: &str,
        protocol: Protocol,
        node: &str,
    ) -> impl Iterator<Item = (&str, IpAddr)> {
        let of_port = self.of_name(port_name, protocol);
        by_key(of_port).filter_map(move |(first, others)| {
            let (chosen, _) = on_node(node, first, others, |found| found.endpoint);
            chosen
                .endpoint
                .serving
                .then_some((&*first.text, first.address))
        })
    }

    /// What was found for a port's name and protocol.
    fn of_name(&self, port_name: &str, protocol: Protocol) -> &[Found<'a>] {
        let wanted = (port_name, protocol);
        let found = &self.found;
        let start = found.partition_point(|f| (f.port_name, f.protocol) < wanted);
        let end = found.partition_point(|f| (f.port_name, f.protocol) <= wanted);
        &found[start..end]
    }

    /// The endpoints of a service port, sorted by text; `origin` numbers each by its slice and text.
    pub(super) fn of_port(
        &self,
        port_name: &str,
        protocol: Protocol,
        mut origin: impl FnMut(usize, &EndpointText) -> Origin,
    ) -> Vec<ProxiedEndpoint<'a>> {
        by_key(self.of_name(port_name, protocol))
            .map(|(first, others)| {
                let mut occurrence = |found: &Found<'a>| Occurrence {
                    endpoint: found.endpoint,
                    origin: origin(found.slice, &found.text),
                };
                ProxiedEndpoint {
                    text: first.text.clone(),
                    address: first.address,
                    is_canonical: first.is_canonical,
                    port: first.port,
                    chain: OnceLock::new(),
                    first: occurrence(first),
                    others: others.iter().map(occurrence).collect(),
                }
            })
            .collect()
    }
}

/// Writes an endpoint's text: `ip:port`, the address as written; IPv6 in brackets.
fn write_socket(text: &mut String, ip_text: &str, port: u16) {
    text.clear();
    if ip_text.contains(':') {
        text.push('[');
        text.push_str(ip_text);
        text.push(']');
    } else {
        text.push_str(ip_text);
    }
    text.push(':');
    push_number(text, port.into());
}

/// Reads an address, and says whether it would be printed so.
fn read_ip(text: &str) -> Option<(IpAddr, bool)> {
    if let Ok(ip) = text.parse() {
        return Some((IpAddr::V4(ip), true));
    }
    let ip = parse_ip(text)?;
    Some((ip, ip.is_ipv6() && ip.to_string() == text))
}

/// Goes through endpoints that are the same, with the first of each.
fn by_key<'f, 'a>(
    found: &'f [Found<'a>],
) -> impl Iterator<Item = (&'f Found<'a>, &'f [Found<'a>])> {
    found
        .chunk_by(|a, b| a.by_key(b).is_eq())
        .filter_map(<[_]>::split_first)
}

/// Whose word holds on a node about an endpoint that several slices name, and whether it is local:
/// the first one's, unless a later one says that it is local.
fn on_node<'o, T>(
    node: &str,
    first: &'o T,
    others: &'o [T],
    endpoint: impl Fn(&T) -> &Endpoint,
) -> (&'o T, bool) {
    let is_local = |occurrence: &&T| endpoint(occurrence).node.as_deref() == Some(node);
    match others.iter().rfind(is_local) {
        Some(local) => (local, true),
        None => (first, is_local(&first)),
    }
}

/// An endpoint in one slice.
#[derive(Clone, Copy, Debug)]
struct Occurrence<'a> {
    endpoint: &'a Endpoint,
    origin: Origin,
}

/// An endpoint of a service port.
#[derive(Clone, Debug)]
pub(super) struct ProxiedEndpoint<'a> {
    /// `ip:port`, as written.
    pub(super) text: EndpointText,
    /// The address.
    pub(super) address: IpAddr,
    /// Port number.
    pub(super) port: u16,
    /// Whether the address is written as it would be printed. Dotted numbers are, unless they begin
    /// with zeros, which only Go reads.
    pub(super) is_canonical: bool,
    /// The chain that translates to it, once somebody asked for its name.
    chain: OnceLock<ChainName>,
    first: Occurrence<'a>,
    others: Box<[Occurrence<'a>]>,
}

impl ProxiedEndpoint<'_> {
    /// Who rules about it may come from.
    pub(super) fn origins(&self) -> impl Iterator<Item = Origin> {
        let all = std::iter::once(&self.first).chain(&self.others);
        all.map(|occurrence| occurrence.origin)
    }

    /// The address as written.
    pub(super) fn ip_text(&self) -> &str {
        ip_and_port(&self.text).0
    }

    /// Whether it serves, as a node sees it.
    pub(super) fn is_serving_on(&self, node: &str) -> bool {
        self.on(node).slice_endpoint.serving
    }

    /// What a node thinks of it.
    pub(super) fn conditions_on(&self, node: &str) -> EndpointConditions {
        let on_node = self.on(node);
        let endpoint = on_node.slice_endpoint;
        EndpointConditions {
            ready: endpoint.ready,
            serving: endpoint.serving,
            terminating: endpoint.terminating,
            is_local: on_node.is_local,
            origin: on_node.origin,
        }
    }

    /// Whether it is ready, as a node sees it.
    pub(super) fn is_ready_on(&self, node: &str) -> bool {
        self.on(node).is_ready()
    }

    /// The endpoint of the first slice that has it.
    pub(super) const fn first(&self) -> &Endpoint {
        self.first.endpoint
    }

    fn on(&self, node: &str) -> NodeEndpoint<'_> {
        let (chosen, is_local) = on_node(node, &self.first, &self.others, |o| o.endpoint);
        NodeEndpoint {
            endpoint: self,
            is_local,
            slice_endpoint: chosen.endpoint,
            origin: chosen.origin,
        }
    }
}

impl<'a> ProxiedPort<'a> {
    /// The name of the chain that translates to one of its endpoints.
    pub(super) fn endpoint_chain<'e>(&self, endpoint: &'e ProxiedEndpoint<'_>) -> &'e ChainName {
        endpoint.chain.get_or_init(|| {
            ChainHash::of_endpoint(&self.name, self.l4.name(), &endpoint.text).chain("KUBE-SEP-")
        })
    }

    /// Its endpoints on a node, of any condition.
    pub(super) fn local_endpoints(&self, node: &str) -> impl Iterator<Item = &ProxiedEndpoint<'a>> {
        let endpoints = self.endpoints.iter();
        endpoints.filter(move |endpoint| endpoint.on(node).is_local)
    }
}

/// An endpoint in the eyes of one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeEndpoint<'p> {
    /// The endpoint.
    pub(super) endpoint: &'p ProxiedEndpoint<'p>,
    /// Who rules about it come from.
    pub(super) origin: Origin,
    is_local: bool,
    slice_endpoint: &'p Endpoint,
}

impl NodeEndpoint<'_> {
    fn is_ready(&self) -> bool {
        self.slice_endpoint.ready
    }

    fn is_draining(&self) -> bool {
        self.slice_endpoint.serving && self.slice_endpoint.terminating
    }

    fn is_hinted_for(&self, zone: &str) -> bool {
        let hints = &self.slice_endpoint.zone_hints;
        hints.iter().any(|hint| &**hint == zone)
    }
}

/// The endpoints of a service port, as one node uses them.
#[derive(Debug, Default)]
pub(super) struct Choice<'p> {
    /// For traffic that may go anywhere.
    pub(super) cluster: Vec<NodeEndpoint<'p>>,
    /// For traffic that must stay on the node.
    pub(super) local: Vec<NodeEndpoint<'p>>,
    /// The endpoints that need a chain, where that is not the cluster list.
    chains: Option<Vec<NodeEndpoint<'p>>>,
    /// Whether any traffic has somewhere to go, on this node or another.
    pub(super) has_endpoints: bool,
}

impl<'p> Choice<'p> {
    /// Chooses as `CategorizeEndpoints` does (pkg/proxy/topology.go). `zone` is the node's, if
    /// the service port is to be routed by topology where its endpoints allow it.
    pub(super) fn new(port: &'p ProxiedPort<'p>, node: &str, zone: Option<&str>) -> Self {
        let all: Vec<_> = port.endpoints.iter().map(|e| e.on(node)).collect();
        let pick = |wanted: &dyn Fn(&NodeEndpoint<'_>) -> bool| -> Vec<NodeEndpoint<'p>> {
            // Room at once: nearly always it is all of them or none.
            let mut wanted = all.iter().filter(|e| wanted(e)).copied().peekable();
            let room = wanted.peek().map_or(0, |_| all.len());
            let mut picked = Vec::with_capacity(room);
            picked.extend(wanted);
            picked
        };
        let zone = zone.filter(|zone| {
            let mut ready = all.iter().filter(|e| e.is_ready());
            ready.clone().any(|e| e.is_hinted_for(zone))
                && ready.all(|e| !e.slice_endpoint.zone_hints.is_empty())
        });

        let mut choice = Self::default();
        if port.uses_cluster_endpoints() {
            choice.cluster =
                pick(&|e| e.is_ready() && zone.is_none_or(|zone| e.is_hinted_for(zone)));
            if choice.cluster.is_empty() {
                choice.cluster = pick(&|e| e.is_draining());
            }
            choice.has_endpoints = !choice.cluster.is_empty();
        }
        if port.uses_local_endpoints() {
            choice.local = pick(&|e| e.is_local && e.is_ready());
            let draining = choice.local.is_empty();
            if draining {
                choice.local = pick(&|e| e.is_local && e.is_draining());
            }
            choice.has_endpoints |= all.iter().any(|e| e.is_ready() || e.is_draining());
            if !port.uses_cluster_endpoints() {
                choice.chains = Some(choice.local.clone());
            } else if zone.is_some() || draining {
                // The cluster list need not hold all of the local one.
                choice.chains = Some(choice.union());
            }
        }
        choice
    }

    /// The endpoints that need a chain, sorted by text.
    pub(super) fn reachable(&self) -> &[NodeEndpoint<'p>] {
        self.chains.as_deref().unwrap_or(&self.cluster)
    }

    /// Endpoints of one of the lists, each with its place among those that need a chain, who are all of
    /// them in the same order.
    pub(super) fn placed<'c>(
        &'c self,
        endpoints: &'c [NodeEndpoint<'p>],
    ) -> impl Iterator<Item = (&'c NodeEndpoint<'p>, usize)> {
        let mut reachable = self.reachable().iter().zip(0..);
        endpoints.iter().map(move |wanted| {
            let is_wanted =
                |found: &NodeEndpoint<'_>| std::ptr::eq(found.endpoint, wanted.endpoint);
            let found = reachable.find(|(found, _)| is_wanted(found));
            let (_, place) = found.expect("every endpoint in use has a chain");
            (wanted, place)
        })
    }

    /// Both lists in one. kube-proxy goes through a Go map here and so has a random order.
    fn union(&self) -> Vec<NodeEndpoint<'p>> {
        let mut both: Vec<_> = self.cluster.iter().chain(&self.local).copied().collect();
        both.sort_by(|a, b| a.endpoint.text.cmp(&b.endpoint.text));
        both.dedup_by(|a, b| a.endpoint.text == b.endpoint.text);
        both
    }
}
