//! `ip route` and `ip rule`.

use std::fmt::Write as _;
use std::net::IpAddr;

use podwire_dataplane::{Lookup, Route, RouteKind};
use podwire_packet::{DeviceName, Family, Prefix};

use super::{Options, Shown, no_device, not_modelled};
use crate::host::{Device, Fault, Host, OperState};

pub(super) fn run(host: &Host, options: Options, words: &[&str]) -> Result<String, Fault> {
    if let Some((&"get", rest)) = words.split_first() {
        return get(host, rest);
    }
    let shown = Shown::read(words);
    if let Some(name) = shown.device.filter(|name| host.device(name).is_none()) {
        return Err(no_device(name));
    }
    let family = options.family.unwrap_or(Family::Ipv4);
    let mut wanted = None;
    let mut rest = shown.rest.iter();
    while let Some(&word) = rest.next() {
        match word {
            "table" => match rest.next() {
                Some(&("main" | "254")) => {}
                Some(&("local" | "255")) => return Ok(local(host, family)),
                _ => return Err(not_modelled(words)),
            },
            "default" => wanted = Some(Prefix::any(family)),
            "exact" | "to" => {}
            prefix => {
                let invalid = || {
                    Fault::tool(
                        format!("Error: any valid prefix is expected rather than \"{prefix}\"."),
                        1,
                    )
                };
                wanted = Some(prefix.parse().map_err(|_| invalid())?);
            }
        }
    }
    let fits = |route: &&Route| {
        Family::of(route.to.address()) == family
            && wanted.is_none_or(|wanted| wanted == route.to)
            && shown
                .device
                .is_none_or(|name| route.device.as_str() == name)
    };
    let mut out = String::new();
    if family == Family::Ipv6 {
        for device in &host.devices {
            if device.link_local().is_some() && wanted.is_none() {
                let name = device.link.name;
                let _ = writeln!(
                    out,
                    "fe80::/64 dev {name} proto kernel metric 256 pref medium"
                );
            }
        }
    }
    // The kernel lists the default route first: its table is walked in order of prefixes.
    let mut routes: Vec<&Route> = host.fib.routes().filter(fits).collect();
    routes.sort_by_key(|route| (route.to.address(), route.to.len(), route.metric));
    for route in routes {
        line(&mut out, host, route, shown.device.is_some());
    }
    Ok(out)
}

/// A route of table `main`. Behind the device's name there is always a blank.
fn line(out: &mut String, host: &Host, route: &Route, of_one_device: bool) {
    let kind = match route.kind {
        RouteKind::Unicast => "",
        RouteKind::Blackhole => "blackhole ",
        RouteKind::Unreachable => "unreachable ",
        RouteKind::Prohibit => "prohibit ",
    };
    out.push_str(kind);
    match route.to {
        to if to.is_empty() => out.push_str("default"),
        // A host of IPv4 is written without its length, of IPv6 too.
        to if to.is_host() => drop(write!(out, "{}", to.address())),
        to => drop(write!(out, "{to}")),
    }
    if let Some(via) = route.via {
        let _ = write!(out, " via {via}");
    }
    out.push(' ');
    if route.kind == RouteKind::Unicast && !of_one_device {
        let _ = write!(out, "dev {} ", route.device);
    }
    let is_ipv6 = route.to.address().is_ipv6();
    if is_connected(host, route) {
        out.push_str("proto kernel ");
    }
    if route.via.is_none() && route.kind == RouteKind::Unicast && !is_ipv6 {
        out.push_str("scope link ");
    }
    if let Some(src) = route.src {
        let _ = write!(out, "src {src} ");
    }
    match route.metric {
        0 if is_ipv6 && is_connected(host, route) => out.push_str("metric 256 "),
        0 if is_ipv6 => out.push_str("metric 1024 "),
        0 => {}
        metric => drop(write!(out, "metric {metric} ")),
    }
    if route.onlink {
        out.push_str("onlink ");
    }
    let device = host
        .devices
        .iter()
        .find(|one| one.link.name == route.device);
    if device.is_some_and(|device| device.state == OperState::Down) {
        out.push_str("linkdown ");
    }
    if is_ipv6 {
        out.push_str("pref medium");
    }
    out.push('\n');
}

/// Whether the kernel made a route for an address of the device.
fn is_connected(host: &Host, route: &Route) -> bool {
    let device = host
        .devices
        .iter()
        .find(|one| one.link.name == route.device);
    let mut networks = device.into_iter().flat_map(|device| device.link.networks());
    route.via.is_none()
        && networks.any(|(ip, network)| network == route.to && Some(ip) == route.src)
}

