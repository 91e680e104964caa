//! Plugins of a few lines: `any`, `minimal`, `whoami`, `chaos`, `local`.
//!
//! # Sources
//! plugin/any/any.go, plugin/minimal/minimal.go, plugin/whoami/whoami.go, plugin/chaos/chaos.go,
//! plugin/local/local.go; RFC 8482.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, HINFO, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::chain::{Handler, Next, Outcome};
use crate::corefile::ZoneName;
use crate::corefile::zone::longest;
use crate::message::kind::Kind;
use crate::message::{Reply, Request, Transport, as_text, name};

fn yes(answers: Vec<Record>) -> Outcome {
    Outcome::Written(Reply {
        answers,
        ..Reply::authoritative(ResponseCode::NoError)
    })
}

/// `any`: ANY has a short answer.
#[derive(Debug)]
pub(crate) struct Any;

impl Handler for Any {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        if request.qtype != RecordType::ANY {
            return next.serve(request);
        }
        let text = HINFO::new("ANY obsoleted".to_owned(), "See RFC 8482".to_owned());
        let data = RData::HINFO(text);
        yes(vec![Record::from_rdata(request.name.clone(), 8_482, data)])
    }
}

/// `minimal`: an answer that says yes has one section.
#[derive(Debug)]
pub(crate) struct Minimal;

impl Handler for Minimal {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        let outcome = next.serve(request);
        let Outcome::Written(mut reply) = outcome else {
            return outcome;
        };
        if Kind::of(&reply, request) == Kind::Yes {
            reply.authorities.clear();
            reply.additionals.clear();
        }
        Outcome::Written(reply)
    }
}

/// `whoami`: tells who asks, in the additional section.
#[derive(Debug)]
pub(crate) struct Whoami;

impl Handler for Whoami {
    fn serve(&self, request: &Request, _: Next<'_>) -> Outcome {
        let address = match request.client {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        let transport = match request.transport {
            Transport::Udp => "_udp",
            Transport::Tcp => "_tcp",
        };
        let srv = RData::SRV(SRV::new(0, 0, request.client_port, Name::root()));
        let below = format!("{transport}.{}", as_text(&request.name));
        let owner = name(below.trim_end_matches('.')).unwrap_or_else(Name::root);
        let mut reply = Reply::authoritative(ResponseCode::NoError);
        reply.additionals = vec![
            Record::from_rdata(request.name.clone(), 0, address),
            Record::from_rdata(owner, 0, srv),
        ];
        Outcome::Written(reply)
    }
}

/// `chaos`: version and authors in class CH.
#[derive(Debug)]
pub(crate) struct Chaos {
    pub(crate) version: String,
    pub(crate) authors: Vec<String>,
}

impl Handler for Chaos {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        if request.class != DNSClass::CH || request.qtype != RecordType::TXT {
            return next.serve(request);
        }
        let texts = match &*request.lower {
            "authors.bind." => self.authors.clone(),
            "version.bind." | "version.server." => vec![self.version.clone()],
            "hostname.bind." | "id.server." => vec!["localhost".to_owned()],
            _ => return next.serve(request),
        };
        let record = |text: String| {
            let data = RData::TXT(TXT::new(vec![text]));
            let mut record = Record::from_rdata(request.name.clone(), 0, data);
            record.dns_class = DNSClass::CH;
            record
        };
        Outcome::Written(Reply {
            answers: texts.into_iter().map(record).collect(),
            ..Reply::empty(ResponseCode::NoError)
        })
    }
}

/// `local`: names of localhost stay here.
#[derive(Debug)]
pub(crate) struct Local {
    zones: Vec<ZoneName>,
}

/// The TTL of its records, in seconds: a week.
const LOCAL_TTL: u32 = 604_800;

impl Local {
    pub(crate) fn new() -> Self {
        let zones = [
            "localhost",
            "0.in-addr.arpa",
            "127.in-addr.arpa",
            "255.in-addr.arpa",
        ];
        Self {
            zones: zones.map(ZoneName::new).into(),
        }
    }
}

impl Handler for Local {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        let lower = &*request.lower;
        let record = |owner: &Name, data| Record::from_rdata(owner.clone(), LOCAL_TTL, data);
        let localhost = || name("localhost").unwrap_or_else(Name::root);
        let address = match request.qtype {
            RecordType::A => Some(RData::A(A(Ipv4Addr::LOCALHOST))),
            RecordType::AAAA => Some(RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))),
            _ => None,
        };
        // What a search list makes of `localhost`.
        if lower != "localhost." && lower.starts_with("localhost.") {
            return match address {
                Some(data) => yes(vec![record(&request.name, data)]),
                None => yes(Vec::new()),
            };
        }
        let Some(zone) = longest(&self.zones, lower) else {
            return next.serve(request);
        };
        let zone = name(zone.as_str()).unwrap_or_else(Name::root);
        let root = name("root.localhost").unwrap_or_else(Name::root);
        let soa = record(
            &zone,
            RData::SOA(SOA::new(localhost(), root, 1, 0, 0, 0, LOCAL_TTL)),
        );
        let data = match request.qtype {
            RecordType::SOA if zone == request.name => Some(soa.data.clone()),
            RecordType::NS if zone == request.name => Some(RData::NS(NS(localhost()))),
            RecordType::PTR if lower == "1.0.0.127.in-addr.arpa." => {
                Some(RData::PTR(PTR(localhost())))
            }
            _ => address.filter(|_| lower == "localhost."),
        };
        let Some(data) = data else {
            let known = zone == request.name || lower == "1.0.0.127.in-addr.arpa.";
            let rcode = if known {
                ResponseCode::NoError
            } else {
                ResponseCode::NXDomain
            };
            return Outcome::Written(Reply {
                authorities: vec![soa],
                ..Reply::authoritative(rcode)
            });
        };
        yes(vec![record(&request.name, data)])
    }
}
