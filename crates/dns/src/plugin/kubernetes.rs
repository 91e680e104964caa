//! `kubernetes`: the names of the cluster.
//!
//! # Map
//! - [`Kubernetes`]: the handler: which kind of records a question asks for.
//! - [`addresses`]: A and AAAA records, and the aliases that lead to them.
//! - [`apex`]: SOA and NS records of the zone.
//! - [`srv`]: SRV records.
//!
//! # Departures
//! The zones of `multicluster` have no services: ServiceImport objects are not read.
//!
//! # Sources
//! plugin/kubernetes/{handler,kubernetes,autopath}.go, plugin/backend_lookup.go.

mod addresses;
mod apex;
mod srv;

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{CNAME, PTR, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::chain::{Behaviour, Handler, Next, Outcome, Turn};
use crate::corefile::zone::longest;
use crate::corefile::{Kubernetes as Config, PodMode};
use crate::message::{Reply, Request, name};
use crate::records::Records;
use crate::records::find::{Hit, HitOwner, NoSuchName, Rules, Target};
use crate::records::query;
use crate::records::reverse::{self, Owner};

/// What `dns-version` keeps for, in seconds: 8 hours. Source: `Services`, kubernetes.go.
const VERSION_TTL: u32 = 28_800;

/// The plugin.
#[derive(Debug)]
pub(crate) struct Kubernetes {
    config: Config,
    records: Records,
    behaviour: Behaviour,
    rules: Rules,
    /// The addresses that this CoreDNS listens on.
    local: Vec<IpAddr>,
    /// The SOA records of its zones, in lower case.
    soas: Vec<Record>,
}

/// A question within one of the plugin's zones.
#[derive(Clone, Copy)]
struct Asked<'a> {
    request: &'a Request,
    /// The zone, lower case, final dot.
    zone: &'a str,
    turn: Turn<'a>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The name does not exist.
    NoSuchName,
    /// The server fails.
    Failure,
}

impl From<NoSuchName> for Fault {
    fn from(_: NoSuchName) -> Self {
        Self::NoSuchName
    }
}

/// The records of an answer.
#[derive(Debug, Default)]
struct Found {
    answers: Vec<Record>,
    additionals: Vec<Record>,
    truncated: bool,
}

impl From<Vec<Record>> for Found {
    fn from(answers: Vec<Record>) -> Self {
        Self {
            answers,
            ..Self::default()
        }
    }
}

impl Asked<'_> {
    /// The zone in the letters of the question.
    fn zone_name(&self) -> Name {
        let labels = self.zone.bytes().filter(|&byte| byte == b'.').count();
        let labels = if self.zone == "." { 0 } else { labels };
        self.request.name.trim_to(labels)
    }

    /// Whether the zone itself is asked for.
    fn is_apex(&self) -> bool {
        &*self.request.lower == self.zone
    }
}

impl Kubernetes {
    pub(crate) fn new(
        config: Config,
        records: Records,
        behaviour: Behaviour,
        local: Vec<IpAddr>,
    ) -> Self {
        let rules = Rules {
            pods: config.pods,
            ignore_empty: config.ignore_empty_service,
            wildcards: behaviour.wildcards,
            dual_stack: behaviour.dual_stack,
            external_ports: behaviour.external_ports,
        };
        let zones = config.zones.iter().filter_map(|zone| name(zone.as_str()));
        let soas = zones.map(|zone| apex::soa(&zone, config.ttl)).collect();
        Self {
            config,
            records,
            behaviour,
            rules,
            local,
            soas,
        }
    }

    /// The search list of the pod that asks, in the zone asked about; `None` if no pod is known.
    pub(crate) fn search_list(&self, request: &Request) -> Option<Vec<String>> {
        let zone = longest(&self.config.zones, &request.lower)?.as_str();
        if self.config.pods != PodMode::Verified {
            return None;
        }
        let namespace = self.records.namespace_of_pod(request.client)?;
        let below = if zone == "." { "" } else { zone };
        Some(vec![
            format!("{namespace}.svc.{below}"),
            format!("svc.{below}"),
            zone.to_owned(),
        ])
    }

    fn found(&self, asked: Asked<'_>) -> Result<Found, Fault> {
        match asked.request.qtype {
            qtype @ (RecordType::A | RecordType::AAAA) => self.addresses(asked, qtype, &[]),
            RecordType::SRV => self.services(asked),
            RecordType::PTR => self.names_of_address(asked).map(Found::from),
            RecordType::CNAME => self.alias(asked).map(Found::from),
            RecordType::TXT => self.text(asked).map(Found::from),
            RecordType::SOA if asked.is_apex() || self.behaviour.soa_below_apex => {
                Ok(vec![self.soa(&asked.zone_name())].into())
            }
            RecordType::SOA => Ok(Found::default()),
            RecordType::NS if asked.is_apex() => Ok(self.name_servers(asked)),
            RecordType::NS if self.behaviour.any_name_without_servers => Ok(Found::default()),
            // No service is a mail server.
            RecordType::MX => self.exists(asked).map(|()| Found::default()),
            // Whether the name exists is what an A record would tell.
            _ => self
                .addresses(asked, RecordType::A, &[])
                .map(|_| Found::default()),
        }
    }

