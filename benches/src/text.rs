//! Texts to read: a cluster as kubectl prints it, and a model of three nodes.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// So many Services with one port each as a `kind: List`, in YAML.
#[must_use]
pub fn yaml_list(services: u32) -> String {
    let mut text = String::from("apiVersion: v1\nkind: List\nitems:\n");
    for number in 0..services {
        let address = cluster_ip(number);
        let written = write!(
            text,
            "\
- apiVersion: v1
  kind: Service
  metadata:
    name: service-{number}
    namespace: default
    labels:
      app: app-{number}
  spec:
    clusterIP: {address}
    clusterIPs:
    - {address}
    internalTrafficPolicy: Cluster
    ipFamilies:
    - IPv4
    ipFamilyPolicy: SingleStack
    ports:
    - name: http
      port: 80
      protocol: TCP
      targetPort: 8080
    selector:
      app: app-{number}
    sessionAffinity: None
    type: ClusterIP
  status:
    loadBalancer: {{}}
"
        );
        written.expect("a String takes everything");
    }
    text
}

/// The same in JSON, on one line an object.
#[must_use]
pub fn json_list(services: u32) -> String {
    let mut text = String::from("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n");
    for number in 0..services {
        let address = cluster_ip(number);
        let comma = if number == 0 { "" } else { ",\n" };
        let written = write!(
            text,
            "{comma}{{\"apiVersion\":\"v1\",\"kind\":\"Service\",\
\"metadata\":{{\"name\":\"service-{number}\",\"namespace\":\"default\",\"labels\":{{\"app\":\"app-{number}\"}}}},\
\"spec\":{{\"clusterIP\":\"{address}\",\"clusterIPs\":[\"{address}\"],\"internalTrafficPolicy\":\"Cluster\",\
\"ipFamilies\":[\"IPv4\"],\"ipFamilyPolicy\":\"SingleStack\",\
\"ports\":[{{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\",\"targetPort\":8080}}],\
\"selector\":{{\"app\":\"app-{number}\"}},\"sessionAffinity\":\"None\",\"type\":\"ClusterIP\"}},\
\"status\":{{\"loadBalancer\":{{}}}}}}"
        );
        written.expect("a String takes everything");
    }
    text.push_str("\n]}\n");
    text
}

fn cluster_ip(number: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(10, 96, 1, 0)) + number).into()
}

/// A client on one of three nodes, and a Service whose only pod is on another.
pub const THREE_NODES: &str = r#"Cluster(
    node_count: 3,
    workloads: [
        (name: "client", nodes: ["node-1"]),
        (name: "web", nodes: ["node-3"], ports: [(name: "http", port: 8080)]),
    ],
    services: [
        (name: "web", selector: {"app": "web"}, ports: [(port: 80, target_port: "http")]),
    ],
)
"#;
