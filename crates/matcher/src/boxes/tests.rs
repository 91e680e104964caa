//! That trees say what asking every rule says.

use std::ops::{ControlFlow, RangeInclusive};

use proptest::prelude::*;

use super::{Address, Boxes, MANY, NONE, Point, RuleBox, plan};

fn holds<A: Address>(rule: &RuleBox<A>, point: &Point<A>) -> bool {
    rule.src.contains(&point.src)
        && rule.dst.contains(&point.dst)
        && rule.sport.contains(&point.sport)
        && rule.dport.contains(&point.dport)
        && rule.protocol.is_none_or(|only| only == point.protocol)
}

fn found<A: Address>(boxes: &Boxes<A>, point: &Point<A>, from: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let end = boxes.each(point, from, |place| {
        found.push(place);
        ControlFlow::<()>::Continue(())
    });
    assert_eq!(end, ControlFlow::Continue(()));
    found
}

/// Compares the trees with every rule asked, from a few places on, and where the asking breaks.
fn check<A: Address>(rules: &[RuleBox<A>], points: &[Point<A>]) {
    let boxes = Boxes::new(rules).unwrap();
    let bound = plan::BYTES_A_RULE * rules.len() + 4 * plan::BYTES_AT_LEAST + 512;
    assert!(boxes.bytes() <= bound, "{:?}", boxes.shape());
    for chunk in points.chunks(MANY) {
        let mut many = [Point::default(); MANY];
        many[..chunk.len()].copy_from_slice(chunk);
        let firsts = boxes.firsts(&many, chunk.len());
        for (point, first) in chunk.iter().zip(firsts) {
            assert_eq!(first, boxes.first_from(point, 0), "{point:?}");
            assert_eq!(first, boxes.first(point), "{point:?}");
        }
    }
    for point in points {
        let places = 0_u32..;
        let held = places.zip(rules).filter(|(_, rule)| holds(rule, point));
        let held: Vec<u32> = held.map(|(place, _)| place).collect();
        assert_eq!(found(&boxes, point, 0), held, "{point:?}");
        let first = held.first().copied();
        assert_eq!(boxes.first(point), first.unwrap_or(NONE));
        for from in held.iter().map(|place| place + 1).chain([1, u32::MAX]) {
            let rest: Vec<u32> = held.iter().copied().filter(|at| *at >= from).collect();
            assert_eq!(found(&boxes, point, from), rest, "{point:?} from {from}");
        }
    }
}

/// Edges of a rule's box, inside and outside.
fn corner<A: Address>(rule: &RuleBox<A>, which: u32) -> Point<A> {
    let pick = |low: u128, high: u128, last: u128, which: u32| match which % 4 {
        0 => low,
        1 => high,
        2 => low.saturating_sub(1),
        _ => high.saturating_add(1).min(last),
    };
    let last = u128::MAX >> (128 - 8 * size_of::<A>());
    let address = |range: &RangeInclusive<A>, which| {
        let number = pick((*range.start()).into(), (*range.end()).into(), last, which);
        A::try_from(number).unwrap_or_default()
    };
    let port = |range: &RangeInclusive<u16>, which| {
        let (low, high) = (u128::from(*range.start()), u128::from(*range.end()));
        u16::try_from(pick(low, high, 0xffff, which)).unwrap()
    };
    Point {
        src: address(&rule.src, which),
        dst: address(&rule.dst, which >> 2),
        sport: port(&rule.sport, which >> 4),
        dport: port(&rule.dport, which >> 6),
        protocol: rule.protocol.unwrap_or(6) ^ u8::from(which >> 8 & 3 == 3),
    }
}

