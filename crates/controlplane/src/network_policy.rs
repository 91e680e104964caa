//! NetworkPolicy: what policies mean, and what a controller makes of them.
//!
//! # Map
//! - [`Policies`]: the policies of a cluster, compiled; [`Policies::verdict`] says whether traffic may
//!   pass and which policies decided it, [`Policies::allows`] only the former, and fast.
//! - [`Party`], [`Traffic`]: who talks to whom.
//! - [`Verdict`], [`Side`]: the answer, for either end.
//! - [`Matrix`]: everybody to everybody on one port, by classes of pods that are alike.
//! - `pods`: which pods there are, and which a selector selects.
//! - [`WeaveNpc`]: the ipsets and rules of Weave Net's controller, which are no exact copy of the meaning.
//!
//! # Sources
//! The comments of staging/src/k8s.io/api/networking/v1/types.go of kubernetes, and
//! <https://kubernetes.io/docs/concepts/services-networking/network-policies/>.
//!
//! # Departures
//! What the API leaves to whoever enforces is decided as most of them do:
//! - A pod of the host network is its node: policies do not select it, and selectors of peers do not find
//!   it. A pod that has finished, or has no address yet, is nobody.
//! - A pod reaches itself, and its own node reaches it, whatever policies say.
//! - An ipBlock holds addresses of pods too.

mod matrix;
mod pods;
mod verdict;
mod weave_npc;

use std::net::IpAddr;

use podwire_cluster::{
    Cluster, IpBlock, NetworkPolicy, ObjectName, Peer, Pod, PolicyPort, PolicyRule, PolicyType,
    PortNumbers,
};
use podwire_packet::Protocol;

use self::pods::{PodSets, Pods, SetId};

pub use matrix::Matrix;
pub use verdict::{Exemption, JudgedPolicy, JudgedRule, Side, Verdict};
pub use weave_npc::{WeaveNpc, WeaveObject, set_name};

/// One end of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party<'a> {
    /// Its address.
    pub address: IpAddr,
    /// The pod that it is, by its number; nothing for whoever is none that policies see.
    pod: Option<usize>,
    /// The node that it is: the node's own processes and pods of the host network.
    node: Option<&'a str>,
}

/// Traffic that somebody begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic<'a> {
    /// Who begins it.
    pub from: Party<'a>,
    /// Whom it is for, behind any Service.
    pub to: Party<'a>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the receiver.
    pub port: u16,
}

/// Whom a rule is about, compiled.
#[derive(Debug)]
enum CompiledPeer<'c> {
    Pods(SetId),
    Block(&'c IpBlock),
}

/// A rule, compiled.
#[derive(Debug)]
struct CompiledRule<'c> {
    /// Everybody if it is empty.
    peers: Vec<CompiledPeer<'c>>,
    /// Every port of every protocol if it is empty.
    ports: &'c [PolicyPort],
}

/// A policy, compiled.
#[derive(Debug)]
struct CompiledPolicy<'c> {
    policy: &'c NetworkPolicy,
    ingress: Vec<CompiledRule<'c>>,
    egress: Vec<CompiledRule<'c>>,
}

impl<'c> CompiledPolicy<'c> {
    fn rules(&self, way: PolicyType) -> &[CompiledRule<'c>] {
        match way {
            PolicyType::Ingress => &self.ingress,
            PolicyType::Egress => &self.egress,
        }
    }
}

/// The policies that isolate each pod, by number.
#[derive(Debug, Default)]
struct Isolating {
    ingress: Vec<Vec<u32>>,
    egress: Vec<Vec<u32>>,
}

impl Isolating {
    fn of(&self, way: PolicyType) -> &[Vec<u32>] {
        match way {
            PolicyType::Ingress => &self.ingress,
            PolicyType::Egress => &self.egress,
        }
    }
}

/// The policies of a cluster, every selector resolved to the pods that it selects.
#[derive(Debug)]
pub struct Policies<'c> {
    pods: Pods<'c>,
    sets: PodSets<'c>,
    policies: Vec<CompiledPolicy<'c>>,
    isolating: Isolating,
}

impl<'c> Policies<'c> {
    /// Compiles the policies of a cluster.
    #[must_use]
    pub fn new(cluster: &'c Cluster) -> Self {
        let pods = Pods::new(cluster);
        let mut sets = PodSets::new(cluster, &pods);
        let mut isolating = Isolating {
            ingress: vec![Vec::new(); pods.len()],
            egress: vec![Vec::new(); pods.len()],
        };
        let mut policies = Vec::with_capacity(cluster.network_policies.len());
        for (number, policy) in (0..).zip(cluster.network_policies.values()) {
            let namespace = &*policy.meta.name.namespace;
            let selected = sets.of_namespace(namespace, Some(&policy.pod_selector));
            for pod in sets.set(selected).iter() {
                if policy.isolates(PolicyType::Ingress) {
                    isolating.ingress[pod].push(number);
                }
                if policy.isolates(PolicyType::Egress) {
                    isolating.egress[pod].push(number);
                }
            }
            let mut rules = |way| compile(&mut sets, namespace, policy.rules(way));
            policies.push(CompiledPolicy {
                policy,
                ingress: rules(PolicyType::Ingress),
                egress: rules(PolicyType::Egress),
            });
        }
        Self {
            pods,
            sets,
            policies,
            isolating,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// A pod, by an address that it has; one of the host network is its node. `None` where there is no
    /// such pod, it has finished, or has no such address.
    #[must_use]
    pub fn pod(&self, name: &ObjectName, address: IpAddr) -> Option<Party<'c>> {
        let number = self.pods.number(name);
        if let Some(number) = number.filter(|&pod| self.pods.get(pod).ips.contains(&address)) {
            return Some(Party {
                address,
                pod: Some(number),
                node: None,
            });
        }
        let is_of_host = self.pods.is_of_host(name, address);
        is_of_host.then(|| self.address(address))
    }

    /// Whoever has an address: a pod, a node, or somebody outside.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> Party<'c> {
        let pod = self.pods.by_address(address);
        Party {
            address,
            pod,
            node: match pod {
                Some(_) => None,
                None => self.pods.node_of(address),
            },
        }
    }

