//! Tables of Services: rules that compare destination, protocol and port, or those of NodePorts, which
//! compare protocol and port.
//!
//! A lookup is one entry of 32 bytes (64 for IPv6), which holds the key and what comes of it: where the
//! rule's chain folds to one choice ([`crate::fold`]) between few endpoints of one port, the endpoints
//! themselves. Every key has a place of its own, so that nothing branches on where it is found; a
//! branch that waits for memory and goes wrong costs more than the memory.
//!
//! Keys are hashed to small groups, and each group has a number, its pilot, that moves its keys up from where
//! their own hashes put them to places where no other key is. Both hashes are multiplications that need
//! nothing of each other, and a pilot is added: between a packet and its entry stand a multiplication, the
//! load of a pilot and an addition. A pilot is for two keys, and eight of nine entries are in use: what stays
//! in a cache matters more than how long a table takes to make. With the places of the rules a Service of
//! IPv4 takes 42 bytes.
//!
//! Source: Belazzougui, Botelho, Dietzfelbinger: Hash, displace, and compress (ESA 2009); Pibiri, Trani:
//! PTHash: Revisiting FCH Minimal Perfect Hashing (SIGIR 2021).

use std::hint::black_box;

use podwire_ruleset::Draw;

use crate::fields::{Fields, Key};
use crate::fold::Folds;
use crate::prefetch::prefetch;
use crate::program::to_u32;

/// What an entry says, in the lowest byte of its key.
const EMPTY: u8 = 0;
/// Port and marking together are the place of a fold.
const FOLDED: u8 = 254;
/// Its rules are to be asked.
const ASK: u8 = 255;

/// A Service.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
struct Entry<F: Fields> {
    /// The key; in its lowest byte how many endpoints stand here, or one of the words above.
    key: F::Key,
    /// Port of every endpoint.
    port: u16,
    /// Place of what becomes of the mark.
    marking: u16,
    endpoints: F::Inline,
}

/// A table of Services.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dispatch<F: Fields> {
    entries: Vec<Entry<F>>,
    pilots: Vec<u16>,
    hashing: Hashing,
    /// The first rule of each entry.
    places: Vec<u32>,
    /// The next rule of the same key, for the few that have one: sorted by the earlier one.
    next: Vec<(u32, u32)>,
    /// Whether it asks for protocol and port alone, whatever the destination.
    pub(crate) is_of_ports: bool,
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

/// How many keys a table has, and what stands for them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) keys: usize,
    /// Answered by the entry alone.
    pub(crate) at_once: usize,
    /// Leading to a fold that stands elsewhere.
    pub(crate) folded: usize,
}

/// The rules of one key.
struct Keyed<K> {
    key: K,
    first: u32,
    last: u32,
}

/// How a key comes to its group, and to the place that the group's pilot moves it from.
#[derive(Clone, Copy, Debug, Default)]
struct Hashing {
    /// What keys are multiplied by: for the group, and for the place.
    multipliers: [u64; 2],
    groups: usize,
    /// Places that keys are spread over, before they are moved.
    spread: usize,
}

impl Hashing {
    /// Group and place.
    #[inline]
    fn of(&self, key: impl Key) -> (usize, usize) {
        let [group, place] = key.mixed(self.multipliers);
        (scaled(group, self.groups), scaled(place, self.spread))
    }
}

/// Keys, those of a group together, and the groups: the number of each and where its keys are, the largest
/// first, while there is room.
struct Grouped<K> {
    keys: Vec<Keyed<K>>,
    groups: Vec<(usize, std::ops::Range<usize>)>,
}

/// Keys of a group, on average. Few, so that there are groups of one for the places that are left over, even
/// where keys are so regular that groups are all but alike.
const GROUP: usize = 2;
/// For so many keys there is an entry more; the second where the first leaves too little room.
const SLACKS: [usize; 2] = [8, 1];
/// How far a pilot moves keys, at most. Groups find their places in the order of their size; the last of two
/// keys, with a ninth of the entries free, fit with a chance of one in 81.
const REACH: usize = 2047;
/// Different keys that a group may have; regular keys may come to more with one multiplier, and with others not.
const MOST: usize = 32;
/// Multipliers that are tried: for the groups, and for the places with each of them. No pilot parts two keys of
/// one group that have one place; in every second table there are some, whatever its size. Keys that defeat
/// all multipliers are asked as other rules are.
const GROUP_MULTIPLIERS: u64 = 4;
const PLACE_MULTIPLIERS: u64 = 12;

/// A multiplier, the first of which has the bits of the golden ratio; they know nothing of each other.
const fn multiplier(number: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    if number == 0 {
        return GOLDEN;
    }
    Draw(number).next() | 1
}

/// A number below `n`, spread as the hash is: the high half of their product.
#[inline]
fn scaled(hash: u64, n: usize) -> usize {
    let product = u128::from(hash) * n as u128;
    usize::try_from(product >> 64).unwrap_or(0)
}

