//! sbr: routes of a container by the source address, in a table of their own.
//!
//! Source: plugins/meta/sbr/main.go of containernetworking/plugins; messages as there.

use podwire_packet::Prefix;

use crate::CniError;
use crate::host::Host;
use crate::kernel::namespace::{LINK_NOT_FOUND, Namespace, PolicyRule, Route};
use crate::protocol::Invocation;
use crate::result::{CniResult, IpConfig};

/// The first table that is tried.
const FIRST_TABLE: u32 = 100;

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let Some(result) = invocation.net.previous()? else {
        let why = "This plugin must be called as chained plugin";
        return Err(CniError::other(why));
    };
    let env = &invocation.env;
    if result.ips.is_empty() {
        let why = format!("No IP addresses supplied on interface: {}", env.ifname);
        return Err(CniError::other(why));
    }
    let of_device = |ip: &&IpConfig| {
        let device = ip.interface.and_then(|place| result.interfaces.get(place));
        device.is_none_or(|device| device.name == env.ifname)
    };
    let namespace = host.enter(&env.netns)?.get_mut(&env.netns);
    let ips: Vec<&IpConfig> = result.ips.iter().filter(of_device).collect();
    by_source(namespace, &env.ifname, &ips)?;
    Ok(result)
}

fn by_source(namespace: &mut Namespace, name: &str, ips: &[&IpConfig]) -> Result<(), CniError> {
    if namespace.link(name).is_none() {
        let why = format!("Cannot find network interface {name}: {LINK_NOT_FOUND}");
        return Err(CniError::other(why));
    }
    let is_free = |table: &u32| {
        !namespace.policy.iter().any(|rule| rule.table == *table)
            && !namespace.routes.iter().any(|route| route.table == *table)
    };
    let table = (FIRST_TABLE..).find(is_free).unwrap_or(FIRST_TABLE);
    for ip in ips {
        namespace.policy.push(PolicyRule {
            from: Prefix::host(ip.address.ip),
            table,
        });
        if let Some(gateway) = ip.gateway {
            let everything = Prefix::any(ip.address.family());
            let default = Route {
                table,
                ..Route::new(everything, Some(gateway), name)
            };
            namespace.add_route(default).map_err(|why| {
                CniError::other(format!("Failed to add default route to {gateway}: {why}"))
            })?;
        }
    }
    // What goes by the device moves over, in the place of what is there already.
    let (moved, mut left): (Vec<Route>, Vec<Route>) = std::mem::take(&mut namespace.routes)
        .into_iter()
        .partition(|route| route.dev == name && route.table == Route::MAIN);
    for route in moved {
        let route = Route { table, ..route };
        left.retain(|own| {
            !(own.table == table && own.dst == route.dst && own.metric == route.metric)
        });
        left.push(route);
    }
    namespace.routes = left;
    Ok(())
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let env = &invocation.env;
    let Some(kernel) = host.enter_if_there(&env.netns)? else {
        return Ok(());
    };
    let namespace = kernel.get_mut(&env.netns);
    let Some(device) = namespace.link(&env.ifname) else {
        if invocation.is_newer() {
            return Ok(());
        }
        let why = format!("Failed to get link {}: {LINK_NOT_FOUND}", env.ifname);
        return Err(CniError::other(why));
    };
    let own: Vec<_> = device.addresses.iter().map(|address| address.ip).collect();
    namespace
        .policy
        .retain(|rule| !own.contains(&rule.from.address()));
    Ok(())
}
