//! bridge: a veth pair, one end of which is a port of a bridge on the host.
//!
//! # Map
//! - `conf`: the configuration.
//! - `gateway`: addresses of the bridge.
//! - `check`: CHECK.
//! - `spoof`: `macspoofchk`.
//!
//! # Departures
//! - `ipMasqBackend: nftables` is masqueraded by iptables.
//! - DEL gives addresses back last, so that one that is killed can be called again and leaves nothing; the
//!   real one takes its rules back after that.
//!
//! Source: plugins/main/bridge/bridge.go of containernetworking/plugins; messages and the order of the
//! steps are its own, as what was done before a failure stays done.

mod check;
mod conf;
mod gateway;
mod spoof;

use podwire_packet::{MacAddr, made_up_bits};

pub(super) use self::check::check;
use self::conf::Conf;
use super::common::{
    addresses, delete_device, interface, mac_address, or_release, resolver, seed,
    set_up_masquerade, tear_down_masquerade,
};
use crate::host::Host;
use crate::kernel::Kernel;
use crate::kernel::device::{Device, Kind, Port};
use crate::kernel::namespace::{Errno, Namespace};
use crate::protocol::Invocation;
use crate::result::CniResult;
use crate::{CniError, ipam};

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let conf = Conf::read(invocation)?;
    if conf.hairpin_mode && conf.promisc_mode {
        let stop = if invocation.is_newer() { "" } else { "." };
        return Err(CniError::other(format!(
            "cannot set hairpin mode and promiscuous mode at the same time{stop}"
        )));
    }
    ensure_bridge(host.kernel()?.host_mut(), &conf)?;
    let env = &invocation.env;
    let kernel = host.enter(&env.netns)?;
    let pair = Pair {
        netns: &env.netns,
        name: &env.ifname,
        mtu: conf.mtu,
        mac: mac_address(&conf.mac)
            .map_err(|why| CniError::other(format!("failed to make veth pair: {why}")))?,
        seed: &seed(invocation),
    };
    let peer = add_port(kernel, &pair, &conf, conf.port(), invocation.is_newer())?;
    let mut result = CniResult {
        interfaces: vec![
            interface(kernel.host(), &conf.bridge, ""),
            interface(kernel.host(), &peer, ""),
            interface(kernel.get(&env.netns), &env.ifname, &env.netns),
        ],
        ..CniResult::default()
    };
    if conf.mac_spoof_chk {
        let mac = result.interfaces[2].mac.clone();
        spoof::set_up(kernel.host_mut(), &peer, &mac, invocation);
    }
    let outcome = match invocation.net.has_ipam() {
        true => with_addresses(&conf, invocation, host, &mut result),
        false => {
            if !conf.disable_container_interface {
                kernel.get_mut(&env.netns).set_up(&env.ifname);
            }
            Ok(())
        }
    };
    let kernel = host.kernel()?;
    if outcome.is_err() && conf.mac_spoof_chk {
        spoof::tear_down(kernel.host_mut(), invocation);
    }
    outcome?;
    // The bridge's address may have changed with its ports.
    result.interfaces[0] = interface(kernel.host(), &conf.bridge, "");
    result.dns = resolver(invocation, result.dns);
    Ok(result)
}

fn with_addresses(
    conf: &Conf,
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
    result: &mut CniResult,
) -> Result<(), CniError> {
    let given = addresses(invocation, host)?;
    result.ips = given.ips;
    result.routes = given.routes;
    result.dns = given.dns;
    let outcome = wire(conf, invocation, host, result);
    or_release(outcome, invocation, host)
}

/// Gives the container its addresses and routes, the bridge its own, and masquerades.
fn wire(
    conf: &Conf,
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
    result: &mut CniResult,
) -> Result<(), CniError> {
    let env = &invocation.env;
    let gateways = gateway::choose(result, conf, invocation.is_newer());
    let kernel = host.kernel()?;
    let namespace = kernel.get_mut(&env.netns);
    ipam::configure(namespace, &env.ifname, result, invocation.is_newer())?;
    gateway::set_up(kernel, conf, &gateways, invocation, result)?;
    if conf.ip_masq {
        for ip in &result.ips {
            set_up_masquerade(kernel.host_mut(), invocation, ip.address)?;
        }
    }
    Ok(())
}

/// Makes the bridge if it is not there.
fn ensure_bridge(host: &mut Namespace, conf: &Conf) -> Result<(), CniError> {
    let name = &conf.bridge;
    let failed = |why: String| CniError::other(format!("failed to create bridge {name:?}: {why}"));
    if name.len() > 15 {
        return Err(failed(format!("could not add {name:?}: {}", Errno::Range)));
    }
    if host.link(name).is_none() {
        let kind = Kind::Bridge {
            vlan_filtering: conf.has_vlans(),
            mac_set: false,
        };
        let mac = MacAddr::of_bits(made_up_bits(&["bridge", name]));
        let mtu = if conf.mtu == 0 {
            Device::ETHERNET_MTU
        } else {
            conf.mtu
        };
        host.add_link(Device::new(name, kind, mac, mtu));
    }
    let device = host.link_mut(name).expect("it was made");
    if conf.promisc_mode {
        device.promisc = true;
    }
    if !device.is_bridge() {
        return Err(failed(format!(
            "{name:?} already exists but is not a bridge"
        )));
    }
    host.set_sysctl(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
    host.set_up(name);
    Ok(())
}

/// A veth pair to be made.
struct Pair<'p> {
    netns: &'p str,
    name: &'p str,
    mtu: u32,
    mac: Option<MacAddr>,
    seed: &'p [&'p str],
}

/// Makes a veth pair and its host's end a port of the bridge.
fn add_port(
    kernel: &mut Kernel,
    pair: &Pair<'_>,
    conf: &Conf,
    port: Port,
    newer: bool,
) -> Result<String, CniError> {
    let made = kernel.add_veth(pair.netns, pair.name, pair.mtu, pair.mac, pair.seed);
    let peer = made.map_err(|(_, peer)| exists(pair.name, &peer, newer))?;
    let accept_ra = format!("net/ipv6/conf/{peer}/accept_ra");
    kernel.host_mut().set_sysctl(&accept_ra, "0");
    kernel.set_master(&peer, &conf.bridge, port);
    Ok(peer)
}

/// The container has a device of that name.
pub(super) fn exists(name: &str, peer: &str, newer: bool) -> CniError {
    CniError::other(if newer {
        format!("container veth name ({name:?}) peer provided ({peer:?}) already exists")
    } else {
        format!("container veth name provided ({name}) already exists")
    })
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let conf = Conf::read(invocation)?;
    let addresses = delete_device(invocation, host)?;
    if !invocation.env.netns.is_empty() {
        let namespace = host.kernel()?.host_mut();
        if conf.mac_spoof_chk {
            spoof::tear_down(namespace, invocation);
        }
        if invocation.net.has_ipam() && conf.ip_masq {
            tear_down_masquerade(namespace, invocation, &addresses)?;
        }
    }
    // Nobody gets an address while the device that had it is still written down.
    host.commit()?;
    if invocation.net.has_ipam() {
        ipam::del(invocation, host)?;
    }
    Ok(())
}
