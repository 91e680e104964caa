//! A table as a program.

use std::ops::RangeInclusive;

use podwire_packet::{Mark, Prefix};
use podwire_ruleset::{
    AddressMatch, ChainId, ChainName, Hook, Inv, Match, Policy, Rule, RuleId, Table, TableName,
    Target,
};

use crate::fields::{Equality, Fields};
use crate::fold::{Fold, Folder, Folds};
use crate::test::Test;
use crate::tuple_space::{MAX_KINDS, MIN_RULES, TupleSpace, to_u32};

/// A rule, ready to be asked; one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Compiled {
    pub(crate) id: RuleId,
    /// Whether a later fragment fails it: it has a test that looks behind the IP header.
    pub(crate) needs_transport: bool,
    /// Whether it has a test that is not known.
    pub(crate) is_uncertain: bool,
    /// Tests that its block has not made already, in the kernel's order.
    pub(crate) tests: Box<[Test]>,
    pub(crate) then: Then,
    /// The chain that it jumps to as one choice, where nobody watches.
    pub(crate) fold: Option<Fold>,
}

/// A rule's target, jumps resolved.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    Jump(ChainId),
    Goto(ChainId),
    Mark {
        value: Mark,
        mask: Mark,
    },
    /// It only counts.
    Nothing,
    Target(Box<Target>),
}

/// A part of a chain.
#[derive(Clone, Debug)]
pub(crate) enum Block<F> {
    /// Rules asked one by one: from a place to another.
    List(u32, u32),
    /// Rules found by hashing.
    Hashed(TupleSpace<F>),
}

/// A chain.
#[derive(Clone, Debug)]
pub(crate) struct Chain<F> {
    pub(crate) blocks: Box<[Block<F>]>,
}

/// A base chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    pub(crate) chain: ChainId,
    pub(crate) policy: Policy,
}

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct Program<F> {
    /// Rules of all chains, each chain's together.
    pub(crate) rules: Vec<Compiled>,
    pub(crate) chains: Vec<Chain<F>>,
    pub(crate) bases: [Option<Base>; Hook::ALL.len()],
    pub(crate) folds: Folds<F>,
}

impl<F: Fields> Program<F> {
    /// Compiles a table whose jumps were checked.
    pub(crate) fn of(name: TableName, table: &Table) -> Self {
        let rules = table.chains.values().map(|chain| chain.rules.len()).sum();
        let mut folder = Folder::new(table, rules);
        let mut program = Self {
            rules: Vec::with_capacity(rules),
            folds: Folds::default(),
            chains: Vec::with_capacity(table.chains.len()),
            bases: Hook::ALL.map(|hook| {
                let (chain, base) = table.at(hook)?;
                let policy = base.built_in.map_or(Policy::Accept, |base| base.policy);
                Some(Base { chain, policy })
            }),
        };
        for (index, chain) in table.chains.values().enumerate() {
            let compiler = ChainCompiler {
                table: name,
                chain: ChainId(to_u32(index)),
                of: table,
                rules: &chain.rules,
            };
            let blocks = compiler.compile(&mut program.rules, &mut folder);
            program.chains.push(Chain { blocks });
        }
        program.folds = folder.folds;
        program
    }

    pub(crate) fn has_rules(&self, hook: Hook) -> bool {
        self.bases[hook as usize].is_some_and(|base| {
            base.policy == Policy::Drop || !self.chains[base.chain.index()].blocks.is_empty()
        })
    }
}

/// Compiles one chain.
struct ChainCompiler<'a> {
    table: TableName,
    chain: ChainId,
    of: &'a Table,
    rules: &'a [Rule],
}

