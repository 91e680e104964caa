//! Devices as they are kept in files.

use std::collections::BTreeMap;

use podwire_packet::MacAddr;
use serde::{Deserialize, Serialize};

use crate::json::text;
use crate::result::Cidr;

/// The other end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// Its namespace.
    pub(crate) netns: String,
    /// Its name.
    pub(crate) name: String,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// `lo`.
    Loopback,
    /// A network card.
    Nic,
    /// A bridge.
    Bridge {
        /// `bridge vlan_filtering`.
        vlan_filtering: bool,
        /// Whether its Ethernet address was set, so that it no longer follows its ports'.
        mac_set: bool,
    },
    /// One end of a pair.
    Veth(Peer),
    /// A card of its own address on another device.
    Macvlan {
        /// That device.
        master: String,
        /// `bridge`, `private`, `vepa` or `passthru`.
        mode: String,
    },
    /// Addresses of its own on another device.
    Ipvlan {
        /// That device.
        master: String,
        /// `l2`, `l3` or `l3s`.
        mode: String,
    },
    /// One VLAN of another device.
    Vlan {
        /// That device.
        master: String,
        /// Its tag.
        id: u16,
    },
    /// A device that delays what is redirected to it.
    Ifb,
}

/// A device's place in a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Port {
    /// The bridge.
    pub(crate) bridge: String,
    /// Frames may leave by the port they came in by.
    pub(crate) hairpin: bool,
    /// Frames go to ports that are not isolated only.
    pub(crate) isolated: bool,
    /// VLANs; the first is the untagged one if `untagged`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) vlans: Vec<u16>,
    /// Whether frames of its VLAN carry no tag here.
    #[serde(default)]
    pub(crate) untagged: bool,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    /// Its number in its namespace.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its Ethernet address.
    #[serde(with = "text")]
    pub(crate) mac: MacAddr,
    /// Largest packet in bytes.
    pub(crate) mtu: u32,
    /// Whether it is up.
    #[serde(rename = "up")]
    pub(crate) is_up: bool,
    /// Takes frames for others.
    #[serde(default)]
    pub(crate) promisc: bool,
    /// Takes all multicast frames.
    #[serde(default)]
    pub(crate) allmulti: bool,
    /// `ip link set alias`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) alias: String,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) addresses: Vec<Cidr>,
    /// The bridge that it is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<Port>,
    /// Queueing disciplines by their parent, in the words of `tc qdisc`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) qdiscs: BTreeMap<String, String>,
}

impl Device {
    /// MTU of Ethernet.
    pub(crate) const ETHERNET_MTU: u32 = 1_500;

    /// A device that is down and has no address; it gets its number when it is added.
    pub(crate) fn new(name: &str, kind: Kind, mac: MacAddr, mtu: u32) -> Self {
        Self {
            index: 0,
            name: name.to_owned(),
            kind,
            mac,
            mtu,
            is_up: false,
            promisc: false,
            allmulti: false,
            alias: String::new(),
            addresses: Vec::new(),
            port: None,
            qdiscs: BTreeMap::new(),
        }
    }

    /// Whether it is a bridge.
    pub(crate) const fn is_bridge(&self) -> bool {
        matches!(self.kind, Kind::Bridge { .. })
    }

    /// The other end of a veth pair.
    pub(crate) const fn peer(&self) -> Option<&Peer> {
        if let Kind::Veth(peer) = &self.kind {
            Some(peer)
        } else {
            None
        }
    }
}
