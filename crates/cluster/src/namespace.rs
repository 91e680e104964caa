//! Namespaces.

use crate::{Labels, Source};

/// The label that the API server puts on every Namespace: its name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its labels; [`NAMESPACE_NAME_LABEL`] is among them.
    pub labels: Labels,
    /// Where it was read.
    pub source: Option<Source>,
}

impl Namespace {
    /// A namespace with these labels and the one that the API server adds
    /// (`setDefaultsNamespace`, pkg/apis/core/v1/defaults.go of kubernetes).
    #[must_use]
    pub fn new(name: &str, mut labels: Labels, source: Option<Source>) -> Self {
        labels.insert(NAMESPACE_NAME_LABEL.into(), name.into());
        Self { labels, source }
    }
}
