//! How a tree is grown: which rules go where.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::boxes::cut::{Cells, Cut, Extent, whole};
use crate::boxes::tree::{Block, LANES, Node, Tree};
use crate::boxes::{Address, RuleBox};
use crate::program::to_u32;

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
        let rules = places.iter().map(|place| &self.extents[*place as usize]);
        let (cut, cells) = Cut::choose(rules, region, self.limits.spread);
        let children = cut.children();
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
        self.tree.nodes[at] = cut.node::<A>(to_u32(base));
        let lists = Lists::new(places, &cut, &cells);
        self.limits.copies = self.limits.copies.checked_sub(lists.places.len())?;
        for child in 0..children {
            let own = lists.of(child);
            if is_last {
                self.tree.leaves[base + child] = self.leaf(own)?;
            } else {
                let part = cut.part(region, child);
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
}

/// The rules of each child.
struct Lists {
    /// Where each child's list ends.
    ends: Vec<u32>,
    places: Vec<u32>,
}

impl Lists {
    fn new(places: &[u32], cut: &Cut, cells: &[Cells]) -> Self {
        let mut ends = vec![0_u32; cut.children()];
        for rule in cells {
            cut.each_child(rule, |child| ends[child] += 1);
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
            cut.each_child(rule, |child| {
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
