//! Addresses of the link and network layers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// Bits of an address: 32 or 128.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }

    /// The address of all zeros: `0.0.0.0` or `::`.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

/// A network address and its length; host bits are zero by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

/// Why a text is not a [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address prefix such as `10.244.0.0/16` or `fd00::/64`")]
pub struct ParsePrefixError {
    /// The text that was read.
    pub text: String,
}

impl Prefix {
    /// The prefix of `length` bits that holds `address`; a longer length than the family has is cut to it.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Self {
        let length = length.min(Family::of(address).bits());
        Self(
            IpNet::new(address, length)
                .expect("length was cut to the family's bits")
                .trunc(),
        )
    }

    /// The prefix that holds `address` alone.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self(address.into())
    }

    /// The prefix of length zero, which holds every address of the family.
    #[must_use]
    pub fn any(family: Family) -> Self {
        Self::new(family.unspecified(), 0)
    }

    /// The first address: the network's own.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    /// Length in bits.
    #[must_use]
    pub fn len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether it holds every address of its family (`/0`).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it holds one address only.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// The family of its addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.address())
    }

    /// The last address: the broadcast address of an IPv4 network.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.0.broadcast()
    }

    /// The mask, `255.255.255.0` for `/24`.
    #[must_use]
    pub fn mask(&self) -> IpAddr {
        self.0.netmask()
    }

    /// Whether `address` is in it; an address of the other family never is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether every address of `other` is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The address `offset` places after the first one, if it is still inside.
    #[must_use]
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        let found = match self.address() {
            IpAddr::V4(first) => {
                let sum = u32::from(first).checked_add(u32::try_from(offset).ok()?)?;
                IpAddr::V4(sum.into())
            }
            IpAddr::V6(first) => IpAddr::V6(u128::from(first).checked_add(offset)?.into()),
        };
        self.contains(found).then_some(found)
    }

    /// The equal parts of it that have `length` bits, in order; none if `length` is shorter than its own.
    pub fn subnets(&self, length: u8) -> impl Iterator<Item = Self> + use<> {
        self.0.subnets(length).into_iter().flatten().map(Self)
    }

    /// As ipnet knows it.
    #[must_use]
    pub const fn net(&self) -> IpNet {
        self.0
    }
}

impl From<Ipv4Net> for Prefix {
    fn from(net: Ipv4Net) -> Self {
        Self(IpNet::V4(net.trunc()))
    }
}

impl From<Ipv6Net> for Prefix {
    fn from(net: Ipv6Net) -> Self {
        Self(IpNet::V6(net.trunc()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    /// Reads `address/length`; host bits are set to zero. An address alone is its own host prefix.
    fn from_str(text: &str) -> Result<Self, ParsePrefixError> {
        let wrong = || ParsePrefixError {
            text: text.to_owned(),
        };
        if text.contains('/') {
            let net: IpNet = text.parse().map_err(|_| wrong())?;
            Ok(Self(net.trunc()))
        } else {
            Ok(Self::host(text.parse().map_err(|_| wrong())?))
        }
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

/// Why a text is not a [`MacAddr`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an Ethernet address such as `02:42:0a:08:0b:06`")]
pub struct ParseMacError {
    /// The text that was read.
    pub text: String,
}

impl MacAddr {
    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Docker's rule for a container's address: `02:42` and the four bytes of its IPv4 address.
    #[must_use]
    pub const fn of_docker(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// A locally administered unicast address made of 64 given bits, as `eth_random_addr` of the
    /// kernel makes one from random bytes (include/linux/etherdevice.h).
    #[must_use]
    pub const fn of_bits(bits: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        Self([(a & 0xfe) | 0x02, b, c, d, e, f])
    }

    /// The IPv6 link-local address that the kernel derives from it: modified EUI-64
    /// (RFC 4291, appendix A).
    #[must_use]
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let bytes = [
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            a ^ 0x02,
            b,
            c,
            0xff,
            0xfe,
            d,
            e,
            f,
        ];
        bytes.into()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let wrong = || ParseMacError {
            text: text.to_owned(),
        };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_addresses_of_the_lab_follow_the_rule() {
        for (ip, mac) in [
            ("10.8.11.6", "02:42:0a:08:0b:06"),
            ("172.17.0.57", "02:42:ac:11:00:39"),
            ("172.17.0.15", "02:42:ac:11:00:0f"),
            ("172.17.0.16", "02:42:ac:11:00:10"),
        ] {
            let made = MacAddr::of_docker(ip.parse().unwrap());
            assert_eq!(made.to_string(), mac);
            assert_eq!(mac.parse(), Ok(made));
        }
    }

    #[test]
    fn link_local_addresses_are_eui_64() {
        for (mac, ip) in [
            ("06:a9:f6:0f:2d:d6", "fe80::4a9:f6ff:fe0f:2dd6"),
            ("02:42:ac:11:00:0f", "fe80::42:acff:fe11:f"),
        ] {
            let mac: MacAddr = mac.parse().unwrap();
            assert_eq!(mac.link_local().to_string(), ip);
        }
    }

    #[test]
    fn host_bits_of_a_prefix_are_zero() {
        let prefix: Prefix = "10.244.77.1/16".parse().unwrap();
        assert_eq!(prefix.to_string(), "10.244.0.0/16");
        assert_eq!("fd00::1".parse::<Prefix>().unwrap().len(), 128);
        assert!("10.244.0.0/33".parse::<Prefix>().is_err());
        assert!("10.244.0/16".parse::<Prefix>().is_err());
    }

    #[test]
    fn the_nth_address_stays_inside() {
        let prefix: Prefix = "10.0.0.0/30".parse().unwrap();
        assert_eq!(prefix.nth(3), Some("10.0.0.3".parse().unwrap()));
        assert_eq!(prefix.nth(4), None);
        let all: Prefix = "::/0".parse().unwrap();
        assert_eq!(all.nth(u128::MAX).unwrap(), all.last());
    }

    #[test]
    fn a_mac_address_has_six_parts_of_two_digits() {
        for wrong in [
            "",
            "02:42",
            "02:42:0a:08:0b:06:07",
            "2:42:0a:08:0b:06",
            "zz:42:0a:08:0b:06",
        ] {
            assert!(wrong.parse::<MacAddr>().is_err(), "{wrong}");
        }
    }
}
