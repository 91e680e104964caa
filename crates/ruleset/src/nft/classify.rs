//! What evaluators say of nftables' rules, and in which words.

use super::{Presence, RuleId, Value};
use crate::{ChainId, LimitState};

/// A base chain by the places of its table in the rule set and of itself in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseChainId {
    /// Place of the table in its rule set.
    pub table: u32,
    /// The chain.
    pub chain: ChainId,
}

/// A named set or map by the places of its table in the rule set and of itself in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId {
    /// Place of the table in its rule set.
    pub table: u32,
    /// Place of the set in its table.
    pub set: u32,
}

/// An element of a named map by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElementId {
    /// The map.
    pub set: SetId,
    /// Place of the element in the map.
    pub element: u32,
}

/// A statement of a rule that remembers something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementId {
    /// The rule.
    pub rule: RuleId,
    /// Which of the rule's statements, from 0.
    pub statement: u32,
}

/// A base chain as the kernel has it in the list of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HookedChain {
    /// The chain.
    pub chain: BaseChainId,
    /// Whether its type is `nat`: then it is asked for the first packet of a connection only, among
    /// the hook's other chains that translate (`nf_nat_inet_fn`, net/netfilter/nf_nat_core.c).
    pub is_nat: bool,
    /// Its place among all that hangs on the hook: lower is earlier.
    pub priority: i32,
    /// Whether it was made before every chain of type `nat`. The kernel hangs translation on its hooks
    /// with the first of those (`nf_nat_register_fn`), and of two with one priority the later comes
    /// first.
    pub is_older_than_nat: bool,
}

/// What a rule wants remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `add @set`, `update @set` or `delete @set` had a say about an element.
    Element {
        /// The set.
        set: SetId,
        /// The element: a value for each part.
        key: Box<[Value]>,
        /// Whether it is there now.
        presence: Presence,
    },
    /// `limit` looked into its bucket.
    Limit {
        /// The statement.
        statement: StatementId,
        /// The bucket afterwards.
        state: LimitState,
    },
    /// `numgen inc` counted a packet.
    Counted {
        /// The statement.
        statement: StatementId,
        /// The count afterwards.
        count: u32,
    },
    /// `log` wrote about the packet.
    Logged {
        /// The rule.
        rule: RuleId,
    },
}

/// What one base chain says about one packet.
pub type Decision = crate::Decision<RuleId, Effect>;

/// Who watches an evaluation. The unit type watches nothing and costs nothing.
pub trait Observe {
    /// A rule's every test held; its statements have been carried out. `found` is what it found in a
    /// named map, if it looked into one.
    fn matched(&mut self, rule: RuleId, found: Option<ElementId>);

    /// The packet reached the end of a base chain.
    fn policy(&mut self, chain: BaseChainId);
}

impl Observe for () {
    fn matched(&mut self, _: RuleId, _: Option<ElementId>) {}

    fn policy(&mut self, _: BaseChainId) {}
}

impl Observe for Vec<RuleId> {
    fn matched(&mut self, rule: RuleId, _: Option<ElementId>) {
        self.push(rule);
    }

    fn policy(&mut self, _: BaseChainId) {}
}
