//! Which jumps are folded: those that a walk can come to.
//!
//! A walk that nobody watches goes down from a base chain, and where a jump is folded no further. What
//! is below a folded jump need not be folded itself; of kube-proxy's chains that is nearly all of them.

use podwire_ruleset::ChainId;

use crate::fields::Fields;
use crate::program::{Block, Chain, Program, Rule, Then};

impl<F: Fields> Program<F> {
    /// Folds the jumps of chains, and of those below them that a walk can come to.
    ///
    /// `budget` is how many rules may still be looked at in this program.
    pub(crate) fn fold_below(&mut self, chains: Vec<ChainId>, budget: &mut usize) {
        let mut seen = vec![false; self.chains.len()];
        let mut ahead = chains;
        while let Some(id) = ahead.pop() {
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            let chain = self.chains[id.index()];
            for place in chain.first..chain.first + chain.len {
                let Rule { fold, then, .. } = self.rules[place as usize];
                if let Some(to) = then.chain()
                    && fold == 0
                    && !self.fold_jump(chain, place, budget)
                {
                    ahead.push(to);
                }
            }
        }
    }

    /// Folds the chain that the rule at a place of a chain jumps to; no if that cannot be.
    pub(crate) fn fold_jump(&mut self, chain: Chain, place: u32, budget: &mut usize) -> bool {
        let rule = self.rules[place as usize];
        if rule.is_uncertain || !matches!(rule.then, Then::Jump(_) | Then::Goto(_)) {
            return false;
        }
        let Some(fold) = self.fold(&rule, budget) else {
            return false;
        };
        self.rules[place as usize].fold = fold + 1;
        if rule.made == rule.hashable && u32::from(rule.made) == rule.test_count {
            self.enter(chain, place, &rule, fold);
        }
        true
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
