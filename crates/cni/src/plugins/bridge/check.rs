//! CHECK of bridge: is all there that ADD made, as its result tells it?

use super::conf::Conf;
use crate::host::Host;
use crate::kernel::Kernel;
use crate::kernel::device::Device;
use crate::plugins::common::{check_addresses_and_routes, checked_interface, required_previous};
use crate::protocol::Invocation;
use crate::result::Interface;
use crate::{CniError, ipam};

pub(in crate::plugins) fn check(
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<(), CniError> {
    let conf = Conf::read(invocation)?;
    let env = &invocation.env;
    host.enter(&env.netns)?;
    ipam::check(invocation, host)?;
    let previous = required_previous(invocation)?;
    let kernel = host.kernel()?;
    let named = |name: &str| {
        let found = previous.interfaces.iter().rfind(|own| own.name == name);
        found.cloned().unwrap_or_default()
    };
    let bridge = named(&conf.bridge);
    check_bridge(kernel, &bridge, conf.promisc_mode).map_err(CniError::other)?;
    let inside = checked_interface(invocation, &previous)?;
    check_inside(kernel, &inside, &env.netns).map_err(CniError::other)?;
    let mut found = false;
    for own in &previous.interfaces {
        if own.name != bridge.name && own.name != inside.name {
            found |=
                is_port(kernel, own, &conf.bridge, &inside, &env.netns).map_err(CniError::other)?;
        }
        if found {
            break;
        }
    }
    if !found {
        return Err(CniError::other(format!(
            "CNI veth created for bridge {} was not found",
            conf.bridge
        )));
    }
    check_addresses_and_routes(
        kernel.get(&env.netns),
        &env.ifname,
        &previous,
        invocation.is_newer(),
    )
}

/// The device that a result names, on the side where it should be.
fn device<'k>(
    kernel: &'k Kernel,
    own: &Interface,
    netns: Option<&str>,
) -> Result<&'k Device, String> {
    let name = &own.name;
    if name.is_empty() {
        return Err("Interface name missing ".to_owned());
    }
    let namespace = netns.map_or_else(|| kernel.host(), |netns| kernel.get(netns));
    let found = namespace.link(name);
    let found = found.ok_or_else(|| format!("Interface name {name} not found"))?;
    match (netns, own.sandbox.is_empty()) {
        (Some(_), true) => Err(format!("Interface {name} is expected to be in a sandbox")),
        (None, false) => Err(format!("Interface {name} should not be in sandbox")),
        _ => Ok(found),
    }
}

fn check_bridge(kernel: &Kernel, own: &Interface, promisc: bool) -> Result<(), String> {
    let found = device(kernel, own, None)?;
    let name = &own.name;
    if !found.is_bridge() {
        return Err(format!(
            "Interface {name} does not have link type of bridge"
        ));
    }
    if !own.mac.is_empty() && own.mac != found.mac.to_string() {
        return Err(format!(
            "Bridge interface {name} Mac doesn't match: {}",
            own.mac
        ));
    }
    if found.promisc != promisc {
        return Err(format!(
            "Bridge interface {name} configured Promisc Mode {promisc} doesn't match current \
             state: {} ",
            found.promisc
        ));
    }
    Ok(())
}

fn check_inside(kernel: &Kernel, own: &Interface, netns: &str) -> Result<(), String> {
    let found = device(kernel, own, Some(netns))?;
    let name = &own.name;
    if found.peer().is_none() {
        return Err(format!(
            "Error: Container interface {name} not of type veth"
        ));
    }
    if !own.mac.is_empty() && own.mac != found.mac.to_string() {
        return Err(format!(
            "Interface {name} Mac {} doesn't match container Mac: {}",
            own.mac, found.mac
        ));
    }
    Ok(())
}

/// Whether it is the host's end of the container's pair, and a port of the bridge.
fn is_port(
    kernel: &Kernel,
    own: &Interface,
    bridge: &str,
    inside: &Interface,
    netns: &str,
) -> Result<bool, String> {
    let found = device(kernel, own, None)?;
    let inside = kernel.get(netns).link(&inside.name);
    let is_pair = inside
        .and_then(Device::peer)
        .is_some_and(|peer| peer.name == own.name);
    let is_port = found
        .port
        .as_ref()
        .is_some_and(|port| port.bridge == bridge);
    if !is_pair || !is_port {
        return Ok(false);
    }
    if !own.mac.is_empty() && own.mac != found.mac.to_string() {
        let name = &own.name;
        return Err(format!(
            "Interface {name} Mac doesn't match: {} not found",
            own.mac
        ));
    }
    Ok(true)
}
