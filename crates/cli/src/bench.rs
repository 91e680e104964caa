//! `podwire bench`: how long rule lookup takes.
//!
//! A cluster of N Services with three endpoints each is made, its rules are written as kube-proxy
//! writes them, and the first packets of flows to its ClusterIPs are looked up at PREROUTING in table
//! nat. Every answer is checked before it is timed.

use std::hint::black_box;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use podwire_cluster::Cluster;
use podwire_controlplane::kube_proxy::{IptablesProxier, KubeProxyVersion, ServicePorts};
use podwire_interp::Interp;
use podwire_matcher::Matcher;
use podwire_packet::{Family, Headers, Mark, Protocol, SimTime};
use podwire_ruleset::{
    Choose as _, Classify, ConntrackInfo, CtState, Draw, Hook, HostAddresses, NatKind, Packet,
    State, TableName,
};
use serde::Serialize;

use crate::args::{BenchArgs, BenchOutput, Global};
use crate::failure::{Answer, Failure};

/// Which Service a packet is for.
#[derive(Clone, Copy)]
enum Case {
    First,
    Last,
    Random,
    Miss,
}

impl Case {
    const ALL: [Self; 4] = [Self::First, Self::Last, Self::Random, Self::Miss];

    const fn name(self) -> &'static str {
        match self {
            Self::First => "clusterip/first",
            Self::Last => "clusterip/last",
            Self::Random => "clusterip/random",
            Self::Miss => "clusterip/miss",
        }
    }

    /// The Service's number, or one that there is not.
    fn service(self, draw: &mut Draw, services: u32) -> u32 {
        match self {
            Self::First => 0,
            Self::Last => services - 1,
            Self::Random => draw.one_of(services),
            Self::Miss => services,
        }
    }
}

/// One line of the result.
#[derive(Debug, Serialize)]
struct Row {
    case: &'static str,
    services: u32,
    evaluator: &'static str,
    /// Nanoseconds a lookup, the median of the rounds.
    ns: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
}

pub(crate) fn run(
    global: &Global,
    args: &BenchArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let sizes: Vec<u32> = args
        .services
        .iter()
        .copied()
        .filter(|&services| services > 0)
        .collect();
    if sizes.len() != args.services.len()
        || sizes
            .iter()
            .any(|&services| services > podwire_cluster::synthetic::MAX_SERVICES)
    {
        let most = podwire_cluster::synthetic::MAX_SERVICES;
        return Err(Failure::input(format_args!(
            "--services: accepted are numbers from 1 to {most}"
        )));
    }
    let bar = progress(global, sizes.len() * Case::ALL.len());
    let mut rows = Vec::new();
    for services in sizes {
        let cluster = podwire_cluster::synthetic::services(services, 3);
        let interp = interp_of(&cluster)?;
        let matcher = Matcher::new(interp.rules()).map_err(Failure::input)?;
        for case in Case::ALL {
            let times = [
                ("interp", measure(&interp, case, services, global.seed)?),
                ("matcher", measure(&matcher, case, services, global.seed)?),
            ];
            rows.extend(times.map(|(evaluator, ns)| Row {
                case: case.name(),
                services,
                evaluator,
                ns,
            }));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    match args.output {
        BenchOutput::Json => {
            serde_json::to_writer_pretty(&mut *out, &Report { rows })
                .map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        BenchOutput::Table => {
            writeln!(
                out,
                "{:<18} {:>9} {:<10} {:>12}",
                "CASE", "SERVICES", "EVALUATOR", "NS/LOOKUP"
            )?;
            for Row {
                case,
                services,
                evaluator,
                ns,
            } in rows
            {
                writeln!(out, "{case:<18} {services:>9} {evaluator:<10} {ns:>12.1}")?;
            }
        }
    }
    Ok(Answer::Yes)
}

/// A bar on a terminal, nothing elsewhere.
fn progress(global: &Global, steps: usize) -> ProgressBar {
    if global.quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} left {eta}");
    ProgressBar::new(steps as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn interp_of(cluster: &Cluster) -> Result<Interp, Failure> {
    let services = ServicePorts::new(cluster, Family::Ipv4, KubeProxyVersion::default());
    let node = cluster
        .nodes
        .keys()
        .next()
        .cloned()
        .unwrap_or_else(|| "".into());
    let proxier = IptablesProxier::new(cluster, &services, &node).map_err(Failure::input)?;
    Interp::new(proxier.rule_set()).map_err(Failure::input)
}

/// The median of several rounds, in nanoseconds a lookup.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures time; no answer depends on it"
)]
fn measure(
    evaluator: &impl Classify,
    case: Case,
    services: u32,
    seed: u64,
) -> Result<f64, Failure> {
    const ROUNDS: usize = 15;
    const PACKETS: usize = 64;
    let host = HostAddresses::of([IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1))]);
    let mut draw = Draw(seed);
    let packets: Vec<(Packet<'_>, bool)> = (0..PACKETS)
        .map(|_| {
            let service = case.service(&mut draw, services);
            (packet(&host, service), service < services)
        })
        .collect();
    let state = State::default();
    for (packet, hits) in &packets {
        let decision = evaluator.classify(TableName::Nat, packet, &state, &mut draw, &mut ());
        let is_dnat = decision.nat.is_some_and(|(kind, _)| kind == NatKind::Dnat);
        if is_dnat != *hits {
            return Err(Failure::input(
                "a lookup gave a wrong answer; nothing was measured",
            ));
        }
    }
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for (packet, _) in &packets {
                black_box(evaluator.classify(
                    TableName::Nat,
                    black_box(packet),
                    &state,
                    &mut draw,
                    &mut (),
                ));
            }
            start.elapsed().as_secs_f64() * 1e9 / packets.len() as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}

fn packet(host: &HostAddresses, service: u32) -> Packet<'_> {
    let (address, port) = podwire_cluster::synthetic::cluster_ip(service);
    Packet {
        headers: Headers::first_of_flow(
            IpAddr::V4(Ipv4Addr::new(10, 244, 0, 200)),
            address,
            Protocol::TCP,
            40_000,
            port,
        ),
        mark: Mark(0),
        hook: Hook::Prerouting,
        input: None,
        output: None,
        physdev_in: None,
        physdev_out: None,
        conntrack: ConntrackInfo::of_state(CtState::New),
        host,
        now: SimTime::START,
    }
}
