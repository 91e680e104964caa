//! Pods.

use std::net::IpAddr;

use podwire_packet::Protocol;

use crate::Meta;

/// An entry of a container's `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// Its name, which a Service's `targetPort` may use.
    pub name: Option<Box<str>>,
    /// Port in the pod.
    pub port: u16,
    /// Protocol; TCP unless said.
    pub protocol: Protocol,
    /// Port on the node, if the pod asks for one.
    pub host_port: Option<u16>,
    /// Address on the node that the host port is bound to; all if not said.
    pub host_ip: Option<IpAddr>,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Name, labels, place in the file.
    pub meta: Meta,
    /// `spec.nodeName`; `None` while it is not scheduled.
    pub node: Option<Box<str>>,
    /// `spec.hostNetwork`: it uses the node's own namespace.
    pub host_network: bool,
    /// `status.podIPs`.
    pub ips: Vec<IpAddr>,
    /// Ports of all its containers.
    pub ports: Vec<ContainerPort>,
    /// Condition `Ready`.
    pub ready: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// Phase `Succeeded` or `Failed`: it has no network any more.
    pub finished: bool,
}
