//! A pod's resolv.conf.
//!
//! # Sources
//! pkg/kubelet/network/dns/dns.go of Kubernetes: `GetPodDNS`, `appendDNSConfig`, the limits;
//! resolv.conf(5).
//!
//! # Departures
//! kubelet logs and sends an event where it cuts a list; here [`PodConf::warnings`] says so.

use std::fmt;
use std::net::IpAddr;

/// What a resolv.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver`, in order.
    pub nameservers: Vec<IpAddr>,
    /// `search`, in order.
    pub search: Vec<String>,
    /// `options`, as written: `ndots:5`, `rotate`.
    pub options: Vec<String>,
}

/// Domains in a search list that kubelet lets through: of glibc, to 2.25, it was 6.
pub const MAX_SEARCH: usize = 32;
/// Characters in it, spaces included.
pub const MAX_SEARCH_CHARS: usize = 2048;
/// Nameservers that kubelet lets through, and glibc reads: MAXNS.
pub const MAX_NAMESERVERS: usize = 3;

/// `ndots` where nothing says it.
const DEFAULT_NDOTS: usize = 1;
/// RES_MAXNDOTS.
const MAX_NDOTS: usize = 15;

impl ResolvConf {
    /// A list that is searched for names with fewer dots than `ndots`.
    pub fn new(search: Vec<String>, ndots: usize) -> Self {
        Self {
            nameservers: Vec::new(),
            search,
            options: vec![format!("ndots:{ndots}")],
        }
    }

    /// From how many dots on a name is asked for as it is first. The last word on it counts.
    pub fn ndots(&self) -> usize {
        let said = self.options.iter().rev();
        let mut said = said.filter_map(|option| option.strip_prefix("ndots:")?.parse().ok());
        said.next()
            .map_or(DEFAULT_NDOTS, |ndots: usize| ndots.min(MAX_NDOTS))
    }

    /// Reads the text of a resolv.conf; what is unknown in it is passed over.
    pub fn read(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf
                    .nameservers
                    .extend(words.filter_map(|w| w.parse::<IpAddr>().ok())),
                Some("search" | "domain") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        conf
    }
}

impl fmt::Display for ResolvConf {
    /// As kubelet writes it into a pod.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.search.is_empty() {
            writeln!(f, "search {}", self.search.join(" "))?;
        }
        for nameserver in &self.nameservers {
            writeln!(f, "nameserver {nameserver}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}
