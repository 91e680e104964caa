//! What kube-proxy assumes where its file says nothing.

use std::net::IpAddr;
use std::time::Duration;

use super::{FlushFrequency, KubeProxyConfiguration};

/// `iptables.masqueradeBit` and `nftables.masqueradeBit`.
const MASQUERADE_BIT: u8 = 14;
/// `iptables.syncPeriod` and those of the other modes.
const SYNC_PERIOD: Duration = Duration::from_secs(30);
/// `iptables.minSyncPeriod` and `nftables.minSyncPeriod`; IPVS has none.
const MIN_SYNC_PERIOD: Duration = Duration::from_secs(1);
/// Port of `healthzBindAddress`.
const HEALTHZ_PORT: u16 = 10_256;
/// Port of `metricsBindAddress`.
const METRICS_PORT: u16 = 10_249;

impl KubeProxyConfiguration {
    /// The configuration that kube-proxy works by: this one, and its defaults where it says nothing.
    ///
    /// Sources: `SetDefaults_KubeProxyConfiguration` (pkg/proxy/apis/config/v1alpha1/defaults.go),
    /// `SetRecommendedLoggingConfiguration` (component-base/logs/api/v1) and, for `mode` and
    /// `detectLocalMode`, `platformApplyDefaults` (cmd/kube-proxy/app/server_linux.go).
    #[must_use]
    pub fn with_defaults(&self) -> Self {
        let mut config = self.clone();
        let or_text = |field: &mut String, default: &str| {
            if field.is_empty() {
                default.clone_into(field);
            }
        };
        let or_duration = |field: &mut Duration, default: Duration| {
            if field.is_zero() {
                *field = default;
            }
        };
        or_text(&mut config.mode, "iptables");
        or_text(&mut config.bind_address, "0.0.0.0");
        let is_ipv4 = matches!(config.bind_address.parse(), Ok(IpAddr::V4(_)));
        let (any, loopback) = if is_ipv4 {
            ("0.0.0.0", "127.0.0.1")
        } else {
            ("[::]", "[::1]")
        };
        config.healthz_bind_address = with_port(&config.healthz_bind_address, any, HEALTHZ_PORT);
        config.metrics_bind_address =
            with_port(&config.metrics_bind_address, loopback, METRICS_PORT);
        config.oom_score_adj.get_or_insert(-999);

        or_duration(&mut config.iptables.sync_period, SYNC_PERIOD);
        or_duration(&mut config.iptables.min_sync_period, MIN_SYNC_PERIOD);
        config.iptables.localhost_node_ports.get_or_insert(true);
        let bits = [
            &mut config.iptables.masquerade_bit,
            &mut config.nftables.masquerade_bit,
        ];
        for bit in bits {
            bit.get_or_insert(MASQUERADE_BIT);
        }
        or_duration(&mut config.ipvs.sync_period, SYNC_PERIOD);
        or_duration(&mut config.nftables.sync_period, SYNC_PERIOD);
        or_duration(&mut config.nftables.min_sync_period, MIN_SYNC_PERIOD);

        let conntrack = &mut config.conntrack;
        conntrack.max_per_core.get_or_insert(32 << 10);
        conntrack.min.get_or_insert(128 << 10);
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        conntrack.tcp_established_timeout.get_or_insert(hours(24));
        conntrack.tcp_close_wait_timeout.get_or_insert(hours(1));

        or_duration(&mut config.config_sync_period, Duration::from_secs(15 * 60));
        let client = &mut config.client_connection;
        or_text(
            &mut client.content_type,
            "application/vnd.kubernetes.protobuf",
        );
        if client.qps == 0.0 {
            client.qps = 5.0;
        }
        if client.burst == 0 {
            client.burst = 10;
        }
        or_text(&mut config.logging.format, "text");
        if config.logging.flush_frequency.duration.is_zero() {
            config.logging.flush_frequency = FlushFrequency {
                duration: Duration::from_secs(5),
                is_number: false,
            };
        }
        let options = &mut config.logging.options;
        or_text(&mut options.json.info_buffer_size, "0");
        // Of 1.31: what says nothing there is left out.
        let text = &mut options.text;
        if text.split_stream {
            or_text(&mut text.info_buffer_size, "0");
        } else if text.info_buffer_size == "0" {
            text.info_buffer_size.clear();
        }
        config
    }
}

/// An address to listen on with a port (`AppendPortIfNeeded`, pkg/proxy/util/utils.go): a text that
/// has one already, or is no address, stays.
fn with_port(text: &str, default: &str, port: u16) -> String {
    if text.is_empty() {
        return format!("{default}:{port}");
    }
    match text.parse() {
        Ok(IpAddr::V4(ip)) => format!("{ip}:{port}"),
        Ok(IpAddr::V6(_)) => format!("[{text}]:{port}"),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_gets_the_default_one() {
        for (written, read) in [
            ("", "0.0.0.0:10256"),
            ("10.0.0.1", "10.0.0.1:10256"),
            ("::1", "[::1]:10256"),
            ("[::1]:99", "[::1]:99"),
            ("10.0.0.1:99", "10.0.0.1:99"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(with_port(written, "0.0.0.0", 10_256), read);
        }
    }

    #[test]
    fn where_ipv6_is_bound_the_default_addresses_are_ipv6_too() {
        let config = KubeProxyConfiguration {
            bind_address: "::".to_owned(),
            ..KubeProxyConfiguration::default()
        };
        let config = config.with_defaults();
        assert_eq!(config.healthz_bind_address, "[::]:10256");
        assert_eq!(config.metrics_bind_address, "[::1]:10249");
    }

    #[test]
    fn defaults_filled_in_once_stay() {
        let once = KubeProxyConfiguration::default().with_defaults();
        assert_eq!(once.with_defaults(), once);
    }
}
