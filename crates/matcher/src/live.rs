//! A rule set that changes, and its matcher, which changes with it.
//!
//! A change names a chain, as kube-proxy's own partial syncs do: the chain's rules are compiled anew, and
//! so are the folds of jumps that lead there, however far above. The rest stays. So an endpoint that
//! comes or goes costs the rules of its Service; a Service that comes or goes costs also one pass over
//! the chain that lists all Services.
//!
//! What a change leaves behind in the pools is cleared, by compiling all, once it is more than half.

pub(crate) mod callers;

use podwire_ruleset::{
    CallGraph, Chain, ChainId, ChainName, LinkError, Rule, RuleSet, Table, TableName, Target,
};
use smallvec::SmallVec;

use crate::fields::{Fields, Narrow, Wide};
use crate::live::callers::Callers;
use crate::program::{Program, Then, to_u32};
use crate::{Matcher, Tables, compile};

/// A rule set and its matcher, kept together.
#[derive(Clone, Debug)]
pub struct Live {
    rules: RuleSet,
    matcher: Matcher,
    callers: [Option<Callers>; TableName::ALL.len()],
}

/// Why a change cannot be made; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The rules would not hang together.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// There is no such chain.
    #[error("table {table} has no chain {chain}")]
    NoChain {
        /// The table.
        table: TableName,
        /// The chain.
        chain: ChainName,
    },
    /// A chain that rules jump to, or a built-in one, cannot be removed.
    #[error(
        "chain {chain} of table {table} is built in, or rules jump to it; only others can be removed"
    )]
    InUse {
        /// The table.
        table: TableName,
        /// The chain.
        chain: ChainName,
    },
}

impl Live {
    /// Compiles a rule set that the kernel would take.
    ///
    /// # Errors
    /// As [`Matcher::new`].
    pub fn new(rules: RuleSet) -> Result<Self, LinkError> {
        let matcher = Matcher::new(&rules)?;
        let callers = match &matcher.tables {
            Tables::Ipv4(of) => of.each_ref().map(|of| of.as_ref().map(Callers::of)),
            Tables::Ipv6(of) => of.each_ref().map(|of| of.as_ref().map(Callers::of)),
        };
        Ok(Self {
            rules,
            matcher,
            callers,
        })
    }

    /// The rules as they are now.
    #[must_use]
    pub const fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// The matcher of the rules as they are now.
    #[must_use]
    pub const fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// Gives a chain other rules; a chain that was not there is made, with the next number.
    ///
    /// # Errors
    /// [`ChangeError::Link`] if a rule jumps to a chain that is not there or is built in, or if chains
    /// would call each other in a circle.
    pub fn set_chain(
        &mut self,
        table: TableName,
        chain: &ChainName,
        rules: Vec<Rule>,
    ) -> Result<(), ChangeError> {
        let had_table = self.rules.tables.contains_key(&table);
        let of = self.rules.table_mut(table);
        let is_new = !of.chains.contains_key(chain);
        let before = std::mem::replace(&mut of.chain_mut(chain).rules, rules);
        let (id, _, _) = of.chains.get_full(chain).expect("the line above made it");
        let id = ChainId(to_u32(id));
        if let Err(error) = check(table, of, id) {
            if !had_table {
                self.rules.tables.pop();
            } else if is_new {
                of.chains.pop();
            } else {
                of.chain_mut(chain).rules = before;
            }
            return Err(error.into());
        }
        if self.callers[table as usize].is_none() {
            self.compile_all(table);
            return Ok(());
        }
        self.change(table, id);
        Ok(())
    }

    /// Removes a chain that no rule jumps to. The last chain of the table takes its number.
    ///
    /// # Errors
    /// [`ChangeError::NoChain`], [`ChangeError::InUse`].
    pub fn remove_chain(&mut self, table: TableName, chain: &ChainName) -> Result<(), ChangeError> {
        let missing = || ChangeError::NoChain {
            table,
            chain: chain.clone(),
        };
        let of = self.rules.tables.get_mut(&table).ok_or_else(missing)?;
        let (index, _, own) = of.chains.get_full(chain).ok_or_else(missing)?;
        let callers = self.callers[table as usize].as_mut().ok_or_else(missing)?;
        let id = ChainId(to_u32(index));
        if own.built_in.is_some() || callers.is_called(id) {
            return Err(ChangeError::InUse {
                table,
                chain: chain.clone(),
            });
        }
        of.chains.swap_remove(chain);
        match &mut self.matcher.tables {
            Tables::Ipv4(of) => remove(&mut of[table as usize], callers, id),
            Tables::Ipv6(of) => remove(&mut of[table as usize], callers, id),
        }
        Ok(())
    }

