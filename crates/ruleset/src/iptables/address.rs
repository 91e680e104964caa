//! Addresses, ports, numbers, protocols and devices as options write them.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use podwire_packet::{DeviceName, Family, Mark, Prefix, Protocol};

use super::ParseError;
use super::options::Arg;
use crate::{AddressMatch, InterfaceMatch};

/// Names of protocols that iptables asks the system for, as `/etc/protocols` of Debian has them;
/// those that [`Protocol`] knows by itself are not repeated.
const SYSTEM_PROTOCOLS: [(&str, u8); 14] = [
    ("igmp", 2),
    ("ipencap", 4),
    ("dccp", 33),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("gre", 47),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ospf", 89),
    ("ipip", 94),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
];

/// A protocol's name as `iptables-save` prints it.
pub(crate) fn protocol_name(protocol: Protocol) -> Option<&'static str> {
    protocol.name().or_else(|| {
        SYSTEM_PROTOCOLS
            .iter()
            .find(|(_, number)| *number == protocol.0)
            .map(|(name, _)| *name)
    })
}

/// The protocol of that name or number.
pub(crate) fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "tcp" => return Some(Protocol::TCP),
        "udp" => return Some(Protocol::UDP),
        _ => {}
    }
    text.parse().ok().or_else(|| {
        SYSTEM_PROTOCOLS
            .iter()
            .find(|(name, _)| text.eq_ignore_ascii_case(name))
            .map(|&(_, number)| Protocol(number))
    })
}

impl Arg<'_> {
    /// A protocol; `None` for `all`, which iptables also writes as 0.
    pub(super) fn protocol(self) -> Result<Option<Protocol>, ParseError> {
        if self.text.eq_ignore_ascii_case("all") || self.text == "0" {
            return Ok(None);
        }
        protocol(self.text)
            .map(Some)
            .ok_or_else(|| ParseError::BadProtocol {
                text: self.text.into(),
                at: self.at,
            })
    }

    /// A device, or the beginning of its name before `+`.
    pub(super) fn interface(self) -> Result<InterfaceMatch, ParseError> {
        let bad = || ParseError::BadDevice {
            text: self.text.into(),
            at: self.at,
        };
        let device = |name: &str| name.parse::<DeviceName>().map_err(|_| bad());
        match self.text.strip_suffix('+') {
            Some("") => Ok(InterfaceMatch::Any),
            // The kernel counts the `+`, so the beginning is one byte shorter than a name may be.
            Some(prefix) if self.text.len() <= 15 => device(prefix).map(InterfaceMatch::Prefix),
            Some(_) => Err(bad()),
            None => device(self.text).map(InterfaceMatch::Exact),
        }
    }

    /// One address.
    pub(super) fn address(self, family: Family) -> Result<IpAddr, ParseError> {
        match (self.text.parse::<IpAddr>(), family) {
            (Ok(address), _) if Family::of(address) == family => Ok(address),
            (Ok(_), _) => Err(ParseError::WrongFamily {
                text: self.text.into(),
                family,
                at: self.at,
            }),
            (Err(_), Family::Ipv4) if self.text.parse::<std::net::Ipv6Addr>().is_err() => {
                short_ipv4(self.text)
                    .map(IpAddr::V4)
                    .ok_or_else(|| self.bad_address(family))
            }
            (Err(_), _) => Err(self.bad_address(family)),
        }
    }

    /// An address, or one and a mask behind `/`.
    pub(super) fn network(self, family: Family) -> Result<AddressMatch, ParseError> {
        let Some(slash) = self.find(b'/') else {
            return Ok(AddressMatch::Prefix(Prefix::host(self.address(family)?)));
        };
        let address = self.slice(0..slash).address(family)?;
        let mask = self.slice(slash + 1..self.text.len());
        if let Some(length) = plain_number(mask.text) {
            return u8::try_from(length)
                .ok()
                .filter(|length| *length <= family.bits())
                .map(|length| AddressMatch::Prefix(Prefix::new(address, length)))
                .ok_or_else(|| mask.bad_mask());
        }
        let bits = mask.address_mask(family)?;
        Ok(masked(address, bits))
    }

    /// A mask written as an address.
    pub(super) fn address_mask(self, family: Family) -> Result<IpAddr, ParseError> {
        self.text
            .parse::<IpAddr>()
            .ok()
            .filter(|mask| Family::of(*mask) == family)
            .ok_or_else(|| self.bad_mask())
    }

    /// Two addresses and `-` between them, or one.
    pub(super) fn address_range(
        self,
        family: Family,
    ) -> Result<RangeInclusive<IpAddr>, ParseError> {
        let Some(dash) = self.find(b'-') else {
            let one = self.address(family)?;
            return Ok(one..=one);
        };
        let first = self.slice(0..dash).address(family)?;
        let last = self.slice(dash + 1..self.text.len()).address(family)?;
        if first > last {
            return Err(self.bad_address(family));
        }
        Ok(first..=last)
    }

    /// A port.
    pub(super) fn port(self) -> Result<u16, ParseError> {
        number(self.text)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| self.bad_port())
    }

    /// A port, or two with `separator` between them; where one is missing, the range is open if
    /// `open` says that it may be.
    pub(super) fn ports(
        self,
        separator: u8,
        open: bool,
    ) -> Result<RangeInclusive<u16>, ParseError> {
        let Some(middle) = self.find(separator) else {
            let port = self.port()?;
            return Ok(port..=port);
        };
        let first = self.slice(0..middle);
        let last = self.slice(middle + 1..self.text.len());
        let first = if open && first.text.is_empty() {
            0
        } else {
            first.port()?
        };
        let last = if open && last.text.is_empty() {
            u16::MAX
        } else {
            last.port()?
        };
        if first > last {
            return Err(self.bad_port());
        }
        Ok(first..=last)
    }

    /// A number within bounds.
    pub(super) fn number(self, bounds: RangeInclusive<u64>) -> Result<u64, ParseError> {
        number(self.text)
            .filter(|value| bounds.contains(value))
            .ok_or_else(|| ParseError::BadNumber {
                text: self.text.into(),
                min: *bounds.start(),
                max: *bounds.end(),
                at: self.at,
            })
    }

    /// A number of 32 bits.
    pub(super) fn u32(self) -> Result<u32, ParseError> {
        let value = self.number(0..=u64::from(u32::MAX))?;
        Ok(u32::try_from(value).expect("within bounds"))
    }

    /// A number of 16 bits.
    pub(super) fn u16(self) -> Result<u16, ParseError> {
        let value = self.number(0..=u64::from(u16::MAX))?;
        Ok(u16::try_from(value).expect("within bounds"))
    }

    /// A number of 8 bits.
    pub(super) fn u8(self) -> Result<u8, ParseError> {
        let value = self.number(0..=u64::from(u8::MAX))?;
        Ok(u8::try_from(value).expect("within bounds"))
    }

    /// A mark, and its mask behind `/`; without one, all bits count.
    pub(super) fn mark_and_mask(self) -> Result<(Mark, Mark), ParseError> {
        match self.find(b'/') {
            None => Ok((Mark(self.u32()?), Mark(u32::MAX))),
            Some(slash) => Ok((
                Mark(self.slice(0..slash).u32()?),
                Mark(self.slice(slash + 1..self.text.len()).u32()?),
            )),
        }
    }

    fn bad_address(self, family: Family) -> ParseError {
        let other: Option<IpAddr> = self.text.parse().ok();
        if other.is_some_and(|address| Family::of(address) != family) {
            ParseError::WrongFamily {
                text: self.text.into(),
                family,
                at: self.at,
            }
        } else {
            ParseError::BadAddress {
                text: self.text.into(),
                family,
                at: self.at,
            }
        }
    }

    fn bad_mask(self) -> ParseError {
        ParseError::BadMask {
            text: self.text.into(),
            at: self.at,
        }
    }

    fn bad_port(self) -> ParseError {
        ParseError::BadPort {
            text: self.text.into(),
            at: self.at,
        }
    }
}

