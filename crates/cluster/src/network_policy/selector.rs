//! Label selectors.

use std::fmt;

use super::InvalidPolicy;
use crate::Labels;

/// How a requirement looks at the value of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `key=value`, as `matchLabels` has it. It means what [`In`](Self::In) with one value means, and is
    /// another word for it.
    Equals,
    /// The value is one of these.
    In,
    /// There is no value, or it is none of these.
    NotIn,
    /// There is a value.
    Exists,
    /// There is no value.
    DoesNotExist,
}

/// One thing that a selector wants of labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: Box<str>,
    /// How to look at its value.
    pub operator: Operator,
    /// Values to compare with, sorted.
    pub values: Vec<Box<str>>,
}

impl Requirement {
    /// A requirement as `matchExpressions` has it.
    pub(crate) fn new(
        key: Box<str>,
        operator: Operator,
        mut values: Vec<Box<str>>,
    ) -> Result<Self, InvalidPolicy> {
        let wants_values = matches!(operator, Operator::In | Operator::NotIn | Operator::Equals);
        if wants_values == values.is_empty() {
            return Err(InvalidPolicy {
                found: if wants_values {
                    format!("`{key}` compared with no value")
                } else {
                    format!("values of `{key}` for an operator that looks at none")
                },
                accepted: "values for In and NotIn, none for Exists and DoesNotExist",
            });
        }
        values.sort();
        values.dedup();
        Ok(Self {
            key,
            operator,
            values,
        })
    }

    /// Whether labels are as it wants them.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let is_one = || value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::Equals | Operator::In => is_one(),
            Operator::NotIn => !is_one(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl fmt::Display for Requirement {
    /// Writes it as kubectl's `-l` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = self.values.join(",");
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

/// Which labels are selected; without requirements, all.
///
/// Requirements are sorted by key, so two selectors are equal if they ask for the same in the same
/// words.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Selects everything.
    pub const ANY: Self = Self {
        requirements: Vec::new(),
    };

    /// The selector of `matchLabels` and `matchExpressions`.
    pub(crate) fn new(labels: Labels, expressions: Vec<Requirement>) -> Self {
        let equal = labels.into_iter().map(|(key, value)| Requirement {
            key,
            operator: Operator::Equals,
            values: vec![value],
        });
        let mut requirements: Vec<_> = equal.chain(expressions).collect();
        // As `labels.NewSelector().Add` sorts them: by key, the rest in the order of the text.
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements }
    }

    /// What it asks for.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects an object with these labels.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|one| one.matches(labels))
    }
}

impl fmt::Display for LabelSelector {
    /// Writes it as Go's `labels.Selector` does
    /// (staging/src/k8s.io/apimachinery/pkg/labels/selector.go).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, one) in self.requirements.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            write!(f, "{one}")?;
        }
        Ok(())
    }
}
