//! Network devices.

use std::net::{IpAddr, Ipv6Addr};

use podwire_packet::{DeviceName, Family, MacAddr, Prefix};

/// A device that carries packets in UDP to other hosts (VXLAN, RFC 7348).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanLink {
    /// Network identifier, 24 bits.
    pub vni: u32,
    /// UDP port of every end.
    pub port: u16,
    /// Address of this end.
    pub local: IpAddr,
    /// Device that the outer packets use; its MTU bounds the inner ones.
    pub device: DeviceName,
    /// Where an inner Ethernet address is: the address of the other end
    /// (`bridge fdb show dev flannel.1`).
    pub fdb: Vec<(MacAddr, IpAddr)>,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// `lo`.
    Loopback,
    /// A network card, wired to the node network.
    Nic,
    /// One end of a pair; the other end may be in another namespace.
    Veth,
    /// A bridge.
    Bridge,
    /// A VXLAN device.
    Vxlan(VxlanLink),
    /// A device that carries nothing, such as `docker0` without containers.
    Dummy,
}

/// A device's place in a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgePort {
    /// The bridge.
    pub bridge: DeviceName,
    /// Whether a frame may leave by the port it came in by (`bridge link set dev … hairpin on`).
    pub hairpin: bool,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: DeviceName,
    /// What it is.
    pub kind: LinkKind,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Its addresses, each with the length of its network; the first of a network is the primary one.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The bridge it is a port of.
    pub port_of: Option<BridgePort>,
}

impl Link {
    /// MTU of the loopback device.
    pub const LOOPBACK_MTU: u32 = 65_536;
    /// MTU of Ethernet.
    pub const ETHERNET_MTU: u32 = 1_500;

    /// The loopback device with both its addresses.
    #[must_use]
    pub fn loopback() -> Self {
        Self {
            name: DeviceName::LO,
            kind: LinkKind::Loopback,
            mac: MacAddr::default(),
            mtu: Self::LOOPBACK_MTU,
            addresses: vec![
                (IpAddr::from([127, 0, 0, 1]), 8),
                (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
            ],
            port_of: None,
        }
    }

    /// A device without addresses.
    #[must_use]
    pub const fn new(name: DeviceName, kind: LinkKind, mac: MacAddr, mtu: u32) -> Self {
        Self {
            name,
            kind,
            mac,
            mtu,
            addresses: Vec::new(),
            port_of: None,
        }
    }

    /// The same device with an address.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr, length: u8) -> Self {
        self.addresses.push((address, length));
        self
    }

    /// Its addresses of a family.
    pub fn addresses_of(&self, family: Family) -> impl Iterator<Item = (IpAddr, u8)> {
        self.addresses
            .iter()
            .copied()
            .filter(move |(ip, _)| Family::of(*ip) == family)
    }

    /// The IPv6 link-local address that the kernel gives it: made from the Ethernet address, modified
    /// EUI-64 (sysctl `net.ipv6.conf.*.addr_gen_mode` 0). Loopback has none.
    #[must_use]
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        (self.kind != LinkKind::Loopback).then(|| self.mac.link_local())
    }

    /// Whether `address` is its own.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|&(own, _)| own == address)
    }

    /// The networks that its addresses put it on.
    pub fn networks(&self) -> impl Iterator<Item = (IpAddr, Prefix)> {
        self.addresses
            .iter()
            .map(|&(ip, len)| (ip, Prefix::new(ip, len)))
    }
}
