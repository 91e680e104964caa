//! `KubeProxyConfiguration`, kubeproxy.config.k8s.io/v1alpha1.
//!
//! Field names, meanings and defaults: the API reference of that group, and
//! `SetDefaults_KubeProxyConfiguration` (pkg/proxy/apis/config/v1alpha1/defaults.go) of Kubernetes 1.30.
//!
//! - `fields`, `quantity`: how single values are read and written.
//! - `defaults`: what kube-proxy assumes; `validation`: what it refuses.
//! - `effect`: what changes nothing here.
//! - `print`: the file that kube-proxy writes of it; `set`: one field at a time.
//!
//! # Departures
//! - Names of feature gates are not checked against the release.
//! - `showHiddenMetricsForVersion` may be any release, not only the one before.
//! - A null where kube-proxy wants a duration is none.

mod defaults;
mod effect;
mod fields;
mod print;
mod quantity;
mod set;
mod validation;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::nullable;

pub use fields::{format as go_duration, parse as parse_go_duration};
pub use set::SetError;
pub use validation::InvalidField;

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyMode {
    /// Rules in iptables.
    Iptables,
    /// Virtual servers in IPVS.
    Ipvs,
    /// Rules in nftables.
    Nftables,
    /// A proxy process; gone from Kubernetes since 1.26.
    Userspace,
    /// Windows.
    Kernelspace,
}

/// `detectLocalMode`: how kube-proxy knows a packet of a pod on its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum DetectLocalMode {
    /// By the cluster's pod range, `clusterCIDR`; the default.
    #[default]
    #[serde(rename = "ClusterCIDR")]
    ClusterCidr,
    /// By the node's own pod range.
    #[serde(rename = "NodeCIDR")]
    NodeCidr,
    /// By the device it comes in by.
    BridgeInterface,
    /// By the prefix of that device's name.
    InterfaceNamePrefix,
}

/// `detectLocal`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct DetectLocal {
    /// Device for [`DetectLocalMode::BridgeInterface`].
    #[serde(deserialize_with = "nullable")]
    pub bridge_interface: String,
    /// Prefix for [`DetectLocalMode::InterfaceNamePrefix`].
    #[serde(deserialize_with = "nullable")]
    pub interface_name_prefix: String,
}

/// `clientConnection`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct ClientConnection {
    /// `acceptContentTypes`.
    #[serde(deserialize_with = "nullable")]
    pub accept_content_types: String,
    /// `burst`.
    #[serde(deserialize_with = "nullable")]
    pub burst: i32,
    /// `contentType`.
    #[serde(deserialize_with = "nullable")]
    pub content_type: String,
    /// `kubeconfig`.
    #[serde(deserialize_with = "nullable")]
    pub kubeconfig: String,
    /// `qps`.
    #[serde(deserialize_with = "nullable")]
    pub qps: f32,
}

/// `conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct ConntrackConfiguration {
    /// `maxPerCore`; 32,768 unless said.
    pub max_per_core: Option<i32>,
    /// `min`; 131,072 unless said.
    pub min: Option<i32>,
    /// `tcpBeLiberal`: packets outside the TCP window are not INVALID.
    #[serde(deserialize_with = "nullable")]
    pub tcp_be_liberal: bool,
    /// `tcpCloseWaitTimeout`; 1 h unless said.
    #[serde(with = "fields::optional_duration")]
    pub tcp_close_wait_timeout: Option<Duration>,
    /// `tcpEstablishedTimeout`; 24 h unless said.
    #[serde(with = "fields::optional_duration")]
    pub tcp_established_timeout: Option<Duration>,
    /// `udpStreamTimeout`; 0 leaves the kernel's.
    #[serde(with = "fields::duration")]
    pub udp_stream_timeout: Duration,
    /// `udpTimeout`; 0 leaves the kernel's.
    #[serde(with = "fields::duration")]
    pub udp_timeout: Duration,
}

/// `iptables`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct IptablesConfiguration {
    /// `localhostNodePorts`; true unless said.
    pub localhost_node_ports: Option<bool>,
    /// `masqueradeAll`.
    #[serde(deserialize_with = "nullable")]
    pub masquerade_all: bool,
    /// `masqueradeBit`, 0 to 31; 14 unless said.
    #[serde(deserialize_with = "fields::masquerade_bit")]
    pub masquerade_bit: Option<u8>,
    /// `minSyncPeriod`; 1 s unless said.
    #[serde(with = "fields::duration")]
    pub min_sync_period: Duration,
    /// `syncPeriod`; 30 s unless said.
    #[serde(with = "fields::duration")]
    pub sync_period: Duration,
}

