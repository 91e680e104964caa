//! Every service port of the golden clusters, from everywhere: where packets go, in iptables mode and in
//! nftables mode.
//!
//! What is expected is read off the objects here, by the words of the Service API, and not from any
//! rule: ready endpoints each with the same probability, masquerade for what comes from outside the
//! pod range or through an external address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podwire_cluster::{Cluster, Service, ServicePort, ServiceType, TrafficPolicy};
use podwire_dataplane::{Disposition, Event};
use podwire_packet::{Family, Protocol, socket};
use podwire_sim::{NetnsId, Options, Place, Query, Target, Trace, World};
use podwire_tests::golden_cluster;

const CASES: [&str; 11] = [
    "002", "004", "006", "010", "014", "030", "042", "046", "080", "082", "088",
];

/// More of them, with policies, source ranges, affinity, terminating endpoints, hints and node port
/// addresses, of which it is asked that the two modes agree.
const MORE_CASES: [&str; 15] = [
    "008", "012", "018", "020", "022", "024", "026", "028", "032", "034", "036", "044", "048",
    "056", "112",
];

const MODES: [&str; 2] = ["iptables", "nftables"];

/// A host on the node network that is no node.
const OUTSIDE: &str = "192.168.10.200";

/// A golden cluster with kube-proxy in that mode.
fn in_mode(case: &str, mode: &str) -> Cluster {
    let mut cluster = golden_cluster(case);
    let config = cluster.kube_proxy.get_or_insert_default();
    mode.clone_into(&mut config.mode);
    cluster
}

/// The ready endpoints of a service port as `ip:port`, of all nodes or of one.
fn ready_endpoints(
    cluster: &Cluster,
    service: &Service,
    port: &ServicePort,
    on: Option<&str>,
) -> BTreeSet<String> {
    let slices = cluster
        .endpoint_slices
        .values()
        .filter(|slice| slice.service().as_ref() == Some(&service.meta.name));
    let mut found = BTreeSet::new();
    for slice in slices {
        let numbers = slice
            .ports
            .iter()
            .filter(|p| p.name.as_deref() == Some(&port.name) && p.protocol == port.protocol);
        for number in numbers.filter_map(|p| p.port) {
            let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
            let here = ready
                .filter(|endpoint| on.is_none_or(|node| endpoint.node.as_deref() == Some(node)));
            let addresses =
                here.filter_map(|endpoint| endpoint.addresses.first()?.parse::<IpAddr>().ok());
            found.extend(addresses.map(|ip| socket(ip, number).to_string()));
        }
    }
    found
}

/// A way into a service port.
struct Entry {
    address: IpAddr,
    port: u16,
    /// From outside the cluster: not the ClusterIP.
    is_external: bool,
    /// The node whose address it is, for a node port.
    of_node: Option<String>,
}

/// Every address and port that a service port is reached by.
fn entries(cluster: &Cluster, service: &Service, port: &ServicePort) -> Vec<Entry> {
    let cluster_ips = service.cluster_ips.iter().map(|ip| (ip, false));
    let external_ips = service.external_ips.iter().map(|ip| (ip, true));
    let balancer = service
        .load_balancer
        .iter()
        .map(|ingress| (&ingress.ip, true));
    let addresses = cluster_ips.chain(external_ips).chain(balancer);
    let mut entries: Vec<Entry> = addresses
        .filter_map(|(text, is_external)| {
            let address = text.parse().ok()?;
            Some(Entry {
                address,
                port: port.port,
                is_external,
                of_node: None,
            })
        })
        .collect();
    for (name, node) in cluster.nodes.iter().filter(|_| port.node_port != 0) {
        entries.extend(node.internal_ips(Family::Ipv4).map(|address| Entry {
            address,
            port: port.node_port,
            is_external: true,
            of_node: Some(name.to_string()),
        }));
    }
    entries
}

/// Who sends.
struct Sender {
    place: Place,
    /// The node whose rules see the packet first: its own, or the one it is sent to.
    first: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Pod,
    Outside,
}

