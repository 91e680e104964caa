//! host-device: moves a device of the host's into the container, and back.
//!
//! # Departures
//! - Devices are found by name and Ethernet address; the emulated host has no `/sys` to look up
//!   `kernelpath` and `pciBusID` in.
//!
//! Source: plugins/main/host-device/host-device.go of containernetworking/plugins; messages as there.

use serde::Deserialize;

use super::common::{
    addresses, check_addresses_and_routes, check_mac, checked_interface, interface, mac_address,
    or_release, required_previous,
};
use crate::host::Host;
use crate::kernel::namespace::{LINK_NOT_FOUND, Namespace};
use crate::kernel::{HOST, Kernel};
use crate::protocol::Invocation;
use crate::result::CniResult;
use crate::{CniError, ipam};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeConf {
    #[serde(rename = "deviceID")]
    device_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conf {
    device: String,
    hwaddr: String,
    kernelpath: String,
    #[serde(rename = "pciBusID")]
    pci_bus_id: String,
    #[serde(rename = "runtimeConfig")]
    runtime_config: RuntimeConf,
}

impl Conf {
    fn read(invocation: &Invocation<'_>) -> Result<Self, CniError> {
        let mut conf: Self = invocation.decode()?;
        if !conf.runtime_config.device_id.is_empty() {
            conf.pci_bus_id = std::mem::take(&mut conf.runtime_config.device_id);
        }
        let named = [
            &conf.device,
            &conf.hwaddr,
            &conf.kernelpath,
            &conf.pci_bus_id,
        ];
        if named.iter().all(|name| name.is_empty()) {
            let why = "specify either \"device\", \"hwaddr\", \"kernelpath\" or \"pciBusID\"";
            return Err(CniError::other(why));
        }
        Ok(conf)
    }

    /// The host's device that is meant.
    fn find(&self, host: &Namespace) -> Result<String, String> {
        if !self.device.is_empty() {
            let found = host.link(&self.device).map(|device| device.name.clone());
            return found.ok_or_else(|| LINK_NOT_FOUND.to_owned());
        }
        if let Some(mac) = mac_address(&self.hwaddr)
            .map_err(|why| format!("failed to parse MAC address {:?}: {why}", self.hwaddr))?
        {
            let mut devices = host.devices.iter();
            let found = devices.find(|device| device.mac == mac);
            return found
                .map(|device| device.name.clone())
                .ok_or_else(|| "failed to find physical interface".to_owned());
        }
        if !self.kernelpath.is_empty() {
            let dir = format!("{}/net", self.kernelpath);
            return Err(format!("failed to find network devices at {dir:?}"));
        }
        Err(format!(
            "no net directory under pci device {}",
            self.pci_bus_id
        ))
    }
}

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let conf = Conf::read(invocation)?;
    let env = &invocation.env;
    let (netns, name) = (&env.netns, &env.ifname);
    let kernel = host.enter(netns)?;
    let found = conf.find(kernel.host());
    let found =
        found.map_err(|why| CniError::other(format!("failed to find host device: {why}")))?;
    move_in(kernel, &found, netns, name)?;
    let interfaces = vec![interface(kernel.get(netns), name, netns)];
    if !invocation.net.has_ipam() {
        return Ok(CniResult {
            interfaces,
            ..CniResult::default()
        });
    }
    let mut result = addresses(invocation, host)?;
    for ip in &mut result.ips {
        ip.interface = Some(0);
    }
    result.interfaces = interfaces;
    let namespace = host.kernel()?.get_mut(netns);
    let outcome = ipam::configure(namespace, name, &result, invocation.is_newer());
    or_release(outcome, invocation, host)?;
    result.dns = invocation.net.dns.clone();
    Ok(result)
}

/// Moves a device, which keeps its old name as alias.
fn move_in(kernel: &mut Kernel, found: &str, netns: &str, name: &str) -> Result<(), CniError> {
    if kernel.get(netns).link(name).is_some() {
        let why = format!("failed to rename device {found:?} to {name:?}: file exists");
        return Err(CniError::other(format!("failed to move link {why}")));
    }
    kernel.move_link(HOST, found, netns, name);
    let namespace = kernel.get_mut(netns);
    if let Some(device) = namespace.link_mut(name) {
        found.clone_into(&mut device.alias);
    }
    namespace.set_up(name);
    Ok(())
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    Conf::read(invocation)?;
    let env = &invocation.env;
    let (netns, name) = (&env.netns, &env.ifname);
    if netns.is_empty() {
        return Ok(());
    }
    if invocation.net.has_ipam() {
        ipam::del(invocation, host)?;
    }
    let kernel = host.enter(netns)?;
    let Some(device) = kernel.get(netns).link(name) else {
        // Later releases take a device that is gone for moved back.
        if invocation.is_newer() {
            return Ok(());
        }
        let why = format!("failed to find {name:?}: {LINK_NOT_FOUND}");
        return Err(CniError::other(why));
    };
    let alias = device.alias.clone();
    if kernel.host().link(&alias).is_some() {
        let why = format!("failed to move {alias:?} to host netns: file exists");
        return Err(CniError::other(why));
    }
    kernel.move_link(netns, name, HOST, &alias);
    if let Some(device) = kernel.host_mut().link_mut(&alias) {
        device.alias.clear();
    }
    Ok(())
}

pub(super) fn check(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    Conf::read(invocation)?;
    let env = &invocation.env;
    host.enter(&env.netns)?;
    if invocation.net.has_ipam() {
        ipam::check(invocation, host)?;
    }
    let previous = required_previous(invocation)?;
    let own = checked_interface(invocation, &previous)?;
    let namespace = host.kernel()?.get(&env.netns);
    let name = &own.name;
    let Some(found) = namespace.link(name) else {
        let why = format!("Container Interface name in prevResult: {name} not found");
        return Err(CniError::other(why));
    };
    check_mac(&own, found.mac)?;
    check_addresses_and_routes(namespace, &env.ifname, &previous, invocation.is_newer())
}
