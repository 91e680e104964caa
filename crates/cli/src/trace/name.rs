//! A trace to a name: what the pod's resolver asks, each question's way to CoreDNS, and then the
//! connection to what was found.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use podwire_cluster::Cluster;
use podwire_dns::Server;
use podwire_dns::corefile::Machine;
use podwire_dns::message::{Request, presentation};
use podwire_dns::resolver::conf::{self, PodConf};
use podwire_dns::resolver::{
    Answer as DnsAnswer, Ask, Found, Resolution, ResolvConf, Resolver, Wanted, resolve,
};
use podwire_packet::Protocol;
use podwire_sim::{Place, Query, Target, Trace, World};
use serde::Serialize;

use super::{json, text};
use crate::args::{Global, TextOrJson, TraceArgs};
use crate::failure::{Answer, Failure};

/// The port of name servers.
const DOMAIN: u16 = 53;

/// The name and the port behind `--to`, where it is of that form.
pub(super) fn parse(to: &str, namespace: &str) -> Option<(String, String)> {
    if Target::parse(to, namespace).is_ok() || to.contains(['/', '[', ']']) {
        return None;
    }
    let (name, port) = to.rsplit_once(':')?;
    // A last label of digits is an address that went wrong: there is no such top-level domain.
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    let is_name = last.bytes().any(|b| !b.is_ascii_digit())
        && podwire_dns::message::name(name).is_some()
        && !name.contains(':');
    (is_name && !port.is_empty()).then(|| (name.to_owned(), port.to_owned()))
}

/// What a pod's resolver did for a name.
struct Lookup {
    resolver: Resolver,
    pod: PodConf,
    resolution: Resolution,
    /// The way of the packets that asked for each name.
    ways: Vec<Trace>,
}

pub(super) fn run(
    global: &Global,
    args: &TraceArgs,
    cluster: &Cluster,
    world: &mut World<'_>,
    query: &Query,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let Some((name, _)) = parse(&args.to, &args.cluster.namespace) else {
        return Err(Failure::input(format_args!("--to {}: no name", args.to)));
    };
    let server = args.coredns.server(global, cluster, Vec::new())?;
    let lookup = look_up(global, args, cluster, world, &server, query, &name)?;
    let found = match &lookup.resolution.found {
        Found::Addresses(found) => found.first().copied(),
        Found::Error(_) | Found::Lines(_) | Found::Exit(_) => None,
    };
    let traces = match found {
        None => Vec::new(),
        Some(ip) => {
            let query = Query {
                to: Target {
                    place: Place::Address(ip),
                    port: query.to.port.clone(),
                },
                ..query.clone()
            };
            let traces = if args.all {
                world.trace_all(&query)
            } else {
                world.trace(&query, global.seed).map(|trace| vec![trace])
            };
            traces.map_err(Failure::input)?
        }
    };
    match args.output {
        TextOrJson::Text => {
            write_text(world, args, &name, &lookup, out)?;
            if !traces.is_empty() {
                writeln!(out)?;
                text::write(world, args, &traces, out)?;
            }
        }
        TextOrJson::Json => {
            let names = names_json(world, &lookup);
            json::write_named(world, args.all, &names, &traces, out)?;
        }
    }
    Ok((!traces.is_empty() && traces.iter().all(Trace::arrived)).into())
}

/// Resolves a name as the pod that sends does.
fn look_up(
    global: &Global,
    args: &TraceArgs,
    cluster: &Cluster,
    world: &mut World<'_>,
    server: &Server,
    query: &Query,
    name: &str,
) -> Result<Lookup, Failure> {
    let pod = match &query.from {
        Place::Pod(name) => cluster.pods.get(name),
        Place::Node(_) | Place::Service(_) | Place::Address(_) => {
            return Err(Failure::input(format_args!(
                "--to {}: only pods are known to resolve names; accepted is --from pod/NAMESPACE/NAME",
                args.to
            )));
        }
    };
    let Some(pod) = pod else {
        // The way to an address says which pods there are.
        let anywhere = Query {
            to: Target {
                place: Place::Address(IpAddr::from([192, 0, 2, 1])),
                port: Some("1".to_owned()),
            },
            ..query.clone()
        };
        let unknown = world.trace(&anywhere, global.seed).err();
        let why = unknown.map_or_else(|| "there is no such pod".to_owned(), |e| e.to_string());
        return Err(Failure::input(why));
    };
    let node = ResolvConf::read(&Machine::default().resolv_conf);
    let pod = conf::of_pod(cluster, pod, &node);
    let resolver = args.resolver.as_deref().unwrap_or("glibc");
    let resolver = resolver
        .parse()
        .map_err(|error| Failure::input(format_args!("--resolver: {error}")))?;
    let mut asker = Asker {
        world,
        server,
        from: query.from.clone(),
        nameserver: pod.conf.nameservers.first().copied(),
        sport: query.sport,
        seed: global.seed,
        ways: Vec::new(),
        last: None,
        failure: None,
    };
    let resolution = resolve(&pod.conf, resolver, name, Wanted::default(), &mut asker);
    if let Some(failure) = asker.failure {
        return Err(failure);
    }
    Ok(Lookup {
        resolver,
        ways: asker.ways,
        pod,
        resolution,
    })
}

/// Asks CoreDNS over the simulated network.
struct Asker<'a, 'w> {
    world: &'a mut World<'w>,
    server: &'a Server,
    from: Place,
    nameserver: Option<IpAddr>,
    /// Each name is asked for from a socket of its own, both types from one.
    sport: u16,
    seed: u64,
    ways: Vec<Trace>,
    last: Option<Name>,
    failure: Option<Failure>,
}

