//! `podwire ipam`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `podwire ipam`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  podwire ipam replay --ipam weave models/ipam/weave.jsonl
  podwire ipam replay --ipam host-local models/ipam/host-local.jsonl -o json")]
pub(crate) struct IpamArgs {
    #[command(subcommand)]
    pub(crate) command: IpamCommand,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum IpamCommand {
    /// Answer each step of histories in place
    Replay(ReplayArgs),
}

/// `podwire ipam replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
A line is a case: what is shared out, and steps, each an object with `op`.
  weave       universe, peers; seed {peers}, alloc {peer, n, subnet}, free and claim {peer, addr},
              request {peer, donor, subnet}, takeover {peer, from}, owner {addr}
  host-local  ranges, a list of sets as in a CNI configuration; alloc {container, device, ips},
              free {container, device}
  flannel     Network, SubnetLen; alloc {peer}, free {peer}

Examples:
  podwire ipam replay --ipam weave models/ipam/weave.jsonl
  podwire ipam replay --ipam host-local models/ipam/host-local.jsonl -o json
  podwire ipam replay --ipam flannel models/ipam/flannel.jsonl")]
pub(crate) struct ReplayArgs {
    /// Whose address space
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) ipam: IpamKind,
    /// The cases, or - for standard input
    #[arg(value_name = "SCRIPT.jsonl")]
    pub(crate) script: PathBuf,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) output: ReplayOutput,
}

/// Kinds of address spaces.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum IpamKind {
    /// The CNI plugin host-local, on one node.
    HostLocal,
    /// Weave Net's ring.
    Weave,
    /// Subnets that flannel leases to nodes.
    Flannel,
}

/// How `ipam replay` answers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ReplayOutput {
    /// A line for each step.
    Text,
    /// An object for each case.
    Json,
}
