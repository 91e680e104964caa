//! The iptables proxier: pkg/proxy/iptables/proxier.go.

mod base;
mod chains;
mod history;
mod live;
mod service;
mod sync_text;

use std::collections::BTreeMap;
use std::ops::Deref;

use std::net::IpAddr;

use podwire_cluster::{Cluster, Labels};
use podwire_packet::Family;
use podwire_ruleset::{ChainName, RuleSet, TableName};

pub use history::IptablesHistory;
pub use live::{ChainChange, LiveIptables};

use super::settings::Settings;
use super::tables::{
    OwnChain, Tables, empty_chains, insert_jumps, place, print_tables, sort_own_chains, to_rule_set,
};
use super::{ProxierError, ServicePorts};
use chains::Chains;
use history::OwnChains;
use service::{EndpointLines, PortRules};

/// kube-proxy of one node and family in iptables mode, at its first sync.
///
/// [`IptablesHistory`] has later ones.
#[derive(Clone, Debug)]
pub struct IptablesProxier<'a> {
    services: Services<'a>,
    node: &'a str,
    labels: &'a Labels,
    settings: Settings,
    chains: Chains,
}

/// The service ports of a proxier.
#[derive(Clone, Debug)]
enum Services<'a> {
    /// Those of all nodes.
    Shared(&'a ServicePorts<'a>),
    /// Its own, which change.
    Own(Box<ServicePorts<'a>>),
}

impl<'a> Deref for Services<'a> {
    type Target = ServicePorts<'a>;

    fn deref(&self) -> &ServicePorts<'a> {
        match self {
            Self::Shared(services) => services,
            Self::Own(services) => services,
        }
    }
}

impl<'a> Services<'a> {
    /// To change them: a copy, the first time.
    fn to_mut(&mut self) -> &mut ServicePorts<'a> {
        if let Self::Shared(services) = *self {
            *self = Self::Own(Box::new(services.clone()));
        }
        match self {
            Self::Own(services) => services,
            Self::Shared(_) => unreachable!("the lines above made a copy"),
        }
    }
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
            services: Services::Shared(services),
            node: name,
            labels: &node.meta.labels,
            settings: Settings::of(&config, node, services.family())?,
            chains: Chains::new(),
        })
    }

    /// The same where the node has devices with addresses that its Node does not list.
    #[must_use]
    pub fn with_addresses(mut self, addresses: &[IpAddr]) -> Self {
        self.settings.add_addresses(addresses);
        self
    }

    /// What is handed to `iptables-restore --noflush --counters`.
    ///
    /// # Cost
    /// One service port's rules are printed after the other as they are made: memory grows with the text
    /// alone.
    #[must_use]
    pub fn restore_text(&self) -> String {
        self.sync_text(None)
    }

    /// The text of a sync on top of the chains that services have, or on none.
    fn sync_text(&self, mut own: Option<&mut OwnChains<'_>>) -> String {
        let mut text = self.sync_text_head(self.estimated_bytes());
        let mut lines = EndpointLines::default();
        for port in &self.services.ports {
            let Some(own) = &mut own else {
                self.print_port(port, &mut lines, &mut text);
                continue;
            };
            let rules = self.port_rules(port);
            text.add_common(&rules, self.family());
            let is_written = own.writes(port);
            if is_written {
                text.add_own(&rules, self.family());
            }
            own.take(rules.chains, is_written);
        }
        let stale = own.map(OwnChains::drop_stale).unwrap_or_default();
        self.finish_sync_text(text, &stale)
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
    fn tables(&self, given: Option<&BTreeMap<ChainName, OwnChain>>) -> Tables {
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
            let rules = match given {
                Some(_) => self.common_rules(port),
                None => self.port_rules(port),
            };
            place(rules.filter, &mut filter);
            place(rules.dispatch, &mut nat);
            own.extend(rules.chains);
        }
        place(self.filter_tail(), &mut filter);
        place(self.nat_tail(), &mut nat);
        nat.extend(own);
        nat.extend(given.into_iter().flat_map(BTreeMap::values).cloned());

        let mut tables = [
            (TableName::Mangle, mangle),
            (TableName::Filter, filter),
            (TableName::Nat, nat),
        ];
        insert_jumps(&common.jumps(), self.services.base_origin, &mut tables);
        sort_own_chains(&mut tables);
        tables
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

    fn family(&self) -> Family {
        self.services.family()
    }
}
