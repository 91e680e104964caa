//! Two that are measured side by side.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::bench::asked::{Asked, Packets};

/// What pairs of rounds gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairs {
    /// Nanoseconds a packet: medians.
    pub(crate) ns: f64,
    pub(crate) other_ns: f64,
    /// First quartile, median and third quartile of the ratio within a pair.
    pub(crate) ratio: [f64; 3],
}

/// Asks both about the same packets, one after the other, so many times; who comes first alternates. A
/// machine that slows down or is shared does so for both rounds of a pair.
pub(crate) fn pairs(
    count: usize,
    packets: &Packets<'_>,
    one: &mut impl Asked,
    other: &mut impl Asked,
) -> Pairs {
    // Both have seen the packets before they are timed.
    one.ask(packets);
    other.ask(packets);
    let mut all = Vec::with_capacity(count);
    for pair in 0..count {
        all.push(if pair % 2 == 0 {
            let first = ns(packets, one);
            (first, ns(packets, other))
        } else {
            let first = ns(packets, other);
            (ns(packets, one), first)
        });
    }
    let sorted = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let ratios = sorted(|(one, other)| one / other);
    Pairs {
        ns: sorted(|(one, _)| *one)[count / 2],
        other_ns: sorted(|(_, other)| *other)[count / 2],
        ratio: [count / 4, count / 2, count * 3 / 4].map(|place| ratios[place]),
    }
}

fn ns(packets: &Packets<'_>, asked: &mut impl Asked) -> f64 {
    let start = thread_time();
    asked.ask(packets);
    thread_time().saturating_sub(start).as_secs_f64() * 1e9 / packets.all.len() as f64
}

/// CPU time of this thread, so that other programs count only for what they take from the caches.
pub(crate) fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
