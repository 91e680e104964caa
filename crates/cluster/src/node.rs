//! Nodes.

use std::net::IpAddr;

use indexmap::IndexMap;
use podwire_packet::{DeviceName, Family, Prefix};

use crate::{LinkFacts, Meta, Nic};

/// The type of a node's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeAddressKind {
    /// `InternalIP`.
    InternalIp,
    /// `ExternalIP`.
    ExternalIp,
    /// `Hostname`, `InternalDNS`, `ExternalDNS`.
    Name,
}

/// An entry of `status.addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its type.
    pub kind: NodeAddressKind,
    /// The address or name, as written.
    pub address: Box<str>,
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name, labels, place in the file.
    pub meta: Meta,
    /// `spec.podCIDRs`, or `spec.podCIDR` alone.
    pub pod_cidrs: Vec<Prefix>,
    /// `status.addresses`.
    pub addresses: Vec<NodeAddress>,
    /// Network devices that a model gives the node; none where only Kubernetes objects are known.
    pub nics: Vec<Nic>,
    /// What a model knows of devices of the real node.
    pub links: IndexMap<DeviceName, LinkFacts>,
    /// Cores: `status.capacity.cpu`, where it is known.
    pub cpus: Option<u32>,
}

impl Node {
    /// Its InternalIPs of a family, in order.
    pub fn internal_ips(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .filter(|a| a.kind == NodeAddressKind::InternalIp)
            .filter_map(|a| a.address.parse().ok())
            .filter(move |&ip| Family::of(ip) == family)
    }

    /// Its first InternalIP.
    #[must_use]
    pub fn internal_ip(&self) -> Option<IpAddr> {
        let mut internal = self
            .addresses
            .iter()
            .filter(|a| a.kind == NodeAddressKind::InternalIp);
        internal.find_map(|a| a.address.parse().ok())
    }

    /// Its first pod CIDR of a family.
    #[must_use]
    pub fn pod_cidr(&self, family: Family) -> Option<Prefix> {
        self.pod_cidrs
            .iter()
            .copied()
            .find(|cidr| cidr.family() == family)
    }

    /// The zone it stands in: label `topology.kubernetes.io/zone`.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.meta
            .labels
            .get("topology.kubernetes.io/zone")
            .map(|zone| &**zone)
    }
}
