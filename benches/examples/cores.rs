//! How much faster a large batch is on all cores than on one.
//!
//! `cores [SERVICES]`, 10,000 unless said. Asked is `decide_batch`, then `decide_in_parallel`, about
//! [`PACKETS`] packets of 256 bytes for random Services: nat at PREROUTING with kube-proxy's rules. Both are
//! asked in pairs of rounds, and both ratios printed are medians over the pairs: of the times that a clock on
//! the wall shows, which other programs move, and of the CPU time that all threads took. Answers are compared.

#![expect(clippy::print_stdout, reason = "what was measured is to be read")]

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use podwire_bench::lookup::Kind;
use podwire_matcher::{Brief, Matcher};
use podwire_packet::Family;
use podwire_ruleset::{Choose as _, Draw, HostAddresses, Packet, State};

/// Packets of a batch.
const PACKETS: usize = 1 << 20;

/// Pairs of rounds.
const PAIRS: usize = 31;

fn main() -> Result<(), Box<dyn Error>> {
    let services = env::args().nth(1).map_or(Ok(10_000), |own| own.parse())?;
    let kind = Kind::ClusterIp;
    let text = kind.iptables_save(services);
    let (matcher, _) = Matcher::read(text.as_bytes(), Family::Ipv4)?;
    let host = HostAddresses::of(["192.168.0.1".parse()?]);
    let mut draw = Draw(1);
    let packets: Vec<Packet<'_>> = (0..PACKETS)
        .map(|_| kind.packet(draw.one_of(services), &host))
        .collect();
    let (hook, table) = kind.asked();
    let (here, state) = (matcher.at(table, hook), State::default());
    let draws = |packet: usize| Draw(packet as u64);
    let mut alone = vec![Brief::accept(&packets[0]); PACKETS];
    let mut together = alone.clone();
    let mut ratios = [const { Vec::new() }; 2];
    for _ in 0..PAIRS {
        let one = timed(|| here.decide_batch(black_box(&packets), &state, draws, &mut alone))?;
        let all = timed(|| {
            here.decide_in_parallel(black_box(&packets), &state, draws, &mut together);
        })?;
        for ((own, one), all) in ratios.iter_mut().zip(one).zip(all) {
            own.push(one.as_secs_f64() / all.as_secs_f64());
        }
    }
    if alone != together {
        return Err("the answers differ".into());
    }
    let [wall, cpu] = ratios.map(|mut own| {
        own.sort_by(f64::total_cmp);
        own[PAIRS / 2]
    });
    println!(
        "{PACKETS} packets, {services} Services: {wall:.2} times as fast on {} threads, {:.2} of the CPU time",
        std::thread::available_parallelism()?,
        1.0 / cpu
    );
    Ok(())
}

/// How long something takes: on the wall, and of all CPUs.
fn timed(run: impl FnOnce()) -> Result<[Duration; 2], nix::Error> {
    let clocks = [ClockId::CLOCK_MONOTONIC, ClockId::CLOCK_PROCESS_CPUTIME_ID];
    let now = || -> Result<[Duration; 2], nix::Error> {
        let [wall, cpu] = clocks.map(clock_gettime);
        Ok([wall?.into(), cpu?.into()])
    };
    let before = now()?;
    run();
    let after = now()?;
    Ok([after[0] - before[0], after[1] - before[1]])
}
