//! What rules remember from packet to packet.
//!
//! Evaluators read it and return [`Effect`]s; whoever owns the state applies them. So
//! an evaluation changes nothing by itself and can be repeated.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use indexmap::IndexMap;
use podwire_packet::SimTime;

use crate::{Effect, RuleId, Sets, nft};

/// An address in a list of `-m recent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentEntry {
    /// When it was seen, oldest first; at most [`RecentList::TIMESTAMPS`].
    pub seen: Vec<SimTime>,
    /// TTL of the packet last noted.
    pub ttl: u8,
}

/// A list of `-m recent`: addresses in the order of last use, oldest first.
///
/// Source: net/netfilter/xt_recent.c.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentList(pub IndexMap<IpAddr, RecentEntry>);

impl RecentList {
    /// Timestamps kept of one address, as many as a rule may ask for (`XT_RECENT_MAX_NSTAMPS`). The
    /// kernel keeps as many as the largest `--hitcount` of the list needs, at least 32 where a rule
    /// gives none; no rule can tell that from more.
    pub const TIMESTAMPS: usize = 65_536;
    /// Addresses kept: module parameter `ip_list_tot`; the one not seen for longest makes room.
    pub const ADDRESSES: usize = 100;

    /// Notes an address (`recent_entry_init`, `recent_entry_update`).
    pub fn note(&mut self, address: IpAddr, ttl: u8, at: SimTime) {
        if !self.0.contains_key(&address) && self.0.len() >= Self::ADDRESSES {
            self.0.shift_remove_index(0);
        }
        let mut seen = self
            .0
            .shift_remove(&address)
            .map_or_else(Vec::new, |entry| entry.seen);
        seen.push(at);
        if seen.len() > Self::TIMESTAMPS {
            seen.remove(0);
        }
        self.0.insert(address, RecentEntry { seen, ttl });
    }

    /// Forgets the address not seen for longest if that was before a moment (`recent_entry_reap`).
    pub fn reap(&mut self, before: SimTime) {
        let stale = self
            .0
            .first()
            .is_some_and(|(_, entry)| entry.seen.last().is_none_or(|&seen| seen < before));
        if stale {
            self.0.shift_remove_index(0);
        }
    }
}

/// The bucket of one `-m limit` rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// Credit left, in nanoseconds of its rate.
    pub credit_ns: u64,
    /// When that was.
    pub at: SimTime,
}

/// All memory of one family's rules in one network namespace.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// ipsets by name. Shared: whoever walks many packets through the same rules begins each time with
    /// the same sets.
    pub sets: Arc<Sets>,
    /// Lists of `-m recent` by name.
    pub recent: IndexMap<Box<str>, RecentList>,
    /// Buckets of `-m limit`; a rule without one has a full bucket.
    pub limits: BTreeMap<RuleId, LimitState>,
    /// Packets counted so far by `-m statistic --mode nth`.
    pub nth: BTreeMap<RuleId, u32>,
    /// What nftables' rules remember.
    pub nft: nft::State,
}

impl State {
    /// Carries out what an evaluation asked for, in order.
    pub fn apply(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::RecentSeen {
                    list,
                    address,
                    ttl,
                    at,
                } => {
                    self.recent
                        .entry(list.clone())
                        .or_default()
                        .note(*address, *ttl, *at);
                }
                Effect::RecentReaped { list, before } => {
                    if let Some(list) = self.recent.get_mut(list) {
                        list.reap(*before);
                    }
                }
                Effect::RecentRemoved { list, address } => {
                    if let Some(list) = self.recent.get_mut(list) {
                        list.0.shift_remove(address);
                    }
                }
                Effect::Limit { rule, state } => {
                    self.limits.insert(*rule, *state);
                }
                Effect::Nth { rule, count } => {
                    self.nth.insert(*rule, *count);
                }
                Effect::Logged { .. } => {}
            }
        }
    }
}
