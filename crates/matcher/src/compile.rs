//! From rules to a program: each rule by itself, then each chain, then the folds.

use indexmap::IndexMap;
use podwire_ruleset::{
    ChainId, ChainName, Hook, Match, NatRange, Policy, Rule as Written, Table, TableName, Target,
};
use rustc_hash::FxBuildHasher;

use crate::dispatch::Dispatch;
use crate::fields::{Equality, Fields};
use crate::fold::Folds;
use crate::program::{Base, Block, Chain, MarkChange, Program, Rule, Socket, Then, to_u32};
use crate::test::Test;
use crate::tuple_space::{MAX_KINDS, MIN_RULES, TupleSpace};

/// Compiles a table whose jumps were checked.
pub(crate) fn compile<F: Fields>(name: TableName, table: &Table) -> Program<F> {
    let mut builder = Builder::new(name);
    builder.program.chains = vec![Chain::default(); table.chains.len()];
    let rules = table.chains.values().map(|chain| chain.rules.len()).sum();
    builder.program.rules.reserve_exact(rules);
    for (index, chain) in table.chains.values().enumerate() {
        let id = ChainId(to_u32(index));
        for rule in &chain.rules {
            builder.add(id, rule, |name: &ChainName| table.chain_id(name.as_str()));
        }
    }
    for hook in Hook::ALL {
        if let Some((chain, base)) = table.at(hook) {
            let policy = base.built_in.map_or(Policy::Accept, |base| base.policy);
            builder.base(hook, chain, policy);
        }
    }
    builder.finish()
}

/// Takes rules one by one.
pub(crate) struct Builder<F: Fields> {
    pub(crate) program: Program<F>,
    /// The chain of each rule, where rules of several chains came mixed.
    mixed: Option<Vec<ChainId>>,
    known: Known<F>,
}

/// What stands in the pools already: the place by a hash would do, but few differ.
struct Known<F: Fields> {
    marks: IndexMap<(u32, u32), u32, FxBuildHasher>,
    /// The last few lists of tests that name no address.
    lists: Vec<(u32, u16)>,
    nothing: std::marker::PhantomData<F>,
}

/// Lists of tests that are searched before one more is kept.
const MANY: usize = 64;

impl<F: Fields> Builder<F> {
    pub(crate) fn new(table: TableName) -> Self {
        Self {
            program: Program {
                table,
                rules: Vec::new(),
                chains: Vec::new(),
                plans: Vec::new(),
                tables: Vec::new(),
                bases: [None; Hook::ALL.len()],
                fronts: [u32::MAX; Hook::ALL.len()],
                tests: Vec::new(),
                sockets: Vec::new(),
                marks: Vec::new(),
                targets: Vec::new(),
                folds: Folds::default(),
            },
            mixed: None,
            known: Known {
                marks: IndexMap::default(),
                lists: Vec::new(),
                nothing: std::marker::PhantomData,
            },
        }
    }

    /// Says that a chain is the base chain of a hook.
    pub(crate) fn base(&mut self, hook: Hook, chain: ChainId, policy: Policy) {
        self.program.bases[hook as usize] = Some(Base { chain, policy });
    }

    /// Adds a rule at the end of a chain. Jumps go to the chains that `id` gives.
    pub(crate) fn add(
        &mut self,
        chain: ChainId,
        rule: &Written,
        id: impl Fn(&ChainName) -> Option<ChainId>,
    ) {
        let program = &mut self.program;
        if program.chains.len() <= chain.index() {
            program.chains.resize(chain.index() + 1, Chain::default());
        }
        let place = to_u32(program.rules.len());
        let own = &mut program.chains[chain.index()];
        if own.len == 0 {
            own.first = place;
        } else if own.first + own.len != place && self.mixed.is_none() {
            self.mixed = Some(chain_of_each(&program.chains, program.rules.len()));
        }
        program.chains[chain.index()].len += 1;
        if let Some(mixed) = &mut self.mixed {
            mixed.push(chain);
        }
        let lowered = self.lower(rule, id);
        self.program.rules.push(lowered);
    }

