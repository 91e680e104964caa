//! flannel's VXLAN backend.
//!
//! Source: pkg/backend/vxlan/{vxlan,device,vxlan_network}.go of flannel-io/flannel: a device
//! `flannel.VNI` with the first address of the node's range as a /32; for every other node a route to
//! its range by the first address there (`onlink`), a permanent ARP entry for that address with the
//! other device's Ethernet address, and an FDB entry from that to the other node's address.

pub(super) mod rules;

use std::net::IpAddr;

use podwire_dataplane::{Link, LinkKind, Netns, Route, VxlanLink};
use podwire_packet::{DeviceName, Family};

use super::{NodeNetwork, PodNetwork, routes};

/// What VXLAN over IPv4 adds to a packet, and flannel takes off the MTU.
pub(super) const VXLAN_OVERHEAD: u32 = 50;

fn device_name(family: Family, vni: u32) -> DeviceName {
    let name = match family {
        Family::Ipv4 => format!("flannel.{vni}"),
        Family::Ipv6 => format!("flannel-v6.{vni}"),
    };
    // A VNI has 24 bits, so eight digits at most, and the IPv6 name is cut as `ip link` would refuse it.
    name.parse().unwrap_or(DeviceName::literal("flannel"))
}

/// The devices, one of each family that the node has a range and an address of.
pub(super) fn vxlan_links(
    network: &PodNetwork,
    node: &NodeNetwork,
    vni: u32,
    port: u16,
) -> Vec<Link> {
    let of_family = |&cidr: &podwire_packet::Prefix| {
        let family = cidr.family();
        let local = node.internal_ip(family)?;
        let under = node.nic_of(local)?;
        let name = device_name(family, vni);
        let vxlan = VxlanLink {
            vni,
            port,
            local,
            device: under.name,
            fdb: others(network, node, family)
                .map(|(other, ip)| (other.device_mac(name), ip))
                .collect(),
        };
        // flannel asks for 50 bytes less for either family; the kernel grants a device over IPv6, whose
        // header is longer, 70 less (`vxlan_config_apply`, drivers/net/vxlan/vxlan_core.c).
        let overhead = match family {
            Family::Ipv4 => VXLAN_OVERHEAD,
            Family::Ipv6 => VXLAN_OVERHEAD + 20,
        };
        let mtu = under.mtu.saturating_sub(overhead);
        let link = Link::new(name, LinkKind::Vxlan(vxlan), node.device_mac(name), mtu);
        Some(link.with_address(cidr.address(), family.bits()))
    };
    node.pod_cidrs.iter().filter_map(of_family).collect()
}

/// Every other node with its address.
fn others<'a>(
    network: &'a PodNetwork,
    node: &'a NodeNetwork,
    family: Family,
) -> impl Iterator<Item = (&'a NodeNetwork, IpAddr)> {
    let others = network
        .nodes()
        .iter()
        .filter(move |other| other.name != node.name);
    others.filter_map(move |other| Some((other, other.internal_ip(family)?)))
}

/// Routes to the other nodes' ranges; with `DirectRouting` plain ones where the other node is on the
/// same network.
pub(super) fn add_routes<C>(
    host: &mut Netns<C>,
    network: &PodNetwork,
    node: &NodeNetwork,
    vni: u32,
    direct_routing: bool,
) {
    for family in [Family::Ipv4, Family::Ipv6] {
        let device = device_name(family, vni);
        if !host.links.contains_key(&device) {
            continue;
        }
        for (other, _) in others(network, node, family) {
            let Some(cidr) = other.pod_cidr(family) else {
                continue;
            };
            if direct_routing && routes::add_direct(host, other, cidr) {
                continue;
            }
            let next_hop = cidr.address();
            host.add_route(Route {
                onlink: true,
                ..Route::via(cidr, device, next_hop)
            });
            host.neighbors
                .insert((device, next_hop), other.device_mac(device));
        }
    }
}
