//! Random rules of nftables, in base chains on every hook and in chains that they call.

use std::net::IpAddr;
use std::time::Duration;

use podwire_packet::{DeviceName, Family, Mark, Protocol};
use podwire_ruleset::nft::{
    BaseChain, ChainKind, CtKey, DataType, Element, Expression, FibResult, FibSelectors, Key,
    Limit, Lookup, MapValue, MarkField, Match, MetaKey, Name, Nat, NatMap, NumgenMode, Operand,
    Payload, Rule, RuleSet, Set, SetFlags, SetMark, SetOperation, SetStatement, Span, Statement,
    TableFamily, Value, Verdict,
};
use podwire_ruleset::{
    AddressType, Choose, CtDirection, CtStates, CtStatuses, Draw, Hook, L4, LimitMatch, NatKind,
    NatRange, Policy, RejectWith,
};

use super::rules::{PORTS, pick};
use crate::lab::CONNECTION_MARKER;

/// Priorities of base chains. At -200 their order and conntrack's depends on which came first.
const PRIORITIES: [i32; 13] = [
    -350, -300, -250, -150, -110, -100, -90, -10, 0, 50, 90, 100, 300,
];

/// Chains that base chains call, each kind's own; a chain calls later ones only.
const FILTERS: [&str; 4] = ["f1", "f2", "f3", "f4"];
const DESTINATIONS: [&str; 2] = ["d1", "d2"];
const SOURCES: [&str; 2] = ["s1", "s2"];

/// What a chain is for: which statements the kernel takes in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Filter,
    /// `reject` is taken at INPUT, FORWARD and OUTPUT only.
    FilterThatRejects,
    Destination,
    Source,
}

/// A table with sets, a base chain or more on each hook, and chains that they call.
pub(super) fn table(draw: &mut Draw) -> RuleSet {
    let mut rules = RuleSet::default();
    let table = rules.table_mut(TableFamily::Ip, &Name::literal("drawn"));
    for (name, set) in sets() {
        table.sets.insert(Name::literal(name), set);
    }
    let mut base = |draw: &mut Draw, hook: Hook, kind: Kind, callees: &[&'static str]| {
        let chains = table.chains.len();
        let name = Name::literal(&format!("base{chains}"));
        let chain = table.chain_mut(&name);
        chain.base = Some(BaseChain {
            kind: match kind {
                Kind::Filter | Kind::FilterThatRejects => ChainKind::Filter,
                Kind::Destination | Kind::Source => ChainKind::Nat,
            },
            hook,
            priority: match (kind, hook) {
                // What raw drops there no chain may have seen.
                (Kind::FilterThatRejects, Hook::Output) => pick(draw, &PRIORITIES[2..]),
                (Kind::Filter | Kind::FilterThatRejects, _) => pick(draw, &PRIORITIES),
                // nft takes chains of type nat behind -200 only.
                (Kind::Destination | Kind::Source, _) => pick(draw, &PRIORITIES[3..]),
            },
            policy: if one_in(draw, 8) {
                Policy::Drop
            } else {
                Policy::Accept
            },
        });
        let passes = vec![
            Statement::is(saddr(), Span::address(CONNECTION_MARKER)),
            Statement::Verdict(Verdict::Accept),
        ];
        chain.rules.push(Rule::of(passes));
        for _ in 0..1 + draw.one_of(4) {
            chain.rules.push(rule(draw, kind, callees));
        }
    };
    for hook in Hook::ALL {
        let rejects = matches!(hook, Hook::Input | Hook::Forward | Hook::Output);
        let kind = if rejects {
            Kind::FilterThatRejects
        } else {
            Kind::Filter
        };
        for _ in 0..1 + draw.one_of(2) {
            base(draw, hook, kind, &FILTERS);
        }
        match hook {
            Hook::Prerouting | Hook::Output => base(draw, hook, Kind::Destination, &DESTINATIONS),
            Hook::Postrouting => base(draw, hook, Kind::Source, &SOURCES),
            Hook::Input | Hook::Forward => {}
        }
    }
    let others: [(&[&str], Kind); 3] = [
        (&FILTERS, Kind::Filter),
        (&DESTINATIONS, Kind::Destination),
        (&SOURCES, Kind::Source),
    ];
    for (names, kind) in others {
        for (index, name) in names.iter().enumerate() {
            // That a chain was come to is to be seen, whichever of its rules matches.
            let seen = Rule::of(vec![Statement::Counter(None)]);
            let rules = (0..2 + draw.one_of(4)).map(|_| rule(draw, kind, &names[index + 1..]));
            let rules = std::iter::once(seen).chain(rules).collect();
            table.chain_mut(&Name::literal(name)).rules = rules;
        }
    }
    rules
}

