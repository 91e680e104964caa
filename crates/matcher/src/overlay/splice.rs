//! A long chain that a node has with some of its rules changed.

use podwire_ruleset::{ChainId, ChainName, Rule as Written};

use super::Common;
use super::part::Front;
use super::runs::Runs;
use crate::compile::Builder;
use crate::dispatch::Dispatch;
use crate::fields::Fields;
use crate::plan::service_mask;
use crate::program::{Block, Chain, Program, Rule, Then, to_u32};
use crate::test::Test;

/// A chain that is a common one with some of its rules changed. Its rules are numbered by rank: how many
/// stand before.
#[derive(Clone, Debug)]
pub(crate) struct Splice {
    /// The common chain.
    pub(crate) of: ChainId,
    /// Of each rule kept, by how many stood before it, its rank.
    pub(crate) kept: Runs,
    /// Ranks of the rules put in.
    pub(crate) ranks: Box<[u32]>,
}

impl Splice {
    /// The rank of a rule put in, by how many were before it.
    pub(crate) fn rank(&self, number: u32) -> u32 {
        self.ranks[number as usize]
    }

    /// How many rules put in stand before a rank.
    pub(crate) fn put_in_from(&self, rank: u32) -> u32 {
        to_u32(self.ranks.partition_point(|&own| own < rank))
    }

    /// Whether a rule of the common chain was kept.
    pub(crate) fn is_kept(&self, number: u32) -> bool {
        self.kept.place_of(number).is_some()
    }
}

/// A rule put in among those kept.
#[derive(Clone, Copy)]
pub(super) enum PutIn {
    /// The node's, by rank.
    Rule(u32),
    /// One of the common chain that the node has not, by number. It matches nothing; its key says that
    /// the common table is not to be asked.
    Gone(u32),
}

/// A chain that is being spliced.
pub(super) struct Splicing {
    kept: Vec<(u32, u32)>,
    /// Rules put in, in order, with their ranks.
    pub(super) put_in: Vec<(u32, PutIn)>,
    /// The common chain's first table of Services, if packets may be looked up there at once.
    table: Option<u32>,
    /// How many rules of the common chain that table has.
    len: u32,
}

impl Splicing {
    pub(super) fn new<F: Fields>(
        common: &Common<'_, F>,
        of: ChainId,
        kept: Vec<(u32, u32)>,
        rules: &[Written],
        number: impl Fn(&ChainName) -> Option<ChainId>,
    ) -> Self {
        let program = common.program;
        let chain = program.chains[of.index()];
        let mut own = Self {
            kept,
            put_in: Vec::new(),
            table: program.first_table(chain),
            len: 0,
        };
        let count = to_u32(rules.len());
        let Some(table) = own.table.map(|table| &program.tables[table as usize]) else {
            own.put_in = own
                .missing(count)
                .map(|rank| (rank, PutIn::Rule(rank)))
                .collect();
            return own;
        };
        own.len = table.end - table.first;
        let mut scratch = Builder::<F>::new(program.table).program;
        let mut key_at = |rank: u32| {
            let rule = scratch.lower(&rules[rank as usize], &number);
            scratch.service_key(&rule)
        };
        // A key is looked up either here or there: so all rules of a key that differs are put in.
        let mut keys: Vec<F::Key> = Vec::new();
        let mut cuts_table = false;
        for rank in own.missing(count) {
            let key = key_at(rank);
            cuts_table |= key.is_none() && own.is_within(rank);
            keys.extend(key);
        }
        let gone: Vec<(u32, F::Key)> = (0..own.len)
            .filter(|number| own.place(*number).is_err())
            .filter_map(|number| {
                let rule = &program.rules[(chain.first + number) as usize];
                Some((number, program.service_key(rule)?))
            })
            .collect();
        for key in keys.into_iter().chain(gone.iter().map(|(_, key)| *key)) {
            let mut next = table.first_rule(key);
            while let Some(place) = next {
                if let Ok(place) = own.place(place - chain.first) {
                    own.kept.remove(place);
                }
                next = table.rule_after(place);
            }
        }
        let missing: Vec<u32> = own.missing(count).collect();
        own.put_in = missing
            .iter()
            .map(|&rank| (rank, PutIn::Rule(rank)))
            .collect();
        let ahead = missing.iter().take_while(|rank| own.is_ahead(**rank));
        let keys: Vec<F::Key> = ahead.map_while(|rank| key_at(*rank)).collect();
        let found = Dispatch::<F>::new(0, &keys, false).filter(|_| !cuts_table);
        let Some(found) = found else {
            own.table = None;
            return own;
        };
        let is_lost = |(_, key): &&(u32, F::Key)| found.first_rule(*key).is_none();
        let lost = gone.iter().filter(is_lost).map(|&(number, _)| {
            let behind = own.place(number).unwrap_or_else(|place| place);
            let before = behind.checked_sub(1).map(|before| own.kept[before].1);
            (before.map_or(0, |rank| rank + 1), PutIn::Gone(number))
        });
        let mut all: Vec<(u32, PutIn)> = lost.collect();
        all.append(&mut own.put_in);
        // Stable: a rule that is gone stands before others of its rank.
        all.sort_by_key(|(rank, _)| *rank);
        own.put_in = all;
        own
    }

