//! A step as people and programs read it: names and texts in place of ids.

use std::sync::Arc;

use podwire_controlplane::network_policy::Traffic;
use podwire_dataplane::{Disposition, DropReason, Event, Route};
use podwire_packet::{DeviceName, Family, FiveTuple, socket};
use podwire_ruleset::{BaseChainRef, CtState, Hook, RejectWith, RuleRef};
use podwire_sim::{NetnsId, Step, Way, World};
use serde::Serialize;

use super::rule::{Named, Spoken, base_chain, isolation_text, object_text, policy_text};

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    pub(super) node: Arc<str>,
    pub(super) netns: Arc<str>,
    pub(super) device: Option<String>,
    pub(super) hook: Option<&'static str>,
    /// `nat` of iptables, `ip kube-proxy` of nftables.
    pub(super) table: Option<String>,
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
        .map(move |step| record(world, family, step, way.arrived))
}

/// A step; `last` is the flow as it was last, which is what rules dropped.
fn record(world: &World<'_>, family: Family, step: &Step, last: FiveTuple) -> Record {
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
            found,
        } => {
            return of_rule(
                world,
                family,
                step.at,
                ((rule, found), last),
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
                ..of_rule(world, family, step.at, ((rule, None), last), blank)
            };
        }
        Event::Policy { chain } => {
            let (table, name) = base_chain(world, family, step.at, chain);
            return Record {
                hook: Some(chain.hook().name()),
                table: Some(table),
                chain: Some(name),
                text: match chain {
                    BaseChainRef::Iptables { .. } => "end of the built-in chain",
                    BaseChainRef::Nft { .. } => "end of the base chain",
                }
                .to_owned(),
                verdict: "policy".to_owned(),
                ..blank
            };
        }
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
        Event::Proxied { flow, to, origin } => {
            let (address, port) = to;
            return Record {
                verdict: "proxy".to_owned(),
                text: format!("{flow} => {}", socket(address, port)),
                object: object_text(world, family, origin),
                ..blank
            };
        }
    };
    Record {
        device,
        hook: hook.map(Hook::name),
        text,
        verdict,
        ..blank
    }
}

fn of_rule(
    world: &World<'_>,
    family: Family,
    at: NetnsId,
    (rule, last): (Spoken, FiveTuple),
    blank: Record,
) -> Record {
    let named = Named::of(world, family, at, rule)
        .unwrap_or_else(|| unreachable!("a rule that matched is one of the node's rules"));
    let object = named.origin.and_then(|origin| {
        isolation_text(world, origin, last).or_else(|| object_text(world, family, origin))
    });
    Record {
        table: Some(named.table),
        chain: Some(named.chain),
        rule: Some(named.number),
        text: named.text,
        verdict: named.verdict,
        object,
        ..blank
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
pub(crate) fn reason(world: &World<'_>, way: &Way) -> Option<String> {
    let family = Family::of(way.sent.dst);
    let rule_of = |rule: RuleRef| {
        let found = way.steps.iter().rev().find_map(|step| {
            if let Event::Rule {
                rule: of, found, ..
            } = step.event
            {
                (of == rule).then_some(found)
            } else {
                None
            }
        });
        let found = found.flatten();
        Named::of(world, family, way.at, (rule, found)).map(|rule| {
            let Named {
                table,
                chain,
                number,
                text,
                verdict,
                origin,
            } = rule;
            // A map's verdict does not stand in the rule.
            let of_map = found.map(|_| {
                let object = origin.and_then(|origin| object_text(world, family, origin));
                let object = object.map_or_else(String::new, |object| format!(" of {object}"));
                format!(", where the element{object} says {verdict}")
            });
            let of_policies = origin.and_then(|origin| {
                let policies = isolation_text(world, origin, way.arrived)?;
                Some(format!(", as it is not let through by {policies}"))
            });
            format!(
                "{table}/{chain}/{number}: {text}{}",
                of_map.or(of_policies).unwrap_or_default()
            )
        })
    };
    match way.disposition {
        Disposition::Delivered(_) => None,
        Disposition::Dropped(DropReason::Rule(id)) => {
            Some(rule_of(id).unwrap_or_else(|| "a rule says DROP".to_owned()))
        }
        Disposition::Dropped(DropReason::Policy(chain @ BaseChainRef::Nft { .. })) => {
            let (table, chain) = base_chain(world, family, way.at, chain);
            Some(format!("the policy of {chain} in table {table} is drop"))
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

/// That policies would not let through what arrived, where the pod network enforces none.
pub(super) fn policy_note(world: &World<'_>, way: &Way) -> Option<String> {
    let cni = world.cluster().network.cni;
    let policies = world.policies();
    if cni.enforces_policies() || policies.is_empty() || !way.answered {
        return None;
    }
    let flow = way.arrived;
    let allows = policies.allows(&Traffic {
        from: policies.address(way.sent.src),
        to: policies.address(flow.dst),
        protocol: flow.protocol,
        port: flow.dport,
    });
    let denying = world.isolating_policies(FiveTuple {
        src: way.sent.src,
        ..flow
    });
    let denying: Vec<String> = denying.iter().map(|one| policy_text(world, one)).collect();
    (!allows).then(|| {
        let (cni, denying) = (cni.name(), denying.join(", "));
        format!("{cni} enforces no policies: this is not let through by {denying}")
    })
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
