//! Models expand to what they say.

use std::path::Path;

use podwire_cluster::{
    Cluster, Cni, DetectLocalMode, FlannelBackend, Input, ObjectName, Pod, load, read_inputs,
};

fn model(name: &str) -> Cluster {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let inputs = read_inputs(&[models.join(name)]).expect("a model");
    let lines: Vec<_> = inputs[0].text.lines().take(3).collect();
    for (line, word) in lines.iter().zip(["// Shows:", "// Try:", "// Expect:"]) {
        assert!(line.starts_with(word), "{name}: {line}");
    }
    let cluster = load(inputs).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(cluster.warnings, [], "{name}");
    cluster
}

fn text(ron: &str) -> Cluster {
    let input = Input {
        path: "model.ron".into(),
        text: ron.to_owned(),
    };
    load(vec![input]).unwrap_or_else(|errors| panic!("{errors}"))
}

fn pod<'c>(cluster: &'c Cluster, namespace: &str, name: &str) -> &'c Pod {
    &cluster.pods[&ObjectName::new(namespace, name)]
}

/// `pod node address` of every pod.
fn places(cluster: &Cluster) -> Vec<String> {
    let place = |pod: &Pod| {
        let ips: Vec<_> = pod.ips.iter().map(ToString::to_string).collect();
        format!(
            "{} {} {}",
            pod.meta.name,
            pod.node.as_deref().unwrap_or("nowhere"),
            ips.join(",")
        )
    };
    cluster.pods.values().map(place).collect()
}

/// `slice ports: endpoints` of every slice; an endpoint that is not ready in brackets.
fn slices(cluster: &Cluster) -> Vec<String> {
    let slices = cluster.endpoint_slices.values().map(|slice| {
        let ports = slice.ports.iter().map(|p| p.port.unwrap_or(0).to_string());
        let endpoints = slice.endpoints.iter().map(|e| {
            if e.ready {
                e.addresses[0].to_string()
            } else {
                format!("({})", e.addresses[0])
            }
        });
        format!(
            "{} {}: {}",
            slice.meta.name,
            ports.collect::<Vec<_>>().join(","),
            endpoints.collect::<Vec<_>>().join(" ")
        )
    });
    slices.collect()
}

#[test]
fn the_two_node_lab_is_the_one_of_the_book() {
    let cluster = model("two-node.ron");
    assert_eq!(
        cluster.network.cni,
        Cni::Flannel(FlannelBackend::Vxlan {
            vni: 1,
            port: 8472,
            direct_routing: false
        })
    );
    let nodes: Vec<_> = cluster.nodes.values().collect();
    assert_eq!(&*nodes[0].meta.name.name, "controlplane");
    let eth0 = &nodes[1].nics[0];
    assert_eq!(eth0.mac.unwrap().to_string(), "02:42:0a:08:0b:07");
    assert_eq!(eth0.mtu, 1450);
    assert_eq!(nodes[0].pod_cidrs[0].to_string(), "10.244.0.0/24");
    assert_eq!(&*nodes[1].addresses[0].address, "10.8.11.8");
    assert_eq!(
        places(&cluster),
        [
            "apps/web-1 node01 10.244.1.2",
            "apps/web-2 controlplane 10.244.0.3",
            "default/client controlplane 10.244.0.2",
            "kube-system/coredns-1 node01 10.244.1.3",
            "kube-system/coredns-2 controlplane 10.244.0.4",
        ]
    );
    assert_eq!(
        slices(&cluster),
        [
            "apps/web-service-1 8080: 10.244.1.2 10.244.0.3",
            "default/kubernetes-1 6443: 10.8.11.6",
            "kube-system/kube-dns-1 53,53,9153: 10.244.1.3 10.244.0.4",
        ]
    );
    let ips: Vec<_> = cluster
        .services
        .values()
        .map(|s| &*s.cluster_ips[0])
        .collect();
    assert_eq!(ips, ["10.107.37.188", "10.96.0.1", "10.96.0.10"]);
    let kubernetes = &cluster.endpoint_slices[&ObjectName::new("default", "kubernetes-1")];
    assert_eq!(
        kubernetes.endpoints[0].node.as_deref(),
        Some("controlplane")
    );
    let web = &cluster.services[&ObjectName::new("apps", "web-service")];
    assert_eq!(
        cluster
            .place(web.meta.source.unwrap())
            .to_string()
            .rsplit(':')
            .next(),
        Some("27")
    );
    assert_eq!(cluster.kube_proxy.unwrap().cluster_cidr, "10.244.0.0/16");
}

