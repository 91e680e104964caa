//! Runs of rules that test prefixes and ranges, as decision trees with wide leaves.
//!
//! A rule is a box over source, destination, both ports and the protocol. A tree cuts the space along
//! bits of several dimensions at once, until few rules are left in a part; a leaf tests eight rules side
//! by side. What a leaf tests is the whole box, so a cut may look at any bits: it never has to be exact.
//!
//! Sources: Gupta, McKeown: Packet Classification using Hierarchical Intelligent Cuttings (Hot
//! Interconnects 1999); Singh, Baboescu, Varghese, Wang: Packet Classification using Multidimensional
//! Cutting (SIGCOMM 2003), for cuts of several dimensions at once; Vamanan, Voskuilen, Vijaykumar:
//! EffiCuts (SIGCOMM 2010), for separate trees for rules that are wide in different dimensions.
//!
//! # Cost
//! A lookup is, for each tree (one to four), one dependent load for each level (three at most), the
//! leaf's place, and the leaf: 256 bytes for eight rules (IPv6: 640), mostly once. Levels have no
//! branch that depends on the packet. Nothing is allocated. In a batch (`lockstep`) the loads of 64 packets
//! are under way at once, so that what counts is how many, and not how long each takes.

mod cut;
mod grow;
mod lockstep;
mod plan;
#[cfg(test)]
mod tests;
mod tree;

use std::array::from_fn;
use std::fmt::Debug;
use std::ops::{ControlFlow, RangeInclusive};

use wide::{i16x8, i32x8};

pub(crate) use crate::boxes::lockstep::MANY;
use crate::boxes::tree::{LANES, Tree};

/// An address of either family, as a number in host order.
pub(crate) trait Address: Copy + Ord + Debug + Default + Into<u128> + TryFrom<u128> {
    /// A range for each lane.
    type Ranges: Copy + Debug;

    /// The bits of the mask, after turning the address right.
    fn window(self, turn: u8, mask: u16) -> u32;

    /// Ranges by their first and last address.
    fn ranges(of: [(Self, Self); LANES]) -> Self::Ranges;

    /// For each range, -1 if the address is outside, 0 if it is within.
    fn misses(self, ranges: &Self::Ranges) -> i16x8;
}

impl Address for u32 {
    /// Where each begins, and how long it is. Both are off by half of all numbers, because vectors
    /// compare signed ones.
    type Ranges = (i32x8, i32x8);

    #[inline]
    fn window(self, turn: u8, mask: u16) -> u32 {
        self.rotate_right(turn.into()) & Self::from(mask)
    }

    fn ranges(of: [(Self, Self); LANES]) -> Self::Ranges {
        let half = 1 << 31;
        let lows = of.map(|(low, _)| (low ^ half).cast_signed());
        let widths = of.map(|(low, high)| (high.wrapping_sub(low) ^ half).cast_signed());
        (lows.into(), widths.into())
    }

    #[inline]
    fn misses(self, (lows, widths): &Self::Ranges) -> i16x8 {
        let behind = i32x8::splat(self.cast_signed()) - *lows;
        i16x8::from_i32x8_saturate(behind.simd_gt(*widths))
    }
}

impl Address for u128 {
    /// Where each begins, and how long it is.
    type Ranges = [(Self, Self); LANES];

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a mask has 16 bits")]
    fn window(self, turn: u8, mask: u16) -> u32 {
        self.rotate_right(turn.into()) as u32 & u32::from(mask)
    }

    fn ranges(of: [(Self, Self); LANES]) -> Self::Ranges {
        of.map(|(low, high)| (low, high.wrapping_sub(low)))
    }

    #[inline]
    fn misses(self, ranges: &Self::Ranges) -> i16x8 {
        let misses = ranges.map(|(low, width)| -i16::from(self.wrapping_sub(low) > width));
        misses.into()
    }
}

/// What a rule asks of a packet.
#[derive(Clone, Debug)]
pub(crate) struct RuleBox<A> {
    pub(crate) src: RangeInclusive<A>,
    pub(crate) dst: RangeInclusive<A>,
    pub(crate) sport: RangeInclusive<u16>,
    pub(crate) dport: RangeInclusive<u16>,
    /// `None` is any.
    pub(crate) protocol: Option<u8>,
}

