//! Tables of Services: rules that compare destination, protocol and port.
//!
//! A lookup is one probe, and most often one cache line: a bucket is two entries, and an entry holds
//! the key and what comes of it: where the rule's chain folds to one choice ([`crate::fold`]) between
//! few endpoints of one port, the endpoints themselves.
//!
//! Linear probing from bucket to bucket, half full: one lookup in ten goes to the next bucket
//! (an even spread gives 0.10), and the next bucket is the next cache line.

use crate::fields::{Fields, Key};
use crate::fold::Folds;
use crate::program::to_u32;

/// What an entry says, in the lowest byte of its key.
const EMPTY: u8 = 0;
/// Port and marking together are the place of a fold.
const FOLDED: u8 = 254;
/// Its rules are to be asked.
const ASK: u8 = 255;

/// A Service: 32 bytes for IPv4, 64 for IPv6.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Entry<F: Fields> {
    /// The key; in its lowest byte how many endpoints stand here, or one of the words above.
    key: F::Key,
    /// Port of every endpoint.
    port: u16,
    /// Place of what becomes of the mark.
    marking: u16,
    endpoints: F::Inline,
}

/// Two entries; for IPv4 a cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Bucket<F: Fields>([Entry<F>; 2]);

/// A table of Services.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch<F: Fields> {
    buckets: Vec<Bucket<F>>,
    seed: u64,
    /// The first rule of each entry, by place of the entry.
    places: Vec<u32>,
    /// The next rule of the same key, for the few that have one: sorted by the earlier one.
    next: Vec<(u32, u32)>,
    /// How many keys there are.
    pub(crate) len: usize,
    /// Places of its rules in the program.
    pub(crate) first: u32,
    pub(crate) end: u32,
}

/// What a table says of a packet.
pub(crate) enum Found<'a, F: Fields> {
    /// No rule of it fits.
    Nothing,
    /// One of the endpoints.
    Endpoints(Service<'a, F>),
    /// That fold.
    Fold(u32),
    /// The rules are to be asked.
    Ask,
}

/// A Service whose endpoints stand in its entry.
pub(crate) struct Service<'a, F: Fields> {
    pub(crate) endpoints: &'a [F::Address],
    /// Port of every endpoint.
    pub(crate) port: u16,
    /// Place of what becomes of the mark.
    pub(crate) marking: u16,
}

/// Probes of one lookup at most; a table that would need more is made anew with another seed.
const MAX_PROBES: usize = 16;
/// Seeds that are tried; keys that defeat all of them are asked as other rules are.
const MAX_SEEDS: u64 = 8;

impl<F: Fields> Dispatch<F> {
    /// A table of rules that stand together from a place on: the key of each.
    pub(crate) fn new(first: u32, keys: &[F::Key]) -> Option<Self> {
        let mut table = Self {
            buckets: Vec::new(),
            seed: 0,
            places: Vec::new(),
            next: Vec::new(),
            len: 0,
            first,
            end: first + to_u32(keys.len()),
        };
        (0..MAX_SEEDS).any(|seed| table.fill(seed, keys)).then_some(table)
    }

    /// Fills the table; no if some key would stand too far from its place.
    fn fill(&mut self, seed: u64, keys: &[F::Key]) -> bool {
        self.buckets.clear();
        // One key a bucket of two.
        self.buckets.resize(keys.len() + 1, Bucket::default());
        self.places = vec![0; self.buckets.len() * 2];
        self.seed = seed.wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.len = 0;
        let mut next: Vec<(u32, u32)> = Vec::new();
        let mut last_of: hashbrown::HashMap<u32, u32, rustc_hash::FxBuildHasher> =
            hashbrown::HashMap::default();
        for (place, &key) in (self.first..).zip(keys) {
            let Some(slot) = self.room(key) else {
                return false;
            };
            let entry = self.entry_mut(slot);
            if entry.key.low_byte() == EMPTY {
                entry.key = key.with_low_byte(ASK);
                self.places[slot] = place;
                self.len += 1;
            } else {
                let first = self.places[slot];
                let last = last_of.insert(first, place).unwrap_or(first);
                next.push((last, place));
            }
        }
        next.sort_unstable();
        self.next = next;
        true
    }

