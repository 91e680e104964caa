//! A node's part, from where its table differs.

use std::collections::{BTreeMap, BTreeSet};

use podwire_ruleset::{ChainId, ChainName, Hook, Rule as Written, Table};

use super::Common;
use super::compare::{Difference, Edit, SPLICED};
use super::part::{Front, Part, Patched};
use super::reach::{Folded, Reached};
use super::splice::{PutIn, Splicing};
use crate::code::Code;
use crate::compile::Builder;
use crate::fields::Fields;
use crate::fold;
use crate::program::{Base, Chain, Program, Rule, Then, to_u32};
use crate::test::Test;

/// A node's table on its way to a part.
pub(super) struct Assembly<'a, F: Fields> {
    pub(super) common: &'a Common<'a, F>,
    pub(super) node: &'a Table,
    pub(super) difference: Difference<F>,
}

/// A part whose rules are there, but not yet found by tables and folded.
struct Raw<F: Fields> {
    part: Part<F>,
    /// How the first table of a splice's common chain is asked.
    fronts: BTreeMap<ChainId, Front>,
}

impl<F: Fields> Assembly<'_, F> {
    /// The part; none if so much differs that nothing is shared.
    pub(super) fn part(mut self) -> Option<Part<F>> {
        let mut raw = self.raw();
        let stale = self.stale(&raw.part)?;
        if !stale.is_empty() {
            for (chain, number) in stale {
                self.replace(chain, number);
            }
            raw = self.raw();
        }
        loop {
            let reached = Reached::by(self.common, &raw.part);
            if reached.late.is_empty() {
                let rules = raw.part.own.rules.len();
                let is_small = rules * 2 <= self.common.program.rules.len();
                return is_small.then(|| self.finish(raw, reached.folds));
            }
            for (chain, number) in reached.late {
                self.replace(chain, number);
            }
            raw = self.raw();
        }
    }

    /// Has a rule that the node has too be the node's own.
    fn replace(&mut self, chain: ChainId, number: u32) {
        let len = self.common.program.chains[chain.index()].len;
        let names_local = self.difference.names_local(chain);
        let edit = self.difference.edits.entry(chain).or_insert_with(|| {
            if (len as usize) < SPLICED || names_local {
                Edit::Whole
            } else {
                Edit::Splice((0..len).map(|number| (number, number)).collect())
            }
        });
        if let Edit::Splice(kept) = edit
            && let Ok(place) = kept.binary_search_by_key(&number, |(common, _)| *common)
        {
            kept.remove(place);
        }
    }

    /// Common rules that walks come to, by chain and how many stand before them, that lead to chains which
    /// the node has otherwise, so that what they fold to is not what it was; none if those are too many.
    fn stale(&self, part: &Part<F>) -> Option<Vec<(ChainId, u32)>> {
        let Common { program, index, .. } = self.common;
        let mut asked = BTreeSet::new();
        for chain in self.difference.edits.keys() {
            asked.extend(index.callers.above(*chain)?);
        }
        // What is known of packets from some source says whether they are of the node's.
        let knows_source = |&(chain, number): &(ChainId, u32)| {
            let rule = &program.rules_of(chain)[number as usize];
            let mut tests = program.tests_of(rule).iter();
            tests.any(|test| matches!(test, Test::Source(_)))
        };
        for chain in &self.difference.local_chains {
            asked.extend(
                index
                    .callers
                    .above(*chain)?
                    .into_iter()
                    .filter(knows_source),
            );
        }
        let view = Patched {
            common: program,
            part,
        };
        let mut budget = program.rules.len().saturating_mul(8);
        let is_stale = |&(chain, number): &(ChainId, u32)| {
            let is_there = part.ids.place_of(chain.0).is_some();
            let is_kept = match self.difference.edits.get(&chain) {
                None => true,
                Some(Edit::Whole) => false,
                Some(Edit::Splice(kept)) => kept
                    .binary_search_by_key(&number, |(common, _)| *common)
                    .is_ok(),
            };
            let of = program.chains[chain.index()];
            if !is_there || !is_kept || !of.is_walked {
                return false;
            }
            let rule = &program.rules[(of.first + number) as usize];
            program.is_folded(of, of.first + number)
                || !rule.is_uncertain && fold::find(view, (program, rule), &mut budget).is_some()
        };
        Some(asked.into_iter().filter(is_stale).collect())
    }

    /// Puts the node's own rules into their small form.
    fn raw(&self) -> Raw<F> {
        let common = self.common.program;
        let count = to_u32(common.chains.len());
        let difference = &self.difference;
        let mut own = Builder::<F>::new(common.table).program;
        let (mut moved, mut own_ids) = (Vec::new(), Vec::new());
        for chain in difference.edits.keys() {
            let id = difference.ids.place_of(chain.0);
            moved.push((*chain, ChainId(count + to_u32(own_ids.len()))));
            own_ids.push(ChainId(id.expect("only chains of both are edited")));
        }
        let added: BTreeMap<&str, ChainId> = difference
            .added
            .iter()
            .zip(count + to_u32(own_ids.len())..)
            .filter_map(|(id, number)| Some((self.node.chain(*id)?.name.as_str(), ChainId(number))))
            .collect();
        own_ids.extend(&difference.added);
        let number = |name: &ChainName| {
            let common = self.common.table.chain_id(name.as_str());
            common.or_else(|| added.get(name.as_str()).copied())
        };
        let put = |own: &mut Program<F>, rules: &mut dyn Iterator<Item = &Written>| {
            let first = to_u32(own.rules.len());
            for rule in rules {
                let lowered = own.lower(rule, number);
                own.rules.push(lowered);
            }
            let len = to_u32(own.rules.len()) - first;
            own.chains.push(Chain {
                first,
                len,
                plan: 0,
                is_walked: true,
            });
        };
        let (mut splices, mut fronts) = (Vec::new(), BTreeMap::new());
        for ((of, edit), id) in difference.edits.iter().zip(&own_ids) {
            let rules = self.node.chain(*id).map_or(&[][..], |chain| &chain.rules);
            let Edit::Splice(kept) = edit else {
                put(&mut own, &mut rules.iter());
                continue;
            };
            let splicing = Splicing::new(self.common, *of, kept.clone(), rules, number);
            let written = splicing.put_in.iter().map(|&(_, rule)| match rule {
                PutIn::Rule(rank) => &rules[rank as usize],
                PutIn::Gone(number) => &self.common.table.chains[of.index()].rules[number as usize],
            });
            put(&mut own, &mut written.into_iter());
            let chain = ChainId(count + to_u32(own.chains.len()) - 1);
            let first = to_u32(own.rules.len() - splicing.put_in.len());
            for (place, (_, rule)) in (first..).zip(&splicing.put_in) {
                if matches!(rule, PutIn::Gone(_)) {
                    own.disable(place);
                }
            }
            fronts.insert(chain, own.front_of(&splicing));
            splices.push((chain, splicing.splice(*of)));
        }
        for id in &difference.added {
            let chain = self.node.chain(*id);
            put(
                &mut own,
                &mut chain.into_iter().flat_map(|chain| &chain.rules),
            );
        }
        for hook in Hook::ALL {
            own.bases[hook as usize] = self.node.at(hook).and_then(|(_, chain)| {
                Some(Base {
                    chain: number(&chain.name)?,
                    policy: chain.built_in?.policy,
                })
            });
        }
        Raw {
            part: Part {
                own,
                moved,
                own_ids,
                ids: difference.ids.clone(),
                splices,
                fronts: [Front::None; Hook::ALL.len()],
                local: difference.local.clone(),
                markings: Vec::new(),
            },
            fronts,
        }
    }

    /// Plans each chain, keeps the folds, and finds the tables that packets come to first.
    fn finish(&self, Raw { mut part, fronts }: Raw<F>, folds: Vec<Folded<F>>) -> Part<F> {
        let common = self.common.program;
        let count = to_u32(common.chains.len());
        let has_table = |index: usize| {
            let chain = ChainId(count + to_u32(index));
            matches!(fronts.get(&chain), Some(Front::Spliced { .. }))
        };
        for index in 0..part.own.chains.len() {
            if !has_table(index) {
                part.own.plan(ChainId(to_u32(index)));
            }
        }
        if let Some(local) = &part.local {
            part.markings = common.folds.markings_of(&local.common, &local.own[0]);
        }
        for Folded {
            chain,
            place,
            found,
        } in folds
        {
            part.own.keep_fold(chain, place, &found);
        }
        for hook in Hook::ALL {
            let view = Patched {
                common,
                part: &part,
            };
            part.fronts[hook as usize] = view.front(hook, &fronts);
        }
        part.shrink();
        part
    }
}