/// `ipvs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct IpvsConfiguration {
    /// `excludeCIDRs`.
    #[serde(rename = "excludeCIDRs", deserialize_with = "nullable")]
    pub exclude_cidrs: Vec<String>,
    /// `minSyncPeriod`.
    #[serde(with = "fields::duration")]
    pub min_sync_period: Duration,
    /// `scheduler`; rr unless said.
    #[serde(deserialize_with = "nullable")]
    pub scheduler: String,
    /// `strictARP`.
    #[serde(rename = "strictARP", deserialize_with = "nullable")]
    pub strict_arp: bool,
    /// `syncPeriod`.
    #[serde(with = "fields::duration")]
    pub sync_period: Duration,
    /// `tcpFinTimeout`.
    #[serde(with = "fields::duration")]
    pub tcp_fin_timeout: Duration,
    /// `tcpTimeout`.
    #[serde(with = "fields::duration")]
    pub tcp_timeout: Duration,
    /// `udpTimeout`.
    #[serde(with = "fields::duration")]
    pub udp_timeout: Duration,
}

/// `nftables`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct NftablesConfiguration {
    /// `masqueradeAll`.
    #[serde(deserialize_with = "nullable")]
    pub masquerade_all: bool,
    /// `masqueradeBit`, 0 to 31; 14 unless said.
    #[serde(deserialize_with = "fields::masquerade_bit")]
    pub masquerade_bit: Option<u8>,
    /// `minSyncPeriod`.
    #[serde(with = "fields::duration")]
    pub min_sync_period: Duration,
    /// `syncPeriod`.
    #[serde(with = "fields::duration")]
    pub sync_period: Duration,
}

/// `logging`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct LoggingConfiguration {
    /// `flushFrequency`; 5 s unless said.
    #[serde(deserialize_with = "nullable")]
    pub flush_frequency: FlushFrequency,
    /// `format`; text unless said.
    #[serde(deserialize_with = "nullable")]
    pub format: String,
    /// `options`.
    #[serde(deserialize_with = "nullable")]
    pub options: LoggingOptions,
    /// `verbosity`.
    #[serde(deserialize_with = "nullable")]
    pub verbosity: u32,
    /// `vmodule`.
    #[serde(deserialize_with = "nullable")]
    pub vmodule: Vec<VmoduleItem>,
}

/// `logging.flushFrequency`: a duration in Go's form, or a number of nanoseconds, and written as it was
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushFrequency {
    /// The duration.
    pub duration: Duration,
    /// Whether it stands as a number.
    pub is_number: bool,
}

/// An entry of `logging.vmodule`: another verbosity for some of kube-proxy's own source files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct VmoduleItem {
    /// `filePattern`.
    #[serde(deserialize_with = "nullable")]
    pub file_pattern: String,
    /// `verbosity`.
    #[serde(deserialize_with = "nullable")]
    pub verbosity: u32,
}

/// `logging.options`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct LoggingOptions {
    /// `json`.
    #[serde(deserialize_with = "nullable")]
    pub json: LoggingFormatOptions,
    /// `text`.
    #[serde(deserialize_with = "nullable")]
    pub text: LoggingFormatOptions,
}

/// `logging.options.json`, `logging.options.text`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct LoggingFormatOptions {
    /// `infoBufferSize`: a quantity of bytes such as `64Ki`, in its canonical form; 0 unless said.
    #[serde(deserialize_with = "quantity::deserialize")]
    pub info_buffer_size: String,
    /// `splitStream`: errors to stderr, all else to stdout.
    #[serde(deserialize_with = "nullable")]
    pub split_stream: bool,
}

/// `winkernel`: Windows only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct WinkernelConfiguration {
    /// `enableDSR`.
    #[serde(rename = "enableDSR", deserialize_with = "nullable")]
    pub enable_dsr: bool,
    /// `forwardHealthCheckVip`.
    #[serde(deserialize_with = "nullable")]
    pub forward_health_check_vip: bool,
    /// `networkName`.
    #[serde(deserialize_with = "nullable")]
    pub network_name: String,
    /// `rootHnsEndpointName`.
    #[serde(deserialize_with = "nullable")]
    pub root_hns_endpoint_name: String,
    /// `sourceVip`.
    #[serde(deserialize_with = "nullable")]
    pub source_vip: String,
}

