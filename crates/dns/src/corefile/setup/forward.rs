//! `forward FROM TO… { … }`, and `proxy` before it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::super::address::{is_domain_name, transport, zones_of};
use super::super::forward::{Forward, Policy, Upstream};
use super::super::{Refusal, Transport, go};
use super::template::rcode;
use super::{Controller, ONCE};
use crate::version::Version;

/// Upstreams of one directive.
const MOST: usize = 15;

pub(super) fn read(c: &mut Controller<'_>) -> Result<Vec<Forward>, Refusal> {
    let mut all = Vec::new();
    while c.next() {
        if !all.is_empty() && c.version < Version::new(1, 9, 4) {
            return Err(c.plain(ONCE));
        }
        let mut forward = from_to(c)?;
        while let Some(option) = c.next_option() {
            self::option(c, &option, &mut forward)?;
        }
        for upstream in &forward.to {
            let Upstream { addr, transport } = upstream;
            if !matches!(transport, Transport::Dns | Transport::Tls) {
                let scheme = transport.scheme();
                return Err(c.plain(format!(
                    "'{scheme}' is not supported as a destination protocol in forward: {scheme}://{addr}"
                )));
            }
        }
        all.push(forward);
    }
    for forward in &all {
        few_enough(c, forward)?;
    }
    Ok(all)
}

fn few_enough(c: &Controller<'_>, forward: &Forward) -> Result<(), Refusal> {
    let many = forward.to.len();
    if many > MOST {
        return Err(c.plain(format!("more than {MOST} TOs configured: {many}")));
    }
    Ok(())
}

fn from_to(c: &mut Controller<'_>) -> Result<Forward, Refusal> {
    let from = c.one_arg()?;
    let Some(zone) = zones_of(&from, c.version).into_iter().next() else {
        return Err(c.plain(format!("unable to normalize '{from}'")));
    };
    let to = c.remaining_args();
    if to.is_empty() {
        return Err(c.arg_err());
    }
    let to = upstreams(c, &to)?;
    Ok(Forward::new(zone, to))
}

fn option(c: &mut Controller<'_>, option: &str, forward: &mut Forward) -> Result<(), Refusal> {
    match option {
        "except" => {
            let zones = c.remaining_args();
            if zones.is_empty() {
                return Err(c.arg_err());
            }
            let version = c.version;
            forward
                .except
                .extend(zones.iter().flat_map(|zone| zones_of(zone, version)));
        }
        "max_fails" => forward.max_fails = number(c)?,
        "max_connect_attempts" => {
            number(c)?;
        }
        "health_check" => {
            let text = c.one_arg()?;
            let interval = c.go(go::parse_duration(&text))?;
            if interval.0 < 0 {
                let message = format!("health_check can't be negative: {}", interval.0);
                return Err(c.plain(message));
            }
            forward.health_check = interval.unsigned();
            while c.next_arg() {
                match c.val() {
                    "no_rec" => {}
                    "domain" => {
                        let domain = c.one_arg()?;
                        if !is_domain_name(&domain) {
                            let message = format!("health_check: invalid domain name {domain}");
                            return Err(c.plain(message));
                        }
                    }
                    other => return Err(c.plain(format!("health_check: unknown option {other}"))),
                }
            }
        }
        "force_tcp" => {
            c.no_args()?;
            forward.force_tcp = true;
        }
        "prefer_udp" => {
            c.no_args()?;
            forward.prefer_udp = true;
        }
        "tls" => {
            if c.remaining_args().len() > 3 {
                return Err(c.arg_err());
            }
        }
        "tls_servername" => {
            c.one_arg()?;
        }
        "expire" => {
            let text = c.one_arg()?;
            let expire = c.go(go::parse_duration(&text))?;
            if expire.0 < 0 {
                return Err(c.plain(format!("expire can't be negative: {expire}")));
            }
            forward.expire = expire.unsigned();
        }
        "policy" => {
            forward.policy = match &*c.one_arg()? {
                "random" => Policy::Random,
                "round_robin" => Policy::RoundRobin,
                "sequential" => Policy::Sequential,
                other => return Err(c.err(format!("unknown policy '{other}'"))),
            };
        }
        "max_concurrent" => {
            let text = c.one_arg()?;
            let number = c.go(go::atoi(&text))?;
            let negative = |_| c.plain(format!("max_concurrent can't be negative: {number}"));
            forward.max_concurrent = u64::try_from(number).map_err(negative)?;
        }
        "next" | "failover" => {
            let names = c.remaining_args();
            if names.is_empty() {
                return Err(c.arg_err());
            }
            for name in names {
                let invalid = || c.plain(format!("{name} is not a valid rcode"));
                let code = rcode(&name.to_uppercase()).ok_or_else(invalid)?;
                if option == "next" {
                    forward.next_on.push(code);
                } else if code == 0 {
                    return Err(c.plain("NoError cannot be used in failover"));
                }
            }
        }
        "failfast_all_unhealthy_upstreams" => {
            if !c.remaining_args().is_empty() {
                return Err(c.arg_err());
            }
        }
        _ => return Err(c.unknown_property()),
    }
    Ok(())
}

