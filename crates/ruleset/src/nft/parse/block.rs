//! Blocks of tables, chains and sets, and the properties in them.

use miette::SourceSpan;

use super::lex::{Cursor, Kind, Token, unexpected};
use super::{ParseError, expression, name_of, rule, value};
use crate::nft::words::{DATA_TYPES, HOOKS, POLICIES, PRIORITIES, value_of};
use crate::nft::{BaseChain, Chain, ChainKind, DataType, Expression, Set, SetFlags, Table};
use crate::{Hook, Policy};

/// Goes through the properties and objects of a block: calls `each` with the first token of each.
fn block<'t>(
    cursor: &mut Cursor<'t>,
    mut each: impl FnMut(&mut Cursor<'t>, &Token<'t>) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let open = cursor.expect(Kind::Open, "`{`")?;
    loop {
        cursor.skip_separators()?;
        let token = cursor.peek()?;
        match token.kind {
            Kind::Close => {
                cursor.next()?;
                return Ok(());
            }
            Kind::End => return Err(ParseError::UnclosedBlock { at: open.span() }),
            Kind::Word | Kind::Quoted | Kind::Open | Kind::Comma => {}
            Kind::Semicolon | Kind::Newline => continue,
        }
        each(cursor, &token)?;
        let end = cursor.peek()?;
        if !end.ends_statement() {
            return Err(unexpected(&end, "the end of the line"));
        }
    }
}

/// The block of a table.
pub(super) fn table<'t>(
    cursor: &mut Cursor<'t>,
    table: &mut Table,
    unknown: &mut Vec<SourceSpan>,
) -> Result<(), ParseError> {
    block(cursor, |cursor, token| {
        match token.text {
            "comment" => {
                cursor.next()?;
                table.comment = Some(comment(cursor)?);
            }
            "chain" => {
                cursor.next()?;
                chain(cursor, table, unknown)?;
            }
            "set" | "map" => {
                cursor.next()?;
                set(cursor, table, unknown)?;
            }
            _ => {
                let (text, at) = other(cursor, token)?;
                table.others.push(text.into());
                unknown.push(at);
            }
        }
        Ok(())
    })
}

/// A property or object that is kept as it is: up to the end of the line or of its block.
fn other<'t>(
    cursor: &mut Cursor<'t>,
    first: &Token<'t>,
) -> Result<(&'t str, SourceSpan), ParseError> {
    let mut end = first.end;
    while !cursor.peek()?.ends_statement() {
        end = if cursor.peek()?.kind == Kind::Open {
            cursor.skip_block()?
        } else {
            cursor.next()?.end
        };
    }
    let span = (first.start, end - first.start).into();
    Ok((cursor.slice(first.start, end), span))
}

/// A chain: its name, and its block if there is one.
pub(super) fn chain(
    cursor: &mut Cursor<'_>,
    table: &mut Table,
    unknown: &mut Vec<SourceSpan>,
) -> Result<(), ParseError> {
    let name = name_of(&cursor.word("the name of a chain")?)?;
    let chain = table.chain_mut(&name);
    if cursor.peek()?.kind != Kind::Open {
        return Ok(());
    }
    block(cursor, |cursor, token| {
        match token.text {
            "type" => base(cursor, chain),
            "policy" => {
                cursor.next()?;
                let token = cursor.word("accept or drop")?;
                let policy = policy(&token)?;
                if let Some(base) = &mut chain.base {
                    base.policy = policy;
                }
                Ok(())
            }
            // A rule may be a comment alone; a chain's stands before its rules.
            "comment" if chain.rules.is_empty() && chain.comment.is_none() => {
                cursor.next()?;
                chain.comment = Some(comment(cursor)?);
                Ok(())
            }
            _ => {
                chain.rules.push(rule::rule(cursor, unknown)?);
                Ok(())
            }
        }
    })
}

/// `type filter hook input priority filter + 5`.
fn base(cursor: &mut Cursor<'_>, chain: &mut Chain) -> Result<(), ParseError> {
    cursor.keyword("type")?;
    let token = cursor.word("filter, nat or route")?;
    let kind: ChainKind = token
        .text
        .parse()
        .map_err(|()| bad(&token, "filter, nat or route"))?;
    cursor.keyword("hook")?;
    let token = cursor.word("a hook")?;
    let hook = value_of(&HOOKS, token.text)
        .ok_or_else(|| bad(&token, "prerouting, input, forward, output or postrouting"))?;
    cursor.keyword("priority")?;
    let priority = priority(cursor, hook)?;
    let policy = chain.base.map_or(Policy::Accept, |base| base.policy);
    chain.base = Some(BaseChain {
        kind,
        hook,
        priority,
        policy,
    });
    Ok(())
}

