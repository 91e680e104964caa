//! A namespace as tools see it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use indexmap::IndexMap;
use podwire_cluster::LinkFacts;
use podwire_dataplane::{Fib, Link, LinkKind, Netns};
use podwire_packet::{DeviceName, MacAddr};
use podwire_ruleset::RuleSet;
use thiserror::Error;

use crate::{ip, iptables, net_tools};

/// The number of a pod's `eth0`: in its namespace the pair is made, and the host's end is the first.
const POD_ETH0: u32 = 3;

/// The other end of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A device of the same namespace.
    Here(DeviceName),
    /// A device of another one, by its number there, and that namespace's number here.
    Elsewhere {
        /// `if3`.
        index: u32,
        /// `link-netnsid`.
        netnsid: u32,
    },
}

/// The state that RFC 2863 calls operational.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperState {
    /// The device does not say.
    Unknown,
    /// It could carry packets if something were there.
    Down,
    /// It carries packets.
    Up,
}

impl fmt::Display for OperState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "UNKNOWN",
            Self::Down => "DOWN",
            Self::Up => "UP",
        })
    }
}

/// A device.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its number.
    pub index: u32,
    /// What it is, with addresses and MTU.
    pub link: Link,
    /// Its other end, if it is a pair.
    pub peer: Option<Peer>,
    /// Its queueing discipline.
    pub qdisc: Box<str>,
    /// How many packets wait at most; not said where nobody set it.
    pub queue_length: Option<u32>,
    /// Its state.
    pub state: OperState,
}

impl Device {
    /// `eth0@if4891`, or its name alone.
    #[must_use]
    pub fn title(&self) -> String {
        let name = self.link.name;
        match self.peer {
            None => name.to_string(),
            Some(Peer::Here(other)) => format!("{name}@{other}"),
            Some(Peer::Elsewhere { index, .. }) => format!("{name}@if{index}"),
        }
    }

    /// `BROADCAST,MULTICAST,UP,LOWER_UP`.
    #[must_use]
    pub const fn flags(&self) -> &'static str {
        match (&self.link.kind, self.state) {
            (LinkKind::Loopback, _) => "LOOPBACK,UP,LOWER_UP",
            (LinkKind::Dummy, OperState::Down) => "BROADCAST,NOARP",
            (_, OperState::Down) => "NO-CARRIER,BROADCAST,MULTICAST,UP",
            (_, OperState::Up | OperState::Unknown) => "BROADCAST,MULTICAST,UP,LOWER_UP",
        }
    }

    /// The link-local address that it has while it is up.
    #[must_use]
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        let is_up = self.state != OperState::Down;
        self.link.link_local().filter(|_| is_up)
    }
}

/// A neighbour that a host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Its address.
    pub address: IpAddr,
    /// The device that it is reached by.
    pub device: DeviceName,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Whether somebody wrote it down for good.
    pub permanent: bool,
}

/// Whose namespace it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// A node's own.
    Node,
    /// A pod's; the number of its port on the node.
    Pod(u32),
}

/// A namespace as tools see it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name, as `hostname` prints it.
    pub name: String,
    /// Its devices by their numbers.
    pub devices: Vec<Device>,
    /// Its routes.
    pub fib: Fib,
    /// Its neighbours, in the order in which they are listed.
    pub neighbors: Vec<Neighbor>,
    /// Addresses by names that its resolver knows: `/etc/hosts`.
    pub names: IndexMap<String, IpAddr>,
    /// Its rules, of each family that has some.
    pub rules: Vec<RuleSet>,
}

/// Why a command prints nothing: its exit code and what it says on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The tool itself would say this, and end with that code.
    #[error("{text}")]
    Tool {
        /// What it says.
        text: String,
        /// Its exit code.
        code: u8,
    },
    /// The tool is not modelled, or not with these words.
    #[error("{command}: not answered from the model; answered are {answered}")]
    NotModelled {
        /// What was asked.
        command: String,
        /// What could be.
        answered: &'static str,
    },
}

impl Fault {
    pub(crate) fn tool(text: impl Into<String>, code: u8) -> Self {
        let text = text.into();
        Self::Tool { text, code }
    }

    pub(crate) fn not_modelled(command: &[&str], answered: &'static str) -> Self {
        let command = command.join(" ");
        Self::NotModelled { command, answered }
    }
}

impl Host {
    /// A node's namespace; `facts` is what a model knows of its devices.
    #[must_use]
    pub fn of_node<C>(
        name: &str,
        netns: &Netns<C>,
        facts: &IndexMap<DeviceName, LinkFacts>,
    ) -> Self {
        Self::new(name, netns, facts, Owner::Node)
    }

    /// A pod's namespace; `port` is the number of its port on the node.
    #[must_use]
    pub fn of_pod<C>(name: &str, netns: &Netns<C>, port: u32) -> Self {
        Self::new(name, netns, &IndexMap::new(), Owner::Pod(port))
    }

