//! Source and destination hashing.
//!
//! Source: net/netfilter/ipvs/{ip_vs_sh,ip_vs_dh}.c.

use std::net::IpAddr;

use super::service::Destination;

/// Bits of a bucket's number: `IP_VS_SH_TAB_BITS`, `IP_VS_DH_TAB_BITS`.
const BITS: u32 = 8;
const BUCKETS: usize = 1 << BITS;

/// An address as one number: IPv6 folded by xor.
pub(super) fn fold(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments().map(u32::from);
            (a << 16 | b) ^ (c << 16 | d) ^ (e << 16 | f) ^ (g << 16 | h)
        }
    }
}

/// `hash_32` (include/linux/hash.h): the upper bits of the product with the golden ratio.
const fn hash_32(value: u32) -> u32 {
    const GOLDEN_RATIO_32: u32 = 0x61c8_8647;
    value.wrapping_mul(GOLDEN_RATIO_32) >> (32 - BITS)
}

/// `ip_vs_sh_hashkey`.
pub(super) fn source_bucket(address: IpAddr, port: u16, offset: u32) -> usize {
    let hash = hash_32(fold(address).wrapping_add(u32::from(port)));
    offset.wrapping_add(hash) as usize % BUCKETS
}

/// `ip_vs_dh_hashkey`.
pub(super) fn destination_bucket(address: IpAddr) -> usize {
    hash_32(fold(address)) as usize
}

/// `ip_vs_sh_reassign`: each destination in turn takes as many buckets as it has weight, one at least.
pub(super) fn by_weight(destinations: &[Destination]) -> Vec<u32> {
    let turns = (0u32..).zip(destinations).flat_map(|(place, destination)| {
        let share = usize::from(destination.real.weight.max(1));
        std::iter::repeat_n(place, share.min(BUCKETS))
    });
    let turns: Vec<u32> = turns.take(BUCKETS).collect();
    turns.iter().copied().cycle().take(BUCKETS).collect()
}

/// `ip_vs_dh_reassign`: the destinations in turn.
pub(super) fn in_turn(destinations: &[Destination]) -> Vec<u32> {
    let places = (0u32..).zip(destinations).map(|(place, _)| place);
    places.cycle().take(BUCKETS).collect()
}

/// The destination of a table's entry, if it is available; else, where the scheduler falls back, the
/// first available one of the entries that other offsets hash to (`ip_vs_sh_get_fallback`,
/// `ip_vs_mh_get_fallback`).
pub(super) fn look_up(
    table: &[u32],
    destinations: &[Destination],
    hash: &dyn Fn(u32) -> usize,
    falls_back: bool,
) -> Option<usize> {
    let available = |at: usize| -> Option<usize> {
        let place = *table.get(at)? as usize;
        destinations[place].is_available().then_some(place)
    };
    let first = hash(0);
    if !falls_back {
        return available(first);
    }
    let size = u32::try_from(table.len()).unwrap_or(u32::MAX);
    let first_offset = u32::try_from(first).unwrap_or(0);
    available(first)
        .or_else(|| (0..size).find_map(|step| available(hash((step + first_offset) % size))))
}
