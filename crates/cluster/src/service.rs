//! Services.

use std::time::Duration;

use podwire_packet::{Family, Protocol};

use crate::{Meta, Selector};

/// `spec.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServiceType {
    /// An address inside the cluster.
    #[default]
    ClusterIp,
    /// And a port on every node.
    NodePort,
    /// And addresses of a load balancer.
    LoadBalancer,
    /// A DNS alias; no address.
    ExternalName,
}

/// `spec.internalTrafficPolicy`, `spec.externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficPolicy {
    /// Any endpoint.
    #[default]
    Cluster,
    /// Endpoints on the node only.
    Local,
}

/// `spec.ports[].targetPort`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// The name of a container port.
    Name(Box<str>),
}

/// An entry of `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; empty if there is none.
    pub name: Box<str>,
    /// Protocol; TCP unless said.
    pub protocol: Protocol,
    /// Port of the Service.
    pub port: u16,
    /// Port of the pods; the same number unless said.
    pub target_port: TargetPort,
    /// Port on every node; 0 if there is none.
    pub node_port: u16,
}

/// `status.loadBalancer.ingress[].ipMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IpMode {
    /// The balancer delivers packets with its own address as destination.
    #[default]
    Vip,
    /// The balancer delivers packets with the node's address as destination.
    Proxy,
}

/// An entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancerIngress {
    /// Address, as written; empty if only a hostname is given.
    pub ip: Box<str>,
    /// How packets arrive.
    pub ip_mode: IpMode,
}

/// `spec.sessionAffinity: ClientIP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientIpAffinity {
    /// `sessionAffinityConfig.clientIP.timeoutSeconds`: 3 h unless said, a day at most.
    pub timeout: Duration,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name, labels, place in the file.
    pub meta: Meta,
    /// `spec.type`.
    pub kind: ServiceType,
    /// `spec.clusterIPs`, or `spec.clusterIP` alone, as written; `None` and the empty text included.
    pub cluster_ips: Vec<Box<str>>,
    /// `spec.ipFamilies`.
    pub ip_families: Vec<Family>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.selector`.
    pub selector: Selector,
    /// `spec.sessionAffinity`.
    pub session_affinity: Option<ClientIpAffinity>,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.externalIPs`, as written.
    pub external_ips: Vec<Box<str>>,
    /// `status.loadBalancer.ingress`.
    pub load_balancer: Vec<LoadBalancerIngress>,
    /// `spec.loadBalancerSourceRanges`, as written.
    pub load_balancer_source_ranges: Vec<Box<str>>,
    /// `spec.healthCheckNodePort`; 0 if there is none.
    pub health_check_node_port: u16,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready_addresses: bool,
    /// `spec.externalName`.
    pub external_name: Option<Box<str>>,
}
