//! What is odd about a cluster that podwire can live with.
//!
//! A dump may leave kinds of objects out, or be cut by a selector; an answer that would be another one
//! with the rest of it is worth a word. `refused` tells what no API server would have taken.

mod refused;

use std::collections::{BTreeMap, BTreeSet};

use podwire_packet::Family;

use crate::{Cluster, EndpointSlice, Pod, Selector, Service, Warning};

/// All that is odd about the objects, each once or, where it is likely to be so of many, as one.
pub(super) fn warnings(cluster: &Cluster) -> Vec<Warning> {
    let mut warnings = Vec::new();
    warnings.extend(lost_pods(cluster));
    warnings.extend(stray_addresses(cluster));
    warnings.extend(lost_slices(cluster));
    let pods = pods_by_namespace(cluster);
    warnings.extend(lonely_services(cluster, &pods));
    warnings.extend(unsliced_services(cluster, &pods));
    warnings.extend(refused::warnings(cluster));
    warnings
}

/// Pods on nodes that are not there.
fn lost_pods(cluster: &Cluster) -> Vec<Warning> {
    let nodes = &cluster.nodes;
    if nodes.is_empty() {
        let pod = cluster.pods.values().find(|pod| pod.node.is_some());
        return pod
            .map(|pod| Warning {
                source: pod.meta.source,
                text: "the input has pods but no Node, and so no way between them: add what \
                       `kubectl get nodes` prints"
                    .to_owned(),
            })
            .into_iter()
            .collect();
    }
    let lost = cluster.pods.values().filter_map(|pod| {
        let node = pod
            .node
            .as_deref()
            .filter(|&node| !nodes.contains_key(node))?;
        Some(Warning {
            source: pod.meta.source,
            text: format!(
                "pod `{}` is on node `{node}`, which is not in the input",
                pod.meta.name
            ),
        })
    });
    lost.collect()
}

/// Pods whose addresses are not of their node's podCIDRs, as one: it is so of all pods where the pod
/// network hands out addresses by itself, as Calico, Cilium and the clouds' own do.
fn stray_addresses(cluster: &Cluster) -> Option<Warning> {
    let stray = |pod: &&Pod| {
        let node = pod.node.as_deref().and_then(|node| cluster.nodes.get(node));
        let ip = node.and_then(|node| {
            let is_stray = |ip: &&std::net::IpAddr| {
                let range = node.pod_cidr(Family::of(**ip));
                range.is_none_or(|range| !range.contains(**ip))
            };
            pod.ips.iter().find(is_stray)
        });
        ip.is_some() && !pod.host_network && !pod.finished
    };
    let mut strays = cluster.pods.values().filter(stray);
    let first = strays.next()?;
    let name = &first.meta.name;
    let have = match strays.count() {
        0 => format!("pod `{name}` has an address that the podCIDR of its node does"),
        more => format!(
            "pod `{name}` and {more} more have addresses that the podCIDRs of their nodes do"
        ),
    };
    Some(Warning {
        source: first.meta.source,
        text: format!(
            "{have} not hold: the pod network's own way there is not known, and a route to each such \
             pod by its node is assumed"
        ),
    })
}

/// Slices of Services that are not there.
fn lost_slices(cluster: &Cluster) -> impl Iterator<Item = Warning> {
    cluster.endpoint_slices.values().filter_map(|slice| {
        let name = &slice.meta.name;
        let text = match slice.service() {
            None => format!(
                "endpoint slice `{name}` has no label `kubernetes.io/service-name` and serves nothing"
            ),
            Some(service) if !cluster.services.contains_key(&service) => format!(
                "endpoint slice `{name}` is of service `{service}`, which is not in the input"
            ),
            Some(_) => return None,
        };
        Some(Warning {
            source: slice.meta.source,
            text,
        })
    })
}

type PodsByNamespace<'c> = BTreeMap<&'c str, Vec<&'c Pod>>;

fn pods_by_namespace(cluster: &Cluster) -> PodsByNamespace<'_> {
    let mut by_namespace = PodsByNamespace::new();
    for pod in cluster.pods.values() {
        let namespace = &*pod.meta.name.namespace;
        by_namespace.entry(namespace).or_default().push(pod);
    }
    by_namespace
}

/// The pods that a Service with a selector selects.
fn selected<'p>(
    service: &'p Service,
    pods: &'p PodsByNamespace<'_>,
) -> impl Iterator<Item = &'p Pod> {
    let here = pods.get(&*service.meta.name.namespace);
    let wanted = |pod: &&Pod| !service.selector.is_empty() && selects(&service.selector, pod);
    here.into_iter().flatten().copied().filter(wanted)
}

/// Selectors that no pod matches; told where pods are in the input at all.
fn lonely_services<'c>(
    cluster: &'c Cluster,
    pods: &'c PodsByNamespace<'c>,
) -> impl Iterator<Item = Warning> {
    let served: BTreeSet<_> = cluster
        .endpoint_slices
        .values()
        .filter(|slice| !slice.endpoints.is_empty())
        .filter_map(EndpointSlice::service)
        .collect();
    cluster.services.values().filter_map(move |service| {
        let name = &service.meta.name;
        let is_lonely = !pods.is_empty()
            && !service.selector.is_empty()
            && !served.contains(name)
            && selected(service, pods).next().is_none();
        is_lonely.then(|| Warning {
            source: service.meta.source,
            text: format!("the selector of service `{name}` matches no pod"),
        })
    })
}

/// Services without any slice whose selectors match ready pods, as one: a cluster has slices for them,
/// which `kubectl get all` does not print.
fn unsliced_services(cluster: &Cluster, pods: &PodsByNamespace<'_>) -> Option<Warning> {
    let sliced: BTreeSet<_> = cluster
        .endpoint_slices
        .values()
        .filter_map(EndpointSlice::service)
        .collect();
    let mut unsliced = cluster.services.values().filter(|service| {
        !sliced.contains(&service.meta.name) && selected(service, pods).any(|pod| pod.ready)
    });
    let first = unsliced.next()?;
    let name = &first.meta.name;
    let have = match unsliced.count() {
        0 => format!("service `{name}` selects ready pods but has"),
        more => format!("service `{name}` and {more} more select ready pods but have"),
    };
    Some(Warning {
        source: first.meta.source,
        text: format!(
            "{have} no EndpointSlice in the input, and so no endpoints: add what \
             `kubectl get endpointslices -A` prints"
        ),
    })
}

/// Whether every pair of the selector is among the pod's labels.
pub(crate) fn selects(selector: &Selector, pod: &Pod) -> bool {
    selector
        .iter()
        .all(|(key, value)| pod.meta.labels.get(key) == Some(value))
}