impl<A: Copy + Default> RuleBox<A> {
    /// All packets.
    pub(crate) fn any(last: A) -> Self {
        Self {
            src: A::default()..=last,
            dst: A::default()..=last,
            sport: 0..=u16::MAX,
            dport: 0..=u16::MAX,
            protocol: None,
        }
    }
}

/// What a packet answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Point<A> {
    pub(crate) src: A,
    pub(crate) dst: A,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) protocol: u8,
}

/// What a classifier came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rules: usize,
    pub(crate) trees: usize,
    /// Of all trees.
    pub(crate) levels: usize,
    pub(crate) nodes: usize,
    /// Blocks of eight rules.
    pub(crate) blocks: usize,
    /// Rules of the fullest leaf of each tree, added.
    pub(crate) most_tested: usize,
}

/// A run of rules, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Boxes<A: Address> {
    trees: Vec<Tree<A>>,
    rules: usize,
}

/// Behind every rule.
const NONE: u32 = u32::MAX;

impl<A: Address> Boxes<A> {
    /// Compiles rules, in their order; `None` from 2^32 - 1 rules on.
    ///
    /// Memory is bounded: 512 bytes a rule, and 256 KiB a tree (IPv4 and IPv6). Rules that no cut
    /// keeps apart within that stay a list, eight of them tested at once. Time grows as rules do:
    /// what may be handed from node to node is bounded, too.
    pub(crate) fn new(rules: &[RuleBox<A>]) -> Option<Self> {
        let trees = plan::trees(rules)?;
        Some(Self {
            trees,
            rules: rules.len(),
        })
    }

    /// Calls `ask` with the place of each box that holds the point, ascending, from `from` on, until
    /// it breaks.
    #[inline]
    pub(crate) fn each<B>(
        &self,
        point: &Point<A>,
        from: u32,
        ask: impl FnMut(u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        match self.trees.as_slice() {
            [] => ControlFlow::Continue(()),
            [a] => merge([a], point, from, ask),
            [a, b] => merge([a, b], point, from, ask),
            [a, b, c] => merge([a, b, c], point, from, ask),
            [a, b, c, d, ..] => merge([a, b, c, d], point, from, ask),
        }
    }

    /// The first box from `from` on that holds the point; behind every box where none does.
    #[inline]
    pub(crate) fn first_from(&self, point: &Point<A>, from: u32) -> u32 {
        let found = self.each(point, from, ControlFlow::Break);
        found.break_value().unwrap_or(NONE)
    }

    /// The first box that holds the point; behind every box where none does.
    #[inline]
    pub(crate) fn first(&self, point: &Point<A>) -> u32 {
        let firsts = self.trees.iter().map(|tree| tree.first(point));
        firsts.fold(NONE, u32::min)
    }

    /// How many rules there are.
    pub(crate) fn len(&self) -> u32 {
        crate::program::to_u32(self.rules)
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        let trees: usize = self.trees.iter().map(Tree::bytes).sum();
        trees + size_of_val(self.trees.as_slice())
    }

    /// What the rules were compiled to.
    pub(crate) fn shape(&self) -> Shape {
        let sum = |of: fn(&Tree<A>) -> usize| self.trees.iter().map(of).sum();
        Shape {
            rules: self.rules,
            trees: self.trees.len(),
            levels: sum(Tree::levels),
            nodes: sum(Tree::nodes),
            blocks: sum(Tree::blocks),
            most_tested: sum(Tree::most_tested),
        }
    }
}

/// Asks what trees find, in the order of places.
#[inline]
fn merge<A: Address, B, const TREES: usize>(
    trees: [&Tree<A>; TREES],
    point: &Point<A>,
    from: u32,
    mut ask: impl FnMut(u32) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut cursors = trees.map(|tree| tree.start(point));
    let mut heads: [u32; TREES] = from_fn(|of| cursors[of].next(trees[of], point));
    loop {
        let place = heads.into_iter().fold(NONE, u32::min);
        if place == NONE {
            return ControlFlow::Continue(());
        }
        if place >= from {
            ask(place)?;
        }
        for of in 0..TREES {
            if heads[of] == place {
                heads[of] = cursors[of].next(trees[of], point);
            }
        }
    }
}