fn number(c: &mut Controller<'_>) -> Result<u32, Refusal> {
    let text = c.one_arg()?;
    c.go(go::parse_uint(&text))
}

/// `proxy FROM TO… { … }`.
pub(super) fn proxy(c: &mut Controller<'_>) -> Result<Vec<Forward>, Refusal> {
    let mut all = Vec::new();
    while c.next() {
        let mut forward = from_to(c)?;
        few_enough(c, &forward)?;
        while let Some(option) = c.next_option() {
            proxy_option(c, &option, &mut forward)?;
        }
        all.push(forward);
    }
    Ok(all)
}

fn proxy_option(c: &mut Controller<'_>, name: &str, forward: &mut Forward) -> Result<(), Refusal> {
    match name {
        "policy" => {
            forward.policy = match &*c.one_arg()? {
                "random" | "least_conn" => Policy::Random,
                "round_robin" => Policy::RoundRobin,
                "first" | "sequential" => Policy::Sequential,
                _ => return Err(c.arg_err()),
            };
        }
        "fail_timeout" => {
            let text = c.one_arg()?;
            c.go(go::parse_duration(&text))?;
        }
        "max_fails" => {
            let text = c.one_arg()?;
            c.go(go::atoi(&text))?;
        }
        "health_check" => {
            c.one_arg()?;
            // The rest of the line is an interval.
            c.remaining_args();
        }
        "except" => return option(c, name, forward),
        "spray" => {}
        "protocol" => {
            let args = c.remaining_args();
            match (args.first().map(|p| &**p), args.get(1).map(|p| &**p)) {
                (None, _) => return Err(c.arg_err()),
                (Some("dns"), Some("force_tcp")) => forward.force_tcp = true,
                (Some("dns"), Some(_)) => {
                    return Err(c.plain("only force_tcp allowed as parameter to dns"));
                }
                (Some("dns" | "https_google" | "grpc"), _) => {}
                (Some(other), _) => return Err(c.plain(format!("invalid protocol: {other}"))),
            }
        }
        _ => return Err(c.unknown_property()),
    }
    Ok(())
}

/// Addresses, and nameservers of files in the form of resolv.conf.
///
/// Source: `HostPortOrFile`, plugin/pkg/parse/host.go.
pub(super) fn upstreams(c: &Controller<'_>, to: &[Arc<str>]) -> Result<Vec<Upstream>, Refusal> {
    let mut found = Vec::new();
    for word in to {
        let (transport, host) = transport(word);
        let without_zone = |host: &str| host.rsplit_once('%').map_or(host, |(h, _)| h).to_owned();
        let parsed = match go::split_host_port(host) {
            Ok((address, port)) => {
                let address = without_zone(address).parse::<IpAddr>().ok();
                // Which port is none shows only when it is dialled.
                address.map(|ip| SocketAddr::new(ip, port.parse().unwrap_or(0)))
            }
            Err(_) => {
                let address = without_zone(host).parse::<IpAddr>().ok();
                address.map(|ip| SocketAddr::new(ip, transport.default_port()))
            }
        };
        if let Some(addr) = parsed {
            found.push(Upstream { addr, transport });
            continue;
        }
        let text = c.around.read(Path::new(host));
        let text = text.map_err(|_| c.plain(format!("not an IP address or file: {host:?}")))?;
        found.extend(nameservers(&text).map(|ip| Upstream {
            addr: SocketAddr::new(ip, 53),
            transport: Transport::Dns,
        }));
    }
    if found.is_empty() {
        return Err(c.plain("no nameservers found"));
    }
    Ok(found)
}

/// The addresses behind `nameserver` in a resolv.conf.
fn nameservers(text: &str) -> impl Iterator<Item = IpAddr> {
    let lines = text
        .lines()
        .map(|line| line.split_once(['#', ';']).map_or(line, |(l, _)| l));
    lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
    })
}
