//! How a tree is grown: which bits to cut, and who goes where.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::boxes::tree::{Block, LANES, Node, Tree};
use crate::boxes::{Address, RuleBox};
use crate::tuple_space::to_u32;

/// Source, destination, source port, destination port, protocol.
const DIMENSIONS: usize = 5;
/// The first of the dimensions that are one number to a node: only one of them is cut by a node.
const REST: usize = 2;
/// Where source port, destination port and protocol stand in that number.
const REST_SHIFT: [u32; 3] = [16, 0, 32];
/// Bits of one cut at most; a mask has no more.
const MAX_BITS: u32 = 16;
/// Packets, aimed at rules, that a cut is judged by.
const SAMPLES: usize = 32;
/// Rules that a cut is judged by.
const JUDGES: usize = 512;

/// A range in every dimension.
pub(super) type Extent = [(u128, u128); DIMENSIONS];

/// Everything that a node knows of its rules in one dimension.
#[derive(Clone, Copy, Debug, Default)]
struct Axis {
    /// The smallest aligned part that holds what rules do not cover the node's part.
    low: u128,
    /// Bits in which addresses of that part differ.
    width: u32,
    /// The finest cut.
    finest: u32,
}

/// How the tree may grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) levels: u32,
    /// Copies and children of a node, for each of its rules.
    pub(super) spread: usize,
    pub(super) bytes: usize,
    /// Rules that may be handed to children, all nodes together.
    pub(super) copies: usize,
}

/// A tree under way.
pub(super) struct Growth<'a, A: Address> {
    rules: &'a [RuleBox<A>],
    extents: &'a [Extent],
    limits: Limits,
    tree: Tree<A>,
    /// The first block of each list of rules.
    leaves: HashMap<Box<[u32]>, u32, FxBuildHasher>,
    /// Nodes that lead to a leaf without a cut, by level and leaf.
    paths: HashMap<(u32, u32), Node, FxBuildHasher>,
}

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
    let bits = 8 * size_of::<A>();
    let last = u128::MAX >> (128 - bits);
    [(0, last), (0, last), (0, 0xffff), (0, 0xffff), (0, 0xff)]
}

/// Grows a tree of some rules; `None` where it takes more than the limits allow.
pub(super) fn grow<A: Address>(
    rules: &[RuleBox<A>],
    extents: &[Extent],
    places: &[u32],
    limits: Limits,
) -> Option<Tree<A>> {
    let mut growth = Growth {
        rules,
        extents,
        limits,
        tree: Tree {
            nodes: vec![Node::default()],
            leaves: Vec::new(),
            blocks: Vec::new(),
            levels: limits.levels,
            most_tested: 0,
        },
        leaves: HashMap::default(),
        paths: HashMap::default(),
    };
    growth.node(places, &whole::<A>(), 0, 0)?;
    let mut tree = growth.tree;
    tree.nodes.shrink_to_fit();
    tree.leaves.shrink_to_fit();
    tree.blocks.shrink_to_fit();
    Some(tree)
}

/// A tree that cuts nothing.
pub(super) fn list<A: Address>(rules: &[RuleBox<A>], places: &[u32]) -> Tree<A> {
    let mut blocks = Vec::with_capacity(places.len().div_ceil(LANES));
    Block::of(rules, places, &mut blocks);
    Tree {
        nodes: Vec::new(),
        leaves: vec![0],
        blocks,
        levels: 0,
        most_tested: places.len(),
    }
}

