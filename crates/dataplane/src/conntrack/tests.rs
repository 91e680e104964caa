//! Connections from their first packet to their end.

mod model;

use std::time::Duration;

use podwire_packet::{Headers, Protocol, SimTime};
use podwire_ruleset::CtState;

use super::{Conntrack, ConntrackFull, Direction};

fn syn() -> Headers {
    Headers::first_of_flow(
        "10.0.0.1".parse().unwrap(),
        "10.0.0.2".parse().unwrap(),
        Protocol::TCP,
        40_000,
        80,
    )
}

#[test]
fn a_connection_is_established_once_a_reply_came() {
    let mut table = Conntrack::default();
    let (state, found) = table.track(&syn(), SimTime::START).unwrap();
    assert_eq!(state, CtState::New);
    table.confirm(found.unwrap().0);
    assert_eq!(table.track(&syn(), SimTime::START).unwrap().0, CtState::New);
    let (state, found) = table
        .track(&syn().first_of_reply(), SimTime::START)
        .unwrap();
    assert_eq!(
        (state, found.unwrap().1),
        (CtState::Established, Direction::Reply)
    );
    assert_eq!(
        table.track(&syn(), SimTime::START).unwrap().0,
        CtState::Established
    );
}

#[test]
fn a_reply_without_a_connection_is_invalid() {
    let mut table = Conntrack::default();
    let answer = table.track(&syn().first_of_reply(), SimTime::START);
    assert_eq!(answer, Ok((CtState::Invalid, None)));
}

#[test]
fn an_unanswered_udp_flow_is_forgotten_after_30_seconds() {
    let mut table = Conntrack::default();
    let packet = Headers {
        protocol: Protocol::UDP,
        ..syn()
    };
    let (_, first) = table.track(&packet, SimTime::START).unwrap();
    table.confirm(first.unwrap().0);
    let (_, same) = table
        .track(&packet, SimTime::START + Duration::from_secs(29))
        .unwrap();
    assert_eq!(same, first);
    let (_, other) = table
        .track(&packet, SimTime::START + Duration::from_secs(60))
        .unwrap();
    assert_ne!(other, first);
}

#[test]
fn a_full_table_takes_nobody_until_somebody_expires() {
    let mut table = Conntrack {
        max: 1,
        ..Conntrack::default()
    };
    let (_, first) = table.track(&syn(), SimTime::START).unwrap();
    table.confirm(first.unwrap().0);
    let second = Headers {
        sport: 40_001,
        ..syn()
    };
    assert_eq!(table.track(&second, SimTime::START), Err(ConntrackFull));
    assert!(
        table
            .track(&second, SimTime::START + Duration::from_secs(120))
            .is_ok()
    );
}

/// A flow of its own for each number.
fn numbered(number: u16) -> Headers {
    Headers {
        sport: number,
        ..syn()
    }
}

#[test]
fn removed_tuples_hide_no_others() {
    let mut table = Conntrack::default();
    for number in 0..10_000 {
        let (_, found) = table.track(&numbered(number), SimTime::START).unwrap();
        table.confirm(found.unwrap().0);
    }
    let goes = |number: u16| number.is_multiple_of(3);
    assert_eq!(table.delete(|of| goes(of.original.sport)), 3_334);
    for number in 0..10_000 {
        let packet = numbered(number);
        for packet in [packet, packet.first_of_reply()] {
            let entry = table.lookup(&packet, SimTime::START);
            assert_eq!(entry.is_none(), goes(number), "{number}");
        }
    }
}

#[test]
fn a_batch_answers_as_one_by_one() {
    let mut table = Conntrack::default();
    for number in 0..100 {
        let (_, found) = table.track(&numbered(number), SimTime::START).unwrap();
        table.confirm(found.unwrap().0);
    }
    let packets: Vec<Headers> = (0..150).map(numbered).collect();
    let mut answers = [None; 150];
    table.lookup_batch(&packets, SimTime::START, &mut answers);
    for (packet, answer) in packets.iter().zip(answers) {
        let alone = table.lookup(packet, SimTime::START);
        assert_eq!(answer.map(|of| of.target()), alone.map(|of| of.target()));
        assert_eq!(answer.is_some(), packet.sport < 100);
    }
}

#[test]
fn connections_stay_in_the_order_in_which_they_were_made() {
    let mut table = Conntrack::default();
    let ids: Vec<_> = (0..4)
        .map(|number| {
            let (_, found) = table.track(&numbered(number), SimTime::START).unwrap();
            found.unwrap().0
        })
        .collect();
    table.forget_unconfirmed(ids[0]);
    let ports: Vec<u16> = table.connections().map(|of| of.original.sport).collect();
    assert_eq!(ports, [1, 2, 3]);
    // The slot is used again; who was there before is not found by the old id.
    let (_, found) = table.track(&numbered(9), SimTime::START).unwrap();
    assert!(table.get(found.unwrap().0).is_some());
    assert_eq!(table.get(ids[0]), None);
}
