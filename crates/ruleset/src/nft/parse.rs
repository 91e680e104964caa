//! Reads the text of `nft list ruleset` and of `nft -f`.

mod block;
mod error;
mod expression;
mod lex;
mod mark;
mod nat;
mod operand;
mod rule;
mod value;

use std::collections::BTreeMap;

use miette::SourceSpan;

use super::{Name, RuleSet, Table, TableFamily};
use lex::{Cursor, Kind, Token, unexpected};

pub use error::ParseError;

/// Chains, sets and tables that one text may delete: taking one out of the middle moves those behind it.
const MAX_DELETIONS: usize = 4096;

/// A rule set that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The rules.
    pub rules: RuleSet,
    /// Where statements, tables and objects stand that podwire does not evaluate.
    pub unknown: Vec<SourceSpan>,
}

/// Reads a text: blocks as `nft list ruleset` prints them, commands as `nft -f` runs them, or both.
///
/// Commands are run in order, on a namespace without tables.
///
/// # Errors
/// [`ParseError`], with the place of what is wrong. Statements that podwire does not know are kept
/// instead ([`Parsed::unknown`]).
pub fn parse(text: &str) -> Result<Parsed, ParseError> {
    let mut reader = Reader::new();
    reader.cursor = Cursor::new(text);
    reader.read()?;
    reader.finish()
}

/// Whether podwire knows an expression of these words.
pub(super) fn reads_as_expression(words: &str) -> bool {
    let mut cursor = Cursor::new(words);
    let read = expression::expression(&mut cursor);
    read.is_ok_and(|found| found.is_some())
        && cursor.peek().is_ok_and(|token| token.kind == Kind::End)
}

/// Reads commands.
pub(super) struct Reader<'t> {
    cursor: Cursor<'t>,
    parsed: Parsed,
    /// Where each table was first named.
    places: BTreeMap<(TableFamily, Name), SourceSpan>,
    deletions: usize,
}

/// The family of a table: one that podwire knows, or the word.
enum FamilyWord {
    Known(TableFamily),
    Other,
}

