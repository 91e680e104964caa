//! Services: what kube-proxy's rules make of a packet, end to end.

use podwire_sim::Query;

use crate::lab::{BOTH, CLUSTER_IP, Lab, ON_A, ON_B, OUTSIDE, describe, service};
use crate::network::VXLAN;

const NODE_PORT: &str = "type: NodePort";

fn cluster_ip(endpoints: &[&str]) -> Lab {
    Lab::service(CLUSTER_IP, endpoints)
}

fn node_port(more: &str, endpoints: &[&str]) -> Lab {
    Lab::service(&format!("{NODE_PORT}, {CLUSTER_IP}{more}"), endpoints)
}

fn via(node: &str, from: &str, to: &str) -> Query {
    Query {
        via: Some(node.into()),
        ..Lab::query(from, to)
    }
}

#[test]
fn a_cluster_ip_leads_to_each_ready_endpoint() {
    let ends = cluster_ip(&BOTH).ends("pod/client-a", "svc/web");
    assert_eq!(
        ends,
        [
            "10.244.0.2 answered 10.244.0.3",
            "10.244.1.2 answered 10.244.0.3"
        ]
    );
}

#[test]
fn a_cluster_ip_of_ipv6_leads_to_endpoints_of_ipv6() {
    let ends = cluster_ip(&BOTH).ends("pod/client-a", "[fd96::10]:80");
    assert_eq!(
        ends,
        [
            "fd00:244:0:1::2 answered fd00:244::3",
            "fd00:244::2 answered fd00:244::3"
        ]
    );
}

#[test]
fn a_pod_of_one_family_asks_in_it() {
    let pod = |name: &str, address: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{nodeName: a}}\nstatus: {{podIPs: [{{ip: '{address}'}}]}}\n"
        )
    };
    let objects =
        service(CLUSTER_IP, &ON_B) + &pod("six", "fd00:244::6") + &pod("four", "10.244.0.4");
    let lab = Lab::with(&objects);
    assert_eq!(
        lab.end("pod/six", "svc/web"),
        "fd00:244:0:1::2 answered fd00:244::6"
    );
    assert_eq!(
        lab.end("pod/four", "svc/web"),
        "10.244.1.2 answered 10.244.0.4"
    );
    assert_eq!(
        lab.end("pod/six", "pod/web-b:8080"),
        "fd00:244:0:1::2 answered fd00:244::6"
    );
}

#[test]
fn a_nodes_own_packets_to_a_cluster_ip_are_masqueraded() {
    let ends = cluster_ip(&BOTH).ends("node/a", "svc/web");
    assert_eq!(
        ends,
        [
            "10.244.0.2 answered 10.244.0.1",
            "10.244.1.2 answered 192.168.0.1"
        ]
    );
    let tunnelled = cluster_ip(&ON_B).set(|network| network.cni = VXLAN);
    assert_eq!(
        tunnelled.end("node/a", "svc/web"),
        "10.244.1.2 answered 10.244.0.0"
    );
}

#[test]
fn a_service_without_endpoints_rejects() {
    let lab = node_port("", &[]);
    for (from, to) in [
        ("pod/client-a", "svc/web"),
        ("node/a", "svc/web"),
        (OUTSIDE, "192.168.0.1:30080"),
    ] {
        assert_eq!(lab.end(from, to), "rejected", "{from} {to}");
    }
    assert_eq!(lab.end("pod/client-a", "[fd96::10]:80"), "rejected");
}

#[test]
fn a_port_that_the_service_has_not_is_unroutable() {
    let end = cluster_ip(&BOTH).end("pod/client-a", "svc/web:81");
    assert!(
        end.starts_with("unroutable: 10.96.0.10 is an address of Services"),
        "{end}"
    );
}

#[test]
fn a_node_port_is_open_on_every_node_and_hides_the_client() {
    let ends = node_port("", &BOTH).ends(OUTSIDE, "192.168.0.1:30080");
    assert_eq!(
        ends,
        [
            "10.244.0.2 answered 10.244.0.1",
            "10.244.1.2 answered 192.168.0.1"
        ]
    );
    assert_eq!(
        node_port("", &ON_B).end("pod/client-a", "node/a:30080"),
        "10.244.1.2 answered 192.168.0.1"
    );
    let of_ipv6 = node_port("", &ON_B).end("2001:db8::9", "[fd01::1]:30080");
    assert_eq!(of_ipv6, "fd00:244:0:1::2 answered fd01::1");
}

