//! NetworkPolicies on the way of a packet: with Weave, whose controller enforces them, and without.

use std::collections::BTreeMap;

use podwire_cluster::{Cluster, Cni, Input, Pod, load};
use podwire_controlplane::network_policy::{Policies, Traffic};
use podwire_dataplane::{Disposition, DropReason};
use podwire_packet::{Family, FiveTuple, Protocol};
use podwire_ruleset::TableName;
use podwire_sim::{Options, World};
use podwire_testkit::policies::{Kind, cluster};

use crate::lab::Lab;

const DENY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

#[test]
fn a_policy_has_an_effect_only_where_somebody_enforces_it() {
    for cni in [Cni::Routes, Cni::Weave] {
        let lab = Lab::with(DENY).set(|network| network.cni = cni);
        for from in ["pod/client-a", "pod/client-b"] {
            let trace = lab.one(&Lab::query(from, "pod/web-a:8080"));
            let is_dropped = matches!(
                trace.forward.disposition,
                Disposition::Dropped(DropReason::Rule(_))
            );
            assert_eq!(is_dropped, cni == Cni::Weave, "{from} with {cni:?}");
        }
    }
}

#[test]
fn the_policies_that_keep_a_packet_out_can_be_asked_for() {
    let lab = Lab::with(DENY).set(|network| network.cni = Cni::Weave);
    let world = World::new(&lab.cluster, &Options::default()).unwrap();
    let flow = |src: &str, dst: &str| FiveTuple {
        protocol: Protocol::TCP,
        src: src.parse().unwrap(),
        sport: 40_000,
        dst: dst.parse().unwrap(),
        dport: 8_080,
    };
    let names = |flow| {
        let policies = world.isolating_policies(flow).into_iter();
        policies
            .map(|policy| policy.meta.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(flow("10.244.0.3", "10.244.1.2")), ["default/deny"]);
    assert_eq!(names(flow("10.244.0.3", "203.0.113.9")), [""; 0]);
}

/// Answers of connections that were let through come back, whatever policies say of the sender.
#[test]
fn walks_over_weave_end_as_the_policies_mean() {
    let (mut allowed, mut denied) = (0, 0);
    for seed in 200..206 {
        let input = Input {
            path: "generated.yaml".into(),
            text: cluster(seed, Kind::Weave),
        };
        let mut cluster = load(vec![input]).unwrap();
        cluster.network.cni = Cni::Weave;
        let policies = Policies::new(&cluster);
        let mut world = World::new(&cluster, &Options::default()).unwrap();
        let pods: Vec<&Pod> = cluster.pods.values().collect();
        for from in &pods {
            for to in pods.iter().filter(|to| !std::ptr::eq(**to, *from)) {
                let port = to.ports[0].port;
                let query = Lab::query(
                    &format!("pod/{}", from.meta.name),
                    &format!("pod/{}:{port}", to.meta.name),
                );
                let trace = world.trace(&query, 1).unwrap();
                let wanted = policies.allows(&Traffic {
                    from: policies.address(from.ips[0]),
                    to: policies.address(to.ips[0]),
                    protocol: Protocol::TCP,
                    port,
                });
                assert_eq!(trace.arrived(), wanted, "seed {seed}: {query:?}");
                *(if wanted { &mut allowed } else { &mut denied }) += 1;
            }
        }
    }
    assert!(
        allowed > 50 && denied > 50,
        "{allowed} allowed, {denied} denied"
    );
}

/// The table filter of a node that runs kube-proxy and Weave Net and has no policies. A node that kubelet
/// watches has the empty chain KUBE-KUBELET-CANARY besides.
#[test]
fn a_node_under_weave_has_these_chains_and_rules() {
    let namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"];
    let namespaces = namespaces.map(|name| {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}\n---\n")
    });
    let node = "{apiVersion: v1, kind: Node, metadata: {name: node01}, spec: {podCIDRs: [10.244.1.0/24]}, \
                status: {addresses: [{type: InternalIP, address: 192.2.79.3}]}}\n";
    let input = Input {
        path: "node.yaml".into(),
        text: namespaces.concat() + node,
    };
    let mut cluster: Cluster = load(vec![input]).unwrap();
    cluster.network.cni = Cni::Weave;
    let world = World::new(&cluster, &Options::default()).unwrap();
    let rules = world.rules(0).unwrap();
    let filter = &rules.of(Family::Ipv4).rules().tables[&TableName::Filter];
    let counts: BTreeMap<&str, usize> = filter
        .chains
        .iter()
        .map(|(name, chain)| (name.as_str(), chain.rules.len()))
        .collect();
    let expected = [
        ("FORWARD", 10),
        ("INPUT", 6),
        ("KUBE-EXTERNAL-SERVICES", 0),
        ("KUBE-FIREWALL", 1),
        ("KUBE-FORWARD", 3),
        ("KUBE-NODEPORTS", 0),
        ("KUBE-PROXY-CANARY", 0),
        ("KUBE-PROXY-FIREWALL", 0),
        ("KUBE-SERVICES", 0),
        ("OUTPUT", 3),
        ("WEAVE-CANARY", 0),
        ("WEAVE-NPC", 5),
        ("WEAVE-NPC-DEFAULT", 4),
        ("WEAVE-NPC-EGRESS", 6),
        ("WEAVE-NPC-EGRESS-ACCEPT", 1),
        ("WEAVE-NPC-EGRESS-CUSTOM", 0),
        ("WEAVE-NPC-EGRESS-DEFAULT", 8),
        ("WEAVE-NPC-INGRESS", 0),
    ];
    assert_eq!(counts, expected.into());
    assert_eq!(counts.values().sum::<usize>(), 47);
}
