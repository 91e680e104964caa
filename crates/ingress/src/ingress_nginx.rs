//! ingress-nginx: the configuration that it writes for nginx, and what its Lua adds.
//!
//! - `annotations`: what an Ingress asks of it.
//! - `servers`: a server for each host, and which Ingress has which path (`getBackendServers`).
//! - `layout`: those as locations of nginx, which the two releases write differently.
//!
//! # Sources
//! rootfs/etc/nginx/lua/lua_ingress.lua (`redirect_to_https`) and certificate.lua of ingress-nginx 1.12;
//! nginx.tmpl of 0.21 (`$redirect_to_https`).

mod annotations;
mod layout;
mod servers;

use std::fmt;

use indexmap::IndexSet;
use podwire_cluster::{Cluster, Ingress, ObjectName};

use self::annotations::Annotations;
use self::servers::Servers;
use crate::Table;
use crate::answer::{Answer, Why};
use crate::backend::{Backend, Backends, Matching, State};
use crate::class::{Ignored, Reason};
use crate::nginx::{self, By, Config, Handled, How, Outcome};
use crate::request::{Request, Scheme};
use crate::router::{Controller, Options, Refused};

/// What a location is for.
#[derive(Clone, Copy, Debug)]
struct Inside {
    /// The back end; `None` is the controller's default one.
    backend: Option<usize>,
    /// Who answers where that one has no endpoints.
    fallback: Option<usize>,
    /// The Ingress that it is of.
    ingress: Option<usize>,
    /// `ssl-redirect`: where the host has a certificate.
    ssl_redirect: bool,
    /// `force-ssl-redirect`: everywhere.
    force_ssl_redirect: bool,
}

/// A release, by what is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    V0_21,
    V1,
}

/// The decisions of ingress-nginx.
#[derive(Debug)]
pub(crate) struct IngressNginx {
    release: Release,
    config: Config<Inside>,
    ingresses: IndexSet<ObjectName>,
    backends: Vec<Backend>,
    /// Who answers what no Ingress takes; `None` is the controller, with 404.
    default_backend: Option<usize>,
    /// Hosts with a certificate, wildcards with their `*.`.
    certificates: Table<str, ()>,
}

/// Takes out the canaries.
pub(crate) fn leave_canaries(own: &mut Vec<&Ingress>, ignored: &mut Vec<Ignored>) {
    own.retain(|ingress| {
        let is_canary = annotations::is_canary(ingress);
        if is_canary {
            ignored.push(Ignored {
                ingress: ingress.meta.name.clone(),
                reason: Reason::Canary,
            });
        }
        !is_canary
    });
}

impl IngressNginx {
    pub(crate) fn new(
        cluster: &Cluster,
        options: &Options,
        ingresses: &[&Ingress],
    ) -> (Self, Vec<Refused>) {
        let release = match options.controller {
            Controller::IngressNginx021 => Release::V0_21,
            Controller::Spec | Controller::IngressNginx => Release::V1,
        };
        let mut backends = Backends::new(cluster, Matching::IngressNginx);
        let default_backend = options
            .default_backend
            .as_ref()
            .and_then(|service| backends.first_port(service))
            .filter(|&number| backends.get(number).state == State::Serves);
        let annotations: Vec<_> = ingresses.iter().map(|one| Annotations::of(one)).collect();
        let servers = Servers::new(release, ingresses, &annotations, &mut backends);
        let certificates = servers.certified().map(|host| (host.into(), ()));
        let certificates = certificates.collect();
        let mut layout = layout::Layout::new(release, ingresses, &annotations);
        let config = layout.config(servers);
        let nginx = Self {
            release,
            config,
            ingresses: ingresses.iter().map(|one| one.meta.name.clone()).collect(),
            backends: backends.into_all(),
            default_backend,
            certificates,
        };
        (nginx, layout.refused)
    }

