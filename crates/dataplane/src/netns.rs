//! What a namespace is, and what it remembers.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use indexmap::IndexMap;
use podwire_packet::{DeviceName, Family, FiveTuple, MacAddr, Prefix, Protocol, SimTime};
use podwire_ruleset::ipvs::VirtualServers;
use podwire_ruleset::{HostAddresses, State};

use crate::{Conntrack, Fib, Ipvs, Link, Route};

/// The sysctls that change a packet's way. One value for every device, as `net.ipv4.conf.all` sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctls {
    /// `net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`.
    pub ip_forward: bool,
    /// `net.ipv4.conf.*.rp_filter`: 0 off, 1 strict, 2 loose. IPv6 has none.
    pub rp_filter: u8,
    /// `net.ipv4.conf.all.route_localnet`: 127.0.0.0/8 may come from and go to other hosts.
    pub route_localnet: bool,
    /// `net.bridge.bridge-nf-call-iptables`, `…-ip6tables`: bridged packets meet the IP hooks.
    pub bridge_nf_call_iptables: bool,
}

impl Default for Sysctls {
    /// Linux's own defaults: a host, not a router. (br_netfilter, once loaded, is on.)
    fn default() -> Self {
        Self {
            ip_forward: false,
            rp_filter: 0,
            route_localnet: false,
            bridge_nf_call_iptables: true,
        }
    }
}

/// The sockets of a namespace that wait for packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// Whether every port of every protocol has a listener.
    pub everything: bool,
    /// Ports with a listener, each on one address or on all.
    pub ports: Vec<(Protocol, Option<IpAddr>, RangeInclusive<u16>)>,
}

impl Listeners {
    /// Whether somebody gets a packet for that address, protocol and port.
    #[must_use]
    pub fn accepts(&self, address: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.everything
            || self.ports.iter().any(|(of, on, ports)| {
                *of == protocol && on.is_none_or(|on| on == address) && ports.contains(&port)
            })
    }
}

/// A network namespace: everything about it that a packet does not change. `C` evaluates its rules.
#[derive(Clone, Debug)]
pub struct Netns<C> {
    /// Its devices, in the order in which they were made.
    pub links: IndexMap<DeviceName, Link>,
    /// Its routes.
    pub fib: Fib,
    /// Neighbours that are known without asking, as `ip neigh add … nud permanent` notes them.
    pub neighbors: IndexMap<(DeviceName, IpAddr), MacAddr>,
    /// Its sysctls.
    pub sysctls: Sysctls,
    /// Its sockets.
    pub listeners: Listeners,
    /// IPv4 rules; `None` is no rule at all, and no connection tracking.
    pub ipv4_rules: Option<Arc<C>>,
    /// IPv6 rules.
    pub ipv6_rules: Option<Arc<C>>,
    /// Virtual servers of IPVS, of both families. They need rules, be they empty: without netfilter
    /// nothing is asked.
    pub virtual_servers: Arc<VirtualServers>,
    /// Its addresses, for `addrtype`.
    addresses: HostAddresses,
}

impl<C> Netns<C> {
    /// A namespace with these devices, and the routes that follow from their addresses.
    #[must_use]
    pub fn new(links: impl IntoIterator<Item = Link>) -> Self {
        let mut fib = Fib::default();
        let links: IndexMap<DeviceName, Link> =
            links.into_iter().map(|link| (link.name, link)).collect();
        for link in links.values() {
            fib.add_link(link);
        }
        let addresses = HostAddresses::new(fib.local().to_vec(), fib.broadcast().to_vec());
        Self {
            links,
            fib,
            neighbors: IndexMap::new(),
            sysctls: Sysctls::default(),
            listeners: Listeners::default(),
            ipv4_rules: None,
            ipv6_rules: None,
            virtual_servers: Arc::default(),
            addresses,
        }
    }

    /// Adds a device, and the routes that follow from its addresses.
    pub fn add_link(&mut self, link: Link) {
        self.fib.add_link(&link);
        self.links.insert(link.name, link);
        self.addresses =
            HostAddresses::new(self.fib.local().to_vec(), self.fib.broadcast().to_vec());
    }

    /// Adds a route.
    pub fn add_route(&mut self, route: Route) {
        self.fib.add(route);
    }

    /// The rules of a family.
    #[must_use]
    pub const fn rules(&self, family: Family) -> Option<&Arc<C>> {
        match family {
            Family::Ipv4 => self.ipv4_rules.as_ref(),
            Family::Ipv6 => self.ipv6_rules.as_ref(),
        }
    }

    /// Its addresses, for `addrtype`.
    #[must_use]
    pub const fn addresses(&self) -> &HostAddresses {
        &self.addresses
    }

    /// Whether `address` is its own.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.links.values().any(|link| link.has_address(address))
    }

    /// The address that the kernel gives to packets for `toward` that leave by `device`
    /// ([`select_address`]).
    #[must_use]
    pub fn select_address(&self, device: DeviceName, toward: IpAddr) -> Option<IpAddr> {
        select_address(self.links.values(), device, toward)
    }

    /// The source of packets to an address of this host: the same address, or the one whose network
    /// makes it local: 127.0.0.1 for all of 127.0.0.0/8.
    pub(crate) fn source_toward_own(&self, device: DeviceName, own: IpAddr) -> IpAddr {
        if self.has_address(own) {
            return own;
        }
        let networks = self.links.get(&device).into_iter().flat_map(Link::networks);
        let mut of_network = networks.filter(|(_, network)| network.contains(own));
        of_network.next().map_or(own, |(ip, _)| ip)
    }
}

