//! Events to the states of a cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use podwire_packet::Family;

use super::merge::{collision, unused};
use super::schema::EventModel;
use super::{Change, time, unknown};
use crate::load::{LoadErrors, Problem};
use crate::model::at::{At, Reader};
use crate::{
    AddressKind, Cluster, Endpoint, EndpointSlice, Input, Node, ObjectName, load, read_inputs,
};

/// The states, the first at 0 s, and what of applied objects changes nothing.
pub(super) fn changes(
    reader: &mut Reader<'_>,
    file: &Path,
    folder: &Path,
    first: Cluster,
    events: &[At<EventModel>],
) -> Result<(Vec<Change>, Vec<String>), LoadErrors> {
    let mut unused = Vec::new();
    let mut in_order = Vec::new();
    for at in events {
        let Some(event) = reader.get(at, "events") else {
            continue;
        };
        if let Some(moment) = time(reader, &event.at, "at") {
            in_order.push((moment, event));
        }
    }
    in_order.sort_by_key(|(moment, _)| *moment);
    let mut changes = vec![Change {
        at: Duration::ZERO,
        what: Vec::new(),
        cluster: first,
        absent: BTreeSet::new(),
    }];
    for (moment, event) in in_order {
        let last = changes.len() - 1;
        let is_same_moment = last > 0 && changes[last].at == moment;
        if !is_same_moment {
            let mut next = changes[last].clone();
            next.at = moment;
            next.what.clear();
            changes.push(next);
        }
        let last = changes.len() - 1;
        let state = State {
            reader: &mut *reader,
            change: &mut changes[last],
            unused: &mut unused,
        };
        state.apply(file, folder, event)?;
    }
    Ok((changes, unused))
}

/// A state in the making.
struct State<'s, 'r> {
    reader: &'s mut Reader<'r>,
    change: &'s mut Change,
    /// What of applied objects changes nothing.
    unused: &'s mut Vec<String>,
}

impl State<'_, '_> {
    fn apply(mut self, file: &Path, folder: &Path, event: &EventModel) -> Result<(), LoadErrors> {
        for at in &event.apply {
            let Some(name) = self.reader.get(at, "apply") else {
                continue;
            };
            let path = folder.join(name);
            match read_inputs(std::slice::from_ref(&path)) {
                Ok(inputs) => {
                    let objects = load(inputs)?;
                    if let Some(problem) = collision(&self.change.cluster, &objects) {
                        self.reader.fault(at, problem);
                    }
                    self.unused.extend(unused(&path, &objects));
                    self.change.merge(objects);
                }
                Err(error) => {
                    let reason = error.to_string();
                    self.reader.fault(at, Problem::UnreadableFile { reason });
                }
            }
        }
        if let Some(at) = &event.objects
            && let Some(text) = self.reader.get(at, "objects")
        {
            let above = self.reader.place(at).line.saturating_sub(1);
            let input = Input {
                path: file.to_owned(),
                text: text.clone(),
            };
            let objects = load(vec![input]).map_err(|mut errors| {
                for error in &mut errors.errors {
                    error.place.line += above;
                }
                errors
            });
            let objects = objects?;
            self.unused.extend(unused(file, &objects));
            self.change.merge(objects);
        }
        for at in &event.delete {
            if let Some(object) = self.reader.get(at, "delete")
                && let Err(problem) = self.delete(object)
            {
                self.reader.fault(at, problem);
            }
        }
        for (service, at) in &event.endpoints {
            if let Some(endpoints) = self.reader.get(at, "endpoints")
                && let Err(problem) = self.set_endpoints(service, endpoints)
            {
                self.reader.fault(at, problem);
            }
        }
        Ok(())
    }

    fn tell(&mut self, text: String) {
        self.change.what.push(text);
    }

