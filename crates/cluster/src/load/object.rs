//! Which object a document is, and how it is made.

use serde::de::{Deserialize, Deserializer};

use super::config;
use super::error::{Place, Problem};
use super::ingress;
use super::raw;
use super::tree::{Tree, Value};
use crate::{
    EndpointSlice, Ingress, IngressApi, IngressClass, KubeProxyConfiguration, KubeletConfiguration,
    Labels, NetworkPolicy, Node, Pod, Service,
};

/// An object as read. Sources are filled in by whoever knows the file.
#[derive(Debug)]
pub(super) enum Object {
    Node(Box<Node>),
    Namespace(Box<str>, Labels),
    Pod(Pod),
    Service(Box<Service>),
    Slice(EndpointSlice),
    NetworkPolicy(Box<NetworkPolicy>),
    Endpoints(raw::EndpointsObject),
    Ingress(Box<Ingress>),
    IngressClass(IngressClass),
    /// The configuration, and fields in it that podwire does not know.
    Config(Box<KubeProxyConfiguration>, Vec<String>),
    /// The text of CoreDNS's Corefile.
    Corefile(Box<str>),
    Kubelet(KubeletConfiguration),
    /// Of a kind that podwire does not use.
    Unused(Box<str>),
}

/// What was found at a place.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) result: Result<Object, Problem>,
}

impl Found {
    /// Adds the lines that stand before the text in which it was found.
    pub(super) fn move_down(&mut self, lines: u32) {
        self.place.line += lines;
    }
}

/// What stands under a list's `items`.
pub(super) enum Item<'a> {
    /// An object that says its kind.
    Made(Found),
    /// One that leaves that to the list.
    Bare(Tree<'a>),
}

/// The kinds that podwire uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Node,
    Namespace,
    Pod,
    Service,
    EndpointSlice,
    Endpoints,
    NetworkPolicy,
    ConfigMap,
    Ingress,
    IngressClass,
    KubeProxyConfiguration,
    KubeletConfiguration,
}

impl Kind {
    /// The kind of an object, `None` if podwire does not use it.
    pub(super) fn of(api_version: &str, kind: &str) -> Option<Self> {
        let found = match kind {
            "Node" => Self::Node,
            "Namespace" => Self::Namespace,
            "Pod" => Self::Pod,
            "Service" => Self::Service,
            "Endpoints" => Self::Endpoints,
            "ConfigMap" => Self::ConfigMap,
            "EndpointSlice" => Self::EndpointSlice,
            "NetworkPolicy" => Self::NetworkPolicy,
            "Ingress" => Self::Ingress,
            "IngressClass" => Self::IngressClass,
            "KubeProxyConfiguration" => Self::KubeProxyConfiguration,
            "KubeletConfiguration" => Self::KubeletConfiguration,
            _ => return None,
        };
        let group = match found {
            Self::Node
            | Self::Namespace
            | Self::Pod
            | Self::Service
            | Self::Endpoints
            | Self::ConfigMap => api_version == "v1",
            Self::EndpointSlice => api_version.starts_with("discovery.k8s.io/"),
            Self::NetworkPolicy => api_version.starts_with("networking.k8s.io/"),
            Self::Ingress => IngressApi::of(api_version).is_some(),
            Self::IngressClass => api_version.starts_with("networking.k8s.io/"),
            Self::KubeProxyConfiguration => api_version.starts_with("kubeproxy.config.k8s.io/"),
            Self::KubeletConfiguration => api_version.starts_with("kubelet.config.k8s.io/"),
        };
        // Another group may use the name too, as Knative does `Service`.
        (group || api_version.is_empty()).then_some(found)
    }

