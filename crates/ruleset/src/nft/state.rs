//! What nftables' rules remember from packet to packet.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use podwire_packet::SimTime;

use super::{Effect, SetId, StatementId, Value};
use crate::LimitState;

/// All memory of one family's nftables in one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Elements that rules put into sets, as a value for each part, each with the moment at which it goes. Elements that a set
    /// was declared with are not among them.
    pub added: BTreeMap<SetId, IndexMap<Box<[Value]>, Option<SimTime>>>,
    /// Buckets of `limit`; a statement without one has a full bucket.
    pub limits: BTreeMap<StatementId, LimitState>,
    /// What `numgen inc` counted so far.
    pub counts: BTreeMap<StatementId, u32>,
}

impl State {
    /// Carries out what an evaluation asked for, in order.
    pub fn apply(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Added { set, key, expires } => {
                    let elements = self.added.entry(*set).or_default();
                    elements.insert(key.clone(), *expires);
                }
                Effect::Deleted { set, key } => {
                    if let Some(elements) = self.added.get_mut(set) {
                        elements.shift_remove(key);
                    }
                }
                Effect::Limit { statement, state } => {
                    self.limits.insert(*statement, *state);
                }
                Effect::Counted { statement, count } => {
                    self.counts.insert(*statement, *count);
                }
                Effect::Logged { .. } => {}
            }
        }
    }
}
