//! Runs of IPv4 addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use podwire_packet::Prefix;

/// A run of addresses: from `start` up to but not including `end`.
///
/// The ends are 64 bits wide, so that the address after 255.255.255.255 is a number too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first address.
    pub start: u64,
    /// The address after the last one.
    pub end: u64,
}

impl Span {
    /// All addresses of an IPv4 prefix; none for a prefix of IPv6.
    #[must_use]
    pub fn of(prefix: Prefix) -> Self {
        let (std::net::IpAddr::V4(first), std::net::IpAddr::V4(last)) =
            (prefix.address(), prefix.last())
        else {
            return Self { start: 0, end: 0 };
        };
        Self {
            start: number(first),
            end: number(last) + 1,
        }
    }

    /// The addresses of an IPv4 prefix that hosts may have: all but the first and the last.
    #[must_use]
    pub fn hosts_of(prefix: Prefix) -> Self {
        let all = Self::of(prefix);
        Self {
            start: all.start + 1,
            end: (all.start + 1).max(all.end.saturating_sub(1)),
        }
    }

    /// How many addresses it has.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.size() == 0
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.start..self.end).contains(&number(address))
    }

    /// What both have.
    pub(super) fn and(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end).max(start);
        Self { start, end }
    }

    /// The biggest block in it that is a prefix; of several the first (`Range.BiggestCIDRRange`).
    pub(super) fn biggest_prefix(self) -> Self {
        let mut size = self.size().checked_ilog2().map_or(0, |bits| 1 << bits);
        while size > 0 {
            let start = self.start.next_multiple_of(size);
            if start + size <= self.end {
                let end = start + size;
                return Self { start, end };
            }
            size /= 2;
        }
        let (start, end) = (self.start, self.start);
        Self { start, end }
    }
}

/// Writes `10.32.0.0-10.47.255.255`; the last address is in it.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.end.saturating_sub(1).max(self.start);
        write!(f, "{}-{}", address(self.start), address(last))
    }
}

/// An address as a number.
pub(super) fn number(address: Ipv4Addr) -> u64 {
    u32::from(address).into()
}

/// A number as an address; the one after the last is the first again.
pub(super) fn address(number: u64) -> Ipv4Addr {
    let low = number & u64::from(u32::MAX);
    Ipv4Addr::from(u32::try_from(low).expect("masked to 32 bits"))
}

/// A set of addresses, as runs that neither touch nor share any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// The runs in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Span> {
        self.0.iter().map(|(&start, &end)| Span { start, end })
    }

    /// What it has in common with a run, in order.
    pub(super) fn within(&self, span: Span) -> impl Iterator<Item = Span> {
        let before = self.0.range(..span.start).next_back();
        let first = before.map_or(span.start, |(&start, _)| start);
        // An empty span has an end before its start's predecessor; it has nothing in common with any.
        let last = span.end.max(first);
        self.0
            .range(first..last)
            .map(move |(&start, &end)| Span { start, end }.and(span))
            .filter(|run| !run.is_empty())
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let (start, end) = (number, number + 1);
        self.within(Span { start, end }).next().is_some()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a run, whether some of it is there already or not.
    pub(super) fn add(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        let Span { mut start, mut end } = span;
        while let Some((&first, &last)) = self.0.range(..=end).next_back() {
            if last < start {
                break;
            }
            (start, end) = (start.min(first), end.max(last));
            self.0.remove(&first);
        }
        self.0.insert(start, end);
    }

    /// Takes a run away, whether all of it is there or not.
    pub(super) fn subtract(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        while let Some((&first, &last)) = self.0.range(..span.end).next_back() {
            if last <= span.start {
                break;
            }
            self.0.remove(&first);
            if last > span.end {
                self.0.insert(span.end, last);
            }
            if first < span.start {
                self.0.insert(first, span.start);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Runs of a small world, so that they meet often.
    fn spans() -> impl Strategy<Value = Span> {
        (0_u64..64, 0_u64..20).prop_map(|(start, size)| Span {
            start,
            end: start + size,
        })
    }

    proptest! {
        #[test]
        fn runs_are_a_set_of_addresses(steps in prop::collection::vec((any::<bool>(), spans()), 0..40)) {
            let (mut runs, mut set) = (Spans::default(), BTreeSet::new());
            for (add, span) in steps {
                if add {
                    runs.add(span);
                    set.extend(span.start..span.end);
                } else {
                    runs.subtract(span);
                    set.retain(|n| !(span.start..span.end).contains(n));
                }
                let listed: Vec<Span> = runs.iter().collect();
                prop_assert!(listed.windows(2).all(|two| two[0].end < two[1].start));
                prop_assert!(listed.iter().all(|run| !run.is_empty()));
                let numbers: BTreeSet<u64> = listed.iter().flat_map(|run| run.start..run.end).collect();
                prop_assert_eq!(&numbers, &set);
            }
        }

        #[test]
        fn what_lies_within_a_run_is_what_both_have(parts in prop::collection::vec(spans(), 0..10), asked in spans()) {
            let mut runs = Spans::default();
            parts.iter().for_each(|&part| runs.add(part));
            let found: Vec<u64> = runs.within(asked).flat_map(|run| run.start..run.end).collect();
            let wanted: Vec<u64> = (asked.start..asked.end).filter(|&n| runs.contains(n)).collect();
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn no_aligned_block_is_bigger_and_none_as_big_comes_before(span in spans()) {
            let blocks = (0..7).flat_map(|bits| (0..128 >> bits).map(move |n| {
                let (start, end) = (n << bits, (n + 1) << bits);
                Span { start, end }
            }));
            let fitting = blocks.filter(|block| span.start <= block.start && block.end <= span.end);
            let best = fitting.min_by_key(|block| (std::cmp::Reverse(block.size()), block.start));
            let biggest = span.biggest_prefix();
            prop_assert_eq!(best.filter(|_| !span.is_empty()), Some(biggest).filter(|b| !b.is_empty()));
        }
    }

    #[test]
    fn hosts_are_all_but_the_first_and_the_last_address() {
        let hosts = |text: &str| Span::hosts_of(text.parse().unwrap());
        assert_eq!(hosts("10.99.0.0/30").to_string(), "10.99.0.1-10.99.0.2");
        assert!(hosts("10.99.0.0/31").is_empty());
        assert!(hosts("10.99.0.0/32").is_empty());
        assert_eq!(hosts("0.0.0.0/0").to_string(), "0.0.0.1-255.255.255.254");
    }
}
