//! `podwire policy`: what NetworkPolicies mean.

mod answer;
mod probe;
mod text;

use std::io::Write;

use podwire_cluster::Cluster;
use podwire_controlplane::network_policy::{Matrix, Policies, Traffic};

use self::answer::Answered;
use self::probe::{Probe, Resolver};
use crate::args::{Global, MatrixArgs, PolicyArgs, PolicyCommand, ProbeArgs, TextOrJson};
use crate::failure::{Answer, Failure};
use crate::files::{read_cluster, read_text};

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
        let traffic = resolver.traffic(&probe).map_err(Failure::Input)?;
        tell(&cluster, &policies, &probe, &traffic, args.output, out)?;
        return Ok(policies.allows(&traffic).into());
    };
    let text = read_text(path)?;
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = |column: usize, why: &dyn std::fmt::Display| {
            let (path, line) = (path.display(), number + 1);
            Failure::input(format_args!("{path}:{line}:{column}: {why}"))
        };
        let probe = Probe::of_line(line).map_err(|(column, why)| place(column, &why))?;
        let traffic = resolver.traffic(&probe).map_err(|why| place(1, &why))?;
        tell(&cluster, &policies, &probe, &traffic, args.output, out)?;
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
            let answer = Answered::of(cluster, probe, &verdict);
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
