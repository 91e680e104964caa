//! CoreDNS releases: which plugins and options each has.
//!
//! # Sources
//! notes/coredns-*.md and core/dnsserver/zdirectives.go of CoreDNS; migration/versions.go of
//! coredns/corefile-migration.
//!
//! # Departures
//! Release notes do not tell of every option. One that is in no list here counts as old as its plugin.
//! Plugins that a build of CoreDNS may leave out (`etcd`, `route53`, …) are taken to be there.

mod life;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub use life::{DIRECTIVES, Life, OPTIONS};

/// A release of CoreDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
}

impl Version {
    /// The first release whose Corefiles are understood.
    pub const OLDEST: Self = Self::new(1, 1, 4);
    /// The last one.
    pub const NEWEST: Self = Self::new(1, 13, 2);

    /// `major.minor.patch`.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// The plugins of this release, in the order in which a query meets them.
    pub fn directives(self) -> impl Iterator<Item = &'static str> {
        let alive = DIRECTIVES.iter().filter(move |life| life.holds(self));
        alive.map(|life| life.name)
    }

    /// Whether a plugin takes an option in this release, as far as the lists know of it.
    pub fn has_option(self, plugin: &str, option: &str) -> bool {
        life::option(plugin, option).is_none_or(|life| life.holds(self))
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::NEWEST
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Why a text names no release that is understood.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{text:?} is no CoreDNS release that is known; accepted are {} to {}, as in 1.8.0",
    Version::OLDEST,
    Version::NEWEST
)]
pub struct ParseVersionError {
    text: String,
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let number = |part: &str| -> Option<u16> {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
        let version = (|| {
            let (major, minor) = (number(parts.next()?)?, number(parts.next()?)?);
            let patch = parts.next().map_or(Some(0), number)?;
            parts
                .next()
                .is_none()
                .then_some(Self::new(major, minor, patch))
        })();
        version
            .filter(|version| (Self::OLDEST..=Self::NEWEST).contains(version))
            .ok_or_else(|| ParseVersionError {
                text: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_with_and_without_v_and_patch() {
        assert_eq!("v1.8.0".parse(), Ok(Version::new(1, 8, 0)));
        assert_eq!("1.8".parse(), Ok(Version::new(1, 8, 0)));
        for wrong in ["", "1", "1.8.0.1", "1.+8", "1.0.0", "1.14.0", "latest"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn proxy_left_when_ready_came() {
        let has = |version: Version, name| version.directives().any(|has| has == name);
        let (old, new) = (Version::new(1, 4, 0), Version::new(1, 5, 0));
        assert!(has(old, "proxy") && !has(old, "ready"));
        assert!(!has(new, "proxy") && has(new, "ready"));
    }
}
