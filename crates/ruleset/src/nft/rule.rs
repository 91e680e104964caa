//! One rule.

use super::Statement;
use crate::{ChainId, Origin};

/// Statements, run from left to right until one does not hold or ends the rule.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// The statements, in order.
    pub statements: Vec<Statement>,
    /// `comment "…"`.
    pub comment: Option<Box<str>>,
    /// The kernel's number for it, where the text said so (`nft -a list ruleset`).
    pub handle: Option<u64>,
    /// Who made it.
    pub origin: Option<Origin>,
}

impl Rule {
    /// A rule of these statements.
    #[must_use]
    pub const fn of(statements: Vec<Statement>) -> Self {
        Self {
            statements,
            comment: None,
            handle: None,
            origin: None,
        }
    }

    /// Whether it has a statement that podwire does not evaluate.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.statements
            .iter()
            .any(|statement| matches!(statement, Statement::Unknown(_)))
    }
}

impl PartialEq for Rule {
    /// Whether the two say the same in the same order. Handles and origins are not part of a rule's
    /// meaning.
    fn eq(&self, other: &Self) -> bool {
        self.statements == other.statements && self.comment == other.comment
    }
}

/// A rule by table, chain and number within the chain, from 1.
///
/// [`RuleSet::label`](super::RuleSet::label) gives it a readable name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// Place of the table in its rule set.
    pub table: u32,
    /// The chain.
    pub chain: ChainId,
    /// Number within the chain, from 1.
    pub number: u32,
}
