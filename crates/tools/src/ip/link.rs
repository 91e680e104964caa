//! `ip link`.

use std::fmt::Write as _;

use podwire_dataplane::LinkKind;
use podwire_packet::MacAddr;

use super::{Options, Shown, no_device, not_modelled};
use crate::host::{Device, Fault, Host, OperState, Peer};

pub(super) fn run(host: &Host, options: Options, words: &[&str]) -> Result<String, Fault> {
    let mut out = String::new();
    for device in chosen(host, words)? {
        if options.brief {
            // `%-16s %-14s %s <%s> ` of print_linkinfo_brief.
            let (title, mac) = (device.title(), device.link.mac);
            let state = device.state;
            let flags = device.flags();
            let _ = writeln!(out, "{title:<16} {state:<14} {mac} <{flags}> ");
        } else {
            head(&mut out, device, " mode DEFAULT", true);
        }
    }
    Ok(out)
}

/// The devices that `show` is asked for.
pub(super) fn chosen<'h>(host: &'h Host, words: &[&str]) -> Result<Vec<&'h Device>, Fault> {
    let mut shown = Shown::read(words);
    if shown.device.is_none() && !shown.rest.is_empty() {
        shown.device = Some(shown.rest.remove(0));
    }
    if !shown.rest.is_empty() {
        return Err(not_modelled(words));
    }
    if let Some(name) = shown.device {
        let device = host.device(name).ok_or_else(|| no_device(name))?;
        return Ok(vec![device]);
    }
    if let Some(master) = shown.master.filter(|name| host.device(name).is_none()) {
        let text = format!("Device \"{master}\" does not exist.");
        return Err(Fault::tool(text, 1));
    }
    let fits = |device: &&Device| {
        let master = device.link.port_of.map(|port| port.bridge);
        let of_master = shown
            .master
            .is_none_or(|name| master.is_some_and(|bridge| bridge.as_str() == name));
        let of_kind = shown.kind.is_none_or(|kind| kind_of(device) == Some(kind));
        let is_up = !shown.up || device.state != OperState::Down;
        of_master && of_kind && is_up
    };
    Ok(host.devices.iter().filter(fits).collect())
}

/// The `type` of a device that the kernel made by request.
const fn kind_of(device: &Device) -> Option<&'static str> {
    match device.link.kind {
        LinkKind::Bridge => Some("bridge"),
        LinkKind::Veth => Some("veth"),
        LinkKind::Vxlan(_) => Some("vxlan"),
        LinkKind::Dummy => Some("dummy"),
        LinkKind::Nic if device.peer.is_some() => Some("veth"),
        LinkKind::Nic | LinkKind::Loopback => None,
    }
}

/// What is said of every device; `mode` stands before `group` in `ip link`, and the Ethernet address is left
/// out where a family is asked for.
pub(super) fn head(out: &mut String, device: &Device, mode: &str, with_mac: bool) {
    let Device {
        index,
        link,
        qdisc,
        state,
        ..
    } = device;
    let (title, flags, mtu) = (device.title(), device.flags(), link.mtu);
    let _ = write!(out, "{index}: {title}: <{flags}> mtu {mtu} qdisc {qdisc}");
    if let Some(port) = link.port_of {
        let _ = write!(out, " master {}", port.bridge);
    }
    let _ = write!(out, " state {state}{mode} group default");
    if let Some(length) = device.queue_length {
        let _ = write!(out, " qlen {length}");
    }
    let (kind, broadcast) = if link.kind == LinkKind::Loopback {
        ("loopback", MacAddr::default())
    } else {
        ("ether", MacAddr::BROADCAST)
    };
    if with_mac {
        let _ = write!(out, "\n    link/{kind} {} brd {broadcast}", link.mac);
    }
    if let Some(Peer::Elsewhere { netnsid, .. }) = device.peer {
        let _ = write!(out, " link-netnsid {netnsid}");
    }
    out.push('\n');
}
