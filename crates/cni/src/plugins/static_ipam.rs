//! static: the addresses that the configuration names.
//!
//! Source: plugins/ipam/static/main.go of containernetworking/plugins; messages as there.

use std::net::IpAddr;

use podwire_packet::Family;
use serde::Deserialize;

use super::common::required_previous;
use crate::host::Host;
use crate::json;
use crate::protocol::Invocation;
use crate::result::{Cidr, CniResult, Dns, IpConfig, RouteConf};
use crate::version::at_least;
use crate::{CniError, args};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    address: String,
    #[serde(deserialize_with = "json::address")]
    gateway: Option<IpAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IpamConf {
    routes: Vec<RouteConf>,
    addresses: Vec<Address>,
    dns: Dns,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ips {
    ips: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: Ips,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    ipam: Option<IpamConf>,
    runtime_config: Ips,
    args: Args,
}

fn read(invocation: &Invocation<'_>) -> Result<CniResult, CniError> {
    let conf: Conf = json::decode(&invocation.conf).map_err(CniError::other)?;
    let Some(mut ipam) = conf.ipam else {
        return Err(CniError::other("IPAM config missing 'ipam' key"));
    };
    let cidr = |text: &str| {
        let parsed: Result<Cidr, String> = text.parse();
        parsed.map_err(|why| CniError::other(format!("invalid CIDR {text}: {why}")))
    };
    let from_env = args::load(&invocation.env.args, &["IP", "GATEWAY"])?;
    let listed = |key: &str| {
        let list = from_env.get(key).filter(|list| !list.is_empty());
        let items = list.into_iter().flat_map(|list| list.split(','));
        items.map(str::trim).collect::<Vec<_>>()
    };
    for item in listed("IP") {
        cidr(item)?;
        ipam.addresses.push(Address {
            address: item.to_owned(),
            gateway: None,
        });
    }
    for item in listed("GATEWAY") {
        let Ok(gateway) = item.parse::<IpAddr>() else {
            return Err(CniError::other(format!("invalid gateway address: {item}")));
        };
        for address in &mut ipam.addresses {
            let network = address.address.parse::<Cidr>().map(Cidr::network);
            if network.is_ok_and(|network| network.contains(gateway)) {
                address.gateway = Some(gateway);
            }
        }
    }
    for told in [conf.args.cni.ips, conf.runtime_config.ips] {
        if !told.is_empty() {
            let only = |address| Address {
                address,
                gateway: None,
            };
            ipam.addresses = told.into_iter().map(only).collect();
        }
    }
    let mut ips = Vec::new();
    for own in &ipam.addresses {
        ips.push(IpConfig {
            interface: None,
            address: cidr(&own.address)?,
            gateway: own.gateway,
        });
    }
    let version = &invocation.net.cni_version;
    let of = |family| {
        ips.iter()
            .filter(|ip| ip.address.family() == family)
            .count()
    };
    if (of(Family::Ipv4) > 1 || of(Family::Ipv6) > 1)
        && !at_least(version, "0.3.0").unwrap_or_default()
    {
        return Err(CniError::other(format!(
            "CNI version {version} does not support more than 1 address per family"
        )));
    }
    Ok(CniResult {
        ips,
        routes: ipam.routes,
        dns: ipam.dns,
        ..CniResult::default()
    })
}

pub(super) fn add(invocation: &Invocation<'_>, _: &mut Host<'_>) -> Result<CniResult, CniError> {
    read(invocation)
}

pub(super) fn check(invocation: &Invocation<'_>, _: &mut Host<'_>) -> Result<(), CniError> {
    let wanted = read(invocation)?;
    let previous = required_previous(invocation)?;
    for own in &wanted.ips {
        let same = |ip: &&IpConfig| ip.address.ip == own.address.ip;
        if let Some(found) = previous.ips.iter().find(same)
            && own.gateway.is_some()
            && own.gateway != found.gateway
        {
            let (ip, device) = (found.address.ip, &invocation.env.ifname);
            let why = format!("static: Failed to match addr {ip} on interface {device}");
            return Err(CniError::other(why));
        }
    }
    Ok(())
}
