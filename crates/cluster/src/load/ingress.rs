//! Ingresses, as strict as the API server is when one is made.
//!
//! # Sources
//! `ValidateIngressCreate` and what it calls, pkg/apis/networking/validation/validation.go of
//! Kubernetes 1.30; host names: RFC 1123 as apimachinery's util/validation has it.

use std::net::IpAddr;

use serde::Deserialize;

use super::config::place_of;
use super::error::{Place, Problem};
use super::field::{Parsed, Target, Word, Worded, nullable};
use super::object::Object;
use super::raw::Metadata;
use super::tree::Tree;
use crate::{
    BackendPort, Ingress, IngressApi, IngressBackend, IngressClass, IngressPath, IngressRule,
    IngressTls, PathType, TargetPort, Timestamp,
};

/// An Ingress of that `apiVersion`.
pub(super) fn of_tree(api_version: &str, tree: &Tree<'_>) -> Result<Object, (Place, Problem)> {
    let api = IngressApi::of(api_version).unwrap_or_default();
    let raw = RawIngress::deserialize(tree).map_err(|fault| fault.0.into_problem(tree.place))?;
    // No other kind's age matters, so the common fields of objects do not have it.
    let dated = Dated::deserialize(tree).map_err(|fault| fault.0.into_problem(tree.place))?;
    raw.ingress(api, dated.metadata.creation_timestamp.0)
        .map(|ingress| Object::Ingress(Box::new(ingress)))
        .map_err(|Invalid { field, problem }| (nearest(tree, &field), problem))
}

/// Where a field stands, or what it should stand in.
fn nearest(tree: &Tree<'_>, mut field: &str) -> Place {
    loop {
        if let Some(place) = place_of(tree, field) {
            return place;
        }
        match field.rsplit_once('.') {
            Some((above, _)) => field = above,
            None => return tree.place,
        }
    }
}

/// What the API server refuses, and of which field.
struct Invalid {
    field: String,
    problem: Problem,
}

impl Invalid {
    fn missing(field: String) -> Self {
        Self {
            problem: Problem::MissingField {
                field: field.clone(),
            },
            field,
        }
    }

