//! Maglev hashing.
//!
//! Sources: net/netfilter/ipvs/ip_vs_mh.c; Eisenbud and others: Maglev, NSDI 2016, section 3.4. The
//! hash is `hsiphash` of a kernel of 64 bits: SipHash-1-3 (Aumasson, Bernstein, 2012) cut to 32 bits.

use std::net::IpAddr;

use super::hashing::fold;
use super::service::{Destination, gcd};

/// Entries of the table: the fifth of the primes, for `CONFIG_IP_VS_MH_TAB_INDEX` 12.
const SIZE: u32 = 4093;
/// `IP_VS_MH_TAB_BITS`: half of that index.
const WEIGHT_BITS: u32 = 6;

/// Both keys of `generate_hash_secret`.
const OFFSET_KEY: [u64; 2] = [2_654_435_761; 2];
const SKIP_KEY: [u64; 2] = [2_654_446_892; 2];

/// The entry of a client (`ip_vs_mh_get`).
pub(super) fn place(address: IpAddr, port: u16, offset: u32) -> usize {
    (hash(address, port, OFFSET_KEY, offset) % SIZE) as usize
}

/// `ip_vs_mh_hashkey`.
fn hash(address: IpAddr, port: u16, key: [u64; 2], offset: u32) -> u32 {
    let value = offset
        .wrapping_add(u32::from(port))
        .wrapping_add(fold(address));
    hsiphash_1u32(value, key)
}

/// What no destination has taken yet.
const FREE: u32 = u32::MAX;

/// A destination's preferences, and how often it takes a turn.
struct Setup {
    next: u32,
    skip: u32,
    turns: u32,
}

/// The table: destinations take turns, as many in a row as they have weight, and each takes the entry
/// that it prefers of those that are left (`ip_vs_mh_permutate`, `ip_vs_mh_populate`). Empty where no
/// destination has weight.
pub(super) fn table(destinations: &[Destination]) -> Vec<u32> {
    let weights = || destinations.iter().map(|d| u64::from(d.last_weight));
    let divisor = weights().fold(0, gcd);
    if divisor == 0 || destinations.len() > SIZE as usize {
        return Vec::new();
    }
    // `ip_vs_mh_shift_weight`: as many turns as the table has room for.
    let heaviest = weights().max().unwrap_or(0) / divisor;
    let shift = (u64::BITS - heaviest.leading_zeros()).saturating_sub(WEIGHT_BITS);
    let mut setups: Vec<(u32, Setup)> = (0u32..)
        .zip(destinations)
        .map(|(place, destination)| {
            let real = &destination.real;
            let weight = u64::from(destination.last_weight);
            let turns = u32::try_from((weight / divisor) >> shift).unwrap_or(u32::MAX);
            let of = |key| hash(real.address, real.port, key, 0);
            let setup = Setup {
                next: of(OFFSET_KEY) % SIZE,
                skip: of(SKIP_KEY) % (SIZE - 1) + 1,
                turns: turns.max(u32::from(weight != 0)),
            };
            (place, setup)
        })
        .collect();
    let mut table = vec![FREE; SIZE as usize];
    let mut left = SIZE;
    while left > 0 {
        for (place, setup) in &mut setups {
            for _ in 0..setup.turns.min(left) {
                while table[setup.next as usize] != FREE {
                    setup.next = (setup.next + setup.skip) % SIZE;
                }
                table[setup.next as usize] = *place;
                left -= 1;
            }
        }
    }
    table
}

/// `hsiphash_1u32`.
const fn hsiphash_1u32(value: u32, [key0, key1]: [u64; 2]) -> u32 {
    let mut v = [
        key0 ^ 0x736f_6d65_7073_6575,
        key1 ^ 0x646f_7261_6e64_6f6d,
        key0 ^ 0x6c79_6765_6e65_7261,
        key1 ^ 0x7465_6462_7974_6573,
    ];
    // The length in bytes is the highest byte of the last word.
    let word = 4 << 56 | value as u64;
    v[3] ^= word;
    v = round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    v = round(round(round(v)));
    let [_, low] = halves(v[0] ^ v[1] ^ v[2] ^ v[3]);
    low
}

/// The upper and the lower 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is asked for"
)]
const fn halves(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}

/// `SIPROUND`.
const fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn offset(address: IpAddr, port: u16) -> u32 {
        hash(address, port, OFFSET_KEY, 0)
    }

    pub(in super::super) fn skip(address: IpAddr, port: u16) -> u32 {
        hash(address, port, SKIP_KEY, 0)
    }

    #[test]
    fn the_hash_is_that_of_the_kernels_own_test() {
        // lib/tests/siphash_kunit.c: the bytes 0 to 3 under that key.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(hsiphash_1u32(0x0302_0100, key), 0x88d3_8328);
    }
}
