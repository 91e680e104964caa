//! `kubernetes [ZONES…] { … }`.

use super::super::kubernetes::{Kubernetes, PodMode};
use super::super::{Refusal, ZoneName, go};
use super::{Controller, forward, selector};
use crate::version::Version;

pub(super) fn read(c: &mut Controller<'_>) -> Result<Kubernetes, Refusal> {
    let mut found = None;
    let mut uses = 0;
    while c.next_and_only(&mut uses)? {
        let args = c.remaining_args();
        let zones = c.zones(&args);
        let Some(primary) = zones.iter().position(|zone| !zone.is_reverse()) else {
            return Err(c.plain("non-reverse zone name must be used"));
        };
        let mut kubernetes = Kubernetes::new(zones, primary);
        while let Some(option) = c.next_option() {
            self::option(c, &option, &mut kubernetes)?;
        }
        let by_label = kubernetes.namespace_labels.is_some();
        if !kubernetes.namespaces.is_empty() && by_label {
            return Err(c.err("namespaces and namespace_labels cannot both be set"));
        }
        let known = |zone: &ZoneName| kubernetes.zones.contains(zone);
        if let Some(zone) = kubernetes.multicluster.iter().find(|zone| !known(zone)) {
            let message = format!("is not authoritative for the multicluster zone {zone}");
            return Err(c.plain(message));
        }
        found = Some(kubernetes);
    }
    found.ok_or_else(|| c.arg_err())
}

/// The options.
const OPTIONS: [&str; 17] = [
    "endpoint",
    "endpoint_pod_names",
    "fallthrough",
    "ignore",
    "kubeconfig",
    "labels",
    "multicluster",
    "namespace_labels",
    "namespaces",
    "noendpoints",
    "pods",
    "resyncperiod",
    "startup_timeout",
    "tls",
    "transfer",
    "ttl",
    "upstream",
];

fn option(
    c: &mut Controller<'_>,
    option: &str,
    kubernetes: &mut Kubernetes,
) -> Result<(), Refusal> {
    if !OPTIONS.contains(&option) {
        return Err(c.unknown_property());
    }
    let args = c.remaining_args();
    match (option, &*args) {
        ("endpoint_pod_names", []) => kubernetes.endpoint_pod_names = true,
        ("pods", [mode]) => {
            kubernetes.pods = match &**mode {
                "disabled" => PodMode::Disabled,
                "insecure" => PodMode::Insecure,
                "verified" => PodMode::Verified,
                other => {
                    return Err(c.plain(format!(
                        "wrong value for pods: {other},  must be one of: disabled, verified, insecure"
                    )));
                }
            };
        }
        ("namespaces", [_, ..]) => {
            kubernetes
                .namespaces
                .extend(args.iter().map(|name| name.to_string()));
        }
        ("endpoint", [_, ..]) | ("tls", [_, _, _]) | ("kubeconfig", [_, _]) => {}
        ("kubeconfig", [_]) if c.version >= Version::new(1, 7, 1) => {}
        ("labels" | "namespace_labels", [_, ..]) => {
            let text = args.join(" ");
            let read = selector::parse(&text).map_err(|why| {
                let what = option.trim_end_matches('s');
                c.plain(format!(
                    "unable to parse {what} selector value: '{text}': {why}"
                ))
            })?;
            if option == "labels" {
                kubernetes.labels = Some(read);
            } else {
                kubernetes.namespace_labels = Some(read);
            }
        }
        ("fallthrough", zones) => {
            kubernetes.fallthrough = super::Fallthrough(if zones.is_empty() {
                vec![ZoneName::root()]
            } else {
                c.zones(zones)
            });
        }
        ("ttl", [text, ..]) => {
            let ttl = c.go(go::atoi(text))?;
            let within = u32::try_from(ttl).ok().filter(|ttl| *ttl <= 3600);
            let refuse = || c.err(format!("ttl must be in range [0, 3600]: {ttl}"));
            kubernetes.ttl = within.ok_or_else(refuse)?;
        }
        ("noendpoints", []) => kubernetes.noendpoints = true,
        ("ignore", [what, ..]) if &**what == "empty_service" => {
            kubernetes.ignore_empty_service = true;
        }
        ("ignore", [what, ..]) => {
            return Err(c.plain(format!("unable to parse ignore value: '{what}'")));
        }
        ("ignore", []) => {}
        ("resyncperiod", [text, ..]) => {
            go::parse_duration(text).map_err(|why| {
                c.plain(format!(
                    "unable to parse resync duration value: '{text}': {why}"
                ))
            })?;
        }
        ("upstream", addresses) => {
            // From 1.4.0 on they are read over.
            if !addresses.is_empty() && c.version < Version::new(1, 4, 0) {
                forward::upstreams(c, addresses)?;
            }
        }
        ("transfer", _) => {}
        ("startup_timeout", [text]) => {
            c.go(go::parse_duration(text))?;
        }
        ("multicluster", zones) => kubernetes.multicluster = c.zones(zones),
        _ => return Err(c.arg_err()),
    }
    Ok(())
}