    fn value(field: String, found: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self {
            problem: Problem::WrongValue {
                field: field.clone(),
                found: found.into(),
                accepted: accepted.into(),
            },
            field,
        }
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
struct Dated {
    metadata: DatedMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
struct DatedMetadata {
    #[serde(default, deserialize_with = "nullable")]
    creation_timestamp: Parsed<Timestamp>,
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
struct RawIngress {
    metadata: Metadata,
    #[serde(default, deserialize_with = "nullable")]
    spec: RawSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct RawSpec {
    #[serde(deserialize_with = "nullable")]
    ingress_class_name: Box<str>,
    default_backend: Option<RawBackend>,
    /// Its name in the older APIs.
    backend: Option<RawBackend>,
    #[serde(deserialize_with = "nullable")]
    tls: Vec<RawTls>,
    #[serde(deserialize_with = "nullable")]
    rules: Vec<RawRule>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct RawBackend {
    service: Option<RawService>,
    resource: Option<RawResource>,
    /// What the older APIs have in place of `service`.
    #[serde(deserialize_with = "nullable")]
    service_name: Box<str>,
    #[serde(deserialize_with = "nullable")]
    service_port: Target,
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
struct RawService {
    #[serde(default, deserialize_with = "nullable")]
    name: Box<str>,
    #[serde(default, deserialize_with = "nullable")]
    port: RawPort,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct RawPort {
    #[serde(deserialize_with = "nullable")]
    name: Box<str>,
    #[serde(deserialize_with = "nullable")]
    number: super::field::Port<0>,
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
struct RawResource {
    #[serde(default, deserialize_with = "nullable")]
    kind: Box<str>,
    #[serde(default, deserialize_with = "nullable")]
    name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a mapping")]
struct RawTls {
    #[serde(deserialize_with = "nullable")]
    hosts: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    secret_name: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct RawRule {
    #[serde(deserialize_with = "nullable")]
    host: Box<str>,
    http: Option<RawHttp>,
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
struct RawHttp {
    #[serde(default, deserialize_with = "nullable")]
    paths: Vec<RawPath>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
struct RawPath {
    #[serde(default, deserialize_with = "nullable")]
    path: Box<str>,
    path_type: Option<Worded<PathType>>,
    #[serde(default, deserialize_with = "nullable")]
    backend: RawBackend,
}

impl Word for PathType {
    const ACCEPTED: &'static str = "Exact, Prefix or ImplementationSpecific";

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "Exact" => Self::Exact,
            "Prefix" => Self::Prefix,
            "ImplementationSpecific" => Self::ImplementationSpecific,
            _ => return None,
        })
    }
}

impl RawIngress {
    fn ingress(self, api: IngressApi, created: Option<Timestamp>) -> Result<Ingress, Invalid> {
        let Self { metadata, spec } = self;
        let (default_backend, name) = match api {
            IngressApi::V1 => (spec.default_backend, "spec.defaultBackend"),
            IngressApi::Extensions | IngressApi::Beta => (spec.backend, "spec.backend"),
        };
        if default_backend.is_none() && spec.rules.is_empty() {
            return Err(Invalid::value(
                "spec".to_owned(),
                format!("without `rules` and without `{name}`"),
                "one of the two, or both",
            ));
        }
        for (n, tls) in spec.tls.iter().enumerate() {
            for (m, host) in tls.hosts.iter().enumerate() {
                tls_host_fault(host).map_or(Ok(()), |accepted| {
                    let field = format!("spec.tls[{n}].hosts[{m}]");
                    Err(Invalid::value(field, format!("{host:?}"), accepted))
                })?;
            }
        }
        let rules = spec.rules.into_iter().enumerate().map(|(n, rule)| {
            let at = format!("spec.rules[{n}]");
            rule.rule(api, &at)
        });
        Ok(Ingress {
            meta: metadata.namespaced(),
            api,
            created,
            class_name: Some(spec.ingress_class_name).filter(|name| !name.is_empty()),
            default_backend: default_backend
                .map(|backend| backend.backend(api, name))
                .transpose()?,
            rules: rules.collect::<Result<_, _>>()?,
            tls: spec
                .tls
                .into_iter()
                .map(|tls| IngressTls {
                    hosts: tls.hosts,
                    secret: tls.secret_name,
                })
                .collect(),
        })
    }
}

impl RawRule {
    fn rule(self, api: IngressApi, at: &str) -> Result<IngressRule, Invalid> {
        if let Some(accepted) = host_fault(&self.host) {
            let found = format!("{:?}", self.host);
            return Err(Invalid::value(format!("{at}.host"), found, accepted));
        }
        let mut paths = Vec::new();
        if let Some(http) = self.http {
            if http.paths.is_empty() {
                return Err(Invalid::missing(format!("{at}.http.paths")));
            }
            for (n, path) in http.paths.into_iter().enumerate() {
                paths.push(path.path(api, &format!("{at}.http.paths[{n}]"))?);
            }
        }
        Ok(IngressRule {
            host: self.host,
            paths,
        })
    }
}

impl RawPath {
    fn path(self, api: IngressApi, at: &str) -> Result<IngressPath, Invalid> {
        let path_type = match (self.path_type, api) {
            (Some(Worded(said)), _) => said,
            (None, IngressApi::Extensions | IngressApi::Beta) => PathType::default(),
            (None, IngressApi::V1) => return Err(Invalid::missing(format!("{at}.pathType"))),
        };
        if let Some(accepted) = path_fault(path_type, &self.path) {
            let found = format!("{:?}", self.path);
            return Err(Invalid::value(format!("{at}.path"), found, accepted));
        }
        Ok(IngressPath {
            path: self.path,
            path_type,
            backend: self.backend.backend(api, &format!("{at}.backend"))?,
        })
    }
}

impl RawBackend {
    fn backend(self, api: IngressApi, at: &str) -> Result<IngressBackend, Invalid> {
        let service = match api {
            IngressApi::V1 => self.service.map(|service| {
                let RawPort { name, number } = service.port;
                let port = match (number.0, name.is_empty()) {
                    (0, true) => return Err(Invalid::missing(format!("{at}.service.port"))),
                    (number, true) => BackendPort::Number(number),
                    (0, false) => BackendPort::Name(name),
                    (_, false) => {
                        return Err(Invalid::value(
                            format!("{at}.service.port"),
                            "a `name` and a `number`",
                            "one of the two",
                        ));
                    }
                };
                Ok((service.name, port, "service.name"))
            }),
            IngressApi::Extensions | IngressApi::Beta => {
                let port = match self.service_port.0 {
                    Some(TargetPort::Number(number)) => Some(BackendPort::Number(number)),
                    Some(TargetPort::Name(name)) => Some(BackendPort::Name(name)),
                    None => None,
                };
                let is_said = port.is_some() || !self.service_name.is_empty();
                is_said.then(|| {
                    let port = port.ok_or_else(|| Invalid::missing(format!("{at}.servicePort")))?;
                    Ok((self.service_name, port, "serviceName"))
                })
            }
        };
        match (service.transpose()?, self.resource) {
            (Some((name, _, field)), None) if name.is_empty() => {
                Err(Invalid::missing(format!("{at}.{field}")))
            }
            (Some((name, port, _)), None) => Ok(IngressBackend::Service { name, port }),
            (None, Some(RawResource { kind, name })) => Ok(IngressBackend::Resource { kind, name }),
            (Some(_), Some(_)) => Err(Invalid::value(
                at.to_owned(),
                "a service and a `resource`",
                "one of the two",
            )),
            (None, None) => Err(Invalid::value(
                at.to_owned(),
                "without a service",
                match api {
                    IngressApi::V1 => {
                        "`service: {name: NAME, port: {number: N}}`; `serviceName` and `servicePort` are of the older APIs"
                    }
                    IngressApi::Extensions | IngressApi::Beta => "`serviceName` and `servicePort`",
                },
            )),
        }
    }
}

/// What is accepted in place of a rule's host, if that host is not.
pub(crate) fn host_fault(host: &str) -> Option<&'static str> {
    if !host.is_empty() && host.parse::<IpAddr>().is_ok() {
        return Some("a name: an Ingress without `host` answers for addresses");
    }
    tls_host_fault(host).filter(|_| !host.is_empty())
}

/// The same of a host of `tls`, which may not be empty.
fn tls_host_fault(host: &str) -> Option<&'static str> {
    let (name, accepted) = if host.contains('*') {
        let accepted = "`*.` and a name such as `example.com`; nothing else may stand for more";
        let Some(name) = host.strip_prefix("*.") else {
            return Some(accepted);
        };
        (name, accepted)
    } else {
        let accepted = "lower-case letters, digits, `-` and `.`, such as `shop.example.com`";
        (host, accepted)
    };
    (!is_dns1123_subdomain(name)).then_some(accepted)
}

/// Labels of letters in lower case, digits and hyphens inside, at most 253 bytes in all.
fn is_dns1123_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(inner)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// What is accepted in place of a path, if that path is not.
pub(crate) fn path_fault(path_type: PathType, path: &str) -> Option<&'static str> {
    let is_strict = path_type != PathType::ImplementationSpecific;
    if path.is_empty() && !is_strict {
        return None;
    }
    if !path.starts_with('/') {
        return Some("a path that begins with `/`");
    }
    let within = ["//", "/./", "/../", "%2f", "%2F"];
    let is_odd = within.iter().any(|&odd| path.contains(odd))
        || ["/..", "/."].iter().any(|&odd| path.ends_with(odd));
    (is_strict && is_odd).then_some(
        "a path without `//`, `/./`, `/../` and `%2f`; type ImplementationSpecific has no such rule",
    )
}

/// An IngressClass.
#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
pub(super) struct ClassObject {
    metadata: Metadata,
    #[serde(default, deserialize_with = "nullable")]
    spec: RawClassSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
struct RawClassSpec {
    #[serde(deserialize_with = "nullable")]
    controller: Box<str>,
}

impl From<ClassObject> for IngressClass {
    fn from(raw: ClassObject) -> Self {
        let meta = raw.metadata.global();
        let default = meta
            .annotations
            .get("ingressclass.kubernetes.io/is-default-class");
        Self {
            is_default: default.is_some_and(|value| &**value == "true"),
            controller: raw.spec.controller,
            meta,
        }
    }
}