    /// A rule in its small form, its tests and target in the pools.
    fn lower(&mut self, rule: &Written, id: impl Fn(&ChainName) -> Option<ChainId>) -> Rule {
        // The order in which tests without memory are asked is free; so is that of the IP header's,
        // which come first.
        let is_free = !rule.matches.iter().any(Match::has_memory_or_chance);
        let first = self.program.tests.len();
        let (mut needs_transport, mut is_uncertain, mut has_address) = (false, false, false);
        let mut equality = Equality::<F>::default();
        let mut hashable = 0_u8;
        for of in rule.in_kernel_order() {
            is_uncertain |= matches!(of, Match::Unknown(_));
            has_address |= matches!(of, Match::Source(_) | Match::Destination(_));
            let Some(test) = Test::of(of) else { continue };
            let may_move = is_free || of.is_of_ip_header();
            if is_free && (matches!(test, Test::HasTransport) || test.is_of_ports()) {
                needs_transport = true;
            }
            if is_free && matches!(test, Test::HasTransport) {
                continue;
            }
            let joined = test.equality().filter(|_| may_move && hashable < u8::MAX);
            let joined = joined.and_then(|own| equality.and(own));
            let tests = &mut self.program.tests;
            if let Some(joined) = joined {
                equality = joined;
                tests.insert(first + usize::from(hashable), test);
                hashable += 1;
            } else {
                tests.push(test);
            }
        }
        let count = self.program.tests.len() - first;
        let (tests, test_count) = self.keep(first, count, has_address);
        Rule {
            tests,
            test_count,
            hashable,
            made: 0,
            needs_transport,
            is_uncertain,
            then: self.then(rule.target.as_ref(), id),
            fold: 0,
        }
    }

    /// Where the last tests of the pool stand, which may be where the same ones stood before.
    fn keep(&mut self, first: usize, count: usize, has_address: bool) -> (u32, u16) {
        let own = (
            to_u32(first),
            u16::try_from(count).expect("a line has fewer tests"),
        );
        if has_address || count == 0 {
            // Such tests are seldom the same twice.
            return own;
        }
        let pool = &mut self.program.tests;
        let same = self.known.lists.iter().find(|(at, length)| {
            usize::from(*length) == count && pool[*at as usize..][..count] == pool[first..]
        });
        if let Some(&same) = same {
            pool.truncate(first);
            return same;
        }
        if self.known.lists.len() < MANY {
            self.known.lists.push(own);
        }
        own
    }

    fn then(
        &mut self,
        target: Option<&Target>,
        id: impl Fn(&ChainName) -> Option<ChainId>,
    ) -> Then {
        let program = &mut self.program;
        let chain = |name: &ChainName| id(name).expect("every jump was checked");
        match target {
            None | Some(Target::Checksum(_) | Target::Tcpmss(_)) => Then::Nothing,
            Some(Target::Jump(name)) => Then::Jump(chain(name)),
            Some(Target::Goto(name)) => Then::Goto(chain(name)),
            Some(Target::Accept) => Then::Accept,
            Some(Target::Drop) => Then::Drop,
            Some(Target::Return) => Then::Return,
            Some(Target::Mark { value, mask }) => {
                let next = to_u32(program.marks.len());
                let place = *self.known.marks.entry((value.0, mask.0)).or_insert(next);
                if place == next {
                    program.marks.push(MarkChange {
                        value: *value,
                        mask: *mask,
                    });
                }
                Then::Mark(place)
            }
            Some(target) => {
                if let Target::Dnat(range) = target
                    && let Some(socket) = one_socket::<F>(range)
                {
                    program.sockets.push(socket);
                    return Then::Dnat(to_u32(program.sockets.len() - 1));
                }
                let known = program
                    .targets
                    .iter()
                    .take(MANY)
                    .position(|own| own == target);
                Then::Target(to_u32(known.unwrap_or_else(|| {
                    program.targets.push(target.clone());
                    program.targets.len() - 1
                })))
            }
        }
    }

    /// Plans each chain, and folds.
    pub(crate) fn finish(mut self) -> Program<F> {
        if let Some(mixed) = self.mixed.take() {
            sort_by_chain(&mut self.program, &mixed);
        }
        let mut program = self.program;
        for index in 0..program.chains.len() {
            program.plan(ChainId(to_u32(index)));
        }
        let mut budget = program
            .rules
            .len()
            .saturating_mul(8)
            .saturating_add(1 << 10);
        for index in 0..program.chains.len() {
            program.fold_jumps(ChainId(to_u32(index)), &mut budget);
        }
        for hook in Hook::ALL {
            program.find_front(hook);
        }
        program
    }
}

/// Which chain each rule is of, where each chain's rules stand together.
fn chain_of_each(chains: &[Chain], rules: usize) -> Vec<ChainId> {
    let mut of = vec![ChainId(0); rules];
    for (index, chain) in chains.iter().enumerate() {
        let places = chain.first as usize..(chain.first + chain.len) as usize;
        // The chain that brought this up counts a rule less so far.
        if let Some(own) = of.get_mut(places) {
            own.fill(ChainId(to_u32(index)));
        }
    }
    of
}

/// Brings the rules of each chain together, in the order in which they came.
fn sort_by_chain<F: Fields>(program: &mut Program<F>, chain_of: &[ChainId]) {
    let mut next = 0;
    for chain in &mut program.chains {
        (chain.first, next) = (next, next + chain.len);
    }
    let mut ends: Vec<u32> = program.chains.iter().map(|chain| chain.first).collect();
    let Some(&any) = program.rules.first() else {
        return;
    };
    let mut sorted = vec![any; program.rules.len()];
    for (rule, chain) in program.rules.iter().zip(chain_of) {
        let end = &mut ends[chain.index()];
        sorted[*end as usize] = *rule;
        *end += 1;
    }
    program.rules = sorted;
}

