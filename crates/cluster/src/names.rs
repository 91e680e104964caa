//! What the input says of names: kubelet's settings, and what a pod wants otherwise.

use std::net::IpAddr;

/// kubelet's configuration, as far as a pod's resolv.conf depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeletConfiguration {
    /// `clusterDNS`: the nameservers of pods.
    pub cluster_dns: Vec<IpAddr>,
    /// `clusterDomain`; empty if not said.
    pub cluster_domain: Box<str>,
    /// `resolvConf`: the node's file that pods with policy Default get; empty if not said.
    pub resolv_conf: Box<str>,
}

/// `spec.dnsPolicy` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DnsPolicy {
    /// The cluster's nameserver; the node's for a pod on the node's network.
    #[default]
    ClusterFirst,
    /// The cluster's nameserver, on the node's network too.
    ClusterFirstWithHostNet,
    /// The node's resolv.conf.
    Default,
    /// Only what `spec.dnsConfig` says.
    None,
}

/// How a pod resolves names: `spec.dnsPolicy` and `spec.dnsConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodDns {
    /// The policy.
    pub policy: DnsPolicy,
    /// `dnsConfig.nameservers`, behind those of the policy.
    pub nameservers: Vec<IpAddr>,
    /// `dnsConfig.searches`, behind those of the policy.
    pub searches: Vec<Box<str>>,
    /// `dnsConfig.options`, which replace those of the policy by name.
    pub options: Vec<(Box<str>, Option<Box<str>>)>,
}
