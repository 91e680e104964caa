//! Tests of a packet, drawn.

use podwire_packet::{DeviceName, Family, Mark};
use podwire_ruleset::nft::{
    CtKey, Expression, FibResult, FibSelectors, Key, MetaKey, Name, NumgenMode, Operand, Payload,
    Span, Statement, Value,
};
use podwire_ruleset::{AddressType, Choose, CtDirection, CtStates, CtStatuses, Draw, L4};

use super::{
    DEVICES, MARKS, PROTOCOLS, address_span, compare, numgen_of, one_in, pick, port_span, service,
    side,
};

fn any_of(draw: &mut Draw, one: impl Fn(&mut Draw) -> Span) -> Operand {
    if one_in(draw, 3) {
        let count = 1 + draw.one_of(9);
        Operand::Anonymous((0..count).map(|_| one(draw).into()).collect())
    } else {
        Operand::One(one(draw).into())
    }
}

pub(super) fn test(draw: &mut Draw, family: Family) -> Statement {
    let other = match family {
        Family::Ipv4 => Family::Ipv6,
        Family::Ipv6 => Family::Ipv4,
    };
    let of = if one_in(draw, 10) { other } else { family };
    match draw.one_of(12) {
        0 | 1 => {
            let left = side(draw, of);
            let named = ["addresses", "seen"];
            let right = if one_in(draw, 3) && of == family {
                Operand::Named(Name::literal(pick(draw, &named)))
            } else {
                any_of(draw, |draw| address_span(draw, of, true))
            };
            compare(draw, left, right)
        }
        2 => {
            let right = if one_in(draw, 2) {
                Operand::Named(Name::literal("services"))
            } else {
                let key = [
                    address_span(draw, family, true),
                    Span::protocol(pick(draw, &PROTOCOLS)),
                    port_span(draw, true),
                ];
                Operand::One(key.into())
            };
            let left = service(draw, family);
            compare(draw, left, right)
        }
        3 => {
            let protocol = pick(
                draw,
                &[
                    None,
                    Some(L4::Tcp),
                    Some(L4::Udp),
                    Some(L4::Sctp),
                    Some(L4::Icmp),
                ],
            );
            let fields = [Payload::Sport(protocol), Payload::Dport(protocol)];
            let left = Expression::Payload(pick(draw, &fields));
            let right = any_of(draw, |draw| port_span(draw, true));
            compare(draw, left, right)
        }
        4 => {
            let left = pick(
                draw,
                &[
                    Expression::Meta(MetaKey::L4proto),
                    Expression::Payload(Payload::Protocol(of)),
                    Expression::Ct(CtKey::Protocol(CtDirection::Reply)),
                ]
                .each_ref(),
            )
            .clone();
            let right = any_of(draw, |draw| Span::protocol(pick(draw, &PROTOCOLS)));
            compare(draw, left, right)
        }
        5 => {
            let keys = [
                MetaKey::Iif,
                MetaKey::Oif,
                MetaKey::Iifname,
                MetaKey::Oifname,
            ];
            let left = Expression::Meta(pick(draw, &keys));
            let right = any_of(draw, |draw| {
                let name = |text: &str| text.parse::<DeviceName>().unwrap();
                let value = |text| Value::Interface(name(text));
                match draw.one_of(5) {
                    0 => Span::InterfacePrefix(name(pick(draw, &["e", "eth", "eth0", "x"]))),
                    1 => Span::Range(value("lo"), value("eth0")),
                    2 => Span::One(Value::Other("".into())),
                    _ => Span::One(value(pick(draw, &DEVICES))),
                }
            });
            compare(draw, left, right)
        }
        6 => {
            let (left, right) = mark(draw);
            compare(draw, left, right)
        }
        7 => {
            let address = any_type(draw);
            let selectors = pick(
                draw,
                &[
                    FibSelectors::SADDR,
                    FibSelectors::DADDR,
                    FibSelectors::DADDR.union(FibSelectors::IIF),
                    FibSelectors::SADDR.union(FibSelectors::OIF),
                ],
            );
            let result = pick(
                draw,
                &[
                    FibResult::Type,
                    FibResult::Type,
                    FibResult::Type,
                    FibResult::Oif,
                ],
            );
            compare(draw, Expression::Fib { selectors, result }, address)
        }
        8 | 9 => conntrack(draw, family),
        10 => {
            let left = Expression::Payload(Payload::IcmpType(of));
            let kind = |draw: &mut Draw| Value::IcmpType(of, pick(draw, &[0, 3, 8, 128]));
            let right = any_of(draw, |draw| Span::One(kind(draw)));
            compare(draw, left, right)
        }
        _ => {
            let left = if one_in(draw, 2) {
                Expression::Meta(MetaKey::Nfproto)
            } else {
                // A mask that is none of a device.
                let inner = Box::new(Expression::Meta(MetaKey::Iif));
                Expression::Masked(inner, Value::Mark(Mark(1)))
            };
            let right = Operand::One(Key::one(Value::Family(family)));
            compare(draw, left, right)
        }
    }
}

