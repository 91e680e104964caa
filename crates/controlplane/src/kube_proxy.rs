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
//! - `endpoints`: which endpoints a node uses. [`ServedPort`]: what clients must know of a service port.
//! - `port_on_node`: what follows from them for a service port, whatever the mode.
//! - `settings`, `local_detector`: the configuration on a node, with its defaults.
//! - [`IptablesProxier`]: the rules. `iptables/service.rs` has those of one service port, which is
//!   where most of kube-proxy is.
//! - [`IpvsProxier`]: virtual servers, ipsets and rules of IPVS mode.
//! - [`NftablesProxier`]: the table of nftables mode; a service port's part is in
//!   `nftables/service.rs`.
//! - [`UserspaceProxier`]: portals and sockets of userspace mode.
//! - [`IptablesHistory`], [`NftablesHistory`], [`IpvsHistory`], [`UserspaceHistory`]: later syncs.
//! - [`LiveIptables`]: iptables mode while slices change, at the cost of what changes.
//! - `tables`, `words`, `marks`: iptables rules and their text, as iptables and IPVS mode write them.
//! - `stencil`, `spelling`: lines that are alike but for a word, and words that are passed on as they were written.
//! - [`Provenance`]: which object a rule comes from. [`KnownPort`]: what rules that others wrote are for.
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
//!   those of bridges and overlays, on which IPVS mode serves node ports; what makes a whole node says them
//!   ([`IpvsProxier::with_addresses`] and its like).
//! - To 1.31 connections end as in 1.30, whatever the release.
//! - In IPVS mode real servers of a virtual server come in order of address, and one that is gone has
//!   no connections and goes at once. A scheduler is one that the kernel has a module for; which are
//!   loaded is not asked.
//! - nftables mode keeps the chains that it no longer uses, empty, from sync to sync: the real one
//!   deletes them in the first sync more than a second later.
//! - nftables mode is printed as the table that it makes, not as the transaction that makes it. With
//!   `InterfaceNamePrefix` its words are those of kube-proxy 1.30, which nft refuses
//!   ([`Table::refused_rule`](podwire_ruleset::nft::Table::refused_rule)).
//! - Userspace mode is that of 1.25, the last release that has it, whatever release is asked for (later
//!   ones take the word for a fault of the configuration). Ports of proxies are the lowest that are free
//!   of `portRange`, or from 32768 on; the real ones are random. Endpoints are those of EndpointSlices,
//!   where that mode reads Endpoints, and VIPs are those of the modes of today. Two Services that have
//!   the same local address and port, which it refuses, both get their rules.
//! - `iptables` is taken to know `--random-fully` (1.6.2 and later).
//!
//! # Sources
//! Kubernetes 1.30: pkg/proxy and cmd/kube-proxy. Userspace mode: pkg/proxy/userspace of 1.25.

mod changes;
mod cleanup;
mod conntrack;
mod endpoint_text;
mod endpoints;
mod iptables;
mod ipvs;
mod known_port;
mod local_detector;
mod log;
mod marks;
mod names;
mod nftables;
mod port_on_node;
mod provenance;
mod served;
mod service_ports;
mod settings;
mod side_effects;
mod spelling;
mod stencil;
mod sync_runner;
mod tables;
mod userspace;
mod words;

use std::fmt;
use std::sync::Arc;

use podwire_cluster::{Cluster, Node, ProxyMode};
use podwire_packet::{DeviceNameError, Family, ParsePrefixError};
use podwire_ruleset::ipvs::ParseSchedulerError;

pub use cleanup::{Cleanup, ConntrackClear};
pub use conntrack::{ConntrackSettings, DEFAULT_CPUS};
pub use iptables::{ChainChange, IptablesHistory, IptablesProxier, LiveIptables};
pub use ipvs::{IpvsHistory, IpvsProgram, IpvsProxier};
pub use known_port::{EndpointConditions, KnownChain, KnownPort};
pub use log::{LogLine, Severity, Start, SyncCounts, startup_log};
pub use names::{KubeProxyVersion, ParseVersionError};
pub use nftables::{NftablesForm, NftablesHistory, NftablesProxier};
pub use provenance::{Object, ObjectKind, Provenance};
pub use served::{ServedEndpoint, ServedPort};
pub use service_ports::{ServicePorts, SliceChange};
pub use side_effects::{HealthCheck, SideEffects, Sysctl, ipvs_sysctls, side_effects_text};
pub use sync_runner::SyncRunner;
pub use userspace::{Dials, LoadBalancer, ProxySocket, UserspaceHistory, UserspaceProxier};

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
    #[error("mode `{}` is not modelled here{}: {}", mode.name(), why_not(*mode), mode_names(modelled))]
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
    /// Userspace mode has one proxier only.
    #[error("userspace mode works in one family, and on node `{node}` that is {family}")]
    OneFamily {
        /// The node.
        node: String,
        /// The family of its address.
        family: Family,
    },
    /// Userspace mode leads packets from elsewhere to its sockets.
    #[error(
        "`bindAddress` of the kube-proxy configuration: userspace mode cannot proxy on a loopback address"
    )]
    Loopback,
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
        .map(|&mode| format!("`{}`", mode.name()))
        .collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    let list = match names.split_last() {
        Some((last, others)) if !others.is_empty() => {
            format!("{} and {last}", others.join(", "))
        }
        _ => names.concat(),
    };
    format!("only {list} {verb}")
}

/// What is to be said of a mode that nothing here knows.
const fn why_not(mode: ProxyMode) -> &'static str {
    match mode {
        ProxyMode::Kernelspace => ", being that of Windows nodes (HNS policies)",
        ProxyMode::Iptables | ProxyMode::Ipvs | ProxyMode::Nftables | ProxyMode::Userspace => "",
    }
}
