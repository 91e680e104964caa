//! One rule.

use std::num::NonZeroU32;

use crate::{Match, Target};

/// Packets and bytes that met a rule or a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Whoever made a rule, as a number that its maker can look up (which Kubernetes object, say).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub NonZeroU32);

/// If every match holds, the target applies.
///
/// `matches` stand in the order in which they were written, so that text prints back as it was read.
/// The kernel asks them in another order: first the IP header and devices
/// ([`Match::is_of_ip_header`]; `ip_packet_match`, net/ipv4/netfilter/ip_tables.c), then the match
/// modules in the order in which `-m` named them, which is the order they have here. It stops at the
/// first that does not hold; that matters only for a match with memory, such as `limit`.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// What must hold, in written order.
    pub matches: Vec<Match>,
    /// What happens then; a rule without a target only counts.
    pub target: Option<Target>,
    /// Packets it met, where the text said so.
    pub counters: Option<Counters>,
    /// Who made it.
    pub origin: Option<Origin>,
    /// Whether one address alone is written with its length, `-s 10.0.0.1/32`. kube-proxy writes
    /// addresses without and ranges, of one address too, with it. It is part of the wording only.
    pub host_lengths: bool,
}

impl Rule {
    /// A rule without matches.
    #[must_use]
    pub const fn to(target: Target) -> Self {
        Self {
            matches: Vec::new(),
            target: Some(target),
            counters: None,
            origin: None,
            host_lengths: false,
        }
    }

    /// The same rule with one more match, written behind the others.
    #[must_use]
    pub fn when(mut self, condition: Match) -> Self {
        self.matches.push(condition);
        self
    }

    /// The text of its comment.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.matches.iter().find_map(|m| {
            if let Match::Comment(text) = m {
                Some(&**text)
            } else {
                None
            }
        })
    }

    /// The matches in the order in which the kernel asks them, without those that test nothing.
    pub fn in_kernel_order(&self) -> impl Iterator<Item = &Match> {
        let header = self.matches.iter().filter(|m| m.is_of_ip_header());
        let modules = self
            .matches
            .iter()
            .filter(|m| !m.is_of_ip_header() && m.is_a_test());
        header.chain(modules)
    }

    /// The same rule in the one form that every wording of it has: header matches first and sorted,
    /// comments, and tests that hold always (`-s 0.0.0.0/0`), left out.
    ///
    /// Two rules mean the same if their canonical forms are equal; the words they were read from, and
    /// the counters, do not count.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let mut matches: Vec<Match> = self
            .in_kernel_order()
            .filter(|own| !own.holds_always())
            .cloned()
            .collect();
        // Tests of the header and of ports have no memory, so their order among themselves is free;
        // the sort is stable and leaves the others behind them as they were.
        matches.sort_by_key(Match::canonical_rank);
        Self {
            matches,
            target: self.target.clone(),
            counters: None,
            origin: None,
            host_lengths: false,
        }
    }
}

impl PartialEq for Rule {
    /// Whether the two say the same in the same order. Counters, origins and
    /// `host_lengths` are not part of a rule's meaning.
    fn eq(&self, other: &Self) -> bool {
        self.matches == other.matches && self.target == other.target
    }
}
