//! Schedulers, persistence and the connection table.

mod draws;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use podwire_packet::{Headers, Protocol, SimTime, TcpFlags};
use podwire_ruleset::Draw;
use podwire_ruleset::ipvs::{
    self, Change, RealServer, Scheduler, Socket, VirtualAddress, VirtualServer,
};

use super::maglev;
use super::{Admission, Ipvs};

const DRAWS: u32 = 1_000_000;

const WEB: VirtualAddress = VirtualAddress {
    protocol: Protocol::TCP,
    address: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)),
    port: 80,
};

/// The same of UDP, for which a virtual server may schedule each packet anew.
const DNS: VirtualAddress = VirtualAddress {
    protocol: Protocol::UDP,
    ..WEB
};

/// A virtual server with options, and real servers 10.0.0.1, 10.0.0.2, … added so that the first one is
/// the first in the kernel's list, which is the last added.
fn ipvs(options: &str, weights: &[u16]) -> Ipvs {
    ipvs_at(WEB, options, weights)
}

fn ipvs_at(at: VirtualAddress, options: &str, weights: &[u16]) -> Ipvs {
    let mut text = format!("-A {at} {options}\n");
    for (place, weight) in (1..).zip(weights).collect::<Vec<_>>().into_iter().rev() {
        text.push_str(&format!("-a {at} -r 10.0.0.{place}:8080 -m -w {weight}\n"));
    }
    Ipvs::new(&ipvs::parse(&text).unwrap())
}

fn server(number: u8) -> (IpAddr, u16) {
    (IpAddr::from([10, 0, 0, number]), 8080)
}

fn set_weight(ipvs: &mut Ipvs, real: Socket, weight: u16) {
    ipvs.apply(&Change::SetWeight(WEB, real, weight));
}

fn remove(ipvs: &mut Ipvs, real: Socket) {
    ipvs.apply(&Change::DeleteReal(WEB, real));
}

fn client(number: u32) -> IpAddr {
    IpAddr::V4((0xc0a8_0000 + number).into())
}

fn packet(src: IpAddr, sport: u16) -> Headers {
    Headers::first_of_flow(src, WEB.address, WEB.protocol, sport, WEB.port)
}

/// The last number of the chosen server's address; 0 if there is none.
fn ask(ipvs: &mut Ipvs, headers: &Headers, seconds: u64) -> u8 {
    let now = SimTime::START + Duration::from_secs(seconds);
    let mut admission = Admission::Expired;
    while admission == Admission::Expired {
        admission = ipvs.admit(None, headers, now, &mut Draw(1));
    }
    match admission {
        Admission::To { real, .. } => match real.address {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => panic!("an IPv4 server"),
        },
        Admission::NoDestination(_) => 0,
        Admission::NotTaken | Admission::Expired => panic!("it is for the virtual server"),
    }
}

/// The servers of so many new connections, each from another client.
fn chosen(ipvs: &mut Ipvs, count: u32) -> Vec<u8> {
    (0..count)
        .map(|number| ask(ipvs, &packet(client(number), 40_000), 0))
        .collect()
}

#[test]
fn round_robin_goes_around_and_leaves_out_the_quiescent() {
    let mut ipvs = ipvs("-s rr", &[1, 1, 1]);
    assert_eq!(chosen(&mut ipvs, 5), [1, 2, 3, 1, 2]);
    set_weight(&mut ipvs, server(3), 0);
    let mut next = |number: u32| ask(&mut ipvs, &packet(client(100 + number), 1), 0);
    assert_eq!([next(0), next(1), next(2)], [1, 2, 1]);
    remove(&mut ipvs, server(1));
    let mut next = |number: u32| ask(&mut ipvs, &packet(client(200 + number), 1), 0);
    assert_eq!([next(0), next(1)], [2, 2]);
}

#[test]
fn weighted_round_robin_begins_with_the_heaviest_and_is_exact_over_a_cycle() {
    // `ip_vs_wrr_schedule` by hand: cw 4: 1; cw 3: 1 2; cw 2: 1 2 3; cw 1: 1 2 3; and again.
    let cycle = [1, 1, 2, 1, 2, 3, 1, 2, 3];
    let mut ipvs = ipvs("-s wrr", &[4, 3, 2]);
    let twice = [cycle, cycle].concat();
    assert_eq!(chosen(&mut ipvs, 18), twice);
}

#[test]
fn weights_with_a_common_divisor_make_a_short_cycle() {
    let mut ipvs = ipvs("-s wrr", &[100, 0, 50]);
    assert_eq!(chosen(&mut ipvs, 6), [1, 1, 3, 1, 1, 3]);
    set_weight(&mut ipvs, server(1), 0);
    set_weight(&mut ipvs, server(3), 0);
    assert_eq!(ask(&mut ipvs, &packet(client(9), 9), 0), 0);
}

