//! Many packets through the trees side by side: while one waits for memory, others go on.
//!
//! A lookup alone is a chain of loads that each wait for the one before, and then a branch that nobody can
//! foresee: whether the leaf has a rule for the packet or goes on in another block. Here every packet takes a
//! step before any takes the next, and those whose leaf goes on are gathered without a branch. So the
//! only branches are of loops, and the loads of all packets are under way at once.

use crate::boxes::tree::Tree;
use crate::boxes::{Address, Boxes, NONE, Point};
use crate::prefetch::prefetch_whole;

/// Packets at a time.
pub(crate) const MANY: usize = 64;

impl<A: Address> Boxes<A> {
    /// For each of the first `count` points the first box that holds it; behind every box where none does.
    #[inline]
    pub(crate) fn firsts(&self, points: &[Point<A>; MANY], count: usize) -> [u32; MANY] {
        let mut firsts = [NONE; MANY];
        for tree in &self.trees {
            tree.firsts(points, count, &mut firsts);
        }
        firsts
    }
}

impl<A: Address> Tree<A> {
    /// Lowers each point's place to that of the tree's first rule that holds it.
    #[inline]
    fn firsts(&self, points: &[Point<A>; MANY], count: usize, firsts: &mut [u32; MANY]) {
        let count = count.min(MANY);
        let mut blocks = [0; MANY];
        for (point, block) in points[..count].iter().zip(&mut blocks) {
            *block = self.leaf(point);
            prefetch_whole(&self.blocks[*block as usize]);
        }
        // Those that are not done, in front.
        let mut open: [u8; MANY] = OPEN;
        let mut left = count;
        while left > 0 {
            let mut kept = 0;
            for place in 0..left {
                let at = open[place % MANY];
                let own = usize::from(at) % MANY;
                let asked = self.ask(blocks[own], &points[own]);
                firsts[own] = firsts[own].min(asked.first);
                blocks[own] += 1;
                open[kept % MANY] = at;
                kept += usize::from(asked.goes_on);
            }
            left = kept;
        }
    }
}

/// All packets.
const OPEN: [u8; MANY] = {
    let mut all = [0; MANY];
    let mut at = 0;
    while at < MANY {
        #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
        {
            all[at] = at as u8;
        }
        at += 1;
    }
    all
};
