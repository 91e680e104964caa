//! weave-npc: what Weave Net's policy controller writes on every node.
//!
//! A policy becomes ipsets, one for each selector that it uses, and rules that ask about them. A pod that
//! no policy isolates is in its namespace's set of pods to which, or from which, all is allowed; policies
//! take the pods that they select out of it.
//!
//! # Map
//! - [`set_name`]: how a set is called.
//! - `analysis`: a policy to its selectors and rules.
//! - `sets`: the sets and what is in them.
//! - `rules`: the chains that all nodes have, and how packets come to them.
//!
//! # Sources
//! npc/{controller,namespace,analyser,selector,ipblock,rule,shortname}.go, prog/weave-npc/main.go,
//! net/ipset/ipset.go and net/bridge.go of weaveworks/weave 2.8.
//!
//! # Departures
//! - The controller goes through Go's maps, so its rules of one policy have no fixed order. Here they have
//!   that of the policy, policies that of their names. No packet can tell: every rule of a chain lets
//!   through.
//! - Where it would end with an error, as for an IPv6 block, the rule is left out and
//!   [`WeaveNpc::refused`] tells of it.
//! - [`WeaveNpc::save_text`] has the addresses in the controller's own words: `-d 0.0.0.0/0` and the
//!   length of a single address, which iptables-save and ipset save leave out.
//!
//! What it makes of policies is not all that they mean: it knows no IPv6 and no `endPort` (the first port
//! alone is let through), and ignores a policy with a named port, but for the drop of unmarked egress that
//! the first policy with egress brings. Rules of a way that is not among a policy's `policyTypes` are written
//! all the same, and let through what another policy keeps from the same pods.

mod analysis;
mod names;
mod rules;
mod sets;

use std::num::NonZeroU32;
use std::sync::Arc;

use indexmap::IndexMap;
use podwire_cluster::{Cluster, NetworkPolicy, ObjectName, PolicyType, PortNumbers, Source};
use podwire_ruleset::{Origin, RuleSet, Sets, TableName};

use self::analysis::analyse;
use self::rules::Placed;
use self::sets::{Namespaces, WeaveSets};

pub use names::set_name;

/// What a rule of weave-npc comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeaveObject {
    /// `NetworkPolicy` or `Namespace`.
    pub kind: &'static str,
    /// Its name.
    pub name: ObjectName,
    /// Where it was read.
    pub source: Option<Source>,
}

/// The number of the first [`Origin`] of weave-npc's rules; kube-proxy's are below it and above its double.
const FIRST_ORIGIN: u32 = 1 << 30;

/// The ipsets and rules of weave-npc; every node has the same.
#[derive(Clone, Debug)]
pub struct WeaveNpc {
    sets: WeaveSets,
    /// The same as rules look into them.
    shared: Arc<Sets>,
    /// Rules by their lines; a rule that two policies bring is there once.
    rules: IndexMap<String, Placed>,
    objects: Vec<WeaveObject>,
    refused: Vec<String>,
}

