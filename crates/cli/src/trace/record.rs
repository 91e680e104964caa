//! A step as people and programs read it: names and texts in place of ids.

use std::sync::Arc;

use podwire_dataplane::{Disposition, DropReason, Event, Route};
use podwire_packet::{DeviceName, Family, socket};
use podwire_ruleset::iptables::{Wording, rule_text};
use podwire_ruleset::{BaseChainRef, CtState, Hook, RejectWith, Rule, RuleId, RuleRef, Target};
use podwire_sim::{NetnsId, Step, Way, World};
use serde::Serialize;

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    pub(super) node: Arc<str>,
    pub(super) netns: Arc<str>,
    pub(super) device: Option<String>,
    pub(super) hook: Option<&'static str>,
    pub(super) table: Option<&'static str>,
    pub(super) chain: Option<String>,
    /// Number within the chain, from 1.
    pub(super) rule: Option<u32>,
    /// The rule's text, or what happened.
    pub(super) text: String,
    /// What the rule says, or a word for what happened.
    pub(super) verdict: String,
    /// The Kubernetes object that the rule comes from.
    pub(super) object: Option<String>,
}

/// Every step of a way.
pub(super) fn records<'a>(world: &'a World<'_>, way: &'a Way) -> impl Iterator<Item = Record> {
    let family = Family::of(way.sent.dst);
    way.steps
        .iter()
        .map(move |step| record(world, family, step))
}

fn record(world: &World<'_>, family: Family, step: &Step) -> Record {
    let (node, netns) = world.names(step.at);
    let blank = Record {
        node,
        netns,
        device: None,
        hook: None,
        table: None,
        chain: None,
        rule: None,
        text: String::new(),
        verdict: String::new(),
        object: None,
    };
    let on = |device: DeviceName| Some(device.to_string());
    let said = |verdict: &str, text: String| (verdict.to_owned(), text);
    let mtu = |device| {
        let mtu = world.mtu(step.at, device);
        mtu.map_or_else(String::new, |mtu| format!(" mtu {mtu}"))
    };
    let (device, hook, (verdict, text)) = match step.event {
        Event::Rule {
            hook,
            input,
            output,
            rule,
        } => {
            return of_rule(
                world,
                family,
                step.at,
                rule,
                Record {
                    device: output.or(input).and_then(on),
                    hook: Some(hook.name()),
                    ..blank
                },
            );
        }
        Event::Uncertain { rule } => {
            return Record {
                verdict: "uncertain".to_owned(),
                ..of_rule(world, family, step.at, rule, blank)
            };
        }
        Event::Policy {
            chain: BaseChainRef::Iptables { table, hook },
        } => {
            return Record {
                hook: Some(hook.name()),
                table: Some(table.name()),
                chain: Some(hook.name().to_owned()),
                text: "end of the built-in chain".to_owned(),
                verdict: "policy".to_owned(),
                ..blank
            };
        }
        Event::Policy {
            chain: BaseChainRef::Nft { .. },
        } => unreachable!("no node has nftables rules yet"),
        Event::Sent { flow } => (None, None, said("send", flow.to_string())),
        Event::Received { device } => (on(device), None, said("receive", String::new())),
        Event::Tracked { state } => (None, None, said("track", ct_state(state).to_owned())),
        Event::Translated {
            hook,
            before,
            after,
        } => (
            None,
            Some(hook),
            said("translate", format!("{before} => {after}")),
        ),
        Event::Scheduled {
            hook,
            virtual_server,
            real: (address, port),
        } => (
            None,
            Some(hook),
            said(
                "schedule",
                format!("ipvs {virtual_server} => {}", socket(address, port)),
            ),
        ),
        Event::Routed { to, route } => (
            on(route.device),
            None,
            said(
                "route",
                format!("{to}: {}{}", route_text(&route), mtu(route.device)),
            ),
        ),
        Event::RoutedLocal { to } => (None, None, said("route", format!("{to}: local"))),
        Event::Bridged { bridge, from, to } => {
            let end = |port: Option<DeviceName>| {
                port.map_or_else(|| "host".to_owned(), |port| port.to_string())
            };
            (
                on(bridge),
                None,
                said("bridge", format!("{} => {}", end(from), end(to))),
            )
        }
        Event::Forwarded { ttl } => (None, None, said("forward", format!("ttl {ttl}"))),
        Event::Encapsulated { device, outer, vni } => (
            on(device),
            None,
            said("encapsulate", format!("vxlan {vni} in {outer}")),
        ),
        Event::Decapsulated { device, vni } => (
            on(device),
            None,
            said("decapsulate", format!("vxlan {vni}")),
        ),
        Event::Transmitted { device, to } => {
            (on(device), None, said("transmit", format!("to {to}")))
        }
        Event::Delivered { flow } => (None, None, said("deliver", flow.to_string())),
    };
    Record {
        device,
        hook: hook.map(Hook::name),
        text,
        verdict,
        ..blank
    }
}

/// The node's rule of that id.
fn find_rule<T>(
    world: &World<'_>,
    family: Family,
    at: NetnsId,
    id: RuleId,
    read: impl FnOnce(&str, &Rule) -> T,
) -> Option<T> {
    let NetnsId::Node(node) = at else {
        return None;
    };
    let rules = world.rules(node).ok()?;
    let set = rules.of(family).rules();
    Some(read(set.chain_name(id)?.as_str(), set.rule(id)?))
}

