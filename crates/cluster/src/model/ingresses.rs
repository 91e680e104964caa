//! Ingresses of a model.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::at::{At, Reader};
use super::schema::default_namespace;
use crate::load::{Problem, Target, host_fault, path_fault};
use crate::{
    BackendPort, Ingress, IngressApi, IngressBackend, IngressClass, IngressPath, IngressRule,
    IngressTls, Meta, ObjectName, PathType, TargetPort, Timestamp,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IngressModel {
    name: At<String>,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    annotations: BTreeMap<Box<str>, Box<str>>,
    #[serde(default)]
    api: ApiModel,
    #[serde(default)]
    class: Option<Box<str>>,
    #[serde(default)]
    default_backend: Option<BackendModel>,
    /// Hosts with a certificate.
    #[serde(default)]
    tls: Vec<At<String>>,
    #[serde(default)]
    rules: Vec<RuleModel>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
enum ApiModel {
    Extensions,
    Beta,
    #[default]
    V1,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleModel {
    /// All hosts unless said.
    #[serde(default)]
    host: Option<At<String>>,
    #[serde(default)]
    paths: Vec<PathModel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathModel {
    #[serde(default)]
    path: Option<At<String>>,
    /// `Prefix` unless said.
    #[serde(default, rename = "type")]
    path_type: PathTypeModel,
    service: Box<str>,
    port: At<Target>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
enum PathTypeModel {
    Exact,
    #[default]
    Prefix,
    ImplementationSpecific,
}

impl From<PathTypeModel> for PathType {
    fn from(path_type: PathTypeModel) -> Self {
        match path_type {
            PathTypeModel::Exact => Self::Exact,
            PathTypeModel::Prefix => Self::Prefix,
            PathTypeModel::ImplementationSpecific => Self::ImplementationSpecific,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendModel {
    service: Box<str>,
    port: At<Target>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IngressClassModel {
    name: At<String>,
    controller: Box<str>,
    #[serde(default)]
    default: bool,
}

pub(super) fn expand(reader: &mut Reader<'_>, models: &[IngressModel]) -> Vec<(u32, Ingress)> {
    let mut made: Vec<(u32, Ingress)> = Vec::new();
    for (age, model) in models.iter().enumerate() {
        let Some(name) = reader.get(&model.name, "name").cloned() else {
            continue;
        };
        let name = ObjectName::new(&model.namespace, &name);
        if made.iter().any(|(_, other)| other.meta.name == name) {
            let problem = Problem::DuplicateName {
                kind: "ingress",
                name: name.to_string(),
            };
            reader.fault(&model.name, problem);
            continue;
        }
        let line = reader.place(&model.name).line;
        made.push((line, ingress(reader, model, name, age)));
    }
    made
}

fn ingress(reader: &mut Reader<'_>, model: &IngressModel, name: ObjectName, age: usize) -> Ingress {
    let hosts = model.tls.iter();
    let hosts: Vec<Box<str>> = hosts.filter_map(|at| host(reader, at, "tls")).collect();
    let rules = model.rules.iter().map(|rule| IngressRule {
        host: rule
            .host
            .as_ref()
            .and_then(|at| host(reader, at, "host"))
            .unwrap_or_default(),
        paths: rule.paths.iter().map(|said| path(reader, said)).collect(),
    });
    Ingress {
        rules: rules.collect(),
        meta: Meta {
            name,
            labels: BTreeMap::new(),
            annotations: model.annotations.clone(),
            source: None,
        },
        api: match model.api {
            ApiModel::Extensions => IngressApi::Extensions,
            ApiModel::Beta => IngressApi::Beta,
            ApiModel::V1 => IngressApi::V1,
        },
        created: Some(Timestamp::default() + Duration::from_secs(age as u64)),
        class_name: model.class.clone(),
        default_backend: model
            .default_backend
            .as_ref()
            .and_then(|said| backend(reader, &said.service, &said.port)),
        tls: if hosts.is_empty() {
            Vec::new()
        } else {
            vec![IngressTls {
                hosts,
                secret: "tls".into(),
            }]
        },
    }
}

fn host(reader: &mut Reader<'_>, at: &At<String>, field: &str) -> Option<Box<str>> {
    let host = reader.get(at, field)?;
    if let Some(accepted) = host_fault(host) {
        let problem = Problem::WrongValue {
            field: field.to_owned(),
            found: format!("{host:?}"),
            accepted: accepted.to_owned(),
        };
        reader.fault(at, problem);
    }
    Some(host.as_str().into())
}

fn path(reader: &mut Reader<'_>, said: &PathModel) -> IngressPath {
    let path_type = said.path_type.into();
    let text = said.path.as_ref().and_then(|at| {
        let text = reader.get(at, "path")?;
        if let Some(accepted) = path_fault(path_type, text) {
            let problem = Problem::WrongValue {
                field: "path".to_owned(),
                found: format!("{text:?}"),
                accepted: accepted.to_owned(),
            };
            reader.fault(at, problem);
        }
        Some(text.as_str().into())
    });
    let nowhere = IngressBackend::Resource {
        kind: Box::default(),
        name: Box::default(),
    };
    IngressPath {
        path: text.unwrap_or_else(|| "/".into()),
        path_type,
        // A port that is none was told, and nothing is made of the model.
        backend: backend(reader, &said.service, &said.port).unwrap_or(nowhere),
    }
}

fn backend(reader: &mut Reader<'_>, service: &str, port: &At<Target>) -> Option<IngressBackend> {
    let port = match &reader.get(port, "port")?.0 {
        Some(TargetPort::Number(number)) => BackendPort::Number(*number),
        Some(TargetPort::Name(name)) => BackendPort::Name(name.clone()),
        None => {
            let problem = Problem::WrongValue {
                field: "port".to_owned(),
                found: "0, or without a name".to_owned(),
                accepted: "the number or the name of a Service's port".to_owned(),
            };
            reader.fault(port, problem);
            return None;
        }
    };
    Some(IngressBackend::Service {
        name: service.into(),
        port,
    })
}

pub(super) fn classes(
    reader: &mut Reader<'_>,
    models: &[IngressClassModel],
) -> Vec<(u32, IngressClass)> {
    let mut made = Vec::new();
    for model in models {
        let Some(name) = reader.get(&model.name, "name") else {
            continue;
        };
        let class = IngressClass {
            meta: Meta {
                name: ObjectName::new("", name),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                source: None,
            },
            controller: model.controller.clone(),
            is_default: model.default,
        };
        made.push((reader.place(&model.name).line, class));
    }
    made
}
