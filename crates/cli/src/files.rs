//! Files in.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use podwire_cluster::{
    Cluster, Cni, Events, FlannelBackend, InvalidField, KubeProxyConfiguration, ProxyMode, Warning,
    load, read_inputs,
};
use podwire_controlplane::kube_proxy::KubeProxyVersion;
use podwire_packet::{Family, Prefix};
use podwire_sim::{Options, TimelineError};

use crate::args::{ClusterArgs, Global};
use crate::failure::Failure;

/// Reads the cluster and applies what the command line changes of it.
pub(crate) fn read_cluster(global: &Global, args: &ClusterArgs) -> Result<Cluster, Failure> {
    let inputs = read_inputs(&args.filename).map_err(|error| Failure::with_help("", &error))?;
    let mut cluster = load(inputs).map_err(Failure::input)?;
    configure(&mut cluster, args)?;
    tell_oddities(global, &cluster);
    tell_release(global, &cluster, options(args)?.kube_proxy_version);
    Ok(cluster)
}

/// Reads the objects of files, for verbs that have nothing to change of them.
pub(crate) fn read_objects(global: &Global, paths: &[PathBuf]) -> Result<Cluster, Failure> {
    let inputs = read_inputs(paths).map_err(|error| Failure::with_help("", &error))?;
    let cluster = load(inputs).map_err(Failure::input)?;
    tell_oddities(global, &cluster);
    Ok(cluster)
}

/// Reads events, and the cluster that they happen to: that of the command line, or the one they name.
pub(crate) fn read_events(
    global: &Global,
    path: &Path,
    args: &ClusterArgs,
) -> Result<Events, Failure> {
    let text = read_text(path)?;
    let given = if args.filename.is_empty() {
        None
    } else {
        let inputs = read_inputs(&args.filename).map_err(|error| Failure::with_help("", &error))?;
        Some(load(inputs).map_err(Failure::input)?)
    };
    let events = podwire_cluster::read_events(path, &text, given);
    let mut events = events.map_err(Failure::input)?;
    for change in &mut events.changes {
        configure(&mut change.cluster, args)?;
    }
    if !global.quiet {
        for unused in &events.unused {
            // The answer is the same if nobody hears this.
            let _ = writeln!(anstream::stderr(), "warning: {unused}");
        }
    }
    if let Some(first) = events.changes.first() {
        tell_oddities(global, &first.cluster);
        tell_release(global, &first.cluster, options(args)?.kube_proxy_version);
    }
    Ok(events)
}

/// Says what is wrong with a timeline. A fault of a probe is one of the events' file.
pub(crate) fn timeline_failure(events: &Path, error: &TimelineError) -> Failure {
    if matches!(error, TimelineError::Probe { .. }) {
        Failure::input(format_args!("{}:{error}", events.display()))
    } else {
        Failure::input(error)
    }
}

/// Applies what the command line changes.
fn configure(cluster: &mut Cluster, args: &ClusterArgs) -> Result<(), Failure> {
    let mut cni = None;
    for setting in &args.set {
        let (field, value) = setting.split_once('=').ok_or_else(|| {
            Failure::input(format_args!(
                "--set {setting}: accepted is FIELD=VALUE, as in iptables.masqueradeAll=true"
            ))
        })?;
        if field == "cni" {
            cni = Some(parse_cni(value)?);
        } else {
            let config = cluster.kube_proxy.get_or_insert_default();
            config
                .set(field, value)
                .map_err(|error| Failure::with_help(&format!("--set {setting}: "), &error))?;
        }
    }
    // It looks at the configuration, so that comes first, wherever it stands on the line.
    if let Some(cni) = cni {
        set_cni(cluster, cni);
    }
    if let Some(mode) = args.mode {
        cluster.kube_proxy.get_or_insert_default().mode = mode.name().to_owned();
    }
    let config = cluster.kube_proxy.as_ref();
    if let Some(invalid) = config.and_then(|config| config.validate().into_iter().next()) {
        let InvalidField {
            field,
            value,
            accepted,
            ..
        } = invalid;
        return Err(Failure::input(format_args!(
            "kube-proxy's `{field}` is {value:?}\n  help: accepted: {accepted}"
        )));
    }
    Ok(())
}

/// Reads a later state of a cluster: other objects, the same configuration and network.
pub(crate) fn read_state(
    global: &Global,
    path: &Path,
    first: &Cluster,
) -> Result<Cluster, Failure> {
    let inputs = read_inputs(&[path.to_owned()]).map_err(|error| Failure::with_help("", &error))?;
    let mut state = load(inputs).map_err(Failure::input)?;
    if let Some(source) = state.kube_proxy_source {
        state.warnings.push(Warning {
            source: Some(source),
            text: "not used: a kube-proxy that runs does not read its configuration again"
                .to_owned(),
        });
    }
    state.kube_proxy.clone_from(&first.kube_proxy);
    state.network.clone_from(&first.network);
    tell_oddities(global, &state);
    Ok(state)
}

/// The options of a simulation.
pub(crate) fn options(args: &ClusterArgs) -> Result<Options, Failure> {
    let version = args.kube_proxy_version.as_deref();
    let kube_proxy_version = version
        .map_or_else(|| Ok(KubeProxyVersion::default()), str::parse)
        .map_err(|error| Failure::input(format_args!("--kube-proxy-version: {error}")))?;
    Ok(Options {
        kube_proxy_version,
        ..Options::default()
    })
}

