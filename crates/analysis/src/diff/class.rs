//! Packets that differ alike, as one class.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use podwire_cluster::ObjectName;

use super::outcome::{Outcome, Summary};
use super::probe::{DestinationKind, Probe, SenderKind};
use super::reason::Reason;

/// What becomes of a packet on the first side and on another, in words.
pub type Change = [String; 2];

/// Packets to one kind of address of a Service that another side treats differently from the first, for the
/// same reasons.
#[derive(Clone, Debug)]
pub struct Class {
    /// The Service.
    pub service: ObjectName,
    /// The side that differs from the first.
    pub side: usize,
    /// What kind of address they are sent to.
    pub destination: DestinationKind,
    /// Whether the Service has the port there.
    pub is_served: bool,
    /// Why, where that is known; where it is not, all packets of the class change in the same way.
    pub reasons: Vec<Reason>,
    /// Who sends them.
    pub senders: BTreeSet<SenderKind>,
    /// The nodes that serve them, of those that were asked.
    pub nodes: IndexSet<Arc<str>>,
    /// The service ports, by their places in [`Diff::ports`](super::Diff::ports).
    pub ports: BTreeSet<usize>,
    /// How they change, and how many packets so; the example's way first.
    pub changes: IndexMap<Change, usize>,
    /// One of them.
    pub example: Probe,
    /// What becomes of that one on the first side, and on the other.
    pub outcomes: [Outcome; 2],
}

impl Class {
    /// How many packets showed it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.changes.values().sum()
    }
}

/// What packets of a class have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: ObjectName,
    side: usize,
    destination: DestinationKind,
    is_served: bool,
    reasons: Vec<Reason>,
    /// Where no reason says what they have in common.
    change: Option<Change>,
}

/// Packets that differ, sorted into classes in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Classes(IndexMap<Key, Class>);

impl Classes {
    /// Puts a packet into its class: what becomes of it on the first side and on `side`, and why.
    pub(super) fn add(
        &mut self,
        probe: &Probe,
        side: usize,
        outcomes: [&Outcome; 2],
        reasons: Vec<Reason>,
    ) {
        let change = change(outcomes);
        let key = Key {
            service: probe.service.clone(),
            side,
            destination: probe.destination,
            is_served: probe.of.is_some(),
            change: reasons.is_empty().then(|| change.clone()),
            reasons,
        };
        let class = self.0.entry(key).or_insert_with_key(|key| Class {
            service: key.service.clone(),
            side,
            destination: key.destination,
            is_served: key.is_served,
            reasons: key.reasons.clone(),
            senders: BTreeSet::new(),
            nodes: IndexSet::new(),
            ports: BTreeSet::new(),
            changes: IndexMap::new(),
            example: probe.clone(),
            outcomes: outcomes.map(Clone::clone),
        });
        class.senders.insert(probe.sender);
        class.nodes.insert(probe.node.clone());
        class.ports.extend(probe.of);
        *class.changes.entry(change).or_default() += 1;
    }

    /// The classes: those of a Service together, then those of a side.
    pub(super) fn into_sorted(self) -> Vec<Class> {
        let mut classes: Vec<Class> = self.0.into_values().collect();
        classes.sort_by(|a, b| {
            let key = |class: &Class| {
                let service = class.service.clone();
                (service, class.side, class.destination, !class.is_served)
            };
            key(a).cmp(&key(b))
        });
        classes
    }
}

fn change(outcomes: [&Outcome; 2]) -> Change {
    // Where endpoints are matters only if the sides differ in which they choose.
    let [first, other] = outcomes;
    let with_locality =
        first.delivers() && other.delivers() && !first.endpoints().eq(other.endpoints());
    let words = outcomes.map(|outcome| {
        let summary = Summary {
            outcome,
            with_locality,
        };
        summary.to_string()
    });
    if words[0] != words[1] {
        return words;
    }
    // What differs is who gets it, or as whose it is seen.
    let [before, after] = outcomes.map(Outcome::receivers);
    [before, after].map(|receivers| format!("{}: {receivers}", words[0]))
}
