//! `podwire dns query`: what CoreDNS answers.

mod dig;
mod json;
mod resolve;

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use podwire_cluster::Cluster;
use podwire_dns::Server;
use podwire_dns::message::presentation::parse_record_type;
use podwire_dns::message::{self, Edns, Reply, Request, Transport};
use serde::Deserialize;
use serde_json::{Value, json};

use super::server::ServerArgs;
use crate::args::Global;
use crate::failure::{Answer, Failure};
use crate::files::read_objects;
use crate::jsonl::{self, Line};

/// The datagram that a question offers to take, unless it says otherwise.
const PAYLOAD: u16 = 4_096;

/// `podwire dns query`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("asked").required(true))]
#[command(after_help = "\
A line of --queries has id, qname, qtype, and may have from_ip, from_pod_ns, edns (bytes; 0: none) and
transport (udp, tcp); each is asked of a server that has just started. A line of --sequences has id and
steps of at_s (seconds), qname, qtype and from_ip: one server over time. A line of --resolve has id,
name, pod_ns, resolver (glibc, musl, dig+search, nslookup-bind, busybox-nslookup), family (A, AAAA,
A+AAAA), search and ndots; the answer lists the queries sent. Exit code 1: NAME has no such record, or
does not exist.

Examples:
  podwire dns query -f models/two-node.ron web-service.apps.svc.cluster.local
  podwire dns query -f models/two-node.ron _dns._udp.kube-dns.kube-system.svc.cluster.local SRV
  podwire dns query -f models/two-node.ron --upstream-zone models/dns/example.com.zone www.example.com")]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The name; an address stands for its reverse name
    #[arg(group = "asked")]
    name: Option<String>,
    /// The type; A if not said, PTR for an address
    #[arg(value_name = "TYPE", requires = "name")]
    qtype: Option<String>,
    /// The pod whose resolver looks NAME up: its search list, every query that it sends
    #[arg(
        long,
        value_name = "pod/NAMESPACE/NAME",
        requires = "name",
        conflicts_with = "qtype"
    )]
    from: Option<String>,
    /// That pod's resolver: glibc, musl, dig+search, nslookup-bind or busybox-nslookup
    #[arg(long, value_name = "NAME", requires = "from")]
    resolver: Option<String>,
    /// Questions, a JSON object a line
    #[arg(long, value_name = "FILE", group = "asked")]
    queries: Option<PathBuf>,
    /// Names to resolve as pods do, a JSON object a line
    #[arg(long, value_name = "FILE", group = "asked")]
    resolve: Option<PathBuf>,
    /// Questions over time, a JSON object a line
    #[arg(long, value_name = "FILE", group = "asked")]
    sequences: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "dig")]
    output: QueryOutput,
}

/// How `query` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum QueryOutput {
    /// As dig prints it; for one question.
    Dig,
    /// A JSON object a line.
    Json,
}

/// A line of `--queries`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryLine {
    /// Given back with the answer.
    #[serde(default)]
    id: Value,
    qname: String,
    #[serde(default)]
    qtype: Option<String>,
    #[serde(default)]
    from_ip: Option<IpAddr>,
    #[serde(default)]
    from_pod_ns: Option<String>,
    #[serde(default)]
    edns: Option<u16>,
    #[serde(default)]
    transport: Carrier,
}

/// A line of `--sequences`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SequenceLine {
    #[serde(default)]
    id: Value,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at_s: f64,
    #[serde(flatten)]
    query: StepQuery,
}

#[derive(Debug, Deserialize)]
struct StepQuery {
    qname: String,
    #[serde(default)]
    qtype: Option<String>,
    #[serde(default)]
    from_ip: Option<IpAddr>,
}

/// `transport` of a line.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Carrier {
    #[default]
    Udp,
    Tcp,
}

