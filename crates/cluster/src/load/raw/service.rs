//! Services.

use std::time::Duration;

use podwire_packet::Family;
use serde::Deserialize;

use super::Metadata;
use crate::load::field::{Affinity, Port, PortProtocol, Target, Worded, labels, nullable};
use crate::{
    ClientIpAffinity, IpMode, Labels, LoadBalancerIngress, Service, ServicePort, ServiceType,
    TargetPort, TrafficPolicy,
};

/// `timeoutSeconds` of ClientIP affinity unless said (core/v1 defaults).
const AFFINITY_TIMEOUT: Duration = Duration::from_secs(10_800);

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
pub(in crate::load) struct ServiceObject {
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
