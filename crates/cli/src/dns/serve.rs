//! `podwire dns serve`: CoreDNS on a socket.

use std::io::Write;
use std::net::SocketAddr;

use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use podwire_dns::serve::Listener;

use super::server::ServerArgs;
use crate::args::Global;
use crate::failure::{Answer, Failure};
use crate::files::read_objects;

/// `podwire dns serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Answers over UDP and TCP until SIGINT or SIGTERM. The first line of output says where.

Examples:
  podwire dns serve -f models/two-node.ron --listen 127.0.0.1:1053
  dig @127.0.0.1 -p 1053 web-service.apps.svc.cluster.local")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1053")]
    listen: SocketAddr,
    /// Where to tell metrics, as plugin prometheus does
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

pub(super) fn run(
    global: &Global,
    args: &ServeArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let cluster = read_objects(global, &args.server.filename)?;
    let server = args.server.server(global, &cluster, Vec::new())?;
    drop(cluster);
    // Blocked before the first thread begins, they reach none but the wait below.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().map_err(Failure::input)?;
    let at = |flag: &str, address: SocketAddr, error: std::io::Error| {
        Failure::input(format_args!("{flag} {address}: {error}"))
    };
    let listener = Listener::new(server, args.listen);
    let mut listener = listener.map_err(|error| at("--listen", args.listen, error))?;
    writeln!(out, "answering at {}", listener.local_addr())?;
    if let Some(metrics) = args.metrics {
        let local = listener.tell_metrics(metrics);
        let local = local.map_err(|error| at("--metrics", metrics, error))?;
        writeln!(out, "metrics at http://{local}/metrics")?;
    }
    out.flush()?;
    signals.wait().map_err(Failure::input)?;
    let (answered, unanswered) = listener.totals();
    listener.stop();
    writeln!(out, "{answered} answered, {unanswered} not")?;
    Ok(Answer::Yes)
}
