//! An answer as a person reads it.

use std::io::{self, Write};

use podwire_cluster::{Cluster, PolicyType};
use podwire_controlplane::network_policy::{
    Exemption, JudgedPolicy, JudgedRule, Side, Traffic, Verdict,
};

use super::probe::Probe;

pub(super) fn write(
    cluster: &Cluster,
    probe: &Probe,
    traffic: &Traffic<'_>,
    verdict: &Verdict<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let (protocol, port) = (traffic.protocol, traffic.port);
    let word = allowed(verdict.allowed());
    let (from, to) = (traffic.from.address, traffic.to.address);
    writeln!(
        out,
        "{} ({from}) to {} ({to}) port {port}/{protocol}: {word}",
        probe.from, probe.to
    )?;
    for side in [&verdict.egress, &verdict.ingress] {
        write_side(cluster, side, out)?;
    }
    if !cluster.network.cni.enforces_policies() && !cluster.network_policies.is_empty() {
        let cni = cluster.network.cni.name();
        writeln!(
            out,
            "  note: {cni} enforces no policies: all of this passes there"
        )?;
    }
    Ok(())
}

const fn allowed(yes: bool) -> &'static str {
    if yes { "allowed" } else { "denied" }
}

fn write_side(cluster: &Cluster, side: &Side<'_>, out: &mut impl Write) -> io::Result<()> {
    let way = match side.way {
        PolicyType::Ingress => "ingress",
        PolicyType::Egress => "egress",
    };
    let word = allowed(side.allowed());
    let Some(pod) = side.pod else {
        return writeln!(out, "  {way} {word}: no pod is there");
    };
    let pod = &pod.meta.name;
    match (side.exemption, side.policies.as_slice()) {
        (Some(Exemption::Itself), _) => writeln!(out, "  {way} {word}: a pod reaches itself"),
        (Some(Exemption::OwnNode), _) => {
            writeln!(
                out,
                "  {way} {word}: a pod and its own node reach each other"
            )
        }
        (None, []) => writeln!(out, "  {way} {word}: no policy isolates pod {pod}"),
        (None, policies) => {
            writeln!(out, "  {way} {word}: pod {pod} is isolated by")?;
            policies
                .iter()
                .try_for_each(|judged| write_policy(cluster, judged, out))
        }
    }
}

fn write_policy(
    cluster: &Cluster,
    judged: &JudgedPolicy<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let meta = &judged.policy.meta;
    let place = meta
        .source
        .map(|source| format!(" ({})", cluster.place(source)));
    writeln!(out, "    {}{}", meta.name, place.unwrap_or_default())?;
    if judged.rules.is_empty() {
        return writeln!(out, "      no rules: it lets nothing through");
    }
    for (number, rule) in (1..).zip(&judged.rules) {
        let why = match rule {
            JudgedRule {
                peers: true,
                ports: true,
            } => "lets this through",
            JudgedRule {
                peers: true,
                ports: false,
            } => "is for other ports",
            JudgedRule {
                peers: false,
                ports: true,
            } => "is for other peers",
            JudgedRule {
                peers: false,
                ports: false,
            } => "is for other peers and other ports",
        };
        writeln!(out, "      rule {number} {why}")?;
    }
    Ok(())
}
