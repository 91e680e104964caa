//! A policy to the sets that it needs and the rules that ask about them.
//!
//! Source: npc/{analyser,rule,selector,ipblock}.go of weaveworks/weave.

use std::ops::RangeInclusive;

use podwire_cluster::{
    IpBlock, LabelSelector, NetworkPolicy, Peer, PolicyPort, PolicyType, PortNumbers,
};
use podwire_packet::{Family, Protocol};
use podwire_ruleset::{AddressMatch, Inv, L4, Match, Origin, Rule, Target};

use super::names::{set_name, way_name};
use super::rules::{self, Placed, in_set, not_in_set};

/// A set, by what is in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum SetSource<'c> {
    /// Pods of a namespace.
    Pods {
        namespace: &'c str,
        selector: &'c LabelSelector,
    },
    /// Sets of all pods of namespaces.
    Namespaces(&'c LabelSelector),
    /// Pods of namespaces, the second selector theirs.
    PodsOfNamespaces(&'c LabelSelector, &'c LabelSelector),
    /// What is left out of a block, in a policy of a namespace.
    Except {
        namespace: &'c str,
        block: &'c IpBlock,
    },
}

impl SetSource<'_> {
    /// The set's name.
    pub(super) fn name(self) -> Box<str> {
        set_name(&match self {
            Self::Pods {
                namespace,
                selector,
            } => format!("{namespace}:{selector}"),
            Self::Namespaces(namespaces) => format!(":{namespaces}"),
            Self::PodsOfNamespaces(namespaces, pods) => format!(":{namespaces}{pods}"),
            Self::Except { namespace, block } => {
                format!("{namespace}:ipblock-except:{}", excepts(block))
            }
        })
    }

    /// As comments of rules say it.
    fn comment(self) -> String {
        match self {
            Self::Pods {
                namespace,
                selector,
            } => format!("pods: namespace: {namespace}, selector: {selector}"),
            Self::Namespaces(namespaces) => format!("namespaces: selector: {namespaces}"),
            Self::PodsOfNamespaces(namespaces, pods) => {
                format!("namespaces: selector: {namespaces}{pods}")
            }
            Self::Except { block, .. } => {
                format!("cidr: {} except [{}]", block.cidr.text, excepts(block))
            }
        }
    }
}

/// What is left out of a block, sorted as texts.
fn excepts(block: &IpBlock) -> String {
    let mut texts: Vec<&str> = block.except.iter().map(|part| &*part.text).collect();
    texts.sort_unstable();
    texts.join(" ")
}

/// One end of a rule; `None` for anybody.
#[derive(Clone, Copy, Debug)]
enum Host<'c> {
    Set(SetSource<'c>),
    Block {
        namespace: &'c str,
        block: &'c IpBlock,
    },
}

impl<'c> Host<'c> {
    fn set(self) -> Option<SetSource<'c>> {
        match self {
            Self::Set(set) => Some(set),
            Self::Block { namespace, block } => {
                let set = SetSource::Except { namespace, block };
                (!block.except.is_empty()).then_some(set)
            }
        }
    }

    fn comment(self) -> String {
        match (self, self.set()) {
            (_, Some(set)) => set.comment(),
            (Self::Block { block, .. }, None) => format!("cidr: {}", block.cidr.text),
            (Self::Set(set), None) => set.comment(),
        }
    }
}

/// A rule before it is a pair of them, or one.
#[derive(Clone, Debug)]
pub(super) struct RuleSpec<'c> {
    way: PolicyType,
    source: Option<Host<'c>>,
    destination: Option<Host<'c>>,
    ports: Option<(L4, RangeInclusive<u16>)>,
}

/// What a policy needs.
#[derive(Debug)]
pub(super) struct Analysed<'c> {
    /// Sets in the order in which they are made: of namespaces, pods, pods of namespaces, blocks.
    pub(super) sets: Vec<SetSource<'c>>,
    pub(super) rules: Vec<RuleSpec<'c>>,
}

/// What the controller reads in a policy.
///
/// # Errors
/// Why it ignores the policy.
pub(super) fn analyse(policy: &NetworkPolicy) -> Result<Analysed<'_>, String> {
    let namespace = &*policy.meta.name.namespace;
    let target = SetSource::Pods {
        namespace,
        selector: &policy.pod_selector,
    };
    let mut rules = Vec::new();
    for way in [PolicyType::Ingress, PolicyType::Egress] {
        for rule in policy.rules(way) {
            let ports = rule.ports.iter().map(port).collect::<Result<Vec<_>, _>>()?;
            let hosts: Vec<Option<Host<'_>>> = if rule.peers.is_empty() {
                vec![None]
            } else {
                let hosts = rule.peers.iter().map(|peer| Some(host(namespace, peer)));
                hosts.collect()
            };
            let ports: Vec<_> = if ports.is_empty() {
                vec![None]
            } else {
                ports.into_iter().map(Some).collect()
            };
            for other in hosts {
                let own = Some(Host::Set(target));
                let (source, destination) = match way {
                    PolicyType::Ingress => (other, own),
                    PolicyType::Egress => (own, other),
                };
                rules.extend(ports.iter().map(|ports| RuleSpec {
                    way,
                    source,
                    destination,
                    ports: ports.clone(),
                }));
            }
        }
    }
    let hosts = rules
        .iter()
        .flat_map(|rule| [rule.source, rule.destination]);
    let mut sets: Vec<_> = hosts.flatten().filter_map(Host::set).collect();
    sets.push(target);
    sets.sort_by_key(|set| match set {
        SetSource::Namespaces(_) => 0,
        SetSource::Pods { .. } => 1,
        SetSource::PodsOfNamespaces(..) => 2,
        SetSource::Except { .. } => 3,
    });
    Ok(Analysed { sets, rules })
}

