//! The nodes of the golden clusters: kube-proxy's rules in each mode, and every address that a Service
//! has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use podwire_cluster::{Cluster, ProxyMode, load, read_inputs};
use podwire_controlplane::cni::PodNetwork;
use podwire_dataplane::NetnsState;
use podwire_packet::{Family, FiveTuple, Headers};
use podwire_ruleset::outcomes;
use podwire_sim::{Options, World};
use podwire_testkit::kernel::{self, Lane};
use podwire_tests::random_cluster;

use crate::agreement::{Heard, Steps};
use crate::lab::{Lab, Place, Rules, Sender};
use crate::probes::{self, Target};
use crate::wiring::outside_client;

/// The clusters; those with IPv6 alone are left out.
const CASES: [&str; 47] = [
    "002-clusterip-plain",
    "004-several-named-ports",
    "006-udp-sctp",
    "008-no-endpoints",
    "010-nodeport",
    "012-nodeport-local",
    "014-loadbalancer",
    "018-lb-source-ranges",
    "020-external-ips",
    "022-etp-local-lb",
    "024-itp-local",
    "026-health-check-node-port",
    "028-session-affinity",
    "030-headless-externalname",
    "032-terminating",
    "034-not-ready",
    "036-topology-hints",
    "038-traffic-distribution-gate",
    "042-hairpin",
    "044-masquerade-all",
    "046-detect-clustercidr",
    "048-detect-nodecidr",
    "050-detect-bridge",
    "052-detect-prefix",
    "054-detect-none",
    "056-nodeport-addresses",
    "058-nodeport-addresses-all",
    "062-dual-stack",
    "064-dual-stack-detect",
    "078-lb-ipmode-proxy",
    "080-same-name-two-namespaces",
    "082-same-endpoints",
    "086-manual-slices",
    "088-several-slices",
    "090-endpoint-moves-slices",
    "098-localhost-nodeports",
    "100-masquerade-bit",
    "102-conntrack-liberal",
    "104-ignored-by-label",
    "106-publish-not-ready",
    "108-long-names",
    "110-odd-slices",
    "112-lb-everything",
    "114-merged-endpoint-lists",
    "116-empty-cluster",
    "204-random",
    "212-random",
];

/// Clusters whose nftables kube-proxy 1.30 words in a way that nft refuses: `iif` of a device that is
/// not there, or of a prefix of names.
const REFUSED_BY_NFT: [&str; 2] = ["050-detect-bridge", "052-detect-prefix"];

/// Clusters for userspace mode, whose rules know neither endpoints nor policies. Those without a service
/// port that has a proxy cannot be compared: without a rule that needs it, the kernel tracks nothing.
const IN_USERSPACE_MODE: [&str; 10] = [
    "004-several-named-ports",
    "006-udp-sctp",
    "010-nodeport",
    "014-loadbalancer",
    "020-external-ips",
    "062-dual-stack",
    "098-localhost-nodeports",
    "110-odd-slices",
    "112-lb-everything",
    "114-merged-endpoint-lists",
];

/// Clusters made at random, whose nodes are compared in two modes.
const RANDOM: u64 = 8;
/// How often each packet is sent, with another source port each time.
const REPEATS: usize = 2;
/// How often it is sent for each way that it could go, for some targets of few endpoints on each node:
/// so often that none is missed but once in 10^8 times.
const DRAWS: usize = 20;
const FEW: usize = 3;
/// How many targets of a node that is.
const DRAWN_TARGETS: usize = 2;
/// A node with more targets than this gets each packet but once.
const MANY: usize = 20;

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    nodes: usize,
    packets: usize,
    rules: usize,
    translated: usize,
    masqueraded: usize,
    /// Targets of which every endpoint was drawn.
    drawn: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.nodes += other.nodes;
        self.packets += other.packets;
        self.rules += other.rules;
        self.translated += other.translated;
        self.masqueraded += other.masqueraded;
        self.drawn += other.drawn;
    }
}

impl Count {
    fn add(&mut self, flow: FiveTuple, told: &Steps) {
        self.packets += 1;
        self.rules += told.steps.len();
        if let Some(connection) = &told.connection {
            self.translated +=
                usize::from(connection.to != SocketAddr::from((flow.dst, flow.dport)));
            self.masqueraded += usize::from(connection.is_masqueraded);
        }
    }
}

#[test]
fn the_kernel_takes_every_packet_the_way_that_podwire_says() {
    compare_all(ProxyMode::Iptables, golden(&CASES));
}

