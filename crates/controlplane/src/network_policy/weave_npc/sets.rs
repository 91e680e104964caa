//! The ipsets and what is in them.
//!
//! Source: npc/{namespace,selector,ipblock}.go and net/ipset/ipset.go of weaveworks/weave.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use indexmap::IndexMap;
use indexmap::map::Entry;
use podwire_cluster::{
    Cluster, IpBlock, LabelSelector, Labels, Namespace, NetworkPolicy, Pod, PolicyType,
};
use podwire_packet::Family;
use podwire_ruleset::{IpSet, SetEntry, SetKind, SetPart, Sets};

use super::analysis::{Analysed, SetSource};
use super::names::{default_allow, set_name};

/// A namespace as the controller knows it.
#[derive(Debug)]
pub(super) struct OneNamespace<'c> {
    pub(super) namespace: Namespace,
    /// Its pods that are in sets, with their address.
    pods: Vec<(&'c Pod, IpAddr)>,
}

/// The namespaces that are listed, or that something is in.
#[derive(Debug)]
pub(super) struct Namespaces<'c>(BTreeMap<&'c str, OneNamespace<'c>>);

impl<'c> Namespaces<'c> {
    pub(super) fn of(cluster: &'c Cluster) -> Self {
        let used = cluster.pods.keys().chain(cluster.network_policies.keys());
        let used = used.map(|name| &*name.namespace);
        let names = cluster.namespaces.keys().map(|name| &**name).chain(used);
        let mut all: BTreeMap<&str, OneNamespace<'_>> = BTreeMap::new();
        for name in names {
            all.entry(name).or_insert_with(|| {
                let listed = cluster.namespaces.get(name).cloned();
                OneNamespace {
                    namespace: listed.unwrap_or_else(|| Namespace::new(name, Labels::new(), None)),
                    pods: Vec::new(),
                }
            });
        }
        for pod in cluster.pods.values() {
            // `status.podIP` is the first of `podIPs`; hash:ip of IPv4 takes no other.
            let ip = pod.ips.first().copied().filter(IpAddr::is_ipv4);
            let ip = ip.filter(|_| !pod.host_network && !pod.finished);
            let namespace = all.get_mut(&*pod.meta.name.namespace);
            if let (Some(ip), Some(namespace)) = (ip, namespace) {
                namespace.pods.push((pod, ip));
            }
        }
        Self(all)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'c str, &OneNamespace<'c>)> {
        self.0.iter().map(|(&name, namespace)| (name, namespace))
    }

    /// Entries for the pods of a namespace that are selected.
    fn pods<'s>(
        &'s self,
        namespace: &str,
        selects: impl Fn(&Labels) -> bool + 's,
    ) -> impl Iterator<Item = (Box<str>, String)> + 's {
        let pods = self.0.get(namespace).map(|one| &one.pods);
        let pods = pods.into_iter().flatten();
        let selected = pods.filter(move |(pod, _)| selects(&pod.meta.labels));
        selected.map(|(pod, ip)| (ip.to_string().into(), pod_comment(pod)))
    }
}

fn pod_comment(pod: &Pod) -> String {
    let name = &pod.meta.name;
    format!("namespace: {}, pod: {}", name.namespace, name.name)
}

/// The types of sets that the controller makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    HashIp,
    HashNet,
    ListSet,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::HashIp => "hash:ip",
            Self::HashNet => "hash:net",
            Self::ListSet => "list:set",
        }
    }

    /// What ipset save has behind the type; 1024 is `--max-list-size`.
    const fn options(self) -> &'static str {
        match self {
            Self::HashIp | Self::HashNet => "family inet hashsize 1024 maxelem 65536 comment",
            Self::ListSet => "size 1024 comment",
        }
    }

    fn to_ruleset(self) -> SetKind {
        let (method, part) = match self {
            Self::HashIp => ("hash", SetPart::Ip),
            Self::HashNet => ("hash", SetPart::Net),
            Self::ListSet => ("list", SetPart::Set),
        };
        SetKind {
            method: method.into(),
            parts: vec![part],
        }
    }
}

#[derive(Clone, Debug)]
struct WeaveSet {
    kind: Kind,
    /// Elements and their comments.
    entries: IndexMap<Box<str>, String>,
}

/// All sets, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub(super) struct WeaveSets {
    sets: IndexMap<Box<str>, WeaveSet>,
    /// What policies isolate, by namespace and direction.
    targets: BTreeMap<(Box<str>, PolicyType), Vec<LabelSelector>>,
}

impl WeaveSets {
    /// Makes the three sets of a namespace.
    pub(super) fn add_namespace(&mut self, name: &str) {
        let of_way = [PolicyType::Ingress, PolicyType::Egress].map(|way| default_allow(way, name));
        for text in of_way.into_iter().chain([format!("{name}:")]) {
            let set = WeaveSet {
                kind: Kind::HashIp,
                entries: IndexMap::new(),
            };
            self.sets.insert(set_name(&text), set);
        }
    }

