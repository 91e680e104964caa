//! kube-proxy: services and their endpoints become rules on each node.
//!
//! A [`Cluster`] goes in; what kube-proxy 1.30 writes on a node comes out, as
//! rules ([`IptablesProxier::rule_set`], [`NftablesProxier::table`]) and, byte for byte, as the text
//! that it hands to `iptables-restore` or `nft` ([`IptablesProxier::restore_text`],
//! [`NftablesProxier::text`]).
//!
//! ```
//! use podwire_cluster::Cluster;
//! use podwire_controlplane::kube_proxy::{IptablesProxier, KubeProxyVersion, ServicePorts};
//! use podwire_packet::Family;
//!
//! let cluster = Cluster::default();
//! let services = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
//! let error = IptablesProxier::new(&cluster, &services, "node-a").unwrap_err();
//! assert_eq!(error.to_string(), "no node is called `node-a`: there are no nodes");
//! ```
//!
//! # Map, in reading order
//! - [`ServicePorts`]: which service ports there are, and their endpoints. The same for every node:
//!   make one for each family and share it.
//! - `endpoints`: which endpoints a node uses.
//! - `port_on_node`: what follows from them for a service port, whatever the mode.
//! - `settings`, `local_detector`: the configuration on a node, with its defaults.
//! - [`IptablesProxier`]: the rules. `iptables/service.rs` has those of one service port, which is
//!   where most of kube-proxy is.
//! - [`IpvsProxier`]: virtual servers, ipsets and rules of IPVS mode.
//! - [`NftablesProxier`]: the table of nftables mode; a service port's part is in
//!   `nftables/service.rs`.
//! - [`IptablesHistory`], [`NftablesHistory`], [`IpvsHistory`]: later syncs.
//! - `tables`, `words`, `marks`: iptables rules and their text, as iptables and IPVS mode write them.
//! - [`Provenance`]: which object a rule comes from.
//! - [`SideEffects`]: what else a sync does: sysctls, health checks, conntrack.
//! - [`SyncRunner`]: when a sync may run. [`Cleanup`]: which connections it makes the kernel forget.
//! - [`ConntrackSettings`]: what is told to the kernel at the start; [`startup_log`]: what is logged then.
//!
//! # Departures
//! - Service ports, endpoints found twice, and node addresses come in a stated order where kube-proxy
//!   has the random one of a Go map.
//! - What the API server or kube-proxy's own validation would refuse (an endpoint address that is
//!   none, say) is left out or an error here, whatever kube-proxy would make of it.
//! - A release changes the printed names and hashes of unnamed ports only; all else is of 1.30.
//! - A node has the addresses that its Node or the model lists, and loopback. The real one also sees
//!   those of bridges and overlays, which matters for `nodePortAddresses` that hold them.
//! - To 1.31 connections end as in 1.30, whatever the release.
//! - In IPVS mode real servers of a virtual server come in order of address, and one that is gone has
//!   no connections and goes at once. A scheduler is one that the kernel has a module for; which are
//!   loaded is not asked.
//! - nftables mode keeps the chains that it no longer uses, empty, from sync to sync: the real one
//!   deletes them in the first sync more than a second later.
//! - nftables mode is printed as the table that it makes, not as the transaction that makes it. With
//!   `InterfaceNamePrefix` its words are those of kube-proxy 1.30, which nft refuses; podwire takes
//!   `iif eth*` for every device whose name begins so.
//! - `iptables` is taken to know `--random-fully` (1.6.2 and later).
//!
//! # Sources
//! Kubernetes 1.30: pkg/proxy and cmd/kube-proxy.

mod changes;
mod cleanup;
mod conntrack;
mod endpoints;
mod iptables;
mod ipvs;
mod local_detector;
mod log;
mod marks;
mod names;
mod nftables;
mod port_on_node;
mod provenance;
mod service_ports;
mod settings;
mod side_effects;
mod spelling;
mod sync_runner;
mod tables;
mod words;

use std::fmt;
use std::sync::Arc;

