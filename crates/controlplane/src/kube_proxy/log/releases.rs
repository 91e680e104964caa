//! The lines of each release.

use std::net::IpAddr;
use std::time::Duration;

use podwire_cluster::{DetectLocalMode, KubeProxyConfiguration};
use podwire_packet::{Family, Prefix};
use podwire_ruleset::L4;

use super::{
    ConntrackSettings, KubeProxyVersion, LogLine, ServicePorts, Severity, Start, SyncCounts,
};
use crate::kube_proxy::Sysctl;
use crate::kube_proxy::service_ports::ProxiedPort;

/// What lines are about.
pub(super) struct Facts<'f> {
    /// The configuration as it was read.
    pub(super) given: &'f KubeProxyConfiguration,
    /// The same with defaults.
    pub(super) config: &'f KubeProxyConfiguration,
    pub(super) version: KubeProxyVersion,
    pub(super) start: Start,
    /// The node's addresses, one of a family, the first one's first.
    pub(super) ips: Vec<IpAddr>,
    pub(super) conntrack: ConntrackSettings,
    pub(super) route_localnet: bool,
    pub(super) services: &'f ServicePorts<'f>,
    /// First syncs of IPv4 and IPv6.
    pub(super) syncs: Vec<SyncCounts>,
}

/// Lines in the making.
#[derive(Default)]
struct Log {
    lines: Vec<LogLine>,
    now: Duration,
}

impl Log {
    fn write(&mut self, severity: Severity, micros: u64, source: &'static str, message: String) {
        self.now += Duration::from_micros(micros);
        self.lines.push(LogLine {
            severity,
            after: self.now,
            source,
            message,
        });
    }

    /// A line that comes so many microseconds after the one before.
    fn info(&mut self, micros: u64, source: &'static str, message: impl Into<String>) {
        self.write(Severity::Info, micros, source, message.into());
    }
}

/// As the Kubernetes API writes it.
const fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

/// The kernel's settings before kube-proxy changes them.
struct Kernel {
    max: u32,
    hash_size: u32,
}

/// Before Linux 5.15, on a machine of up to 4 GiB.
const OLD_KERNEL: Kernel = Kernel {
    max: 65_536,
    hash_size: 16_384,
};
/// Since then, on a larger one.
const KERNEL: Kernel = Kernel {
    max: 262_144,
    hash_size: 262_144,
};

const NF_CONNTRACK_MAX: &str = "net/netfilter/nf_conntrack_max";

