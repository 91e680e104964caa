//! Objects as the API writes them: only the fields that podwire uses, any of them null.

use std::net::IpAddr;
use std::time::Duration;

use podwire_packet::{Family, Prefix};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::field::{Affinity, Parsed, Port, PortProtocol, Target, Worded, labels, nullable};
use crate::{
    AddressKind, ClientIpAffinity, ContainerPort, Endpoint, EndpointSlice, IpMode, Labels,
    LoadBalancerIngress, Meta, Node, NodeAddress, NodeAddressKind, ObjectName, Pod, Service,
    ServicePort, ServiceType, SlicePort, TargetPort, TrafficPolicy,
};

/// `timeoutSeconds` of ClientIP affinity unless said (core/v1 defaults).
const AFFINITY_TIMEOUT: Duration = Duration::from_secs(10_800);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct Metadata {
    pub(super) name: Box<str>,
    #[serde(default, deserialize_with = "nullable")]
    namespace: Box<str>,
    #[serde(default, deserialize_with = "labels")]
    labels: Labels,
    #[serde(default, deserialize_with = "labels")]
    annotations: Labels,
    deletion_timestamp: Option<IgnoredAny>,
}

impl Metadata {
    /// As cluster-wide objects have it.
    fn global(self) -> Meta {
        self.meta("")
    }

    /// As namespaced objects have it.
    fn namespaced(self) -> Meta {
        let namespace = self.namespace.clone();
        self.meta(if namespace.is_empty() {
            "default"
        } else {
            &namespace
        })
    }

