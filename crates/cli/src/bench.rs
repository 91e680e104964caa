//! `podwire bench`: how long rule lookup takes.
//!
//! The rules of N Services with three endpoints each are written as kube-proxy writes them and compiled,
//! and the first packets of flows to ClusterIPs are looked up at PREROUTING in table nat: the whole
//! decision, from a packet in memory to the endpoint. Every answer is checked before it is timed.
//!
//! What is judged is the ratio to the `floor`: one probe of a hash table by destination, protocol and
//! port, and the load of the endpoint that it leads to. Both are asked about the same packets one after
//! the other, in pairs of rounds, and the median is over the pairs ([`mod@pairs`]): nanoseconds differ from
//! minute to minute on a shared machine, ratios within a pair do so less. All times are CPU time of the
//! thread. `bare-probe` is the probe alone.
//!
//! A packet is its headers, 52 bytes; all come by one device. Those to random Services are so many that they
//! do not stay in the nearer caches: 65,536 (3 MB), and 1,048,576 (55 MB) from 100,000 Services on; where no
//! Service is found a quarter of that. No huge pages are asked for.
//!
//! Memory is what the process grew by, so all sizes are compiled first, the smallest first: memory that
//! was let go and is used again would not be counted. That a lookup allocates nothing is not measured
//! here but by the tests of `podwire-matcher` and by `make gate`.

mod asked;
mod pairs;
mod report;
mod resident;
mod text;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use indicatif::{ProgressBar, ProgressStyle};
use podwire_cluster::synthetic::MAX_SERVICES;
use podwire_interp::Interp;
use podwire_matcher::Matcher;
use podwire_packet::Family;
use podwire_ruleset::{Draw, HostAddresses, iptables};

use crate::args::{BenchArgs, BenchOutput, Global};
use crate::bench::asked::{
    Asked, BATCH, BareProbe, Batch, Case, Floor, One, Packets, Reference, Table,
};
use crate::bench::pairs::{Pairs, pairs, thread_time};
use crate::bench::report::{Build, Report, Row};
use crate::bench::text::Text;
use crate::failure::{Answer, Failure};

/// The most Services at which the reference is asked.
const MAX_REFERENCE: u32 = 10_000;

/// Pairs of rounds of the probe alone, which is there for orientation.
const BARE_PAIRS: usize = 11;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    /// Pairs of rounds.
    pairs: usize,
    packets: usize,
}

impl Effort {
    /// A build for debugging only shows that all of it runs.
    const fn new(case: Case, services: u32) -> Self {
        let is_random = matches!(case, Case::Random | Case::Miss);
        if cfg!(debug_assertions) {
            Self {
                pairs: 1,
                packets: 2 * BATCH,
            }
        } else if services >= 100_000 && is_random {
            Self {
                pairs: 31,
                packets: if matches!(case, Case::Random) {
                    1 << 20
                } else {
                    1 << 18
                },
            }
        } else {
            Self {
                pairs: 101,
                packets: 1 << 16,
            }
        }
    }

    /// The reference looks at each rule: so many packets that a round looks at some two million.
    fn of_reference(services: u32) -> Self {
        let packets = usize::try_from(2_000_000 / services).unwrap_or(BATCH);
        let of_matcher = Self::new(Case::Last, services);
        Self {
            pairs: of_matcher.pairs.min(31),
            packets: packets.clamp(BATCH, 4_096).min(of_matcher.packets),
        }
    }
}