impl<A: Address> Growth<'_, A> {
    fn node(&mut self, places: &[u32], region: &Extent, level: u32, at: usize) -> Option<()> {
        let is_last = level + 1 == self.limits.levels;
        if places.len() <= LANES {
            self.tree.nodes[at] = self.path(places, level)?;
            return Some(());
        }
        let (axes, cells) = self.axes(places, region);
        let bits = self.cut(&axes, &cells);
        let total: u32 = bits.iter().sum();
        let children = 1_usize << total;
        let base = if is_last {
            self.tree.leaves.len()
        } else {
            self.tree.nodes.len()
        };
        if is_last {
            self.tree.leaves.resize(base + children, 0);
        } else {
            self.tree.nodes.resize(base + children, Node::default());
        }
        self.check()?;
        self.tree.nodes[at] = node_of::<A>(&axes, &bits, to_u32(base));
        let lists = Lists::new(places, &axes, &cells, &bits);
        self.limits.copies = self.limits.copies.checked_sub(lists.places.len())?;
        for child in 0..children {
            let own = lists.of(child);
            if is_last {
                self.tree.leaves[base + child] = self.leaf(own)?;
            } else {
                let part = part_of(region, &axes, &bits, child);
                self.node(own, &part, level + 1, base + child)?;
            }
        }
        Some(())
    }

    /// Whether the tree is small enough so far.
    fn check(&self) -> Option<()> {
        (self.tree.bytes() <= self.limits.bytes).then_some(())
    }

    /// A leaf without further cuts.
    fn path(&mut self, places: &[u32], level: u32) -> Option<Node> {
        let leaf = self.leaf(places)?;
        if let Some(known) = self.paths.get(&(level, leaf)) {
            return Some(*known);
        }
        let mut node = Node {
            base: to_u32(self.tree.leaves.len()),
            ..Node::default()
        };
        self.tree.leaves.push(leaf);
        for _ in level + 1..self.limits.levels {
            let base = to_u32(self.tree.nodes.len());
            self.tree.nodes.push(node);
            node = Node {
                base,
                ..Node::default()
            };
        }
        self.paths.insert((level, leaf), node);
        Some(node)
    }

    fn leaf(&mut self, places: &[u32]) -> Option<u32> {
        if let Some(&known) = self.leaves.get(places) {
            return Some(known);
        }
        let first = to_u32(self.tree.blocks.len());
        Block::of(self.rules, places, &mut self.tree.blocks);
        self.check()?;
        self.tree.most_tested = self.tree.most_tested.max(places.len());
        self.leaves.insert(places.into(), first);
        Some(first)
    }

    /// The axes of a node, and the finest cells that each rule covers on each.
    fn axes(&self, places: &[u32], region: &Extent) -> ([Axis; DIMENSIONS], Vec<Cells>) {
        let mut hulls: [Option<(u128, u128)>; DIMENSIONS] = [None; DIMENSIONS];
        for &place in places {
            let extent = &self.extents[place as usize];
            for ((hull, own), all) in hulls.iter_mut().zip(extent).zip(region) {
                let own = (own.0.max(all.0), own.1.min(all.1));
                if own != *all {
                    let before = hull.unwrap_or(own);
                    *hull = Some((own.0.min(before.0), own.1.max(before.1)));
                }
            }
        }
        let axes = hulls.map(|hull| {
            let Some((low, high)) = hull else {
                return Axis::default();
            };
            let width = u128::BITS - (low ^ high).leading_zeros();
            Axis {
                low: low & !low_bits(width),
                width,
                finest: width.min(MAX_BITS),
            }
        });
        let cells = places.iter().map(|&place| {
            let extent = &self.extents[place as usize];
            std::array::from_fn(|of| {
                let (axis, own, all) = (&axes[of], extent[of], region[of]);
                let last = low_bits(axis.finest);
                if own.0 <= all.0 && own.1 >= all.1 {
                    return (0, cell(last));
                }
                let low = own.0.max(all.0) - axis.low;
                let high = own.1.min(all.1) - axis.low;
                let shift = axis.width - axis.finest;
                (cell(low >> shift), cell(high >> shift))
            })
        });
        let cells = cells.collect();
        (axes, cells)
    }

    /// How many bits of each dimension to cut: greedily the ones that leave a packet the fewest rules.
    fn cut(&self, axes: &[Axis; DIMENSIONS], all: &[Cells]) -> [u32; DIMENSIONS] {
        let step = all.len().div_ceil(JUDGES);
        let judges: Vec<Cells> = all.iter().step_by(step).copied().collect();
        let most = (judges.len() * self.limits.spread).max(4 * LANES);
        let max_bits = (all.len() * self.limits.spread).ilog2().clamp(4, MAX_BITS);
        let mut pairs = pairs(&judges);
        let mut bits = [0_u32; DIMENSIONS];
        loop {
            let total: u32 = bits.iter().sum();
            let aimed = SAMPLES.min(judges.len());
            if pairs.len() * step <= aimed * LANES / 2 {
                break;
            }
            let mut best: Option<(f64, usize, u32)> = None;
            let copies = copies(&judges, axes, &bits);
            for of in 0..DIMENSIONS {
                let other_rest = (REST..DIMENSIONS).any(|rest| rest != of && bits[rest] > 0);
                if of >= REST && other_rest {
                    continue;
                }
                for more in [1, 2, 4, 6, 8] {
                    if bits[of] + more > axes[of].finest || total + more > max_bits {
                        break;
                    }
                    let mut then = bits;
                    then[of] += more;
                    let spread = self::copies(&judges, axes, &then);
                    if spread > most {
                        break;
                    }
                    let shift = axes[of].finest - then[of];
                    let left = pairs
                        .iter()
                        .filter(|pair| pair.meet(of, shift, &judges))
                        .count();
                    let gain = ratio(pairs.len(), left).ln() - 0.3 * ratio(spread, copies).ln();
                    let gain = gain / f64::from(more);
                    if gain > best.map_or(0.02, |(most, ..)| most) {
                        best = Some((gain, of, more));
                    }
                }
            }
            let Some((_, of, more)) = best else {
                break;
            };
            bits[of] += more;
            let shift = axes[of].finest - bits[of];
            pairs.retain(|pair| pair.meet(of, shift, &judges));
        }
        bits
    }
}

