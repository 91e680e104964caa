//! Which form each chain gets.

use podwire_ruleset::{ChainId, ChainName, Table};

use crate::at_once::Ranges;
use crate::boxes::{Boxes, RuleBox};
use crate::dispatch::Dispatch;
use crate::fields::{Equality, Fields};
use crate::program::{Block, Chain, Program, Rule, to_u32};
use crate::test::Test;
use crate::tuple_space::{MAX_KINDS, MIN_RULES, TupleSpace};

impl<F: Fields> Program<F> {
    /// What a rule compares for equality; none if nothing.
    pub(crate) fn equality(&self, rule: &Rule) -> Option<Equality<F>> {
        let hashable = &self.tests_of(rule)[..usize::from(rule.hashable)];
        let mut all = hashable.iter().filter_map(Test::equality);
        let first = all.next()?;
        all.try_fold(first, Equality::and)
    }

    /// Cuts a chain into runs whose rules all test something for equality, and the rest.
    pub(crate) fn plan(&mut self, id: ChainId) {
        let Chain { first, len, .. } = self.chains[id.index()];
        self.drop_plan(id);
        if (len as usize) < MIN_RULES {
            return;
        }
        let end = first + len;
        let equalities: Vec<Option<Equality<F>>> = self
            .rules_of(id)
            .iter()
            .map(|rule| self.equality(rule))
            .collect();
        let mut blocks = Vec::new();
        let (mut listed, mut at, mut tried) = (first, first, first);
        while at < end {
            let rest = &equalities[(at - first) as usize..];
            let (run, block) = self.block(at, rest, &mut tried);
            if let Some(block) = block {
                if listed < at {
                    blocks.push(Block::List(listed, at));
                }
                let is_of_ranges = matches!(block, Block::Ranges(..));
                for rule in &mut self.rules[at as usize..(at + run) as usize] {
                    rule.made = if is_of_ranges {
                        rule.boxable
                    } else {
                        rule.hashable
                    };
                }
                blocks.push(block);
                listed = at + run;
            }
            at += run;
        }
        if blocks.is_empty() {
            return;
        }
        if listed < end {
            blocks.push(Block::List(listed, end));
        }
        let place = put(
            &mut self.plans,
            &mut self.free.plans,
            blocks.into_boxed_slice(),
        );
        self.chains[id.index()].plan = place + 1;
    }

    /// A table by ranges of the rules from a place on, up to the next table of Services, and how many
    /// they are; `tried` says up to where there is no use in trying again.
    fn ranges(
        &self,
        at: u32,
        rest: &[Option<Equality<F>>],
        tried: &mut u32,
    ) -> Option<(u32, Ranges<F>)> {
        let service = service_mask::<F>();
        let is_service = |own: &Option<Equality<F>>| own.is_some_and(|own| own.mask == service);
        let next = rest
            .windows(MANY_A_KIND)
            .position(|own| own.iter().all(is_service));
        let length = next.unwrap_or(rest.len());
        *tried = at + to_u32(length);
        let rules = &self.rules[at as usize..][..length];
        let narrowed = rules.iter().filter(|rule| rule.boxable > 0).count();
        if length < MIN_RANGES || narrowed < length / 2 {
            return None;
        }
        let boxes: Vec<RuleBox<F::Address>> = rules.iter().map(|rule| self.box_of(rule)).collect();
        Some((
            to_u32(length),
            self.ranges_of(at, rules, Boxes::new(&boxes)?),
        ))
    }

    /// What a rule asks of ranges.
    fn box_of(&self, rule: &Rule) -> RuleBox<F::Address> {
        let mut own = RuleBox::any(F::all_bits());
        for test in &self.tests_of(rule)[..usize::from(rule.boxable)] {
            test.narrow(&mut own);
        }
        own
    }

    /// Drops the plan of a chain, if it has one.
    fn drop_plan(&mut self, id: ChainId) {
        let plan = std::mem::take(&mut self.chains[id.index()].plan);
        let Some(plan) = plan.checked_sub(1) else {
            return;
        };
        for block in std::mem::take(&mut self.plans[plan as usize]) {
            if let Block::Dispatch(table) = block {
                self.tables[table as usize] = Dispatch::default();
                self.free.tables.push(table);
            }
        }
        self.free.plans.push(plan);
    }

