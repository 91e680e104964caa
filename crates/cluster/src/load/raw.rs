//! Objects as the API writes them: only the fields that podwire uses, any of them null.

mod names;
mod network_policy;
mod service;
mod slice;

use std::net::IpAddr;

use podwire_packet::Prefix;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::field::{Cores, Parsed, Port, PortProtocol, Worded, labels, nullable};
use crate::{
    Container, ContainerPort, DnsPolicy, Labels, Meta, Node, NodeAddress, NodeAddressKind,
    ObjectName, Pod, Timestamp,
};

pub(super) use names::KubeletObject;
pub(super) use network_policy::NetworkPolicyObject;
pub(crate) use network_policy::{Check, RawCidr, Sound, policy_port, sound};
pub(super) use service::ServiceObject;
pub(super) use slice::{EndpointsObject, SliceObject};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
pub(super) struct Metadata {
    pub(super) name: Box<str>,
    #[serde(default, deserialize_with = "nullable")]
    namespace: Box<str>,
    #[serde(default, deserialize_with = "labels")]
    pub(super) labels: Labels,
    #[serde(default, deserialize_with = "labels")]
    annotations: Labels,
    deletion_timestamp: Option<IgnoredAny>,
}

impl Metadata {
    /// As cluster-wide objects have it.
    pub(super) fn global(self) -> Meta {
        self.meta("")
    }

    /// As namespaced objects have it.
    pub(super) fn namespaced(self) -> Meta {
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
    #[serde(deserialize_with = "nullable")]
    capacity: Capacity,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct Capacity {
    #[serde(deserialize_with = "nullable")]
    cpu: Parsed<Cores>,
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
            links: indexmap::IndexMap::new(),
            cpus: raw.status.capacity.cpu.0.map(|cores| cores.0),
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
    dns_policy: Worded<DnsPolicy>,
    #[serde(deserialize_with = "nullable")]
    dns_config: names::DnsConfig,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<RawContainer>,
    #[serde(deserialize_with = "nullable")]
    init_containers: Vec<RawContainer>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct RawContainer {
    #[serde(deserialize_with = "nullable")]
    name: Box<str>,
    #[serde(deserialize_with = "nullable")]
    image: Box<str>,
    #[serde(deserialize_with = "nullable")]
    args: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<RawContainerPort>,
    /// Of init containers: `Always` makes a sidecar.
    #[serde(rename = "restartPolicy", deserialize_with = "nullable")]
    restart_policy: Box<str>,
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
    #[serde(deserialize_with = "nullable")]
    start_time: Parsed<Timestamp>,
    #[serde(deserialize_with = "nullable")]
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct ContainerStatus {
    #[serde(deserialize_with = "nullable")]
    name: Box<str>,
    #[serde(deserialize_with = "nullable")]
    restart_count: u32,
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
        let mut containers = Vec::with_capacity(spec.containers.len());
        let mut ports = Vec::new();
        for RawContainer {
            name,
            image,
            args,
            ports: of_container,
            restart_policy: _,
        } in spec.containers
        {
            let mut statuses = status.container_statuses.iter();
            let restarts = statuses
                .find(|status| status.name == name)
                .map_or(0, |status| status.restart_count);
            ports.extend(of_container.into_iter().map(ContainerPort::from));
            containers.push(Container {
                name,
                image,
                args,
                restarts,
            });
        }
        // A sidecar runs as long as the pod does (`FindPort`, pkg/api/v1/pod/util.go).
        let sidecars = spec.init_containers.into_iter();
        let sidecars = sidecars.filter(|container| &*container.restart_policy == "Always");
        ports.extend(sidecars.flat_map(|one| one.ports).map(ContainerPort::from));
        Self {
            meta: raw.metadata.namespaced(),
            node: Some(spec.node_name).filter(|name| !name.is_empty()),
            host_network: spec.host_network,
            ips,
            dns: names::pod_dns(spec.dns_policy, spec.dns_config),
            containers,
            ports,
            started: status.start_time.0,
            ready: status
                .conditions
                .iter()
                .any(|c| &*c.kind == "Ready" && &*c.status == "True"),
            terminating,
            finished: matches!(&*status.phase, "Succeeded" | "Failed"),
            unknown: &*status.phase == "Unknown",
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
