//! Which Services changed from one state of the cluster to the next.

use std::collections::{BTreeMap, BTreeSet};

use podwire_cluster::{EndpointSlice, ObjectName, SlicePort};

use super::ServicePorts;
use super::service_ports::ProxiedPort;

impl<'a> ServicePorts<'a> {
    /// The Services whose ports, addresses, policies or slices are others than in `earlier`: a partial
    /// sync writes the chains of these (`ServiceChangeTracker` and `EndpointsChangeTracker`,
    /// pkg/proxy). What rules do not depend on, such as labels, does not count.
    pub(super) fn changed_since(&self, earlier: &ServicePorts<'_>) -> BTreeSet<&'a ObjectName> {
        let before = earlier.by_service();
        let changed = self.by_service().into_iter().filter(|(service, ports)| {
            let key = (&*service.namespace, &*service.name);
            let has_same_ports = before.get(service).is_some_and(|before| {
                before.len() == ports.len() && before.iter().zip(*ports).all(|(a, b)| a.is_same(b))
            });
            let slices = self.slices.get(&key).into_iter().flatten();
            let slices_before = earlier.slices.get(&key).into_iter().flatten();
            !has_same_ports
                || !slices
                    .map(|(slice, _)| SliceContent::of(slice))
                    .eq(slices_before.map(|(slice, _)| SliceContent::of(slice)))
        });
        changed.map(|(service, _)| service).collect()
    }

    /// Whether kube-proxy has something to do when what was `earlier` becomes this.
    #[must_use]
    pub fn differs_from(&self, earlier: &ServicePorts<'_>) -> bool {
        !self.changed_since(earlier).is_empty() || !earlier.changed_since(self).is_empty()
    }

    fn by_service(&self) -> BTreeMap<&'a ObjectName, &[ProxiedPort<'a>]> {
        self.ports
            .chunk_by(|a, b| a.service == b.service)
            .filter_map(|ports| Some((ports.first()?.service, ports)))
            .collect()
    }
}

impl ProxiedPort<'_> {
    /// Whether it has the same addresses and policies; endpoints do not count.
    fn is_same(&self, other: &ProxiedPort<'_>) -> bool {
        self.name == other.name
            && self.l4 == other.l4
            && self.port == other.port
            && self.node_port == other.node_port
            && self.addresses == other.addresses
    }
}

/// What kube-proxy takes from a slice.
#[derive(PartialEq)]
struct SliceContent<'s> {
    name: &'s str,
    ports: &'s [SlicePort],
    endpoints: Vec<EndpointContent<'s>>,
}

/// What kube-proxy takes from an endpoint (`endpointInfo`, pkg/proxy/endpointslicecache.go).
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct EndpointContent<'s> {
    addresses: &'s [Box<str>],
    node: Option<&'s str>,
    zone_hints: &'s [Box<str>],
    is_ready: bool,
    is_serving: bool,
    is_terminating: bool,
}

impl<'s> SliceContent<'s> {
    fn of(slice: &'s EndpointSlice) -> Self {
        let endpoints = slice.endpoints.iter();
        let mut endpoints: Vec<_> = endpoints
            .map(|endpoint| EndpointContent {
                addresses: &endpoint.addresses,
                node: endpoint.node.as_deref(),
                zone_hints: &endpoint.zone_hints,
                is_ready: endpoint.ready,
                is_serving: endpoint.serving,
                is_terminating: endpoint.terminating,
            })
            .collect();
        endpoints.sort();
        Self {
            name: &slice.meta.name.name,
            ports: &slice.ports,
            endpoints,
        }
    }
}
