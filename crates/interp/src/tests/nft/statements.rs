//! What statements do.

use podwire_packet::{Family, Mark, Protocol};
use podwire_ruleset::nft::{
    DataType, Decision, Element, Expression, Key, Limit, Lookup, MapValue, MarkField, Nat, NatMap,
    NumgenMode, Set, SetMark, Span, State, Statement, Value, Verdict as Says,
};
use podwire_ruleset::{CtState, LimitMatch, NatKind, NatRange, Policy, RejectWith, Verdict};

use super::{Tables, address, count, daddr, l4proto, name, verdict};
use crate::tests::Probe;

/// What a base chain of these rules says.
fn decide(probe: &Probe, rules: Vec<Vec<Statement>>) -> Decision {
    let tables = Tables::of(probe).base("base", 0, Policy::Accept, rules);
    tables.ask()
}

/// `nft_bitwise_eval_bool`: `mark and` keeps, `or` sets, `xor` flips bits; the next rule sees it.
#[test]
fn marks_are_kept_set_and_flipped() {
    let probe = Probe::tcp().with(|p| p.mark = Mark(0x1003));
    let mark_after = |set| decide(&probe, vec![vec![Statement::SetMark(set)]]).mark;
    assert_eq!(mark_after(SetMark::or(Mark(0x4000))), Mark(0x5003));
    assert_eq!(mark_after(SetMark::xor(Mark(0x1001))), Mark(0x0002));
    assert_eq!(mark_after(SetMark::constant(Mark(7))), Mark(7));
    let twice = vec![
        vec![Statement::SetMark(SetMark::or(Mark(0x4000)))],
        vec![Statement::SetMark(SetMark::xor(Mark(0x4000)))],
    ];
    assert_eq!(decide(&probe, twice).mark, Mark(0x1003));
}

/// `nft_ct_get_eval`, `nft_ct_set_eval`: without a connection its mark is not read, and not set.
#[test]
fn a_connection_mark_needs_a_connection() {
    let save = Statement::SetMark(SetMark {
        field: MarkField::Ct,
        from: MarkField::Meta,
        mask: Mark(!0),
        value: Mark(0),
    });
    let restore = Statement::SetMark(SetMark {
        field: MarkField::Meta,
        from: MarkField::Ct,
        mask: Mark(!0),
        value: Mark(0),
    });
    let marked = Probe::tcp().with(|p| p.mark = Mark(5));
    let saved = decide(&marked, vec![vec![save.clone()]]);
    assert_eq!(saved.conntrack_mark, Mark(5));
    let restored = decide(&marked, vec![vec![restore.clone()]]);
    assert_eq!(restored.mark, Mark(0));
    let untracked = marked.state(CtState::Untracked);
    assert!(untracked.runs(&[save]));
    assert!(!untracked.runs(&[restore]));
}

/// `nft_nat_eval`: the verdict is `NF_ACCEPT`, so nothing behind it in the base chain is asked.
#[test]
fn a_translation_ends_the_base_chain() {
    let to = NatRange::to("10.0.0.9".parse().unwrap(), Some(8080));
    let rules = vec![
        vec![
            Statement::is(l4proto(), Span::protocol(Protocol::TCP)),
            Statement::Nat(Nat::to(NatKind::Dnat, to.clone())),
        ],
        vec![verdict(Says::Drop)],
    ];
    let decision = decide(&Probe::tcp(), rules.clone());
    assert_eq!(decision.verdict, Verdict::Accept);
    assert_eq!(decision.nat, Some((NatKind::Dnat, to)));
    let other = decide(&Probe::udp(), rules);
    assert_eq!((other.verdict, other.nat), (Verdict::Drop, None));
}

/// nft(8), NAT STATEMENTS: `dnat to ip saddr map { … }`.
#[test]
fn a_translation_takes_address_and_port_from_a_map() {
    let mut map = Set::of([DataType::Address(Family::Ipv4)]);
    map.data = vec![DataType::Address(Family::Ipv4), DataType::Port];
    let data = Key::from([Span::One(address("10.0.0.9")), Span::port(8080)]);
    let element = Element {
        value: Some(MapValue::Data(data)),
        ..Element::default()
    };
    map.elements.insert(Key::one(address("192.0.2.1")), element);
    let nat = Nat {
        map: Some(Box::new(NatMap {
            key: daddr(),
            map: Lookup::Named(name("to")),
        })),
        ..Nat::to(NatKind::Dnat, NatRange::default())
    };
    let ask = |probe: &Probe| {
        let rules = [vec![Statement::Nat(nat.clone())], vec![verdict(Says::Drop)]];
        let tables = Tables::of(probe).named("to", map.clone());
        tables.base("base", 0, Policy::Accept, rules).ask()
    };
    let wanted = NatRange::to("10.0.0.9".parse().unwrap(), Some(8080));
    assert_eq!(ask(&Probe::tcp()).nat, Some((NatKind::Dnat, wanted)));
    let missed = ask(&Probe::tcp().to("192.0.2.2"));
    assert_eq!((missed.verdict, missed.nat), (Verdict::Drop, None));
}

#[test]
fn reject_ends_the_packet_and_names_what_is_told() {
    let reject = |family| Statement::Reject {
        with: RejectWith::PortUnreachable,
        family,
    };
    let decision = decide(&Probe::tcp(), vec![vec![reject(None)]]);
    assert_eq!(
        decision.verdict,
        Verdict::Reject(RejectWith::PortUnreachable)
    );
    assert!(!Probe::tcp().runs(&[reject(Some(Family::Ipv6))]));
}

/// `nft_limit_eval`, net/netfilter/nft_limit.c.
#[test]
fn a_limit_lets_a_burst_through_and_then_what_its_rate_allows() {
    let limit = |over| {
        Statement::Limit(Limit {
            bucket: LimitMatch {
                amount: 1,
                period_seconds: 10,
                burst: 2,
            },
            over,
        })
    };
    let mut state = State::default();
    let mut passes =
        |probe: &Probe, over| probe.runs_with(&[limit(over)], Tables::of(probe), &mut state);
    let packet = Probe::tcp();
    assert!(passes(&packet, false) && passes(&packet, false) && !passes(&packet, false));
    assert!(passes(&packet, true));
    assert!(!passes(&packet.clone().seconds_later(9), false));
    assert!(passes(&packet.seconds_later(10), false));
}

/// `nft_ng_inc_gen`: 0, 1, … modulus - 1, and again.
#[test]
fn numgen_inc_counts_up_to_its_modulus() {
    let numgen = Expression::Numgen {
        mode: NumgenMode::Inc,
        modulus: 3,
        offset: 0,
    };
    let mut state = State::default();
    let probe = Probe::tcp();
    let hits: Vec<bool> = (0..7)
        .map(|_| {
            let test = Statement::is(numgen.clone(), Span::One(Value::Number(0)));
            probe.runs_with(&[test], Tables::of(&probe), &mut state)
        })
        .collect();
    assert_eq!(hits, [true, false, false, true, false, false, true]);
}

#[test]
fn notrack_is_for_packets_that_are_not_tracked_yet() {
    let rules = || vec![vec![Statement::Notrack]];
    assert!(decide(&Probe::tcp().state(CtState::Invalid), rules()).notrack);
    let counted = decide(&Probe::tcp(), vec![vec![count(), Statement::Nftrace(true)]]);
    assert!(counted.trace && counted.effects.is_empty());
    let logged = decide(&Probe::tcp(), vec![vec![Statement::Log("".into())]]);
    assert_eq!(logged.effects.len(), 1);
}
