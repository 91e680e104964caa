//! Clusters made up for measuring: as many Services as wanted, all alike.

use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::{Family, Prefix, Protocol};

use crate::{
    AddressKind, Cluster, Endpoint, EndpointSlice, Labels, Meta, Node, NodeAddress,
    NodeAddressKind, ObjectName, Service, ServicePort, ServiceType, SlicePort, TargetPort,
    TrafficPolicy,
};

/// Services that fit into 10.96.0.0/12 behind the addresses that are left free.
pub const MAX_SERVICES: u32 = (1 << 20) - FIRST;

/// Place of the first Service's address in the range.
const FIRST: u32 = 256;
const PORT: u16 = 80;
const TARGET_PORT: u16 = 8080;
const NODE: &str = "node-1";

/// ClusterIP and port of the Service with that number, from 0.
#[must_use]
pub fn cluster_ip(number: u32) -> (IpAddr, u16) {
    let range = u32::from(Ipv4Addr::new(10, 96, 0, 0));
    (IpAddr::V4((range + FIRST + number).into()), PORT)
}

/// One node and `count` Services of type ClusterIP, each with so many ready endpoints.
#[must_use]
pub fn services(count: u32, endpoints: u32) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.nodes.insert(NODE.into(), node());
    for number in 0..count {
        let name = ObjectName::new("default", &format!("service-{number:07}"));
        cluster
            .services
            .insert(name.clone(), service(name.clone(), number));
        cluster
            .endpoint_slices
            .insert(name.clone(), slice(name, number * endpoints, endpoints));
    }
    cluster
}

fn meta(name: ObjectName, labels: Labels) -> Meta {
    Meta {
        name,
        labels,
        annotations: Labels::new(),
        source: None,
    }
}

fn node() -> Node {
    Node {
        meta: meta(ObjectName::new("", NODE), Labels::new()),
        pod_cidrs: vec![Prefix::new(IpAddr::from([10, 128, 0, 0]), 9)],
        addresses: vec![NodeAddress {
            kind: NodeAddressKind::InternalIp,
            address: "192.168.0.1".into(),
        }],
        nics: Vec::new(),
        links: indexmap::IndexMap::new(),
        cpus: None,
    }
}

fn service(name: ObjectName, number: u32) -> Service {
    let (address, port) = cluster_ip(number);
    Service {
        meta: meta(name, Labels::new()),
        kind: ServiceType::ClusterIp,
        cluster_ips: vec![address.to_string().into()],
        ip_families: vec![Family::Ipv4],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::TCP,
            port,
            target_port: TargetPort::Number(TARGET_PORT),
            node_port: 0,
        }],
        selector: Labels::new(),
        session_affinity: None,
        internal_traffic_policy: TrafficPolicy::Cluster,
        external_traffic_policy: TrafficPolicy::Cluster,
        external_ips: Vec::new(),
        load_balancer: Vec::new(),
        load_balancer_source_ranges: Vec::new(),
        health_check_node_port: 0,
        publish_not_ready_addresses: false,
        external_name: None,
    }
}

fn slice(service: ObjectName, first: u32, count: u32) -> EndpointSlice {
    let pods = u32::from(Ipv4Addr::new(10, 128, 1, 0));
    let endpoint = |offset: u32| Endpoint {
        addresses: vec![Ipv4Addr::from(pods + first + offset).to_string().into()],
        ready: true,
        serving: true,
        terminating: false,
        node: Some(NODE.into()),
        zone_hints: Vec::new(),
        target: None,
        hostname: None,
    };
    let labels = Labels::from([(
        "kubernetes.io/service-name".into(),
        service.name.as_ref().into(),
    )]);
    EndpointSlice {
        meta: meta(service, labels),
        address_type: AddressKind::Ipv4,
        endpoints: (0..count).map(endpoint).collect(),
        ports: vec![SlicePort {
            name: Some("".into()),
            port: Some(TARGET_PORT),
            protocol: Protocol::TCP,
        }],
    }
}
