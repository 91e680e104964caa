//! Which jumps a node's packets come to.
//!
//! A common chain is folded only where a walk through the common rules comes to it ([`crate::fold`]). Where
//! the node's packets come to another one, its jumps that can be folded are put in as the node's own, so
//! that one draw decides there as it does in a matcher of the node's rules.

use std::collections::BTreeSet;

use podwire_ruleset::{ChainId, Hook};

use super::Common;
use super::part::{Part, Patched};
use crate::code::Code;
use crate::dispatch::Found;
use crate::fields::Fields;
use crate::fold::{self, Finding, Placed};
use crate::program::{Block, Chain, Program};

/// What a walk from the node's base chains comes to.
pub(super) struct Reached<F: Fields> {
    /// Jumps of own rules that are to be folded.
    pub(super) folds: Vec<Folded<F>>,
    /// Common rules, by chain and how many stand before them, that would be folded if the common rules
    /// came to them.
    pub(super) late: Vec<(ChainId, u32)>,
}

/// What the jump at a place of an own chain folds to.
pub(super) struct Folded<F: Fields> {
    pub(super) chain: Chain,
    pub(super) place: u32,
    pub(super) found: Finding<F>,
}

/// The walk on its way.
struct Reaching<'a, F: Fields> {
    common: &'a Common<'a, F>,
    view: Patched<'a, F>,
    budget: usize,
    seen: BTreeSet<ChainId>,
    ahead: Vec<ChainId>,
    reached: Reached<F>,
}

impl<F: Fields> Reached<F> {
    pub(super) fn by(common: &Common<'_, F>, part: &Part<F>) -> Self {
        let view = Patched {
            common: common.program,
            part,
        };
        let rules = common.program.rules.len();
        let mut reaching = Reaching {
            common,
            view,
            budget: rules.saturating_mul(8).saturating_add(1 << 10),
            seen: BTreeSet::new(),
            ahead: Vec::new(),
            reached: Self {
                folds: Vec::new(),
                late: Vec::new(),
            },
        };
        for base in Hook::ALL.into_iter().filter_map(|hook| view.base(hook)) {
            reaching.to(base.chain);
        }
        while let Some(chain) = reaching.ahead.pop() {
            reaching.through(chain);
        }
        reaching.reached
    }
}

impl<F: Fields> Reaching<'_, F> {
    fn to(&mut self, chain: ChainId) {
        let chain = self.view.enter(chain);
        if self.seen.insert(chain) {
            self.ahead.push(chain);
        }
    }

    fn through(&mut self, chain: ChainId) {
        let count = self.common.program.chains.len();
        let Some(own) = chain.index().checked_sub(count) else {
            self.through_common(chain, |_| true);
            return;
        };
        let view = self.view;
        let program = &view.part.own;
        let chain_of = program.chains[own];
        for place in chain_of.first..chain_of.first + chain_of.len {
            if let Some(found) = self.fold((program, &program.rules[place as usize])) {
                self.reached.folds.push(Folded {
                    chain: chain_of,
                    place,
                    found,
                });
            }
        }
        if let Some(splice) = view.splice(chain) {
            self.through_common(splice.of, |number| splice.is_kept(number));
        }
    }

    /// Goes through the rules of a common chain that the node has too.
    fn through_common(&mut self, chain: ChainId, is_kept: impl Fn(u32) -> bool) {
        let Common { program, index, .. } = self.common;
        let rules = program.rules_of(chain);
        if program.chains[chain.index()].is_walked {
            let open = &index.open;
            let first = open.partition_point(|(of, _)| *of < chain);
            let own = open[first..].iter().take_while(|(of, _)| *of == chain);
            for &(_, number) in own.filter(|(_, number)| is_kept(*number)) {
                if let Some(to) = rules[number as usize].then.chain() {
                    self.to(to);
                }
            }
            return;
        }
        for (rule, number) in rules.iter().zip(0..).filter(|(_, number)| is_kept(*number)) {
            if self.fold((self.view.common, rule)).is_some() {
                self.reached.late.push((chain, number));
            }
        }
    }

    /// What a rule's jump folds to; where it cannot be folded, walks come to where it leads.
    fn fold(&mut self, rule: Placed<'_, F>) -> Option<Finding<F>> {
        let to = rule.1.then.chain()?;
        let found = if rule.1.is_uncertain {
            None
        } else {
            fold::find(self.view, rule, &mut self.budget)
        };
        if found.is_none() {
            self.to(to);
        }
        found
    }
}

/// Jumps that walks go through, since they are not folded: chain and how many rules stand before.
pub(super) fn open_jumps<F: Fields>(program: &Program<F>) -> Vec<(ChainId, u32)> {
    let chains = (0..).map(ChainId).zip(&program.chains);
    let walked = chains.filter(|(_, chain)| chain.is_walked);
    let open = walked.flat_map(|(id, chain)| {
        let rules = program.rules_of(id).iter().zip(0..);
        rules.filter_map(move |(rule, number)| {
            let is_open =
                rule.then.chain().is_some() && !program.is_folded(*chain, chain.first + number);
            is_open.then_some((id, number))
        })
    });
    open.collect()
}

impl<F: Fields> Program<F> {
    /// Whether what a rule leads to is folded, in itself or in a table.
    pub(super) fn is_folded(&self, chain: Chain, place: u32) -> bool {
        let rule = &self.rules[place as usize];
        if rule.fold != 0 {
            return true;
        }
        let Some(plan) = chain.plan.checked_sub(1) else {
            return false;
        };
        let table = self.plans[plan as usize].iter().find_map(|block| {
            let Block::Dispatch(table) = block else {
                return None;
            };
            let table = &self.tables[*table as usize];
            (table.first..table.end).contains(&place).then_some(table)
        });
        table.zip(self.equality(rule)).is_some_and(|(table, own)| {
            let key = own.value.key();
            table.first_rule(key) == Some(place)
                && matches!(table.find(key), Found::Endpoints(_) | Found::Fold(_))
        })
    }
}
