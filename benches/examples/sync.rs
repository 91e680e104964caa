//! What syncs of kube-proxy cost here: CPU time and peak memory, in one table.
//!
//! `sync [SIZE…]` runs itself once for each mode and size, so that every peak of memory is that of one
//! first sync. A size is a number of Services, with 10 endpoints each unless it says `50000x1`. Columns are those of the measurements of kube-proxy itself: the first sync goes from objects
//! in memory to text, a repeated one renders again. Times are CPU time of the process, best of three.
//!
//! After the table come syncs after one endpoint changed, in iptables mode, each the median of 101: service
//! ports and chains, with the matcher (`Live`) brought up to date; and the text of the partial sync.

use std::env;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::process::Command;

use nix::time::{ClockId, clock_gettime};
use podwire_bench::sync::{Mode, NODE, cluster, one_endpoint_changed, ports};
use podwire_cluster::Cluster;
use podwire_controlplane::kube_proxy::{IptablesProxier, LiveIptables, SliceChange};
use podwire_matcher::Live;

const ENDPOINTS: u32 = 10;

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> Fallible<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, mode, services] = &arguments[..]
        && flag == "--one"
    {
        let mode = Mode::ALL.into_iter().find(|known| known.name() == mode);
        return one(mode.ok_or("no such mode")?, size_of(services)?);
    }
    let sizes = if arguments.is_empty() {
        vec!["1000".into(), "10000".into(), "50000".into()]
    } else {
        arguments
    };
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<9} {:>9} {:>9} {:>16} {:>10} {:>12} {:>12} {:>11}",
        "MODE",
        "SERVICES",
        "ENDPOINTS",
        "SERVICE PORTS ms",
        "RENDER ms",
        "FIRST ms",
        "BYTES",
        "PEAK MiB"
    )?;
    for size in &sizes {
        for mode in Mode::ALL {
            let ran = Command::new(env::current_exe()?)
                .args(["--one", mode.name(), size])
                .output()?;
            if !ran.status.success() {
                return Err(String::from_utf8_lossy(&ran.stderr).into());
            }
            out.write_all(&ran.stdout)?;
        }
    }
    writeln!(
        out,
        "\n{:<19} {:>9} {:>16} {:>12} {:>12}",
        "ONE ENDPOINT", "SERVICES", "STATE us", "TEXT us", "BYTES"
    )?;
    for size in &sizes {
        change(size_of(size)?, &mut out)?;
    }
    Ok(())
}

/// Services, and endpoints of each.
type Size = (u32, u32);

fn size_of(text: &str) -> Fallible<Size> {
    Ok(match text.split_once('x') {
        Some((services, endpoints)) => (services.parse()?, endpoints.parse()?),
        None => (text.parse()?, ENDPOINTS),
    })
}

/// An endpoint is replaced by another, again and again.
fn change((services, endpoints): Size, out: &mut impl io::Write) -> Fallible<()> {
    const ROUNDS: u8 = 101;
    let cluster = cluster(services, endpoints);
    let slices: Vec<_> = (0..ROUNDS)
        .map(|round| one_endpoint_changed(&cluster, round))
        .collect();
    let ports = ports(&cluster);
    let mut live = LiveIptables::new(IptablesProxier::new(&cluster, &ports, NODE)?);
    let mut matcher = Live::new(live.rule_set())?;
    // Makes the copy of the service ports that is changed from then on.
    live.sync([]);
    let (mut states, mut texts, mut bytes) = (Vec::new(), Vec::new(), 0);
    for slice in &slices {
        let start = cpu_ms()?;
        let changes = live.sync([SliceChange::Set(slice)]);
        let count = changes.len();
        for change in changes {
            match change.rules {
                Some(rules) => matcher.set_chain(change.table, &change.chain, rules)?,
                None => matcher.remove_chain(change.table, &change.chain)?,
            }
        }
        let middle = cpu_ms()?;
        let text = black_box(live.restore_text());
        let end = cpu_ms()?;
        let ip = slice.endpoints[0].addresses[0].as_ref();
        let is_written = text.contains(&format!(" -j DNAT --to-destination {ip}:"));
        // The chain of the Service and that of the new endpoint; in a small cluster the old one goes.
        if !(2..=3).contains(&count) || !is_written {
            return Err(format!("{count} chains changed for {ip}").into());
        }
        states.push((middle - start) * 1e3);
        texts.push((end - middle) * 1e3);
        bytes = text.len();
    }
    writeln!(
        out,
        "{:<19} {services:>9} {:>16.1} {:>12.1} {bytes:>12}",
        "iptables",
        median(states),
        median(texts),
    )?;
    Ok(())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn one(mode: Mode, (services, endpoints): Size) -> Fallible<()> {
    let cluster = cluster(services, endpoints);
    let before = vm("VmRSS")?;
    let first = sync(mode, &cluster, endpoints)?;
    let peak = vm("VmHWM")?;
    let mut best = first;
    for _ in 0..2 {
        let again = sync(mode, &cluster, endpoints)?;
        best.ports = best.ports.min(again.ports);
        best.render = best.render.min(again.render);
    }
    writeln!(
        io::stdout().lock(),
        "{:<9} {services:>9} {endpoints:>9} {:>16.1} {:>10.1} {:>12.1} {:>12} {:>5} ({before})",
        mode.name(),
        best.ports,
        best.render,
        best.ports + best.render,
        best.bytes,
        peak,
    )?;
    Ok(())
}

struct Cost {
    /// Milliseconds.
    ports: f64,
    render: f64,
    bytes: usize,
}

fn sync(mode: Mode, cluster: &Cluster, endpoints: u32) -> Fallible<Cost> {
    let start = cpu_ms()?;
    let services = ports(cluster);
    let middle = cpu_ms()?;
    let text = black_box(mode.text(cluster, &services, NODE)?);
    let end = cpu_ms()?;
    if !mode.is_right(&text, services.len(), endpoints as usize) {
        return Err(format!(
            "{}: not the rules of {} Services",
            mode.name(),
            services.len()
        )
        .into());
    }
    Ok(Cost {
        ports: middle - start,
        render: end - middle,
        bytes: text.len(),
    })
}

/// CPU time of the process.
fn cpu_ms() -> Fallible<f64> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(std::time::Duration::from(time).as_secs_f64() * 1e3)
}

/// MiB of that line of `/proc/self/status`.
fn vm(field: &str) -> Fallible<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no such line")?.parse::<u64>()? / 1024)
}