#[test]
fn least_connections_goes_to_whom_has_the_fewest_of_equals_the_first() {
    let mut ipvs = ipvs("-s lc", &[1, 9, 1]);
    assert_eq!(chosen(&mut ipvs, 4), [1, 2, 3, 1]);
}

#[test]
fn weighted_least_connections_goes_by_weight() {
    // By hand: load over weight, of equals the first: 0/1 0/3; 1/1 0/3; 1/1 1/3; 1/1 2/3; 1/1 3/3: 1.
    let mut ipvs = ipvs("-s wlc", &[1, 3]);
    assert_eq!(chosen(&mut ipvs, 8), [1, 2, 2, 2, 1, 2, 2, 2]);
}

#[test]
fn the_shortest_expected_delay_counts_the_connection_to_come() {
    // By hand: (active + 1) over weight: 1/1 1/3: 2; 1/1 2/3: 2; 1/1 3/3: 1; 2/1 3/3: 2.
    let mut ipvs = ipvs("-s sed", &[1, 3]);
    assert_eq!(chosen(&mut ipvs, 4), [2, 2, 1, 2]);
}

#[test]
fn never_queue_goes_to_an_idle_server_first() {
    let mut ipvs = ipvs("-s nq", &[1, 3]);
    assert_eq!(chosen(&mut ipvs, 4), [1, 2, 2, 2]);
}

#[test]
fn failover_and_overflow_go_to_the_heaviest() {
    assert_eq!(chosen(&mut ipvs("-s fo", &[1, 3, 3]), 3), [2, 2, 2]);
    // A server overflows when it has more connections than its weight: 2 takes three, 1 takes two.
    assert_eq!(chosen(&mut ipvs("-s ovf", &[1, 2]), 6), [2, 2, 2, 1, 1, 0]);
}

/// What `hash_32` does, by division: the highest eight of the product's 32 bits.
fn bucket(value: u32) -> usize {
    let product = u64::from(value) * 0x61c8_8647 % (1 << 32);
    usize::try_from(product / (1 << 24)).unwrap()
}

/// Asks a million clients, and compares with what a table says of each.
fn agrees_with_table(ipvs: &mut Ipvs, port: u16, of_client: impl Fn(u32) -> u8) {
    let mut counts = BTreeMap::new();
    for number in 0..DRAWS {
        let address = number.wrapping_mul(2_654_435_769);
        let mut headers = packet(IpAddr::V4(address.into()), port);
        headers.protocol = DNS.protocol;
        let got = ask(ipvs, &headers, 0);
        assert_eq!(got, of_client(address), "{address:#x}");
        *counts.entry(got).or_insert(0u32) += 1;
    }
    assert!(
        counts.values().all(|&count| count > DRAWS / 10),
        "{counts:?}"
    );
}

#[test]
fn source_hashing_spreads_256_buckets_by_weight() {
    // 2 1 2 1 1: server 1 takes two buckets, server 2 one, and so on.
    let servers = |place: usize| [1, 1, 2][place % 3];
    let mut own = ipvs_at(DNS, "-o -s sh", &[2, 1]);
    agrees_with_table(&mut own, 40_000, |address| servers(bucket(address)));
    let mut with_port = ipvs_at(DNS, "-o -s sh -b sh-port", &[2, 1]);
    let of_client = |address: u32| servers(bucket(address.wrapping_add(40_000)));
    agrees_with_table(&mut with_port, 40_000, of_client);
}

#[test]
fn source_hashing_falls_back_only_if_told_to() {
    let from = packet(client(7), 40_000);
    let mut strict = ipvs("-s sh", &[1, 1]);
    let first = ask(&mut strict, &from, 0);
    set_weight(&mut strict, server(first), 0);
    let other_port = packet(client(7), 40_001);
    assert_eq!(ask(&mut strict, &other_port, 0), 0);
    let mut lenient = ipvs("-s sh -b sh-fallback", &[1, 1]);
    set_weight(&mut lenient, server(first), 0);
    assert_eq!(ask(&mut lenient, &from, 0), 3 - first);
}

#[test]
fn destination_hashing_looks_at_the_virtual_address_alone() {
    let mut ipvs = ipvs("-s dh", &[5, 1, 1]);
    // 10.96.0.1.
    let expected = u8::try_from(bucket(0x0a60_0001) % 3).unwrap() + 1;
    assert_eq!(chosen(&mut ipvs, 3), [expected; 3]);
}

