//! Words of a command, before those of its rule.

use miette::SourceSpan;

use super::ParseError;
use super::lex::Word;
use super::targets::Named;
use crate::{ChainName, Counters, Policy};

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

/// Chain, policy and counters of `-P CHAIN POLICY`; `iptables -S -v` ends the line with
/// `-c PACKETS BYTES`.
pub(super) fn policy_command<'w, 't>(
    option: &Word<'_>,
    rest: &'w [Word<'t>],
) -> Result<(&'w Word<'t>, &'w Word<'t>, Option<Counters>), ParseError> {
    let (name, rest) = argument(option, rest)?;
    let (policy, rest) = argument(option, rest)?;
    let counters = match rest {
        [] => None,
        [c, packets, bytes] if c.text == "-c" => Some(Counters {
            packets: count(&packets.text, packets)?,
            bytes: count(&bytes.text, bytes)?,
        }),
        [word, ..] => return Err(unexpected(word)),
    };
    Ok((name, policy, counters))
}

/// Policy and counters behind `:CHAIN`, the line's first word.
pub(super) fn declaration<'w, 't>(
    word: &Word<'_>,
    rest: &'w [Word<'t>],
) -> Result<(&'w Word<'t>, Counters), ParseError> {
    let (policy, rest) = argument(word, rest)?;
    let counters = match rest.split_first() {
        None => Counters::default(),
        Some((counters, rest)) => {
            no_more(rest)?;
            bracketed(counters)?.ok_or_else(|| bad_counters(counters))?
        }
    };
    Ok((policy, counters))
}

/// The policy that a chain can have: none, `-`, unless it is built in.
pub(super) fn policy_of(
    chain: &str,
    built_in: bool,
    word: &Word<'_>,
) -> Result<Option<Policy>, ParseError> {
    match (built_in, &*word.text) {
        (true, "ACCEPT") => Ok(Some(Policy::Accept)),
        (true, "DROP") => Ok(Some(Policy::Drop)),
        (false, "-") => Ok(None),
        _ => Err(ParseError::BadPolicy {
            chain: chain.into(),
            text: word.text.as_ref().into(),
            at: word.span(),
        }),
    }
}

/// Checks that a chain may have that name.
pub(super) fn check_chain_name(name: &str, at: SourceSpan) -> Result<(), ParseError> {
    let right = (1..=ChainName::MAX).contains(&name.len())
        && !name.starts_with(['-', '!'])
        && !name
            .bytes()
            .any(|byte| byte == b' ' || byte.is_ascii_control())
        && Named::of(name) == Named::Chain;
    if right {
        return Ok(());
    }
    Err(ParseError::BadChainName {
        text: name.into(),
        at,
    })
}
