//! The API's text: what every controller should do.
//!
//! A host is a name, a wildcard for one label, or every other one. Within the host an exact path counts
//! first, then the longest prefix, by elements. Paths are compared as they are sent.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexSet;
use podwire_cluster::{Cluster, Ingress, IngressBackend, ObjectName, PathType};

use crate::Table;
use crate::answer::{Answer, Why};
use crate::backend::{Backend, Backends, Matching, State};
use crate::nginx::{self, Prefixes};
use crate::request::Request;

/// Where a path leads: the Ingress and the back end, by number; no back end if it is no Service.
#[derive(Clone, Copy, Debug)]
struct Claim {
    ingress: usize,
    backend: Option<usize>,
}

/// A path of a host.
#[derive(Clone, Debug)]
struct Claimed {
    path: Box<str>,
    path_type: PathType,
    claim: Claim,
}

#[derive(Debug, Default)]
struct Host {
    name: Box<str>,
    exact: Table<[u8], Claimed>,
    prefixes: Prefixes<Claimed>,
    default: Option<Claim>,
}

/// The decisions of the API's text.
#[derive(Debug)]
pub(crate) struct Spec {
    ingresses: IndexSet<ObjectName>,
    backends: Vec<Backend>,
    /// By name; wildcards with their `*.`, and the empty name for rules without a host.
    hosts: Table<str, Host>,
    default: Option<Claim>,
}

/// What the text says of a request.
#[derive(Debug)]
pub struct SpecWhy<'r> {
    host: Option<&'r str>,
    path: Option<(&'r str, PathType)>,
    is_default: bool,
}

/// A host while its paths are gathered.
#[derive(Default)]
struct Gathered {
    exact: Vec<(Box<[u8]>, Claimed)>,
    prefixes: Vec<(Box<[u8]>, Claimed)>,
    default: Option<Claim>,
}

impl Spec {
    pub(crate) fn new(cluster: &Cluster, ingresses: &[&Ingress]) -> Self {
        let mut backends = Backends::new(cluster, Matching::Api);
        let mut hosts = indexmap::IndexMap::<&str, Gathered>::new();
        let mut default = None;
        for (number, ingress) in ingresses.iter().enumerate() {
            let namespace = &ingress.meta.name.namespace;
            let mut claim = |backend: &IngressBackend| Claim {
                ingress: number,
                backend: match backend {
                    IngressBackend::Service { name, port } => {
                        Some(backends.number(namespace, name, port))
                    }
                    IngressBackend::Resource { .. } => None,
                },
            };
            let own = ingress.default_backend.as_ref().map(&mut claim);
            default = default.or(own);
            for rule in &ingress.rules {
                let host = hosts.entry(&rule.host).or_default();
                host.default = host.default.or(own);
                for path in &rule.paths {
                    let claimed = Claimed {
                        path: path.path.clone(),
                        path_type: path.path_type,
                        claim: claim(&path.backend),
                    };
                    match path.path_type {
                        PathType::Exact => {
                            host.exact.push((path.path.as_bytes().into(), claimed));
                        }
                        PathType::Prefix | PathType::ImplementationSpecific => {
                            // A slash at its end adds no element.
                            let bare = path.path.strip_suffix('/').unwrap_or(&path.path);
                            host.prefixes.push((bare.as_bytes().into(), claimed));
                        }
                    }
                }
            }
        }
        let hosts = hosts.into_iter().map(|(name, gathered)| {
            let mut exact = Table::default();
            for (path, claimed) in gathered.exact {
                exact.entry(path).or_insert(claimed);
            }
            let host = Host {
                name: name.into(),
                exact,
                prefixes: gathered.prefixes.into_iter().collect(),
                default: gathered.default,
            };
            (name.into(), host)
        });
        Self {
            hosts: hosts.collect(),
            ingresses: ingresses.iter().map(|one| one.meta.name.clone()).collect(),
            backends: backends.into_all(),
            default,
        }
    }

    /// The rules of a host: its own, else those of a wildcard for its first label, else those of all.
    fn host(&self, name: &str) -> Option<&Host> {
        let wildcard = || {
            let (label, above) = name
                .split_once('.')
                .filter(|(label, _)| !label.is_empty())?;
            debug_assert!(!label.contains('.'), "the first label");
            self.hosts.get(&*format!("*.{above}"))
        };
        self.hosts
            .get(name)
            .filter(|_| !name.is_empty())
            .or_else(wildcard)
            .or_else(|| self.hosts.get(""))
    }

    pub(crate) fn route(&self, request: &Request) -> Answer<'_> {
        let name = match nginx::host(&request.host) {
            Ok(name) => name,
            Err(why) => return Answer::bad(why),
        };
        let host = self.host(&name);
        let path = request.path.split(['?', '#']).next().unwrap_or_default();
        let path = path.as_bytes();
        let claimed = host.and_then(|host| host.claimed(path));
        let claim = claimed
            .map(|claimed| claimed.claim)
            .or_else(|| host.and_then(|host| host.default))
            .or(self.default);
        let backend = claim.and_then(|claim| Some(&self.backends[claim.backend?]));
        let status = match (claim, backend) {
            (None, _) => 404,
            (Some(_), Some(backend)) if backend.state == State::Serves => 200,
            (Some(_), _) => 503,
        };
        Answer {
            status,
            ingress: claim.map(|claim| &self.ingresses[claim.ingress]),
            backend,
            path: (status == 200).then(|| request.path.clone()),
            redirect: None,
            why: Why::Spec(SpecWhy {
                host: host.map(|host| &*host.name),
                path: claimed.map(|claimed| (&*claimed.path, claimed.path_type)),
                is_default: claimed.is_none() && claim.is_some(),
            }),
        }
    }
}

impl Host {
    fn claimed(&self, path: &[u8]) -> Option<&Claimed> {
        if let Some(claimed) = self.exact.get(path) {
            return Some(claimed);
        }
        // What stands between two slashes side by side is no element.
        let path = without_empty_elements(path);
        // An element ends where the prefix does.
        let ends = |prefix: &[u8]| path.get(prefix.len()).is_none_or(|&next| next == b'/');
        self.prefixes
            .of(&path)
            .find(|(prefix, _)| ends(prefix))
            .map(|(_, claimed)| claimed)
    }
}

fn without_empty_elements(path: &[u8]) -> Cow<'_, [u8]> {
    let is_double = |pair: &[u8]| pair == b"//";
    if !path.windows(2).any(is_double) {
        return Cow::Borrowed(path);
    }
    let mut single = path.to_vec();
    single.dedup_by(|next, before| *next == b'/' && *before == b'/');
    Cow::Owned(single)
}

impl fmt::Display for SpecWhy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            None => writeln!(f, "host      no rule is for it")?,
            Some("") => writeln!(f, "host      rules without a host")?,
            Some(host) => writeln!(f, "host      {host}")?,
        }
        match (self.path, self.is_default) {
            (Some((path, path_type)), _) => {
                let path = if path.is_empty() { "/" } else { path };
                let how = match path_type {
                    PathType::Exact => "Exact",
                    PathType::Prefix => "the longest Prefix",
                    PathType::ImplementationSpecific => "the longest, read as Prefix",
                };
                writeln!(f, "path      {path}: {how}")
            }
            (None, true) => writeln!(f, "path      none takes it: the default backend"),
            (None, false) => writeln!(
                f,
                "path      none takes it, and there is no default backend"
            ),
        }
    }
}
