//! Of the load balancer alone, which no rule shows.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use podwire_packet::{Protocol, SimTime};
use podwire_ruleset::{Draw, Origin, outcomes};

use super::{Dials, LoadBalancer, ProxySocket};

const A: (IpAddr, u16) = endpoint(1);
const B: (IpAddr, u16) = endpoint(2);
const C: (IpAddr, u16) = endpoint(3);
const CLIENT: IpAddr = endpoint(9).0;
const OTHER: IpAddr = endpoint(10).0;

const fn endpoint(host: u8) -> (IpAddr, u16) {
    (IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, host)), 80)
}

const fn seconds(after: u64) -> SimTime {
    SimTime(after * 1_000_000_000)
}

fn socket(protocol: Protocol, affinity_seconds: Option<u32>) -> ProxySocket {
    ProxySocket {
        name: "default/web".into(),
        protocol,
        address: None,
        port: 32_768,
        endpoints: Vec::new(),
        affinity_seconds,
        origin: Origin(NonZeroU32::MIN),
    }
}

/// The endpoint of a client's first dial.
fn first(
    balancer: &mut LoadBalancer,
    affinity: Option<u32>,
    client: IpAddr,
    now: SimTime,
) -> Option<(IpAddr, u16)> {
    let socket = socket(Protocol::TCP, affinity);
    balancer
        .dials(&socket, (client, 40_000), now)
        .next(&mut Draw(1))
}

#[test]
fn endpoints_take_turns_in_an_order_that_is_drawn_once() {
    let mut balancer = LoadBalancer::default();
    balancer.update(&[A, B, C]);
    let mut next = || first(&mut balancer, None, CLIENT, SimTime::START).unwrap();
    let round = [next(), next(), next()];
    let mut sorted = round;
    sorted.sort_unstable();
    assert_eq!(sorted, [A, B, C]);
    assert_eq!([next(), next(), next()], round);
}

#[test]
fn every_order_is_as_likely_as_any_other() {
    let all = outcomes(|choose| {
        let mut balancer = LoadBalancer::default();
        balancer.update(&[A, B, C]);
        let socket = socket(Protocol::TCP, None);
        let mut dials = balancer.dials(&socket, (CLIENT, 40_000), SimTime::START);
        [(); 3].map(|()| dials.next(choose).unwrap())
    });
    assert_eq!(all.len(), 6);
    for (probability, order) in all {
        assert!((probability - 1.0 / 6.0).abs() < 1e-12, "{order:?}");
    }
}

#[test]
fn tcp_is_dialled_four_times_and_udp_once() {
    for (protocol, dials) in [(Protocol::TCP, Dials::TIMEOUTS.len()), (Protocol::UDP, 1)] {
        let mut balancer = LoadBalancer::default();
        balancer.update(&[A]);
        let socket = socket(protocol, None);
        let mut of_client = balancer.dials(&socket, (CLIENT, 40_000), SimTime::START);
        let tried = std::iter::from_fn(|| of_client.next(&mut Draw(1)));
        assert_eq!(tried.count(), dials, "{protocol}");
    }
}

#[test]
fn nobody_is_dialled_where_there_is_no_endpoint() {
    let mut balancer = LoadBalancer::default();
    assert_eq!(first(&mut balancer, None, CLIENT, SimTime::START), None);
}

#[test]
fn a_client_keeps_its_endpoint_while_it_comes_back_in_time() {
    let mut balancer = LoadBalancer::default();
    balancer.update(&[A, B]);
    let mut ask = |client, at| first(&mut balancer, Some(60), client, seconds(at)).unwrap();
    let own = ask(CLIENT, 0);
    assert_ne!(ask(OTHER, 1), own);
    assert_eq!(ask(CLIENT, 59), own);
    // It was used since.
    assert_eq!(ask(CLIENT, 118), own);
    // Whose turn it is now is an endpoint of chance, but a turn is taken: one more is the other's.
    let after = ask(CLIENT, 178);
    assert_ne!(ask(endpoint(11).0, 178), after);
}

#[test]
fn no_seconds_of_affinity_are_three_hours() {
    let mut balancer = LoadBalancer::default();
    balancer.update(&[A, B]);
    let mut ask = |at| first(&mut balancer, Some(0), CLIENT, seconds(at)).unwrap();
    let own = ask(0);
    assert_eq!(ask(10_799), own);
    assert_ne!(ask(10_799 + 10_800), own);
}

#[test]
fn an_endpoint_that_did_not_answer_is_no_longer_the_clients() {
    let mut balancer = LoadBalancer::default();
    balancer.update(&[A, B]);
    let socket = socket(Protocol::TCP, Some(60));
    let own = first(&mut balancer, Some(60), CLIENT, SimTime::START).unwrap();
    let mut dials = balancer.dials(&socket, (CLIENT, 40_000), SimTime::START);
    assert_eq!(dials.next(&mut Draw(1)), Some(own));
    let other = dials.next(&mut Draw(1)).unwrap();
    assert_ne!(other, own);
    let kept = first(&mut balancer, Some(60), CLIENT, SimTime::START);
    assert_eq!(kept, Some(other));
}

#[test]
fn a_client_forgets_an_endpoint_that_is_gone() {
    let mut balancer = LoadBalancer::default();
    balancer.update(&[A]);
    assert_eq!(
        first(&mut balancer, Some(60), CLIENT, SimTime::START),
        Some(A)
    );
    balancer.update(&[B]);
    let later = SimTime::START + Duration::from_secs(1);
    assert_eq!(first(&mut balancer, Some(60), CLIENT, later), Some(B));
    // The same endpoints in another order are no news.
    balancer.update(&[B, A]);
    let before = format!("{balancer:?}");
    balancer.update(&[A, B]);
    assert_eq!(format!("{balancer:?}"), before);
}

#[test]
fn a_udp_client_keeps_its_connection_while_packets_follow_each_other() {
    let mut balancer = LoadBalancer::default();
    balancer.update(&[A, B]);
    let socket = socket(Protocol::UDP, None);
    let ask = |balancer: &mut LoadBalancer, port, millis: u64| {
        let now = SimTime(millis * 1_000_000);
        let mut dials = balancer.dials(&socket, (CLIENT, port), now);
        dials.next(&mut Draw(1)).unwrap()
    };
    let own = ask(&mut balancer, 1, 0);
    assert_ne!(ask(&mut balancer, 2, 0), own);
    assert_eq!(ask(&mut balancer, 1, 249), own);
    // It is kept beyond the endpoint's end, until a packet is late.
    balancer.update(&[C]);
    assert_eq!(ask(&mut balancer, 1, 498), own);
    assert_eq!(ask(&mut balancer, 1, 748), C);
}
