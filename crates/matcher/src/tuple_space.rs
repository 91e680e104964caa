//! Runs of rules that test for equality, as hash tables.
//!
//! Source: Srinivasan, Suri, Varghese: Packet Classification using Tuple Space Search (SIGCOMM 1999).
//! A kind of rule is the mask of the bits that it compares; rules of one kind share a table, keyed by
//! those bits. A packet is looked up once in each kind's table, and the rules found are asked in their
//! order.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::fields::{Equality, Fields};
use crate::program::to_u32;

/// Kinds that one block may have; more are not worth a probe each.
pub(crate) const MAX_KINDS: usize = 6;
/// Fewer rules than this are asked one by one.
pub(crate) const MIN_RULES: usize = 4;

/// The rules of one key.
#[derive(Clone, Copy, Debug)]
struct Places {
    /// Place of the first in the program.
    first: u32,
    /// Where the others stand in `lists`.
    others: (u32, u32),
}

/// The rules of one kind.
#[derive(Clone, Debug)]
struct Kind<F> {
    mask: F,
    rules: HashMap<F, Places, FixedState>,
}

/// A run of rules as hash tables.
#[derive(Clone, Debug)]
pub(crate) struct TupleSpace<F> {
    kinds: Vec<Kind<F>>,
    /// Places of rules in the program, ascending within a key's list.
    lists: Vec<u32>,
}

/// The rules of one key that are still to be asked.
#[derive(Clone, Copy, Debug)]
struct Queue {
    next: u32,
    /// Where the others stand in `lists`.
    others: (u32, u32),
}

/// The rules of a run that a packet's fields fit, in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates<'a> {
    lists: &'a [u32],
    queues: [Queue; MAX_KINDS],
    len: usize,
}

/// Behind every rule.
const NONE: u32 = u32::MAX;

impl<F: Fields> TupleSpace<F> {
    /// A table of rules: what each compares, and its place in the program, ascending.
    pub(crate) fn new(rules: &[(Equality<F>, u32)]) -> Self {
        let mut masks: Vec<F> = Vec::new();
        for (equality, _) in rules {
            if !masks.contains(&equality.mask) {
                masks.push(equality.mask);
            }
        }
        let mut space = Self {
            kinds: Vec::with_capacity(masks.len()),
            lists: Vec::new(),
        };
        for mask in masks {
            let of_kind = rules.iter().filter(|(equality, _)| equality.mask == mask);
            let mut sorted: Vec<(F, u32)> = of_kind.map(|(of, place)| (of.value, *place)).collect();
            // Stable, so that the places of one key keep their order.
            sorted.sort_by_key(|(value, _)| *value);
            let mut kind = Kind {
                mask,
                rules: HashMap::with_capacity_and_hasher(sorted.len(), FixedState::default()),
            };
            for same in sorted.chunk_by(|(a, _), (b, _)| a == b) {
                let start = to_u32(space.lists.len());
                space
                    .lists
                    .extend(same[1..].iter().map(|(_, place)| *place));
                let (value, first) = same[0];
                let others = (start, to_u32(space.lists.len()));
                kind.rules.insert(value, Places { first, others });
            }
            space.kinds.push(kind);
        }
        space
    }

    /// The bits that each kind compares, and how many rules are of it.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (F, usize)> {
        let rules = |kind: &Kind<F>| -> usize {
            let others = |places: &Places| (places.others.1 - places.others.0) as usize;
            kind.rules.values().map(|places| 1 + others(places)).sum()
        };
        self.kinds.iter().map(move |kind| (kind.mask, rules(kind)))
    }

    /// Every rule.
    pub(crate) fn places(&self) -> impl Iterator<Item = u32> {
        let firsts = self.kinds.iter().flat_map(|kind| kind.rules.values());
        firsts
            .map(|places| places.first)
            .chain(self.lists.iter().copied())
    }

    /// The rules that the fields fit, from a place on.
    #[inline]
    pub(crate) fn candidates(&self, fields: F, from: u32) -> Candidates<'_> {
        let mut candidates = Candidates {
            lists: &self.lists,
            queues: [Queue {
                next: NONE,
                others: (0, 0),
            }; MAX_KINDS],
            len: 0,
        };
        for kind in &self.kinds {
            let Some(places) = kind.rules.get(&fields.masked(kind.mask)) else {
                continue;
            };
            let mut queue = Queue {
                next: places.first,
                others: places.others,
            };
            if queue.next < from {
                queue.skip_to(from, &self.lists);
            }
            candidates.queues[candidates.len] = queue;
            candidates.len += 1;
        }
        candidates
    }
}

impl Queue {
    fn skip_to(&mut self, from: u32, lists: &[u32]) {
        let (start, end) = self.others;
        let others = &lists[start as usize..end as usize];
        self.others.0 += to_u32(others.partition_point(|&rule| rule < from));
        self.advance(lists);
    }

    #[inline]
    fn advance(&mut self, lists: &[u32]) {
        let (start, end) = self.others;
        if start < end {
            self.next = lists[start as usize];
            self.others.0 += 1;
        } else {
            self.next = NONE;
        }
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let queues = &mut self.queues[..self.len];
        let first = queues.iter_mut().min_by_key(|queue| queue.next)?;
        let rule = first.next;
        if rule == NONE {
            return None;
        }
        first.advance(self.lists);
        Some(rule)
    }
}
