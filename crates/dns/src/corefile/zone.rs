//! Zone names as CoreDNS writes them: lower case, with the final dot.

use std::fmt;

/// A zone's name in lower case and with its final dot, as `plugin.Host.Normalize` makes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneName(String);

impl ZoneName {
    /// The root, `.`.
    pub fn root() -> Self {
        Self(".".to_owned())
    }

    /// The zone of that name; case and a missing final dot are mended.
    pub fn new(name: &str) -> Self {
        let mut name = name.to_ascii_lowercase();
        if !name.ends_with('.') {
            name.push('.');
        }
        Self(name)
    }

    /// The name, in lower case and with its final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the zone holds this name (lower case, with its final dot).
    pub fn contains(&self, name: &str) -> bool {
        if self.0 == "." {
            return true;
        }
        match name.strip_suffix(self.0.as_str()) {
            Some(rest) => rest.is_empty() || rest.ends_with('.'),
            None => false,
        }
    }

    /// Whether the zone is one of addresses: below `in-addr.arpa.` or `ip6.arpa.`.
    ///
    /// As in CoreDNS, the two zones themselves are not. Source: `IsReverse`,
    /// plugin/pkg/dnsutil/reverse.go.
    pub fn is_reverse(&self) -> bool {
        self.0.ends_with(".in-addr.arpa.") || self.0.ends_with(".ip6.arpa.")
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest of these zones that holds the name (lower case, with its final dot).
///
/// Source: `Zones.Matches`, plugin/normalize.go.
pub fn longest<'z>(zones: &'z [ZoneName], name: &str) -> Option<&'z ZoneName> {
    let mut best: Option<&ZoneName> = None;
    for zone in zones.iter().filter(|zone| zone.contains(name)) {
        if best.is_none_or(|best| zone.as_str().len() > best.as_str().len()) {
            best = Some(zone);
        }
    }
    best
}

/// For which names a plugin that has no answer asks the next one.
///
/// Source: plugin/pkg/fall/fall.go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallthrough(pub Vec<ZoneName>);

impl Fallthrough {
    /// Whether the next plugin is asked about this name (lower case, with its final dot).
    pub fn through(&self, name: &str) -> bool {
        self.0.iter().any(|zone| zone.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_holds_itself_and_what_is_below() {
        let zone = ZoneName::new("Cluster.Local");
        assert_eq!(zone.as_str(), "cluster.local.");
        assert!(zone.contains("cluster.local."));
        assert!(zone.contains("a.cluster.local."));
        assert!(!zone.contains("mycluster.local."));
        assert!(ZoneName::root().contains("."));
    }

    #[test]
    fn the_longest_zone_wins() {
        let zones = ["local", "cluster.local", "."].map(ZoneName::new);
        assert_eq!(longest(&zones, "a.cluster.local."), Some(&zones[1]));
        assert_eq!(longest(&zones, "example.com."), Some(&zones[2]));
        assert_eq!(longest(&zones[..2], "example.com."), None);
    }
}
