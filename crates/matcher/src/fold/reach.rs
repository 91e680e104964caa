//! Which jumps are folded: those that a walk can come to.
//!
//! A walk that nobody watches goes down from a base chain, and where a jump is folded no further. What
//! is below a folded jump need not be folded itself; of kube-proxy's chains that is nearly all of them.

use std::hint::black_box;
use std::ops::Range;

use podwire_ruleset::ChainId;
use smallvec::SmallVec;

use crate::fields::Fields;
use crate::fold::{self, Finding};
use crate::program::{Block, Chain, Program, Rule, Then};

/// Rules that are looked at before they are folded, and of each chain that they jump to.
const AHEAD: u32 = 256;
const FEW: u32 = 8;

/// Rules from which on that is worth it.
const MANY: usize = 1 << 16;

impl<F: Fields> Program<F> {
    /// Folds the jumps of chains, and of those below them that a walk can come to.
    ///
    /// `budget` is how many rules may still be looked at in this program.
    pub(crate) fn fold_below(&mut self, mut chains: SmallVec<[ChainId; 8]>, budget: &mut usize) {
        while let Some(id) = chains.pop() {
            let own = &mut self.chains[id.index()];
            if std::mem::replace(&mut own.is_walked, true) {
                continue;
            }
            let chain = *own;
            for place in chain.first..chain.first + chain.len {
                if (place - chain.first).is_multiple_of(AHEAD) {
                    let end = (place + AHEAD).min(chain.first + chain.len);
                    self.look_ahead(chain, place..end);
                }
                if let Some(to) = self.rules[place as usize].then.chain()
                    && !self.fold_jump(chain, place, budget)
                {
                    chains.push(to);
                }
            }
        }
    }

    /// Reads what folding these rules is going to read, where that is all over a memory that no cache
    /// holds: the chains that they jump to, and those that these jump to. Each step is done for all of
    /// them before the next, so that the processor waits for many at once.
    fn look_ahead(&self, chain: Chain, places: Range<u32>) {
        if self.rules.len() < MANY {
            return;
        }
        let plan = (chain.plan as usize).checked_sub(1);
        for block in plan.iter().flat_map(|&plan| &self.plans[plan]) {
            if let Block::Dispatch(table) = block {
                let table = &self.tables[*table as usize];
                let within = places.start.max(table.first)..places.end.min(table.end);
                let rules = within.map(|place| &self.rules[place as usize]);
                let keys = rules.filter_map(|rule| Some(self.equality(rule)?.value.key()));
                table.look_ahead(keys);
            }
        }
        let own = &self.rules[places.start as usize..places.end as usize];
        let mut jumps: Vec<ChainId> = own.iter().filter_map(|rule| rule.then.chain()).collect();
        let mut rules: Vec<Rule> = Vec::with_capacity(FEW as usize * jumps.len());
        for _ in 0..2 {
            let chains: Vec<Chain> = jumps.iter().map(|to| self.chains[to.index()]).collect();
            let places = chains
                .iter()
                .flat_map(|chain| (chain.first..).take(chain.len.min(FEW) as usize));
            rules.clear();
            rules.extend(places.map(|place| self.rules[place as usize]));
            let first_tests = rules.iter().filter(|rule| rule.test_count > 0);
            let of_ports = first_tests.map(|rule| self.tests[rule.tests as usize].is_of_ports());
            black_box(of_ports.fold(false, |one, other| one ^ other));
            let ports = rules.iter().filter_map(|rule| {
                let Then::Dnat(socket) = rule.then else {
                    return None;
                };
                self.sockets[socket as usize].port
            });
            black_box(ports.max());
            jumps.clear();
            jumps.extend(rules.iter().filter_map(|rule| rule.then.chain()));
        }
    }

    /// Folds the chain that the rule at a place of a chain jumps to; no if that cannot be.
    pub(crate) fn fold_jump(&mut self, chain: Chain, place: u32, budget: &mut usize) -> bool {
        let rule = self.rules[place as usize];
        if rule.is_uncertain || !matches!(rule.then, Then::Jump(_) | Then::Goto(_)) {
            return false;
        }
        let Some(found) = fold::find(&*self, (self, &rule), budget) else {
            return false;
        };
        self.keep_fold(chain, place, &found);
        true
    }

    /// Keeps what the chain that the rule at a place of a chain jumps to folds to.
    pub(crate) fn keep_fold(&mut self, chain: Chain, place: u32, found: &Finding<F>) {
        let rule = self.rules[place as usize];
        let fold = self.folds.add(found);
        self.rules[place as usize].fold = fold + 1;
        if rule.made == rule.hashable && u32::from(rule.made) == rule.test_count {
            self.enter(chain, place, &rule, fold);
        }
    }

    /// Writes a fold into the table of Services that its rule is of, if it is of one.
    fn enter(&mut self, chain: Chain, place: u32, rule: &Rule, fold: u32) {
        let Some(key) = self.equality(rule).map(|own| own.value.key()) else {
            return;
        };
        let Some(plan) = (chain.plan as usize).checked_sub(1) else {
            return;
        };
        for block in &self.plans[plan] {
            let Block::Dispatch(table) = block else {
                continue;
            };
            let table = &mut self.tables[*table as usize];
            if (table.first..table.end).contains(&place) && table.set(key, place, fold, &self.folds)
            {
                // The entry holds all of it.
                self.rules[place as usize].fold = 0;
                self.folds.forget_last();
            }
        }
    }

    /// Forgets what the chain was folded to that the rule at a place jumps to, and says whether it was.
    pub(crate) fn unfold(&mut self, chain: Chain, place: u32) -> bool {
        let rule = &mut self.rules[place as usize];
        let fold = std::mem::take(&mut rule.fold).checked_sub(1);
        // A fold that was kept stays behind.
        self.garbage += 1 + fold.map_or(0, |fold| self.folds.size(fold));
        let mut was_folded = fold.is_some();
        let rule = *rule;
        let Some(key) = self.equality(&rule).map(|own| own.value.key()) else {
            return was_folded;
        };
        let Some(plan) = chain.plan.checked_sub(1) else {
            return was_folded;
        };
        for block in &self.plans[plan as usize] {
            if let Block::Dispatch(table) = block {
                was_folded |= self.tables[*table as usize].ask(key, place);
            }
        }
        was_folded
    }
}
