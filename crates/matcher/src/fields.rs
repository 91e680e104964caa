//! A packet's headers as numbers that can be masked, compared and hashed at once.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;

use podwire_packet::Headers;

use crate::boxes::Point;

/// What equality tests look at. Each family has its own form, so that IPv4 hashes two words.
pub(crate) trait Fields: Copy + Debug + Default + Ord + Hash + Send + Sync {
    /// An address as a number.
    type Address: crate::boxes::Address + Hash + Send + Sync;

    /// What a table of Services is keyed by: destination, protocol, port.
    type Key: Key;

    /// Addresses of endpoints that stand in the entry of their Service.
    type Inline: Copy
        + Debug
        + Default
        + AsRef<[Self::Address]>
        + AsMut<[Self::Address]>
        + Send
        + Sync;

    /// The number of an address; none for one of the other family.
    fn number(address: IpAddr) -> Option<Self::Address>;

    /// The address of a number.
    fn address_of(number: Self::Address) -> IpAddr;

    /// The mask of one address.
    fn all_bits() -> Self::Address;

    /// A number under a mask.
    fn under(number: Self::Address, mask: Self::Address) -> Self::Address;

    /// The last address under a mask, from the first; none if the mask has holes.
    fn last_under(first: Self::Address, mask: Self::Address) -> Option<Self::Address>;

    /// The packet as a table of ranges sees it; none for one of the other family.
    #[inline]
    fn point(headers: &Headers) -> Option<Point<Self::Address>> {
        Some(Point {
            src: Self::number(headers.src)?,
            dst: Self::number(headers.dst)?,
            sport: headers.sport,
            dport: headers.dport,
            protocol: headers.protocol.0,
        })
    }

    /// The key of a packet that has a transport header; none for one of the other family.
    fn key_of(headers: &Headers) -> Option<Self::Key>;

    /// The key that such fields give.
    fn key(self) -> Self::Key;

    /// Of a packet.
    fn of(headers: &Headers) -> Self;

    /// A source address.
    fn source(address: Self::Address) -> Self;

    /// A destination address.
    fn destination(address: Self::Address) -> Self;

    /// Ports and protocol.
    fn transport(sport: u16, dport: u16, protocol: u8) -> Self;

    /// A bit that is set where a packet's addresses are of the other family; an address test looks at
    /// it too, and fails there.
    fn foreign() -> Self;

    /// Which fields a mask has bits of, as people say it.
    fn described(self) -> String;

    /// The bits of both.
    fn union(self, other: Self) -> Self;

    /// Those bits that the mask has.
    fn masked(self, mask: Self) -> Self;
}

/// A key whose lowest byte is free, for the table's own use.
pub(crate) trait Key: Copy + Debug + Default + Eq + Send + Sync {
    /// Mixes all bits into the high ones of two numbers that know little of each other, with multipliers that
    /// are odd. The first number does not depend on the second multiplier.
    ///
    /// Knuth, The Art of Computer Programming, volume 3, section 6.4: a multiplier near 2^64 over the
    /// golden ratio keeps neighbours apart, and cluster addresses are neighbours.
    fn mixed(self, multipliers: [u64; 2]) -> [u64; 2];

    /// The lowest byte.
    fn low_byte(self) -> u8;

    /// The key with that byte in the lowest place, which was free.
    fn with_low_byte(self, byte: u8) -> Self;

    /// The key of a table that asks for protocol and port alone. The port comes to where addresses are,
    /// since those are what keys are spread by.
    fn of_port(self) -> Self;

    /// The lowest byte of an entry's key where the rest is this key, whose own lowest byte is 0; a number
    /// above any byte where it is another.
    fn byte_of(self, entry: Self) -> u64;

    /// Whether both are the same but for the lowest byte, which is 0 here.
    #[inline]
    fn is_alike(self, entry: Self) -> bool {
        self.byte_of(entry) <= u8::MAX.into()
    }
}

impl Key for u64 {
    #[inline]
    fn mixed(self, [one, other]: [u64; 2]) -> [u64; 2] {
        // The half of which few high bits differ goes to the low end, once the one and once the other.
        [
            self.rotate_left(32).wrapping_mul(one),
            self.wrapping_mul(other),
        ]
    }

    #[inline]
    fn low_byte(self) -> u8 {
        self.to_le_bytes()[0]
    }

    #[inline]
    fn with_low_byte(self, byte: u8) -> Self {
        self | Self::from(byte)
    }

    #[inline]
    fn of_port(self) -> Self {
        (self >> 16 & 0xffff) << 32 | self & 0xff00
    }

    #[inline]
    fn byte_of(self, entry: Self) -> u64 {
        self ^ entry
    }
}

/// Network and host of the destination, then port and protocol.
impl Key for [u64; 3] {
    #[inline]
    fn mixed(self, multipliers: [u64; 2]) -> [u64; 2] {
        let [network, host, transport] = self;
        let network = network.wrapping_mul(multipliers[0]);
        // The network's high bits come down, or only its low ones would tell it from another.
        let host = host ^ transport << 40 ^ network ^ network >> 32;
        host.mixed(multipliers)
    }

    #[inline]
    fn low_byte(self) -> u8 {
        self[2].low_byte()
    }

    #[inline]
    fn with_low_byte(self, byte: u8) -> Self {
        let [network, host, transport] = self;
        [network, host, transport.with_low_byte(byte)]
    }

    #[inline]
    fn of_port(self) -> Self {
        let [_, _, transport] = self;
        [0, transport >> 16, transport & 0xff00]
    }

