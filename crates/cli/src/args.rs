//! The command line.

mod exec;
mod ipam;
mod policy;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use podwire_packet::{Family, Protocol};

pub(crate) use self::exec::ExecArgs;
pub(crate) use self::ipam::{IpamArgs, IpamCommand, IpamKind, ReplayArgs, ReplayOutput};
pub(crate) use self::policy::{
    MatrixArgs, PolicyArgs, PolicyCommand, ProbeArgs, parse_policy_protocol,
};

/// A simulated Kubernetes cluster network: where does this packet go, and which rule sent it there?
#[derive(Debug, Parser)]
#[command(
    name = "podwire",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
#[command(after_help = "\
Exit codes: 0 answered, and the answer is yes; 1 answered, and the answer is no; 2 could not answer.

Examples:
  podwire trace -f models/two-node.ron --from pod/default/client --to svc/apps/web-service:80
  podwire render -f models/two-node.ron --node controlplane
  kubectl get no,svc,endpointslices,po -A -o json | podwire trace -f - --from node/a --to svc/web")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every verb takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// When to colour output; NO_COLOR and CLICOLOR_FORCE are heard too
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub(crate) color: Color,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say more; repeatable
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Seed of every random choice
    #[arg(long, global = true, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// When to colour.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    pub(crate) const fn into_choice(self) -> anstream::ColorChoice {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what kube-proxy writes on a node
    Render(RenderArgs),
    /// Follow a packet to its end, and its answer back
    Trace(TraceArgs),
    /// Find the traffic that kube-proxy's modes, or two clusters, treat differently
    Diff(DiffArgs),
    /// Ask one node's rules about packets, without a cluster
    #[command(name = "match")]
    Match(MatchArgs),
    /// Measure rule lookup
    Bench(BenchArgs),
    /// Print what a pod of kube-proxy has logged
    Logs(LogsArgs),
    /// Follow a cluster that changes, its kube-proxies, and packets meanwhile
    Run(RunArgs),
    /// Send requests through Ingresses
    Ingress(crate::ingress::args::IngressArgs),
    /// Ask what NetworkPolicies let through
    Policy(PolicyArgs),
    /// Compare a real node's rules with those that the objects call for
    Check(CheckArgs),
    /// Run a node's or pod's tools on the model
    Exec(ExecArgs),
    /// Names: what a Corefile says, and what CoreDNS answers
    Dns(crate::dns::DnsArgs),
    /// Play histories of an address space
    Ipam(IpamArgs),
    /// Be a CNI plugin to a container runtime, or a runtime to plugins
    Cni(crate::cni::CniArgs),
}

/// The cluster to read, and changes to it.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// A file, a folder (its .yaml, .yml, .json and .ron files) or - for standard input; repeatable
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// Namespace of what is named without one
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// kube-proxy's mode, whatever the configuration says
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
    /// Override a field of the proxy configuration, such as iptables.masqueradeAll=true, or the pod
    /// network: cni=routes|bridge|flannel-vxlan|flannel-direct|flannel-host-gw|weave; repeatable
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// The kube-proxy release whose words and names are used; 1.30 if not said
    #[arg(long, value_name = "VERSION")]
    pub(crate) kube_proxy_version: Option<String>,
}

/// kube-proxy's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Rules in iptables.
    Iptables,
    /// Virtual servers in IPVS.
    Ipvs,
    /// Rules in nftables.
    Nftables,
    /// A proxy process, to 1.25.
    Userspace,
    /// That of Windows nodes, which is not simulated.
    Kernelspace,
}

