//! What several plugins check and do.

use std::net::IpAddr;

use podwire_packet::{Family, MacAddr};
use podwire_ruleset::TableName;
use serde::Deserialize;

use crate::host::Host;
use crate::kernel::Kernel;
use crate::kernel::namespace::{Namespace, Route};
use crate::protocol::Invocation;
use crate::result::{Cidr, CniResult, Dns, Interface};
use crate::rules::{ChainPlan, chain_name, comment, words};
use crate::{CniError, ipam};

/// The result of the plugin before, which CHECK cannot do without.
pub(super) fn required_previous(invocation: &Invocation<'_>) -> Result<CniResult, CniError> {
    let previous = invocation.net.previous()?;
    previous.ok_or_else(|| CniError::other("Required prevResult missing"))
}

/// STATUS of whoever gives addresses.
pub(super) fn status_of_ipam(
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<(), CniError> {
    if invocation.net.has_ipam() {
        ipam::status(invocation, host)?;
    }
    Ok(())
}

/// Asks for addresses, of which there must be one.
pub(super) fn addresses(
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<CniResult, CniError> {
    let given = ipam::add(invocation, host)?;
    if given.ips.is_empty() {
        return Err(CniError::other("IPAM plugin returned missing IP config"));
    }
    Ok(given)
}

/// Passes an outcome on; if it is an error, addresses that were given are given back before.
pub(super) fn or_release<T>(
    outcome: Result<T, CniError>,
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<T, CniError> {
    if outcome.is_err() {
        // What fails here is not told: the first error is.
        let _ = ipam::del(invocation, host);
    }
    outcome
}

/// The resolver of the configuration if it has any, else the one of who gave addresses.
pub(super) fn resolver(invocation: &Invocation<'_>, given: Dns) -> Dns {
    if invocation.net.dns.is_empty() && invocation.is_newer() {
        given
    } else {
        invocation.net.dns.clone()
    }
}

/// `runtimeConfig.mac` and `args.cni.mac`, wherever a plugin takes them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MacConf {
    pub(super) mac: String,
}

/// An Ethernet address as a configuration names it; the text says what Go or the kernel finds wrong.
pub(super) fn mac_address(text: &str) -> Result<Option<MacAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let Ok(mac) = text.parse::<MacAddr>() else {
        return Err(format!("address {text}: invalid MAC address"));
    };
    let is_multicast = mac.0[0] & 1 == 1;
    if is_multicast || mac == MacAddr::default() {
        return Err("cannot assign requested address".to_owned());
    }
    Ok(Some(mac))
}

/// The device of a namespace as a result tells it.
pub(super) fn interface(namespace: &Namespace, name: &str, sandbox: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        mac: namespace
            .link(name)
            .map(|d| d.mac.to_string())
            .unwrap_or_default(),
        sandbox: sandbox.to_owned(),
        ..Interface::default()
    }
}

/// Lets the host forward packets of a family.
pub(super) fn enable_forwarding(host: &mut Namespace, family: Family) {
    let name = match family {
        Family::Ipv4 => "net/ipv4/ip_forward",
        Family::Ipv6 => "net/ipv6/conf/all/forwarding",
    };
    host.set_sysctl(name, "1");
}

/// Masquerades what a container sends to other networks: a chain of its own.
///
/// Source: `SetupIPMasq`, pkg/ip/ipmasq_iptables_linux.go of containernetworking/plugins.
pub(super) fn set_up_masquerade(
    host: &mut Namespace,
    invocation: &Invocation<'_>,
    address: Cidr,
) -> Result<(), CniError> {
    let (network, id) = (&invocation.net.name, &invocation.env.container_id);
    let chain = chain_name("", network, id);
    let comment = comment(network, id);
    let commented = |rule: &[&str]| {
        let mut rule = words(rule);
        rule.extend(words(&["-m", "comment", "--comment", &comment]));
        rule
    };
    let multicast = match address.family() {
        Family::Ipv4 => "224.0.0.0/4",
        Family::Ipv6 => "ff00::/8",
    };
    let own_network = address.network().to_string();
    let source = address.ip.to_string();
    let plan = ChainPlan {
        rules: vec![
            commented(&["-d", &own_network, "-j", "ACCEPT"]),
            commented(&["!", "-d", multicast, "-j", "MASQUERADE"]),
        ],
        entry_chains: &["POSTROUTING"],
        entry_rules: vec![commented(&["-s", &source])],
        in_front: false,
        name: chain,
    };
    let rules = &mut host.iptables;
    rules.change(address.family(), |ipt| plan.set_up(TableName::Nat, ipt))
}

