//! How long a rule set takes to decide about one packet.
//!
//! Timed: `classify` of `Interp` and of `Matcher`, of one table at one hook, for 64 packets that are the first of their
//! flows, over and over; a result is divided by 64 (throughput counts packets). The table is nat at
//! PREROUTING, and filter at FORWARD for Services without endpoints. Not timed: making the rules and
//! the packets, conntrack, and what becomes of the decision. Rules are those of kube-proxy for
//! Services with three endpoints each.
//!
//! `bare-probe` is the reference in the same run, on the same packets: a hash table keyed on
//! destination address, protocol and port gives the number of a Service. It does nothing else that a
//! rule set does. Ratios to it hold on a noisy machine; nanoseconds do not.
//!
//! `floor` is the same probe and then the load of the endpoint that the draw chooses: two loads of which
//! the second waits for the first, and nothing else.
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
use podwire_bench::lookup::{Answers, Case, ENDPOINTS, Kind, Node, PACKETS};
use podwire_packet::{Family, Headers, Protocol};
use podwire_ruleset::{Choose, Classify, Draw, Packet, State, TableName};
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
    let right = expected(node.kind, case);
    let of = format!("{name} of {} Services", node.services);
    assert_eq!(node.answers(&node.interp, &packets), right, "{of}");
    assert_eq!(node.answers(&node.matcher, &packets), right, "{of}");
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
    let table = node.kind.asked().1;
    group.bench_function("interp", |b| {
        let (state, mut draw) = (State::default(), Draw(1));
        b.iter(|| classify_all(&node.interp, table, &packets, &state, &mut draw));
    });
    group.bench_function("matcher", |b| {
        let (state, mut draw) = (State::default(), Draw(1));
        b.iter(|| classify_all(&node.matcher, table, &packets, &state, &mut draw));
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
            group.bench_function("floor", |b| {
                let mut draw = Draw(1);
                b.iter(|| probe.all_with_endpoints(&packets, &mut draw));
            });
        }
        Family::Ipv6 => {
            let probe = Probe::new(node, |address| match address {
                IpAddr::V4(_) => 0,
                IpAddr::V6(address) => u128::from(address),
            });
            assert_eq!(probe.right(&packets), probe.right_expected(case));
            group.bench_function(id, |b| b.iter(|| probe.all(&packets)));
            group.bench_function("floor", |b| {
                let mut draw = Draw(1);
                b.iter(|| probe.all_with_endpoints(&packets, &mut draw));
            });
        }
    }
    group.finish();
}

fn classify_all(
    evaluator: &impl Classify,
    table: TableName,
    packets: &[(u32, Packet<'_>)],
    state: &State,
    draw: &mut Draw,
) {
    for (_, packet) in packets {
        black_box(evaluator.classify(table, black_box(packet), state, draw, &mut ()));
    }
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
    /// Of the Service with number n those from n * `ENDPOINTS` on.
    endpoints: Vec<IpAddr>,
}

impl<A: Eq + Hash> Probe<A> {
    fn new(node: &Node, address: fn(IpAddr) -> A) -> Self {
        let service = |number| {
            let (ip, port) = node.kind.receiver(number);
            ((address(ip), Protocol::TCP, port), number)
        };
        Self {
            table: (0..node.services).map(service).collect(),
            address,
            endpoints: (0..node.services)
                .flat_map(|number| node.endpoints(number).iter().copied())
                .collect(),
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

    fn all_with_endpoints(&self, packets: &[(u32, Packet<'_>)], draw: &mut Draw) {
        for (_, packet) in packets {
            let service = self.service(&black_box(packet).headers);
            let endpoint = service.and_then(|service| {
                let place = service * ENDPOINTS + draw.one_of(ENDPOINTS);
                self.endpoints.get(usize::try_from(place).ok()?)
            });
            black_box(endpoint.copied());
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