#[test]
fn replicas_that_are_not_ready_are_in_the_slice_as_such() {
    let cluster = model("host-gw.ron");
    assert_eq!(
        slices(&cluster),
        ["default/web-1 8080: 10.244.1.2 10.244.0.3 10.244.1.3 (10.244.0.4)"]
    );
    assert_eq!(cluster.network.cni, Cni::Flannel(FlannelBackend::HostGw));
    assert_eq!(&*cluster.nodes["node-2"].addresses[0].address, "10.0.0.12");
}

#[test]
fn kube_proxy_is_set_by_the_fields_of_its_file() {
    let cluster = model("routes.ron");
    let config = cluster.kube_proxy.as_ref().unwrap();
    assert_eq!(config.detect_local_mode, DetectLocalMode::NodeCidr);
    assert_eq!(
        pod(&cluster, "default", "web").node.as_deref(),
        Some("node-2")
    );
}

#[test]
fn node_ports_are_chosen_from_the_dynamic_part() {
    let cluster = model("external.ron");
    let ports = |name: &str| {
        let service = &cluster.services[&ObjectName::new("default", name)];
        (service.ports[0].node_port, service.health_check_node_port)
    };
    assert_eq!(ports("shop"), (30_443, 0));
    assert_eq!(ports("shop-local"), (30_086, 30_087));
    assert_eq!(ports("shop-office"), (30_088, 0));
    assert_eq!(ports("ingress"), (0, 0));
    let ingress = pod(&cluster, "default", "ingress-3");
    assert_eq!(ingress.ips[0].to_string(), "192.168.0.13");
    let first = &cluster.services[&ObjectName::new("default", "ingress")];
    // The range's first 256 addresses are kept for people.
    assert_eq!(&*first.cluster_ips[0], "10.96.1.4");
}

#[test]
fn a_thousand_services_are_a_few_lines() {
    let cluster = model("large.ron");
    assert_eq!(cluster.services.len(), 1_000);
    assert_eq!(cluster.pods.len(), 3_001);
    assert_eq!(cluster.endpoint_slices.len(), 1_000);
    assert!(
        cluster
            .endpoint_slices
            .values()
            .all(|s| s.endpoints.len() == 3)
    );
    assert_eq!(format!("{:?}", model("large.ron")), format!("{cluster:?}"));
}

#[test]
fn one_node_may_hold_many_pods() {
    let cluster = text(
        r#"(network: (node_cidr_mask: 16), node_count: 1, workloads: [(name: "web", replicas: 20000)])"#,
    );
    let last = pod(&cluster, "default", "web-20000");
    assert_eq!(last.ips[0].to_string(), "10.244.78.33");
}

#[test]
fn fixed_addresses_are_taken_before_all_others() {
    let cluster = text(
        r#"(node_count: 2, workloads: [
            (name: "a", replicas: 3, nodes: ["node-1"]),
            (name: "b", ips: ["10.244.0.3"]),
            (name: "c", ips: ["10.244.1.77"]),
        ])"#,
    );
    assert_eq!(
        places(&cluster),
        [
            "default/a-1 node-1 10.244.0.2",
            "default/a-2 node-1 10.244.0.4",
            "default/a-3 node-1 10.244.0.5",
            "default/b node-1 10.244.0.3",
            "default/c node-2 10.244.1.77",
        ]
    );
}

