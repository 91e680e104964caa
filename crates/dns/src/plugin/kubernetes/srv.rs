//! SRV records.
//!
//! # Sources
//! `SRV`, plugin/backend_lookup.go; `Services`, plugin/kubernetes/kubernetes.go, which leaves
//! ExternalNames out.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, SRV};
use hickory_proto::rr::{Name, RData};
use indexmap::IndexSet;

use super::{Asked, Fault, Found, Kubernetes, service_name};
use crate::message::{as_text, name};
use crate::records::find::Target;

impl Kubernetes {
    /// The SRV records of a name, and the addresses of their targets.
    pub(super) fn services(&self, asked: Asked<'_>) -> Result<Found, Fault> {
        let mut hits = Vec::new();
        self.hits(asked, &mut |hit| {
            if let Target::Ip(ip) = hit.target {
                hits.push((ip, hit));
            }
        })?;
        let zone = as_text(&asked.zone_name());
        let weight = weight(hits.len());
        let mut found = Found::default();
        let mut records: IndexSet<(String, u16)> = IndexSet::new();
        let mut addresses: IndexSet<(String, IpAddr)> = IndexSet::new();
        for (ip, hit) in hits {
            let (target, port) = match hit.owner {
                Some(owner) => {
                    let Some(port) = hit.port else { continue };
                    (service_name(owner, &zone), port)
                }
                // A pod's name is its own target, and has no port.
                None => (asked.request.lower.to_string(), 0),
            };
            let Some(name) = name(&target) else { continue };
            if records.insert((target.clone(), port)) {
                let srv = RData::SRV(SRV::new(0, weight, port, name.clone()));
                found.answers.push(self.record(&asked.request.name, srv));
            }
            if addresses.insert((target, ip)) {
                found.additionals.push(self.address(&name, ip));
            }
        }
        Ok(found)
    }

    /// The address record of a name.
    pub(super) fn address(&self, name: &Name, ip: IpAddr) -> hickory_proto::rr::Record {
        let data = match ip {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        self.record(name, data)
    }
}

/// The weight of each of so many services: a hundredth part each, rounded down, at least 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the sum is done in floating point, as CoreDNS does it, and is between 0 and 100"
)]
fn weight(services: usize) -> u16 {
    let sum = services.max(1) as f64 * 100.0;
    ((100.0 / sum * 100.0).floor() as u16).max(1)
}
