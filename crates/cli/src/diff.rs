//! `podwire diff`: which traffic do kube-proxy's modes, or two clusters, treat differently?

mod example;
mod json;
mod text;

use std::io::Write;
use std::path::PathBuf;

use podwire_analysis::{Class, Diff, Side};
use podwire_cluster::{Cluster, ObjectName};
use podwire_sim::{Options, World};

use crate::args::{DiffArgs, Global, Mode, TextOrJson};
use crate::failure::{Answer, Failure};
use crate::files::{options, read_cluster};

/// Modes that are compared unless said.
const MODES: [Mode; 3] = [Mode::Iptables, Mode::Nftables, Mode::Ipvs];

/// What was compared, and what came of it.
struct Report<'a> {
    args: &'a DiffArgs,
    sides: &'a [Side],
    /// What each side is made of, to ask about one packet.
    sources: Vec<SideSource<'a>>,
    diff: &'a Diff,
}

/// Where a side comes from.
struct SideSource<'a> {
    file: Option<&'a PathBuf>,
    mode: Option<Mode>,
}

pub(crate) fn run(
    global: &Global,
    args: &DiffArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let options = options(&args.cluster(None))?;
    let (sides, sources) = if args.states.is_empty() {
        of_modes(global, args)?
    } else {
        of_states(global, args)?
    };
    let diff = Diff::of(&sides, &options).map_err(Failure::input)?;
    let report = Report {
        args,
        sides: &sides,
        sources,
        diff: &diff,
    };
    let mut worlds = worlds(&sides, &options)?;
    match args.output {
        TextOrJson::Text => text::write(&report, &mut worlds, out)?,
        TextOrJson::Json => json::write(&report, &mut worlds, out)?,
    }
    Ok(diff.is_empty().into())
}

type Sides<'a> = (Vec<Side>, Vec<SideSource<'a>>);

/// One cluster in several modes.
fn of_modes<'a>(global: &Global, args: &'a DiffArgs) -> Result<Sides<'a>, Failure> {
    let modes = if args.modes.is_empty() {
        &MODES[..]
    } else {
        &args.modes
    };
    if let Some(twice) = modes
        .iter()
        .enumerate()
        .find(|(at, mode)| modes[..*at].contains(mode))
    {
        return Err(Failure::input(format_args!(
            "--modes: {} is there twice",
            twice.1.name()
        )));
    }
    if modes.len() < 2 {
        return Err(Failure::input(
            "--modes: two modes or more are compared, as in --modes iptables,nftables",
        ));
    }
    let cluster = read_cluster(global, &args.cluster(None))?;
    let sides = modes
        .iter()
        .map(|mode| Side::in_mode(&cluster, mode.name()));
    let sources = modes.iter().map(|&mode| SideSource {
        file: None,
        mode: Some(mode),
    });
    Ok((sides.collect(), sources.collect()))
}

/// Two clusters.
fn of_states<'a>(global: &Global, args: &'a DiffArgs) -> Result<Sides<'a>, Failure> {
    let mut sides = Vec::new();
    let mut sources = Vec::new();
    for file in &args.states {
        sides.push(Side {
            name: file.display().to_string(),
            cluster: read_cluster(global, &args.cluster(Some(file)))?,
        });
        sources.push(SideSource {
            file: Some(file),
            mode: None,
        });
    }
    Ok((sides, sources))
}

fn worlds<'c>(sides: &'c [Side], options: &Options) -> Result<Vec<World<'c>>, Failure> {
    let worlds = sides.iter().map(|side| World::new(&side.cluster, options));
    worlds.collect::<Result<_, _>>().map_err(Failure::input)
}

impl Report<'_> {
    fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.sides.iter().map(|side| &side.cluster)
    }

    /// Where a Service was read, on the first side that has it.
    fn place(&self, service: &ObjectName) -> Option<String> {
        self.clusters().find_map(|cluster| {
            let source = cluster.services.get(service)?.meta.source?;
            Some(cluster.place(source).to_string())
        })
    }

    /// Where kube-proxy's configuration was read.
    fn configuration_place(&self) -> Option<String> {
        self.clusters().find_map(|cluster| {
            let source = cluster.kube_proxy_source?;
            Some(cluster.place(source).to_string())
        })
    }

    /// The service ports of a class: `web 80/TCP`, by node port where that is what is asked.
    fn ports(&self, class: &Class) -> Vec<String> {
        let ports = class.ports.iter().map(|&index| &self.diff.ports[index]);
        let mut texts: Vec<String> = ports
            .map(|port| {
                let number = if class.destination.is_of_node() {
                    port.node_port
                } else {
                    port.port
                };
                let name = if port.name.is_empty() {
                    String::new()
                } else {
                    format!("{} ", port.name)
                };
                format!("{name}{number}/{}", port.protocol)
            })
            .collect();
        texts.dedup();
        texts
    }
}
