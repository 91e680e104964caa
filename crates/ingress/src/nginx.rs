//! nginx, as far as it decides which location serves a request and what the back end is sent.
//!
//! Nothing here knows of Kubernetes: a controller writes [`Config`], in which each location carries
//! what the controller keeps there.
//!
//! # Map, in the order in which a request meets them
//! - [`Uri`]: the request's URI decoded, dot segments and doubled slashes gone.
//! - [`host()`]: the Host header as nginx reads it; [`ServerNames`]: the server of that name.
//! - [`Locations`]: exact, longest prefix, patterns in their order; `prefixes`, [`Pattern`].
//! - [`Script`], [`Rewrite`], [`Return`]: what `rewrite` and `return` make of it; `escape`.
//!
//! # Departures
//! - A `rewrite` always has the flag `break`, and there is one `if`, of a server: `if ($uri = /)`.
//! - The redirect that adds a slash, and a `return` without a host, are given as nginx sends them with
//!   `absolute_redirect off`.
//! - Patterns are those of the `regex` crate: see [`Pattern`].
//! - Escaping is that of nginx 1.21.1 and later; before, `"<>\^{|}` and the back quote were left alone.
//!
//! # Sources
//! nginx 1.22: src/http/ngx_http_core_module.c (`ngx_http_core_find_location`,
//! `ngx_http_core_find_config_phase`), ngx_http_request.c (`ngx_http_find_virtual_server`),
//! ngx_http_proxy_module.c (`ngx_http_proxy_create_request`).

mod escape;
mod host;
mod location;
mod pattern;
mod prefixes;
mod rewrite;
mod server_name;
mod uri;

pub use host::host;
pub use location::{Found, How, Location, Locations, Modifier};
pub use pattern::{Pattern, PatternError};
pub use prefixes::Prefixes;
pub use rewrite::{Return, Rewrite, Rewritten, Script, ScriptError};
pub use server_name::{By, ServerName, ServerNames};
pub use uri::Uri;

use std::borrow::Cow;
use std::fmt;

use crate::Request;

/// A request that nginx answers with 400 before it looks for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRequest {
    /// The URI does not begin with a slash, or is no URI.
    #[error("the path is none that nginx reads: it begins with `/`, without white space")]
    Uri,
    /// `%` without two hexadecimal digits, or `%00`.
    #[error("the path has a `%` that encodes nothing")]
    Encoding,
    /// `..` above the root.
    #[error("the path goes above `/`")]
    AboveRoot,
    /// The Host header names no host.
    #[error("the Host header is no host name")]
    Host,
}

/// A server block.
#[derive(Debug)]
pub struct Server<T> {
    /// Its first name.
    pub name: Box<str>,
    /// `if ($uri = /) { return … }`.
    pub at_root: Option<Return>,
    /// Its locations.
    pub locations: Locations<T>,
}

/// Servers on one port; the first is the default one.
#[derive(Debug)]
pub struct Config<T> {
    servers: Vec<Server<T>>,
    names: ServerNames,
}

/// What nginx does with a request.
#[derive(Debug)]
pub struct Handled<'c, T> {
    /// The server.
    pub server: &'c Server<T>,
    /// How it was found; the default one by nothing.
    pub by: Option<By>,
    /// The location, if it came to that.
    pub location: Option<(&'c Location<T>, How)>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What nginx does with a request in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Passes it on with this URI.
    Pass {
        /// Path and arguments, as they are sent.
        uri: String,
        /// The `rewrite` that changed them, by its place in the location.
        rewrite: Option<usize>,
    },
    /// Answers itself.
    Answer {
        /// The status.
        status: u16,
        /// Header Location.
        location: Option<String>,
    },
}

impl<T> Default for Config<T> {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            names: ServerNames::default(),
        }
    }
}

impl<T> Config<T> {
    /// Adds a server with its names. Where two have the same name, the first has it.
    pub fn add(&mut self, server: Server<T>, names: impl IntoIterator<Item = ServerName>) {
        let index = self.servers.len();
        self.servers.push(server);
        for name in names {
            self.names.add(name, index);
        }
    }

    /// What nginx does with a request.
    ///
    /// # Errors
    /// [`BadRequest`], or where there is no server at all.
    ///
    /// # Cost
    /// One look-up for the server name, and one for each label of the host where wildcards are; one for
    /// an exact location, a binary search for a prefix, then each pattern of the server in its order.
    pub fn handle(&self, request: &Request) -> Result<Handled<'_, T>, BadRequest> {
        let uri = Uri::parse(&request.path)?;
        let host = host(&request.host)?;
        let (server, by) = match self.names.find(&host) {
            Some((server, by)) => (server, Some(by)),
            None => (0, None),
        };
        let server = self.servers.get(server).ok_or(BadRequest::Host)?;
        let answer = |status, location| Outcome::Answer { status, location };
        let handled = |location, outcome| Handled {
            server,
            by,
            location,
            outcome,
        };
        if let Some(returns) = &server.at_root
            && *uri.path == *b"/"
        {
            return Ok(handled(None, returns.run(request, &uri, &host)));
        }
        let (location, how) = match server.locations.find(&uri.path) {
            Found::Location(location, how) => (location, how),
            Found::AddSlash(location) => {
                let mut to = escape::uri(location.name.as_bytes());
                if !uri.args.is_empty() {
                    to.push('?');
                    to.push_str(uri.args);
                }
                let how = How::AddSlash;
                return Ok(handled(Some((location, how)), answer(301, Some(to))));
            }
            Found::Nothing => return Ok(handled(None, answer(404, None))),
        };
        let place = Some((location, how));
        if let Some(returns) = &location.returns {
            return Ok(handled(place, returns.run(request, &uri, &host)));
        }
        let rewritten = location
            .rewrites
            .iter()
            .enumerate()
            .find_map(|(index, rewrite)| Some((index, rewrite.run(request, &uri, &host)?)));
        let outcome = match rewritten {
            None => Outcome::Pass {
                uri: uri.raw.to_owned(),
                rewrite: None,
            },
            Some((_, Rewritten::Empty)) => answer(500, None),
            Some((_, Rewritten::Redirect(to))) => answer(302, Some(to)),
            Some((index, Rewritten::Uri(uri))) => Outcome::Pass {
                uri,
                rewrite: Some(index),
            },
        };
        Ok(handled(place, outcome))
    }
}

/// Bytes as text, for people.
fn shown(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

impl<T> fmt::Display for Location<T> {
    /// Writes what stands behind the word `location` in a configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.modifier {
            Modifier::Exact => write!(f, "= {}", self.name),
            Modifier::Prefix => f.write_str(&self.name),
            Modifier::PrefixOnly => write!(f, "^~ {}", self.name),
            Modifier::Pattern(pattern) => write!(f, "~* \"{pattern}\""),
        }
    }
}