fn of_rule(world: &World<'_>, family: Family, at: NetnsId, rule: RuleRef, blank: Record) -> Record {
    let RuleRef::Iptables(id) = rule else {
        unreachable!("no node has nftables rules yet")
    };
    let found = find_rule(world, family, at, id, |chain, rule| Record {
        table: Some(id.table.name()),
        chain: Some(chain.to_owned()),
        rule: Some(id.number),
        text: rule_text(rule, Wording::KubeProxy, family),
        verdict: rule
            .target
            .as_ref()
            .map_or_else(|| "continue".to_owned(), verdict),
        object: rule
            .origin
            .and_then(|origin| world.object(family, origin))
            .map(|(object, endpoint)| {
                let place = object
                    .source
                    .map(|source| format!(" ({})", world.cluster().place(source)));
                let endpoint = endpoint.map(|endpoint| format!(" {endpoint}"));
                format!(
                    "{object}{}{}",
                    endpoint.unwrap_or_default(),
                    place.unwrap_or_default()
                )
            }),
        ..blank
    });
    found.unwrap_or_else(|| unreachable!("a rule that matched is one of the node's rules"))
}

fn verdict(target: &Target) -> String {
    match target {
        Target::Accept => "ACCEPT".to_owned(),
        Target::Drop => "DROP".to_owned(),
        Target::Reject(_) => "REJECT".to_owned(),
        Target::Return => "RETURN".to_owned(),
        Target::Jump(chain) => format!("jump {chain}"),
        Target::Goto(chain) => format!("goto {chain}"),
        Target::Mark { .. } => "MARK".to_owned(),
        Target::Connmark(_) => "CONNMARK".to_owned(),
        Target::Dnat(_) => "DNAT".to_owned(),
        Target::Snat(_) => "SNAT".to_owned(),
        Target::Masquerade(_) => "MASQUERADE".to_owned(),
        Target::Redirect(_) => "REDIRECT".to_owned(),
        Target::Log(_) => "LOG".to_owned(),
        Target::Nflog(_) => "NFLOG".to_owned(),
        Target::Notrack => "NOTRACK".to_owned(),
        Target::Trace => "TRACE".to_owned(),
        Target::Checksum(_) => "CHECKSUM".to_owned(),
        Target::Tcpmss(_) => "TCPMSS".to_owned(),
        Target::Unknown(text) => text.to_string(),
    }
}

const fn ct_state(state: CtState) -> &'static str {
    match state {
        CtState::New => "NEW",
        CtState::Established => "ESTABLISHED",
        CtState::Related => "RELATED",
        CtState::Invalid => "INVALID",
        CtState::Untracked => "UNTRACKED",
    }
}

/// As `ip route` words it.
fn route_text(route: &Route) -> String {
    let to = if route.to.is_empty() {
        "default".to_owned()
    } else {
        route.to.to_string()
    };
    let via = route
        .via
        .map_or_else(String::new, |via| format!(" via {via}"));
    let onlink = if route.onlink { " onlink" } else { "" };
    format!("{to}{via} dev {}{onlink}", route.device)
}

/// Why a way ended as it did, for people; nothing where it simply arrived.
pub(super) fn reason(world: &World<'_>, way: &Way) -> Option<String> {
    let family = Family::of(way.sent.dst);
    let rule_of = |rule: RuleRef| {
        let RuleRef::Iptables(id) = rule else {
            unreachable!("no node has nftables rules yet")
        };
        find_rule(world, family, way.at, id, |chain, rule| {
            format!(
                "{}/{chain}/{}: {}",
                id.table,
                id.number,
                rule_text(rule, Wording::KubeProxy, family)
            )
        })
    };
    match way.disposition {
        Disposition::Delivered(_) => None,
        Disposition::Dropped(DropReason::Rule(id)) => {
            Some(rule_of(id).unwrap_or_else(|| "a rule says DROP".to_owned()))
        }
        Disposition::Dropped(reason) => Some(reason.to_string()),
        Disposition::Rejected { with, rule } => {
            let rule = rule.and_then(rule_of).unwrap_or_default();
            Some(format!("{rule} ({})", reject_name(with, family)))
        }
        Disposition::Refused => Some(format!("nobody listens for {}", way.arrived)),
        Disposition::Unroutable(why) => Some(why.to_string()),
        Disposition::Mtu { device, mtu } => Some(format!("larger than the MTU of {device}, {mtu}")),
        Disposition::Ttl => Some("its TTL ran out".to_owned()),
    }
}

/// As `--reject-with` names it.
const fn reject_name(with: RejectWith, family: Family) -> &'static str {
    match (with, family) {
        (RejectWith::NetUnreachable, Family::Ipv4) => "icmp-net-unreachable",
        (RejectWith::NetUnreachable, Family::Ipv6) => "icmp6-no-route",
        (RejectWith::HostUnreachable, Family::Ipv4) => "icmp-host-unreachable",
        (RejectWith::HostUnreachable, Family::Ipv6) => "icmp6-addr-unreachable",
        (RejectWith::ProtoUnreachable, _) => "icmp-proto-unreachable",
        (RejectWith::PortUnreachable, Family::Ipv4) => "icmp-port-unreachable",
        (RejectWith::PortUnreachable, Family::Ipv6) => "icmp6-port-unreachable",
        (RejectWith::NetProhibited, _) => "icmp-net-prohibited",
        (RejectWith::HostProhibited, _) => "icmp-host-prohibited",
        (RejectWith::AdminProhibited, Family::Ipv4) => "icmp-admin-prohibited",
        (RejectWith::AdminProhibited, Family::Ipv6) => "icmp6-adm-prohibited",
        (RejectWith::TcpReset, _) => "tcp-reset",
        (RejectWith::PolicyFail, _) => "icmp6-policy-fail",
        (RejectWith::RejectRoute, _) => "icmp6-reject-route",
    }
}