impl Facts<'_> {
    pub(super) fn lines(&self) -> Vec<LogLine> {
        let mut log = Log::default();
        match self.version.minor {
            0..=11 if self.version.major <= 1 => self.of_1_11(&mut log),
            12..=22 => self.of_1_19(&mut log),
            _ => self.of_1_29(&mut log),
        }
        log.lines
    }

    /// The sysctls that are written, as the kernel holds others.
    fn written(&self, kernel: &Kernel) -> Vec<Sysctl> {
        let mut sysctls = self.conntrack.sysctls();
        sysctls.retain(|sysctl| {
            self.start == Start::First
                && (sysctl.name != NF_CONNTRACK_MAX || sysctl.value != kernel.max)
        });
        sysctls
    }

    fn max(&self, kernel: &Kernel) -> Option<(u32, bool)> {
        let hash_size = self.conntrack.hash_size()?;
        let grows = self.start == Start::First && hash_size > kernel.hash_size;
        Some((self.conntrack.max?, grows))
    }

    fn of_1_11(&self, log: &mut Log) {
        log.info(0, "server_others.go:140", "Using iptables Proxier.");
        log.info(
            28_096,
            "server_others.go:174",
            "Tearing down inactive rules.",
        );
        let version = format!("Version: v{}", self.release());
        log.info(115_323, "server.go:448", version);
        for sysctl in self.written(&OLD_KERNEL) {
            if sysctl.name == NF_CONNTRACK_MAX {
                let text = format!("Set sysctl '{}' to {}", sysctl.name, sysctl.value);
                log.info(22_413, "conntrack.go:98", text);
            }
        }
        if let Some((max, grows)) = self.max(&OLD_KERNEL) {
            log.info(
                172,
                "conntrack.go:52",
                format!("Setting nf_conntrack_max to {max}"),
            );
            if grows {
                let text = format!("Setting conntrack hashsize to {}", max / 4);
                log.info(756, "conntrack.go:83", text);
            }
        }
        for ProxiedPort {
            service,
            port,
            l4,
            addresses,
            ..
        } in &self.services.ports
        {
            // The word is spelled as the log at hand spells it.
            let protocol = match l4 {
                L4::Udp => "UDP",
                L4::Sctp => "SCTP",
                L4::Tcp | L4::Icmp | L4::Icmp6 => "TCP",
            };
            let ip = addresses.cluster_ip;
            let text =
                format!("Addming new service \"{service}:{port}\" at {ip}:{port}/{protocol}");
            log.info(0, "proxier.go:294", text);
        }
    }

    fn of_1_19(&self, log: &mut Log) {
        if let Some(&ip) = self.ips.first() {
            log.info(
                0,
                "node.go:136",
                format!("Successfully retrieved node IP: {ip}"),
            );
            let (source, family) = match ip {
                IpAddr::V4(_) => ("server_others.go:111", "IPv4"),
                IpAddr::V6(_) => ("server_others.go:108", "IPv6"),
            };
            let text = format!(
                "kube-proxy node IP is an {family} address ({ip}), assume {family} operation"
            );
            log.info(85, source, text);
        }
        if self.given.mode.is_empty() {
            let text = "Unknown proxy mode \"\", assuming iptables proxy".to_owned();
            log.write(Severity::Warning, 314_675, "server_others.go:579", text);
        }
        log.info(196, "server_others.go:186", "Using iptables Proxier.");
        log.info(
            941,
            "server.go:650",
            format!("Version: v{}", self.release()),
        );
        let set = |log: &mut Log, micros, sysctl: &Sysctl| {
            let text = format!("Set sysctl '{}' to {}", sysctl.name, sysctl.value);
            log.info(micros, "conntrack.go:100", text);
        };
        let written = self.written(&OLD_KERNEL);
        let (max, timeouts): (Vec<_>, Vec<_>) = written
            .iter()
            .partition(|sysctl| sysctl.name == NF_CONNTRACK_MAX);
        max.into_iter().for_each(|sysctl| set(log, 392, sysctl));
        if let Some((max, grows)) = self.max(&OLD_KERNEL) {
            log.info(
                36,
                "conntrack.go:52",
                format!("Setting nf_conntrack_max to {max}"),
            );
            if grows {
                let text = format!("Setting conntrack hashsize to {}", max / 4);
                log.info(271, "conntrack.go:83", text);
            }
        }
        timeouts
            .into_iter()
            .for_each(|sysctl| set(log, 4_579, sysctl));
        log.info(692, "config.go:315", "Starting service config controller");
        let waiting = "Waiting for caches to sync for";
        let synced = "Caches are synced for";
        log.info(
            33,
            "shared_informer.go:240",
            format!("{waiting} service config"),
        );
        log.info(
            56,
            "config.go:224",
            "Starting endpoint slice config controller",
        );
        let text = format!("{waiting} endpoint slice config");
        log.info(10, "shared_informer.go:240", text);
        // The blank at the end is theirs.
        let text = format!("{synced} endpoint slice config ");
        log.info(100_150, "shared_informer.go:247", text);
        log.info(
            41,
            "shared_informer.go:247",
            format!("{synced} service config "),
        );
    }

    /// 1.29 and 1.30, which differ in places and in what their verbosity of 2 adds.
    fn of_1_29(&self, log: &mut Log) {
        let is_1_29 = self.version.minor < 30;
        let of = |in_1_29, in_1_30| if is_1_29 { in_1_29 } else { in_1_30 };
        let is_verbose = !is_1_29 && self.config.logging.verbosity >= 2;
        if self.given.mode.is_empty() {
            let source = of("server_others.go:72", "server_linux.go:69");
            log.info(0, source, "\"Using iptables proxy\"");
        }
        let ips: Vec<String> = self.ips.iter().map(|ip| format!("\"{ip}\"")).collect();
        let text = format!(
            "\"Successfully retrieved node IP(s)\" IPs=[{}]",
            ips.join(",")
        );
        log.info(7_777, of("server.go:1050", "server.go:1062"), text);
        let written = self.written(&KERNEL);
        let set = |log: &mut Log, sysctl: &Sysctl| {
            let (name, value) = (sysctl.name, sysctl.value);
            let source = of("conntrack.go:118", "conntrack.go:119");
            log.info(
                112,
                source,
                format!("\"Set sysctl\" entry=\"{name}\" value={value}"),
            );
        };
        let (max, timeouts): (Vec<_>, Vec<_>) = written
            .iter()
            .partition(|sysctl| sysctl.name == NF_CONNTRACK_MAX);
        max.into_iter().for_each(|sysctl| set(log, sysctl));
        if let Some((max, _)) = self.max(&KERNEL) {
            let text = format!("\"Setting nf_conntrack_max\" nfConntrackMax={max}");
            log.info(1_581, of("conntrack.go:58", "conntrack.go:59"), text);
        }
        timeouts.into_iter().for_each(|sysctl| set(log, sysctl));
        let primary = self.ips.first().map_or(Family::Ipv4, |&ip| Family::of(ip));
        let text = format!(
            "\"kube-proxy running in dual-stack mode\" primary ipFamily=\"{}\"",
            family_name(primary)
        );
        log.info(19_564, of("server.go:652", "server.go:659"), text);
        let source = of("server_others.go:168", "server_linux.go:165");
        log.info(30, source, "\"Using iptables Proxier\"");
        self.detection(log, of);
        if self.route_localnet {
            log.info(
                22,
                of("proxier.go:246", "proxier.go:243"),
                "\"Setting route_localnet=1 to allow node-ports on localhost; to change this either disable \
                 iptables.localhostNodePorts (--iptables-localhost-nodeports) or set nodePortAddresses \
                 (--nodeport-addresses) to filter loopback addresses\"",
            );
        }
        if is_verbose {
            self.parameters(log);
        }
        let text = format!("\"Version info\" version=\"v{}\"", self.release());
        log.info(16_748, of("server.go:865", "server.go:872"), text);
        let text = "\"Golang settings\" GOGC=\"\" GOMAXPROCS=\"\" GOTRACEBACK=\"\"";
        log.info(28, of("server.go:867", "server.go:874"), text);
        let informers = [
            ("service", of("config.go:188", "config.go:192")),
            ("endpoint slice", of("config.go:97", "config.go:101")),
            ("node", of("config.go:315", "config.go:319")),
        ];
        for (name, source) in informers {
            log.info(
                620,
                source,
                format!("\"Starting {name} config controller\""),
            );
            let source = of("shared_informer.go:311", "shared_informer.go:313");
            let text = format!("Waiting for caches to sync for {name} config");
            log.info(29, source, text);
        }
        for (micros, (name, _)) in [100_914, 117, 2].into_iter().zip(informers) {
            let source = of("shared_informer.go:318", "shared_informer.go:320");
            log.info(
                micros,
                source,
                format!("Caches are synced for {name} config"),
            );
        }
        if is_verbose {
            for sync in &self.syncs {
                log.info(193, "proxier.go:805", "\"Syncing iptables rules\"");
                let text = format!("\"Reloading service iptables data\" {sync}");
                log.info(7_302, "proxier.go:1494", text);
                let text = "\"SyncProxyRules complete\" elapsed=\"40ms\"";
                log.info(32_698, "proxier.go:799", text);
            }
        }
    }

    /// What is said of families without a range of pods.
    fn detection(&self, log: &mut Log, of: impl Fn(&'static str, &'static str) -> &'static str) {
        if self.config.detect_local_mode != DetectLocalMode::ClusterCidr {
            return;
        }
        let ranges = self.config.cluster_cidr.split(',');
        let ranges: Vec<Prefix> = ranges
            .filter_map(|range| range.trim().parse().ok())
            .collect();
        for family in [Family::Ipv4, Family::Ipv6] {
            if ranges.iter().any(|range| range.family() == family) {
                continue;
            }
            let family = family_name(family);
            let text = format!(
                "\"Detect-local-mode set to ClusterCIDR, but no cluster CIDR for family\" ipFamily=\"{family}\""
            );
            log.info(
                2_256,
                of("server_others.go:512", "server_linux.go:511"),
                text,
            );
            let source = of("server_others.go:529", "server_linux.go:528");
            log.info(22, source, "\"Defaulting to no-op detect-local\"");
        }
    }

    /// What 1.30 says of its parameters.
    fn parameters(&self, log: &mut Log) {
        if self.route_localnet && self.start == Start::First {
            let text =
                "\"Changed sysctl\" name=\"net/ipv4/conf/all/route_localnet\" before=0 after=1";
            log.info(326, "utils.go:283", text);
        }
        let iptables = &self.config.iptables;
        let mark = 1u32 << iptables.masquerade_bit.unwrap_or_default();
        let seconds = podwire_cluster::go_duration;
        let (min, period) = (
            seconds(iptables.min_sync_period),
            seconds(iptables.sync_period),
        );
        for family in [Family::Ipv4, Family::Ipv6].map(family_name) {
            let text = format!(
                "\"Using iptables mark for masquerade\" ipFamily=\"{family}\" mark=\"{mark:#010x}\""
            );
            log.info(183, "proxier.go:266", text);
            let text = format!(
                "\"Iptables sync params\" ipFamily=\"{family}\" minSyncPeriod=\"{min}\" syncPeriod=\"{period}\" burstSyncs=2"
            );
            log.info(56, "proxier.go:302", text);
            let text = format!("\"Iptables supports --random-fully\" ipFamily=\"{family}\"");
            log.info(139, "proxier.go:312", text);
        }
    }

    /// The release with all three numbers.
    fn release(&self) -> String {
        format!("{}.{}", self.version, self.version.patch)
    }
}
