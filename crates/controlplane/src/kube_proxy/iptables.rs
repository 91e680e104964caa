//! The iptables proxier: pkg/proxy/iptables/proxier.go.

mod base;
mod chains;
mod history;
mod service;
mod shared;

use podwire_cluster::{Cluster, Labels};
use podwire_packet::Family;
use podwire_ruleset::{RuleSet, TableName};

pub use history::IptablesHistory;
pub(super) use shared::{CommonChains, EndpointChain, OfNodes, PolicyChains, PolicyKey};

use super::settings::Settings;
use super::tables::{
    Placed, Tables, chain_line, empty_chains, insert_jumps, place, print_tables, sort_own_chains,
    to_rule_set,
};
use super::{ProxierError, ServicePorts};
use chains::Chains;
use history::OwnChains;
use shared::Sharing;

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
        to_rule_set(self.tables(None), self.family())
    }

    /// The same as text: as `iptables-save` orders it, in kube-proxy's words.
    #[must_use]
    pub fn save_text(&self) -> String {
        print_tables(&self.tables(None), self.family(), self.estimated_bytes())
    }

    /// The tables and their chains: built-in ones, then the others by name. Chains of services are
    /// those given, if not the ones that this proxier would write.
    fn tables(&self, given: Option<&OwnChains<'_>>) -> Tables {
        let common = &self.chains;
        let canary = [&common.canary];
        let mangle = empty_chains(TableName::Mangle, canary);
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

        let mut tables = [
            (TableName::Mangle, mangle),
            (TableName::Filter, filter),
            (TableName::Nat, nat),
        ];
        insert_jumps(&common.jumps(), self.services.base_origin, &mut tables);
        self.services.common_chains.share(&mut tables);
        let [.., (_, nat)] = &mut tables;
        nat.append(&mut given.map_or(own, OwnChains::to_chains));
        sort_own_chains(&mut tables);
        tables
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

    /// Whether it opens node ports on loopback addresses.
    pub(super) const fn has_localhost_node_ports(&self) -> bool {
        self.settings.localhost_node_ports
    }

    const fn family(&self) -> Family {
        self.services.family()
    }
}
