//! EndpointSlices, as the EndpointSlice controller makes them of services and pods.
//!
//! Source: staging/src/k8s.io/endpointslice/{reconciler,utils}.go of Kubernetes 1.30.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podwire_packet::Family;

use super::at::Reader;
use super::expand::parsed;
use super::schema::ServiceTypeModel;
use super::services::Made;
use crate::{
    AddressKind, Endpoint, EndpointSlice, Labels, Meta, Node, ObjectName, Pod, Service, SlicePort,
    TargetPort,
};

/// `--max-endpoints-per-slice` of the controller manager.
const MAX_ENDPOINTS: usize = 100;

pub(super) fn expand(
    reader: &mut Reader<'_>,
    services: &[Made<'_>],
    pods: &[(u32, Pod)],
    nodes: &[(u32, Node)],
) -> Vec<(u32, EndpointSlice)> {
    let by_label = Index::new(pods);
    let mut slices = Vec::new();
    for made in services {
        let service = &made.service;
        if made.model.kind == ServiceTypeModel::ExternalName {
            continue;
        }
        let mut groups = Groups::new();
        for pod in by_label.selected(service, pods) {
            for &family in &service.ip_families {
                let ip = pod.ips.iter().find(|&&ip| Family::of(ip) == family);
                if let Some(ip) = ip {
                    let ports = ports(service, Some(pod));
                    let key = (family, ports_key(&ports));
                    let group = groups.entry(key).or_insert((ports, Vec::new()));
                    group.1.push(endpoint(service, pod, *ip));
                }
            }
        }
        for at in &made.model.endpoints {
            let Some(ip) = parsed(reader, at, "endpoints") else {
                continue;
            };
            let ports = ports(service, None);
            let key = (Family::of(ip), ports_key(&ports));
            let group = groups.entry(key).or_insert((ports, Vec::new()));
            group.1.push(bare_endpoint(ip, nodes));
        }
        let first = slices.len();
        for ((family, _), (ports, endpoints)) in groups {
            for part in endpoints.chunks(MAX_ENDPOINTS) {
                let number = slices.len() - first + 1;
                slices.push((
                    made.line,
                    EndpointSlice {
                        meta: meta(service, number),
                        address_type: match family {
                            Family::Ipv4 => AddressKind::Ipv4,
                            Family::Ipv6 => AddressKind::Ipv6,
                        },
                        endpoints: part.to_vec(),
                        ports: ports.clone(),
                    },
                ));
            }
        }
    }
    slices
}

/// Endpoints by family and by what ports they have.
type Groups = BTreeMap<(Family, Vec<u32>), (Vec<SlicePort>, Vec<Endpoint>)>;

/// Pods by namespace and each pair of labels: a thousand services find theirs without looking at all.
struct Index<'p> {
    pairs: BTreeMap<(&'p str, &'p str, &'p str), Vec<usize>>,
}

impl<'p> Index<'p> {
    fn new(pods: &'p [(u32, Pod)]) -> Self {
        let mut pairs: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, (_, pod)) in pods.iter().enumerate() {
            for (key, value) in &pod.meta.labels {
                let pair = (&*pod.meta.name.namespace, &**key, &**value);
                pairs.entry(pair).or_default().push(index);
            }
        }
        Self { pairs }
    }

    /// The pods that a service selects, in the order of the model.
    fn selected<'s>(&self, service: &'s Service, pods: &'s [(u32, Pod)]) -> Vec<&'s Pod> {
        let namespace = &*service.meta.name.namespace;
        let Some((key, value)) = service.selector.first_key_value() else {
            return Vec::new();
        };
        let all = self.pairs.get(&(namespace, &**key, &**value));
        all.into_iter()
            .flatten()
            .map(|&index| &pods[index].1)
            .filter(|pod| crate::load::selects(&service.selector, pod))
            .collect()
    }
}

/// The ports of a service as one of its pods has them; a name that it does not have is left out.
fn ports(service: &Service, pod: Option<&Pod>) -> Vec<SlicePort> {
    let resolved = service.ports.iter().filter_map(|port| {
        let number = match &port.target_port {
            TargetPort::Number(number) => *number,
            TargetPort::Name(name) => {
                let mut all = pod?.ports.iter();
                let named = |p: &&crate::ContainerPort| {
                    p.name.as_ref() == Some(name) && p.protocol == port.protocol
                };
                all.find(named)?.port
            }
        };
        Some(SlicePort {
            name: Some(port.name.clone()),
            port: Some(number),
            protocol: port.protocol,
        })
    });
    resolved.collect()
}

/// What tells port sets apart: the ports of one service differ in their numbers only.
fn ports_key(ports: &[SlicePort]) -> Vec<u32> {
    let mut key: Vec<u32> = Vec::new();
    for port in ports {
        key.push(u32::from(port.port.unwrap_or_default()));
        key.extend(
            port.name
                .iter()
                .flat_map(|name| name.chars().map(u32::from)),
        );
        key.push(u32::MAX);
    }
    key
}

fn endpoint(service: &Service, pod: &Pod, ip: IpAddr) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string().into()],
        ready: pod.ready || service.publish_not_ready_addresses,
        serving: pod.ready || service.publish_not_ready_addresses,
        terminating: false,
        node: pod.node.clone(),
        zone_hints: Vec::new(),
        target: Some(pod.meta.name.clone()),
        hostname: None,
    }
}

/// An endpoint that is an address alone, on the node that has it if one does.
fn bare_endpoint(ip: IpAddr, nodes: &[(u32, Node)]) -> Endpoint {
    let on = nodes
        .iter()
        .find(|(_, node)| node.internal_ips(Family::of(ip)).any(|own| own == ip));
    Endpoint {
        addresses: vec![ip.to_string().into()],
        ready: true,
        serving: true,
        terminating: false,
        node: on.map(|(_, node)| (&*node.meta.name.name).into()),
        zone_hints: Vec::new(),
        target: None,
        hostname: None,
    }
}

fn meta(service: &Service, number: usize) -> Meta {
    let name = &service.meta.name;
    let mut labels: Labels = service.meta.labels.clone();
    let own = [
        ("kubernetes.io/service-name", &*name.name),
        (
            "endpointslice.kubernetes.io/managed-by",
            "endpointslice-controller.k8s.io",
        ),
    ];
    labels.extend(own.map(|(key, value)| (key.into(), value.into())));
    if service.cluster_ips.iter().any(|ip| &**ip == "None") {
        labels.insert("service.kubernetes.io/headless".into(), "".into());
    }
    Meta {
        name: ObjectName::new(&name.namespace, &format!("{}-{number}", name.name)),
        labels,
        annotations: BTreeMap::new(),
        source: None,
    }
}
