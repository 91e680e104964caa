//! Lines of the text: tables, chains and commands.

use std::collections::{BTreeMap, BTreeSet};

use miette::SourceSpan;
use podwire_packet::Family;

use super::address::number;
use super::lex::{Word, split};
use super::rule::{MAX_RULES_OF_A_LINE, RuleReader};
use super::targets::Named;
use super::{ParseError, line_column};
use crate::{
    CallGraph, Chain, ChainName, Counters, LinkError, Policy, Rule, RuleSet, Table, TableName,
    Target,
};

/// A rule set and what podwire will not evaluate in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The rules.
    pub rules: RuleSet,
    /// Modules, targets and options that podwire does not know, in the order of the text.
    pub unknown: Vec<UnknownOption>,
}

/// A word that podwire keeps but does not evaluate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownOption {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The module, the target, or the option of a known one.
    pub text: Box<str>,
    /// The rule as it was numbered when its line was read: `nat/POSTROUTING/2`.
    pub rule: String,
}

/// Reads the text of `iptables-save` (for IPv6, of `ip6tables-save`), or another that
/// `iptables-restore` takes.
///
/// A line `:CHAIN POLICY` of a chain that is there already empties it. A table that comes again
/// goes on where it was. Jumps are checked when all was read, so a chain may be made behind the
/// rule that jumps to it.
///
/// # Errors
/// The first [`ParseError`] in the order of the text, then faults of the call graph.
pub fn parse(text: &str, family: Family) -> Result<Parsed, ParseError> {
    restore(text, RuleSet::empty(family))
}

/// Applies a text to rules that are there, as `iptables-restore --noflush` does: only what the text
/// names changes. kube-proxy writes such texts, with the chains that changed.
///
/// # Errors
/// As [`parse`].
pub fn restore(text: &str, rules: RuleSet) -> Result<Parsed, ParseError> {
    Parser::new(text, rules, None).run()
}

/// Reads the text of `iptables -S` of one table, which names no table and has no COMMIT.
///
/// # Errors
/// As [`parse`].
pub fn parse_listing(text: &str, table: TableName, family: Family) -> Result<Parsed, ParseError> {
    Parser::new(text, RuleSet::empty(family), Some(table)).run()
}

/// The table that is being read.
struct Open {
    name: TableName,
    /// Its `*name` line; `None` if the caller named it.
    begun: Option<SourceSpan>,
    /// Chains that `-X` deleted; they leave the table at its end.
    deleted: BTreeSet<ChainName>,
    /// Rules that `-I` put at the beginning of chains, the first one last, so that many of them
    /// do not move a long chain each time.
    inserted: BTreeMap<ChainName, Vec<Rule>>,
    /// Chains that may have rules, so that `-F` need not look at all.
    filled: Vec<ChainName>,
}

