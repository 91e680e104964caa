//! Which rules share a tree, and how deep and wide each tree is: by what a lookup is likely to cost.
//!
//! A rule that is wide in a dimension that a tree cuts is copied into many of its leaves. So rules are
//! told apart by whether their source and their destination are wide, as in EffiCuts (SIGCOMM 2010),
//! and of the ways to share trees the one is taken that costs sampled packets the least.

use crate::boxes::cut::{Draw, Extent, address_bits, extent, low_bits, whole};
use crate::boxes::grow::{Limits, grow, list};
use crate::boxes::tree::Tree;
use crate::boxes::{Address, NONE, Point, RuleBox};
use crate::program::to_u32;

/// Bytes that a rule may take.
pub(super) const BYTES_A_RULE: usize = 512;
/// Bytes that a classifier may take whatever its rules.
pub(super) const BYTES_AT_LEAST: usize = 256 << 10;
/// Rules that growing a tree may hand down, for each rule: what bounds the time of it.
const COPIES_A_RULE: usize = 64;
/// As many may be handed down whatever the rules.
const COPIES_AT_LEAST: usize = 1 << 12;
/// Above it a lookup begins to wait for memory.
const NEAR_BYTES: f64 = 262_144.0;
/// A range is wide from this share of all addresses on, as a power of two.
const WIDE_BITS: u32 = 6;
/// Packets that a tree is judged by.
const SAMPLES: usize = 512;

/// Whether source and destination of a rule are wide, as a number below four.
fn kind<A>(extent: &Extent) -> u8 {
    let narrowest = low_bits(address_bits::<A>() - WIDE_BITS);
    let wide = |of: usize| u8::from(extent[of].1 - extent[of].0 >= narrowest);
    wide(0) | wide(1) << 1
}

/// Of rules that hold no packet: no tree has them.
const NO_KIND: u8 = 4;

fn is_empty<A: Address>(rule: &RuleBox<A>) -> bool {
    let addresses = rule.src.is_empty() || rule.dst.is_empty();
    addresses || rule.sport.is_empty() || rule.dport.is_empty()
}

/// Ways to share trees: sets of kinds, as bits.
const WAYS: [&[u8]; 7] = [
    &[0b1111],
    &[0b0011, 0b1100],
    &[0b0101, 0b1010],
    &[0b0111, 0b1000],
    &[0b0011, 0b0100, 0b1000],
    &[0b0101, 0b0010, 0b1000],
    &[0b0001, 0b0010, 0b0100, 0b1000],
];

/// How trees are grown where ways are compared.
const USUAL: Shape = (2, 8);
/// How else they may be grown; the first two also where the usual way takes too much.
const OTHERS: [Shape; 7] = [(2, 4), (2, 2), (1, 16), (1, 4), (2, 16), (3, 3), (3, 6)];
/// From so many rules on, one shape of a tree has to do.
const MANY: usize = 50_000;

/// Levels, and copies of a rule at each.
type Shape = (u32, usize);

/// A tree, and what it costs a packet.
type Costed<A> = (f64, Tree<A>);

/// The trees of rules; `None` if they are too many to count.
pub(super) fn trees<A: Address>(rules: &[RuleBox<A>]) -> Option<Vec<Tree<A>>> {
    u32::try_from(rules.len())
        .ok()
        .filter(|count| *count < NONE)?;
    let nursery = Nursery::new(rules);
    let mut known: [Option<Costed<A>>; 16] = [const { None }; 16];
    let mut best: Option<(f64, Vec<u8>)> = None;
    for way in WAYS {
        let sets = way.iter().map(|set| set & nursery.present);
        let sets: Vec<u8> = sets.filter(|set| *set != 0).collect();
        let of_tree = |set: &u8| {
            let tree = &mut known[usize::from(*set)];
            tree.get_or_insert_with(|| nursery.usual(*set)).0
        };
        let cost: f64 = sets.iter().map(of_tree).sum();
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, sets));
        }
    }
    let (_, sets) = best?;
    let trees = sets.into_iter().filter_map(|set| {
        let usual = known[usize::from(set)].take()?;
        Some(nursery.better(set, usual))
    });
    Some(trees.collect())
}

/// What trees are grown from.
struct Nursery<'a, A> {
    rules: &'a [RuleBox<A>],
    extents: Vec<Extent>,
    kinds: Vec<u8>,
    /// Kinds that there are, as bits.
    present: u8,
    samples: Vec<Point<A>>,
}

