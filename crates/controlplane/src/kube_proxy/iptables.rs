//! The iptables proxier: pkg/proxy/iptables/proxier.go.

mod base;
mod chains;
mod history;
mod service;
mod shared;
mod words;
mod written;

use std::sync::Arc;

use podwire_cluster::{Cluster, Labels};
use podwire_packet::Family;
use podwire_ruleset::{Chain, ChainName, RuleSet, TableName};

pub use history::IptablesHistory;
pub(super) use shared::{CommonChains, EndpointChain, OfNodes, PolicyChains, PolicyKey};

use super::settings::Settings;
use super::{ProxierError, ServicePorts};
use chains::Chains;
use history::OwnChains;
use shared::Sharing;
use written::{OwnChain, Placed};

/// Tables by name, each with its chains.
type Tables = [(TableName, Vec<OwnChain>); 3];

/// kube-proxy of one node and family in iptables mode, at its first sync.
///
/// [`IptablesHistory`] has later ones.
#[derive(Clone, Debug)]
pub struct IptablesProxier<'a> {
    services: &'a ServicePorts<'a>,
    node: &'a str,
    labels: &'a Labels,
    settings: Settings,
    chains: Chains,
}

impl<'a> IptablesProxier<'a> {
    /// The proxier of `node` for the family of `services`, configured as the cluster says.
    ///
    /// The configuration's `mode` is not asked: see [`check_mode`](super::check_mode).
    ///
    /// # Errors
    /// [`ProxierError::UnknownNode`]; the other variants, but for `UnsupportedMode`, where the
    /// configuration cannot be used.
    pub fn new(
        cluster: &'a Cluster,
        services: &'a ServicePorts<'a>,
        node: &str,
    ) -> Result<Self, ProxierError> {
        let (name, node) = super::node(cluster, node)?;
        let config = cluster.kube_proxy.clone().unwrap_or_default();
        Ok(Self {
            services,
            node: name,
            labels: &node.meta.labels,
            settings: Settings::of(&config, node, services.family())?,
            chains: Chains::new(),
        })
    }

    /// What is handed to `iptables-restore --noflush --counters`.
    ///
    /// # Cost
    /// One service port's rules are built, printed and dropped after the other: memory grows with the
    /// text alone.
    #[must_use]
    pub fn restore_text(&self) -> String {
        self.sync_text(None)
    }

    /// The text of a sync on top of the chains that services have, or on none.
    fn sync_text(&self, mut own: Option<&mut OwnChains<'_>>) -> String {
        let mut text = String::from("*filter\n");
        for chain in self.chains.filter() {
            chain_line(chain, &mut text);
        }
        if let Some(block) = self.filter_head() {
            chain_line(&block.chain, &mut text);
            block.print(self.family(), &mut text);
        }
        let mut nat = String::from("*nat\n");
        for chain in self.chains.nat() {
            chain_line(chain, &mut nat);
        }
        let mut nat_rules = String::with_capacity(self.estimated_bytes());
        self.print_all(&self.nat_head(), &mut nat_rules);
        for port in &self.services.ports {
            let rules = self.port_rules(port, Sharing::None);
            self.print_all(&rules.filter, &mut text);
            self.print_all(&rules.dispatch, &mut nat_rules);
            let is_written = own.as_ref().is_none_or(|own| own.writes(port));
            if is_written {
                for chain in &rules.chains {
                    chain_line(chain.name(), &mut nat);
                }
                for (chain, rule) in rules.own_rules() {
                    chain.print(rule, self.family(), &mut nat_rules);
                }
            }
            if let Some(own) = &mut own {
                own.take(rules.chains, is_written);
            }
        }
        for stale in own.map(OwnChains::drop_stale).unwrap_or_default() {
            chain_line(&stale, &mut nat);
            nat_rules.push_str("-X ");
            nat_rules.push_str(stale.as_str());
            nat_rules.push('\n');
        }
        self.print_all(&self.filter_tail(), &mut text);
        self.print_all(&self.nat_tail(), &mut nat_rules);
        text.push_str("COMMIT\n");
        text.push_str(&nat);
        nat_rules.push_str("COMMIT\n");
        nat_rules.insert_str(0, &text);
        nat_rules
    }

    /// All tables as they stand after it, the jumps from the built-in chains included.
    ///
    /// Built-in chains come first, then the others by name. Every rule has an origin, which
    /// [`ServicePorts::provenance`] explains.
    #[must_use]
    pub fn rule_set(&self) -> RuleSet {
        self.to_rule_set(self.tables(None))
    }

    fn to_rule_set(&self, tables: Tables) -> RuleSet {
        let mut set = RuleSet::empty(self.family());
        for (name, chains) in tables {
            let table = set.table_mut(name);
            table.chains.reserve(chains.len());
            for OwnChain { chain, .. } in chains {
                table.chains.insert(chain.name.clone(), chain);
            }
        }
        set
    }

