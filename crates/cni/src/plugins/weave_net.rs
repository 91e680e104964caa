//! weave-net: a container's device on Weave's bridge, with an address that the node's peer gives.
//!
//! # Departures
//! - Weave's daemon is simulated: see [`daemon`]. Where the real one lets a call wait for an address,
//!   the call fails.
//! - The address is announced to nobody.
//!
//! Source: plugin/{net,ipam}/cni.go and net/veth.go of weaveworks/weave 2.8; messages as there.

mod daemon;

use std::net::{IpAddr, Ipv4Addr};

use podwire_packet::{Family, Prefix, made_up_bits};
use podwire_ruleset::TableName;
use serde::Deserialize;

use super::common::{delete_device, seed};
use crate::host::Host;
use crate::kernel::Kernel;
use crate::kernel::device::Port;
use crate::kernel::namespace::{Errno, LINK_NOT_FOUND, Route, Scope};
use crate::protocol::Invocation;
use crate::result::{Cidr, CniResult, IpConfig, RouteConf};
use crate::rules::words;
use crate::{CniError, ipam};

/// How many characters of a container's id fit into its device's name on the host.
const ID_LENGTH: usize = 7;

/// What the bridge's own address is given to.
const EXPOSED: &str = "weave:expose";

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    bridge: String,
    is_gateway: bool,
    ip_masq: bool,
    mtu: u32,
    hairpin_mode: bool,
    ipam: AddressConf,
}

/// What the configuration says of addresses that Weave gives.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AddressConf {
    #[serde(deserialize_with = "crate::json::address")]
    gateway: Option<IpAddr>,
    routes: Vec<RouteConf>,
    subnet: String,
}

impl Default for Conf {
    fn default() -> Self {
        Self {
            bridge: daemon::BRIDGE.to_owned(),
            is_gateway: false,
            ip_masq: false,
            mtu: 0,
            hairpin_mode: true,
            ipam: AddressConf::default(),
        }
    }
}

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let conf: Conf = invocation.decode()?;
    for (asked, what) in [
        (conf.is_gateway, "Gateway"),
        (conf.ip_masq, "IP Masquerading"),
    ] {
        if asked {
            let why = format!("{what} functionality not supported");
            return Err(CniError::other(why));
        }
    }
    daemon::launch(invocation.options, host)?;
    let mut result = allocate(&conf, invocation, host)
        .map_err(|error| CniError::other(format!("unable to allocate IP address: {error}")))?;
    if result.routes.is_empty() && result.ips[0].gateway.is_none() {
        let gateway = bridge_address(&conf, result.ips[0].address, invocation, host)?;
        result.ips[0].gateway = Some(gateway);
    }
    let netns = &invocation.env.netns;
    let Some(kernel) = host.enter_if_there(netns)? else {
        return Err(CniError::other(format!(
            "error accessing namespace {netns:?}: no such file or directory"
        )));
    };
    attach(&conf, invocation, kernel, result.ips[0].address)?;
    add_routes(kernel, invocation, &result)
        .map_err(|why| CniError::other(format!("error setting up routes: {why}")))?;
    result.dns = invocation.net.dns.clone();
    Ok(result)
}