#[test]
fn local_traffic_keeps_the_clients_address() {
    let lab = node_port(", externalTrafficPolicy: Local", &BOTH);
    assert_eq!(
        lab.end(OUTSIDE, "192.168.0.1:30080"),
        format!("10.244.0.2 answered {OUTSIDE}")
    );
    assert_eq!(
        lab.end(OUTSIDE, "192.168.0.2:30080"),
        format!("10.244.1.2 answered {OUTSIDE}")
    );
}

#[test]
fn local_traffic_to_a_node_without_endpoints_is_dropped() {
    let lab = node_port(", externalTrafficPolicy: Local", &ON_B);
    assert_eq!(
        lab.end(OUTSIDE, "192.168.0.1:30080"),
        "dropped: a rule says DROP"
    );
    // Pods are inside, and reach every endpoint.
    assert_eq!(
        lab.end("pod/client-a", "svc/web"),
        "10.244.1.2 answered 10.244.0.3"
    );
    assert_eq!(
        lab.end("pod/client-a", "node/a:30080"),
        "10.244.1.2 answered 10.244.0.3"
    );
}

#[test]
fn internal_traffic_can_be_kept_on_the_node() {
    let lab = |endpoints: &[&str]| {
        Lab::service(
            &format!("{CLUSTER_IP}, internalTrafficPolicy: Local"),
            endpoints,
        )
    };
    assert_eq!(
        lab(&BOTH).end("pod/client-a", "svc/web"),
        "10.244.0.2 answered 10.244.0.3"
    );
    assert_eq!(
        lab(&ON_B).end("pod/client-a", "svc/web"),
        "dropped: a rule says DROP"
    );
}

#[test]
fn a_balancers_address_and_an_external_one_lead_to_the_pods() {
    let spec = format!("type: LoadBalancer, {CLUSTER_IP}, externalIPs: [198.51.100.80]");
    let objects = service(&spec, &ON_B).replacen(
        "---\napiVersion: discovery",
        "status: {loadBalancer: {ingress: [{ip: 198.51.100.90}]}}\n---\napiVersion: discovery",
        1,
    );
    let lab = Lab::with(&objects);
    for to in ["198.51.100.80:80", "198.51.100.90:80"] {
        assert_eq!(
            lab.end("pod/client-a", to).split(' ').next(),
            Some("10.244.1.2"),
            "{to}"
        );
        let outside = describe(&lab.one(&via("a", OUTSIDE, to)));
        assert_eq!(outside, "10.244.1.2 answered 192.168.0.1", "{to}");
    }
}

#[test]
fn a_pod_reaches_itself_through_its_service_where_its_port_is_in_hairpin_mode() {
    let lab = |hairpin| cluster_ip(&ON_A).set(|network| network.hairpin_mode = hairpin);
    assert_eq!(
        lab(true).end("pod/web-a", "svc/web"),
        "10.244.0.2 answered 10.244.0.1"
    );
    let end = lab(false).end("pod/web-a", "svc/web");
    assert!(
        end.starts_with("dropped: bridge port veth") && end.ends_with("is not in hairpin mode"),
        "{end}"
    );
}

#[test]
fn without_bridge_nf_a_neighbours_answer_goes_past_the_rules() {
    let lab = cluster_ip(&ON_A).set(|network| network.bridge_nf_call_iptables = false);
    assert_eq!(lab.end("pod/client-a", "svc/web"), "answer refused");
    // From another node the answer is routed.
    assert_eq!(
        lab.end("pod/client-b", "svc/web"),
        "10.244.0.2 answered 10.244.1.3"
    );
}

