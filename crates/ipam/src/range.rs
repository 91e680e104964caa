//! Ranges of host-local's configuration.
//!
//! Source: plugins/ipam/host-local/backend/allocator/{range,range_set,config}.go of
//! containernetworking/plugins 1.9.1; messages are worded as there.

use std::fmt;
use std::net::IpAddr;

use podwire_packet::{Family, Prefix};
use thiserror::Error;

/// The address after this one, wrapping at the end of the family.
pub(crate) fn next(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(u32::from(ip).wrapping_add(1).into()),
        IpAddr::V6(ip) => IpAddr::V6(u128::from(ip).wrapping_add(1).into()),
    }
}

/// One piece of a subnet that addresses are taken from; both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    subnet: Prefix,
    start: IpAddr,
    end: IpAddr,
    gateway: IpAddr,
}

/// Why a range cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RangeError {
    /// Less than four addresses.
    #[error("Network {subnet} too small to allocate from")]
    TooSmall {
        /// The subnet.
        subnet: Prefix,
    },
    /// The subnet's address is not its first one.
    #[error(
        "Network has host bits set. For a subnet mask of length {} the network address is {}",
        subnet.len(), subnet.address()
    )]
    HostBits {
        /// The subnet as it should be.
        subnet: Prefix,
    },
    /// The first address lies elsewhere.
    #[error("RangeStart {start} not in network {subnet}")]
    Start {
        /// The first address.
        start: IpAddr,
        /// The subnet.
        subnet: Prefix,
    },
    /// The last address lies elsewhere.
    #[error("RangeEnd {end} not in network {subnet}")]
    End {
        /// The last address.
        end: IpAddr,
        /// The subnet.
        subnet: Prefix,
    },
    /// A set without ranges.
    #[error("empty range set")]
    Empty,
    /// Ranges of both families in a set.
    #[error("mixed address families")]
    MixedFamilies,
    /// Two ranges of a set share addresses.
    #[error("subnets {first} and {second} overlap")]
    Overlap {
        /// One.
        first: Box<Range>,
        /// The other.
        second: Box<Range>,
    },
}

impl Range {
    /// The range that `subnet`, `rangeStart`, `rangeEnd` and `gateway` of a configuration mean: from
    /// the first address to the last but the broadcast one, with the first address as the gateway.
    ///
    /// `network` is the subnet's address as written, as host bits are refused.
    ///
    /// # Errors
    /// When the subnet is too small, or an end lies outside.
    pub fn new(
        network: IpAddr,
        length: u8,
        start: Option<IpAddr>,
        end: Option<IpAddr>,
        gateway: Option<IpAddr>,
    ) -> Result<Self, RangeError> {
        let subnet = Prefix::new(network, length);
        if subnet.len() > subnet.family().bits() - 2 {
            return Err(RangeError::TooSmall { subnet });
        }
        if subnet.address() != network {
            return Err(RangeError::HostBits { subnet });
        }
        let first = next(network);
        let inside = |ip: IpAddr| subnet.contains(ip);
        if let Some(start) = start
            && !(inside(start) && end.is_none_or(|end| start <= end))
        {
            return Err(RangeError::Start { start, subnet });
        }
        let start = start.unwrap_or(first);
        if let Some(end) = end
            && !(inside(end) && start <= end)
        {
            return Err(RangeError::End { end, subnet });
        }
        let last = match subnet.last() {
            IpAddr::V4(broadcast) => IpAddr::V4((u32::from(broadcast) - 1).into()),
            last @ IpAddr::V6(_) => last,
        };
        Ok(Self {
            subnet,
            start,
            end: end.unwrap_or(last),
            gateway: gateway.unwrap_or(first),
        })
    }

    /// The range of a whole subnet.
    ///
    /// # Errors
    /// When the subnet is too small.
    pub fn of_subnet(subnet: Prefix) -> Result<Self, RangeError> {
        Self::new(subnet.address(), subnet.len(), None, None, None)
    }

