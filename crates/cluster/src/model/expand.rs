//! A model to the objects of a cluster.

use std::collections::BTreeMap;

use podwire_packet::Prefix;

use super::at::{At, Reader, content, document};
use super::ingresses;
use super::nodes;
use super::policies;
use super::schema::{CniModel, FlannelModel, Model, NetworkModel};
use super::services;
use super::slices;
use super::workloads;
use crate::load::{Parsed, Place, Problem};
use crate::{
    Cni, EndpointSlice, FlannelBackend, Ingress, IngressClass, KubeProxyConfiguration, Labels,
    Network, NetworkPolicy, Node, Pod, Service,
};

/// The most that `repeat`, `replicas` and `node_count` make.
const MOST: u32 = 100_000;

/// What a model stands for; the number is the line.
#[derive(Debug)]
pub(crate) struct Expanded {
    pub(crate) network: Network,
    pub(crate) kube_proxy: KubeProxyConfiguration,
    /// Whether the model itself configures kube-proxy.
    pub(crate) configures: bool,
    pub(crate) namespaces: BTreeMap<String, Labels>,
    pub(crate) nodes: Vec<(u32, Node)>,
    pub(crate) pods: Vec<(u32, Pod)>,
    pub(crate) services: Vec<(u32, Service)>,
    pub(crate) slices: Vec<(u32, EndpointSlice)>,
    pub(crate) policies: Vec<(u32, NetworkPolicy)>,
    pub(crate) ingresses: Vec<(u32, Ingress)>,
    pub(crate) ingress_classes: Vec<(u32, IngressClass)>,
}

/// Reads and expands a model.
///
/// `Ok(None)` is a text that holds nothing but comments.
pub(crate) fn expand(text: &str) -> Result<Option<Expanded>, Vec<(Place, Problem)>> {
    let text = text.trim_start_matches('\u{feff}');
    if content(text).is_empty() {
        return Ok(None);
    }
    let model: Model = document(text).map_err(|problem| vec![problem])?;
    let mut reader = Reader::new(text);
    let network = network(&mut reader, &model.network);
    let nodes = nodes::expand(&mut reader, &model, &network);
    let kube_proxy = kube_proxy(&mut reader, &model, &network);
    let pods = workloads::expand(&mut reader, &model.workloads, &nodes);
    let services = services::expand(&mut reader, &model.services, &network);
    let slices = slices::expand(&mut reader, &services, &pods, &nodes);
    let policies = policies::expand(&mut reader, &model.policies);
    let ingresses = ingresses::expand(&mut reader, &model.ingresses);
    let ingress_classes = ingresses::classes(&mut reader, &model.ingress_classes);
    let services: Vec<_> = services.into_iter().map(|m| (m.line, m.service)).collect();
    if !reader.problems.is_empty() {
        reader.problems.sort_by_key(|(place, _)| *place);
        return Err(reader.problems);
    }
    let configures = !model.kube_proxy.is_empty();
    let mut namespaces = model.namespace_labels;
    let used = pods.iter().map(|(_, pod)| &pod.meta.name);
    let used = used.chain(services.iter().map(|(_, service)| &service.meta.name));
    let used = used.chain(policies.iter().map(|(_, policy)| &policy.meta.name));
    let used = used.map(|name| name.namespace.to_string());
    for name in model.namespaces.into_iter().chain(used) {
        namespaces.entry(name).or_default();
    }
    Ok(Some(Expanded {
        network,
        kube_proxy,
        configures,
        namespaces,
        nodes,
        pods,
        services,
        slices,
        policies,
        ingresses,
        ingress_classes,
    }))
}

/// A count that a model may give.
pub(super) fn count(reader: &mut Reader<'_>, at: Option<&At<u32>>, field: &str) -> u32 {
    let Some(at) = at else { return 1 };
    let Some(&count) = reader.get(at, field) else {
        return 0;
    };
    if count > MOST {
        let problem = Problem::WrongValue {
            field: field.to_owned(),
            found: count.to_string(),
            accepted: format!("0 to {MOST}"),
        };
        reader.fault(at, problem);
        return 0;
    }
    count
}

/// A name with its number put in.
pub(super) fn numbered(name: &str, repeated: bool, n: u32) -> String {
    if name.contains("{n}") {
        filled(name, n)
    } else if repeated {
        format!("{name}-{n}")
    } else {
        name.to_owned()
    }
}

/// A text with `{n}` put in.
pub(super) fn filled(text: &str, n: u32) -> String {
    text.replace("{n}", &n.to_string())
}

/// Texts by key with `{n}` put in.
pub(super) fn labels(map: &BTreeMap<String, String>, n: u32) -> crate::Labels {
    map.iter()
        .map(|(key, value)| (filled(key, n).into(), filled(value, n).into()))
        .collect()
}