    /// Makes an object from any reader of values.
    pub(super) fn make<'de, D: Deserializer<'de>>(self, d: D) -> Result<Object, D::Error> {
        Ok(match self {
            Self::Node => Object::Node(Box::new(raw::NodeObject::deserialize(d)?.into())),
            Self::Namespace => {
                let metadata = raw::NamespaceObject::deserialize(d)?.metadata;
                Object::Namespace(metadata.name, metadata.labels)
            }
            Self::Pod => Object::Pod(raw::PodObject::deserialize(d)?.into()),
            Self::Service => Object::Service(Box::new(raw::ServiceObject::deserialize(d)?.into())),
            Self::EndpointSlice => Object::Slice(raw::SliceObject::deserialize(d)?.into()),
            Self::NetworkPolicy => {
                Object::NetworkPolicy(Box::new(raw::NetworkPolicyObject::deserialize(d)?.into()))
            }
            Self::Endpoints => Object::Endpoints(raw::EndpointsObject::deserialize(d)?),
            Self::KubeletConfiguration => {
                Object::Kubelet(raw::KubeletObject::deserialize(d)?.into())
            }
            Self::IngressClass => {
                Object::IngressClass(ingress::ClassObject::deserialize(d)?.into())
            }
            Self::Ingress | Self::ConfigMap | Self::KubeProxyConfiguration => {
                unreachable!("made from trees only")
            }
        })
    }
}

/// The objects of a document.
pub(super) fn document<'a>(tree: Tree<'a>, items: Option<Vec<Item<'a>>>) -> Vec<Found> {
    let place = tree.place;
    if tree.value == Value::Null {
        return Vec::new();
    }
    let kind = tree.get("kind").and_then(Tree::text).unwrap_or_default();
    let is_list = matches!(tree.value, Value::Seq(_)) || kind.ends_with("List");
    match items {
        Some(items) if is_list => {
            let kind = kind.strip_suffix("List").unwrap_or_default();
            let api_version = tree.get("apiVersion").and_then(Tree::text);
            items
                .into_iter()
                .map(|item| match item {
                    Item::Made(found) => found,
                    Item::Bare(tree) if kind.is_empty() => not_an_object(&tree),
                    Item::Bare(tree) => of_kind(api_version.unwrap_or_default(), kind, &tree),
                })
                .collect()
        }
        None if is_list && kind != "List" && tree.get("metadata").is_none() => Vec::new(),
        None if kind == "List" => Vec::new(),
        Some(_) | None => match item(tree) {
            Item::Made(found) => vec![found],
            Item::Bare(tree) => vec![Found {
                place,
                ..not_an_object(&tree)
            }],
        },
    }
}

/// The object of one tree, if it says its kind.
pub(super) fn item(tree: Tree<'_>) -> Item<'_> {
    let Some(kind) = tree.get("kind").and_then(Tree::text) else {
        return Item::Bare(tree);
    };
    let api_version = tree.get("apiVersion").and_then(Tree::text);
    Item::Made(of_kind(api_version.unwrap_or_default(), kind, &tree))
}

pub(super) fn not_an_object(tree: &Tree<'_>) -> Found {
    let found = match tree.value {
        Value::Map(_) => "a mapping without `kind`".to_owned(),
        Value::Null
        | Value::Bool(_)
        | Value::Unsigned(_)
        | Value::Signed(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Word(..)
        | Value::Seq(_) => tree.describe(),
    };
    Found {
        place: tree.place,
        result: Err(Problem::NotAnObject { found }),
    }
}

/// The object of a tree whose kind is known.
pub(super) fn of_kind(api_version: &str, kind: &str, tree: &Tree<'_>) -> Found {
    let place = tree.place;
    let made = match Kind::of(api_version, kind) {
        None => Ok(Object::Unused(kind.into())),
        Some(Kind::KubeProxyConfiguration) => config::of_tree(tree),
        Some(Kind::ConfigMap) => config::of_config_map(tree),
        Some(Kind::Ingress) => ingress::of_tree(api_version, tree),
        Some(
            used @ (Kind::Node
            | Kind::Namespace
            | Kind::Pod
            | Kind::Service
            | Kind::EndpointSlice
            | Kind::NetworkPolicy
            | Kind::Endpoints
            | Kind::IngressClass
            | Kind::KubeletConfiguration),
        ) => used.make(tree).map_err(|fault| fault.0.into_problem(place)),
    };
    match made {
        Ok(object) => Found {
            place,
            result: Ok(object),
        },
        Err((place, problem)) => Found {
            place,
            result: Err(problem),
        },
    }
}