/// Each node, a pod address on each node, and a host outside through each node.
fn senders(cluster: &Cluster) -> Vec<Sender> {
    let outside: IpAddr = OUTSIDE.parse().expect("an address");
    let of_node = |(name, node): (&std::sync::Arc<str>, &podwire_cluster::Node)| {
        let pod = node
            .pod_cidr(Family::Ipv4)
            .and_then(|cidr| cidr.nth(200))
            .expect("a pod range");
        let places = [
            (Place::Node(name.to_string()), Kind::Node),
            (Place::Address(pod), Kind::Pod),
            (Place::Address(outside), Kind::Outside),
        ];
        places.map(|(place, kind)| Sender {
            place,
            first: name.to_string(),
            kind,
        })
    };
    cluster.nodes.iter().flat_map(of_node).collect()
}

/// Where packets must go, and whether masqueraded; a hairpin always is.
struct Expected {
    endpoints: BTreeSet<String>,
    masqueraded: bool,
    /// What must become of them where there is no endpoint to go to.
    without: &'static str,
}

/// The Service API's words, `externalTrafficPolicy`: "Local preserves the client source IP … with
/// risks of traffic imbalance"; traffic from within the cluster is as with Cluster.
fn expected(
    cluster: &Cluster,
    service: &Service,
    port: &ServicePort,
    entry: &Entry,
    sender: &Sender,
) -> Expected {
    let all = ready_endpoints(cluster, service, port, None);
    let without = if all.is_empty() {
        "rejected"
    } else {
        "dropped"
    };
    // Pods are known by the cluster's pod range; without one, nobody is one.
    let detects_pods = cluster
        .kube_proxy
        .as_ref()
        .is_some_and(|config| !config.cluster_cidr.is_empty());
    let handler = entry.of_node.as_ref().unwrap_or(&sender.first);
    let is_local_to_handler = sender.kind == Kind::Node && *handler == sender.first;
    let is_known_pod = sender.kind == Kind::Pod && detects_pods;
    let (endpoints, masqueraded) = match (entry.is_external, service.external_traffic_policy) {
        (false, _) => (all, detects_pods && !is_known_pod),
        (true, TrafficPolicy::Cluster) => (all, true),
        (true, TrafficPolicy::Local) if is_known_pod || is_local_to_handler => {
            (all, is_local_to_handler)
        }
        (true, TrafficPolicy::Local) => (
            ready_endpoints(cluster, service, port, Some(handler)),
            false,
        ),
    };
    Expected {
        endpoints,
        masqueraded,
        without,
    }
}

fn is_masqueraded(trace: &Trace) -> bool {
    trace.forward.steps.iter().any(|step| {
        matches!(step.event, Event::Translated { before, after, .. } if (before.src, before.sport) != (after.src, after.sport))
    })
}

#[test]
fn every_service_port_is_reached_from_everywhere_as_the_objects_say() {
    let mut asked = 0;
    let modes = |case| ["iptables", "nftables", "ipvs"].map(|mode| (case, mode));
    for (case, mode) in CASES.iter().flat_map(modes) {
        let cluster = in_mode(case, mode);
        let is_ipvs = mode == "ipvs";
        let case = &format!("{case} in {mode} mode");
        for service in cluster
            .services
            .values()
            .filter(|service| service.kind != ServiceType::ExternalName)
        {
            assert_eq!(
                service.internal_traffic_policy,
                TrafficPolicy::Cluster,
                "case {case} has iTP Local"
            );
            for port in &service.ports {
                let is_local = service.external_traffic_policy == TrafficPolicy::Local;
                let entries = entries(&cluster, service, port);
                // A node without endpoints sends packets to those of other nodes in IPVS mode
                // (`syncEndpoint`, pkg/proxy/ipvs/proxier.go), whatever the policy.
                for entry in entries
                    .iter()
                    .filter(|entry| !(is_ipvs && is_local && entry.is_external))
                {
                    for sender in senders(&cluster) {
                        let mut expected = expected(&cluster, service, port, entry, &sender);
                        // The node's own packets come from the virtual address, which the endpoint's
                        // node has too: they are masqueraded in any case.
                        expected.masqueraded |=
                            is_ipvs && sender.kind == Kind::Node && !entry.is_external;
                        asked += check(case, &cluster, port, entry, &sender, &expected);
                    }
                }
            }
        }
    }
    println!("{asked} ways of packets to service ports, all as the objects say");
    assert!(asked > 2_300, "too few to mean anything: {asked}");
}

