//! Words of a command, before those of its rule.

use super::ParseError;
use super::lex::Word;
use crate::Counters;

pub(super) fn argument<'w, 't>(
    option: &Word<'_>,
    rest: &'w [Word<'t>],
) -> Result<(&'w Word<'t>, &'w [Word<'t>]), ParseError> {
    rest.split_first()
        .ok_or_else(|| ParseError::MissingArgument {
            option: option.text.as_ref().into(),
            at: option.span(),
        })
}

pub(super) fn no_more(rest: &[Word<'_>]) -> Result<(), ParseError> {
    rest.first().map_or(Ok(()), |word| Err(unexpected(word)))
}

pub(super) fn unexpected(word: &Word<'_>) -> ParseError {
    ParseError::UnexpectedWord {
        text: word.text.as_ref().into(),
        at: word.span(),
    }
}

pub(super) fn bad_counters(word: &Word<'_>) -> ParseError {
    ParseError::BadCounters {
        text: word.text.as_ref().into(),
        at: word.span(),
    }
}

pub(super) fn count(text: &str, word: &Word<'_>) -> Result<u64, ParseError> {
    text.parse().map_err(|_| bad_counters(word))
}

/// `[PACKETS:BYTES]`; `None` if the word does not begin so.
pub(super) fn bracketed(word: &Word<'_>) -> Result<Option<Counters>, ParseError> {
    let Some(inner) = word.text.strip_prefix('[') else {
        return Ok(None);
    };
    let (packets, bytes) = inner
        .strip_suffix(']')
        .and_then(|inner| inner.split_once(':'))
        .ok_or_else(|| bad_counters(word))?;
    Ok(Some(Counters {
        packets: count(packets, word)?,
        bytes: count(bytes, word)?,
    }))
}

/// The counters that `iptables-save -c` writes before a command.
pub(super) fn leading_counters<'w, 't>(
    words: &'w [Word<'t>],
) -> Result<(Option<Counters>, &'w [Word<'t>]), ParseError> {
    match words.split_first() {
        Some((first, rest)) => match bracketed(first)? {
            Some(counters) => Ok((Some(counters), rest)),
            None => Ok((None, words)),
        },
        None => Ok((None, words)),
    }
}
