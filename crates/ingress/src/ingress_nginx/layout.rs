//! Servers as nginx's configuration has them.
//!
//! In 1.x a path of type Prefix becomes two locations, `/foo/` and `= /foo`; once an Ingress of the host
//! rewrites or says `use-regex`, all locations of that host are patterns, tried from the longest path on.
//! 0.21 writes the path as it is, and its rewrites append what stands behind the path.
//!
//! # Sources
//! 1.x: `updateServerLocations`, internal/ingress/controller/location.go; `buildLocation`,
//! `buildProxyPass`, `buildServerName`, `isLocationInLocationList`, template/template.go; nginx.tmpl;
//! `NoTLSRedirectLocations`, config/config.go. 0.21: the same functions.

use std::collections::BTreeSet;

use podwire_cluster::{Ingress, ObjectName};

use super::annotations::Annotations;
use super::servers::{self, DEFAULT, Servers};
use super::{Inside, Release};
use crate::nginx::{
    Config, Location, Modifier, Pattern, PatternError, Return, Rewrite, Script, Server, ServerName,
};
use crate::router::Refused;

/// Paths that begin so stay in the clear, whatever the annotations say: a certificate is asked for there.
///
/// Source: `NoTLSRedirectLocations`, internal/ingress/controller/config/config.go.
const IN_THE_CLEAR: &str = "/.well-known/acme-challenge";

/// Writes the configuration.
pub(super) struct Layout<'l, 'c> {
    release: Release,
    ingresses: &'l [&'c Ingress],
    annotations: &'l [Annotations],
    /// The host of the server that is being written.
    server: Box<str>,
    /// What nginx would not load.
    pub(super) refused: Vec<Refused>,
}

/// A location that the server has already. Source: `ngx_http_cmp_locations`, src/http/ngx_http.c.
#[derive(Debug, thiserror::Error)]
#[error("duplicate location `{0}`: nginx does not load a configuration with it")]
struct Duplicate(String);

/// A location with the path that it will have.
struct Placed<'s, 'c> {
    path: String,
    is_exact: bool,
    location: &'s servers::Location<'c>,
}