    /// Where a rule of the common chain stands among those kept, or would.
    fn place(&self, number: u32) -> Result<usize, usize> {
        self.kept
            .binary_search_by_key(&number, |(common, _)| *common)
    }

    /// Whether a rank stands among the rules of the table.
    fn is_within(&self, rank: u32) -> bool {
        let behind = self.kept.partition_point(|(_, own)| *own < rank);
        let next = self.kept.get(behind);
        next.is_some_and(|(number, _)| *number < self.len)
    }

    /// Whether all rules kept before a rank are of the table.
    fn is_ahead(&self, rank: u32) -> bool {
        let behind = self.kept.partition_point(|(_, own)| *own < rank);
        let last = self.kept[..behind].last();
        last.is_none_or(|(number, _)| *number < self.len)
    }

    /// Ranks of the node's rules, which are so many, that are not kept.
    fn missing(&self, count: u32) -> impl Iterator<Item = u32> + use<> {
        let kept = Runs::of(self.kept.iter().map(|&(number, rank)| (rank, number)));
        (0..count).filter(move |&rank| kept.place_of(rank).is_none())
    }

    pub(super) fn splice(self, of: ChainId) -> Splice {
        Splice {
            of,
            kept: Runs::of(self.kept),
            ranks: self.put_in.iter().map(|(rank, _)| *rank).collect(),
        }
    }
}

impl<F: Fields> Program<F> {
    /// The table of Services that a chain begins with; not one by ports.
    pub(super) fn first_table(&self, chain: Chain) -> Option<u32> {
        let plan = chain.plan.checked_sub(1)?;
        let Some(&Block::Dispatch(table)) = self.plans[plan as usize].first() else {
            return None;
        };
        (!self.tables[table as usize].is_of_ports).then_some(table)
    }

    /// The key of a rule that compares what a table of Services does.
    pub(super) fn service_key(&self, rule: &Rule) -> Option<F::Key> {
        let own = self.equality(rule)?;
        (own.mask == service_mask::<F>()).then(|| own.value.key())
    }

    /// Leaves of a rule only the tests that a table makes, and one that never holds.
    pub(super) fn disable(&mut self, place: u32) {
        let rule = self.rules[place as usize];
        let tests = self.tests_of(&rule)[..usize::from(rule.hashable)].to_vec();
        let own = &mut self.rules[place as usize];
        own.tests = to_u32(self.tests.len());
        own.test_count = u32::from(own.hashable) + 1;
        (own.boxable, own.then) = (0, Then::Nothing);
        self.tests.extend(tests);
        self.tests.push(Test::Constant(false));
    }

    /// Makes a table of the keys of the rules put in, the last chain, if the common chain begins with one.
    pub(super) fn front_of(&mut self, splicing: &Splicing) -> Front {
        let (Some(common), Some(&chain)) = (splicing.table, self.chains.last()) else {
            return Front::None;
        };
        let end = chain.first + chain.len;
        let rules = &self.rules[chain.first as usize..end as usize];
        let ahead = rules.iter().zip(&splicing.put_in);
        let ahead = ahead.take_while(|(_, (rank, _))| splicing.is_ahead(*rank));
        let keys: Vec<F::Key> = ahead
            .map_while(|(rule, _)| self.service_key(rule))
            .collect();
        if keys.is_empty() {
            return Front::Common(common);
        }
        let Some(table) = Dispatch::new(chain.first, &keys, false) else {
            return Front::None;
        };
        let behind = table.end;
        let mut blocks = vec![Block::Dispatch(to_u32(self.tables.len()))];
        if behind < end {
            blocks.push(Block::List(behind, end));
        }
        for rule in &mut self.rules[chain.first as usize..behind as usize] {
            rule.made = rule.hashable;
        }
        self.tables.push(table);
        self.plans.push(blocks.into_boxed_slice());
        let plan = to_u32(self.plans.len());
        if let Some(own) = self.chains.last_mut() {
            own.plan = plan;
        }
        Front::Spliced {
            own: to_u32(self.tables.len() - 1),
            common,
        }
    }
}
