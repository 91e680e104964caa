//! What holds of every cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podwire_cluster::Cni;
use podwire_dataplane::Disposition;
use podwire_sim::{Options, World};

use crate::lab::{BOTH, CLUSTER_IP, Lab, ON_B, OUTSIDE, TCP, describe, is_translated};
use crate::network::{VXLAN, vxlan};

fn senders() -> [&'static str; 6] {
    [
        "pod/client-a",
        "pod/web-b",
        "node/a",
        "node/b",
        OUTSIDE,
        "192.168.0.77",
    ]
}

#[test]
fn the_probabilities_of_all_ways_sum_to_one() {
    let many: Vec<String> = (2..33)
        .map(|n| format!("10.244.{}.{n}@{}", n % 2, ["a", "b"][n % 2]))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for endpoints in [&many[..], &many[..7], &BOTH, &ON_B, &[]] {
        let lab = Lab::service(&format!("type: NodePort, {CLUSTER_IP}"), endpoints);
        for from in senders() {
            for to in ["192.168.0.1:30080", "192.168.0.2:30080", "10.96.0.10:80"] {
                let sum: f64 = lab
                    .all(&Lab::query(from, to))
                    .iter()
                    .map(|t| t.probability)
                    .sum();
                assert!((sum - 1.0).abs() < 1e-12, "{from} {to}: {sum}");
            }
        }
    }
}

#[test]
fn every_endpoint_has_the_same_chance() {
    let many: Vec<String> = (10..31).map(|n| format!("10.244.1.{n}@b")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let all = Lab::service(CLUSTER_IP, &many).all(&Lab::query("pod/client-a", "svc/web"));
    assert_eq!(all.len(), many.len());
    let share = 1.0 / 21.0;
    assert!(
        all.iter()
            .all(|trace| (trace.probability - share).abs() < 1e-8)
    );
}

#[test]
fn packets_are_translated_to_the_ready_endpoints_and_to_no_others() {
    let lab = |policy: &str| Lab::service(&format!("type: NodePort, {CLUSTER_IP}{policy}"), &BOTH);
    let reached = |lab: &Lab, from: &str, to: &str| -> BTreeSet<IpAddr> {
        lab.all(&Lab::query(from, to))
            .iter()
            .map(|trace| trace.forward.arrived.dst)
            .collect()
    };
    let set = |ips: &[&str]| {
        ips.iter()
            .map(|ip| ip.parse().unwrap())
            .collect::<BTreeSet<IpAddr>>()
    };
    for from in senders() {
        let both = reached(&lab(""), from, "192.168.0.1:30080");
        assert_eq!(both, set(&["10.244.0.2", "10.244.1.2"]), "{from}");
    }
    let local = lab(", externalTrafficPolicy: Local");
    assert_eq!(
        reached(&local, OUTSIDE, "192.168.0.1:30080"),
        set(&["10.244.0.2"])
    );
    let inner = lab(", internalTrafficPolicy: Local");
    assert_eq!(
        reached(&inner, "pod/client-b", "svc/web"),
        set(&["10.244.1.2"])
    );
}

#[test]
fn the_same_query_gives_the_same_bytes() {
    let lab = Lab::service(&format!("type: NodePort, {CLUSTER_IP}"), &BOTH);
    let query = Lab::query(OUTSIDE, "192.168.0.1:30080");
    let fresh = || {
        let mut world = World::new(&lab.cluster, &Options::default()).unwrap();
        let drawn = world.trace(&query, 7).unwrap();
        let again = world.trace(&query, 7).unwrap();
        assert_eq!(format!("{drawn:?}"), format!("{again:?}"));
        format!("{drawn:?} {:?}", world.trace_all(&query).unwrap())
    };
    assert_eq!(fresh(), fresh());
}

#[test]
fn a_draw_is_one_of_all_ways() {
    let lab = Lab::service(CLUSTER_IP, &BOTH);
    let query = Lab::query("pod/client-a", "svc/web");
    let mut world = World::new(&lab.cluster, &Options::default()).unwrap();
    let all: Vec<_> = world
        .trace_all(&query)
        .unwrap()
        .iter()
        .map(|t| t.forward.arrived)
        .collect();
    let drawn = world.trace(&query, 1).unwrap();
    assert!(
        (drawn.probability - 0.5).abs() < 1e-9,
        "one of two: {}",
        drawn.probability
    );
    let drawn: BTreeSet<_> = (0..32)
        .map(|seed| world.trace(&query, seed).unwrap().forward.arrived)
        .collect();
    assert_eq!(drawn, all.into_iter().collect());
}

#[test]
fn pods_reach_all_other_pods_without_translation() {
    // "Pods can communicate with all other pods on any other node without NAT"; "agents on a node can
    // communicate with all pods on that node" (the Kubernetes network model).
    for cni in [Cni::Routes, VXLAN, vxlan(true)] {
        for strict in [0, 1] {
            let lab = Lab::service(CLUSTER_IP, &BOTH).set(|n| (n.cni, n.rp_filter) = (cni, strict));
            every_pod_reaches_every_pod(&lab);
        }
    }
}

#[test]
fn pods_outside_every_pod_range_are_reached_too() {
    for strict in [0, 1] {
        let mut elsewhere = Lab::service(CLUSTER_IP, &BOTH).set(|n| n.rp_filter = strict);
        for (node, range) in elsewhere
            .cluster
            .nodes
            .values_mut()
            .zip(["10.9.0.0/24", "10.9.1.0/24"])
        {
            node.pod_cidrs = vec![range.parse().unwrap()];
        }
        every_pod_reaches_every_pod(&elsewhere);
        let mut none = elsewhere;
        none.cluster
            .nodes
            .values_mut()
            .for_each(|node| node.pod_cidrs.clear());
        every_pod_reaches_every_pod(&none);
        for from in ["pod/client-a", "node/a"] {
            let ends = none.ends(from, "svc/web");
            assert!(
                ends.iter().all(|end| end.contains("answered")),
                "{from}: {ends:?}"
            );
        }
        let from_beyond = none.end("203.0.113.9", "10.244.0.2:8080");
        assert_eq!(from_beyond, "10.244.0.2 answered 203.0.113.9");
    }
}

fn every_pod_reaches_every_pod(lab: &Lab) {
    let all = lab.cluster.pods.values();
    let targets = all.flat_map(|pod| pod.ips.iter().map(|&ip| (ip, pod.ports[0].port)));
    for (to, port) in targets {
        for from in ["web-a", "client-a", "web-b", "client-b"] {
            let to = podwire_packet::socket(to, port).to_string();
            let trace = lab.one(&Lab::query(&format!("pod/{from}"), &to));
            assert!(
                trace.arrived() && !is_translated(&trace),
                "{from} to {to}: {}",
                describe(&trace)
            );
        }
    }
}

#[test]
fn a_node_reaches_its_own_pods() {
    let lab = Lab::new();
    for (node, pod) in [("a", "web-a"), ("b", "web-b")] {
        let trace = lab.one(&Lab::query(
            &format!("node/{node}"),
            &format!("pod/{pod}:8080"),
        ));
        assert!(trace.arrived() && !is_translated(&trace));
        assert!(
            matches!(trace.forward.disposition, Disposition::Delivered(d) if d.flow.protocol == TCP)
        );
    }
}
