//! Syncs that follow one another.

use std::collections::{BTreeMap, BTreeSet};

use podwire_cluster::ObjectName;
use podwire_ruleset::{ChainName, RuleSet};

use super::IptablesProxier;
use crate::kube_proxy::service_ports::ProxiedPort;
use crate::kube_proxy::tables::{OwnChain, print_tables, to_rule_set};

/// A node's tables over several states of the cluster, each of which kube-proxy meets with a sync.
///
/// The first sync is full. A later one is full if the node's labels changed, else partial: chains are
/// written for Services that changed only. States are taken to follow at once, within the sync period:
/// no periodic clean-up falls between them.
#[derive(Clone, Debug)]
pub struct IptablesHistory<'a> {
    proxier: IptablesProxier<'a>,
    own: OwnChains<'a>,
    text: String,
}

/// The chains of services in nat, and what the sync at hand does with them.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnChains<'a> {
    chains: BTreeMap<ChainName, OwnChain>,
    /// Services whose chains are written; `None` writes all.
    changed: Option<BTreeSet<&'a ObjectName>>,
    /// Chains that some service port uses now.
    active: BTreeSet<ChainName>,
    /// Whether chains that none uses are looked for: in large clusters only now and then.
    keeps_stale: bool,
}

impl<'a> IptablesHistory<'a> {
    /// The first sync, of an empty node.
    #[must_use]
    pub fn first(proxier: IptablesProxier<'a>) -> Self {
        let mut own = OwnChains::default();
        let text = proxier.sync_text(Some(&mut own));
        Self { proxier, own, text }
    }

    /// The next sync: that of the same node's proxier for a later state of the cluster.
    pub fn then(&mut self, next: IptablesProxier<'a>) {
        let is_full = next.labels != self.proxier.labels;
        self.sync(next, is_full);
    }

    /// The next sync, if it is full whatever changed: an hour after the last full one.
    pub fn then_full(&mut self, next: IptablesProxier<'a>) {
        self.sync(next, true);
    }

    /// Whether the last sync wrote all chains.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.own.changed.is_none()
    }

    fn sync(&mut self, next: IptablesProxier<'a>, is_full: bool) {
        self.own.changed = (!is_full).then(|| next.services.changed_since(self.proxier.services));
        self.own.keeps_stale = next.services.is_large;
        self.text = next.sync_text(Some(&mut self.own));
        self.proxier = next;
    }

    /// What the last sync handed to `iptables-restore --noflush --counters`.
    #[must_use]
    pub fn restore_text(&self) -> &str {
        &self.text
    }

    /// The tables after it, as [`IptablesProxier::save_text`] prints them.
    #[must_use]
    pub fn save_text(&self) -> String {
        let tables = self.proxier.tables(Some(&self.own));
        print_tables(
            &tables,
            self.proxier.family(),
            self.proxier.estimated_bytes(),
        )
    }

    /// The tables after it, as [`IptablesProxier::rule_set`] gives them.
    ///
    /// Origins of rules that a partial sync left alone are of the state that they were written in.
    #[must_use]
    pub fn rule_set(&self) -> RuleSet {
        to_rule_set(self.proxier.tables(Some(&self.own)), self.proxier.family())
    }
}

impl OwnChains<'_> {
    /// Whether the sync writes the chains of a service port.
    pub(super) fn writes(&self, port: &ProxiedPort<'_>) -> bool {
        let changed = self.changed.as_ref();
        changed.is_none_or(|changed| changed.contains(port.service))
    }

    /// Takes the chains of a service port.
    pub(super) fn take(&mut self, chains: Vec<OwnChain>, is_written: bool) {
        for chain in chains {
            self.active.insert(chain.name().clone());
            if is_written {
                self.chains.insert(chain.name().clone(), chain);
            }
        }
    }

    /// Drops the chains that no service port uses, and names them.
    pub(super) fn drop_stale(&mut self) -> Vec<ChainName> {
        let active = std::mem::take(&mut self.active);
        if self.keeps_stale {
            return Vec::new();
        }
        let names = self.chains.keys();
        let stale: Vec<_> = names
            .filter(|name| !active.contains(*name))
            .cloned()
            .collect();
        self.chains.retain(|name, _| active.contains(name));
        stale
    }

    pub(super) fn to_chains(&self) -> Vec<OwnChain> {
        self.chains.values().cloned().collect()
    }
}