/// Maglev's table as the paper has it: each server's permutation of the entries written out, and
/// servers taking turns.
fn maglev_table(servers: &[(u8, usize)]) -> Vec<u8> {
    const SIZE: usize = 4093;
    let permutations: Vec<Vec<usize>> = servers
        .iter()
        .map(|&(number, _)| {
            let (address, port) = server(number);
            let offset = maglev::tests::offset(address, port) as usize % SIZE;
            let skip = maglev::tests::skip(address, port) as usize % (SIZE - 1) + 1;
            (0..SIZE).map(|j| (offset + j * skip) % SIZE).collect()
        })
        .collect();
    let mut next = vec![0; servers.len()];
    let mut table = vec![0; SIZE];
    let mut filled = 0;
    loop {
        for (place, &(number, weight)) in servers.iter().enumerate() {
            for _ in 0..weight {
                while table[permutations[place][next[place]]] != 0 {
                    next[place] += 1;
                }
                table[permutations[place][next[place]]] = number;
                filled += 1;
                if filled == SIZE {
                    return table;
                }
            }
        }
    }
}

#[test]
fn maglev_hashing_is_that_of_the_paper() {
    let table = maglev_table(&[(1, 2), (2, 1), (3, 1)]);
    let of = |address: u32, port: u16| table[maglev::place(IpAddr::V4(address.into()), port, 0)];
    let mut own = ipvs_at(DNS, "-o -s mh", &[20, 10, 10]);
    agrees_with_table(&mut own, 40_000, |address| of(address, 0));
    let mut with_port = ipvs_at(DNS, "-o -s mh -b mh-port", &[20, 10, 10]);
    agrees_with_table(&mut with_port, 40_000, |address| of(address, 40_000));
}

#[test]
fn a_maglev_table_keeps_the_place_of_a_quiescent_server() {
    // `last_weight`: its clients find nobody, unless told to fall back; the others stay.
    let mut ipvs = ipvs("-s mh", &[1, 1]);
    let before = chosen(&mut ipvs, 50);
    set_weight(&mut ipvs, server(2), 0);
    let after: Vec<u8> = (0..50)
        .map(|number| ask(&mut ipvs, &packet(client(number), 40_001), 0))
        .collect();
    let expected: Vec<u8> = before.iter().map(|&s| if s == 2 { 0 } else { s }).collect();
    assert_eq!(after, expected);
    assert!(after.contains(&0) && after.contains(&1));
}

#[test]
fn a_client_stays_with_its_server_until_its_template_expires() {
    let mut ipvs = ipvs("-s rr -p 100", &[1, 1]);
    assert_eq!(ask(&mut ipvs, &packet(client(1), 1), 0), 1);
    assert_eq!(ask(&mut ipvs, &packet(client(2), 1), 0), 2);
    assert_eq!(ask(&mut ipvs, &packet(client(1), 2), 90), 1);
    // The template counts from the last connection, and waits for that to end: a SYN alone is
    // remembered for a minute, so the last one is over at 150, and the template at 190.
    assert_eq!(ask(&mut ipvs, &packet(client(1), 3), 189), 1);
    assert_eq!(ask(&mut ipvs, &packet(client(3), 1), 189), 1);
    assert_eq!(ask(&mut ipvs, &packet(client(1), 4), 300), 2);
}

#[test]
fn a_template_waits_for_its_connections() {
    let mut ipvs = ipvs("-s rr -p 10", &[1, 1]);
    let from = packet(client(1), 1);
    assert_eq!(ask(&mut ipvs, &from, 0), 1);
    assert_eq!(ask(&mut ipvs, &packet(client(2), 1), 0), 2);
    let mut established = from;
    established.tcp_flags = TcpFlags::ACK;
    assert_eq!(ask(&mut ipvs, &established, 1), 1);
    // Established for 15 minutes: the template, of 10 s, looks again each minute.
    assert_eq!(ask(&mut ipvs, &packet(client(1), 2), 800), 1);
}

#[test]
fn a_quiescent_server_loses_its_persistent_clients_but_keeps_connections() {
    let mut ipvs = ipvs("-s rr -p 100", &[1, 1]);
    let from = packet(client(1), 1);
    assert_eq!(ask(&mut ipvs, &from, 0), 1);
    set_weight(&mut ipvs, server(1), 0);
    assert_eq!(ask(&mut ipvs, &from, 1), 1);
    assert_eq!(ask(&mut ipvs, &packet(client(1), 2), 1), 2);
}

#[test]
fn a_server_that_is_gone_takes_its_connections_along() {
    let mut ipvs = ipvs("-s rr", &[1, 1]);
    let from = packet(client(1), 1);
    assert_eq!(ask(&mut ipvs, &from, 0), 1);
    remove(&mut ipvs, server(1));
    assert_eq!(ask(&mut ipvs, &from, 1), 2);
    assert_eq!(ipvs.counts(&WEB, server(2)), (1, 0));
}

