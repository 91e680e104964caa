//! What kube-proxy logs when it starts, as klog writes it.
//!
//! Words, places in the source and the order of lines are those of logs of kube-proxy 1.11.8, 1.19.0,
//! 1.29.0 and 1.30; another release writes as the last of these before it. Times between lines are those
//! of such logs too; the first line stands at the moment at which the container was started.
//!
//! # Departures
//! - A first start finds Linux's own settings: in 1.19 and before a table of 65,536 connections in
//!   16,384 buckets (as before Linux 5.15 on a machine of up to 4 GiB), later one of 262,144 in as many
//!   buckets. A restart finds what kube-proxy wrote before.
//! - Lines whose place in the source is not known are left out: those of 1.11 about timeouts and about a
//!   mode that is not said, of 1.19 about a missing clusterCIDR, of later ones about hash sizes, and of
//!   `detectLocalMode` other than ClusterCIDR.
//! - Of `logging.verbosity`, 2 and above is heard by 1.30: syncs are logged.

mod releases;

use std::fmt;
use std::time::Duration;

use podwire_cluster::{Cluster, ProxyMode, Timestamp};
use podwire_packet::Family;

use super::{
    ConntrackSettings, IptablesProxier, KubeProxyVersion, ProxierError, ServicePorts, check_mode,
    conntrack, node,
};

/// How urgent a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// `I`.
    Info,
    /// `W`.
    Warning,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How urgent it is.
    pub severity: Severity,
    /// Time since kube-proxy was started.
    pub after: Duration,
    /// File and line of kube-proxy's source.
    pub source: &'static str,
    /// What it says.
    pub message: String,
}

impl LogLine {
    /// The line of a process that was started then; its process ID is 1.
    #[must_use]
    pub fn started_at(&self, start: Timestamp) -> impl fmt::Display + '_ {
        Dated { line: self, start }
    }
}

struct Dated<'l> {
    line: &'l LogLine,
    start: Timestamp,
}

impl fmt::Display for Dated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogLine {
            severity,
            after,
            source,
            message,
        } = self.line;
        let moment = self.start + *after;
        let (_, month, day) = moment.date();
        let (hour, minute, second, micros) = moment.time();
        let letter = match severity {
            Severity::Info => 'I',
            Severity::Warning => 'W',
        };
        write!(
            f,
            "{letter}{month:02}{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06} {:>7} {source}] {message}",
            1
        )
    }
}

/// What a start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A node that has just booted.
    First,
    /// The settings of an earlier start.
    Again,
}

/// The log of the proxier of a node, from its start to its first sync.
///
/// # Errors
/// As [`IptablesProxier::new`], and [`ProxierError::UnsupportedMode`].
pub fn startup_log(
    cluster: &Cluster,
    node_name: &str,
    version: KubeProxyVersion,
    start: Start,
) -> Result<Vec<LogLine>, ProxierError> {
    let given = cluster.kube_proxy.clone().unwrap_or_default();
    check_mode(given.proxy_mode(), &[ProxyMode::Iptables])?;
    let (_, node) = node(cluster, node_name)?;
    let config = given.with_defaults();
    let services =
        [Family::Ipv4, Family::Ipv6].map(|family| ServicePorts::new(cluster, family, version));
    let mut syncs = Vec::new();
    let mut route_localnet = false;
    for services in &services {
        let proxier = IptablesProxier::new(cluster, services, node_name)?;
        route_localnet |= proxier.has_localhost_node_ports();
        syncs.push(SyncCounts::of(services, &proxier.restore_text()));
    }
    let mut ips: Vec<_> = [Family::Ipv4, Family::Ipv6]
        .into_iter()
        .filter_map(|family| node.internal_ips(family).next())
        .collect();
    let first = node.addresses.iter().find_map(|a| a.address.parse().ok());
    ips.sort_by_key(|&ip| Some(ip) != first);
    let cpus = node.cpus.unwrap_or(conntrack::DEFAULT_CPUS);
    let facts = releases::Facts {
        given: &given,
        config: &config,
        version,
        start,
        ips,
        conntrack: ConntrackSettings::new(&config, cpus),
        route_localnet,
        services: &services[0],
        syncs,
    };
    Ok(facts.lines())
}

/// What a sync says of its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncCounts {
    /// Service ports.
    pub services: usize,
    /// Endpoints of all of them, of any condition.
    pub endpoints: usize,
    /// Chains of table filter that are written.
    pub filter_chains: usize,
    /// Its rules.
    pub filter_rules: usize,
    /// Chains of table nat that are written, those to be deleted among them.
    pub nat_chains: usize,
    /// Its rules, and its deletions of chains.
    pub nat_rules: usize,
}

impl SyncCounts {
    /// Counts what is handed to `iptables-restore`.
    #[must_use]
    pub fn of(services: &ServicePorts<'_>, restore_text: &str) -> Self {
        let mut counts = Self {
            services: services.len(),
            endpoints: services.ports.iter().map(|port| port.endpoints.len()).sum(),
            ..Self::default()
        };
        let mut is_nat = false;
        for line in restore_text.lines() {
            match line.as_bytes().first() {
                Some(b'*') => is_nat = line == "*nat",
                Some(b':') if is_nat => counts.nat_chains += 1,
                Some(b':') => counts.filter_chains += 1,
                Some(b'-') if is_nat => counts.nat_rules += 1,
                Some(b'-') => counts.filter_rules += 1,
                Some(_) | None => {}
            }
        }
        counts
    }
}

impl fmt::Display for SyncCounts {
    /// As `Reloading service iptables data` names them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            services,
            endpoints,
            filter_chains,
            filter_rules,
            nat_chains,
            nat_rules,
        } = self;
        write!(
            f,
            "numServices={services} numEndpoints={endpoints} numFilterChains={filter_chains} \
             numFilterRules={filter_rules} numNATChains={nat_chains} numNATRules={nat_rules}"
        )
    }
}