    /// The same as text: as `iptables-save` orders it, in kube-proxy's words.
    #[must_use]
    pub fn save_text(&self) -> String {
        self.print_tables(&self.tables(None))
    }

    fn print_tables(&self, tables: &Tables) -> String {
        let mut text = String::with_capacity(self.estimated_bytes());
        for (name, chains) in tables {
            text.push('*');
            text.push_str(name.name());
            text.push('\n');
            for chain in chains {
                match &chain.chain.built_in {
                    Some(built_in) => {
                        text.push(':');
                        text.push_str(built_in.hook.name());
                        text.push(' ');
                        text.push_str(built_in.policy.name());
                        text.push_str(" [0:0]\n");
                    }
                    None => chain_line(chain.name(), &mut text),
                }
            }
            for chain in chains {
                for rule in &chain.chain.rules {
                    chain.print(rule, self.family(), &mut text);
                }
            }
            text.push_str("COMMIT\n");
        }
        text
    }

    /// The tables and their chains: built-in ones, then the others by name. Chains of services are
    /// those given, if not the ones that this proxier would write.
    fn tables(&self, given: Option<&OwnChains<'_>>) -> Tables {
        let common = &self.chains;
        let canary = [&common.canary];
        let mut mangle = empty_chains(TableName::Mangle, canary);
        let filter = common.filter().into_iter().chain([&common.firewall]);
        let mut filter = empty_chains(TableName::Filter, filter.chain(canary));
        let mut nat = empty_chains(TableName::Nat, common.nat().into_iter().chain(canary));

        place(self.filter_head(), &mut filter);
        place(self.nat_head(), &mut nat);
        let mut own = Vec::new();
        for port in &self.services.ports {
            let rules = self.port_rules(port, Sharing::Nodes);
            place(rules.filter, &mut filter);
            place(rules.dispatch, &mut nat);
            if given.is_none() {
                own.extend(rules.chains);
            }
        }
        place(self.filter_tail(), &mut filter);
        place(self.nat_tail(), &mut nat);
        let mut own = given.map_or(own, OwnChains::to_chains);

        for jump in common.jumps() {
            let chains = match jump.table {
                TableName::Filter => &mut filter,
                TableName::Nat => &mut nat,
                TableName::Mangle | TableName::Raw | TableName::Security => &mut mangle,
            };
            let from = chains
                .iter_mut()
                .find(|chain| chain.name().as_str() == jump.from.name());
            let from = from.expect("the table has a chain at that hook");
            let rule = jump.rule(self.services.base_origin);
            Arc::make_mut(&mut from.chain).rules.insert(0, rule);
        }
        let common = &self.services.common_chains;
        common.share(TableName::Mangle, &mut mangle);
        common.share(TableName::Filter, &mut filter);
        common.share(TableName::Nat, &mut nat);
        nat.append(&mut own);
        for (name, chains) in [(TableName::Filter, &mut filter), (TableName::Nat, &mut nat)] {
            chains[name.hooks().len()..].sort_by_cached_key(|chain| name_key(chain.name()));
        }
        [
            (TableName::Mangle, mangle),
            (TableName::Filter, filter),
            (TableName::Nat, nat),
        ]
    }

    fn print_all(&self, rules: &[Placed], text: &mut String) {
        for placed in rules {
            placed.print(self.family(), text);
        }
    }

    /// Bytes of the nat table's text, roughly: what lines with short names take.
    fn estimated_bytes(&self) -> usize {
        const PORT: usize = 400;
        const ENDPOINT: usize = 350;
        let ports = self.services.ports.iter();
        ports
            .map(|port| PORT + port.endpoints.len() * ENDPOINT)
            .sum()
    }

    const fn family(&self) -> Family {
        self.services.family()
    }
}

/// A table's built-in chains and `others`.
fn empty_chains<'c>(
    table: TableName,
    others: impl IntoIterator<Item = &'c ChainName>,
) -> Vec<OwnChain> {
    let built_in = table.hooks().iter().map(|&hook| Chain::built_in(hook));
    let others = others.into_iter().cloned().map(Chain::user);
    built_in.chain(others).map(OwnChain::of).collect()
}

/// A name that compares as its text does, in place.
fn name_key(name: &ChainName) -> [u8; ChainName::MAX] {
    let mut key = [0; ChainName::MAX];
    let bytes = name.as_str().as_bytes();
    key[..bytes.len()].copy_from_slice(bytes);
    key
}

/// Appends each rule to its chain, which must be there.
fn place(rules: impl IntoIterator<Item = Placed>, chains: &mut [OwnChain]) {
    for Placed { chain, rule } in rules {
        let found = chains.iter_mut().find(|found| *found.name() == chain);
        let found = found.expect("common chains are all made first");
        Arc::make_mut(&mut found.chain).rules.push(rule);
    }
}

/// Declares a chain; `iptables-restore` makes it empty.
fn chain_line(chain: &ChainName, text: &mut String) {
    text.push(':');
    text.push_str(chain.as_str());
    text.push_str(" - [0:0]\n");
}
