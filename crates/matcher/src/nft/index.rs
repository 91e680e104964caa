//! Finds the element of a set or map that holds the numbers read from a packet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use podwire_ruleset::nft::Key;

use super::field::Kind;
use super::span::{Span, Spans, hold, is_any, numbers, spans};

type Table<K> = HashMap<K, u32, FixedState>;

/// Which element holds what.
///
/// # Cost
/// Exact keys: one probe. Prefixes and ranges of one part: a binary search. Those of several parts: a walk
/// through them, behind the probe of exact keys.
#[derive(Clone, Debug)]
pub(super) struct Index {
    exact: Exact,
    spans: Ordered,
    /// The element `*`.
    any: Option<u32>,
}

/// Keys of which each part is one value.
#[derive(Clone, Debug)]
enum Exact {
    None,
    /// Numbers from 0 on; places by number.
    Dense(Box<[Option<u32>]>),
    /// Keys of at most 64 bits.
    Narrow(Packing, Table<u64>),
    /// Keys of at most 256 bits.
    Wide(Packing, Table<[u128; 2]>),
    Long(Table<Box<[u128]>>),
}

/// How many bits each part has in a packed key.
type Packing = Box<[u32]>;

/// Keys with prefixes or ranges.
#[derive(Clone, Debug)]
enum Ordered {
    None,
    /// Ranges that do not touch another's numbers, sorted.
    Segments(Box<[Segment]>),
    /// Keys in order, of which the first counts.
    List(Box<[(Spans, u32)]>),
}

/// A range of numbers, and what holds them.
#[derive(Clone, Copy, Debug)]
struct Segment {
    first: u128,
    last: u128,
    place: u32,
}

/// Which of several elements that hold the same numbers counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precedence {
    /// Of a named set: the exact key, the first that holds them, `*`. Without intervals, nothing is held but
    /// by exact keys and `*`.
    Named { interval: bool },
    /// The first; of plain numbers, the element whose place is the number.
    Written,
}

impl Index {
    /// The index of keys, each with its place, for numbers of these kinds.
    pub(super) fn new<'k>(
        keys: impl Iterator<Item = &'k Key>,
        kinds: &[Kind],
        precedence: Precedence,
    ) -> Self {
        let (mut exact, mut others, mut any) = (Vec::new(), Vec::new(), None);
        for (place, key) in (0..).zip(keys) {
            match precedence {
                Precedence::Named { .. } if is_any(key) => {
                    any = any.or(Some(place));
                    continue;
                }
                Precedence::Named { .. } | Precedence::Written => {}
            }
            if let Some(numbers) = numbers(key, kinds) {
                exact.push((numbers, place));
            } else if precedence != (Precedence::Named { interval: false }) {
                others.extend(spans(key, kinds).map(|spans| (spans, place)));
            }
        }
        let is_written = precedence == Precedence::Written;
        if is_written && !others.is_empty() {
            return Self::written(exact, others, kinds);
        }
        Self {
            exact: Exact::new(exact, kinds),
            spans: match kinds {
                _ if others.is_empty() => Ordered::None,
                [_] => Ordered::of(others, |place| (false, place)),
                _ => Ordered::List(others.into()),
            },
            any,
        }
    }

    /// Where an exact key does not come before a range that was written before it.
    fn written(
        exact: Vec<(Box<[u128]>, u32)>,
        mut others: Vec<(Spans, u32)>,
        kinds: &[Kind],
    ) -> Self {
        let numbered: Vec<u32> = match kinds {
            [Kind::Number] => {
                let numbered = exact
                    .iter()
                    .filter(|(key, place)| key[0] == u128::from(*place));
                numbered.map(|(_, place)| *place).collect()
            }
            _ => Vec::new(),
        };
        others.extend(exact.into_iter().map(|(key, place)| {
            let spans = key.iter().map(|&number| Span::Range {
                first: number,
                last: number,
            });
            (spans.collect(), place)
        }));
        others.sort_by_key(|(_, place)| *place);
        Self {
            exact: Exact::None,
            spans: match kinds {
                [_] => Ordered::of(others, |place| {
                    (numbered.binary_search(&place).is_err(), place)
                }),
                _ => Ordered::List(others.into()),
            },
            any: None,
        }
    }

    /// The place of the element that holds the numbers.
    #[inline]
    pub(super) fn find(&self, numbers: &[u128]) -> Option<u32> {
        self.exact
            .find(numbers)
            .or_else(|| self.spans.find(numbers))
            .or(self.any)
    }
}

impl Exact {
    fn new(keys: Vec<(Box<[u128]>, u32)>, kinds: &[Kind]) -> Self {
        if keys.is_empty() {
            return Self::None;
        }
        if kinds == [Kind::Number] {
            let largest = keys.iter().map(|(key, _)| key[0]).max().unwrap_or_default();
            let length = usize::try_from(largest).map_or(usize::MAX, |largest| largest + 1);
            if length <= 2 * keys.len() + 8 {
                return Self::Dense(dense(&keys, length));
            }
        }
        let packing: Packing = kinds.iter().map(|kind| kind.width()).collect();
        match packing.iter().sum::<u32>() {
            ..=64 => {
                let keys = keys
                    .iter()
                    .map(|(key, place)| (narrow(key, &packing), *place));
                Self::Narrow(packing.clone(), table(keys))
            }
            65..=256 => {
                let keys = keys
                    .iter()
                    .map(|(key, place)| (wide(key, &packing), *place));
                Self::Wide(packing.clone(), table(keys))
            }
            _ => Self::Long(table(keys.into_iter())),
        }
    }

