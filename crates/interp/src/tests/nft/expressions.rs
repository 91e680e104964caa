//! What is read from the packet, and what it is compared with.

use podwire_packet::{Family, Mark, Protocol};
use podwire_ruleset::nft::{
    CtKey, Expression, FibResult, FibSelectors, Key, MetaKey, NumgenMode, Payload, Span, State,
    Statement, Value, Verdict as Says,
};
use podwire_ruleset::{
    AddressType, ConntrackInfo, CtDirection, CtState, CtStates, Hook, Policy, Verdict, outcomes,
};

use super::{
    DIFFERENT, EQUAL, NEITHER, Tables, address, any_of, daddr, dport, l4proto, mark, prefix, saddr,
    service, service_key, verdict,
};
use crate::tests::Probe;

/// `payload_gen_dependency`, src/payload.c: a field asks for its protocol too.
#[test]
fn a_field_that_the_packet_has_not_fails_the_test_inverted_or_not() {
    let port = Span::port(80);
    assert_eq!(Probe::tcp().compare(&dport(), port.clone()), EQUAL);
    assert_eq!(Probe::udp().compare(&dport(), port.clone()), NEITHER);
    let th = Expression::Payload(Payload::Dport(None));
    assert_eq!(Probe::udp().compare(&th, port.clone()), DIFFERENT);
    assert_eq!(
        Probe::udp6().compare(&daddr(), Span::One(address("192.0.2.1"))),
        NEITHER
    );
    // `nft_payload_eval`: a later fragment has no transport header.
    let fragment = Probe::tcp().with(|p| p.headers.is_later_fragment = true);
    assert_eq!(fragment.compare(&dport(), port), NEITHER);
    assert_eq!(
        fragment.compare(&l4proto(), Span::protocol(Protocol::TCP)),
        EQUAL
    );
}

#[test]
fn icmp_types_are_of_icmp_packets() {
    let icmp = |family| Expression::Payload(Payload::IcmpType(family));
    let ping = Probe::new(Protocol::ICMP, "198.51.100.7", 0, "192.0.2.1", 0);
    let echo = Span::One(Value::IcmpType(Family::Ipv4, ping.packet.headers.icmp_type));
    assert_eq!(ping.compare(&icmp(Family::Ipv4), echo.clone()), EQUAL);
    assert_eq!(ping.compare(&icmp(Family::Ipv6), echo.clone()), NEITHER);
    assert_eq!(Probe::tcp().compare(&icmp(Family::Ipv4), echo), NEITHER);
}

/// `nft_meta_store_ifname`, net/netfilter/nft_meta.c: without a device the name is empty.
#[test]
fn a_packet_without_a_device_differs_from_every_device() {
    let made_here = Probe::tcp().at(Hook::Output, "-", "eth0");
    let iifname = Expression::Meta(MetaKey::Iifname);
    let device = |text: &str| Span::One(Value::Interface(text.parse().unwrap()));
    assert_eq!(made_here.compare(&iifname, device("eth0")), DIFFERENT);
    let oifname = Expression::Meta(MetaKey::Oifname);
    assert_eq!(made_here.compare(&oifname, device("eth0")), EQUAL);
    let eth = Span::InterfacePrefix("eth".parse().unwrap());
    assert_eq!(made_here.compare(&oifname, eth.clone()), EQUAL);
    assert_eq!(made_here.compare(&iifname, eth), DIFFERENT);
}

/// nft(8), CONNTRACK EXPRESSIONS; `nft_ct_get_eval`: a packet of no connection is invalid, or untracked.
#[test]
fn only_the_state_can_be_asked_of_a_packet_without_a_connection() {
    let state = Expression::Ct(CtKey::State);
    let is = |states| Span::One(Value::CtStates(states));
    let new_or_established = is(CtStates::NEW.union(CtStates::ESTABLISHED));
    let tcp = Probe::tcp();
    // `!=` asks whether the states are exactly these: nft 1.0.6 makes `cmp neq` of it.
    assert_eq!(
        tcp.compare(&state, new_or_established.clone()),
        (true, true)
    );
    assert_eq!(tcp.compare(&state, is(CtStates::NEW)), EQUAL);
    let invalid = tcp.clone().state(CtState::Invalid);
    assert_eq!(invalid.compare(&state, new_or_established), DIFFERENT);
    assert_eq!(invalid.compare(&state, is(CtStates::INVALID)), EQUAL);
    let ct_mark = Expression::Ct(CtKey::Mark);
    assert_eq!(tcp.compare(&ct_mark, Span::One(mark(0))), EQUAL);
    assert_eq!(invalid.compare(&ct_mark, Span::One(mark(0))), NEITHER);
}

#[test]
fn ct_original_is_the_packet_as_it_was_sent() {
    let flow = |p: &Probe| p.packet.headers.five_tuple();
    let before = Probe::tcp().to("10.96.0.1");
    let sent = flow(&before);
    let after = before.to("10.244.0.9").with(|p| {
        p.conntrack = ConntrackInfo {
            original: Some(sent),
            ..ConntrackInfo::of_state(CtState::New)
        };
    });
    let was_for = Expression::Ct(CtKey::Daddr(CtDirection::Original, Family::Ipv4));
    assert_eq!(
        after.compare(&was_for, Span::One(address("10.96.0.1"))),
        EQUAL
    );
    let port = Expression::Ct(CtKey::ProtoDst(CtDirection::Original));
    assert_eq!(after.compare(&port, Span::port(80)), EQUAL);
    let six = Expression::Ct(CtKey::Daddr(CtDirection::Original, Family::Ipv6));
    assert_eq!(after.compare(&six, Span::One(address("::1"))), NEITHER);
}

