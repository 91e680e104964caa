//! Everybody to everybody on one port, by classes of pods that are alike.
//!
//! Two pods are alike if no policy of the cluster can tell them apart: the same selectors select them, the
//! same blocks hold their address, and they have the same answer to every named port that a policy asks
//! for. Whatever holds between two pods then holds between any two of their classes, but for a pod and
//! itself. So one answer a pair of classes is worked out, and that is exact.

use indexmap::IndexSet;
use podwire_cluster::{IpBlock, Pod, PolicyType, PortNumbers};
use podwire_packet::{Family, Protocol};

use super::{CompiledPeer, CompiledRule, Party, Policies, Traffic, has_named_port, holds};

/// What sets a pod apart from others.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    /// The sets that hold it.
    sets: Vec<u32>,
    /// The blocks that hold its address.
    blocks: Vec<u32>,
    /// The named ports that have the number that is asked for.
    ports: Vec<u32>,
}

/// Which pod reaches which on one port.
#[derive(Clone, Debug)]
pub struct Matrix<'c> {
    /// Those with an address of the family, by namespace and name.
    pods: Vec<&'c Pod>,
    class_of: Vec<u32>,
    classes: usize,
    /// Whether a class reaches another: a row for each sender.
    allowed: Vec<bool>,
}

impl<'c> Matrix<'c> {
    /// Asks about every pair of pods.
    #[must_use]
    pub fn new(policies: &Policies<'c>, family: Family, protocol: Protocol, port: u16) -> Self {
        let (blocks, names) = told_apart_by(policies);
        let address = |pod: &Pod| {
            let mut ips = pod.ips.iter().copied();
            ips.find(|&ip| Family::of(ip) == family)
        };
        let parties = policies.pods.iter().enumerate();
        let parties: Vec<Party<'_>> = parties
            .filter_map(|(number, pod)| {
                Some(Party {
                    address: address(pod)?,
                    pod: Some(number),
                    node: None,
                })
            })
            .collect();
        let mut sets_of: Vec<Vec<u32>> = vec![Vec::new(); policies.pods.len()];
        for (id, set) in (0..).zip(policies.sets.iter()) {
            for pod in set.iter() {
                sets_of[pod].push(id);
            }
        }
        let mut likenesses: IndexSet<Likeness> = IndexSet::new();
        let mut of_class: Vec<Party<'_>> = Vec::new();
        let mut pods = Vec::with_capacity(parties.len());
        let mut class_of = Vec::with_capacity(parties.len());
        for party in parties {
            let number = party.pod.unwrap_or_default();
            let pod = policies.pods.get(number);
            let likeness = Likeness {
                sets: std::mem::take(&mut sets_of[number]),
                blocks: places(&blocks, |block| holds(block, party.address)),
                ports: places(&names, |name| has_named_port(pod, name, protocol, port)),
            };
            let (class, is_new) = likenesses.insert_full(likeness);
            if is_new {
                of_class.push(party);
            }
            pods.push(pod);
            class_of.push(u32::try_from(class).expect("no more classes than pods"));
        }
        let pairs = of_class
            .iter()
            .flat_map(|&from| of_class.iter().map(move |&to| (from, to)));
        let allowed = pairs.map(|(from, to)| {
            let traffic = Traffic {
                from,
                to,
                protocol,
                port,
            };
            // A class meets another of its own kind here, never itself: no exemption counts.
            [PolicyType::Egress, PolicyType::Ingress]
                .into_iter()
                .all(|way| policies.allows_way(way, &traffic))
        });
        Self {
            pods,
            class_of,
            allowed: allowed.collect(),
            classes: of_class.len(),
        }
    }

    /// The pods, in the order of rows and columns.
    #[must_use]
    pub fn pods(&self) -> &[&'c Pod] {
        &self.pods
    }

    /// How many kinds of pods there are.
    #[must_use]
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// Whether the pod in one place reaches the one in another.
    #[must_use]
    pub fn allows(&self, from: usize, to: usize) -> bool {
        let class = |pod: usize| self.class_of[pod] as usize;
        from == to || self.allowed[class(from) * self.classes + class(to)]
    }

    /// How many pairs reach each other, a pod and itself among them.
    #[must_use]
    pub fn count(&self) -> u64 {
        let mut members = vec![0_u64; self.classes];
        for &class in &self.class_of {
            members[class as usize] += 1;
        }
        let classes = 0..self.classes;
        let between = classes.clone().flat_map(|from| {
            let members = &members;
            let reached = classes.clone();
            let reached = reached.filter(move |to| self.allowed[from * self.classes + to]);
            reached.map(move |to| members[from] * members[to])
        });
        // A pod that policies keep from its own kind still reaches itself.
        let alone = (0..self.classes).filter(|own| !self.allowed[own * self.classes + own]);
        between.sum::<u64>() + alone.map(|own| members[own]).sum::<u64>()
    }
}

/// The places of those for which something holds.
fn places<T: Copy>(list: &[T], holds: impl Fn(T) -> bool) -> Vec<u32> {
    let places = (0..).zip(list);
    places
        .filter(|&(_, &one)| holds(one))
        .map(|(place, _)| place)
        .collect()
}

/// The blocks and the names of ports that rules ask about.
fn told_apart_by<'p>(policies: &'p Policies<'_>) -> (Vec<&'p IpBlock>, Vec<&'p str>) {
    let rules = policies.policies.iter();
    let rules = rules.flat_map(|policy| policy.ingress.iter().chain(&policy.egress));
    let rules: Vec<&CompiledRule<'_>> = rules.collect();
    let blocks = rules.iter().flat_map(|rule| &rule.peers);
    let blocks = blocks.filter_map(|peer| match peer {
        CompiledPeer::Block(block) => Some(*block),
        CompiledPeer::Pods(_) => None,
    });
    let ports = rules.iter().flat_map(|rule| rule.ports);
    let names = ports.filter_map(|port| match &port.numbers {
        PortNumbers::Named(name) => Some(&**name),
        PortNumbers::All | PortNumbers::Range(_) => None,
    });
    let names: IndexSet<&str> = names.collect();
    (blocks.collect(), names.into_iter().collect())
}
