//! Chains, and how packets come to them.
//!
//! Source: `createBaseRules`, prog/weave-npc/main.go; `bypassRules`, npc/namespace.go;
//! `AddNetworkPolicy`, npc/controller.go; `configureIPTables`, net/bridge.go of weaveworks/weave. The
//! rule for Weave's control port is of prog/weave-kube/launch.sh.

use std::net::{IpAddr, Ipv4Addr};

use podwire_cluster::PolicyType;
use podwire_packet::{DeviceName, Family, Mark, Prefix, Protocol};
use podwire_ruleset::iptables::{Wording, rule_text};
use podwire_ruleset::{
    AddressMatch, AddressTypeMatch, AddressTypes, ChainName, ConntrackMatch, CtStates, Hook,
    InterfaceMatch, Inv, L4, MarkMatch, Match, NflogTarget, Origin, PhysdevMatch, Rule,
    SetDirection, SetMatch, Table, Target,
};

use super::WeaveNpc;
use super::names::{default_allow, set_name, way_name};

pub(super) const MAIN: &str = "WEAVE-NPC";
pub(super) const DEFAULT: &str = "WEAVE-NPC-DEFAULT";
pub(super) const INGRESS: &str = "WEAVE-NPC-INGRESS";
pub(super) const EGRESS: &str = "WEAVE-NPC-EGRESS";
pub(super) const EGRESS_DEFAULT: &str = "WEAVE-NPC-EGRESS-DEFAULT";
pub(super) const EGRESS_CUSTOM: &str = "WEAVE-NPC-EGRESS-CUSTOM";
pub(super) const EGRESS_ACCEPT: &str = "WEAVE-NPC-EGRESS-ACCEPT";

/// The chains, in the order in which iptables-save lists them. The first is Weave's own: it is there to
/// notice that somebody flushed the tables.
pub(super) const CHAINS: [&str; 8] = [
    "WEAVE-CANARY",
    MAIN,
    DEFAULT,
    EGRESS,
    EGRESS_ACCEPT,
    EGRESS_CUSTOM,
    EGRESS_DEFAULT,
    INGRESS,
];

pub(super) const SOURCE: SetDirection = SetDirection::Source;
pub(super) const DESTINATION: SetDirection = SetDirection::Destination;

/// The mark of packets that may leave their pod (`EgressMark`, npc/constants.go).
const EGRESS_MARK: Mark = Mark(0x4_0000);
/// Where ulogd listens for packets that are dropped.
const NFLOG_GROUP: u16 = 86;
/// Where Weave answers `weave` commands.
const CONTROL_PORT: u16 = 6_784;
const BEFORE_KUBE_FORWARD: &str = "NOTE: this must go before '-j KUBE-FORWARD'";
/// Address type LOCAL: `RTN_LOCAL` is number 2.
const LOCAL: AddressTypes = AddressTypes(1 << 2);

/// The bridge that pods hang on, and its port towards other nodes.
const BRIDGE: DeviceName = DeviceName::literal("weave");
const BRIDGE_PORT: DeviceName = DeviceName::literal("vethwe-bridge");

/// A rule in a chain of the table filter.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) chain: ChainName,
    pub(super) rule: Rule,
    /// `-s` or `-d` and an address, in the words of whoever wrote it.
    pub(super) address: Option<(&'static str, Box<str>)>,
}

impl Placed {
    /// Its line in the text of iptables-save, the address in its writer's words.
    pub(super) fn line(&self) -> String {
        let Self {
            chain,
            rule,
            address,
        } = self;
        let Some((flag, address)) = address else {
            let text = rule_text(rule, Wording::Save, Family::Ipv4);
            return format!("-A {chain} {text}");
        };
        let mut rest = rule.clone();
        let is_address = |one: &Match| matches!(one, Match::Source(_) | Match::Destination(_));
        rest.matches.retain(|one| !is_address(one));
        let text = rule_text(&rest, Wording::Save, Family::Ipv4);
        format!("-A {chain} {flag} {address} {text}")
    }
}

