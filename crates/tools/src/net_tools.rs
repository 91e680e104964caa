//! `arp`, `route`, `ifconfig` and `hostname`.

use std::fmt::Write as _;
use std::net::IpAddr;

use podwire_dataplane::{LinkKind, Route, RouteKind};
use podwire_packet::{Family, Prefix};

use crate::host::{Device, Fault, Host, OperState};

/// `arp [-n] [-a] [-i DEVICE] [HOST]`.
pub(crate) fn arp(host: &Host, words: &[&str]) -> Result<String, Fault> {
    let (mut device, mut asked, mut numeric, mut bsd) = (None, None, false, false);
    let mut words_left = words.iter().copied();
    while let Some(word) = words_left.next() {
        match word {
            "-n" => numeric = true,
            "-a" => bsd = true,
            "-an" | "-na" => (bsd, numeric) = (true, true),
            "-i" => device = words_left.next(),
            "-e" => {}
            name if !name.starts_with('-') && asked.is_none() => asked = Some(name),
            _ => {
                return Err(not_modelled(
                    "arp",
                    words,
                    "arp [-n] [-a] [-i DEVICE] [HOST]",
                ));
            }
        }
    }
    let wanted: Option<IpAddr> = match asked {
        None => None,
        Some(name) => Some(match name.parse() {
            Ok(ip) => ip,
            Err(_) => host
                .names
                .get(name)
                .copied()
                .ok_or_else(|| Fault::tool(format!("{name}: Unknown host"), 255))?,
        }),
    };
    let found = host.neighbors.iter().filter(|one| {
        one.address.is_ipv4()
            && wanted.is_none_or(|ip| ip == one.address)
            && device.is_none_or(|name| one.device.as_str() == name)
    });
    let mut out = String::new();
    for neighbor in found {
        if bsd {
            let mut names = host.names.iter().filter(|_| !numeric);
            let name = names.find(|(_, ip)| **ip == neighbor.address);
            let name = name.map_or("?", |(name, _)| name);
            let state = if neighbor.permanent { " PERM" } else { "" };
            let (address, mac, device) = (neighbor.address, neighbor.mac, neighbor.device);
            let _ = writeln!(
                out,
                "{name} ({address}) at {mac} [ether]{state} on {device}"
            );
            continue;
        }
        if out.is_empty() {
            out.push_str("Address                  HWtype  HWaddress           Flags Mask            Iface\n");
        }
        let name = host.names.iter().find(|(_, ip)| **ip == neighbor.address);
        let by_name = !numeric && asked.is_none();
        let title = match name.filter(|_| by_name) {
            Some((name, _)) => name.clone(),
            None => neighbor.address.to_string(),
        };
        // C: complete; M: permanent.
        let flags = if neighbor.permanent { "CM" } else { "C" };
        let (mac, device) = (neighbor.mac.to_string(), neighbor.device);
        let _ = writeln!(out, "{title:<23}  ether   {mac:<18}  {flags:<21} {device}");
    }
    match (asked, out.is_empty()) {
        // The tool counts what it looked through.
        (Some(_), true) if bsd => Err(not_modelled(
            "arp",
            words,
            "arp -a with a HOST that is known",
        )),
        (Some(name), true) => {
            let ip = wanted.map_or_else(|| name.to_owned(), |ip| ip.to_string());
            Ok(format!("{name} ({ip}) -- no entry\n"))
        }
        _ => Ok(out),
    }
}

/// `route [-n]`.
pub(crate) fn route(host: &Host, words: &[&str]) -> Result<String, Fault> {
    if words.iter().any(|word| *word != "-n") {
        return Err(not_modelled("route", words, "route [-n]"));
    }
    let numeric = words.contains(&"-n");
    let mut out = String::from(
        "Kernel IP routing table\nDestination     Gateway         Genmask         Flags Metric Ref    Use Iface\n",
    );
    let mut routes: Vec<&Route> = host
        .fib
        .routes()
        .filter(|one| one.to.address().is_ipv4())
        .collect();
    routes.sort_by_key(|route| (route.to.address(), route.to.len(), route.metric));
    for route in routes {
        let to = match route.to {
            to if to.is_empty() && !numeric => "default".to_owned(),
            to => to.address().to_string(),
        };
        let via = route.via.unwrap_or(Family::Ipv4.unspecified());
        let mask = route.to.mask();
        let mut flags = String::from(if route.kind == RouteKind::Unicast {
            "U"
        } else {
            "!"
        });
        if route.via.is_some() {
            flags.push('G');
        }
        if route.to.is_host() {
            flags.push('H');
        }
        let (metric, device) = (route.metric, route.device);
        let _ = writeln!(
            out,
            "{to:<15} {via:<15} {mask:<15} {flags:<5} {metric:<6} 0        0 {device}"
        );
    }
    Ok(out)
}

