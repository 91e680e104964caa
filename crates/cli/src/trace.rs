//! `podwire trace`: a packet's whole way, and its answer's.

mod json;
mod name;
mod record;
mod requested;
pub(crate) mod rule;
mod text;
mod url;

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
    let Some(path) = &args.events else {
        return trace_now(global, args, out);
    };
    let options = options(&args.cluster)?;
    url::refuse_with_events(args)?;
    if name::parse(&args.to, namespace).is_some() {
        return Err(Failure::input(format_args!(
            "--to {}: names are not resolved in the middle of events; accepted is a place",
            args.to
        )));
    }
    let query = query(args, target(args)?, None)?;
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

/// The cluster as it is.
fn trace_now(global: &Global, args: &TraceArgs, out: &mut impl Write) -> Result<Answer, Failure> {
    let request = url::request(args)?;
    let options = options(&args.cluster)?;
    // A fault of the command line is told before files are read.
    let place = request.is_none().then(|| target(args)).transpose()?;
    let cluster = read_cluster(global, &args.cluster)?;
    tell_policies(global, &cluster);
    let query = match place {
        Some(place) => query(args, place, None)?,
        None => {
            let (to, node) = url::target(&args.to, &cluster)?;
            query(args, to, node)?
        }
    };
    let mut world = World::new(&cluster, &options).map_err(Failure::input)?;
    if request.is_none() && name::parse(&args.to, &args.cluster.namespace).is_some() {
        let answer = name::run(global, args, &cluster, &mut world, &query, out)?;
        tell_refused(global, &world);
        return Ok(answer);
    }
    let one = |trace| vec![trace];
    let traces = match (&request, args.all) {
        (None, true) => world.trace_all(&query),
        (None, false) => world.trace(&query, global.seed).map(one),
        (Some(request), true) => world.trace_request_all(&query, request),
        (Some(request), false) => world.trace_request(&query, request, global.seed).map(one),
    };
    tell_refused(global, &world);
    let is_taken = |trace: &Trace| trace.forward.requested.is_some();
    let untaken = |traces: &Vec<Trace>| !traces.iter().any(is_taken);
    if request.is_some() && traces.as_ref().is_ok_and(untaken) && !global.quiet {
        // The answer is the same if nobody hears this.
        let _ = writeln!(
            anstream::stderr(),
            "note: no Ingress controller is on the way, which a pod is whose image is ingress-nginx's: only the connection is followed"
        );
    }
    tell(&world, args, traces, out)
}

/// What the command line asks; `node` is where packets go first if it does not say so.
fn query(args: &TraceArgs, to: Target, node: Option<String>) -> Result<Query, Failure> {
    let via = args.via.as_deref().map(via_node).transpose()?;
    Ok(Query {
        from: Place::parse(&args.from, &args.cluster.namespace)
            .map_err(|error| Failure::input(format_args!("--from: {error}")))?,
        to,
        protocol: args.proto,
        sport: args.sport,
        length: args.length,
        via: via.or(node),
    })
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