fn sets() -> [(&'static str, Set); 6] {
    let address = || DataType::Address(Family::Ipv4);
    let with = |mut set: Set, keys: Vec<Key>| {
        let elements = keys.into_iter().map(|key| (key, Element::default()));
        set.elements = elements.collect();
        set
    };
    let hosts = ["10.244.1.4", "203.0.113.7", "192.168.10.199"];
    let hosts = hosts.map(|ip| Key::from(Span::address(ip_of(ip))));
    let mut networks = Set::of([address()]);
    networks.flags = SetFlags::INTERVAL;
    let spans = vec![
        Key::from(Span::Prefix("10.244.1.0/25".parse().expect("a prefix"))),
        Key::from(Span::Range(
            Value::Address(ip_of("203.0.113.3")),
            Value::Address(ip_of("203.0.113.9")),
        )),
    ];
    let clients = Set {
        flags: SetFlags::DYNAMIC.union(SetFlags::TIMEOUT),
        timeout: Some(Duration::from_secs(3_600)),
        ..Set::of([address()])
    };
    let few = Set {
        size: Some(3),
        ..clients.clone()
    };
    let service = |ip: &str, protocol, port| {
        Key::from([
            Span::address(ip_of(ip)),
            Span::protocol(protocol),
            Span::port(port),
        ])
    };
    let says = |verdict| Element {
        value: Some(MapValue::Verdict(verdict)),
        ..Element::default()
    };
    let go = |chain| Verdict::Goto(Name::literal(chain));
    let mut services = Set::verdict_map([address(), DataType::Protocol, DataType::Port]);
    services.elements = [
        (
            service("10.244.1.4", Protocol::TCP, 80),
            says(go(FILTERS[3])),
        ),
        (
            service("10.96.0.1", Protocol::TCP, 443),
            says(Verdict::Return),
        ),
        (
            service("203.0.113.7", Protocol::UDP, 53),
            says(Verdict::Drop),
        ),
        (
            service("192.168.10.11", Protocol::UDP, 53),
            says(Verdict::Jump(Name::literal(FILTERS[3]))),
        ),
        (
            service("192.168.10.11", Protocol::TCP, 80),
            says(Verdict::Accept),
        ),
    ]
    .into_iter()
    .collect();
    let mut destinations = Set::of([address(), DataType::Port]);
    destinations.data = vec![address(), DataType::Port];
    let to = |ip: &str, port| {
        let data = Key::from([Span::address(ip_of(ip)), Span::port(port)]);
        Element {
            value: Some(MapValue::Data(data)),
            ..Element::default()
        }
    };
    let from = |ip: &str, port| Key::from([Span::address(ip_of(ip)), Span::port(port)]);
    destinations.elements = [
        (from("10.96.0.1", 443), to("10.244.1.4", 8_080)),
        (from("192.168.10.11", 80), to("10.244.1.5", 80)),
        (from("203.0.113.7", 53), to("10.244.2.77", 53)),
    ]
    .into_iter()
    .collect();
    [
        ("hosts", with(Set::of([address()]), hosts.into())),
        ("networks", with(networks, spans)),
        ("clients", clients),
        ("few", few),
        ("services", services),
        ("destinations", destinations),
    ]
}

fn one_in(draw: &mut Draw, n: u32) -> bool {
    draw.one_of(n) == 0
}

fn ip_of(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn rule(draw: &mut Draw, kind: Kind, callees: &[&'static str]) -> Rule {
    let (needed, end) = end(draw, kind, callees);
    let protocols = [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP];
    let protocol = needed.or_else(|| one_in(draw, 3).then(|| pick(draw, &protocols)));
    let mut statements: Vec<Statement> = (0..draw.one_of(3)).map(|_| test(draw)).collect();
    let l4proto = Expression::Meta(MetaKey::L4proto);
    // nft takes one protocol in a rule.
    match protocol {
        Some(protocol) => {
            statements.push(Statement::is(l4proto, Span::protocol(protocol)));
            statements.extend(transport(draw, protocol));
        }
        None if one_in(draw, 6) => {
            let other = Span::protocol(pick(draw, &protocols));
            statements.push(Statement::is_not(l4proto, other));
        }
        None => {}
    }
    // What remembers, or leaves it to chance, is asked last: so that what it did can be seen.
    if one_in(draw, 6) {
        statements.push(with_memory(draw));
    }
    statements.extend(end);
    if statements.is_empty() {
        statements.push(Statement::Counter(None));
    }
    Rule::of(statements)
}

fn saddr() -> Expression {
    Expression::Payload(Payload::Saddr(Family::Ipv4))
}

fn daddr() -> Expression {
    Expression::Payload(Payload::Daddr(Family::Ipv4))
}

fn compare(draw: &mut Draw, left: Expression, right: Operand) -> Statement {
    Statement::Match(Match {
        left,
        inverted: one_in(draw, 4),
        right,
    })
}

fn one(span: Span) -> Operand {
    Operand::One(span.into())
}

/// A test of the packet alone, but of its protocol.
fn test(draw: &mut Draw) -> Statement {
    match draw.one_of(7) {
        0 | 1 => {
            let side = if one_in(draw, 2) { saddr() } else { daddr() };
            let right = addresses(draw);
            compare(draw, side, right)
        }
        2 => device(draw),
        3 | 4 => conntrack(draw),
        5 => {
            let mark = Expression::Meta(MetaKey::Mark);
            let (mask, value) = pick(draw, &[(!0, 0), (0x4000, 0x4000), (3, 0), (!0, 1), (2, 2)]);
            let left = match mask {
                u32::MAX => mark,
                _ => Expression::Masked(Box::new(mark), Value::Mark(Mark(mask))),
            };
            compare(draw, left, one(Span::One(Value::Mark(Mark(value)))))
        }
        _ => {
            let (selectors, types) = pick(
                draw,
                &[
                    (FibSelectors::DADDR, AddressType::Local),
                    (FibSelectors::DADDR, AddressType::Unicast),
                    (FibSelectors::SADDR, AddressType::Local),
                    (FibSelectors::SADDR, AddressType::Broadcast),
                ],
            );
            let result = FibResult::Type;
            let fib = Expression::Fib { selectors, result };
            compare(draw, fib, one(Span::One(Value::AddressType(types))))
        }
    }
}

/// A test of a protocol's header, now and then.
fn transport(draw: &mut Draw, protocol: Protocol) -> Option<Statement> {
    let ports = match protocol {
        Protocol::TCP => L4::Tcp,
        Protocol::UDP => L4::Udp,
        Protocol::SCTP => L4::Sctp,
        Protocol(_) => {
            let icmp = Expression::Payload(Payload::IcmpType(Family::Ipv4));
            let kind = Value::IcmpType(Family::Ipv4, pick(draw, &[8, 0, 3, 13]));
            let test = compare(draw, icmp, one(Span::One(kind)));
            return one_in(draw, 2).then_some(test);
        }
    };
    one_in(draw, 2).then(|| self::ports(draw, Some(ports)))
}

fn addresses(draw: &mut Draw) -> Operand {
    let host = |draw: &mut Draw| {
        let all = ["10.244.1.4", "10.244.1.5", "192.168.10.11", "203.0.113.7"];
        Span::address(ip_of(pick(draw, &all)))
    };
    match draw.one_of(5) {
        0 => one(host(draw)),
        1 => {
            let all = [
                "10.244.0.0/16",
                "10.244.1.0/24",
                "192.168.10.0/24",
                "10.0.0.0/8",
            ];
            one(Span::Prefix(pick(draw, &all).parse().expect("a prefix")))
        }
        2 => Operand::Named(Name::literal(pick(
            draw,
            &["hosts", "networks", "clients", "few"],
        ))),
        3 => one(Span::Range(
            Value::Address(ip_of("10.244.1.0")),
            Value::Address(ip_of("10.244.1.5")),
        )),
        _ => Operand::Anonymous(vec![
            Span::address(ip_of("10.244.1.6")).into(),
            Span::address(ip_of("203.0.113.7")).into(),
        ]),
    }
}

fn ports(draw: &mut Draw, protocol: Option<L4>) -> Statement {
    let side = if one_in(draw, 3) {
        Payload::Sport(protocol)
    } else {
        Payload::Dport(protocol)
    };
    let range = |(first, last)| Span::Range(Value::Port(first), Value::Port(last));
    let right = match draw.one_of(3) {
        0 => one(Span::port(pick(draw, &PORTS))),
        1 => one(range(pick(
            draw,
            &[(1, 1_023), (443, 30_080), (20_000, 20_020)],
        ))),
        _ => Operand::Anonymous(vec![Span::port(53).into(), Span::port(8_080).into()]),
    };
    compare(draw, Expression::Payload(side), right)
}

fn device(draw: &mut Draw) -> Statement {
    let (key, by_number) = pick(
        draw,
        &[
            (MetaKey::Iifname, false),
            (MetaKey::Oifname, false),
            (MetaKey::Iif, true),
            (MetaKey::Oif, true),
        ],
    );
    let name = |text: &str| -> DeviceName { text.parse().expect("a name") };
    let span = if by_number || one_in(draw, 2) {
        Span::One(Value::Interface(name(pick(draw, &["eth0", "cni0", "lo"]))))
    } else {
        Span::InterfacePrefix(name(pick(draw, &["eth", "c", "veth"])))
    };
    compare(draw, Expression::Meta(key), one(span))
}

fn conntrack(draw: &mut Draw) -> Statement {
    let direction = pick(draw, &[CtDirection::Original, CtDirection::Reply]);
    let state = |states| one(Span::One(Value::CtStates(states)));
    let network = |text: &str| one(Span::Prefix(text.parse().expect("a prefix")));
    let (key, right) = match draw.one_of(8) {
        0 | 1 => {
            let states = [
                CtStates::NEW,
                CtStates::ESTABLISHED,
                CtStates::INVALID,
                CtStates::UNTRACKED,
                CtStates::NEW.union(CtStates::ESTABLISHED),
            ];
            (CtKey::State, state(pick(draw, &states)))
        }
        2 => {
            let keys = [CtStates::NEW, CtStates::RELATED].map(|one| Key::one(Value::CtStates(one)));
            (CtKey::State, Operand::Anonymous(keys.into()))
        }
        3 => {
            let status =
                Value::CtStatuses(pick(draw, &[CtStatuses::SEEN_REPLY, CtStatuses::CONFIRMED]));
            // With `!=` the kernel compares bits that podwire does not keep.
            return Statement::is(Expression::Ct(CtKey::Status), Span::One(status));
        }
        4 => {
            let mark = Value::Mark(Mark(pick(draw, &[0, 2])));
            (CtKey::Mark, one(Span::One(mark)))
        }
        5 => {
            let value = Value::CtDirection(direction);
            (CtKey::Direction, one(Span::One(value)))
        }
        6 => (
            CtKey::Saddr(direction, Family::Ipv4),
            network("10.244.0.0/16"),
        ),
        _ => (
            CtKey::Daddr(direction, Family::Ipv4),
            network(pick(draw, &["192.168.10.0/24", "10.244.1.4/31"])),
        ),
    };
    compare(draw, Expression::Ct(key), right)
}

fn with_memory(draw: &mut Draw) -> Statement {
    match draw.one_of(4) {
        0 => Statement::Limit(Limit {
            bucket: LimitMatch {
                amount: 1,
                period_seconds: 86_400,
                burst: pick(draw, &[1, 3, 5]),
            },
            over: one_in(draw, 3),
        }),
        1 => {
            let mode = pick(draw, &[NumgenMode::Random, NumgenMode::Inc]);
            let modulus = pick(draw, &[2, 3]);
            let numgen = Expression::Numgen {
                mode,
                modulus,
                offset: 0,
            };
            compare(draw, numgen, one(Span::One(Value::Number(1))))
        }
        _ => {
            let (set, operation) = pick(
                draw,
                &[
                    ("clients", SetOperation::Add),
                    ("clients", SetOperation::Update),
                    ("clients", SetOperation::Delete),
                    // What is deleted takes room until the kernel comes to collect it.
                    ("few", SetOperation::Add),
                    ("few", SetOperation::Update),
                ],
            );
            Statement::Set(SetStatement {
                operation,
                set: Name::literal(set),
                key: if one_in(draw, 2) { saddr() } else { daddr() },
                timeout: None,
            })
        }
    }
}

/// The last statement of a rule, with the protocol that it needs, if there is one.
fn end(
    draw: &mut Draw,
    kind: Kind,
    callees: &[&'static str],
) -> (Option<Protocol>, Option<Statement>) {
    let verdict = |says| (None, Some(Statement::Verdict(says)));
    let chain = |draw: &mut Draw| Name::literal(pick(draw, callees));
    match draw.one_of(12) {
        0..=2 if !callees.is_empty() => verdict(Verdict::Jump(chain(draw))),
        3 if !callees.is_empty() => verdict(Verdict::Goto(chain(draw))),
        // Only base chains of filters lead to the chains that the map names, so there is no circle.
        4 if callees.len() == FILTERS.len() => {
            let key = Expression::Concat(vec![
                daddr(),
                Expression::Meta(MetaKey::L4proto),
                Expression::Payload(Payload::Dport(None)),
            ]);
            let map = Lookup::Named(Name::literal("services"));
            (None, Some(Statement::VerdictMap { key, map }))
        }
        5 if callees.len() > 1 => (None, Some(numbered(callees))),
        4 | 5 => verdict(Verdict::Return),
        6 if one_in(draw, 2) => verdict(Verdict::Accept),
        6 => verdict(Verdict::Continue),
        0 | 7 | 8 => (None, Some(Statement::SetMark(set_mark(draw)))),
        1 => (None, None),
        _ => of_kind(draw, kind),
    }
}

/// `numgen random mod 3 vmap { 0 : jump a, 1 : goto b, 2 : return }`.
fn numbered(callees: &[&'static str]) -> Statement {
    let key = |number| Key::one(Value::Number(number));
    let to = |index: usize| Name::literal(callees[index]);
    Statement::VerdictMap {
        key: Expression::Numgen {
            mode: NumgenMode::Random,
            modulus: 3,
            offset: 0,
        },
        map: Lookup::Anonymous(vec![
            (key(0), MapValue::Verdict(Verdict::Jump(to(0)))),
            (key(1), MapValue::Verdict(Verdict::Goto(to(1)))),
            (key(2), MapValue::Verdict(Verdict::Return)),
        ]),
    }
}

fn set_mark(draw: &mut Draw) -> SetMark {
    let between = |field, from| SetMark {
        field,
        from,
        mask: Mark(!0),
        value: Mark(0),
    };
    match draw.one_of(6) {
        0 => SetMark::constant(Mark(1)),
        1 => SetMark::or(Mark(0x4000)),
        2 => SetMark::xor(Mark(0x4002)),
        3 => between(MarkField::Ct, MarkField::Meta),
        4 => between(MarkField::Meta, MarkField::Ct),
        _ => SetMark {
            field: MarkField::Ct,
            ..SetMark::constant(Mark(2))
        },
    }
}

fn of_kind(draw: &mut Draw, kind: Kind) -> (Option<Protocol>, Option<Statement>) {
    let to = |first: &str, last: &str, ports: Option<(u16, u16)>| NatRange {
        addresses: Some(ip_of(first)..=ip_of(last)),
        ports: ports.map(|(first, last)| first..=last),
        ..NatRange::default()
    };
    let ports = |first, last| NatRange {
        ports: Some(first..=last),
        ..NatRange::default()
    };
    let (protocol, kind, range) = match kind {
        Kind::Filter | Kind::FilterThatRejects => {
            let reject = Statement::Reject {
                with: pick(
                    draw,
                    &[
                        RejectWith::PortUnreachable,
                        RejectWith::HostUnreachable,
                        RejectWith::AdminProhibited,
                    ],
                ),
                family: Some(Family::Ipv4),
            };
            return match draw.one_of(6) {
                0 | 1 if kind == Kind::FilterThatRejects => (None, Some(reject)),
                2 | 3 => (None, Some(Statement::Verdict(Verdict::Drop))),
                4 => (None, Some(Statement::Notrack)),
                _ => (None, Some(Statement::Counter(None))),
            };
        }
        Kind::Destination => match draw.one_of(8) {
            0 => (None, NatKind::Dnat, to("10.244.1.4", "10.244.1.4", None)),
            1 => (None, NatKind::Dnat, to("10.244.1.5", "10.244.1.6", None)),
            2 => (
                Some(Protocol::TCP),
                NatKind::Dnat,
                to("10.244.1.4", "10.244.1.4", Some((8_080, 8_080))),
            ),
            3 => (
                Some(Protocol::UDP),
                NatKind::Dnat,
                to("10.244.2.77", "10.244.2.77", Some((5_000, 5_003))),
            ),
            4 => (Some(Protocol::TCP), NatKind::Redirect, ports(8_080, 8_080)),
            5 => (None, NatKind::Redirect, NatRange::default()),
            _ => {
                let key =
                    Expression::Concat(vec![daddr(), Expression::Payload(Payload::Dport(None))]);
                let map = Lookup::Named(Name::literal("destinations"));
                let nat = Nat {
                    map: Some(Box::new(NatMap { key, map })),
                    ..Nat::to(NatKind::Dnat, NatRange::default())
                };
                let protocol = pick(draw, &[Protocol::TCP, Protocol::UDP]);
                return (Some(protocol), Some(Statement::Nat(nat)));
            }
        },
        Kind::Source => match draw.one_of(4) {
            0 => (None, NatKind::Masquerade, NatRange::default()),
            1 => (
                Some(Protocol::UDP),
                NatKind::Masquerade,
                ports(2_000, 3_000),
            ),
            2 => (
                None,
                NatKind::Snat,
                to("198.51.100.1", "198.51.100.3", None),
            ),
            _ => (
                Some(Protocol::TCP),
                NatKind::Snat,
                to("192.168.10.11", "192.168.10.11", Some((4_000, 5_000))),
            ),
        },
    };
    (protocol, Some(Statement::Nat(Nat::to(kind, range))))
}