impl ChainCompiler<'_> {
    /// Cuts the chain into runs whose rules all test something for equality, and the rest.
    fn compile<F: Fields>(
        &self,
        into: &mut Vec<Compiled>,
        folder: &mut Folder<'_, F>,
    ) -> Box<[Block<F>]> {
        let first = to_u32(into.len());
        let equalities: Vec<Option<Equality<F>>> = self.rules.iter().map(equality).collect();
        let mut blocks = Vec::new();
        let push_list = |blocks: &mut Vec<Block<F>>, from: usize, to: usize| {
            if from < to {
                blocks.push(Block::List(first + to_u32(from), first + to_u32(to)));
            }
        };
        let (mut listed, mut at) = (0, 0);
        while at < self.rules.len() {
            let run = run_length(&equalities[at..]);
            if run < MIN_RULES {
                let end = at + run.max(1);
                into.extend((at..end).map(|n| self.compile_rule(n, false, folder)));
                at = end;
                continue;
            }
            push_list(&mut blocks, listed, at);
            let keyed: Vec<(Equality<F>, u32)> = (at..at + run)
                .filter_map(|n| Some((equalities[n]?, first + to_u32(n))))
                .collect();
            blocks.push(Block::Hashed(TupleSpace::new(&keyed)));
            into.extend((at..at + run).map(|n| self.compile_rule(n, true, folder)));
            at += run;
            listed = at;
        }
        push_list(&mut blocks, listed, at);
        blocks.into_boxed_slice()
    }

    fn compile_rule<F: Fields>(
        &self,
        n: usize,
        is_hashed: bool,
        folder: &mut Folder<'_, F>,
    ) -> Compiled {
        let rule = &self.rules[n];
        let asked: Vec<&Match> = if is_hashed {
            hashable::<F>(rule).map(|(test, _)| test).collect()
        } else {
            Vec::new()
        };
        let is_asked = |test: &&Match| asked.iter().any(|asked| std::ptr::eq(*asked, *test));
        let left = rule.in_kernel_order().filter(|test| !is_asked(test));
        let looks_at_ports =
            |test: &&Match| matches!(test, Match::SourcePort(..) | Match::DestinationPort(..));
        // The order in which tests without memory are asked is free.
        let is_free = !rule.matches.iter().any(Match::has_memory_or_chance);
        let mut tests: Vec<Test> = left.filter_map(Test::of).collect();
        let mut needs_transport = asked.iter().any(looks_at_ports);
        if is_free {
            let before = tests.len();
            tests.retain(|test| !matches!(test, Test::HasTransport));
            needs_transport |= tests.len() < before;
        }
        let chain = |name: &ChainName| {
            let id = self.of.chain_id(name.as_str());
            id.expect("Matcher::new checked every jump")
        };
        Compiled {
            id: RuleId {
                table: self.table,
                chain: self.chain,
                number: to_u32(n + 1),
            },
            needs_transport,
            is_uncertain: rule
                .matches
                .iter()
                .any(|test| matches!(test, Match::Unknown(_))),
            tests: tests.into_boxed_slice(),
            then: match &rule.target {
                None | Some(Target::Checksum(_) | Target::Tcpmss(_)) => Then::Nothing,
                Some(Target::Jump(name)) => Then::Jump(chain(name)),
                Some(Target::Goto(name)) => Then::Goto(chain(name)),
                Some(Target::Mark { value, mask }) => Then::Mark {
                    value: *value,
                    mask: *mask,
                },
                Some(target) => Then::Target(Box::new(target.clone())),
            },
            fold: match &rule.target {
                Some(Target::Jump(name) | Target::Goto(name)) => folder.fold(rule, name),
                Some(_) | None => None,
            },
        }
    }
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

/// A test for equality, if it is one.
pub(crate) fn equality_of<F: Fields>(test: &Match) -> Option<Equality<F>> {
    if let Match::Source(asked) = test {
        return Equality::source(plain_prefix(asked)?);
    }
    if let Match::Destination(asked) = test {
        return Equality::destination(plain_prefix(asked)?);
    }
    let (value, mask) = if let Match::Protocol(asked) = test {
        let protocol = plain(asked)?.0;
        (F::transport(0, 0, protocol), F::transport(0, 0, u8::MAX))
    } else if let Match::SourcePort(_, asked) = test {
        let port = plain_port(asked)?;
        (F::transport(port, 0, 0), F::transport(u16::MAX, 0, 0))
    } else if let Match::DestinationPort(_, asked) = test {
        let port = plain_port(asked)?;
        (F::transport(0, port, 0), F::transport(0, u16::MAX, 0))
    } else {
        return None;
    };
    Some(Equality { value, mask })
}

/// The value, where there is no `!`.
fn plain<T>(asked: &Inv<T>) -> Option<&T> {
    (!asked.inverted).then_some(&asked.value)
}

fn plain_prefix(asked: &Inv<AddressMatch>) -> Option<&Prefix> {
    match plain(asked)? {
        AddressMatch::Prefix(prefix) => Some(prefix),
        AddressMatch::Sparse { .. } => None,
    }
}

fn plain_port(asked: &Inv<RangeInclusive<u16>>) -> Option<u16> {
    let ports = plain(asked)?;
    (ports.start() == ports.end()).then_some(*ports.start())
}

/// The tests of a rule that a table can make in one probe.
///
/// Tests of the IP header come first in the kernel too. A port test is left to its place where the
/// rule has a match that remembers or leaves something to chance, which may be asked before it.
fn hashable<F: Fields>(rule: &Rule) -> impl Iterator<Item = (&Match, Equality<F>)> {
    let in_order = rule.matches.iter().any(Match::has_memory_or_chance);
    let tests = rule
        .matches
        .iter()
        .filter(move |test| !in_order || test.is_of_ip_header());
    tests.filter_map(|test| Some((test, equality_of(test)?)))
}

/// What a rule compares for equality; none if nothing, or the same bits twice.
fn equality<F: Fields>(rule: &Rule) -> Option<Equality<F>> {
    let mut tests = hashable::<F>(rule).map(|(_, equality)| equality);
    let first = tests.next()?;
    tests.try_fold(first, Equality::and)
}
