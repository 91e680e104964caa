//! Random rules of nftables that ask for few values, so that they collide.

#[path = "tests.rs"]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use indexmap::IndexMap;
use podwire_packet::{DeviceName, Family, Headers, Mark, Prefix, Protocol};
use podwire_ruleset::nft::{
    BaseChain, Chain, ChainKind, DataType, Element, Expression, Key, Limit, Lookup, MapValue,
    MarkField, Match, MetaKey, Name, Nat, NatMap, NumgenMode, Operand, Payload, Rule, RuleSet, Set,
    SetFlags, SetMark, SetOperation, SetStatement, Span, Statement, TableFamily, Value, Verdict,
};
use podwire_ruleset::{
    Choose, Draw, Hook, HostAddresses, L4, LimitMatch, NatKind, NatRange, Policy, RejectWith,
};

use tests::test;

pub(super) const MARKS: [u32; 4] = [0, 1, 0x4000, 0x4002];
pub(super) const DEVICES: [&str; 4] = ["eth0", "eth1", "cni0", "lo"];
const PORTS: [u16; 6] = [0, 53, 80, 443, 8_080, 65_535];
const PROTOCOLS: [Protocol; 6] = [
    Protocol::TCP,
    Protocol::TCP,
    Protocol::UDP,
    Protocol::SCTP,
    Protocol::ICMP,
    Protocol::ICMPV6,
];

/// Chains that others call; a chain calls later ones only.
const CALLED: [&str; 4] = ["c1", "c2", "c3", "c4"];

pub(super) fn pick<T: Copy>(draw: &mut Draw, from: &[T]) -> T {
    from[draw.one_of(u32::try_from(from.len()).unwrap()) as usize]
}

pub(super) fn one_in(draw: &mut Draw, n: u32) -> bool {
    draw.one_of(n) == 0
}

fn address(draw: &mut Draw, family: Family) -> IpAddr {
    let (four, six) = pick(
        draw,
        &[
            ("10.0.0.1", "fd00::1"),
            ("10.0.0.2", "fd00::2"),
            ("10.0.1.1", "fd00:0:0:1::1"),
            ("192.0.2.1", "2001:db8::1"),
            ("10.0.0.255", "ff02::1"),
            ("224.0.0.1", "::"),
        ],
    );
    match family {
        Family::Ipv4 => four,
        Family::Ipv6 => six,
    }
    .parse()
    .unwrap()
}

fn prefix(draw: &mut Draw, family: Family) -> Prefix {
    let length = match family {
        Family::Ipv4 => pick(draw, &[0, 8, 24, 31, 32]),
        Family::Ipv6 => pick(draw, &[0, 16, 64, 127, 128]),
    };
    Prefix::new(address(draw, family), length)
}

pub(super) fn host(family: Family) -> HostAddresses {
    let device = |name: &str| name.parse::<DeviceName>().unwrap();
    match family {
        Family::Ipv4 => HostAddresses::new(
            vec![
                ("10.0.0.1/32".parse().unwrap(), device("eth0")),
                ("10.0.1.0/24".parse().unwrap(), device("lo")),
            ],
            vec![("10.0.0.255".parse().unwrap(), device("eth0"))],
        ),
        Family::Ipv6 => HostAddresses::of(["fd00::1".parse().unwrap()]),
    }
}

pub(super) fn headers(draw: &mut Draw, family: Family) -> Headers {
    let (src, dst) = (address(draw, family), address(draw, family));
    let (sport, dport) = (pick(draw, &PORTS), pick(draw, &PORTS));
    let protocol = pick(draw, &PROTOCOLS);
    let mut headers = Headers::first_of_flow(src, dst, protocol, sport, dport);
    headers.icmp_type = pick(draw, &[0, 3, 8, 128]);
    headers.is_later_fragment = one_in(draw, 12);
    headers
}