/// The first and last finest cell of a rule in each dimension.
type Cells = [(u16, u16); DIMENSIONS];

/// A packet aimed at a rule, and a rule that it has not been kept apart from.
struct Pair {
    packet: [u16; DIMENSIONS],
    rule: u32,
}

impl Pair {
    fn meet(&self, of: usize, shift: u32, rules: &[Cells]) -> bool {
        let (first, last) = rules[self.rule as usize][of];
        let packet = u32::from(self.packet[of]) >> shift;
        (u32::from(first) >> shift..=u32::from(last) >> shift).contains(&packet)
    }
}

/// Packets aimed at some of the rules, each with every rule.
fn pairs(rules: &[Cells]) -> Vec<Pair> {
    let count = SAMPLES.min(rules.len());
    let mut pairs = Vec::with_capacity(count * rules.len());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for sample in 0..count {
        let packet = rules[sample * rules.len() / count].map(|(first, last)| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let span = u64::from(last - first) + 1;
            first + u16::try_from(state % span).unwrap_or(0)
        });
        pairs.extend((0..to_u32(rules.len())).map(|rule| Pair { packet, rule }));
    }
    pairs
}

/// Copies of all rules that a cut makes.
fn copies(rules: &[Cells], axes: &[Axis; DIMENSIONS], bits: &[u32; DIMENSIONS]) -> usize {
    let of_rule = |rule: &Cells| -> usize {
        let spans = (0..DIMENSIONS).map(|of| {
            let shift = axes[of].finest - bits[of];
            usize::from(rule[of].1 >> (shift.min(15)) >> (shift / 16))
                - usize::from(rule[of].0 >> (shift.min(15)) >> (shift / 16))
                + 1
        });
        spans.product()
    };
    rules.iter().map(of_rule).sum()
}

#[expect(clippy::cast_precision_loss, reason = "only compared")]
fn ratio(whole: usize, part: usize) -> f64 {
    whole.max(1) as f64 / part.max(1) as f64
}

