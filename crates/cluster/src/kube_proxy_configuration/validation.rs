//! What kube-proxy refuses.

use std::net::IpAddr;
use std::time::Duration;

use podwire_packet::{Family, Prefix};

use super::{DetectLocalMode, KubeProxyConfiguration, ProxyMode};

/// A field with a value that kube-proxy does not start with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// Its path in the file, such as `nodePortAddresses[1]`.
    pub field: String,
    /// Its value.
    pub value: String,
    /// What it may be.
    pub accepted: &'static str,
    /// The field because of which it may not be that, if the value alone is not at fault.
    pub because_of: Option<&'static str>,
}

/// The fields that are at fault.
#[derive(Default)]
struct Faults(Vec<InvalidField>);

impl Faults {
    fn check(&mut self, is_valid: bool, field: &str, value: &str, accepted: &'static str) {
        if !is_valid {
            self.0.push(InvalidField {
                field: field.to_owned(),
                value: value.to_owned(),
                accepted,
                because_of: None,
            });
        }
    }

    fn not_below_zero(&mut self, field: &str, value: i32) {
        const ACCEPTED: &str = "a whole number that is not below 0";
        self.check(value >= 0, field, &value.to_string(), ACCEPTED);
    }

    fn prefixes(&mut self, field: &str, texts: &[String]) {
        for (i, text) in texts.iter().enumerate() {
            let field = format!("{field}[{i}]");
            self.check(is_prefix(text), &field, text, A_PREFIX);
        }
    }

