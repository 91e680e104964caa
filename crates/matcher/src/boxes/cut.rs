//! A cut: which bits of which dimensions tell a node's children apart.

use std::array::from_fn;

use crate::boxes::tree::{LANES, Node};
use crate::boxes::{Address, RuleBox};
use crate::program::to_u32;

/// Source, destination, source port, destination port, protocol.
const DIMENSIONS: usize = 5;
/// The first of the dimensions that are one number to a node: only one of them is cut by a node.
const REST: usize = 2;
/// Where source port, destination port and protocol stand in that number.
const REST_SHIFT: [u32; DIMENSIONS - REST] = [16, 0, 32];
/// Bits of one cut at most; a mask has no more.
const MAX_BITS: u32 = 16;
/// Packets, aimed at rules, that a cut is judged by.
const SAMPLES: usize = 32;
/// Rules that a cut is judged by.
const JUDGES: usize = 512;
/// Bits that may be added to a cut at once: the first ones alone may tell little apart.
const STEPS: [u32; 5] = [1, 2, 4, 6, 8];
/// What a bit must divide a packet's rules by, as a logarithm, to be worth its children.
const LEAST_GAIN: f64 = 0.02;
/// How much of that gain making twice the copies takes away.
const COPY_LOSS: f64 = 0.3;

/// A range in every dimension.
pub(super) type Extent = [(u128, u128); DIMENSIONS];

/// What a box is, dimension by dimension.
pub(super) fn extent<A: Address>(rule: &RuleBox<A>) -> Extent {
    let protocol = rule.protocol.map_or((0, 0xff), |only| (only, only));
    [
        ((*rule.src.start()).into(), (*rule.src.end()).into()),
        ((*rule.dst.start()).into(), (*rule.dst.end()).into()),
        ((*rule.sport.start()).into(), (*rule.sport.end()).into()),
        ((*rule.dport.start()).into(), (*rule.dport.end()).into()),
        (protocol.0.into(), protocol.1.into()),
    ]
}

/// The whole space of a family.
pub(super) fn whole<A: Address>() -> Extent {
    let last = low_bits(address_bits::<A>());
    [(0, last), (0, last), (0, 0xffff), (0, 0xffff), (0, 0xff)]
}

/// Bits of an address.
pub(super) fn address_bits<A>() -> u32 {
    u32::try_from(8 * size_of::<A>()).unwrap_or(u128::BITS)
}

/// So many ones.
pub(super) fn low_bits(count: u32) -> u128 {
    1_u128
        .checked_shl(count)
        .map_or(u128::MAX, |bit| bit.wrapping_sub(1))
}

/// The first and last cell of a rule in each dimension, in the finest cut that a node may make.
pub(super) type Cells = [(u16, u16); DIMENSIONS];

/// What can be cut in one dimension.
#[derive(Clone, Copy, Debug, Default)]
struct Axis {
    /// The smallest aligned part that holds every rule but those that cover the node's whole part.
    low: u128,
    /// Bits in which numbers of that part differ.
    width: u32,
    /// Bits of the finest cut.
    finest: u32,
}

/// Which bits tell a node's children apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    axes: [Axis; DIMENSIONS],
    /// Of each dimension, from the first bit in which its rules differ.
    bits: [u32; DIMENSIONS],
}

