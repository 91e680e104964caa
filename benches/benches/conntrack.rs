//! How long it takes to find what a packet of an established flow needs, among many tracked
//! connections.
//!
//! Timed: `Conntrack::lookup` of one packet of every connection, half of them replies, in random order.
//! Every connection has its destination translated. There are as many packets as connections, so with
//! a million of them no cache holds the entries that come next. Not timed: tracking the connections,
//! making the packets, and changing them.
//!
//! - `conntrack`: the entry, with state, direction and mark.
//! - `conntrack-target`: the same, and the translated five-tuple written out.
//! - `conntrack-batch`: as `conntrack`, of 64 packets at once, which wait for memory together.
//! - `bare-probe`: the reference in the same run, on the same packets: a hash table with nothing around
//!   it and the cheapest hash, from five-tuple to a number. It has one entry a connection, where
//!   connection tracking has two, one a direction.
//! - `bare-probe-packed`: the same, its key packed into as few words as hold it: the strictest reference.
//! - `pairs`: `conntrack` and `bare-probe` in turns; the median of their ratios is printed, and is what
//!   holds on a noisy machine. `pairs-target` and `pairs-batch` likewise, and each `-packed`.
//!
//! Memory is mapped in pages of 4 KiB: nothing here asks for huge pages (madvise(2), `MADV_HUGEPAGE`),
//! so every access to a large table is a miss of the TLB as well.
//!
//! Each case counts its answers before it is timed.

use std::hash::Hash;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use hashbrown::HashMap;
use podwire_dataplane::{Conntrack, Entry, Manip};
use podwire_packet::{Family, FiveTuple, Headers, Protocol, SimTime};
use podwire_ruleset::{Choose, CtState, Draw};
use rustc_hash::FxBuildHasher;

const SIZES: [u32; 3] = [1_000, 100_000, 1_000_000];

const BATCH: usize = 64;

fn established(c: &mut Criterion) {
    for tracked in SIZES {
        let flows = Flows::new(Family::Ipv4, tracked);
        measure(c, &flows, "random", &flows.packets, two_words);
        measure(c, &flows, "miss", &flows.strangers(), two_words);
        drop(flows);
        let flows = Flows::new(Family::Ipv6, tracked);
        measure(c, &flows, "random", &flows.packets, five_words);
    }
}

/// Connections, and packets of them.
struct Flows {
    family: Family,
    table: Conntrack,
    /// One of each connection, in random order, either of its first direction or of the other.
    packets: Vec<Headers>,
}

impl Flows {
    fn new(family: Family, tracked: u32) -> Self {
        let mut draw = Draw(1);
        let mut table = Conntrack::default();
        table.max = usize::MAX;
        let mut packets: Vec<Headers> = (0..tracked)
            .map(|number| {
                let first = first(family, number);
                let (_, found) = table.track(&first, SimTime::START).expect("there is room");
                let (id, _) = found.expect("a SYN begins a connection");
                let leaving = FiveTuple {
                    dst: address(family, 0x0a80_0000 | draw.one_of(1 << 16)),
                    dport: 8_080,
                    ..first.five_tuple()
                };
                table.settle(id, Manip::Destination, leaving);
                table.confirm(id);
                let second = Headers {
                    dst: leaving.dst,
                    dport: leaving.dport,
                    ..first
                };
                let reply = second.first_of_reply();
                let answered = table.track(&reply, SimTime::START);
                assert!(matches!(answered, Ok((CtState::Established, Some(_)))));
                [first, reply][usize::from(draw.one_of(2) == 1)]
            })
            .collect();
        for last in (1..packets.len()).rev() {
            let bound = u32::try_from(last + 1).expect("fewer than 2^32 packets");
            packets.swap(last, draw.one_of(bound) as usize);
        }
        Self {
            family,
            table,
            packets,
        }
    }

    /// As many packets that have no connection.
    fn strangers(&self) -> Vec<Headers> {
        let strange = |headers: &Headers| Headers {
            protocol: Protocol::UDP,
            ..*headers
        };
        self.packets.iter().map(strange).collect()
    }
}

/// The first packet of a connection: 64 of each client, to Services by turns.
fn first(family: Family, number: u32) -> Headers {
    let sport = u16::try_from(32_768 + number % 64 * 499).expect("a port");
    Headers::first_of_flow(
        address(family, 0x0af4_0000 + number / 64),
        address(family, 0x0a60_0000 + number % 10_007),
        Protocol::TCP,
        sport,
        80,
    )
}

/// An address of 10.0.0.0/8, or the address of fd00::/64 that ends with it.
fn address(family: Family, bits: u32) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::from(bits.to_be_bytes()),
        Family::Ipv6 => IpAddr::from((0xfd00_u128 << 112 | u128::from(bits)).to_be_bytes()),
    }
}