    fn meta(self, namespace: &str) -> Meta {
        Meta {
            name: ObjectName::new(namespace, &self.name),
            labels: self.labels,
            annotations: self.annotations,
            source: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
pub(super) struct NamespaceObject {
    pub(super) metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
pub(super) struct NodeObject {
    metadata: Metadata,
    #[serde(default, deserialize_with = "nullable")]
    spec: NodeSpec,
    #[serde(default, deserialize_with = "nullable")]
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct NodeSpec {
    #[serde(rename = "podCIDR", deserialize_with = "nullable")]
    pod_cidr: Parsed<Prefix>,
    #[serde(rename = "podCIDRs", deserialize_with = "nullable")]
    pod_cidrs: Vec<Parsed<Prefix>>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct NodeStatus {
    #[serde(deserialize_with = "nullable")]
    addresses: Vec<RawNodeAddress>,
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
struct RawNodeAddress {
    #[serde(rename = "type")]
    kind: Worded<NodeAddressKind>,
    address: Box<str>,
}

impl From<NodeObject> for Node {
    fn from(raw: NodeObject) -> Self {
        let mut pod_cidrs: Vec<_> = raw.spec.pod_cidrs.iter().filter_map(|p| p.0).collect();
        if pod_cidrs.is_empty() {
            pod_cidrs.extend(raw.spec.pod_cidr.0);
        }
        Self {
            meta: raw.metadata.global(),
            pod_cidrs,
            addresses: raw
                .status
                .addresses
                .into_iter()
                .map(|a| NodeAddress {
                    kind: a.kind.0,
                    address: a.address,
                })
                .collect(),
            nics: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
pub(super) struct PodObject {
    metadata: Metadata,
    #[serde(default, deserialize_with = "nullable")]
    spec: PodSpec,
    #[serde(default, deserialize_with = "nullable")]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct PodSpec {
    #[serde(deserialize_with = "nullable")]
    node_name: Box<str>,
    #[serde(deserialize_with = "nullable")]
    host_network: bool,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct Container {
    #[serde(deserialize_with = "nullable")]
    ports: Vec<RawContainerPort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
struct RawContainerPort {
    #[serde(default, deserialize_with = "nullable")]
    name: Box<str>,
    container_port: Port<1>,
    #[serde(default, deserialize_with = "nullable")]
    protocol: Worded<PortProtocol>,
    #[serde(default, deserialize_with = "nullable")]
    host_port: Port<0>,
    #[serde(default, rename = "hostIP", deserialize_with = "nullable")]
    host_ip: Parsed<IpAddr>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct PodStatus {
    #[serde(deserialize_with = "nullable")]
    phase: Box<str>,
    #[serde(rename = "podIP", deserialize_with = "nullable")]
    pod_ip: Parsed<IpAddr>,
    #[serde(rename = "podIPs", deserialize_with = "nullable")]
    pod_ips: Vec<PodIp>,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct PodIp {
    #[serde(deserialize_with = "nullable")]
    ip: Parsed<IpAddr>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct Condition {
    #[serde(rename = "type", deserialize_with = "nullable")]
    kind: Box<str>,
    #[serde(deserialize_with = "nullable")]
    status: Box<str>,
}

impl From<PodObject> for Pod {
    fn from(raw: PodObject) -> Self {
        let (spec, status) = (raw.spec, raw.status);
        let terminating = raw.metadata.deletion_timestamp.is_some();
        let mut ips: Vec<_> = status.pod_ips.iter().filter_map(|p| p.ip.0).collect();
        if ips.is_empty() {
            ips.extend(status.pod_ip.0);
        }
        Self {
            meta: raw.metadata.namespaced(),
            node: Some(spec.node_name).filter(|name| !name.is_empty()),
            host_network: spec.host_network,
            ips,
            ports: spec
                .containers
                .into_iter()
                .flat_map(|c| c.ports)
                .map(ContainerPort::from)
                .collect(),
            ready: status
                .conditions
                .iter()
                .any(|c| &*c.kind == "Ready" && &*c.status == "True"),
            terminating,
            finished: matches!(&*status.phase, "Succeeded" | "Failed"),
        }
    }
}

impl From<RawContainerPort> for ContainerPort {
    fn from(raw: RawContainerPort) -> Self {
        Self {
            name: Some(raw.name).filter(|name| !name.is_empty()),
            port: raw.container_port.0,
            protocol: raw.protocol.0.0,
            host_port: Some(raw.host_port.0).filter(|&port| port != 0),
            host_ip: raw.host_ip.0,
        }
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
pub(super) struct ServiceObject {
    metadata: Metadata,
    #[serde(default, deserialize_with = "nullable")]
    spec: ServiceSpec,
    #[serde(default, deserialize_with = "nullable")]
    status: ServiceStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct ServiceSpec {
    #[serde(rename = "type", deserialize_with = "nullable")]
    kind: Worded<ServiceType>,
    #[serde(rename = "clusterIP", deserialize_with = "nullable")]
    cluster_ip: Option<Box<str>>,
    #[serde(rename = "clusterIPs", deserialize_with = "nullable")]
    cluster_ips: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    ip_families: Vec<Worded<Family>>,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<RawServicePort>,
    #[serde(deserialize_with = "labels")]
    selector: Labels,
    #[serde(deserialize_with = "nullable")]
    session_affinity: Worded<Affinity>,
    #[serde(deserialize_with = "nullable")]
    session_affinity_config: AffinityConfig,
    #[serde(deserialize_with = "nullable")]
    internal_traffic_policy: Worded<TrafficPolicy>,
    #[serde(deserialize_with = "nullable")]
    external_traffic_policy: Worded<TrafficPolicy>,
    #[serde(rename = "externalIPs", deserialize_with = "nullable")]
    external_ips: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    load_balancer_source_ranges: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    health_check_node_port: Port<0>,
    #[serde(deserialize_with = "nullable")]
    publish_not_ready_addresses: bool,
    #[serde(deserialize_with = "nullable")]
    external_name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct AffinityConfig {
    #[serde(rename = "clientIP", deserialize_with = "nullable")]
    client_ip: AffinityClientIp,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct AffinityClientIp {
    timeout_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
struct RawServicePort {
    #[serde(default, deserialize_with = "nullable")]
    name: Box<str>,
    #[serde(default, deserialize_with = "nullable")]
    protocol: Worded<PortProtocol>,
    port: Port<1>,
    #[serde(default, deserialize_with = "nullable")]
    target_port: Target,
    #[serde(default, deserialize_with = "nullable")]
    node_port: Port<0>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct ServiceStatus {
    #[serde(deserialize_with = "nullable")]
    load_balancer: LoadBalancerStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct LoadBalancerStatus {
    #[serde(deserialize_with = "nullable")]
    ingress: Vec<RawIngress>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct RawIngress {
    #[serde(deserialize_with = "nullable")]
    ip: Box<str>,
    #[serde(deserialize_with = "nullable")]
    ip_mode: Worded<IpMode>,
}

impl From<ServiceObject> for Service {
    fn from(raw: ServiceObject) -> Self {
        let spec = raw.spec;
        let mut cluster_ips = spec.cluster_ips;
        if cluster_ips.is_empty() {
            cluster_ips.extend(spec.cluster_ip);
        }
        let timeout = spec.session_affinity_config.client_ip.timeout_seconds;
        Self {
            meta: raw.metadata.namespaced(),
            kind: spec.kind.0,
            cluster_ips,
            ip_families: spec.ip_families.into_iter().map(|f| f.0).collect(),
            ports: spec.ports.into_iter().map(ServicePort::from).collect(),
            selector: spec.selector,
            session_affinity: match spec.session_affinity.0 {
                Affinity::None => None,
                Affinity::ClientIp => Some(ClientIpAffinity {
                    timeout: timeout
                        .map_or(AFFINITY_TIMEOUT, |s| Duration::from_secs(u64::from(s))),
                }),
            },
            internal_traffic_policy: spec.internal_traffic_policy.0,
            external_traffic_policy: spec.external_traffic_policy.0,
            external_ips: spec.external_ips,
            load_balancer: raw
                .status
                .load_balancer
                .ingress
                .into_iter()
                .map(|i| LoadBalancerIngress {
                    ip: i.ip,
                    ip_mode: i.ip_mode.0,
                })
                .collect(),
            load_balancer_source_ranges: spec.load_balancer_source_ranges,
            health_check_node_port: spec.health_check_node_port.0,
            publish_not_ready_addresses: spec.publish_not_ready_addresses,
            external_name: Some(spec.external_name).filter(|name| !name.is_empty()),
        }
    }
}

impl From<RawServicePort> for ServicePort {
    fn from(raw: RawServicePort) -> Self {
        Self {
            name: raw.name,
            protocol: raw.protocol.0.0,
            port: raw.port.0,
            target_port: raw.target_port.0.unwrap_or(TargetPort::Number(raw.port.0)),
            node_port: raw.node_port.0,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct SliceObject {
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
pub(super) struct EndpointsObject {
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
    pub(super) fn name(&self) -> ObjectName {
        let namespace = match &*self.metadata.namespace {
            "" => "default",
            said => said,
        };
        ObjectName::new(namespace, &self.metadata.name)
    }

    /// The slices that the EndpointSlice mirroring controller would make of it: one for each subset
    /// and family, named after it with a number, as the real ones end in random letters.
    pub(super) fn slices(self) -> Vec<EndpointSlice> {
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
