//! Versions: of the specification, and of the plugins that are modelled.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Versions of the CNI specification, the oldest first.
pub const SPEC_VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

/// A release of containernetworking/plugins whose answers are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PluginsVersion {
    /// 1.1.1, as Debian 12 has it: speaks the specification up to 1.0.0.
    V1_1_1,
    /// 1.9.1: up to 1.1.0.
    #[default]
    V1_9_1,
}

/// Why a text names no release.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("accepted are 1.1.1 and 1.9.1")]
pub struct ParsePluginsVersionError;

impl FromStr for PluginsVersion {
    type Err = ParsePluginsVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('v').unwrap_or(text) {
            "1.1.1" => Ok(Self::V1_1_1),
            "1.9.1" => Ok(Self::V1_9_1),
            _ => Err(ParsePluginsVersionError),
        }
    }
}

impl fmt::Display for PluginsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_1_1 => "1.1.1",
            Self::V1_9_1 => "1.9.1",
        })
    }
}

impl PluginsVersion {
    /// The versions of the specification that its plugins speak.
    #[must_use]
    pub const fn spec_versions(self) -> &'static [&'static str] {
        match self {
            Self::V1_1_1 => SPEC_VERSIONS.split_at(6).0,
            Self::V1_9_1 => &SPEC_VERSIONS,
        }
    }
}

/// Major, minor and micro number of a version text; an empty one means 0.1.0.
///
/// Source: `ParseVersion`, pkg/version/plugin.go of containernetworking/cni; messages as there.
pub(crate) fn numbers(version: &str) -> Result<[u32; 3], String> {
    if version.is_empty() {
        return Ok([0, 1, 0]);
    }
    let mut numbers = [0; 3];
    let parts = version.splitn(3, '.');
    for ((place, part), name) in numbers
        .iter_mut()
        .zip(parts)
        .zip(["major", "minor", "micro"])
    {
        *place = part.parse().map_err(|_| {
            format!("failed to convert {name} version part {part:?}: invalid syntax")
        })?;
    }
    if version.split('.').count() < 2 {
        return Err(format!(
            "invalid version {version:?}: must be at least major.minor"
        ));
    }
    Ok(numbers)
}

/// Whether a version is another or later.
pub(crate) fn at_least(version: &str, other: &str) -> Result<bool, String> {
    Ok(numbers(version)? >= numbers(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_and_an_empty_one_is_the_first() {
        assert_eq!(at_least("", "0.1.0"), Ok(true));
        assert_eq!(at_least("0.10.0", "0.9.0"), Ok(true));
        assert_eq!(at_least("0.3.1", "0.4.0"), Ok(false));
        assert!(at_least("x.1.0", "0.4.0").is_err());
    }
}
