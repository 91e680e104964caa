//! Objects to a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::object::Object;
use super::oddity;
use super::raw::EndpointsObject;
use crate::model::Expanded;
use crate::{
    Cluster, ConfigText, FileId, KubeProxyConfiguration, Namespace, ObjectName, Source, Warning,
};

/// A cluster in the making.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    cluster: Cluster,
    endpoints: BTreeMap<ObjectName, (Source, EndpointsObject)>,
    modelled: Option<Source>,
    /// What a model configures without saying so.
    implied: Option<KubeProxyConfiguration>,
    pub(super) files: Vec<PathBuf>,
}

impl Assembly {
    /// Adds an object; a later one of the same name takes its place.
    pub(super) fn add(&mut self, file: FileId, line: u32, object: Object) {
        let source = Source { file, line };
        let cluster = &mut self.cluster;
        let again = match object {
            Object::Node(mut node) => {
                node.meta.source = Some(source);
                let name = node.meta.name.name.clone();
                let old = cluster.nodes.insert(name.clone(), *node);
                old.map(|_| format!("node `{name}` stands twice; the later one counts"))
            }
            Object::Namespace(name, labels) => {
                let namespace = Namespace::new(&name, labels, Some(source));
                cluster.namespaces.insert((&*name).into(), namespace);
                None
            }
            Object::Pod(mut pod) => {
                pod.meta.source = Some(source);
                let name = pod.meta.name.clone();
                let old = cluster.pods.insert(name.clone(), pod);
                old.map(|_| format!("pod `{name}` stands twice; the later one counts"))
            }
            Object::Service(mut service) => {
                service.meta.source = Some(source);
                let name = service.meta.name.clone();
                let old = cluster.services.insert(name.clone(), *service);
                old.map(|_| format!("service `{name}` stands twice; the later one counts"))
            }
            Object::Slice(mut slice) => {
                slice.meta.source = Some(source);
                let name = slice.meta.name.clone();
                let old = cluster.endpoint_slices.insert(name.clone(), slice);
                old.map(|_| format!("endpoint slice `{name}` stands twice; the later one counts"))
            }
            Object::NetworkPolicy(mut policy) => {
                policy.meta.source = Some(source);
                let name = policy.meta.name.clone();
                let old = cluster.network_policies.insert(name.clone(), *policy);
                old.map(|_| format!("network policy `{name}` stands twice; the later one counts"))
            }
            Object::Endpoints(endpoints) => {
                let name = endpoints.name();
                let old = self.endpoints.insert(name.clone(), (source, endpoints));
                old.map(|_| format!("endpoints `{name}` stand twice; the later ones count"))
            }
            Object::Ingress(mut ingress) => {
                ingress.meta.source = Some(source);
                let name = ingress.meta.name.clone();
                let old = cluster.ingresses.insert(name.clone(), *ingress);
                old.map(|_| format!("ingress `{name}` stands twice; the later one counts"))
            }
            Object::IngressClass(mut class) => {
                class.meta.source = Some(source);
                let name = class.meta.name.name.clone();
                let old = cluster.ingress_classes.insert(name.clone(), class);
                old.map(|_| format!("ingress class `{name}` stands twice; the later one counts"))
            }
            Object::Config(config, unknown) => {
                self.configure(source, *config, &unknown);
                None
            }
            Object::Kubelet(kubelet) => {
                let old = cluster.kubelet.replace(kubelet);
                old.map(|_| "kubelet is configured twice; the later settings count".to_owned())
            }
            Object::Corefile(text) => {
                let old = cluster.corefile.replace(ConfigText { text, source });
                old.map(|_| "CoreDNS is configured twice; the later Corefile counts".to_owned())
            }
            Object::Unused(kind) => {
                *cluster.unused_kinds.entry(kind).or_default() += 1;
                None
            }
        };
        if let Some(text) = again {
            self.warn(Some(source), text);
        }
    }

    /// Adds what a model stands for. Its network counts for the whole cluster.
    pub(super) fn add_model(&mut self, file: FileId, model: Expanded) {
        let first = Source { file, line: 1 };
        if self.modelled.replace(first).is_some() {
            let text = "a second model; its network counts";
            self.warn(Some(first), text.to_owned());
        }
        self.cluster.network = model.network;
        for (name, labels) in model.namespaces {
            let namespace = Namespace::new(&name, labels, Some(first));
            let entry = self.cluster.namespaces.entry(name.as_str().into());
            entry.or_insert(namespace);
        }
        if model.configures {
            self.configure(first, model.kube_proxy, &[]);
        } else {
            self.implied = Some(model.kube_proxy);
        }
        let nodes = model.nodes.into_iter();
        let nodes = nodes.map(|(line, node)| (line, Object::Node(Box::new(node))));
        let pods = model.pods.into_iter();
        let pods = pods.map(|(line, pod)| (line, Object::Pod(pod)));
        let services = model.services.into_iter();
        let services = services.map(|(line, one)| (line, Object::Service(Box::new(one))));
        let slices = model.slices.into_iter();
        let slices = slices.map(|(line, slice)| (line, Object::Slice(slice)));
        let policies = model.policies.into_iter();
        let policies = policies.map(|(line, one)| (line, Object::NetworkPolicy(Box::new(one))));
        let ingresses = model.ingresses.into_iter();
        let ingresses = ingresses.map(|(line, one)| (line, Object::Ingress(Box::new(one))));
        let classes = model.ingress_classes.into_iter();
        let classes = classes.map(|(line, class)| (line, Object::IngressClass(class)));
        let objects = nodes.chain(pods).chain(services).chain(slices);
        let objects = objects.chain(policies);
        for (line, object) in objects.chain(ingresses).chain(classes) {
            self.add(file, line, object);
        }
    }

    fn warn(&mut self, source: Option<Source>, text: String) {
        self.cluster.warnings.push(Warning { source, text });
    }

    fn configure(&mut self, source: Source, config: KubeProxyConfiguration, unknown: &[String]) {
        if self.cluster.kube_proxy_source.replace(source).is_some() {
            let text = "kube-proxy is configured twice; the later configuration counts";
            self.warn(Some(source), text.to_owned());
        }
        for field in unknown {
            let text = format!("kube-proxy's configuration has no field `{field}`; left out");
            self.warn(Some(source), text);
        }
        self.cluster.kube_proxy = Some(config);
    }

    /// The cluster, with slices made of Endpoints objects where a Service has none, and warnings.
    pub(super) fn finish(mut self) -> Cluster {
        self.cluster.files = std::mem::take(&mut self.files);
        let implied = self.implied.take();
        self.cluster.kube_proxy = self.cluster.kube_proxy.take().or(implied);
        let sliced: BTreeSet<_> = self
            .cluster
            .endpoint_slices
            .values()
            .filter_map(crate::EndpointSlice::service)
            .collect();
        for (name, (source, endpoints)) in std::mem::take(&mut self.endpoints) {
            if sliced.contains(&name) {
                continue;
            }
            for mut slice in endpoints.slices() {
                slice.meta.source = Some(source);
                let name = slice.meta.name.clone();
                self.cluster.endpoint_slices.entry(name).or_insert(slice);
            }
        }
        let odd = oddity::warnings(&self.cluster);
        self.cluster.warnings.extend(odd);
        self.cluster
    }
}