pub(crate) fn run(
    global: &Global,
    args: &BenchArgs,
    out: &mut impl Write,
) -> Result<Answer, Failure> {
    let mut sizes = args.services.clone();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes
        .iter()
        .any(|services| !(1..=MAX_SERVICES).contains(services))
    {
        return Err(Failure::input(format_args!(
            "--services: accepted are numbers from 1 to {MAX_SERVICES}"
        )));
    }
    let baseline = args.baseline.as_deref().map(Report::read).transpose()?;
    let bar = progress(global, &sizes);
    let mut report = Report::default();
    let mut matchers = Vec::with_capacity(sizes.len());
    for &services in &sizes {
        let (matcher, build) = compile(services)?;
        report.builds.push(build);
        matchers.push((services, matcher));
        bar.inc(1);
    }
    for (services, matcher) in matchers {
        let table = Table::new(services);
        for case in Case::ALL {
            let rows = of_case(&matcher, &table, case, services, global.seed)?;
            report.rows.extend(rows);
            bar.inc(1);
        }
        if services <= MAX_REFERENCE {
            let rows = of_reference(services, global.seed, &bar)?;
            report.rows.extend(rows);
        }
    }
    bar.finish_and_clear();
    if let Some(path) = &args.save {
        report.save(path)?;
    }
    match args.output {
        BenchOutput::Json => report.json(out)?,
        BenchOutput::Gha => report.gha(out)?,
        BenchOutput::Table => report.table(out)?,
    }
    match (baseline, args.fail_above) {
        (Some(baseline), Some(by)) if report.is_comparable(&baseline) => {
            let slower = report.slower_than(&baseline, by);
            for line in &slower {
                writeln!(anstream::stderr(), "slower: {line}")?;
            }
            Ok(slower.is_empty().into())
        }
        (Some(_), Some(_)) => Err(Failure::input(
            "--baseline: no row is of the same case, size and evaluator as one measured here",
        )),
        (_, _) => Ok(Answer::Yes),
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(global: &Global, sizes: &[u32]) -> ProgressBar {
    if global.quiet {
        return ProgressBar::hidden();
    }
    let reference = sizes.iter().filter(|own| **own <= MAX_REFERENCE).count();
    let steps = sizes.len() * (1 + Case::ALL.len()) + reference * Case::ALL.len();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} left {eta}");
    ProgressBar::new(steps as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Compiles the rules of so many Services from their text.
fn compile(services: u32) -> Result<(Matcher, Build), Failure> {
    let mut text = Text::new(services)?;
    resident::forget_peak();
    let before = resident::resident();
    let start = thread_time();
    let (matcher, _) = Matcher::read(&mut text, Family::Ipv4).map_err(Failure::input)?;
    let taken = thread_time().saturating_sub(start + text.making);
    let growth = before
        .zip(resident::resident())
        .map(|((before, _), (now, peak))| {
            (now.saturating_sub(before), peak.saturating_sub(before))
        });
    let build = Build {
        services,
        rules: text.rules(),
        text_bytes: text.bytes,
        seconds: taken.as_secs_f64(),
        matcher_bytes: growth.map(|(matcher, _)| matcher),
        peak_bytes: growth.map(|(_, peak)| peak),
    };
    Ok((matcher, build))
}

fn host() -> HostAddresses {
    HostAddresses::of([IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1))])
}

/// The compiled matcher, both ways to ask it.
fn of_case(
    matcher: &Matcher,
    table: &Table,
    case: Case,
    services: u32,
    seed: u64,
) -> Result<[Row; 2], Failure> {
    let effort = Effort::new(case, services);
    let host = host();
    let packets = Packets::new(case, services, effort.packets, seed, &host);
    let mut floor = Floor(table, Draw(seed));
    let mut bare = BareProbe(table);
    let (mut one, mut batch) = (One(matcher, Draw(seed)), Batch(matcher, Draw(seed)));
    check(&mut floor, &packets)?;
    check(&mut bare, &packets)?;
    check(&mut one, &packets)?;
    check(&mut batch, &packets)?;
    let all = &packets;
    let bare = pairs(effort.pairs.min(BARE_PAIRS), all, &mut bare, &mut floor);
    let row = |evaluator, of: Pairs| row(case, services, evaluator, &of, bare.ns, effort);
    Ok([
        row("matcher", pairs(effort.pairs, all, &mut one, &mut floor)),
        row(
            "matcher-batch",
            pairs(effort.pairs, all, &mut batch, &mut floor),
        ),
    ])
}

/// The reference, beside the compiled matcher.
fn of_reference(services: u32, seed: u64, bar: &ProgressBar) -> Result<Vec<Row>, Failure> {
    let mut text = String::new();
    let mut made = Text::new(services)?;
    std::io::Read::read_to_string(&mut made, &mut text).map_err(Failure::input)?;
    let parsed = iptables::parse(&text, Family::Ipv4).map_err(Failure::input)?;
    let matcher = Matcher::new(&parsed.rules).map_err(Failure::input)?;
    let interp = Interp::new(parsed.rules).map_err(Failure::input)?;
    let table = Table::new(services);
    let effort = Effort::of_reference(services);
    let host = host();
    let mut rows = Vec::new();
    for case in Case::ALL {
        let packets = Packets::new(case, services, effort.packets, seed, &host);
        let mut floor = Floor(&table, Draw(seed));
        let mut reference = Reference(&interp, Draw(seed));
        let mut one = One(&matcher, Draw(seed));
        check(&mut floor, &packets)?;
        check(&mut reference, &packets)?;
        check(&mut one, &packets)?;
        let all = &packets;
        let bare = pairs(
            effort.pairs.min(BARE_PAIRS),
            all,
            &mut BareProbe(&table),
            &mut floor,
        );
        let to_floor = pairs(effort.pairs, all, &mut reference, &mut floor);
        let to_matcher = pairs(effort.pairs, all, &mut reference, &mut one);
        rows.push(Row {
            ratio_to_matcher: Some(to_matcher.ratio[1]),
            ..row(case, services, "interp", &to_floor, bare.ns, effort)
        });
        bar.inc(1);
    }
    Ok(rows)
}

fn check(asked: &mut impl Asked, packets: &Packets<'_>) -> Result<(), Failure> {
    if asked.is_right(packets) {
        return Ok(());
    }
    Err(Failure::input(
        "a lookup gave a wrong answer; nothing was measured",
    ))
}

fn row(
    case: Case,
    services: u32,
    evaluator: &str,
    of: &Pairs,
    bare_probe_ns: f64,
    effort: Effort,
) -> Row {
    let [low, ratio, high] = of.ratio;
    Row {
        case: case.name().into(),
        services,
        evaluator: evaluator.into(),
        ns: of.ns,
        bare_probe_ns,
        floor_ns: of.other_ns,
        ratio,
        quartiles: [low, high],
        pairs: effort.pairs,
        packets: effort.packets,
        ratio_to_matcher: None,
    }
}