impl Mode {
    /// As the configuration has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Ipvs => "ipvs",
            Self::Nftables => "nftables",
            Self::Userspace => "userspace",
            Self::Kernelspace => "kernelspace",
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FamilyArg {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl From<FamilyArg> for Family {
    fn from(family: FamilyArg) -> Self {
        match family {
            FamilyArg::Ipv4 => Self::Ipv4,
            FamilyArg::Ipv6 => Self::Ipv6,
        }
    }
}

/// `podwire render`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  podwire render -f models/two-node.ron --node node01
  podwire render -f models/two-node.ron --node node01 --form save
  podwire render -f models/two-node.ron --node node01 --set iptables.masqueradeAll=true
  podwire render -f models/two-node.ron --node node01 --mode ipvs
  podwire render -f models/policies.ron --component weave-npc")]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The node; all have the same rules of weave-npc
    #[arg(long, value_name = "NAME", required_unless_present = "component")]
    pub(crate) node: Option<String>,
    /// Whose rules are printed
    #[arg(long, value_enum, default_value = "kube-proxy")]
    pub(crate) component: Component,
    /// The family whose rules are printed
    #[arg(long, value_enum, default_value = "ipv4")]
    pub(crate) family: FamilyArg,
    /// What to print
    #[arg(long, value_enum, default_value = "restore")]
    pub(crate) form: Form,
    /// A later state of the cluster's objects; repeatable. What is printed is then the last sync's
    #[arg(long, value_name = "OBJECTS")]
    pub(crate) then: Vec<PathBuf>,
}

impl RenderArgs {
    /// The node; without one there is none of that name.
    pub(crate) fn node(&self) -> &str {
        self.node.as_deref().unwrap_or_default()
    }
}

/// Who writes rules on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Component {
    /// kube-proxy.
    KubeProxy,
    /// Weave Net's policy controller: its ipsets, then its rules, whatever the form.
    WeaveNpc,
}

/// What `render` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// What is handed to iptables-restore, byte for byte; of nftables mode, the table as commands; of
    /// ipvs mode all that is programmed, in sections; of userspace mode, the rules that iptables is told.
    Restore,
    /// The whole state afterwards, as iptables-save orders it, or as nft lists it.
    Save,
    /// Sysctls, health checks and conntrack clears.
    Misc,
    /// The configuration with its defaults, as kube-proxy --write-config-to writes it.
    Config,
}

/// `podwire run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Events are a file of RON: changes of objects, and packets that are sent, each at its time. A kube-proxy
hears of a change after watch_delay, syncs when minSyncPeriod lets it, and has new rules after
sync_takes. Exit code 1: a packet did not arrive, or its answer.

Examples:
  podwire run models/events/stale-udp.ron
  podwire run models/events/endpoints-0-n.ron -o jsonl
  podwire run models/events/stale-udp.ron --kube-proxy-version 1.32 -v")]
pub(crate) struct RunArgs {
    /// The events
    #[arg(value_name = "EVENTS.ron")]
    pub(crate) events: PathBuf,
    /// The cluster at first, in place of the files that the events name; repeatable
    #[arg(short, long = "filename", value_name = "PATH")]
    pub(crate) filename: Vec<PathBuf>,
    /// Namespace of what is named without one
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// Override a field of the proxy configuration, such as iptables.minSyncPeriod=10s, or the pod
    /// network, as trace --set does; repeatable
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// The kube-proxy release whose conntrack clean-up, words and names are used; 1.30 if not said
    #[arg(long, value_name = "VERSION")]
    pub(crate) kube_proxy_version: Option<String>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) output: RunOutput,
}

impl RunArgs {
    /// The cluster that they name.
    pub(crate) fn cluster(&self) -> ClusterArgs {
        ClusterArgs {
            filename: self.filename.clone(),
            namespace: self.namespace.clone(),
            mode: None,
            set: self.set.clone(),
            kube_proxy_version: self.kube_proxy_version.clone(),
        }
    }
}

/// How `run` answers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RunOutput {
    /// A line for what happens, and for packets that fare otherwise than the one before; -v for all.
    Text,
    /// A line for everything, as JSON.
    Jsonl,
}

/// `podwire check`.
#[derive(Debug, Args)]
#[command(after_help = "\
The dump is a folder of what these print on the node, under any names; content tells them apart:
  iptables-save   ip6tables-save   nft list ruleset (or nft -j)   ipvsadm -Sn   ipset save
