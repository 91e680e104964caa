//! Which traffic kube-proxy's modes treat differently: known differences are found, and no packet differs
//! that no class tells of.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podwire_analysis::{Class, DestinationKind, Diff, Fate, PortFacts, Reason, SenderKind, Side};
use podwire_cluster::{Cluster, Input, load};
use podwire_dataplane::Disposition;
use podwire_packet::{Family, Prefix, Protocol};
use podwire_ruleset::{Choose, Draw};
use podwire_sim::{NetnsId, Options, Place, Query, Refusal, Target, World};
use podwire_tests::golden_cluster;

const MODES: [&str; 3] = ["iptables", "nftables", "ipvs"];

fn sides(cluster: &Cluster, modes: &[&str]) -> Vec<Side> {
    let of_modes = modes.iter().map(|mode| Side::in_mode(cluster, mode));
    of_modes.collect()
}

fn diff(cluster: &Cluster, modes: &[&str]) -> Diff {
    Diff::of(&sides(cluster, modes), &Options::default()).expect("the modes are modelled")
}

fn golden(case: &str) -> Diff {
    diff(&golden_cluster(case), &MODES)
}

/// Every difference as mode, kind of address and reason.
fn found(diff: &Diff) -> BTreeSet<(&'static str, DestinationKind, Reason)> {
    let of = |class: &Class| {
        let reasons = class.reasons.clone().into_iter();
        let (mode, destination) = (MODES[class.side], class.destination);
        reasons.map(move |reason| (mode, destination, reason))
    };
    diff.classes.iter().flat_map(of).collect()
}

#[test]
fn plain_cluster_ips_are_the_same_in_all_modes() {
    let diff = golden("002");
    assert!(diff.is_empty(), "{:#?}", diff.classes);
    assert!(diff.sent > 50, "{} packets", diff.sent);
    // But for ports that ClusterIPs do not have.
    assert!(!diff.unserved.is_empty());
    let reasons = |class: &Class| class.reasons.clone();
    assert!(
        diff.unserved
            .iter()
            .map(reasons)
            .all(|reasons| reasons == [Reason::InvalidClusterIpPort])
    );
}

#[test]
fn node_ports_are_on_localhost_in_iptables_mode_and_on_one_address_in_nftables_mode() {
    let expected = [
        (
            "nftables",
            DestinationKind::OtherNodeIp,
            Reason::NodePortAddressesDefault,
        ),
        (
            "nftables",
            DestinationKind::Loopback,
            Reason::LocalhostNodePorts,
        ),
        (
            "ipvs",
            DestinationKind::Loopback,
            Reason::LocalhostNodePorts,
        ),
    ];
    assert_eq!(found(&golden("010")), BTreeSet::from(expected));
}

#[test]
fn policy_local_differs_in_ipvs_mode() {
    let found = found(&golden("012"));
    for reason in [Reason::IpvsLocalFallsBack, Reason::IpvsNoShortCircuit] {
        assert!(
            found.contains(&("ipvs", DestinationKind::NodeIp, reason)),
            "{found:?}"
        );
    }
    assert!(found.contains(&(
        "nftables",
        DestinationKind::Loopback,
        Reason::LocalhostNodePorts
    )));
}

#[test]
fn node_port_addresses_say_where_node_ports_are_in_all_modes() {
    // With 127.0.0.0/8 among them localhost is left to iptables mode; what is left out is the same.
    let found_056 = found(&golden("056"));
    assert!(found_056.contains(&(
        "ipvs",
        DestinationKind::Loopback,
        Reason::LocalhostNodePorts
    )));
    let by_default = |(.., reason): &(_, _, Reason)| *reason == Reason::NodePortAddressesDefault;
    assert!(!found_056.iter().any(by_default), "{found_056:?}");
    // All addresses, but localhost by another setting.
    let found_058 = found(&golden("058"));
    let rest = Reason::NoEndpointRuleOnEveryAddress;
    let expected = ["nftables", "ipvs"].map(|mode| (mode, DestinationKind::Loopback, rest));
    assert_eq!(found_058, BTreeSet::from(expected));
}

#[test]
fn nft_refuses_the_prefix_of_interfaces_and_no_service_works() {
    let diff = golden("052");
    let refused = diff.refused.first().expect("nft refuses the table");
    assert_eq!((MODES[refused.side], diff.refused.len()), ("nftables", 1));
    let Refusal::NftTable { family, rule } = &refused.refusal else {
        panic!("{refused:?}");
    };
    assert_eq!(*family, Family::Ipv4);
    assert!(rule.starts_with("iif cali* "), "{rule}");
    let mut of_nftables = diff
        .classes
        .iter()
        .filter(|class| MODES[class.side] == "nftables");
    assert!(of_nftables.all(|class| {
        class.reasons == [Reason::NftRefusesInterfacePrefix] && !class.outcomes[1].delivers()
    }));
}