#[test]
fn the_kernel_walks_nftables_as_podwire_does() {
    let cases = CASES.into_iter();
    let taken: Vec<&str> = cases
        .filter(|case| !REFUSED_BY_NFT.contains(case))
        .collect();
    compare_all(ProxyMode::Nftables, golden(&taken));
}

/// To the proxy's socket, that is; its own connections are packets of the node like others.
#[test]
fn the_kernel_leads_packets_to_the_proxies_of_userspace_mode_as_podwire_does() {
    compare_all(ProxyMode::Userspace, golden(&IN_USERSPACE_MODE));
}

/// Services with any mix of features, on nodes whose kube-proxy is configured in any way.
#[test]
fn the_kernel_takes_packets_of_random_clusters_as_podwire_does() {
    for mode in [ProxyMode::Iptables, ProxyMode::Nftables] {
        compare_all(mode, random());
    }
}

fn golden(cases: &[&str]) -> impl Iterator<Item = (String, Cluster)> {
    cases.iter().map(|case| ((*case).to_owned(), cluster(case)))
}

/// As many as [`RANDOM`], or those of the seeds from `PODWIRE_KERNEL_SEED` on.
fn random() -> impl Iterator<Item = (String, Cluster)> {
    let first = std::env::var("PODWIRE_KERNEL_SEED").ok();
    let first = first.map_or(1, |seed| seed.parse().expect("a number"));
    (first..first + RANDOM).map(|seed| {
        let label = format!("random cluster of seed {seed}");
        (label, random_cluster::cluster(seed))
    })
}

/// Sends the packets of every cluster, with kube-proxy in that mode.
#[expect(clippy::print_stdout, reason = "what was compared is to be read")]
fn compare_all(mode: ProxyMode, clusters: impl IntoIterator<Item = (String, Cluster)>) {
    let Some(lane) = kernel::lane() else {
        return;
    };
    kernel::stay_on_one_cpu(lane).expect("a processor");
    let mut total = Count::default();
    let mut wrong = Vec::new();
    for (case, cluster) in clusters {
        let (count, of_case) = compare(lane, mode, &case, cluster);
        println!(
            "{mode:?} {case}: {} packets on {} nodes, {} disagreements",
            count.packets,
            count.nodes,
            of_case.len()
        );
        total += count;
        wrong.extend(of_case);
    }
    println!(
        "kernel lane, {mode:?}: {} packets, {} disagreements; {total:?}",
        total.packets,
        wrong.len()
    );
    let first: Vec<String> = wrong.iter().take(8).cloned().collect();
    assert!(wrong.is_empty(), "{}", first.join("\n"));
    assert!(
        total.packets >= 1_000,
        "{} packets are too few to say anything",
        total.packets
    );
}

pub(crate) fn cluster(case: &str) -> Cluster {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("golden/kube-proxy")
        .join(case);
    let files = [folder.join("objects.yaml"), folder.join("config.yaml")];
    load(read_inputs(&files).expect("the golden case is there"))
        .expect("the golden case can be read")
}