/// A number, or a name and a number behind `+` or `-`.
fn priority(cursor: &mut Cursor<'_>, hook: Hook) -> Result<i32, ParseError> {
    const EXPECTED: &str = "a priority: a number, or a name of this hook such as `filter`";
    let token = cursor.word(EXPECTED)?;
    if let Ok(number) = token.text.parse() {
        return Ok(number);
    }
    let names = PRIORITIES.iter();
    // nft lists chains of OUTPUT at -100 as such, but also reads `dstnat` there.
    let found = names
        .filter(|(_, _, of)| of.is_none_or(|of| of == hook || hook == Hook::Output))
        .find(|(name, ..)| *name == token.text);
    let &(_, number, _) = found.ok_or_else(|| bad(&token, EXPECTED))?;
    let is_plus = cursor.peek_is("+")?;
    if !is_plus && !cursor.peek_is("-")? {
        return Ok(number);
    }
    cursor.next()?;
    let token = cursor.word("a number")?;
    let offset: i32 = token.text.parse().map_err(|_| bad(&token, "a number"))?;
    let sum = if is_plus {
        number.checked_add(offset)
    } else {
        number.checked_sub(offset)
    };
    sum.ok_or_else(|| bad(&token, "a number that small"))
}

fn policy(token: &Token<'_>) -> Result<Policy, ParseError> {
    value_of(&POLICIES, token.text).ok_or_else(|| bad(token, "accept or drop"))
}

/// A set or map: its name and its block.
pub(super) fn set(
    cursor: &mut Cursor<'_>,
    table: &mut Table,
    unknown: &mut Vec<SourceSpan>,
) -> Result<(), ParseError> {
    let name = name_of(&cursor.word("the name of a set")?)?;
    let set = table.sets.entry(name).or_default();
    block(cursor, |cursor, token| set_property(cursor, token, set))?;
    if !set.is_known() {
        // Elements of such types are kept as they are.
        unknown.push(SourceSpan::from((cursor.at(), 0)));
    }
    Ok(())
}

fn set_property<'t>(
    cursor: &mut Cursor<'t>,
    token: &Token<'t>,
    set: &mut Set,
) -> Result<(), ParseError> {
    match token.text {
        "type" => {
            cursor.next()?;
            set.key = types(cursor)?;
            if cursor.take(":")? {
                set.data = types(cursor)?;
            }
        }
        "typeof" => {
            let (text, _) = other(cursor, token)?;
            let text = text.trim_start_matches("typeof").trim();
            let (key, data) = text
                .split_once(" : ")
                .map_or((text, None), |(key, data)| (key, Some(data)));
            set.key = types_of(key);
            set.data = data.map_or_else(Vec::new, types_of);
            set.type_of = Some(text.into());
        }
        "flags" => {
            cursor.next()?;
            loop {
                let flag = cursor.word("a flag of a set")?;
                let flag = value_of(&SetFlags::NAMES, flag.text)
                    .ok_or_else(|| bad(&flag, "constant, interval, dynamic or timeout"))?;
                set.flags = set.flags.union(flag);
                if !cursor.take_kind(Kind::Comma)? {
                    break;
                }
            }
        }
        "timeout" => {
            cursor.next()?;
            set.timeout = Some(value::time(cursor)?);
        }
        "gc-interval" => {
            cursor.next()?;
            set.gc_interval = Some(value::time(cursor)?);
        }
        "size" => {
            cursor.next()?;
            let size = cursor.word("a number")?;
            set.size = Some(size.text.parse().map_err(|_| bad(&size, "a number"))?);
        }
        "auto-merge" => {
            cursor.next()?;
            set.auto_merge = true;
        }
        "comment" => {
            cursor.next()?;
            set.comment = Some(comment(cursor)?);
        }
        "elements" => {
            cursor.next()?;
            cursor.keyword("=")?;
            value::elements(cursor, set)?;
        }
        _ => {
            let (text, _) = other(cursor, token)?;
            set.properties.push(text.into());
        }
    }
    Ok(())
}

/// Types with ` . ` between them.
fn types(cursor: &mut Cursor<'_>) -> Result<Vec<DataType>, ParseError> {
    let mut types = Vec::new();
    loop {
        let token = cursor.word("a type")?;
        let found = DATA_TYPES.iter().find(|(name, _)| *name == token.text);
        types.push(match found {
            Some((_, own)) => own.clone(),
            None => DataType::Other(token.text.into()),
        });
        if !cursor.take(".")? {
            return Ok(types);
        }
    }
}

/// Types of the expressions behind `typeof`.
fn types_of(text: &str) -> Vec<DataType> {
    let mut cursor = Cursor::new(text);
    let whole = expression::expression(&mut cursor).ok().flatten();
    let is_whole = cursor.peek().is_ok_and(|token| token.kind == Kind::End);
    match whole.filter(|_| is_whole) {
        Some(expression) => expression
            .parts()
            .iter()
            .map(Expression::data_type)
            .collect(),
        None => text
            .split(" . ")
            .map(|part| match part.trim() {
                "verdict" => DataType::Verdict,
                other => DataType::Other(other.into()),
            })
            .collect(),
    }
}

/// The text of a comment, in quotes or one word.
pub(super) fn comment(cursor: &mut Cursor<'_>) -> Result<Box<str>, ParseError> {
    let token = cursor.next()?;
    match token.kind {
        Kind::Quoted | Kind::Word => Ok(token.text.into()),
        Kind::Open | Kind::Close | Kind::Comma | Kind::Semicolon | Kind::Newline | Kind::End => {
            Err(unexpected(&token, "a comment in double quotes"))
        }
    }
}

pub(super) fn bad(token: &Token<'_>, expected: &'static str) -> ParseError {
    ParseError::BadValue {
        text: token.text.into(),
        expected,
        at: token.span(),
    }
}
