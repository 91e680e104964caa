//! What kube-proxy tells the kernel about connection tracking when it starts.
//!
//! Source: `getConntrackMax` and `setupConntrack`, cmd/kube-proxy/app/server_linux.go; names and order of
//! writing: conntrack.go beside it.

use std::time::Duration;

use podwire_cluster::KubeProxyConfiguration;

use super::Sysctl;

/// Cores of a node that does not say how many it has.
pub const DEFAULT_CPUS: u32 = 4;

/// Settings of connection tracking; `None` leaves the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConntrackSettings {
    /// How many connections are tracked: `maxPerCore` for each core, and not fewer than `min`.
    pub max: Option<u32>,
    /// How long an idle TCP connection is remembered.
    pub tcp_established: Option<Duration>,
    /// The same once one side closed it.
    pub tcp_close_wait: Option<Duration>,
    /// Whether TCP packets outside the window are valid.
    pub tcp_be_liberal: bool,
    /// How long a UDP flow is remembered that nobody answered.
    pub udp: Option<Duration>,
    /// The same once it was answered.
    pub udp_stream: Option<Duration>,
}

impl ConntrackSettings {
    /// Those of a node with that many cores.
    #[must_use]
    pub fn new(config: &KubeProxyConfiguration, cpus: u32) -> Self {
        let conntrack = config.with_defaults().conntrack;
        let count = |value: Option<i32>| u32::try_from(value.unwrap_or_default()).unwrap_or(0);
        let per_core = count(conntrack.max_per_core);
        let positive = |timeout: Duration| Some(timeout).filter(|timeout| !timeout.is_zero());
        Self {
            max: (per_core > 0)
                .then(|| per_core.saturating_mul(cpus).max(count(conntrack.min)))
                .filter(|&max| max > 0),
            tcp_established: conntrack.tcp_established_timeout.and_then(positive),
            tcp_close_wait: conntrack.tcp_close_wait_timeout.and_then(positive),
            tcp_be_liberal: conntrack.tcp_be_liberal,
            udp: positive(conntrack.udp_timeout),
            udp_stream: positive(conntrack.udp_stream_timeout),
        }
    }

    /// Buckets of the table: a quarter of its size. They are written to
    /// `/sys/module/nf_conntrack/parameters/hashsize`, and only if there are fewer.
    #[must_use]
    pub fn hash_size(&self) -> Option<u32> {
        self.max.map(|max| max / 4)
    }

    /// The sysctls, in the order in which they are written. One that holds the value already is not.
    #[must_use]
    pub fn sysctls(&self) -> Vec<Sysctl> {
        let seconds = |timeout: Option<Duration>| {
            timeout.map(|timeout| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX))
        };
        let all = [
            ("net/netfilter/nf_conntrack_max", self.max),
            (
                "net/netfilter/nf_conntrack_tcp_timeout_established",
                seconds(self.tcp_established),
            ),
            (
                "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
                seconds(self.tcp_close_wait),
            ),
            (
                "net/netfilter/nf_conntrack_tcp_be_liberal",
                self.tcp_be_liberal.then_some(1),
            ),
            ("net/netfilter/nf_conntrack_udp_timeout", seconds(self.udp)),
            (
                "net/netfilter/nf_conntrack_udp_timeout_stream",
                seconds(self.udp_stream),
            ),
        ];
        all.into_iter()
            .filter_map(|(name, value)| value.map(|value| Sysctl { name, value }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(fields: &[(&str, &str)], cpus: u32) -> ConntrackSettings {
        let mut config = KubeProxyConfiguration::default();
        for (field, value) in fields {
            config.set(&format!("conntrack.{field}"), value).unwrap();
        }
        ConntrackSettings::new(&config, cpus)
    }

    #[test]
    fn the_table_grows_with_the_cores_and_has_a_least_size() {
        for (fields, cpus, max) in [
            (&[][..], 1, Some(131_072)),
            (&[], 4, Some(131_072)),
            (&[], 5, Some(163_840)),
            (&[], 36, Some(1_179_648)),
            (&[("min", "0")], 2, Some(65_536)),
            (&[("maxPerCore", "0")], 64, None),
            (&[("maxPerCore", "1000"), ("min", "500")], 1, Some(1_000)),
        ] {
            assert_eq!(settings(fields, cpus).max, max, "{fields:?} on {cpus}");
        }
        assert_eq!(settings(&[], 4).hash_size(), Some(32_768));
    }

    #[test]
    fn sysctls_are_written_where_something_is_asked_for() {
        let text = |settings: ConntrackSettings| -> Vec<String> {
            settings.sysctls().iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            text(settings(&[], 4)),
            [
                "net/netfilter/nf_conntrack_max = 131072",
                "net/netfilter/nf_conntrack_tcp_timeout_established = 86400",
                "net/netfilter/nf_conntrack_tcp_timeout_close_wait = 3600",
            ]
        );
        let fields = [
            ("maxPerCore", "0"),
            ("tcpEstablishedTimeout", "0s"),
            ("tcpCloseWaitTimeout", "2m"),
            ("tcpBeLiberal", "true"),
            ("udpTimeout", "1m500ms"),
            ("udpStreamTimeout", "5m"),
        ];
        assert_eq!(
            text(settings(&fields, 4)),
            [
                "net/netfilter/nf_conntrack_tcp_timeout_close_wait = 120",
                "net/netfilter/nf_conntrack_tcp_be_liberal = 1",
                "net/netfilter/nf_conntrack_udp_timeout = 60",
                "net/netfilter/nf_conntrack_udp_timeout_stream = 300",
            ]
        );
    }
}
