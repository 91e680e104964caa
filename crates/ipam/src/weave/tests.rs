//! What holds of a network whatever happens to it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use podwire_packet::{MacAddr, Prefix};
use proptest::prelude::*;

use super::{MergeError, Mesh, Ring, Space, Span};

const UNIVERSE: &str = "10.99.0.0/26";

fn peer(n: u8) -> MacAddr {
    MacAddr([0, 0, 0, 0, 0, n])
}

fn universe() -> Prefix {
    UNIVERSE.parse().unwrap()
}

/// One of few peers.
fn some_peer() -> impl Strategy<Value = u8> {
    0_u8..4
}

#[derive(Clone, Debug)]
enum Step {
    Give(u8),
    Free(u8, u8),
    Claim(u8, u8),
    Request(u8, u8),
    TakeOver(u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => some_peer().prop_map(Step::Give),
        2 => (some_peer(), 0_u8..64).prop_map(|(p, n)| Step::Free(p, n)),
        2 => (some_peer(), 0_u8..64).prop_map(|(p, n)| Step::Claim(p, n)),
        4 => (some_peer(), some_peer()).prop_map(|(p, d)| Step::Request(p, d)),
        1 => (some_peer(), some_peer()).prop_map(|(p, d)| Step::TakeOver(p, d)),
    ];
    prop::collection::vec(step, 0..60)
}

fn host(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, n)
}

proptest! {
    #[test]
    fn every_address_has_one_owner_and_is_given_once(
        seeds in prop::collection::vec(some_peer(), 1..4),
        steps in steps(),
    ) {
        let mut mesh = Mesh::new(universe()).unwrap();
        mesh.seed(&seeds.into_iter().map(peer).collect::<Vec<_>>());
        let mut given: BTreeSet<(u8, Ipv4Addr)> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Give(p) => {
                    if let Some(address) = mesh.give(peer(p), universe()) {
                        prop_assert!(given.iter().all(|&(_, other)| other != address));
                        prop_assert!(address != host(0) && address != host(63));
                        given.insert((p, address));
                    }
                }
                Step::Claim(p, n) => {
                    if mesh.claim(peer(p), host(n)) {
                        prop_assert!(given.insert((p, host(n))));
                    }
                }
                Step::Free(p, n) => {
                    prop_assert_eq!(mesh.free(peer(p), host(n)), given.remove(&(p, host(n))));
                }
                Step::Request(p, d) => {
                    mesh.request(peer(p), peer(d), universe());
                }
                Step::TakeOver(p, gone) => {
                    mesh.take_over(peer(p), peer(gone));
                    if p != gone {
                        given.retain(|&(owner, _)| owner != gone);
                    }
                }
            }
            let ranges: Vec<Span> = (0..4).flat_map(|p| mesh.ring().owned(peer(p))).collect();
            prop_assert_eq!(ranges.iter().map(|range| range.size()).sum::<u64>(), 64);
            for &(p, address) in &given {
                prop_assert_eq!(mesh.ring().owner(address), Some(peer(p)));
            }
            for p in 0..4 {
                let free = mesh.space(peer(p)).map_or(0, Space::free_count);
                let owned: u64 = mesh.ring().owned(peer(p)).map(Span::size).sum();
                let used = given.iter().filter(|(owner, _)| *owner == p).count() as u64;
                prop_assert_eq!(free + used, owned);
            }
        }
    }

    /// Every peer changes only its own ranges, in its own view, and hears of the others' changes late
    /// and in any order.
    #[test]
    fn views_that_hear_of_each_other_become_one(
        grants in prop::collection::vec((some_peer(), some_peer(), 0_u8..64, 1_u8..16), 0..20),
        gossip in prop::collection::vec((some_peer(), some_peer()), 0..20),
    ) {
        let peers: Vec<MacAddr> = (0..4).map(peer).collect();
        let mut ring = Ring::new(universe());
        ring.seed(&peers);
        let mut views = vec![ring; 4];
        let mut gossip = gossip.into_iter();
        for (from, to, start, size) in grants {
            let first = Span::of(universe()).start + u64::from(start);
            let granted = Span { start: first, end: first + u64::from(size) };
            let view = &mut views[usize::from(from)];
            if view.owned(peer(from)).any(|mine| mine.and(granted) == granted) {
                view.grant(granted, peer(to));
            }
            if let Some((teller, hearer)) = gossip.next() {
                let told = views[usize::from(teller)].clone();
                let heard = views[usize::from(hearer)].merge(&told, peer(hearer), |_| false);
                prop_assert!(heard.is_ok(), "{heard:?}");
            }
        }
        for _ in 0..4 {
            for (teller, hearer) in (0..4_u8).flat_map(|t| (0..4_u8).map(move |h| (t, h))) {
                let told = views[usize::from(teller)].clone();
                let heard = views[usize::from(hearer)].merge(&told, peer(hearer), |_| false);
                prop_assert!(heard.is_ok(), "{heard:?}");
            }
        }
        let owners = |view: &Ring| -> Vec<_> { (0..64).map(|n| view.owner(host(n))).collect() };
        for view in &views {
            prop_assert_eq!(owners(view), owners(&views[0]));
        }
    }
}

#[test]
fn a_peer_keeps_what_it_has_given_addresses_of() {
    let mut mine = Ring::new(universe());
    mine.seed(&[peer(1), peer(2)]);
    let mut theirs = mine.clone();
    theirs.transfer(peer(1), peer(2));
    let before = mine.clone();
    let error = mine.merge(&theirs, peer(1), |_| true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Received update for IP range I own at 10.99.0.0 v0: \
         incoming message says owner 00:00:00:00:00:02 v100"
    );
    assert_eq!(mine, before);
    assert_eq!(mine.merge(&theirs, peer(1), |_| false), Ok(true));
    assert_eq!(mine.owner(host(1)), Some(peer(2)));
}