fn network(reader: &mut Reader<'_>, model: &NetworkModel) -> Network {
    let default = Network::default();
    let pod_cidrs = prefixes(reader, &model.pod_cidrs, "pod_cidrs", "10.244.0.0/16");
    let service_cidrs = prefixes(
        reader,
        &model.service_cidrs,
        "service_cidrs",
        "10.96.0.0/12",
    );
    let said = model.pod_cidrs.iter().chain(&model.service_cidrs);
    let mut seen: Vec<Prefix> = Vec::new();
    for at in said {
        let Some(prefix) = reader.quiet(at).and_then(|said| said.0) else {
            continue;
        };
        let all = seen.iter().chain(if model.pod_cidrs.is_empty() {
            &pod_cidrs[..]
        } else {
            &[]
        });
        if let Some(&other) = all.into_iter().find(|other| other.overlaps(&prefix)) {
            reader.fault(at, Problem::Overlap { prefix, other });
        }
        seen.push(prefix);
    }
    let rp_filter = model.rp_filter.as_ref().map_or(default.rp_filter, |at| {
        let mode = reader.get(at, "rp_filter").copied().unwrap_or_default();
        if mode > 2 {
            let problem = Problem::WrongValue {
                field: "rp_filter".to_owned(),
                found: mode.to_string(),
                accepted: "0 (off), 1 (strict) or 2 (loose)".to_owned(),
            };
            reader.fault(at, problem);
        }
        mode
    });
    Network {
        cni: match model.cni {
            CniModel::Routes => Cni::Routes,
            CniModel::Bridge => Cni::Bridge,
            CniModel::Weave => Cni::Weave,
            CniModel::Flannel(FlannelModel::HostGw) => Cni::Flannel(FlannelBackend::HostGw),
            CniModel::Flannel(FlannelModel::Vxlan {
                vni,
                port,
                direct_routing,
            }) => Cni::Flannel(FlannelBackend::Vxlan {
                vni,
                port,
                direct_routing,
            }),
        },
        service_cidrs,
        pod_cidrs,
        // flannel's manifest runs it with --ip-masq.
        ip_masq: model
            .ip_masq
            .unwrap_or(matches!(model.cni, CniModel::Flannel(_))),
        hairpin_mode: model.hairpin_mode.unwrap_or(default.hairpin_mode),
        bridge_nf_call_iptables: model
            .bridge_nf_call_iptables
            .unwrap_or(default.bridge_nf_call_iptables),
        ip_forward: model.ip_forward.unwrap_or(default.ip_forward),
        rp_filter,
        mtu: model.mtu.unwrap_or(default.mtu),
    }
}

/// The prefixes of a list, or the usual one.
fn prefixes(
    reader: &mut Reader<'_>,
    list: &[At<Parsed<Prefix>>],
    field: &str,
    usual: &str,
) -> Vec<Prefix> {
    if list.is_empty() {
        return usual.parse().into_iter().collect();
    }
    list.iter()
        .filter_map(|at| parsed(reader, at, field))
        .collect()
}

/// A text's value; the empty text is a fault.
pub(super) fn parsed<T>(reader: &mut Reader<'_>, at: &At<Parsed<T>>, field: &str) -> Option<T>
where
    T: crate::load::Accepted + Copy,
{
    let value = reader.get(at, field)?.0;
    if value.is_none() {
        let problem = Problem::WrongValue {
            field: field.to_owned(),
            found: "empty".to_owned(),
            accepted: T::ACCEPTED.to_owned(),
        };
        reader.fault(at, problem);
    }
    value
}

fn kube_proxy(reader: &mut Reader<'_>, model: &Model, network: &Network) -> KubeProxyConfiguration {
    let pod_cidrs: Vec<_> = network.pod_cidrs.iter().map(ToString::to_string).collect();
    let mut config = KubeProxyConfiguration {
        cluster_cidr: pod_cidrs.join(","),
        ..KubeProxyConfiguration::default()
    };
    for (field, at) in &model.kube_proxy {
        let Some(value) = reader.get(at, field) else {
            continue;
        };
        if let Err(error) = config.set(field, &scalar(value)) {
            reader.fault(at, Problem::Setting { error });
        }
    }
    for invalid in config.validate() {
        let said = |field: &str| model.kube_proxy.get(field);
        // What was refused above is not in the configuration.
        let at = said(&invalid.field).or_else(|| said(invalid.because_of?));
        if let Some(at) = at {
            reader.fault(at, invalid.into());
        }
    }
    config
}

/// A value as `--set` would have it.
fn scalar(value: &ron::Value) -> String {
    match value {
        ron::Value::String(text) => text.clone(),
        ron::Value::Seq(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        ron::Value::Option(Some(value)) => scalar(value),
        ron::Value::Option(None) | ron::Value::Unit => String::new(),
        ron::Value::Bool(_)
        | ron::Value::Char(_)
        | ron::Value::Map(_)
        | ron::Value::Number(_)
        | ron::Value::Bytes(_) => ron::to_string(value).unwrap_or_default(),
    }
}