impl Asker<'_, '_> {
    /// The way of the packets that ask for a name; `None` if there is nobody to ask.
    fn way(&mut self, name: &Name) -> Option<&Trace> {
        if self.last.as_ref() != Some(name) {
            self.last = Some(name.clone());
            let number = u16::try_from(self.ways.len()).unwrap_or(u16::MAX);
            let query = Query {
                from: self.from.clone(),
                to: Target {
                    place: Place::Address(self.nameserver?),
                    port: Some(DOMAIN.to_string()),
                },
                protocol: Some(Protocol::UDP),
                sport: self.sport.wrapping_add(1).wrapping_add(number).max(1),
                length: None,
                via: None,
            };
            let seed = self.seed.wrapping_add(u64::from(number));
            match self.world.trace(&query, seed) {
                Ok(trace) => self.ways.push(trace),
                Err(error) => {
                    self.failure.get_or_insert(Failure::input(error));
                    return None;
                }
            }
        }
        self.ways.last()
    }
}

impl Ask for Asker<'_, '_> {
    fn ask(&mut self, name: &Name, qtype: RecordType) -> DnsAnswer {
        let client = self
            .way(name)
            .filter(|way| way.arrived())
            .map(|way| way.forward.arrived.src);
        let reply = client.and_then(|client| {
            let mut request = Request::new(name.clone(), qtype);
            request.client = client;
            self.server.answer(&request, Duration::ZERO)
        });
        DnsAnswer {
            // A resolver that waits in vain fails as it does for a server that fails.
            rcode: reply.as_ref().map_or(ResponseCode::ServFail, |r| r.rcode),
            records: reply.map_or_else(Vec::new, |reply| reply.answers),
        }
    }
}

fn write_text(
    world: &World<'_>,
    args: &TraceArgs,
    name: &str,
    lookup: &Lookup,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let conf = &lookup.pod.conf;
    writeln!(
        out,
        "{} asks for {name} as {} does:",
        args.from,
        lookup.resolver.name()
    )?;
    for line in conf.to_string().lines() {
        writeln!(out, "  {line}")?;
    }
    for warning in &lookup.pod.warnings {
        writeln!(out, "  note: {warning}")?;
    }
    let sent = &lookup.resolution.sent;
    let width = sent.iter().map(|sent| sent.qname.chars().count()).max();
    let width = width.unwrap_or(0);
    for (sent, way) in sent.iter().zip(&lookup.ways) {
        let asked: Vec<_> = sent
            .asked
            .iter()
            .map(|(kind, outcome)| format!("{} {outcome}", presentation::record_type(*kind)))
            .collect();
        let forward = &way.forward;
        let to = if way.arrived() {
            format!("{} at {}", forward.arrived, world.place_name(forward.at))
        } else {
            let end = forward.disposition.name();
            format!("no answer: {end} at {}", world.place_name(forward.at))
        };
        let asked = asked.join(", ");
        writeln!(
            out,
            "  {:width$}  {asked:26}  {} => {to}",
            sent.qname, forward.sent
        )?;
    }
    let queries = lookup.resolution.queries();
    let names = sent.len();
    let found = &lookup.resolution.found;
    writeln!(out, "  {queries} queries for {names} names: {found}")?;
    // The others go the same way, but for the pod that chance takes.
    if let (Some(sent), Some(first)) = (sent.first(), lookup.ways.first()) {
        writeln!(
            out,
            "\nthe first question, {}: {}",
            sent.qname, first.forward.sent
        )?;
        text::write_way(world, &first.forward, out)?;
        if let Some(reply) = &first.reply {
            writeln!(out, "the answer: {}", reply.sent)?;
            text::write_way(world, reply, out)?;
        }
    }
    Ok(())
}

/// What a program reads of a lookup.
#[derive(Debug, Serialize)]
pub(super) struct NamesJson {
    resolver: &'static str,
    nameservers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
    warnings: Vec<String>,
    sent: Vec<SentJson>,
    queries: usize,
    addresses: Vec<IpAddr>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct SentJson {
    qname: String,
    types: Vec<String>,
    rcodes: Vec<String>,
    way: json::TraceJson,
}

fn names_json(world: &World<'_>, lookup: &Lookup) -> NamesJson {
    let conf = lookup.pod.conf.clone();
    let sent = lookup.resolution.sent.iter().zip(&lookup.ways);
    let (addresses, error) = match &lookup.resolution.found {
        Found::Addresses(ips) => (ips.clone(), None),
        other @ (Found::Error(_) | Found::Lines(_) | Found::Exit(_)) => {
            (Vec::new(), Some(other.to_string()))
        }
    };
    NamesJson {
        resolver: lookup.resolver.name(),
        nameservers: conf.nameservers,
        search: conf.search,
        options: conf.options,
        warnings: lookup.pod.warnings.clone(),
        sent: sent
            .map(|(sent, way)| SentJson {
                qname: sent.qname.clone(),
                types: sent
                    .asked
                    .iter()
                    .map(|(kind, _)| presentation::record_type(*kind).to_string())
                    .collect(),
                rcodes: sent
                    .asked
                    .iter()
                    .map(|(_, outcome)| outcome.to_string())
                    .collect(),
                way: json::trace_json(world, way),
            })
            .collect(),
        queries: lookup.resolution.queries(),
        addresses,
        error,
    }
}
