//! Whether traffic may pass, and who says so.

use podwire_cluster::{NetworkPolicy, Pod, PolicyType};

use super::{Policies, Traffic, other};

/// Why policies do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// A pod reaches itself.
    Itself,
    /// A pod and the node that it runs on reach each other.
    OwnNode,
}

/// What a rule makes of traffic. It lets it through if both hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgedRule {
    /// Whether the other end is one of its peers.
    pub peers: bool,
    /// Whether the port is one of its ports.
    pub ports: bool,
}

impl JudgedRule {
    /// Whether it lets the traffic through.
    #[must_use]
    pub const fn allows(self) -> bool {
        self.peers && self.ports
    }
}

/// A policy that isolates the pod, and what each of its rules makes of the traffic.
#[derive(Clone, Debug)]
pub struct JudgedPolicy<'c> {
    /// The policy.
    pub policy: &'c NetworkPolicy,
    /// Its rules, in order.
    pub rules: Vec<JudgedRule>,
}

impl JudgedPolicy<'_> {
    /// The numbers, from 0, of its rules that let the traffic through.
    pub fn allowing(&self) -> impl Iterator<Item = usize> {
        let rules = self.rules.iter().enumerate();
        rules.filter(|(_, rule)| rule.allows()).map(|(at, _)| at)
    }
}

/// What policies say at one end of traffic.
#[derive(Clone, Debug)]
pub struct Side<'c> {
    /// Whether the end receives or sends.
    pub way: PolicyType,
    /// The pod there; policies say nothing of others.
    pub pod: Option<&'c Pod>,
    /// The policies that isolate the pod that way, by namespace and name.
    pub policies: Vec<JudgedPolicy<'c>>,
    /// Why they do not count.
    pub exemption: Option<Exemption>,
}

impl Side<'_> {
    /// Whether this end lets the traffic through.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.exemption.is_some()
            || self.policies.is_empty()
            || self
                .policies
                .iter()
                .any(|judged| judged.allowing().next().is_some())
    }
}

/// What policies say of traffic.
#[derive(Clone, Debug)]
pub struct Verdict<'c> {
    /// At the receiver.
    pub ingress: Side<'c>,
    /// At the sender.
    pub egress: Side<'c>,
}

impl Verdict<'_> {
    /// Whether both ends let it through.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.ingress.allowed() && self.egress.allowed()
    }
}

impl<'c> Policies<'c> {
    pub(super) fn side(
        &self,
        way: PolicyType,
        traffic: &Traffic<'_>,
        exemption: Option<Exemption>,
    ) -> Side<'c> {
        let own = match way {
            PolicyType::Ingress => traffic.to,
            PolicyType::Egress => traffic.from,
        };
        let isolating = self.isolating_policies(way, traffic).iter();
        let policies = isolating.map(|&number| {
            let compiled = &self.policies[number as usize];
            let rules = compiled.rules(way).iter().map(|rule| JudgedRule {
                peers: self.peers_match(rule, other(way, traffic)),
                ports: self.ports_match(rule, traffic),
            });
            JudgedPolicy {
                policy: compiled.policy,
                rules: rules.collect(),
            }
        });
        Side {
            way,
            pod: own.pod.map(|pod| self.pods.get(pod)),
            policies: policies.collect(),
            exemption,
        }
    }
}