    #[inline]
    fn byte_of(self, entry: Self) -> u64 {
        if self[0] ^ entry[0] | self[1] ^ entry[1] == 0 {
            self[2].byte_of(entry[2])
        } else {
            u64::MAX
        }
    }
}

/// IPv4: from the highest bit on source, destination, source port, destination port; protocol in the
/// lowest byte and the foreign bit above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Narrow(u128);

impl Fields for Narrow {
    type Address = u32;
    type Key = u64;
    type Inline = [u32; 5];

    #[inline]
    fn number(address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(ip) => Some(ip.into()),
            IpAddr::V6(_) => None,
        }
    }

    #[inline]
    fn address_of(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn all_bits() -> u32 {
        u32::MAX
    }

    #[inline]
    fn under(number: u32, mask: u32) -> u32 {
        number & mask
    }

    fn last_under(first: u32, mask: u32) -> Option<u32> {
        (mask.leading_ones() == mask.count_ones() && first & !mask == 0).then_some(first | !mask)
    }

    #[inline]
    fn key_of(headers: &Headers) -> Option<u64> {
        let dst = u64::from(Self::number(headers.dst)?);
        Some(dst << 32 | u64::from(headers.dport) << 16 | u64::from(headers.protocol.0) << 8)
    }

    fn key(self) -> u64 {
        let low = |bits: u128| u64::try_from(bits).expect("64 bits");
        let dst_and_port = low(self.0 >> 32 & u128::from(u64::MAX));
        let dst = dst_and_port >> 32;
        let dport = dst_and_port & 0xffff;
        dst << 32 | dport << 16 | low(self.0 & 0xff) << 8
    }

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

    fn source(address: u32) -> Self {
        Self(u128::from(address) << 96)
    }

    fn destination(address: u32) -> Self {
        Self(u128::from(address) << 64)
    }

    fn transport(sport: u16, dport: u16, protocol: u8) -> Self {
        Self(u128::from(sport) << 48 | u128::from(dport) << 32 | u128::from(protocol))
    }

    fn foreign() -> Self {
        Self(1 << 8)
    }

    fn described(self) -> String {
        let bits = |shift: u32, width: u32| (self.0 >> shift & ((1 << width) - 1)).count_ones();
        describe(
            bits(96, 32),
            bits(64, 32),
            bits(48, 16),
            bits(32, 16),
            bits(0, 8),
        )
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
    type Address = u128;
    type Key = [u64; 3];
    type Inline = [u128; 2];

    #[inline]
    fn number(address: IpAddr) -> Option<u128> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(ip.into()),
        }
    }

    #[inline]
    fn address_of(number: u128) -> IpAddr {
        IpAddr::V6(number.into())
    }

    fn all_bits() -> u128 {
        u128::MAX
    }

    #[inline]
    fn under(number: u128, mask: u128) -> u128 {
        number & mask
    }

    fn last_under(first: u128, mask: u128) -> Option<u128> {
        (mask.leading_ones() == mask.count_ones() && first & !mask == 0).then_some(first | !mask)
    }

    #[inline]
    fn key_of(headers: &Headers) -> Option<[u64; 3]> {
        let transport = u64::from(headers.dport) << 16 | u64::from(headers.protocol.0) << 8;
        let [network, host] = halves(Self::number(headers.dst)?);
        Some([network, host, transport])
    }

    fn key(self) -> [u64; 3] {
        let (dport, protocol) = (self.transport >> 32 & 0xffff, self.transport & 0xff);
        let [network, host] = halves(self.dst);
        [network, host, dport << 16 | protocol << 8]
    }

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

    fn described(self) -> String {
        let bits =
            |shift: u32, width: u32| (self.transport >> shift & ((1 << width) - 1)).count_ones();
        describe(
            self.src.count_ones(),
            self.dst.count_ones(),
            bits(48, 16),
            bits(32, 16),
            bits(0, 8),
        )
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

/// The high and the low half.
#[inline]
fn halves(number: u128) -> [u64; 2] {
    [number >> 64, number & u128::from(u64::MAX)]
        .map(|half| u64::try_from(half).unwrap_or_default())
}

/// How many bits of each field are compared, in words.
fn describe(src: u32, dst: u32, sport: u32, dport: u32, protocol: u32) -> String {
    let prefix = |name: &str, bits: u32| (bits > 0).then(|| format!("{name}/{bits}"));
    let whole = |name: &str, bits: u32| (bits > 0).then(|| name.to_owned());
    let fields = [
        prefix("source", src),
        prefix("destination", dst),
        whole("protocol", protocol),
        whole("source port", sport),
        whole("destination port", dport),
    ];
    fields.into_iter().flatten().collect::<Vec<_>>().join(" + ")
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
    /// Both together; none if they compare the same bits.
    pub(crate) fn and(self, other: Self) -> Option<Self> {
        let common = self.mask.masked(other.mask);
        (common.masked(F::foreign()) == common).then(|| Self {
            value: self.value.union(other.value),
            mask: self.mask.union(other.mask),
        })
    }

    /// Whether no packet can fit both.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        let common = self.mask.masked(other.mask);
        self.value.masked(common) != other.value.masked(common)
    }

    /// Whether a packet that fits this one fits the other too, whatever else it has.
    pub(crate) fn implies(&self, other: &Self) -> bool {
        other.mask.masked(self.mask) == other.mask && self.value.masked(other.mask) == other.value
    }
}
