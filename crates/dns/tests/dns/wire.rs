//! Bytes that come in: what is no question is refused or dropped, whatever it is.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType;
use podwire_dns::Server;
use podwire_dns::message::wire::{Received, receive};
use podwire_dns::message::{Transport, name};
use proptest::prelude::*;

use crate::answers::{cluster, server_of, text};

const CLIENT: &str = "192.0.2.1:5353";

fn answer(server: &Server, bytes: &[u8]) -> Option<Vec<u8>> {
    let client: SocketAddr = CLIENT.parse().unwrap();
    match receive(bytes, client, Transport::Udp) {
        Received::Ignored => None,
        Received::Refused(answer) => Some(answer),
        Received::Asked(asked) => {
            let reply = server.answer(&asked.request, Duration::ZERO)?;
            Some(asked.bytes(reply))
        }
    }
}

fn server() -> Server {
    server_of(&cluster(), &text("corefiles/modern.Corefile"), "1.13.2")
}

fn question(qname: &str, qtype: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message
        .queries
        .push(Query::query(name(qname).unwrap(), qtype));
    message
}

#[test]
fn what_is_not_a_question_is_refused_or_dropped() {
    let server = server();
    let question = question("mysql.payroll.svc.cluster.local", RecordType::A);
    let bytes = question.to_vec().unwrap();
    let rcode = |bytes: &[u8]| {
        let answer = answer(&server, bytes)?;
        Some(Message::from_vec(&answer).unwrap().metadata.response_code)
    };
    assert_eq!(rcode(&bytes), Some(ResponseCode::NoError));
    assert_eq!(rcode(&bytes[..11]), None, "no header");
    assert_eq!(
        rcode(&bytes[..20]),
        Some(ResponseCode::FormErr),
        "cut in its name"
    );
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        rcode(&bytes)
    };
    assert_eq!(with(2, 0x80), None, "a response");
    assert_eq!(with(2, 0x28), Some(ResponseCode::NotImp), "an update");
    assert_eq!(with(5, 2), Some(ResponseCode::FormErr), "two questions");
    assert_eq!(with(7, 2), Some(ResponseCode::FormErr), "two answers");
}

#[test]
fn an_answer_repeats_the_question_and_its_id() {
    let question = question("MySQL.payroll.svc.cluster.local", RecordType::A);
    let answer = answer(&server(), &question.to_vec().unwrap()).unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, 7);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    assert!(answer.metadata.recursion_desired && answer.metadata.authoritative);
    assert!(answer.queries[0].name.eq_case(&question.queries[0].name));
    assert!(answer.answers[0].name.eq_case(&question.queries[0].name));
}

#[test]
fn an_answer_without_edns_fits_512_bytes() {
    let question = question("wide.data.svc.cluster.local", RecordType::SRV);
    let answer = answer(&server(), &question.to_vec().unwrap()).unwrap();
    assert!(answer.len() <= 512, "{} bytes", answer.len());
    assert!(Message::from_vec(&answer).unwrap().metadata.truncation);
}

/// Bytes that are nearly a question.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec![
        "mysql.payroll.svc.cluster.local",
        "wide.data.svc.cluster.local",
        "ext.apps.svc.cluster.local",
        "1.0.96.10.in-addr.arpa",
        "www.upstream.example",
        "nosuch.example.com",
    ]);
    let types = prop::sample::select(vec![
        RecordType::A,
        RecordType::AAAA,
        RecordType::SRV,
        RecordType::PTR,
        RecordType::ANY,
        RecordType::AXFR,
    ]);
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let more = prop::collection::vec(any::<u8>(), 0..16);
    (names, types, damage, more).prop_map(|(name, qtype, damage, more)| {
        let mut bytes = question(name, qtype).to_vec().unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(more);
        bytes
    })
}

/// How often; `make packets` asks for a million.
fn cases() -> u32 {
    let asked = std::env::var("PODWIRE_DNS_PACKETS").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(2_000)
}

#[test]
fn no_bytes_make_a_server_panic_or_answer_at_length() {
    let server = server();
    let bytes = prop_oneof![
        3 => damaged(),
        1 => prop::collection::vec(any::<u8>(), 0..600),
    ];
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases())
    };
    let mut answered = 0;
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let answered = std::cell::RefCell::new(&mut answered);
    runner
        .run(&bytes, |bytes| {
            if let Some(answer) = answer(&server, &bytes) {
                prop_assert!(answer.len() >= 12 && answer[2] & 0x80 != 0);
                prop_assert_eq!(&answer[..2], &bytes[..2]);
                prop_assert!(answer.len() <= 4_096);
                **answered.borrow_mut() += 1;
            }
            Ok(())
        })
        .unwrap();
    let answered = **answered.borrow();
    assert!(answered > cases() / 3, "only {answered} were answered");
}