    /// The subnet.
    #[must_use]
    pub const fn subnet(&self) -> Prefix {
        self.subnet
    }

    /// The first address.
    #[must_use]
    pub const fn start(&self) -> IpAddr {
        self.start
    }

    /// The last address.
    #[must_use]
    pub const fn end(&self) -> IpAddr {
        self.end
    }

    /// The gateway, which is never handed out.
    #[must_use]
    pub const fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Whether an address is between the ends.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.subnet.contains(ip) && self.start <= ip && ip <= self.end
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.subnet.family() == other.subnet.family()
            && (self.contains(other.start)
                || self.contains(other.end)
                || other.contains(self.start)
                || other.contains(self.end))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// Ranges of one family that are used one after the other: a pod gets one address of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

impl RangeSet {
    /// A set of ranges.
    ///
    /// # Errors
    /// When there are none, of both families, or two overlap.
    pub fn new(ranges: Vec<Range>) -> Result<Self, RangeError> {
        let Some(first) = ranges.first() else {
            return Err(RangeError::Empty);
        };
        let family = first.subnet.family();
        if ranges.iter().any(|r| r.subnet.family() != family) {
            return Err(RangeError::MixedFamilies);
        }
        for (i, &first) in ranges.iter().enumerate() {
            if let Some(&second) = ranges[i + 1..].iter().find(|other| first.overlaps(other)) {
                let (first, second) = (Box::new(first), Box::new(second));
                return Err(RangeError::Overlap { first, second });
            }
        }
        Ok(Self(ranges))
    }

    /// The ranges; at least one.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// The family of its addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        self.0[0].subnet.family()
    }

    /// The range that holds an address.
    #[must_use]
    pub fn range_of(&self, ip: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(ip))
    }
}

impl fmt::Display for RangeSet {
    /// Writes `a-b,c-d`, as host-local's messages do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            range.fmt(f)?;
        }
        Ok(())
    }
}

/// All sets of a configuration: a pod gets an address of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSets(Vec<RangeSet>);

/// Why sets cannot be used together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RangeSetsError {
    /// No set at all.
    #[error("no IP ranges specified")]
    None,
    /// One set is wrong in itself.
    #[error("invalid range set {index}: {source}")]
    Set {
        /// Its number from 0.
        index: usize,
        /// What is wrong.
        source: RangeError,
    },
    /// Two sets share addresses.
    #[error("range set {first} overlaps with {second}")]
    Overlap {
        /// One's number from 0.
        first: usize,
        /// The other's.
        second: usize,
    },
}

impl RangeSets {
    /// Sets that share no address.
    ///
    /// # Errors
    /// When there are none, or two overlap.
    pub fn new(sets: Vec<RangeSet>) -> Result<Self, RangeSetsError> {
        if sets.is_empty() {
            return Err(RangeSetsError::None);
        }
        for (first, one) in sets.iter().enumerate() {
            for (second, other) in sets.iter().enumerate().skip(first + 1) {
                if one.0.iter().any(|a| other.0.iter().any(|b| a.overlaps(b))) {
                    return Err(RangeSetsError::Overlap { first, second });
                }
            }
        }
        Ok(Self(sets))
    }

    /// A set for each subnet, as a node's pod CIDRs are.
    ///
    /// # Errors
    /// When there is no subnet, one is too small, or two overlap.
    pub fn of_subnets(subnets: &[Prefix]) -> Result<Self, RangeSetsError> {
        let sets = subnets.iter().enumerate().map(|(index, &subnet)| {
            Range::of_subnet(subnet)
                .and_then(|range| RangeSet::new(vec![range]))
                .map_err(|source| RangeSetsError::Set { index, source })
        });
        Self::new(sets.collect::<Result<_, _>>()?)
    }

    /// The sets; at least one.
    #[must_use]
    pub fn sets(&self) -> &[RangeSet] {
        &self.0
    }
}