/// A number as `strtoul` reads it with base 0: decimal, hexadecimal behind `0x`, octal behind `0`.
pub(super) fn number(text: &str) -> Option<u64> {
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // `from_str_radix` would take a sign.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, base).ok()
}

/// A decimal number, if the text is digits only.
fn plain_number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// An IPv4 address with fewer than four parts: zeros follow, as `-s 10.244/16` writes it
/// (`__numeric_to_ipaddr`, libxtables/xtables.c).
fn short_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut bytes = [0; 4];
    let mut parts = text.split('.');
    for byte in &mut bytes {
        match parts.next() {
            None => break,
            Some(part) => *byte = u8::try_from(plain_number(part)?).ok()?,
        }
    }
    parts.next().is_none().then(|| bytes.into())
}

/// The addresses that agree with `address` where `mask` has ones.
fn masked(address: IpAddr, mask: IpAddr) -> AddressMatch {
    match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => {
            let ones = u32::from(mask).leading_ones();
            if ones == u32::from(mask).count_ones() {
                prefix(IpAddr::V4(address), ones)
            } else {
                AddressMatch::Sparse {
                    address: IpAddr::V4(address & mask),
                    mask: IpAddr::V4(mask),
                }
            }
        }
        (IpAddr::V6(address), IpAddr::V6(mask)) => {
            let ones = u128::from(mask).leading_ones();
            if ones == u128::from(mask).count_ones() {
                prefix(IpAddr::V6(address), ones)
            } else {
                AddressMatch::Sparse {
                    address: IpAddr::V6(address & mask),
                    mask: IpAddr::V6(mask),
                }
            }
        }
        // Both were read for one family.
        (address, _) => AddressMatch::Prefix(Prefix::host(address)),
    }
}

fn prefix(address: IpAddr, ones: u32) -> AddressMatch {
    let length = u8::try_from(ones).expect("128 at most");
    AddressMatch::Prefix(Prefix::new(address, length))
}
