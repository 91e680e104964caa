//! Keys that were hard for tables, or are so by their form.

use std::net::{IpAddr, Ipv6Addr};

use podwire_packet::{Headers, Protocol};
use podwire_ruleset::{Choose as _, Draw};

use super::{Dispatch, Found};
use crate::fields::{Fields, Key, Narrow, Wide};

fn key<F: Fields>(address: IpAddr, port: u16) -> F::Key {
    let headers = Headers::first_of_flow(address, address, Protocol::TCP, 40_000, port);
    F::key_of(&headers).expect("the address is of the family")
}

fn ipv4(address: u32, port: u16) -> u64 {
    key::<Narrow>(IpAddr::from(address.to_be_bytes()), port)
}

/// Each key has a place of its own, and what is not a key has none.
fn check<F: Fields>(keys: &[F::Key], other: F::Key) {
    let table = Dispatch::<F>::new(7, keys, false).expect("the table is filled");
    for (key, place) in keys.iter().zip(7..) {
        assert_eq!(table.first_rule(*key), Some(place));
        assert!(matches!(table.lookup().find(*key), Found::Ask));
    }
    assert_eq!(table.first_rule(other), None);
    assert!(matches!(table.lookup().find(other), Found::Nothing));
}

#[test]
fn ports_of_one_ipv6_address_that_end_alike_are_parted() {
    let address = |n: u128| IpAddr::from(Ipv6Addr::from(0xfd00_u128 << 112 | n));
    let keys: Vec<[u64; 3]> = (0..64)
        .flat_map(|n| (0..16).map(move |high| key::<Wide>(address(n), high << 8 | 0xbb)))
        .collect();
    check::<Wide>(&keys, key::<Wide>(address(64), 443));
}

#[test]
fn regular_addresses_and_ports_fill_a_table() {
    for (step, ports, apart) in [(8, 64, 363), (1, 3, 1), (256, 2, 9_000), (1 << 16, 5, 256)] {
        let keys: Vec<u64> = (0..64_u32)
            .flat_map(|n| (0..ports).map(move |port| (n, port)))
            .map(|(n, port)| ipv4(0x0a60_0000 + n * step, 80 + apart * port))
            .collect();
        check::<Narrow>(&keys, ipv4(0x0b00_0000, 80));
    }
}

#[test]
fn random_keys_of_a_range_always_fill_a_table() {
    let mut draw = Draw(3);
    for number in 0..4_000 {
        let count = 4 + number % 60;
        let mut keys: Vec<u64> = (0..count)
            .map(|_| ipv4(0x0a60_0000 + draw.one_of(1 << 16), 80))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        check::<Narrow>(&keys, ipv4(0x0a60_0000, 81));
    }
}

#[test]
fn a_key_that_undoes_one_multiplier_does_not_undo_the_others() {
    // What differs from the first key by 2^64 over a multiplier has nearly its hash.
    let base = ipv4(0x0a60_0001, 80);
    let keys: Vec<u64> = (0..3_000_u64)
        .map(|n| base.wrapping_add(n.wrapping_mul(0x1_0000_0100) & !0xff))
        .collect();
    check::<Narrow>(&keys, ipv4(0x0b00_0000, 80));
    assert!(keys.iter().all(|key| key.low_byte() == 0));
}
