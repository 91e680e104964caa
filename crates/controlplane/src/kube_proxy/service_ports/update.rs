//! Slices that change, one Service's at a time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use podwire_cluster::{EndpointSlice, ObjectName};

use super::{ServicePorts, service_of};
use crate::kube_proxy::changes::SliceContent;
use crate::kube_proxy::endpoints::Endpoints;
use crate::kube_proxy::provenance::{ObjectKind, Provenance};

/// A change of the slices of a cluster, as kube-proxy's informer tells it.
#[derive(Clone, Copy, Debug)]
pub enum SliceChange<'a> {
    /// The slice of that name is this one now; there may have been none.
    Set(&'a EndpointSlice),
    /// There is no slice of that name any more.
    Remove(&'a ObjectName),
}

/// Namespace and name of a Service.
type Key<'a> = (&'a str, &'a str);

/// The slices of a Service, each with its place in the provenance.
type Slices<'a> = Vec<(&'a EndpointSlice, usize)>;

impl<'a> ServicePorts<'a> {
    /// Makes the changes and gives the places of the ports of each Service for which something else
    /// follows from its slices now.
    ///
    /// # Cost
    /// That of the Services whose slices change. A slice that was not there is looked for among those of
    /// its namespace, since it may have belonged to another Service.
    ///
    /// Endpoints and slices that were not there before are added to the provenance, which forgets none.
    pub(in crate::kube_proxy) fn update(
        &mut self,
        changes: impl IntoIterator<Item = SliceChange<'a>>,
    ) -> Vec<Range<usize>> {
        let mut before: BTreeMap<Key<'a>, Slices<'a>> = BTreeMap::new();
        for change in changes {
            let (name, now) = match change {
                SliceChange::Set(slice) => {
                    let service = service_of(slice, self.family);
                    (&slice.meta.name, service.map(|key| (key, slice)))
                }
                SliceChange::Remove(name) => (name, None),
            };
            let held = self.holder(name, now.map(|(key, _)| key));
            for key in held.into_iter().chain(now.map(|(key, _)| key)) {
                let slices = self.slices.entry(key).or_default();
                before.entry(key).or_insert_with(|| slices.clone());
            }
            let place = held.and_then(|key| self.take_slice(key, name));
            if let Some((key, slice)) = now {
                let provenance = Arc::make_mut(&mut self.provenance);
                let place = match place {
                    Some(place) => {
                        provenance.reread(place, &slice.meta);
                        place
                    }
                    None => provenance.add(ObjectKind::EndpointSlice, &slice.meta),
                };
                let slices = self.slices.entry(key).or_default();
                let at = slices.partition_point(|(other, _)| other.meta.name < *name);
                slices.insert(at, (slice, place));
            }
        }
        let changed = before.into_iter().filter_map(|(key, before)| {
            let now = self.slices.get(&key).map_or(&[][..], Vec::as_slice);
            let is_same = before.len() == now.len()
                && before
                    .iter()
                    .zip(now)
                    .all(|((a, _), (b, _))| SliceContent::of(a) == SliceContent::of(b));
            if is_same {
                return None;
            }
            let ports = self.set_endpoints(key, &before);
            (!ports.is_empty()).then_some(ports)
        });
        changed.collect()
    }

    /// The Service that has a slice of that name; `likely` is looked at first.
    fn holder(&self, name: &'a ObjectName, likely: Option<Key<'a>>) -> Option<Key<'a>> {
        let has = |slices: &Slices<'_>| slices.iter().any(|(slice, _)| slice.meta.name == *name);
        if let Some(likely) = likely
            && self.slices.get(&likely).is_some_and(has)
        {
            return Some(likely);
        }
        let namespace = &*name.namespace;
        let own = self.slices.range((namespace, "")..);
        let mut own = own.take_while(|((of, _), _)| *of == namespace);
        own.find(|(_, slices)| has(slices)).map(|(key, _)| *key)
    }

    /// Takes a slice from a Service, and gives its place in the provenance.
    fn take_slice(&mut self, key: Key<'a>, name: &ObjectName) -> Option<usize> {
        let slices = self.slices.get_mut(&key)?;
        let at = slices
            .iter()
            .position(|(slice, _)| slice.meta.name == *name)?;
        let (_, place) = slices.remove(at);
        if slices.is_empty() {
            self.slices.remove(&key);
        }
        Some(place)
    }

    /// Gives a Service's ports the endpoints of its slices, and says where they are.
    fn set_endpoints(
        &mut self,
        key: Key<'a>,
        before: &[(&'a EndpointSlice, usize)],
    ) -> Range<usize> {
        let slices = self.slices.get(&key).map_or(&[][..], Vec::as_slice);
        let endpoints = Endpoints::of_slices(slices, self.family);
        self.endpoint_count -= Endpoints::of_slices(before, self.family).count();
        self.endpoint_count += endpoints.count();
        let provenance = Arc::make_mut(&mut self.provenance);
        let name = |service: &'a ObjectName| (&*service.namespace, &*service.name);
        let start = self.ports.partition_point(|port| name(port.service) < key);
        let end = self.ports.partition_point(|port| name(port.service) <= key);
        for port in &mut self.ports[start..end] {
            let known: BTreeMap<_, _> = port
                .endpoints
                .iter()
                .flat_map(|endpoint| endpoint.origins())
                .filter_map(|origin| {
                    let (slice, endpoint) = provenance.endpoint(origin)?;
                    Some(((slice, endpoint.clone()), origin))
                })
                .collect();
            let protocol = port.l4.protocol();
            port.endpoints = endpoints.of_port(port.port_name, protocol, |slice, endpoint| {
                let known = known.get(&(slice, endpoint.clone())).copied();
                known.unwrap_or_else(|| Provenance::add_endpoint(provenance, slice, endpoint))
            });
        }
        let mut checks = self.health_checks.iter_mut();
        if let Some(check) = checks.find(|check| name(check.service) == key) {
            check.endpoints = endpoints;
        }
        start..end
    }
}