    #[inline]
    fn find(&self, numbers: &[u128]) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Dense(places) => {
                let number = usize::try_from(*numbers.first()?).ok()?;
                *places.get(number)?
            }
            Self::Narrow(packing, table) => table.get(&narrow(numbers, packing)).copied(),
            Self::Wide(packing, table) => table.get(&wide(numbers, packing)).copied(),
            Self::Long(table) => table.get(numbers).copied(),
        }
    }
}

/// Places by number. The element whose place is its number comes before another with that number.
fn dense(keys: &[(Box<[u128]>, u32)], length: usize) -> Box<[Option<u32>]> {
    let mut places = vec![None; length];
    for (key, place) in keys {
        let is_numbered = key[0] == u128::from(*place);
        let at = usize::try_from(key[0]).ok();
        if let Some(at) = at.and_then(|at| places.get_mut(at))
            && (at.is_none() || is_numbered)
        {
            *at = Some(*place);
        }
    }
    places.into()
}

/// A hash table in which the first of equal keys stands.
fn table<K: Eq + std::hash::Hash>(keys: impl ExactSizeIterator<Item = (K, u32)>) -> Table<K> {
    let mut table = Table::with_capacity_and_hasher(keys.len(), FixedState::default());
    for (key, place) in keys {
        table.entry(key).or_insert(place);
    }
    table
}

/// The parts beside each other; they have at most 64 bits.
#[inline]
fn narrow(numbers: &[u128], packing: &[u32]) -> u64 {
    let parts = numbers.iter().zip(packing);
    parts.fold(0, |key, (number, width)| {
        #[expect(clippy::cast_possible_truncation, reason = "at most 64 bits in all")]
        let number = *number as u64;
        key << *width | number
    })
}

/// The parts beside each other; they have at most 256 bits.
#[inline]
fn wide(numbers: &[u128], packing: &[u32]) -> [u128; 2] {
    let parts = numbers.iter().zip(packing);
    parts.fold([0, 0], |[high, low], (number, &width)| {
        if width >= 128 {
            [low, *number]
        } else {
            let over = low >> (128 - width);
            [high << width | over, low << width | number]
        }
    })
}

impl Ordered {
    /// Segments of spans of one part. Of those that hold a number, the one whose rank is the lowest counts;
    /// spans that are no ranges leave a list.
    fn of(keys: Vec<(Spans, u32)>, rank: impl Fn(u32) -> (bool, u32)) -> Self {
        let mut ranges = Vec::with_capacity(keys.len());
        for (spans, place) in &keys {
            match spans[..] {
                [Span::Range { first, last }] => ranges.push((first, last, rank(*place))),
                [Span::Any] => ranges.push((0, u128::MAX, rank(*place))),
                _ => {
                    let mut keys = keys;
                    keys.sort_by_key(|(_, place)| rank(*place));
                    return Self::List(keys.into());
                }
            }
        }
        Self::Segments(segments(ranges).into())
    }

    #[inline]
    fn find(&self, numbers: &[u128]) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Segments(segments) => {
                let number = *numbers.first()?;
                let behind = segments.partition_point(|segment| segment.first <= number);
                let segment = segments.get(behind.checked_sub(1)?)?;
                (number <= segment.last).then_some(segment.place)
            }
            Self::List(keys) => {
                let mut keys = keys.iter();
                keys.find(|(spans, _)| hold(spans, numbers))
                    .map(|(_, place)| *place)
            }
        }
    }
}

/// Cuts ranges where another begins or ends, and keeps of each piece the one of lowest rank.
fn segments(mut ranges: Vec<(u128, u128, (bool, u32))>) -> Vec<Segment> {
    ranges.retain(|(first, last, _)| first <= last);
    ranges.sort_unstable();
    let begins = ranges.iter().map(|(first, ..)| *first);
    let behind = ranges.iter().filter_map(|(_, last, _)| last.checked_add(1));
    let mut cuts: Vec<u128> = begins.chain(behind).collect();
    cuts.sort_unstable();
    cuts.dedup();
    // Ranges that have begun, the one of lowest rank on top.
    let mut open = BinaryHeap::new();
    let mut ranges = ranges.into_iter().peekable();
    let mut segments: Vec<Segment> = Vec::new();
    for (index, &first) in cuts.iter().enumerate() {
        while let Some((_, last, rank)) = ranges.next_if(|(begin, ..)| *begin == first) {
            open.push(Reverse((rank, last)));
        }
        while open.peek().is_some_and(|Reverse((_, last))| *last < first) {
            open.pop();
        }
        let Some(Reverse(((_, place), _))) = open.peek() else {
            continue;
        };
        let last = cuts.get(index + 1).map_or(u128::MAX, |next| next - 1);
        match segments.last_mut() {
            Some(before) if before.place == *place && before.last.checked_add(1) == Some(first) => {
                before.last = last;
            }
            _ => segments.push(Segment {
                first,
                last,
                place: *place,
            }),
        }
    }
    segments
}