Lines with - are what the objects call for and the node lacks, with + what only the node has.
Exit code 1: there are findings other than notes.

Examples:
  podwire check -f models/two-node.ron --node node01 --node-dump crates/cli/tests/data/dump
  podwire check -f models/two-node.ron --node node01 --node-dump crates/cli/tests/data/dump -o json")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Folder of the node's rules
    #[arg(long, value_name = "DIR")]
    pub(crate) node_dump: PathBuf,
    /// The node; the only one if not said
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) output: CheckOutput,
}

/// How `check` answers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CheckOutput {
    /// A paragraph for each finding.
    Text,
    /// An object.
    Json,
}

/// A time since the start, as Go writes durations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Since(pub(crate) std::time::Duration);

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// An hourly sync of every node is followed until then.
        const MOST: std::time::Duration = std::time::Duration::from_secs(100 * 3_600);
        podwire_cluster::parse_go_duration(text)
            .filter(|time| *time <= MOST)
            .map(Self)
            .ok_or_else(|| "accepted is a time such as 1.5s, 300ms or 1m30s, up to 100h".to_owned())
    }
}

/// `podwire logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without Pod objects of kube-proxy its pods are called kube-proxy-NODE. Without --kube-proxy-version
the release is that of the pod's image. The log of iptables mode is known, that of other modes (--mode) is not.

Examples:
  podwire logs -f models/two-node.ron -n kube-system ds/kube-proxy
  podwire logs -f models/two-node.ron -n kube-system kube-proxy-node01 --kube-proxy-version 1.19.0
  podwire logs -f models/two-node.ron -n kube-system ds/kube-proxy --tail=5")]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The pod, or ds/kube-proxy
    #[arg(value_name = "POD")]
    pub(crate) resource: String,
    /// Its container
    #[arg(value_name = "CONTAINER")]
    pub(crate) container_name: Option<String>,
    /// Its container
    #[arg(short, long, value_name = "CONTAINER")]
    pub(crate) container: Option<String>,
    /// The log of the container before the last restart
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// Lines to print, from the end; -1 is all of them
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true,
        value_parser = clap::value_parser!(i64).range(-1..))]
    pub(crate) tail: i64,
    /// Print the time before each line
    #[arg(long)]
    pub(crate) timestamps: bool,
}

/// `podwire trace`.
#[derive(Debug, Args)]
#[command(after_help = "\
A place is pod/NAMESPACE/NAME, node/NAME, svc/NAMESPACE/NAME[:PORT] or ADDRESS[:PORT] (IPv6 in brackets).
An address that no object owns is a pod of the node whose pod range holds it, else a host outside.
--to NAME:PORT resolves a name first, as the pod does: every name that is tried is shown, and the
way of the question to CoreDNS, which answers from the objects and for the world outside from
--upstream-zone or --upstream.

Examples:
  podwire trace -f models/two-node.ron --from pod/default/client --to svc/apps/web-service:80
  podwire trace -f models/two-node.ron --from node/node01 --to 10.107.37.188:80 --all -o json
  podwire trace -f models/two-node.ron --from 10.8.11.200 --to 10.107.37.188:80 --via node/node01
  podwire trace -f models/ingress-quiz.ron --from 10.8.11.200 --to http://node01:30080/wear/hats")]
