//! `KubeProxyConfiguration`, kubeproxy.config.k8s.io/v1alpha1.
//!
//! Field names, meanings and defaults: the API reference of that group, and
//! `SetDefaults_KubeProxyConfiguration` (pkg/proxy/apis/config/v1alpha1/defaults.go) of Kubernetes 1.30.

use std::time::Duration;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DetectLocalMode {
    /// By the cluster's pod range, `clusterCIDR`; the default.
    #[default]
    ClusterCidr,
    /// By the node's own pod range.
    NodeCidr,
    /// By the device it comes in by.
    BridgeInterface,
    /// By the prefix of that device's name.
    InterfaceNamePrefix,
}

/// `detectLocal`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetectLocal {
    /// Device for [`DetectLocalMode::BridgeInterface`].
    pub bridge_interface: String,
    /// Prefix for [`DetectLocalMode::InterfaceNamePrefix`].
    pub interface_name_prefix: String,
}

/// `clientConnection`; has no effect here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientConnection {
    /// `acceptContentTypes`.
    pub accept_content_types: String,
    /// `burst`.
    pub burst: i32,
    /// `contentType`.
    pub content_type: String,
    /// `kubeconfig`.
    pub kubeconfig: String,
    /// `qps`.
    pub qps: f32,
}

/// `conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConntrackConfiguration {
    /// `maxPerCore`; 32,768 unless said.
    pub max_per_core: Option<i32>,
    /// `min`; 131,072 unless said.
    pub min: Option<i32>,
    /// `tcpBeLiberal`: packets outside the TCP window are not INVALID.
    pub tcp_be_liberal: bool,
    /// `tcpCloseWaitTimeout`; 1 h unless said.
    pub tcp_close_wait_timeout: Option<Duration>,
    /// `tcpEstablishedTimeout`; 24 h unless said.
    pub tcp_established_timeout: Option<Duration>,
    /// `udpStreamTimeout`; 0 leaves the kernel's.
    pub udp_stream_timeout: Duration,
    /// `udpTimeout`; 0 leaves the kernel's.
    pub udp_timeout: Duration,
}

/// `iptables`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IptablesConfiguration {
    /// `localhostNodePorts`; true unless said.
    pub localhost_node_ports: Option<bool>,
    /// `masqueradeAll`.
    pub masquerade_all: bool,
    /// `masqueradeBit`, 0 to 31; 14 unless said.
    pub masquerade_bit: Option<u8>,
    /// `minSyncPeriod`; 1 s unless said.
    pub min_sync_period: Duration,
    /// `syncPeriod`; 30 s unless said.
    pub sync_period: Duration,
}

/// `ipvs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpvsConfiguration {
    /// `excludeCIDRs`.
    pub exclude_cidrs: Vec<String>,
    /// `minSyncPeriod`.
    pub min_sync_period: Duration,
    /// `scheduler`; rr unless said.
    pub scheduler: String,
    /// `strictARP`.
    pub strict_arp: bool,
    /// `syncPeriod`.
    pub sync_period: Duration,
    /// `tcpFinTimeout`.
    pub tcp_fin_timeout: Duration,
    /// `tcpTimeout`.
    pub tcp_timeout: Duration,
    /// `udpTimeout`.
    pub udp_timeout: Duration,
}

/// `nftables`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NftablesConfiguration {
    /// `masqueradeAll`.
    pub masquerade_all: bool,
    /// `masqueradeBit`, 0 to 31; 14 unless said.
    pub masquerade_bit: Option<u8>,
    /// `minSyncPeriod`.
    pub min_sync_period: Duration,
    /// `syncPeriod`.
    pub sync_period: Duration,
}

/// How kube-proxy was told to work.
///
/// The default value is an empty configuration file; what kube-proxy then assumes is said at each
/// field, and applied by whoever obeys it, so that the file can be printed back as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KubeProxyConfiguration {
    /// `mode`, as written; empty is iptables.
    pub mode: String,
    /// `clusterCIDR`, as written: one prefix, or one of each family with a comma between.
    pub cluster_cidr: String,
    /// `detectLocalMode`.
    pub detect_local_mode: DetectLocalMode,
    /// `detectLocal`.
    pub detect_local: DetectLocal,
    /// `nodePortAddresses`, as written.
    pub node_port_addresses: Vec<String>,
    /// `iptables`.
    pub iptables: IptablesConfiguration,
    /// `ipvs`.
    pub ipvs: IpvsConfiguration,
    /// `nftables`.
    pub nftables: NftablesConfiguration,
    /// `conntrack`.
    pub conntrack: ConntrackConfiguration,
    /// `clientConnection`.
    pub client_connection: ClientConnection,
    /// `bindAddress`.
    pub bind_address: String,
    /// `healthzBindAddress`.
    pub healthz_bind_address: String,
    /// `metricsBindAddress`.
    pub metrics_bind_address: String,
    /// `hostnameOverride`.
    pub hostname_override: String,
    /// `configSyncPeriod`.
    pub config_sync_period: Duration,
    /// `featureGates`, as written.
    pub feature_gates: std::collections::BTreeMap<String, bool>,
}

impl KubeProxyConfiguration {
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
