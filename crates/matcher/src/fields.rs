//! A packet's headers as numbers that can be masked, compared and hashed at once.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;

use podwire_packet::{Family, Headers, Prefix};

/// What equality tests look at. Each family has its own form, so that IPv4 hashes two words.
pub(crate) trait Fields: Copy + Debug + Default + Ord + Hash {
    /// Family of the addresses that it can hold.
    const FAMILY: Family;

    /// Of a packet.
    fn of(headers: &Headers) -> Self;

    /// A source address.
    fn source(address: u128) -> Self;

    /// A destination address.
    fn destination(address: u128) -> Self;

    /// Ports and protocol.
    fn transport(sport: u16, dport: u16, protocol: u8) -> Self;

    /// A bit that is set where a packet's addresses are of the other family; an address test looks at
    /// it too, and fails there.
    fn foreign() -> Self;

    /// The bits of both.
    fn union(self, other: Self) -> Self;

    /// Those bits that the mask has.
    fn masked(self, mask: Self) -> Self;
}

/// IPv4: from the highest bit on source, destination, source port, destination port; protocol in the
/// lowest byte and the foreign bit above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Narrow(u128);

impl Fields for Narrow {
    const FAMILY: Family = Family::Ipv4;

    fn of(headers: &Headers) -> Self {
        let transport = Self::transport(headers.sport, headers.dport, headers.protocol.0);
        match (headers.src, headers.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let addresses = u128::from(u32::from(src)) << 96 | u128::from(u32::from(dst)) << 64;
                Self(addresses | transport.0)
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _) => transport.union(Self::foreign()),
        }
    }

    fn source(address: u128) -> Self {
        Self(address << 96)
    }

    fn destination(address: u128) -> Self {
        Self((address & u128::from(u32::MAX)) << 64)
    }

    fn transport(sport: u16, dport: u16, protocol: u8) -> Self {
        Self(u128::from(sport) << 48 | u128::from(dport) << 32 | u128::from(protocol))
    }

    fn foreign() -> Self {
        Self(1 << 8)
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn masked(self, mask: Self) -> Self {
        Self(self.0 & mask.0)
    }
}

/// IPv6: addresses, then ports and protocol as [`Narrow`] has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Wide {
    src: u128,
    dst: u128,
    transport: u64,
}

impl Fields for Wide {
    const FAMILY: Family = Family::Ipv6;

    fn of(headers: &Headers) -> Self {
        let transport = Self::transport(headers.sport, headers.dport, headers.protocol.0);
        match (headers.src, headers.dst) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => Self {
                src: src.into(),
                dst: dst.into(),
                ..transport
            },
            (IpAddr::V4(_) | IpAddr::V6(_), _) => transport.union(Self::foreign()),
        }
    }

    fn source(src: u128) -> Self {
        Self {
            src,
            ..Self::default()
        }
    }

    fn destination(dst: u128) -> Self {
        Self {
            dst,
            ..Self::default()
        }
    }

    fn transport(sport: u16, dport: u16, protocol: u8) -> Self {
        Self {
            transport: u64::from(sport) << 48 | u64::from(dport) << 32 | u64::from(protocol),
            ..Self::default()
        }
    }

    fn foreign() -> Self {
        Self {
            transport: 1 << 8,
            ..Self::default()
        }
    }

    fn union(self, other: Self) -> Self {
        Self {
            src: self.src | other.src,
            dst: self.dst | other.dst,
            transport: self.transport | other.transport,
        }
    }

    fn masked(self, mask: Self) -> Self {
        Self {
            src: self.src & mask.src,
            dst: self.dst & mask.dst,
            transport: self.transport & mask.transport,
        }
    }
}

/// Bits of an address, or of a mask.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// What a test for equality compares, and which bits of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Equality<F> {
    pub(crate) value: F,
    pub(crate) mask: F,
}

impl<F: Fields> Equality<F> {
    /// A source prefix, if the form can hold it.
    pub(crate) fn source(prefix: &Prefix) -> Option<Self> {
        Self::address(prefix, F::source)
    }

    /// A destination prefix, if the form can hold it.
    pub(crate) fn destination(prefix: &Prefix) -> Option<Self> {
        Self::address(prefix, F::destination)
    }

    fn address(prefix: &Prefix, place: fn(u128) -> F) -> Option<Self> {
        (prefix.family() == F::FAMILY).then(|| Self {
            value: place(bits(prefix.address())),
            mask: place(bits(prefix.mask())).union(F::foreign()),
        })
    }

    /// Both together; none if they compare the same bits.
    pub(crate) fn and(self, other: Self) -> Option<Self> {
        let common = self.mask.masked(other.mask);
        (common.masked(F::foreign()) == common).then(|| Self {
            value: self.value.union(other.value),
            mask: self.mask.union(other.mask),
        })
    }

    /// Whether a packet fits.
    pub(crate) fn holds(&self, fields: F) -> bool {
        fields.masked(self.mask) == self.value
    }

    /// Whether a packet that fits this one fits the other too, whatever else it has.
    pub(crate) fn implies(&self, other: &Self) -> bool {
        other.mask.masked(self.mask) == other.mask && self.value.masked(other.mask) == other.value
    }
}
