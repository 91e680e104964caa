//! One tree: levels of nodes, and blocks of rules. **The hot path.**

use std::array::from_fn;
use std::ops::RangeInclusive;

use wide::i16x8;

use crate::boxes::{Address, NONE, Point, RuleBox};

/// Rules that a block tests side by side.
pub(super) const LANES: usize = 8;

/// A cut: which bits of the packet say where to go.
///
/// A node that cuts nothing has masks of zero, so that every path has the same length and no branch
/// asks whether it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// The first child: a node, or a leaf behind the last level.
    pub(super) base: u32,
    /// The bits of source, destination, and the rest; they do not meet.
    pub(super) masks: [u16; 3],
    /// How far each is turned right first.
    pub(super) turns: [u8; 3],
}

/// Up to eight rules of a leaf, side by side, so that a compiler's vectors hold one field of all.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Block<A: Address> {
    src: A::Ranges,
    dst: A::Ranges,
    sport: Ports,
    dport: Ports,
    /// The protocol, and above it the bits of it that are compared: all, or none.
    protocol: i16x8,
    /// Ascending; behind the last rule [`NONE`].
    places: [u32; LANES + 1],
    /// [`GOES_ON`], or nothing.
    goes_on: u32,
}

/// Compiled rules.
#[derive(Clone, Debug)]
pub(super) struct Tree<A: Address> {
    pub(super) nodes: Vec<Node>,
    /// The first block of each leaf.
    pub(super) leaves: Vec<u32>,
    pub(super) blocks: Vec<Block<A>>,
    pub(super) levels: u32,
    pub(super) most_tested: usize,
}

/// Where a packet is in its leaf: a block, and which of its rules hold the packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    block: u32,
    /// A bit for each rule that was not given yet, and [`GOES_ON`].
    found: u32,
}

/// What a block says of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Place of the first rule that holds it, or [`NONE`].
    pub(super) first: u32,
    /// Whether no rule does, and the leaf goes on in the next block.
    pub(super) goes_on: bool,
}

/// Set where the next block belongs to the leaf too, and no rule of this one is left above it.
const GOES_ON: u32 = 1 << LANES;

/// The ports and the protocol as one number.
#[inline]
fn rest_of<A>(point: &Point<A>) -> u64 {
    u64::from(point.protocol) << 32 | u64::from(point.sport) << 16 | u64::from(point.dport)
}

impl<A: Address> Tree<A> {
    /// The first block of a packet's leaf; nothing here branches on the packet.
    #[inline]
    pub(super) fn leaf(&self, point: &Point<A>) -> u32 {
        let rest = rest_of(point);
        let mut at = 0;
        for _ in 0..self.levels {
            let node = self.nodes[at as usize];
            #[expect(clippy::cast_possible_truncation, reason = "a mask has 16 bits")]
            let of_rest = rest.rotate_right(node.turns[2].into()) as u32 & u32::from(node.masks[2]);
            at = node.base
                + (point.src.window(node.turns[0], node.masks[0])
                    | point.dst.window(node.turns[1], node.masks[1])
                    | of_rest);
        }
        self.leaves[at as usize]
    }

    /// Where a packet's leaf begins, and what its first block says.
    #[inline]
    pub(super) fn start(&self, point: &Point<A>) -> Cursor {
        let block = self.leaf(point);
        let found = self.blocks[block as usize].test(point);
        Cursor { block, found }
    }

    /// The first rule of a block that holds a packet, and whether there is another block to ask if none does.
    #[inline]
    pub(super) fn ask(&self, block: u32, point: &Point<A>) -> Asked {
        let block = &self.blocks[block as usize];
        let found = block.test(point);
        let lane = (found | GOES_ON).trailing_zeros();
        Asked {
            first: block.places[lane as usize],
            goes_on: found == GOES_ON,
        }
    }

    /// The first rule that holds a packet, or [`NONE`].
    #[inline]
    pub(super) fn first(&self, point: &Point<A>) -> u32 {
        let mut block = self.leaf(point);
        loop {
            let asked = self.ask(block, point);
            if !asked.goes_on {
                return asked.first;
            }
            block += 1;
        }
    }

