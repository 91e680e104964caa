//! The names of a cluster, in a form that is asked in constant time.
//!
//! [`Records`] is built once from a cluster, for what one `kubernetes` plugin lets through
//! (namespaces, labels); a query is then one hash probe, whatever the cluster's size.
//!
//! # Map
//! - [`Records::new`]: objects in.
//! - [`query`]: what a name asks for: `_http._tcp.web.apps.svc.cluster.local`.
//! - [`find`]: the services, endpoints and pods that it means.
//! - [`reverse`]: the names of an address.
//!
//! # Memory
//! Names are shared with the cluster; a Service adds its addresses, its ports and two entries of
//! tables, an endpoint its address, its hostname and one entry. Measured (`benches/examples/dns.rs`):
//! 255 to 270 bytes a Service with one port, and 170 to 200 more for each of its endpoints.
//!
//! # Departures
//! - A namespace exists if it is listed, if an object lies in it, or if every cluster has it
//!   (`default`, `kube-system`, `kube-public`, `kube-node-lease`): files often leave them out, an
//!   API server does not.
//! - EndpointSlices of address type FQDN are left out.
//!
//! # Sources
//! plugin/kubernetes/{controller,kubernetes}.go and plugin/kubernetes/object/ of CoreDNS; DNS-Based
//! Service Discovery for Kubernetes, schema 1.1.0.

pub mod find;
pub mod query;
pub mod reverse;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hickory_proto::rr::Name;
use indexmap::IndexMap;
use podwire_cluster::{AddressKind, Cluster, EndpointSlice, Labels, ObjectName, ServiceType};
use podwire_packet::Protocol;
use smallvec::SmallVec;

use crate::corefile::{Kubernetes, PodMode};
use crate::message::name;

/// Namespaces that every cluster has.
const ALWAYS: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The names of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// In order of namespace and name.
    services: Vec<Service>,
    /// Places in `services`, by the hash of namespace and name.
    by_name: HashTable<u32>,
    /// Places in `services` of the services that own an address.
    by_cluster_ip: IndexMap<IpAddr, u32, FixedState>,
    /// The endpoints of an address.
    by_endpoint: IndexMap<IpAddr, SmallVec<[EndpointRef; 1]>, FixedState>,
    /// Namespaces that are let through.
    namespaces: BTreeSet<Arc<str>>,
    /// Namespaces that the configuration names; `None`: all.
    configured: Option<BTreeSet<String>>,
    /// Namespaces of pods, by their address, where the configuration looks at pods.
    pods: IndexMap<IpAddr, Vec<Arc<str>>, FixedState>,
    /// Whether endpoints without hostname are named after their pods.
    pod_names: bool,
}

/// A Service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    kind: Kind,
    /// Cluster IPs, in the order of `spec.clusterIPs`.
    pub cluster_ips: SmallVec<[IpAddr; 1]>,
    ports: Box<[Port]>,
    endpoints: Vec<Group>,
}

/// What a Service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Its cluster IPs.
    ClusterIp,
    /// Its endpoints.
    Headless,
    /// Another name.
    External(Box<Name>),
    /// Nothing: an ExternalName that is an address, or no name.
    Nothing,
}

/// The endpoints of one slice that are ready, and the ports that they share.
#[derive(Clone, Debug)]
struct Group {
    addresses: Box<[Address]>,
    ports: Box<[Port]>,
}

/// An endpoint's address.
#[derive(Clone, Debug)]
struct Address {
    ip: IpAddr,
    hostname: Option<Box<str>>,
    pod: Option<Arc<str>>,
}

/// A port of a service or of its endpoints.
#[derive(Clone, Debug)]
struct Port {
    name: Box<str>,
    protocol: Option<Protocol>,
    /// `None`: nothing that an SRV record could name.
    number: Option<u16>,
}

/// Where an endpoint stands.
#[derive(Clone, Copy, Debug)]
struct EndpointRef {
    service: u32,
    group: u32,
    address: u32,
}

impl Records {
    /// The names of a cluster, as one `kubernetes` plugin lets them through.
    #[must_use]
    pub fn new(cluster: &Cluster, config: &Kubernetes) -> Self {
        let configured = (!config.namespaces.is_empty())
            .then(|| config.namespaces.iter().cloned().collect::<BTreeSet<_>>());
        let mut records = Self {
            namespaces: namespaces(cluster, config),
            configured,
            pod_names: config.endpoint_pod_names,
            ..Self::default()
        };
        let selected = |labels: &Labels| {
            let selector = config.labels.as_ref();
            selector.is_none_or(|s| s.matches(|key| labels.get(key).map(|value| &**value)))
        };
        let mut slices: BTreeMap<ObjectName, Vec<&EndpointSlice>> = BTreeMap::new();
        if !config.noendpoints {
            for slice in cluster.endpoint_slices.values() {
                if slice.address_type == AddressKind::Fqdn || !selected(&slice.meta.labels) {
                    continue;
                }
                if let Some(service) = slice.service() {
                    slices.entry(service).or_default().push(slice);
                }
            }
        }
        for (name, service) in &cluster.services {
            if !selected(&service.meta.labels) {
                continue;
            }
            let slices = slices.remove(name).unwrap_or_default();
            records.add(name, service, &slices);
        }
        if config.pods == PodMode::Verified {
            records.add_pods(cluster, &selected);
        }
        records.services.shrink_to_fit();
        records
    }

