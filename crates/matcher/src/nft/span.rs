//! Values, ranges and prefixes as tests of a number.

use podwire_packet::Family;
use podwire_ruleset::nft;

use super::field::{Kind, device_prefix};
use crate::fields::bits;

/// Numbers of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Span {
    /// Both ends and all between.
    Range {
        first: u128,
        last: u128,
    },
    /// Those with these bits under a mask.
    Bits {
        mask: u128,
        value: u128,
    },
    Any,
}

impl Span {
    /// The numbers of a kind that a span holds; none if it holds values of other kinds only.
    pub(super) fn of(span: &nft::Span, kind: Kind) -> Option<Self> {
        match span {
            nft::Span::One(value) => {
                let number = kind.number(value)?;
                Some(Self::Range {
                    first: number,
                    last: number,
                })
            }
            nft::Span::Prefix(prefix) => {
                let own = Kind::Address(Family::of(prefix.address()));
                (own == kind).then(|| Self::Range {
                    first: bits(prefix.address()),
                    last: bits(prefix.last()),
                })
            }
            nft::Span::Range(first, last) => Some(Self::Range {
                first: kind.number(first)?,
                last: kind.number(last)?,
            }),
            nft::Span::InterfacePrefix(start) => (kind == Kind::Device).then(|| {
                let (mask, value) = device_prefix(*start);
                Self::Bits { mask, value }
            }),
            nft::Span::Any => Some(Self::Any),
        }
    }

    #[inline]
    pub(super) fn holds(&self, number: u128) -> bool {
        match self {
            Self::Range { first, last } => *first <= number && number <= *last,
            Self::Bits { mask, value } => number & mask == *value,
            Self::Any => true,
        }
    }
}

/// The spans of a key, one for each part.
pub(super) type Spans = Box<[Span]>;

/// The spans of a key; none if it holds nothing that parts of these kinds can be. `*` alone holds whatever
/// there is.
pub(super) fn spans(key: &nft::Key, kinds: &[Kind]) -> Option<Spans> {
    if is_any(key) {
        return Some(kinds.iter().map(|_| Span::Any).collect());
    }
    if key.len() != kinds.len() {
        return None;
    }
    let spans = key.iter().zip(kinds);
    spans.map(|(span, kind)| Span::of(span, *kind)).collect()
}

/// The numbers of a key of which each part is one value.
pub(super) fn numbers(key: &nft::Key, kinds: &[Kind]) -> Option<Box<[u128]>> {
    if key.len() != kinds.len() {
        return None;
    }
    let spans = key.iter().zip(kinds);
    let numbers = spans.map(|(span, kind)| match span {
        nft::Span::One(value) => kind.number(value),
        nft::Span::Prefix(_)
        | nft::Span::Range(..)
        | nft::Span::InterfacePrefix(_)
        | nft::Span::Any => None,
    });
    numbers.collect()
}

/// Whether a key is `*` alone.
pub(super) fn is_any(key: &nft::Key) -> bool {
    matches!(&**key, [nft::Span::Any])
}

/// Whether spans hold numbers, one each.
pub(super) fn hold(spans: &[Span], numbers: &[u128]) -> bool {
    let mut pairs = spans.iter().zip(numbers);
    pairs.all(|(span, number)| span.holds(*number))
}