#[test]
fn networks_that_began_apart_do_not_become_one() {
    let mut rings = [1, 2].map(|n| {
        let mut ring = Ring::new(universe());
        ring.seed(&[peer(n)]);
        ring
    });
    let [mine, theirs] = &mut rings;
    assert_eq!(
        mine.merge(theirs, peer(1), |_| false)
            .unwrap_err()
            .to_string(),
        "IP allocation was seeded by different peers \
         (received: [00:00:00:00:00:02], ours: [00:00:00:00:00:01])"
    );
    let other = Ring::new("10.32.0.0/12".parse().unwrap());
    assert_eq!(
        mine.merge(&other, peer(1), |_| false),
        Err(MergeError::DifferentRange {
            received: other.universe(),
            ours: universe(),
        })
    );
}

#[test]
fn donors_with_more_space_are_asked_first_unless_the_draw_says_otherwise() {
    let mut mesh = Mesh::new(universe()).unwrap();
    mesh.seed(&[peer(1), peer(2), peer(3)]);
    mesh.join(peer(4));
    let all = Span::of(universe());
    assert_eq!(mesh.donors(peer(4), all, || 0.5), [1, 2, 3].map(peer));
    let mut draws = [0.1, 0.2, 0.9].into_iter();
    let drawn = mesh.donors(peer(4), all, || draws.next().unwrap());
    assert_eq!(drawn, [3, 1, 2].map(peer));
    assert_eq!(mesh.donors(peer(1), all, || 0.5), [2, 3].map(peer));
}

#[test]
fn the_http_interface_gives_tells_and_takes_back() {
    let mut mesh = Mesh::new(universe()).unwrap();
    mesh.seed(&[peer(1)]);
    let mut ask = |n: u8, method: &str, path: &str| {
        let answer = mesh.http(peer(n), method, path, || 0.5);
        answer.map(|answer| (answer.status, answer.body))
    };
    let answered = |status: u16, body: &str| Some((status, body.to_owned()));
    for (n, method, path, status, body) in [
        (1, "GET", "/ipinfo/defaultsubnet", 200, UNIVERSE),
        (1, "GET", "/ip", 200, "{\"owned\":null}\n"),
        (1, "POST", "/ip/weave:expose", 200, "10.99.0.1/26"),
        (1, "POST", "/ip/a?check-alive=true", 200, "10.99.0.2/26"),
        (1, "POST", "/ip/a", 200, "10.99.0.2/26"),
        (1, "GET", "/ip/a", 200, "10.99.0.2/26"),
        (1, "GET", "/ip/nobody", 200, ""),
        (1, "POST", "/ip/b/10.99.0.32/30", 200, "10.99.0.33/30"),
        (1, "PUT", "/ip/c/10.99.0.40/26", 204, ""),
        (1, "PUT", "/ip/c/10.99.0.40/26", 204, ""),
        (2, "POST", "/ip/d", 200, "10.99.0.48/26"),
        (
            2,
            "PUT",
            "/ip/d/10.99.0.2/26",
            400,
            "Unable to claim: address 10.99.0.2 is owned by other peer 00:00:00:00:00:01\n",
        ),
        (2, "PUT", "/ip/d/10.99.0.12/26", 204, ""),
        (
            1,
            "PUT",
            "/ip/d/10.99.0.40/26",
            400,
            "Unable to claim: address 10.99.0.40 is already owned by c\n",
        ),
        (
            1,
            "POST",
            "/ip/e/192.168.0.0/24",
            400,
            "range 192.168.0.0/24 out of bounds: 10.99.0.0/26\n",
        ),
        (
            1,
            "POST",
            "/ip/e/10.99.0.1/26",
            400,
            "invalid subnet - bits after network prefix are not all zero: 10.99.0.1/26\n",
        ),
        (
            1,
            "POST",
            "/ip/e/10.99/26",
            400,
            "invalid CIDR address: 10.99/26\n",
        ),
        (
            1,
            "DELETE",
            "/ip/a/10.99.0.9",
            400,
            "Unable to free: Free: address 10.99.0.9 not found for a\n",
        ),
        (1, "DELETE", "/ip/a", 204, ""),
        (1, "DELETE", "/ip/a", 400, "Delete: no addresses for a\n"),
        (1, "POST", "/ip/f", 200, "10.99.0.2/26"),
        (1, "GET", "/nothing", 404, "404 page not found\n"),
    ] {
        assert_eq!(
            ask(n, method, path),
            answered(status, body),
            "{method} {path}"
        );
    }
}

#[test]
fn a_peer_without_anyone_to_ask_does_not_answer() {
    let mut mesh = Mesh::new("10.99.0.0/30".parse().unwrap()).unwrap();
    mesh.seed(&[peer(1)]);
    for name in ["a", "b"] {
        assert!(
            mesh.http(peer(1), "POST", &format!("/ip/{name}"), || 0.5)
                .is_some()
        );
    }
    assert_eq!(mesh.http(peer(1), "POST", "/ip/c", || 0.5), None);
}

#[test]
fn an_heir_gets_what_a_leaving_peer_owned() {
    let mut mesh = Mesh::new(universe()).unwrap();
    mesh.seed(&[peer(1), peer(2)]);
    assert_eq!(mesh.reset(peer(1)), Some(peer(2)));
    assert_eq!(mesh.ring().owner(host(1)), Some(peer(2)));
    assert_eq!(mesh.reset(peer(2)), None);
}