#[command(mut_arg("filename", |arg| arg.required(false).required_unless_present("events")))]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Who sends
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: String,
    /// To whom; or a URL, whose host is an address, a node or the load balancer of an Ingress controller
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: String,
    /// A header of the request that goes to a URL; Host stands for the URL's; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) header: Vec<String>,
    /// tcp, udp, sctp, icmp or a number; the Service port's own if not said
    #[arg(long, value_name = "PROTOCOL", value_parser = parse_protocol)]
    pub(crate) proto: Option<Protocol>,
    /// Source port, or identifier of an ICMP echo
    #[arg(long, value_name = "N", default_value_t = 40_000)]
    pub(crate) sport: u16,
    /// Length of the IP packet in bytes; a first packet's of the protocol if not said
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(20..=65_535))]
    pub(crate) length: Option<u32>,
    /// Send to that node first, as node/NAME, without rules on the sender's own node
    #[arg(long, value_name = "node/NAME")]
    pub(crate) via: Option<String>,
    /// Every way that rules leave to chance, with its probability
    #[arg(long)]
    pub(crate) all: bool,
    /// Events that happen to the cluster, as `podwire run` reads them; without -f, to the one they name
    #[arg(long, value_name = "EVENTS.ron", requires = "at")]
    pub(crate) events: Option<PathBuf>,
    /// When the packet is sent
    #[arg(long, value_name = "TIME", requires = "events")]
    pub(crate) at: Option<Since>,
    /// How --to NAME:PORT is resolved: glibc, musl, or a tool of `podwire dns query --resolve`
    #[arg(long, value_name = "NAME")]
    pub(crate) resolver: Option<String>,
    #[command(flatten)]
    pub(crate) coredns: crate::dns::server::CorednsArgs,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) output: TextOrJson,
}

fn parse_protocol(text: &str) -> Result<Protocol, podwire_packet::ParseProtocolError> {
    text.parse()
}

/// How `trace` and `diff` answer.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TextOrJson {
    /// For people.
    Text,
    /// For programs: an object; a list of them with trace --all.
    Json,
}

/// `podwire diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every kind of sender is tried with every address and port of every Service: pods, nodes and hosts outside,
with ClusterIPs, external IPs, load balancer IPs inside and outside their source ranges, and node ports on
each address of a node. Packets that differ alike are one class, with one that shows it. Ports that no
Service has count where a packet to them arrives; --unserved lists how they end otherwise.
Exit code 0: no difference; 1: there is one.

Examples:
  podwire diff --modes iptables,nftables,ipvs -f models/two-node.ron
  podwire diff --modes iptables,nftables -f models/two-node.ron -o json
  podwire diff models/two-node.ron models/host-gw.ron")]
pub(crate) struct DiffArgs {
    /// Two clusters to compare, each a file, a folder or - for standard input
    #[arg(value_names = ["OLD", "NEW"], num_args = 2, conflicts_with = "modes")]
    pub(crate) states: Vec<PathBuf>,
    /// kube-proxy's modes to compare with the first of them; iptables,nftables,ipvs if not said
    #[arg(long, value_enum, value_name = "MODE,MODE…", value_delimiter = ',')]
    pub(crate) modes: Vec<Mode>,
    /// A file, a folder (its .yaml, .yml, .json and .ron files) or - for standard input; repeatable. With
    /// OLD and NEW, what both have
    #[arg(
        short,
        long = "filename",
        value_name = "PATH",
        required_unless_present = "states"
    )]
    pub(crate) filename: Vec<PathBuf>,
    /// Override a field of the proxy configuration, or the pod network, as trace --set does; repeatable
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// The kube-proxy release whose words and names are used; 1.30 if not said
    #[arg(long, value_name = "VERSION")]
    pub(crate) kube_proxy_version: Option<String>,
    /// List how packets end that are for a port that no Service has, and arrive nowhere
    #[arg(long)]
    pub(crate) unserved: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) output: TextOrJson,
}

impl DiffArgs {
    /// The cluster of these files, and those of every side.
    pub(crate) fn cluster(&self, file: Option<&PathBuf>) -> ClusterArgs {
        ClusterArgs {
            filename: file.into_iter().chain(&self.filename).cloned().collect(),
            namespace: "default".to_owned(),
            mode: None,
            set: self.set.clone(),
            kube_proxy_version: self.kube_proxy_version.clone(),
        }
    }
}

