//! A server for each host, and which Ingress has which path.
//!
//! # Sources
//! `createServers` and `getBackendServers`, internal/ingress/controller/controller.go;
//! `SetDefaultNGINXPathType`, internal/k8s/main.go, for ImplementationSpecific, which is Prefix.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use podwire_cluster::{BackendPort, Ingress, IngressBackend, ObjectName, PathType};

use super::Release;
use super::annotations::Annotations;
use crate::backend::Backends;

/// What the controller calls the server of all hosts that no other has.
pub(super) const DEFAULT: &str = "_";

/// A location before it is written.
#[derive(Clone, Debug)]
pub(super) struct Location<'c> {
    /// Its path in the Ingress.
    pub(super) path: &'c str,
    pub(super) is_exact: bool,
    /// `None` is the controller's default back end.
    pub(super) backend: Option<usize>,
    pub(super) fallback: Option<usize>,
    /// It is there because every server has a root, and gives way to a path of the same name.
    is_spare: bool,
    /// The Ingress that it is of.
    pub(super) ingress: Option<usize>,
    /// The Ingress whose annotations on rewrites and redirects count.
    pub(super) annotated: Option<usize>,
}

/// A server before it is written.
#[derive(Debug)]
pub(super) struct Server<'c> {
    pub(super) host: &'c str,
    /// The longest path first; of equal length, the one that comes later in byte order.
    pub(super) locations: Vec<Location<'c>>,
    /// The first location of a path.
    by_path: BTreeMap<&'c str, usize>,
    has_certificate: bool,
    pub(super) aliases: Vec<&'c str>,
}

/// All servers, the default one first, the others by name.
#[derive(Debug)]
pub(super) struct Servers<'c> {
    pub(super) all: Vec<Server<'c>>,
}

impl<'c> Server<'c> {
    fn new(host: &'c str, root: Location<'c>) -> Self {
        Self {
            host,
            by_path: [(root.path, 0)].into(),
            locations: vec![root],
            has_certificate: false,
            aliases: Vec::new(),
        }
    }
}

impl<'c> Servers<'c> {
    /// Servers of Ingresses, the oldest first.
    pub(super) fn new(
        release: Release,
        ingresses: &[&'c Ingress],
        annotations: &'c [Annotations],
        backends: &mut Backends<'_>,
    ) -> Self {
        let mut servers = IndexMap::from([(
            DEFAULT,
            Server::new(
                DEFAULT,
                Location {
                    path: "/",
                    is_exact: false,
                    backend: None,
                    fallback: None,
                    is_spare: true,
                    ingress: None,
                    annotated: None,
                },
            ),
        )]);
        let mut made = Making {
            release,
            backends,
            servers: &mut servers,
        };
        for (number, &ingress) in ingresses.iter().enumerate() {
            made.roots(number, ingress, &annotations[number]);
        }
        for (number, &ingress) in ingresses.iter().enumerate() {
            made.certificate_and_aliases(ingress, &annotations[number]);
            made.paths(number, ingress, &annotations[number]);
        }
        let mut all: Vec<_> = servers.into_values().collect();
        let hosts: BTreeMap<&str, ()> = all.iter().map(|server| (server.host, ())).collect();
        for server in &mut all {
            server.aliases.retain(|alias| !hosts.contains_key(alias));
            server.locations.sort_by(|a, b| {
                let longer = b.path.len().cmp(&a.path.len());
                longer.then_with(|| b.path.cmp(a.path))
            });
        }
        all[1..].sort_by_key(|server| server.host);
        Self { all }
    }

    /// Hosts that have a certificate.
    pub(super) fn certified(&self) -> impl Iterator<Item = &'c str> {
        let certified = self.all.iter().filter(|server| server.has_certificate);
        certified.map(|server| server.host)
    }
}

/// Servers in the making.
struct Making<'m, 'c, 'b> {
    release: Release,
    backends: &'m mut Backends<'b>,
    servers: &'m mut IndexMap<&'c str, Server<'c>>,
}