/// `-m set --match-set`.
pub(super) fn in_set(name: Box<str>, direction: SetDirection) -> Match {
    Match::Set(Inv::is(set_match(name, direction)))
}

/// `-m set ! --match-set`.
pub(super) fn not_in_set(name: Box<str>, direction: SetDirection) -> Match {
    Match::Set(Inv::not(set_match(name, direction)))
}

fn set_match(name: Box<str>, direction: SetDirection) -> SetMatch {
    SetMatch {
        name,
        directions: vec![direction],
        options: "".into(),
    }
}

/// What lets a packet out of its pod: the mark, and the end of the chain.
pub(super) fn mark_and_return() -> Vec<Target> {
    vec![Target::Jump(EGRESS_ACCEPT.into()), Target::Return]
}

/// The rules for the pods of a namespace that no policy isolates.
pub(super) fn of_namespace(namespace: &str, origin: Origin) -> Vec<Placed> {
    let rule = |way, direction, chain: &str, target| {
        let set = set_name(&default_allow(way, namespace));
        let way = way_name(way);
        let comment = format!("DefaultAllow {way} isolation for namespace: {namespace}");
        let rule = Rule::to(target)
            .when(in_set(set, direction))
            .when(Match::Comment(comment.into()));
        Placed {
            chain: chain.into(),
            rule: Rule {
                origin: Some(origin),
                ..rule
            },
            address: None,
        }
    };
    let ingress = rule(PolicyType::Ingress, DESTINATION, DEFAULT, Target::Accept);
    let egress = mark_and_return()
        .into_iter()
        .map(|target| rule(PolicyType::Egress, SOURCE, EGRESS_DEFAULT, target));
    [ingress].into_iter().chain(egress).collect()
}

/// The rules that every node has, in the order of their chains.
pub(super) fn base(drops_egress: bool) -> Vec<Placed> {
    let mut all = Vec::new();
    let mut add = |chain: &str, target, matches: Vec<Match>| {
        let is_drop = matches!(target, Target::Drop | Target::Nflog(_)) && chain != "INPUT";
        all.push(Placed {
            chain: chain.into(),
            rule: Rule {
                matches,
                origin: is_drop.then(WeaveNpc::isolation),
                ..Rule::to(target)
            },
            address: None,
        });
    };
    let jump = |chain: &str| Target::Jump(chain.into());
    let nflog = || {
        Target::Nflog(NflogTarget {
            group: NFLOG_GROUP,
            ..NflogTarget::default()
        })
    };
    let before = || Match::Comment(BEFORE_KUBE_FORWARD.into());
    let established = CtStates::RELATED.union(CtStates::ESTABLISHED);

    add(Hook::Input.name(), Target::Drop, control_port());
    add(Hook::Input.name(), jump(EGRESS), vec![from_bridge()]);

    let forward = Hook::Forward.name();
    add(forward, jump(EGRESS), vec![from_bridge(), before()]);
    add(forward, jump(MAIN), vec![to_bridge(), before()]);
    add(forward, nflog(), vec![to_bridge(), state(CtStates::NEW)]);
    add(forward, Target::Drop, vec![to_bridge()]);
    let elsewhere = Match::OutInterface(Inv::not(InterfaceMatch::Exact(BRIDGE)));
    add(forward, Target::Accept, vec![from_bridge(), elsewhere]);
    let replies = vec![to_bridge(), ctstate(Inv::is(established))];
    add(forward, Target::Accept, replies);

    add(MAIN, Target::Accept, vec![state(established)]);
    add(MAIN, Target::Accept, vec![multicast()]);
    let to_others = Match::Physdev(PhysdevMatch {
        output: Some(Inv::is(InterfaceMatch::Exact(BRIDGE_PORT))),
        is_bridged: Some(true),
        ..PhysdevMatch::default()
    });
    add(MAIN, Target::Accept, vec![to_others]);
    add(MAIN, jump(DEFAULT), vec![state(CtStates::NEW)]);
    add(MAIN, jump(INGRESS), vec![state(CtStates::NEW)]);

    add(EGRESS, Target::Accept, vec![state(established)]);
    let from_others = Match::Physdev(PhysdevMatch {
        input: Some(Inv::is(InterfaceMatch::Exact(BRIDGE_PORT))),
        is_bridged: Some(true),
        ..PhysdevMatch::default()
    });
    add(EGRESS, Target::Return, vec![from_others]);
    let to_node = Match::AddressType(AddressTypeMatch {
        dst: Some(Inv::is(LOCAL)),
        ..AddressTypeMatch::default()
    });
    add(EGRESS, Target::Return, vec![to_node]);
    add(EGRESS, Target::Return, vec![multicast()]);
    add(EGRESS, jump(EGRESS_DEFAULT), vec![state(CtStates::NEW)]);
    let unmarked_new = || vec![state(CtStates::NEW), unmarked()];
    add(EGRESS, jump(EGRESS_CUSTOM), unmarked_new());
    if drops_egress {
        add(EGRESS, nflog(), unmarked_new());
        add(EGRESS, Target::Drop, vec![unmarked()]);
    }
    let mark = Target::Mark {
        value: EGRESS_MARK,
        mask: EGRESS_MARK,
    };
    add(EGRESS_ACCEPT, mark, Vec::new());
    all
}

