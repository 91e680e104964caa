//! How long an answer of CoreDNS takes, among many Services.
//!
//! - `chain`: from the question, read, to the reply: kubeadm's chain without a cache, so that every
//!   answer comes from the cluster's names.
//! - `chain-cached`: the same chain with its cache, every question asked before.
//! - `bytes`: as `chain`, and the message is read and the answer written: all that a server does but
//!   for the socket. hickory-proto reads and writes.
//!
//! Questions are about Services at random, 65,536 of each kind in turn. Not timed: making the server.
//! `examples/dns.rs` says what the names of a cluster take in memory.
//!
//! Each case counts its answers before it is timed.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use podwire_bench::names::{Kind, asked, packets, server};

const SIZES: [u32; 3] = [100, 10_000, 100_000];

fn answers(c: &mut Criterion) {
    for services in SIZES {
        let plain = server(services, false);
        let cached = server(services, true);
        for kind in Kind::ALL {
            let packets = packets(kind, services);
            let requests: Vec<_> = packets.iter().map(|packet| asked(packet)).collect();
            for (server, name) in [(&plain, "plain"), (&cached, "cached")] {
                for asked in &requests {
                    let reply = server.answer(&asked.request, Duration::ZERO);
                    let answers = reply.map(|reply| reply.answers.len());
                    assert_eq!(answers, Some(kind.answers()), "{name} {kind:?}");
                }
            }
            let mut group = c.benchmark_group(format!("dns/services={services}/{}", kind.name()));
            group.throughput(Throughput::Elements(1));
            group.sampling_mode(SamplingMode::Flat);
            group.measurement_time(Duration::from_secs(2));
            group.warm_up_time(Duration::from_millis(500));
            group.sample_size(20);
            for (server, name) in [(&plain, "chain"), (&cached, "chain-cached")] {
                let mut turn = requests.iter().cycle();
                group.bench_function(name, |b| {
                    b.iter(|| {
                        let asked = turn.next().expect("a cycle has no end");
                        server.answer(black_box(&asked.request), Duration::ZERO)
                    });
                });
            }
            let mut turn = packets.iter().cycle();
            group.bench_function("bytes", |b| {
                b.iter(|| {
                    let packet = turn.next().expect("a cycle has no end");
                    let asked = asked(black_box(packet));
                    let reply = plain.answer(&asked.request, Duration::ZERO);
                    reply.map(|reply| asked.bytes(reply))
                });
            });
            group.finish();
        }
    }
}

criterion_group!(benches, answers);
criterion_main!(benches);
