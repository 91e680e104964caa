//! What releases of CoreDNS answer differently.
//!
//! # Sources
//! notes/coredns-*.md of CoreDNS, and what 1.3.1 and 1.13.2 answer. Where the release of a change is
//! not written down, the note on the field says between which ones it lies.

use crate::version::Version;

/// What a release does, as far as releases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// `*` and `any` stand for any namespace, service, endpoint, port and protocol. Until 1.9.0.
    pub wildcards: bool,
    /// All cluster IPs of a service have records, not the first alone. Since 1.8.1 (#4339).
    pub dual_stack: bool,
    /// `_http._tcp` before an ExternalName's name means that name. 1.13.2 says NXDOMAIN; taken to be
    /// so since 1.8.1.
    pub external_ports: bool,
    /// A SOA question about any name below a zone has the zone's SOA record as its answer, whether
    /// the name exists or not. Until 1.8.4 (#4592).
    pub soa_below_apex: bool,
    /// A TXT question about a name that does not exist is told that it has none, not that it does
    /// not exist. So in 1.3.1 and not in 1.13.2; taken to be so until 1.6.4.
    pub any_name_without_text: bool,
    /// The same of NS questions. Taken to be so until 1.5.0.
    pub any_name_without_servers: bool,
    /// `ns.dns.ZONE` exists for questions of type A alone. Taken to be so until 1.5.0.
    pub default_server_has_a_only: bool,
    /// An answer from the cache has bit AA. 1.3.1 clears it, 1.13.2 sets it; taken to be so since
    /// 1.5.1.
    pub cached_is_authoritative: bool,
    /// The NS records of a zone are the names of CoreDNS's own services; before that `ns.dns.ZONE`,
    /// once. Since 1.6.4, after 1.3.1.
    pub services_are_name_servers: bool,
    /// The schema version that `dns-version.ZONE` tells. 1.3.1 says 1.0.1; taken to be 1.1.0 since
    /// 1.5.1.
    pub schema: &'static str,
    /// An ExternalName that leads to another one, which leads out of the zone, is looked up. 1.3.1
    /// loses its context on the way, crashes and so answers SERVFAIL; taken to be mended in 1.5.0.
    pub nested_aliases: bool,
    /// Every endpoint with an address gives it a name, not the first found alone. 1.3.1 stops at
    /// the first; taken to be so since 1.8.1.
    pub all_names_of_an_address: bool,
    /// How many aliases within the zone may have led to one more. 7, and 10 since 1.12.1 (#7153).
    pub longest_chain: usize,
    /// `file` and `auto` refuse names of other zones if no plugin is behind them; before that they
    /// fail. Since 1.12.3 (#7381).
    pub last_file_refuses: bool,
    /// SRV records of `file` and `auto` keep their names and targets as written, not in lower case.
    /// Since 1.12.3 (#7402).
    pub keeps_case: bool,
}

impl Behaviour {
    /// What that release does.
    #[must_use]
    pub fn of(version: Version) -> Self {
        let since = |minor, patch| version >= Version::new(1, minor, patch);
        Self {
            wildcards: !since(9, 0),
            dual_stack: since(8, 1),
            external_ports: !since(8, 1),
            soa_below_apex: !since(8, 4),
            any_name_without_text: !since(6, 4),
            any_name_without_servers: !since(5, 0),
            default_server_has_a_only: !since(5, 0),
            cached_is_authoritative: since(5, 1),
            services_are_name_servers: since(6, 4),
            schema: if since(5, 1) { "1.1.0" } else { "1.0.1" },
            nested_aliases: since(5, 0),
            all_names_of_an_address: since(8, 1),
            longest_chain: if since(12, 1) { 10 } else { 7 },
            last_file_refuses: since(12, 3),
            keeps_case: since(12, 3),
        }
    }
}