/// Adds rules to the table filter. Those of FORWARD go to its top, as Weave keeps them there; those of
/// INPUT behind what is there.
pub(super) fn add<'p>(rules: impl IntoIterator<Item = &'p Placed>, table: &mut Table) {
    for chain in CHAINS {
        table.chain_mut(&chain.into());
    }
    let forward = ChainName::from(Hook::Forward);
    let mut at_top = 0;
    for placed in rules {
        let chain = table.chain_mut(&placed.chain);
        if placed.chain == forward {
            chain.rules.insert(at_top, placed.rule.clone());
            at_top += 1;
        } else {
            chain.rules.push(placed.rule.clone());
        }
    }
}

/// From elsewhere to the port on 127.0.0.1.
fn control_port() -> Vec<Match> {
    let established = CtStates::RELATED.union(CtStates::ESTABLISHED);
    vec![
        to(Prefix::host(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        Match::Protocol(Inv::is(Protocol::TCP)),
        Match::Module(L4::Tcp),
        Match::DestinationPort(L4::Tcp, Inv::is(CONTROL_PORT..=CONTROL_PORT)),
        Match::AddressType(AddressTypeMatch {
            src: Some(Inv::not(LOCAL)),
            ..AddressTypeMatch::default()
        }),
        ctstate(Inv::not(established)),
        Match::Comment("Block non-local access to Weave Net control port".into()),
    ]
}

fn to(prefix: Prefix) -> Match {
    Match::Destination(Inv::is(AddressMatch::Prefix(prefix)))
}

fn multicast() -> Match {
    to(Prefix::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4))
}

const fn from_bridge() -> Match {
    Match::InInterface(Inv::is(InterfaceMatch::Exact(BRIDGE)))
}

const fn to_bridge() -> Match {
    Match::OutInterface(Inv::is(InterfaceMatch::Exact(BRIDGE)))
}

const fn state(states: CtStates) -> Match {
    Match::State(Inv::is(states))
}

fn ctstate(state: Inv<CtStates>) -> Match {
    Match::Conntrack(Box::new(ConntrackMatch {
        state: Some(state),
        ..ConntrackMatch::default()
    }))
}

const fn unmarked() -> Match {
    Match::Mark(Inv::not(MarkMatch {
        value: EGRESS_MARK,
        mask: EGRESS_MARK,
    }))
}
