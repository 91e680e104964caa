//! Which Ingresses are a controller's.
//!
//! # Sources
//! `GetIngressClass` and `sortIngressSlice`, internal/ingress/controller/store/store.go of ingress-nginx
//! 1.12; `IsValid`, internal/ingress/annotations/class/main.go of 0.21; admission plugin
//! DefaultIngressClass of Kubernetes.

use std::fmt;

use podwire_cluster::{Cluster, Ingress, IngressApi, ObjectName};

use crate::Controller;

/// The annotation that names a class where the field cannot.
const ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Who implements the class: the value that ingress-nginx is looked for by.
const INGRESS_NGINX: &str = "k8s.io/ingress-nginx";

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
    controller: Controller,
    class: &str,
) -> (Vec<&'c Ingress>, Vec<Ignored>) {
    let mut own = Vec::new();
    let mut ignored = Vec::new();
    for ingress in cluster.ingresses.values() {
        match foreign(cluster, controller, class, ingress) {
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
fn foreign(
    cluster: &Cluster,
    controller: Controller,
    class: &str,
    ingress: &Ingress,
) -> Option<Reason> {
    let annotation = ingress.meta.annotations.get(ANNOTATION);
    let other = |name: &str| Some(Reason::Class(name.into()));
    let named = match (controller, &ingress.class_name) {
        (Controller::IngressNginx021, _) | (_, None) => None,
        (Controller::Spec | Controller::IngressNginx, Some(name)) => Some(&**name),
    };
    let classes = &cluster.ingress_classes;
    match (named, annotation) {
        (Some(name), _) => {
            let is_own = match classes.get(name) {
                Some(found) => &*found.controller == INGRESS_NGINX,
                // A dump may leave the classes out.
                None => classes.is_empty() && name == class,
            };
            if is_own { None } else { other(name) }
        }
        (None, Some(name)) if **name == *class => None,
        (None, Some(name)) => match controller {
            Controller::IngressNginx021 if name.is_empty() => None,
            Controller::Spec | Controller::IngressNginx | Controller::IngressNginx021 => {
                other(name)
            }
        },
        (None, None) => {
            // The API server gives it the default class when it is made.
            if let Some(default) = classes.values().find(|class| class.is_default)
                && controller != Controller::IngressNginx021
                && ingress.api == IngressApi::V1
            {
                let is_own = &*default.controller == INGRESS_NGINX;
                return if is_own {
                    None
                } else {
                    other(&default.meta.name.name)
                };
            }
            // Controllers of the older APIs' time take what names no class.
            let is_taken = controller != Controller::IngressNginx || ingress.api != IngressApi::V1;
            if is_taken {
                None
            } else {
                Some(Reason::NoClass)
            }
        }
    }
}