/// So many ones.
pub(super) fn low_bits(count: u32) -> u128 {
    1_u128.checked_shl(count).map_or(u128::MAX, |bit| bit - 1)
}

fn cell(number: u128) -> u16 {
    u16::try_from(number).expect("a cut has at most 16 bits")
}

/// Where a dimension's bits stand in a child's number.
fn offsets(bits: &[u32; DIMENSIONS]) -> [u32; DIMENSIONS] {
    let rest = bits[0] + bits[1];
    [0, bits[0], rest, rest, rest]
}

fn node_of<A: Address>(axes: &[Axis; DIMENSIONS], bits: &[u32; DIMENSIONS], base: u32) -> Node {
    let mut node = Node {
        base,
        ..Node::default()
    };
    let offsets = offsets(bits);
    let address_bits = u32::try_from(8 * size_of::<A>()).unwrap_or(128);
    for of in 0..DIMENSIONS {
        if bits[of] == 0 {
            continue;
        }
        let (own, word, shift) = match of.checked_sub(REST) {
            None => (of, address_bits, 0),
            Some(rest) => (REST, 64, REST_SHIFT[rest]),
        };
        let shift = shift + axes[of].width - bits[of];
        let turn = (shift + word - offsets[of]) % word;
        node.turns[own] = u8::try_from(turn).unwrap_or(0);
        node.masks[own] = cell(low_bits(bits[of]) << offsets[of]);
    }
    node
}

/// The part of the space that a child stands for.
fn part_of(
    region: &Extent,
    axes: &[Axis; DIMENSIONS],
    bits: &[u32; DIMENSIONS],
    child: usize,
) -> Extent {
    let offsets = offsets(bits);
    std::array::from_fn(|of| {
        if bits[of] == 0 {
            return region[of];
        }
        let shift = axes[of].width - bits[of];
        let number = (child >> offsets[of]) as u128 & low_bits(bits[of]);
        let low = axes[of].low + (number << shift);
        (low, low + low_bits(shift))
    })
}

/// The rules of each child.
struct Lists {
    /// Where each child's list ends.
    ends: Vec<u32>,
    places: Vec<u32>,
}

impl Lists {
    fn new(
        places: &[u32],
        axes: &[Axis; DIMENSIONS],
        cells: &[Cells],
        bits: &[u32; DIMENSIONS],
    ) -> Self {
        let children = 1_usize << bits.iter().sum::<u32>();
        let mut ends = vec![0_u32; children];
        for rule in cells {
            each_child(axes, rule, bits, |child| ends[child] += 1);
        }
        let mut sum = 0;
        for end in &mut ends {
            let count = *end;
            *end = sum;
            sum += count;
        }
        let mut lists = Self {
            ends,
            places: vec![0; sum as usize],
        };
        for (rule, &place) in cells.iter().zip(places) {
            each_child(axes, rule, bits, |child| {
                let next = &mut lists.ends[child];
                lists.places[*next as usize] = place;
                *next += 1;
            });
        }
        lists
    }

    fn of(&self, child: usize) -> &[u32] {
        let start = child.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.places[start as usize..self.ends[child] as usize]
    }
}

fn each_child(
    axes: &[Axis; DIMENSIONS],
    rule: &Cells,
    bits: &[u32; DIMENSIONS],
    mut visit: impl FnMut(usize),
) {
    let offsets = offsets(bits);
    let span = |of: usize| {
        let shift = axes[of].finest - bits[of];
        (usize::from(rule[of].0) >> shift)..=(usize::from(rule[of].1) >> shift)
    };
    let rest = (REST..DIMENSIONS).find(|of| bits[*of] > 0).unwrap_or(REST);
    for of_rest in span(rest) {
        for dst in span(1) {
            for src in span(0) {
                visit(src | dst << offsets[1] | of_rest << offsets[rest]);
            }
        }
    }
}
