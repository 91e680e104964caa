//! What `ip`, `bridge`, `arp`, `route`, `ifconfig` and `iptables` print of a namespace, in their own form.
//!
//! A [`Host`] is a namespace as these tools see it: its devices with their numbers and other ends, its
//! routes, its neighbours. [`Host::run`] takes a command line and gives what the tool prints.
//!
//! # Map, in reading order
//! - `host`: devices, their numbers, states and other ends.
//! - `ip`: `ip link`, `addr`, `route`, `neigh`, `rule`, and `bridge`.
//! - `net_tools`: `arp`, `route`, `ifconfig`.
//! - `iptables`: `iptables -L` and `-S`, `iptables-save`.
//!
//! # Departures
//! - Counters are zero, and what a kernel numbers by chance (devices, namespaces) is numbered in order,
//!   unless a model says otherwise.
//! - Neighbours are those that a busy host knows: who could be asked for, not who was.
//! - Device multicast groups, and addresses that only IPv6's own upkeep needs, are left out.
//!
//! - Options of a match or target that podwire does not know are listed as `iptables-save` words them.
//! - Of ports and protocols, those that rules of clusters name have names without `-n`; of addresses, those of
//!   /etc/hosts and the multicast range.
//!
//! # Sources
//! ip/{ipaddress,iproute,ipneigh}.c and bridge/{link,fdb}.c of iproute2 6.1, arp.c, route.c and ifconfig.c of
//! net-tools 2.10, extensions/ and iptables/ of iptables 1.8.9 (nf_tables), and what these print in a namespace of Linux 6.18.

mod host;
mod ip;
mod iptables;
mod net_tools;

pub use host::{Device, Fault, Host, Neighbor, OperState, Peer};