impl<'l, 'c> Layout<'l, 'c> {
    pub(super) fn new(
        release: Release,
        ingresses: &'l [&'c Ingress],
        annotations: &'l [Annotations],
    ) -> Self {
        Self {
            release,
            ingresses,
            annotations,
            server: "".into(),
            refused: Vec::new(),
        }
    }

    pub(super) fn config(&mut self, servers: Servers<'c>) -> Config<Inside> {
        let mut config = Config::default();
        for server in servers.all {
            self.server = server.host.into();
            let names = self.names(&server);
            config.add(self.server(&server), names);
        }
        config
    }

    fn names(&mut self, server: &servers::Server<'c>) -> Vec<ServerName> {
        let mut names = Vec::new();
        if server.host != DEFAULT {
            names.push(match (server.host.strip_prefix("*."), self.release) {
                (Some(name), Release::V1) => ServerName::OneLabel(name.into()),
                (Some(name), Release::V0_21) => ServerName::Wildcard(name.into()),
                (None, _) => ServerName::Exact(server.host.into()),
            });
        }
        for &alias in &server.aliases {
            if let Some(pattern) = alias.strip_prefix('~') {
                match Pattern::new(pattern) {
                    Ok(pattern) => names.push(ServerName::Pattern(pattern)),
                    Err(error) => self.refuse(server.locations[0].ingress, &error),
                }
            } else if let Some(name) = alias.strip_prefix("*.") {
                names.push(ServerName::Wildcard(name.into()));
            } else {
                names.push(ServerName::Exact(alias.to_ascii_lowercase().into()));
            }
        }
        names
    }

    fn server(&mut self, server: &servers::Server<'c>) -> Server<Inside> {
        let placed = match self.release {
            Release::V1 => self.placed(server),
            Release::V0_21 => server
                .locations
                .iter()
                .map(|location| Placed {
                    path: location.path.to_owned(),
                    is_exact: false,
                    location,
                })
                .collect(),
        };
        let is_pattern = |placed: &Placed<'_, '_>| {
            let annotations = self.annotations_of(placed.location);
            annotations.is_some_and(|found| found.use_regex || rewrites(found, &placed.path))
        };
        let all_patterns = placed.iter().any(is_pattern);
        let app_root = placed
            .iter()
            .find_map(|placed| self.annotations_of(placed.location)?.app_root.as_deref());
        let at_root = app_root.and_then(|path| {
            let to = match self.release {
                Release::V1 => format!("$scheme://$http_host{path}"),
                Release::V0_21 => path.to_owned(),
            };
            self.returns(None, 302, &to)
        });
        let mut locations = Vec::with_capacity(placed.len());
        let mut names = BTreeSet::new();
        for placed in &placed {
            let Some(location) = self.location(placed, all_patterns) else {
                continue;
            };
            // nginx looks for equal names among exact locations and among prefixes, not among patterns.
            let is_pattern = matches!(location.modifier, Modifier::Pattern(_));
            let is_exact = matches!(location.modifier, Modifier::Exact);
            if !is_pattern && !names.insert((is_exact, location.name.clone())) {
                let duplicate = Duplicate(location.to_string());
                self.refuse(placed.location.ingress, &duplicate);
                continue;
            }
            locations.push(location);
        }
        if server.host == DEFAULT {
            locations.extend(own_locations());
        }
        Server {
            name: server.host.into(),
            at_root,
            locations: locations.into_iter().collect(),
        }
    }

    fn annotations_of(&self, location: &servers::Location<'c>) -> Option<&'l Annotations> {
        location.annotated.map(|number| &self.annotations[number])
    }

    fn refuse(&mut self, ingress: Option<usize>, error: &(dyn std::error::Error + 'static)) {
        self.refused.push(Refused {
            ingress: ingress.map_or_else(
                || ObjectName::new("", "?"),
                |number| self.ingresses[number].meta.name.clone(),
            ),
            server: self.server.clone(),
            is_unread: error.is::<PatternError>(),
            reason: error.to_string(),
        });
    }

    /// Prefixes as two locations, one of them exact.
    fn placed<'s>(&self, server: &'s servers::Server<'c>) -> Vec<Placed<'s, 'c>> {
        let exact: BTreeSet<&str> = server
            .locations
            .iter()
            .filter(|location| location.is_exact)
            .map(|location| location.path)
            .collect();
        let mut placed = Vec::with_capacity(server.locations.len() * 2);
        for location in &server.locations {
            let mut add = |path: String, is_exact| {
                placed.push(Placed {
                    path,
                    is_exact,
                    location,
                });
            };
            let path = location.path;
            let annotations = self.annotations_of(location);
            let is_kept = annotations.is_some_and(|found| found.use_regex || rewrites(found, path));
            if path == "/" || location.is_exact || is_kept {
                add(path.to_owned(), location.is_exact);
                continue;
            }
            let slash = if path.ends_with('/') { "" } else { "/" };
            add(format!("{path}{slash}"), false);
            if !exact.contains(path) {
                add(path.to_owned(), true);
            }
        }
        placed
    }

    /// A location; `None` if nginx would not load it.
    fn location(
        &mut self,
        placed: &Placed<'_, 'c>,
        all_patterns: bool,
    ) -> Option<Location<Inside>> {
        let of = placed.location;
        let annotations = self.annotations_of(of);
        let target = annotations
            .filter(|found| rewrites(found, &placed.path))
            .map(|found| &*found.rewrite_target);
        let pattern = match (self.release, target) {
            (Release::V0_21, Some(_)) => Some(old_pattern(&placed.path)),
            _ if all_patterns => Some(format!("^{}", placed.path)),
            _ => None,
        };
        let modifier = match pattern {
            Some(text) => match Pattern::new(&unquoted(&text)) {
                Ok(pattern) => Modifier::Pattern(pattern),
                Err(error) => {
                    self.refuse(of.ingress, &error);
                    return None;
                }
            },
            None if placed.is_exact => Modifier::Exact,
            None => Modifier::Prefix,
        };
        let rewrites = match target {
            None => Vec::new(),
            Some(target) => match self.rewrites(&placed.path, target) {
                Ok(rewrites) => rewrites,
                Err(error) => {
                    self.refuse(of.ingress, &*error);
                    return None;
                }
            },
        };
        let redirect = annotations.and_then(|found| found.redirect.as_ref());
        let may_redirect = !placed.path.starts_with(IN_THE_CLEAR);
        let to_https = annotations.filter(|_| may_redirect);
        Some(Location {
            name: placed.path.as_str().into(),
            modifier,
            rewrites,
            returns: redirect.and_then(|(status, to)| self.returns(of.ingress, *status, to)),
            inside: Inside {
                backend: of.backend,
                fallback: of.fallback,
                ingress: of.ingress,
                ssl_redirect: to_https.is_some_and(|found| found.ssl_redirect),
                force_ssl_redirect: to_https.is_some_and(|found| found.force_ssl_redirect),
            },
        })
    }

    fn returns(&mut self, ingress: Option<usize>, status: u16, to: &str) -> Option<Return> {
        match Script::new(to) {
            Ok(to) => Some(Return {
                status,
                to: Some(to),
            }),
            Err(error) => {
                self.refuse(ingress, &error);
                None
            }
        }
    }

    fn rewrites(
        &self,
        path: &str,
        target: &str,
    ) -> Result<Vec<Rewrite>, Box<dyn std::error::Error>> {
        let rewrite = |pattern: &str, replacement: &str| {
            let pattern = Pattern::new(&unquoted(pattern))?;
            Ok::<_, Box<dyn std::error::Error>>(Rewrite::new(pattern, replacement)?)
        };
        match self.release {
            Release::V1 => Ok(vec![rewrite(path, target)?]),
            Release::V0_21 => {
                let slash = if path.ends_with('/') { "" } else { "/" };
                let bare = if target == "/" { "" } else { target };
                Ok(vec![
                    rewrite(&format!("{path}{slash}(.*)"), &format!("{bare}/$1"))?,
                    rewrite(&format!("{path}$"), &format!("{bare}/"))?,
                ])
            }
        }
    }
}