/// `podwire match`.
#[derive(Debug, Args)]
#[command(after_help = "\
A packet is a line:
  {\"id\":1,\"hook\":\"PREROUTING\",\"src\":\"10.244.1.5\",\"dst\":\"10.96.0.10\",\"proto\":\"udp\",\"dport\":53}
It may have in, out, sport, dport, ctstate, mark, tcp_flags, icmp_type, physdev_in, physdev_out
and local, the addresses of the host. An answer is a line per packet, in order; its outcomes are
sorted by rules.

Examples:
  podwire match --rules tests/data/node.rules --packets tests/data/packets.jsonl
  iptables-save | podwire match --rules - --packets packets.jsonl
  podwire match --rules tests/data/node.rules --explain-plan")]
pub(crate) struct MatchArgs {
    /// Text of iptables-save or of nft list ruleset, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,
    /// ipset save text
    #[arg(long, value_name = "FILE")]
    pub(crate) sets: Option<PathBuf>,
    /// Packets as JSON lines, or - for standard input
    #[arg(
        long,
        value_name = "FILE.jsonl",
        required_unless_present = "explain_plan"
    )]
    pub(crate) packets: Option<PathBuf>,
    /// Say what the compiled evaluator makes of each chain, and ask nothing
    #[arg(long, conflicts_with = "packets")]
    pub(crate) explain_plan: bool,
    /// The family of the rules; that of the first packet if not said
    #[arg(long, value_enum)]
    pub(crate) family: Option<FamilyArg>,
    /// Who evaluates
    #[arg(long, value_enum, default_value = "interp")]
    pub(crate) evaluator: EvaluatorArg,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "jsonl")]
    pub(crate) output: MatchOutput,
}

/// Who evaluates rules.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum EvaluatorArg {
    /// The reference, rule by rule.
    Interp,
    /// Compiled tables; the same answers.
    Matcher,
}

/// How `match` answers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MatchOutput {
    /// A line a packet.
    Jsonl,
}

/// `podwire bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
RATIO is to the floor: one probe of a hash table by destination, protocol and port, and the load
of the endpoint that it leads to, on the same packets in turn. Exit code 1: a ratio is above the
baseline's.

Examples:
  podwire bench --services 1000,10000
  podwire bench --services 1000,10000,100000,1000000 -o json
  podwire bench --services 10000 --baseline before.json --fail-above 5%")]
pub(crate) struct BenchArgs {
    /// How many Services, each with three endpoints; several sizes with commas between. The reference
    /// is asked up to 10000
    #[arg(
        long,
        value_name = "N,N…",
        value_delimiter = ',',
        default_value = "1000,10000"
    )]
    pub(crate) services: Vec<u32>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: BenchOutput,
    /// Write the answer to a file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// What --save wrote, to compare ratios with
    #[arg(long, value_name = "FILE", requires = "fail_above")]
    pub(crate) baseline: Option<PathBuf>,
    /// How much higher than the baseline's a ratio may be
    #[arg(long, value_name = "P%", requires = "baseline")]
    pub(crate) fail_above: Option<Percent>,
}

/// How `bench` answers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BenchOutput {
    /// A table.
    Table,
    /// An object.
    Json,
    /// What github-action-benchmark reads as customSmallerIsBetter.
    Gha,
}

/// A share in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percent(f64);

/// Why a text is not a [`Percent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParsePercentError;

impl std::fmt::Display for ParsePercentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("accepted is a number that is not below 0, with or without % behind it")
    }
}

impl std::error::Error for ParsePercentError {}

impl std::str::FromStr for Percent {
    type Err = ParsePercentError;

    fn from_str(text: &str) -> Result<Self, ParsePercentError> {
        let number: f64 = text
            .strip_suffix('%')
            .unwrap_or(text)
            .parse()
            .map_err(|_| ParsePercentError)?;
        (number.is_finite() && number >= 0.0)
            .then_some(Self(number))
            .ok_or(ParsePercentError)
    }
}

impl Percent {
    /// What a value that may grow by so much is multiplied with.
    pub(crate) fn factor(self) -> f64 {
        1.0 + self.0 / 100.0
    }
}
