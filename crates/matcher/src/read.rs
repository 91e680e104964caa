//! A matcher straight from the text of `iptables-save`, rule by rule, so that the rules never stand in
//! memory in their long form.

use std::io::BufRead;

use podwire_packet::Family;
use podwire_ruleset::iptables::{self, ReadError, Sink, UnknownOption};
use podwire_ruleset::{ChainId, Hook, Policy, Rule, RuleId, TableName};

use crate::compile::Builder;
use crate::fields::{Fields, Narrow, Wide};
use crate::program::Program;
use crate::{Matcher, Programs, Tables};

/// Why there is no matcher of a text.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The text is not one of rules.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Chains call each other in a circle, which the kernel refuses.
    #[error("chain {chain} of table {table} comes back to itself by its jumps")]
    Loop {
        /// The table.
        table: TableName,
        /// A chain of the circle.
        chain: Box<str>,
    },
}

impl Matcher {
    /// Reads `iptables-save` text of any length and compiles it as it comes; gives too what the text
    /// has that is not evaluated. Chains and rules are numbered as
    /// [`iptables::parse`](podwire_ruleset::iptables::parse()) numbers them.
    ///
    /// # Errors
    /// [`CompileError`], with line and column where the text is at fault.
    pub fn read(
        input: impl BufRead,
        family: Family,
    ) -> Result<(Self, Vec<UnknownOption>), CompileError> {
        let (tables, unknown) = match family {
            Family::Ipv4 => {
                let (programs, unknown) = read::<Narrow>(input, family)?;
                (Tables::Ipv4(programs), unknown)
            }
            Family::Ipv6 => {
                let (programs, unknown) = read::<Wide>(input, family)?;
                (Tables::Ipv6(programs), unknown)
            }
        };
        Ok((Self { tables, nft: None }, unknown))
    }
}

fn read<F: Fields>(
    input: impl BufRead,
    family: Family,
) -> Result<(Box<Programs<F>>, Vec<UnknownOption>), CompileError> {
    let mut tables = Reading::<F> {
        tables: TableName::ALL.map(|_| None),
    };
    let unknown = iptables::read_into(input, family, &mut tables)?;
    let mut programs = Box::new(TableName::ALL.map(|_| None));
    for (table, into) in tables.tables.into_iter().zip(programs.iter_mut()) {
        let Some(TableReading { mut builder, names }) = table else {
            continue;
        };
        let program = builder.sort();
        if let Some(chain) = program.circle() {
            return Err(CompileError::Loop {
                table: program.table,
                chain: names.get(chain).into(),
            });
        }
        drop(names);
        *into = Some(builder.finish());
    }
    Ok((programs, unknown))
}

/// The tables that are being read.
struct Reading<F: Fields> {
    tables: [Option<TableReading<F>>; TableName::ALL.len()],
}

struct TableReading<F: Fields> {
    builder: Builder<F>,
    names: Names,
}

/// Names of chains, one behind the other.
#[derive(Default)]
struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    fn get(&self, chain: ChainId) -> &str {
        let start = chain
            .index()
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        self.ends
            .get(chain.index())
            .map_or("", |&end| &self.text[start..end])
    }
}

impl<F: Fields> Reading<F> {
    fn table(&mut self, name: TableName) -> &mut TableReading<F> {
        self.tables[name as usize].get_or_insert_with(|| TableReading {
            builder: Builder::new(name),
            names: Names::default(),
        })
    }
}

impl<F: Fields> Sink for Reading<F> {
    const COMMENTS: bool = false;

    fn chain(&mut self, table: TableName, chain: ChainId, name: &str, policy: Option<Policy>) {
        let table = self.table(table);
        if chain.index() == table.names.ends.len() {
            table.names.text += name;
            table.names.ends.push(table.names.text.len());
        }
        table.builder.chain(chain);
        if let (Ok(hook), Some(policy)) = (name.parse::<Hook>(), policy) {
            table.builder.base(hook, chain, policy);
        }
    }

    fn rule(&mut self, id: RuleId, rule: &Rule, jump: Option<ChainId>) {
        self.table(id.table).builder.add(id.chain, rule, |_| jump);
    }
}

impl<F: Fields> Program<F> {
    /// A chain that comes back to itself by its jumps, if there is one.
    ///
    /// Goes down from every chain and back up, as `mark_source_chains` of the kernel does
    /// (net/ipv4/netfilter/ip_tables.c), with a list of its own in place of recursion.
    fn circle(&self) -> Option<ChainId> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            Not,
            OnTheWay,
            Done,
        }
        let mut seen = vec![Seen::Not; self.chains.len()];
        // Most chains jump to earlier ones only. They need no way, which would lead all over memory.
        for index in 0..self.chains.len() {
            let rules = self.rules_of(ChainId(crate::program::to_u32(index)));
            let mut jumps = rules.iter().filter_map(|rule| rule.then.chain());
            if jumps.all(|to| seen[to.index()] == Seen::Done) {
                seen[index] = Seen::Done;
            }
        }
        let mut way: Vec<(ChainId, usize)> = Vec::new();
        for index in 0..self.chains.len() {
            if seen[index] != Seen::Not {
                continue;
            }
            let start = ChainId(crate::program::to_u32(index));
            seen[index] = Seen::OnTheWay;
            way.push((start, 0));
            while let Some((chain, next)) = way.last_mut() {
                let rest = self.rules_of(*chain).get(*next..).unwrap_or_default();
                let mut jumps = rest.iter().enumerate();
                let jump = jumps.find_map(|(ahead, rule)| Some((ahead, rule.then.chain()?)));
                let Some((ahead, to)) = jump else {
                    seen[chain.index()] = Seen::Done;
                    way.pop();
                    continue;
                };
                *next += ahead + 1;
                match seen[to.index()] {
                    Seen::Done => {}
                    Seen::OnTheWay => return Some(to),
                    Seen::Not => {
                        seen[to.index()] = Seen::OnTheWay;
                        way.push((to, 0));
                    }
                }
            }
        }
        None
    }
}
