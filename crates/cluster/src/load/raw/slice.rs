//! EndpointSlices, and Endpoints in their place.

use serde::Deserialize;

use super::Metadata;
use crate::load::field::{Port, PortProtocol, Worded, labels, nullable};
use crate::{AddressKind, Endpoint, EndpointSlice, Labels, ObjectName, SlicePort};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
pub(in crate::load) struct SliceObject {
    metadata: Metadata,
    address_type: Worded<AddressKind>,
    #[serde(default, deserialize_with = "nullable")]
    endpoints: Vec<RawEndpoint>,
    #[serde(default, deserialize_with = "nullable")]
    ports: Vec<RawSlicePort>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct RawEndpoint {
    #[serde(deserialize_with = "nullable")]
    addresses: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    conditions: EndpointConditions,
    node_name: Option<Box<str>>,
    /// v1beta1's place for the node's name.
    #[serde(deserialize_with = "labels")]
    topology: Labels,
    #[serde(deserialize_with = "nullable")]
    hints: Hints,
    target_ref: Option<TargetRef>,
    hostname: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct EndpointConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct Hints {
    #[serde(deserialize_with = "nullable")]
    for_zones: Vec<ZoneHint>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct ZoneHint {
    #[serde(deserialize_with = "nullable")]
    name: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct TargetRef {
    #[serde(deserialize_with = "nullable")]
    kind: Box<str>,
    #[serde(deserialize_with = "nullable")]
    namespace: Box<str>,
    #[serde(deserialize_with = "nullable")]
    name: Box<str>,
}

impl TargetRef {
    /// The pod that it names; its namespace is the referring object's unless said.
    fn pod(self, namespace: &str) -> Option<ObjectName> {
        let namespace = if self.namespace.is_empty() {
            namespace
        } else {
            &self.namespace
        };
        (&*self.kind == "Pod").then(|| ObjectName::new(namespace, &self.name))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct RawSlicePort {
    name: Option<Box<str>>,
    port: Option<Port<0>>,
    #[serde(deserialize_with = "nullable")]
    protocol: Worded<PortProtocol>,
}

impl From<SliceObject> for EndpointSlice {
    fn from(raw: SliceObject) -> Self {
        let meta = raw.metadata.namespaced();
        let namespace = meta.name.namespace.clone();
        Self {
            meta,
            address_type: raw.address_type.0,
            endpoints: raw
                .endpoints
                .into_iter()
                .map(|e| e.endpoint(&namespace))
                .collect(),
            ports: raw
                .ports
                .into_iter()
                .map(|p| SlicePort {
                    name: p.name,
                    port: p.port.map(|port| port.0),
                    protocol: p.protocol.0.0,
                })
                .collect(),
        }
    }
}

impl RawEndpoint {
    fn endpoint(mut self, namespace: &str) -> Endpoint {
        Endpoint {
            addresses: self.addresses,
            ready: self.conditions.ready.unwrap_or(true),
            serving: self.conditions.serving.unwrap_or(true),
            terminating: self.conditions.terminating.unwrap_or(false),
            node: self
                .node_name
                .or_else(|| self.topology.remove("kubernetes.io/hostname")),
            zone_hints: self.hints.for_zones.into_iter().map(|z| z.name).collect(),
            target: self.target_ref.and_then(|target| target.pod(namespace)),
            hostname: self.hostname,
        }
    }
}

/// An Endpoints object, kept until it is known whether its Service has slices.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
pub(in crate::load) struct EndpointsObject {
    metadata: Metadata,
    #[serde(default, deserialize_with = "nullable")]
    subsets: Vec<Subset>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct Subset {
    #[serde(deserialize_with = "nullable")]
    addresses: Vec<SubsetAddress>,
    #[serde(deserialize_with = "nullable")]
    not_ready_addresses: Vec<SubsetAddress>,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<SubsetPort>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
struct SubsetAddress {
    ip: Box<str>,
    node_name: Option<Box<str>>,
    target_ref: Option<TargetRef>,
    #[serde(default, deserialize_with = "nullable")]
    hostname: Box<str>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
struct SubsetPort {
    #[serde(default, deserialize_with = "nullable")]
    name: Box<str>,
    port: Port<1>,
    #[serde(default, deserialize_with = "nullable")]
    protocol: Worded<PortProtocol>,
}

impl EndpointsObject {
    /// Its name.
    pub(in crate::load) fn name(&self) -> ObjectName {
        let namespace = match &*self.metadata.namespace {
            "" => "default",
            said => said,
        };
        ObjectName::new(namespace, &self.metadata.name)
    }

    /// The slices that the EndpointSlice mirroring controller would make of it: one for each subset
    /// and family, named after it with a number, as the real ones end in random letters.
    pub(in crate::load) fn slices(self) -> Vec<EndpointSlice> {
        let meta = self.metadata.namespaced();
        let namespace = meta.name.namespace.clone();
        let mut slices: Vec<EndpointSlice> = Vec::new();
        for subset in self.subsets {
            let ports: Vec<_> = subset
                .ports
                .into_iter()
                .map(|p| SlicePort {
                    name: Some(p.name),
                    port: Some(p.port.0),
                    protocol: p.protocol.0.0,
                })
                .collect();
            let ready = subset.addresses.into_iter().map(|a| (true, a));
            let not_ready = subset.not_ready_addresses.into_iter().map(|a| (false, a));
            let (mut v4, mut v6) = (Vec::new(), Vec::new());
            for (ready, address) in ready.chain(not_ready) {
                let list = if address.ip.contains(':') {
                    &mut v6
                } else {
                    &mut v4
                };
                list.push(Endpoint {
                    addresses: vec![address.ip],
                    ready,
                    serving: ready,
                    terminating: false,
                    node: address.node_name,
                    zone_hints: Vec::new(),
                    target: address.target_ref.and_then(|t| t.pod(&namespace)),
                    hostname: Some(address.hostname).filter(|name| !name.is_empty()),
                });
            }
            for (address_type, endpoints) in [(AddressKind::Ipv4, v4), (AddressKind::Ipv6, v6)] {
                if endpoints.is_empty() {
                    continue;
                }
                let mut own = meta.clone();
                own.name.name = format!("{}-{}", meta.name.name, slices.len() + 1).into();
                let service = ("kubernetes.io/service-name", &*meta.name.name);
                let manager = (
                    "endpointslice.kubernetes.io/managed-by",
                    "endpointslicemirroring-controller.k8s.io",
                );
                for (key, value) in [service, manager] {
                    own.labels.insert(key.into(), value.into());
                }
                slices.push(EndpointSlice {
                    meta: own,
                    address_type,
                    endpoints,
                    ports: ports.clone(),
                });
            }
        }
        slices
    }
}
