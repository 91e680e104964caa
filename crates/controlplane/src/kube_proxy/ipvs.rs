//! The IPVS proxier: pkg/proxy/ipvs/proxier.go.
//!
//! A service port becomes virtual servers, whose addresses the node's device `kube-ipvs0` holds, and
//! entries of a fixed number of ipsets, which a fixed number of iptables rules ask.
//!
//! # Map
//! - [`IpvsProxier`]: one node and family. [`IpvsProgram`]: what it writes.
//! - `service.rs`: what one service port adds.
//! - `sets.rs`: the ipsets. `rules.rs`: the rules that ask them. `chains.rs`: the rules' chains.
//! - [`IpvsHistory`]: later syncs.

mod chains;
mod history;
mod rules;
mod service;
mod sets;

use std::fmt::Write as _;
use std::net::IpAddr;

use podwire_cluster::Cluster;
use podwire_packet::{Family, Prefix};
use podwire_ruleset::ipvs::{self, Scheduler, VirtualServers};
use podwire_ruleset::{RuleSet, Sets, TableName};

pub use history::IpvsHistory;

use super::settings::{Settings, prefixes};
use super::tables::{
    Placed, Tables, chain_line, empty_chains, insert_jumps, place, print_tables, sort_own_chains,
    to_rule_set,
};
use super::{ProxierError, ServicePorts};
use chains::Chains;
use sets::KubeSets;

/// kube-proxy of one node and family in IPVS mode.
#[derive(Clone, Debug)]
pub struct IpvsProxier<'a> {
    services: &'a ServicePorts<'a>,
    node: &'a str,
    settings: Settings,
    scheduler: Scheduler,
    /// `ipvs.excludeCIDRs`: virtual servers in these are not cleaned up.
    excluded: Vec<Prefix>,
    chains: Chains,
}

/// What a sync leaves on the node.
#[derive(Clone, Debug)]
pub struct IpvsProgram {
    family: Family,
    virtual_servers: VirtualServers,
    sets: KubeSets,
    /// Addresses of `kube-ipvs0`, in order.
    addresses: Vec<IpAddr>,
    /// Rules in the order of writing.
    nat: Vec<Placed>,
    filter: Vec<Placed>,
    tables: Tables,
    chains: Chains,
}

impl<'a> IpvsProxier<'a> {
    /// The proxier of `node` for the family of `services`, configured as the cluster says.
    ///
    /// # Errors
    /// As [`IptablesProxier::new`](super::IptablesProxier::new), and [`ProxierError::Scheduler`].
    pub fn new(
        cluster: &'a Cluster,
        services: &'a ServicePorts<'a>,
        node: &str,
    ) -> Result<Self, ProxierError> {
        let (name, node) = super::node(cluster, node)?;
        let config = cluster.kube_proxy.clone().unwrap_or_default();
        let scheduler = match &*config.ipvs.scheduler {
            "" => Scheduler::default(),
            scheduler => scheduler.parse().map_err(ProxierError::Scheduler)?,
        };
        let excluded = config.ipvs.exclude_cidrs.iter().map(String::as_str);
        Ok(Self {
            services,
            node: name,
            settings: Settings::of(&config, node, services.family())?,
            scheduler,
            excluded: prefixes("ipvs.excludeCIDRs", excluded)?,
            chains: Chains::new(),
        })
    }

    /// What the first sync makes of the node.
    ///
    /// # Cost
    /// Linear in service ports and endpoints, but for sorting.
    #[must_use]
    pub fn program(&self) -> IpvsProgram {
        let ports = self.programmed_ports();
        let (nat, filter) = self.rules(&ports);
        let tables = self.tables(&nat, &filter);
        IpvsProgram {
            family: self.services.family(),
            virtual_servers: ports.virtual_servers,
            sets: ports.sets,
            addresses: ports.addresses,
            nat,
            filter,
            tables,
            chains: self.chains.clone(),
        }
    }

    /// The tables after it: built-in chains first, then the others by name.
    fn tables(&self, nat_rules: &[Placed], filter_rules: &[Placed]) -> Tables {
        let common = &self.chains;
        let mut filter = empty_chains(TableName::Filter, common.filter());
        let mut nat = empty_chains(TableName::Nat, common.nat());
        place(nat_rules.iter().cloned(), &mut nat);
        place(filter_rules.iter().cloned(), &mut filter);
        let mut tables = [
            (TableName::Mangle, empty_chains(TableName::Mangle, [])),
            (TableName::Filter, filter),
            (TableName::Nat, nat),
        ];
        insert_jumps(&common.jumps(), self.services.base_origin, &mut tables);
        sort_own_chains(&mut tables);
        tables
    }
}

impl IpvsProgram {
    /// The virtual servers, each with its real servers in order of address.
    ///
    /// kube-proxy adds those of one sync in random order.
    #[must_use]
    pub const fn virtual_servers(&self) -> &VirtualServers {
        &self.virtual_servers
    }

    /// The ipsets that its rules ask, by name.
    #[must_use]
    pub fn sets(&self) -> Sets {
        self.sets.to_sets()
    }

    /// Addresses of the device `kube-ipvs0`.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The tables, the jumps from the built-in chains included.
    #[must_use]
    pub fn rule_set(&self) -> RuleSet {
        to_rule_set(self.tables.clone(), self.family)
    }

    /// All of it as text, a section each: virtual servers, ipsets, addresses, what is handed to
    /// `iptables-restore --noflush --counters`, and the tables afterwards.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.state_text();
        text.push_str("### iptables-restore\n");
        self.write_restore(&mut text);
        self.write_save(&mut text);
        text
    }

    /// The same without what is handed to `iptables-restore`: the state that a sync leaves.
    #[must_use]
    pub fn save_text(&self) -> String {
        let mut text = self.state_text();
        self.write_save(&mut text);
        text
    }

    fn state_text(&self) -> String {
        let mut text = String::from("### ipvsadm-save -n\n");
        text.push_str(&ipvs::print(&self.virtual_servers));
        text.push_str("### ipset save\n");
        self.sets.print(&mut text);
        text.push_str("### addresses of kube-ipvs0\n");
        for &address in &self.addresses {
            writeln!(text, "{}", Prefix::host(address)).expect("a String takes any text");
        }
        text
    }

    fn write_restore(&self, text: &mut String) {
        self.write_table("*nat\n", &self.chains.nat(), &self.nat, text);
        self.write_table("*filter\n", &self.chains.filter(), &self.filter, text);
    }

    fn write_table(
        &self,
        head: &str,
        chains: &[&podwire_ruleset::ChainName],
        rules: &[Placed],
        text: &mut String,
    ) {
        text.push_str(head);
        for chain in chains {
            chain_line(chain, text);
        }
        for placed in rules {
            placed.print(self.family, text);
        }
        text.push_str("COMMIT\n");
    }

    fn write_save(&self, text: &mut String) {
        const TYPICAL_BYTES: usize = 8192;
        text.push_str("### iptables-save\n");
        text.push_str(&print_tables(&self.tables, self.family, TYPICAL_BYTES));
    }
}
