//! The form that both sides are brought into before they are compared.

use std::rc::Rc;

use indexmap::IndexMap;

/// Whose an entry or a block is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    /// What every node has.
    Common,
    /// A service port, by its printed name.
    Port(Rc<str>),
    /// An endpoint of a service port, as `ip:port`.
    Endpoint(Rc<str>, Rc<str>),
}

impl Subject {
    /// The service port that it belongs to.
    pub(super) const fn port(&self) -> Option<&Rc<str>> {
        match self {
            Self::Common => None,
            Self::Port(port) | Self::Endpoint(port, _) => Some(port),
        }
    }
}

/// What of the order of entries counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// All.
    Exact,
    /// That entries which are last stay last.
    Free,
}

/// What kind of block it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A chain that the kernel asks, and others write into.
    BuiltIn,
    /// One of kube-proxy's.
    KubeProxy,
    /// One of somebody else's.
    Other,
}

/// A rule, an element of a set, or a server.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Equal if, and only if, two entries mean the same.
    pub(super) key: Box<str>,
    /// What a person reads.
    pub(super) text: Box<str>,
    pub(super) line: Option<u32>,
    pub(super) of: Subject,
    /// Whether it sends new connections to the endpoint that it is of.
    pub(super) chooses: bool,
    /// Whether it stands behind all that come in random order.
    pub(super) is_last: bool,
    /// Whether a comment or a name in it is kube-proxy's.
    pub(super) is_recognised: bool,
    /// Whether a packet that it takes may be done with.
    pub(super) ends: bool,
    /// Whether it only lasts until connections that are there end.
    pub(super) is_draining: bool,
    /// Who wrote it, if not kube-proxy.
    pub(super) owner: &'static str,
}

impl Entry {
    /// An entry of kube-proxy's.
    pub(super) fn new(key: impl Into<Box<str>>, of: Subject) -> Self {
        let key = key.into();
        Self {
            text: key.clone(),
            key,
            line: None,
            of,
            chooses: false,
            is_last: false,
            is_recognised: true,
            ends: false,
            is_draining: false,
            owner: super::owners::UNKNOWN,
        }
    }
}

/// A chain, a set, or a virtual server.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) of: Subject,
    pub(super) kind: Kind,
    pub(super) order: Order,
    pub(super) line: Option<u32>,
    pub(super) entries: Vec<Entry>,
}

/// What one side has: blocks by their labels, such as `nat KUBE-SERVICES`.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// The file that it was read from.
    pub(super) file: Option<usize>,
    /// What its blocks are called.
    pub(super) blocks_are: &'static str,
    pub(super) blocks: IndexMap<Box<str>, Block>,
}

impl Listing {
    /// The tables that its blocks are in: first words of labels.
    pub(super) fn tables(&self) -> impl Iterator<Item = &str> {
        let labels = self.blocks.keys();
        labels.filter_map(|label| label.split(' ').next())
    }

    /// The service ports that blocks and entries are of.
    pub(super) fn ports(&self) -> impl Iterator<Item = &Rc<str>> {
        let blocks = self.blocks.values();
        blocks
            .flat_map(|block| {
                let entries = block.entries.iter().map(|entry| &entry.of);
                std::iter::once(&block.of).chain(entries)
            })
            .filter_map(Subject::port)
    }
}