pub(super) fn run(
    global: &Global,
    args: &QueryArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let cluster = read_objects(global, &args.server.filename)?;
    let server = args.server.server(global, &cluster, Vec::new())?;
    if let Some(path) = &args.queries {
        for Line { value: line, .. } in
            jsonl::read_with::<QueryLine>(path, "a question", "not a question: ")?
        {
            let request = line.request(&cluster)?;
            server.restart();
            let reply = server.answer(&request, Duration::ZERO);
            writeln!(out, "{}", json::answer(&line.id, reply.as_ref()))?;
        }
        return Ok(Answer::Yes);
    }
    if let Some(path) = &args.sequences {
        for Line { value: line, .. } in
            jsonl::read_with::<SequenceLine>(path, "a sequence", "not a sequence: ")?
        {
            let steps = sequence(&server, &line)?;
            writeln!(out, "{}", json!({ "id": line.id, "steps": steps }))?;
        }
        return Ok(Answer::Yes);
    }
    if let Some(path) = &args.resolve {
        for Line { value: line, .. } in jsonl::read_with::<resolve::ResolveLine>(
            path,
            "a name to resolve",
            "not a name to resolve: ",
        )? {
            server.restart();
            writeln!(out, "{}", line.resolve(&server, &cluster)?)?;
        }
        return Ok(Answer::Yes);
    }
    let name = args.name.as_deref().unwrap_or_default();
    if let Some(from) = &args.from {
        let found = resolve::of_pod(&server, &cluster, from, args.resolver.as_deref(), name)?;
        match args.output {
            QueryOutput::Json => writeln!(out, "{}", resolve::told(&Value::Null, &found.1))?,
            QueryOutput::Dig => resolve::write(&found, out)?,
        }
        return Ok(found.1.is_success().into());
    }
    let request = request(name, args.qtype.as_deref())?;
    let reply = server.answer(&request, Duration::ZERO);
    match args.output {
        QueryOutput::Json => writeln!(out, "{}", json::answer(&Value::Null, reply.as_ref()))?,
        QueryOutput::Dig => dig::write(&request, reply.as_ref(), out)?,
    }
    let yes = |reply: &Reply| {
        reply.rcode == ResponseCode::NoError && (reply.truncated || !reply.answers.is_empty())
    };
    Ok(reply.as_ref().is_some_and(yes).into())
}

/// What one server answers over time.
fn sequence(server: &Server, line: &SequenceLine) -> Result<Vec<Value>, Failure> {
    server.restart();
    let mut steps = Vec::with_capacity(line.steps.len());
    for step in &line.steps {
        let at = Duration::try_from_secs_f64(step.at_s).map_err(|error| {
            Failure::input(format_args!("{}: at_s {}: {error}", line.id, step.at_s))
        })?;
        let mut request = request(&step.query.qname, step.query.qtype.as_deref())?;
        if let Some(ip) = step.query.from_ip {
            request.client = ip;
        }
        let reply = server.answer(&request, at);
        steps.push(json::answer(&Value::Null, reply.as_ref()));
    }
    Ok(steps)
}

impl QueryLine {
    fn request(&self, cluster: &Cluster) -> Result<Request, Failure> {
        let mut request = request(&self.qname, self.qtype.as_deref())?;
        let of_pod = || pod_of(cluster, self.from_pod_ns.as_deref()?);
        if let Some(ip) = self.from_ip.or_else(of_pod) {
            request.client = ip;
        }
        request.transport = match self.transport {
            Carrier::Udp => Transport::Udp,
            Carrier::Tcp => Transport::Tcp,
        };
        match self.edns {
            Some(0) => request.edns = None,
            Some(payload) => request.edns = edns(payload),
            None => {}
        }
        Ok(request)
    }
}

/// The address of a pod of a namespace: the first that has one.
fn pod_of(cluster: &Cluster, namespace: &str) -> Option<IpAddr> {
    let pods = cluster.pods.values();
    let mut of_namespace = pods.filter(|pod| &*pod.meta.name.namespace == namespace);
    of_namespace.find_map(|pod| pod.ips.first().copied())
}

fn edns(payload: u16) -> Option<Edns> {
    Some(Edns {
        payload,
        dnssec_ok: false,
    })
}

/// The question about a name, or about the name of an address.
fn request(name: &str, qtype: Option<&str>) -> Result<Request, Failure> {
    let (name, default) = match name.parse::<IpAddr>() {
        Ok(ip) => (Name::from(ip), RecordType::PTR),
        Err(_) => {
            let parsed = message::name(name).ok_or_else(|| {
                Failure::input(format_args!(
                    "`{name}` is not a name: accepted are labels of at most 63 bytes, with dots between, 255 in all"
                ))
            })?;
            (parsed, RecordType::A)
        }
    };
    let qtype = match qtype {
        None => default,
        Some(text) => parse_record_type(text).ok_or_else(|| {
            Failure::input(format_args!(
                "`{text}` is not a type: accepted are A, AAAA, SRV, PTR, CNAME, TXT, … and TYPE65280"
            ))
        })?,
    };
    let mut request = Request::new(name, qtype);
    request.edns = edns(PAYLOAD);
    Ok(request)
}