    fn change(&mut self, table: TableName, id: ChainId) {
        let Some(callers) = &mut self.callers[table as usize] else {
            return;
        };
        let of = &self.rules.tables[&table];
        let is_done = match &mut self.matcher.tables {
            Tables::Ipv4(programs) => change(&mut programs[table as usize], callers, of, id),
            Tables::Ipv6(programs) => change(&mut programs[table as usize], callers, of, id),
        };
        if !is_done {
            self.compile_all(table);
        }
    }

    /// Compiles a table anew.
    fn compile_all(&mut self, table: TableName) {
        let of = &self.rules.tables[&table];
        let place = table as usize;
        match &mut self.matcher.tables {
            Tables::Ipv4(programs) => {
                let program = compile::compile::<Narrow>(table, of);
                self.callers[place] = Some(Callers::of(&program));
                programs[place] = Some(program);
            }
            Tables::Ipv6(programs) => {
                let program = compile::compile::<Wide>(table, of);
                self.callers[place] = Some(Callers::of(&program));
                programs[place] = Some(program);
            }
        }
    }
}

/// Checks the jumps of one chain: that they lead to users' chains that exist, and not back to it.
fn check(name: TableName, table: &Table, id: ChainId) -> Result<(), LinkError> {
    let Some(changed) = table.chain(id) else {
        return Ok(());
    };
    let jumps = |chain: &Chain| {
        let targets = chain.rules.iter().map(|rule| rule.target.as_ref());
        let names = targets.filter_map(|target| match target {
            Some(Target::Jump(to) | Target::Goto(to)) => Some(to.clone()),
            Some(_) | None => None,
        });
        names.collect::<Vec<_>>()
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut ahead = jumps(changed);
    while let Some(to) = ahead.pop() {
        let Some((index, _, chain)) = table.chains.get_full(&to) else {
            // The words for it, with the rule's number, are those of the whole check.
            return CallGraph::of(name, table).map(drop);
        };
        if index == id.index() || chain.built_in.is_some() {
            return CallGraph::of(name, table).map(drop);
        }
        if seen.insert(index) {
            ahead.extend(jumps(chain));
        }
    }
    Ok(())
}

/// Compiles one chain anew and what depends on it; no if that is as much work as compiling all.
fn change<F: Fields>(
    program: &mut Option<Program<F>>,
    callers: &mut Callers,
    table: &Table,
    id: ChainId,
) -> bool {
    let Some(program) = program else {
        return false;
    };
    if program.has_much_garbage() {
        return false;
    }
    callers.forget(program, id);
    let before = program.chains.get(id.index()).copied();
    program.replace(table, id);
    callers.note(program, id);
    let mut budget = program.rules.len().saturating_mul(8);
    let mut walked: SmallVec<[ChainId; 8]> = SmallVec::new();
    if before.is_some_and(|chain| chain.is_walked) {
        walked.push(id);
    }
    // Whoever jumps here may have folded what was here before, and so on upwards.
    let Some(above) = callers.above(id) else {
        return false;
    };
    for (caller, number) in above {
        let chain = program.chains[caller.index()];
        if !chain.is_walked {
            continue;
        }
        let place = chain.first + number;
        let was_folded = program.unfold(chain, place);
        if !program.fold_jump(chain, place, &mut budget) && was_folded {
            // From now on a walk goes on in the chain that it jumps to.
            walked.extend(program.rules[place as usize].then.chain());
        }
    }
    program.fold_below(walked, &mut budget);
    program.find_fronts();
    true
}

fn remove<F: Fields>(program: &mut Option<Program<F>>, callers: &mut Callers, id: ChainId) {
    let Some(program) = program else {
        return;
    };
    callers.forget(program, id);
    program.discard(id);
    let last = ChainId(to_u32(program.chains.len() - 1));
    if id != last {
        // Whoever jumped to the last chain now jumps to the same under its new number.
        for (caller, number) in callers.of_all(last, program) {
            let place = program.chains[caller.index()].first + number;
            let then = &mut program.rules[place as usize].then;
            if let Then::Jump(to) | Then::Goto(to) = then
                && *to == last
            {
                *to = id;
            }
        }
        callers.renumber(program, last, id);
    } else {
        callers.pop();
    }
    program.chains.swap_remove(id.index());
    for base in program.bases.iter_mut().flatten() {
        if base.chain == last {
            base.chain = id;
        }
    }
    program.find_fronts();
}