impl Cut {
    /// Chooses a cut for rules in a part of the space, with so many copies and children for each rule
    /// at most. Also says where the rules are.
    pub(super) fn choose<'a>(
        rules: impl Iterator<Item = &'a Extent> + Clone,
        region: &Extent,
        spread: usize,
    ) -> (Self, Vec<Cells>) {
        let mut cut = Self {
            axes: axes(rules.clone(), region),
            bits: [0; DIMENSIONS],
        };
        let cells: Vec<Cells> = rules.map(|rule| cut.cells(rule, region)).collect();
        cut.grow(&cells, spread);
        (cut, cells)
    }

    fn cells(&self, rule: &Extent, region: &Extent) -> Cells {
        from_fn(|of| {
            let (axis, own, all) = (&self.axes[of], rule[of], region[of]);
            if own.0 <= all.0 && own.1 >= all.1 {
                return (0, to_u16(low_bits(axis.finest)));
            }
            let cell = |number: u128| to_u16((number - axis.low) >> (axis.width - axis.finest));
            (cell(own.0.max(all.0)), cell(own.1.min(all.1)))
        })
    }

    /// Adds bits, greedily those that leave a packet the fewest rules.
    fn grow(&mut self, all: &[Cells], spread: usize) {
        let step = all.len().div_ceil(JUDGES).max(1);
        let judges: Vec<Cells> = all.iter().step_by(step).copied().collect();
        let most_copies = (judges.len() * spread).max(4 * LANES);
        let children = all.len() * spread;
        let most_bits = children.max(1).ilog2().clamp(4, MAX_BITS);
        let aimed = SAMPLES.min(judges.len());
        let mut pairs = pairs(&judges);
        while pairs.len() * step > aimed * LANES / 2 {
            let copies = self.copies(&judges);
            let mut best = (LEAST_GAIN, None);
            for of in (0..DIMENSIONS).filter(|of| self.may_cut(*of)) {
                for more in STEPS {
                    let mut then = *self;
                    then.bits[of] += more;
                    if then.bits[of] > self.axes[of].finest || then.total() > most_bits {
                        break;
                    }
                    let copies_then = then.copies(&judges);
                    if copies_then > most_copies {
                        break;
                    }
                    let meeting = pairs.iter().filter(|pair| pair.meet(&then, of, &judges));
                    let gain = ratio(pairs.len(), meeting.count()).ln()
                        - COPY_LOSS * ratio(copies_then, copies).ln();
                    let gain = gain / f64::from(more);
                    if gain > best.0 {
                        best = (gain, Some((of, then)));
                    }
                }
            }
            let Some((of, then)) = best.1 else {
                break;
            };
            *self = then;
            pairs.retain(|pair| pair.meet(self, of, &judges));
        }
    }

    fn may_cut(&self, of: usize) -> bool {
        let is_cut = |other: usize| other != of && self.bits[other] > 0;
        of < REST || !(REST..DIMENSIONS).any(is_cut)
    }

    fn total(&self) -> u32 {
        self.bits.iter().sum()
    }

    pub(super) fn children(&self) -> usize {
        1 << self.total()
    }

    /// First and last part that a rule is in, in one dimension.
    fn span(&self, rule: &Cells, of: usize) -> (usize, usize) {
        let shift = self.axes[of].finest - self.bits[of];
        let (first, last) = rule[of];
        (usize::from(first) >> shift, usize::from(last) >> shift)
    }

    /// Copies of all rules that the cut makes.
    fn copies(&self, rules: &[Cells]) -> usize {
        let of_rule = |rule: &Cells| -> usize {
            let spans = (0..DIMENSIONS).map(|of| self.span(rule, of));
            spans.map(|(first, last)| last - first + 1).product()
        };
        rules.iter().map(of_rule).sum()
    }

    /// Where a dimension's bits stand in a child's number.
    fn offsets(&self) -> [u32; DIMENSIONS] {
        let rest = self.bits[0] + self.bits[1];
        [0, self.bits[0], rest, rest, rest]
    }

    /// Visits each child that a rule is in.
    pub(super) fn each_child(&self, rule: &Cells, mut visit: impl FnMut(usize)) {
        let offsets = self.offsets();
        let parts = |of: usize| {
            let (first, last) = self.span(rule, of);
            (first..=last).map(move |part| part << offsets[of])
        };
        let rest = (REST..DIMENSIONS).find(|of| self.bits[*of] > 0);
        for of_rest in parts(rest.unwrap_or(REST)) {
            for dst in parts(1) {
                for src in parts(0) {
                    visit(src | dst | of_rest);
                }
            }
        }
    }

    /// The cut as a packet meets it.
    pub(super) fn node<A: Address>(&self, base: u32) -> Node {
        let mut node = Node {
            base,
            ..Node::default()
        };
        let offsets = self.offsets();
        for of in (0..DIMENSIONS).filter(|of| self.bits[*of] > 0) {
            let (own, word, shift) = match of.checked_sub(REST) {
                None => (of, address_bits::<A>(), 0),
                Some(rest) => (REST, u64::BITS, REST_SHIFT[rest]),
            };
            let shift = shift + self.axes[of].width - self.bits[of];
            let turn = (shift + word - offsets[of]) % word;
            node.turns[own] = u8::try_from(turn).unwrap_or(0);
            node.masks[own] = to_u16(low_bits(self.bits[of]) << offsets[of]);
        }
        node
    }

    /// The part of the space that a child stands for.
    ///
    /// A packet may come to a child and be outside its part: where every rule that holds it covers
    /// the node's whole part, and so is in all children.
    pub(super) fn part(&self, region: &Extent, child: usize) -> Extent {
        let offsets = self.offsets();
        from_fn(|of| {
            if self.bits[of] == 0 {
                return region[of];
            }
            let shift = self.axes[of].width - self.bits[of];
            let number = (child >> offsets[of]) as u128 & low_bits(self.bits[of]);
            let low = self.axes[of].low + (number << shift);
            (low, low + low_bits(shift))
        })
    }
}

