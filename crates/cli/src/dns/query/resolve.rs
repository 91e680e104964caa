//! Names as a pod's resolver asks for them.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use podwire_cluster::{Cluster, ObjectName};
use podwire_dns::Server;
use podwire_dns::corefile::Machine;
use podwire_dns::message::{Request, presentation};
use podwire_dns::resolver::conf::{self, PodConf};
use podwire_dns::resolver::{self, Answer, Found, Resolution, ResolvConf, Resolver, Sent, Wanted};
use serde::Deserialize;
use serde_json::{Value, json};

use super::pod_of;
use crate::failure::Failure;

/// A line of `--resolve`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolveLine {
    /// Given back with the answer.
    #[serde(default)]
    id: Value,
    name: String,
    pod_ns: String,
    #[serde(default)]
    resolver: Option<String>,
    #[serde(default)]
    family: Option<String>,
    /// What a pod of that namespace searches, if not said.
    #[serde(default)]
    search: Option<Vec<String>>,
    #[serde(default)]
    ndots: Option<usize>,
}

impl ResolveLine {
    /// What the resolver sends to this server, and what comes of it.
    pub(super) fn resolve(&self, server: &Server, cluster: &Cluster) -> Result<Value, Failure> {
        let fault = |error| Failure::input(format_args!("{}: {error}", self.id));
        let resolver = self.resolver.as_deref().unwrap_or("glibc");
        let resolver: Resolver = resolver.parse().map_err(fault)?;
        let wanted = self
            .family
            .as_deref()
            .map_or(Ok(Wanted::default()), str::parse);
        let wanted = wanted.map_err(fault)?;
        let search = self.search.clone().unwrap_or_else(|| {
            let own = format!("{}.svc.cluster.local", self.pod_ns);
            vec![
                own,
                "svc.cluster.local".to_owned(),
                "cluster.local".to_owned(),
            ]
        });
        let conf = ResolvConf::new(search, self.ndots.unwrap_or(5));
        let client = pod_of(cluster, &self.pod_ns);
        let resolution = ask(server, client, &conf, resolver, &self.name, wanted);
        Ok(told(&self.id, &resolution))
    }
}

/// What a pod's resolver sends for a name, and what comes of it; with whatever is amiss with its
/// resolv.conf.
pub(super) fn of_pod(
    server: &Server,
    cluster: &Cluster,
    from: &str,
    resolver: Option<&str>,
    name: &str,
) -> Result<(PodConf, Resolution), Failure> {
    let fault = |why: &dyn std::fmt::Display| Failure::input(format_args!("--from {from}: {why}"));
    let parts: Vec<&str> = from.split('/').collect();
    let (namespace, pod) = match *parts {
        ["pod", pod] => ("default", pod),
        ["pod", namespace, pod] => (namespace, pod),
        _ => return Err(fault(&"accepted is pod/NAMESPACE/NAME")),
    };
    let pod = cluster.pods.get(&ObjectName::new(namespace, pod));
    let pod = pod.ok_or_else(|| fault(&"there is no such pod"))?;
    let resolver = resolver.unwrap_or("glibc").parse();
    let resolver = resolver.map_err(|e| Failure::input(format_args!("--resolver: {e}")))?;
    let node = ResolvConf::read(&Machine::default().resolv_conf);
    let found = conf::of_pod(cluster, pod, &node);
    let client = pod.ips.first().copied();
    let wanted = Wanted::default();
    let resolution = ask(server, client, &found.conf, resolver, name, wanted);
    Ok((found, resolution))
}

/// Resolves a name for a client of this server.
fn ask(
    server: &Server,
    client: Option<IpAddr>,
    conf: &ResolvConf,
    resolver: Resolver,
    name: &str,
    wanted: Wanted,
) -> Resolution {
    let mut ask = |name: &Name, qtype: RecordType| {
        let mut request = Request::new(name.clone(), qtype);
        request.client = client.unwrap_or(request.client);
        let reply = server.answer(&request, Duration::ZERO);
        Answer {
            // A resolver that waits in vain fails as it does for a server that fails.
            rcode: reply
                .as_ref()
                .map_or(ResponseCode::ServFail, |reply| reply.rcode),
            records: reply.map(|reply| reply.answers).unwrap_or_default(),
        }
    };
    resolver::resolve(conf, resolver, name, wanted, &mut ask)
}

/// The queries and the result, for people.
pub(super) fn write(
    (pod, resolution): &(PodConf, Resolution),
    out: &mut impl Write,
) -> Result<(), Failure> {
    write!(out, "{}", pod.conf)?;
    for warning in &pod.warnings {
        writeln!(out, "note: {warning}")?;
    }
    let width = resolution.sent.iter().map(|sent| sent.qname.len()).max();
    let width = width.unwrap_or(0);
    for sent in &resolution.sent {
        write!(out, "{:width$} ", sent.qname)?;
        for (qtype, outcome) in &sent.asked {
            write!(out, "  {} {outcome}", presentation::record_type(*qtype))?;
        }
        writeln!(out)?;
    }
    let queries = resolution.queries();
    writeln!(out, "{queries} queries: {}", resolution.found)?;
    Ok(())
}

pub(super) fn told(id: &Value, resolution: &Resolution) -> Value {
    let sent: Vec<_> = resolution.sent.iter().map(told_sent).collect();
    let result = match &resolution.found {
        Found::Addresses(addresses) => json!({ "addrs": addresses }),
        Found::Error(error) => json!({ "error": error.to_string() }),
        Found::Lines(lines) => json!({ "lines": lines }),
        Found::Exit(code) => json!({ "exit": code }),
    };
    json!({ "id": id, "sent": sent, "result": result })
}

fn told_sent(sent: &Sent) -> Value {
    let types = sent.asked.iter();
    let types: Vec<_> = types
        .map(|(qtype, _)| presentation::record_type(*qtype))
        .collect();
    let rcodes: Vec<_> = sent
        .asked
        .iter()
        .map(|(_, outcome)| outcome.to_string())
        .collect();
    json!({ "qname": sent.qname, "types": types, "rcodes": rcodes })
}
