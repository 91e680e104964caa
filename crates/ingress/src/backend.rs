//! Services that Ingresses name, their ports and endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use indexmap::IndexMap;
use podwire_cluster::{
    BackendPort, Cluster, EndpointSlice, ObjectName, Service, ServicePort, ServiceType, TargetPort,
};
use podwire_packet::Protocol;

/// Whether a back end can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can.
    Serves,
    /// There is no such Service.
    NoService,
    /// The Service has no such port.
    NoPort,
    /// No endpoint of it is ready.
    NoEndpoints,
}

/// A Service's port, and who is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The Service.
    pub service: ObjectName,
    /// The port, as the Ingress names it.
    pub named: BackendPort,
    /// The Service's port; `None` if it has no such port.
    pub port: Option<u16>,
    /// Addresses of ready endpoints, in the order of slices.
    pub endpoints: Vec<SocketAddr>,
    /// Whether it can answer.
    pub state: State,
}

/// Which of a Service's ports an Ingress's port means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    /// Its number or name.
    Api,
    /// Or that of the pods' port (`serviceEndpoints`, controller.go).
    IngressNginx,
}

/// Every back end once.
#[derive(Debug)]
pub(crate) struct Backends<'c> {
    cluster: &'c Cluster,
    matching: Matching,
    slices: BTreeMap<ObjectName, Vec<&'c EndpointSlice>>,
    found: IndexMap<(ObjectName, BackendPort), Backend>,
}

impl<'c> Backends<'c> {
    pub(crate) fn new(cluster: &'c Cluster, matching: Matching) -> Self {
        let mut slices = BTreeMap::<_, Vec<_>>::new();
        for slice in cluster.endpoint_slices.values() {
            if let Some(service) = slice.service() {
                slices.entry(service).or_default().push(slice);
            }
        }
        Self {
            cluster,
            matching,
            slices,
            found: IndexMap::new(),
        }
    }

    /// The number of a back end.
    pub(crate) fn number(&mut self, namespace: &str, name: &str, port: &BackendPort) -> usize {
        let key = (ObjectName::new(namespace, name), port.clone());
        if let Some(number) = self.found.get_index_of(&key) {
            return number;
        }
        let backend = self.make(&key.0, port);
        self.found.insert_full(key, backend).0
    }

    /// The first port of a Service, where only the Service is named.
    pub(crate) fn first_port(&mut self, service: &ObjectName) -> Option<usize> {
        let port = self.cluster.services.get(service)?.ports.first()?;
        let named = BackendPort::Number(port.port);
        Some(self.number(&service.namespace, &service.name, &named))
    }

    pub(crate) fn get(&self, number: usize) -> &Backend {
        &self.found[number]
    }

    pub(crate) fn into_all(self) -> Vec<Backend> {
        self.found.into_values().collect()
    }

    fn make(&self, name: &ObjectName, named: &BackendPort) -> Backend {
        let none = |state| Backend {
            service: name.clone(),
            named: named.clone(),
            port: None,
            endpoints: Vec::new(),
            state,
        };
        let Some(service) = self.cluster.services.get(name) else {
            return none(State::NoService);
        };
        let matches = |port: &&ServicePort| self.is_meant(port, named);
        let Some(port) = service.ports.iter().find(matches) else {
            return match (service.kind, named) {
                // Whoever stands behind the name may have any port.
                (ServiceType::ExternalName, BackendPort::Number(port)) => Backend {
                    port: Some(*port),
                    ..none(State::Serves)
                },
                _ => none(State::NoPort),
            };
        };
        let endpoints = self.endpoints(service, port);
        Backend {
            port: Some(port.port),
            state: if endpoints.is_empty() && service.kind != ServiceType::ExternalName {
                State::NoEndpoints
            } else {
                State::Serves
            },
            endpoints,
            ..none(State::Serves)
        }
    }

    fn is_meant(&self, port: &ServicePort, named: &BackendPort) -> bool {
        let is_target = |wanted: &BackendPort| match (&port.target_port, wanted) {
            (TargetPort::Number(number), BackendPort::Number(wanted)) => number == wanted,
            (TargetPort::Name(name), BackendPort::Name(wanted)) => name == wanted,
            (TargetPort::Number(_), BackendPort::Name(_))
            | (TargetPort::Name(_), BackendPort::Number(_)) => false,
        };
        match named {
            BackendPort::Number(number) if port.port == *number => true,
            BackendPort::Name(name) if port.name == *name => true,
            BackendPort::Number(_) | BackendPort::Name(_) => {
                self.matching == Matching::IngressNginx && is_target(named)
            }
        }
    }

    fn endpoints(&self, service: &Service, port: &ServicePort) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        for slice in self.slices.get(&service.meta.name).into_iter().flatten() {
            let is_port = |candidate: &&podwire_cluster::SlicePort| {
                let is_named = candidate.name.as_deref().unwrap_or_default() == &*port.name;
                candidate.protocol == Protocol::TCP && (is_named || port.name.is_empty())
            };
            let number = slice.ports.iter().find(is_port).and_then(|port| port.port);
            let Some(number) = number.filter(|&number| number != 0) else {
                continue;
            };
            let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
            let ips = ready
                .flat_map(|endpoint| &endpoint.addresses)
                .filter_map(|text| text.parse::<IpAddr>().ok());
            for ip in ips {
                let endpoint = SocketAddr::new(ip, number);
                if !found.contains(&endpoint) {
                    found.push(endpoint);
                }
            }
        }
        found
    }
}
