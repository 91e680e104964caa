//! The controller manager's node IPAM: a pod CIDR for each node.
//!
//! Source: pkg/controller/nodeipam/ipam/cidrset/cidr_set.go of Kubernetes 1.30.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podwire_packet::{Family, Prefix};
use thiserror::Error;

/// A range that is handed out in equal parts, one a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCidrs {
    range: Prefix,
    mask_size: u8,
    taken: BTreeSet<Prefix>,
    /// The number of the part that is tried next.
    next: u128,
}

/// Why a node gets no pod CIDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NodeCidrError {
    /// The parts are larger than the range, or more than 16 bits smaller.
    #[error("a part of /{mask_size} cannot be cut out of {range}: /{} to /{} is accepted", range.len(), (range.len() + 16).min(range.family().bits()))]
    MaskSize {
        /// The range.
        range: Prefix,
        /// Length of the parts.
        mask_size: u8,
    },
    /// All parts are handed out.
    #[error(
        "CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range"
    )]
    Exhausted,
    /// The prefix lies outside the range.
    #[error("{cidr} is out of the range of cluster cidr {range}")]
    OutOfRange {
        /// The prefix.
        cidr: Prefix,
        /// The range.
        range: Prefix,
    },
}

impl NodeCidrs {
    /// A range in parts of a length; the controller manager's is 24 in IPv4 and 64 in IPv6 unless
    /// said (`--node-cidr-mask-size`).
    ///
    /// # Errors
    /// When the parts are larger than the range, or more than 65,536.
    pub fn new(range: Prefix, mask_size: u8) -> Result<Self, NodeCidrError> {
        let wrong = mask_size < range.len()
            || mask_size - range.len() > 16
            || mask_size > range.family().bits();
        if wrong {
            return Err(NodeCidrError::MaskSize { range, mask_size });
        }
        Ok(Self {
            range,
            mask_size,
            taken: BTreeSet::new(),
            next: 0,
        })
    }

    /// A range in parts of the usual length, or of its own if it is smaller than that.
    ///
    /// # Errors
    /// When there would be more than 65,536 parts.
    pub fn usual(range: Prefix) -> Result<Self, NodeCidrError> {
        let usual = match range.family() {
            Family::Ipv4 => 24,
            Family::Ipv6 => 64,
        };
        Self::new(range, range.len().max(usual))
    }

    /// The whole range.
    #[must_use]
    pub const fn range(&self) -> Prefix {
        self.range
    }

    /// The next free part, going round from the one handed out last.
    ///
    /// # Errors
    /// When all are handed out.
    pub fn allocate(&mut self) -> Result<Prefix, NodeCidrError> {
        let count = self.count();
        for step in 0..count {
            let index = (self.next + step) % count;
            let part = self.part(index);
            if self.taken.insert(part) {
                self.next = (index + 1) % count;
                return Ok(part);
            }
        }
        Err(NodeCidrError::Exhausted)
    }

    /// Marks all parts that share addresses with a prefix, as a node came with it.
    ///
    /// # Errors
    /// When the prefix shares no address with the range.
    pub fn occupy(&mut self, cidr: Prefix) -> Result<(), NodeCidrError> {
        let range = self.range;
        if !range.overlaps(&cidr) {
            return Err(NodeCidrError::OutOfRange { cidr, range });
        }
        if cidr.len() >= self.mask_size {
            let part = Prefix::new(cidr.address(), self.mask_size);
            self.taken.insert(part);
        } else {
            let inside = if cidr.len() < range.len() {
                range
            } else {
                cidr
            };
            self.taken.extend(inside.subnets(self.mask_size));
        }
        Ok(())
    }

    /// Frees a part.
    pub fn release(&mut self, cidr: Prefix) {
        self.taken.remove(&cidr);
    }

    fn count(&self) -> u128 {
        1 << (self.mask_size - self.range.len())
    }

    fn part(&self, index: u128) -> Prefix {
        let shift = u32::from(self.range.family().bits() - self.mask_size);
        let offset = index.checked_shl(shift).unwrap_or(0);
        let first: IpAddr = self.range.nth(offset).unwrap_or(self.range.address());
        Prefix::new(first, self.mask_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn parts_are_handed_out_in_order_and_round() {
        let mut cidrs = NodeCidrs::new(prefix("10.244.0.0/22"), 24).unwrap();
        cidrs.occupy(prefix("10.244.1.0/24")).unwrap();
        let mut next = || cidrs.allocate().map(|p| p.to_string());
        assert_eq!(next().unwrap(), "10.244.0.0/24");
        assert_eq!(next().unwrap(), "10.244.2.0/24");
        assert_eq!(next().unwrap(), "10.244.3.0/24");
        assert_eq!(next(), Err(NodeCidrError::Exhausted));
        cidrs.release(prefix("10.244.2.0/24"));
        assert_eq!(cidrs.allocate().unwrap(), prefix("10.244.2.0/24"));
    }

    #[test]
    fn ipv6_parts_are_64_bits_long() {
        let mut cidrs = NodeCidrs::usual(prefix("fd00:10:244::/56")).unwrap();
        assert_eq!(cidrs.allocate().unwrap(), prefix("fd00:10:244::/64"));
        assert_eq!(cidrs.allocate().unwrap(), prefix("fd00:10:244:1::/64"));
    }

    #[test]
    fn parts_fit_into_the_range() {
        assert!(NodeCidrs::new(prefix("10.244.0.0/16"), 15).is_err());
        assert!(NodeCidrs::new(prefix("10.0.0.0/8"), 25).is_err());
        assert!(NodeCidrs::new(prefix("0.0.0.0/32"), 33).is_err());
        let one = NodeCidrs::usual(prefix("10.244.0.0/26"))
            .unwrap()
            .allocate();
        assert_eq!(one.unwrap(), prefix("10.244.0.0/26"));
        let mut all = NodeCidrs::new(prefix("::/0"), 16).unwrap();
        assert_eq!(all.allocate().unwrap(), prefix("::/16"));
    }

    #[test]
    fn a_larger_prefix_takes_all_parts_within() {
        let mut cidrs = NodeCidrs::new(prefix("10.244.0.0/22"), 24).unwrap();
        cidrs.occupy(prefix("10.244.0.0/23")).unwrap();
        assert_eq!(cidrs.allocate().unwrap(), prefix("10.244.2.0/24"));
        assert!(cidrs.occupy(prefix("10.245.0.0/24")).is_err());
        cidrs.occupy(prefix("10.0.0.0/8")).unwrap();
        assert_eq!(cidrs.allocate(), Err(NodeCidrError::Exhausted));
    }
}
