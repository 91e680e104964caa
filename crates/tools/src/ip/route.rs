//! `ip route` and `ip rule`.

use std::fmt::Write as _;
use std::net::IpAddr;

use podwire_dataplane::{Lookup, Route, RouteKind, select_address};
use podwire_packet::{DeviceName, Family, Prefix};

use super::{Options, Shown, cannot_find, not_modelled};
use crate::host::{Device, Fault, Host, OperState};

pub(super) fn run(host: &Host, options: Options, words: &[&str]) -> Result<String, Fault> {
    if let Some((&"get", rest)) = words.split_first() {
        return get(host, rest);
    }
    let shown = Shown::read(words);
    if let Some(name) = shown.device.filter(|name| host.device(name).is_none()) {
        return Err(cannot_find(name));
    }
    let family = options.family.unwrap_or(Family::Ipv4);
    let mut filter = Filter {
        device: shown.device,
        ..Filter::default()
    };
    filter.kind = match shown.kind {
        None => None,
        Some("unicast") => Some(RouteKind::Unicast),
        Some("blackhole") => Some(RouteKind::Blackhole),
        Some("unreachable") => Some(RouteKind::Unreachable),
        Some("prohibit") => Some(RouteKind::Prohibit),
        Some(_) => return Err(not_modelled(words)),
    };
    let mut is_local = false;
    let mut rest = shown.rest.iter().copied();
    while let Some(mut word) = rest.next() {
        // Without `match` or `root` the prefix is the route's own.
        let mut place = &mut filter.exact;
        if word == "to" {
            word = rest.next().unwrap_or_default();
        }
        match word {
            "match" | "root" | "exact" => {
                if word == "match" {
                    place = &mut filter.matching;
                } else if word == "root" {
                    place = &mut filter.root;
                }
                word = rest.next().unwrap_or_default();
            }
            "table" | "proto" | "protocol" | "scope" | "via" | "src" => {
                let value = rest.next().unwrap_or_default();
                match (word, value) {
                    ("table", "main" | "254") => {}
                    ("table", "local" | "255") => is_local = true,
                    ("proto" | "protocol", "kernel" | "2") => filter.proto = Some(Proto::Kernel),
                    ("proto" | "protocol", "boot" | "3") => filter.proto = Some(Proto::Boot),
                    ("scope", "link" | "253") if family == Family::Ipv4 => {
                        filter.scope = Some(Scope::Link);
                    }
                    ("scope", "global" | "universe" | "0") if family == Family::Ipv4 => {
                        filter.scope = Some(Scope::Global);
                    }
                    ("via", ip) => filter.via = Some(ip.parse().map_err(|_| not_modelled(words))?),
                    ("src", ip) => filter.src = Some(ip.parse().map_err(|_| not_modelled(words))?),
                    _ => return Err(not_modelled(words)),
                }
                continue;
            }
            "cache" | "cached" | "tos" | "dsfield" | "metric" | "oif" | "iif" | "realms"
            | "mark" | "vrf" | "from" | "nhid" => return Err(not_modelled(words)),
            _ => {}
        }
        *place = Some(prefix(word, family).ok_or_else(|| {
            // The tool takes `10.1` for 10.1.0.0/16.
            if word.is_empty() || word.starts_with(|first: char| first.is_ascii_digit()) {
                not_modelled(words)
            } else {
                invalid(word)
            }
        })?);
    }
    if is_local {
        let filtered = filter != Filter::default();
        return if filtered {
            Err(not_modelled(words))
        } else {
            Ok(local(host, family))
        };
    }
    let mut out = String::new();
    // The kernel lists the default route first: its table is walked in order of prefixes.
    let routes = host.fib.routes();
    let routes = routes.filter(|route| Family::of(route.to.address()) == family);
    let mut routes: Vec<&Route> = routes.filter(|route| filter.fits(host, route)).collect();
    routes.sort_by_key(|route| (route.to.address(), route.to.len(), route.metric));
    if family == Family::Ipv6 {
        for device in &host.devices {
            if device.link_local().is_some() && filter.fits_link_local(device) {
                out.push_str("fe80::/64 ");
                if filter.device.is_none() {
                    let _ = write!(out, "dev {} ", device.link.name);
                }
                if filter.proto.is_none() {
                    out.push_str("proto kernel ");
                }
                out.push_str("metric 256 pref medium\n");
            }
        }
    }
    for route in routes {
        line(&mut out, host, route, &filter);
    }
    Ok(out)
}

