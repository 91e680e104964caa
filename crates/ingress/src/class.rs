//! Which Ingresses are a controller's.
//!
//! # Sources
//! `GetIngressClass` and `sortIngressSlice`, internal/ingress/controller/store/store.go of ingress-nginx
//! 1.12; `IsValid`, internal/ingress/annotations/class/main.go of 0.21; admission plugin
//! DefaultIngressClass of Kubernetes.

use std::fmt;

use podwire_cluster::{Cluster, Ingress, IngressApi, IngressClass, ObjectName};

use crate::{Controller, Options};

/// The annotation that names a class where the field cannot.
const ANNOTATION: &str = "kubernetes.io/ingress.class";

/// An Ingress that the controller leaves to others, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The Ingress.
    pub ingress: ObjectName,
    /// Why.
    pub reason: Reason,
}

/// Why an Ingress is not the controller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It names a class that is another controller's, or nobody's.
    Class(Box<str>),
    /// It names none.
    NoClass,
    /// It is a canary.
    Canary,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(name) => write!(f, "its class `{name}` is not the controller's"),
            Self::NoClass => f.write_str("it names no class, and there is no default one"),
            Self::Canary => f.write_str("it is a canary, which gets no traffic here"),
        }
    }
}

/// The controller's Ingresses, the oldest first, and the others.
pub(crate) fn sorted<'c>(
    cluster: &'c Cluster,
    options: &Options,
) -> (Vec<&'c Ingress>, Vec<Ignored>) {
    let mut own = Vec::new();
    let mut ignored = Vec::new();
    for ingress in cluster.ingresses.values() {
        match foreign(cluster, options, ingress) {
            None => own.push(ingress),
            Some(reason) => ignored.push(Ignored {
                ingress: ingress.meta.name.clone(),
                reason,
            }),
        }
    }
    // Of two that are as old, the one whose name comes later: so the controller says.
    own.sort_by(|a, b| {
        let age = a.created.cmp(&b.created);
        age.then_with(|| b.meta.name.to_string().cmp(&a.meta.name.to_string()))
    });
    (own, ignored)
}

/// Why an Ingress is not the controller's, if it is not.
fn foreign(cluster: &Cluster, options: &Options, ingress: &Ingress) -> Option<Reason> {
    let classes = &cluster.ingress_classes;
    let knows_classes = options.controller != Controller::IngressNginx021;
    let unless = |is_own: bool, name: &str| (!is_own).then(|| Reason::Class(name.into()));
    let implements = |class: &IngressClass| class.controller == options.controller_class;
    if let Some(name) = ingress.class_name.as_deref().filter(|_| knows_classes) {
        let is_own = match classes.get(name) {
            Some(class) => implements(class),
            // A dump may leave the classes out.
            None => classes.is_empty() && *name == *options.class,
        };
        return unless(is_own, name);
    }
    if let Some(name) = ingress.meta.annotations.get(ANNOTATION) {
        let is_own = *name == options.class || name.is_empty() && !knows_classes;
        return unless(is_own, name);
    }
    let is_of_today = ingress.api == IngressApi::V1;
    // The API server gives it the default class when it is made.
    let default = classes.values().find(|class| class.is_default);
    if let Some(class) = default.filter(|_| knows_classes && is_of_today) {
        return unless(implements(class), &class.meta.name.name);
    }
    let is_taken = options.without_class || !is_of_today;
    (!is_taken).then_some(Reason::NoClass)
}
