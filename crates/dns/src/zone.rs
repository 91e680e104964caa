//! Zones from master files, answered as CoreDNS's plugin `file` answers them.
//!
//! # Map
//! - [`Zone`]: the records of a zone; [`Zone::lookup`] answers from them.
//! - [`master`]: the text of a master file.
//! - [`data`]: the data of a record, from words.
//!
//! # Departures
//! No DNSSEC: RRSIG, NSEC and DS records are not added for an asker who sets bit DO; DS records are
//! given to who asks for them. DNAME records
//! are read as data of an unknown type and not followed.
//!
//! # Sources
//! plugin/file/{lookup,zone,file,wildcard}.go and plugin/file/tree of CoreDNS; RFC 1034 section
//! 4.3.2, RFC 4592.

pub mod data;
pub mod master;

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::message::{Reply, Request, lower, name};

pub use master::ZoneError;

/// How many CNAMEs are followed inside a zone. Source: `externalLookup`, plugin/file/lookup.go.
const LONGEST_CHAIN: usize = 8;

/// What becomes of capital letters in the names of a zone's SRV records. Others are in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// They stay (RFC 6763 section 4.1.1).
    Kept,
    /// They are small letters.
    Lower,
}

/// A zone: names and their records.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The zone's name in lower case.
    origin: String,
    soa: Record,
    /// NS records of the zone itself.
    ns: Vec<Record>,
    /// Records by name in lower case, in the order of the file.
    records: BTreeMap<String, Vec<Record>>,
    /// Names that have none, but of which something below has.
    empty: BTreeSet<String>,
}

impl Zone {
    /// A zone of these records.
    ///
    /// # Errors
    /// If no SOA record is among them, or one is outside of the zone.
    pub fn new(origin: Option<&Name>, all: Vec<Record>, case: Case) -> Result<Self, ZoneFault> {
        let soa = all
            .iter()
            .find(|record| record.record_type() == RecordType::SOA)
            .ok_or(ZoneFault::NoSoa)?
            .clone();
        let origin = lower(origin.unwrap_or(&soa.name));
        let mut zone = Self {
            soa: in_lower_case(soa),
            ns: Vec::new(),
            records: BTreeMap::new(),
            empty: BTreeSet::new(),
            origin,
        };
        for record in all {
            let is_kept = case == Case::Kept && record.record_type() == RecordType::SRV;
            zone.insert(if is_kept {
                record
            } else {
                in_lower_case(record)
            })?;
        }
        Ok(zone)
    }

