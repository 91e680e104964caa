//! Events to the states of a cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use podwire_packet::Family;

use super::schema::EventModel;
use super::{Change, time, unknown};
use crate::load::{LoadErrors, Problem};
use crate::model::at::{At, Reader};
use crate::{
    AddressKind, Cluster, Endpoint, EndpointSlice, FileId, Input, ObjectName, Source, load,
    read_inputs,
};

/// The states, the first at 0 s.
pub(super) fn changes(
    reader: &mut Reader<'_>,
    file: &Path,
    folder: &Path,
    first: Cluster,
    events: &[At<EventModel>],
) -> Result<Vec<Change>, LoadErrors> {
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
        };
        state.apply(file, folder, event)?;
    }
    Ok(changes)
}

/// A state in the making.
struct State<'s, 'r> {
    reader: &'s mut Reader<'r>,
    change: &'s mut Change,
}

impl State<'_, '_> {
    fn apply(mut self, file: &Path, folder: &Path, event: &EventModel) -> Result<(), LoadErrors> {
        for at in &event.apply {
            let Some(name) = self.reader.get(at, "apply") else {
                continue;
            };
            let path = folder.join(name);
            match read_inputs(std::slice::from_ref(&path)) {
                Ok(inputs) => self.merge(load(inputs)?),
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
            self.merge(objects?);
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

    /// Adds objects; those of a name that is there already take its place.
    fn merge(&mut self, mut objects: Cluster) {
        let cluster = &mut self.change.cluster;
        // Sources count files of their own cluster.
        let files = u32::try_from(cluster.files.len()).unwrap_or(u32::MAX);
        let shifted = |source: &mut Option<Source>| {
            if let Some(source) = source {
                source.file = FileId(source.file.0.saturating_add(files));
            }
        };
        cluster.files.append(&mut objects.files);
        let mut told = Vec::new();
        for (name, mut node) in objects.nodes {
            shifted(&mut node.meta.source);
            told.push(format!("Node {name} applied"));
            cluster.nodes.insert(name, node);
        }
        for (name, mut pod) in objects.pods {
            shifted(&mut pod.meta.source);
            for ip in &pod.ips {
                self.change.absent.remove(ip);
            }
            told.push(format!("Pod {name} applied"));
            cluster.pods.insert(name, pod);
        }
        for (name, mut service) in objects.services {
            shifted(&mut service.meta.source);
            told.push(format!("Service {name} applied"));
            cluster.services.insert(name, service);
        }
        for (name, mut slice) in objects.endpoint_slices {
            shifted(&mut slice.meta.source);
            let ready = slice.endpoints.iter().filter(|e| e.ready).count();
            told.push(format!("EndpointSlice {name} applied: {ready} ready"));
            // Who is listed anew is there; who was before may be gone all the same.
            let before = cluster.endpoint_slices.get(&name);
            let before: BTreeSet<IpAddr> = before.into_iter().flat_map(ready_addresses).collect();
            for ip in ready_addresses(&slice).filter(|ip| !before.contains(ip)) {
                self.change.absent.remove(&ip);
            }
            cluster.endpoint_slices.insert(name, slice);
        }
        told.into_iter().for_each(|text| self.tell(text));
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
                removed.ok_or_else(|| unknown(&format!("node `{rest}`"), cluster.nodes.keys()))?;
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

fn ready_addresses(slice: &EndpointSlice) -> impl Iterator<Item = IpAddr> {
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
