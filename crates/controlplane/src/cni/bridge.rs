//! cni0 and the veth pairs: what the bridge plugin does with host-local's answers.
//!
//! Source: plugins/main/bridge/bridge.go of containernetworking/plugins: the bridge has the gateway's
//! address (`isGateway`), each container a veth pair with one end in the bridge, an address with the
//! length of the range, and the routes of the configuration.

use std::net::IpAddr;

use podwire_dataplane::{BridgePort, Link, LinkKind, Netns, Route};
use podwire_packet::{DeviceName, Family, MacAddr, Prefix};

use super::{NodeNetwork, PodNetwork, made_up_mac};

/// The bridge.
pub(super) const CNI0: DeviceName = DeviceName::literal("cni0");

pub(super) fn bridge_link(network: &PodNetwork, node: &NodeNetwork) -> Link {
    let gateways = node
        .pod_cidrs
        .iter()
        .filter_map(|cidr| Some((cidr.nth(1)?, cidr.len())));
    let name = network.bridge();
    let mac = node.device_mac(name);
    Link {
        addresses: gateways.collect(),
        ..Link::new(name, LinkKind::Bridge, mac, network.pod_mtu(node))
    }
}

pub(super) fn port_link(
    network: &PodNetwork,
    node: &NodeNetwork,
    pod: IpAddr,
    hairpin: bool,
) -> Link {
    let name = network.port_name(node, pod);
    let mac = node.device_mac(name);
    Link {
        port_of: Some(BridgePort {
            bridge: network.bridge(),
            hairpin,
        }),
        ..Link::new(name, LinkKind::Veth, mac, network.pod_mtu(node))
    }
}

pub(super) fn pod_mac(node: &NodeNetwork, pod: IpAddr) -> MacAddr {
    made_up_mac(&node.name, &pod.to_string())
}

/// A pod's namespace: eth0 with its addresses, and the bridge as its gateway.
pub(super) fn pod<C>(node: &NodeNetwork, addresses: &[IpAddr], mtu: u32) -> Netns<C> {
    let mac = addresses
        .first()
        .map_or_else(MacAddr::default, |&first| pod_mac(node, first));
    let mut eth0 = Link::new(DeviceName::ETH0, LinkKind::Veth, mac, mtu);
    for &ip in addresses {
        let range = node.pod_cidrs.iter().find(|cidr| cidr.contains(ip));
        let length = range.map_or(Family::of(ip).bits(), Prefix::len);
        eth0.addresses.push((ip, length));
    }
    let mut pod = Netns::new([Link::loopback(), eth0]);
    for &ip in addresses {
        let family = Family::of(ip);
        // A node without a pod range answers for its own address on every link (sysctl `arp_ignore` 0).
        if let Some(gateway) = node.pod_gateway(family).or(node.internal_ip(family)) {
            pod.add_route(Route {
                onlink: !node.holds(ip),
                ..Route::via(Prefix::any(family), DeviceName::ETH0, gateway)
            });
        }
    }
    pod
}
