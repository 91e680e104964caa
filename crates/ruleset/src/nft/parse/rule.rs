//! Rules and their statements.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use miette::SourceSpan;
use podwire_packet::{Family, Mark};

use super::block::{bad, comment};
use super::expression::expression;
use super::lex::{Cursor, Kind, Token, unexpected};
use super::value::{braced, key, map_value, parse_span, time, value, verdict};
use super::{ParseError, name_of};
use crate::nft::words::{IP_HEADERS, REJECT_ICMP, REJECT_ICMPV6, REJECT_ICMPX, value_of};
use crate::nft::{
    CtKey, DataType, Expression, Key, Limit, Lookup, MarkField, Match, MetaKey, Nat, NatMap,
    Operand, Rule, SetMark, SetOperation, SetStatement, Span, Statement, Value,
};
use crate::{Counters, CtStates, CtStatuses, LimitMatch, NatKind, NatRange, RejectWith};

/// Words that begin a statement: an unknown one ends before them.
const BEGINNINGS: [&str; 36] = [
    "accept",
    "drop",
    "continue",
    "return",
    "jump",
    "goto",
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
    "ip",
    "ip6",
    "tcp",
    "udp",
    "sctp",
    "th",
    "icmp",
    "icmpv6",
    "meta",
    "ct",
    "fib",
    "numgen",
    "mark",
    "iif",
    "oif",
    "iifname",
    "oifname",
    "queue",
    "quota",
    "ether",
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
    if token.kind != Kind::Word {
        return Err(unexpected(&token, "a statement"));
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

/// A comparison that a range stands for.
fn compare(
    cursor: &mut Cursor<'_>,
    left: Expression,
    operator: &str,
) -> Result<Option<Statement>, ParseError> {
    let of = left.data_type();
    let token = cursor.word("a value")?;
    let own = value(token.text, &of).ok_or_else(|| bad(&token, "a value of that type"))?;
    let (number, max): (u32, u32) = if let Value::Port(port) = own {
        (port.into(), u16::MAX.into())
    } else if let Value::Mark(Mark(number)) | Value::Number(number) = own {
        (number, u32::MAX)
    } else {
        return Ok(None);
    };
    let range = match operator {
        "<" => number.checked_sub(1).map(|last| 0..=last),
        "<=" => Some(0..=number),
        ">" if number < max => Some(number + 1..=max),
        ">" => None,
        _ => Some(number..=max),
    };
    let range = range.ok_or_else(|| bad(&token, "a value that leaves others"))?;
    let make = |number: u32| {
        if of == DataType::Port {
            u16::try_from(number).ok().map(Value::Port)
        } else if of == DataType::Mark {
            Some(Value::Mark(Mark(number)))
        } else {
            Some(Value::Number(number))
        }
    };
    let ends = make(*range.start()).zip(make(*range.end()));
    Ok(ends.map(|(first, last)| Statement::is(left, Span::Range(first, last))))
}

/// What an expression is compared with, and the expression, masked if that says so.
fn operand(
    cursor: &mut Cursor<'_>,
    left: Expression,
) -> Result<Option<(Expression, Operand)>, ParseError> {
    let token = cursor.peek()?;
    if token.kind == Kind::Open {
        let keys = anonymous_set(cursor, &left)?;
        return Ok(Some((left, Operand::Anonymous(keys))));
    }
    if let Some(name) = token.text.strip_prefix('@')
        && token.kind == Kind::Word
    {
        cursor.next()?;
        let set = if name.is_empty() {
            name_of(&cursor.word("the name of a set")?)?
        } else {
            name.parse().map_err(|source| ParseError::BadName {
                source,
                at: token.span(),
            })?
        };
        return Ok(Some((left, Operand::Named(set))));
    }
    let types = left.data_types();
    match types.as_slice() {
        [DataType::CtState] => {
            let states = flags(cursor, &types[0])?;
            let all = states.iter().filter_map(|value| {
                if let Value::CtStates(state) = value {
                    Some(*state)
                } else {
                    None
                }
            });
            let all = all.fold(CtStates::default(), CtStates::union);
            let key = Key::one(Value::CtStates(all));
            Ok(Some((left, Operand::One(key))))
        }
        [DataType::CtStatus] => {
            let statuses = flags(cursor, &types[0])?;
            let all = statuses.iter().filter_map(|value| {
                if let Value::CtStatuses(status) = value {
                    Some(status.0)
                } else {
                    None
                }
            });
            let all = CtStatuses(all.fold(0, |all, bit| all | bit));
            let key = Key::one(Value::CtStatuses(all));
            Ok(Some((left, Operand::One(key))))
        }
        [DataType::Mark] if token.text.contains('/') => Ok(mark_prefix(cursor, left)?),
        types => {
            if token.kind == Kind::Word && token.text.starts_with('$') {
                return Err(bad(&token, "a value: variables are not read"));
            }
            let key = key(cursor, types)?;
            Ok(Some((left, Operand::One(key))))
        }
    }
}

/// `0x10000/16`: the first bits of a mark.
fn mark_prefix(
    cursor: &mut Cursor<'_>,
    left: Expression,
) -> Result<Option<(Expression, Operand)>, ParseError> {
    const EXPECTED: &str = "a mark and how many of its first bits count";
    let token = cursor.word(EXPECTED)?;
    let parts = token.text.split_once('/');
    let parsed = parts.and_then(|(mark, length)| {
        let first = value(mark, &DataType::Mark)?;
        let length: u32 = length
            .parse()
            .ok()
            .filter(|length| (1..=32).contains(length))?;
        Some((first, Mark(!0 << (32 - length))))
    });
    let (first, mask) = parsed.ok_or_else(|| bad(&token, EXPECTED))?;
    let masked = Expression::Masked(Box::new(left), Value::Mark(mask));
    Ok(Some((masked, Operand::One(Key::one(first)))))
}

/// Values with commas between them.
fn flags(cursor: &mut Cursor<'_>, of: &DataType) -> Result<Vec<Value>, ParseError> {
    const EXPECTED: &str = "a connection's state or status";
    let mut values = Vec::new();
    loop {
        let token = cursor.word(EXPECTED)?;
        values.push(value(token.text, of).ok_or_else(|| bad(&token, EXPECTED))?);
        if !cursor.take_kind(Kind::Comma)? {
            return Ok(values);
        }
    }
}

fn anonymous_set(cursor: &mut Cursor<'_>, left: &Expression) -> Result<Vec<Key>, ParseError> {
    let types = left.data_types();
    let mut keys = Vec::new();
    braced(cursor, |cursor| {
        keys.push(key(cursor, &types)?);
        Ok(())
    })?;
    Ok(keys)
}

/// `@map`, or elements in braces.
fn lookup(
    cursor: &mut Cursor<'_>,
    left: &Expression,
    data: &[DataType],
) -> Result<Lookup, ParseError> {
    let token = cursor.peek()?;
    if let Some(name) = token.text.strip_prefix('@')
        && token.kind == Kind::Word
    {
        cursor.next()?;
        let name = name.parse().map_err(|source| ParseError::BadName {
            source,
            at: token.span(),
        })?;
        return Ok(Lookup::Named(name));
    }
    let types = left.data_types();
    let mut elements = Vec::new();
    braced(cursor, |cursor| {
        let key = key(cursor, &types)?;
        cursor.keyword(":")?;
        elements.push((key, map_value(cursor, data)?));
        Ok(())
    })?;
    Ok(Lookup::Anonymous(elements))
}

/// What stands behind `meta mark set`.
fn set_mark(cursor: &mut Cursor<'_>, left: &Expression) -> Result<Option<Statement>, ParseError> {
    let Some(field) = mark_field(left) else {
        return Ok(None);
    };
    let token = cursor.peek()?;
    if let Some(Value::Mark(mark)) = value(token.text, &DataType::Mark) {
        cursor.next()?;
        let constant = SetMark {
            field,
            ..SetMark::constant(mark)
        };
        return Ok(Some(Statement::SetMark(constant)));
    }
    // The mask is read here, with the words behind it.
    let from = match token.text {
        "mark" => {
            cursor.next()?;
            MarkField::Meta
        }
        "meta" | "ct" => {
            cursor.next()?;
            if !cursor.take("mark")? {
                return Ok(None);
            }
            if token.text == "meta" {
                MarkField::Meta
            } else {
                MarkField::Ct
            }
        }
        _ => return Ok(None),
    };
    let (mut mask, mut value) = (!0, 0);
    loop {
        let operator = cursor.peek()?;
        if operator.kind != Kind::Word
            || !matches!(operator.text, "&" | "and" | "|" | "or" | "^" | "xor")
        {
            break;
        }
        cursor.next()?;
        let number = mark(cursor)?;
        // Each is applied to what came before: `(mark & mask) ^ value`.
        match operator.text {
            "&" | "and" => (mask, value) = (mask & number, value & number),
            "|" | "or" => (mask, value) = (mask & !number, value | number),
            _ => value ^= number,
        }
    }
    // Nothing is left of a mark of which no bit is kept.
    let from = if mask == 0 { MarkField::Meta } else { from };
    Ok(Some(Statement::SetMark(SetMark {
        field,
        from,
        mask: Mark(mask),
        value: Mark(value),
    })))
}

fn mark(cursor: &mut Cursor<'_>) -> Result<u32, ParseError> {
    let token = cursor.word("a mark")?;
    match value(token.text, &DataType::Mark) {
        Some(Value::Mark(mark)) => Ok(mark.0),
        _ => Err(bad(&token, "a mark of 32 bits")),
    }
}

fn mark_field(expression: &Expression) -> Option<MarkField> {
    if let Expression::Meta(MetaKey::Mark) = expression {
        Some(MarkField::Meta)
    } else if let Expression::Ct(CtKey::Mark) = expression {
        Some(MarkField::Ct)
    } else {
        None
    }
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

fn nat(cursor: &mut Cursor<'_>, kind: NatKind) -> Result<Option<Statement>, ParseError> {
    let family = value_of(&IP_HEADERS, cursor.peek()?.text);
    if family.is_some() {
        cursor.next()?;
    }
    let mut nat = Nat {
        family,
        ..Nat::to(kind, NatRange::default())
    };
    if cursor.take("to")? {
        let before = *cursor;
        match expression(cursor)? {
            Some(key) if cursor.peek_is("map")? => {
                cursor.next()?;
                let data = map_data(cursor)?;
                let map = lookup(cursor, &key, &data)?;
                nat.map = Some(Box::new(NatMap { key, map }));
                let token = cursor.peek()?;
                if let Some(ports) = token.text.strip_prefix(':') {
                    cursor.next()?;
                    nat.range.ports = Some(port_range(ports, &token)?);
                }
            }
            _ => {
                *cursor = before;
                let token = cursor.word("an address, a port or a map")?;
                (nat.range.addresses, nat.range.ports) = target(&token)?;
            }
        }
    }
    loop {
        match cursor.peek()?.text {
            "random" => nat.range.random = true,
            "fully-random" => nat.range.random_fully = true,
            "persistent" => nat.range.persistent = true,
            _ => break,
        }
        cursor.next()?;
        cursor.take_kind(Kind::Comma)?;
    }
    Ok(Some(Statement::Nat(nat)))
}

/// Types of the data of a translation's map: an address, or an address and a port, as its first element
/// says. A named map says so itself.
fn map_data(cursor: &Cursor<'_>) -> Result<Vec<DataType>, ParseError> {
    let mut ahead = *cursor;
    let mut last = ahead.next()?;
    while !(last.kind == Kind::Word && last.text == ":") {
        if matches!(last.kind, Kind::Close | Kind::End) || last.text.starts_with('@') {
            return Ok(Vec::new());
        }
        last = ahead.next()?;
    }
    let token = ahead.next()?;
    let family = if token.text.contains(':') {
        Family::Ipv6
    } else {
        Family::Ipv4
    };
    let mut types = vec![DataType::Address(family)];
    if ahead.peek_is(".")? {
        types.push(DataType::Port);
    }
    Ok(types)
}

/// Addresses and ports to translate to.
type Target = (Option<RangeInclusive<IpAddr>>, Option<RangeInclusive<u16>>);

/// `10.0.0.1-10.0.0.9:80-90`, or a part of it; IPv6 addresses with ports are in brackets.
fn target(token: &Token<'_>) -> Result<Target, ParseError> {
    const EXPECTED: &str = "an address, a port behind `:`, or both";
    let text = token.text;
    let is_ipv6 = text.matches(':').count() > 1;
    let (addresses, ports) = match text.rsplit_once(':') {
        Some((addresses, ports)) if !is_ipv6 || addresses.ends_with(']') => {
            (addresses, Some(ports))
        }
        _ => (text, None),
    };
    let ports = ports.map(|ports| port_range(ports, token)).transpose()?;
    if addresses.is_empty() && ports.is_some() {
        return Ok((None, ports));
    }
    let addresses = addresses.replace(['[', ']'], "");
    let of = DataType::Address(if is_ipv6 { Family::Ipv6 } else { Family::Ipv4 });
    let span = parse_span(&addresses, &of).ok_or_else(|| bad(token, EXPECTED))?;
    match span.ends() {
        Some((Value::Address(first), Value::Address(last))) => Ok((Some(first..=last), ports)),
        _ => Err(bad(token, EXPECTED)),
    }
}

fn port_range(text: &str, token: &Token<'_>) -> Result<RangeInclusive<u16>, ParseError> {
    match parse_span(text, &DataType::Port).and_then(|span| span.ends()) {
        Some((Value::Port(first), Value::Port(last))) => Ok(first..=last),
        _ => Err(bad(token, "a port's number or a range of ports")),
    }
}