    fn delete(&mut self, object: &str) -> Result<(), Problem> {
        let cluster = &mut self.change.cluster;
        if let Ok(ip) = object.parse::<IpAddr>() {
            self.change.absent.insert(ip);
            self.tell(format!("{ip} is gone"));
            return Ok(());
        }
        let names_nothing = || Problem::UnknownObject {
            object: format!("object `{object}`"),
            known:
                "accepted: pod/NAMESPACE/NAME, svc/NAMESPACE/NAME, endpointslice/NAMESPACE/NAME, \
                    node/NAME, or an address"
                    .to_owned(),
        };
        let (kind, rest) = object.split_once('/').ok_or_else(names_nothing)?;
        let name = || -> Result<ObjectName, Problem> {
            let (namespace, name) = rest.split_once('/').ok_or_else(names_nothing)?;
            Ok(ObjectName::new(namespace, name))
        };
        let told = match kind {
            "pod" | "pods" | "po" => {
                let name = name()?;
                let pod = cluster.pods.remove(&name);
                let pod = pod.ok_or_else(|| named(object, cluster.pods.keys()))?;
                self.change.absent.extend(pod.ips);
                format!("Pod {name} deleted")
            }
            "svc" | "service" | "services" => {
                let name = name()?;
                let removed = cluster.services.remove(&name);
                removed.ok_or_else(|| named(object, cluster.services.keys()))?;
                format!("Service {name} deleted")
            }
            "endpointslice" | "endpointslices" => {
                let name = name()?;
                let removed = cluster.endpoint_slices.remove(&name);
                removed.ok_or_else(|| named(object, cluster.endpoint_slices.keys()))?;
                format!("EndpointSlice {name} deleted")
            }
            "node" | "nodes" | "no" => {
                let removed = cluster.nodes.shift_remove(rest);
                let node = removed
                    .ok_or_else(|| unknown(&format!("node `{rest}`"), cluster.nodes.keys()))?;
                self.change.absent.extend(addresses_of(&node, cluster));
                format!("Node {rest} deleted")
            }
            _ => return Err(names_nothing()),
        };
        self.tell(told);
        Ok(())
    }

    /// Makes those the ready endpoints of a Service.
    fn set_endpoints(&mut self, service: &str, wanted: &[String]) -> Result<(), Problem> {
        let cluster = &mut self.change.cluster;
        let of_service = |slice: &EndpointSlice| {
            let name = slice.service();
            name.is_some_and(|name| name.to_string() == service)
        };
        let names: Vec<ObjectName> = cluster
            .endpoint_slices
            .iter()
            .filter(|(_, slice)| of_service(slice))
            .map(|(name, _)| name.clone())
            .collect();
        if names.is_empty() {
            let with_slices = cluster.endpoint_slices.values();
            let services = with_slices.filter_map(EndpointSlice::service);
            let services: BTreeSet<String> = services.map(|name| name.to_string()).collect();
            let what = format!("endpoint slice of a Service `{service}`");
            return Err(unknown(&what, services.iter()));
        }
        let kinds: BTreeSet<Family> = names
            .iter()
            .filter_map(|name| family(&cluster.endpoint_slices[name]))
            .collect();
        let mut ips = Vec::new();
        for text in wanted {
            ips.extend(addresses(cluster, text, &kinds)?);
        }
        let lost = ips.iter().find(|ip| !kinds.contains(&Family::of(**ip)));
        if let Some(ip) = lost {
            let what = format!("slice of Service `{service}` for {ip}");
            return Err(unknown(&what, names.iter().map(ObjectName::to_string)));
        }
        let ready = |cluster: &Cluster| -> usize {
            let slices = names
                .iter()
                .filter_map(|name| cluster.endpoint_slices.get(name));
            slices
                .flat_map(|slice| &slice.endpoints)
                .filter(|endpoint| endpoint.ready)
                .count()
        };
        let before = ready(cluster);
        // Endpoints that stay do so in their slices; the first slice of a family takes the new ones.
        let stay: BTreeSet<IpAddr> = ips.iter().copied().collect();
        let mut listed = BTreeSet::new();
        for name in &names {
            if let Some(slice) = cluster.endpoint_slices.get_mut(name) {
                slice
                    .endpoints
                    .retain(|endpoint| address(endpoint).is_some_and(|ip| stay.contains(&ip)));
                listed.extend(slice.endpoints.iter().filter_map(address));
            }
        }
        for ip in ips {
            if !listed.insert(ip) {
                continue;
            }
            self.change.absent.remove(&ip);
            let endpoint = new_endpoint(&cluster.pods, &cluster.nodes, ip);
            let first = names.iter().find(|name| {
                let slice = cluster.endpoint_slices.get(*name);
                slice.and_then(family) == Some(Family::of(ip))
            });
            if let Some(slice) = first.and_then(|name| cluster.endpoint_slices.get_mut(name)) {
                slice.endpoints.push(endpoint);
            }
        }
        let after = ready(cluster);
        self.tell(format!(
            "endpoints of Service {service}: {before} ready, now {after}"
        ));
        Ok(())
    }
}

