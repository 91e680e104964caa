//! SOA and NS records of the zone.
//!
//! # Sources
//! `SOA` and `NS`, plugin/backend_lookup.go; plugin/kubernetes/ns.go.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{Name, RData, Record};

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
    /// The SOA record of a zone.
    pub(super) fn soa(&self, zone: &Name) -> Record {
        let text = as_text(zone);
        let text = if text == "." { "" } else { &text };
        // A zone of more than 240 bytes leaves no room for these labels.
        let below = |label: &str| name(&format!("{label}.{text}")).unwrap_or_else(Name::root);
        let ttl = self.config.ttl;
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

    /// The NS records of the zone, and their addresses.
    pub(super) fn name_servers(&self, asked: Asked<'_>) -> Found {
        let mut found = Found::default();
        let mut names: Vec<Name> = Vec::new();
        let zone = asked.zone_name();
        for (server, ip) in self.own_services(&zone) {
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

    /// The addresses of `ns.dns.ZONE`, if that is the name.
    pub(super) fn ips_of_default_name_server(&self, asked: Asked<'_>) -> Option<Vec<IpAddr>> {
        let rest = asked.request.lower.strip_prefix(DEFAULT)?;
        if rest != asked.zone {
            return None;
        }
        let servers = self.own_services(&asked.zone_name());
        Some(servers.into_iter().map(|(_, ip)| ip).collect())
    }

    /// The services of which this CoreDNS is an endpoint, with their addresses, else its own
    /// addresses under the default name.
    fn own_services(&self, zone: &Name) -> Vec<(Name, IpAddr)> {
        let zone = as_text(zone);
        let below = if zone == "." { "" } else { &zone };
        let default = name(&format!("{DEFAULT}{below}"));
        let mut servers = Vec::new();
        for &local in &self.local {
            for endpoint in self.records.endpoints_at(local) {
                let service = endpoint.service;
                if service.is_headless() {
                    let all = service.endpoints();
                    servers.extend(all.filter_map(|endpoint| {
                        let name = name(&service_name(HitOwner::Endpoint(endpoint), &zone))?;
                        Some((name, endpoint.ip()))
                    }));
                } else if let Some(name) = name(&service_name(HitOwner::Service(service), &zone)) {
                    let ips = service.cluster_ips.iter();
                    servers.extend(ips.map(|&ip| (name.clone(), ip)));
                }
            }
        }
        let Some(default) = default else {
            return servers;
        };
        if servers.is_empty() {
            let local = self.local.iter();
            return local.map(|&ip| (default.clone(), ip)).collect();
        }
        if !self.behaviour.services_are_name_servers {
            servers.truncate(1);
            for (name, _) in &mut servers {
                name.clone_from(&default);
            }
        }
        servers
    }
}
