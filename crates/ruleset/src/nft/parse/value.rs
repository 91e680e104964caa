//! Values, keys and elements.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use podwire_packet::{Family, Mark, Prefix, Protocol};

use super::block::{bad, comment};
use super::lex::{Cursor, Kind, unexpected};
use super::{ParseError, name_of};
use crate::nft::words::{
    ADDRESS_TYPES, CT_DIRECTIONS, CT_STATES, CT_STATUSES, ICMP_TYPES, ICMPV6_TYPES, NFPROTOS,
    PROTOCOLS, value_of,
};
use crate::nft::{DataType, Element, Key, MapValue, Set, Span, Value, Verdict};

/// A value of a type.
pub(super) fn value(text: &str, of: &DataType) -> Option<Value> {
    Some(match of {
        DataType::Address(family) => {
            let address: IpAddr = text.parse().ok()?;
            if Family::of(address) != *family {
                return None;
            }
            Value::Address(address)
        }
        DataType::Protocol => {
            let named = value_of(&PROTOCOLS, text);
            Value::Protocol(named.or_else(|| text.parse().ok().map(Protocol))?)
        }
        DataType::Port => Value::Port(text.parse().ok()?),
        DataType::Mark => Value::Mark(Mark(number(text)?)),
        DataType::Ifname | DataType::IfaceIndex => match text {
            "exists" => Value::Present(true),
            "missing" => Value::Present(false),
            name => Value::Interface(name.parse().ok()?),
        },
        DataType::Nfproto => Value::Family(value_of(&NFPROTOS, text)?),
        DataType::CtState => Value::CtStates(value_of(&CT_STATES, text)?),
        DataType::CtStatus => Value::CtStatuses(value_of(&CT_STATUSES, text)?),
        DataType::CtDirection => Value::CtDirection(value_of(&CT_DIRECTIONS, text)?),
        DataType::AddressType => Value::AddressType(value_of(&ADDRESS_TYPES, text)?),
        DataType::IcmpType(family) => {
            let named = match family {
                Family::Ipv4 => value_of(&ICMP_TYPES, text),
                Family::Ipv6 => value_of(&ICMPV6_TYPES, text),
            };
            Value::IcmpType(*family, named.or_else(|| text.parse().ok())?)
        }
        DataType::Number => Value::Number(number(text)?),
        DataType::Boolean => match text {
            "exists" | "1" => Value::Present(true),
            "missing" | "0" => Value::Present(false),
            _ => return None,
        },
        DataType::Verdict => return None,
        DataType::Other(_) => Value::Other(Arc::from(text)),
    })
}

/// A number in decimal digits, or in hexadecimal ones behind `0x`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// What a value of a type looks like, for a message.
const fn expected(of: &DataType) -> &'static str {
    match of {
        DataType::Address(Family::Ipv4) => "an IPv4 address, a prefix or a range",
        DataType::Address(Family::Ipv6) => "an IPv6 address, a prefix or a range",
        DataType::Protocol => "a protocol's name or number",
        DataType::Port => "a port's number or a range; names of services are not read",
        DataType::Mark => "a mark of 32 bits",
        DataType::Ifname | DataType::IfaceIndex => "a device's name",
        DataType::Nfproto => "ipv4 or ipv6",
        DataType::CtState => "invalid, new, established, related or untracked",
        DataType::CtStatus => "expected, seen-reply, assured, confirmed, snat or dnat",
        DataType::CtDirection => "original or reply",
        DataType::AddressType => "a kind of address such as local",
        DataType::IcmpType(_) => "an ICMP type's name or number",
        DataType::Number => "a number of 32 bits",
        DataType::Boolean => "exists or missing",
        DataType::Verdict => "a value that a set may have",
        DataType::Other(_) => "a value",
    }
}

/// A value, prefix or range of a type.
fn span(cursor: &mut Cursor<'_>, of: &DataType) -> Result<Span, ParseError> {
    let token = cursor.next()?;
    if token.kind != Kind::Word && token.kind != Kind::Quoted {
        return Err(unexpected(&token, expected(of)));
    }
    parse_span(token.text, of).ok_or_else(|| bad(&token, expected(of)))
}

/// A value, prefix or range of a type, as one word.
pub(super) fn parse_span(text: &str, of: &DataType) -> Option<Span> {
    if text == "*" {
        return Some(Span::Any);
    }
    if let Some(found) = value(text, of) {
        // A star at the end of a name is never part of it.
        let is_prefix =
            matches!(of, DataType::Ifname | DataType::IfaceIndex) && text.ends_with('*');
        if !is_prefix {
            return Some(Span::One(found));
        }
    }
    match of {
        DataType::Address(family) if text.contains('/') => {
            let prefix: Prefix = text.parse().ok()?;
            (prefix.family() == *family).then_some(Span::Prefix(prefix))
        }
        DataType::Ifname | DataType::IfaceIndex => {
            let name = text.strip_suffix('*')?.parse().ok()?;
            Some(Span::InterfacePrefix(name))
        }
        DataType::Address(_)
        | DataType::Protocol
        | DataType::Port
        | DataType::Mark
        | DataType::IcmpType(_)
        | DataType::Number => {
            let (first, last) = text.split_once('-')?;
            let (first, last) = (value(first, of)?, value(last, of)?);
            (first <= last).then_some(Span::Range(first, last))
        }
        DataType::Nfproto
        | DataType::CtState
        | DataType::CtStatus
        | DataType::CtDirection
        | DataType::AddressType
        | DataType::Boolean
        | DataType::Verdict
        | DataType::Other(_) => None,
    }
}