    /// Sets what stands for the key of a rule, if the rule is the first of its key, to a fold. Says
    /// whether the entry holds all of it, so that the fold need not be kept.
    pub(crate) fn set(&mut self, key: F::Key, place: u32, fold: u32, folds: &Folds<F>) -> bool {
        let Some(slot) = self.room(key).filter(|&slot| self.places[slot] == place) else {
            return false;
        };
        let entry = self.entry_mut(slot);
        let own = &folds.folds[fold as usize];
        if let Some((port, endpoints)) = folds.in_one_entry(own)
            && let Ok(marking) = u16::try_from(own.marking)
            && let Ok(count) = u8::try_from(endpoints.len())
            && let Some(inline) = entry.endpoints.as_mut().get_mut(..endpoints.len())
        {
            for (own, endpoint) in inline.iter_mut().zip(endpoints) {
                *own = endpoint.address;
            }
            (entry.port, entry.marking) = (port, marking);
            entry.key = key.with_low_byte(count);
            return true;
        }
        let [a, b, c, d] = fold.to_be_bytes();
        (entry.port, entry.marking) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        entry.key = key.with_low_byte(FOLDED);
        false
    }

    /// The first rule of the packet's key, from a place on.
    pub(crate) fn rule_from(&self, key: F::Key, from: u32) -> Option<u32> {
        let slot = self.slot_of(key)?;
        let mut place = self.places[slot];
        while place < from {
            let at = self.next.binary_search_by_key(&place, |(earlier, _)| *earlier);
            place = self.next[at.ok()?].1;
        }
        Some(place)
    }

    /// Where a key stands.
    fn slot_of(&self, key: F::Key) -> Option<usize> {
        let slot = self.room(key)?;
        (self.entry(slot).key.low_byte() != EMPTY).then_some(slot)
    }

    #[inline]
    pub(crate) fn home(&self, key: F::Key) -> usize {
        // The high half of the product: an even spread over any number of buckets.
        let scaled = u128::from(key.mixed(self.seed)) * (self.buckets.len() as u128);
        usize::try_from(scaled >> 64).unwrap_or(0)
    }

    fn entry(&self, slot: usize) -> &Entry<F> {
        &self.buckets[slot / 2].0[slot % 2]
    }

    fn entry_mut(&mut self, slot: usize) -> &mut Entry<F> {
        &mut self.buckets[slot / 2].0[slot % 2]
    }

    /// Where the key stands, or could stand.
    fn room(&self, key: F::Key) -> Option<usize> {
        let mut bucket = self.home(key);
        for _ in 0..MAX_PROBES {
            for half in 0..2 {
                let own = self.buckets[bucket].0[half].key;
                if own.low_byte() == EMPTY || own.is_alike(key) {
                    return Some(bucket * 2 + half);
                }
            }
            bucket = self.after(bucket);
        }
        None
    }

    #[inline]
    const fn after(&self, bucket: usize) -> usize {
        let next = bucket + 1;
        if next == self.buckets.len() { 0 } else { next }
    }

    /// What stands for a key.
    #[inline]
    pub(crate) fn find(&self, key: F::Key) -> Found<'_, F> {
        self.find_from(self.home(key), key)
    }

    /// What stands for a key, looked for from its home on.
    #[inline]
    pub(crate) fn find_from(&self, mut at: usize, key: F::Key) -> Found<'_, F> {
        loop {
            let Some(Bucket([left, right])) = self.buckets.get(at) else {
                return Found::Nothing;
            };
            // Which of the two it is cannot be foretold, so nothing branches on it.
            let entry = if left.key.is_alike(key) { left } else { right };
            let kind = entry.key.low_byte();
            if entry.key.is_alike(key) && kind != EMPTY {
                return match entry.endpoints.as_ref().get(..usize::from(kind)) {
                    Some(endpoints) => Found::Endpoints(Service {
                        endpoints,
                        port: entry.port,
                        marking: entry.marking,
                    }),
                    None if kind == FOLDED => Found::Fold(u32::from(entry.port) << 16 | u32::from(entry.marking)),
                    None => Found::Ask,
                };
            }
            if left.key.low_byte() == EMPTY || right.key.low_byte() == EMPTY {
                return Found::Nothing;
            }
            at = self.after(at);
        }
    }
}
