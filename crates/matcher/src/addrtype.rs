//! Types of addresses, as `addrtype` asks about them.

use std::net::IpAddr;

use podwire_packet::DeviceName;
use podwire_ruleset::{AddressType, AddressTypes, HostAddresses};

/// The types that an address is of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Types {
    /// IPv4: one, by the FIB; a test holds if it names it.
    One(AddressType),
    /// IPv6: several; a test holds if all that it names are among them, and the types that need a
    /// route are asked for together.
    Several(u16),
}

const fn bit(kind: AddressType) -> u16 {
    1 << kind as u16
}

/// Types that the kernel looks up in the routes.
const ROUTED: u16 =
    bit(AddressType::Local) | bit(AddressType::Anycast) | bit(AddressType::Unreachable);
/// Types of IPv6 that are seen in the address itself.
const SEEN: u16 =
    bit(AddressType::Multicast) | bit(AddressType::Unicast) | bit(AddressType::Unspec);

impl Types {
    /// Whether the address is what a test names.
    pub(crate) const fn fit(self, asked: AddressTypes) -> bool {
        match self {
            Self::One(kind) => asked.0 & bit(kind) != 0,
            Self::Several(own) => {
                let routed = asked.0 & ROUTED;
                asked.0 & SEEN & !own == 0 && (routed == 0 || routed & own != 0)
            }
        }
    }
}

/// What an address is to a host; with a device, an address of another device is not the host's.
pub(crate) fn types_of(host: &HostAddresses, address: IpAddr, device: Option<DeviceName>) -> Types {
    let counts = |of: &DeviceName| match &device {
        Some(device) => device == of,
        None => true,
    };
    let is_own = || match &device {
        None => host.is_local(address),
        Some(_) => host
            .local()
            .iter()
            .any(|(own, of)| counts(of) && own.contains(address)),
    };
    match address {
        IpAddr::V4(ip) => Types::One(if ip.is_unspecified() || ip.is_broadcast() {
            AddressType::Broadcast
        } else if ip.is_multicast() {
            AddressType::Multicast
        } else if is_own() {
            AddressType::Local
        } else if host
            .broadcast()
            .iter()
            .any(|(own, of)| *own == address && counts(of))
        {
            AddressType::Broadcast
        } else {
            AddressType::Unicast
        }),
        IpAddr::V6(ip) => {
            let mut types = if ip.is_multicast() {
                bit(AddressType::Multicast)
            } else if ip.is_unspecified() {
                bit(AddressType::Unspec)
            } else {
                bit(AddressType::Unicast)
            };
            // The order of the kernel's questions: a group's address, or none at all, is no host's.
            if types == bit(AddressType::Unicast) && is_own() {
                types |= bit(AddressType::Local);
            }
            Types::Several(types)
        }
    }
}

/// The one type that `fib … type` of nftables gives an address.
pub(crate) fn fib_type(
    host: &HostAddresses,
    address: IpAddr,
    device: Option<DeviceName>,
) -> AddressType {
    match types_of(host, address, device) {
        Types::One(kind) => kind,
        Types::Several(types) => {
            let order = [
                AddressType::Unspec,
                AddressType::Multicast,
                AddressType::Local,
            ];
            let mut order = order.into_iter();
            let first = order.find(|&kind| types & bit(kind) != 0);
            first.unwrap_or(AddressType::Unicast)
        }
    }
}
