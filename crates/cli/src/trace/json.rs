//! A trace as JSON.

use std::io::Write;
use std::net::IpAddr;

use podwire_dataplane::Disposition;
use podwire_packet::socket;
use podwire_sim::{Trace, Way, World};
use serde::Serialize;

use super::record::{Record, reason, records};
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

/// A packet's way.
#[derive(Debug, Serialize)]
struct WayJson {
    disposition: &'static str,
    reason: Option<String>,
    delivered_to: Option<DeliveredTo>,
    dnat: Option<String>,
    snat: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    steps: Vec<Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Box<Self>>,
}

fn way_json(world: &World<'_>, way: &Way) -> WayJson {
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
    WayJson {
        disposition: way.disposition.name(),
        reason: reason(world, way),
        delivered_to,
        dnat: ((arrived.dst, arrived.dport) != (sent.dst, sent.dport))
            .then(|| socket(arrived.dst, arrived.dport).to_string()),
        snat: (arrived.src != sent.src).then_some(arrived.src),
        probability: None,
        steps: records(world, way).collect(),
        reply: None,
    }
}

fn trace_json(world: &World<'_>, trace: &Trace) -> WayJson {
    WayJson {
        probability: Some(trace.probability),
        reply: trace
            .reply
            .as_ref()
            .map(|way| Box::new(way_json(world, way))),
        ..way_json(world, &trace.forward)
    }
}

/// One object, or a list with `--all`.
pub(super) fn write(
    world: &World<'_>,
    all: bool,
    traces: &[Trace],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let traces: Vec<WayJson> = traces
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