struct Parser<'t> {
    text: &'t str,
    family: Family,
    rules: RuleSet,
    unknown: Vec<UnknownOption>,
    open: Option<Open>,
    reader: RuleReader,
    line: usize,
    line_start: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, mut rules: RuleSet, table: Option<TableName>) -> Self {
        let open = table.map(|name| Open::new(name, None, rules.table_mut(name)));
        Self {
            text,
            family: rules.family,
            rules,
            unknown: Vec::new(),
            open,
            reader: RuleReader::default(),
            line: 0,
            line_start: 0,
        }
    }

    fn run(mut self) -> Result<Parsed, ParseError> {
        let mut words = Vec::new();
        for line in self.text.split_inclusive('\n') {
            self.line += 1;
            let trimmed = line.trim_end_matches(['\n', '\r']);
            let indent = trimmed.len() - trimmed.trim_start_matches([' ', '\t']).len();
            let body = &trimmed[indent..];
            if !body.is_empty() && !body.starts_with('#') {
                split(body, self.line_start + indent, &mut words)
                    .map_err(|at| ParseError::UnclosedQuote { at })?;
                self.one_line(&words)?;
            }
            self.line_start += line.len();
        }
        if let Some(open) = self.open.take() {
            open.complete()?;
            self.close(open);
        }
        for (&name, table) in &self.rules.tables {
            if let Err(error) = CallGraph::of(name, table) {
                return Err(link_error(self.text, self.family, name, error));
            }
        }
        Ok(Parsed {
            rules: self.rules,
            unknown: self.unknown,
        })
    }

    fn one_line(&mut self, words: &[Word<'t>]) -> Result<(), ParseError> {
        let Some(first) = words.first() else {
            return Ok(());
        };
        if let Some(name) = first.text.strip_prefix('*') {
            return self.begin(name, first);
        }
        let Some(mut open) = self.open.take() else {
            return Err(ParseError::OutsideTable {
                text: first.text.as_ref().into(),
                at: first.span(),
            });
        };
        if let Some(chain) = first.text.strip_prefix(':') {
            declare(&mut open, &mut self.rules, chain, first, &words[1..])?;
        } else if first.text == "COMMIT" && open.begun.is_some() {
            no_more(&words[1..])?;
            self.close(open);
            return Ok(());
        } else {
            self.command(&mut open, words)?;
        }
        self.open = Some(open);
        Ok(())
    }

    fn begin(&mut self, name: &str, word: &Word<'_>) -> Result<(), ParseError> {
        if let Some(open) = &self.open {
            open.complete()?;
            return Err(ParseError::UnknownCommand {
                text: word.text.as_ref().into(),
                at: word.span(),
            });
        }
        let Ok(name) = name.parse() else {
            return Err(ParseError::UnknownTable {
                text: name.into(),
                at: word.span(),
            });
        };
        self.open = Some(Open::new(
            name,
            Some(word.span()),
            self.rules.table_mut(name),
        ));
        Ok(())
    }

    /// Ends a table.
    fn close(&mut self, open: Open) {
        let table = self.rules.table_mut(open.name);
        for (name, inserted) in open.inserted {
            if let Some(chain) = table.chains.get_mut(&name) {
                put_in_front(chain, inserted);
            }
        }
        if !open.deleted.is_empty() {
            table.chains.retain(|name, _| !open.deleted.contains(name));
        }
    }

    fn command(&mut self, open: &mut Open, words: &[Word<'t>]) -> Result<(), ParseError> {
        let (counters, words) = leading_counters(words)?;
        let Some((first, rest)) = words.split_first() else {
            return Ok(());
        };
        match &*first.text {
            "-A" | "--append" => {
                let (chain, rest) = argument(first, rest)?;
                self.add_rules(open, chain, rest, None, counters)
            }
            "-I" | "--insert" => {
                let (chain, rest) = argument(first, rest)?;
                let digits = |word: &Word<'_>| word.text.starts_with(|c: char| c.is_ascii_digit());
                match rest.split_first() {
                    Some((number, rest)) if digits(number) => {
                        self.add_rules(open, chain, rest, Some(Some(number)), counters)
                    }
                    _ => self.add_rules(open, chain, rest, Some(None), counters),
                }
            }
            "-N" | "--new-chain" | "--new" => {
                let (name, rest) = argument(first, rest)?;
                no_more(rest)?;
                let chain = chain_name(&name.text, name.span())?;
                let table = self.rules.table_mut(open.name);
                if open.has(table, &name.text) {
                    return Err(ParseError::ChainExists {
                        table: open.name,
                        chain: name.text.as_ref().into(),
                        at: name.span(),
                    });
                }
                open.renew(table, &chain);
                Ok(())
            }
            "-X" | "--delete-chain" | "--delete" => {
                open.delete(self.rules.table_mut(open.name), rest)
            }
            "-F" | "--flush" => open.flush(self.rules.table_mut(open.name), rest),
            "-P" | "--policy" => {
                let (name, rest) = argument(first, rest)?;
                let (policy, rest) = argument(first, rest)?;
                // `iptables -S -v` ends the line with `-c PACKETS BYTES`.
                let counters = match rest {
                    [] => None,
                    [c, packets, bytes] if c.text == "-c" => Some(Counters {
                        packets: count(&packets.text, packets)?,
                        bytes: count(&bytes.text, bytes)?,
                    }),
                    [word, ..] => return Err(unexpected(word)),
                };
                let chain = open.chain(self.rules.table_mut(open.name), name)?;
                set_policy(chain, policy)?;
                chain.counters = counters.unwrap_or(chain.counters);
                Ok(())
            }
            _ => Err(ParseError::UnknownCommand {
                text: first.text.as_ref().into(),
                at: first.span(),
            }),
        }
    }

    /// `-A`, or `-I` where `insert` is given: with the number to insert at, if that is given.
    fn add_rules(
        &mut self,
        open: &mut Open,
        chain: &Word<'t>,
        words: &[Word<'t>],
        insert: Option<Option<&Word<'t>>>,
        counters: Option<Counters>,
    ) -> Result<(), ParseError> {
        let table = self.rules.table_mut(open.name);
        let place = open.place(table, chain)?;
        // A name that the table has already is shared, not copied.
        let known = |name: &str| {
            table
                .chains
                .get_key_value(name)
                .map_or_else(|| name.into(), |(name, _)| name.clone())
        };
        self.reader.read(words, self.family, known)?;
        if self.reader.other_family {
            return Ok(());
        }
        if self.reader.count() > MAX_RULES_OF_A_LINE {
            return Err(ParseError::TooManyRules {
                rules: self.reader.count(),
                at: chain.span(),
            });
        }
        let inserted = open.inserted.get(&*chain.text).map_or(0, Vec::len);
        let existing = inserted + table.chains[place].rules.len();
        let first = match insert {
            None => existing,
            Some(None) => 0,
            Some(Some(word)) => rule_place(word, existing)?,
        };
        if !self.reader.unknown.is_empty() {
            self.report(open.name, &chain.text, first);
        }
        let chain = &mut self.rules.table_mut(open.name).chains[place];
        if existing == 0 {
            open.filled.push(chain.name.clone());
        }
        let counters = self.reader.counters.or(counters);
        let target = self.reader.target.take();
        let host_lengths = self.reader.host_lengths;
        let rule = |matches| Rule {
            matches,
            target: target.clone(),
            counters,
            origin: None,
            host_lengths,
        };
        if insert.is_none() && self.reader.count() == 1 {
            let matches = self.reader.matches.drain(..).collect();
            chain.rules.push(Rule {
                matches,
                target,
                counters,
                origin: None,
                host_lengths,
            });
        } else if insert.is_none() {
            chain.rules.extend(self.reader.each().map(rule));
        } else if first == 0 {
            let front = open.inserted.entry(chain.name.clone()).or_default();
            let from = front.len();
            front.extend(self.reader.each().map(rule));
            front[from..].reverse();
        } else {
            if let Some(inserted) = open.inserted.remove(&chain.name) {
                put_in_front(chain, inserted);
            }
            chain
                .rules
                .splice(first..first, self.reader.each().map(rule));
        }
        Ok(())
    }

    fn report(&mut self, table: TableName, chain: &str, first: usize) {
        for (at, text) in self.reader.unknown.drain(..) {
            let (_, column) =
                line_column(&self.text[self.line_start..], at.offset() - self.line_start);
            self.unknown.push(UnknownOption {
                line: self.line,
                column,
                text,
                rule: format!("{table}/{chain}/{}", first + 1),
            });
        }
    }
}

impl Open {
    fn new(name: TableName, begun: Option<SourceSpan>, table: &Table) -> Self {
        let filled = table.chains.values().filter(|c| !c.rules.is_empty());
        Self {
            name,
            begun,
            filled: filled.map(|chain| chain.name.clone()).collect(),
            deleted: BTreeSet::new(),
            inserted: BTreeMap::new(),
        }
    }

    /// Checks that the table may end without COMMIT.
    const fn complete(&self) -> Result<(), ParseError> {
        match self.begun {
            None => Ok(()),
            Some(at) => Err(ParseError::MissingCommit {
                table: self.name,
                at,
            }),
        }
    }

    fn has(&self, table: &Table, name: &str) -> bool {
        table.chains.contains_key(name) && !self.deleted.contains(name)
    }

    /// Where a chain stands in the table.
    fn place(&self, table: &Table, name: &Word<'_>) -> Result<usize, ParseError> {
        table
            .chains
            .get_index_of(&*name.text)
            .filter(|_| !self.deleted.contains(&*name.text))
            .ok_or_else(|| ParseError::UnknownChain {
                table: self.name,
                chain: name.text.as_ref().into(),
                at: name.span(),
            })
    }

    fn chain<'a>(
        &self,
        table: &'a mut Table,
        name: &Word<'_>,
    ) -> Result<&'a mut Chain, ParseError> {
        let place = self.place(table, name)?;
        Ok(&mut table.chains[place])
    }

    /// Makes a chain, or empties it.
    fn renew<'a>(&mut self, table: &'a mut Table, name: &ChainName) -> &'a mut Chain {
        self.deleted.remove(name);
        self.inserted.remove(name);
        let chain = table.chain_mut(name);
        chain.rules.clear();
        chain.counters = Counters::default();
        chain
    }

    fn delete(&mut self, table: &mut Table, words: &[Word<'_>]) -> Result<(), ParseError> {
        let Some((word, rest)) = words.split_first() else {
            table.chains.retain(|_, chain| chain.built_in.is_some());
            self.deleted.clear();
            return Ok(());
        };
        no_more(rest)?;
        let found = table
            .chains
            .get(&*word.text)
            .filter(|chain| !self.deleted.contains(&chain.name));
        match found {
            Some(chain) if chain.built_in.is_none() => {
                self.deleted.insert(chain.name.clone());
                Ok(())
            }
            Some(_) => Err(ParseError::BuiltInChain {
                table: self.name,
                chain: word.text.as_ref().into(),
                at: word.span(),
            }),
            None => Err(ParseError::UnknownChain {
                table: self.name,
                chain: word.text.as_ref().into(),
                at: word.span(),
            }),
        }
    }

    fn flush(&mut self, table: &mut Table, words: &[Word<'_>]) -> Result<(), ParseError> {
        let Some((word, rest)) = words.split_first() else {
            self.inserted.clear();
            for name in self.filled.drain(..) {
                if let Some(chain) = table.chains.get_mut(&name) {
                    chain.rules.clear();
                }
            }
            return Ok(());
        };
        no_more(rest)?;
        self.chain(table, word)?.rules.clear();
        self.inserted.remove(&*word.text);
        Ok(())
    }
}

/// `:CHAIN POLICY [PACKETS:BYTES]`.
fn declare(
    open: &mut Open,
    rules: &mut RuleSet,
    name: &str,
    word: &Word<'_>,
    rest: &[Word<'_>],
) -> Result<(), ParseError> {
    let name = chain_name(name, word.span())?;
    let Some((policy, rest)) = rest.split_first() else {
        return Err(ParseError::MissingArgument {
            option: word.text.as_ref().into(),
            at: word.span(),
        });
    };
    let counters = match rest.split_first() {
        None => Counters::default(),
        Some((counters, rest)) => {
            no_more(rest)?;
            bracketed(counters)?.ok_or_else(|| bad_counters(counters))?
        }
    };
    let chain = open.renew(rules.table_mut(open.name), &name);
    chain.counters = counters;
    set_policy(chain, policy)
}

fn set_policy(chain: &mut Chain, word: &Word<'_>) -> Result<(), ParseError> {
    match (&mut chain.built_in, &*word.text) {
        (Some(built_in), "ACCEPT") => built_in.policy = Policy::Accept,
        (Some(built_in), "DROP") => built_in.policy = Policy::Drop,
        (None, "-") => {}
        _ => {
            return Err(ParseError::BadPolicy {
                chain: chain.name.as_str().into(),
                text: word.text.as_ref().into(),
                at: word.span(),
            });
        }
    }
    Ok(())
}

fn chain_name(name: &str, at: SourceSpan) -> Result<ChainName, ParseError> {
    let right = (1..=ChainName::MAX).contains(&name.len())
        && !name.starts_with(['-', '!'])
        && !name.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control())
        && Named::of(name) == Named::Chain;
    if right {
        return Ok(name.into());
    }
    Err(ParseError::BadChainName {
        text: name.into(),
        at,
    })
}

fn put_in_front(chain: &mut Chain, mut inserted: Vec<Rule>) {
    inserted.reverse();
    inserted.append(&mut chain.rules);
    chain.rules = inserted;
}

/// Where `-I CHAIN n` puts a rule.
fn rule_place(word: &Word<'_>, existing: usize) -> Result<usize, ParseError> {
    let number = number(&word.text).ok_or_else(|| unexpected(word))?;
    usize::try_from(number)
        .ok()
        .and_then(|number| number.checked_sub(1))
        .filter(|place| *place <= existing)
        .ok_or_else(|| ParseError::BadRuleNumber {
            number,
            rules: existing,
            at: word.span(),
        })
}

fn argument<'w, 't>(
    option: &Word<'_>,
    rest: &'w [Word<'t>],
) -> Result<(&'w Word<'t>, &'w [Word<'t>]), ParseError> {
    rest.split_first()
        .ok_or_else(|| ParseError::MissingArgument {
            option: option.text.as_ref().into(),
            at: option.span(),
        })
}

