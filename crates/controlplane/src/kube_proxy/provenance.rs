//! Which object a rule comes from.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use podwire_cluster::{Meta, ObjectName, Source};
use podwire_ruleset::Origin;

/// The kind of an object that makes kube-proxy write a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// kube-proxy itself, where no configuration was read.
    KubeProxy,
    /// The configuration that was read.
    KubeProxyConfiguration,
    /// A Service.
    Service,
    /// An EndpointSlice.
    EndpointSlice,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KubeProxy => "kube-proxy",
            Self::KubeProxyConfiguration => "KubeProxyConfiguration",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        })
    }
}

/// An object that rules come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name; `None` for kube-proxy and its configuration.
    pub name: Option<ObjectName>,
    /// Where it was read.
    pub source: Option<Source>,
}

impl fmt::Display for Object {
    /// Writes `Service default/web`, or the kind alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} {name}", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

/// What the [`Origin`]s of a proxier's rules stand for.
///
/// Numbers of objects come first, those of single endpoints behind them. One table serves the rules
/// of every node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    objects: Vec<Object>,
    /// An endpoint's slice, as a place in `objects`, and the endpoint as `ip:port`.
    endpoints: Vec<(usize, Arc<str>)>,
}

impl Provenance {
    /// The object that a rule comes from, and its endpoint where the rule is about one.
    #[must_use]
    pub fn get(&self, origin: Origin) -> Option<(&Object, Option<&str>)> {
        let index = origin.0.get() as usize - 1;
        if let Some(object) = self.objects.get(index) {
            return Some((object, None));
        }
        let (object, endpoint) = self.endpoints.get(index - self.objects.len())?;
        Some((self.objects.get(*object)?, Some(&**endpoint)))
    }

    /// Adds kube-proxy, or its configuration if that was read somewhere, and gives its place. No
    /// endpoint may be there yet.
    pub(super) fn add_kube_proxy(&mut self, source: Option<Source>) -> usize {
        let kind = match source {
            Some(_) => ObjectKind::KubeProxyConfiguration,
            None => ObjectKind::KubeProxy,
        };
        self.push(kind, None, source)
    }

    /// Adds an object and gives its place. No endpoint may be there yet.
    pub(super) fn add(&mut self, kind: ObjectKind, meta: &Meta) -> usize {
        self.push(kind, Some(meta.name.clone()), meta.source)
    }

    fn push(
        &mut self,
        kind: ObjectKind,
        name: Option<ObjectName>,
        source: Option<Source>,
    ) -> usize {
        self.objects.push(Object { kind, name, source });
        self.objects.len() - 1
    }

    /// The origin of an object's rules.
    pub(super) fn object(place: usize) -> Origin {
        let number = u32::try_from(place + 1).ok().and_then(NonZeroU32::new);
        Origin(number.expect("a cluster has fewer than 2^32 objects and endpoints"))
    }

    /// Adds an endpoint of a slice and gives the origin of its rules.
    pub(super) fn add_endpoint(&mut self, slice: usize, endpoint: &Arc<str>) -> Origin {
        self.endpoints.push((slice, Arc::clone(endpoint)));
        Self::object(self.objects.len() + self.endpoints.len() - 1)
    }
}
