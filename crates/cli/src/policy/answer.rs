//! An answer as a program reads it.

use podwire_cluster::Cluster;
use podwire_controlplane::network_policy::{Exemption, JudgedPolicy, Side, Traffic, Verdict};
use serde::Serialize;
use serde_json::Value;

use super::probe::Probe;

/// What policies say.
#[derive(Debug, Serialize)]
pub(super) struct Answered<'a> {
    id: &'a Value,
    allowed: bool,
    from: &'a str,
    /// The receiver; the endpoint where a Service was asked for.
    to: &'a str,
    /// Its port.
    port: u16,
    ingress: AnsweredSide,
    egress: AnsweredSide,
}

/// What they say at one end.
#[derive(Debug, Serialize)]
struct AnsweredSide {
    allowed: bool,
    /// The pod at that end; null where policies say nothing as there is none.
    pod: Option<String>,
    /// Whether policies isolate it.
    isolated: bool,
    /// Why policies do not count: `itself` or `own node`.
    exempt: Option<&'static str>,
    /// The policies that isolate it, whether or not they let this through.
    policies: Vec<AnsweredPolicy>,
}

#[derive(Debug, Serialize)]
struct AnsweredPolicy {
    /// `namespace/name`.
    name: String,
    /// `file:line`.
    source: Option<String>,
    /// Its rules, numbered from 0, that let this through.
    allowed_by: Vec<usize>,
}

impl<'a> Answered<'a> {
    pub(super) fn of(
        cluster: &Cluster,
        probe: &'a Probe,
        traffic: &Traffic<'_>,
        verdict: &Verdict<'_>,
    ) -> Self {
        let side = |side: &Side<'_>| AnsweredSide {
            allowed: side.allowed(),
            pod: side.pod.map(|pod| pod.meta.name.to_string()),
            isolated: !side.policies.is_empty(),
            exempt: side.exemption.map(|exemption| match exemption {
                Exemption::Itself => "itself",
                Exemption::OwnNode => "own node",
            }),
            policies: side
                .policies
                .iter()
                .map(|one| policy(cluster, one))
                .collect(),
        };
        Self {
            id: &probe.id,
            allowed: verdict.allowed(),
            from: &probe.from,
            to: &probe.to,
            port: traffic.port,
            ingress: side(&verdict.ingress),
            egress: side(&verdict.egress),
        }
    }
}

fn policy(cluster: &Cluster, judged: &JudgedPolicy<'_>) -> AnsweredPolicy {
    let meta = &judged.policy.meta;
    AnsweredPolicy {
        name: meta.name.to_string(),
        source: meta.source.map(|source| cluster.place(source).to_string()),
        allowed_by: judged.allowing().collect(),
    }
}