    /// Blocks that a packet is tested against until a rule holds it that ends its way, or all.
    pub(super) fn blocks_asked(&self, point: &Point<A>, ends: impl Fn(u32) -> bool) -> usize {
        let mut cursor = self.start(point);
        let first = cursor.block;
        loop {
            let place = cursor.next(self, point);
            if place == NONE || ends(place) {
                return (cursor.block - first) as usize + 1;
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.nodes.as_slice())
            + size_of_val(self.leaves.as_slice())
            + size_of_val(self.blocks.as_slice())
    }

    pub(super) fn levels(&self) -> usize {
        self.levels as usize
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn most_tested(&self) -> usize {
        self.most_tested
    }
}

impl Cursor {
    /// The next rule that holds the packet, or [`NONE`].
    #[inline]
    pub(super) fn next<A: Address>(&mut self, tree: &Tree<A>, point: &Point<A>) -> u32 {
        while self.found == GOES_ON {
            self.block += 1;
            self.found = tree.blocks[self.block as usize].test(point);
        }
        // No branch: whether any rule is found is what nobody can foresee.
        let lane = (self.found | GOES_ON).trailing_zeros();
        self.found &= self.found.wrapping_sub(1);
        tree.blocks[self.block as usize].places[lane as usize]
    }
}

impl<A: Address> Block<A> {
    /// The rules of a leaf; there is a block even if there is no rule.
    pub(super) fn of(rules: &[RuleBox<A>], places: &[u32], into: &mut Vec<Self>) {
        let count = places.len().div_ceil(LANES).max(1);
        for block in 0..count {
            let own: [Option<(u32, &RuleBox<A>)>; LANES] = from_fn(|lane| {
                let place = *places.get(block * LANES + lane)?;
                Some((place, rules.get(place as usize)?))
            });
            into.push(Self::new(own, block + 1 < count));
        }
    }

    /// Lanes without a rule match one packet, or none; it does not matter, for they have no place.
    fn new(lanes: [Option<(u32, &RuleBox<A>)>; LANES], goes_on: bool) -> Self {
        let src = lanes.map(|lane| lane.map(|(_, rule)| (*rule.src.start(), *rule.src.end())));
        let dst = lanes.map(|lane| lane.map(|(_, rule)| (*rule.dst.start(), *rule.dst.end())));
        let protocol = lanes.map(|lane| {
            let only = lane.and_then(|(_, rule)| rule.protocol);
            only.map_or(0, |only| i16::from_be_bytes([0xff, only]))
        });
        Self {
            src: A::ranges(src.map(Option::unwrap_or_default)),
            dst: A::ranges(dst.map(Option::unwrap_or_default)),
            sport: Ports::new(lanes.map(|lane| lane.map(|(_, rule)| &rule.sport))),
            dport: Ports::new(lanes.map(|lane| lane.map(|(_, rule)| &rule.dport))),
            protocol: protocol.into(),
            places: from_fn(|lane| match lanes.get(lane) {
                Some(Some((place, _))) => *place,
                Some(None) | None => NONE,
            }),
            goes_on: if goes_on { GOES_ON } else { 0 },
        }
    }

    /// A bit for each rule that holds the packet, and [`GOES_ON`].
    #[inline]
    fn test(&self, point: &Point<A>) -> u32 {
        let protocol = i16x8::splat(i16::from_be_bytes([0, point.protocol]));
        let compared: i16x8 = self.protocol >> 8;
        let differs: i16x8 = ((protocol ^ self.protocol) & compared) << 8;
        let misses: i16x8 = point.src.misses(&self.src)
            | point.dst.misses(&self.dst)
            | self.sport.misses(point.sport)
            | self.dport.misses(point.dport)
            | differs;
        misses.simd_eq(i16x8::ZERO).to_bitmask() | self.goes_on
    }
}

/// A range of ports for each lane.
#[derive(Clone, Copy, Debug)]
struct Ports {
    /// Where each begins, and how long it is; off by half, as addresses are.
    lows: i16x8,
    widths: i16x8,
}

impl Ports {
    fn new(ranges: [Option<&RangeInclusive<u16>>; LANES]) -> Self {
        let half = 1 << 15;
        let lows = ranges.map(|range| range.map_or(0, |range| *range.start()));
        let widths = ranges.map(|range| range.map_or(0, |range| range.end() - range.start()));
        Self {
            lows: lows.map(|low| (low ^ half).cast_signed()).into(),
            widths: widths.map(|width| (width ^ half).cast_signed()).into(),
        }
    }

    #[inline]
    fn misses(&self, port: u16) -> i16x8 {
        let behind = i16x8::splat(port.cast_signed()) - self.lows;
        behind.simd_gt(self.widths)
    }
}
