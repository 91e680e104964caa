//! Objects that are applied, into the cluster that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use podwire_packet::Prefix;

use super::Change;
use super::apply::{own_addresses, ready_addresses};
use crate::load::Problem;
use crate::{Cluster, FileId, Source};

impl Change {
    /// Adds objects; those of a name that is there already take its place.
    pub(super) fn merge(&mut self, mut objects: Cluster) {
        let cluster = &mut self.cluster;
        // Sources count files of their own cluster.
        let files = u32::try_from(cluster.files.len()).unwrap_or(u32::MAX);
        let shifted = |source: &mut Option<Source>| {
            if let Some(source) = source {
                source.file = FileId(source.file.0.saturating_add(files));
            }
        };
        cluster.files.append(&mut objects.files);
        let what = &mut self.what;
        for (name, mut node) in objects.nodes {
            shifted(&mut node.meta.source);
            for ip in own_addresses(&node) {
                self.absent.remove(&ip);
            }
            what.push(format!("Node {name} applied"));
            cluster.nodes.insert(name, node);
        }
        for (name, mut pod) in objects.pods {
            shifted(&mut pod.meta.source);
            for ip in &pod.ips {
                self.absent.remove(ip);
            }
            what.push(format!("Pod {name} applied"));
            cluster.pods.insert(name, pod);
        }
        for (name, mut service) in objects.services {
            shifted(&mut service.meta.source);
            what.push(format!("Service {name} applied"));
            cluster.services.insert(name, service);
        }
        for (name, mut slice) in objects.endpoint_slices {
            shifted(&mut slice.meta.source);
            let ready = slice.endpoints.iter().filter(|e| e.ready).count();
            what.push(format!("EndpointSlice {name} applied: {ready} ready"));
            // Who is listed anew is there; who was before may be gone all the same.
            let before = cluster.endpoint_slices.get(&name);
            let before: BTreeSet<IpAddr> = before.into_iter().flat_map(ready_addresses).collect();
            for ip in ready_addresses(&slice).filter(|ip| !before.contains(ip)) {
                self.absent.remove(&ip);
            }
            cluster.endpoint_slices.insert(name, slice);
        }
        // What kube-proxy does not look at is there all the same.
        for (name, mut policy) in objects.network_policies {
            shifted(&mut policy.meta.source);
            what.push(format!("NetworkPolicy {name} applied"));
            cluster.network_policies.insert(name, policy);
        }
        for (name, mut ingress) in objects.ingresses {
            shifted(&mut ingress.meta.source);
            what.push(format!("Ingress {name} applied"));
            cluster.ingresses.insert(name, ingress);
        }
        for (name, mut class) in objects.ingress_classes {
            shifted(&mut class.meta.source);
            what.push(format!("IngressClass {name} applied"));
            cluster.ingress_classes.insert(name, class);
        }
        cluster.namespaces.extend(objects.namespaces);
    }
}

/// What of applied objects changes nothing, a line each: a kube-proxy reads its configuration when it
/// starts, and podwire does not use every kind.
pub(super) fn unused(path: &Path, objects: &Cluster) -> impl Iterator<Item = String> {
    let file = path.display().to_string();
    let config = objects.kube_proxy_source.map(|source| {
        format!(
            "{}: not used: a kube-proxy that runs does not read its configuration again",
            objects.place(source)
        )
    });
    let kinds = objects.unused_kinds.iter();
    let kinds: Vec<String> = kinds
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let kinds = (!kinds.is_empty()).then(|| format!("{file}: not used: {}", kinds.join(", ")));
    config.into_iter().chain(kinds)
}

/// The first address of applied objects that another object has already. A model numbers its nodes, pods
/// and Services by itself, whatever is there.
pub(super) fn collision(cluster: &Cluster, objects: &Cluster) -> Option<Problem> {
    let taken = |what: String, by: String| Problem::Taken { what, by };
    for (name, node) in &objects.nodes {
        for (other_name, other) in cluster.nodes.iter().filter(|(other, _)| *other != name) {
            let pairs =
                |cidr: &Prefix| other.pod_cidrs.iter().find(|of| of.overlaps(cidr)).copied();
            if let Some(cidr) = node.pod_cidrs.iter().find_map(pairs) {
                let what = format!("the podCIDR of node `{name}`");
                return Some(taken(what, format!("{cidr}, that of node `{other_name}`")));
            }
        }
    }
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
    let running = cluster
        .pods
        .iter()
        .filter(|(_, pod)| !pod.host_network && !pod.finished);
    for (name, pod) in running.filter(|(name, _)| !objects.pods.contains_key(*name)) {
        owners.extend(pod.ips.iter().map(|&ip| (ip, format!("pod `{name}`"))));
    }
    let of_services = cluster.services.iter();
    for (name, service) in of_services.filter(|(name, _)| !objects.services.contains_key(*name)) {
        let ips = service.cluster_ips.iter().filter_map(|ip| ip.parse().ok());
        owners.extend(ips.map(|ip| (ip, format!("service `{name}`"))));
    }
    let pods = objects
        .pods
        .iter()
        .filter(|(_, pod)| !pod.host_network && !pod.finished);
    let pods =
        pods.flat_map(|(name, pod)| pod.ips.iter().map(move |&ip| (ip, format!("pod `{name}`"))));
    let services = objects.services.iter().flat_map(|(name, service)| {
        let ips = service.cluster_ips.iter();
        ips.filter_map(move |ip| Some((ip.parse().ok()?, format!("service `{name}`"))))
    });
    pods.chain(services).find_map(|(ip, name)| {
        let owner = owners.get(&ip)?;
        Some(taken(
            format!("the address of {name}"),
            format!("{ip}, that of {owner}"),
        ))
    })
}
