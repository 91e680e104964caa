//! What nftables' rules remember from packet to packet.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use podwire_packet::SimTime;

use super::{Effect, RuleSet, SetId, StatementId, Value};
use crate::LimitState;

/// Whether a set has an element, if a rule had a say in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Put in, or given more time.
    Until {
        /// The moment at which it goes; `None` for never.
        expires: Option<SimTime>,
    },
    /// Taken out.
    Gone,
}

impl Presence {
    /// Whether the element is there at a moment.
    #[must_use]
    pub fn is_there(self, now: SimTime) -> bool {
        match self {
            Self::Until { expires } => expires.is_none_or(|expires| now < expires),
            Self::Gone => false,
        }
    }
}

/// All memory of one family's nftables in one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Elements that rules put into sets or took out, as a value for each part. Of others a set has
    /// those that it was declared with.
    pub elements: BTreeMap<SetId, IndexMap<Box<[Value]>, Presence>>,
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
                Effect::Element { set, key, presence } => {
                    let elements = self.elements.entry(*set).or_default();
                    elements.insert(key.clone(), *presence);
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

    /// Goes on from the rules of before to those that a transaction of kube-proxy leaves. A set that is
    /// in both, by table and name, keeps its elements; what a rule remembers ends with it, as
    /// kube-proxy flushes the chains that it writes.
    pub fn carry_over(&mut self, before: &RuleSet, after: &RuleSet) {
        let elements = std::mem::take(&mut self.elements);
        let kept = elements.into_iter().filter_map(|(id, elements)| {
            let (table, set) = before.set_name(id)?;
            Some((after.set_id(table, set)?, elements))
        });
        self.elements = kept.collect();
        self.limits.clear();
        self.counts.clear();
    }
}