fn prefix(text: &str, family: Family) -> Option<Prefix> {
    match text {
        "default" | "any" | "all" => Some(Prefix::any(family)),
        text => text.parse().ok(),
    }
}

fn invalid(prefix: &str) -> Fault {
    let text = format!("Error: any valid prefix is expected rather than \"{prefix}\".");
    Fault::tool(text, 1)
}

/// Who made a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proto {
    Kernel,
    Boot,
}

/// How far off a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Link,
    Global,
}

/// Which routes are shown. What all of them have in common is not printed (`print_route`, iproute.c).
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter<'w> {
    device: Option<&'w str>,
    kind: Option<RouteKind>,
    exact: Option<Prefix>,
    /// Routes that hold this one.
    matching: Option<Prefix>,
    /// Routes inside of this one.
    root: Option<Prefix>,
    proto: Option<Proto>,
    scope: Option<Scope>,
    via: Option<IpAddr>,
    src: Option<IpAddr>,
}

impl Filter<'_> {
    fn fits(&self, host: &Host, route: &Route) -> bool {
        let holds =
            |one: Prefix, other: Prefix| one.len() <= other.len() && one.contains(other.address());
        let (name, to) = (route.device.as_str(), route.to);
        self.device.is_none_or(|device| device == name)
            && self.kind.is_none_or(|kind| kind == route.kind)
            && self.exact.is_none_or(|exact| exact == to)
            && self.matching.is_none_or(|inner| holds(to, inner))
            && self.root.is_none_or(|outer| holds(outer, to))
            && self
                .proto
                .is_none_or(|proto| proto == proto_of(host, route))
            && self.scope.is_none_or(|scope| scope == scope_of(route))
            && self.via.is_none_or(|via| route.via == Some(via))
            && self.src.is_none_or(|src| route.src == Some(src))
    }

    /// Whether it shows the network of link-local addresses of a device.
    fn fits_link_local(&self, device: &Device) -> bool {
        let others = Self {
            device: None,
            proto: None,
            ..*self
        };
        others == Self::default()
            && self.proto != Some(Proto::Boot)
            && self
                .device
                .is_none_or(|name| device.link.name.as_str() == name)
    }
}

fn proto_of(host: &Host, route: &Route) -> Proto {
    if is_connected(host, route) {
        Proto::Kernel
    } else {
        Proto::Boot
    }
}

fn scope_of(route: &Route) -> Scope {
    if route.via.is_none() && route.kind == RouteKind::Unicast {
        Scope::Link
    } else {
        Scope::Global
    }
}

/// A route of table `main`. Behind the device's name there is always a blank.
fn line(out: &mut String, host: &Host, route: &Route, filter: &Filter<'_>) {
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
    if let Some(via) = route.via.filter(|_| filter.via.is_none()) {
        let _ = write!(out, " via {via}");
    }
    out.push(' ');
    if route.kind == RouteKind::Unicast && filter.device.is_none() {
        let _ = write!(out, "dev {} ", route.device);
    }
    let is_ipv6 = route.to.address().is_ipv6();
    if proto_of(host, route) == Proto::Kernel && filter.proto.is_none() {
        out.push_str("proto kernel ");
    }
    if scope_of(route) == Scope::Link && filter.scope.is_none() && !is_ipv6 {
        out.push_str("scope link ");
    }
    if let Some(src) = route.src.filter(|_| filter.src.is_none()) {
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
        return Err(invalid(address));
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
    let links = host.devices.iter().map(|device| &device.link);
    let found = select_address(links, device, toward);
    found.map_or_else(String::new, |ip| ip.to_string())
}

/// The three rules that every host has.
pub(super) fn rules(options: Options) -> String {
    match options.family.unwrap_or(Family::Ipv4) {
        Family::Ipv4 => "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n",
        Family::Ipv6 => "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n",
    }
    .to_owned()
}
