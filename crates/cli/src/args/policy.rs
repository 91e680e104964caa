//! `podwire policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use podwire_packet::Protocol;

use super::{ClusterArgs, TextOrJson};

/// `podwire policy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  podwire policy probe -f models/policies.ron --from pod/shop/web --to pod/shop/db:5432
  podwire policy matrix -f models/policies.ron --port 5432")]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

/// What can be asked of policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Ask whether traffic may pass, and which policies decide it
    Probe(ProbeArgs),
    /// Print which pod reaches which on a port
    Matrix(MatrixArgs),
}

/// `podwire policy probe`.
#[derive(Debug, Args)]
#[command(after_help = "\
The answer is what policies mean, as if the pod network enforced them. The port is the one on the pod: a number,
or the name that the pod's containers give it. A Service stands for each of its ready endpoints; all must be
allowed. A probe is a line:
  {\"id\":1,\"from\":\"pod/shop/web\",\"to\":\"pod/shop/db\",\"port\":5432,\"protocol\":\"TCP\"}
It may have from_ip and to_ip, which of a pod's addresses is meant.
Exit code 1: the traffic of --from and --to may not pass.

Examples:
  podwire policy probe -f models/policies.ron --from pod/shop/web --to pod/shop/db:5432
  podwire policy probe -f models/policies.ron --from 203.0.113.9 --to pod/shop/web:http -o json")]
pub(crate) struct ProbeArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Who sends
    #[arg(
        long,
        value_name = "PLACE",
        requires = "to",
        required_unless_present = "probes"
    )]
    pub(crate) from: Option<String>,
    /// To whom, with the port
    #[arg(long, value_name = "PLACE:PORT", requires = "from")]
    pub(crate) to: Option<String>,
    /// tcp, udp or sctp
    #[arg(long, value_name = "PROTOCOL", value_parser = parse_policy_protocol, default_value = "tcp")]
    pub(crate) proto: Protocol,
    /// Probes as JSON lines, or - for standard input
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["from", "to"])]
    pub(crate) probes: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) output: TextOrJson,
}

/// `podwire policy matrix`.
#[derive(Debug, Args)]
#[command(after_help = "\
A row is a sender, a column a receiver: . may pass, X may not. Addresses are IPv4 where a pod has one.

Examples:
  podwire policy matrix -f models/policies.ron --port 5432")]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The port on the receiving pod
    #[arg(long, value_name = "N")]
    pub(crate) port: u16,
    /// tcp, udp or sctp
    #[arg(long, value_name = "PROTOCOL", value_parser = parse_policy_protocol, default_value = "tcp")]
    pub(crate) proto: Protocol,
    /// The family of the addresses
    #[arg(long, value_enum, default_value = "ipv4")]
    pub(crate) family: super::FamilyArg,
}

/// A protocol that a port of a NetworkPolicy may have.
pub(crate) fn parse_policy_protocol(text: &str) -> Result<Protocol, String> {
    let protocol = text.parse().ok();
    let mut known = [Protocol::TCP, Protocol::UDP, Protocol::SCTP].into_iter();
    known.find(|&one| protocol == Some(one)).ok_or_else(|| {
        format!("policies say nothing of protocol `{text}`; accepted are tcp, udp and sctp")
    })
}
