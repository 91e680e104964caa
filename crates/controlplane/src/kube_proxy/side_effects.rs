//! What a sync does beside its rules.

use std::fmt;

use podwire_cluster::{Cluster, ObjectName};
use podwire_packet::Family;

use super::cleanup::{ConntrackClear, cleared};
use super::settings::Settings;
use super::{ProxierError, ServicePorts, node};

/// A kernel setting that kube-proxy writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Its path under `/proc/sys`.
    pub name: &'static str,
    /// The value.
    pub value: u32,
}

/// What a load balancer hears at a Service's health check node port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The Service.
    pub service: ObjectName,
    /// `spec.healthCheckNodePort`.
    pub port: u16,
    /// Addresses of ready endpoints on the node.
    pub local_endpoints: usize,
}

impl HealthCheck {
    /// The HTTP status of the answer: 200 if the node has an endpoint, 503 if not.
    #[must_use]
    pub const fn http_status(&self) -> u16 {
        if self.local_endpoints > 0 { 200 } else { 503 }
    }
}

/// What a sync on a node does beside its rules, for one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideEffects {
    /// The family.
    pub family: Family,
    /// Settings that iptables mode writes. In ipvs mode see [`ipvs_sysctls`].
    pub sysctls: Vec<Sysctl>,
    /// Health checks, by Service.
    pub health_checks: Vec<HealthCheck>,
    /// Conntrack entries, each named once.
    pub conntrack: Vec<ConntrackClear>,
}

impl SideEffects {
    /// Those of the first sync of the proxier of `node` for the family of `services`.
    ///
    /// # Errors
    /// As [`IptablesProxier::new`](super::IptablesProxier::new).
    pub fn new(
        cluster: &Cluster,
        services: &ServicePorts<'_>,
        node_name: &str,
    ) -> Result<Self, ProxierError> {
        let (_, node) = node(cluster, node_name)?;
        let config = cluster.kube_proxy.clone().unwrap_or_default();
        let settings = Settings::of(&config, node, services.family)?;
        let route_localnet = Sysctl {
            name: "net/ipv4/conf/all/route_localnet",
            value: 1,
        };
        let health_checks = services.health_checks.iter().map(|check| HealthCheck {
            service: check.service.clone(),
            port: check.port,
            local_endpoints: check.endpoints.count_local_ready(node_name),
        });
        Ok(Self {
            family: services.family,
            sysctls: settings
                .localhost_node_ports
                .then_some(route_localnet)
                .into_iter()
                .collect(),
            health_checks: health_checks.collect(),
            conntrack: cleared(None, services, node_name),
        })
    }

    /// Those of a later sync, after one of `before`. Sysctls hold already.
    ///
    /// # Errors
    /// As [`SideEffects::new`].
    pub fn later(
        cluster: &Cluster,
        before: &ServicePorts<'_>,
        services: &ServicePorts<'_>,
        node_name: &str,
    ) -> Result<Self, ProxierError> {
        Ok(Self {
            sysctls: Vec::new(),
            conntrack: cleared(Some(before), services, node_name),
            ..Self::new(cluster, services, node_name)?
        })
    }
}

/// Settings that ipvs mode writes on Linux 5.9 or later, where forwarding is on already
/// (`newProxier`, pkg/proxy/ipvs/proxier.go).
pub fn ipvs_sysctls(cluster: &Cluster) -> impl Iterator<Item = Sysctl> {
    const ALWAYS: [(&str, u32); 3] = [
        ("net/ipv4/vs/conntrack", 1),
        ("net/ipv4/vs/expire_nodest_conn", 1),
        ("net/ipv4/vs/expire_quiescent_template", 1),
    ];
    const STRICT_ARP: [(&str, u32); 2] = [
        ("net/ipv4/conf/all/arp_ignore", 1),
        ("net/ipv4/conf/all/arp_announce", 2),
    ];
    let config = cluster.kube_proxy.as_ref();
    let strict_arp = config.is_some_and(|config| config.ipvs.strict_arp);
    let strict_arp = STRICT_ARP.into_iter().filter(move |_| strict_arp);
    ALWAYS
        .into_iter()
        .chain(strict_arp)
        .map(|(name, value)| Sysctl { name, value })
}

/// The side effects on a node as text: the settings of iptables and of ipvs mode, and for each family
/// that any node has an address of, its health checks and conntrack clears.
///
/// # Errors
/// As [`SideEffects::new`].
pub fn side_effects_text(
    cluster: &Cluster,
    services: &[ServicePorts<'_>],
    node: &str,
) -> Result<String, ProxierError> {
    let mut sysctls = Vec::new();
    let mut text = String::new();
    let mut has_ipv4 = false;
    for services in services {
        let family = services.family;
        if !cluster
            .nodes
            .values()
            .any(|node| node.internal_ips(family).next().is_some())
        {
            continue;
        }
        has_ipv4 |= family == Family::Ipv4;
        let effects = SideEffects::new(cluster, services, node)?;
        text.push_str(&effects.to_string());
        sysctls.extend(effects.sysctls);
    }
    let ipvs: Vec<_> = ipvs_sysctls(cluster).filter(|_| has_ipv4).collect();
    Ok(format!(
        "{}{text}{}",
        Section("sysctls written (iptables)", &sysctls),
        Section("sysctls written (ipvs)", &ipvs),
    ))
}

impl fmt::Display for SideEffects {
    /// Writes health checks and conntrack clears.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (checks, conntrack, ipv6) = match self.family {
            Family::Ipv4 => (
                "service health checks (IPv4)",
                "conntrack entries cleared (IPv4)",
                false,
            ),
            Family::Ipv6 => (
                "service health checks (IPv6)",
                "conntrack entries cleared (IPv6)",
                true,
            ),
        };
        Section(checks, &self.health_checks).fmt(f)?;
        if self.conntrack.is_empty() {
            return Ok(());
        }
        writeln!(f, "### {conntrack}")?;
        for clear in &self.conntrack {
            match clear {
                ConntrackClear::NodePort(_) => writeln!(f, "{clear} ipv6 {ipv6}")?,
                ConntrackClear::OriginalDestination(_)
                | ConntrackClear::ToEndpoint { .. }
                | ConntrackClear::NodePortToEndpoint { .. } => writeln!(f, "{clear}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            port,
            local_endpoints,
        } = self;
        let status = self.http_status();
        write!(
            f,
            "{service} port {port} localEndpoints {local_endpoints} http {status}"
        )
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)
    }
}

/// A heading and a line for each item; nothing without items.
struct Section<'t, T>(&'static str, &'t [T]);

impl<T: fmt::Display> fmt::Display for Section<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1.is_empty() {
            return Ok(());
        }
        writeln!(f, "### {}", self.0)?;
        self.1.iter().try_for_each(|item| writeln!(f, "{item}"))
    }
}
