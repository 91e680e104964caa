//! flannel's own leases: a subnet for each node, where no Kubernetes hands out pod CIDRs.
//!
//! Source: pkg/subnet/config.go and pkg/subnet/etcd/local_manager.go of flannel 0.25.
//!
//! # Departures
//! flannel draws one of the first hundred free subnets at random; here the first is taken, so that
//! the same cluster is the same twice.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::Prefix;
use thiserror::Error;

/// `net-conf.json`, as far as it is about IPv4 subnets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlannelConfig {
    network: Prefix,
    subnet_len: u8,
    min: u32,
    max: u32,
    leased: BTreeSet<Prefix>,
}

/// Why flannel gives no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FlannelError {
    /// Only IPv4 networks have leases of this kind.
    #[error("{network} is not an IPv4 network")]
    NotIpv4 {
        /// The network.
        network: Prefix,
    },
    /// The network has no room for subnets.
    #[error("network {network} is too small: /28 and larger are accepted")]
    NetworkTooSmall {
        /// The network.
        network: Prefix,
    },
    /// Subnets must be smaller than the network and hold hosts.
    #[error("SubnetLen {length} does not fit {network}: {} to 30 is accepted", network.len() + 1)]
    SubnetLen {
        /// The network.
        network: Prefix,
        /// The length.
        length: u8,
    },
    /// All subnets are leased.
    #[error("out of subnets")]
    Exhausted,
}

impl FlannelConfig {
    /// A network with `SubnetLen`: 24 unless said, or two bits longer than a network that is smaller
    /// than that. The first subnet of the network is not leased (`SubnetMin`).
    ///
    /// # Errors
    /// When the network is not IPv4 or too small.
    pub fn new(network: Prefix, subnet_len: Option<u8>) -> Result<Self, FlannelError> {
        let IpAddr::V4(first) = network.address() else {
            return Err(FlannelError::NotIpv4 { network });
        };
        let subnet_len = match (subnet_len, network.len()) {
            (Some(length), own) if length <= own || length > 30 => {
                return Err(FlannelError::SubnetLen { network, length });
            }
            (Some(length), _) => length,
            (None, 0..24) => 24,
            (None, own @ 24..=28) => own + 2,
            (None, _) => return Err(FlannelError::NetworkTooSmall { network }),
        };
        let size = 1 << (32 - subnet_len);
        let IpAddr::V4(last) = network.last() else {
            return Err(FlannelError::NotIpv4 { network });
        };
        Ok(Self {
            network,
            subnet_len,
            min: u32::from(first) + size,
            max: u32::from(last) - (size - 1),
            leased: BTreeSet::new(),
        })
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> Prefix {
        self.network
    }

    /// Leases the first free subnet.
    ///
    /// # Errors
    /// When none is free.
    pub fn lease(&mut self) -> Result<Prefix, FlannelError> {
        let step = 1_usize << (32 - self.subnet_len);
        (self.min..=self.max)
            .step_by(step)
            .map(|first| Prefix::new(IpAddr::V4(Ipv4Addr::from(first)), self.subnet_len))
            .find(|&subnet| self.leased.insert(subnet))
            .ok_or(FlannelError::Exhausted)
    }

    /// Ends a lease.
    pub fn release(&mut self, subnet: Prefix) {
        self.leased.remove(&subnet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_24_long_and_begin_at_the_second() {
        let mut config = FlannelConfig::new("10.244.0.0/16".parse().unwrap(), None).unwrap();
        assert_eq!(config.lease().unwrap().to_string(), "10.244.1.0/24");
        assert_eq!(config.lease().unwrap().to_string(), "10.244.2.0/24");
        config.release("10.244.1.0/24".parse().unwrap());
        assert_eq!(config.lease().unwrap().to_string(), "10.244.1.0/24");
    }

    #[test]
    fn small_networks_have_smaller_subnets() {
        let mut config = FlannelConfig::new("10.5.0.0/24".parse().unwrap(), None).unwrap();
        for leased in ["10.5.0.64/26", "10.5.0.128/26", "10.5.0.192/26"] {
            assert_eq!(config.lease().unwrap().to_string(), leased);
        }
        assert_eq!(config.lease(), Err(FlannelError::Exhausted));
        for (network, length) in [
            ("10.5.0.0/29", None),
            ("fd00::/56", None),
            ("10.5.0.0/24", Some(24)),
            ("10.5.0.0/24", Some(31)),
        ] {
            assert!(FlannelConfig::new(network.parse().unwrap(), length).is_err());
        }
    }
}