const fn host_of(host: &str) -> &str {
    if host.is_empty() { DEFAULT } else { host }
}

impl<'c> Making<'_, 'c, '_> {
    fn backend(&mut self, ingress: &Ingress, backend: &IngressBackend) -> Option<usize> {
        match backend {
            IngressBackend::Service { name, port } => Some(self.number(ingress, name, port)),
            IngressBackend::Resource { .. } => None,
        }
    }

    fn number(&mut self, ingress: &Ingress, name: &str, port: &BackendPort) -> usize {
        let namespace = &ingress.meta.name.namespace;
        self.backends.number(namespace, name, port)
    }

    fn fallback(&mut self, ingress: &Ingress, annotations: &Annotations) -> Option<usize> {
        let name = annotations.default_backend.as_deref()?;
        let service = ObjectName {
            namespace: ingress.meta.name.namespace.clone(),
            name: name.into(),
        };
        self.backends.first_port(&service)
    }

    /// A server for each host that none has yet, with the Ingress's default back end at its root. An
    /// Ingress that has nothing else gives it to the default server, if no older one has.
    fn roots(&mut self, number: usize, ingress: &'c Ingress, annotations: &Annotations) {
        let backend = ingress.default_backend.as_ref();
        let backend = backend.and_then(|backend| self.backend(ingress, backend));
        let fallback = self.fallback(ingress, annotations);
        if backend.is_some() && ingress.rules.is_empty() {
            let root = &mut self.servers[DEFAULT].locations[0];
            if root.is_spare {
                // Its rewrites and redirects are not taken over.
                root.is_spare = false;
                (root.backend, root.fallback) = (backend, fallback);
                root.ingress = Some(number);
            }
        }
        for rule in &ingress.rules {
            let host = host_of(&rule.host);
            self.servers.entry(host).or_insert_with(|| {
                let root = Location {
                    path: "/",
                    is_exact: false,
                    backend,
                    fallback,
                    is_spare: true,
                    ingress: Some(number),
                    annotated: Some(number),
                };
                Server::new(host, root)
            });
        }
    }

    /// With a section `tls` every host of the Ingress has a certificate: its own, or the controller's.
    fn certificate_and_aliases(&mut self, ingress: &'c Ingress, annotations: &'c Annotations) {
        for rule in &ingress.rules {
            let host = host_of(&rule.host);
            let server = &mut self.servers[host];
            server.has_certificate |= !ingress.tls.is_empty() && host != DEFAULT;
            if server.aliases.is_empty() {
                let aliases = annotations.aliases.iter().map(|alias| &**alias);
                server.aliases = aliases.filter(|&alias| alias != host).collect();
            }
        }
    }

    fn paths(&mut self, number: usize, ingress: &'c Ingress, annotations: &Annotations) {
        let fallback = self.fallback(ingress, annotations);
        for rule in &ingress.rules {
            for path in &rule.paths {
                let IngressBackend::Service { name, port } = &path.backend else {
                    continue;
                };
                let backend = Some(self.number(ingress, name, port));
                let text = if path.path.is_empty() {
                    "/"
                } else {
                    &*path.path
                };
                let is_exact = self.release == Release::V1 && path.path_type == PathType::Exact;
                let location = Location {
                    path: text,
                    is_exact,
                    backend,
                    fallback,
                    is_spare: false,
                    ingress: Some(number),
                    annotated: Some(number),
                };
                let server = &mut self.servers[host_of(&rule.host)];
                // Only the first location of that path is looked at.
                let first = server.by_path.get(text).copied();
                match first.map(|index| &mut server.locations[index]) {
                    Some(there) if there.is_exact == is_exact => {
                        if there.is_spare {
                            *there = location;
                        }
                    }
                    there => {
                        if there.is_none() {
                            server.by_path.insert(text, server.locations.len());
                        }
                        server.locations.push(location);
                    }
                }
            }
        }
    }
}
