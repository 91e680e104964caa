//! The plugins, one module each, and the table of them.
//!
//! # Map
//! - Devices: [`bridge`], [`ptp`], [`on_device`] (vlan, macvlan, ipvlan), [`host_device`], [`loopback`],
//!   [`weave_net`].
//! - Addresses: [`host_local`], [`static_ipam`], [`dhcp`].
//! - Chained behind others: [`portmap`], [`firewall`], [`tuning`], [`bandwidth`], [`sbr`].
//! - [`flannel`]: calls another plugin with what flanneld wrote down.
//! - [`common`]: what several of them check and do.

mod bandwidth;
mod bridge;
mod common;
mod dhcp;
mod firewall;
mod flannel;
mod host_device;
mod host_local;
mod loopback;
mod on_device;
mod portmap;
mod ptp;
mod sbr;
mod static_ipam;
mod tuning;
mod weave_net;

use crate::CniError;
use crate::host::Host;
use crate::protocol::Invocation;
use crate::result::CniResult;
use crate::version::PluginsVersion;

type Add = fn(&Invocation<'_>, &mut Host<'_>) -> Result<CniResult, CniError>;
type Act = fn(&Invocation<'_>, &mut Host<'_>) -> Result<(), CniError>;

/// A plugin: its name, and what it does for each command.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) name: &'static str,
    /// The oldest version of the specification that it speaks.
    since: &'static str,
    pub(crate) add: Add,
    pub(crate) check: Act,
    pub(crate) del: Act,
    pub(crate) status: Act,
}

impl Plugin {
    const fn new(name: &'static str, add: Add, check: Act, del: Act) -> Self {
        Self {
            name,
            since: "0.1.0",
            add,
            check,
            del,
            status: nothing,
        }
    }

    const fn since(self, since: &'static str) -> Self {
        Self { since, ..self }
    }

    /// The same plugin, whose STATUS is that of whoever gives it addresses.
    const fn with_status_of_ipam(self) -> Self {
        Self {
            status: common::status_of_ipam,
            ..self
        }
    }

    /// The versions of the specification that it speaks in a release.
    pub(crate) fn versions(&self, plugins: PluginsVersion) -> Vec<&'static str> {
        let all = plugins.spec_versions().iter().copied();
        all.skip_while(|version| *version != self.since).collect()
    }
}

/// What a plugin does that has nothing to do.
fn nothing(_: &Invocation<'_>, _: &mut Host<'_>) -> Result<(), CniError> {
    Ok(())
}

/// All plugins, by name.
pub(crate) static ALL: [Plugin; 17] = [
    Plugin::new(
        "bandwidth",
        bandwidth::add,
        bandwidth::check,
        bandwidth::del,
    )
    .since("0.3.0"),
    Plugin::new("bridge", bridge::add, bridge::check, bridge::del).with_status_of_ipam(),
    Plugin::new("dhcp", dhcp::add, dhcp::check, dhcp::del),
    Plugin::new("firewall", firewall::add, firewall::check, firewall::del).since("0.4.0"),
    Plugin::new("flannel", flannel::add, nothing, flannel::del),
    Plugin::new(
        "host-device",
        host_device::add,
        host_device::check,
        host_device::del,
    )
    .with_status_of_ipam(),
    Plugin::new(
        "host-local",
        host_local::add,
        host_local::check,
        host_local::del,
    ),
    Plugin::new(
        "ipvlan",
        on_device::add_ipvlan,
        on_device::check_ipvlan,
        on_device::del_ipvlan,
    )
    .with_status_of_ipam(),
    Plugin::new("loopback", loopback::add, loopback::check, loopback::del),
    Plugin::new(
        "macvlan",
        on_device::add_macvlan,
        on_device::check_macvlan,
        on_device::del_macvlan,
    )
    .with_status_of_ipam(),
    Plugin::new("portmap", portmap::add, portmap::check, portmap::del),
    Plugin::new("ptp", ptp::add, ptp::check, ptp::del).with_status_of_ipam(),
    Plugin::new("sbr", sbr::add, nothing, sbr::del),
    Plugin::new("static", static_ipam::add, static_ipam::check, nothing),
    Plugin::new("tuning", tuning::add, tuning::check, tuning::del),
    Plugin::new(
        "vlan",
        on_device::add_vlan,
        on_device::check_vlan,
        on_device::del_vlan,
    )
    .with_status_of_ipam(),
    Plugin::new(
        "weave-net",
        weave_net::add,
        weave_net::check,
        weave_net::del,
    ),
];

/// The plugin of that name.
pub(crate) fn find(name: &str) -> Option<&'static Plugin> {
    ALL.iter().find(|plugin| plugin.name == name)
}