fn axes<'a>(rules: impl Iterator<Item = &'a Extent>, region: &Extent) -> [Axis; DIMENSIONS] {
    let mut hulls: [Option<(u128, u128)>; DIMENSIONS] = [None; DIMENSIONS];
    for rule in rules {
        for ((hull, own), all) in hulls.iter_mut().zip(rule).zip(region) {
            let own = (own.0.max(all.0), own.1.min(all.1));
            if own != *all {
                let before = hull.unwrap_or(own);
                *hull = Some((own.0.min(before.0), own.1.max(before.1)));
            }
        }
    }
    hulls.map(|hull| {
        let Some((low, high)) = hull else {
            return Axis::default();
        };
        let width = u128::BITS - (low ^ high).leading_zeros();
        Axis {
            low: low & !low_bits(width),
            width,
            finest: width.min(MAX_BITS),
        }
    })
}

/// A packet aimed at a rule, and a rule that it has not been kept apart from.
struct Pair {
    packet: [u16; DIMENSIONS],
    rule: u32,
}

impl Pair {
    /// Whether the cut leaves both together in a dimension.
    fn meet(&self, cut: &Cut, of: usize, rules: &[Cells]) -> bool {
        let (first, last) = cut.span(&rules[self.rule as usize], of);
        let shift = cut.axes[of].finest - cut.bits[of];
        (first..=last).contains(&(usize::from(self.packet[of]) >> shift))
    }
}

/// Packets aimed at some of the rules, each with every rule.
fn pairs(rules: &[Cells]) -> Vec<Pair> {
    let count = SAMPLES.min(rules.len());
    let mut pairs = Vec::with_capacity(count * rules.len());
    let mut draw = Draw::default();
    for sample in 0..count {
        let packet = rules[sample * rules.len() / count].map(|(first, last)| {
            let number = draw.within(first.into(), last.into());
            to_u16(number)
        });
        pairs.extend((0..to_u32(rules.len())).map(|rule| Pair { packet, rule }));
    }
    pairs
}

/// Numbers for samples, the same in every run (Marsaglia: Xorshift RNGs, 2003).
pub(super) struct Draw(u64);

impl Default for Draw {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Draw {
    fn next(&mut self) -> u128 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.into()
    }

    pub(super) fn within(&mut self, low: u128, high: u128) -> u128 {
        let number = self.next() << 64 | self.next();
        let span = (high - low).checked_add(1);
        span.map_or(number, |span| low + number % span)
    }
}

#[expect(clippy::cast_precision_loss, reason = "only compared")]
fn ratio(whole: usize, part: usize) -> f64 {
    whole.max(1) as f64 / part.max(1) as f64
}

fn to_u16(number: u128) -> u16 {
    u16::try_from(number).expect("a cut has at most 16 bits")
}
