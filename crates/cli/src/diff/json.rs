//! Differences as JSON.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use podwire_analysis::{Class, Fate};
use podwire_packet::socket;
use podwire_sim::{Refusal, World};
use serde::Serialize;

use super::Report;
use super::example::{command, decided, place};
use super::text::{named_reasons, reason_of};
use crate::failure::Failure;

#[derive(Debug, Serialize)]
struct DiffJson<'a> {
    sides: Vec<&'a str>,
    different: bool,
    packets: usize,
    packets_differing: usize,
    classes: Vec<ClassJson<'a>>,
    /// Ports that no Service has; not a difference.
    unserved: Vec<ClassJson<'a>>,
    refused: Vec<RefusedJson<'a>>,
    reasons: Vec<ReasonJson>,
}

#[derive(Debug, Serialize)]
struct ClassJson<'a> {
    /// The first side, and the one that differs from it.
    sides: [&'a str; 2],
    service: String,
    object: Option<String>,
    destination: &'static str,
    served: bool,
    ports: Vec<PortJson<'a>>,
    senders: Vec<&'static str>,
    nodes: Vec<&'a str>,
    packets: usize,
    reasons: Vec<&'static str>,
    changes: Vec<ChangeJson<'a>>,
    outcomes: Vec<OutcomeJson<'a>>,
    example: ExampleJson,
}

#[derive(Debug, Serialize)]
struct PortJson<'a> {
    name: &'a str,
    protocol: String,
    port: u16,
    node_port: Option<u16>,
}

#[derive(Debug, Serialize)]
struct ChangeJson<'a> {
    before: &'a str,
    after: &'a str,
    packets: usize,
}

/// What becomes of the example on a side.
#[derive(Debug, Serialize)]
struct OutcomeJson<'a> {
    side: &'a str,
    /// The rule that decided, of the first of the ways.
    rule: Option<String>,
    ends: Vec<EndJson>,
    command: String,
}

#[derive(Debug, Serialize)]
struct EndJson {
    disposition: &'static str,
    delivered_to: Option<SocketAddr>,
    source: Option<IpAddr>,
    /// Whether the answer arrives; nothing where no packet does.
    answered: Option<bool>,
    probability: f64,
}

#[derive(Debug, Serialize)]
struct ExampleJson {
    from: String,
    to: SocketAddr,
    protocol: String,
    via: Option<String>,
}

#[derive(Debug, Serialize)]
struct RefusedJson<'a> {
    side: &'a str,
    tool: &'static str,
    what: &'a str,
    text: String,
    reason: &'static str,
    nodes: Vec<&'a str>,
    objects: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ReasonJson {
    code: &'static str,
    text: &'static str,
    source: &'static str,
}

pub(super) fn write(
    report: &Report<'_>,
    worlds: &mut [World<'_>],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let diff = report.diff;
    let reasons = named_reasons(report).into_iter().map(|reason| ReasonJson {
        code: reason.code(),
        text: reason.text(),
        source: reason.source(),
    });
    let unserved = diff.unserved.iter().filter(|_| report.args.unserved);
    let json = DiffJson {
        sides: report.sides.iter().map(|side| &*side.name).collect(),
        different: !diff.is_empty(),
        packets: diff.sent,
        packets_differing: diff.differing,
        classes: diff
            .classes
            .iter()
            .map(|class| class_json(report, class, worlds))
            .collect(),
        unserved: unserved
            .map(|class| class_json(report, class, worlds))
            .collect(),
        refused: refused_json(report),
        reasons: reasons.collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &json).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

fn class_json<'a>(
    report: &Report<'a>,
    class: &'a Class,
    worlds: &mut [World<'_>],
) -> ClassJson<'a> {
    let ports = class.ports.iter().map(|&index| &report.diff.ports[index]);
    let ports = ports.map(|port| PortJson {
        name: &port.name,
        protocol: port.protocol.to_string(),
        port: port.port,
        node_port: Some(port.node_port).filter(|&port| port != 0),
    });
    let outcomes = [0, class.side]
        .into_iter()
        .zip(&class.outcomes)
        .map(|(side, outcome)| {
            let ends = outcome.ends.iter().map(|end| EndJson {
                disposition: end.fate.name(),
                delivered_to: end.endpoint,
                source: end.source,
                answered: (end.fate == Fate::Delivered).then_some(end.answered),
                probability: end.probability,
            });
            OutcomeJson {
                side: &report.sides[side].name,
                rule: decided(&mut worlds[side], &class.example),
                ends: ends.collect(),
                command: command(report, class, side),
            }
        });
    let example = &class.example;
    let changes = class
        .changes
        .iter()
        .map(|([before, after], &packets)| ChangeJson {
            before,
            after,
            packets,
        });
    ClassJson {
        sides: [0, class.side].map(|side| &*report.sides[side].name),
        service: class.service.to_string(),
        object: report.place(&class.service),
        destination: class.destination.name(),
        served: class.is_served,
        ports: ports.collect(),
        senders: class.senders.iter().map(|sender| sender.name()).collect(),
        nodes: class.nodes.iter().map(|node| &**node).collect(),
        packets: class.count(),
        reasons: class.reasons.iter().map(|reason| reason.code()).collect(),
        changes: changes.collect(),
        outcomes: outcomes.collect(),
        example: ExampleJson {
            from: place(&example.from),
            to: socket(example.to, example.port),
            protocol: example.protocol.to_string(),
            via: example.via.as_ref().map(|node| format!("node/{node}")),
        },
    }
}

fn refused_json<'a>(report: &Report<'a>) -> Vec<RefusedJson<'a>> {
    let refused = report.diff.refused.iter().map(|refused| {
        let (tool, what) = match &refused.refusal {
            Refusal::NftTable { rule, .. } => ("nft", rule),
            Refusal::IpsetEntry { entry, .. } => ("ipset", entry),
        };
        let with_place = |name: String, place: Option<String>| match place {
            Some(place) => format!("{name} ({place})"),
            None => name,
        };
        let services = refused.services.iter();
        let mut objects: Vec<String> = services
            .map(|service| with_place(format!("Service {service}"), report.place(service)))
            .collect();
        if objects.is_empty() {
            let configuration = "KubeProxyConfiguration".to_owned();
            objects.push(with_place(configuration, report.configuration_place()));
        }
        RefusedJson {
            side: &report.sides[refused.side].name,
            tool,
            what,
            text: refused.refusal.to_string(),
            reason: reason_of(&refused.refusal).code(),
            nodes: refused.nodes.iter().map(|node| &**node).collect(),
            objects,
        }
    });
    refused.collect()
}