/// `ifconfig [-a] [DEVICE]`.
pub(crate) fn ifconfig(host: &Host, words: &[&str]) -> Result<String, Fault> {
    let mut names = words.iter().filter(|word| **word != "-a");
    let name = names.next();
    if names.next().is_some() || name.is_some_and(|name| name.starts_with('-')) {
        return Err(not_modelled("ifconfig", words, "ifconfig [-a] [DEVICE]"));
    }
    if let Some(&name) = name {
        let device = host.device(name).ok_or_else(|| {
            let text = format!("{name}: error fetching interface information: Device not found");
            Fault::tool(text, 1)
        })?;
        return Ok(device_paragraph(device));
    }
    let all = words.contains(&"-a");
    let is_up = |one: &&Device| all || one.link.kind != LinkKind::Dummy;
    let mut devices: Vec<&Device> = host.devices.iter().filter(is_up).collect();
    // In order of names, as the kernel's old list is sorted by the tool.
    devices.sort_by_key(|device| device.link.name.to_string());
    Ok(devices.into_iter().map(device_paragraph).collect())
}

fn device_paragraph(device: &Device) -> String {
    let link = &device.link;
    let is_loopback = link.kind == LinkKind::Loopback;
    let (number, flags) = match (is_loopback, device.state, &link.kind) {
        (true, ..) => (73, "UP,LOOPBACK,RUNNING"),
        (_, OperState::Down, LinkKind::Dummy) => (130, "BROADCAST,NOARP"),
        (_, OperState::Down, _) => (4_099, "UP,BROADCAST,MULTICAST"),
        (_, OperState::Up | OperState::Unknown, _) => (4_163, "UP,BROADCAST,RUNNING,MULTICAST"),
    };
    let mut out = format!("{}: flags={number}<{flags}>  mtu {}\n", link.name, link.mtu);
    for (ip, length) in link.addresses_of(Family::Ipv4) {
        let network = Prefix::new(ip, length);
        let _ = write!(out, "        inet {ip}  netmask {}", network.mask());
        if !is_loopback {
            let broadcast = if length < 31 {
                network.last()
            } else {
                Family::Ipv4.unspecified()
            };
            let _ = write!(out, "  broadcast {broadcast}");
        }
        out.push('\n');
    }
    let link_local = device.link_local().map(|ip| (IpAddr::V6(ip), 64));
    for (ip, length) in link.addresses_of(Family::Ipv6).chain(link_local) {
        let scope = match ip {
            ip if ip.is_loopback() => "0x10<host>",
            IpAddr::V6(v6) if v6.is_unicast_link_local() => "0x20<link>",
            IpAddr::V4(_) | IpAddr::V6(_) => "0x0<global>",
        };
        let _ = writeln!(
            out,
            "        inet6 {ip}  prefixlen {length}  scopeid {scope}"
        );
    }
    let queue = device.queue_length.unwrap_or(0);
    if is_loopback {
        let _ = writeln!(out, "        loop  txqueuelen {queue}  (Local Loopback)");
    } else {
        let _ = writeln!(
            out,
            "        ether {}  txqueuelen {queue}  (Ethernet)",
            link.mac
        );
    }
    for direction in ["RX", "TX"] {
        let last = match direction {
            "RX" => "frame 0",
            _ => "carrier 0  collisions 0",
        };
        let _ = writeln!(out, "        {direction} packets 0  bytes 0 (0.0 B)");
        let _ = writeln!(
            out,
            "        {direction} errors 0  dropped 0  overruns 0  {last}"
        );
    }
    out.push('\n');
    out
}

fn not_modelled(tool: &str, words: &[&str], answered: &'static str) -> Fault {
    let command: Vec<&str> = std::iter::once(tool).chain(words.iter().copied()).collect();
    Fault::not_modelled(&command, answered)
}

/// `hostname [-I]`: the name, or the addresses that are neither of the loopback device nor link-local.
pub(crate) fn hostname(host: &Host, words: &[&str]) -> Result<String, Fault> {
    match words {
        [] => Ok(format!("{}\n", host.name)),
        ["-I" | "--all-ip-addresses"] => {
            let mut out = String::new();
            let is_up = |device: &&Device| device.flags().split(',').any(|flag| flag == "UP");
            // The kernel lists addresses family by family.
            for family in [Family::Ipv4, Family::Ipv6] {
                let devices = host.devices.iter().filter(is_up);
                let addresses = devices.flat_map(|device| device.link.addresses_of(family));
                for (ip, _) in addresses.filter(|(ip, _)| !ip.is_loopback()) {
                    let _ = write!(out, "{ip} ");
                }
            }
            Ok(out + "\n")
        }
        _ => Err(Fault::not_modelled(&["hostname"], "hostname [-I]")),
    }
}
