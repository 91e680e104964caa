//! The devices of each node.

use std::net::IpAddr;
use std::sync::Arc;

use indexmap::IndexMap;
use podwire_cluster::{Cluster, LinkFacts, Nic};
use podwire_packet::{DeviceName, Family, MacAddr, Prefix};

/// What the network knows of a node.
#[derive(Clone, Debug)]
pub struct NodeNetwork {
    /// Its name.
    pub name: Arc<str>,
    /// Its devices, addresses and gateways settled.
    pub nics: Vec<Nic>,
    /// What a model knows of devices of the real node.
    pub links: IndexMap<DeviceName, LinkFacts>,
    /// Its pod ranges, one of a family.
    pub pod_cidrs: Vec<Prefix>,
    /// The address that other nodes reach it by, of each family that it has.
    pub internal_ips: Vec<IpAddr>,
}

impl NodeNetwork {
    /// The address that other nodes reach it by.
    #[must_use]
    pub fn internal_ip(&self, family: Family) -> Option<IpAddr> {
        self.internal_ips
            .iter()
            .copied()
            .find(|&ip| Family::of(ip) == family)
    }

    /// The device that has an address.
    #[must_use]
    pub fn nic_of(&self, address: IpAddr) -> Option<&Nic> {
        self.nics
            .iter()
            .find(|nic| nic.addresses.iter().any(|&(own, _)| own == address))
    }

    /// Largest packet of the device that other nodes are reached by.
    #[must_use]
    pub fn underlay_mtu(&self) -> u32 {
        let nic = self
            .internal_ips
            .first()
            .and_then(|&ip| self.nic_of(ip))
            .or(self.nics.first());
        nic.map_or(podwire_dataplane::Link::ETHERNET_MTU, |nic| nic.mtu)
    }

    /// Its pod range of a family.
    #[must_use]
    pub fn pod_cidr(&self, family: Family) -> Option<Prefix> {
        self.pod_cidrs
            .iter()
            .copied()
            .find(|cidr| cidr.family() == family)
    }

    /// The Ethernet address of a device: as a model says, or made up from names.
    pub(super) fn device_mac(&self, device: DeviceName) -> MacAddr {
        let said = self.links.get(&device).and_then(|facts| facts.mac);
        said.unwrap_or_else(|| super::made_up_mac(&self.name, device.as_str()))
    }

    /// Whether an address is of its pod ranges.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        self.pod_cidrs.iter().any(|cidr| cidr.contains(address))
    }

    /// The address of its bridge: the first of the pod range.
    #[must_use]
    pub fn pod_gateway(&self, family: Family) -> Option<IpAddr> {
        self.pod_cidr(family)?.nth(1)
    }
}

/// The Ethernet address of a card: as the model says, or by Docker's rule from its IPv4 address.
pub(super) fn nic_mac(node: &str, nic: &Nic) -> MacAddr {
    let by_rule = || {
        nic.addresses.iter().find_map(|&(ip, _)| match ip {
            IpAddr::V4(ip) => Some(MacAddr::of_docker(ip)),
            IpAddr::V6(_) => None,
        })
    };
    nic.mac
        .or_else(by_rule)
        .unwrap_or_else(|| super::made_up_mac(node, nic.name.as_str()))
}

/// The network of every node.
pub(super) fn of(cluster: &Cluster) -> Vec<NodeNetwork> {
    let families = [Family::Ipv4, Family::Ipv6];
    let guesses: Vec<Guess> = families
        .iter()
        .filter_map(|&family| Guess::of(cluster, family))
        .collect();
    cluster
        .nodes
        .iter()
        .map(|(name, node)| NodeNetwork {
            name: name.clone(),
            nics: if node.nics.is_empty() {
                let addresses: Vec<IpAddr> = families
                    .iter()
                    .flat_map(|&family| node.internal_ips(family))
                    .collect();
                guessed_nics(&addresses, &guesses, cluster.network.mtu)
            } else {
                node.nics.clone()
            },
            links: node.links.clone(),
            pod_cidrs: families
                .iter()
                .filter_map(|&family| node.pod_cidr(family))
                .collect(),
            internal_ips: families
                .iter()
                .filter_map(|&family| node.internal_ips(family).next())
                .collect(),
        })
        .collect()
}

/// The node network of a family, where only the nodes' addresses are known.
struct Guess {
    network: Prefix,
    gateway: Option<IpAddr>,
}

impl Guess {
    /// The smallest network, from /24 (IPv6: /64) up, that holds every InternalIP. Its router has the
    /// first address, or the last one that no node has.
    fn of(cluster: &Cluster, family: Family) -> Option<Self> {
        let addresses: Vec<IpAddr> = cluster
            .nodes
            .values()
            .flat_map(|node| node.internal_ips(family))
            .collect();
        let first = *addresses.first()?;
        let longest = match family {
            Family::Ipv4 => 24,
            Family::Ipv6 => 64,
        };
        let holds_all = |length: &u8| {
            addresses
                .iter()
                .all(|&ip| Prefix::new(first, *length).contains(ip))
        };
        let length = (0..=longest).rev().find(holds_all)?;
        let network = Prefix::new(first, length);
        let is_free = |ip: &IpAddr| !addresses.contains(ip);
        let from_below = (1..=addresses.len() as u128 + 1).filter_map(|n| network.nth(n));
        Some(Self {
            network,
            gateway: from_below.into_iter().find(is_free),
        })
    }
}

/// One card with all addresses.
fn guessed_nics(addresses: &[IpAddr], guesses: &[Guess], mtu: u32) -> Vec<Nic> {
    let guess = |ip: IpAddr| guesses.iter().find(|guess| guess.network.contains(ip));
    let length = |ip: IpAddr| guess(ip).map_or(Family::of(ip).bits(), |guess| guess.network.len());
    // A card has one gateway here; a second family gets a card of its own, so that both can have one.
    let card = |name: DeviceName, family: Family| {
        let own: Vec<(IpAddr, u8)> = addresses
            .iter()
            .filter(|&&ip| Family::of(ip) == family)
            .map(|&ip| (ip, length(ip)))
            .collect();
        let &(first, _) = own.first()?;
        Some(Nic {
            name,
            mac: None,
            mtu,
            gateway: guess(first).and_then(|guess| guess.gateway),
            addresses: own,
        })
    };
    let second = if addresses.iter().any(IpAddr::is_ipv4) {
        DeviceName::literal("eth1")
    } else {
        DeviceName::ETH0
    };
    [
        card(DeviceName::ETH0, Family::Ipv4),
        card(second, Family::Ipv6),
    ]
    .into_iter()
    .flatten()
    .collect()
}
