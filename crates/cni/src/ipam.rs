//! Who gives addresses: plugins that other plugins call with the same configuration.
//!
//! Source: pkg/ipam/ipam.go and ipam_linux.go of containernetworking/plugins.

use std::net::IpAddr;

use podwire_packet::Family;

use crate::CniError;
use crate::host::Host;
use crate::kernel::namespace::{Errno, LINK_NOT_FOUND, Namespace, Route, Scope};
use crate::libcni::exec;
use crate::plugins;
use crate::protocol::{Environment, Invocation};
use crate::result::{Cidr, CniResult};

/// Asks for addresses.
pub(crate) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    delegate(&invocation.net.ipam.plugin, "ADD", invocation, host)
}

/// Gives them back.
pub(crate) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    delegate(&invocation.net.ipam.plugin, "DEL", invocation, host).map(|_| ())
}

/// Asks whether the container has its addresses.
pub(crate) fn check(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    delegate(&invocation.net.ipam.plugin, "CHECK", invocation, host).map(|_| ())
}

/// Asks whether it can give addresses.
pub(crate) fn status(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    delegate(&invocation.net.ipam.plugin, "STATUS", invocation, host).map(|_| ())
}

/// Calls another plugin with the same environment: one of podwire's, or a program in CNI_PATH. Only ADD
/// has a result.
pub(crate) fn delegate(
    name: &str,
    command: &str,
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<CniResult, CniError> {
    let nothing = |()| CniResult::default();
    if let Some(plugin) = plugins::find(name) {
        return match command {
            "ADD" => (plugin.add)(invocation, host),
            "CHECK" => (plugin.check)(invocation, host).map(nothing),
            "DEL" => (plugin.del)(invocation, host).map(nothing),
            _ => (plugin.status)(invocation, host).map(nothing),
        };
    }
    let path = exec::find_in_path(name, &invocation.env.path).map_err(CniError::other)?;
    let env = Environment {
        command: command.to_owned(),
        ..invocation.env.clone()
    };
    if command == "ADD" {
        exec::with_result(&path, &invocation.conf, &env).map(|(_, result)| result)
    } else {
        exec::without_result(&path, &invocation.conf, &env).map(nothing)
    }
}

/// Gives a container's device the addresses and routes of a result, and brings it up between.
///
/// # Errors
/// The first thing that the kernel refuses; what was done before it stays.
pub(crate) fn configure(
    namespace: &mut Namespace,
    name: &str,
    result: &CniResult,
    newer: bool,
) -> Result<(), CniError> {
    if namespace.link(name).is_none() {
        let why = format!("failed to lookup {name:?}: {LINK_NOT_FOUND}");
        return Err(CniError::other(why));
    }
    let mut gateways: [Option<IpAddr>; 2] = [None; 2];
    let slot = |family| usize::from(family == Family::Ipv6);
    for ip in &result.ips {
        let Some(place) = ip.interface else {
            continue;
        };
        if result
            .interfaces
            .get(place)
            .is_none_or(|own| own.name != name)
        {
            return Err(CniError::other(format!(
                "failed to add IP addr {} to {name:?}: invalid interface index",
                ip.address
            )));
        }
        if ip.address.family() == Family::Ipv6 {
            for device in ["lo", name] {
                namespace.set_sysctl(&format!("net/ipv6/conf/{device}/disable_ipv6"), "0");
            }
        }
        namespace.add_address(name, ip.address).map_err(|why| {
            let address = ip.address;
            CniError::other(format!(
                "failed to add IP addr {address} to {name:?}: {why}"
            ))
        })?;
        if let Some(gateway) = ip.gateway {
            gateways[slot(Family::of(gateway))].get_or_insert(gateway);
        }
    }
    namespace.set_up(name);
    for route in &result.routes {
        let gw = route.gw.or(gateways[slot(route.dst.family())]);
        let wanted = Route {
            metric: route.priority.unwrap_or_default(),
            mtu: route.mtu.unwrap_or_default(),
            table: route
                .table
                .filter(|&t| newer && t != 0)
                .unwrap_or(Route::MAIN),
            scope: match route.scope {
                Some(253) => Scope::Link,
                Some(254) => Scope::Host,
                _ => Scope::Global,
            },
            ..Route::new(route.dst.network(), gw, name)
        };
        namespace
            .add_route(wanted)
            .map_err(|why| refused(route.dst, gw, name, newer, why))?;
    }
    Ok(())
}

/// A route that the kernel refuses.
fn refused(dst: Cidr, gw: Option<IpAddr>, name: &str, newer: bool, why: Errno) -> CniError {
    let gw = gw.map_or_else(|| "<nil>".to_owned(), |gw| gw.to_string());
    let more = if newer {
        " metric 0 (Scope: universe, Table: 0)"
    } else {
        ""
    };
    CniError::other(format!(
        "failed to add route '{{{} {}}} via {gw} dev {name}{more}': {why}",
        dst.ip,
        dst.mask_digits()
    ))
}
