//! What kind of address the FIB takes one for.

use std::net::IpAddr;

use podwire_packet::DeviceName;
use podwire_ruleset::{AddressType, HostAddresses};

/// The type of an IPv4 address as `inet_dev_addr_type` (net/ipv4/fib_frontend.c) finds it; with a device,
/// an address of another device is not local.
pub(crate) fn address_type(
    host: &HostAddresses,
    address: IpAddr,
    device: Option<DeviceName>,
) -> AddressType {
    let here = |of: DeviceName| device.is_none_or(|device| device == of);
    if address.is_unspecified() || address == IpAddr::from([255, 255, 255, 255]) {
        // `ipv4_is_zeronet`, `ipv4_is_lbcast`.
        AddressType::Broadcast
    } else if address.is_multicast() {
        AddressType::Multicast
    } else if host
        .local()
        .iter()
        .any(|&(own, of)| own.contains(address) && here(of))
    {
        AddressType::Local
    } else if host
        .broadcast()
        .iter()
        .any(|&(own, of)| own == address && here(of))
    {
        AddressType::Broadcast
    } else {
        AddressType::Unicast
    }
}
