//! Requests through an Ingress controller, from outside to an endpoint and back.

use std::path::PathBuf;

use podwire_cluster::{Cluster, Input, load};
use podwire_dataplane::{Disposition, Event};
use podwire_ingress::Request;
use podwire_sim::{Options, Query, Trace, World};

use crate::lab::{Lab, OUTSIDE};

/// Two nodes, a controller behind node port 30080 and at 203.0.113.80, and `web` behind it on the other
/// node; with more words for the controller. Nobody has the addresses of service `gone`.
fn cluster(controller: &str) -> Cluster {
    let text = format!(
        r#"Cluster(
            node_count: 2,
            ingress_classes: [(name: "nginx", controller: "k8s.io/ingress-nginx")],
            workloads: [
                (name: "gate", nodes: ["node-1"], image: "registry.k8s.io/ingress-nginx/controller:v1.12.1",
                    ports: [(port: 80), (port: 443)], {controller}),
                (name: "web", replicas: 2, nodes: ["node-2"], ports: [(port: 8080)]),
            ],
            services: [
                (name: "gate", type: LoadBalancer, load_balancer_ips: ["203.0.113.80"], selector: {{"app": "gate"}},
                    ports: [(name: "http", port: 80, node_port: 30080), (name: "https", port: 443)]),
                (name: "web", selector: {{"app": "web"}}, ports: [(port: 80, target_port: 8080)]),
                (name: "gone", endpoints: ["10.244.1.77", "10.244.1.78"], ports: [(port: 80, target_port: 8080)]),
            ],
            ingresses: [(name: "shop", class: "nginx", tls: ["safe.test"], rules: [
                (host: "shop.test", paths: [
                    (path: "/cart", service: "web", port: 80),
                    (path: "/gone", service: "gone", port: 80),
                ]),
            ]), (name: "plain", class: "nginx", rules: [
                (host: "plain.test", paths: [
                    (path: "/cart", service: "web", port: 80),
                    (path: "/gone", service: "gone", port: 80),
                ]),
            ])],
        )"#
    );
    let path = PathBuf::from("shop.ron");
    load(vec![Input { path, text }]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// From outside; a route of the network's leads to the first node.
fn query(to: &str) -> Query {
    Query {
        via: Some("node-1".to_owned()),
        ..Lab::query(OUTSIDE, to)
    }
}

fn ask(cluster: &Cluster, to: &str, url: &str) -> Vec<Trace> {
    let options = Options {
        absent: ["10.244.1.77", "10.244.1.78"]
            .map(|ip| ip.parse().expect("an address"))
            .into(),
        ..Options::default()
    };
    let mut world = World::new(cluster, &options).expect("iptables mode");
    let request = Request::get(url).expect("a URL");
    world
        .trace_request_all(&query(to), &request)
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_request_goes_through_the_controller_to_each_endpoint_and_back() {
    let cluster = cluster("");
    for to in ["node/node-2:30080", "203.0.113.80:80", "svc/gate:80"] {
        let traces = ask(&cluster, to, "http://plain.test/cart/1?x");
        assert_eq!(traces.len(), 2, "{to}");
        assert!(
            traces
                .iter()
                .all(|trace| (trace.probability - 0.5).abs() < 1e-9)
        );
        let mut world = World::new(&cluster, &Options::default()).expect("iptables mode");
        for trace in &traces {
            assert!(trace.arrived(), "{to}");
            let requested = trace
                .forward
                .requested
                .as_ref()
                .expect("a controller took it");
            assert_eq!(requested.path.as_deref(), Some("/cart/1?x"));
            assert_eq!(requested.controller.to_string(), "default/gate");
            let reply = trace.reply.as_ref().expect("an answer");
            // Both connections were answered, the client's from the address that it asked.
            assert_eq!(reply.arrived, trace.forward.sent.reversed());
        }
        let one = world.trace_request(
            &query(to),
            &Request::get("http://plain.test/cart").expect("a URL"),
            1,
        );
        assert!(one.expect("a trace").arrived());
    }
}

#[test]
fn what_the_controller_answers_itself_ends_there() {
    let cluster = cluster("");
    for (url, status, arrived) in [
        ("http://plain.test/none", 404, false),
        ("http://other.test/cart", 404, false),
        ("http://shop.test/cart", 308, true),
    ] {
        let [trace] = <[Trace; 1]>::try_from(ask(&cluster, "node/node-1:30080", url))
            .unwrap_or_else(|all| panic!("{} ways", all.len()));
        let requested = trace
            .forward
            .requested
            .as_ref()
            .expect("a controller took it");
        assert_eq!(
            (requested.status, trace.arrived()),
            (status, arrived),
            "{url}"
        );
        assert_eq!(trace.forward.at, requested.at);
        assert!(matches!(
            trace.forward.disposition,
            Disposition::Delivered(_)
        ));
        assert!(trace.reply.is_some_and(|reply| reply.answered));
    }
}

#[test]
fn endpoints_that_do_not_answer_are_all_tried() {
    let traces = ask(&cluster(""), "node/node-1:30080", "http://plain.test/gone");
    for trace in &traces {
        let dials = trace.forward.steps.iter();
        let dials = dials.filter(|step| matches!(step.event, Event::Proxied { .. }));
        assert_eq!(dials.count(), 2);
        let requested = trace
            .forward
            .requested
            .as_ref()
            .expect("a controller took it");
        assert_eq!((requested.status, trace.arrived()), (504, false));
    }
}

#[test]
fn a_controller_may_use_its_nodes_own_network() {
    let cluster = cluster("host_network: true");
    let traces = ask(&cluster, "node/node-1:80", "http://plain.test/cart");
    assert!(traces.iter().all(Trace::arrived));
    assert!(traces.iter().all(|trace| trace.forward.requested.is_some()));
}

#[test]
fn a_pod_that_is_no_controller_gets_the_request_itself() {
    let traces = ask(&cluster(""), "svc/web:80", "http://plain.test/cart");
    assert!(
        traces
            .iter()
            .all(|trace| trace.arrived() && trace.forward.requested.is_none())
    );
}
