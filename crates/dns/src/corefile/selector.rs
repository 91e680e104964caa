//! Label selectors in the form of `kubectl -l`.

/// A label selector: every requirement must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The requirements, as written.
    pub requirements: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What its value must be.
    pub value: Wanted,
}

/// What a label's value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One of these.
    In(Vec<String>),
    /// None of these; an absent label will do.
    NotIn(Vec<String>),
    /// Any: the label is there.
    Exists,
    /// The label is not there.
    Absent,
}

impl Selector {
    /// Whether an object whose labels `label` knows is selected.
    pub fn matches<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = label(&requirement.key);
            match &requirement.value {
                Wanted::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
                Wanted::NotIn(values) => {
                    value.is_none_or(|value| values.iter().all(|v| v != value))
                }
                Wanted::Exists => value.is_some(),
                Wanted::Absent => value.is_none(),
            }
        })
    }
}
