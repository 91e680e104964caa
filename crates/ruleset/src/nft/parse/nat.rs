//! Address translations.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use podwire_packet::Family;

use super::ParseError;
use super::block::bad;
use super::expression::expression;
use super::lex::{Cursor, Kind, Token};
use super::operand::lookup;
use super::value::parse_span;
use crate::nft::words::{IP_HEADERS, value_of};
use crate::nft::{DataType, Nat, NatMap, Statement, Value};
use crate::{NatKind, NatRange};

/// A translation, behind its first word.
pub(super) fn nat(cursor: &mut Cursor<'_>, kind: NatKind) -> Result<Option<Statement>, ParseError> {
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