    /// The object of a party that is a pod.
    #[must_use]
    pub fn object(&self, party: Party<'_>) -> Option<&'c Pod> {
        party.pod.map(|pod| self.pods.get(pod))
    }

    /// Whether traffic may pass.
    ///
    /// # Cost
    /// The rules of the policies that isolate the two ends, each by a bit for a selector. No allocation.
    #[must_use]
    pub fn allows(&self, traffic: &Traffic<'_>) -> bool {
        self.exemption(traffic).is_some()
            || [PolicyType::Egress, PolicyType::Ingress]
                .into_iter()
                .all(|way| self.allows_way(way, traffic))
    }

    /// Whether traffic may pass, and which policies decided it at either end.
    #[must_use]
    pub fn verdict(&self, traffic: &Traffic<'_>) -> Verdict<'c> {
        let exemption = self.exemption(traffic);
        Verdict {
            ingress: self.side(PolicyType::Ingress, traffic, exemption),
            egress: self.side(PolicyType::Egress, traffic, exemption),
        }
    }

    fn allows_way(&self, way: PolicyType, traffic: &Traffic<'_>) -> bool {
        let isolating = self.isolating_policies(way, traffic);
        isolating.is_empty()
            || isolating.iter().any(|&policy| {
                let rules = self.policies[policy as usize].rules(way);
                let matches = |rule| {
                    self.ports_match(rule, traffic) && self.peers_match(rule, other(way, traffic))
                };
                rules.iter().any(matches)
            })
    }

    /// The policies that isolate the end that a way is about.
    fn isolating_policies(&self, way: PolicyType, traffic: &Traffic<'_>) -> &[u32] {
        let own = match way {
            PolicyType::Ingress => traffic.to,
            PolicyType::Egress => traffic.from,
        };
        own.pod.map_or(&[], |pod| &self.isolating.of(way)[pod][..])
    }

    /// Why policies do not count for this traffic.
    fn exemption(&self, traffic: &Traffic<'_>) -> Option<Exemption> {
        let (from, to) = (traffic.from, traffic.to);
        if from.pod.is_some() && from.pod == to.pod {
            return Some(Exemption::Itself);
        }
        let node = |pod: usize| self.pods.get(pod).node.as_deref();
        let is_own_node = |pod: Option<usize>, other: Party<'_>| {
            other.node.is_some() && pod.is_some_and(|pod| node(pod) == other.node)
        };
        (is_own_node(from.pod, to) || is_own_node(to.pod, from)).then_some(Exemption::OwnNode)
    }

    fn peers_match(&self, rule: &CompiledRule<'_>, other: Party<'_>) -> bool {
        rule.peers.is_empty()
            || rule.peers.iter().any(|peer| match peer {
                CompiledPeer::Pods(set) => {
                    other.pod.is_some_and(|pod| self.sets.set(*set).holds(pod))
                }
                CompiledPeer::Block(block) => holds(block, other.address),
            })
    }

    fn ports_match(&self, rule: &CompiledRule<'_>, traffic: &Traffic<'_>) -> bool {
        rule.ports.is_empty()
            || rule.ports.iter().any(|port| {
                port.protocol == traffic.protocol
                    && match &port.numbers {
                        PortNumbers::All => true,
                        PortNumbers::Range(range) => range.contains(&traffic.port),
                        PortNumbers::Named(name) => traffic.to.pod.is_some_and(|pod| {
                            has_named_port(self.pods.get(pod), name, traffic.protocol, traffic.port)
                        }),
                    }
            })
    }
}

/// The end that peers of a rule are compared with.
const fn other<'a>(way: PolicyType, traffic: &Traffic<'a>) -> Party<'a> {
    match way {
        PolicyType::Ingress => traffic.from,
        PolicyType::Egress => traffic.to,
    }
}

fn holds(block: &IpBlock, address: IpAddr) -> bool {
    let is_in = |part: &podwire_cluster::Cidr| part.prefix.contains(address);
    is_in(&block.cidr) && !block.except.iter().any(is_in)
}

/// Whether containers of the pod give the port that name.
fn has_named_port(pod: &Pod, name: &str, protocol: Protocol, number: u16) -> bool {
    pod.ports.iter().any(|port| {
        port.name.as_deref() == Some(name) && port.protocol == protocol && port.port == number
    })
}

fn compile<'c>(
    sets: &mut PodSets<'c>,
    namespace: &'c str,
    rules: &'c [PolicyRule],
) -> Vec<CompiledRule<'c>> {
    let mut peer = |peer: &'c Peer| match peer {
        Peer::Block(block) => CompiledPeer::Block(block),
        Peer::Pods {
            namespaces: None,
            pods,
        } => CompiledPeer::Pods(sets.of_namespace(namespace, pods.as_ref())),
        Peer::Pods {
            namespaces: Some(namespaces),
            pods,
        } => CompiledPeer::Pods(sets.of_namespaces(namespaces, pods.as_ref())),
    };
    rules
        .iter()
        .map(|rule| CompiledRule {
            peers: rule.peers.iter().map(&mut peer).collect(),
            ports: &rule.ports,
        })
        .collect()
}