impl<'a, A: Address> Nursery<'a, A> {
    fn new(rules: &'a [RuleBox<A>]) -> Self {
        let all = whole::<A>();
        let parts = rules.iter().map(|rule| {
            if is_empty(rule) {
                return (all, NO_KIND);
            }
            let extent = extent(rule);
            (extent, kind::<A>(&extent))
        });
        let (extents, kinds): (Vec<Extent>, Vec<u8>) = parts.unzip();
        Self {
            rules,
            present: kinds.iter().fold(0, |all, kind| all | 1 << kind),
            kinds,
            samples: samples::<A>(&extents),
            extents,
        }
    }

    fn places(&self, set: u8) -> Vec<u32> {
        let kinds = self.kinds.iter().enumerate();
        let own = kinds.filter(|(_, kind)| set >> **kind & 1 == 1);
        own.map(|(place, _)| to_u32(place)).collect()
    }

    /// The tree of a set in the usual shape, or near it. Without cuts it always has room.
    fn usual(&self, set: u8) -> Costed<A> {
        let places = self.places(set);
        let smaller = [USUAL, OTHERS[0], OTHERS[1]];
        let tree = smaller
            .into_iter()
            .find_map(|shape| self.tree(&places, shape));
        tree.unwrap_or_else(|| {
            let tree = list(self.rules, &places);
            (self.cost(&tree), tree)
        })
    }

    /// The cheapest tree of a set.
    fn better(&self, set: u8, usual: Costed<A>) -> Tree<A> {
        if self.rules.len() >= MANY {
            return usual.1;
        }
        let places = self.places(set);
        let others = OTHERS
            .into_iter()
            .filter_map(|shape| self.tree(&places, shape));
        let best = others.fold(
            usual,
            |best, other| if other.0 < best.0 { other } else { best },
        );
        best.1
    }

    fn tree(&self, places: &[u32], (levels, spread): Shape) -> Option<Costed<A>> {
        let limits = Limits {
            levels,
            spread,
            bytes: BYTES_AT_LEAST + BYTES_A_RULE * places.len(),
            copies: COPIES_AT_LEAST + COPIES_A_RULE * places.len(),
        };
        let tree = grow(self.rules, &self.extents, places, limits)?;
        Some((self.cost(&tree), tree))
    }

    /// What a tree costs a packet, about, in nanoseconds.
    ///
    /// Fitted by eye to lookups of generated sets of 1,000 and 10,000 rules (AMD Zen 4); all that
    /// matters is which tree costs less.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn cost(&self, tree: &Tree<A>) -> f64 {
        // What holds every packet mostly asks more, for a state or a mark, and passes packets on. Where it
        // does not, nobody comes to the rules behind it.
        let all = whole::<A>();
        let ends = |place: u32| self.extents[place as usize] != all;
        let samples = self.samples.iter();
        let asked = samples.map(|point| tree.blocks_asked(point, ends));
        let (blocks, more) = asked.fold((0, 0), |(all, more), blocks| {
            (all + blocks, more + usize::from(blocks > 1))
        });
        let each = |count: usize| count as f64 / self.samples.len().max(1) as f64;
        let walk = 6.0 + 1.5 * f64::from(tree.levels);
        // That a leaf goes on is a wrong guess of a branch, too.
        let leaf = 4.0 * (each(blocks) - 1.0) + 10.0 * each(more);
        let memory = 2.0 * (tree.bytes() as f64 / NEAR_BYTES).log2().max(0.0);
        walk + leaf + memory
    }
}

/// Packets, three in four aimed at rules.
fn samples<A: Address>(extents: &[Extent]) -> Vec<Point<A>> {
    let all = whole::<A>();
    let mut draw = Draw::default();
    let count = SAMPLES.min(4 * extents.len());
    let points = (0..count).map(|sample| {
        let aim = if sample % 4 == 3 {
            &all
        } else {
            &extents[sample * extents.len() / count]
        };
        Point {
            src: A::try_from(draw.within(aim[0].0, aim[0].1)).unwrap_or_default(),
            dst: A::try_from(draw.within(aim[1].0, aim[1].1)).unwrap_or_default(),
            sport: u16::try_from(draw.within(aim[2].0, aim[2].1)).unwrap_or_default(),
            dport: u16::try_from(draw.within(aim[3].0, aim[3].1)).unwrap_or_default(),
            protocol: u8::try_from(draw.within(aim[4].0, aim[4].1)).unwrap_or_default(),
        }
    });
    points.collect()
}