/// One table of the family or of both, sometimes both.
pub(super) fn rule_set(draw: &mut Draw, family: Family) -> RuleSet {
    let mut rules = RuleSet::default();
    for own in [family.into(), TableFamily::Inet] {
        if one_in(draw, 3) {
            continue;
        }
        let table = rules.table_mut(own, &Name::literal("t"));
        table.sets = sets(draw, family);
        for hook in Hook::ALL {
            let name = Name::literal(&format!("base-{}", hook as u8));
            let mut chain = chain(draw, family, &name, &CALLED);
            chain.base = Some(BaseChain {
                kind: pick(draw, &[ChainKind::Filter, ChainKind::Nat]),
                hook,
                priority: pick(draw, &[-100, 0, 10]),
                policy: pick(draw, &[Policy::Accept, Policy::Drop]),
            });
            table.chains.insert(name, chain);
        }
        for (index, name) in CALLED.into_iter().enumerate() {
            let name = Name::literal(name);
            let chain = chain(draw, family, &name, &CALLED[index + 1..]);
            table.chains.insert(name, chain);
        }
    }
    rules
}

fn chain(draw: &mut Draw, family: Family, name: &Name, callees: &[&str]) -> Chain {
    let mut chain = Chain::regular(name.clone());
    chain.rules = (0..1 + draw.one_of(6))
        .map(|_| rule(draw, family, callees))
        .collect();
    chain
}

/// Sets by what they have; `v-…` are verdict maps, `n-…` maps for translations.
fn sets(draw: &mut Draw, family: Family) -> IndexMap<Name, Set> {
    let address_type = || DataType::Address(family);
    let service = || vec![address_type(), DataType::Protocol, DataType::Port];
    let mut sets = IndexMap::new();
    for (name, key, is_map) in [
        ("addresses", vec![address_type()], false),
        ("services", service(), false),
        ("v-addresses", vec![address_type()], true),
        ("v-services", service(), true),
    ] {
        let mut set = if is_map {
            Set::verdict_map(key)
        } else {
            Set::of(key)
        };
        let interval = one_in(draw, 2);
        if interval {
            set.flags = SetFlags::INTERVAL;
        }
        if one_in(draw, 4) {
            set.timeout = Some(Duration::from_secs(10));
        }
        for _ in 0..draw.one_of(10) {
            let mut key = vec![address_span(draw, family, interval)];
            if name.ends_with("services") {
                key.push(Span::protocol(pick(draw, &PROTOCOLS)));
                key.push(port_span(draw, interval));
            }
            // Only base chains lead here, and these to the last two chains.
            let value = is_map.then(|| MapValue::Verdict(verdict(draw, &CALLED[2..])));
            set.elements.insert(key.into(), element(draw, value));
        }
        if interval && is_map && one_in(draw, 3) {
            let value = Some(MapValue::Verdict(Verdict::Return));
            set.elements
                .insert(Key::from(Span::Any), element(draw, value));
        }
        sets.insert(Name::literal(name), set);
    }
    let mut to = Set::of([address_type()]);
    to.data = vec![address_type(), DataType::Port];
    for _ in 0..draw.one_of(6) {
        let data = [
            address_span(draw, family, true),
            Span::port(pick(draw, &PORTS)),
        ];
        let value = Some(MapValue::Data(data.into()));
        let key = Key::from(Span::address(address(draw, family)));
        to.elements.insert(key, element(draw, value));
    }
    sets.insert(Name::literal("n-addresses"), to);
    for (name, key) in [
        ("seen", vec![address_type()]),
        ("seen-by", vec![DataType::Ifname, DataType::Mark]),
    ] {
        let mut set = Set::of(key);
        set.flags = SetFlags::DYNAMIC.union(SetFlags::TIMEOUT);
        set.timeout = one_in(draw, 2).then(|| Duration::from_secs(5));
        set.size = one_in(draw, 2).then_some(2);
        if name == "seen" && one_in(draw, 2) {
            let key = Key::from(Span::address(address(draw, family)));
            set.elements.insert(key, element(draw, None));
        }
        sets.insert(Name::literal(name), set);
    }
    sets
}

fn element(draw: &mut Draw, value: Option<MapValue>) -> Element {
    Element {
        value,
        timeout: one_in(draw, 6).then(|| Duration::from_secs(pick(draw, &[0, 15]))),
        expires: one_in(draw, 8).then(|| Duration::from_secs(3)),
        ..Element::default()
    }
}

