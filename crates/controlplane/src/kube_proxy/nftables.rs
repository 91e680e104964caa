//! The nftables proxier: pkg/proxy/nftables/proxier.go.

mod base;
mod endpoint_lines;
mod history;
mod name_list;
mod names;
mod plan;
mod planned_chains;
mod service;
mod text;

use std::net::IpAddr;

use podwire_cluster::Cluster;
use podwire_packet::Family;
use podwire_ruleset::nft::{Name, Table};

pub use history::NftablesHistory;
pub(super) use names::PortName;
pub use text::NftablesForm;

use super::settings::Settings;
use super::{ProxierError, ServicePorts};
use base::Common;
use plan::Plan;

/// kube-proxy of one node and family in nftables mode, at its first sync.
///
/// [`NftablesHistory`] has later ones.
#[derive(Clone, Debug)]
pub struct NftablesProxier<'a> {
    services: &'a ServicePorts<'a>,
    node: &'a str,
    settings: Settings,
    common: Common,
}

impl<'a> NftablesProxier<'a> {
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
            settings: Settings::of_nftables(&config, node, services.family())?,
            common: Common::new(),
        })
    }

    /// The same where the node has devices with addresses that its Node does not list.
    #[must_use]
    pub fn with_addresses(mut self, addresses: &[IpAddr]) -> Self {
        self.settings.add_addresses(addresses);
        self
    }

    /// The table after the sync: sets and maps by name, chains by name.
    ///
    /// Every rule and element has an origin, which [`ServicePorts::provenance`] explains.
    #[must_use]
    pub fn table(&self) -> Table {
        Plan::new(self, &[], None).into_table()
    }

    /// The table as text.
    ///
    /// # Cost
    /// One chain's rules are built, printed and dropped after the other: what memory grows with is the
    /// text, and the names of chains. [`write_to`](Self::write_to) needs no memory for the text.
    #[must_use]
    pub fn text(&self, form: NftablesForm) -> String {
        text::to_string(self, &[], form)
    }

    /// Writes the table as text.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(
        &self,
        form: NftablesForm,
        out: &mut impl std::io::Write,
    ) -> std::io::Result<()> {
        text::write(self, &[], form, out)
    }

    const fn family(&self) -> Family {
        self.services.family()
    }

    /// The names of the chains that service ports and endpoints have.
    fn service_chains(&self) -> Vec<Name> {
        Plan::new(self, &[], None).service_chains().collect()
    }
}
