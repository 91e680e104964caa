//! One form for every wording of the same rule.

use std::net::IpAddr;

use podwire_packet::{Mark, Prefix};

use super::{Key, Lookup, Match, Nat, Operand, Rule, Span, Statement, Value};

impl Rule {
    /// The same rule in the one form that every wording of it has: the values of an anonymous set
    /// sorted, those that touch merged and one alone without its set; a prefix of one address as the
    /// address; elements of an anonymous map sorted; counters at zero.
    ///
    /// Two rules mean the same if their canonical forms are equal.
    #[must_use]
    pub fn canonical(&self) -> Self {
        Self {
            statements: self.statements.iter().map(Statement::canonical).collect(),
            comment: self.comment.clone(),
            handle: None,
            origin: None,
        }
    }
}

impl Statement {
    fn canonical(&self) -> Self {
        match self {
            Self::Match(own) => Self::Match(Match {
                right: match &own.right {
                    Operand::One(key) => Operand::One(canonical_key(key)),
                    Operand::Named(set) => Operand::Named(set.clone()),
                    Operand::Anonymous(keys) => {
                        let mut merged = merged(keys);
                        match merged.as_slice() {
                            [one] if one.len() == 1 => Operand::One(merged.remove(0)),
                            _ => Operand::Anonymous(merged),
                        }
                    }
                },
                ..own.clone()
            }),
            Self::VerdictMap { key, map } => Self::VerdictMap {
                key: key.clone(),
                map: canonical_lookup(map),
            },
            Self::Nat(own) => {
                let mut canonical: Nat = own.clone();
                if let Some(map) = &mut canonical.map {
                    map.map = canonical_lookup(&map.map);
                }
                Self::Nat(canonical)
            }
            Self::Counter(_) => Self::Counter(None),
            Self::Verdict(_)
            | Self::Reject { .. }
            | Self::SetMark(_)
            | Self::Set(_)
            | Self::Limit(_)
            | Self::Log(_)
            | Self::Notrack
            | Self::Nftrace(_)
            | Self::Unknown(_) => self.clone(),
        }
    }
}

fn canonical_lookup(map: &Lookup) -> Lookup {
    match map {
        Lookup::Named(name) => Lookup::Named(name.clone()),
        Lookup::Anonymous(elements) => {
            let elements = elements.iter();
            let mut sorted: Vec<_> = elements
                .map(|(key, value)| (canonical_key(key), value.clone()))
                .collect();
            sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
            Lookup::Anonymous(sorted)
        }
    }
}

fn canonical_key(key: &Key) -> Key {
    key.iter().map(canonical_span).collect()
}

fn canonical_span(span: &Span) -> Span {
    match span {
        Span::Prefix(prefix) if prefix.is_host() => Span::address(prefix.address()),
        Span::Range(first, last) => spanning(first.clone(), last.clone()),
        Span::One(_) | Span::Prefix(_) | Span::InterfacePrefix(_) | Span::Any => span.clone(),
    }
}

/// The keys of a set, sorted. Where they have one part, and one of them is an interval, those that touch
/// are one; without an interval the kernel keeps a hash table, and each as it is.
pub(super) fn merged(keys: &[Key]) -> Vec<Key> {
    let mut sorted: Vec<Key> = keys.iter().map(canonical_key).collect();
    sorted.sort();
    sorted.dedup();
    let can_merge = |key: &Key| matches!(&**key, [span] if span.ends().is_some());
    if keys.iter().all(Key::is_exact) || !sorted.iter().all(can_merge) {
        return sorted;
    }
    let mut ranges: Vec<(Value, Value)> = sorted.iter().filter_map(|key| key[0].ends()).collect();
    ranges.sort();
    let mut merged: Vec<(Value, Value)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((begin, end)) if touches(begin, end, &first) => {
                if last > *end {
                    *end = last;
                }
            }
            _ => merged.push((first, last)),
        }
    }
    let spans = merged.into_iter();
    spans
        .map(|(first, last)| Key::from(spanning(first, last)))
        .collect()
}

/// Whether a range that begins at `next` goes on from one that ends at `end`, both of one type.
fn touches(begin: &Value, end: &Value, next: &Value) -> bool {
    if std::mem::discriminant(begin) != std::mem::discriminant(next) {
        return false;
    }
    next <= end || successor(end).as_ref() == Some(next)
}

/// The value behind, of types that can be counted through and that nft merges.
fn successor(value: &Value) -> Option<Value> {
    if let Value::Address(IpAddr::V4(address)) = value {
        let next = u32::from(*address).checked_add(1)?;
        Some(Value::Address(IpAddr::V4(next.into())))
    } else if let Value::Address(IpAddr::V6(address)) = value {
        let next = u128::from(*address).checked_add(1)?;
        Some(Value::Address(IpAddr::V6(next.into())))
    } else if let Value::Port(port) = value {
        port.checked_add(1).map(Value::Port)
    } else if let Value::Mark(mark) = value {
        mark.0.checked_add(1).map(|next| Value::Mark(Mark(next)))
    } else {
        None
    }
}

/// A range in its shortest words: a value, a prefix or a range.
fn spanning(first: Value, last: Value) -> Span {
    if first == last {
        return Span::One(first);
    }
    if let (Value::Address(low), Value::Address(high)) = (&first, &last) {
        let same_bits = match (low, high) {
            (IpAddr::V4(low), IpAddr::V4(high)) => {
                (u32::from(*low) ^ u32::from(*high)).leading_zeros()
            }
            (IpAddr::V6(low), IpAddr::V6(high)) => {
                (u128::from(*low) ^ u128::from(*high)).leading_zeros()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
        };
        let length = u8::try_from(same_bits).expect("an address has at most 128 bits");
        let prefix = Prefix::new(*low, length);
        if prefix.address() == *low && prefix.last() == *high {
            return Span::Prefix(prefix);
        }
    }
    Span::Range(first, last)
}
