//! Lines of the stream: tables, chains and rules.

use miette::SourceSpan;
use podwire_packet::Family;

use super::ahead::NONE;
use super::names::Names;
use super::{ReadError, Sink};
use crate::iptables::command::{
    argument, check_chain_name, declaration, leading_counters, no_more, policy_command, policy_of,
};
use crate::iptables::lex::Word;
use crate::iptables::rule::RuleReader;
use crate::iptables::{ParseError, UnknownOption};
use crate::{Chain, ChainId, ChainName, Counters, LinkError, RuleId, TableName, Target};

/// The table that is open.
pub(super) struct Open {
    /// Its place in [`Reader::tables`].
    pub(super) place: usize,
    /// Number of its `*name` line.
    line: usize,
    /// The line.
    text: Box<str>,
    /// Its first word's place there.
    at: SourceSpan,
    /// The chain that the rule before was appended to.
    chain: ChainId,
    /// The chain that the rule before jumped to.
    called: ChainId,
}

pub(super) struct Reader<'s, S> {
    /// Lines that were read.
    pub(super) lines: usize,
    family: Family,
    sink: &'s mut S,
    pub(super) tables: Vec<(TableName, Names)>,
    pub(super) open: Option<Open>,
    /// The chain that each of the next lines may jump to, if any were looked at ahead.
    pub(super) ahead: Vec<u32>,
    /// That of the line that is being read.
    pub(super) guess: u32,
    rules: RuleReader,
    unknown: Vec<UnknownOption>,
}

impl<'s, S: Sink> Reader<'s, S> {
    pub(super) fn new(family: Family, sink: &'s mut S) -> Self {
        Self {
            lines: 0,
            family,
            sink,
            tables: Vec::new(),
            open: None,
            ahead: Vec::new(),
            guess: NONE,
            rules: RuleReader::new(S::COMMENTS),
            unknown: Vec::new(),
        }
    }

    /// A fault of the line that was read, but that a table without COMMIT is one of its first line.
    pub(super) fn fault(&self, line: &str, cause: ParseError) -> ReadError {
        match (&cause, &self.open) {
            (ParseError::MissingCommit { .. }, Some(open)) => {
                ReadError::of_line(open.line, &open.text, cause)
            }
            _ => ReadError::of_line(self.lines, line, cause),
        }
    }

    pub(super) fn finish(self) -> Result<Vec<UnknownOption>, ReadError> {
        match &self.open {
            None => Ok(self.unknown),
            Some(open) => {
                let cause = self.missing_commit(open);
                Err(self.fault(&open.text, cause))
            }
        }
    }

    fn missing_commit(&self, open: &Open) -> ParseError {
        ParseError::MissingCommit {
            table: self.tables[open.place].0,
            at: open.at,
        }
    }

