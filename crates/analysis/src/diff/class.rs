//! Packets that differ alike, as one class.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use podwire_cluster::ObjectName;

use super::outcome::{Outcome, Summary};
use super::probe::{DestinationKind, Probe, SenderKind};
use super::reason::Reason;

/// Packets to one Service that the sides treat differently in the same way.
#[derive(Clone, Debug)]
pub struct Class {
    /// The Service.
    pub service: ObjectName,
    /// What kind of address they are sent to.
    pub destination: DestinationKind,
    /// Whether the Service has the port there.
    pub is_served: bool,
    /// Who sends them.
    pub senders: BTreeSet<SenderKind>,
    /// The nodes whose rules see them first, of those that were asked.
    pub nodes: IndexSet<Arc<str>>,
    /// The service ports, by their places in [`Diff::ports`](super::Diff::ports).
    pub ports: BTreeSet<usize>,
    /// What becomes of them, side by side.
    pub fates: Vec<String>,
    /// Why, where that is known.
    pub reasons: Vec<Reason>,
    /// How many packets showed it.
    pub count: usize,
    /// One of them.
    pub example: Probe,
    /// What became of that one, side by side.
    pub outcomes: Vec<Outcome>,
}

/// What packets of a class have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: ObjectName,
    destination: DestinationKind,
    is_served: bool,
    fates: Vec<String>,
    reasons: Vec<Reason>,
}

/// Packets that differ, sorted into classes in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Classes(IndexMap<Key, Class>);

impl Classes {
    /// Puts a packet into its class.
    pub(super) fn add(&mut self, probe: &Probe, outcomes: &[&Outcome], reasons: Vec<Reason>) {
        // Who is on the node matters only where that is what differs.
        let mut delivering = outcomes.iter().filter(|outcome| outcome.delivers());
        let first = delivering.next();
        let with_locality = delivering.any(|other| {
            first.is_some_and(|first| !first.endpoints().eq(other.endpoints()))
        });
        let summary = |outcome| Summary {
            outcome,
            with_locality,
        };
        let fates: Vec<String> = outcomes
            .iter()
            .map(|outcome| summary(*outcome).to_string())
            .collect();
        let key = Key {
            service: probe.service.clone(),
            destination: probe.destination,
            is_served: probe.of.is_some(),
            fates,
            reasons,
        };
        let class = self.0.entry(key).or_insert_with_key(|key| Class {
            service: key.service.clone(),
            destination: key.destination,
            is_served: key.is_served,
            senders: BTreeSet::new(),
            nodes: IndexSet::new(),
            ports: BTreeSet::new(),
            fates: key.fates.clone(),
            reasons: key.reasons.clone(),
            count: 0,
            example: probe.clone(),
            outcomes: outcomes.iter().map(|&outcome| outcome.clone()).collect(),
        });
        class.senders.insert(probe.sender);
        class.nodes.insert(probe.node.clone());
        class.ports.extend(probe.of);
        class.count += 1;
    }

    /// The classes, those of a Service together.
    pub(super) fn into_sorted(self) -> Vec<Class> {
        let mut classes: Vec<Class> = self.0.into_values().collect();
        classes.sort_by(|a, b| {
            let key = |class: &Class| (class.service.clone(), class.destination, !class.is_served);
            key(a).cmp(&key(b))
        });
        classes
    }
}
