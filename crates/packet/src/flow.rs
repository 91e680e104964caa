//! Flows by their five-tuple.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::Protocol;

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiveTuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Source port; zero where the protocol has none.
    pub sport: u16,
    /// Destination port; zero where the protocol has none.
    pub dport: u16,
}

impl FiveTuple {
    /// The other direction.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            protocol: self.protocol,
            sport: self.dport,
            dport: self.sport,
        }
    }
}

impl fmt::Display for FiveTuple {
    /// Writes `tcp 10.244.0.5:40000 > 10.96.0.10:53`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            src,
            dst,
            protocol,
            sport,
            dport,
        } = *self;
        if protocol.has_ports() {
            write!(
                f,
                "{protocol} {} > {}",
                socket(src, sport),
                socket(dst, dport)
            )
        } else {
            write!(f, "{protocol} {src} > {dst}")
        }
    }
}

/// An address and port as Kubernetes and iptables write them: an IPv6 address stands in brackets.
#[must_use]
pub const fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