/// A set of rules, and packets: at edges of rules, and anywhere.
fn case<A: Address>(
    rule: impl Strategy<Value = RuleBox<A>> + Clone,
    point: impl Strategy<Value = Point<A>>,
    most: usize,
) -> impl Strategy<Value = (Vec<RuleBox<A>>, Vec<Point<A>>)> {
    let corners = prop::collection::vec((any::<prop::sample::Index>(), 0_u32..1024), 0..64);
    let rules = prop::collection::vec(rule, 0..most);
    (rules, corners, prop::collection::vec(point, 0..32)).prop_map(
        |(rules, corners, mut points)| {
            if !rules.is_empty() {
                let at = corners
                    .iter()
                    .map(|(rule, which)| corner(rule.get(&rules), *which));
                points.extend(at);
            }
            (rules, points)
        },
    )
}

fn range<T: Ord>(a: T, b: T) -> RangeInclusive<T> {
    if a <= b { a..=b } else { b..=a }
}

fn protocol() -> impl Strategy<Value = Option<u8>> + Clone {
    prop_oneof![
        Just(None),
        Just(Some(0)),
        Just(Some(6)),
        Just(Some(17)),
        any::<u8>().prop_map(Some)
    ]
}

/// Prefixes of few addresses, mostly, so that they nest and meet.
fn prefix<A: Address>() -> impl Strategy<Value = RangeInclusive<A>> + Clone {
    let bits = u32::try_from(8 * size_of::<A>()).unwrap();
    let last = u128::MAX >> (128 - bits);
    let number = prop_oneof![
        any::<u128>(),
        (0_u128..64).prop_map(|few| few << 2 | few << 27 | few << 90)
    ];
    (number, prop_oneof![0..=bits, Just(0), Just(bits)]).prop_map(move |(number, length)| {
        let host = last.checked_shr(length).unwrap_or(0);
        let low = number & last & !host;
        let number = |number| A::try_from(number).unwrap_or_default();
        number(low)..=number(low | host)
    })
}

fn ports() -> impl Strategy<Value = RangeInclusive<u16>> + Clone {
    prop_oneof![
        Just(0..=u16::MAX),
        Just(1024..=u16::MAX),
        prop::sample::select(vec![22, 53, 80, 443]).prop_map(|port| port..=port),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| range(a, b)),
    ]
}

fn policy_rule<A: Address>() -> impl Strategy<Value = RuleBox<A>> + Clone {
    let parts = (prefix::<A>(), prefix::<A>(), ports(), ports(), protocol());
    parts.prop_map(|(src, dst, sport, dport, protocol)| RuleBox {
        src,
        dst,
        sport,
        dport,
        protocol,
    })
}

fn policy_point<A: Address>() -> impl Strategy<Value = Point<A>> {
    let parts = (
        prefix::<A>(),
        prefix::<A>(),
        any::<u16>(),
        any::<u16>(),
        any::<u8>(),
    );
    parts.prop_map(|(src, dst, sport, dport, protocol)| Point {
        src: *src.start(),
        dst: *dst.end(),
        sport,
        dport,
        protocol,
    })
}

fn small_rule<A: Address + From<u8>>() -> impl Strategy<Value = RuleBox<A>> + Clone {
    let pair = || (0_u8..12, 0_u8..12);
    (pair(), pair(), pair(), pair(), protocol()).prop_map(|(src, dst, sport, dport, protocol)| {
        RuleBox {
            src: range(src.0.into(), src.1.into()),
            dst: range(dst.0.into(), dst.1.into()),
            sport: range(sport.0.into(), sport.1.into()),
            dport: range(dport.0.into(), dport.1.into()),
            protocol,
        }
    })
}

