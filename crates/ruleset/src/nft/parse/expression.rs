//! What statements read.

use super::block::bad;
use super::lex::{Cursor, Kind};
use super::{ParseError, value};
use crate::CtDirection;
use crate::nft::words::{
    CT_DIRECTIONS, FIB_RESULTS, ICMP_HEADERS, IP_HEADERS, META_KEYS, TRANSPORTS, value_of,
};
use crate::nft::{
    CtKey, DataType, Expression, FibResult, FibSelectors, MetaKey, NumgenMode, Payload,
};

/// An expression; `None`, and the cursor somewhere behind, if it is none that podwire knows.
pub(super) fn expression(cursor: &mut Cursor<'_>) -> Result<Option<Expression>, ParseError> {
    let Some(first) = part(cursor)? else {
        return Ok(None);
    };
    if !cursor.peek_is(".")? {
        return Ok(Some(first));
    }
    let mut parts = vec![first];
    while cursor.take(".")? {
        match part(cursor)? {
            Some(part) => parts.push(part),
            None => return Ok(None),
        }
    }
    Ok(Some(Expression::Concat(parts)))
}

/// One part of a concatenation, and the mask behind it.
fn part(cursor: &mut Cursor<'_>) -> Result<Option<Expression>, ParseError> {
    let Some(inner) = primary(cursor)? else {
        return Ok(None);
    };
    let data_type = inner.data_type();
    let may_mask = matches!(data_type, DataType::Mark | DataType::Address(_));
    if may_mask && (cursor.peek_is("&")? || cursor.peek_is("and")?) {
        cursor.next()?;
        let token = cursor.word("a mask")?;
        let Some(mask) = value::value(token.text, &data_type) else {
            return Ok(None);
        };
        return Ok(Some(Expression::Masked(Box::new(inner), mask)));
    }
    Ok(Some(inner))
}

fn primary(cursor: &mut Cursor<'_>) -> Result<Option<Expression>, ParseError> {
    let token = cursor.next()?;
    if token.kind != Kind::Word {
        return Ok(None);
    }
    if let Some(family) = value_of(&IP_HEADERS, token.text) {
        let field = match cursor.next()?.text {
            "saddr" => Payload::Saddr(family),
            "daddr" => Payload::Daddr(family),
            "protocol" if token.text == "ip" => Payload::Protocol(family),
            "nexthdr" if token.text == "ip6" => Payload::Protocol(family),
            _ => return Ok(None),
        };
        return Ok(Some(Expression::Payload(field)));
    }
    if let Some(l4) = value_of(&TRANSPORTS, token.text) {
        let field = match cursor.next()?.text {
            "sport" => Payload::Sport(l4),
            "dport" => Payload::Dport(l4),
            _ => return Ok(None),
        };
        return Ok(Some(Expression::Payload(field)));
    }
    if let Some(family) = value_of(&ICMP_HEADERS, token.text) {
        let is_type = cursor.next()?.text == "type";
        return Ok(is_type.then_some(Expression::Payload(Payload::IcmpType(family))));
    }
    match token.text {
        "meta" => {
            let key = value_of(&META_KEYS, cursor.next()?.text);
            Ok(key.map(Expression::Meta))
        }
        "ct" => Ok(ct(cursor)?.map(Expression::Ct)),
        "fib" => fib(cursor),
        "numgen" => numgen(cursor),
        // These need no `meta`.
        "mark" | "iif" | "oif" | "iifname" | "oifname" => {
            Ok(value_of(&META_KEYS, token.text).map(Expression::Meta))
        }
        _ => Ok(None),
    }
}

fn ct(cursor: &mut Cursor<'_>) -> Result<Option<CtKey>, ParseError> {
    let token = cursor.next()?;
    if let Some(direction) = value_of(&CT_DIRECTIONS, token.text) {
        return ct_tuple(cursor, direction);
    }
    Ok(Some(match token.text {
        "state" => CtKey::State,
        "status" => CtKey::Status,
        "mark" => CtKey::Mark,
        "direction" => CtKey::Direction,
        _ => return Ok(None),
    }))
}

