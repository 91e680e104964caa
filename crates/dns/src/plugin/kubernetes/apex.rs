//! SOA and NS records of the zone.
//!
//! # Sources
//! `SOA` and `NS`, plugin/backend_lookup.go; plugin/kubernetes/ns.go.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::{Asked, Found, Kubernetes, service_name};
use crate::message::{as_text, name};
use crate::records::find::HitOwner;

/// The name of a name server that no service has.
const DEFAULT: &str = "ns.dns.";
/// The longest TTL of a SOA record, in seconds.
const LONGEST_SOA_TTL: u32 = 300;
/// Refresh, retry and expire, in seconds.
const TIMES: (i32, i32, i32) = (7_200, 1_800, 86_400);
/// The serial; CoreDNS has the time of the last change there.
const SERIAL: u32 = 1;

impl Kubernetes {
    /// The SOA record of a zone. In the letters of the Corefile it is ready.
    pub(super) fn soa(&self, zone: &Name) -> Record {
        let ready = self.soas.iter().find(|soa| soa.name.eq_case(zone));
        ready.cloned().unwrap_or_else(|| soa(zone, self.config.ttl))
    }

    /// The NS records of the zone, and their addresses.
    pub(super) fn name_servers(&self, asked: Asked<'_>) -> Found {
        let mut found = Found::default();
        let mut names: Vec<Name> = Vec::new();
        let zone = as_text(&asked.zone_name());
        for (owner, ip) in self.own_services() {
            let server = match owner {
                Some(owner) if self.behaviour.services_are_name_servers => {
                    service_name(owner, &zone)
                }
                _ => format!("{DEFAULT}{}", below_root(&zone)),
            };
            let Some(server) = name(&server) else {
                continue;
            };
            found.additionals.push(self.address(&server, ip));
            if names.contains(&server) {
                continue;
            }
            let ns = RData::NS(NS(server.clone()));
            found.answers.push(self.record(&asked.request.name, ns));
            names.push(server);
        }
        found
    }

    /// Whether the name is `ns.dns.ZONE`, which the SOA record names.
    pub(super) fn is_default_name_server(&self, asked: Asked<'_>) -> bool {
        let rest = asked.request.lower.strip_prefix(DEFAULT);
        let asked_for = rest.is_some_and(|rest| rest == asked.zone);
        let is_a = asked.request.qtype == RecordType::A;
        asked_for && (is_a || !self.behaviour.default_server_has_a_only)
    }

    /// The services of which this CoreDNS is an endpoint, with their addresses, else its own
    /// addresses.
    pub(super) fn own_services(&self) -> Vec<(Option<HitOwner<'_>>, IpAddr)> {
        let mut servers = Vec::new();
        for &local in &self.local {
            for endpoint in self.records.endpoints_at(local) {
                let service = endpoint.service;
                if service.is_headless() {
                    let all = service.endpoints();
                    servers.extend(all.map(|e| (Some(HitOwner::Endpoint(e)), e.ip())));
                } else {
                    let ips = service.cluster_ips.iter();
                    servers.extend(ips.map(|&ip| (Some(HitOwner::Service(service)), ip)));
                }
            }
        }
        if servers.is_empty() {
            servers.extend(self.local.iter().map(|&ip| (None, ip)));
        }
        if !self.behaviour.services_are_name_servers {
            servers.truncate(1);
        }
        servers
    }
}

/// A zone as what is put before it is followed by it: the root leaves nothing.
fn below_root(zone: &str) -> &str {
    if zone == "." { "" } else { zone }
}

/// The SOA record of a zone whose records have this TTL.
pub(super) fn soa(zone: &Name, ttl: u32) -> Record {
    let text = as_text(zone);
    let text = below_root(&text);
    // A zone of more than 240 bytes leaves no room for these labels.
    let below = |label: &str| name(&format!("{label}.{text}")).unwrap_or_else(Name::root);
    let (refresh, retry, expire) = TIMES;
    let soa = SOA::new(
        below("ns.dns"),
        below("hostmaster"),
        SERIAL,
        refresh,
        retry,
        expire,
        ttl,
    );
    Record::from_rdata(zone.clone(), ttl.min(LONGEST_SOA_TTL), RData::SOA(soa))
}