/// The address that the kernel gives to packets for `toward` that leave by `device`, one of `links`. Loopback's
/// own addresses are for this host only and are never chosen.
///
/// IPv4 (`inet_select_addr`, net/ipv4/devinet.c): one of the same network if there is one, else
/// the device's first, else the first of another device. IPv6 (`ipv6_dev_get_saddr`,
/// net/ipv6/addrconf.c; RFC 6724, section 5): `toward` itself if it is this host's, else the
/// device's address that shares the longest prefix with it, else another device's.
#[must_use]
pub fn select_address<'l>(
    links: impl Iterator<Item = &'l Link> + Clone,
    device: DeviceName,
    toward: IpAddr,
) -> Option<IpAddr> {
    let addresses_of = |link: &Link| {
        let addresses = link.addresses_of(Family::of(toward));
        let outgoing = addresses.filter(|(ip, _)| !ip.is_loopback());
        outgoing.collect::<Vec<_>>()
    };
    let on_device = links
        .clone()
        .find(|link| link.name == device)
        .map(addresses_of)
        .unwrap_or_default();
    let anywhere: Vec<(IpAddr, u8)> = links.flat_map(addresses_of).collect();
    let chosen = match toward {
        IpAddr::V4(_) => {
            let same_network = |&&(ip, len): &&(IpAddr, u8)| Prefix::new(ip, len).contains(toward);
            let nearest = on_device.iter().find(same_network);
            nearest.or(on_device.first()).or(anywhere.first())
        }
        IpAddr::V6(toward_v6) => {
            let shared = |&&(ip, len): &&(IpAddr, u8)| match ip {
                IpAddr::V6(ip) => {
                    let differing = u128::from(ip) ^ u128::from(toward_v6);
                    differing.leading_zeros().min(u32::from(len))
                }
                IpAddr::V4(_) => 0,
            };
            let own = anywhere.iter().find(|(ip, _)| *ip == toward);
            // Of equals the first: `rev`, because `max_by_key` takes the last.
            let nearest = |all: &'_ [(IpAddr, u8)]| all.iter().rev().max_by_key(shared).copied();
            return own
                .copied()
                .or_else(|| nearest(&on_device))
                .or_else(|| nearest(&anywhere))
                .map(|(ip, _)| ip);
        }
    };
    chosen.map(|&(ip, _)| ip)
}

/// What a namespace remembers from packet to packet.
#[derive(Clone, Debug, Default)]
pub struct NetnsState {
    /// Connections.
    pub conntrack: Conntrack,
    /// Sockets that are connected, each as its incoming packets look.
    pub connected: Vec<FiveTuple>,
    /// What IPv4 rules remember.
    pub ipv4: State,
    /// What IPv6 rules remember.
    pub ipv6: State,
    /// Virtual servers at work.
    pub ipvs: Ipvs,
}

impl NetnsState {
    /// What the rules of a family remember.
    pub(crate) const fn rules(&mut self, family: Family) -> &mut State {
        match family {
            Family::Ipv4 => &mut self.ipv4,
            Family::Ipv6 => &mut self.ipv6,
        }
    }
}

/// What a namespace can learn of the links that its devices are on.
pub trait Surroundings {
    /// The Ethernet address of whoever answers for `address` on the link of `device` (ARP, ND).
    fn resolve(&self, device: DeviceName, address: IpAddr) -> Option<MacAddr>;

    /// The port of `bridge` behind which that Ethernet address was last seen.
    fn learned_port(&self, bridge: DeviceName, mac: MacAddr) -> Option<DeviceName>;

    /// The time.
    fn now(&self) -> SimTime;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinkKind;

    fn host() -> Netns<()> {
        let nic = Link::new(DeviceName::ETH0, LinkKind::Nic, MacAddr::default(), 1_500);
        let nic = nic
            .with_address([192, 168, 10, 12].into(), 24)
            .with_address([10, 0, 0, 1].into(), 8);
        Netns::new([Link::loopback(), nic])
    }

    #[test]
    fn an_address_of_the_same_network_is_chosen_before_the_first_one() {
        let host = host();
        let chosen = |toward: [u8; 4]| host.select_address(DeviceName::ETH0, toward.into());
        assert_eq!(chosen([10, 1, 1, 1]), Some([10, 0, 0, 1].into()));
        assert_eq!(chosen([203, 0, 113, 7]), Some([192, 168, 10, 12].into()));
    }

    #[test]
    fn what_leaves_by_loopback_gets_an_address_of_another_device() {
        // As Linux 6.18 does; 127.0.0.1 has scope host, which is narrower than what is asked for.
        let host = host();
        let toward = [192, 168, 10, 12].into();
        assert_eq!(host.select_address(DeviceName::LO, toward), Some(toward));
        let toward = [127, 0, 0, 1].into();
        assert_eq!(
            host.select_address(DeviceName::LO, toward),
            Some([192, 168, 10, 12].into())
        );
    }
}
