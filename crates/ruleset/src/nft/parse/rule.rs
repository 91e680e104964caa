//! Rules and their statements.

use miette::SourceSpan;
use podwire_packet::Family;

use super::ParseError;
use super::block::{bad, comment};
use super::expression::expression;
use super::lex::{Cursor, Kind, unexpected};
use super::mark::set_mark;
use super::nat::nat;
use super::operand::{compare, lookup, operand};
use super::value::{time, verdict};
use crate::nft::words::{REJECT_ICMP, REJECT_ICMPV6, REJECT_ICMPX, value_of};
use crate::nft::{DataType, Expression, Limit, Match, Rule, SetOperation, SetStatement, Statement};
use crate::{Counters, LimitMatch, NatKind, RejectWith};

/// Words that begin a statement and never stand inside another: an unknown one ends before them.
const BEGINNINGS: [&str; 17] = [
    "accept",
    "drop",
    "continue",
    "return",
    "jump",
    "goto",
    "queue",
    "reject",
    "counter",
    "log",
    "limit",
    "notrack",
    "dnat",
    "snat",
    "masquerade",
    "redirect",
    "comment",
];

/// A rule, up to the end of its line.
pub(super) fn rule(
    cursor: &mut Cursor<'_>,
    unknown: &mut Vec<SourceSpan>,
) -> Result<Rule, ParseError> {
    let mut rule = Rule::default();
    cursor.handle = None;
    while !cursor.peek()?.ends_statement() {
        if cursor.take("comment")? {
            rule.comment = Some(comment(cursor)?);
            let end = cursor.peek()?;
            if !end.ends_statement() {
                return Err(unexpected(
                    &end,
                    "the end of the rule, as behind every comment,",
                ));
            }
            continue;
        }
        let first = cursor.peek()?;
        let before = *cursor;
        let statement = match statement(cursor)? {
            Some(statement) => statement,
            None => {
                *cursor = before;
                let end = skip_unknown(cursor)?;
                unknown.push((first.start, end - first.start).into());
                Statement::Unknown(cursor.slice(first.start, end).into())
            }
        };
        rule.statements.push(statement);
    }
    // The number stands behind the rule, where the end of the line was looked for.
    let mut ahead = *cursor;
    ahead.next()?;
    rule.handle = ahead.handle;
    Ok(rule)
}

/// Takes an unknown statement, and gives the place of its end.
fn skip_unknown(cursor: &mut Cursor<'_>) -> Result<usize, ParseError> {
    let mut end = cursor.peek()?.start;
    let mut is_first = true;
    loop {
        let token = cursor.peek()?;
        let is_beginning =
            !is_first && token.kind == Kind::Word && BEGINNINGS.contains(&token.text);
        if token.ends_statement() || is_beginning {
            return Ok(end);
        }
        end = if token.kind == Kind::Open {
            cursor.skip_block()?
        } else {
            cursor.next()?.end
        };
        is_first = false;
    }
}

/// A statement; `None`, and the cursor somewhere behind, if it is none that podwire knows.
fn statement(cursor: &mut Cursor<'_>) -> Result<Option<Statement>, ParseError> {
    if let Some(verdict) = verdict(cursor)? {
        return Ok(Some(Statement::Verdict(verdict)));
    }
    let before = *cursor;
    let token = cursor.next()?;
    match token.kind {
        Kind::Word => {}
        // A statement of the JSON form that has no words here.
        Kind::Open => return Ok(None),
        Kind::Quoted | Kind::Close | Kind::Comma | Kind::Semicolon | Kind::Newline | Kind::End => {
            return Err(unexpected(&token, "a statement"));
        }
    }
    match token.text {
        "reject" => reject(cursor),
        "counter" => counter(cursor),
        "log" => log(cursor).map(Some),
        "limit" => limit(cursor),
        "notrack" => Ok(Some(Statement::Notrack)),
        "dnat" => nat(cursor, NatKind::Dnat),
        "snat" => nat(cursor, NatKind::Snat),
        "masquerade" => nat(cursor, NatKind::Masquerade),
        "redirect" => nat(cursor, NatKind::Redirect),
        "add" => set_statement(cursor, SetOperation::Add),
        "update" => set_statement(cursor, SetOperation::Update),
        "delete" => set_statement(cursor, SetOperation::Delete),
        "meta" if cursor.peek_is("nftrace")? => nftrace(cursor),
        _ => {
            *cursor = before;
            let Some(left) = expression(cursor)? else {
                return Ok(None);
            };
            of_expression(cursor, left)
        }
    }
}

/// What begins with an expression.
fn of_expression(
    cursor: &mut Cursor<'_>,
    left: Expression,
) -> Result<Option<Statement>, ParseError> {
    if cursor.take("vmap")? {
        let map = lookup(cursor, &left, &[DataType::Verdict])?;
        return Ok(Some(Statement::VerdictMap { key: left, map }));
    }
    if cursor.take("set")? {
        return set_mark(cursor, &left);
    }
    let token = cursor.peek()?;
    let is_operator =
        matches!(token.text, "==" | "!=" | "<" | "<=" | ">" | ">=") && token.kind == Kind::Word;
    if is_operator {
        cursor.next()?;
    }
    let operator = if is_operator { token.text } else { "==" };
    if !matches!(operator, "==" | "!=") {
        return compare(cursor, left, operator);
    }
    let Some((left, right)) = operand(cursor, left)? else {
        return Ok(None);
    };
    Ok(Some(Statement::Match(Match {
        left,
        inverted: operator == "!=",
        right,
    })))
}