/// A query for the first packet of a flow.
fn query(port: &ServicePort, entry: &Entry, sender: &Sender) -> Query {
    Query {
        from: sender.place.clone(),
        to: Target {
            place: Place::Address(entry.address),
            port: Some(entry.port.to_string()),
        },
        protocol: Some(port.protocol),
        sport: 40_000,
        length: None,
        via: (sender.kind == Kind::Outside).then(|| sender.first.clone()),
    }
}

/// What may become of a packet: how it ends, where, with which source and what of its answer, and with
/// which probability in parts of a million.
type Ends = BTreeSet<(String, bool, u64)>;

fn ends(world: &mut World<'_>, query: &Query, what: &str) -> Ends {
    let traces = world
        .trace_all(query)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let end = |trace: &Trace| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to a million"
        )]
        let probability = (trace.probability * 1e6).round() as u64;
        let disposition = trace.forward.disposition;
        let end = if let Disposition::Delivered(delivery) = disposition {
            delivery.flow.to_string()
        } else {
            disposition.name().to_owned()
        };
        (end, trace.arrived(), probability)
    };
    traces.iter().map(end).collect()
}

/// Where the modes of kube-proxy 1.30 differ, as the kernel lane shows of both: without endpoints to use,
/// nftables mode refuses a node's own packets to external addresses too, where iptables mode has no such
/// rule in OUTPUT; and it drops what is outside of the source ranges before it looks for endpoints.
fn is_known(service: &Service, entry: &Entry, sender: &Sender, one: &Ends, other: &Ends) -> bool {
    let all = |ends: &Ends, words: &[&str]| ends.iter().all(|(end, ..)| words.contains(&&**end));
    let is_external_address = entry.is_external && entry.of_node.is_none();
    if sender.kind == Kind::Node {
        return is_external_address && all(other, &["rejected", "dropped"]);
    }
    let has_ranges = !service.load_balancer_source_ranges.is_empty();
    has_ranges && is_external_address && all(one, &["rejected"]) && all(other, &["dropped"])
}

/// kube-proxy means both modes to do the same for whoever asks a service port by its addresses.
#[test]
fn nftables_mode_does_what_iptables_mode_does() {
    let mut asked = 0;
    for case in CASES.iter().chain(&MORE_CASES) {
        let clusters = MODES.map(|mode| in_mode(case, mode));
        let [iptables, _] = &clusters;
        let mut worlds = clusters.each_ref().map(|cluster| {
            World::new(cluster, &Options::default()).unwrap_or_else(|e| panic!("case {case}: {e}"))
        });
        for service in iptables.services.values() {
            for port in &service.ports {
                let entries = entries(iptables, service, port).into_iter();
                for entry in entries.filter(|entry| entry.address.is_ipv4()) {
                    for sender in senders(iptables) {
                        let what = format!(
                            "case {case}: {:?} to {}:{} by {}",
                            sender.place, entry.address, entry.port, sender.first
                        );
                        let query = query(port, &entry, &sender);
                        let [one, other] =
                            worlds.each_mut().map(|world| ends(world, &query, &what));
                        let meant =
                            one == other || is_known(service, &entry, &sender, &one, &other);
                        assert!(meant, "{what}: {one:?}, but with nftables {other:?}");
                        asked += 1;
                    }
                }
            }
        }
    }
    println!("{asked} packets to service ports end alike in both modes");
    assert!(asked > 1_000, "too few to mean anything: {asked}");
}