const OPEN_TO_ALL: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-a}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.10.11}]}
---
apiVersion: v1
kind: Service
metadata: {name: open, namespace: default}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.20
  clusterIPs: [10.96.0.20]
  ipFamilies: [IPv4]
  loadBalancerSourceRanges: [0.0.0.0/0]
  ports: [{name: http, port: 80}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: open-1, namespace: default, labels: {kubernetes.io/service-name: open}}
addressType: IPv4
endpoints: [{addresses: [10.244.1.4], nodeName: node-a}]
ports: [{name: http, port: 8080}]
";

fn cluster_of(text: &str) -> Cluster {
    let input = Input {
        path: "objects.yaml".into(),
        text: text.to_owned(),
    };
    load(vec![input]).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_source_range_of_everybody_lets_nobody_in_where_ipset_refuses_it() {
    let diff = diff(&cluster_of(OPEN_TO_ALL), &MODES);
    let refused = diff.refused.first().expect("ipset refuses the entry");
    assert_eq!(
        refused.refusal,
        Refusal::IpsetEntry {
            set: "KUBE-LOAD-BALANCER-SOURCE-CIDR".to_owned(),
            entry: "203.0.113.10,tcp:80,0.0.0.0/0".to_owned(),
        }
    );
    let services: Vec<String> = refused.services.iter().map(ToString::to_string).collect();
    assert_eq!(services, ["default/open"]);
    let class = diff
        .classes
        .iter()
        .find(|class| class.reasons.contains(&Reason::IpsetRefusesZeroPrefix))
        .expect("it shows");
    let senders = [
        SenderKind::Pod,
        SenderKind::Endpoint,
        SenderKind::OutsideInRange,
    ];
    assert!(
        class.senders.is_superset(&BTreeSet::from(senders)),
        "{class:#?}"
    );
    assert!(class.outcomes[0].is(Fate::Delivered) && class.outcomes[1].is(Fate::Dropped));
}

/// The same packets in another order of modes are different again.
#[test]
fn a_difference_does_not_depend_on_which_mode_comes_first() {
    let cluster = golden_cluster("056");
    let there = diff(&cluster, &["iptables", "ipvs"]);
    let back = diff(&cluster, &["ipvs", "iptables"]);
    assert_eq!(there.differing, back.differing);
    let reasons = |diff: &Diff| -> BTreeSet<Reason> {
        let of_classes = diff.classes.iter();
        of_classes.flat_map(|class| class.reasons.clone()).collect()
    };
    assert_eq!(reasons(&there), reasons(&back));
}

#[test]
fn two_states_of_a_cluster_differ_where_an_endpoint_is_gone() {
    let old = cluster_of(OPEN_TO_ALL);
    let new = cluster_of(&OPEN_TO_ALL.replace("10.244.1.4", "10.244.1.5"));
    let side = |cluster: &Cluster| Side {
        name: "a state".to_owned(),
        cluster: cluster.clone(),
    };
    let same = Diff::of(&[side(&old), side(&old)], &Options::default()).expect("it is modelled");
    assert!(same.is_empty());
    let other = Diff::of(&[side(&old), side(&new)], &Options::default()).expect("it is modelled");
    let kinds: BTreeSet<DestinationKind> = other
        .classes
        .iter()
        .map(|class| class.destination)
        .collect();
    let expected = [DestinationKind::ClusterIp, DestinationKind::LoadBalancerIp];
    assert_eq!(kinds, BTreeSet::from(expected));
}

/// A Service of two endpoints whose clients keep theirs.
const STICKY: &str = "
apiVersion: v1
kind: Node
metadata: {name: a}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 192.168.10.11}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: NodePort, clusterIP: 10.96.0.10, sessionAffinity: ClientIP, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: '', port: 8080}]
endpoints: [{addresses: [10.244.1.4], nodeName: a}, {addresses: [10.244.1.5], nodeName: a}]
";

#[test]
fn a_client_that_is_moved_is_a_difference() {
    let old = cluster_of(STICKY);
    let new = cluster_of(&STICKY.replace("sessionAffinity: ClientIP, ", ""));
    let side = |cluster: &Cluster| Side {
        name: "a state".to_owned(),
        cluster: cluster.clone(),
    };
    let diff = Diff::of(&[side(&old), side(&new)], &Options::default()).expect("it is modelled");
    let classes = diff.classes.iter();
    let changes: BTreeSet<_> = classes.flat_map(|class| class.changes.keys()).collect();
    assert!(!changes.is_empty());
    for [before, after] in changes {
        assert!(before.ends_with("next packet to the same"), "{before}");
        assert!(after.ends_with("next packet to any"), "{after}");
    }
    // Each mode keeps clients in its own way.
    let modes = diff_of_all_modes(&old);
    let outcomes = modes.classes.iter().flat_map(|class| &class.outcomes);
    assert!(
        outcomes
            .clone()
            .all(|outcome| outcome.client_stays != Some(false))
    );
    let golden = diff_of_all_modes(&golden_cluster("028"));
    let outcomes = golden.classes.iter().flat_map(|class| &class.outcomes);
    assert!(
        outcomes
            .clone()
            .all(|outcome| outcome.client_stays != Some(false))
    );
}

