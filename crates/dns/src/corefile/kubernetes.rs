//! What `kubernetes` is told.
//!
//! # Sources
//! plugin/kubernetes/setup.go.

use indexmap::IndexSet;

use super::{Fallthrough, Selector, ZoneName};

/// Settings of the plugin `kubernetes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Kubernetes {
    /// The zones that it answers for.
    pub zones: Vec<ZoneName>,
    /// Which of them is the cluster's own: the first that is not one of addresses.
    pub primary: usize,
    /// Which names of pods exist.
    pub pods: PodMode,
    /// Whether endpoints without a hostname are named after their pod, not after their address.
    pub endpoint_pod_names: bool,
    /// The namespaces whose objects have names; empty: all.
    pub namespaces: IndexSet<String>,
    /// Which objects have names.
    pub labels: Option<Selector>,
    /// Which namespaces have.
    pub namespace_labels: Option<Selector>,
    /// Of every record, in seconds.
    pub ttl: u32,
    /// Whether endpoints are not looked at: then headless services have no addresses.
    pub noendpoints: bool,
    /// Whether a service without ready endpoints does not exist.
    pub ignore_empty_service: bool,
    /// Which names are asked of the next plugin.
    pub fallthrough: Fallthrough,
    /// The zones of MultiCluster services.
    pub multicluster: Vec<ZoneName>,
}

/// Which names of pods (`10-244-1-5.default.pod.cluster.local`) exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodMode {
    /// None.
    #[default]
    Disabled,
    /// Each whose namespace exists, without a look at the pods.
    Insecure,
    /// Those of the pods that are there.
    Verified,
}

impl Kubernetes {
    /// What holds where the Corefile says nothing.
    pub fn new(zones: Vec<ZoneName>, primary: usize) -> Self {
        Self {
            zones,
            primary,
            pods: PodMode::Disabled,
            endpoint_pod_names: false,
            namespaces: IndexSet::new(),
            labels: None,
            namespace_labels: None,
            ttl: 5,
            noendpoints: false,
            ignore_empty_service: false,
            fallthrough: Fallthrough::default(),
            multicluster: Vec::new(),
        }
    }
}