fn ct_tuple(cursor: &mut Cursor<'_>, direction: CtDirection) -> Result<Option<CtKey>, ParseError> {
    let token = cursor.next()?;
    if let Some(family) = value_of(&IP_HEADERS, token.text) {
        return Ok(match cursor.next()?.text {
            "saddr" => Some(CtKey::Saddr(direction, family)),
            "daddr" => Some(CtKey::Daddr(direction, family)),
            _ => None,
        });
    }
    Ok(match token.text {
        "proto-src" => Some(CtKey::ProtoSrc(direction)),
        "proto-dst" => Some(CtKey::ProtoDst(direction)),
        "protocol" => Some(CtKey::Protocol(direction)),
        _ => None,
    })
}

fn fib(cursor: &mut Cursor<'_>) -> Result<Option<Expression>, ParseError> {
    let mut selectors = FibSelectors::default();
    loop {
        let Some(selector) = value_of(&FibSelectors::NAMES, cursor.next()?.text) else {
            return Ok(None);
        };
        selectors = selectors.union(selector);
        if !cursor.take(".")? {
            break;
        }
    }
    let result = value_of(&FIB_RESULTS, cursor.next()?.text);
    Ok(result.map(|result| Expression::Fib { selectors, result }))
}

fn numgen(cursor: &mut Cursor<'_>) -> Result<Option<Expression>, ParseError> {
    let mode = match cursor.next()?.text {
        "random" => NumgenMode::Random,
        "inc" => NumgenMode::Inc,
        _ => return Ok(None),
    };
    if !cursor.take("mod")? {
        return Ok(None);
    }
    let number = |cursor: &mut Cursor<'_>, least: u32| {
        let token = cursor.word("a number")?;
        let number = token.text.parse().ok().filter(|&number| number >= least);
        number.ok_or_else(|| bad(&token, "a number of 32 bits, at least 1 behind `mod`"))
    };
    let modulus = number(cursor, 1)?;
    let offset = if cursor.take("offset")? {
        number(cursor, 0)?
    } else {
        0
    };
    Ok(Some(Expression::Numgen {
        mode,
        modulus,
        offset,
    }))
}

impl Expression {
    /// The type of what it is compared with; of a concatenation, that of its first part.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Payload(Payload::Saddr(family) | Payload::Daddr(family)) => {
                DataType::Address(*family)
            }
            Self::Payload(Payload::Protocol(_)) => DataType::Protocol,
            Self::Payload(Payload::Sport(_) | Payload::Dport(_)) => DataType::Port,
            Self::Payload(Payload::IcmpType(family)) => DataType::IcmpType(*family),
            Self::Meta(key) => match key {
                MetaKey::L4proto => DataType::Protocol,
                MetaKey::Nfproto => DataType::Nfproto,
                MetaKey::Mark => DataType::Mark,
                MetaKey::Iif | MetaKey::Oif => DataType::IfaceIndex,
                MetaKey::Iifname | MetaKey::Oifname => DataType::Ifname,
            },
            Self::Ct(key) => match key {
                CtKey::State => DataType::CtState,
                CtKey::Status => DataType::CtStatus,
                CtKey::Mark => DataType::Mark,
                CtKey::Direction => DataType::CtDirection,
                CtKey::Saddr(_, family) | CtKey::Daddr(_, family) => DataType::Address(*family),
                CtKey::ProtoSrc(_) | CtKey::ProtoDst(_) => DataType::Port,
                CtKey::Protocol(_) => DataType::Protocol,
            },
            Self::Fib { result, .. } => match result {
                FibResult::Type => DataType::AddressType,
                FibResult::Oif => DataType::IfaceIndex,
                FibResult::Oifname => DataType::Ifname,
            },
            Self::Numgen { .. } => DataType::Number,
            Self::Masked(inner, _) => inner.data_type(),
            Self::Concat(parts) => parts.first().map_or(DataType::Number, Self::data_type),
        }
    }

    /// The type of each part.
    #[must_use]
    pub fn data_types(&self) -> Vec<DataType> {
        self.parts().iter().map(Self::data_type).collect()
    }
}
