//! portmap: ports of the host that lead to a container.
//!
//! # Departures
//! - `backend: nftables` is programmed by iptables.
//! - Connections of UDP are not forgotten: emulated namespaces have none.
//!
//! Source: plugins/meta/portmap/{main,portmap_iptables}.go of containernetworking/plugins; messages as
//! there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podwire_packet::Family;
use podwire_ruleset::TableName;
use serde::Deserialize;

use super::common::required_previous;
use crate::CniError;
use crate::host::Host;
use crate::kernel::Kernel;
use crate::protocol::Invocation;
use crate::result::{Cidr, CniResult, IpConfig};
use crate::rules::{ChainPlan, chain_name, words};

const NAT: TableName = TableName::Nat;
const TOP: &str = "CNI-HOSTPORT-DNAT";
const SET_MARK: &str = "CNI-HOSTPORT-SETMARK";
const MASQUERADE: &str = "CNI-HOSTPORT-MASQ";
/// The bit of the mark that asks for masquerading; Kubernetes has 14 and 15.
const DEFAULT_MARK_BIT: i64 = 13;
/// Ports that `-m multiport` takes.
const PORTS_OF_A_RULE: usize = 15;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Mapping {
    host_port: i64,
    container_port: i64,
    protocol: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeConf {
    port_mappings: Vec<Mapping>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    snat: Option<bool>,
    #[serde(rename = "conditionsV4")]
    conditions_v4: Vec<String>,
    #[serde(rename = "conditionsV6")]
    conditions_v6: Vec<String>,
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    runtime_config: RuntimeConf,
}

/// A configuration and whose ports it is about.
struct Request {
    conf: Conf,
    previous: Option<CniResult>,
    /// The container's first address of each family.
    addresses: Vec<Cidr>,
}

fn read(invocation: &Invocation<'_>) -> Result<Request, CniError> {
    let mut conf: Conf = crate::json::decode(&invocation.conf)
        .map_err(|why| CniError::other(format!("failed to parse network configuration: {why}")))?;
    // An option of later releases.
    conf.masq_all &= invocation.is_newer();
    let previous = invocation.net.previous()?;
    if conf.mark_masq_bit.is_some() && conf.external_set_mark_chain.is_some() {
        let why = "Cannot specify externalSetMarkChain and markMasqBit";
        return Err(CniError::other(why));
    }
    if !(0..=31).contains(&conf.mark_bit()) {
        return Err(CniError::other("MasqMarkBit must be between 0 and 31"));
    }
    for mapping in &conf.runtime_config.port_mappings {
        let ports = [
            ("container", mapping.container_port),
            ("host", mapping.host_port),
        ];
        if let Some((what, port)) = ports.into_iter().find(|(_, port)| *port <= 0) {
            let why = format!("Invalid {what} port number: {port}");
            return Err(CniError::other(why));
        }
    }
    let ifname = &invocation.env.ifname;
    let is_inside = |ip: &&IpConfig, all: &CniResult| {
        let device = ip.interface.and_then(|place| all.interfaces.get(place));
        device.is_none_or(|device| device.name == *ifname && !device.sandbox.is_empty())
    };
    let mut addresses: Vec<Cidr> = Vec::new();
    if let Some(all) = &previous {
        for ip in all.ips.iter().filter(|ip| is_inside(ip, all)) {
            let family = ip.address.family();
            if !addresses.iter().any(|own| own.family() == family) {
                addresses.push(ip.address);
            }
        }
    }
    addresses.sort_by_key(|address| address.family());
    Ok(Request {
        conf,
        previous,
        addresses,
    })
}

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let request = read(invocation)
        .map_err(|error| CniError::other(format!("failed to parse config: {error}")))?;
    let Some(previous) = request.previous else {
        return Err(CniError::other("must be called as chained plugin"));
    };
    if !request.conf.runtime_config.port_mappings.is_empty() {
        for &address in &request.addresses {
            forward(host.kernel()?, &request.conf, address, invocation)?;
        }
    }
    Ok(previous)
}

