//! What every object has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Labels or annotations.
pub type Labels = BTreeMap<Box<str>, Box<str>>;

/// An equality-based selector: every pair must be among the labels. An empty one selects nothing, as
/// in a Service.
pub type Selector = BTreeMap<Box<str>, Box<str>>;

/// An object's namespace and name; the namespace is empty for what has none, such as a Node.
///
/// Ordered by namespace, then name, as bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// A name in a namespace.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    /// Writes `namespace/name`, or the name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// A file that was read, by its place in [`Cluster::files`](crate::Cluster::files).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// Where an object was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The file.
    pub file: FileId,
    /// Line of the object's first key, from 1.
    pub line: u32,
}

/// What every object has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `metadata.annotations`.
    pub annotations: Labels,
    /// Where it was read; `None` for what podwire made itself.
    pub source: Option<Source>,
}