fn no_more(rest: &[Word<'_>]) -> Result<(), ParseError> {
    rest.first().map_or(Ok(()), |word| Err(unexpected(word)))
}

fn unexpected(word: &Word<'_>) -> ParseError {
    ParseError::UnexpectedWord {
        text: word.text.as_ref().into(),
        at: word.span(),
    }
}

fn bad_counters(word: &Word<'_>) -> ParseError {
    ParseError::BadCounters {
        text: word.text.as_ref().into(),
        at: word.span(),
    }
}

fn count(text: &str, word: &Word<'_>) -> Result<u64, ParseError> {
    text.parse().map_err(|_| bad_counters(word))
}

/// `[PACKETS:BYTES]`; `None` if the word does not begin so.
fn bracketed(word: &Word<'_>) -> Result<Option<Counters>, ParseError> {
    let Some(inner) = word.text.strip_prefix('[') else {
        return Ok(None);
    };
    let (packets, bytes) = inner
        .strip_suffix(']')
        .and_then(|inner| inner.split_once(':'))
        .ok_or_else(|| bad_counters(word))?;
    Ok(Some(Counters {
        packets: count(packets, word)?,
        bytes: count(bytes, word)?,
    }))
}

/// The counters that `iptables-save -c` writes before a command.
fn leading_counters<'w, 't>(
    words: &'w [Word<'t>],
) -> Result<(Option<Counters>, &'w [Word<'t>]), ParseError> {
    match words.split_first() {
        Some((first, rest)) => match bracketed(first)? {
            Some(counters) => Ok((Some(counters), rest)),
            None => Ok((None, words)),
        },
        None => Ok((None, words)),
    }
}

