//! What may stand in a model.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use podwire_packet::{DeviceName, Family, MacAddr, Prefix, Protocol};
use serde::Deserialize;

use super::at::At;
use super::ingresses::{IngressClassModel, IngressModel};
use super::policies::NetworkPolicyModel;
use crate::load::{Accepted, Parsed, Port, Target};
use crate::{IpMode, Labels, ServiceType, TrafficPolicy};

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "Cluster", deny_unknown_fields, default)]
pub(super) struct Model {
    pub(super) network: NetworkModel,
    pub(super) nodes: Vec<NodeModel>,
    pub(super) node_count: Option<At<u32>>,
    /// `192.168.0.0/16` unless said.
    pub(super) node_network: Option<At<Parsed<Prefix>>>,
    /// Fields of KubeProxyConfiguration by their path in its file: `"iptables.masqueradeAll": true`.
    pub(super) kube_proxy: BTreeMap<String, At<ron::Value>>,
    pub(super) namespaces: Vec<String>,
    /// Labels of namespaces, by their names.
    pub(super) namespace_labels: BTreeMap<String, Labels>,
    pub(super) workloads: Vec<WorkloadModel>,
    pub(super) services: Vec<ServiceModel>,
    pub(super) policies: Vec<NetworkPolicyModel>,
    pub(super) ingresses: Vec<IngressModel>,
    pub(super) ingress_classes: Vec<IngressClassModel>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NetworkModel {
    pub(super) cni: CniModel,
    /// `10.244.0.0/16` unless said.
    pub(super) pod_cidrs: Vec<At<Parsed<Prefix>>>,
    /// `10.96.0.0/12` unless said.
    pub(super) service_cidrs: Vec<At<Parsed<Prefix>>>,
    pub(super) node_cidr_mask: Option<At<u8>>,
    pub(super) ip_masq: Option<bool>,
    pub(super) hairpin_mode: Option<bool>,
    pub(super) bridge_nf_call_iptables: Option<bool>,
    pub(super) ip_forward: Option<bool>,
    pub(super) rp_filter: Option<At<u8>>,
    pub(super) mtu: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) enum CniModel {
    #[default]
    Routes,
    Bridge,
    Flannel(FlannelModel),
    Weave,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum FlannelModel {
    Vxlan {
        #[serde(default = "vni")]
        vni: u32,
        #[serde(default = "vxlan_port")]
        port: u16,
        #[serde(default)]
        direct_routing: bool,
    },
    HostGw,
}

/// flannel's own choice (pkg/backend/vxlan of flannel).
const fn vni() -> u32 {
    1
}

/// The kernel's own choice (drivers/net/vxlan/vxlan_core.c).
const fn vxlan_port() -> u16 {
    8472
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeModel {
    pub(super) name: At<String>,
    #[serde(default)]
    pub(super) nics: Vec<NicModel>,
    #[serde(default)]
    pub(super) pod_cidrs: Vec<At<Parsed<Prefix>>>,
    #[serde(default)]
    pub(super) internal_ips: Vec<At<Parsed<IpAddr>>>,
    #[serde(default)]
    pub(super) zone: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<Box<str>, Box<str>>,
    #[serde(default)]
    pub(super) cpus: Option<u32>,
    #[serde(default)]
    pub(super) links: Vec<LinkModel>,
}

/// A device as it looks on a real node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkModel {
    pub(super) name: At<Parsed<DeviceName>>,
    #[serde(default)]
    pub(super) index: Option<At<u32>>,
    #[serde(default)]
    pub(super) peer_index: Option<u32>,
    #[serde(default)]
    pub(super) netnsid: Option<u32>,
    #[serde(default)]
    pub(super) mac: Option<At<Parsed<MacAddr>>>,
    #[serde(default)]
    pub(super) mtu: Option<u32>,
    #[serde(default)]
    pub(super) qdisc: Option<Box<str>>,
    #[serde(default)]
    pub(super) pod: Option<At<Parsed<IpAddr>>>,
    #[serde(default)]
    pub(super) bridge: bool,
    #[serde(default)]
    pub(super) addresses: Vec<At<Parsed<NicAddress>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NicModel {
    pub(super) name: At<Parsed<DeviceName>>,
    #[serde(default)]
    pub(super) mtu: Option<u32>,
    #[serde(default)]
    pub(super) mac: Option<At<Parsed<MacAddr>>>,
    #[serde(default)]
    pub(super) addresses: Vec<At<Parsed<NicAddress>>>,
    #[serde(default)]
    pub(super) gateway: Option<At<Parsed<IpAddr>>>,
}

/// An address and the length of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NicAddress(pub(super) IpAddr, pub(super) u8);

impl FromStr for NicAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ip, length) = text.split_once('/').ok_or(())?;
        let ip: IpAddr = ip.parse().map_err(|_| ())?;
        let length: u8 = length.parse().map_err(|_| ())?;
        if length > Family::of(ip).bits() {
            return Err(());
        }
        Ok(Self(ip, length))
    }
}

impl Accepted for NicAddress {
    const ACCEPTED: &'static str =
        "an address and the length of its network, such as `10.8.11.6/24`";
}

impl Accepted for MacAddr {
    const ACCEPTED: &'static str = "an Ethernet address such as `02:42:0a:08:0b:06`";
}