#[test]
fn an_outside_client_reaches_a_cluster_ip_by_a_node_it_has_a_route_to() {
    let lab = cluster_ip(&ON_B);
    assert_eq!(
        describe(&lab.one(&via("a", "192.168.0.77", "svc/web"))),
        "10.244.1.2 answered 192.168.0.1"
    );
    let end = lab.end("192.168.0.77", "10.96.0.10:80");
    assert!(end.starts_with("unroutable"), "{end}");
}

#[test]
fn a_port_that_the_service_has_not_is_unroutable_by_a_node_too() {
    let lab = cluster_ip(&BOTH);
    for from in ["203.0.113.9", "192.168.0.77", "pod/client-b", "node/b"] {
        let end = describe(&lab.one(&via("a", from, "10.96.0.10:81")));
        assert!(
            end.starts_with("unroutable: 10.96.0.10 is an address of Services"),
            "{from}: {end}"
        );
    }
}

#[test]
fn an_answer_that_passes_the_translating_node_by_is_refused() {
    // Local traffic is not masqueraded. Node a translates for an endpoint on b, which answers the
    // client directly.
    let config = "detectLocalMode: NodeCIDR\n";
    let spec = format!("{NODE_PORT}, {CLUSTER_IP}");
    let lab = Lab::configured(config, &service(&spec, &ON_B));
    assert_eq!(
        describe(&lab.one(&via("a", "192.168.0.77", "svc/web"))),
        "10.244.1.2 answered 192.168.0.1"
    );
    // A client whose address is a pod's by clusterCIDR, but which sits on the node network.
    let lab = cluster_ip(&ON_B);
    assert_eq!(
        describe(&lab.one(&via("a", "10.244.1.3", "svc/web"))),
        "answer refused"
    );
}

#[test]
fn endpoints_on_the_host_network_are_reached_too() {
    let lab = cluster_ip(&["192.168.0.2@b"]);
    assert_eq!(
        lab.end("pod/client-a", "svc/web"),
        "192.168.0.2 answered 10.244.0.3"
    );
    let own = cluster_ip(&["192.168.0.1@a"]);
    assert_eq!(
        own.end("pod/client-a", "svc/web"),
        "192.168.0.1 answered 10.244.0.3"
    );
    // The node to itself: masqueraded with its own first address.
    assert_eq!(
        own.end("node/a", "svc/web"),
        "192.168.0.1 answered 192.168.0.1"
    );
}

#[test]
fn a_node_port_on_127_0_0_1_works_unless_it_is_turned_off() {
    let objects = service(&format!("{NODE_PORT}, {CLUSTER_IP}"), &ON_B);
    let on = Lab::with(&objects);
    assert_eq!(
        on.end("node/a", "127.0.0.1:30080"),
        "10.244.1.2 answered 192.168.0.1"
    );
    let off = Lab::configured("iptables: {localhostNodePorts: false}\n", &objects);
    assert_eq!(off.end("node/a", "127.0.0.1:30080"), "refused");
}

#[test]
fn masquerade_all_hides_pods_too() {
    let lab = Lab::configured(
        "iptables: {masqueradeAll: true}\n",
        &service(CLUSTER_IP, &ON_B),
    );
    assert_eq!(
        lab.end("pod/client-a", "svc/web"),
        "10.244.1.2 answered 192.168.0.1"
    );
}

#[test]
fn a_service_of_the_tunnel_network_works_both_ways() {
    let lab = node_port("", &ON_B).set(|network| network.cni = VXLAN);
    assert_eq!(
        lab.end("pod/client-a", "svc/web"),
        "10.244.1.2 answered 10.244.0.3"
    );
    assert_eq!(
        lab.end(OUTSIDE, "192.168.0.1:30080"),
        "10.244.1.2 answered 10.244.0.0"
    );
}

#[test]
fn via_changes_nothing_for_the_next_query() {
    let lab = cluster_ip(&ON_B);
    let mut world =
        podwire_sim::World::new(&lab.cluster, &podwire_sim::Options::default()).unwrap();
    let plain = Lab::query("pod/client-a", "svc/web");
    let mut ask = |query: &Query| format!("{:?}", world.trace_all(query).unwrap());
    let before = ask(&plain);
    assert_ne!(ask(&via("b", "pod/client-a", "svc/web")), before);
    assert_eq!(ask(&plain), before);
}