#[test]
fn two_families_have_two_addresses_and_two_slices() {
    let cluster = text(
        r#"(
            network: (pod_cidrs: ["10.244.0.0/16", "fd00:10:244::/56"],
                      service_cidrs: ["10.96.0.0/16", "fd00:10:96::/112"]),
            node_count: 1,
            workloads: [(name: "web", ports: [(name: "http", port: 80)])],
            services: [
                (name: "web", ip_families: [IPv6, IPv4], selector: {"app": "web"},
                 ports: [(port: 80, target_port: "http")]),
                (name: "headless", cluster_ip: "None", selector: {"app": "web"}, ports: [(port: 80)]),
                (name: "outside", type: ExternalName, external_name: "example.org"),
            ],
        )"#,
    );
    let web = &cluster.services[&ObjectName::new("default", "web")];
    assert_eq!(
        web.cluster_ips,
        ["fd00:10:96::101".into(), "10.96.1.1".into()]
    );
    assert_eq!(
        slices(&cluster),
        [
            "default/headless-1 80: 10.244.0.2",
            "default/web-1 80: 10.244.0.2",
            "default/web-2 80: fd00:10:244::2",
        ]
    );
}

#[test]
fn pods_that_name_a_port_differently_are_in_slices_of_their_own() {
    let cluster = text(
        r#"(node_count: 1, workloads: [
            (name: "old", labels: {"app": "web"}, ports: [(name: "http", port: 8080)]),
            (name: "new", labels: {"app": "web"}, ports: [(name: "http", port: 9090)]),
            (name: "none", labels: {"app": "web"}),
        ], services: [(name: "web", selector: {"app": "web"}, ports: [(port: 80, target_port: "http")])])"#,
    );
    assert_eq!(
        slices(&cluster),
        [
            "default/web-1 : 10.244.0.4",
            "default/web-2 8080: 10.244.0.2",
            "default/web-3 9090: 10.244.0.3",
        ]
    );
}

#[test]
fn a_selector_that_matches_nothing_is_a_warning() {
    let cluster = text(
        r#"(node_count: 1, workloads: [(name: "web")],
            services: [(name: "web", selector: {"app": "wbe"}, ports: [(port: 80)])])"#,
    );
    assert_eq!(cluster.warnings.len(), 1);
    assert_eq!(
        cluster.warnings[0].text,
        "the selector of service `default/web` matches no pod"
    );
}

#[test]
fn a_configuration_beside_a_model_counts() {
    let input = |path: &str, text: &str| Input {
        path: path.into(),
        text: text.to_owned(),
    };
    let config = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n\
                  kind: KubeProxyConfiguration\nmode: ipvs\n";
    let (config, model) = (
        input("config.yaml", config),
        input("model.ron", "(node_count: 1)"),
    );
    for inputs in [vec![config.clone(), model.clone()], vec![model, config]] {
        let cluster = load(inputs).unwrap();
        assert_eq!(cluster.kube_proxy.unwrap().mode, "ipvs");
        assert_eq!(cluster.warnings, []);
    }
}

#[test]
fn comments_alone_are_an_empty_cluster() {
    for blank in ["// words", "/* words */ // more\n", "// a\n// b\n"] {
        assert!(text(blank).nodes.is_empty());
    }
    assert!(text("Cluster()").nodes.is_empty());
}

#[test]
fn two_models_are_not_one_cluster() {
    let input = |name: &str| podwire_cluster::Input {
        path: name.into(),
        text: "Cluster(node_count: 1)".to_owned(),
    };
    let errors = podwire_cluster::load(vec![input("a.ron"), input("b.ron")]).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "b.ron:1:1: a second model: a.ron is one already\n  \
         help: a model is a whole cluster; Kubernetes objects may stand beside it, another model may not"
    );
}