    fn periods(&mut self, mode: [&'static str; 2], least: Duration, period: Duration) {
        if least > period {
            self.0.push(InvalidField {
                field: mode[0].to_owned(),
                value: super::fields::format(period),
                accepted: "a period that is not shorter than minSyncPeriod",
                because_of: Some(mode[1]),
            });
        }
    }

    fn interface(&mut self, field: &str, mode: &'static str, name: &str) {
        if name.is_empty() {
            self.0.push(InvalidField {
                field: field.to_owned(),
                value: String::new(),
                accepted: mode,
                because_of: Some("detectLocalMode"),
            });
        }
    }
}

const A_PREFIX: &str = "an address prefix such as `10.244.0.0/16` or `fd00:10:244::/56`";

impl KubeProxyConfiguration {
    /// Every field that kube-proxy would refuse, once [defaults](Self::with_defaults) are filled in.
    ///
    /// Values that no field of that type can have (a bit above 31, a duration without unit, another
    /// word for `detectLocalMode`) are refused when the file is read.
    ///
    /// Source: `Validate`, pkg/proxy/apis/config/validation/validation.go.
    #[must_use]
    pub fn validate(&self) -> Vec<InvalidField> {
        let config = self.with_defaults();
        let mut faults = Faults::default();
        faults.check(
            Self::MODES.contains(&&*config.mode),
            "mode",
            &config.mode,
            "iptables, ipvs or nftables; userspace and kernelspace are read, as older and other systems had them",
        );
        faults.check(
            config.bind_address.parse::<IpAddr>().is_ok(),
            "bindAddress",
            &config.bind_address,
            "an IPv4 or IPv6 address",
        );
        for (field, text) in [
            ("healthzBindAddress", &config.healthz_bind_address),
            ("metricsBindAddress", &config.metrics_bind_address),
        ] {
            const ACCEPTED: &str = "an address, alone or with a port from 1 to 65535, such as `0.0.0.0:10256` or `[::]:10256`";
            faults.check(is_host_port(text), field, text, ACCEPTED);
        }
        cluster_cidr(&config.cluster_cidr, &mut faults);
        faults.prefixes("nodePortAddresses", &config.node_port_addresses);
        faults.prefixes("ipvs.excludeCIDRs", &config.ipvs.exclude_cidrs);
        let conntrack = &config.conntrack;
        let counts = [
            ("conntrack.maxPerCore", conntrack.max_per_core),
            ("conntrack.min", conntrack.min),
            (
                "clientConnection.burst",
                Some(config.client_connection.burst),
            ),
        ];
        for (field, value) in counts {
            faults.not_below_zero(field, value.unwrap_or_default());
        }
        let score = config.oom_score_adj.unwrap_or_default();
        faults.check(
            (-1_000..=1_000).contains(&score),
            "oomScoreAdj",
            &score.to_string(),
            "a whole number from -1000 to 1000",
        );
        faults.check(
            is_port_range(&config.port_range),
            "portRange",
            &config.port_range,
            "ports such as `300-2000`, `300+10` or `300`; empty for any",
        );
        faults.check(
            is_release(&config.show_hidden_metrics_for_version),
            "showHiddenMetricsForVersion",
            &config.show_hidden_metrics_for_version,
            "the minor release before this one, such as `1.29`; empty for none",
        );
        faults.check(
            ["text", "json"].contains(&&*config.logging.format),
            "logging.format",
            &config.logging.format,
            "text or json",
        );
        match config.detect_local_mode {
            DetectLocalMode::BridgeInterface => faults.interface(
                "detectLocal.bridgeInterface",
                "the name of a bridge, as detectLocalMode is BridgeInterface",
                &config.detect_local.bridge_interface,
            ),
            DetectLocalMode::InterfaceNamePrefix => faults.interface(
                "detectLocal.interfaceNamePrefix",
                "how names of pods' devices begin, as detectLocalMode is InterfaceNamePrefix",
                &config.detect_local.interface_name_prefix,
            ),
            DetectLocalMode::ClusterCidr | DetectLocalMode::NodeCidr => {}
        }
        let Self {
            iptables,
            ipvs,
            nftables,
            ..
        } = &config;
        faults.periods(
            ["iptables.syncPeriod", "iptables.minSyncPeriod"],
            iptables.min_sync_period,
            iptables.sync_period,
        );
        // Periods of the modes that are not in use are not looked at.
        match config.proxy_mode() {
            ProxyMode::Ipvs => faults.periods(
                ["ipvs.syncPeriod", "ipvs.minSyncPeriod"],
                ipvs.min_sync_period,
                ipvs.sync_period,
            ),
            ProxyMode::Nftables => faults.periods(
                ["nftables.syncPeriod", "nftables.minSyncPeriod"],
                nftables.min_sync_period,
                nftables.sync_period,
            ),
            ProxyMode::Iptables | ProxyMode::Userspace | ProxyMode::Kernelspace => {}
        }
        faults.0
    }
}

fn is_prefix(text: &str) -> bool {
    text.contains('/') && text.parse::<Prefix>().is_ok()
}

/// `clusterCIDR`: none, one prefix, or one of each family.
fn cluster_cidr(text: &str, faults: &mut Faults) {
    let cidrs: Vec<&str> = text.split(',').collect();
    let family = |cidr: &&str| {
        cidr.trim()
            .parse()
            .ok()
            .map(|prefix: Prefix| prefix.family())
    };
    let is_valid = text.is_empty()
        || match cidrs.as_slice() {
            [one] => is_prefix(one),
            [a, b] => matches!(
                (family(a), family(b)),
                (Some(Family::Ipv4), Some(Family::Ipv6)) | (Some(Family::Ipv6), Some(Family::Ipv4))
            ),
            _ => false,
        };
    let accepted = "an address prefix, or one of each family with a comma between, as in `10.244.0.0/16,fd00:10:244::/56`";
    faults.check(is_valid, "clusterCIDR", text, accepted);
}

/// Whether a text is an address and a port (`net.SplitHostPort`).
fn is_host_port(text: &str) -> bool {
    let split = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => text.split_once(':').filter(|(_, port)| !port.contains(':')),
    };
    split.is_some_and(|(host, port)| {
        let port_number = port.parse::<u16>();
        host.parse::<IpAddr>().is_ok() && port_number.is_ok_and(|port| port > 0)
    })
}

/// Whether a text is a range of ports (`ParsePortRange`, apimachinery/pkg/util/net): `a-b`, `a+n`, `a`.
fn is_port_range(text: &str) -> bool {
    let text = text.trim();
    let port = |text: &str| text.parse::<u16>().ok();
    if let Some((low, high)) = text.split_once('-') {
        return matches!((port(low), port(high)), (Some(low), Some(high)) if low <= high);
    }
    if let Some((low, more)) = text.split_once('+') {
        // A range that would end above the last port ends with it.
        return port(low).is_some() && port(more).is_some();
    }
    text.is_empty() || port(text).is_some()
}

/// Whether a text is a release such as `1.29`; the empty one is none.
fn is_release(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.is_empty()
        || text
            .split_once('.')
            .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}
