//! A and AAAA records, and the aliases that lead to them.
//!
//! # Sources
//! `A`, `AAAA` and `checkForApex`, plugin/backend_lookup.go.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use indexmap::IndexSet;

use super::{Asked, Fault, Found, Kubernetes};
use crate::message::lower;
use crate::records::find::Target;

/// So many addresses are told apart by looking through them, more by a table.
const FEW: usize = 16;

impl Kubernetes {
    /// The addresses of a name. `before` are the aliases that led to it.
    pub(super) fn addresses(
        &self,
        asked: Asked<'_>,
        qtype: RecordType,
        before: &[Name],
    ) -> Result<Found, Fault> {
        let request = asked.request;
        let mut seen = Seen::default();
        let mut found = Found::default();
        let mut take = |ip: IpAddr, answers: &mut Vec<Record>| {
            if let Some(data) = data_of(ip, qtype)
                && seen.is_new(ip)
            {
                answers.push(self.record(&request.name, data));
            }
        };
        let mut aliases = Vec::new();
        self.hits(asked, &mut |hit| match hit.target {
            Target::Ip(ip) => take(ip, &mut found.answers),
            Target::Name(name) => aliases.push(name),
        })?;
        for name in aliases {
            self.follow(asked, name, before, &mut found)?;
        }
        Ok(found)
    }

    /// Adds an alias and what it leads to: within the zone by the plugin itself, else by the
    /// server. An alias that leads to nothing within the zone is left out.
    fn follow(
        &self,
        asked: Asked<'_>,
        target: &Name,
        before: &[Name],
        found: &mut Found,
    ) -> Result<(), Fault> {
        let request = asked.request;
        let goes_round = *target == request.name || before.contains(target);
        if goes_round || before.len() > self.behaviour.longest_chain {
            return Ok(());
        }
        let alias = self.cname(request, target);
        if zone_contains(asked.zone, &lower(target)) {
            let request = request.about(target.clone(), request.qtype);
            let deeper = Asked {
                request: &request,
                ..asked
            };
            let before = [before, std::slice::from_ref(target)].concat();
            match self.addresses(deeper, request.qtype, &before) {
                Ok(further) => {
                    found.truncated |= further.truncated;
                    if !further.answers.is_empty() {
                        found.answers.push(alias);
                        found.answers.extend(further.answers);
                    }
                    Ok(())
                }
                Err(Fault::NoSuchName) => Ok(()),
                Err(Fault::Failure) => Err(Fault::Failure),
            }
        } else {
            if !before.is_empty() && !self.behaviour.nested_aliases {
                return Err(Fault::Failure);
            }
            let reply = asked.turn.look_up(request, target.clone(), request.qtype);
            found.answers.push(alias);
            if let Some(reply) = reply {
                found.truncated |= reply.truncated;
                found.answers.extend(reply.answers);
            }
            Ok(())
        }
    }
}

fn zone_contains(zone: &str, name: &str) -> bool {
    zone == "." || name == zone || name.strip_suffix(zone).is_some_and(|n| n.ends_with('.'))
}

/// The data of a record of that type, if the address is of its family.
pub(super) fn data_of(ip: IpAddr, qtype: RecordType) -> Option<RData> {
    match (ip, qtype) {
        (IpAddr::V4(ip), RecordType::A) => Some(RData::A(A(ip))),
        (IpAddr::V6(ip), RecordType::AAAA) => Some(RData::AAAA(AAAA(ip))),
        _ => None,
    }
}

/// Addresses that were seen before.
#[derive(Default)]
struct Seen {
    few: smallvec::SmallVec<[IpAddr; FEW]>,
    many: IndexSet<IpAddr>,
}

impl Seen {
    fn is_new(&mut self, ip: IpAddr) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(ip);
        }
        if self.few.contains(&ip) {
            return false;
        }
        if self.few.len() == FEW {
            self.many.extend(self.few.drain(..));
            return self.many.insert(ip);
        }
        self.few.push(ip);
        true
    }
}
