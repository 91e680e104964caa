//! A trace as JSON.

use std::io::Write;
use std::net::IpAddr;

use podwire_dataplane::Disposition;
use podwire_packet::socket;
use podwire_sim::{Trace, Way, World};
use serde::Serialize;

use super::name::NamesJson;
use super::record::{Record, policy_note, reason, records};
use crate::failure::Failure;

/// Where a packet arrived.
#[derive(Debug, Serialize)]
struct DeliveredTo {
    place: String,
    ip: IpAddr,
    port: u16,
    /// The address that the receiver sees.
    source: IpAddr,
}

/// What became of a packet.
#[derive(Debug, Serialize)]
struct EndJson {
    disposition: &'static str,
    reason: Option<String>,
    delivered_to: Option<DeliveredTo>,
    dnat: Option<String>,
    snat: Option<IpAddr>,
}

/// An answer's way.
#[derive(Debug, Serialize)]
struct ReplyJson {
    #[serde(flatten)]
    end: EndJson,
    steps: Vec<Record>,
}

/// A packet's way, and its answer's; no answer where the packet was not delivered.
#[derive(Debug, Serialize)]
pub(super) struct TraceJson {
    #[serde(flatten)]
    end: EndJson,
    probability: f64,
    /// What a person should know besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    steps: Vec<Record>,
    reply: Option<ReplyJson>,
}

fn end_json(world: &World<'_>, way: &Way) -> EndJson {
    let (sent, arrived) = (way.sent, way.arrived);
    let delivered_to = match way.disposition {
        Disposition::Delivered(delivery) => Some(DeliveredTo {
            place: world.place_name(way.at),
            ip: delivery.flow.dst,
            port: delivery.flow.dport,
            source: delivery.flow.src,
        }),
        Disposition::Dropped(_)
        | Disposition::Rejected { .. }
        | Disposition::Refused
        | Disposition::Unroutable(_)
        | Disposition::Mtu { .. }
        | Disposition::Ttl => None,
    };
    EndJson {
        disposition: way.disposition.name(),
        reason: reason(world, way),
        delivered_to,
        dnat: ((arrived.dst, arrived.dport) != (sent.dst, sent.dport))
            .then(|| socket(arrived.dst, arrived.dport).to_string()),
        snat: (arrived.src != sent.src).then_some(arrived.src),
    }
}

pub(super) fn trace_json(world: &World<'_>, trace: &Trace) -> TraceJson {
    TraceJson {
        end: end_json(world, &trace.forward),
        probability: trace.probability,
        note: policy_note(world, &trace.forward),
        steps: records(world, &trace.forward).collect(),
        reply: trace.reply.as_ref().map(|way| ReplyJson {
            end: end_json(world, way),
            steps: records(world, way).collect(),
        }),
    }
}

/// A lookup, and the connection to what it found.
#[derive(Serialize)]
struct Named<'n> {
    names: &'n NamesJson,
    /// Where there is nothing to connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    disposition: Option<&'static str>,
    #[serde(flatten)]
    trace: Option<TraceJson>,
}

/// One object; with `--all` the ways of the connection are a list in it.
pub(super) fn write_named(
    world: &World<'_>,
    all: bool,
    names: &NamesJson,
    traces: &[Trace],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut traces = traces.iter().map(|trace| trace_json(world, trace));
    let written = if all {
        let ways: Vec<_> = traces.collect();
        let answer = serde_json::json!({ "names": names, "ways": ways });
        serde_json::to_writer_pretty(&mut *out, &answer)
    } else {
        let trace = traces.next();
        let disposition = trace.is_none().then_some("unresolved");
        let named = Named {
            names,
            disposition,
            trace,
        };
        serde_json::to_writer_pretty(&mut *out, &named)
    };
    written.map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// One object, or a list with `--all`.
pub(super) fn write(
    world: &World<'_>,
    all: bool,
    traces: &[Trace],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let traces: Vec<TraceJson> = traces
        .iter()
        .map(|trace| trace_json(world, trace))
        .collect();
    let written = match traces.as_slice() {
        [one] if !all => serde_json::to_writer_pretty(&mut *out, one),
        _ => serde_json::to_writer_pretty(&mut *out, &traces),
    };
    written.map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}
