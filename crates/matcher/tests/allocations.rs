//! Classifying a packet by kube-proxy's rules allocates nothing.

use std::path::Path;

use allocation_counter::measure;
use podwire_matcher::{Matcher, NftMatcher};
use podwire_packet::{Family, Headers, Mark, Protocol, SimTime};
use podwire_ruleset::{
    Classify, ConntrackInfo, CtState, Draw, Hook, HostAddresses, NatKind, Packet, RuleId, State,
    TableName, iptables, nft,
};

const NFT_RULES: &str = "tests/golden/kube-proxy/058-nodeport-addresses-all/nftables.node-a.txt";
const RULES: &str = "tests/golden/kube-proxy/010-nodeport/iptables-save.node-a.txt";

#[test]
fn a_lookup_allocates_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(RULES)).unwrap();
    let matcher = Matcher::new(&iptables::parse(&text, Family::Ipv4).unwrap().rules).unwrap();
    let host = HostAddresses::of(["192.168.64.11".parse().unwrap()]);
    let state = State::default();
    let (mut draw, mut rules): (Draw, Vec<RuleId>) = (Draw(1), Vec::with_capacity(64));
    let mut translated = 0;
    for (dst, protocol, port) in [
        ("10.96.164.99", Protocol::TCP, 80),
        ("10.96.228.113", Protocol::UDP, 7777),
        ("10.96.228.114", Protocol::UDP, 7777),
        ("192.168.64.11", Protocol::TCP, 1),
    ] {
        for hook in [Hook::Prerouting, Hook::Output, Hook::Postrouting] {
            let (src, dst) = ("10.244.3.4".parse().unwrap(), dst.parse().unwrap());
            let packet = Packet {
                headers: Headers::first_of_flow(src, dst, protocol, 40_000, port),
                mark: Mark(0),
                hook,
                input: None,
                output: None,
                physdev_in: None,
                physdev_out: None,
                conntrack: ConntrackInfo::of_state(CtState::New),
                host: &host,
                now: SimTime::START,
            };
            let mut nat = None;
            let silent = measure(|| {
                nat = matcher
                    .classify(TableName::Nat, &packet, &state, &mut draw, &mut ())
                    .nat;
            });
            assert_eq!(silent.count_total, 0, "{dst}:{port} at {hook}");
            translated += usize::from(nat.is_some_and(|(kind, _)| kind == NatKind::Dnat));
            rules.clear();
            let watched = measure(|| {
                matcher.classify(TableName::Nat, &packet, &state, &mut draw, &mut rules);
            });
            assert_eq!(watched.count_total, 0, "{dst}:{port} at {hook}, watched");
        }
    }
    assert_eq!(translated, 4);
}

#[test]
fn a_lookup_in_nftables_allocates_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(NFT_RULES)).unwrap();
    let matcher = NftMatcher::new(&nft::parse(&text).unwrap().rules, Family::Ipv4).unwrap();
    let host = HostAddresses::of(["192.168.64.11".parse().unwrap()]);
    let (state, mut draw) = (nft::State::default(), Draw(1));
    let mut translated = 0;
    for (dst, protocol, port) in [
        ("10.96.191.192", Protocol::TCP, 80),
        ("192.168.64.11", Protocol::TCP, 30_957),
        ("192.168.64.11", Protocol::TCP, 1),
    ] {
        for hook in Hook::ALL {
            let (src, dst) = ("10.244.3.4".parse().unwrap(), dst.parse().unwrap());
            let packet = Packet {
                headers: Headers::first_of_flow(src, dst, protocol, 40_000, port),
                mark: Mark(0),
                hook,
                input: None,
                output: None,
                physdev_in: None,
                physdev_out: None,
                conntrack: ConntrackInfo::of_state(CtState::New),
                host: &host,
                now: SimTime::START,
            };
            for hooked in matcher.base_chains(hook) {
                let mut nat = None;
                let measured = measure(|| {
                    let chain = hooked.chain;
                    nat = matcher
                        .classify(chain, &packet, &state, &mut draw, &mut ())
                        .nat;
                });
                assert_eq!(measured.count_total, 0, "{dst}:{port} at {hook}");
                translated += usize::from(nat.is_some_and(|(kind, _)| kind == NatKind::Dnat));
            }
        }
    }
    assert_eq!(translated, 4);
}
