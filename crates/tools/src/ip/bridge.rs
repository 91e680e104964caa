//! `bridge`.

use std::fmt::Write as _;

use podwire_dataplane::LinkKind;

use super::{Shown, no_device};
use crate::host::{Device, Fault, Host, Peer};

const ANSWERED: &str = "bridge link and bridge fdb, with show";

pub(crate) fn run(host: &Host, words: &[&str]) -> Result<String, Fault> {
    let not_modelled = || {
        let command: Vec<&str> = std::iter::once("bridge")
            .chain(words.iter().copied())
            .collect();
        Fault::not_modelled(&command, ANSWERED)
    };
    let Some((&object, rest)) = words.split_first() else {
        return Err(not_modelled());
    };
    let shown = Shown::read(rest);
    if !shown.rest.is_empty() {
        return Err(not_modelled());
    }
    if let Some(name) = shown.device.filter(|name| host.device(name).is_none()) {
        return Err(no_device(name));
    }
    let is_shown = |name: &str| shown.device.is_none_or(|device| device == name);
    match object {
        "link" | "l" => Ok(links(host, is_shown)),
        "fdb" | "f" => Ok(fdb(host, is_shown)),
        _ => Err(not_modelled()),
    }
}

/// The ports of bridges.
fn links(host: &Host, is_shown: impl Fn(&str) -> bool) -> String {
    let mut out = String::new();
    for device in host
        .devices
        .iter()
        .filter(|one| is_shown(one.link.name.as_str()))
    {
        let Some(port) = device.link.port_of else {
            continue;
        };
        let (index, title, flags) = (device.index, title(host, device), device.flags());
        let (mtu, bridge) = (device.link.mtu, port.bridge);
        // 2: a port of 10 Gbit/s, which a pair says it is.
        let _ = writeln!(
            out,
            "{index}: {title}: <{flags}> mtu {mtu} master {bridge} state forwarding priority 32 cost 2 "
        );
    }
    out
}

/// A device with the other end's number, which `bridge` takes for one of this namespace (`link_name` by
/// `ll_index_to_name`, bridge/link.c).
fn title(host: &Host, device: &Device) -> String {
    let Some(Peer::Elsewhere { index, .. }) = device.peer else {
        return device.title();
    };
    let mut devices = host.devices.iter();
    let named = devices.find(|one| one.index == index);
    named.map_or_else(
        || device.title(),
        |other| format!("{}@{}", device.link.name, other.link.name),
    )
}

/// Where Ethernet addresses are: those of VXLAN devices at other hosts, and each port's own.
fn fdb(host: &Host, is_shown: impl Fn(&str) -> bool) -> String {
    let mut out = String::new();
    for device in host
        .devices
        .iter()
        .filter(|one| is_shown(one.link.name.as_str()))
    {
        let name = device.link.name;
        if let LinkKind::Vxlan(vxlan) = &device.link.kind {
            for (mac, at) in &vxlan.fdb {
                let _ = writeln!(out, "{mac} dev {name} dst {at} self permanent");
            }
        }
        if let Some(port) = device.link.port_of {
            let (mac, bridge) = (device.link.mac, port.bridge);
            let _ = writeln!(out, "{mac} dev {name} master {bridge} permanent");
        }
    }
    out
}
