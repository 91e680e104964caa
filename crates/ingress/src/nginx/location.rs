//! The location that serves a path.
//!
//! # Sources
//! `ngx_http_core_find_location` and `ngx_http_core_find_static_location`,
//! src/http/ngx_http_core_module.c; `ngx_http_proxy_pass`, ngx_http_proxy_module.c, for the slash that
//! is added.

use std::fmt;

use super::{Pattern, Prefixes, Return, Rewrite};
use crate::Table;

/// What stands between `location` and the path.
#[derive(Debug)]
pub enum Modifier {
    /// `=`: this path alone.
    Exact,
    /// Nothing: a path that begins so.
    Prefix,
    /// `^~`: the same, and patterns are not asked.
    PrefixOnly,
    /// `~*`: a path that the pattern matches, in capitals or not.
    Pattern(Pattern),
}

/// A location that passes requests on, unless it answers itself.
#[derive(Debug)]
pub struct Location<T> {
    /// How its path is compared.
    pub modifier: Modifier,
    /// The path, or the pattern's text.
    pub name: Box<str>,
    /// `rewrite … break` in their order.
    pub rewrites: Vec<Rewrite>,
    /// `return`.
    pub returns: Option<Return>,
    /// What its writer keeps here.
    pub inside: T,
}

/// Why a location was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its path is the request's.
    Exact,
    /// Its path is the longest that begins the request's.
    LongestPrefix,
    /// It is the first pattern that matches.
    FirstPattern,
    /// Its path is the request's and a slash.
    AddSlash,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "the path is this one",
            Self::LongestPrefix => "the longest that begins the path",
            Self::FirstPattern => "the first pattern that matches the path",
            Self::AddSlash => "the path is this one but for its slash",
        })
    }
}

/// What was found for a path.
#[derive(Debug)]
pub enum Found<'l, T> {
    /// A location.
    Location(&'l Location<T>, How),
    /// A location whose path is the request's and a slash: the client is sent there.
    AddSlash(&'l Location<T>),
    /// None.
    Nothing,
}

/// A server's locations.
#[derive(Debug)]
pub struct Locations<T> {
    all: Vec<Location<T>>,
    exact: Table<[u8], usize>,
    prefixes: Prefixes<usize>,
    /// Those whose name ends in a slash, by what stands before it.
    slashed: Table<[u8], usize>,
    patterns: Vec<usize>,
}

impl<T> FromIterator<Location<T>> for Locations<T> {
    /// In the order of the configuration. Of two that are the same the first counts.
    fn from_iter<I: IntoIterator<Item = Location<T>>>(locations: I) -> Self {
        let all: Vec<_> = locations.into_iter().collect();
        let mut exact = Table::default();
        let mut prefixes = Vec::new();
        let mut slashed = Table::default();
        let mut patterns = Vec::new();
        for (index, location) in all.iter().enumerate() {
            let name: Box<[u8]> = location.name.as_bytes().into();
            // A location that passes requests on sends clients to its slash; one that answers does not.
            if let Some((b'/', bare)) = name.split_last()
                && !matches!(location.modifier, Modifier::Pattern(_))
                && location.returns.is_none()
            {
                slashed.entry(bare.into()).or_insert(index);
            }
            match location.modifier {
                Modifier::Exact => drop(exact.entry(name).or_insert(index)),
                Modifier::Prefix | Modifier::PrefixOnly => prefixes.push((name, index)),
                Modifier::Pattern(_) => patterns.push(index),
            }
        }
        Self {
            all,
            exact,
            prefixes: prefixes.into_iter().collect(),
            slashed,
            patterns,
        }
    }
}

impl<T> Locations<T> {
    /// The location of a decoded path.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Found<'_, T> {
        if let Some(&index) = self.exact.get(path) {
            return Found::Location(&self.all[index], How::Exact);
        }
        let prefix = self.prefixes.of(path).next();
        let prefix = prefix.map(|(text, &index)| (text.len(), &self.all[index]));
        if prefix.is_none_or(|(length, _)| length < path.len())
            && let Some(&index) = self.slashed.get(path)
        {
            return Found::AddSlash(&self.all[index]);
        }
        if !matches!(
            prefix,
            Some((
                _,
                Location {
                    modifier: Modifier::PrefixOnly,
                    ..
                }
            ))
        ) {
            for &index in &self.patterns {
                if let Modifier::Pattern(pattern) = &self.all[index].modifier
                    && pattern.is_match(path)
                {
                    return Found::Location(&self.all[index], How::FirstPattern);
                }
            }
        }
        prefix.map_or(Found::Nothing, |(_, location)| {
            Found::Location(location, How::LongestPrefix)
        })
    }
}