impl Reader<'_> {
    /// Reads commands that another text's object at that place was put into.
    pub(super) fn read_part(&mut self, commands: &str, at: SourceSpan) -> Result<(), ParseError> {
        let mut part = Reader {
            cursor: Cursor::new(commands),
            parsed: std::mem::take(&mut self.parsed),
            places: std::mem::take(&mut self.places),
            deletions: self.deletions,
        };
        let (unknown, places) = (part.parsed.unknown.len(), part.places.len());
        let read = part.read();
        for own in &mut part.parsed.unknown[unknown..] {
            *own = at;
        }
        if part.places.len() > places {
            let table = part.parsed.rules.tables.keys().next_back().cloned();
            part.places.extend(table.map(|table| (table, at)));
        }
        self.parsed = part.parsed;
        self.places = part.places;
        self.deletions = part.deletions;
        read
    }

    /// What was read, if the kernel would take it.
    pub(super) fn finish(self) -> Result<Parsed, ParseError> {
        super::check(&self.parsed.rules).map_err(|source| {
            let (family, name) = source.table();
            let place = self.places.get(&(family, name.clone()));
            ParseError::Link {
                at: place.copied().unwrap_or_else(|| (0, 0).into()),
                source: source.into(),
            }
        })?;
        Ok(self.parsed)
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new() -> Self {
        Self {
            cursor: Cursor::new(""),
            parsed: Parsed::default(),
            places: BTreeMap::new(),
            deletions: 0,
        }
    }

    fn read(&mut self) -> Result<(), ParseError> {
        loop {
            self.cursor.skip_separators()?;
            let token = self.cursor.next()?;
            match (token.kind, token.text) {
                (Kind::End, _) => return Ok(()),
                (Kind::Word, "table") => self.table(&token)?,
                (Kind::Word, "add" | "create") => self.add()?,
                (Kind::Word, "flush") => self.flush()?,
                (Kind::Word, "delete" | "destroy") => self.delete(&token)?,
                _ => return Err(unknown_command(&token)),
            }
            let end = self.cursor.peek()?;
            if !end.ends_statement() || end.kind == Kind::Close {
                return Err(unexpected(&end, "the end of the command"));
            }
        }
    }

    /// `table FAMILY NAME { … }`, behind the first word.
    fn table(&mut self, first: &Token<'t>) -> Result<(), ParseError> {
        let FamilyWord::Known(family) = self.family()? else {
            return self.other_table(first);
        };
        let token = self.cursor.word("the name of a table")?;
        let name = name_of(&token)?;
        let table = self.parsed.rules.table_mut(family, &name);
        self.places.entry((family, name)).or_insert(token.span());
        if self.cursor.peek()?.kind == Kind::Open {
            block::table(&mut self.cursor, table, &mut self.parsed.unknown)?;
        }
        Ok(())
    }

    /// A table of a family that is kept as text.
    fn other_table(&mut self, first: &Token<'t>) -> Result<(), ParseError> {
        name_of(&self.cursor.word("the name of a table")?)?;
        let end = self.cursor.skip_block()?;
        let text = self.cursor.slice(first.start, end);
        self.parsed.rules.others.push(text.into());
        self.parsed
            .unknown
            .push((first.start, end - first.start).into());
        Ok(())
    }

    fn add(&mut self) -> Result<(), ParseError> {
        let object = self.cursor.word("what to add")?;
        if object.text == "table" {
            return self.table(&object);
        }
        let Self { cursor, parsed, .. } = self;
        match object.text {
            "chain" => {
                let table = existing_table(cursor, &mut parsed.rules)?;
                block::chain(cursor, table, &mut parsed.unknown)
            }
            "set" | "map" => {
                let table = existing_table(cursor, &mut parsed.rules)?;
                block::set(cursor, table, &mut parsed.unknown)
            }
            "rule" => {
                let table = existing_table(cursor, &mut parsed.rules)?;
                let token = cursor.word("the name of a chain")?;
                let chain = table.chains.get_mut(token.text);
                let chain = chain.ok_or_else(|| missing("chain", &token))?;
                let rule = rule::rule(cursor, &mut parsed.unknown)?;
                chain.rules.push(rule);
                Ok(())
            }
            "element" => {
                let table = existing_table(cursor, &mut parsed.rules)?;
                let token = cursor.word("the name of a set")?;
                let set = table.sets.get_mut(token.text);
                let set = set.ok_or_else(|| missing("set", &token))?;
                value::elements(cursor, set)
            }
            _ => Err(unknown_command(&object)),
        }
    }

    fn flush(&mut self) -> Result<(), ParseError> {
        let object = self.cursor.word("what to flush")?;
        let Self { cursor, parsed, .. } = self;
        match object.text {
            "ruleset" => {
                parsed.rules = RuleSet::default();
                parsed.unknown.clear();
            }
            "table" => {
                let table = existing_table(cursor, &mut parsed.rules)?;
                for chain in table.chains.values_mut() {
                    chain.rules.clear();
                }
            }
            "chain" => {
                let table = existing_table(cursor, &mut parsed.rules)?;
                let token = cursor.word("the name of a chain")?;
                let chain = table.chains.get_mut(token.text);
                let chain = chain.ok_or_else(|| missing("chain", &token))?;
                chain.rules.clear();
            }
            "set" | "map" => {
                let table = existing_table(cursor, &mut parsed.rules)?;
                let token = cursor.word("the name of a set")?;
                let set = table.sets.get_mut(token.text);
                let set = set.ok_or_else(|| missing("set", &token))?;
                set.elements.clear();
            }
            _ => return Err(unknown_command(&object)),
        }
        Ok(())
    }

    /// `destroy` does not mind if it is not there.
    fn delete(&mut self, verb: &Token<'t>) -> Result<(), ParseError> {
        self.deletions += 1;
        if self.deletions > MAX_DELETIONS {
            return Err(ParseError::TooManyDeletions { at: verb.span() });
        }
        let object = self.cursor.word("what to delete")?;
        let must_be_there = verb.text == "delete";
        if object.text == "table" {
            let FamilyWord::Known(family) = self.family()? else {
                return Err(unknown_command(verb));
            };
            let token = self.cursor.word("the name of a table")?;
            let key = (family, name_of(&token)?);
            let found = self.parsed.rules.tables.shift_remove(&key).is_some();
            return if found || !must_be_there {
                Ok(())
            } else {
                Err(missing("table", &token))
            };
        }
        let Self { cursor, parsed, .. } = self;
        let what = match object.text {
            "chain" => "chain",
            "set" | "map" => "set",
            _ => return Err(unknown_command(&object)),
        };
        let table = existing_table(cursor, &mut parsed.rules)?;
        let token = cursor.word("a name")?;
        let found = if what == "chain" {
            table.chains.shift_remove(token.text).is_some()
        } else {
            table.sets.shift_remove(token.text).is_some()
        };
        if found || !must_be_there {
            Ok(())
        } else {
            Err(missing(what, &token))
        }
    }

    /// The family of a table; `ip` if none is named.
    fn family(&mut self) -> Result<FamilyWord, ParseError> {
        family(&mut self.cursor)
    }
}

fn family(cursor: &mut Cursor<'_>) -> Result<FamilyWord, ParseError> {
    let token = cursor.peek()?;
    if let Ok(family) = token.text.parse() {
        cursor.next()?;
        return Ok(FamilyWord::Known(family));
    }
    if matches!(token.text, "arp" | "bridge" | "netdev") {
        cursor.next()?;
        return Ok(FamilyWord::Other);
    }
    Ok(FamilyWord::Known(TableFamily::Ip))
}

/// The table that a command names, which must be there.
fn existing_table<'r>(
    cursor: &mut Cursor<'_>,
    rules: &'r mut RuleSet,
) -> Result<&'r mut Table, ParseError> {
    let first = cursor.peek()?;
    let FamilyWord::Known(family) = family(cursor)? else {
        return Err(unknown_command(&first));
    };
    let token = cursor.word("the name of a table")?;
    let table = rules.tables.get_mut(&(family, name_of(&token)?));
    table.ok_or_else(|| missing("table", &token))
}

fn name_of(token: &Token<'_>) -> Result<Name, ParseError> {
    token.text.parse().map_err(|source| ParseError::BadName {
        source,
        at: token.span(),
    })
}

fn missing(what: &'static str, token: &Token<'_>) -> ParseError {
    ParseError::Missing {
        what,
        name: token.text.into(),
        at: token.span(),
    }
}

fn unknown_command(token: &Token<'_>) -> ParseError {
    ParseError::UnknownCommand {
        text: token.text.into(),
        at: token.span(),
    }
}
