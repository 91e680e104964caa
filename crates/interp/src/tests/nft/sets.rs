//! Sets, maps and what rules do to them.

use std::time::Duration;

use podwire_packet::{Family, Protocol};
use podwire_ruleset::nft::{
    DataType, Element, Key, Set, SetFlags, SetOperation, SetStatement, Span, State, Statement,
    Verdict as Says,
};
use podwire_ruleset::{Policy, Verdict};

use super::{
    Tables, address, count, daddr, dport, element, look_up, name, prefix, saddr, service,
    service_key, verdict,
};
use crate::tests::Probe;

fn service_map() -> Set {
    let types = [
        DataType::Address(Family::Ipv4),
        DataType::Protocol,
        DataType::Port,
    ];
    let mut map = Set::verdict_map(types);
    map.elements.extend([
        element(
            service("192.0.2.1", Protocol::TCP, 80),
            Says::Goto(name("web")),
        ),
        element(service("192.0.2.1", Protocol::UDP, 53), Says::Drop),
    ]);
    map
}

/// nft(8), VMAP STATEMENT; `nft_lookup_eval`: what is not found fails the rule.
#[test]
fn a_verdict_map_gives_the_verdict_and_without_one_the_next_rule_is_asked() {
    let walk = |probe: &Probe| {
        Tables::of(probe)
            .named("services", service_map())
            .base(
                "base",
                0,
                Policy::Accept,
                [vec![look_up(service_key(), "services")], vec![count()]],
            )
            .chain("web", [vec![count()]])
            .walk()
    };
    assert_eq!(
        walk(&Probe::tcp()),
        ("base/1 web/1".to_owned(), Verdict::Accept)
    );
    assert_eq!(walk(&Probe::udp()), ("base/1".to_owned(), Verdict::Drop));
    let other = Probe::tcp().to("192.0.2.9");
    assert_eq!(walk(&other), ("base/2".to_owned(), Verdict::Accept));
}

/// nft(8), SETS: "`*` … catch-all element".
#[test]
fn a_catch_all_element_takes_what_no_other_does() {
    let mut map = service_map();
    map.key.truncate(1);
    map.flags = SetFlags::INTERVAL;
    map.elements = [
        element(prefix("192.0.2.0/24"), Says::Continue),
        element(Span::Any, Says::Drop),
    ]
    .into_iter()
    .collect();
    let dropped = |probe: &Probe| {
        let tables = Tables::of(probe).named("m", map.clone()).base(
            "base",
            0,
            Policy::Accept,
            [vec![look_up(daddr(), "m")]],
        );
        tables.ask().verdict == Verdict::Drop
    };
    assert!(!dropped(&Probe::tcp()));
    assert!(dropped(&Probe::tcp().to("198.18.0.1")));
}

#[test]
fn an_interval_set_holds_prefixes_and_ranges() {
    let mut set = Set::of([DataType::Address(Family::Ipv4)]);
    set.flags = SetFlags::INTERVAL;
    let range = Span::Range(address("203.0.113.3"), address("203.0.113.9"));
    for span in [prefix("198.51.100.0/25"), range] {
        set.elements.insert(Key::from(span), Element::default());
    }
    let is_in = |src: &str| {
        let probe = Probe::tcp().from(src);
        let tables = Tables::of(&probe).named("s", set.clone());
        let test = Statement::is_in(saddr(), name("s"));
        probe.runs_with(&[test], tables, &mut State::default())
    };
    assert!(is_in("198.51.100.7") && is_in("203.0.113.3") && is_in("203.0.113.9"));
    assert!(!is_in("198.51.100.128") && !is_in("203.0.113.10"));
}

/// A set as kube-proxy makes one for session affinity.
fn clients(size: Option<u32>) -> Set {
    Set {
        flags: SetFlags::DYNAMIC.union(SetFlags::TIMEOUT),
        timeout: Some(Duration::from_secs(60)),
        size,
        ..Set::of([DataType::Address(Family::Ipv4)])
    }
}

fn change(operation: SetOperation) -> Statement {
    Statement::Set(SetStatement {
        operation,
        set: name("clients"),
        key: saddr(),
        timeout: None,
    })
}

/// A set of clients, what is in it, and the packets that come.
struct Clients {
    size: Option<u32>,
    state: State,
}

impl Clients {
    fn new(size: Option<u32>) -> Self {
        let state = State::default();
        Self { size, state }
    }

    fn run(&mut self, probe: &Probe, statement: Statement) -> bool {
        let tables = Tables::of(probe).named("clients", clients(self.size));
        probe.runs_with(&[statement], tables, &mut self.state)
    }

    fn knows(&mut self, probe: &Probe) -> bool {
        self.run(probe, Statement::is_in(saddr(), name("clients")))
    }
}

/// nft(8), SET STATEMENT: "update … refresh … the timeout"; `nft_dynset_eval`, `nft_rhash_update`.
#[test]
fn update_remembers_a_client_for_the_timeout_from_its_last_packet_on() {
    let client = Probe::tcp();
    let mut set = Clients::new(None);
    assert!(!set.knows(&client));
    assert!(set.run(&client, change(SetOperation::Update)));
    assert!(set.knows(&client));
    assert!(!set.knows(&client.clone().from("198.51.100.8")));
    let later = client.clone().seconds_later(59);
    assert!(set.knows(&later));
    assert!(set.run(&later, change(SetOperation::Update)));
    assert!(set.knows(&client.clone().seconds_later(118)));
    assert!(!set.knows(&client.seconds_later(119)));
}

#[test]
fn add_leaves_the_timeout_of_an_element_that_is_there() {
    let client = Probe::tcp();
    let mut set = Clients::new(None);
    assert!(set.run(&client, change(SetOperation::Add)));
    let later = client.clone().seconds_later(59);
    assert!(set.run(&later, change(SetOperation::Add)));
    assert!(!set.knows(&client.seconds_later(60)));
}

#[test]
fn delete_takes_an_element_out() {
    let client = Probe::tcp();
    let mut set = Clients::new(None);
    assert!(set.run(&client, change(SetOperation::Update)));
    assert!(set.run(&client, change(SetOperation::Delete)));
    assert!(!set.knows(&client));
}

/// `nft_dynset_new`: no element beyond the size; the rule fails (`NFT_BREAK`). Elements that expired
/// make room.
#[test]
fn a_full_set_takes_nobody_and_the_rule_fails() {
    let (one, other) = (Probe::tcp(), Probe::tcp().from("198.51.100.8"));
    let mut set = Clients::new(Some(1));
    assert!(set.run(&one, change(SetOperation::Update)));
    assert!(!set.run(&other, change(SetOperation::Update)));
    assert!(set.run(&one, change(SetOperation::Update)));
    let later = other.seconds_later(61);
    assert!(set.run(&later, change(SetOperation::Update)));
    assert!(set.knows(&later));
}

/// The kernel runs statements from left to right; one that fails undoes nothing.
#[test]
fn what_a_rule_did_before_it_failed_stays_and_the_next_rule_sees_it() {
    let client = Probe::tcp();
    let tables = Tables::of(&client).named("clients", clients(None)).base(
        "base",
        0,
        Policy::Accept,
        [
            vec![
                change(SetOperation::Update),
                Statement::is(dport(), Span::port(81)),
                verdict(Says::Accept),
            ],
            vec![
                Statement::is_in(saddr(), name("clients")),
                verdict(Says::Drop),
            ],
        ],
    );
    assert_eq!(tables.walk(), ("base/2".to_owned(), Verdict::Drop));
}