fn measure<K: Eq + Hash>(
    c: &mut Criterion,
    flows: &Flows,
    case: &str,
    packets: &[Headers],
    key: fn(&Headers) -> K,
) {
    let Flows { family, table, .. } = flows;
    let tuples = Probe::new(&flows.packets, Headers::five_tuple);
    let packed = Probe::new(&flows.packets, key);
    let right = if case == "miss" { 0 } else { packets.len() };
    assert_eq!((tuples.all(packets), packed.all(packets)), (right, right));
    for all in [one_by_one, with_target, in_batches] {
        assert_eq!(all(table, packets), right);
    }
    let translated = packets.iter().filter(|headers| {
        let entry = table.lookup(headers, SimTime::START);
        entry.is_some_and(|of| of.dnat() && !of.snat() && of.target() != headers.five_tuple())
    });
    assert_eq!(translated.count(), right);

    let tracked = flows.packets.len();
    let mut group = c.benchmark_group(format!("established/{family}/tracked={tracked}/{case}"));
    group.throughput(Throughput::Elements(packets.len() as u64));
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("conntrack", |b| b.iter(|| one_by_one(table, packets)));
    group.bench_function("conntrack-target", |b| {
        b.iter(|| with_target(table, packets))
    });
    group.bench_function("conntrack-batch", |b| b.iter(|| in_batches(table, packets)));
    group.bench_function("bare-probe", |b| b.iter(|| tuples.all(packets)));
    group.bench_function("bare-probe-packed", |b| b.iter(|| packed.all(packets)));
    let rows: [(&str, All); 3] = [
        ("pairs", one_by_one),
        ("pairs-target", with_target),
        ("pairs-batch", in_batches),
    ];
    for (name, all) in rows {
        let own = || all(table, packets);
        pairs(&mut group, name, own, || tuples.all(packets));
        let name = format!("{name}-packed");
        pairs(&mut group, &name, own, || packed.all(packets));
    }
    group.finish();
}

/// A way to look all packets up; how many were found.
type All = fn(&Conntrack, &[Headers]) -> usize;

/// Measures two things in turns, and prints the median of their ratios, unless the row is filtered out.
#[expect(clippy::print_stdout, reason = "a benchmark's result")]
fn pairs(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    own: impl Fn() -> usize,
    bare: impl Fn() -> usize,
) {
    let mut ratios = Vec::new();
    group.bench_function(name, |b| {
        b.iter_custom(|pairs| {
            let mut both = Duration::ZERO;
            for pair in 0..pairs {
                let (own, bare) = if pair % 2 == 0 {
                    let own = timed(&own);
                    (own, timed(&bare))
                } else {
                    let bare = timed(&bare);
                    (timed(&own), bare)
                };
                ratios.push(own.as_secs_f64() / bare.as_secs_f64());
                both += own + bare;
            }
            both
        });
    });
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        let pairs = ratios.len();
        println!("{name}: {median:.2} of the bare probe's time, the median of {pairs} pairs");
    }
}

/// How long something takes.
fn timed(what: impl FnOnce() -> usize) -> Duration {
    let start = WallTime.start();
    black_box(what());
    WallTime.end(start)
}

/// Reads state, direction and mark.
#[inline(always)]
fn read(entry: Option<Entry<'_>>) -> bool {
    let Some(entry) = entry else {
        return false;
    };
    black_box(entry.direction());
    black_box(entry.mark());
    black_box(entry.state()) == CtState::Established
}

fn one_by_one(table: &Conntrack, packets: &[Headers]) -> usize {
    let found = |headers: &&Headers| read(table.lookup(black_box(headers), SimTime::START));
    packets.iter().filter(found).count()
}

fn with_target(table: &Conntrack, packets: &[Headers]) -> usize {
    let found = |headers: &&Headers| {
        let entry = table.lookup(black_box(headers), SimTime::START);
        black_box(entry.map(|of| of.target()));
        read(entry)
    };
    packets.iter().filter(found).count()
}

fn in_batches(table: &Conntrack, packets: &[Headers]) -> usize {
    let batches = packets.chunks(BATCH).map(|packets| {
        let mut answers = [None; BATCH];
        table.lookup_batch(black_box(packets), SimTime::START, &mut answers);
        answers.into_iter().filter(|entry| read(*entry)).count()
    });
    batches.sum()
}

/// A hash table of connections by five-tuple and nothing around it.
struct Probe<K> {
    table: HashMap<K, u32, FxBuildHasher>,
    key: fn(&Headers) -> K,
}

impl<K: Eq + Hash> Probe<K> {
    fn new(packets: &[Headers], key: fn(&Headers) -> K) -> Self {
        let numbered = (0..).zip(packets);
        let table: HashMap<_, _, _> = numbered.map(|(number, of)| (key(of), number)).collect();
        assert_eq!(table.len(), packets.len());
        Self { table, key }
    }

    /// Looks every packet up; returns how many it finds.
    fn all(&self, packets: &[Headers]) -> usize {
        let found = |headers: &&Headers| {
            let number = self.table.get(&(self.key)(black_box(headers)));
            black_box(number.copied()).is_some()
        };
        packets.iter().filter(found).count()
    }
}

/// An IPv4 packet's five-tuple: addresses, and the rest.
fn two_words(headers: &Headers) -> (u64, u64) {
    let bits = |address| match address {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(_) => 0,
    };
    (bits(headers.src) << 32 | bits(headers.dst), rest(headers))
}

/// An IPv6 packet's.
fn five_words(headers: &Headers) -> (u128, u128, u64) {
    let bits = |address| match address {
        IpAddr::V4(_) => 0,
        IpAddr::V6(ip) => u128::from(ip),
    };
    (bits(headers.src), bits(headers.dst), rest(headers))
}

fn rest(headers: &Headers) -> u64 {
    let ports = u64::from(headers.sport) << 16 | u64::from(headers.dport);
    ports << 8 | u64::from(headers.protocol.0)
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(31)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = established
}
criterion_main!(benches);