/// Sends the packets of one cluster on each of its nodes.
fn compare(lane: Lane, mode: ProxyMode, case: &str, mut cluster: Cluster) -> (Count, Vec<String>) {
    let name = match mode {
        ProxyMode::Nftables => Some("nftables"),
        ProxyMode::Userspace => Some("userspace"),
        ProxyMode::Iptables | ProxyMode::Ipvs | ProxyMode::Kernelspace => None,
    };
    if let Some(name) = name {
        let config = cluster.kube_proxy.get_or_insert_default();
        name.clone_into(&mut config.mode);
    }
    let world = World::new(&cluster, &Options::default()).expect("a cluster that kube-proxy takes");
    let network = PodNetwork::new(&cluster);
    let (mut count, mut wrong) = (Count::default(), Vec::new());
    for (index, node) in network.nodes().iter().enumerate() {
        if node.internal_ip(Family::Ipv4).is_none() {
            continue;
        }
        let rules = world.rules(index).expect("rules for the node");
        let pods = probes::local_pods(&cluster, node);
        let place = Place {
            network: &network,
            node,
            pods: &pods,
        };
        let mut lab = Lab::new(lane, place, &Rules::traced(&rules)).expect("a node in the kernel");
        assert_eq!(
            lab.kernel_rules(),
            lab.podwire_rules(),
            "{case} {}: the kernel has other rules",
            node.name
        );
        let senders = probes::senders(&cluster, node, network.nodes(), outside_client(node));
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

/// Who could get the packets to a target, and who did.
#[derive(Default)]
struct Drawn {
    could: BTreeSet<SocketAddr>,
    did: BTreeSet<SocketAddr>,
    packets: usize,
    /// The fewest ways that one of them could go: fewer than there are endpoints, if rules remember.
    ways: Option<usize>,
}

/// Sends every packet through both and compares.
fn ask_both(lab: &mut Lab, senders: &[Sender], targets: &BTreeSet<Target>) -> (Count, Vec<String>) {
    let sent = send_all(lab, senders, targets);
    let connections = lab.connections().expect("the kernel tells of connections");
    let connections = connections
        .into_iter()
        .map(|tracked| (tracked.original, tracked))
        .collect();
    let mut count = Count {
        nodes: 1,
        ..Count::default()
    };
    let mut wrong = Vec::new();
    let mut drawn: BTreeMap<(Sender, Target), Drawn> = BTreeMap::new();
    let mut before = NetnsState::default();
    for Sent {
        sender,
        headers,
        heard,
    } in sent
    {
        let possible = ways(lab, sender, headers, &before);
        let flow = possible[0].sent.unwrap_or(headers.five_tuple());
        let told = heard.steps(flow, &connections, None, lab.numbers(), lab.rules());
        let told_alone = told.with_taken_port_kept(flow, &connections);
        count.add(flow, &told);
        let same: Vec<&Steps> = possible
            .iter()
            .filter(|said| said.agrees(&told) || said.agrees(&told_alone))
            .collect();
        let target = (headers.protocol, headers.dst, headers.dport);
        let drawn = drawn.entry((sender, target)).or_default();
        drawn.packets += 1;
        drawn.ways = drawn.ways.into_iter().chain([possible.len()]).min();
        drawn
            .could
            .extend(possible.iter().filter_map(|said| Some(said.connection?.to)));
        drawn
            .did
            .extend(told.connection.map(|connection| connection.to));
        match same.as_slice() {
            // What rules remember from here on is what they remember of the way that was taken.
            [said] => before.ipv4 = said.state.ipv4.clone(),
            _ => wrong.push(lab.disagreement(sender, &headers, &told, &possible)),
        }
    }
    for (
        (sender, target),
        Drawn {
            could,
            did,
            packets,
            ways,
        },
    ) in drawn
    {
        let is_all = could.len() > 1 && ways >= Some(could.len()) && packets >= DRAWS * could.len();
        count.drawn += usize::from(is_all);
        if !did.is_subset(&could) || is_all && did != could {
            wrong.push(format!(
                "{sender:?} to {target:?}: of {could:?} the kernel drew {did:?}"
            ));
        }
    }
    (count, wrong)
}

/// Every way that podwire gives a packet.
fn ways(lab: &Lab, sender: Sender, headers: Headers, before: &NetnsState) -> Vec<Steps> {
    let all = outcomes(|choose| lab.in_podwire(sender, headers, before, choose));
    all.into_iter().map(|(_, steps)| steps).collect()
}

/// Sends a packet from the next port. The kernel's trace may be lost, as netlink messages are on a busy
/// machine: where it tells nothing at all, another packet is sent.
fn send(lab: &mut Lab, sender: Sender, sport: &mut u16, packet: impl Fn(u16) -> Headers) -> Sent {
    const TRIES: usize = 4;
    let mut next = || {
        *sport += 1;
        let headers = packet(*sport);
        let heard = lab
            .in_kernel(sender, headers)
            .expect("the kernel takes packets");
        Sent {
            sender,
            headers,
            heard,
        }
    };
    let mut sent = next();
    for _ in 1..TRIES {
        if !sent.heard.lines.is_empty() {
            break;
        }
        sent = next();
    }
    sent
}

fn send_all(lab: &mut Lab, senders: &[Sender], targets: &BTreeSet<Target>) -> Vec<Sent> {
    let mut all = Vec::new();
    let mut sport = 20_000;
    let mut drawn_targets = 0;
    for &sender in senders {
        for &(protocol, dst, dport) in targets {
            // From elsewhere, 127.0.0.1 is a place of the sender's own.
            if dst.is_loopback() && sender != Sender::Host {
                continue;
            }
            let src = match sender {
                Sender::Host => Family::Ipv4.unspecified(),
                Sender::Pod(ip) | Sender::Outside(ip) => ip,
            };
            let packet = |sport| Headers::first_of_flow(src, dst, protocol, sport, dport);
            let mut repeats = if targets.len() > MANY { 1 } else { REPEATS };
            if drawn_targets < DRAWN_TARGETS
                && let ways @ 2..=FEW =
                    ways(lab, sender, packet(sport), &NetnsState::default()).len()
            {
                drawn_targets += 1;
                repeats = ways * DRAWS;
            }
            for _ in 0..repeats {
                all.push(send(lab, sender, &mut sport, packet));
            }
        }
    }
    all
}