/// Finds the jump that a fault of the call graph is about, by reading the text again.
fn link_error(text: &str, family: Family, table: TableName, error: LinkError) -> ParseError {
    let is_meant = |chain: &str, to: &ChainName| match &error {
        LinkError::MissingChain {
            chain: from,
            to: missing,
            ..
        }
        | LinkError::BuiltInTarget {
            chain: from,
            to: missing,
            ..
        } => from.as_str() == chain && missing == to,
        LinkError::Loop { chains, .. } => {
            chains.iter().any(|name| name.as_str() == chain) && chains.contains(to)
        }
    };
    let mut reader = RuleReader::default();
    let mut words = Vec::new();
    let mut start = 0;
    let mut open = None;
    let mut found = None;
    for line in text.split_inclusive('\n') {
        let read = split(line.trim_end_matches(['\n', '\r']), start, &mut words);
        start += line.len();
        let first_is = |prefix: &str| words.first().is_some_and(|w| w.text.starts_with(prefix));
        if read.is_err() || first_is("#") {
            continue;
        }
        if first_is("*") {
            open = words[0].text[1..].parse().ok();
        }
        if open.is_some_and(|open: TableName| open != table) {
            continue;
        }
        let Some(command) = words
            .iter()
            .position(|w| matches!(&*w.text, "-A" | "--append" | "-I" | "--insert"))
        else {
            continue;
        };
        let Some(chain) = words.get(command + 1) else {
            continue;
        };
        let mut rest = &words[command + 2..];
        if rest
            .first()
            .is_some_and(|w| w.text.starts_with(|c: char| c.is_ascii_digit()))
        {
            rest = &rest[1..];
        }
        if reader.read(rest, family, |name| name.into()).is_ok()
            && let Some(Target::Jump(to) | Target::Goto(to)) = &reader.target
            && is_meant(&chain.text, to)
        {
            found = reader.jump;
            break;
        }
    }
    ParseError::Link {
        cause: Box::new(error),
        at: found.unwrap_or_else(|| 0.into()),
    }
}
