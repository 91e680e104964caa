//! vlan, macvlan, ipvlan: devices on another device of the host's.
//!
//! Source: plugins/main/{vlan,macvlan,ipvlan} of containernetworking/plugins; messages as there.

use podwire_packet::{MacAddr, made_up_bits};
use serde::Deserialize;

use super::common::{
    MacConf, addresses, check_addresses_and_routes, check_mac, checked_interface, delete_device,
    device, interface, mac_address, or_release, seed,
};
use crate::host::Host;
use crate::kernel::device::{Device, Kind};
use crate::kernel::namespace::Errno;
use crate::kernel::{HOST, Kernel};
use crate::protocol::Invocation;
use crate::result::CniResult;
use crate::{CniError, args, ipam};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Vlan,
    Macvlan,
    Ipvlan,
}

impl On {
    const fn name(self) -> &'static str {
        match self {
            Self::Vlan => "vlan",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }

    /// The modes that it knows, the default first.
    const fn modes(self) -> &'static [&'static str] {
        match self {
            Self::Vlan => &[""],
            Self::Macvlan => &["bridge", "private", "vepa", "passthru"],
            Self::Ipvlan => &["l2", "l3", "l3s"],
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    master: String,
    mode: String,
    mtu: i64,
    mac: String,
    vlan_id: i64,
    link_in_container: bool,
    runtime_config: MacConf,
}

impl Conf {
    /// Where the master is.
    fn place<'i>(&self, invocation: &'i Invocation<'_>) -> &'i str {
        if self.link_in_container {
            &invocation.env.netns
        } else {
            HOST
        }
    }

    fn mode(&self, on: On) -> Result<&'static str, CniError> {
        let modes = on.modes();
        let found = modes.iter().find(|mode| **mode == self.mode);
        let found = found.or_else(|| self.mode.is_empty().then(|| &modes[0]));
        found
            .copied()
            .ok_or_else(|| CniError::other(format!("unknown {} mode: {:?}", on.name(), self.mode)))
    }

    fn kind(&self, on: On) -> Result<Kind, CniError> {
        let mode = self.mode(on)?.to_owned();
        let master = self.master.clone();
        Ok(match on {
            On::Vlan => Kind::Vlan {
                master,
                id: u16::try_from(self.vlan_id).unwrap_or_default(),
            },
            On::Macvlan => Kind::Macvlan { master, mode },
            On::Ipvlan => Kind::Ipvlan { master, mode },
        })
    }
}

/// Reads the configuration and looks the master up.
fn read(on: On, invocation: &Invocation<'_>, kernel: &Kernel) -> Result<(Conf, u32), CniError> {
    let mut conf: Conf = invocation.decode()?;
    let place = conf.place(invocation);
    if conf.master.is_empty() {
        conf.master = master(on, invocation, kernel, place)?;
    }
    if on == On::Vlan && !(0..=4_094).contains(&conf.vlan_id) {
        return Err(CniError::other(format!(
            "invalid VLAN ID {} (must be between 0 and 4095 inclusive)",
            conf.vlan_id
        )));
    }
    let found = device(kernel, place, &conf.master);
    let largest = match (on, found) {
        (_, Ok(master)) => master.mtu,
        (On::Ipvlan, Err(error)) => {
            let why = format!("failed to lookup master {:?}: {error}", conf.master);
            return Err(CniError::other(why));
        }
        (_, Err(error)) => return Err(error),
    };
    if on != On::Ipvlan && (conf.mtu < 0 || conf.mtu > i64::from(largest)) {
        return Err(CniError::other(format!(
            "invalid MTU {}, must be [0, master MTU({largest})]",
            conf.mtu
        )));
    }
    if on == On::Macvlan {
        if let Some(mac) = args::load(&invocation.env.args, &["MAC"])?.remove("MAC") {
            conf.mac = mac;
        }
        if !conf.runtime_config.mac.is_empty() {
            conf.mac = std::mem::take(&mut conf.runtime_config.mac);
        }
    }
    Ok((conf, largest))
}

/// The device that is the master where the configuration names none.
fn master(
    on: On,
    invocation: &Invocation<'_>,
    kernel: &Kernel,
    place: &str,
) -> Result<String, CniError> {
    if on == On::Vlan {
        let stop = if invocation.is_newer() { "" } else { "." };
        return Err(CniError::other(format!(
            "\"master\" field is required. It specifies the host interface name to create the VLAN \
             for{stop}"
        )));
    }
    if on == On::Ipvlan
        && let Some(previous) = invocation.net.previous()?
    {
        let [only] = previous.interfaces.as_slice() else {
            let why = "chained master failure. PrevResult lacks a single named interface";
            return Err(CniError::other(why));
        };
        return Ok(only.name.clone());
    }
    let mut routes = kernel.get(place).routes.iter();
    let default = routes.find(|route| route.dst.is_empty());
    default
        .map(|route| route.dev.clone())
        .ok_or_else(|| CniError::other("no default route interface found"))
}

