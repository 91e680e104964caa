//! What a rule may ask about a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podwire_packet::{DeviceName, FiveTuple, Headers, Mark, Prefix, SimTime};

use crate::{CtDirection, CtStates, CtStatuses, Hook};

/// What connection tracking says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CtState {
    /// First of a connection, or of one that has seen packets one way only.
    New,
    /// Of a connection that has seen packets both ways.
    Established,
    /// An ICMP error about a connection, or first of an announced one.
    Related,
    /// Of no connection, and not fit to begin one.
    Invalid,
    /// Not looked at, because a rule in raw said so.
    Untracked,
}

impl CtState {
    /// The state as a set of one.
    #[must_use]
    pub const fn bit(self) -> CtStates {
        match self {
            Self::New => CtStates::NEW,
            Self::Established => CtStates::ESTABLISHED,
            Self::Related => CtStates::RELATED,
            Self::Invalid => CtStates::INVALID,
            Self::Untracked => CtStates::UNTRACKED,
        }
    }

    /// Whether the packet is of a connection.
    #[must_use]
    pub const fn has_connection(self) -> bool {
        !matches!(self, Self::Invalid | Self::Untracked)
    }
}

/// A packet's connection, as far as a rule may ask about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ConntrackInfo {
    /// The connection's mark.
    pub mark: Mark,
    /// State of the packet.
    pub state: CtState,
    /// Whether the connection's source was translated.
    pub snat: bool,
    /// Whether the connection's destination was translated.
    pub dnat: bool,
    /// Status bits of the connection.
    pub status: CtStatuses,
    /// Which way the packet goes.
    pub direction: CtDirection,
    /// The connection's first direction, as its first packet had it.
    pub original: Option<FiveTuple>,
    /// What packets back look like, before any translation of them.
    pub reply: Option<FiveTuple>,
    /// Seconds until the entry goes.
    pub expires_seconds: u32,
    /// What IPVS, which has connections of its own, did with the packet.
    pub ipvs: IpvsInfo,
}

/// What IPVS did with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpvsInfo {
    /// Nothing.
    #[default]
    Untouched,
    /// It is the answer of a real server.
    Answer,
    /// It goes to a real server. The virtual address and port are those that its connection began with.
    Request,
}

impl ConntrackInfo {
    /// A packet in that state, of a connection about which nothing else is known.
    #[must_use]
    pub const fn of_state(state: CtState) -> Self {
        Self {
            state,
            snat: false,
            dnat: false,
            status: CtStatuses(0),
            direction: CtDirection::Original,
            mark: Mark(0),
            original: None,
            reply: None,
            expires_seconds: 0,
            ipvs: IpvsInfo::Untouched,
        }
    }

    /// What `--ctstate` compares with: the state, and whether the connection is translated.
    #[must_use]
    pub const fn states(&self) -> CtStates {
        let mut states = self.state.bit();
        if self.snat {
            states = states.union(CtStates::SNAT);
        }
        if self.dnat {
            states = states.union(CtStates::DNAT);
        }
        states
    }
}

/// A kind of address, as the FIB sees it (`RTN_*`, include/uapi/linux/rtnetlink.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AddressType {
    /// `0.0.0.0`, or nothing.
    Unspec = 0,
    /// Some host's.
    Unicast = 1,
    /// This host's own.
    Local = 2,
    /// A broadcast address of a network of this host.
    Broadcast = 3,
    /// Any of several hosts'.
    Anycast = 4,
    /// A group's.
    Multicast = 5,
    /// Dropped by a blackhole route.
    Blackhole = 6,
    /// Refused by an unreachable route.
    Unreachable = 7,
    /// Refused by a prohibit route.
    Prohibit = 8,
}

impl AddressType {
    /// Every type with iptables' word for it (`rtn_names`, extensions/libxt_addrtype.c).
    pub const NAMES: [(&'static str, Self); 9] = [
        ("UNSPEC", Self::Unspec),
        ("UNICAST", Self::Unicast),
        ("LOCAL", Self::Local),
        ("BROADCAST", Self::Broadcast),
        ("ANYCAST", Self::Anycast),
        ("MULTICAST", Self::Multicast),
        ("BLACKHOLE", Self::Blackhole),
        ("UNREACHABLE", Self::Unreachable),
        ("PROHIBIT", Self::Prohibit),
    ];
}

/// The addresses of the host whose rules are asked, for `addrtype`.
///
/// A node whose kube-proxy is in mode IPVS has the address of every Service, so single addresses are
/// searched by halves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses {
    local: Vec<(Prefix, DeviceName)>,
    broadcast: Vec<(IpAddr, DeviceName)>,
    /// The single addresses among the local ones, sorted.
    ipv4: Vec<Ipv4Addr>,
    ipv6: Vec<Ipv6Addr>,
    /// The others among them.
    networks: Vec<Prefix>,
}