impl<F: Fields> Dispatch<F> {
    /// A table of rules that stand together from a place on: the key of each, and whether they compare
    /// protocol and port alone.
    pub(crate) fn new(first: u32, keys: &[F::Key], is_of_ports: bool) -> Option<Self> {
        let groups = keys.len() / GROUP + 1;
        let mut table = Self {
            entries: Vec::new(),
            pilots: vec![0; groups],
            hashing: Hashing {
                multipliers: [0; 2],
                groups,
                spread: 0,
            },
            places: Vec::new(),
            next: Vec::new(),
            is_of_ports,
            first,
            end: first + to_u32(keys.len()),
        };
        let is_done = SLACKS.iter().any(|slack| {
            let spread = keys.len() + keys.len() / slack + 8;
            table.hashing.spread = spread;
            table.places = vec![0; spread + spread.min(REACH)];
            (0..GROUP_MULTIPLIERS).any(|number| {
                table.hashing.multipliers[0] = multiplier(number);
                let grouped = table.group(keys);
                grouped.is_some_and(|grouped| {
                    (0..PLACE_MULTIPLIERS).any(|place| {
                        let number = GROUP_MULTIPLIERS + number * PLACE_MULTIPLIERS + place;
                        table.hashing.multipliers[1] = multiplier(number);
                        table.settle(&grouped)
                    })
                })
            })
        });
        is_done.then_some(table)
    }

    /// The keys by their groups; none if a group is too large.
    fn group(&mut self, keys: &[F::Key]) -> Option<Grouped<F::Key>> {
        self.next.clear();
        let mut by_group: Vec<(u32, u32)> = (0..)
            .zip(keys)
            .map(|(at, key)| (to_u32(self.hashing.of(self.own(*key)).0), at))
            .collect();
        by_group.sort_unstable();
        let mut grouped = Grouped {
            keys: Vec::with_capacity(keys.len()),
            groups: Vec::with_capacity(self.pilots.len()),
        };
        for group in by_group.chunk_by(|(one, _), (other, _)| one == other) {
            let begin = grouped.keys.len();
            for &(_, at) in group {
                let (key, place) = (self.own(keys[at as usize]), self.first + at);
                let mut known = grouped.keys[begin..].iter_mut().rev();
                if let Some(rule) = known.find(|rule| rule.key == key) {
                    let before = std::mem::replace(&mut rule.last, place);
                    self.next.push((before, place));
                } else if grouped.keys.len() - begin < MOST {
                    grouped.keys.push(Keyed {
                        key,
                        first: place,
                        last: place,
                    });
                } else {
                    return None;
                }
            }
            let number = group.first().map_or(0, |(number, _)| *number as usize);
            grouped.groups.push((number, begin..grouped.keys.len()));
        }
        self.next.sort_unstable();
        let groups = &mut grouped.groups;
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.len()));
        Some(grouped)
    }

    /// Finds a pilot for each group with which its keys have places of their own, and puts them there; no if
    /// some group has none.
    fn settle(&mut self, grouped: &Grouped<F::Key>) -> bool {
        let keys = grouped.keys.iter();
        let places: Vec<usize> = keys.map(|own| self.hashing.of(own.key).1).collect();
        let mut is_taken = vec![false; self.places.len()];
        for (number, group) in &grouped.groups {
            let own = &places[group.clone()];
            if (1..own.len()).any(|at| own[..at].contains(&own[at])) {
                return false;
            }
            let is_free = |pilot: usize| own.iter().all(|place| !is_taken[place + pilot]);
            let reach = is_taken.len() - self.hashing.spread;
            let Some(pilot) = (0..=reach).find(|&pilot| is_free(pilot)) else {
                return false;
            };
            for place in own {
                is_taken[place + pilot] = true;
            }
            self.pilots[*number] = u16::try_from(pilot).unwrap_or(u16::MAX);
        }
        self.entries = vec![Entry::default(); self.places.len()];
        for &Keyed { key, first, .. } in &grouped.keys {
            let slot = self.slot_of(key);
            self.entries[slot].key = key.with_low_byte(ASK);
            self.places[slot] = first;
        }
        true
    }

    /// The table as a lookup needs it.
    #[inline]
    pub(crate) fn lookup(&self) -> Lookup<'_, F> {
        Lookup {
            entries: &self.entries,
            pilots: &self.pilots,
            hashing: self.hashing,
        }
    }

    /// What this table knows of a key.
    #[inline]
    pub(crate) fn own(&self, key: F::Key) -> F::Key {
        if self.is_of_ports { key.of_port() } else { key }
    }

    fn slot_of(&self, key: F::Key) -> usize {
        self.lookup().slot_of(key)
    }

    /// Sets what stands for the key of a rule, if the rule is the first of its key, to a fold. Says
    /// whether the entry holds all of it, so that the fold need not be kept.
    pub(crate) fn set(&mut self, key: F::Key, place: u32, fold: u32, folds: &Folds<F>) -> bool {
        let key = self.own(key);
        let slot = self.slot_of(key);
        let entry = &mut self.entries[slot];
        if self.places[slot] != place || !key.is_alike(entry.key) {
            return false;
        }
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

    /// Reads the entries of keys that are about to be [set](Self::set).
    pub(crate) fn look_ahead(&self, keys: impl Iterator<Item = F::Key>) {
        let slots: Vec<usize> = keys.map(|key| self.slot_of(self.own(key))).collect();
        let taken = slots
            .iter()
            .filter(|&&slot| self.places[slot] != 0 && self.entries[slot].key.low_byte() == ASK);
        black_box(taken.count());
    }

    /// Has the rules of a key asked, if the rule is the first of them; says whether that is new.
    pub(crate) fn ask(&mut self, key: F::Key, place: u32) -> bool {
        let key = self.own(key);
        let slot = self.slot_of(key);
        if (self.first..self.end).contains(&place)
            && self.places[slot] == place
            && key.is_alike(self.entries[slot].key)
        {
            let before = std::mem::replace(&mut self.entries[slot].key, key.with_low_byte(ASK));
            return before.low_byte() != ASK;
        }
        false
    }

    /// The first rule of the packet's key.
    pub(crate) fn first_rule(&self, key: F::Key) -> Option<u32> {
        let key = self.own(key);
        let slot = self.slot_of(key);
        let own = self.entries.get(slot)?.key;
        (key.is_alike(own) && own.low_byte() != EMPTY).then(|| self.places[slot])
    }

    /// The next rule of the same key.
    pub(crate) fn rule_after(&self, place: u32) -> Option<u32> {
        let at = self
            .next
            .binary_search_by_key(&place, |(earlier, _)| *earlier);
        Some(self.next[at.ok()?].1)
    }

    /// What stands for a packet's key.
    #[inline]
    pub(crate) fn find(&self, key: F::Key) -> Found<'_, F> {
        self.lookup().find(self.own(key))
    }

    /// How many keys there are, and what stands for them.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in &self.entries {
            let kind = entry.key.low_byte();
            counts.keys += usize::from(kind != EMPTY);
            counts.folded += usize::from(kind == FOLDED);
            counts.at_once += usize::from(!matches!(kind, EMPTY | FOLDED | ASK));
        }
        counts
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.entries.as_slice())
            + size_of_val(self.places.as_slice())
            + size_of_val(self.next.as_slice())
            + size_of_val(self.pilots.as_slice())
    }
}