/// Programs the mappings of one address.
fn forward(
    kernel: &mut Kernel,
    conf: &Conf,
    address: Cidr,
    invocation: &Invocation<'_>,
) -> Result<(), CniError> {
    if conf.masquerades() && address.family() == Family::Ipv4 {
        // So that 127.0.0.0/8 can be translated to an address of another host.
        if let Some(device) = kernel.host_device_toward(address.ip) {
            let name = format!("net/ipv4/conf/{device}/route_localnet");
            kernel.host_mut().set_sysctl(&name, "1");
        }
    }
    let shared = conf.shared_chains();
    let own = conf.own_chain(invocation, address);
    let rules = &mut kernel.host_mut().iptables;
    rules.change(address.family(), |ipt| {
        for plan in &shared {
            plan.set_up(NAT, ipt).map_err(|error| {
                let name = &plan.name;
                CniError::other(format!("unable to create chain {name}: {error}"))
            })?;
        }
        own.set_up(NAT, ipt)
            .map_err(|error| CniError::other(format!("unable to setup DNAT: {error}")))
    })
}

pub(super) fn check(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let request = read(invocation)?;
    required_previous(invocation)?;
    if request.conf.runtime_config.port_mappings.is_empty() {
        return Ok(());
    }
    let kernel = host.kernel()?;
    for &address in &request.addresses {
        let plan = request.conf.own_chain(invocation, address);
        for family in [Family::Ipv4, Family::Ipv6] {
            // 1.1.1 looks for each address in the rules of both families.
            if family != address.family() && invocation.is_newer() {
                continue;
            }
            let rules = &mut kernel.host_mut().iptables;
            let checked = rules.change(family, |ipt| Ok(plan.check(NAT, ipt)))?;
            checked
                .map_err(|why| CniError::other(format!("could not check {family} dnat: {why}")))?;
        }
    }
    Ok(())
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let request = read(invocation)
        .map_err(|error| CniError::other(format!("failed to parse config: {error}")))?;
    if request.conf.runtime_config.port_mappings.is_empty() {
        return Ok(());
    }
    let chain = own_name(invocation);
    let rules = &mut host.kernel()?.host_mut().iptables;
    for family in [Family::Ipv4, Family::Ipv6] {
        rules.change(family, |ipt| {
            ipt.remove_chain(NAT, &[TOP], &chain);
            Ok(())
        })?;
    }
    Ok(())
}

fn own_name(invocation: &Invocation<'_>) -> String {
    chain_name("DN-", &invocation.net.name, &invocation.env.container_id)
}

/// A comment as long as iptables takes it.
fn trimmed(comment: &str) -> String {
    match comment.char_indices().nth(253) {
        Some((end, _)) if comment.len() > 255 => format!("{}...", &comment[..end]),
        _ => comment.to_owned(),
    }
}

impl Conf {
    fn masquerades(&self) -> bool {
        self.snat.unwrap_or(true)
    }

    fn mark_bit(&self) -> i64 {
        self.mark_masq_bit.unwrap_or(DEFAULT_MARK_BIT)
    }

