//! `podwire logs`: what a kube-proxy pod has logged.

use std::io::Write;

use podwire_cluster::{Cluster, Container, Pod, Timestamp};
use podwire_controlplane::kube_proxy::{KubeProxyVersion, Start, startup_log};

use crate::args::{Global, LogsArgs};
use crate::failure::{Answer, Failure};
use crate::files::{options, read_cluster};

/// The container of kube-proxy's pods, and the DaemonSet that makes them.
const KUBE_PROXY: &str = "kube-proxy";
/// Its namespace.
const NAMESPACE: &str = "kube-system";

/// A pod whose log is asked for.
struct Found<'c> {
    name: String,
    node: &'c str,
    pod: Option<&'c Pod>,
}

pub(crate) fn run(
    global: &Global,
    args: &LogsArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let cluster = read_cluster(global, &args.cluster)?;
    let (kind, name) = args
        .resource
        .split_once('/')
        .unwrap_or(("pod", &args.resource));
    let pods = kube_proxy_pods(&cluster);
    let in_namespace = args.cluster.namespace == NAMESPACE;
    let found = match kind {
        "ds" | "daemonset" | "daemonsets" | "daemonset.apps" | "daemonsets.apps" => {
            if name != KUBE_PROXY || !in_namespace {
                return not_found("daemonsets.apps", name);
            }
            let Some(first) = pods.first() else {
                return Err(Failure::input(
                    "there is no node that kube-proxy could run on",
                ));
            };
            if pods.len() > 1 && !global.quiet {
                let count = pods.len();
                // The answer is the same if nobody hears this.
                let _ = writeln!(
                    anstream::stderr(),
                    "Found {count} pods, using pod/{}",
                    first.name
                );
            }
            first
        }
        "pod" | "pods" | "po" => match pods.iter().find(|pod| in_namespace && pod.name == name) {
            Some(found) => found,
            None => {
                let mut pods = cluster.pods.keys();
                let is_there =
                    pods.any(|pod| *pod.namespace == *args.cluster.namespace && *pod.name == *name);
                if is_there {
                    return Err(Failure::input(format_args!(
                        "the log of pod {name} is not modelled: accepted is a pod of kube-proxy, or ds/kube-proxy"
                    )));
                }
                return not_found("pods", name);
            }
        },
        other => {
            return Err(Failure::input(format_args!(
                "logs of {other}/{name}: accepted is a pod, pod/NAME or ds/NAME"
            )));
        }
    };
    write_log(&cluster, args, found, out)
}

fn write_log(
    cluster: &Cluster,
    args: &LogsArgs,
    found: &Found<'_>,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let containers = found.pod.map_or(&[][..], |pod| &pod.containers);
    let named = args.container.as_ref().or(args.container_name.as_ref());
    let is_its = |name: &str| {
        name == KUBE_PROXY || containers.iter().any(|container| *container.name == *name)
    };
    if let Some(wrong) = named.filter(|name| !is_its(name)) {
        let name = &found.name;
        say(&format!(
            "error: container {wrong} is not valid for pod {name}"
        ));
        return Ok(Answer::No);
    }
    let container = containers
        .iter()
        .find(|container| &*container.name == KUBE_PROXY);
    let restarts = container.map_or(0, |container| container.restarts);
    if args.previous && restarts == 0 {
        let name = &found.name;
        say(&format!(
            "Error from server (BadRequest): previous terminated container \"{KUBE_PROXY}\" in pod \"{name}\" not found"
        ));
        return Ok(Answer::No);
    }
    let is_first = restarts == 0 || (args.previous && restarts == 1);
    let start = if is_first { Start::First } else { Start::Again };
    let version = match (
        &args.cluster.kube_proxy_version,
        container.and_then(release),
    ) {
        // The image says it, unless the command line does.
        (None, Some(version)) => version,
        _ => options(&args.cluster)?.kube_proxy_version,
    };
    let lines = startup_log(cluster, found.node, version, start).map_err(Failure::input)?;
    let began = found.pod.and_then(|pod| pod.started).unwrap_or_default();
    let tail = usize::try_from(args.tail).unwrap_or(usize::MAX);
    let shown = lines.len().saturating_sub(tail);
    for line in &lines[shown..] {
        if args.timestamps {
            let moment: Timestamp = began + line.after;
            let (_, _, _, micros) = moment.time();
            let to_the_second = moment.to_string();
            let to_the_second = to_the_second.trim_end_matches('Z');
            write!(out, "{to_the_second}.{micros:06}000Z ")?;
        }
        writeln!(out, "{}", line.started_at(began))?;
    }
    Ok(Answer::Yes)
}

/// kube-proxy's pods: those among the objects, else one for each node, named after it.
fn kube_proxy_pods(cluster: &Cluster) -> Vec<Found<'_>> {
    let pods = cluster.pods.values().filter_map(|pod| {
        let is_kube_proxy = &*pod.meta.name.namespace == NAMESPACE
            && pod.meta.labels.get("k8s-app").map_or_else(
                || pod.meta.name.name.starts_with("kube-proxy-"),
                |app| &**app == KUBE_PROXY,
            );
        let (node, _) = cluster.nodes.get_key_value(pod.node.as_deref()?)?;
        is_kube_proxy.then(|| Found {
            name: pod.meta.name.name.to_string(),
            node,
            pod: Some(pod),
        })
    });
    let mut found: Vec<Found<'_>> = pods.collect();
    for node in cluster.nodes.keys() {
        if !found.iter().any(|of| *of.node == **node) {
            found.push(Found {
                name: format!("{KUBE_PROXY}-{node}"),
                node,
                pod: None,
            });
        }
    }
    found
}

/// The release that an image's tag names.
fn release(container: &Container) -> Option<KubeProxyVersion> {
    let (_, tag) = container.image.rsplit_once(':')?;
    tag.parse().ok()
}

fn not_found(kind: &str, name: &str) -> Result<Answer, Failure> {
    say(&format!(
        "Error from server (NotFound): {kind} \"{name}\" not found"
    ));
    Ok(Answer::No)
}

/// Says on standard error what kubectl says there.
fn say(text: &str) {
    // Nothing is left to tell if standard error is closed.
    let _ = writeln!(anstream::stderr(), "{text}");
}
