//! `hosts`: names from a file in the form of `/etc/hosts`.
//!
//! # Departures
//! The file is read once, at the start.
//!
//! # Sources
//! plugin/hosts/{hosts,hostsfile}.go.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use indexmap::IndexMap;

use crate::chain::{Handler, Next, Outcome};
use crate::corefile::plugin::Hosts as Config;
use crate::corefile::zone::longest;
use crate::corefile::{Fallthrough, ZoneName};
use crate::message::{Reply, Request, lower, name};
use crate::records::reverse;

/// The plugin.
#[derive(Debug)]
pub(crate) struct Hosts {
    zones: Vec<ZoneName>,
    fallthrough: Fallthrough,
    ttl: u32,
    by_name: IndexMap<String, Vec<IpAddr>>,
    by_address: IndexMap<IpAddr, Vec<Name>>,
}

impl Hosts {
    /// The lines of the file, then those between the braces.
    pub(crate) fn new(config: &Config, file: &str) -> Self {
        let mut hosts = Self {
            zones: config.zones.clone(),
            fallthrough: config.fallthrough.clone(),
            ttl: config.ttl,
            by_name: IndexMap::new(),
            by_address: IndexMap::new(),
        };
        let inline = config.inline.iter().map(String::as_str);
        for line in file.lines().chain(inline) {
            hosts.line(line, config.reverse);
        }
        hosts
    }

    /// Adds a line; what is not an address and names counts as a comment, as in CoreDNS.
    fn line(&mut self, line: &str, reverse: bool) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next().unwrap_or_default();
        // A zone, as in `fe80::1%eth0`, is dropped.
        let address = address.split('%').next().unwrap_or_default();
        let Ok(ip) = address.parse::<IpAddr>() else {
            return;
        };
        for host in words.filter_map(name) {
            let key = lower(&host);
            if longest(&self.zones, &key).is_none() {
                continue;
            }
            self.by_name.entry(key).or_default().push(ip);
            if reverse {
                let names = self.by_address.entry(ip).or_default();
                names.push(host.to_lowercase());
            }
        }
    }

    fn answers(&self, request: &Request) -> Vec<Record> {
        let addresses = self.by_name.get(&*request.lower);
        let addresses = addresses.into_iter().flatten();
        let data: Vec<RData> = match request.qtype {
            RecordType::A | RecordType::AAAA => addresses
                .filter_map(|&ip| match (ip, request.qtype) {
                    (IpAddr::V4(ip), RecordType::A) => Some(RData::A(A(ip))),
                    (IpAddr::V6(ip), RecordType::AAAA) => Some(RData::AAAA(AAAA(ip))),
                    _ => None,
                })
                .collect(),
            RecordType::PTR => {
                let ip = reverse::address(&request.lower);
                let names = ip.and_then(|ip| self.by_address.get(&ip));
                let names = names.into_iter().flatten();
                names.map(|name| RData::PTR(PTR(name.clone()))).collect()
            }
            _ => Vec::new(),
        };
        let record = |data| Record::from_rdata(request.name.to_lowercase(), self.ttl, data);
        data.into_iter().map(record).collect()
    }
}

impl Handler for Hosts {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        let is_ptr = request.qtype == RecordType::PTR;
        if longest(&self.zones, &request.lower).is_none() && !is_ptr {
            return next.serve(request);
        }
        let answers = self.answers(request);
        if answers.is_empty() {
            if is_ptr {
                return next.serve(request);
            }
            if !self.by_name.contains_key(&*request.lower) {
                if self.fallthrough.through(&request.lower) {
                    return next.serve(request);
                }
                // There is no SOA record that an NXDOMAIN would need.
                return Outcome::Unwritten(ResponseCode::ServFail);
            }
        }
        Outcome::Written(Reply {
            answers,
            ..Reply::authoritative(ResponseCode::NoError)
        })
    }
}
