//! `ip addr`.

use std::fmt::Write as _;
use std::net::IpAddr;

use podwire_packet::{DeviceName, Family, Prefix};

use super::Options;
use super::link::{chosen, head};
use crate::host::{Device, Fault, Host};

/// Link-local addresses are of networks of this length.
const LINK_LOCAL_LEN: u8 = 64;

pub(super) fn run(host: &Host, options: Options, words: &[&str]) -> Result<String, Fault> {
    let mut out = String::new();
    for device in chosen(host, words)? {
        let addresses = addresses(device, options.family);
        // With a family, devices without an address of it are left out.
        if options.family.is_some() && addresses.is_empty() {
            continue;
        }
        if options.brief {
            let (title, state) = (device.title(), device.state);
            let _ = write!(out, "{title:<16} {state:<14} ");
            for (ip, length) in addresses {
                let _ = write!(out, "{ip}/{length} ");
            }
            out.push('\n');
        } else if options.one_line {
            for (ip, length) in addresses {
                let mut text = String::new();
                address(&mut text, device, ip, length);
                let text = text.trim_end_matches('\n').replace('\n', "\\");
                let _ = writeln!(out, "{}: {}{text}", device.index, device.link.name);
            }
        } else {
            head(&mut out, device, "", options.family.is_none());
            for (ip, length) in addresses {
                address(&mut out, device, ip, length);
            }
        }
    }
    Ok(out)
}

/// A device's addresses, those of IPv4 first, and the link-local one that IPv6 made.
fn addresses(device: &Device, family: Option<Family>) -> Vec<(IpAddr, u8)> {
    let link_local = device
        .link_local()
        .map(|ip| (IpAddr::V6(ip), LINK_LOCAL_LEN));
    let all = [Family::Ipv4, Family::Ipv6]
        .into_iter()
        .flat_map(|family| device.link.addresses_of(family))
        .chain(link_local);
    all.filter(|(ip, _)| family.is_none_or(|family| Family::of(*ip) == family))
        .collect()
}

fn address(out: &mut String, device: &Device, ip: IpAddr, length: u8) {
    let name = device.link.name;
    let network = Prefix::new(ip, length);
    let scope = if ip.is_loopback() {
        "host"
    } else if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        "link"
    } else {
        "global"
    };
    match ip {
        IpAddr::V4(_) => {
            let _ = write!(out, "    inet {ip}/{length}");
            if length < 31 && name != DeviceName::LO {
                let _ = write!(out, " brd {}", network.last());
            }
            let _ = writeln!(out, " scope {scope} {name}");
        }
        // A label is IPv4's alone; its place stays.
        IpAddr::V6(_) => drop(writeln!(out, "    inet6 {ip}/{length} scope {scope} ")),
    }
    out.push_str("       valid_lft forever preferred_lft forever\n");
}