/// Table `local`: what is this host's own, and broadcast addresses.
fn local(host: &Host, family: Family) -> String {
    let mut lines: Vec<(IpAddr, u8, String)> = Vec::new();
    for &(own, device) in host.fib.local() {
        let address = own.address();
        let src = if device == DeviceName::LO && address.is_ipv4() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            address
        };
        let mut kept = vec![own];
        if device == DeviceName::LO && address.is_ipv4() {
            kept.push(Prefix::host(src));
        }
        for own in kept {
            let name = if own.is_host() {
                own.address().to_string()
            } else {
                own.to_string()
            };
            let text = match family {
                Family::Ipv4 => {
                    format!("local {name} dev {device} proto kernel scope host src {src} ")
                }
                Family::Ipv6 => {
                    format!("local {name} dev {device} proto kernel metric 0 pref medium")
                }
            };
            lines.push((own.address(), own.len(), text));
        }
    }
    if family == Family::Ipv4 {
        let text = "broadcast 127.255.255.255 dev lo proto kernel scope link src 127.0.0.1 ";
        lines.push((IpAddr::from([127, 255, 255, 255]), 32, text.to_owned()));
    }
    for &(broadcast, device) in host.fib.broadcast() {
        let link = host.devices.iter().find(|one| one.link.name == device);
        let source = link.and_then(|one| {
            let mut networks = one.link.networks();
            networks.find(|(_, network)| network.last() == broadcast)
        });
        if let Some((src, _)) = source {
            let text =
                format!("broadcast {broadcast} dev {device} proto kernel scope link src {src} ");
            lines.push((broadcast, 32, text));
        }
    }
    lines.retain(|(ip, ..)| Family::of(*ip) == family);
    lines.sort_by_key(|(ip, length, _)| (*ip, *length));
    lines.into_iter().map(|(.., text)| text + "\n").collect()
}

/// `ip route get ADDRESS`.
fn get(host: &Host, words: &[&str]) -> Result<String, Fault> {
    let [address] = words else {
        return Err(not_modelled(words));
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        let text = format!("Error: any valid prefix is expected rather than \"{address}\".");
        return Err(Fault::tool(text, 1));
    };
    match host.fib.lookup(address) {
        Lookup::Local(_) => Ok(format!(
            "local {address} dev lo src {address} uid 0 \n    cache <local> \n"
        )),
        Lookup::Broadcast(device) => {
            let src = source(host, device, address);
            Ok(format!(
                "broadcast {address} dev {device} src {src} uid 0 \n    cache <local,brd> \n"
            ))
        }
        Lookup::By(route) if route.kind == RouteKind::Unicast => {
            let via = route
                .via
                .map(|via| format!("via {via} "))
                .unwrap_or_default();
            let src = route.src.map_or_else(
                || source(host, route.device, route.via.unwrap_or(address)),
                |src| src.to_string(),
            );
            Ok(format!(
                "{address} {via}dev {} src {src} uid 0 \n    cache \n",
                route.device
            ))
        }
        Lookup::By(route) => {
            let why = match route.kind {
                RouteKind::Blackhole => "Invalid argument",
                RouteKind::Prohibit => "Permission denied",
                RouteKind::Unreachable | RouteKind::Unicast => "No route to host",
            };
            Err(Fault::tool(format!("RTNETLINK answers: {why}"), 2))
        }
        Lookup::None => Err(Fault::tool("RTNETLINK answers: Network is unreachable", 2)),
    }
}

/// The address that packets by a device get.
fn source(host: &Host, device: DeviceName, toward: IpAddr) -> String {
    let family = Family::of(toward);
    let of = |device: &Device| -> Vec<(IpAddr, u8)> { device.link.addresses_of(family).collect() };
    let on_device = host.devices.iter().find(|one| one.link.name == device);
    let on_device = on_device.map(of).unwrap_or_default();
    let near = on_device
        .iter()
        .find(|(ip, length)| Prefix::new(*ip, *length).contains(toward));
    let any = host
        .devices
        .iter()
        .flat_map(of)
        .find(|(ip, _)| !ip.is_loopback());
    let found = near.or(on_device.first()).copied().or(any);
    found.map_or_else(String::new, |(ip, _)| ip.to_string())
}

/// The three rules that every host has.
pub(super) fn rules(options: Options) -> String {
    match options.family.unwrap_or(Family::Ipv4) {
        Family::Ipv4 => "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n",
        Family::Ipv6 => "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n",
    }
    .to_owned()
}