    /// Makes the sets that a policy needs and that are not there.
    ///
    /// # Errors
    /// Where two sets want one name.
    pub(super) fn add_policy(
        &mut self,
        policy: &NetworkPolicy,
        analysed: &Analysed<'_>,
        namespaces: &Namespaces<'_>,
    ) -> Result<(), String> {
        for &source in &analysed.sets {
            self.make(source, namespaces)?;
        }
        for &way in &policy.policy_types {
            let key = (policy.meta.name.namespace.as_ref().into(), way);
            let of_key = self.targets.entry(key).or_default();
            of_key.push(policy.pod_selector.clone());
        }
        Ok(())
    }

    fn make(&mut self, source: SetSource<'_>, namespaces: &Namespaces<'_>) -> Result<(), String> {
        let kind = match source {
            SetSource::Pods { .. } | SetSource::PodsOfNamespaces(..) => Kind::HashIp,
            SetSource::Namespaces(_) => Kind::ListSet,
            SetSource::Except { .. } => Kind::HashNet,
        };
        let set = match self.sets.entry(source.name()) {
            Entry::Occupied(there) if there.get().kind == kind => return Ok(()),
            Entry::Occupied(there) => {
                return Err(format!(
                    "weave-npc ends: its set {} would be both {} and {}",
                    there.key(),
                    there.get().kind.name(),
                    kind.name()
                ));
            }
            Entry::Vacant(place) => place.insert(WeaveSet {
                kind,
                entries: IndexMap::new(),
            }),
        };
        match source {
            SetSource::Pods {
                namespace,
                selector,
            } => {
                let pods = namespaces.pods(namespace, |labels| selector.matches(labels));
                set.entries.extend(pods);
            }
            SetSource::Namespaces(selector) => {
                for (name, one) in namespaces.iter() {
                    if selector.matches(&one.namespace.labels) {
                        let all_pods = set_name(&format!("{name}:"));
                        let comment = format!("namespace: {name}");
                        set.entries.insert(all_pods, comment);
                    }
                }
            }
            SetSource::PodsOfNamespaces(of_namespaces, of_pods) => {
                for (name, one) in namespaces.iter() {
                    if of_namespaces.matches(&one.namespace.labels) {
                        let pods = namespaces.pods(name, |labels| of_pods.matches(labels));
                        set.entries.extend(pods);
                    }
                }
            }
            SetSource::Except { block, .. } => set.entries.extend(excepted(block)),
        }
        Ok(())
    }

    /// Fills the sets of namespaces, once all policies are known.
    pub(super) fn fill(&mut self, namespaces: &Namespaces<'_>) {
        for (name, _) in namespaces.iter() {
            let mut fill = |text: &str, isolating: &[LabelSelector]| {
                let is_free =
                    |labels: &Labels| !isolating.iter().any(|target| target.matches(labels));
                let pods = namespaces.pods(name, is_free).collect::<Vec<_>>();
                if let Some(set) = self.sets.get_mut(&set_name(text)) {
                    set.entries.extend(pods);
                }
            };
            fill(&format!("{name}:"), &[]);
            for way in [PolicyType::Ingress, PolicyType::Egress] {
                let isolating = self.targets.get(&(name.into(), way));
                let isolating = isolating.map_or(&[][..], Vec::as_slice);
                fill(&default_allow(way, name), isolating);
            }
        }
    }

    /// The sets as rules look into them.
    pub(super) fn to_ruleset(&self) -> Sets {
        let sets = self.sets.iter().map(|(name, set)| {
            let entries = set.entries.iter().filter_map(|(text, comment)| {
                let entry = match set.kind {
                    Kind::ListSet => SetEntry::Word(text.clone()),
                    Kind::HashIp | Kind::HashNet => SetEntry::Net(text.parse().ok()?),
                };
                Some((vec![entry], format!("comment \"{comment}\"").into()))
            });
            let set = IpSet {
                kind: set.kind.to_ruleset(),
                family: Family::Ipv4,
                options: set.kind.options().into(),
                entries: entries.collect(),
            };
            (name.clone(), set)
        });
        sets.collect()
    }

    /// The text of ipset save, elements in the controller's words.
    pub(super) fn save_text(&self) -> String {
        let mut text = String::new();
        for (name, set) in &self.sets {
            let (kind, options) = (set.kind.name(), set.kind.options());
            let mut line = |words: std::fmt::Arguments<'_>| {
                writeln!(text, "{words}").expect("a String takes any text");
            };
            line(format_args!("create {name} {kind} {options}"));
            for (entry, comment) in &set.entries {
                line(format_args!("add {name} {entry} comment \"{comment}\""));
            }
        }
        text
    }
}

/// The parts that are left out of a block, sorted as texts.
fn excepted(block: &IpBlock) -> Vec<(Box<str>, String)> {
    let comment = format!("excepted from {}", block.cidr.text);
    let parts = block.except.iter().map(|part| part.text.clone());
    let mut parts: Vec<_> = parts.map(|part| (part, comment.clone())).collect();
    parts.sort();
    parts
}
