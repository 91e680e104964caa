//! Tuples in few bytes, and their hash.

use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::{FiveTuple, Headers, Protocol};

/// Both addresses of a tuple.
pub(super) trait Ends: Copy + Default {
    /// Packs them, if they are of the family that this is for.
    fn pack(src: IpAddr, dst: IpAddr) -> Option<Self>;

    /// Source and destination.
    fn unpack(self) -> (IpAddr, IpAddr);

    /// Zero if both are the same. A number, since it is asked where a branch would be mispredicted.
    fn difference(self, other: Self) -> u64;

    /// A hash of them that depends on `key`.
    fn mix(self, key: u64) -> u64;
}

/// Two IPv4 addresses: the source above the destination.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Narrow(u64);

impl Ends for Narrow {
    #[inline]
    fn pack(src: IpAddr, dst: IpAddr) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (src, dst) = (u32::from(src), u32::from(dst));
                Some(Self(u64::from(src) << 32 | u64::from(dst)))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), _) => None,
        }
    }

    #[inline]
    fn unpack(self) -> (IpAddr, IpAddr) {
        let [a, b, c, d, e, f, g, h] = self.0.to_be_bytes();
        let (src, dst) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
        (src.into(), dst.into())
    }

    #[inline]
    fn difference(self, other: Self) -> u64 {
        self.0 ^ other.0
    }

    #[inline]
    fn mix(self, key: u64) -> u64 {
        fold(self.0 ^ key)
    }
}

/// Two addresses of any family: the high and low half of the source, of the destination, and which of
/// them are IPv4. A packet has one family; a tuple that does not is kept apart all the same.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wide([u64; 5]);

impl Wide {
    const SRC_IS_IPV4: u64 = 1;
    const DST_IS_IPV4: u64 = 2;
}

impl Ends for Wide {
    #[inline]
    fn pack(src: IpAddr, dst: IpAddr) -> Option<Self> {
        let halves = |address| match address {
            IpAddr::V4(ip) => (0, u64::from(u32::from(ip))),
            IpAddr::V6(ip) => halves(ip.into()),
        };
        let src_is = u64::from(src.is_ipv4()) * Self::SRC_IS_IPV4;
        let dst_is = u64::from(dst.is_ipv4()) * Self::DST_IS_IPV4;
        let ((src_high, src_low), (dst_high, dst_low)) = (halves(src), halves(dst));
        Some(Self([
            src_high,
            src_low,
            dst_high,
            dst_low,
            src_is | dst_is,
        ]))
    }

    #[inline]
    fn unpack(self) -> (IpAddr, IpAddr) {
        let [src_high, src_low, dst_high, dst_low, kinds] = self.0;
        let whole = |high, low, is_ipv4: bool| {
            let bits = u128::from(high) << 64 | u128::from(low);
            if is_ipv4 {
                let [.., a, b, c, d] = bits.to_be_bytes();
                IpAddr::from([a, b, c, d])
            } else {
                IpAddr::from(bits.to_be_bytes())
            }
        };
        (
            whole(src_high, src_low, kinds & Self::SRC_IS_IPV4 != 0),
            whole(dst_high, dst_low, kinds & Self::DST_IS_IPV4 != 0),
        )
    }

    #[inline]
    fn difference(self, other: Self) -> u64 {
        let pairs = self.0.into_iter().zip(other.0);
        pairs.fold(0, |differing, (own, other)| differing | (own ^ other))
    }

    #[inline]
    fn mix(self, key: u64) -> u64 {
        self.0.into_iter().fold(key, |hash, word| fold(hash ^ word))
    }
}

/// The high and the low half.
#[inline]
fn halves(bits: u128) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, low @ ..] = bits.to_be_bytes();
    (
        u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        u64::from_be_bytes(low),
    )
}

/// One round of the hash: both halves of a product with an odd number whose bits are even (the
/// fractional part of the golden ratio). Every bit of `word` reaches the low bits of the result.
#[inline]
fn fold(word: u64) -> u64 {
    let (high, low) = halves(u128::from(word) * u128::from(0x9e37_79b9_7f4a_7c15_u64));
    high ^ low
}

/// A tuple as it is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<E> {
    pub(super) ends: E,
    /// The source port above the destination port.
    pub(super) ports: u32,
    pub(super) protocol: u8,
}

impl<E: Ends> Packed<E> {
    /// Packs a tuple, if its addresses are of the family that `E` is for.
    #[inline]
    pub(super) fn of(tuple: &FiveTuple) -> Option<Self> {
        Some(Self {
            ends: E::pack(tuple.src, tuple.dst)?,
            ports: u32::from(tuple.sport) << 16 | u32::from(tuple.dport),
            protocol: tuple.protocol.0,
        })
    }

    /// Packs the tuple of a packet, as [`tuple_of`](super::tuple_of) makes it, from where the packet has
    /// it: a copy on the way costs more than all the rest.
    #[inline]
    pub(super) fn of_packet(headers: &Headers) -> Option<Self> {
        let is_echo = matches!(headers.protocol, Protocol::ICMP | Protocol::ICMPV6);
        let (sport, dport) = if is_echo {
            (headers.icmp_id, headers.icmp_id)
        } else {
            (headers.sport, headers.dport)
        };
        Some(Self {
            ends: E::pack(headers.src, headers.dst)?,
            ports: u32::from(sport) << 16 | u32::from(dport),
            protocol: headers.protocol.0,
        })
    }

    /// As it was.
    #[inline]
    pub(super) fn unpack(self) -> FiveTuple {
        let (src, dst) = self.ends.unpack();
        let [a, b, c, d] = self.ports.to_be_bytes();
        FiveTuple {
            src,
            dst,
            protocol: Protocol(self.protocol),
            sport: u16::from_be_bytes([a, b]),
            dport: u16::from_be_bytes([c, d]),
        }
    }

    /// Its hash. Who knows `key` can make tuples of one hash; who does not has to find them by trying.
    #[inline]
    pub(super) fn hash(&self, key: u64) -> u64 {
        let tail = u64::from(self.ports) << 8 | u64::from(self.protocol);
        fold(self.ends.mix(key) ^ tail ^ key.rotate_left(32))
    }
}