/// The addresses of a node's own.
pub(super) fn own_addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    let listed = node.addresses.iter();
    let of_nics = node.nics.iter().flat_map(|nic| &nic.addresses);
    listed
        .filter_map(|listed| listed.address.parse().ok())
        .chain(of_nics.map(|&(ip, _)| ip))
}

/// The addresses that go with a node: its own, and those of its pods, be they objects or endpoints.
fn addresses_of(node: &Node, cluster: &Cluster) -> BTreeSet<IpAddr> {
    let name = &*node.meta.name.name;
    let of_pods = cluster.pods.values();
    let of_pods = of_pods.filter(|pod| pod.node.as_deref() == Some(name));
    let of_pods = of_pods.flat_map(|pod| pod.ips.iter().copied());
    let endpoints = cluster.endpoint_slices.values();
    let endpoints = endpoints
        .flat_map(|slice| &slice.endpoints)
        .filter_map(|endpoint| {
            let ip = address(endpoint)?;
            let is_on_it = match &endpoint.node {
                Some(node) => **node == *name,
                None => node.pod_cidrs.iter().any(|range| range.contains(ip)),
            };
            is_on_it.then_some(ip)
        });
    own_addresses(node)
        .chain(of_pods)
        .chain(endpoints)
        .collect()
}

/// The family of a slice; none if it lists names.
const fn family(slice: &EndpointSlice) -> Option<Family> {
    match slice.address_type {
        AddressKind::Ipv4 => Some(Family::Ipv4),
        AddressKind::Ipv6 => Some(Family::Ipv6),
        AddressKind::Fqdn => None,
    }
}

/// The address of an endpoint that proxies see.
fn address(endpoint: &Endpoint) -> Option<IpAddr> {
    endpoint.addresses.first()?.parse().ok()
}

pub(super) fn ready_addresses(slice: &EndpointSlice) -> impl Iterator<Item = IpAddr> {
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
    ready.filter_map(address)
}

/// An address, or those of a pod that are of a wanted family; all if none is.
fn addresses(
    cluster: &Cluster,
    text: &str,
    wanted: &BTreeSet<Family>,
) -> Result<Vec<IpAddr>, Problem> {
    if let Ok(ip) = text.parse() {
        return Ok(vec![ip]);
    }
    let name = text
        .strip_prefix("pod/")
        .and_then(|rest| rest.split_once('/'));
    let pod =
        name.and_then(|(namespace, name)| cluster.pods.get(&ObjectName::new(namespace, name)));
    let pod = pod.ok_or_else(|| named(text, cluster.pods.keys()))?;
    let ips = pod.ips.iter().copied();
    let fitting: Vec<_> = ips.filter(|ip| wanted.contains(&Family::of(*ip))).collect();
    Ok(if fitting.is_empty() {
        pod.ips.clone()
    } else {
        fitting
    })
}

fn named<'n>(object: &str, known: impl Iterator<Item = &'n ObjectName>) -> Problem {
    unknown(&format!("`{object}`"), known.map(ObjectName::to_string))
}

/// A ready endpoint: of the pod that has the address, else on the node whose pod range holds it.
fn new_endpoint(
    pods: &std::collections::BTreeMap<ObjectName, crate::Pod>,
    nodes: &indexmap::IndexMap<std::sync::Arc<str>, crate::Node>,
    ip: IpAddr,
) -> Endpoint {
    let pod = pods.iter().find(|(_, pod)| pod.ips.contains(&ip));
    let by_range = || {
        let mut nodes = nodes.iter();
        nodes
            .find(|(_, node)| node.pod_cidrs.iter().any(|range| range.contains(ip)))
            .map(|(name, _)| (&**name).into())
    };
    Endpoint {
        addresses: vec![ip.to_string().into()],
        ready: true,
        serving: true,
        terminating: false,
        node: pod.and_then(|(_, pod)| pod.node.clone()).or_else(by_range),
        zone_hints: Vec::new(),
        target: pod.map(|(name, _)| name.clone()),
        hostname: None,
    }
}
