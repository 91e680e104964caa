//! `podwire run`: a cluster that changes, kube-proxies that follow, packets meanwhile.

mod outcome;
mod text;

use std::io::Write;
use std::net::SocketAddr;

use podwire_controlplane::kube_proxy::ConntrackClear;
use podwire_packet::SimTime;
use podwire_sim::{Happening, RealServerOf, ServiceStates, Timeline, What};
use serde::Serialize;

use self::outcome::Outcome;
use crate::args::{Global, RunArgs, RunOutput};
use crate::failure::{Answer, Failure};
use crate::files::{options, read_events, timeline_failure};

pub(crate) fn run(
    global: &Global,
    args: &RunArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let cluster = args.cluster();
    let events = read_events(global, &args.events, &cluster)?;
    let options = options(&cluster)?;
    let services = ServiceStates::new(&events, options.kube_proxy_version);
    let namespace = &cluster.namespace;
    let mut timeline = Timeline::new(&events, &services, &options, namespace, global.seed)
        .map_err(|error| timeline_failure(&args.events, &error))?;
    let mut text = text::Report::new(&events, global.verbose > 0);
    let mut all_arrive = true;
    while let Some(happening) = timeline.step(None).map_err(Failure::input)? {
        let outcome = match &happening.what {
            What::Sent { result, .. } => Some(Outcome::of(timeline.world(), result)),
            What::Changed(_)
            | What::SyncBegins { .. }
            | What::SyncWaits { .. }
            | What::SyncDone { .. }
            | What::Drained { .. } => None,
        };
        all_arrive &= outcome.as_ref().is_none_or(|outcome| outcome.arrived);
        match args.output {
            RunOutput::Text => text.write(&happening, outcome, out)?,
            RunOutput::Jsonl => write_json(&happening, outcome.as_ref(), out)?,
        }
    }
    if matches!(args.output, RunOutput::Text) {
        text.finish(out)?;
    }
    Ok(all_arrive.into())
}

/// A happening as a program reads it.
#[derive(Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum Line<'h> {
    Changed {
        at_s: f64,
        objects: &'h [String],
    },
    SyncBegins {
        at_s: f64,
        node: &'h str,
    },
    SyncWaits {
        at_s: f64,
        node: &'h str,
        until_s: f64,
    },
    SyncDone {
        at_s: f64,
        node: &'h str,
        full: bool,
        nat_chains: Option<usize>,
        nat_rules: Option<usize>,
        clears: Vec<String>,
        forgotten: usize,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        draining: Vec<String>,
    },
    Drained {
        at_s: f64,
        node: &'h str,
        gone: Vec<String>,
    },
    Sent {
        at_s: f64,
        probe: &'h str,
        number: u64,
        #[serde(flatten)]
        outcome: &'h Outcome,
    },
}

fn write_json(
    happening: &Happening<'_>,
    outcome: Option<&Outcome>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let at_s = seconds(happening.at);
    let line = match &happening.what {
        What::Changed(objects) => Line::Changed { at_s, objects },
        What::SyncBegins { node } => Line::SyncBegins { at_s, node },
        What::SyncWaits { node, until } => Line::SyncWaits {
            at_s,
            node,
            until_s: seconds(*until),
        },
        What::SyncDone { node, report } => Line::SyncDone {
            at_s,
            node,
            full: report.full,
            nat_chains: report
                .counts
                .map(|counts| counts.iter().map(|of| of.nat_chains).sum()),
            nat_rules: report
                .counts
                .map(|counts| counts.iter().map(|of| of.nat_rules).sum()),
            clears: report
                .clears
                .iter()
                .map(ConntrackClear::to_string)
                .collect(),
            forgotten: report.forgotten,
            draining: report.draining.iter().map(real_server).collect(),
        },
        What::Drained { node, gone } => Line::Drained {
            at_s,
            node,
            gone: gone.iter().map(real_server).collect(),
        },
        What::Sent { probe, number, .. } => {
            let Some(outcome) = outcome else {
                return Ok(());
            };
            Line::Sent {
                at_s,
                probe: &probe.name,
                number: *number,
                outcome,
            }
        }
    };
    serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// A real server of IPVS, in words.
fn real_server((of, (address, port)): &RealServerOf) -> String {
    let (real, of_address) = (
        SocketAddr::from((*address, *port)),
        SocketAddr::from((of.address, of.port)),
    );
    format!("{real} of {} {of_address}", of.protocol)
}

fn seconds(at: SimTime) -> f64 {
    at.since_start().as_secs_f64()
}
