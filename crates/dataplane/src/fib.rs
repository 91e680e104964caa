//! Where packets go: the forwarding information base.
//!
//! Source: `fib_lookup`, net/ipv4/fib_frontend.c: the table `local` is asked first, then `main`, where
//! the longest prefix wins. podwire has no other routing rules.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use podwire_packet::{DeviceName, Prefix};
use prefix_trie::PrefixMap;

use crate::Link;

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Sends it on.
    #[default]
    Unicast,
    /// Drops it without a word.
    Blackhole,
    /// Refuses it: host unreachable.
    Unreachable,
    /// Refuses it: administratively prohibited.
    Prohibit,
}

/// A route of the table `main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations.
    pub to: Prefix,
    /// What it does.
    pub kind: RouteKind,
    /// Device to send by.
    pub device: DeviceName,
    /// Next hop; `None` if the destinations are on the device's own network.
    pub via: Option<IpAddr>,
    /// `src`: source address for packets made here.
    pub src: Option<IpAddr>,
    /// `onlink`: the next hop is taken to be on the device's network though no address says so.
    pub onlink: bool,
    /// `metric`: of two routes to the same prefix, the lower one is used.
    pub metric: u32,
}

impl Route {
    /// A route to a network that the device is on: what the kernel makes for each address.
    #[must_use]
    pub const fn connected(to: Prefix, device: DeviceName, src: IpAddr) -> Self {
        Self {
            to,
            kind: RouteKind::Unicast,
            device,
            via: None,
            src: Some(src),
            onlink: false,
            metric: 0,
        }
    }

    /// A route through another host.
    #[must_use]
    pub const fn via(to: Prefix, device: DeviceName, via: IpAddr) -> Self {
        Self {
            to,
            kind: RouteKind::Unicast,
            device,
            via: Some(via),
            src: None,
            onlink: false,
            metric: 0,
        }
    }
}

/// What the FIB says of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// An address of this host, on that device.
    Local(DeviceName),
    /// A broadcast address of that device's network.
    Broadcast(DeviceName),
    /// By that route.
    By(Route),
    /// No route.
    None,
}

/// The routes of a namespace, both families.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    ipv4: PrefixMap<Ipv4Net, Route>,
    ipv6: PrefixMap<Ipv6Net, Route>,
    local: Vec<(Prefix, DeviceName)>,
    broadcast: Vec<(IpAddr, DeviceName)>,
}

impl Fib {
    /// What the kernel makes of a device's addresses alone: local and broadcast entries, and a route
    /// to each network.
    pub fn add_link(&mut self, link: &Link) {
        for (address, network) in link.networks() {
            if link.name == DeviceName::LO {
                // All of 127.0.0.0/8 is local, not the one address alone.
                self.local.push((network, link.name));
                continue;
            }
            self.local.push((Prefix::host(address), link.name));
            if network.is_host() {
                continue;
            }
            if address.is_ipv4() && network.len() < 31 {
                self.broadcast.push((network.last(), link.name));
            }
            self.add(Route::connected(network, link.name, address));
        }
    }

    /// Adds a route; one to the same prefix with a metric not above its own stays.
    pub fn add(&mut self, route: Route) {
        let better = |old: Option<&Route>| old.is_none_or(|old| route.metric < old.metric);
        match route.to.net() {
            IpNet::V4(net) if better(self.ipv4.get(&net)) => {
                self.ipv4.insert(net, route);
            }
            IpNet::V6(net) if better(self.ipv6.get(&net)) => {
                self.ipv6.insert(net, route);
            }
            IpNet::V4(_) | IpNet::V6(_) => {}
        }
    }

    /// Where packets to `destination` go.
    #[must_use]
    pub fn lookup(&self, destination: IpAddr) -> Lookup {
        if let Some(&(_, device)) = self.local.iter().find(|(own, _)| own.contains(destination)) {
            return Lookup::Local(device);
        }
        if let Some(&(_, device)) = self.broadcast.iter().find(|(own, _)| *own == destination) {
            return Lookup::Broadcast(device);
        }
        let route = match destination {
            IpAddr::V4(ip) => self.ipv4.get_lpm(&ip.into()).map(|(_, route)| route),
            IpAddr::V6(ip) => self.ipv6.get_lpm(&ip.into()).map(|(_, route)| route),
        };
        route.map_or(Lookup::None, |route| Lookup::By(*route))
    }

    /// Routes of the table `main`, by prefix.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.ipv4.values().chain(self.ipv6.values())
    }

    /// Entries of the table `local`.
    #[must_use]
    pub fn local(&self) -> &[(Prefix, DeviceName)] {
        &self.local
    }

    /// Broadcast addresses.
    #[must_use]
    pub fn broadcast(&self) -> &[(IpAddr, DeviceName)] {
        &self.broadcast
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinkKind;
    use podwire_packet::MacAddr;

    fn eth0() -> Link {
        Link::new(DeviceName::ETH0, LinkKind::Nic, MacAddr::default(), 1500)
            .with_address(ip("10.8.11.6"), 24)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn own_addresses_come_before_every_route() {
        let mut fib = Fib::default();
        fib.add_link(&Link::loopback());
        fib.add_link(&eth0());
        assert_eq!(fib.lookup(ip("10.8.11.6")), Lookup::Local(DeviceName::ETH0));
        assert_eq!(fib.lookup(ip("127.9.9.9")), Lookup::Local(DeviceName::LO));
        assert_eq!(
            fib.lookup(ip("10.8.11.255")),
            Lookup::Broadcast(DeviceName::ETH0)
        );
        assert_eq!(fib.lookup(ip("8.8.8.8")), Lookup::None);
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_lowest_metric() {
        let mut fib = Fib::default();
        fib.add_link(&eth0());
        let default = Route::via(
            "0.0.0.0/0".parse().unwrap(),
            DeviceName::ETH0,
            ip("10.8.11.1"),
        );
        fib.add(Route {
            metric: 100,
            ..default
        });
        fib.add(default);
        fib.add(Route {
            metric: 100,
            via: Some(ip("10.8.11.2")),
            ..default
        });
        fib.add(Route::via(
            "10.244.1.0/24".parse().unwrap(),
            DeviceName::ETH0,
            ip("10.8.11.8"),
        ));
        assert_eq!(fib.lookup(ip("8.8.8.8")), Lookup::By(default));
        let Lookup::By(route) = fib.lookup(ip("10.244.1.7")) else {
            panic!("no route")
        };
        assert_eq!(route.via, Some(ip("10.8.11.8")));
        let Lookup::By(route) = fib.lookup(ip("10.8.11.77")) else {
            panic!("no route")
        };
        assert_eq!((route.via, route.src), (None, Some(ip("10.8.11.6"))));
    }
}
