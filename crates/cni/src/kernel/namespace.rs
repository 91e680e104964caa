//! One namespace: what netlink, sysctl and iptables would change in it.
//!
//! # Sources
//! Linux: net/ipv4/{devinet,fib_frontend,fib_semantics,fib_trie}.c, net/ipv6/{addrconf,route,ip6_fib}.c,
//! net/bridge/{br_if,br_stp_if}.c.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use podwire_packet::{Family, MacAddr, Prefix};
use serde::{Deserialize, Serialize};

use super::device::{Device, Kind};
use crate::json::text;
use crate::result::Cidr;
use crate::rules::RuleTexts;

/// Why the kernel refuses, in Go's words for the error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errno {
    /// EEXIST.
    Exists,
    /// ERANGE: a name that is too long.
    Range,
    /// EINVAL.
    Invalid,
    /// ENETUNREACH: no network leads to the next hop (IPv4).
    NetUnreachable,
    /// EHOSTUNREACH: the same in IPv6.
    HostUnreachable,
    /// ESRCH: no such route.
    NoSuchProcess,
    /// ENODEV.
    NoDevice,
    /// ENETDOWN.
    NetDown,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exists => "file exists",
            Self::Range => "numerical result out of range",
            Self::Invalid => "invalid argument",
            Self::NetUnreachable => "network is unreachable",
            Self::HostUnreachable => "no route to host",
            Self::NoSuchProcess => "no such process",
            Self::NoDevice => "no such device",
            Self::NetDown => "network is down",
        })
    }
}

/// What a netlink library says of a device that is not there.
pub(crate) const LINK_NOT_FOUND: &str = "Link not found";

/// How far the destinations of a route are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// Anywhere.
    #[default]
    Global,
    /// On the link.
    Link,
    /// This host.
    Host,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    /// Destinations.
    #[serde(with = "text")]
    pub(crate) dst: Prefix,
    /// Next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) via: Option<IpAddr>,
    /// Device.
    pub(crate) dev: String,
    /// Source address of packets made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) src: Option<IpAddr>,
    /// Whether the kernel made it, for an address.
    #[serde(default)]
    pub(crate) of_kernel: bool,
    /// Its scope.
    #[serde(default)]
    pub(crate) scope: Scope,
    /// Metric.
    #[serde(default)]
    pub(crate) metric: u32,
    /// Largest packet in bytes; 0 is the device's.
    #[serde(default)]
    pub(crate) mtu: u32,
    /// Routing table.
    pub(crate) table: u32,
}

impl Route {
    /// The table `main`.
    pub(crate) const MAIN: u32 = 254;

    /// A route of the table `main` by a device.
    pub(crate) fn new(dst: Prefix, via: Option<IpAddr>, dev: &str) -> Self {
        Self {
            dst,
            via,
            dev: dev.to_owned(),
            src: None,
            of_kernel: false,
            scope: Scope::Global,
            metric: 0,
            mtu: 0,
            table: Self::MAIN,
        }
    }
}

/// A rule that chooses a routing table: `ip rule add from SRC table N`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyRule {
    /// Source addresses.
    #[serde(with = "text")]
    pub(crate) from: Prefix,
    /// The table.
    pub(crate) table: u32,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Namespace {
    next_index: u32,
    /// Devices by number.
    pub(crate) devices: Vec<Device>,
    /// Routes in the order in which they were added.
    #[serde(default)]
    pub(crate) routes: Vec<Route>,
    /// Rules that choose routing tables.
    #[serde(default)]
    pub(crate) policy: Vec<PolicyRule>,
    /// Sysctls that were set, with slashes: `net/ipv4/ip_forward`.
    #[serde(default)]
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Rules of iptables and ip6tables.
    #[serde(default)]
    pub(crate) iptables: RuleTexts,
    /// Rules of nftables' family `bridge`, by the device that they are about.
    #[serde(default)]
    pub(crate) bridge_rules: BTreeMap<String, Vec<String>>,
}

impl Namespace {
    /// A new namespace: `lo`, which is down.
    pub(crate) fn new() -> Self {
        let mut namespace = Self {
            next_index: 1,
            ..Self::default()
        };
        let lo = Device::new("lo", Kind::Loopback, MacAddr::default(), 65_536);
        namespace.add_link(lo);
        namespace
    }

