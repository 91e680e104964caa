//! Lines of the text: tables, chains and commands.

use podwire_packet::Family;

use super::ParseError;
use super::address::number;
use super::command::{
    argument, check_chain_name, leading_counters, no_more, policy_command, unexpected,
};
use super::lex::{Word, split};
use super::link::link_error;
use super::open::{Open, declare, put_in_front, set_policy};
use super::rule::RuleReader;
use crate::{CallGraph, Counters, Rule, RuleSet, TableName};

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
            line_words(line, self.line_start, &mut words)?;
            self.one_line(&words)?;
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
        open.close(table);
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
                check_chain_name(&name.text, name.span())?;
                let table = self.rules.table_mut(open.name);
                if open.has(table, &name.text) {
                    return Err(ParseError::ChainExists {
                        table: open.name,
                        chain: name.text.as_ref().into(),
                        at: name.span(),
                    });
                }
                open.renew(table, &name.text.as_ref().into());
                Ok(())
            }
            "-X" | "--delete-chain" | "--delete" => {
                open.delete(self.rules.table_mut(open.name), rest)
            }
            "-F" | "--flush" => open.flush(self.rules.table_mut(open.name), rest),
            "-P" | "--policy" => {
                let (name, policy, counters) = policy_command(first, rest)?;
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
        let count = self.reader.count(chain.span())?;
        let inserted = open.inserted.get(&*chain.text).map_or(0, Vec::len);
        let existing = inserted + table.chains[place].rules.len();
        let first = match insert {
            None => existing,
            Some(None) => 0,
            Some(Some(word)) => rule_place(word, existing)?,
        };
        if !self.reader.unknown.is_empty() {
            let line = &self.text[self.line_start..];
            let rule = format!("{}/{}/{}", open.name, chain.text, first + 1);
            self.reader
                .report((self.line, line, self.line_start), &rule, &mut self.unknown);
        }
        let chain = self.rules.table_mut(open.name).chain_at_mut(place);
        if existing == 0 {
            open.filled.push(chain.name.clone());
        }
        let reader = &mut self.reader;
        reader.rule.counters = reader.rule.counters.or(counters);
        if insert.is_none() && count == 1 {
            // The reader keeps its long list of matches; the chain gets one as long as it must be.
            chain.rules.push(Rule {
                matches: reader.rule.matches.drain(..).collect(),
                target: reader.rule.target.take(),
                ..reader.rule
            });
        } else if insert.is_none() {
            chain.rules.extend(reader.each());
        } else if first == 0 {
            let front = open.inserted.entry(chain.name.clone()).or_default();
            let from = front.len();
            front.extend(reader.each());
            front[from..].reverse();
        } else {
            if let Some(inserted) = open.inserted.remove(&chain.name) {
                put_in_front(chain, inserted);
            }
            chain.rules.splice(first..first, reader.each());
        }
        Ok(())
    }
}

/// The words of a line that stands at byte `offset` of the text; none if it is blank or a comment.
pub(super) fn line_words<'t>(
    line: &'t str,
    offset: usize,
    words: &mut Vec<Word<'t>>,
) -> Result<(), ParseError> {
    words.clear();
    let ends = line
        .bytes()
        .rev()
        .take_while(|byte| matches!(byte, b'\n' | b'\r'));
    let line = &line[..line.len() - ends.count()];
    let blanks = line.bytes().take_while(|byte| matches!(byte, b' ' | b'\t'));
    let (indent, body) = line.split_at(blanks.count());
    if body.starts_with('#') {
        return Ok(());
    }
    split(body, offset + indent.len(), words).map_err(|at| ParseError::UnclosedQuote { at })
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