    pub(super) fn line(&mut self, line: &str, words: &[Word<'_>]) -> Result<(), ParseError> {
        let Some((first, rest)) = words.split_first() else {
            return Ok(());
        };
        if let Some(name) = first.text.strip_prefix('*') {
            return self.begin(name, first, line);
        }
        let Some(open) = &mut self.open else {
            return Err(ParseError::OutsideTable {
                text: first.text.as_ref().into(),
                at: first.span(),
            });
        };
        let (table, names) = &mut self.tables[open.place];
        if let Some(name) = first.text.strip_prefix(':') {
            check_chain_name(name, first.span())?;
            let (policy, _) = declaration(first, rest)?;
            let id = names.insert(name);
            if names.rules(id) > 0 {
                return Err(edits(first));
            }
            let policy = policy_of(name, names.is_built_in(id), policy)?;
            self.sink.chain(*table, id, name, policy);
        } else if first.text == "COMMIT" {
            no_more(rest)?;
            self.open = None;
        } else {
            return self.command(line, words);
        }
        Ok(())
    }

    fn begin(&mut self, name: &str, word: &Word<'_>, line: &str) -> Result<(), ParseError> {
        if let Some(open) = &self.open {
            return Err(self.missing_commit(open));
        }
        let Ok(name) = name.parse::<TableName>() else {
            return Err(ParseError::UnknownTable {
                text: name.into(),
                at: word.span(),
            });
        };
        let known = self.tables.iter().position(|(table, _)| *table == name);
        let place = known.unwrap_or_else(|| {
            let names = Names::of_built_in(name.hooks().iter().map(|hook| hook.name()));
            for (&hook, id) in name.hooks().iter().zip((0..).map(ChainId)) {
                let policy = Chain::built_in(hook).built_in.map(|own| own.policy);
                self.sink.chain(name, id, hook.name(), policy);
            }
            self.tables.push((name, names));
            self.tables.len() - 1
        });
        self.open = Some(Open {
            place,
            line: self.lines,
            text: line.into(),
            at: word.span(),
            chain: ChainId(0),
            called: ChainId(0),
        });
        Ok(())
    }

    fn command(&mut self, line: &str, words: &[Word<'_>]) -> Result<(), ParseError> {
        let (counters, words) = leading_counters(words)?;
        let (Some((first, rest)), Some(open)) = (words.split_first(), &mut self.open) else {
            return Ok(());
        };
        let (table, names) = &mut self.tables[open.place];
        match &*first.text {
            "-A" | "--append" => {
                let (chain, rest) = argument(first, rest)?;
                self.append(line, chain, rest, counters)
            }
            "-N" | "--new-chain" | "--new" => {
                let (name, rest) = argument(first, rest)?;
                no_more(rest)?;
                check_chain_name(&name.text, name.span())?;
                let known = names.len();
                let id = names.insert(&name.text);
                if names.len() == known {
                    return Err(ParseError::ChainExists {
                        table: *table,
                        chain: name.text.as_ref().into(),
                        at: name.span(),
                    });
                }
                self.sink.chain(*table, id, &name.text, None);
                Ok(())
            }
            "-P" | "--policy" => {
                let (name, policy, _) = policy_command(first, rest)?;
                let id = find(*table, names, name)?;
                let policy = policy_of(&name.text, names.is_built_in(id), policy)?;
                self.sink.chain(*table, id, &name.text, policy);
                Ok(())
            }
            "-I" | "--insert" | "-F" | "--flush" | "-X" | "--delete-chain" | "--delete" => {
                Err(edits(first))
            }
            _ => Err(ParseError::UnknownCommand {
                text: first.text.as_ref().into(),
                at: first.span(),
            }),
        }
    }

    fn append(
        &mut self,
        line: &str,
        chain: &Word<'_>,
        words: &[Word<'_>],
        counters: Option<Counters>,
    ) -> Result<(), ParseError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let (table, names) = &mut self.tables[open.place];
        // Rules of a chain stand together, and chains stand in the order of their numbers.
        let from = match names.near(&chain.text, [open.chain.0, open.chain.0 + 1]) {
            Some(id) => id,
            None => find(*table, names, chain)?,
        };
        open.chain = from;
        self.rules
            .read(words, self.family, |name| ChainName::from(name))?;
        if self.rules.other_family {
            return Ok(());
        }
        let count = self.rules.count(chain.span())?;
        let mut id = RuleId {
            table: *table,
            chain: from,
            number: names.rules(from).saturating_add(1),
        };
        let rule = &mut self.rules.rule;
        rule.counters = rule.counters.or(counters);
        let jump = match &rule.target {
            Some(Target::Jump(to) | Target::Goto(to)) => {
                // Chains are mostly declared in the order in which rules jump to them.
                let places = [self.guess, open.called.0 + 1, from.0 + 1];
                let found = names
                    .near(to.as_str(), places)
                    .or_else(|| names.find(to.as_str()))
                    .filter(|&found| !names.is_built_in(found));
                let Some(found) = found else {
                    return Err(ParseError::Link {
                        cause: Box::new(link_error(id, &chain.text, to, names)),
                        at: self.rules.jump.unwrap_or_else(|| chain.span()),
                    });
                };
                open.called = found;
                Some(found)
            }
            _ => None,
        };
        if !self.rules.unknown.is_empty() {
            let rule = format!("{table}/{}/{}", chain.text, id.number);
            self.rules
                .report((self.lines, line, 0), &rule, &mut self.unknown);
        }
        if count == 1 {
            self.sink.rule(id, &self.rules.rule, jump);
            id.number = id.number.saturating_add(1);
        } else {
            for rule in self.rules.each() {
                self.sink.rule(id, &rule, jump);
                id.number = id.number.saturating_add(1);
            }
        }
        names.set_rules(from, id.number - 1);
        Ok(())
    }
}

fn find(table: TableName, names: &mut Names, name: &Word<'_>) -> Result<ChainId, ParseError> {
    names
        .find(&name.text)
        .ok_or_else(|| ParseError::UnknownChain {
            table,
            chain: name.text.as_ref().into(),
            at: name.span(),
        })
}

fn edits(word: &Word<'_>) -> ParseError {
    ParseError::EditsEarlier {
        text: word.text.as_ref().into(),
        at: word.span(),
    }
}

/// Why a rule cannot jump to `to`.
fn link_error(id: RuleId, chain: &str, to: &ChainName, names: &mut Names) -> LinkError {
    let (table, chain, to) = (id.table, chain.into(), to.clone());
    let rule = id.number as usize;
    if names.find(to.as_str()).is_some() {
        LinkError::BuiltInTarget {
            table,
            chain,
            rule,
            to,
        }
    } else {
        LinkError::MissingChain {
            table,
            chain,
            rule,
            to,
        }
    }
}