/// Changes the pod network's plugin. flannel, as its manifest runs it, masquerades what leaves the
/// pod range. Kubernetes objects name that only in kube-proxy's configuration; without one it is
/// taken to be the smallest range that holds the nodes' podCIDRs.
fn set_cni(cluster: &mut Cluster, cni: Cni) {
    cluster.network.cni = cni;
    cluster.network.ip_masq |= matches!(cni, Cni::Flannel(_));
    if !cluster.network.pod_cidrs.is_empty() {
        return;
    }
    let configured = cluster
        .kube_proxy
        .iter()
        .flat_map(|config| config.cluster_cidr.split(','));
    let mut ranges: Vec<Prefix> = configured
        .filter_map(|cidr| cidr.trim().parse().ok())
        .collect();
    if ranges.is_empty() {
        ranges.extend([Family::Ipv4, Family::Ipv6].iter().filter_map(|&family| {
            let of_nodes = cluster.nodes.values();
            smallest_around(of_nodes.filter_map(|node| node.pod_cidr(family)))
        }));
    }
    cluster.network.pod_cidrs = ranges;
}

/// The smallest prefix that holds prefixes of one family.
fn smallest_around(mut prefixes: impl Iterator<Item = Prefix>) -> Option<Prefix> {
    let first = prefixes.next()?;
    Some(prefixes.fold(first, |around, prefix| {
        let lengths = (0..=around.len().min(prefix.len())).rev();
        lengths
            .map(|length| Prefix::new(around.address(), length))
            .find(|wider| wider.contains(prefix.address()))
            .unwrap_or(around)
    }))
}

fn parse_cni(text: &str) -> Result<Cni, Failure> {
    let vxlan = |direct_routing| {
        Cni::Flannel(FlannelBackend::Vxlan {
            vni: 1,
            port: 8_472,
            direct_routing,
        })
    };
    match text {
        "routes" => Ok(Cni::Routes),
        "bridge" => Ok(Cni::Bridge),
        "flannel" | "flannel-vxlan" => Ok(vxlan(false)),
        "flannel-direct" => Ok(vxlan(true)),
        "flannel-host-gw" => Ok(Cni::Flannel(FlannelBackend::HostGw)),
        "weave" => Ok(Cni::Weave),
        other => Err(Failure::input(format_args!(
            "--set cni={other}: accepted are routes, bridge, flannel-vxlan, flannel-direct, flannel-host-gw and weave"
        ))),
    }
}

/// Says on standard error what was odd in the input, and what was not used of it.
fn tell_oddities(global: &Global, cluster: &Cluster) {
    if global.quiet {
        return;
    }
    // The answer is the same if nobody hears this.
    let _ = write_oddities(global, cluster, &mut anstream::stderr().lock());
}

/// Says on standard error that the pod network does nothing about policies.
pub(crate) fn tell_policies(global: &Global, cluster: &Cluster) {
    let (count, cni) = (cluster.network_policies.len(), cluster.network.cni);
    if global.quiet || count == 0 || cni.enforces_policies() {
        return;
    }
    let (policies, have) = match count {
        1 => ("NetworkPolicy", "has"),
        _ => ("NetworkPolicies", "have"),
    };
    // The answer is the same if nobody hears this.
    let _ = writeln!(
        anstream::stderr(),
        "note: {count} {policies} {have} no effect on packets: {} enforces none; --set cni=weave does",
        cni.name()
    );
}

/// Says on standard error that a release has no userspace mode.
fn tell_release(global: &Global, cluster: &Cluster, version: KubeProxyVersion) {
    let config = cluster.kube_proxy.as_ref();
    let mode = config.map(KubeProxyConfiguration::proxy_mode);
    if global.quiet || mode != Some(ProxyMode::Userspace) || version < KubeProxyVersion::V1_26 {
        return;
    }
    // The answer is the same if nobody hears this.
    let _ = writeln!(
        anstream::stderr(),
        "warning: kube-proxy {version} has no userspace mode: it went with 1.26, and what is shown is as of 1.25"
    );
}

fn write_oddities(global: &Global, cluster: &Cluster, err: &mut impl Write) -> io::Result<()> {
    /// Warnings told unless asked for more.
    const TOLD: usize = 10;
    let told = if global.verbose > 0 { usize::MAX } else { TOLD };
    for warning in cluster.warnings.iter().take(told) {
        match warning.source {
            Some(source) => writeln!(err, "warning: {}: {}", cluster.place(source), warning.text)?,
            None => writeln!(err, "warning: {}", warning.text)?,
        }
    }
    let more = cluster.warnings.len().saturating_sub(told);
    if more > 0 {
        writeln!(err, "warning: {more} more like these; -v shows all")?;
    }
    if !cluster.unused_kinds.is_empty() {
        let kinds: Vec<String> = cluster
            .unused_kinds
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        writeln!(err, "not used: {}", kinds.join(", "))?;
    }
    let config = cluster.kube_proxy.as_ref();
    let fields = config.map_or_else(Vec::new, KubeProxyConfiguration::without_effect);
    if !fields.is_empty() {
        let fields = fields.join(", ");
        writeln!(
            err,
            "without effect here, of kube-proxy's configuration: {fields}"
        )?;
    }
    Ok(())
}

/// Reads a Corefile or a zone: a text that a person writes, and no device without an end.
pub(crate) fn read_short_text(path: &Path) -> Result<String, Failure> {
    let text = podwire_cluster::read_text_up_to(path, podwire_cluster::LONGEST_TEXT);
    text.map_err(|error| Failure::with_help("", &error))
}

/// Reads a whole text file, or standard input for `-`.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    podwire_cluster::read_text(path).map_err(|error| Failure::with_help("", &error))
}
