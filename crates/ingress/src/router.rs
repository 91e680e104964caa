//! A controller's decisions about a cluster's Ingresses.

use std::fmt;
use std::str::FromStr;

use podwire_cluster::{Cluster, ObjectName, Pod};

use crate::answer::Answer;
use crate::class::{self, Ignored};
use crate::ingress_nginx::IngressNginx;
use crate::request::Request;
use crate::spec::Spec;

/// Who decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Controller {
    /// The API's text.
    Spec,
    /// ingress-nginx 1.x.
    #[default]
    IngressNginx,
    /// ingress-nginx 0.21: before capture groups in rewrites, and before path types.
    IngressNginx021,
}

/// Why a text names no [`Controller`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no controller `{text}`; accepted are spec, ingress-nginx and ingress-nginx-0.21")]
pub struct ControllerError {
    /// The text.
    pub text: String,
}

impl FromStr for Controller {
    type Err = ControllerError;

    fn from_str(text: &str) -> Result<Self, ControllerError> {
        Ok(match text {
            "spec" => Self::Spec,
            "ingress-nginx" => Self::IngressNginx,
            "ingress-nginx-0.21" => Self::IngressNginx021,
            _ => {
                return Err(ControllerError {
                    text: text.to_owned(),
                });
            }
        })
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spec => "spec",
            Self::IngressNginx => "ingress-nginx",
            Self::IngressNginx021 => "ingress-nginx-0.21",
        })
    }
}

/// How a controller is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which it is.
    pub controller: Controller,
    /// The class that its Ingresses name in the annotation: `--ingress-class`.
    pub class: Box<str>,
    /// What IngressClasses that are its own name as their controller: `--controller-class`.
    pub controller_class: Box<str>,
    /// Whether it takes Ingresses that name no class: `--watch-ingress-without-class`. Those of the older
    /// APIs it takes anyway, as controllers of their time did.
    pub without_class: bool,
    /// Who answers what no Ingress takes: `--default-backend-service`. It answers 404 itself if not said.
    pub default_backend: Option<ObjectName>,
}

impl Options {
    /// A controller with its default options.
    #[must_use]
    pub fn of(controller: Controller) -> Self {
        Self {
            controller,
            class: "nginx".into(),
            controller_class: "k8s.io/ingress-nginx".into(),
            without_class: controller != Controller::IngressNginx,
            default_backend: None,
        }
    }

    /// The options that a pod runs ingress-nginx with, by its image and arguments. Releases before 0.22
    /// are taken for 0.21.
    #[must_use]
    pub fn of_pod(pod: &Pod) -> Option<Self> {
        pod.containers.iter().find_map(|container| {
            let image = container.image.split('@').next().unwrap_or_default();
            let name = image.rsplit('/').next().unwrap_or_default();
            let (name, tag) = name.split_once(':').unwrap_or((name, ""));
            // registry.k8s.io/ingress-nginx/controller, and as it was called before 0.34.
            let is_it = name.starts_with("nginx-ingress-controller")
                || name.starts_with("controller") && image.contains("ingress-nginx/");
            if !is_it {
                return None;
            }
            let mut numbers = tag.trim_start_matches('v').split('.');
            let mut number = || numbers.next()?.parse::<u32>().ok();
            let is_old = matches!((number(), number()), (Some(0), Some(minor)) if minor < 22);
            let mut options = Self::of(if is_old {
                Controller::IngressNginx021
            } else {
                Controller::IngressNginx
            });
            for argument in &container.args {
                let (flag, value) = argument.split_once('=').unwrap_or((argument, ""));
                match flag.trim_start_matches('-') {
                    "ingress-class" if !value.is_empty() => options.class = value.into(),
                    "controller-class" if !value.is_empty() => {
                        options.controller_class = value.into();
                    }
                    "watch-ingress-without-class" => options.without_class |= value != "false",
                    "default-backend-service" => {
                        let name = value.split_once('/');
                        options.default_backend =
                            name.map(|(namespace, name)| ObjectName::new(namespace, name));
                    }
                    _ => {}
                }
            }
            Some(options)
        })
    }
}

/// A part of an Ingress that nginx would not load, or whose pattern this program does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The Ingress.
    pub ingress: ObjectName,
    /// The host of the server that it is missing in, `_` for all others.
    pub server: Box<str>,
    /// Whether nginx may take it: what the server answers is then not known here.
    pub is_unread: bool,
    /// What is wrong.
    pub reason: String,
}

/// A controller's decisions about a cluster's Ingresses.
#[derive(Debug)]
pub struct Router {
    table: Decider,
    ignored: Vec<Ignored>,
    refused: Vec<Refused>,
}

#[derive(Debug)]
enum Decider {
    Spec(Spec),
    Nginx(IngressNginx),
}

impl Router {
    /// The decisions of a controller.
    ///
    /// # Cost
    /// In proportion to the paths of all Ingresses, and their logarithm.
    #[must_use]
    pub fn new(cluster: &Cluster, options: &Options) -> Self {
        let (mut own, mut ignored) = class::sorted(cluster, options);
        let (table, refused) = match options.controller {
            Controller::Spec => (Decider::Spec(Spec::new(cluster, &own)), Vec::new()),
            Controller::IngressNginx | Controller::IngressNginx021 => {
                crate::ingress_nginx::leave_canaries(&mut own, &mut ignored);
                let (nginx, refused) = IngressNginx::new(cluster, options, &own);
                (Decider::Nginx(nginx), refused)
            }
        };
        Self {
            table,
            ignored,
            refused,
        }
    }

    /// Ingresses that are not the controller's.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// What is left out: what nginx would not load, and patterns that this program does not read.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Decides one request.
    #[must_use]
    pub fn route(&self, request: &Request) -> Answer<'_> {
        match &self.table {
            Decider::Spec(spec) => spec.route(request),
            Decider::Nginx(nginx) => nginx.route(request),
        }
    }
}