fn address_span(draw: &mut Draw, family: Family, interval: bool) -> Span {
    match draw.one_of(4) {
        0 if interval => Span::Prefix(prefix(draw, family)),
        1 if interval => {
            let mut ends = [address(draw, family), address(draw, family)];
            ends.sort();
            let [first, last] = ends.map(Value::Address);
            Span::Range(first, last)
        }
        _ => Span::address(address(draw, family)),
    }
}

fn port_span(draw: &mut Draw, interval: bool) -> Span {
    if interval && one_in(draw, 3) {
        let (first, last) = pick(draw, &[(0, 80), (53, 53), (80, 8_080), (443, 65_535)]);
        Span::Range(Value::Port(first), Value::Port(last))
    } else {
        Span::port(pick(draw, &PORTS))
    }
}

fn verdict(draw: &mut Draw, callees: &[&str]) -> Verdict {
    let kind = draw.one_of(if callees.is_empty() { 4 } else { 9 });
    let mut to = || Name::literal(pick(draw, callees));
    match kind {
        0 => Verdict::Accept,
        1 => Verdict::Drop,
        2 => Verdict::Return,
        3 => Verdict::Continue,
        4 | 5 => Verdict::Goto(to()),
        _ => Verdict::Jump(to()),
    }
}

fn rule(draw: &mut Draw, family: Family, callees: &[&str]) -> Rule {
    let mut statements: Vec<Statement> = (0..draw.one_of(3)).map(|_| test(draw, family)).collect();
    if one_in(draw, 5) {
        statements.push(memory(draw, family));
    }
    if one_in(draw, 40) {
        statements.push(Statement::Unknown("frobnicate".into()));
        statements.push(test(draw, family));
    }
    if one_in(draw, 4) {
        statements.push(change(draw));
    }
    match draw.one_of(9) {
        0 | 1 => statements.push(verdict_map(draw, family, callees)),
        2 => statements.push(Statement::Nat(nat(draw, family))),
        3 => statements.push(Statement::Counter(None)),
        4 => {}
        _ => statements.push(Statement::Verdict(verdict(draw, callees))),
    }
    Rule::of(statements)
}

/// A statement that does something and lets the rule go on.
fn change(draw: &mut Draw) -> Statement {
    match draw.one_of(7) {
        0 => Statement::Notrack,
        1 => Statement::Nftrace(one_in(draw, 2)),
        2 => Statement::Log("prefix \"x\"".into()),
        3 => Statement::Reject {
            with: pick(draw, &[RejectWith::PortUnreachable, RejectWith::TcpReset]),
            family: pick(draw, &[None, Some(Family::Ipv4), Some(Family::Ipv6)]),
        },
        _ => Statement::SetMark(SetMark {
            field: pick(draw, &[MarkField::Meta, MarkField::Ct]),
            from: pick(draw, &[MarkField::Meta, MarkField::Ct]),
            mask: Mark(pick(draw, &[0, !0, !0x4000])),
            value: Mark(pick(draw, &MARKS)),
        }),
    }
}

fn memory(draw: &mut Draw, family: Family) -> Statement {
    match draw.one_of(4) {
        0 => Statement::Limit(Limit {
            bucket: LimitMatch {
                amount: pick(draw, &[0, 1, 10]),
                period_seconds: pick(draw, &[1, 60]),
                burst: pick(draw, &[1, 3]),
            },
            over: one_in(draw, 3),
        }),
        1 => {
            let right = Operand::One(Key::one(Value::Number(draw.one_of(3))));
            compare(draw, numgen_of(3, NumgenMode::Inc), right)
        }
        _ => {
            let by = Expression::Concat(vec![
                Expression::Meta(MetaKey::Iifname),
                Expression::Meta(MetaKey::Mark),
            ]);
            let (set, key) = if one_in(draw, 2) {
                ("seen", side(draw, family))
            } else {
                ("seen-by", by)
            };
            let all = [
                SetOperation::Add,
                SetOperation::Update,
                SetOperation::Delete,
            ];
            Statement::Set(SetStatement {
                operation: pick(draw, &all),
                set: Name::literal(set),
                key,
                timeout: one_in(draw, 4).then(|| Duration::from_secs(pick(draw, &[0, 7]))),
            })
        }
    }
}

const fn numgen_of(modulus: u32, mode: NumgenMode) -> Expression {
    Expression::Numgen {
        mode,
        modulus,
        offset: 0,
    }
}

