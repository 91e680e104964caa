//! `podwire dns`: names, as CoreDNS answers them.

pub(crate) mod lint;
pub(crate) mod query;
pub(crate) mod serve;
pub(crate) mod server;

use std::io::Write;

use clap::{Args, Subcommand};

use crate::args::Global;
use crate::failure::{Answer, Failure};

/// `podwire dns`.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct DnsArgs {
    #[command(subcommand)]
    verb: DnsVerb,
}

/// What to do with names.
#[derive(Debug, Subcommand)]
enum DnsVerb {
    /// Say whether CoreDNS starts with a Corefile, and bring it to a release
    Lint(lint::LintArgs),
    /// Print what CoreDNS answers
    Query(query::QueryArgs),
    /// Answer real clients as CoreDNS does
    Serve(serve::ServeArgs),
}

pub(crate) fn run(
    global: &Global,
    args: &DnsArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    match &args.verb {
        DnsVerb::Lint(args) => lint::run(args, out),
        DnsVerb::Query(args) => query::run(global, args, out),
        DnsVerb::Serve(args) => serve::run(global, args, out),
    }
}

/// The release of CoreDNS that the command line names.
pub(crate) fn version(named: Option<&str>) -> Result<podwire_dns::version::Version, Failure> {
    let version = named.map_or_else(|| Ok(podwire_dns::version::Version::default()), str::parse);
    version.map_err(|error| Failure::input(format_args!("--coredns-version: {error}")))
}