    /// The chains that all containers use.
    fn shared_chains(&self) -> Vec<ChainPlan> {
        let mark = format!("{0:#x}/{0:#x}", 1_u32 << self.mark_bit());
        let set_mark = ChainPlan {
            name: SET_MARK.to_owned(),
            rules: vec![words(&[
                "-m",
                "comment",
                "--comment",
                "CNI portfwd masquerade mark",
                "-j",
                "MARK",
                "--set-xmark",
                &mark,
            ])],
            ..ChainPlan::default()
        };
        let masquerade = ChainPlan {
            name: MASQUERADE.to_owned(),
            rules: vec![words(&["-m", "mark", "--mark", &mark, "-j", "MASQUERADE"])],
            entry_chains: &["POSTROUTING"],
            entry_rules: vec![words(&[
                "-m",
                "comment",
                "--comment",
                "CNI portfwd requiring masquerade",
            ])],
            // Before what bridge and ptp masquerade.
            in_front: true,
        };
        let top = ChainPlan {
            name: TOP.to_owned(),
            entry_chains: &["PREROUTING", "OUTPUT"],
            entry_rules: vec![words(&["-m", "addrtype", "--dst-type", "LOCAL"])],
            ..ChainPlan::default()
        };
        if self.masquerades() && self.external_set_mark_chain.is_none() {
            vec![set_mark, masquerade, top]
        } else {
            vec![top]
        }
    }

    /// The chain of one container: marks first, then the translation of each mapping.
    fn own_chain(&self, invocation: &Invocation<'_>, address: Cidr) -> ChainPlan {
        let mappings = &self.runtime_config.port_mappings;
        let (network, id) = (&invocation.net.name, &invocation.env.container_id);
        let comment = trimmed(&format!("dnat name: \"{network}\" id: \"{id}\""));
        let conditions = match address.family() {
            Family::Ipv4 => &self.conditions_v4,
            Family::Ipv6 => &self.conditions_v6,
        };
        let mut ports: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for mapping in mappings {
            let of = ports.entry(&mapping.protocol).or_default();
            of.push(mapping.host_port.to_string());
        }
        let mut entry_rules = Vec::new();
        for (protocol, ports) in &ports {
            for some in ports.chunks(PORTS_OF_A_RULE) {
                let mut rule = words(&[
                    "-m",
                    "comment",
                    "--comment",
                    &comment,
                    "-m",
                    "multiport",
                    "-p",
                    protocol,
                    "--destination-ports",
                    &some.join(","),
                ]);
                rule.extend(conditions.iter().cloned());
                entry_rules.push(rule);
            }
        }
        let rules = mappings
            .iter()
            .flat_map(|mapping| self.rules(mapping, address));
        ChainPlan {
            name: own_name(invocation),
            rules: rules.collect(),
            entry_chains: &[TOP],
            entry_rules,
            in_front: false,
        }
    }

    fn rules(&self, mapping: &Mapping, address: Cidr) -> Vec<Vec<String>> {
        let family = address.family();
        let host_ip: Option<IpAddr> = mapping.host_ip.parse().ok();
        if !mapping.host_ip.is_empty() && host_ip.map(Family::of) != Some(family) {
            return Vec::new();
        }
        let port = mapping.host_port.to_string();
        let mut base = words(&["-p", &mapping.protocol, "--dport", &port]);
        if host_ip.is_some_and(|ip| !ip.is_unspecified()) {
            base.extend(words(&["-d", &mapping.host_ip]));
        }
        let rule = |rest: &[&str]| {
            let mut rule = base.clone();
            rule.extend(words(rest));
            rule
        };
        let mut rules = Vec::new();
        if self.masquerades() {
            let set_mark = self.external_set_mark_chain.as_deref().unwrap_or(SET_MARK);
            let own = address.to_string();
            let from = match (self.masq_all, family) {
                (true, Family::Ipv4) => "0.0.0.0/0",
                (true, Family::Ipv6) => "::/0",
                (false, _) => &own,
            };
            rules.push(rule(&["-s", from, "-j", set_mark]));
            if family == Family::Ipv4 && !self.masq_all {
                rules.push(rule(&["-s", "127.0.0.1", "-j", set_mark]));
            }
        }
        let to = match address.ip {
            IpAddr::V4(ip) => format!("{ip}:{}", mapping.container_port),
            IpAddr::V6(ip) => format!("[{ip}]:{}", mapping.container_port),
        };
        rules.push(rule(&["-j", "DNAT", "--to-destination", &to]));
        rules
    }
}