fn diff_of_all_modes(cluster: &Cluster) -> Diff {
    diff(cluster, &["iptables", "nftables", "ipvs", "userspace"])
}

/// Packets at random, and what is known of each.
struct Packets<'c> {
    cluster: &'c Cluster,
    ports: &'c [PortFacts],
    draw: Draw,
}

struct Packet {
    query: Query,
    sender: SenderKind,
    destination: DestinationKind,
    port: PortFacts,
}

impl Packets<'_> {
    fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        let count = u32::try_from(of.len()).expect("few");
        &of[self.draw.one_of(count) as usize]
    }

    /// A packet to a service port.
    fn next(&mut self, world: &World<'_>) -> Option<Packet> {
        let port = self.pick(self.ports).clone();
        let nodes: Vec<_> = self.cluster.nodes.values().collect();
        let node = *self.pick(&nodes);
        let name = node.meta.name.name.to_string();
        let family = Family::Ipv4;
        let mut own: Vec<IpAddr> = node.internal_ips(family).collect();
        let first = *own.first()?;
        own.extend(node.pod_cidr(family)?.nth(1));
        own.push(IpAddr::from([127, 0, 0, 1]));
        let on_node = |ip: IpAddr| {
            if ip.is_loopback() {
                DestinationKind::Loopback
            } else if ip == first {
                DestinationKind::NodeIp
            } else {
                DestinationKind::OtherNodeIp
            }
        };
        let mut targets: Vec<(IpAddr, DestinationKind, u16)> = Vec::new();
        let service = &self.cluster.services[&port.service];
        let cluster_ips = service.cluster_ips.iter().filter_map(|ip| ip.parse().ok());
        targets.extend(cluster_ips.map(|ip| (ip, DestinationKind::ClusterIp, port.port)));
        targets.extend(
            port.external_ips
                .iter()
                .map(|&ip| (ip, DestinationKind::ExternalIp, port.port)),
        );
        targets.extend(
            port.vips
                .iter()
                .map(|&ip| (ip, DestinationKind::LoadBalancerIp, port.port)),
        );
        if port.node_port != 0 {
            targets.extend(own.iter().map(|&ip| (ip, on_node(ip), port.node_port)));
        }
        let (to, destination, number) = *self.pick(&targets);
        let from_name = self.pick(&nodes).meta.name.name.to_string();
        let is_elsewhere = destination.is_of_node() && from_name != name;
        let (sender, from) = match self.draw.one_of(4) {
            0 => (SenderKind::Node, Place::Node(from_name.clone())),
            1 | 2 => {
                let cidr = self.cluster.nodes[&*from_name].pod_cidr(family)?;
                let ip = cidr.nth(u128::from(2 + self.draw.one_of(9)))?;
                let is_endpoint = world.services(family).served().any(|of| {
                    *of.service == port.service
                        && of.port_name == &*port.name
                        && of.endpoints.iter().any(|endpoint| endpoint.address == ip)
                });
                let kind = if is_endpoint {
                    SenderKind::Endpoint
                } else {
                    SenderKind::Pod
                };
                (kind, Place::Address(ip))
            }
            _ => {
                let mut hosts = vec![IpAddr::from([192, 0, 2, 200])];
                hosts.extend(port.source_ranges.iter().filter_map(Prefix::last_free));
                let ip = *self.pick(&hosts);
                let is_vip = destination == DestinationKind::LoadBalancerIp;
                let is_in = is_vip && port.source_ranges.iter().any(|range| range.contains(ip));
                let kind = if is_in {
                    SenderKind::OutsideInRange
                } else {
                    SenderKind::Outside
                };
                if world
                    .owner(ip)
                    .is_some_and(|at| !matches!(at, NetnsId::Outside(_)))
                {
                    return None;
                }
                (kind, Place::Address(ip))
            }
        };
        let is_outside = matches!(sender, SenderKind::Outside | SenderKind::OutsideInRange);
        let elsewhere = [
            (SenderKind::Node, SenderKind::OtherNode),
            (SenderKind::Pod, SenderKind::PodElsewhere),
            (SenderKind::Endpoint, SenderKind::EndpointElsewhere),
        ];
        let of_elsewhere = elsewhere
            .iter()
            .find(|(here, _)| is_elsewhere && *here == sender);
        let sender = of_elsewhere.map_or(sender, |&(_, there)| there);
        if destination == DestinationKind::Loopback && sender != SenderKind::Node {
            return None;
        }
        let via = (is_outside && !destination.is_of_node()).then_some(from_name);
        Some(Packet {
            query: Query {
                from,
                to: Target {
                    place: Place::Address(to),
                    port: Some(number.to_string()),
                },
                protocol: Some(port.protocol),
                sport: 40_000,
                length: None,
                via,
            },
            sender,
            destination,
            port,
        })
    }
}

