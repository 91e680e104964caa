//! Names as a pod's resolver asks for them.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use podwire_cluster::Cluster;
use podwire_dns::Server;
use podwire_dns::message::{Request, presentation};
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
        let resolution = resolver::resolve(&conf, resolver, &self.name, wanted, &mut ask);
        Ok(told(&self.id, &resolution))
    }
}

fn told(id: &Value, resolution: &Resolution) -> Value {
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
