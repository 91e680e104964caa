//! How long a rule set takes to decide about one packet.
//!
//! A benchmark's name is `lookup/family/size/case/evaluator`, of [`PACKETS`] packets that are the first of
//! their flows, over and over; a result is divided by their number (throughput counts packets). Timed is
//! one table at one hook: nat at PREROUTING for Services of three endpoints each, with kube-proxy's rules,
//! filter at FORWARD for Services without endpoints and for policies (`podwire_bench::policy`). Not timed:
//! making the rules and the packets, conntrack, and what becomes of the decision.
//!
//! Of nftables (`lookup/nftables/…`) it is kube-proxy's base chain of type nat at PREROUTING, by `classify` of
//! both evaluators.
//!
//! - `interp`: `classify` of the reference, rule by rule.
//! - `matcher`: `decide` of the compiled one; `matcher-batch`: all packets in one call of `decide_batch`.
//! - `bare-probe`, of Services only: a hash table keyed on destination address, protocol and port gives the
//!   number of a Service. It does nothing else that a rule set does.
//! - `floor`: the same probe and then the load of the endpoint that the draw chooses: two loads of which
//!   the second waits for the first, and nothing else.
//!
//! All are asked about the same packets in the same run. So few packets, and what is found for them, stay in
//! the nearest caches: what lookups cost beyond them, and ratios taken pair by pair, are in `podwire bench`.
//!
//! Every case counts its answers before it is timed: a packet must be translated to an endpoint of the
//! Service that it is for, or rejected where there is none, or left alone where there is no Service; a
//! policy's packet must get the verdict of the first rule that holds for it.

use std::hash::Hash;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use hashbrown::HashMap;
use podwire_bench::lookup::{Answers, Case, ENDPOINTS, Kind, Node, PACKETS, Tables};
use podwire_bench::policy::Policy;
use podwire_interp::Interp;
use podwire_matcher::{Brief, Matcher};
use podwire_packet::{Family, Headers, Protocol};
use podwire_ruleset::{
    Choose, Classify, Draw, Hook, HostAddresses, Packet, State, TableName, Verdict, iptables, nft,
};
use rustc_hash::FxBuildHasher;

const SIZES: [u32; 2] = [1_000, 10_000];

fn services(c: &mut Criterion) {
    for services in SIZES {
        for kind in [Kind::ClusterIp, Kind::NodePort, Kind::LoadBalancer] {
            let node = Node::new(kind, services);
            for case in [Case::First, Case::Last, Case::Random, Case::Miss] {
                measure(c, &node, case);
            }
        }
        measure(c, &Node::new(Kind::NoEndpoints, services), Case::Last);
        let node = Node::new(Kind::ClusterIpV6, services);
        for case in [Case::Last, Case::Random, Case::Miss] {
            measure(c, &node, case);
        }
    }
}

fn measure(c: &mut Criterion, node: &Node, case: Case) {
    let packets = node.packets(case);
    let right = expected(node.kind, case);
    let of = format!("{:?}, {} of {}", node.kind, case.name(), node.services);
    assert_eq!(node.answers(&node.interp, &packets), right, "{of}");
    assert_eq!(node.answers(&node.matcher, &packets), right, "{of}");
    let (family, kind) = match node.kind {
        Kind::ClusterIp => ("ipv4", "clusterip"),
        Kind::ClusterIpV6 => ("ipv6", "clusterip"),
        Kind::NodePort => ("ipv4", "nodeport"),
        Kind::LoadBalancer => ("ipv4", "loadbalancer"),
        Kind::NoEndpoints => ("ipv4", "no-endpoints"),
    };
    let packets: Vec<(u32, Packet<'_>)> = packets;
    let alone: Vec<Packet<'_>> = packets.iter().map(|(_, packet)| *packet).collect();
    let name = format!(
        "lookup/{family}/services={}/{kind}/{}",
        node.services,
        case.name()
    );
    let mut group = group(c, &name);
    let table = node.kind.asked().1;
    evaluators(&mut group, &node.interp, &node.matcher, table, &alone);
    match node.kind.family() {
        Family::Ipv4 => {
            let probe = Probe::new(node, |address| match address {
                IpAddr::V4(address) => u32::from(address),
                IpAddr::V6(_) => 0,
            });
            probes(&mut group, &probe, case, &packets, &alone);
        }
        Family::Ipv6 => {
            let probe = Probe::new(node, |address| match address {
                IpAddr::V4(_) => 0,
                IpAddr::V6(address) => u128::from(address),
            });
            probes(&mut group, &probe, case, &packets, &alone);
        }
    }
    group.finish();
}

/// kube-proxy's nftables: one lookup in a map of all Services, and the chains that it leads to.
fn nftables(c: &mut Criterion) {
    for services in SIZES {
        for (kind, name) in [
            (Kind::ClusterIp, "ipv4"),
            (Kind::ClusterIpV6, "ipv6"),
            (Kind::NodePort, "ipv4-nodeport"),
        ] {
            let node = Node::new(kind, services);
            let tables = Tables::new(&kind.nftables(services), kind.family());
            let Tables {
                interp,
                matcher,
                chain,
            } = &tables;
            let state = nft::State::default();
            for case in [Case::Random, Case::Miss] {
                let packets = node.packets(case);
                let right = expected(kind, case);
                let mut draw = Draw(1);
                let own = node.counted(&packets, |packet| {
                    interp.classify(*chain, packet, &state, &mut draw, &mut ())
                });
                let compiled = node.counted(&packets, |packet| {
                    matcher.classify(*chain, packet, &state, &mut draw, &mut ())
                });
                assert_eq!((own, compiled), (right, right), "{kind:?}, {}", case.name());
                let name = format!("lookup/nftables/{name}/services={services}/{}", case.name());
                let mut group = group(c, &name);
                group.bench_function("interp", |b| {
                    b.iter(|| {
                        for (_, packet) in &packets {
                            let packet = black_box(packet);
                            black_box(&interp.classify(*chain, packet, &state, &mut draw, &mut ()));
                        }
                    });
                });
                group.bench_function("matcher", |b| {
                    b.iter(|| {
                        for (_, packet) in &packets {
                            let packet = black_box(packet);
                            black_box(&matcher.classify(
                                *chain,
                                packet,
                                &state,
                                &mut draw,
                                &mut (),
                            ));
                        }
                    });
                });
                group.finish();
            }
        }
    }
}

fn policies(c: &mut Criterion) {
    let host = HostAddresses::of([]);
    for rules in SIZES {
        for (kind, policy) in [
            ("policy", Policy::like_an_access_list(rules as usize, 1)),
            ("unfavourable", Policy::unfavourable(rules, 1)),
        ] {
            let parsed = iptables::parse(&policy.iptables_save(), Family::Ipv4);
            let parsed = parsed.expect("a policy is text of rules").rules;
            let matcher = Matcher::new(&parsed).expect("a policy has no jumps");
            let interp = Interp::new(parsed).expect("a policy has no jumps");
            let flows = policy.packets(PACKETS, 1);
            let packets: Vec<Packet<'_>> = flows
                .iter()
                .map(|flow| flow.packet(Hook::Forward, &host))
                .collect();
            let (state, mut draw) = (State::default(), Draw(1));
            for (flow, packet) in flows.iter().zip(&packets) {
                let rule = policy.first_match(flow).checked_sub(1);
                let right =
                    rule.map_or(Verdict::Accept, |rule| policy.rules[rule as usize].verdict);
                let own = interp.classify(TableName::Filter, packet, &state, &mut draw, &mut ());
                let brief = matcher.decide(TableName::Filter, packet, &state, &mut draw);
                assert_eq!((own.verdict, brief.verdict), (right, right), "{flow:?}");
            }
            let mut group = group(c, &format!("lookup/ipv4/rules={rules}/{kind}/mixed"));
            evaluators(&mut group, &interp, &matcher, TableName::Filter, &packets);
            group.finish();
        }
    }
}

fn group<'c>(c: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.sampling_mode(SamplingMode::Flat);
    group
}