/// Asks the daemon for an address, or the plugin that the configuration names.
fn allocate(
    conf: &Conf,
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<CniResult, CniError> {
    if invocation.net.has_ipam() {
        let given = ipam::add(invocation, host)?;
        if given.ips.is_empty() {
            let why = "IPAM plugin failed to allocate IP address";
            return Err(CniError::other(why));
        }
        return Ok(given);
    }
    let address = ask_daemon(conf, &invocation.env.container_id, invocation)?;
    Ok(CniResult {
        ips: vec![IpConfig {
            address,
            gateway: conf.ipam.gateway,
            interface: None,
        }],
        routes: conf.ipam.routes.clone(),
        ..CniResult::default()
    })
}

fn ask_daemon(conf: &Conf, id: &str, invocation: &Invocation<'_>) -> Result<Cidr, CniError> {
    let mut path = format!("/ip/{id}");
    if !conf.ipam.subnet.is_empty() {
        let subnet: Prefix = conf.ipam.subnet.parse().map_err(|_| {
            let text = &conf.ipam.subnet;
            CniError::other(format!(
                "subnet given in config, but not parseable: invalid CIDR address: {text}"
            ))
        })?;
        path.push_str(&format!("/{subnet}"));
    }
    let given = daemon::request(invocation.options, "POST", &path)?;
    given
        .parse()
        .map_err(|_| CniError::other(format!("invalid CIDR address: {given}")))
}

/// The bridge's address in a network, else its first; one is given to it if it has none.
fn bridge_address(
    conf: &Conf,
    of: Cidr,
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<IpAddr, CniError> {
    let name = &conf.bridge;
    let Some(bridge) = host.kernel()?.host().link(name) else {
        let why = format!("Failed to get netdev for {name:?} bridge: {LINK_NOT_FOUND}");
        return Err(CniError::other(why));
    };
    let network = of.network();
    let all = &bridge.addresses;
    let best = all.iter().find(|own| network.contains(own.ip));
    if let Some(own) = best.or(all.first()) {
        return Ok(own.ip);
    }
    let own = if invocation.net.has_ipam() {
        let mut of_bridge = invocation.with(invocation.conf.clone())?;
        of_bridge.env.container_id = EXPOSED.to_owned();
        allocate(conf, &of_bridge, host).map(|given| given.ips[0].address)
    } else {
        ask_daemon(conf, EXPOSED, invocation)
    };
    let own = own.map_err(|error| {
        CniError::other(format!("unable to allocate IP address for bridge: {error}"))
    })?;
    let namespace = host.kernel()?.host_mut();
    namespace
        .add_address(name, own)
        .map_err(|why| CniError::other(format!("unable to expose bridge {name:?}: {why}")))?;
    Ok(own.ip)
}

/// Makes the container's device, a port of the bridge, and gives it its address.
fn attach(
    conf: &Conf,
    invocation: &Invocation<'_>,
    kernel: &mut Kernel,
    address: Cidr,
) -> Result<(), CniError> {
    let (netns, name) = (&invocation.env.netns, &invocation.env.ifname);
    let is_new = kernel.get(netns).link(name).is_none();
    if is_new {
        make_device(conf, invocation, kernel)?;
    }
    let namespace = kernel.get_mut(netns);
    match namespace.add_address(name, address) {
        Ok(()) | Err(Errno::Exists) => {}
        Err(why) => {
            return Err(CniError::other(format!(
                "failed to add IP address to {name:?}: {why}"
            )));
        }
    }
    // Multicast is let in from the container's own network only.
    let network = address.network().to_string();
    let (multicast, chain) = ("224.0.0.0/4", "INPUT");
    let accept = words(&["-i", name, "-s", &network, "-d", multicast, "-j", "ACCEPT"]);
    let drop = words(&["-i", name, "-d", multicast, "-j", "DROP"]);
    namespace.iptables.change(Family::Ipv4, |ipt| {
        if is_new {
            ipt.add_unique(TableName::Filter, chain, false, &drop)?;
        }
        ipt.add_unique(TableName::Filter, chain, true, &accept)
    })?;
    namespace.set_up(name);
    Ok(())
}

fn make_device(
    conf: &Conf,
    invocation: &Invocation<'_>,
    kernel: &mut Kernel,
) -> Result<(), CniError> {
    let (env, bridge) = (&invocation.env, &conf.bridge);
    let Some(found) = kernel.host().link(bridge) else {
        return Err(CniError::other(format!(
            "bridge \"{bridge}\" not present; did you launch weave?"
        )));
    };
    if !found.is_bridge() {
        let why = format!("device \"{bridge}\" is not a bridge");
        return Err(CniError::other(why));
    }
    let mtu = if conf.mtu == 0 { found.mtu } else { conf.mtu };
    let seed = seed(invocation);
    // The real plugin draws a name for a container whose own would hardly tell it from another.
    let id = match env.container_id.len() {
        0..5 => format!("{:x}", made_up_bits(&seed)),
        _ => env.container_id.clone(),
    };
    let id: String = id.chars().take(ID_LENGTH).collect();
    let (outside, inside) = (format!("vethwepl{id}"), format!("vethwepg{id}"));
    if kernel.host().link(&outside).is_some() {
        return Err(CniError::other(format!(
            "could not create veth pair {outside}-{inside}: {}",
            Errno::Exists
        )));
    }
    kernel.connect(&env.netns, &env.ifname, &outside, mtu, None, &seed);
    let port = Port {
        hairpin: conf.hairpin_mode,
        ..Port::default()
    };
    kernel.set_master(&outside, bridge, port);
    let namespace = kernel.get_mut(&env.netns);
    for (name, value) in [
        ("base_reachable_time_ms", "5000"),
        ("delay_first_probe_time", "2"),
        ("ucast_solicit", "1"),
    ] {
        namespace.set_sysctl(&format!("net/ipv4/neigh/{}/{name}", env.ifname), value);
    }
    Ok(())
}

/// Adds the routes of a result; without any, everything goes by the gateway.
fn add_routes(
    kernel: &mut Kernel,
    invocation: &Invocation<'_>,
    result: &CniResult,
) -> Result<(), String> {
    let name = &invocation.env.ifname;
    let namespace = kernel.get_mut(&invocation.env.netns);
    let (address, gateway) = (result.ips[0].address, result.ips[0].gateway);
    let mut wanted: Vec<Route> = Vec::new();
    if result.routes.is_empty() {
        if let Some(gateway) = gateway
            && !address.network().contains(gateway)
        {
            wanted.push(Route {
                scope: Scope::Link,
                ..Route::new(Prefix::host(gateway), None, name)
            });
        }
        let everything = Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        wanted.push(Route::new(everything, gateway, name));
    }
    for route in &result.routes {
        wanted.push(Route::new(route.dst.network(), route.gw.or(gateway), name));
    }
    for route in wanted {
        let dst = route.dst;
        match namespace.add_route(route) {
            Ok(()) | Err(Errno::Exists) => {}
            Err(why) => {
                let gateway = gateway.map_or_else(|| "<nil>".to_owned(), |gw| gw.to_string());
                return Err(format!(
                    "failed to add route '{dst} via {gateway} dev {name}': {why}"
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn check(_: &Invocation<'_>, _: &mut Host<'_>) -> Result<(), CniError> {
    Err(CniError::other("CNI plugin check not implemented"))
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    delete_device(invocation, host)?;
    host.commit()?;
    if invocation.net.has_ipam() {
        return ipam::del(invocation, host);
    }
    let id = &invocation.env.container_id;
    match daemon::request(invocation.options, "DELETE", &format!("/ip/{id}")) {
        Err(error) if !error.msg.contains("Delete: no addresses for") => Err(error),
        _ => Ok(()),
    }
}
