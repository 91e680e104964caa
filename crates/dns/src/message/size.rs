//! How long a reply is, and what is left out of one that is too long.
//!
//! Lengths are those that CoreDNS computes, so that the same records are left out; the bytes that
//! [`super::wire`] makes may be a little fewer, as names are compressed whenever they can be.
//!
//! # Sources
//! `Truncate`, `truncateLoop` (msg_truncate.go) and `domainNameLen`, `compressionLenSearch` (msg.go)
//! of miekg/dns; `Scrub`, request/request.go of CoreDNS.

use hickory_proto::rr::{Name, RData, Record};
use indexmap::IndexSet;

use super::{Reply, Request, presentation};

/// Bytes of a header.
const HEADER: usize = 12;
/// Bytes of an OPT record without options.
const OPT: usize = 11;
/// Offsets from here on cannot be pointed to.
const POINTER_REACH: usize = 1 << 14;

/// Leaves records out, from the end, until the reply fits the asker's buffer, and sets bit TC if
/// any had to go. Additional records go first, then authorities, then answers.
pub fn fit(reply: &mut Reply, request: &Request) {
    let limit = request.largest_reply();
    let opt = if request.edns.is_some() { OPT } else { 0 };
    // Names are at most 255 bytes, most data less: short replies need no counting.
    if plain(reply, request) + opt <= limit {
        return;
    }
    let limit = limit - opt;
    let mut names = Names::default();
    let mut length = HEADER + names.add(&request.name, HEADER, true) + 4;
    let mut kept = [0; 3];
    let sections = [&reply.answers, &reply.authorities, &reply.additionals];
    for (section, kept) in sections.into_iter().zip(&mut kept) {
        if length >= limit {
            break;
        }
        *kept = take(section, &mut length, limit, &mut names);
    }
    let [answers, authorities, additionals] = kept;
    reply.truncated |= answers < reply.answers.len()
        || authorities < reply.authorities.len()
        || additionals < reply.additionals.len();
    reply.answers.truncate(answers);
    reply.authorities.truncate(authorities);
    reply.additionals.truncate(additionals);
}

/// How many records of a section fit; `length` grows by theirs, and is the limit if one did not.
fn take(section: &[Record], length: &mut usize, limit: usize, names: &mut Names) -> usize {
    for (index, record) in section.iter().enumerate() {
        *length += names.record(record, *length);
        if *length > limit {
            *length = limit;
            return index;
        }
        if *length == limit {
            return index + 1;
        }
    }
    section.len()
}

/// Bytes of a reply without compression.
fn plain(reply: &Reply, request: &Request) -> usize {
    let records = reply.records().map(|record| {
        let data = match &record.data {
            RData::A(_) => 4,
            RData::AAAA(_) => 16,
            RData::CNAME(target) => name_length(&target.0),
            RData::SRV(srv) => 6 + name_length(&srv.target),
            RData::SOA(soa) => 20 + name_length(&soa.mname) + name_length(&soa.rname),
            other => presentation::encoded(other).len(),
        };
        name_length(&record.name) + 10 + data
    });
    HEADER + name_length(&request.name) + 4 + records.sum::<usize>()
}

/// Bytes of a name without compression.
fn name_length(name: &Name) -> usize {
    name.iter().map(|label| label.len() + 1).sum::<usize>() + 1
}

/// The names, and ends of names, that a later name can point to.
#[derive(Default)]
struct Names(IndexSet<Vec<u8>>);

impl Names {
    /// Bytes of a record that begins at this offset.
    fn record(&mut self, record: &Record, at: usize) -> usize {
        let owner = self.add(&record.name, at, true);
        let at = at + owner + 10;
        let data = match &record.data {
            RData::A(_) => 4,
            RData::AAAA(_) => 16,
            RData::CNAME(target) => self.add(&target.0, at, true),
            RData::NS(target) => self.add(&target.0, at, true),
            RData::PTR(target) => self.add(&target.0, at, true),
            RData::MX(mx) => 2 + self.add(&mx.exchange, at + 2, true),
            RData::SRV(srv) => 6 + self.add(&srv.target, at + 6, false),
            RData::SOA(soa) => {
                let mname = self.add(&soa.mname, at, true);
                20 + mname + self.add(&soa.rname, at + mname, true)
            }
            other => presentation::encoded(other).len(),
        };
        owner + 10 + data
    }

    /// Bytes of a name at this offset; what it adds can be pointed to from now on.
    fn add(&mut self, name: &Name, at: usize, compress: bool) -> usize {
        if !compress && at >= POINTER_REACH {
            return name_length(name);
        }
        let labels: Vec<_> = name.iter().collect();
        let mut before = 0;
        for (index, label) in labels.iter().enumerate() {
            // Case counts: a name in other letters is another one.
            let end = labels[index..].join(&b'.');
            if self.0.contains(&end) {
                return if compress {
                    before + 2
                } else {
                    name_length(name)
                };
            }
            if at + before < POINTER_REACH {
                self.0.insert(end);
            }
            before += label.len() + 1;
        }
        before + 1
    }
}
