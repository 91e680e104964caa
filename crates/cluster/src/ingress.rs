//! Ingresses and their classes.

use crate::{Meta, Timestamp};

/// The API that an Ingress was written for.
///
/// All of them name the same objects of a cluster; what differs is the words, and that only the last
/// wants a path type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IngressApi {
    /// `extensions/v1beta1`, until Kubernetes 1.21.
    Extensions,
    /// `networking.k8s.io/v1beta1`, from 1.14 until 1.21.
    Beta,
    /// `networking.k8s.io/v1`, from 1.19.
    #[default]
    V1,
}

impl IngressApi {
    /// The `apiVersion` that says it; a list may leave it out.
    pub(crate) fn of(api_version: &str) -> Option<Self> {
        Some(match api_version {
            "extensions/v1beta1" => Self::Extensions,
            "networking.k8s.io/v1beta1" => Self::Beta,
            "networking.k8s.io/v1" | "" => Self::V1,
            _ => return None,
        })
    }
}

/// `pathType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathType {
    /// The whole path, in its case.
    Exact,
    /// By elements between slashes, in their case.
    Prefix,
    /// What the controller makes of it; what the older APIs mean where they say nothing.
    #[default]
    ImplementationSpecific,
}

/// A Service's port, as an Ingress names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendPort {
    /// By number.
    Number(u16),
    /// By name.
    Name(Box<str>),
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IngressBackend {
    /// A Service of the Ingress's own namespace.
    Service {
        /// Its name.
        name: Box<str>,
        /// Its port.
        port: BackendPort,
    },
    /// Another object, such as a bucket.
    Resource {
        /// Its kind.
        kind: Box<str>,
        /// Its name.
        name: Box<str>,
    },
}

/// An entry of a rule's `paths`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressPath {
    /// The path; empty if not said.
    pub path: Box<str>,
    /// How it is compared.
    pub path_type: PathType,
    /// Who answers.
    pub backend: IngressBackend,
}

/// An entry of `spec.rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressRule {
    /// The host: a name, `*.` and a name, or empty for all.
    pub host: Box<str>,
    /// Its paths; none if the rule names a host alone.
    pub paths: Vec<IngressPath>,
}

/// An entry of `spec.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressTls {
    /// The hosts that have the certificate.
    pub hosts: Vec<Box<str>>,
    /// The Secret that holds it; empty if not said.
    pub secret: Box<str>,
}

/// An Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Name, annotations, place in the file.
    pub meta: Meta,
    /// The API that it was written for.
    pub api: IngressApi,
    /// `metadata.creationTimestamp`: of two that claim the same path, the older has it.
    pub created: Option<Timestamp>,
    /// `spec.ingressClassName`.
    pub class_name: Option<Box<str>>,
    /// `spec.defaultBackend`; `spec.backend` of the older APIs.
    pub default_backend: Option<IngressBackend>,
    /// `spec.tls`.
    pub tls: Vec<IngressTls>,
    /// `spec.rules`.
    pub rules: Vec<IngressRule>,
}

/// An IngressClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClass {
    /// Name, place in the file.
    pub meta: Meta,
    /// `spec.controller`: who serves Ingresses of this class.
    pub controller: Box<str>,
    /// Annotation `ingressclass.kubernetes.io/is-default-class`: Ingresses that name no class get this
    /// one when they are made.
    pub is_default: bool,
}