trait LastFree {
    fn last_free(&self) -> Option<IpAddr>;
}

impl LastFree for Prefix {
    /// An address near the end of a range.
    fn last_free(&self) -> Option<IpAddr> {
        let bits = u32::from(self.family().bits() - self.len());
        let size = 1u128.checked_shl(bits)?;
        self.nth(size.saturating_sub(2))
    }
}

/// What becomes of a packet, by other means than those of the crate: how each way ends, who gets it, as
/// whose, whether the answer arrives; with probabilities to five decimals.
fn told(world: &mut World<'_>, query: &Query) -> Vec<(String, u32)> {
    let traces = world.trace_all(query).expect("a place there is");
    let mut ends: Vec<(String, f64)> = Vec::new();
    for trace in traces {
        let end = match trace.forward.disposition {
            Disposition::Delivered(delivery) => {
                let answered = trace.reply.as_ref().is_some_and(|reply| reply.answered);
                let flow = delivery.flow;
                format!("{} {} from {} {answered}", flow.dst, flow.dport, flow.src)
            }
            Disposition::Rejected { with, .. } => format!("rejected {with:?}"),
            other @ (Disposition::Dropped(_)
            | Disposition::Refused
            | Disposition::Unroutable(_)
            | Disposition::Mtu { .. }
            | Disposition::Ttl) => other.name().to_owned(),
        };
        match ends.iter_mut().find(|(known, _)| *known == end) {
            Some((_, probability)) => *probability += trace.probability,
            None => ends.push((end, trace.probability)),
        }
    }
    let mut rounded: Vec<(String, u32)> = ends
        .into_iter()
        .map(|(end, probability)| {
            let text = format!("{:.0}", probability * 100_000.0);
            (end, text.parse().expect("a number"))
        })
        .collect();
    rounded.sort();
    rounded
}

#[test]
fn no_packet_at_random_differs_in_a_way_that_no_class_tells_of() {
    const PACKETS: usize = 100;
    let mut differed = 0;
    for case in [
        "010", "012", "014", "018", "020", "024", "032", "052", "056", "112",
    ] {
        let cluster = golden_cluster(case);
        let sides = sides(&cluster, &MODES);
        let options = Options::default();
        let diff = Diff::of(&sides, &options).expect("the modes are modelled");
        let mut worlds: Vec<World<'_>> = sides
            .iter()
            .map(|side| World::new(&side.cluster, &options).expect("the mode is modelled"))
            .collect();
        let mut packets = Packets {
            cluster: &cluster,
            ports: &diff.ports,
            draw: Draw(case.parse().expect("a number")),
        };
        for _ in 0..PACKETS {
            let Some(packet) = packets.next(&worlds[0]) else {
                continue;
            };
            let told: Vec<_> = worlds
                .iter_mut()
                .map(|world| told(world, &packet.query))
                .collect();
            for side in 1..MODES.len() {
                if told[side] == told[0] {
                    continue;
                }
                differed += 1;
                let is_of = |class: &&Class| {
                    class.side == side
                        && class.service == packet.port.service
                        && class.destination == packet.destination
                        && class.is_served
                        && class.senders.contains(&packet.sender)
                        && class.ports.iter().any(|&of| diff.ports[of] == packet.port)
                };
                assert!(
                    diff.classes.iter().any(|class| is_of(&class)),
                    "case {case}, {:?} {:?} {:?}: {:?} in iptables mode, {:?} in {} mode",
                    packet.query,
                    packet.sender,
                    packet.destination,
                    told[0],
                    told[side],
                    MODES[side]
                );
            }
        }
    }
    assert!(differed > 100, "only {differed} packets differed");
}

#[test]
fn protocols_of_every_service_port_are_tried() {
    let diff = golden("056");
    let protocols: BTreeSet<Protocol> = diff
        .classes
        .iter()
        .map(|class| class.example.protocol)
        .collect();
    assert!(protocols.contains(&Protocol::SCTP) && protocols.contains(&Protocol::UDP));
}