/// Whether a location of that path is rewritten.
fn rewrites(annotations: &Annotations, path: &str) -> bool {
    !annotations.rewrite_target.is_empty() && *annotations.rewrite_target != *path
}

/// What 0.21 writes for a location that rewrites: the path, and all behind it.
fn old_pattern(path: &str) -> String {
    if path == "/" {
        return "^/".to_owned();
    }
    let slash = if path.ends_with('/') { "" } else { r"\/?" };
    format!("^{path}{slash}(?<baseuri>.*)")
}

/// A text as nginx reads it between double quotes (`ngx_conf_read_token`, src/core/ngx_conf_file.c).
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let next = after.chars().next();
        let stands_for = match next {
            Some(c @ ('"' | '\'' | '\\')) => Some(c),
            Some('t') => Some('\t'),
            Some('r') => Some('\r'),
            Some('n') => Some('\n'),
            Some(_) | None => None,
        };
        match (stands_for, next) {
            (Some(c), Some(next)) => {
                out.push(c);
                rest = &after[next.len_utf8()..];
            }
            _ => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// What the default server answers itself: health checks, and statistics for its own host alone.
fn own_locations() -> impl Iterator<Item = Location<Inside>> {
    [("/healthz", 200), ("/nginx_status", 403)]
        .into_iter()
        .map(|(path, status)| Location {
            modifier: Modifier::Prefix,
            name: path.into(),
            rewrites: Vec::new(),
            returns: Some(Return { status, to: None }),
            inside: Inside {
                backend: None,
                fallback: None,
                ingress: None,
                ssl_redirect: false,
                force_ssl_redirect: false,
            },
        })
}
