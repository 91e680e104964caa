//! firewall: lets packets of a container through chain FORWARD.
//!
//! # Departures
//! - There is no firewalld; `backend: firewalld` is programmed by iptables.
//! - `ingressPolicy: isolated` is not known.
//!
//! Source: plugins/meta/firewall/{firewall,iptables,ingresspolicy}.go of containernetworking/plugins; messages as there.

use podwire_packet::Family;
use podwire_ruleset::TableName;
use serde::Deserialize;

use crate::CniError;
use crate::host::Host;
use crate::protocol::Invocation;
use crate::result::CniResult;
use crate::rules::{Iptables, words};

const FILTER: TableName = TableName::Filter;
const PRIVATE: &str = "CNI-FORWARD";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    iptables_admin_chain_name: String,
    ingress_policy: String,
}

impl Conf {
    fn admin_chain(&self) -> &str {
        if self.iptables_admin_chain_name.is_empty() {
            "CNI-ADMIN"
        } else {
            &self.iptables_admin_chain_name
        }
    }
}

fn previous(invocation: &Invocation<'_>) -> Result<CniResult, CniError> {
    let previous = invocation.net.previous()?;
    previous.ok_or_else(|| CniError::other("missing prevResult from earlier plugin"))
}

/// The rules of the container's addresses of a family.
fn rules(result: &CniResult, family: Family) -> Vec<Vec<String>> {
    let of_family = result.ips.iter().filter(|ip| ip.address.family() == family);
    let pair = |ip: &crate::result::IpConfig| {
        let host = format!("{}/{}", ip.address.ip, family.bits());
        [
            words(&[
                "-d",
                &host,
                "-m",
                "conntrack",
                "--ctstate",
                "RELATED,ESTABLISHED",
                "-j",
                "ACCEPT",
            ]),
            words(&["-s", &host, "-j", "ACCEPT"]),
        ]
    };
    of_family.flat_map(pair).collect()
}

fn jump(comment: &str, chain: &str) -> Vec<String> {
    words(&["-m", "comment", "--comment", comment, "-j", chain])
}

/// The rules by which packets come to the private chain, and from there to the administrator's.
fn entries(admin: &str) -> [(&'static str, Vec<String>); 2] {
    [
        ("FORWARD", jump("CNI firewall plugin rules", PRIVATE)),
        (PRIVATE, jump("CNI firewall plugin admin overrides", admin)),
    ]
}

pub(super) fn add(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<CniResult, CniError> {
    let conf: Conf = invocation.decode()?;
    let result = previous(invocation)?;
    for family in [Family::Ipv4, Family::Ipv6] {
        let rules = rules(&result, family);
        if rules.is_empty() {
            continue;
        }
        let set_up = |ipt: &mut Iptables| {
            ipt.ensure_chain(FILTER, PRIVATE);
            ipt.ensure_chain(FILTER, conf.admin_chain());
            for (chain, entry) in entries(conf.admin_chain()) {
                ipt.add_unique(FILTER, chain, true, &entry)?;
            }
            for rule in &rules {
                ipt.add_unique(FILTER, PRIVATE, false, rule)?;
            }
            Ok(())
        };
        host.kernel()?.host_mut().iptables.change(family, set_up)?;
    }
    isolate(&conf, &result, host)?;
    Ok(result)
}

const STAGE_1: &str = "CNI-ISOLATION-STAGE-1";
const STAGE_2: &str = "CNI-ISOLATION-STAGE-2";

/// `ingressPolicy: same-bridge`: drops what comes from one bridge and goes to another.
fn isolate(conf: &Conf, result: &CniResult, host: &mut Host<'_>) -> Result<(), CniError> {
    let policy = conf.ingress_policy.as_str();
    match policy {
        "" | "open" => return Ok(()),
        "same-bridge" => {}
        _ => {
            return Err(CniError::other(format!(
                "unknown ingress policy: {policy:?}"
            )));
        }
    }
    let Some(bridge) = result.interfaces.first().map(|first| first.name.as_str()) else {
        return Err(CniError::other(format!(
            "interface needs to be set for ingress policy {policy:?}, make sure to chain \
             \"firewall\" plugin with \"bridge\""
        )));
    };
    let commented = |rule: &[&str]| {
        let comment = "CNI firewall plugin rules (ingressPolicy: same-bridge)";
        let mut rule = words(rule);
        rule.extend(words(&["-m", "comment", "--comment", comment]));
        rule
    };
    for family in [Family::Ipv4, Family::Ipv6] {
        if rules(result, family).is_empty() {
            continue;
        }
        host.kernel()?.host_mut().iptables.change(family, |ipt| {
            ipt.ensure_chain(FILTER, STAGE_1);
            ipt.ensure_chain(FILTER, STAGE_2);
            let from_bridge = ["-i", bridge, "!", "-o", bridge, "-j", STAGE_2];
            let to_bridge = ["-o", bridge, "-j", "DROP"];
            let entries: [(&str, bool, &[&str]); 5] = [
                ("FORWARD", true, &["-j", STAGE_1]),
                (STAGE_1, true, &from_bridge),
                (STAGE_1, false, &["-j", "RETURN"]),
                (STAGE_2, true, &to_bridge),
                (STAGE_2, false, &["-j", "RETURN"]),
            ];
            entries.iter().try_for_each(|(chain, first, rule)| {
                ipt.add_unique(FILTER, chain, *first, &commented(rule))
            })
        })?;
    }
    Ok(())
}

pub(super) fn check(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let conf: Conf = invocation.decode()?;
    let result = previous(invocation)?;
    for family in [Family::Ipv4, Family::Ipv6] {
        let rules = rules(&result, family);
        if rules.is_empty() {
            continue;
        }
        let missing = |ipt: &mut Iptables| {
            for (chain, entry) in entries(conf.admin_chain()) {
                if !ipt.exists(FILTER, chain, &entry)? {
                    return Ok(Some(format!("{chain} rule [{}]", entry.join(" "))));
                }
            }
            for rule in &rules {
                if !ipt.exists(FILTER, PRIVATE, rule)? {
                    return Ok(Some(format!("rule [{}]", rule.join(" "))));
                }
            }
            Ok(None)
        };
        let missing = host.kernel()?.host_mut().iptables.change(family, missing)?;
        if let Some(missing) = missing {
            return Err(CniError::other(format!("expected {missing} not found")));
        }
    }
    Ok(())
}

pub(super) fn del(invocation: &Invocation<'_>, host: &mut Host<'_>) -> Result<(), CniError> {
    let Some(result) = invocation.net.previous()? else {
        return Ok(());
    };
    for family in [Family::Ipv4, Family::Ipv6] {
        let rules = rules(&result, family);
        host.kernel()?.host_mut().iptables.change(family, |ipt| {
            rules
                .iter()
                .try_for_each(|rule| ipt.delete(FILTER, PRIVATE, rule))
        })?;
    }
    Ok(())
}
