//! EndpointSlices.

use podwire_packet::Protocol;

use crate::{Meta, ObjectName};

/// `addressType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressKind {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// Names; kube-proxy leaves them out.
    Fqdn,
}

/// An entry of `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses, as written; kube-proxy uses the first.
    pub addresses: Vec<Box<str>>,
    /// `conditions.ready`; true unless said.
    pub ready: bool,
    /// `conditions.serving`; as `ready` unless said, which for kube-proxy is true.
    pub serving: bool,
    /// `conditions.terminating`; false unless said.
    pub terminating: bool,
    /// `nodeName`.
    pub node: Option<Box<str>>,
    /// `hints.forZones[].name`.
    pub zone_hints: Vec<Box<str>>,
    /// The pod behind it: `targetRef` of kind Pod.
    pub target: Option<ObjectName>,
    /// `hostname`.
    pub hostname: Option<Box<str>>,
}

/// An entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Name: `None` where the slice has null, which kube-proxy leaves out.
    pub name: Option<Box<str>>,
    /// Number; `None` or 0 is left out by kube-proxy.
    pub port: Option<u16>,
    /// Protocol; TCP unless said.
    pub protocol: Protocol,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Name, labels, place in the file.
    pub meta: Meta,
    /// Kind of its addresses.
    pub address_type: AddressKind,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Its ports, which all endpoints have.
    pub ports: Vec<SlicePort>,
}

impl EndpointSlice {
    /// The Service it belongs to: label `kubernetes.io/service-name`, in its own namespace.
    #[must_use]
    pub fn service(&self) -> Option<ObjectName> {
        let name = self.meta.labels.get("kubernetes.io/service-name")?;
        Some(ObjectName {
            namespace: self.meta.name.namespace.clone(),
            name: (&**name).into(),
        })
    }
}