    pub(crate) fn route(&self, request: &Request) -> Answer<'_> {
        let handled = match self.config.handle(request) {
            Ok(handled) => handled,
            Err(why) => return Answer::bad(why),
        };
        let Handled {
            server,
            by,
            location,
            outcome,
        } = handled;
        let inside = location.map(|(location, _)| location.inside);
        let ingress = inside.and_then(|inside| inside.ingress);
        let mut answer = Answer {
            status: 404,
            ingress: ingress.map(|ingress| &self.ingresses[ingress]),
            backend: None,
            path: None,
            redirect: None,
            why: Why::Bad(nginx::BadRequest::Host),
        };
        let mut why = NginxWhy {
            server: &server.name,
            by,
            location,
            rewrite: None,
            end: "",
        };
        let to_https = match (location, &outcome) {
            (Some((location, how)), outcome) if how != How::AddSlash => {
                // In 1.x a program asks, once nginx's own directives are through.
                let is_asked =
                    self.release == Release::V0_21 || matches!(outcome, Outcome::Pass { .. });
                Some(location.inside).filter(|_| is_asked)
            }
            _ => None,
        };
        if let Some(inside) = to_https
            && let Some(end) = self.redirects_to_https(request, &server.name, inside)
        {
            answer.status = 308;
            answer.redirect = Some(self.https(request));
            why.end = end;
            answer.why = Why::Nginx(why);
            return answer;
        }
        match outcome {
            Outcome::Answer { status, location } => {
                answer.status = status;
                answer.redirect = location;
                why.end = match status {
                    301 | 302 | 307 | 308 if answer.redirect.is_some() => {
                        "nginx sends the client there"
                    }
                    500 => "the rewritten path is empty",
                    _ => "nginx answers itself",
                };
            }
            Outcome::Pass { uri, rewrite } => {
                why.rewrite = rewrite;
                let inside = inside.unwrap_or_else(|| unreachable!("a location passes it on"));
                let number = self.serving(inside);
                answer.backend = number.map(|number| &self.backends[number]);
                (answer.status, why.end) = match answer.backend.map(|backend| backend.state) {
                    // The controller answers itself.
                    None => (404, "no Ingress takes it: the controller's default backend"),
                    Some(State::Serves) if inside.backend.is_none() => {
                        (200, "no Ingress takes it: the controller's default backend")
                    }
                    Some(State::Serves) => (200, ""),
                    Some(State::NoService) => (503, "there is no such Service"),
                    Some(State::NoPort) => (503, "the Service has no such port"),
                    Some(State::NoEndpoints) => (503, "the Service has no ready endpoint"),
                };
                if inside.backend.is_none() {
                    answer.ingress = None;
                }
                if answer.status == 200 {
                    answer.path = Some(uri);
                }
            }
        }
        answer.why = Why::Nginx(why);
        answer
    }

    fn serving(&self, inside: Inside) -> Option<usize> {
        let Some(backend) = inside.backend else {
            return self.default_backend;
        };
        let serves = |number: &usize| self.backends[*number].state == State::Serves;
        let fallback = || inside.fallback.filter(serves);
        Some(if serves(&backend) {
            backend
        } else {
            fallback().unwrap_or(backend)
        })
    }

    /// Why the client is sent to https, if it is.
    fn redirects_to_https(
        &self,
        request: &Request,
        server: &str,
        inside: Inside,
    ) -> Option<&'static str> {
        if request.scheme == Scheme::Https {
            return None;
        }
        if inside.force_ssl_redirect {
            return Some("force-ssl-redirect");
        }
        let is_certified = match self.release {
            Release::V1 => self.is_certified(&request.host),
            // The default server has a certificate of the controller's own.
            Release::V0_21 => server == servers::DEFAULT || self.certificates.contains_key(server),
        };
        (inside.ssl_redirect && is_certified).then_some(match self.release {
            Release::V0_21 if server == servers::DEFAULT => {
                "0.21's server for all hosts has a certificate, and ssl-redirect is on unless said"
            }
            Release::V0_21 | Release::V1 => {
                "the host has a certificate, and ssl-redirect is on unless said"
            }
        })
    }

    /// Whether a certificate is for a host, or for all of its domain.
    fn is_certified(&self, host: &str) -> bool {
        if self.certificates.is_empty() {
            return false;
        }
        let Ok(name) = nginx::host(host) else {
            return false;
        };
        if self.certificates.contains_key(&*name) {
            return true;
        }
        let above = name.split_once('.').map(|(_, above)| above);
        above.is_some_and(|above| self.certificates.contains_key(&*format!("*.{above}")))
    }

    /// Where a client is sent.
    fn https(&self, request: &Request) -> String {
        let host = match self.release {
            Release::V0_21 => &*request.host,
            Release::V1 => request.host.split(':').next().unwrap_or_default(),
        };
        format!("https://{host}{}", request.path)
    }
}

/// What nginx and the controller did with a request.
#[derive(Debug)]
pub struct NginxWhy<'r> {
    server: &'r str,
    by: Option<By>,
    location: Option<(&'r nginx::Location<Inside>, How)>,
    rewrite: Option<usize>,
    end: &'static str,
}

impl NginxWhy<'_> {
    /// The first name of the server.
    #[must_use]
    pub fn server(&self) -> &str {
        self.server
    }
}

impl fmt::Display for NginxWhy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            Some(by) => writeln!(f, "server    {}: {by}", self.server)?,
            None => writeln!(
                f,
                "server    {}: the default one, no other has the name",
                self.server
            )?,
        }
        match self.location {
            Some((location, how)) => {
                writeln!(f, "location  {location}: {how}")?;
                if let Some(rewrite) = self.rewrite {
                    writeln!(f, "rewrite   {}", location.rewrites[rewrite])?;
                }
            }
            None => writeln!(f, "location  none: the server answers")?,
        }
        if self.end.is_empty() {
            Ok(())
        } else {
            writeln!(f, "end       {}", self.end)
        }
    }
}
