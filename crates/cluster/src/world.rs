//! A whole cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::{
    EndpointSlice, FileId, Ingress, IngressClass, KubeProxyConfiguration, KubeletConfiguration,
    Namespace, Network, NetworkPolicy, Node, ObjectName, Pod, Service, Source,
};

/// Something odd in the input that podwire can live with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub source: Option<Source>,
    /// What, as a sentence for a person.
    pub text: String,
}

/// A text that a ConfigMap holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigText {
    /// The text.
    pub text: Box<str>,
    /// Where the ConfigMap was read.
    pub source: Source,
}

/// All objects of a cluster, and its network.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Nodes by name, in the order of the input.
    pub nodes: IndexMap<Arc<str>, Node>,
    /// Namespaces, where the input lists them.
    pub namespaces: BTreeMap<Arc<str>, Namespace>,
    /// Pods.
    pub pods: BTreeMap<ObjectName, Pod>,
    /// Services.
    pub services: BTreeMap<ObjectName, Service>,
    /// EndpointSlices; those made from Endpoints objects, where a Service has no slice, among them.
    pub endpoint_slices: BTreeMap<ObjectName, EndpointSlice>,
    /// NetworkPolicies.
    pub network_policies: BTreeMap<ObjectName, NetworkPolicy>,
    /// Ingresses.
    pub ingresses: BTreeMap<ObjectName, Ingress>,
    /// IngressClasses by name.
    pub ingress_classes: BTreeMap<Arc<str>, IngressClass>,
    /// How kube-proxy is configured, where the input says so.
    pub kube_proxy: Option<KubeProxyConfiguration>,
    /// Where it says so; `None` for what a model implies.
    pub kube_proxy_source: Option<Source>,
    /// How kubelet is configured, where the input says so.
    pub kubelet: Option<KubeletConfiguration>,
    /// CoreDNS's Corefile, where the input has its ConfigMap.
    pub corefile: Option<ConfigText>,
    /// The network.
    pub network: Network,
    /// Kinds that podwire does not use, and how many objects of each there were.
    pub unused_kinds: BTreeMap<Box<str>, usize>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What was odd.
    pub warnings: Vec<Warning>,
}

impl Cluster {
    /// The path of a file that was read.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<&PathBuf> {
        self.files.get(id.0 as usize)
    }

    /// A place in the input for people: `cluster.yaml:41`.
    #[must_use]
    pub fn place(&self, source: Source) -> impl fmt::Display {
        let path = self
            .file(source.file)
            .map_or_else(String::new, |path| path.display().to_string());
        format!("{path}:{}", source.line)
    }
}
