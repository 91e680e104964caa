//! What rules remember from packet to packet.
//!
//! Evaluators read it and return [`Effect`](crate::Effect)s; whoever owns the state applies them. So
//! an evaluation changes nothing by itself and can be repeated.

use std::collections::BTreeMap;
use std::net::IpAddr;

use indexmap::IndexMap;
use podwire_packet::SimTime;

use crate::{Effect, RuleId, Sets};

/// An address in a list of `-m recent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentEntry {
    /// When it was seen, oldest first; at most 20 (`ip_pkt_list_tot`, net/netfilter/xt_recent.c).
    pub seen: Vec<SimTime>,
    /// TTL of the packet last noted.
    pub ttl: u8,
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
    /// ipsets by name.
    pub sets: Sets,
    /// Lists of `-m recent` by name.
    pub recent: IndexMap<Box<str>, IndexMap<IpAddr, RecentEntry>>,
    /// Buckets of `-m limit`; a rule without one has a full bucket.
    pub limits: BTreeMap<RuleId, LimitState>,
    /// Packets counted so far by `-m statistic --mode nth`.
    pub nth: BTreeMap<RuleId, u32>,
}

impl State {
    /// Timestamps that `-m recent` keeps of one address: module parameter `ip_pkt_list_tot`
    /// (net/netfilter/xt_recent.c).
    pub const RECENT_TIMESTAMPS: usize = 20;
    /// Addresses that a list of `-m recent` holds: module parameter `ip_list_tot`; the one not seen
    /// for longest makes room.
    pub const RECENT_ADDRESSES: usize = 100;

    /// Carries out what an evaluation asked for, in order.
    pub fn apply(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::RecentSeen {
                    list,
                    address,
                    ttl,
                    at,
                } => self.note(list, *address, *ttl, *at),
                Effect::RecentReaped {
                    list,
                    address,
                    before,
                } => {
                    if let Some(entry) = self
                        .recent
                        .get_mut(list)
                        .and_then(|list| list.get_mut(address))
                    {
                        entry.seen.retain(|seen| seen >= before);
                    }
                }
                Effect::RecentRemoved { list, address } => {
                    if let Some(list) = self.recent.get_mut(list) {
                        list.shift_remove(address);
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

    fn note(&mut self, list: &str, address: IpAddr, ttl: u8, at: SimTime) {
        let list = self.recent.entry(list.into()).or_default();
        if !list.contains_key(&address) && list.len() >= Self::RECENT_ADDRESSES {
            list.shift_remove_index(0);
        }
        let mut entry = list.shift_remove(&address).unwrap_or(RecentEntry {
            seen: Vec::new(),
            ttl,
        });
        entry.ttl = ttl;
        entry.seen.push(at);
        if entry.seen.len() > Self::RECENT_TIMESTAMPS {
            entry.seen.remove(0);
        }
        // At the end: the kernel keeps the list in order of last use (`recent_entry_update`).
        list.insert(address, entry);
    }
}
