//! KubeletConfiguration, and the fields of a pod that are about names.

use std::net::IpAddr;

use serde::Deserialize;

use super::super::field::{Parsed, Word, Worded, nullable};
use crate::{DnsPolicy, KubeletConfiguration, PodDns};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
pub(in crate::load) struct KubeletObject {
    #[serde(rename = "clusterDNS", deserialize_with = "nullable")]
    cluster_dns: Vec<Parsed<IpAddr>>,
    #[serde(deserialize_with = "nullable")]
    cluster_domain: Box<str>,
    #[serde(deserialize_with = "nullable")]
    resolv_conf: Box<str>,
}

impl From<KubeletObject> for KubeletConfiguration {
    fn from(raw: KubeletObject) -> Self {
        Self {
            cluster_dns: raw.cluster_dns.iter().filter_map(|ip| ip.0).collect(),
            cluster_domain: raw.cluster_domain,
            resolv_conf: raw.resolv_conf,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
pub(super) struct DnsConfig {
    #[serde(deserialize_with = "nullable")]
    nameservers: Vec<Parsed<IpAddr>>,
    #[serde(deserialize_with = "nullable")]
    searches: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    options: Vec<DnsOption>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct DnsOption {
    #[serde(deserialize_with = "nullable")]
    name: Box<str>,
    value: Option<Box<str>>,
}

impl Word for DnsPolicy {
    const ACCEPTED: &'static str = "ClusterFirst, ClusterFirstWithHostNet, Default or None";

    fn of(word: &str) -> Option<Self> {
        match word {
            "ClusterFirst" | "" => Some(Self::ClusterFirst),
            "ClusterFirstWithHostNet" => Some(Self::ClusterFirstWithHostNet),
            "Default" => Some(Self::Default),
            "None" => Some(Self::None),
            _ => None,
        }
    }
}

/// What a pod says of names; nothing where it says what every pod does.
pub(super) fn pod_dns(policy: Worded<DnsPolicy>, config: DnsConfig) -> Option<Box<PodDns>> {
    let dns = PodDns {
        policy: policy.0,
        nameservers: config.nameservers.iter().filter_map(|ip| ip.0).collect(),
        searches: config.searches,
        options: config
            .options
            .into_iter()
            .map(|o| (o.name, o.value))
            .collect(),
    };
    (dns != PodDns::default()).then(|| Box::new(dns))
}
