//! Addresses that make a bridge the gateway of its network.

use std::net::IpAddr;

use podwire_packet::Family;

use super::conf::Conf;
use super::{Pair, add_port};
use crate::CniError;
use crate::kernel::device::{Kind, Port};
use crate::kernel::namespace::Namespace;
use crate::kernel::{HOST, Kernel};
use crate::plugins::common::{enable_forwarding, interface, seed};
use crate::protocol::Invocation;
use crate::result::{Cidr, CniResult, RouteConf};

/// Completes a result of the address giver: whose addresses they are, gateways and default routes.
/// Returns the addresses that the bridge is to have.
pub(super) fn choose(result: &mut CniResult, conf: &Conf, newer: bool) -> Vec<Cidr> {
    let mut gateways = Vec::new();
    let mut has_default = [false; 2];
    for ip in &mut result.ips {
        ip.interface = Some(2);
        if conf.is_gateway && ip.gateway.is_none() {
            // An address has a first one in its network.
            ip.gateway = ip.address.network().nth(1);
        }
        let family = ip.address.family();
        let has_default = &mut has_default[usize::from(family == Family::Ipv6)];
        // 1.1.1 adds no second default route of a family; later ones ask the routes each time.
        if conf.is_default_gateway && (newer || !*has_default) {
            let is_default = |route: &RouteConf| {
                route.gw.is_some() && route.dst.len == 0 && route.dst.family() == family
            };
            if !*has_default && !result.routes.iter().any(is_default) {
                let everything = Cidr {
                    ip: family.unspecified(),
                    len: 0,
                };
                result.routes.push(RouteConf::new(everything, ip.gateway));
            }
            *has_default = true;
        }
        if conf.is_gateway
            && let Some(gateway) = ip.gateway
        {
            gateways.push(Cidr {
                ip: gateway,
                len: ip.address.len,
            });
        }
    }
    // IPv4 first, as they are set up.
    gateways.sort_by_key(|gateway| gateway.family());
    gateways
}

/// Gives the bridge, or its device of a VLAN, the gateways' addresses, and lets the host forward.
pub(super) fn set_up(
    kernel: &mut Kernel,
    conf: &Conf,
    gateways: &[Cidr],
    invocation: &Invocation<'_>,
    result: &mut CniResult,
) -> Result<(), CniError> {
    for family in [Family::Ipv4, Family::Ipv6] {
        let of_family = gateways.iter().filter(|own| own.family() == family);
        let mut any = false;
        for &gateway in of_family {
            any = true;
            let (device, what) = match conf.vlan() {
                Some(vlan) => {
                    let name = vlan_device(kernel, conf, vlan, invocation)?;
                    if !result.interfaces.iter().any(|own| own.name == name) {
                        result.interfaces.push(interface(kernel.host(), &name, ""));
                    }
                    (name, "vlan interface for bridge with addr")
                }
                None => (conf.bridge.clone(), "bridge addr"),
            };
            ensure_address(kernel.host_mut(), &device, gateway, conf.force_address)
                .map_err(|why| CniError::other(format!("failed to set {what}: {why}")))?;
        }
        if any {
            enable_forwarding(kernel.host_mut(), family);
        }
    }
    Ok(())
}

/// The host's device in a VLAN of the bridge: a veth pair of its own.
fn vlan_device(
    kernel: &mut Kernel,
    conf: &Conf,
    vlan: u16,
    invocation: &Invocation<'_>,
) -> Result<String, CniError> {
    let name = format!("{}.{vlan}", conf.bridge);
    if kernel.host().link(&name).is_none() {
        let mtu = kernel
            .host()
            .link(&conf.bridge)
            .map_or(0, |bridge| bridge.mtu);
        let pair = Pair {
            netns: HOST,
            name: &name,
            mtu,
            mac: None,
            seed: &[&name, seed(invocation)[0]],
        };
        let port = Port {
            hairpin: false,
            isolated: false,
            ..conf.port()
        };
        add_port(kernel, &pair, conf, port, invocation.is_newer()).map_err(|error| {
            let why = format!("faild to create vlan gateway {name:?}: {error}");
            CniError::other(format!("failed to create vlan interface: {why}"))
        })?;
    }
    kernel.host_mut().set_up(&name);
    Ok(name)
}

/// Gives a device an address unless it has another one of that network, or of the family in IPv4.
fn ensure_address(
    host: &mut Namespace,
    name: &str,
    address: Cidr,
    force: bool,
) -> Result<(), String> {
    let own = host.link(name).map(|device| device.addresses.clone());
    for other in own.unwrap_or_default() {
        if other.family() != address.family() {
            continue;
        }
        if other == address {
            return Ok(());
        }
        let covers = |network: Cidr, ip: IpAddr| network.network().contains(ip);
        let is_in_the_way = address.family() == Family::Ipv4
            || covers(other, address.ip)
            || covers(address, other.ip);
        if is_in_the_way && !force {
            return Err(format!(
                "{name:?} already has an IP address different from {address}"
            ));
        }
        if is_in_the_way {
            host.remove_address(name, other);
        }
    }
    // It was just seen not to be there.
    let _ = host.add_address(name, address);
    if let Some(device) = host.link_mut(name)
        && let Kind::Bridge { mac_set, .. } = &mut device.kind
    {
        // From here on it keeps the address that it has.
        *mac_set = true;
    }
    Ok(())
}
