//! weave-npc's ipsets and rules: what the kernel does with a packet is what they mean to podwire, by
//! either evaluator, and what the policies mean.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podwire_cluster::{Cluster, Cni, Input, load};
use podwire_controlplane::cni::PodNetwork;
use podwire_controlplane::network_policy::{Policies, Traffic};
use podwire_dataplane::{Disposition, Netns, NetnsState, Outcome};
use podwire_matcher::Matcher;
use podwire_packet::{Headers, Protocol};
use podwire_ruleset::{Draw, ipset};
use podwire_sim::{Options, World};
use podwire_testkit::kernel::{self, Lane};
use podwire_testkit::policies::{self, Kind, Numbers, OUTSIDE, PORTS};

use crate::lab::{Lab, Place, Rules, Sender};
use crate::nodes::{Sent, send};

/// Clusters, and questions about each pair of ends.
const CLUSTERS: u64 = 24;
const QUESTIONS: usize = 2;
const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    packets: usize,
    rules: usize,
    passed: usize,
    dropped: usize,
}

#[test]
fn the_kernel_lets_through_what_policies_mean() {
    let Some(lane) = kernel::lane() else {
        return;
    };
    kernel::stay_on_one_cpu(lane).expect("a processor");
    let (mut count, mut wrong) = (Count::default(), Vec::new());
    for seed in 0..CLUSTERS {
        compare(lane, seed, &mut count, &mut wrong);
    }
    println!(
        "kernel lane, policies: {count:?}, {} disagreements",
        wrong.len()
    );
    let first: Vec<String> = wrong.iter().take(6).cloned().collect();
    assert!(wrong.is_empty(), "{}", first.join("\n"));
    assert!(count.packets >= 5_000, "{count:?}");
    assert!(count.passed >= 1_000 && count.dropped >= 1_000, "{count:?}");
}

fn cluster(seed: u64) -> Cluster {
    let input = Input {
        path: "generated.yaml".into(),
        text: policies::cluster(seed, Kind::Weave),
    };
    let mut cluster = load(vec![input]).expect("a cluster");
    cluster.network.cni = Cni::Weave;
    cluster
}

/// Sends packets on the first node of a cluster.
fn compare(lane: Lane, seed: u64, count: &mut Count, wrong: &mut Vec<String>) {
    let cluster = cluster(seed);
    let policies = Policies::new(&cluster);
    let world = World::new(&cluster, &Options::default()).expect("a cluster that kube-proxy takes");
    let network = PodNetwork::new(&cluster);
    let node = &network.nodes()[0];
    let npc = network.policy_controller().expect("Weave has one");
    let all: Vec<IpAddr> = cluster.pods.values().map(|pod| pod.ips[0]).collect();
    let local: BTreeSet<IpAddr> = all.iter().copied().filter(|&ip| node.holds(ip)).collect();
    let node_rules = world.rules(0).expect("rules for the node");
    let rules = Rules {
        sets: ipset::print(npc.sets()).into(),
        ..Rules::traced(&node_rules)
    };
    let place = Place {
        network: &network,
        node,
        pods: &local,
    };
    let mut lab = Lab::new(lane, place, &rules).expect("a node in the kernel");
    assert_eq!(lab.kernel_rules(), lab.podwire_rules(), "seed {seed}");
    let mut by_matcher: Netns<Matcher> = network.host(node, local.iter().copied());
    let compiled = Matcher::new(rules.interp.rules()).expect("rules that the kernel takes");
    by_matcher.ipv4_rules = Some(compiled.into());

    let outside = OUTSIDE.iter().map(|ip| ip.parse().expect("an address"));
    let ends: Vec<IpAddr> = all.iter().copied().chain(outside).collect();
    let sent = send_all(&mut lab, &ends, &local, seed);
    let connections = lab.connections().expect("the kernel tells of connections");
    let connections: BTreeMap<_, _> = connections
        .into_iter()
        .map(|tracked| (tracked.original, tracked))
        .collect();
    let mut before = NetnsState::default();
    before.ipv4.sets = npc.sets().clone();
    for Sent {
        sender,
        headers,
        heard,
    } in sent
    {
        let flow = headers.five_tuple();
        let told = heard.steps(flow, &connections, None, lab.numbers(), lab.rules());
        let said = lab.in_podwire(sender, headers, &before, &mut Draw(seed));
        count.packets += 1;
        count.rules += told.steps.len();
        if !said.agrees(&told) {
            wrong.push(format!(
                "seed {seed}: {}",
                lab.disagreement(sender, &headers, &told, &[said])
            ));
            continue;
        }
        let passed = told.connection.is_some();
        *(if passed {
            &mut count.passed
        } else {
            &mut count.dropped
        }) += 1;
        let mut state = before.clone();
        let outcome = lab.sent_into(
            &by_matcher,
            (sender, headers),
            &mut state,
            &mut Draw(seed),
            &mut Vec::new(),
        );
        let by_matcher = !matches!(outcome, Outcome::Ended(Disposition::Dropped(_)));
        // Each node sees to its own pods.
        let verdict = policies.verdict(&Traffic {
            from: policies.address(flow.src),
            to: policies.address(flow.dst),
            protocol: flow.protocol,
            port: flow.dport,
        });
        let is_meant = (!local.contains(&flow.src) || verdict.egress.allowed())
            && (!local.contains(&flow.dst) || verdict.ingress.allowed());
        if passed != is_meant || passed != by_matcher {
            wrong.push(format!(
                "seed {seed}: {flow}: the kernel let it through: {passed}, the matcher: {by_matcher}, the policies: {is_meant}"
            ));
        }
    }
}

/// Packets between all ends of which one is a pod of the node.
fn send_all(lab: &mut Lab, ends: &[IpAddr], local: &BTreeSet<IpAddr>, seed: u64) -> Vec<Sent> {
    let (mut sport, mut numbers) = (20_000, Numbers::new(seed));
    let mut sent = Vec::new();
    for &from in ends {
        let sender = if local.contains(&from) {
            Sender::Pod(from)
        } else {
            Sender::Outside(from)
        };
        let to_pods = ends.iter().filter(|&&to| to != from);
        for &to in to_pods.filter(|to| local.contains(&from) || local.contains(to)) {
            for _ in 0..QUESTIONS {
                let (protocol, port) = (numbers.pick(&PROTOCOLS), numbers.pick(&PORTS));
                let packet = |sport| Headers::first_of_flow(from, to, protocol, sport, port);
                sent.push(send(lab, sender, &mut sport, packet));
            }
        }
    }
    sent
}