/// How kube-proxy was told to work.
///
/// The default value is an empty configuration file; what kube-proxy then assumes is said at each
/// field and filled in by [`with_defaults`](Self::with_defaults).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub struct KubeProxyConfiguration {
    /// `mode`, as written; empty is iptables.
    #[serde(deserialize_with = "nullable")]
    pub mode: String,
    /// `clusterCIDR`, as written: one prefix, or one of each family with a comma between.
    #[serde(rename = "clusterCIDR", deserialize_with = "nullable")]
    pub cluster_cidr: String,
    /// `detectLocalMode`.
    #[serde(deserialize_with = "fields::detect_local_mode")]
    pub detect_local_mode: DetectLocalMode,
    /// `detectLocal`.
    #[serde(deserialize_with = "nullable")]
    pub detect_local: DetectLocal,
    /// `nodePortAddresses`, as written.
    #[serde(deserialize_with = "nullable")]
    pub node_port_addresses: Vec<String>,
    /// `iptables`.
    #[serde(deserialize_with = "nullable")]
    pub iptables: IptablesConfiguration,
    /// `ipvs`.
    #[serde(deserialize_with = "nullable")]
    pub ipvs: IpvsConfiguration,
    /// `nftables`.
    #[serde(deserialize_with = "nullable")]
    pub nftables: NftablesConfiguration,
    /// `conntrack`.
    #[serde(deserialize_with = "nullable")]
    pub conntrack: ConntrackConfiguration,
    /// `clientConnection`.
    #[serde(deserialize_with = "nullable")]
    pub client_connection: ClientConnection,
    /// `bindAddress`.
    #[serde(deserialize_with = "nullable")]
    pub bind_address: String,
    /// `healthzBindAddress`.
    #[serde(deserialize_with = "nullable")]
    pub healthz_bind_address: String,
    /// `metricsBindAddress`.
    #[serde(deserialize_with = "nullable")]
    pub metrics_bind_address: String,
    /// `hostnameOverride`.
    #[serde(deserialize_with = "nullable")]
    pub hostname_override: String,
    /// `configSyncPeriod`.
    #[serde(with = "fields::duration")]
    pub config_sync_period: Duration,
    /// `featureGates`, as written.
    #[serde(deserialize_with = "nullable")]
    pub feature_gates: std::collections::BTreeMap<String, bool>,
    /// `bindAddressHardFail`.
    #[serde(deserialize_with = "nullable")]
    pub bind_address_hard_fail: bool,
    /// `enableProfiling`.
    #[serde(deserialize_with = "nullable")]
    pub enable_profiling: bool,
    /// `oomScoreAdj`.
    pub oom_score_adj: Option<i32>,
    /// `portRange`.
    #[serde(deserialize_with = "nullable")]
    pub port_range: String,
    /// `showHiddenMetricsForVersion`.
    #[serde(deserialize_with = "nullable")]
    pub show_hidden_metrics_for_version: String,
    /// `logging`.
    #[serde(deserialize_with = "nullable")]
    pub logging: LoggingConfiguration,
    /// `windowsRunAsService`.
    #[serde(deserialize_with = "nullable")]
    pub windows_run_as_service: bool,
    /// `winkernel`.
    #[serde(deserialize_with = "nullable")]
    pub winkernel: WinkernelConfiguration,
}

impl KubeProxyConfiguration {
    /// The words that `mode` may hold; the empty one is iptables.
    pub const MODES: [&'static str; 6] = [
        "",
        "iptables",
        "ipvs",
        "nftables",
        "userspace",
        "kernelspace",
    ];

    /// The mode to work in: iptables if none, or an unknown one, was asked for.
    #[must_use]
    pub fn proxy_mode(&self) -> ProxyMode {
        match self.mode.as_str() {
            "ipvs" => ProxyMode::Ipvs,
            "nftables" => ProxyMode::Nftables,
            "userspace" => ProxyMode::Userspace,
            "kernelspace" => ProxyMode::Kernelspace,
            _ => ProxyMode::Iptables,
        }
    }
}