/// A table as a lookup needs it: a few words, with nothing on the way to the entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup<'a, F: Fields> {
    entries: &'a [Entry<F>],
    pilots: &'a [u16],
    hashing: Hashing,
}

/// A table without entries.
impl<F: Fields> Default for Lookup<'_, F> {
    fn default() -> Self {
        Self {
            entries: &[],
            pilots: &[],
            hashing: Hashing::default(),
        }
    }
}

impl<'a, F: Fields> Lookup<'a, F> {
    /// Where a key stands, if it is in the table.
    #[inline]
    pub(crate) fn slot_of(&self, key: F::Key) -> usize {
        let (group, place) = self.hashing.of(key);
        match self.pilots.get(group) {
            Some(pilot) => place + usize::from(*pilot),
            // A table without entries.
            None => usize::MAX,
        }
    }

    /// What stands for a key.
    #[inline]
    pub(crate) fn find(&self, key: F::Key) -> Found<'a, F> {
        self.at(self.slot_of(key), key)
    }

    /// What stands for a key at the one place where it can be.
    #[inline]
    pub(crate) fn at(&self, slot: usize, key: F::Key) -> Found<'a, F> {
        let Some(entry) = self.entries.get(slot) else {
            return Found::Nothing;
        };
        // A number above any byte where the entry is of another key.
        let kind = key.byte_of(entry.key);
        let count = usize::try_from(kind).unwrap_or(usize::MAX);
        match entry.endpoints.as_ref().get(..count) {
            Some([]) => Found::Nothing,
            Some(endpoints) => Found::Endpoints(Service {
                endpoints,
                port: entry.port,
                marking: entry.marking,
            }),
            None if kind == u64::from(FOLDED) => {
                Found::Fold(u32::from(entry.port) << 16 | u32::from(entry.marking))
            }
            None if kind == u64::from(ASK) => Found::Ask,
            None => Found::Nothing,
        }
    }

    /// Bytes that lookups load from.
    #[inline]
    pub(crate) const fn bytes(&self) -> usize {
        size_of_val(self.entries) + size_of_val(self.pilots)
    }

    /// Has the entry at a place brought near.
    #[inline]
    pub(crate) fn prefetch(&self, slot: usize) {
        if let Some(entry) = self.entries.get(slot) {
            prefetch(entry);
        }
    }
}

#[cfg(test)]
pub(crate) const fn entry_size<F: Fields>() -> usize {
    size_of::<Entry<F>>()
}

#[cfg(test)]
mod tests;
