//! How long a rule set takes to decide about one packet.
//!
//! Timed: `Interp::classify` of one table at one hook, for 64 packets that are the first of their
//! flows, over and over; a result is divided by 64 (throughput counts packets). The table is nat at
//! PREROUTING, and filter at FORWARD for Services without endpoints. Not timed: making the rules and
//! the packets, conntrack, and what becomes of the decision. Rules are those of kube-proxy for
//! Services with three endpoints each.
//!
//! `bare-probe` is the reference in the same run, on the same packets: a hash table keyed on
//! destination address, protocol and port gives the number of a Service. It does nothing else that a
//! rule set does. Ratios to it hold on a noisy machine; nanoseconds do not.
//!
//! Every case counts its answers before it is timed: a packet must be translated to an endpoint of the
//! Service that it is for, or rejected where there is none, or left alone where there is no Service.

use std::hash::Hash;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use hashbrown::HashMap;
use podwire_bench::lookup::{Answers, Case, Kind, Node, PACKETS};
use podwire_packet::{Family, Headers, Protocol};
use podwire_ruleset::{Classify, Draw, Packet, State};
use rustc_hash::FxBuildHasher;

const SIZES: [u32; 3] = [100, 1_000, 10_000];

fn classify(c: &mut Criterion) {
    for services in SIZES {
        let node = Node::new(Kind::ClusterIp, services);
        for case in [Case::First, Case::Last, Case::Random, Case::Miss] {
            measure(c, &node, case, case.name());
        }
        measure(
            c,
            &Node::new(Kind::NodePort, services),
            Case::Last,
            "nodeport/last",
        );
        measure(
            c,
            &Node::new(Kind::NoEndpoints, services),
            Case::Last,
            "no-endpoints/last",
        );
        measure(
            c,
            &Node::new(Kind::ClusterIpV6, services),
            Case::Last,
            "last",
        );
    }
}

fn measure(c: &mut Criterion, node: &Node, case: Case, name: &str) {
    let packets = node.packets(case);
    assert_eq!(
        node.answers(&packets),
        expected(node.kind, case),
        "{name} of {} Services",
        node.services
    );
    let family = match node.kind.family() {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    let mut group = c.benchmark_group(format!(
        "classify/{family}/services={}/{name}",
        node.services
    ));
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("interp", |b| {
        let table = node.kind.asked().1;
        let (state, mut draw) = (State::default(), Draw(1));
        b.iter(|| {
            for (_, packet) in &packets {
                let packet = black_box(packet);
                black_box(
                    node.interp
                        .classify(table, packet, &state, &mut draw, &mut ()),
                );
            }
        });
    });
    let id = BenchmarkId::from_parameter("bare-probe");
    match node.kind.family() {
        Family::Ipv4 => {
            let probe = Probe::new(node, |address| match address {
                IpAddr::V4(address) => u32::from(address),
                IpAddr::V6(_) => 0,
            });
            assert_eq!(probe.right(&packets), probe.right_expected(case));
            group.bench_function(id, |b| b.iter(|| probe.all(&packets)));
        }
        Family::Ipv6 => {
            let probe = Probe::new(node, |address| match address {
                IpAddr::V4(_) => 0,
                IpAddr::V6(address) => u128::from(address),
            });
            assert_eq!(probe.right(&packets), probe.right_expected(case));
            group.bench_function(id, |b| b.iter(|| probe.all(&packets)));
        }
    }
    group.finish();
}

/// What is right for every packet of a case.
fn expected(kind: Kind, case: Case) -> Answers {
    let mut answers = Answers::default();
    let counter = match (kind, case) {
        (_, Case::Miss) => &mut answers.untouched,
        (Kind::NoEndpoints, _) => &mut answers.rejected,
        (Kind::ClusterIp | Kind::ClusterIpV6 | Kind::NodePort, _) => &mut answers.endpoint,
    };
    *counter = PACKETS;
    answers
}

/// A hash table of Services and nothing around it.
struct Probe<A> {
    table: HashMap<(A, Protocol, u16), u32, FxBuildHasher>,
    address: fn(IpAddr) -> A,
}

impl<A: Eq + Hash> Probe<A> {
    fn new(node: &Node, address: fn(IpAddr) -> A) -> Self {
        let service = |number| {
            let (ip, port) = node.receiver(number);
            ((address(ip), Protocol::TCP, port), number)
        };
        Self {
            table: (0..node.services).map(service).collect(),
            address,
        }
    }

    fn service(&self, headers: &Headers) -> Option<u32> {
        let key = ((self.address)(headers.dst), headers.protocol, headers.dport);
        self.table.get(&key).copied()
    }

    fn all(&self, packets: &[(u32, Packet<'_>)]) {
        for (_, packet) in packets {
            black_box(self.service(&black_box(packet).headers));
        }
    }

    /// How many packets it finds the Service of.
    fn right(&self, packets: &[(u32, Packet<'_>)]) -> usize {
        let right = |(service, packet): &&(u32, Packet<'_>)| {
            self.service(&packet.headers) == Some(*service)
        };
        packets.iter().filter(right).count()
    }

    fn right_expected(&self, case: Case) -> usize {
        if case == Case::Miss { 0 } else { PACKETS }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = classify
}
criterion_main!(benches);