fn add(on: On, invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let env = &invocation.env;
    let (netns, name) = (&env.netns, &env.ifname);
    let kernel = host.enter(netns)?;
    let (conf, largest) = read(on, invocation, kernel)?;
    let what = on.name();
    let mac = mac_address(&conf.mac)
        .map_err(|why| CniError::other(format!("invalid args {} for MAC addr: {why}", conf.mac)))?;
    let of_master = device(kernel, conf.place(invocation), &conf.master)?.mac;
    let mac = match on {
        // They have the master's address.
        On::Vlan | On::Ipvlan => of_master,
        On::Macvlan => {
            let words = [&["macvlan"], seed(invocation).as_slice()].concat();
            mac.unwrap_or_else(|| MacAddr::of_bits(made_up_bits(&words)))
        }
    };
    if kernel.get(netns).link(name).is_some() {
        let why = format!("failed to rename {what} to {name:?}: {}", Errno::Exists);
        return Err(CniError::other(why));
    }
    let mtu = match u32::try_from(conf.mtu) {
        Ok(mtu) if mtu != 0 => mtu,
        _ => largest,
    };
    let made = Device::new(name, conf.kind(on)?, mac, mtu);
    kernel.get_mut(netns).add_link(made);
    let own = interface(kernel.get(netns), name, netns);

    let chained = on == On::Ipvlan && !invocation.net.has_ipam();
    let previous = if chained {
        invocation.net.previous()?
    } else {
        None
    };
    let previous = previous.filter(|previous| !previous.ips.is_empty());
    if on == On::Macvlan && !invocation.net.has_ipam() {
        kernel.get_mut(netns).set_up(name);
        return Ok(CniResult {
            interfaces: vec![own],
            dns: invocation.net.dns.clone(),
            ..CniResult::default()
        });
    }
    let asks = previous.is_none();
    let mut result = match previous {
        Some(previous) => previous,
        None => addresses(invocation, host).map_err(|error| match on {
            On::Vlan => CniError::other(format!("failed to execute IPAM delegate: {error}")),
            On::Macvlan | On::Ipvlan => error,
        })?,
    };
    for ip in &mut result.ips {
        ip.interface = Some(0);
    }
    result.interfaces = vec![own];
    result.dns = invocation.net.dns.clone();
    let namespace = host.kernel()?.get_mut(netns);
    namespace.set_sysctl(&format!("net/ipv4/conf/{name}/arp_notify"), "1");
    let outcome = ipam::configure(namespace, name, &result, invocation.is_newer());
    if asks {
        or_release(outcome, invocation, host)?;
    } else {
        outcome?;
    }
    Ok(result)
}

fn check(on: On, invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let env = &invocation.env;
    let kernel = host.enter(&env.netns)?;
    if on == On::Macvlan {
        read(on, invocation, kernel)?;
    }
    if invocation.net.has_ipam() {
        ipam::check(invocation, host)?;
    }
    let Some(previous) = invocation.net.previous()? else {
        let why = match on {
            On::Vlan => "vlan: Required prevResult missing",
            On::Macvlan => "required prevResult missing",
            On::Ipvlan => "Required prevResult missing",
        };
        return Err(CniError::other(why));
    };
    let own = checked_interface(invocation, &previous)?;
    let kernel = host.kernel()?;
    let conf: Conf = invocation.decode()?;
    if !conf.master.is_empty() {
        device(kernel, conf.place(invocation), &conf.master).map_err(|error| {
            CniError::other(format!(
                "failed to lookup master {:?}: {error}",
                conf.master
            ))
        })?;
    }
    let namespace = kernel.get(&env.netns);
    let name = &own.name;
    let Some(found) = namespace.link(name) else {
        let why = format!("Container Interface name in prevResult: {name} not found");
        return Err(CniError::other(why));
    };
    let is_right = match (&found.kind, on) {
        (Kind::Vlan { id, .. }, On::Vlan) => i64::from(*id) == conf.vlan_id,
        (Kind::Macvlan { mode, .. }, On::Macvlan) | (Kind::Ipvlan { mode, .. }, On::Ipvlan) => {
            mode == conf.mode(on)?
        }
        _ => {
            let what = on.name();
            let why = format!("Error: Container interface {name} not of type {what}");
            return Err(CniError::other(why));
        }
    };
    if !is_right {
        let what = on.name();
        let why = format!("Container {what} mode of {name} does not match expected value");
        return Err(CniError::other(why));
    }
    check_mac(&own, found.mac)?;
    check_addresses_and_routes(namespace, &env.ifname, &previous, invocation.is_newer())
}

fn del(on: On, invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    // vlan looks its master up also to remove what stands on it; so did macvlan once.
    if on == On::Vlan || (on == On::Macvlan && !invocation.is_newer()) {
        read(on, invocation, host.kernel()?)?;
    }
    delete_device(invocation, host)?;
    host.commit()?;
    if invocation.net.has_ipam() {
        ipam::del(invocation, host)?;
    }
    Ok(())
}

pub(super) fn add_vlan(
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<CniResult, CniError> {
    add(On::Vlan, invocation, host)
}

pub(super) fn add_macvlan(
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<CniResult, CniError> {
    add(On::Macvlan, invocation, host)
}

pub(super) fn add_ipvlan(
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<CniResult, CniError> {
    add(On::Ipvlan, invocation, host)
}

pub(super) fn check_vlan(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    check(On::Vlan, invocation, host)
}

pub(super) fn check_macvlan(
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<(), CniError> {
    check(On::Macvlan, invocation, host)
}

pub(super) fn check_ipvlan(
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<(), CniError> {
    check(On::Ipvlan, invocation, host)
}

pub(super) fn del_vlan(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    del(On::Vlan, invocation, host)
}

pub(super) fn del_macvlan(
    invocation: &Invocation<'_>,
    host: &mut Host<'_>,
) -> Result<(), CniError> {
    del(On::Macvlan, invocation, host)
}

pub(super) fn del_ipvlan(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    del(On::Ipvlan, invocation, host)
}