    /// The host's own: `lo` and a network card.
    pub(crate) fn host() -> Self {
        let mut host = Self::new();
        host.set_up("lo");
        let mac = MacAddr::of_docker([192, 0, 2, 10].into());
        host.add_link(Device::new("eth0", Kind::Nic, mac, Device::ETHERNET_MTU));
        host.set_up("eth0");
        let address = Cidr {
            ip: [192, 0, 2, 10].into(),
            len: 24,
        };
        let gateway = Some([192, 0, 2, 1].into());
        let default = Route::new(Prefix::any(Family::Ipv4), gateway, "eth0");
        let added = host
            .add_address("eth0", address)
            .and_then(|()| host.add_route(default));
        debug_assert_eq!(added, Ok(()));
        host
    }

    /// A device by name.
    pub(crate) fn link(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// The same, to change it.
    pub(crate) fn link_mut(&mut self, name: &str) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.name == name)
    }

    /// Adds a device, whose name must be free.
    pub(crate) fn add_link(&mut self, mut device: Device) {
        device.index = self.next_index;
        self.next_index += 1;
        self.devices.push(device);
    }

    /// Removes a device with its routes.
    pub(crate) fn remove_link(&mut self, name: &str) -> Option<Device> {
        let place = self.devices.iter().position(|device| device.name == name)?;
        let device = self.devices.remove(place);
        self.routes.retain(|route| route.dev != name);
        for kind in ["ipv4/conf", "ipv4/neigh", "ipv6/conf"] {
            let of_device = format!("net/{kind}/{name}/");
            self.sysctls.retain(|key, _| !key.starts_with(&of_device));
        }
        if let Some(port) = &device.port {
            self.settle_bridge(&port.bridge.clone());
        }
        Some(device)
    }

    /// Brings a device up: its networks get their routes, loopback its addresses.
    pub(crate) fn set_up(&mut self, name: &str) {
        let Some(device) = self.link_mut(name) else {
            return;
        };
        if device.is_up {
            return;
        }
        device.is_up = true;
        if device.kind == Kind::Loopback {
            let address = |text: &str| text.parse().expect("an address");
            device.addresses = vec![address("127.0.0.1/8"), address("::1/128")];
            return;
        }
        for address in device.addresses.clone() {
            self.add_connected(name, address);
        }
    }

    /// Takes a device down: its routes go.
    pub(crate) fn set_down(&mut self, name: &str) {
        if let Some(device) = self.link_mut(name) {
            device.is_up = false;
            self.routes.retain(|route| route.dev != name);
        }
    }

    /// Adds an address, and if the device is up, the route to its network.
    pub(crate) fn add_address(&mut self, name: &str, address: Cidr) -> Result<(), Errno> {
        let device = self.link_mut(name).ok_or(Errno::NoDevice)?;
        let same = |own: &Cidr| match address.family() {
            Family::Ipv4 => *own == address,
            Family::Ipv6 => own.ip == address.ip,
        };
        if device.addresses.iter().any(same) {
            return Err(Errno::Exists);
        }
        device.addresses.push(address);
        if device.is_up {
            self.add_connected(name, address);
        }
        Ok(())
    }

    fn add_connected(&mut self, name: &str, address: Cidr) {
        let network = address.network();
        if network.is_host() && address.family() == Family::Ipv4 {
            return;
        }
        let route = match address.family() {
            Family::Ipv4 => Route {
                src: Some(address.ip),
                scope: Scope::Link,
                of_kernel: true,
                ..Route::new(network, None, name)
            },
            Family::Ipv6 => Route {
                of_kernel: true,
                metric: 256,
                ..Route::new(network, None, name)
            },
        };
        let is_there = |own: &Route| {
            own.dst == route.dst && own.dev == route.dev && own.of_kernel && own.src == route.src
        };
        if !self.routes.iter().any(is_there) {
            self.routes.push(route);
        }
    }

    /// Removes an address and the route to its network.
    pub(crate) fn remove_address(&mut self, name: &str, address: Cidr) {
        let Some(device) = self.link_mut(name) else {
            return;
        };
        device.addresses.retain(|own| *own != address);
        let others = device.addresses.clone();
        let network = address.network();
        let is_left = others.iter().any(|own| own.network() == network);
        self.routes.retain(|route| {
            let of_it = route.of_kernel && route.dev == name && route.dst == network;
            let by_it = match address.family() {
                Family::Ipv4 => route.src == Some(address.ip),
                Family::Ipv6 => !is_left,
            };
            !(of_it && by_it)
        });
    }

    /// Adds a route, as `RTM_NEWROUTE` with NLM_F_CREATE alone does: one that is there in all is
    /// refused, one with another next hop stands beside it.
    pub(crate) fn add_route(&mut self, mut route: Route) -> Result<(), Errno> {
        let device = self.link(&route.dev).ok_or(Errno::NoDevice)?;
        let family = route.dst.family();
        let unreachable = match family {
            Family::Ipv4 => Errno::NetUnreachable,
            Family::Ipv6 => Errno::HostUnreachable,
        };
        if !device.is_up {
            return Err(Errno::NetDown);
        }
        if route.via.is_none() && family == Family::Ipv4 && route.scope == Scope::Global {
            // Destinations without a next hop are on the link, whatever scope was asked for.
            route.scope = Scope::Link;
        }
        if family == Family::Ipv6 && route.metric == 0 {
            route.metric = 1024;
        }
        if let Some(via) = route.via {
            // IPv4 lets an address of the host's own be a next hop.
            let has = |device: &Device| device.addresses.iter().any(|own| own.ip == via);
            if family == Family::Ipv6 && self.devices.iter().any(has) {
                return Err(Errno::Invalid);
            }
            let link_local = matches!(via, IpAddr::V6(ip) if ip.is_unicast_link_local());
            let leads =
                |own: &&Route| own.via.is_none() && own.dev == route.dev && own.dst.contains(via);
            if !link_local && !self.routes.iter().any(|own| leads(&own)) {
                return Err(unreachable);
            }
        }
        let same = |own: &&Route| {
            own.dst == route.dst
                && own.metric == route.metric
                && own.table == route.table
                && own.via == route.via
                && own.dev == route.dev
        };
        if self.routes.iter().any(|own| same(&own)) {
            return Err(Errno::Exists);
        }
        self.routes.push(route);
        Ok(())
    }

    /// Removes the first route to a network by a device.
    pub(crate) fn remove_route(&mut self, dst: Prefix, dev: &str) -> Result<(), Errno> {
        let found = self
            .routes
            .iter()
            .position(|route| route.dst == dst && route.dev == dev && route.table == Route::MAIN);
        let place = found.ok_or(Errno::NoSuchProcess)?;
        self.routes.remove(place);
        Ok(())
    }

    /// The route that packets to an address take.
    pub(crate) fn route_to(&self, ip: IpAddr) -> Option<&Route> {
        let leading = self
            .routes
            .iter()
            .filter(|route| route.table == Route::MAIN && route.dst.contains(ip));
        leading.min_by_key(|route| (std::cmp::Reverse(route.dst.len()), route.metric))
    }

    /// The routes of the table `main` as `ip route` and `ip -6 route` list them, IPv4 first.
    ///
    /// IPv4 is a walk of the trie: by address, at one address the longest first, of equals the newest
    /// (`fn_trie_dump_leaf`). IPv6 visits what is below a prefix before it (`fib6_walk`).
    pub(crate) fn listed_routes(&self) -> Vec<&Route> {
        let in_main = |family: Family| {
            let of =
                move |route: &&Route| route.table == Route::MAIN && route.dst.family() == family;
            self.routes.iter().filter(of).collect::<Vec<_>>()
        };
        let (mut ipv4, mut ipv6) = (in_main(Family::Ipv4), in_main(Family::Ipv6));
        ipv4.reverse();
        let longest_first = |route: &&Route| std::cmp::Reverse(route.dst.len());
        ipv4.sort_by_key(|route| (route.dst.address(), longest_first(route), route.metric));
        ipv6.sort_by_key(|route| (route.dst.last(), longest_first(route), route.metric));
        ipv4.extend(ipv6);
        ipv4
    }

    /// The ports of a bridge, by number.
    pub(crate) fn ports<'s>(&'s self, bridge: &'s str) -> impl Iterator<Item = &'s Device> {
        let is_port = move |device: &&Device| {
            device
                .port
                .as_ref()
                .is_some_and(|port| port.bridge == bridge)
        };
        self.devices.iter().filter(is_port)
    }

    /// Lets a bridge follow its ports: its MTU is their smallest (`br_mtu_auto_adjust`), its Ethernet
    /// address their lowest until it is set (`br_stp_recalculate_bridge_id`).
    pub(crate) fn settle_bridge(&mut self, name: &str) {
        let mtu = self.ports(name).map(|port| port.mtu).min();
        let lowest = self.ports(name).map(|port| port.mac).min();
        let Some(bridge) = self.link_mut(name) else {
            return;
        };
        bridge.mtu = mtu.unwrap_or(Device::ETHERNET_MTU);
        if let Kind::Bridge { mac_set: false, .. } = bridge.kind {
            bridge.mac = lowest.unwrap_or_default();
        }
    }

    /// Sets a sysctl, as it is called below `/proc/sys`.
    pub(crate) fn set_sysctl(&mut self, name: &str, value: &str) {
        self.sysctls.insert(name.to_owned(), value.to_owned());
    }

    /// A sysctl; 0 unless it was set.
    pub(crate) fn sysctl(&self, name: &str) -> &str {
        self.sysctls.get(name).map_or("0", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Namespace {
        let mut pod = Namespace::new();
        let mac = MacAddr::default();
        pod.add_link(Device::new("eth0", Kind::Nic, mac, Device::ETHERNET_MTU));
        pod
    }

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn via(dst: &str, gateway: &str) -> Route {
        let gateway = gateway.parse().unwrap();
        Route::new(dst.parse().unwrap(), Some(gateway), "eth0")
    }

    #[test]
    fn a_route_needs_its_device_up_and_its_next_hop_on_a_network() {
        let mut pod = pod();
        pod.add_address("eth0", cidr("10.22.0.2/24")).unwrap();
        assert!(pod.routes.is_empty(), "the device is down");
        let default = via("0.0.0.0/0", "10.22.0.1");
        assert_eq!(pod.add_route(default.clone()), Err(Errno::NetDown));
        pod.set_up("eth0");
        assert_eq!(pod.add_route(default.clone()), Ok(()));
        assert_eq!(pod.add_route(default), Err(Errno::Exists));
        let far = via("10.0.0.0/8", "10.23.0.1");
        assert_eq!(pod.add_route(far), Err(Errno::NetUnreachable));
        pod.add_address("eth0", cidr("fd00:22::2/64")).unwrap();
        let own = via("::/0", "fd00:22::2");
        assert_eq!(pod.add_route(own), Err(Errno::Invalid));
        pod.set_down("eth0");
        assert!(pod.routes.is_empty());
    }

    #[test]
    fn routes_are_listed_as_the_kernel_walks_them() {
        let mut pod = pod();
        pod.set_up("eth0");
        for address in ["10.22.0.2/24", "fd00:22::2/64"] {
            pod.add_address("eth0", cidr(address)).unwrap();
        }
        for (dst, gateway) in [
            ("10.0.0.0/8", "10.22.0.1"),
            ("::/0", "fd00:22::1"),
            ("0.0.0.0/0", "10.22.0.1"),
            ("10.0.0.0/24", "10.22.0.1"),
        ] {
            pod.add_route(via(dst, gateway)).unwrap();
        }
        let listed: Vec<String> = pod
            .listed_routes()
            .iter()
            .map(|r| r.dst.to_string())
            .collect();
        let wanted = [
            "0.0.0.0/0",
            "10.0.0.0/24",
            "10.0.0.0/8",
            "10.22.0.0/24",
            "fd00:22::/64",
            "::/0",
        ];
        assert_eq!(listed, wanted);
    }

    #[test]
    fn a_bridge_follows_its_ports_until_its_address_is_set() {
        let mut host = Namespace::host();
        let bridge = Kind::Bridge {
            vlan_filtering: false,
            mac_set: false,
        };
        host.add_link(Device::new("cni0", bridge, MacAddr([9; 6]), 1500));
        for (name, last, mtu) in [("a", 7, 1400), ("b", 3, 1450)] {
            let mut device = Device::new(name, Kind::Nic, MacAddr([2, 0, 0, 0, 0, last]), mtu);
            device.port = Some(super::super::Port {
                bridge: "cni0".to_owned(),
                ..Default::default()
            });
            host.add_link(device);
        }
        host.settle_bridge("cni0");
        let of = |host: &Namespace| host.link("cni0").map(|b| (b.mac.0[5], b.mtu));
        assert_eq!(of(&host), Some((3, 1400)));
        host.remove_link("b");
        assert_eq!(of(&host), Some((7, 1400)));
        host.remove_link("a");
        assert_eq!(of(&host), Some((0, 1500)));
    }
}
