//! The cluster: Kubernetes objects in compact form, and the network they live on.
//!
//! Files go in: Kubernetes YAML, JSON, or a RON model that says a whole cluster in a
//! screenful; a [`Cluster`] comes out, in which every object knows the file and line it came from.
//!
//! The folder `models/` has models to begin with; the module `model` says how they expand.
//!
//! # Map, in reading order
//! - [`load()`], [`read_inputs`]: files in, a cluster or [`LoadErrors`] out.
//! - [`Cluster`]: all objects by name.
//! - [`Node`], [`Pod`], [`Service`], [`EndpointSlice`]: the objects, named as the Kubernetes API
//!   names them; [`Ingress`], [`IngressClass`].
//! - [`NetworkPolicy`], [`LabelSelector`], [`Namespace`]: who may talk to whom.
//! - [`KubeProxyConfiguration`]: how kube-proxy was told to work.
//! - [`KubeletConfiguration`], [`PodDns`]: what a pod's resolv.conf is made of.
//! - [`Events`]: what happens to a cluster, and when.
//! - [`Network`], [`Cni`]: what Kubernetes objects do not say: the wires between the nodes and the
//!   pod network's plugin.

mod events;
mod ingress;
mod kube_proxy_configuration;
mod load;
mod meta;
mod model;
mod names;
mod namespace;
mod network;
mod network_policy;
mod node;
mod pod;
mod service;
mod slice;
pub mod synthetic;
mod timestamp;
mod world;

pub use events::{Change, Events, Probe, Timing, read_events};
pub use ingress::{
    BackendPort, Ingress, IngressApi, IngressBackend, IngressClass, IngressPath, IngressRule,
    IngressTls, PathType,
};
pub use kube_proxy_configuration::{
    ClientConnection, ConntrackConfiguration, DetectLocal, DetectLocalMode, FlushFrequency,
    InvalidField, IptablesConfiguration, IpvsConfiguration, KubeProxyConfiguration,
    LoggingConfiguration, LoggingFormatOptions, LoggingOptions, NftablesConfiguration, ProxyMode,
    SetError, VmoduleItem, WinkernelConfiguration, go_duration, parse_go_duration,
};
pub use load::{
    Format, Input, LONGEST_TEXT, LoadError, LoadErrors, Place, Problem, ReadError, load,
    read_inputs, read_text, read_text_up_to,
};
pub use meta::{FileId, Labels, Meta, ObjectName, Selector, Source};
pub use names::{DnsPolicy, KubeletConfiguration, PodDns};
pub use namespace::{NAMESPACE_NAME_LABEL, Namespace};
pub use network::{Cni, FlannelBackend, LinkFacts, Network, Nic};
pub use network_policy::{
    Cidr, IpBlock, LabelSelector, NetworkPolicy, Operator, Peer, PolicyPort, PolicyRule,
    PolicyType, PortNumbers, Requirement,
};
pub use node::{Node, NodeAddress, NodeAddressKind};
pub use pod::{Container, ContainerPort, Pod};
pub use service::{
    ClientIpAffinity, IpMode, LoadBalancerIngress, Service, ServicePort, ServiceType, TargetPort,
    TrafficPolicy,
};
pub use slice::{AddressKind, Endpoint, EndpointSlice, SlicePort};
pub use timestamp::{ParseTimestampError, Timestamp};
pub use world::{Cluster, ConfigText, Warning};