/// Takes the chain back.
pub(super) fn tear_down_masquerade(
    host: &mut Namespace,
    invocation: &Invocation<'_>,
    addresses: &[Cidr],
) -> Result<(), CniError> {
    let (network, id) = (&invocation.net.name, &invocation.env.container_id);
    let chain = chain_name("", network, id);
    for family in [Family::Ipv4, Family::Ipv6] {
        if addresses.iter().any(|address| address.family() == family) {
            host.iptables.change(family, |ipt| {
                ipt.remove_chain(TableName::Nat, &["POSTROUTING"], &chain);
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Removes a container's device and tells which addresses it had. That the namespace or the device is
/// gone is no fault.
pub(super) fn delete_device(
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<Vec<Cidr>, CniError> {
    let (netns, name) = (&invocation.env.netns, &invocation.env.ifname);
    let Some(kernel) = host.enter_if_there(netns)? else {
        return Ok(Vec::new());
    };
    let Some(device) = kernel.get(netns).link(name) else {
        return Ok(Vec::new());
    };
    let addresses = device.addresses.clone();
    kernel.delete_link(netns, name);
    Ok(addresses)
}

/// The device of a container in the result that CHECK gets.
///
/// # Errors
/// When it is in another namespace, or not there as the result says.
pub(super) fn checked_interface(
    invocation: &Invocation<'_>,
    previous: &CniResult,
) -> Result<Interface, CniError> {
    let (netns, name) = (&invocation.env.netns, &invocation.env.ifname);
    let own = |one: &&Interface| one.name == *name && one.sandbox == *netns;
    let found = previous.interfaces.iter().rfind(own).cloned();
    let found = found.unwrap_or_default();
    if found.sandbox == *netns {
        return Ok(found);
    }
    Err(CniError::other(format!(
        "Sandbox in prevResult {} doesn't match configured netns: {netns}",
        found.sandbox
    )))
}

/// Whether a device has the Ethernet address that a result tells of it, if it tells one.
pub(super) fn check_mac(own: &Interface, found: MacAddr) -> Result<(), CniError> {
    if own.mac.is_empty() || own.mac == found.to_string() {
        return Ok(());
    }
    Err(CniError::other(format!(
        "Interface {} Mac {} doesn't match container Mac: {found}",
        own.name, own.mac
    )))
}

/// Whether a device has the addresses and the namespace the routes that a result tells.
///
/// Source: pkg/ip/utils_linux.go of containernetworking/plugins.
pub(super) fn check_addresses_and_routes(
    namespace: &Namespace,
    name: &str,
    previous: &CniResult,
    newer: bool,
) -> Result<(), CniError> {
    for ip in &previous.ips {
        let Some(device) = namespace.link(name) else {
            let why = format!("Cannot find container link {name}");
            return Err(CniError::other(why));
        };
        if !device.addresses.contains(&ip.address) {
            let why = format!("Failed to match addr {} on interface {name}", ip.address);
            return Err(CniError::other(why));
        }
        let network = ip.address.network();
        if !namespace.routes.iter().any(|route| route.dst == network) {
            let gateway = ip
                .gateway
                .map_or_else(|| "<nil>".to_owned(), |gw| gw.to_string());
            let why = format!("Failed to find Gateway {gateway} for interface {name}");
            return Err(CniError::other(why));
        }
    }
    for route in &previous.routes {
        // 1.1.1 looks for a route without next hop if the result has none, though it got the gateway.
        let any_hop = route.dst.len == 0 || (newer && route.gw.is_none());
        let found =
            |own: &Route| own.dst == route.dst.network() && (any_hop || own.via == route.gw);
        if !namespace.routes.iter().any(found) {
            let gw = route
                .gw
                .map_or_else(|| "<nil>".to_owned(), |gw: IpAddr| gw.to_string());
            let more = if newer {
                " MTU:0 AdvMSS:0 Priority:0 Table:<nil> Scope:<nil>"
            } else {
                ""
            };
            return Err(CniError::other(format!(
                "Expected Route {{Dst:{{IP:{} Mask:{}}} GW:{gw}{more}}} not found in routing table",
                route.dst.ip,
                route.dst.mask_digits()
            )));
        }
    }
    Ok(())
}

/// The words that a random name or Ethernet address is made from.
pub(super) fn seed<'i>(invocation: &'i Invocation<'_>) -> [&'i str; 3] {
    let env = &invocation.env;
    [&invocation.net.name, &env.container_id, &env.ifname]
}

/// A device that must be there.
pub(super) fn device<'k>(
    kernel: &'k Kernel,
    netns: &str,
    name: &str,
) -> Result<&'k crate::kernel::device::Device, CniError> {
    let found = kernel.get(netns).link(name);
    found.ok_or_else(|| CniError::other(crate::kernel::namespace::LINK_NOT_FOUND))
}
