//! `podwire check`: a real node's rules beside those that the objects call for.

mod json;
mod text;

use std::io::Write;

use podwire_analysis::node_dump::{NodeDump, compare};
use podwire_cluster::Cluster;

use crate::args::{CheckArgs, CheckOutput, Global};
use crate::failure::{Answer, Failure};
use crate::files::{options, read_cluster, tell_policies};

pub(crate) fn run(
    global: &Global,
    args: &CheckArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let cluster = read_cluster(global, &args.cluster)?;
    tell_policies(global, &cluster);
    let version = options(&args.cluster)?.kube_proxy_version;
    let dump = NodeDump::read(&args.node_dump).map_err(|error| Failure::with_help("", &error))?;
    if !global.quiet {
        tell_unknown_files(&dump)?;
    }
    let node = node(&cluster, args.node.as_deref())?;
    let report = compare(&dump, &cluster, node, version).map_err(Failure::input)?;
    match args.output {
        CheckOutput::Text => text::write(&cluster, &report, out)?,
        CheckOutput::Json => json::write(&cluster, &report, out)?,
    }
    Ok(report.is_clean().into())
}

/// The node that is meant.
fn node<'a>(cluster: &'a Cluster, named: Option<&'a str>) -> Result<&'a str, Failure> {
    if let Some(name) = named {
        return Ok(name);
    }
    let mut nodes = cluster.nodes.keys();
    match (nodes.next(), nodes.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Failure::input("there are no nodes among the objects")),
        (Some(_), Some(_)) => {
            let names: Vec<&str> = cluster.nodes.keys().map(|name| &**name).collect();
            Err(Failure::input(format_args!(
                "--node is needed to say whose rules these are: there are {}",
                names.join(", ")
            )))
        }
    }
}

/// Says on standard error how many files were not used.
fn tell_unknown_files(dump: &NodeDump) -> Result<(), Failure> {
    let files = dump.files().iter().filter(|file| file.kind.is_none());
    let unknown: Vec<String> = files.map(|file| file.path.display().to_string()).collect();
    if !unknown.is_empty() {
        let (count, names) = (unknown.len(), unknown.join(", "));
        let files = if count == 1 { "file" } else { "files" };
        writeln!(
            anstream::stderr().lock(),
            "not used: {count} {files} that no program known here wrote: {names}"
        )?;
    }
    Ok(())
}
