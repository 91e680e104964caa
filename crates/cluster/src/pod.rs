//! Pods.

use std::net::IpAddr;

use podwire_packet::Protocol;

use crate::{Meta, PodDns, Timestamp};

/// A container, as far as its log, or what it does for others, depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: Box<str>,
    /// Its image.
    pub image: Box<str>,
    /// What its program is told: `args`.
    pub args: Vec<Box<str>>,
    /// How often it was started again: `restartCount` of its status.
    pub restarts: u32,
}

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
    /// How it resolves names, where that is not as every pod does.
    pub dns: Option<Box<PodDns>>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// Ports of all its containers.
    pub ports: Vec<ContainerPort>,
    /// `status.startTime`.
    pub started: Option<Timestamp>,
    /// Condition `Ready`.
    pub ready: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// Phase `Succeeded` or `Failed`: it has no network any more.
    pub finished: bool,
    /// Phase `Unknown`: nothing was heard of its node.
    pub unknown: bool,
}