fn evaluators(
    group: &mut BenchmarkGroup<'_, WallTime>,
    interp: &Interp,
    matcher: &Matcher,
    table: TableName,
    packets: &[Packet<'_>],
) {
    let state = State::default();
    group.bench_function("interp", |b| {
        let mut draw = Draw(1);
        b.iter(|| {
            for packet in packets {
                let packet = black_box(packet);
                black_box(&interp.classify(table, packet, &state, &mut draw, &mut ()));
            }
        });
    });
    let here = matcher.at(table, packets[0].hook);
    group.bench_function("matcher", |b| {
        let mut draw = Draw(1);
        b.iter(|| {
            for packet in packets {
                black_box(&here.decide(black_box(packet), &state, &mut draw));
            }
        });
    });
    group.bench_function("matcher-batch", |b| {
        let mut draw = Draw(1);
        let mut out = vec![Brief::accept(&packets[0]); packets.len()];
        b.iter(|| {
            let begin = draw.next();
            let draws = |packet: usize| Draw(begin.wrapping_add(packet as u64));
            here.decide_batch(black_box(packets), &state, draws, &mut out);
            black_box(&out);
        });
    });
}

fn probes<A: Eq + Hash>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    probe: &Probe<A>,
    case: Case,
    packets: &[(u32, Packet<'_>)],
    alone: &[Packet<'_>],
) {
    let right = if case == Case::Miss { 0 } else { PACKETS };
    assert_eq!(probe.right(packets), right);
    group.bench_function("bare-probe", |b| {
        b.iter(|| {
            for packet in alone {
                black_box(&probe.service(&black_box(packet).headers));
            }
        });
    });
    group.bench_function("floor", |b| {
        let mut draw = Draw(1);
        b.iter(|| {
            for packet in alone {
                black_box(&probe.endpoint(&black_box(packet).headers, &mut draw));
            }
        });
    });
}

/// What is right for every packet of a case.
fn expected(kind: Kind, case: Case) -> Answers {
    let mut answers = Answers::default();
    let counter = match (kind, case) {
        (_, Case::Miss) => &mut answers.untouched,
        (Kind::NoEndpoints, _) => &mut answers.rejected,
        (Kind::ClusterIp | Kind::ClusterIpV6 | Kind::NodePort | Kind::LoadBalancer, _) => {
            &mut answers.endpoint
        }
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

    #[inline]
    fn service(&self, headers: &Headers) -> Option<u32> {
        let key = ((self.address)(headers.dst), headers.protocol, headers.dport);
        self.table.get(&key).copied()
    }

    #[inline]
    fn endpoint(&self, headers: &Headers, draw: &mut Draw) -> Option<IpAddr> {
        let place = self.service(headers)? * ENDPOINTS + draw.one_of(ENDPOINTS);
        self.endpoints.get(place as usize).copied()
    }

    /// How many packets it finds the Service of.
    fn right(&self, packets: &[(u32, Packet<'_>)]) -> usize {
        let right = |(service, packet): &&(u32, Packet<'_>)| {
            self.service(&packet.headers) == Some(*service)
        };
        packets.iter().filter(right).count()
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(150));
    targets = services, nftables, policies
}
criterion_main!(benches);