static ANY: LabelSelector = LabelSelector::ANY;

fn host<'c>(namespace: &'c str, peer: &'c Peer) -> Host<'c> {
    match peer {
        Peer::Block(block) => Host::Block { namespace, block },
        Peer::Pods {
            namespaces: Some(namespaces),
            pods: Some(pods),
        } => Host::Set(SetSource::PodsOfNamespaces(namespaces, pods)),
        Peer::Pods {
            namespaces: Some(namespaces),
            pods: None,
        } => Host::Set(SetSource::Namespaces(namespaces)),
        Peer::Pods {
            namespaces: None,
            pods,
        } => Host::Set(SetSource::Pods {
            namespace,
            selector: pods.as_ref().unwrap_or(&ANY),
        }),
    }
}

/// The protocol and ports of an entry; the controller does not know `endPort`.
fn port(port: &PolicyPort) -> Result<(L4, RangeInclusive<u16>), String> {
    let l4 = match port.protocol {
        Protocol::UDP => L4::Udp,
        Protocol::SCTP => L4::Sctp,
        _ => L4::Tcp,
    };
    match &port.numbers {
        PortNumbers::All => Ok((l4, 0..=u16::MAX)),
        PortNumbers::Range(range) => Ok((l4, *range.start()..=*range.start())),
        PortNumbers::Named(name) => Err(format!(
            "weave-npc knows no named ports and ignores the policy: `{name}`"
        )),
    }
}

impl RuleSpec<'_> {
    /// Whether iptables takes its addresses.
    pub(super) fn is_ipv4(&self) -> bool {
        let hosts = [self.source, self.destination].into_iter().flatten();
        hosts.into_iter().all(|host| match host {
            Host::Block { block, .. } => block.cidr.prefix.family() == Family::Ipv4,
            Host::Set(_) => true,
        })
    }

    /// `who -> whom (direction)`.
    pub(super) fn comment(&self) -> String {
        let end =
            |host: Option<Host<'_>>| host.map_or_else(|| "anywhere".to_owned(), Host::comment);
        let way = way_name(self.way);
        format!("{} -> {} ({way})", end(self.source), end(self.destination))
    }

    /// The rules that it becomes: one that accepts, or one that marks and one that ends the chain.
    pub(super) fn rules(&self, origin: Origin) -> Vec<Placed> {
        let (chain, targets) = match self.way {
            PolicyType::Ingress => (rules::INGRESS, vec![Target::Accept]),
            PolicyType::Egress => (rules::EGRESS_CUSTOM, rules::mark_and_return()),
        };
        let mut address = None;
        let mut matches = Vec::new();
        if let Some((l4, _)) = &self.ports {
            matches.push(Match::Protocol(Inv::is(l4.protocol())));
        }
        for (host, direction) in [
            (self.source, rules::SOURCE),
            (self.destination, rules::DESTINATION),
        ] {
            match host {
                None => {}
                Some(Host::Set(set)) => matches.push(in_set(set.name(), direction)),
                Some(host @ Host::Block { block, .. }) => {
                    let prefix = Inv::is(AddressMatch::Prefix(block.cidr.prefix));
                    let (flag, one) = if direction == rules::SOURCE {
                        ("-s", Match::Source(prefix))
                    } else {
                        ("-d", Match::Destination(prefix))
                    };
                    matches.insert(0, one);
                    address = Some((flag, block.cidr.text.clone()));
                    matches.extend(host.set().map(|set| not_in_set(set.name(), direction)));
                }
            }
        }
        if let Some((l4, ports)) = &self.ports {
            matches.push(Match::Module(*l4));
            matches.push(Match::DestinationPort(*l4, Inv::is(ports.clone())));
        }
        matches.push(Match::Comment(self.comment().into()));
        let placed = |target| Placed {
            chain: chain.into(),
            rule: Rule {
                matches: matches.clone(),
                origin: Some(origin),
                ..Rule::to(target)
            },
            address: address.clone(),
        };
        targets.into_iter().map(placed).collect()
    }
}