/// A key: a span of each type, with ` . ` between them. `*` alone is one too.
pub(super) fn key(cursor: &mut Cursor<'_>, types: &[DataType]) -> Result<Key, ParseError> {
    let mut spans = Vec::with_capacity(types.len());
    for (place, own) in types.iter().enumerate() {
        if place > 0 {
            if let [Span::Any] = spans.as_slice()
                && !cursor.peek_is(".")?
            {
                break;
            }
            cursor.keyword(".")?;
        }
        spans.push(span(cursor, own)?);
    }
    Ok(spans.into())
}

/// What stands in braces, each read by `each`.
pub(super) fn braced<'t>(
    cursor: &mut Cursor<'t>,
    mut each: impl FnMut(&mut Cursor<'t>) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let open = cursor.expect(Kind::Open, "`{`")?;
    loop {
        cursor.skip_newlines()?;
        if cursor.take_kind(Kind::Close)? {
            return Ok(());
        }
        each(cursor)?;
        cursor.skip_newlines()?;
        let token = cursor.next()?;
        match token.kind {
            Kind::Comma => {}
            Kind::Close => return Ok(()),
            Kind::End => return Err(ParseError::UnclosedBlock { at: open.span() }),
            Kind::Word | Kind::Quoted | Kind::Open | Kind::Semicolon | Kind::Newline => {
                return Err(unexpected(&token, "`,` or `}`"));
            }
        }
    }
}

/// `{ … }`: elements for a set.
pub(super) fn elements(cursor: &mut Cursor<'_>, set: &mut Set) -> Result<(), ParseError> {
    let Set {
        key: types,
        data,
        elements,
        ..
    } = set;
    braced(cursor, |cursor| {
        let key = key(cursor, types)?;
        let element = element(cursor, data)?;
        elements.insert(key, element);
        Ok(())
    })
}

/// What stands behind the key of an element.
fn element(cursor: &mut Cursor<'_>, data: &[DataType]) -> Result<Element, ParseError> {
    let mut element = Element::default();
    loop {
        let token = cursor.peek()?;
        if token.kind != Kind::Word {
            break;
        }
        cursor.next()?;
        match token.text {
            "timeout" => element.timeout = Some(time(cursor)?),
            "expires" => element.expires = Some(time(cursor)?),
            "comment" => element.comment = Some(comment(cursor)?),
            // Counters of elements are not kept.
            "counter" => {
                while cursor.peek_is("packets")? || cursor.peek_is("bytes")? {
                    cursor.next()?;
                    cursor.word("a number")?;
                }
            }
            ":" if !data.is_empty() => element.value = Some(map_value(cursor, data)?),
            _ => return Err(unexpected(&token, "`,` or `}`")),
        }
    }
    if !data.is_empty() && element.value.is_none() {
        return Err(unexpected(&cursor.peek()?, "`:` and the value of the map"));
    }
    Ok(element)
}

/// What a map has for a key.
pub(super) fn map_value(
    cursor: &mut Cursor<'_>,
    data: &[DataType],
) -> Result<MapValue, ParseError> {
    if data == [DataType::Verdict] {
        let token = cursor.peek()?;
        let verdict = verdict(cursor)?;
        let verdict = verdict.ok_or_else(|| unexpected(&token, "a verdict"))?;
        return Ok(MapValue::Verdict(verdict));
    }
    Ok(MapValue::Data(key(cursor, data)?))
}

/// A verdict; `None`, and nothing taken, if the next word is none.
pub(super) fn verdict(cursor: &mut Cursor<'_>) -> Result<Option<Verdict>, ParseError> {
    let token = cursor.peek()?;
    if token.kind != Kind::Word {
        return Ok(None);
    }
    let simple = match token.text {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "continue" => Verdict::Continue,
        "return" => Verdict::Return,
        "jump" | "goto" => {
            cursor.next()?;
            let chain = name_of(&cursor.word("the name of a chain")?)?;
            return Ok(Some(if token.text == "jump" {
                Verdict::Jump(chain)
            } else {
                Verdict::Goto(chain)
            }));
        }
        _ => return Ok(None),
    };
    cursor.next()?;
    Ok(Some(simple))
}

/// A time such as `1d2h3m4s5ms`; a number alone is seconds.
pub(super) fn time(cursor: &mut Cursor<'_>) -> Result<Duration, ParseError> {
    let token = cursor.word("a time such as 30s")?;
    parse_time(token.text).ok_or_else(|| bad(&token, "a time such as 1h30m or 30s"))
}

fn parse_time(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ms" => {
                total = total.checked_add(Duration::from_millis(number))?;
                rest = &rest[unit..];
                continue;
            }
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return None,
        };
        let part = Duration::from_secs(number.checked_mul(seconds)?);
        total = total.checked_add(part)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}