impl HostAddresses {
    /// A host with these addresses and prefixes of its own and these broadcast addresses of its networks,
    /// each with its device.
    #[must_use]
    pub fn new(local: Vec<(Prefix, DeviceName)>, broadcast: Vec<(IpAddr, DeviceName)>) -> Self {
        let (mut ipv4, mut ipv6, mut networks) = (Vec::new(), Vec::new(), Vec::new());
        for (prefix, _) in &local {
            match prefix.address() {
                _ if !prefix.is_host() => networks.push(*prefix),
                IpAddr::V4(ip) => ipv4.push(ip),
                IpAddr::V6(ip) => ipv6.push(ip),
            }
        }
        ipv4.sort_unstable();
        ipv6.sort_unstable();
        Self {
            local,
            broadcast,
            ipv4,
            ipv6,
            networks,
        }
    }

    /// Addresses and prefixes that are the host's own, each with its device; `127.0.0.0/8` of `lo` is one.
    #[must_use]
    pub fn local(&self) -> &[(Prefix, DeviceName)] {
        &self.local
    }

    /// Broadcast addresses of its networks, each with its device.
    #[must_use]
    pub fn broadcast(&self) -> &[(IpAddr, DeviceName)] {
        &self.broadcast
    }

    /// A host with these addresses of one device, and loopback.
    #[must_use]
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let loopback = [
            Prefix::new(IpAddr::from([127, 0, 0, 1]), 8),
            Prefix::host(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ];
        let own = addresses
            .into_iter()
            .map(|ip| (Prefix::host(ip), DeviceName::ETH0));
        let loopback = loopback.map(|net| (net, DeviceName::LO)).into_iter();
        Self::new(loopback.chain(own).collect(), Vec::new())
    }

    /// Whether `address` is the host's own.
    ///
    /// # Cost
    /// The logarithm of the single addresses, and each of the prefixes.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        let is_single = match address {
            IpAddr::V4(ip) => self.ipv4.binary_search(&ip).is_ok(),
            IpAddr::V6(ip) => self.ipv6.binary_search(&ip).is_ok(),
        };
        is_single || self.networks.iter().any(|own| own.contains(address))
    }
}

/// A packet at a hook, with all that a rule may ask about it.
///
/// What the rules of a Service ask of it stands in its first 64 bytes, one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Packet<'a> {
    /// Its headers.
    pub headers: Headers,
    /// Its mark.
    pub mark: Mark,
    /// Where it is.
    pub hook: Hook,
    /// Its connection.
    pub conntrack: ConntrackInfo,
    /// Device it came in by; none for a packet made here.
    pub input: Option<DeviceName>,
    /// Device it leaves by; none at PREROUTING and INPUT.
    pub output: Option<DeviceName>,
    /// Bridge port it came in by, if it crossed a bridge.
    pub physdev_in: Option<DeviceName>,
    /// Bridge port it leaves by, if it is bridged and the port is known.
    pub physdev_out: Option<DeviceName>,
    /// The host's addresses.
    pub host: &'a HostAddresses,
    /// The time.
    pub now: SimTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_address_is_found_among_many_of_both_families() {
        let single = |n: u32| IpAddr::from((0x0a00_0000 + n * 7).to_be_bytes());
        let wide = |n: u32| IpAddr::from(Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(n * 7)));
        let all = (0..1_000).rev().flat_map(|n| [single(n), wide(n)]);
        let local = all.map(|ip| (Prefix::host(ip), DeviceName::ETH0));
        let nets = ["192.0.2.0/24", "fd01::/64"].map(|net| (net.parse().unwrap(), DeviceName::LO));
        let host = HostAddresses::new(local.chain(nets).collect(), Vec::new());
        let asked = (0..8_000).flat_map(|n| {
            let step = IpAddr::from((0x0a00_0000_u32 + n).to_be_bytes());
            [step, wide(n)]
        });
        let others = ["192.0.2.9", "192.0.3.9", "fd01::9", "fd01:0:0:1::9", "::"];
        for ip in asked.chain(others.map(|ip| ip.parse().unwrap())) {
            let expected = host.local().iter().any(|(own, _)| own.contains(ip));
            assert_eq!(host.is_local(ip), expected, "{ip}");
        }
    }

    #[test]
    fn a_packet_has_four_cache_lines() {
        assert_eq!(size_of::<Packet<'_>>(), 256);
    }

    #[test]
    fn what_a_service_asks_of_a_packet_is_in_one_cache_line() {
        let end_of_mark = std::mem::offset_of!(Packet<'_>, conntrack) + size_of::<Mark>();
        assert_eq!(std::mem::offset_of!(ConntrackInfo, mark), 0);
        assert!(end_of_mark <= 64 && std::mem::offset_of!(Packet<'_>, hook) < 64);
    }
}