    fn new<C>(
        name: &str,
        netns: &Netns<C>,
        facts: &IndexMap<DeviceName, LinkFacts>,
        owner: Owner,
    ) -> Self {
        let nothing = LinkFacts::default();
        let facts_of = |link: &Link| facts.get(&link.name).unwrap_or(&nothing);
        let mut indices = Numbers::new(facts.values().filter_map(|facts| facts.index), 1);
        let mut netnsids = Numbers::new(facts.values().filter_map(|facts| facts.netnsid), 0);
        let mut devices: Vec<Device> = Vec::with_capacity(netns.links.len());
        for link in netns.links.values() {
            let said = facts_of(link);
            let index = match owner {
                Owner::Pod(_) if link.kind == LinkKind::Veth => POD_ETH0,
                Owner::Pod(_) | Owner::Node => said.index.unwrap_or_else(|| indices.next()),
            };
            let is_pair = link.kind == LinkKind::Veth || said.peer_index.is_some();
            let peer = is_pair.then(|| Peer::Elsewhere {
                index: said.peer_index.unwrap_or(match owner {
                    Owner::Node => POD_ETH0,
                    Owner::Pod(port) => port,
                }),
                netnsid: said.netnsid.unwrap_or_else(|| netnsids.next()),
            });
            let has_ports = netns.links.values().any(|other| {
                let port_of = other.port_of.map(|port| port.bridge);
                port_of == Some(link.name)
            });
            devices.push(Device {
                index,
                link: link.clone(),
                peer,
                qdisc: said.qdisc.clone().unwrap_or_else(|| {
                    let is_card = link.kind == LinkKind::Nic && !is_pair;
                    if is_card { "fq_codel" } else { "noqueue" }.into()
                }),
                queue_length: queue_length(link, is_pair, said.bridge),
                state: state(link, has_ports),
            });
        }
        devices.sort_by_key(|device| device.index);
        let neighbors = netns.neighbors.iter();
        let neighbors = neighbors.map(|(&(device, address), &mac)| Neighbor {
            address,
            device,
            mac,
            permanent: true,
        });
        Self {
            name: name.to_owned(),
            devices,
            fib: netns.fib.clone(),
            neighbors: neighbors.collect(),
            names: IndexMap::new(),
            rules: Vec::new(),
        }
    }

    /// A device by its name; `@` and what follows is no part of it.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<&Device> {
        let name = name.split('@').next().unwrap_or_default();
        let mut devices = self.devices.iter();
        devices.find(|device| device.link.name.as_str() == name)
    }

    /// Whether a command asks who is on the links: without it, [`Self::neighbors`] may be left empty.
    #[must_use]
    pub fn asks_for_neighbors(command: &[&str]) -> bool {
        let Some((tool, words)) = command.split_first() else {
            return false;
        };
        match tool.rsplit('/').next().unwrap_or(tool) {
            "arp" => true,
            "ip" => {
                let mut objects = words.iter().filter(|word| !word.starts_with('-'));
                objects.next().is_some_and(|object| object.starts_with('n'))
            }
            _ => false,
        }
    }

    /// What a command prints on standard output.
    ///
    /// # Errors
    /// [`Fault::Tool`] with what the tool says on standard error, [`Fault::NotModelled`] for others.
    pub fn run(&self, command: &[&str]) -> Result<String, Fault> {
        self.tool(command).map_err(|fault| match fault {
            // A tool's part knows its own words; people read the whole line.
            Fault::NotModelled { answered, .. } => Fault::not_modelled(command, answered),
            told @ Fault::Tool { .. } => told,
        })
    }

    fn tool(&self, command: &[&str]) -> Result<String, Fault> {
        let Some((&tool, words)) = command.split_first() else {
            return Err(Fault::not_modelled(command, ANSWERED));
        };
        // A tool may be named by its path.
        let tool = tool.rsplit('/').next().unwrap_or(tool);
        if let Some(tool) = iptables::Tool::named(tool) {
            return tool.run(self, command);
        }
        match tool {
            "ip" => ip::run(self, words),
            "bridge" => ip::bridge::run(self, words),
            "arp" => net_tools::arp(self, words),
            "route" => net_tools::route(self, words),
            "ifconfig" => net_tools::ifconfig(self, words),
            "hostname" => net_tools::hostname(self, words),
            _ => Err(Fault::not_modelled(command, ANSWERED)),
        }
    }
}

/// The tools.
const ANSWERED: &str =
    "ip, bridge, arp, route, ifconfig, iptables, iptables-save, their ip6tables and hostname";

/// Numbers in order, without those that somebody has.
struct Numbers {
    taken: Vec<u32>,
    next: u32,
}

impl Numbers {
    fn new(taken: impl Iterator<Item = u32>, first: u32) -> Self {
        Self {
            taken: taken.collect(),
            next: first,
        }
    }

    fn next(&mut self) -> u32 {
        while self.taken.contains(&self.next) {
            self.next += 1;
        }
        let next = self.next;
        self.next += 1;
        next
    }
}

/// The queue that whoever makes a device gives it: the kernel's 1,000, or none by a library that does not
/// set it (vishvananda/netlink at the time: Docker's bridge, flannel's VXLAN, the plugins' pairs).
const fn queue_length(link: &Link, is_pair: bool, is_extra: bool) -> Option<u32> {
    match link.kind {
        _ if is_pair || is_extra => None,
        LinkKind::Veth | LinkKind::Vxlan(_) | LinkKind::Dummy => None,
        LinkKind::Loopback | LinkKind::Nic | LinkKind::Bridge => Some(1_000),
    }
}

/// The state of a device that somebody has set up. `kube-ipvs0` and its like are left down.
const fn state(link: &Link, has_ports: bool) -> OperState {
    match link.kind {
        LinkKind::Loopback | LinkKind::Vxlan(_) => OperState::Unknown,
        LinkKind::Bridge if !has_ports => OperState::Down,
        LinkKind::Dummy => OperState::Down,
        LinkKind::Bridge | LinkKind::Nic | LinkKind::Veth => OperState::Up,
    }
}