/// Behind `meta`.
fn nftrace(cursor: &mut Cursor<'_>) -> Result<Option<Statement>, ParseError> {
    cursor.next()?;
    if !cursor.take("set")? {
        return Ok(None);
    }
    Ok(match cursor.next()?.text {
        "1" => Some(Statement::Nftrace(true)),
        "0" => Some(Statement::Nftrace(false)),
        _ => None,
    })
}

fn reject(cursor: &mut Cursor<'_>) -> Result<Option<Statement>, ParseError> {
    let (with, family) = if cursor.take("with")? {
        let protocol = cursor.word("tcp, icmp, icmpv6 or icmpx")?;
        cursor.take("type")?;
        let token = cursor.word("what to reject with")?;
        let (with, family) = match protocol.text {
            "tcp" => {
                let reset = (token.text == "reset").then_some(RejectWith::TcpReset);
                (reset, None)
            }
            "icmp" => (value_of(&REJECT_ICMP, token.text), Some(Family::Ipv4)),
            "icmpv6" => (value_of(&REJECT_ICMPV6, token.text), Some(Family::Ipv6)),
            "icmpx" => (value_of(&REJECT_ICMPX, token.text), None),
            _ => return Err(bad(&protocol, "tcp, icmp, icmpv6 or icmpx")),
        };
        let with = with.ok_or_else(|| bad(&token, "what that protocol can be rejected with"))?;
        (with, family)
    } else {
        (RejectWith::PortUnreachable, None)
    };
    Ok(Some(Statement::Reject { with, family }))
}

fn counter(cursor: &mut Cursor<'_>) -> Result<Option<Statement>, ParseError> {
    if cursor.peek_is("name")? {
        return Ok(None);
    }
    if !cursor.take("packets")? {
        return Ok(Some(Statement::Counter(None)));
    }
    let number = |cursor: &mut Cursor<'_>| {
        let token = cursor.word("a number")?;
        token.text.parse().map_err(|_| bad(&token, "a number"))
    };
    let packets = number(cursor)?;
    cursor.keyword("bytes")?;
    let bytes = number(cursor)?;
    Ok(Some(Statement::Counter(Some(Counters { packets, bytes }))))
}

fn log(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let start = cursor.peek()?.start;
    let mut end = start;
    while matches!(
        cursor.peek()?.text,
        "prefix" | "level" | "flags" | "group" | "snaplen" | "queue-threshold"
    ) {
        cursor.next()?;
        let token = cursor.next()?;
        if token.ends_statement() {
            return Err(unexpected(&token, "the value of a log option"));
        }
        end = token.end;
        while cursor.take_kind(Kind::Comma)? {
            end = cursor.word("a flag")?.end;
        }
    }
    Ok(Statement::Log(cursor.slice(start, end).into()))
}

/// `limit rate over 10/second burst 5 packets`; rates of bytes are not known.
fn limit(cursor: &mut Cursor<'_>) -> Result<Option<Statement>, ParseError> {
    if !cursor.take("rate")? {
        return Ok(None);
    }
    let over = cursor.take("over")?;
    let token = cursor.next()?;
    let Some((amount, unit)) = token.text.split_once('/') else {
        return Ok(None);
    };
    let period_seconds = match unit {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "week" => 604_800,
        _ => return Err(bad(&token, "a rate such as 10/second")),
    };
    let amount = amount.parse().ok().filter(|&amount| amount > 0);
    let amount = amount.ok_or_else(|| bad(&token, "a rate such as 10/second"))?;
    let mut burst = Limit::BURST;
    if cursor.take("burst")? {
        let token = cursor.word("a number")?;
        burst = token.text.parse().map_err(|_| bad(&token, "a number"))?;
        cursor.keyword("packets")?;
    }
    let bucket = LimitMatch {
        amount,
        period_seconds,
        burst,
    };
    Ok(Some(Statement::Limit(Limit { bucket, over })))
}

fn set_statement(
    cursor: &mut Cursor<'_>,
    operation: SetOperation,
) -> Result<Option<Statement>, ParseError> {
    let token = cursor.word("a set")?;
    let Some(set) = token.text.strip_prefix('@') else {
        return Ok(None);
    };
    let set = set.parse().map_err(|source| ParseError::BadName {
        source,
        at: token.span(),
    })?;
    cursor.expect(Kind::Open, "`{`")?;
    let Some(key) = expression(cursor)? else {
        return Ok(None);
    };
    let timeout = if cursor.take("timeout")? {
        Some(time(cursor)?)
    } else {
        None
    };
    // Counters, limits and the data of maps are not known.
    if !cursor.take_kind(Kind::Close)? {
        return Ok(None);
    }
    Ok(Some(Statement::Set(SetStatement {
        operation,
        set,
        key,
        timeout,
    })))
}