    /// Tells `visit` what the name stands for.
    fn hits<'k>(&'k self, asked: Asked<'_>, visit: &mut impl FnMut(Hit<'k>)) -> Result<(), Fault> {
        if self.is_default_name_server(asked) {
            for (owner, ip) in self.own_services() {
                visit(Hit {
                    target: Target::Ip(ip),
                    owner,
                    port: Some(0),
                });
            }
            return Ok(());
        }
        let below = below(&asked.request.lower, asked.zone);
        let query = query::parse(below).map_err(|_| Fault::NoSuchName)?;
        Ok(self.records.find(query, self.rules, visit)?)
    }

    fn exists(&self, asked: Asked<'_>) -> Result<(), Fault> {
        self.hits(asked, &mut |_| {})
    }

    /// The alias that the name is, if it is one.
    fn alias(&self, asked: Asked<'_>) -> Result<Vec<Record>, Fault> {
        let mut first = None;
        self.hits(asked, &mut |hit| first = first.or(Some(hit.target)))?;
        let alias = match first {
            Some(Target::Name(name)) => vec![self.cname(asked.request, name)],
            Some(Target::Ip(_)) | None => Vec::new(),
        };
        Ok(alias)
    }

    fn cname(&self, request: &Request, target: &Name) -> Record {
        self.record(&request.name, RData::CNAME(CNAME(target.clone())))
    }

    /// `dns-version` has a text; other names have none, whether they exist or not.
    fn text(&self, asked: Asked<'_>) -> Result<Vec<Record>, Fault> {
        if below(&asked.request.lower, asked.zone) == "dns-version" {
            let text = TXT::new(vec![self.behaviour.schema.to_owned()]);
            let name = asked.request.name.clone();
            return Ok(vec![Record::from_rdata(
                name,
                VERSION_TTL,
                RData::TXT(text),
            )]);
        }
        if self.behaviour.any_name_without_text {
            return Ok(Vec::new());
        }
        let mut any = false;
        self.hits(asked, &mut |_| any = true)?;
        any.then(Vec::new).ok_or(Fault::NoSuchName)
    }

    fn names_of_address(&self, asked: Asked<'_>) -> Result<Vec<Record>, Fault> {
        let Some(ip) = reverse::address(&asked.request.lower) else {
            return self.exists(asked).map(|()| Vec::new());
        };
        let mut names: Vec<Name> = Vec::new();
        let mut owners = self.records.owners(ip);
        if !self.behaviour.all_names_of_an_address {
            owners.truncate(1);
        }
        let zone = self.config.zones.get(self.config.primary);
        let zone = zone.map_or(".", |zone| zone.as_str());
        for owner in owners {
            let owner = match owner {
                Owner::Service(service) => HitOwner::Service(service),
                Owner::Endpoint(endpoint) => HitOwner::Endpoint(endpoint),
            };
            if let Some(name) = name(&service_name(owner, zone))
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(Fault::NoSuchName);
        }
        let ptr = |name| self.record(&asked.request.name, RData::PTR(PTR(name)));
        Ok(names.into_iter().map(ptr).collect())
    }

    fn record(&self, name: &Name, data: RData) -> Record {
        Record::from_rdata(name.clone(), self.config.ttl, data)
    }
}

impl Handler for Kubernetes {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        let Some(zone) = longest(&self.config.zones, &request.lower) else {
            return next.serve(request);
        };
        if matches!(request.qtype, RecordType::AXFR | RecordType::IXFR) {
            return Outcome::Unwritten(ResponseCode::Refused);
        }
        let asked = Asked {
            request,
            zone: zone.as_str(),
            turn: next.turn(),
        };
        let no = |rcode| {
            Outcome::Written(Reply {
                authorities: vec![self.soa(&asked.zone_name())],
                ..Reply::authoritative(rcode)
            })
        };
        match self.found(asked) {
            Err(Fault::NoSuchName) if self.config.fallthrough.through(&request.lower) => {
                next.serve(request)
            }
            Err(Fault::NoSuchName) => no(ResponseCode::NXDomain),
            Err(Fault::Failure) => Outcome::Unwritten(ResponseCode::ServFail),
            Ok(found) if found.answers.is_empty() => no(ResponseCode::NoError),
            Ok(found) => Outcome::Written(Reply {
                answers: found.answers,
                additionals: found.additionals,
                truncated: found.truncated,
                ..Reply::authoritative(ResponseCode::NoError)
            }),
        }
    }
}

/// The part of a name before its zone, without the dot between.
fn below<'n>(name: &'n str, zone: &str) -> &'n str {
    let zone = if zone == "." { "" } else { zone };
    let below = name.strip_suffix(zone).unwrap_or(name);
    below.strip_suffix('.').unwrap_or(below)
}

/// The name of a service or of one of its endpoints.
fn service_name(owner: HitOwner<'_>, zone: &str) -> String {
    let zone = if zone == "." { "" } else { zone };
    let (label, service) = match owner {
        HitOwner::Service(service) => (None, service),
        HitOwner::Endpoint(endpoint) => (Some(endpoint.label()), endpoint.service),
    };
    let (label, dot) = label.as_deref().map_or(("", ""), |label| (label, "."));
    let of = &service.name;
    format!("{label}{dot}{}.{}.svc.{zone}", of.name, of.namespace)
}
