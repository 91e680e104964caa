//! What is done to marks.

use podwire_packet::Mark;

use super::ParseError;
use super::block::bad;
use super::lex::{Cursor, Kind};
use super::value::value;
use crate::nft::{CtKey, DataType, Expression, MarkField, MetaKey, SetMark, Statement, Value};

/// What stands behind `meta mark set`.
pub(super) fn set_mark(
    cursor: &mut Cursor<'_>,
    left: &Expression,
) -> Result<Option<Statement>, ParseError> {
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