impl WeaveNpc {
    /// What the controller makes of a cluster.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        let mut npc = Self {
            sets: WeaveSets::default(),
            shared: Arc::default(),
            rules: IndexMap::new(),
            objects: Vec::new(),
            refused: Vec::new(),
        };
        let policies = cluster.network_policies.values();
        let has_egress = |policy: &NetworkPolicy| {
            policy.isolates(PolicyType::Egress) || !policy.egress.is_empty()
        };
        npc.place(rules::base(policies.clone().any(has_egress)));
        let namespaces = Namespaces::of(cluster);
        for (name, namespace) in namespaces.iter() {
            npc.sets.add_namespace(name);
            let object = ObjectName::new("", name);
            let origin = npc.origin("Namespace", &object, namespace.namespace.source);
            npc.place(rules::of_namespace(name, origin));
        }
        for policy in policies {
            npc.add(policy, &namespaces);
        }
        npc.sets.fill(&namespaces);
        npc.shared = npc.sets.to_ruleset().into();
        npc
    }

    fn place(&mut self, rules: Vec<Placed>) {
        for placed in rules {
            self.rules.entry(placed.line()).or_insert(placed);
        }
    }

    fn add(&mut self, policy: &NetworkPolicy, namespaces: &Namespaces<'_>) {
        let name = &policy.meta.name;
        let analysed = match analyse(policy) {
            Ok(analysed) => analysed,
            Err(why) => {
                self.refused.push(format!("NetworkPolicy {name}: {why}"));
                return;
            }
        };
        let rules = [PolicyType::Ingress, PolicyType::Egress].map(|way| policy.rules(way));
        for port in rules.into_iter().flatten().flat_map(|rule| &rule.ports) {
            if let PortNumbers::Range(range) = &port.numbers
                && range.start() < range.end()
            {
                let (first, last) = (range.start(), range.end());
                self.refused.push(format!(
                    "NetworkPolicy {name}: weave-npc knows no `endPort` and lets {first} alone of {first} to {last} through"
                ));
            }
        }
        let origin = self.origin("NetworkPolicy", name, policy.meta.source);
        if let Err(why) = self.sets.add_policy(policy, &analysed, namespaces) {
            self.refused.push(format!("NetworkPolicy {name}: {why}"));
            return;
        }
        for spec in analysed.rules {
            if !spec.is_ipv4() {
                let why = "weave-npc knows IPv4 only, and iptables refuses";
                self.refused
                    .push(format!("NetworkPolicy {name}: {why}: {}", spec.comment()));
                continue;
            }
            self.place(spec.rules(origin));
        }
    }

    fn origin(&mut self, kind: &'static str, name: &ObjectName, source: Option<Source>) -> Origin {
        self.objects.push(WeaveObject {
            kind,
            name: name.clone(),
            source,
        });
        let place = u32::try_from(self.objects.len());
        let number = place.ok().filter(|&place| place < FIRST_ORIGIN);
        let number = number.and_then(|place| NonZeroU32::new(FIRST_ORIGIN + place));
        Origin(number.expect("a cluster has fewer than 2^30 namespaces and policies"))
    }

    /// The origin of the rules that drop what no policy lets through: all those of the pod together.
    #[must_use]
    pub const fn isolation() -> Origin {
        match NonZeroU32::new(FIRST_ORIGIN) {
            Some(number) => Origin(number),
            None => unreachable!(),
        }
    }

    /// The object that a rule comes from.
    #[must_use]
    pub fn object(&self, origin: Origin) -> Option<&WeaveObject> {
        let place = origin.0.get().checked_sub(FIRST_ORIGIN + 1)?;
        self.objects.get(place as usize)
    }

    /// What it could not do, with the policy that asked for it.
    #[must_use]
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// The ipsets.
    #[must_use]
    pub const fn sets(&self) -> &Arc<Sets> {
        &self.shared
    }

    /// Adds its rules, and those by which Weave leads packets to them, to the table filter of a node whose
    /// pods hang on the bridge `weave`.
    pub fn add_rules(&self, rules: &mut RuleSet) {
        rules::add(self.rules.values(), rules.table_mut(TableName::Filter));
    }

    /// All of it as text: the ipsets as `ipset save` has them, then the table filter as `iptables-save`
    /// has it.
    #[must_use]
    pub fn save_text(&self) -> String {
        let built_in = TableName::Filter.hooks().iter().map(|hook| hook.name());
        let chains: Vec<&str> = built_in.chain(rules::CHAINS).collect();
        let mut text = self.sets.save_text();
        text.push_str("*filter\n");
        for chain in &chains {
            let policy = if rules::CHAINS.contains(chain) {
                "-"
            } else {
                "ACCEPT"
            };
            text.push_str(&format!(":{chain} {policy} [0:0]\n"));
        }
        for chain in chains {
            let own = self.rules.iter();
            let own = own.filter(|(_, placed)| placed.chain.as_str() == chain);
            for (line, _) in own {
                text.push_str(line);
                text.push('\n');
            }
        }
        text.push_str("COMMIT\n");
        text
    }
}