use podwire_cluster::{Cluster, Node, ProxyMode};
use podwire_packet::{DeviceNameError, ParsePrefixError};
use podwire_ruleset::ipvs::ParseSchedulerError;

pub use cleanup::{Cleanup, ConntrackClear};
pub use conntrack::{ConntrackSettings, DEFAULT_CPUS};
pub use iptables::{IptablesHistory, IptablesProxier};
pub use ipvs::{IpvsHistory, IpvsProgram, IpvsProxier};
pub use log::{LogLine, Severity, Start, SyncCounts, startup_log};
pub use names::{KubeProxyVersion, ParseVersionError};
pub use nftables::{NftablesForm, NftablesHistory, NftablesProxier};
pub use provenance::{Object, ObjectKind, Provenance};
pub use service_ports::ServicePorts;
pub use side_effects::{HealthCheck, SideEffects, Sysctl, ipvs_sysctls, side_effects_text};
pub use sync_runner::SyncRunner;

/// Why there are no rules for a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxierError {
    /// No node has that name.
    #[error("no node is called `{name}`: {known}")]
    UnknownNode {
        /// The name.
        name: String,
        /// The names that nodes have.
        known: KnownNodes,
    },
    /// The configuration asks for a mode that is not modelled.
    #[error("mode `{}` is not modelled here: {}", mode_name(*mode), mode_names(modelled))]
    UnsupportedMode {
        /// The mode.
        mode: ProxyMode,
        /// Modes that are modelled.
        modelled: &'static [ProxyMode],
    },
    /// A prefix of the configuration cannot be read.
    #[error("`{field}` of the kube-proxy configuration: {source}")]
    Prefix {
        /// The field.
        field: &'static str,
        /// What is wrong.
        source: ParsePrefixError,
    },
    /// A device's name in the configuration cannot be one.
    #[error("`{field}` of the kube-proxy configuration: {source}")]
    DeviceName {
        /// The field.
        field: &'static str,
        /// What is wrong.
        source: DeviceNameError,
    },
    /// The configuration asks for a scheduler that IPVS has not.
    #[error("`ipvs.scheduler` of the kube-proxy configuration: {0}")]
    Scheduler(#[source] ParseSchedulerError),
    /// A mark has 32 bits.
    #[error("`{field}` of the kube-proxy configuration is {bit}: it is a bit from 0 to 31")]
    MasqueradeBit {
        /// The field.
        field: &'static str,
        /// The bit.
        bit: u8,
    },
}

/// The names of a cluster's nodes, for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNodes(pub Vec<Arc<str>>);

impl fmt::Display for KnownNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there are no nodes");
        }
        write!(f, "there are {}", self.0.join(", "))
    }
}

/// Finds a node.
fn node<'c>(cluster: &'c Cluster, name: &str) -> Result<(&'c str, &'c Node), ProxierError> {
    match cluster.nodes.get_key_value(name) {
        Some((name, node)) => Ok((name, node)),
        None => Err(ProxierError::UnknownNode {
            name: name.to_owned(),
            known: KnownNodes(cluster.nodes.keys().cloned().collect()),
        }),
    }
}

/// Refuses modes that are not among the `modelled` ones.
///
/// # Errors
/// [`ProxierError::UnsupportedMode`].
pub fn check_mode(mode: ProxyMode, modelled: &'static [ProxyMode]) -> Result<(), ProxierError> {
    if modelled.contains(&mode) {
        Ok(())
    } else {
        Err(ProxierError::UnsupportedMode { mode, modelled })
    }
}

/// The names of modes, for a message.
fn mode_names(modes: &[ProxyMode]) -> String {
    let names: Vec<String> = modes
        .iter()
        .map(|&mode| format!("`{}`", mode_name(mode)))
        .collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("only {} {verb}", names.join(" and "))
}

const fn mode_name(mode: ProxyMode) -> &'static str {
    match mode {
        ProxyMode::Iptables => "iptables",
        ProxyMode::Ipvs => "ipvs",
        ProxyMode::Nftables => "nftables",
        ProxyMode::Userspace => "userspace",
        ProxyMode::Kernelspace => "kernelspace",
    }
}