fn any_type(draw: &mut Draw) -> Operand {
    let kinds = [
        AddressType::Local,
        AddressType::Unicast,
        AddressType::Broadcast,
        AddressType::Multicast,
        AddressType::Unspec,
    ];
    any_of(draw, |draw| {
        Span::One(Value::AddressType(pick(draw, &kinds)))
    })
}

fn mark(draw: &mut Draw) -> (Expression, Operand) {
    let random = numgen_of(3, NumgenMode::Random);
    let marks = [Expression::Meta(MetaKey::Mark), Expression::Ct(CtKey::Mark)];
    let own = pick(draw, &[&marks[0], &marks[1], &random]);
    let is_number = matches!(own, Expression::Numgen { .. });
    let value = |number| match is_number {
        true => Value::Number(number % 5),
        false => Value::Mark(Mark(number)),
    };
    let left = if one_in(draw, 2) {
        let mask = value(pick(draw, &[1, 2, 0x4000]));
        Expression::Masked(Box::new(own.clone()), mask)
    } else {
        own.clone()
    };
    let right = any_of(draw, |draw| {
        if one_in(draw, 5) {
            Span::Range(value(0), value(1))
        } else {
            Span::One(value(pick(draw, &MARKS)))
        }
    });
    (left, right)
}

fn conntrack(draw: &mut Draw, family: Family) -> Statement {
    let direction = pick(draw, &[CtDirection::Original, CtDirection::Reply]);
    let (key, right) = match draw.one_of(6) {
        0 | 1 => {
            let states = [
                CtStates::NEW,
                CtStates::ESTABLISHED,
                CtStates::INVALID,
                CtStates::UNTRACKED,
                CtStates::NEW.union(CtStates::RELATED),
            ];
            let right = any_of(draw, |draw| Span::One(Value::CtStates(pick(draw, &states))));
            (CtKey::State, right)
        }
        2 => {
            let right = any_of(draw, |draw| {
                Span::One(Value::CtStatuses(CtStatuses(pick(draw, &[2, 4, 8, 24]))))
            });
            (CtKey::Status, right)
        }
        3 => {
            let right = Operand::One(Key::one(Value::CtDirection(direction)));
            (CtKey::Direction, right)
        }
        4 => {
            let keys = [CtKey::ProtoSrc(direction), CtKey::ProtoDst(direction)];
            (
                pick(draw, &keys),
                any_of(draw, |draw| port_span(draw, true)),
            )
        }
        _ => {
            let keys = [
                CtKey::Saddr(direction, family),
                CtKey::Daddr(direction, family),
            ];
            let right = any_of(draw, |draw| address_span(draw, family, true));
            (pick(draw, &keys), right)
        }
    };
    compare(draw, Expression::Ct(key), right)
}
