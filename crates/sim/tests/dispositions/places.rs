//! Places that no packet comes from or goes to, each with a word that says why.

use podwire_packet::Protocol;
use podwire_sim::{Options, Query, World};

use crate::lab::{BOTH, CLUSTER_IP, Lab};

/// What is said of a query that cannot be asked.
fn refusal(lab: &Lab, query: &Query) -> String {
    let mut world = World::new(&lab.cluster, &Options::default()).expect("iptables mode");
    world
        .trace(query, 1)
        .expect_err("no such place")
        .to_string()
}

#[test]
fn rules_that_cannot_be_made_are_said_wherever_the_packet_needs_them() {
    let lab = Lab::configured("mode: ipvs\nipvs: {scheduler: fastest}\n", "");
    for (from, to) in [
        ("pod/client-a", "pod/web-b:8080"),
        ("pod/client-a", "pod/web-a:8080"),
        ("pod/client-a", "192.168.0.2:22"),
        ("203.0.113.9", "10.244.0.2:8080"),
        ("node/a", "pod/web-b:8080"),
    ] {
        let told = refusal(&lab, &Lab::query(from, to));
        assert!(told.contains("`fastest` is not"), "{from} to {to}: {told}");
    }
}

#[test]
fn an_address_of_no_one_host_is_no_place() {
    let lab = Lab::new();
    for (from, to) in [
        ("0.0.0.0", "10.244.0.2:80"),
        ("pod/client-a", "0.0.0.0:80"),
        ("127.0.0.1", "10.244.0.2:80"),
    ] {
        let told = refusal(&lab, &Lab::query(from, to));
        assert!(
            told.contains("is the address of no one host"),
            "{from} to {to}: {told}"
        );
    }
}

#[test]
fn a_finished_pod_sends_nothing() {
    let mut lab = Lab::new();
    for pod in lab.cluster.pods.values_mut() {
        pod.finished = true;
    }
    let told = refusal(&lab, &Lab::query("pod/client-a", "10.96.0.1:80"));
    assert_eq!(
        told,
        "pod default/client-a has finished: it has no network any more"
    );
}

#[test]
fn a_pod_of_a_missing_node_is_said_to_be() {
    let mut lab = Lab::new();
    lab.cluster.nodes.clear();
    let told = refusal(&lab, &Lab::query("pod/client-a", "10.96.0.1:80"));
    assert_eq!(
        told,
        "pod default/client-a is on node `a`, which is not in the input"
    );
}

#[test]
fn an_echo_to_a_service_needs_no_port() {
    let lab = Lab::service(CLUSTER_IP, &BOTH);
    let query = Query {
        protocol: Some(Protocol::ICMP),
        ..Lab::query("pod/client-a", "svc/web")
    };
    // No rule of kube-proxy takes it, as on a real node in iptables mode.
    assert_eq!(lab.one(&query).forward.disposition.name(), "unroutable");
}

#[test]
fn names_unlike_the_one_typed_are_not_suggested() {
    let told = refusal(&Lab::new(), &Lab::query("pod/zzzzzzzzzz", "10.96.0.1:80"));
    assert_eq!(told, "there is no pod `default/zzzzzzzzzz`");
}

#[test]
fn kube_proxy_listens_where_it_is_told_to() {
    let names = |lab: &Lab, to: &str| {
        let trace = lab.one(&Lab::query("node/b", to));
        trace.forward.disposition.name()
    };
    let lab = Lab::new();
    assert_eq!(names(&lab, "192.168.0.1:10256"), "delivered");
    // Metrics are for the node itself.
    assert_eq!(names(&lab, "192.168.0.1:10249"), "refused");
    let config = "healthzBindAddress: 192.168.0.9:99\nmetricsBindAddress: 0.0.0.0\n";
    let lab = Lab::configured(config, "");
    assert_eq!(names(&lab, "192.168.0.1:10256"), "refused");
    assert_eq!(names(&lab, "192.168.0.1:10249"), "delivered");
}
