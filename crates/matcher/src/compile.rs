//! From rules to a program: each rule by itself, then each chain, then the folds.

use indexmap::IndexSet;
use podwire_ruleset::{ChainId, ChainName, Hook, Policy, Rule as Written, Table, TableName};

use crate::fields::Fields;
use crate::fold::Folds;
use crate::program::{Base, Chain, Free, Program, to_u32};

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
}

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
                fronts: Default::default(),
                tests: Vec::new(),
                sockets: Vec::new(),
                marks: IndexSet::default(),
                targets: Vec::new(),
                folds: Folds::default(),
                known_tests: Vec::new(),
                free: Free::default(),
                garbage: 0,
            },
            mixed: None,
        }
    }

    /// Says that a chain is the base chain of a hook.
    pub(crate) fn base(&mut self, hook: Hook, chain: ChainId, policy: Policy) {
        self.program.bases[hook as usize] = Some(Base { chain, policy });
    }

    /// Says that there is a chain.
    pub(crate) fn chain(&mut self, chain: ChainId) {
        let chains = &mut self.program.chains;
        if chains.len() <= chain.index() {
            chains.resize(chain.index() + 1, Chain::default());
        }
    }

    /// Adds a rule at the end of a chain. Jumps go to the chains that `id` gives.
    pub(crate) fn add(
        &mut self,
        chain: ChainId,
        rule: &Written,
        id: impl Fn(&ChainName) -> Option<ChainId>,
    ) {
        self.chain(chain);
        let program = &mut self.program;
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
        let lowered = self.program.lower(rule, id);
        self.program.rules.push(lowered);
    }

    /// Brings the rules of each chain together. No rule is added after it.
    pub(crate) fn sort(&mut self) -> &Program<F> {
        if let Some(mixed) = self.mixed.take() {
            sort_by_chain(&mut self.program, &mixed);
        }
        &self.program
    }

    /// Plans each chain, and folds.
    pub(crate) fn finish(mut self) -> Program<F> {
        self.sort();
        let mut program = self.program;
        for index in 0..program.chains.len() {
            program.plan(ChainId(to_u32(index)));
        }
        let mut budget = program
            .rules
            .len()
            .saturating_mul(8)
            .saturating_add(1 << 10);
        let bases = program.bases.iter().flatten().map(|base| base.chain);
        program.fold_below(bases.collect(), &mut budget);
        program.find_fronts();
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
