//! Chains before their rules are built, by name.

use podwire_ruleset::L4;
use podwire_ruleset::nft::Name;

use super::name_list::{self, NameList, SHELVES};

/// Chains without their rules.
///
/// They are asked for by name, which is by hash, while service ports and endpoints lie elsewhere in the
/// memory. So what the text of most needs is kept by the beginning of the name too, in pieces that fit into
/// a processor's cache.
#[derive(Debug)]
pub(super) struct PlannedChains {
    /// In the order of service ports, as their rules name them.
    names: NameList,
    shelves: Vec<Shelf>,
}

/// Chains whose names begin alike.
#[derive(Clone, Debug, Default)]
struct Shelf {
    names: NameList,
    owners: Vec<Owner>,
    /// What is known of the chain's text ([`PlannedChain::text`]).
    texts: NameList,
}

/// A chain without its rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlannedChain<'c> {
    pub(super) name: &'c str,
    pub(super) of: Owner,
    /// Of an endpoint that has a protocol in [`Owner::Endpoint`], its address and port; of traffic that
    /// chooses among endpoints, the commands that add its rules, if the plan is for them; else nothing.
    pub(super) text: &'c str,
}

/// Whose a chain is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// One of those that every node has, by its place.
    Common(u32),
    /// Traffic of a port that may go anywhere.
    Cluster(u32),
    /// Traffic of a port that must stay on the node.
    Local(u32),
    /// Traffic of a port from outside.
    External(u32),
    /// Traffic of a port to a load balancer address with source ranges.
    Firewall(u32),
    /// An endpoint.
    Endpoint {
        /// Its port's place, and its own in the port.
        place: (u32, u32),
        /// Its protocol, if its rules hold nothing else but its address and port: it has no session
        /// affinity, and its address is spelled as it is printed.
        plain: Option<L4>,
    },
    /// No one's: the chain was used by an earlier sync, and is empty.
    Stale,
}

impl Owner {
    /// Whether a chain that chooses among endpoints does so among those on the node only.
    pub(super) const fn chooses_among_local(self) -> Option<bool> {
        match self {
            Self::Cluster(_) => Some(false),
            Self::Local(_) => Some(true),
            Self::Common(_)
            | Self::External(_)
            | Self::Firewall(_)
            | Self::Endpoint { .. }
            | Self::Stale => None,
        }
    }
}

impl PlannedChains {
    pub(super) fn new() -> Self {
        Self {
            names: NameList::default(),
            shelves: vec![Shelf::default(); SHELVES],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Adds a chain whose name is made of these parts.
    ///
    /// `text` is what is known of its text ([`PlannedChain::text`]).
    pub(super) fn push(&mut self, name: &[&str], of: Owner, text: &str) {
        let place = self.names.len();
        self.names.push(name);
        let name = self.names.get(place);
        self.shelves[name_list::shelf(name)].push(PlannedChain { name, of, text });
    }

    /// Adds the chain of an endpoint.
    pub(super) fn push_endpoint(
        &mut self,
        name: &str,
        place: (u32, u32),
        plain: Option<(L4, &str)>,
    ) {
        let (plain, text) = plain.map_or((None, ""), |(l4, text)| (Some(l4), text));
        self.push(&[name], Owner::Endpoint { place, plain }, text);
    }

    /// Names in the order in which they were added.
    pub(super) const fn names(&self) -> &NameList {
        &self.names
    }

    /// One of them.
    pub(super) fn name(&self, place: usize) -> Name {
        Name::literal(self.names.get(place))
    }

    /// Puts them in order; of those that have the same name, only the first stays.
    pub(super) fn sort(&mut self) {
        for shelf in &mut self.shelves {
            *shelf = shelf.sorted();
        }
    }

    /// All by name.
    pub(super) fn by_name(&self) -> impl Iterator<Item = PlannedChain<'_>> {
        self.shelves
            .iter()
            .flat_map(|shelf| (0..shelf.owners.len()).map(|place| shelf.get(place)))
    }
}

impl Shelf {
    fn push(&mut self, PlannedChain { name, of, text }: PlannedChain<'_>) {
        self.names.push(&[name]);
        self.owners.push(of);
        self.texts.push(&[text]);
    }

    fn get(&self, place: usize) -> PlannedChain<'_> {
        PlannedChain {
            name: self.names.get(place),
            of: self.owners[place],
            text: self.texts.get(place),
        }
    }

    /// The same by name; of chains that have the same, the first. They are moved: who asks for one after the
    /// other finds the next one behind the last.
    fn sorted(&self) -> Self {
        let mut sorted = Self {
            names: self.names.room(),
            owners: Vec::with_capacity(self.owners.len()),
            texts: self.texts.room(),
        };
        let mut last = None;
        for place in name_list::sorted(&self.names) {
            let chain = self.get(place as usize);
            if last.replace(chain.name) != Some(chain.name) {
                sorted.push(chain);
            }
        }
        sorted
    }
}