/// Traces every way of one packet; returns how many there were.
fn check(
    case: &str,
    cluster: &Cluster,
    port: &ServicePort,
    entry: &Entry,
    sender: &Sender,
    expected: &Expected,
) -> usize {
    let query = query(port, entry, sender);
    let what = format!(
        "case {case}: {:?} to {}:{} via {:?}",
        sender.place, entry.address, entry.port, query.via
    );
    let mut world =
        World::new(cluster, &Options::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let traces = world
        .trace_all(&query)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let sum: f64 = traces.iter().map(|trace| trace.probability).sum();
    assert!(
        (sum - 1.0).abs() < 1e-9,
        "{what}: probabilities sum to {sum}"
    );
    let share = 1.0 / expected.endpoints.len().max(1) as f64;
    let mut reached = BTreeSet::new();
    for trace in &traces {
        let end = trace.forward.disposition;
        let Disposition::Delivered(delivery) = end else {
            assert!(expected.endpoints.is_empty(), "{what}: {end:?}");
            assert_eq!(end.name(), expected.without, "{what}");
            continue;
        };
        reached.insert(socket(delivery.flow.dst, delivery.flow.dport).to_string());
        assert!(
            (trace.probability - share).abs() < 1e-8,
            "{what}: probability {}",
            trace.probability
        );
        let is_hairpin = delivery.flow.dst == trace.forward.sent.src || is_own_endpoint(trace);
        let masqueraded = is_masqueraded(trace);
        assert_eq!(
            masqueraded,
            expected.masqueraded || is_hairpin,
            "{what}: masquerade to {}",
            delivery.flow.dst
        );
        // An answer that does not pass the node that translated the packet keeps the endpoint's own
        // address, and whoever asked does not know it.
        let handler = entry.of_node.as_ref().unwrap_or(&sender.first);
        let passes_handler = masqueraded
            || node_of(cluster, delivery.flow.dst) == Some(handler.as_str())
            || (sender.first == *handler && sender.kind != Kind::Outside);
        let answer = trace.reply.as_ref().map(|way| way.disposition.name());
        assert_eq!(
            trace.arrived(),
            passes_handler,
            "{what}: the answer from {} is {answer:?}",
            delivery.flow.dst
        );
    }
    assert_eq!(reached, expected.endpoints, "{what}");
    traces.len()
}

/// The node that an endpoint's address is on.
fn node_of(cluster: &Cluster, address: IpAddr) -> Option<&str> {
    let in_range =
        |node: &podwire_cluster::Node| node.pod_cidrs.iter().any(|cidr| cidr.contains(address));
    let is_own = |node: &podwire_cluster::Node| {
        node.internal_ips(Family::of(address))
            .any(|ip| ip == address)
    };
    let found = cluster
        .nodes
        .iter()
        .find(|(_, node)| in_range(node) || is_own(node));
    found.map(|(name, _)| &**name)
}

/// Whether the packet came back to the address that sent it, under whatever source it arrived.
fn is_own_endpoint(trace: &Trace) -> bool {
    trace.forward.at == trace.forward.from
}

#[test]
fn pods_reach_pods_on_every_node_without_translation() {
    for case in ["002", "088"] {
        let cluster = golden_cluster(case);
        let addresses: Vec<IpAddr> = cluster
            .nodes
            .values()
            .filter_map(|node| node.pod_cidr(Family::Ipv4)?.nth(77))
            .collect();
        for &from in &addresses {
            for &to in &addresses {
                let query = Query {
                    from: Place::Address(from),
                    to: Target {
                        place: Place::Address(to),
                        port: Some("8080".to_owned()),
                    },
                    protocol: Some(Protocol::UDP),
                    sport: 40_000,
                    length: None,
                    via: None,
                };
                let mut world =
                    World::new(&cluster, &Options::default()).expect("the case has rules");
                let trace = world.trace(&query, 1).expect("both are pods");
                assert!(trace.arrived(), "{from} to {to}");
                assert_eq!(trace.forward.arrived, trace.forward.sent, "{from} to {to}");
                assert!(matches!(trace.forward.at, NetnsId::Pod(_)));
            }
        }
    }
}