    fn add(
        &mut self,
        name: &ObjectName,
        service: &podwire_cluster::Service,
        slices: &[&EndpointSlice],
    ) {
        let place = index(self.services.len());
        let first_ip = service.cluster_ips.first().map(|ip| &**ip);
        let kind = match service.kind {
            ServiceType::ExternalName => external(service.external_name.as_deref()),
            ServiceType::ClusterIp | ServiceType::NodePort | ServiceType::LoadBalancer => {
                match first_ip {
                    Some("None") => Kind::Headless,
                    _ => Kind::ClusterIp,
                }
            }
        };
        let cluster_ips: SmallVec<[IpAddr; 1]> = match kind {
            Kind::ClusterIp => addresses(&service.cluster_ips),
            Kind::Headless | Kind::External(_) | Kind::Nothing => SmallVec::new(),
        };
        for &ip in &cluster_ips {
            self.by_cluster_ip.entry(ip).or_insert(place);
        }
        let ports = service.ports.iter().map(|port| Port {
            name: port.name.clone(),
            protocol: Some(port.protocol),
            number: Some(port.port),
        });
        let endpoints: Vec<_> = slices.iter().map(|s| self.group(s)).collect();
        for (group, of) in endpoints.iter().enumerate() {
            for (address, at) in of.addresses.iter().enumerate() {
                let endpoint = EndpointRef {
                    service: place,
                    group: index(group),
                    address: index(address),
                };
                self.by_endpoint.entry(at.ip).or_default().push(endpoint);
            }
        }
        self.services.push(Service {
            name: name.clone(),
            kind,
            cluster_ips,
            ports: or_no_port(ports.collect()),
            endpoints,
        });
        let services = &self.services;
        let hash = hash_of(&name.namespace, &name.name);
        self.by_name.insert_unique(hash, place, |&at| {
            let name = &services[at as usize].name;
            hash_of(&name.namespace, &name.name)
        });
    }

    fn group(&self, slice: &EndpointSlice) -> Group {
        let ports = slice.ports.iter().map(|port| Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: Some(port.protocol),
            number: port.port,
        });
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
        let addresses = ready.flat_map(|endpoint| {
            let pod = endpoint.target.as_ref().map(|pod| &pod.name);
            let pod = pod.filter(|name| self.pod_names && name.len() < 64);
            let ips = endpoint.addresses.iter().filter_map(|ip| ip.parse().ok());
            ips.map(move |ip| Address {
                ip,
                hostname: endpoint.hostname.clone().filter(|name| !name.is_empty()),
                pod: pod.cloned(),
            })
        });
        Group {
            addresses: addresses.collect(),
            ports: or_no_port(ports.collect()),
        }
    }

    /// Pods that run, are not going away and are selected, by the first of their addresses.
    ///
    /// Source: `ToPod`, plugin/kubernetes/object/pod.go; `podListFunc`, controller.go.
    fn add_pods(&mut self, cluster: &Cluster, selected: &dyn Fn(&Labels) -> bool) {
        for pod in cluster.pods.values() {
            let Some(&ip) = pod.ips.first() else { continue };
            let is_gone = pod.finished || pod.unknown || pod.terminating;
            if is_gone || !selected(&pod.meta.labels) {
                continue;
            }
            let namespace = pod.meta.name.namespace.clone();
            self.pods.entry(ip).or_default().push(namespace);
        }
    }

    /// Whether the namespace exists and is let through.
    #[must_use]
    pub fn exposes(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }

    /// How many services have names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The Service of that name.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        let found = self.by_name.find(hash_of(namespace, name), |&at| {
            let service = &self.services[at as usize].name;
            &*service.name == name && &*service.namespace == namespace
        });
        found.map(|&at| &self.services[at as usize])
    }
}

/// The namespaces that exist, less those that the configuration leaves out.
fn namespaces(cluster: &Cluster, config: &Kubernetes) -> BTreeSet<Arc<str>> {
    let mut all: BTreeSet<Arc<str>> = cluster.namespaces.keys().cloned().collect();
    all.extend(ALWAYS.map(Arc::from));
    let of_services = cluster.services.keys();
    let of_objects = of_services.chain(cluster.pods.keys());
    all.extend(of_objects.map(|name| name.namespace.clone()));
    all.retain(|name| {
        let named = config.namespaces.is_empty() || config.namespaces.contains(&**name);
        named && namespace_selected(cluster, config, name)
    });
    all
}

fn namespace_selected(cluster: &Cluster, config: &Kubernetes, name: &str) -> bool {
    let Some(selector) = &config.namespace_labels else {
        return true;
    };
    let labels = cluster.namespaces.get(name).map(|found| &found.labels);
    selector.matches(|key| match labels {
        Some(labels) => labels.get(key).map(|value| &**value),
        None => (key == podwire_cluster::NAMESPACE_NAME_LABEL).then_some(name),
    })
}

/// What an ExternalName stands for: an address there is no alias.
fn external(name_of: Option<&str>) -> Kind {
    let text = name_of.unwrap_or_default();
    if text.is_empty() || text.parse::<IpAddr>().is_ok() {
        return Kind::Nothing;
    }
    name(text).map_or(Kind::Nothing, |name| Kind::External(Box::new(name)))
}

fn addresses(texts: &[Box<str>]) -> SmallVec<[IpAddr; 1]> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// A service or slice without ports has one that no SRV record names: it still has addresses.
///
/// Source: `toService`, plugin/kubernetes/object/service.go.
fn or_no_port(ports: Vec<Port>) -> Box<[Port]> {
    if ports.is_empty() {
        return Box::new([Port {
            name: "".into(),
            protocol: None,
            number: None,
        }]);
    }
    ports.into()
}

fn hash_of(namespace: &str, name: &str) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    namespace.hash(&mut hasher);
    name.hash(&mut hasher);
    hasher.finish()
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("objects come from files of less than 4 billion lines")
}
