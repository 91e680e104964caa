//! podwire against the kernel, rule by rule.
//!
//! A node's rules are loaded into a namespace that is wired as podwire wires the node, real packets are
//! sent, and the kernel's own trace and connection table are compared with what podwire says of the
//! same packets. Where the kernel leaves something to chance podwire gives every outcome, and one of
//! them must be the kernel's.

#![expect(clippy::print_stdout, reason = "the counts are what the test is for")]

mod agreement;
mod lab;
mod probes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use podwire_cluster::{Cluster, load, read_inputs};
use podwire_controlplane::cni::PodNetwork;
use podwire_packet::{Family, FiveTuple, Headers};
use podwire_ruleset::outcomes;
use podwire_sim::{Options, World};
use podwire_testkit::kernel::{self, Lane};

use crate::agreement::{Heard, Steps};
use crate::lab::{Lab, Sender, outside_client};

/// What is compared of a cluster.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    nodes: usize,
    packets: usize,
    rules: usize,
    translated: usize,
    masqueraded: usize,
    bridged: usize,
    local: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.nodes += other.nodes;
        self.packets += other.packets;
        self.rules += other.rules;
        self.translated += other.translated;
        self.masqueraded += other.masqueraded;
        self.bridged += other.bridged;
        self.local += other.local;
    }
}

fn cluster(case: &str) -> Cluster {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("golden/kube-proxy")
        .join(case);
    let files = [folder.join("objects.yaml"), folder.join("config.yaml")];
    load(read_inputs(&files).expect("the golden case is there"))
        .expect("the golden case can be read")
}

const CASES: [&str; 11] = [
    "002-clusterip-plain",
    "004-several-named-ports",
    "006-udp-sctp",
    "010-nodeport",
    "014-loadbalancer",
    "030-headless-externalname",
    "042-hairpin",
    "046-detect-clustercidr",
    "080-same-name-two-namespaces",
    "082-same-endpoints",
    "088-several-slices",
];

/// How often each packet is sent, with another source port each time.
const REPEATS: usize = 3;

#[test]
fn the_kernel_takes_every_packet_the_way_that_podwire_says() {
    let Some(lane) = kernel::lane() else {
        return;
    };
    kernel::stay_on_one_cpu(lane).expect("a processor");
    let mut total = Count::default();
    let mut wrong = Vec::new();
    for case in CASES {
        let (count, of_case) = compare(lane, case);
        println!("{case}: {count:?}, {} disagreements", of_case.len());
        total += count;
        wrong.extend(of_case);
    }
    println!(
        "kernel lane: {} packets, {} disagreements; {total:?}",
        total.packets,
        wrong.len()
    );
    assert!(
        wrong.is_empty(),
        "{}",
        wrong
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert!(
        total.packets >= 1_000,
        "{} packets are too few to say anything",
        total.packets
    );
}

/// Sends the packets of one cluster on each of its nodes.
fn compare(lane: Lane, case: &str) -> (Count, Vec<String>) {
    let cluster = cluster(case);
    let world = World::new(&cluster, &Options::default()).expect("a cluster that kube-proxy takes");
    let network = PodNetwork::new(&cluster);
    let (mut count, mut wrong) = (Count::default(), Vec::new());
    for (index, node) in network.nodes().iter().enumerate() {
        if node.internal_ip(Family::Ipv4).is_none() {
            continue;
        }
        let rules = world.rules(index).expect("rules for the node");
        let mut lab =
            Lab::new(lane, &cluster, &network, node, &rules).expect("a node in the kernel");
        assert_eq!(
            lab.kernel_rules(),
            lab.rules().rule_count(),
            "the kernel has other rules:\n{}",
            lab.listing()
        );
        let client = outside_client(node);
        let senders = probes::senders(&cluster, node, network.nodes(), client);
        let targets = probes::targets(&cluster, node);
        let (of_node, of_node_wrong) = ask_both(&mut lab, &senders, &targets);
        count += of_node;
        wrong.extend(
            of_node_wrong
                .into_iter()
                .map(|text| format!("{case} {}: {text}", node.name)),
        );
    }
    (count, wrong)
}

/// A packet that was sent.
struct Sent {
    sender: Sender,
    headers: Headers,
    heard: Heard,
}

/// Sends every packet through both and compares.
fn ask_both(
    lab: &mut Lab,
    senders: &[Sender],
    targets: &BTreeSet<probes::Target>,
) -> (Count, Vec<String>) {
    let mut count = Count {
        nodes: 1,
        ..Count::default()
    };
    let mut all = Vec::new();
    let mut sport = 20_000;
    for &sender in senders {
        for &(protocol, dst, dport) in targets {
            // From elsewhere, 127.0.0.1 is a place of the sender's own.
            if dst.is_loopback() && sender != Sender::Host {
                continue;
            }
            for _ in 0..REPEATS {
                sport += 1;
                let src = match sender {
                    Sender::Host => Family::Ipv4.unspecified(),
                    Sender::Pod(ip) | Sender::Outside(ip) => ip,
                };
                let headers = Headers::first_of_flow(src, dst, protocol, sport, dport);
                let heard = lab
                    .in_kernel(sender, headers)
                    .expect("the kernel takes packets");
                all.push(Sent {
                    sender,
                    headers,
                    heard,
                });
            }
        }
    }
    let (tracked, numbers) = lab.finish().expect("the kernel tells of connections");
    let numbers = numbers.clone();
    let connections: BTreeMap<FiveTuple, _> = tracked
        .iter()
        .map(|tracked| (tracked.original, *tracked))
        .collect();
    let mut wrong = Vec::new();
    // What each packet could become, and did.
    let mut drawn: BTreeMap<
        (Sender, probes::Target),
        (BTreeSet<SocketAddr>, BTreeSet<SocketAddr>),
    > = BTreeMap::new();
    for Sent {
        sender,
        headers,
        heard,
    } in all
    {
        let possible: Vec<Steps> = outcomes(|choose| lab.in_podwire(sender, headers, choose))
            .into_iter()
            .map(|(_, steps)| steps)
            .collect();
        let flow = possible[0].sent.unwrap_or(headers.five_tuple());
        let steps = heard.steps(flow, &connections, &numbers, lab.rules());
        count.packets += 1;
        count.rules += steps.steps.len();
        if let Some(connection) = &steps.connection {
            count.translated +=
                usize::from(connection.to != SocketAddr::from((flow.dst, flow.dport)));
            count.masqueraded += usize::from(connection.is_masqueraded);
        }
        let same = possible
            .iter()
            .filter(|outcome| outcome.agrees(&steps))
            .count();
        if same != 1 {
            let said: Vec<String> = possible
                .iter()
                .map(|steps| format!("  podwire:{steps} ({})", steps.outcome))
                .collect();
            wrong.push(format!(
                "{sender:?} {flow:?}\n  kernel: {steps}\n{}",
                said.join("\n")
            ));
        }
        let (could, did) = drawn
            .entry((sender, (headers.protocol, headers.dst, headers.dport)))
            .or_default();
        could.extend(
            possible
                .iter()
                .filter_map(|steps| Some(steps.connection?.to)),
        );
        did.extend(steps.connection.map(|connection| connection.to));
    }
    for ((sender, target), (could, did)) in drawn {
        if !did.is_subset(&could) {
            wrong.push(format!(
                "{sender:?} {target:?}: {did:?} is not among {could:?}"
            ));
        }
    }
    (count, wrong)
}

#[expect(unused, reason = "")]
fn unused(_: IpAddr) {}
