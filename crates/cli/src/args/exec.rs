//! `podwire exec`.

use clap::Args;

use super::ClusterArgs;

/// `podwire exec`.
#[derive(Debug, Args)]
#[command(after_help = "\
A place is pod/NAMESPACE/NAME or node/NAME. Behind -- stands what would be typed there:
  ip [-4|-6|-br] link|addr|route|neigh|rule   bridge link|fdb   arp   route   ifconfig   hostname
  iptables [-t TABLE] -L|-S [CHAIN] [-n] [-v] [--line-numbers]   iptables-save   and ip6tables
Exit code 1: the tool itself fails, with its own words.

Examples:
  podwire exec -f models/cka-flannel.ron node/controlplane -- ip link
  podwire exec -f models/cka-flannel.ron node/controlplane -- arp node01
  podwire exec -f models/cka-flannel.ron node/node01 -- iptables -t nat -nL KUBE-SERVICES
  podwire exec -f models/two-node.ron pod/default/client -- ip route")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Where
    #[arg(value_name = "PLACE")]
    pub(crate) place: String,
    /// What to run
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true
    )]
    pub(crate) command: Vec<String>,
}
