//! Where in the text a fault of the call graph stands.

use podwire_packet::Family;

use super::ParseError;
use super::lex::split;
use super::rule::RuleReader;
use crate::{ChainName, LinkError, TableName, Target};

/// Finds the jump that a fault of the call graph is about, by reading the text again.
pub(super) fn link_error(
    text: &str,
    family: Family,
    table: TableName,
    error: LinkError,
) -> ParseError {
    let is_meant = |chain: &str, to: &ChainName| match &error {
        LinkError::MissingChain {
            chain: from,
            to: missing,
            ..
        }
        | LinkError::BuiltInTarget {
            chain: from,
            to: missing,
            ..
        } => from.as_str() == chain && missing == to,
        LinkError::Loop { chains, .. } => {
            chains.iter().any(|name| name.as_str() == chain) && chains.contains(to)
        }
    };
    let mut reader = RuleReader::default();
    let mut words = Vec::new();
    let mut start = 0;
    let mut open = None;
    let mut found = None;
    for line in text.split_inclusive('\n') {
        let read = split(line.trim_end_matches(['\n', '\r']), start, &mut words);
        start += line.len();
        let first_is = |prefix: &str| words.first().is_some_and(|w| w.text.starts_with(prefix));
        if read.is_err() || first_is("#") {
            continue;
        }
        if first_is("*") {
            open = words[0].text[1..].parse().ok();
        }
        if open.is_some_and(|open: TableName| open != table) {
            continue;
        }
        let Some(command) = words
            .iter()
            .position(|w| matches!(&*w.text, "-A" | "--append" | "-I" | "--insert"))
        else {
            continue;
        };
        let Some(chain) = words.get(command + 1) else {
            continue;
        };
        let mut rest = &words[command + 2..];
        if rest
            .first()
            .is_some_and(|w| w.text.starts_with(|c: char| c.is_ascii_digit()))
        {
            rest = &rest[1..];
        }
        if reader.read(rest, family, |name| name.into()).is_ok()
            && let Some(Target::Jump(to) | Target::Goto(to)) = &reader.rule.target
            && is_meant(&chain.text, to)
        {
            found = reader.jump;
            break;
        }
    }
    ParseError::Link {
        cause: Box::new(error),
        at: found.unwrap_or_else(|| 0.into()),
    }
}
