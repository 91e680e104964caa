//! The same in userspace mode: every ready endpoint is reached, from a proxy on the node.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podwire_cluster::{Cluster, Service, ServiceType};
use podwire_dataplane::{Disposition, DropReason};
use podwire_packet::{Family, Protocol, socket};
use podwire_sim::{Options, World};

use super::{
    CASES, Entry, Kind, MORE_CASES, Sender, entries, in_mode, query, ready_endpoints, senders,
};

/// Addresses that a node's own packets may come from: its InternalIP and its bridge's.
fn own_addresses(cluster: &Cluster, node: &str) -> Vec<IpAddr> {
    let node = &cluster.nodes[node];
    let bridge = node.pod_cidr(Family::Ipv4).and_then(|cidr| cidr.nth(1));
    node.internal_ips(Family::Ipv4).chain(bridge).collect()
}

/// An external IP is for what comes in from outside: packets of the node, and what came by a port of a
/// bridge, go to its owner, unless that is the node (`openOnePortal`, pkg/proxy/userspace/proxier.go).
fn goes_to_its_owner(cluster: &Cluster, service: &Service, entry: &Entry, sender: &Sender) -> bool {
    let is_external_ip = service
        .external_ips
        .iter()
        .any(|ip| ip.parse() == Ok(entry.address));
    let is_own = own_addresses(cluster, &sender.first).contains(&entry.address);
    is_external_ip && entry.of_node.is_none() && sender.kind != Kind::Outside && !is_own
}

#[test]
fn userspace_mode_reaches_every_ready_endpoint_from_the_node() {
    let mut asked = 0;
    for case in CASES.iter().chain(&MORE_CASES) {
        let cluster = in_mode(case, "userspace");
        let mut world = World::new(&cluster, &Options::default())
            .unwrap_or_else(|e| panic!("case {case}: {e}"));
        let services = cluster.services.values();
        for service in services.filter(|of| of.kind != ServiceType::ExternalName) {
            // There is no proxy for SCTP.
            let ports = service.ports.iter();
            for port in ports.filter(|port| port.protocol != Protocol::SCTP) {
                let endpoints = ready_endpoints(&cluster, service, port, None);
                let entries = entries(&cluster, service, port).into_iter();
                for entry in entries.filter(|entry| entry.address.is_ipv4()) {
                    for sender in senders(&cluster) {
                        if goes_to_its_owner(&cluster, service, &entry, &sender) {
                            continue;
                        }
                        let what = format!(
                            "case {case}: {:?} to {}:{} by {}",
                            sender.place, entry.address, entry.port, sender.first
                        );
                        let traces = world
                            .trace_all(&query(port, &entry, &sender))
                            .unwrap_or_else(|e| panic!("{what}: {e}"));
                        let proxy = entry.of_node.as_ref().unwrap_or(&sender.first);
                        let own = own_addresses(&cluster, proxy);
                        let mut reached = BTreeSet::new();
                        for trace in &traces {
                            let Disposition::Delivered(delivery) = trace.forward.disposition else {
                                let end = trace.forward.disposition;
                                let expected = Disposition::Dropped(DropReason::NoEndpoint);
                                assert_eq!(end, expected, "{what}");
                                continue;
                            };
                            assert!(trace.arrived(), "{what}: {:?}", trace.reply);
                            assert!(own.contains(&delivery.flow.src), "{what}: {delivery:?}");
                            let share = 1.0 / endpoints.len() as f64;
                            let probability = trace.probability;
                            assert!((probability - share).abs() < 1e-9, "{what}: {probability}");
                            reached
                                .insert(socket(delivery.flow.dst, delivery.flow.dport).to_string());
                        }
                        assert_eq!(reached, endpoints, "{what}");
                        asked += 1;
                    }
                }
            }
        }
    }
    println!("{asked} packets to service ports reach every ready endpoint through a proxy");
    assert!(asked > 1_000, "too few to mean anything: {asked}");
}
