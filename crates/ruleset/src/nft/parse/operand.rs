//! What expressions are compared with, or looked up in.

use podwire_packet::Mark;

use super::block::bad;
use super::lex::{Cursor, Kind};
use super::value::{braced, key, map_value, value};
use super::{ParseError, name_of};
use crate::nft::{DataType, Expression, Key, Lookup, Operand, Span, Statement, Value};
use crate::{CtStates, CtStatuses};

/// A comparison that a range stands for.
pub(super) fn compare(
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
pub(super) fn operand(
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
    let open = cursor.peek()?;
    braced(cursor, |cursor| {
        keys.push(key(cursor, &types)?);
        Ok(())
    })?;
    if keys.is_empty() {
        return Err(bad(&open, "a set with values"));
    }
    Ok(keys)
}

/// `@map`, or elements in braces.
pub(super) fn lookup(
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
    if elements.is_empty() {
        return Err(bad(&token, "a map with elements"));
    }
    Ok(Lookup::Anonymous(elements))
}