/// The one address that a translation names, and the one port if it names any.
fn one_socket<F: Fields>(range: &NatRange) -> Option<Socket<F::Address>> {
    let address = *range.addresses.as_ref()?.start();
    let port = range.ports.as_ref().map(|ports| *ports.start());
    let is_all = *range == NatRange::to(address, port);
    let address = F::number(address).filter(|_| is_all)?;
    Some(Socket { address, port })
}

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
        let Chain { first, len, plan } = self.chains[id.index()];
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
        let (mut listed, mut at) = (first, first);
        while at < end {
            let rest = &equalities[(at - first) as usize..];
            let (run, block) = self.block(at, rest);
            if let Some(block) = block {
                if listed < at {
                    blocks.push(Block::List(listed, at));
                }
                for rule in &mut self.rules[at as usize..(at + run) as usize] {
                    rule.made = rule.hashable;
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
        let blocks = blocks.into_boxed_slice();
        if plan == 0 {
            self.plans.push(blocks);
            self.chains[id.index()].plan = to_u32(self.plans.len());
        } else {
            self.plans[plan as usize - 1] = blocks;
        }
    }

    /// A block of rules from a place on, and how many they are; none if they are to be listed.
    fn block(&mut self, at: u32, rest: &[Option<Equality<F>>]) -> (u32, Option<Block<F>>) {
        let service = service_mask::<F>();
        let services: Vec<F::Key> = rest
            .iter()
            .map_while(|own| own.filter(|own| own.mask == service))
            .map(|own| own.value.key())
            .collect();
        if services.len() >= MIN_RULES
            && let Some(table) = Dispatch::new(at, &services)
        {
            self.tables.push(table);
            let table = to_u32(self.tables.len() - 1);
            return (to_u32(services.len()), Some(Block::Dispatch(table)));
        }
        let run = run_length(rest);
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

    /// Folds the chains that rules of a chain jump to, where every jump of the chain's tables can be.
    pub(crate) fn fold_jumps(&mut self, id: ChainId, budget: &mut usize) {
        let chain = self.chains[id.index()];
        for place in chain.first..chain.first + chain.len {
            self.fold_jump(chain, place, budget);
        }
    }

    /// Folds the chain that the rule at a place of a chain jumps to.
    pub(crate) fn fold_jump(&mut self, chain: Chain, place: u32, budget: &mut usize) {
        let rule = self.rules[place as usize];
        if rule.is_uncertain || !matches!(rule.then, Then::Jump(_) | Then::Goto(_)) {
            return;
        }
        let Some(fold) = self.fold(&rule, budget) else {
            return;
        };
        self.rules[place as usize].fold = fold + 1;
        if rule.made == rule.hashable && u16::from(rule.made) == rule.test_count {
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

    /// Finds the table of Services that every packet of a hook comes to first.
    pub(crate) fn find_front(&mut self, hook: Hook) {
        self.fronts[hook as usize] = u32::MAX;
        let Some(base) = self.bases[hook as usize] else {
            return;
        };
        let mut chain = base.chain;
        // Chains do not call each other in a circle.
        while self.chains[chain.index()].plan == 0
            && let [
                Rule {
                    then: Then::Jump(next) | Then::Goto(next),
                    test_count: 0,
                    needs_transport: false,
                    is_uncertain: false,
                    ..
                },
                ..,
            ] = self.rules_of(chain)
        {
            chain = *next;
        }
        let plan = (self.chains[chain.index()].plan as usize).checked_sub(1);
        let first = plan.and_then(|plan| self.plans[plan].first());
        if let Some(Block::Dispatch(table)) = first {
            self.fronts[hook as usize] = *table;
        }
    }
}

/// The bits that the rules of a table of Services compare.
fn service_mask<F: Fields>() -> F {
    let address = F::destination(F::all_bits()).union(F::foreign());
    address.union(F::transport(0, u16::MAX, u8::MAX))
}

/// How many rules from the first on test something for equality, in at most so many kinds.
fn run_length<F: Fields>(equalities: &[Option<Equality<F>>]) -> usize {
    let mut masks: Vec<F> = Vec::with_capacity(MAX_KINDS);
    for (length, equality) in equalities.iter().enumerate() {
        match equality {
            Some(equality) if masks.contains(&equality.mask) => {}
            Some(equality) if masks.len() < MAX_KINDS => masks.push(equality.mask),
            Some(_) | None => return length,
        }
    }
    equalities.len()
}
