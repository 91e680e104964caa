//! `podwire trace`: a packet's whole way, and its answer's.

mod json;
mod name;
mod record;
pub(crate) mod rule;
mod text;

use std::io::Write;

use podwire_packet::SimTime;
use podwire_sim::{Place, Query, ServiceStates, Target, Timeline, Trace, TraceError, World};

pub(crate) use record::reason;

use crate::args::{Global, TextOrJson, TraceArgs};
use crate::failure::{Answer, Failure};
use crate::files::{options, read_cluster, read_events, tell_policies, timeline_failure};

pub(crate) fn run(
    global: &Global,
    args: &TraceArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let namespace = &args.cluster.namespace;
    let query = Query {
        from: Place::parse(&args.from, namespace)
            .map_err(|error| Failure::input(format_args!("--from: {error}")))?,
        to: target(args)?,
        protocol: args.proto,
        sport: args.sport,
        length: args.length,
        via: args.via.as_deref().map(via_node).transpose()?,
    };
    let options = options(&args.cluster)?;
    let Some(path) = &args.events else {
        let cluster = read_cluster(global, &args.cluster)?;
        tell_policies(global, &cluster);
        let mut world = World::new(&cluster, &options).map_err(Failure::input)?;
        if name::parse(&args.to, namespace).is_some() {
            let answer = name::run(global, args, &cluster, &mut world, &query, out)?;
            tell_refused(global, &world);
            return Ok(answer);
        }
        let traces = if args.all {
            world.trace_all(&query)
        } else {
            world.trace(&query, global.seed).map(|trace| vec![trace])
        };
        tell_refused(global, &world);
        return tell(&world, args, traces, out);
    };
    if name::parse(&args.to, namespace).is_some() {
        return Err(Failure::input(format_args!(
            "--to {}: names are not resolved in the middle of events; accepted is a place",
            args.to
        )));
    }
    let events = read_events(global, path, &args.cluster)?;
    let services = ServiceStates::new(&events, options.kube_proxy_version);
    let mut timeline = Timeline::new(&events, &services, &options, namespace, global.seed)
        .map_err(|error| timeline_failure(path, &error))?;
    let at = SimTime::START + args.at.unwrap_or_default().0;
    let traces = if args.all {
        timeline.trace_all(at, &query)
    } else {
        let trace = timeline.trace(at, &query);
        trace.map(|trace| trace.map(|trace| vec![trace]))
    };
    let traces = traces.map_err(Failure::input)?;
    tell(timeline.world(), args, traces, out)
}

/// Whom the packet is for; of a name, only the port is known yet.
fn target(args: &TraceArgs) -> Result<Target, Failure> {
    let namespace = &args.cluster.namespace;
    if let Some((_, port)) = name::parse(&args.to, namespace) {
        return Ok(Target {
            place: Place::Address(std::net::Ipv4Addr::UNSPECIFIED.into()),
            port: Some(port),
        });
    }
    Target::parse(&args.to, namespace)
        .map_err(|error| Failure::input(format_args!("--to: {error}")))
}

/// Says on standard error what real tools refuse of the rules that were asked.
fn tell_refused(global: &Global, world: &World<'_>) {
    if global.quiet {
        return;
    }
    for (node, refusal) in world.refused() {
        // The answer is the same if nobody hears this.
        let _ = writeln!(anstream::stderr(), "warning: {node}: {refusal}");
    }
}

fn tell(
    world: &World<'_>,
    args: &TraceArgs,
    traces: Result<Vec<Trace>, TraceError>,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let traces = traces.map_err(Failure::input)?;
    match args.output {
        TextOrJson::Text => text::write(world, args, &traces, out)?,
        TextOrJson::Json => json::write(world, args.all, &traces, out)?,
    }
    Ok(traces.iter().all(Trace::arrived).into())
}

fn via_node(text: &str) -> Result<String, Failure> {
    let name = text.strip_prefix("node/").filter(|name| !name.is_empty());
    name.map(str::to_owned)
        .ok_or_else(|| Failure::input(format_args!("--via {text}: accepted is node/NAME")))
}
