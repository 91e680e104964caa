//! Which object a rule comes from.

use std::fmt;
use std::num::NonZeroU32;

use podwire_cluster::{Meta, ObjectName, Source};
use podwire_ruleset::Origin;

use super::endpoint_text::EndpointText;

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

/// The number of the first endpoint.
const FIRST_ENDPOINT: u32 = 1 << 31;

/// What the [`Origin`]s of a proxier's rules stand for.
///
/// Objects have the numbers from 1 on, single endpoints those from 2^31 on. One table serves the rules of
/// every node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    objects: Vec<Object>,
    /// An endpoint's slice, as a place in `objects`, and the endpoint as `ip:port`.
    endpoints: Vec<(usize, EndpointText)>,
}

impl Provenance {
    /// The object that a rule comes from, and its endpoint where the rule is about one.
    #[must_use]
    pub fn get(&self, origin: Origin) -> Option<(&Object, Option<&str>)> {
        let number = origin.0.get();
        if number < FIRST_ENDPOINT {
            return Some((self.objects.get(number as usize - 1)?, None));
        }
        let (object, endpoint) = self.endpoint(origin)?;
        Some((self.objects.get(object)?, Some(&**endpoint)))
    }

    /// An endpoint's slice, as its place, and the endpoint as `ip:port`.
    pub(super) fn endpoint(&self, origin: Origin) -> Option<(usize, &EndpointText)> {
        let place = origin.0.get().checked_sub(FIRST_ENDPOINT)?;
        let (slice, endpoint) = self.endpoints.get(place as usize)?;
        Some((*slice, endpoint))
    }

    /// An object was read again, from elsewhere perhaps.
    pub(super) fn reread(&mut self, place: usize, meta: &Meta) {
        self.objects[place].source = meta.source;
    }

    /// Adds kube-proxy, or its configuration if that was read somewhere, and gives its place.
    pub(super) fn add_kube_proxy(&mut self, source: Option<Source>) -> usize {
        let kind = match source {
            Some(_) => ObjectKind::KubeProxyConfiguration,
            None => ObjectKind::KubeProxy,
        };
        self.push(kind, None, source)
    }

    /// Adds an object and gives its place.
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
        numbered(1, place)
    }

    /// Makes room for so many endpoints.
    pub(super) fn reserve_endpoints(&mut self, count: usize) {
        self.endpoints.reserve(count);
    }

    /// Adds an endpoint of a slice and gives the origin of its rules.
    pub(super) fn add_endpoint(&mut self, slice: usize, endpoint: &EndpointText) -> Origin {
        self.endpoints.push((slice, endpoint.clone()));
        numbered(FIRST_ENDPOINT, self.endpoints.len() - 1)
    }
}

fn numbered(first: u32, place: usize) -> Origin {
    let place = u32::try_from(place)
        .ok()
        .filter(|&place| place < FIRST_ENDPOINT);
    let number = place.and_then(|place| NonZeroU32::new(first + place));
    Origin(number.expect("a cluster has fewer than 2^31 objects, and as many endpoints"))
}