    /// Gives a chain the rules that its table has for it now; a chain behind the last is made.
    pub(crate) fn replace(&mut self, table: &Table, id: ChainId) {
        if self.chains.len() <= id.index() {
            self.chains.resize(id.index() + 1, Chain::default());
        }
        self.garbage += self.chains[id.index()].len as usize;
        let first = to_u32(self.rules.len());
        let rules = table.chain(id).map_or(&[][..], |chain| &chain.rules);
        for rule in rules {
            let lowered = self.lower(rule, |name: &ChainName| table.chain_id(name.as_str()));
            self.rules.push(lowered);
        }
        let own = &mut self.chains[id.index()];
        (own.first, own.len, own.is_walked) = (first, to_u32(rules.len()), false);
        self.plan(id);
    }

    /// Lets go of what a chain has.
    pub(crate) fn discard(&mut self, id: ChainId) {
        self.drop_plan(id);
        self.garbage += self.chains[id.index()].len as usize;
    }

    /// Whether more of the pools is left behind than is in use.
    pub(crate) fn has_much_garbage(&self) -> bool {
        self.garbage > self.rules.len() / 2 + 1024
    }

    /// A block of rules from a place on, and how many they are; none if they are to be listed.
    fn block(
        &mut self,
        at: u32,
        rest: &[Option<Equality<F>>],
        tried: &mut u32,
    ) -> (u32, Option<Block<F>>) {
        for (mask, is_of_ports) in [(service_mask::<F>(), false), (port_mask::<F>(), true)] {
            let keys: Vec<F::Key> = rest
                .iter()
                .map_while(|own| own.filter(|own| own.mask == mask))
                .map(|own| own.value.key())
                .collect();
            // A few of them among other rules are better found with those.
            let are_many = keys.len() >= MANY_A_KIND || keys.len() * 2 >= rest.len();
            if keys.len() >= MIN_RULES
                && are_many
                && let Some(table) = Dispatch::new(at, &keys, is_of_ports)
            {
                let table = put(&mut self.tables, &mut self.free.tables, table);
                return (to_u32(keys.len()), Some(Block::Dispatch(table)));
            }
        }
        let (run, kinds) = run_length(rest);
        let is_worth_its_probes =
            (kinds == 1 || run >= MANY_A_KIND * kinds) && keys_of(&rest[..run]) * MANY_A_KEY >= run;
        if (run < MIN_RULES || !is_worth_its_probes)
            && *tried <= at
            && let Some((length, ranges)) = self.ranges(at, rest, tried)
        {
            return (length, Some(Block::Ranges(ranges)));
        }
        if run < MIN_RULES {
            return (to_u32(run.max(1)), None);
        }
        let keyed: Vec<(Equality<F>, u32)> = rest[..run]
            .iter()
            .zip(at..)
            .filter_map(|(own, place)| Some(((*own)?, place)))
            .collect();
        (to_u32(run), Some(Block::Hashed(TupleSpace::new(&keyed))))
    }
}

/// Puts a thing where one was let go, or behind the others.
fn put<T>(all: &mut Vec<T>, free: &mut Vec<u32>, thing: T) -> u32 {
    if let Some(place) = free.pop() {
        all[place as usize] = thing;
        return place;
    }
    all.push(thing);
    to_u32(all.len() - 1)
}

/// The bits that the rules of a table of Services compare.
pub(crate) fn service_mask<F: Fields>() -> F {
    let address = F::destination(F::all_bits()).union(F::foreign());
    address.union(port_mask())
}

/// Those that the rules of a table of NodePorts compare.
fn port_mask<F: Fields>() -> F {
    F::transport(0, u16::MAX, u8::MAX)
}

/// Fewer rules than this are not worth a table by ranges.
const MIN_RANGES: usize = 16;

/// Rules that each kind of a run has on average, for which its hash tables are worth their probes.
const MANY_A_KIND: usize = 16;

/// Rules that each key of a run has on average, up to which hash tables tell them apart.
const MANY_A_KEY: usize = 8;

/// How many different keys rules have.
fn keys_of<F: Fields>(equalities: &[Option<Equality<F>>]) -> usize {
    let own = equalities.iter().flatten();
    let mut keys: Vec<(F, F)> = own.map(|own| (own.mask, own.value)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

/// How many rules from the first on test something for equality, in at most so many kinds, and how
/// many kinds that is.
fn run_length<F: Fields>(equalities: &[Option<Equality<F>>]) -> (usize, usize) {
    let mut masks: Vec<F> = Vec::with_capacity(MAX_KINDS);
    for (length, equality) in equalities.iter().enumerate() {
        match equality {
            Some(equality) if masks.contains(&equality.mask) => {}
            Some(equality) if masks.len() < MAX_KINDS => masks.push(equality.mask),
            Some(_) | None => return (length, masks.len()),
        }
    }
    (equalities.len(), masks.len())
}