/// `nft_fib4_eval_type`, net/ipv4/netfilter/nft_fib_ipv4.c.
#[test]
fn fib_type_tells_own_addresses_with_iif_those_of_the_device() {
    let type_of = |selectors| Expression::Fib {
        selectors,
        result: FibResult::Type,
    };
    let local = || Span::One(Value::AddressType(AddressType::Local));
    let daddr = type_of(FibSelectors::DADDR);
    assert_eq!(Probe::tcp().compare(&daddr, local()), EQUAL);
    let to_bridge = Probe::tcp().to("10.0.0.1");
    assert_eq!(to_bridge.compare(&daddr, local()), EQUAL);
    let on_eth0 = type_of(FibSelectors::DADDR.union(FibSelectors::IIF));
    assert_eq!(to_bridge.compare(&on_eth0, local()), DIFFERENT);
    let saddr = type_of(FibSelectors::SADDR);
    assert_eq!(Probe::tcp().compare(&saddr, local()), DIFFERENT);
    assert_eq!(Probe::udp6().compare(&daddr, local()), EQUAL);
}

/// `nft_ng_random_gen`, net/netfilter/nft_numgen.c: `reciprocal_scale(get_random_u32(), modulus)` + offset.
#[test]
fn numgen_random_gives_every_number_with_the_same_probability() {
    let number = |n| Span::One(Value::Number(n));
    for n in 2..=7_u32 {
        let numgen = Expression::Numgen {
            mode: NumgenMode::Random,
            modulus: n,
            offset: 10,
        };
        let tables = Tables::of(&Probe::tcp()).base(
            "base",
            0,
            Policy::Accept,
            [vec![
                any_of(numgen, [Key::from(number(10)), Key::from(number(9 + n))]),
                verdict(Says::Drop),
            ]],
        );
        let all = outcomes(|mut choose| {
            let mut state = State::default();
            tables.ask_with(&mut state, &mut choose).verdict
        });
        assert_eq!(all.len(), n as usize);
        let dropped = all.iter().filter(|(_, verdict)| *verdict == Verdict::Drop);
        let sum: f64 = dropped.map(|(probability, _)| probability).sum();
        assert!((sum - 2.0 / f64::from(n)).abs() < 1e-12, "{n}: {sum}");
    }
}

#[test]
fn masks_prefixes_ranges_and_lists_hold_what_they_say() {
    let tcp = Probe::tcp().with(|p| p.mark = Mark(0x4001));
    let masked = Expression::Masked(Box::new(Expression::Meta(MetaKey::Mark)), mark(0x4000));
    assert_eq!(tcp.compare(&masked, Span::One(mark(0x4000))), EQUAL);
    assert_eq!(tcp.compare(&masked, Span::One(mark(0))), DIFFERENT);
    assert_eq!(tcp.compare(&saddr(), prefix("198.51.100.0/24")), EQUAL);
    assert_eq!(tcp.compare(&saddr(), prefix("198.51.101.0/24")), DIFFERENT);
    let range = |first, last| Span::Range(Value::Port(first), Value::Port(last));
    assert_eq!(tcp.compare(&dport(), range(79, 80)), EQUAL);
    assert_eq!(tcp.compare(&dport(), range(81, 90)), DIFFERENT);
    let list = |ports: &[u16]| {
        let keys = ports.iter().map(|&port| Key::from(Span::port(port)));
        any_of(dport(), keys.collect::<Vec<_>>())
    };
    assert!(tcp.runs(&[list(&[443, 80])]));
    assert!(!tcp.runs(&[list(&[443, 8080])]));
}

#[test]
fn a_concatenation_holds_if_every_part_does() {
    let to = |port| service("192.0.2.1", Protocol::TCP, port);
    assert_eq!(Probe::tcp().compare(&service_key(), to(80)), EQUAL);
    assert_eq!(Probe::tcp().compare(&service_key(), to(81)), DIFFERENT);
    let ping = Probe::new(Protocol::ICMP, "198.51.100.7", 0, "192.0.2.1", 0);
    assert_eq!(ping.compare(&service_key(), to(80)), NEITHER);
}

/// What podwire cannot say makes the answer uncertain only where every known test holds.
#[test]
fn an_unknown_statement_makes_uncertain_unless_a_known_test_fails() {
    let unknown = || Statement::Unknown("meta skuid 0".into());
    let route = || {
        let oif = Expression::Fib {
            selectors: FibSelectors::SADDR.union(FibSelectors::IIF),
            result: FibResult::Oif,
        };
        Statement::is(oif, Span::One(Value::Present(false)))
    };
    for statement in [unknown(), route()] {
        for (port, is_uncertain) in [(80, true), (81, false)] {
            let rule = vec![
                statement.clone(),
                Statement::is(dport(), Span::port(port)),
                verdict(Says::Drop),
            ];
            let tables = Tables::of(&Probe::tcp()).base("base", 0, Policy::Accept, [rule]);
            let decision = tables.ask();
            assert_eq!(decision.uncertain.is_some(), is_uncertain, "{statement:?}");
            assert_eq!(decision.verdict, Verdict::Accept);
        }
    }
}
