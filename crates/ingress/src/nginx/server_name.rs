//! The server that has a host's name.
//!
//! # Sources
//! `ngx_http_find_virtual_server`, src/http/ngx_http_request.c; `ngx_hash_find_combined`,
//! src/core/ngx_hash.c.

use std::fmt;

use super::Pattern;
use crate::Table;

/// A name of a server, as `server_name` has it.
#[derive(Clone, Debug)]
pub enum ServerName {
    /// A name.
    Exact(Box<str>),
    /// `*.` and a name: any number of labels before it.
    Wildcard(Box<str>),
    /// `~^(?<subdomain>[\w-]+)\.NAME$`: one label before a name. It is a pattern to nginx, with a
    /// pattern's rank, but needs no list to be gone through.
    OneLabel(Box<str>),
    /// A pattern.
    Pattern(Pattern),
}

/// How a server was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By its name.
    Name,
    /// By the longest wildcard.
    Wildcard,
    /// By the first pattern that matches.
    Pattern,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "its name",
            Self::Wildcard => "the longest wildcard",
            Self::Pattern => "the first pattern that matches",
        })
    }
}

/// Names of servers.
#[derive(Debug, Default)]
pub struct ServerNames {
    exact: Table<str, usize>,
    wildcards: Table<str, usize>,
    /// With the number of the pattern that it is.
    one_label: Table<str, (usize, usize)>,
    patterns: Vec<(usize, Pattern, usize)>,
    next_pattern: usize,
}

impl ServerNames {
    /// Adds a name of a server; of two the first counts.
    pub fn add(&mut self, name: ServerName, server: usize) {
        let number = self.next_pattern;
        match name {
            ServerName::Exact(name) => {
                self.exact.entry(name).or_insert(server);
            }
            ServerName::Wildcard(name) => {
                self.wildcards.entry(name).or_insert(server);
            }
            ServerName::OneLabel(name) => {
                self.one_label.entry(name).or_insert((number, server));
                self.next_pattern += 1;
            }
            ServerName::Pattern(pattern) => {
                self.patterns.push((number, pattern, server));
                self.next_pattern += 1;
            }
        }
    }

    /// The server of a host, and how it was found.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<(usize, By)> {
        if let Some(&server) = self.exact.get(host) {
            return Some((server, By::Name));
        }
        if !self.wildcards.is_empty() {
            let mut rest = host;
            while let Some((label, above)) = rest.split_once('.') {
                if !label.is_empty()
                    && let Some(&server) = self.wildcards.get(above)
                {
                    return Some((server, By::Wildcard));
                }
                rest = above;
            }
        }
        let is_label = |label: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !label.is_empty() && label.bytes().all(inner)
        };
        let one_label = host
            .split_once('.')
            .filter(|(label, _)| is_label(label))
            .and_then(|(_, above)| self.one_label.get(above).copied());
        let earlier = |number: usize| one_label.is_none_or(|(other, _)| number < other);
        let mut patterns = self.patterns.iter();
        let pattern = patterns
            .by_ref()
            .take_while(|(number, _, _)| earlier(*number))
            .find(|(_, pattern, _)| pattern.is_match(host.as_bytes()));
        pattern
            .map(|&(_, _, server)| server)
            .or_else(|| one_label.map(|(_, server)| server))
            .map(|server| (server, By::Pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[ServerName]) -> ServerNames {
        let mut names = ServerNames::default();
        for (server, name) in all.iter().enumerate() {
            names.add(name.clone(), server);
        }
        names
    }

    #[test]
    fn names_go_before_wildcards_and_wildcards_before_patterns() {
        let found = names(&[
            ServerName::Pattern(Pattern::new("^b").unwrap()),
            ServerName::OneLabel("foo.test".into()),
            ServerName::Wildcard("foo.test".into()),
            ServerName::Wildcard("deep.foo.test".into()),
            ServerName::Exact("bar.foo.test".into()),
            ServerName::OneLabel("test".into()),
        ]);
        for (host, server) in [
            ("bar.foo.test", Some((4, By::Name))),
            ("baz.foo.test", Some((2, By::Wildcard))),
            ("a.b.deep.foo.test", Some((3, By::Wildcard))),
            ("foo.test", Some((5, By::Pattern))),
            ("bar.test", Some((0, By::Pattern))),
            ("a.b.test", None),
            ("xfoo", None),
            ("", None),
        ] {
            assert_eq!(found.find(host), server, "{host}");
        }
    }
}