    /// The zone's name, in lower case and with its final dot.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether the zone holds this name (lower case, with its final dot).
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.below(name).is_some()
    }

    fn insert(&mut self, record: Record) -> Result<(), ZoneFault> {
        let owner = lower(&record.name);
        let Some(below) = self.below(&owner) else {
            return Err(ZoneFault::Outside {
                name: owner,
                origin: self.origin.clone(),
            });
        };
        match record.record_type() {
            RecordType::SOA => {}
            RecordType::NS if owner == self.origin => self.ns.push(record),
            _ => {
                for above in below_in_turn(below, &self.origin) {
                    self.empty.insert(above);
                }
                self.records.entry(owner).or_default().push(record);
            }
        }
        Ok(())
    }

    /// The labels of a name that stand before the zone's own, without the dot between.
    fn below<'n>(&self, name: &'n str) -> Option<&'n str> {
        if self.origin == "." {
            return Some(name.strip_suffix('.').unwrap_or(name));
        }
        let rest = name.strip_suffix(self.origin.as_str())?;
        if rest.is_empty() {
            return Some(rest);
        }
        rest.strip_suffix('.')
    }

    /// Answers from the zone. `elsewhere` looks up what a CNAME leads to outside of it.
    pub fn lookup(
        &self,
        request: &Request,
        elsewhere: &mut dyn FnMut(&Name, RecordType) -> Option<Reply>,
    ) -> Reply {
        let (qname, qtype) = (&*request.lower, request.qtype);
        if qname == self.origin && qtype == RecordType::SOA {
            return self.yes(vec![self.soa.clone()]);
        }
        if qname == self.origin && qtype == RecordType::NS {
            let mut reply = Reply::authoritative(ResponseCode::NoError);
            reply.answers.clone_from(&self.ns);
            reply.additionals = self.glue(&self.ns);
            return reply;
        }
        let mut wild = None;
        let below = self.below(qname).unwrap_or_default();
        for part in below_in_turn(below, &self.origin) {
            if let Some(records) = self.records.get(&part) {
                let ns = of_type(records, RecordType::NS);
                // Of the DS records at a delegation the parent is the authority.
                let asks_parent = qtype == RecordType::DS && part == qname;
                if !ns.is_empty() && !asks_parent {
                    let mut reply = Reply::empty(ResponseCode::NoError);
                    reply.additionals = self.glue(&ns);
                    reply.authorities = ns;
                    return reply;
                }
            } else if let Some(records) = self.records.get(&with_asterisk(&part)) {
                wild = Some(records);
            }
        }
        if let Some(records) = self.records.get(qname) {
            return self.answer(records.clone(), qtype, elsewhere);
        }
        if qname == self.origin {
            return self.no(ResponseCode::NoError);
        }
        if let Some(records) = wild
            && let Some(owner) = name(qname)
        {
            let mut expanded = records.clone();
            for record in &mut expanded {
                record.name = owner.clone();
            }
            return self.answer(expanded, qtype, elsewhere);
        }
        if self.empty.contains(qname) {
            return self.no(ResponseCode::NoError);
        }
        self.no(ResponseCode::NXDomain)
    }

    /// The answer where a name has these records.
    fn answer(
        &self,
        records: Vec<Record>,
        qtype: RecordType,
        elsewhere: &mut dyn FnMut(&Name, RecordType) -> Option<Reply>,
    ) -> Reply {
        let aliases = of_type(&records, RecordType::CNAME);
        if !aliases.is_empty() && qtype != RecordType::CNAME {
            return self.follow(aliases, qtype, elsewhere);
        }
        let found = of_type(&records, qtype);
        if found.is_empty() {
            return self.no(ResponseCode::NoError);
        }
        let mut reply = self.yes(found);
        for record in &reply.answers {
            let target = match &record.data {
                RData::SRV(srv) => &srv.target,
                RData::MX(mx) => &mx.exchange,
                _ => continue,
            };
            reply.additionals.extend(self.addresses(target));
        }
        reply
    }

    /// Follows a CNAME, inside the zone as far as it goes, then outside.
    fn follow(
        &self,
        mut chain: Vec<Record>,
        qtype: RecordType,
        elsewhere: &mut dyn FnMut(&Name, RecordType) -> Option<Reply>,
    ) -> Reply {
        let mut rcode = ResponseCode::NoError;
        for _ in 0..=LONGEST_CHAIN {
            let Some(RData::CNAME(target)) = chain.last().map(|record| record.data.clone()) else {
                break;
            };
            let Some(records) = self.records.get(&lower(&target.0)) else {
                match elsewhere(&target.0, qtype) {
                    Some(reply) => {
                        rcode = reply.rcode;
                        chain.extend(reply.answers);
                    }
                    None => rcode = ResponseCode::ServFail,
                }
                break;
            };
            let next = of_type(records, RecordType::CNAME);
            if next.is_empty() {
                chain.extend(of_type(records, qtype));
                break;
            }
            chain.extend(next);
        }
        let mut reply = self.yes(chain);
        reply.rcode = rcode;
        reply
    }

    fn yes(&self, answers: Vec<Record>) -> Reply {
        Reply {
            answers,
            authorities: self.ns.clone(),
            ..Reply::authoritative(ResponseCode::NoError)
        }
    }

    fn no(&self, rcode: ResponseCode) -> Reply {
        Reply {
            authorities: vec![self.soa.clone()],
            ..Reply::authoritative(rcode)
        }
    }

    fn glue(&self, ns: &[Record]) -> Vec<Record> {
        let targets = ns.iter().filter_map(|record| match &record.data {
            RData::NS(target) => Some(&target.0),
            _ => None,
        });
        targets.flat_map(|target| self.addresses(target)).collect()
    }

    /// A and AAAA records of a name in the zone.
    fn addresses(&self, of: &Name) -> Vec<Record> {
        let records = self.records.get(&lower(of)).map(Vec::as_slice);
        let records = records.unwrap_or_default();
        let mut found = of_type(records, RecordType::A);
        found.extend(of_type(records, RecordType::AAAA));
        found
    }
}

/// What is wrong with a zone's records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZoneFault {
    /// There is no SOA record.
    #[error("the zone has no SOA record")]
    NoSoa,
    /// A record is outside of the zone.
    #[error("`{name}` is outside of the zone `{origin}`")]
    Outside {
        /// The record's name.
        name: String,
        /// The zone's.
        origin: String,
    },
}

/// The names from just below the origin down to the whole, for the labels before the origin.
fn below_in_turn(below: &str, origin: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = below.len();
    while at > 0 {
        at = last_dot(&below[..at]).unwrap_or(0);
        let labels = below[at..].trim_start_matches('.');
        names.push(if origin == "." {
            format!("{labels}.")
        } else {
            format!("{labels}.{origin}")
        });
    }
    names
}

/// The last dot that is not part of a label.
fn last_dot(text: &str) -> Option<usize> {
    text.rmatch_indices('.')
        .map(|(at, _)| at)
        .find(|&at| !text[..at].ends_with('\\'))
}

/// The name with its first label replaced by `*`.
fn with_asterisk(name: &str) -> String {
    let dot = name
        .match_indices('.')
        .map(|(at, _)| at)
        .find(|&at| !name[..at].ends_with('\\'));
    format!("*{}", &name[dot.unwrap_or(0)..])
}

fn of_type(records: &[Record], record_type: RecordType) -> Vec<Record> {
    let matching = records.iter().filter(|r| r.record_type() == record_type);
    matching.cloned().collect()
}

/// A record with its names in lower case, as `Insert` of plugin/file/zone.go keeps them.
fn in_lower_case(mut record: Record) -> Record {
    record.name = record.name.to_lowercase();
    match &mut record.data {
        RData::NS(target) => target.0 = target.0.to_lowercase(),
        RData::CNAME(target) => target.0 = target.0.to_lowercase(),
        RData::MX(mx) => mx.exchange = mx.exchange.to_lowercase(),
        RData::SRV(srv) => srv.target = srv.target.to_lowercase(),
        RData::SOA(soa) => {
            soa.mname = soa.mname.to_lowercase();
            soa.rname = soa.rname.to_lowercase();
        }
        _ => {}
    }
    record
}