#[test]
fn a_server_that_comes_back_finds_its_connections() {
    let mut ipvs = ipvs("-s lc", &[1, 1]);
    let from = packet(client(1), 1);
    assert_eq!(ask(&mut ipvs, &from, 0), 1);
    remove(&mut ipvs, server(1));
    let back = RealServer::masquerading(server(1).0, server(1).1, 1);
    ipvs.apply(&Change::AddReal(WEB, back));
    assert_eq!(ipvs.counts(&WEB, server(1)), (1, 0));
    assert_eq!(ask(&mut ipvs, &packet(client(2), 1), 0), 2);
    assert_eq!(ask(&mut ipvs, &from, 1), 1);
    // A connection that ends meanwhile is not counted any more.
    remove(&mut ipvs, server(1));
    ipvs.expire(SimTime::START + Duration::from_secs(120));
    ipvs.apply(&Change::AddReal(WEB, back));
    assert_eq!(ipvs.counts(&WEB, server(1)), (0, 0));
}

#[test]
fn a_virtual_server_that_goes_takes_its_connections_along() {
    let servers = ipvs::parse(&format!(
        "-A {WEB} -s rr\n-a {WEB} -r 10.0.0.1:8080 -m -w 1\n"
    ));
    let servers = servers.unwrap();
    let mut ipvs = Ipvs::new(&servers);
    let from = packet(client(1), 1);
    assert_eq!(ask(&mut ipvs, &from, 0), 1);
    ipvs.apply(&Change::DeleteServer(WEB));
    let mut admit = |configured| ipvs.admit(configured, &from, SimTime::START, &mut Draw(1));
    // It comes back before the next packet: nothing happened.
    assert!(matches!(
        admit(Some(&servers)),
        Admission::To { is_new: false, .. }
    ));
    ipvs.apply(&Change::DeleteServer(WEB));
    let mut admit = || ipvs.admit(None, &from, SimTime::START, &mut Draw(1));
    assert_eq!(admit(), Admission::Expired);
    assert_eq!(admit(), Admission::NotTaken);
}

#[test]
fn another_scheduler_begins_anew_and_keeps_connections() {
    let mut ipvs = ipvs("-s rr", &[1, 1]);
    let from = packet(client(1), 1);
    assert_eq!(ask(&mut ipvs, &from, 0), 1);
    let edited = VirtualServer {
        scheduler: Scheduler::LeastConnection,
        ..VirtualServer::default()
    };
    ipvs.apply(&Change::EditServer(WEB, edited));
    assert_eq!(ask(&mut ipvs, &packet(client(2), 1), 0), 2);
    assert_eq!(ask(&mut ipvs, &packet(client(3), 1), 0), 1);
    assert_eq!(ask(&mut ipvs, &from, 0), 1);
}

#[test]
fn connections_count_as_active_until_they_close() {
    let mut ipvs = ipvs("-s rr", &[1]);
    let mut from = packet(client(1), 1);
    ask(&mut ipvs, &from, 0);
    assert_eq!(ipvs.counts(&WEB, server(1)), (1, 0));
    from.tcp_flags = TcpFlags::FIN.union(TcpFlags::ACK);
    ask(&mut ipvs, &from, 1);
    assert_eq!(ipvs.counts(&WEB, server(1)), (0, 1));
    ipvs.expire(SimTime::START + Duration::from_secs(1 + 120));
    assert_eq!(ipvs.counts(&WEB, server(1)), (0, 0));
}

#[test]
fn a_server_at_its_threshold_gets_no_more() {
    let text = format!(
        "-A {WEB} -s rr\n-a {WEB} -r 10.0.0.2:8080 -m -w 1\n-a {WEB} -r 10.0.0.1:8080 -m -w 1 -x 2 -y 1\n"
    );
    let mut ipvs = Ipvs::new(&ipvs::parse(&text).unwrap());
    assert_eq!(chosen(&mut ipvs, 6), [1, 2, 1, 2, 2, 2]);
}

#[test]
fn what_answers_comes_from_the_virtual_server() {
    let mut ipvs = ipvs("-s rr", &[1]);
    let from = packet(client(1), 1);
    ask(&mut ipvs, &from, 0);
    let (address, port) = server(1);
    let back = Headers::first_of_flow(address, from.src, WEB.protocol, port, from.sport);
    assert_eq!(
        ipvs.answer(&back, SimTime::START),
        Some((WEB.address, WEB.port))
    );
    let other = Headers::first_of_flow(address, from.src, WEB.protocol, port, 2);
    assert_eq!(ipvs.answer(&other, SimTime::START), None);
}