impl Accepted for DeviceName {
    const ACCEPTED: &'static str = "a device name: 1 to 15 bytes without white space or `/`";
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum PortProtocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl From<PortProtocol> for Protocol {
    fn from(protocol: PortProtocol) -> Self {
        match protocol {
            PortProtocol::Tcp => Self::TCP,
            PortProtocol::Udp => Self::UDP,
            PortProtocol::Sctp => Self::SCTP,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadModel {
    pub(super) name: At<String>,
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) repeat: Option<At<u32>>,
    #[serde(default)]
    pub(super) replicas: Option<At<u32>>,
    /// How many of the replicas are ready, from the first; all unless said.
    #[serde(default)]
    pub(super) ready: Option<u32>,
    #[serde(default)]
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) ports: Vec<ContainerPortModel>,
    /// What all its pods run, where it matters: an Ingress controller.
    #[serde(default)]
    pub(super) image: Box<str>,
    #[serde(default)]
    pub(super) args: Vec<Box<str>>,
    #[serde(default)]
    pub(super) host_network: bool,
    #[serde(default)]
    pub(super) nodes: Vec<At<String>>,
    /// Addresses of the replicas, from the first.
    #[serde(default)]
    pub(super) ips: Vec<At<Parsed<IpAddr>>>,
}

pub(super) fn default_namespace() -> String {
    "default".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContainerPortModel {
    #[serde(default)]
    pub(super) name: Option<Box<str>>,
    pub(super) port: At<Port<1>>,
    #[serde(default)]
    pub(super) protocol: PortProtocol,
    #[serde(default)]
    pub(super) host_port: Option<At<Port<1>>>,
    #[serde(default)]
    pub(super) host_ip: Option<At<Parsed<IpAddr>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum ServiceTypeModel {
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

impl From<ServiceTypeModel> for ServiceType {
    fn from(kind: ServiceTypeModel) -> Self {
        match kind {
            ServiceTypeModel::ClusterIp => Self::ClusterIp,
            ServiceTypeModel::NodePort => Self::NodePort,
            ServiceTypeModel::LoadBalancer => Self::LoadBalancer,
            ServiceTypeModel::ExternalName => Self::ExternalName,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) enum PolicyModel {
    #[default]
    Cluster,
    Local,
}

impl From<PolicyModel> for TrafficPolicy {
    fn from(policy: PolicyModel) -> Self {
        match policy {
            PolicyModel::Cluster => Self::Cluster,
            PolicyModel::Local => Self::Local,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) enum IpModeModel {
    #[default]
    #[serde(rename = "VIP")]
    Vip,
    Proxy,
}

impl From<IpModeModel> for IpMode {
    fn from(mode: IpModeModel) -> Self {
        match mode {
            IpModeModel::Vip => Self::Vip,
            IpModeModel::Proxy => Self::Proxy,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum FamilyModel {
    #[serde(rename = "IPv4")]
    Ipv4,
    #[serde(rename = "IPv6")]
    Ipv6,
}

impl From<FamilyModel> for Family {
    fn from(family: FamilyModel) -> Self {
        match family {
            FamilyModel::Ipv4 => Self::Ipv4,
            FamilyModel::Ipv6 => Self::Ipv6,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceModel {
    pub(super) name: At<String>,
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) repeat: Option<At<u32>>,
    #[serde(default, rename = "type")]
    pub(super) kind: ServiceTypeModel,
    /// A fixed address, or `None` in quotes for a headless service.
    #[serde(default)]
    pub(super) cluster_ip: Option<At<String>>,
    /// The families to have addresses of; the first service range's unless said.
    #[serde(default)]
    pub(super) ip_families: Vec<FamilyModel>,
    #[serde(default)]
    pub(super) selector: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) ports: Vec<ServicePortModel>,
    #[serde(default)]
    pub(super) internal_traffic_policy: PolicyModel,
    #[serde(default)]
    pub(super) external_traffic_policy: PolicyModel,
    #[serde(default)]
    pub(super) external_ips: Vec<At<Parsed<IpAddr>>>,
    #[serde(default)]
    pub(super) load_balancer_ips: Vec<At<Parsed<IpAddr>>>,
    #[serde(default)]
    pub(super) ip_mode: IpModeModel,
    #[serde(default)]
    pub(super) load_balancer_source_ranges: Vec<At<Parsed<Prefix>>>,
    #[serde(default = "yes")]
    pub(super) allocate_node_ports: bool,
    /// Seconds for which a client stays with its endpoint.
    #[serde(default)]
    pub(super) client_ip_affinity: Option<u32>,
    #[serde(default)]
    pub(super) health_check_node_port: Option<At<u16>>,
    #[serde(default)]
    pub(super) publish_not_ready_addresses: bool,
    #[serde(default)]
    pub(super) external_name: Option<Box<str>>,
    /// Addresses of endpoints that no selector finds, such as the API server's.
    #[serde(default)]
    pub(super) endpoints: Vec<At<Parsed<IpAddr>>>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServicePortModel {
    #[serde(default)]
    pub(super) name: Box<str>,
    #[serde(default)]
    pub(super) protocol: PortProtocol,
    pub(super) port: At<Port<1>>,
    #[serde(default)]
    pub(super) target_port: Option<At<Target>>,
    #[serde(default)]
    pub(super) node_port: Option<At<u16>>,
}