fn verdict_map(draw: &mut Draw, family: Family, callees: &[&str]) -> Statement {
    if callees.len() == CALLED.len() && !one_in(draw, 3) {
        let (key, map) = if one_in(draw, 2) {
            (service(draw, family), "v-services")
        } else {
            (side(draw, family), "v-addresses")
        };
        let map = Lookup::Named(Name::literal(map));
        return Statement::VerdictMap { key, map };
    }
    let value = |draw: &mut Draw| MapValue::Verdict(verdict(draw, callees));
    let (key, keys): (Expression, Vec<Key>) = match draw.one_of(4) {
        0 => {
            let numbers = (0..3).map(|number| Key::one(Value::Number(number)));
            (numgen_of(3, NumgenMode::Random), numbers.collect())
        }
        1 => {
            // In no order, with ranges between, and one number more than there is.
            let number = |draw: &mut Draw| {
                let (first, more) = (draw.one_of(5), draw.one_of(3));
                let last = Value::Number(first + more);
                match more {
                    0 => Key::one(last),
                    _ => Span::Range(Value::Number(first), last).into(),
                }
            };
            let keys = (0..3).map(|_| number(draw)).collect();
            let offset = draw.one_of(2);
            let mode = NumgenMode::Random;
            let key = Expression::Numgen {
                mode,
                modulus: 4,
                offset,
            };
            (key, keys)
        }
        2 => {
            let keys = (0..3).map(|_| {
                let any = one_in(draw, 12);
                if any {
                    return Key::from(Span::Any);
                }
                let parts = [
                    address_span(draw, family, true),
                    Span::protocol(pick(draw, &PROTOCOLS)),
                    port_span(draw, true),
                ];
                parts.into()
            });
            let keys = keys.collect();
            (service(draw, family), keys)
        }
        _ => {
            let spans = (0..3).map(|_| address_span(draw, family, true).into());
            let keys = spans.collect();
            (side(draw, family), keys)
        }
    };
    let elements = keys.into_iter().map(|key| (key, value(draw))).collect();
    Statement::VerdictMap {
        key,
        map: Lookup::Anonymous(elements),
    }
}

fn nat(draw: &mut Draw, family: Family) -> Nat {
    let kinds = [
        NatKind::Dnat,
        NatKind::Snat,
        NatKind::Masquerade,
        NatKind::Redirect,
    ];
    let mut nat = Nat::to(pick(draw, &kinds), NatRange::default());
    nat.family = pick(draw, &[None, Some(Family::Ipv4), Some(Family::Ipv6)]);
    nat.range.random = one_in(draw, 2);
    if one_in(draw, 2) {
        nat.range.ports = Some(80..=90);
    }
    match draw.one_of(3) {
        0 => {
            let address = address(draw, family);
            nat.range.addresses = Some(address..=address);
        }
        1 => {
            let map = Lookup::Named(Name::literal("n-addresses"));
            let key = side(draw, family);
            nat.map = Some(Box::new(NatMap { key, map }));
        }
        _ => {
            let to = |draw: &mut Draw, number| {
                let data = Key::from(address_span(draw, family, true));
                (Key::one(Value::Number(number)), MapValue::Data(data))
            };
            let map = Lookup::Anonymous((0..2).map(|number| to(draw, number)).collect());
            let key = numgen_of(3, NumgenMode::Random);
            nat.map = Some(Box::new(NatMap { key, map }));
        }
    }
    nat
}

fn side(draw: &mut Draw, family: Family) -> Expression {
    Expression::Payload(if one_in(draw, 2) {
        Payload::Saddr(family)
    } else {
        Payload::Daddr(family)
    })
}

fn service(draw: &mut Draw, family: Family) -> Expression {
    let ports = pick(draw, &[None, None, Some(L4::Tcp)]);
    Expression::Concat(vec![
        side(draw, family),
        Expression::Meta(MetaKey::L4proto),
        Expression::Payload(Payload::Dport(ports)),
    ])
}

fn compare(draw: &mut Draw, left: Expression, right: Operand) -> Statement {
    Statement::Match(Match {
        left,
        inverted: one_in(draw, 3),
        right,
    })
}
