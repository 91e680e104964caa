//! `podwire policy`: what NetworkPolicies mean.

mod answer;
mod probe;
mod service;
mod text;

use std::io::Write;

use podwire_cluster::Cluster;
use podwire_controlplane::network_policy::{Matrix, Policies, Traffic};

use self::answer::Answered;
use self::probe::{Probe, Resolver};
use crate::args::{Global, MatrixArgs, PolicyArgs, PolicyCommand, ProbeArgs, TextOrJson};
use crate::failure::{Answer, Failure};
use crate::files::read_cluster;
use crate::jsonl::{self, Line};

pub(crate) fn run(
    global: &Global,
    args: &PolicyArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    match &args.command {
        PolicyCommand::Probe(args) => probe(global, args, out),
        PolicyCommand::Matrix(args) => matrix(global, args, out),
    }
}

fn probe(global: &Global, args: &ProbeArgs, out: &mut impl Write) -> Result<Answer, Failure> {
    let cluster = read_cluster(global, &args.cluster)?;
    let policies = Policies::new(&cluster);
    let resolver = Resolver {
        cluster: &cluster,
        policies: &policies,
        namespace: &args.cluster.namespace,
    };
    let Some(path) = &args.probes else {
        let probe = Probe::of_arguments(args)?;
        let all = resolver.all(&probe).map_err(Failure::Input)?;
        let mut allowed = true;
        for (probe, traffic) in &all {
            tell(&cluster, &policies, probe, traffic, args.output, out)?;
            allowed &= policies.allows(traffic);
        }
        return Ok(allowed.into());
    };
    for Line { number, value } in jsonl::read::<Probe>(path, "a probe")? {
        let all = resolver.all(&value);
        let all = all.map_err(|why| jsonl::fault(path, number, 1, &why))?;
        // A question has one answer: where a Service has several, the first that is a no.
        let denied = all.iter().find(|(_, traffic)| !policies.allows(traffic));
        if let Some((probe, traffic)) = denied.or(all.first()) {
            tell(&cluster, &policies, probe, traffic, args.output, out)?;
        }
    }
    Ok(Answer::Yes)
}

fn tell(
    cluster: &Cluster,
    policies: &Policies<'_>,
    probe: &Probe,
    traffic: &Traffic<'_>,
    output: TextOrJson,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let verdict = policies.verdict(traffic);
    match output {
        TextOrJson::Text => text::write(cluster, probe, traffic, &verdict, out)?,
        TextOrJson::Json => {
            let answer = Answered::of(cluster, probe, traffic, &verdict);
            serde_json::to_writer(&mut *out, &answer).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

fn matrix(global: &Global, args: &MatrixArgs, out: &mut impl Write) -> Result<Answer, Failure> {
    let cluster = read_cluster(global, &args.cluster)?;
    let policies = Policies::new(&cluster);
    let matrix = Matrix::new(&policies, args.family.into(), args.proto, args.port);
    let names = matrix.pods().iter().map(|pod| pod.meta.name.to_string());
    let names: Vec<String> = names.collect();
    let width = names.iter().map(|name| name.chars().count()).max();
    let width = width.unwrap_or_default();
    for (from, name) in names.iter().enumerate() {
        let marks = (0..names.len()).map(|to| if matrix.allows(from, to) { '.' } else { 'X' });
        writeln!(out, "{name:width$}  {}", marks.collect::<String>())?;
    }
    Ok(Answer::Yes)
}