fn small_point<A: Address + From<u8>>() -> impl Strategy<Value = Point<A>> {
    let number = 0_u8..13;
    let parts = (
        number.clone(),
        number.clone(),
        number.clone(),
        number,
        0_u8..18,
    );
    parts.prop_map(|(src, dst, sport, dport, protocol)| Point {
        src: src.into(),
        dst: dst.into(),
        sport: sport.into(),
        dport: dport.into(),
        protocol,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn ipv4_policies_are_found_as_by_asking_every_rule(
        (rules, points) in case::<u32>(policy_rule(), policy_point(), 200),
    ) {
        check(&rules, &points);
    }

    #[test]
    fn ipv6_policies_are_found_as_by_asking_every_rule(
        (rules, points) in case::<u128>(policy_rule(), policy_point(), 200),
    ) {
        check(&rules, &points);
    }

    #[test]
    fn boxes_that_meet_everywhere_are_found_as_by_asking_every_rule(
        (rules, points) in case::<u32>(small_rule(), small_point(), 100),
    ) {
        check(&rules, &points);
    }

    #[test]
    fn ipv6_boxes_that_meet_everywhere_are_found_as_by_asking_every_rule(
        (rules, points) in case::<u128>(small_rule(), small_point(), 100),
    ) {
        check(&rules, &points);
    }
}

fn any_rule<A: Address>(last: A) -> RuleBox<A> {
    RuleBox {
        src: A::default()..=last,
        dst: A::default()..=last,
        sport: 0..=u16::MAX,
        dport: 0..=u16::MAX,
        protocol: None,
    }
}

fn nowhere<A: Address>() -> Point<A> {
    Point {
        src: A::default(),
        dst: A::default(),
        sport: 0,
        dport: 0,
        protocol: 0,
    }
}

#[test]
fn no_rule_holds_nothing() {
    check::<u32>(&[], &[nowhere()]);
    check::<u128>(&[], &[nowhere()]);
}

#[test]
fn one_rule_of_everything_holds_both_ends() {
    let end = Point {
        src: u32::MAX,
        dst: u32::MAX,
        sport: u16::MAX,
        dport: u16::MAX,
        protocol: u8::MAX,
    };
    check(&[any_rule(u32::MAX)], &[nowhere(), end]);
    check(&[any_rule(u128::MAX)], &[nowhere()]);
}

#[test]
fn a_packet_of_zeros_is_not_held_by_lanes_without_a_rule() {
    let rule = RuleBox {
        src: 1..=1,
        ..any_rule(u32::MAX)
    };
    check(&[rule], &[nowhere()]);
}

#[test]
fn a_rule_with_an_empty_range_holds_nothing() {
    let mut rules = vec![any_rule(u32::MAX); 20];
    rules[3].sport = RangeInclusive::new(9, 8);
    rules[7].src = RangeInclusive::new(1, 0);
    check(&rules, &[nowhere()]);
    check(&rules[7..8], &[nowhere()]);
}

#[test]
fn equal_rules_are_all_given_in_their_order() {
    let rules = vec![any_rule(u32::MAX); 1000];
    check(&rules, &[nowhere()]);
}

/// No cut keeps such rules apart: the bound on memory must hold, and `check` asks for it.
#[test]
fn nested_rules_stay_within_the_bound_of_memory() {
    let rules: Vec<RuleBox<u32>> = (0..3000)
        .map(|depth: u16| {
            let step = u32::from(depth) << 18;
            RuleBox {
                src: step..=u32::MAX - step,
                dst: step..=u32::MAX - step,
                sport: depth..=u16::MAX - depth,
                dport: depth..=u16::MAX - depth,
                protocol: None,
            }
        })
        .collect();
    let points: Vec<Point<u32>> = (0..12)
        .map(|which| corner(&rules[100 << (which % 4)], which))
        .collect();
    check(&rules, &points);
}

/// Each wide in one dimension: in one tree every pair of them would meet.
#[test]
fn rules_that_cross_stay_within_the_bound_of_memory() {
    let rules: Vec<RuleBox<u32>> = (0..4000_u32)
        .map(|rule| {
            let address = (rule / 2).wrapping_mul(0x9e37_79b1);
            let mut of = any_rule(u32::MAX);
            if rule % 2 == 0 {
                of.src = address..=address;
            } else {
                of.dst = address..=address;
            }
            of
        })
        .collect();
    let points: Vec<Point<u32>> = (0..64)
        .map(|at| corner(&rules[at as usize * 60 + 1], at))
        .collect();
    check(&rules, &points);
}