impl<F: Fields> Patched<'_, F> {
    /// The table of Services that every packet of a hook comes to first; `fronts` says it of splices.
    fn front(self, hook: Hook, fronts: &BTreeMap<ChainId, Front>) -> Front {
        let Some(base) = self.base(hook) else {
            return Front::None;
        };
        let mut at = self.enter(base.chain);
        // Chains do not call each other in a circle.
        loop {
            if let Some(front) = fronts.get(&at) {
                return *front;
            }
            let chain = self.chain(at);
            if chain.plan != 0 {
                let table = self.program(at).first_table(chain);
                let is_common = at.index() < self.common.chains.len();
                return match table {
                    None => Front::None,
                    Some(table) if is_common => Front::Common(table),
                    Some(table) => Front::Own(table),
                };
            }
            let first = self.rules(at).next();
            let Some((
                _,
                Rule {
                    then: Then::Jump(next) | Then::Goto(next),
                    test_count: 0,
                    needs_transport: false,
                    is_uncertain: false,
                    ..
                },
            )) = first
            else {
                return Front::None;
            };
            at = self.enter(*next);
        }
    }
}

impl<F: Fields> Part<F> {
    /// Gives back what building it took more.
    fn shrink(&mut self) {
        let own = &mut self.own;
        own.rules.shrink_to_fit();
        own.chains.shrink_to_fit();
        own.plans.shrink_to_fit();
        own.tables.shrink_to_fit();
        own.tests.shrink_to_fit();
        own.sockets.shrink_to_fit();
        own.marks.shrink_to_fit();
        own.targets.shrink_to_fit();
        own.folds.shrink_to_fit();
        own.known_tests = Vec::new();
        self.moved.shrink_to_fit();
        self.own_ids.shrink_to_fit();
        self.splices.shrink_to_fit();
    }
}
