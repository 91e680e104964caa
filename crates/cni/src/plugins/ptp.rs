//! ptp: a veth pair without a bridge; the host's end has the gateway's address.
//!
//! Source: plugins/main/ptp/ptp.go of containernetworking/plugins; messages as there.

use podwire_packet::Prefix;
use serde::Deserialize;

use super::bridge::exists;
use super::common::{
    addresses, check_addresses_and_routes, checked_interface, delete_device, enable_forwarding,
    interface, or_release, seed, set_up_masquerade, tear_down_masquerade,
};
use crate::host::Host;
use crate::kernel::Kernel;
use crate::kernel::namespace::{Errno, Route, Scope};
use crate::protocol::Invocation;
use crate::result::{Cidr, CniResult, IpConfig};
use crate::{CniError, ipam};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conf {
    #[serde(rename = "ipMasq")]
    ip_masq: bool,
    mtu: u32,
}

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let conf: Conf = invocation.decode()?;
    let mut result = addresses(invocation, host)?;
    let outcome = wire(&conf, invocation, host, &mut result);
    or_release(outcome, invocation, host)?;
    if !invocation.net.dns.is_empty() {
        result.dns = invocation.net.dns.clone();
    }
    Ok(result)
}

fn wire(
    conf: &Conf,
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
    result: &mut CniResult,
) -> Result<(), CniError> {
    let env = &invocation.env;
    for ip in &result.ips {
        enable_forwarding(host.kernel()?.host_mut(), ip.address.family());
    }
    let kernel = host.enter(&env.netns)?;
    let seed = seed(invocation);
    let made = kernel.add_veth(&env.netns, &env.ifname, conf.mtu, None, &seed);
    let peer = made.map_err(|(_, peer)| exists(&env.ifname, &peer, invocation.is_newer()))?;
    result.interfaces = vec![
        interface(kernel.host(), &peer, ""),
        interface(kernel.get(&env.netns), &env.ifname, &env.netns),
    ];
    for ip in &mut result.ips {
        ip.interface = Some(1);
    }
    let namespace = kernel.get_mut(&env.netns);
    ipam::configure(namespace, &env.ifname, result, invocation.is_newer())?;
    for ip in &result.ips {
        by_gateway(kernel, &env.netns, &env.ifname, ip)?;
    }
    for ip in &result.ips {
        host_end(kernel, &peer, ip)?;
    }
    if conf.ip_masq {
        for ip in &result.ips {
            set_up_masquerade(kernel.host_mut(), invocation, ip.address)?;
        }
    }
    Ok(())
}

/// Sends all of the container's packets by its gateway, those to its own network too.
fn by_gateway(kernel: &mut Kernel, netns: &str, name: &str, ip: &IpConfig) -> Result<(), CniError> {
    let namespace = kernel.get_mut(netns);
    let network = ip.address.network();
    let failed = |what: &str, to: Prefix, why: Errno| {
        CniError::other(format!("failed to {what} route {to}: {why}"))
    };
    namespace
        .remove_route(network, name)
        .map_err(|why| failed("delete", network, why))?;
    let Some(gateway) = ip.gateway else {
        return Err(failed("add", network, Errno::Invalid));
    };
    let src = Some(ip.address.ip);
    let to_gateway = Route {
        src,
        scope: Scope::Link,
        ..Route::new(Prefix::host(gateway), None, name)
    };
    let by_gateway = Route {
        src,
        ..Route::new(network, Some(gateway), name)
    };
    for route in [to_gateway, by_gateway] {
        let dst = route.dst;
        namespace
            .add_route(route)
            .map_err(|why| failed("add", dst, why))?;
    }
    Ok(())
}

/// Gives the host's end the gateway's address, and a route to the container.
fn host_end(kernel: &mut Kernel, peer: &str, ip: &IpConfig) -> Result<(), CniError> {
    let host = kernel.host_mut();
    let gateway = Cidr::host(ip.gateway.unwrap_or(ip.address.ip));
    host.add_address(peer, gateway).map_err(|why| {
        CniError::other(format!("failed to add IP addr ({gateway}) to veth: {why}"))
    })?;
    let route = Route {
        scope: Scope::Host,
        ..Route::new(Prefix::host(ip.address.ip), None, peer)
    };
    match host.add_route(route) {
        Ok(()) | Err(Errno::Exists) => Ok(()),
        Err(why) => Err(CniError::other(format!(
            "failed to add route on host: {why}"
        ))),
    }
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let conf: Conf = invocation.decode()?;
    let addresses = delete_device(invocation, host)?;
    if conf.ip_masq && !addresses.is_empty() {
        tear_down_masquerade(host.kernel()?.host_mut(), invocation, &addresses)?;
    }
    // As bridge does, so that a DEL that is killed can be called again.
    host.commit()?;
    ipam::del(invocation, host)
}

pub(super) fn check(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let env = &invocation.env;
    host.enter(&env.netns)?;
    ipam::check(invocation, host)?;
    let Some(previous) = invocation.net.previous()? else {
        return Err(CniError::other("ptp: Required prevResult missing"));
    };
    let own = checked_interface(invocation, &previous)?;
    let namespace = host.kernel()?.get(&env.netns);
    let name = &own.name;
    let Some(found) = namespace.link(name) else {
        let why = format!("ptp: Container Interface name in prevResult: {name} not found");
        return Err(CniError::other(why));
    };
    if found.peer().is_none() {
        let why = format!("Error: Container interface {name} not of type veth/p2p");
        return Err(CniError::other(why));
    }
    if !own.mac.is_empty() && own.mac != found.mac.to_string() {
        return Err(CniError::other(format!(
            "ptp: Interface {name} Mac {} doesn't match container Mac: {}",
            own.mac, found.mac
        )));
    }
    check_addresses_and_routes(namespace, &env.ifname, &previous, invocation.is_newer())
}
