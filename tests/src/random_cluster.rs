//! Clusters made at random: every feature that a Service has, in combinations that nobody thought of.
//!
//! [`text`] writes one as the files of a cluster have it, so that a seed that shows a fault can be read
//! and replayed. Addresses and ports are such that no two service ports claim the same: real clusters
//! refuse that, or leave it to chance.

use std::fmt::Write as _;

use podwire_cluster::{Cluster, Input, load};
use podwire_ruleset::{Choose, Draw};

const NODES: usize = 3;
const ZONES: [&str; 3] = ["zone-1", "zone-2", "zone-3"];
const PROTOCOLS: [&str; 4] = ["TCP", "TCP", "UDP", "SCTP"];
/// Ranges that clients are allowed from: of nodes, of pods, of anybody, of one host beyond the router.
const RANGES: [&str; 8] = [
    "0.0.0.0/0",
    "192.168.10.0/24",
    "192.168.10.11/32",
    "10.244.1.0/24",
    "203.0.113.0/24",
    "203.0.113.7/25",
    "198.51.100.0/24",
    "fd00::/8",
];

/// The cluster of a seed.
///
/// # Panics
/// If it does not load: then the text or the loader is wrong.
#[must_use]
pub fn cluster(seed: u64) -> Cluster {
    let text = text(seed);
    let input = Input {
        path: format!("seed-{seed}.yaml").into(),
        text: text.clone(),
    };
    load(vec![input]).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// Its text: nodes, Services with their slices, the configuration of kube-proxy.
#[must_use]
pub fn text(seed: u64) -> String {
    let mut writer = Writer {
        draw: Draw(seed),
        text: String::new(),
        is_dual: false,
        pods: [0; NODES],
    };
    // The first answers of neighbouring seeds are alike.
    writer.draw.next();
    writer.is_dual = writer.one_in(3);
    for node in 0..NODES {
        writer.node(node);
    }
    for number in 0..3 + writer.below(6) {
        writer.service(number);
    }
    writer.configuration();
    writer.text
}

/// Which families a Service has: those of its `clusterIPs`, in order.
const SINGLE: &[u8] = &[4];
const DUAL: &[u8] = &[4, 6];

struct Writer {
    draw: Draw,
    text: String,
    is_dual: bool,
    /// How many pods each node has so far.
    pods: [u32; NODES],
}

impl Writer {
    fn below(&mut self, count: u32) -> u32 {
        self.draw.one_of(count)
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(u32::try_from(of.len()).expect("few")) as usize]
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("a text takes everything");
        self.text.push('\n');
    }

    fn node(&mut self, node: usize) {
        let (name, number) = (node_name(node), node + 1);
        self.line(format_args!(
            "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {name}"
        ));
        if !self.one_in(8) {
            let zone = ZONES[node];
            self.line(format_args!(
                "  labels: {{topology.kubernetes.io/zone: {zone}}}"
            ));
        }
        let (mut cidrs, mut addresses) = (
            format!("10.244.{number}.0/24"),
            format!("{{type: InternalIP, address: 192.168.10.1{number}}}"),
        );
        if self.is_dual {
            write!(cidrs, ", 'fd00:10:244:{number}::/64'").expect("a text");
            write!(
                addresses,
                ", {{type: InternalIP, address: 'fd00:192:168:10::1{number}'}}"
            )
            .expect("a text");
        }
        self.line(format_args!("spec: {{podCIDRs: [{cidrs}]}}"));
        self.line(format_args!("status: {{addresses: [{addresses}]}}"));
    }

    fn service(&mut self, number: u32) {
        let families = if self.is_dual && !self.one_in(3) {
            DUAL
        } else {
            SINGLE
        };
        let kind = self.pick(&["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer"]);
        let is_balanced = kind == "LoadBalancer";
        let namespace = self.pick(&["default", "apps"]);
        self.line(format_args!(
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: s{number}\n  namespace: {namespace}"
        ));
        let has_hints = self.one_in(4);
        if has_hints {
            let key = self.pick(&["topology-mode", "topology-aware-hints"]);
            let value = self.pick(&["Auto", "auto", "Disabled"]);
            self.line(format_args!(
                "  annotations: {{service.kubernetes.io/{key}: {value}}}"
            ));
        }
        self.line(format_args!("spec:\n  type: {kind}"));
        let addresses = |of: &str| of_families(families, of, number);
        self.line(format_args!("  clusterIPs: [{}]", addresses("cluster")));
        let names = families.iter().map(|family| format!("IPv{family}"));
        self.line(format_args!(
            "  ipFamilies: [{}]",
            names.collect::<Vec<_>>().join(", ")
        ));
        if self.one_in(4) {
            self.line(format_args!("  externalIPs: [{}]", addresses("external")));
        }
        if self.one_in(3) {
            self.line(format_args!("  internalTrafficPolicy: Local"));
        }
        let is_local = kind != "ClusterIP" && self.one_in(2);
        if is_local {
            self.line(format_args!("  externalTrafficPolicy: Local"));
        }
        if is_local && is_balanced {
            self.line(format_args!("  healthCheckNodePort: {}", 32_000 + number));
        }
        if self.one_in(4) {
            let seconds = self.pick(&[60, 10_800]);
            self.line(format_args!(
                "  sessionAffinity: ClientIP\n  sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}"
            ));
        }
        if is_balanced && self.one_in(2) {
            let ranges: Vec<_> = (0..1 + self.below(3)).map(|_| self.pick(&RANGES)).collect();
            let quoted: Vec<_> = ranges.iter().map(|range| format!("'{range}'")).collect();
            self.line(format_args!(
                "  loadBalancerSourceRanges: [{}]",
                quoted.join(", ")
            ));
        }
        if self.one_in(6) {
            self.line(format_args!("  publishNotReadyAddresses: true"));
        }
        let protocols: Vec<&str> = (0..1 + self.below(3))
            .map(|_| self.pick(&PROTOCOLS))
            .collect();
        self.line(format_args!("  ports:"));
        for (place, protocol) in (0u32..).zip(&protocols) {
            let port = 80 + place;
            let mut line = format!("  - {{name: p{place}, protocol: {protocol}, port: {port}");
            if kind != "ClusterIP" && !(is_balanced && self.one_in(4)) {
                write!(line, ", nodePort: {}", 30_000 + number * 10 + place).expect("a text");
            }
            self.line(format_args!("{line}}}"));
        }
        if is_balanced {
            let mode = if self.one_in(4) { "Proxy" } else { "VIP" };
            let ips = families.iter().map(|family| {
                let ip = address(*family, "balancer", number);
                format!("{{ip: {ip}, ipMode: {mode}}}")
            });
            let ips = ips.collect::<Vec<_>>().join(", ");
            self.line(format_args!(
                "status: {{loadBalancer: {{ingress: [{ips}]}}}}"
            ));
        }
        for &family in families {
            for slice in 0..1 + self.below(2) {
                let name = format!("s{number}-v{family}-{slice}");
                self.slice(&name, namespace, number, family, &protocols, has_hints);
            }
        }
    }

    fn slice(
        &mut self,
        name: &str,
        namespace: &str,
        service: u32,
        family: u8,
        protocols: &[&str],
        has_hints: bool,
    ) {
        self.line(format_args!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  labels: {{kubernetes.io/service-name: s{service}}}\naddressType: IPv{family}"
        ));
        let ports = (0u32..).zip(protocols).map(|(place, protocol)| {
            format!(
                "{{name: p{place}, protocol: {protocol}, port: {}}}",
                8_080 + place
            )
        });
        let ports = ports.collect::<Vec<_>>().join(", ");
        self.line(format_args!("ports: [{ports}]\nendpoints:"));
        let only = self.one_in(3).then(|| self.below(3) as usize);
        let (all_ready, count) = (self.one_in(2), self.below(4));
        if count == 0 {
            self.text.push_str("  []\n");
        }
        for _ in 0..count {
            let node = only.unwrap_or_else(|| self.below(3) as usize);
            self.endpoint(node, family, all_ready, has_hints);
        }
    }

    fn endpoint(&mut self, node: usize, family: u8, is_ready: bool, has_hints: bool) {
        let number = node + 1;
        let is_of_host = self.one_in(10);
        self.pods[node] += 1;
        let pod = 10 + self.pods[node];
        let address = match (family, is_of_host) {
            (4, false) => format!("10.244.{number}.{pod}"),
            (4, true) => format!("192.168.10.1{number}"),
            (_, false) => format!("'fd00:10:244:{number}::{pod}'"),
            (_, true) => format!("'fd00:192:168:10::1{number}'"),
        };
        let conditions = if is_ready {
            "ready: true"
        } else {
            self.pick(&[
                "ready: true",
                "ready: false",
                "ready: false, serving: true, terminating: true",
                "ready: false, serving: false, terminating: true",
            ])
        };
        let mut line = format!("- {{addresses: [{address}], conditions: {{{conditions}}}");
        if !self.one_in(12) {
            write!(line, ", nodeName: {}", node_name(node)).expect("a text");
        }
        if has_hints && !self.one_in(12) {
            let zone = self.pick(&ZONES);
            write!(line, ", hints: {{forZones: [{{name: {zone}}}]}}").expect("a text");
        }
        self.line(format_args!("{line}}}"));
    }

    fn configuration(&mut self) {
        self.line(format_args!(
            "---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration"
        ));
        if !self.one_in(4) {
            self.line(format_args!(
                "clusterCIDR: '10.244.0.0/16,fd00:10:244::/56'"
            ));
        }
        if self.one_in(3) {
            self.line(format_args!("detectLocalMode: NodeCIDR"));
        }
        if self.one_in(4) {
            let of = self.pick(&["192.168.10.0/24", "10.0.0.0/8", "127.0.0.0/8", "0.0.0.0/0"]);
            self.line(format_args!("nodePortAddresses: ['{of}']"));
        }
        let (all, bit) = (self.one_in(4), self.pick(&[14, 14, 9]));
        let localhost = !self.one_in(4);
        self.line(format_args!(
            "iptables: {{masqueradeAll: {all}, masqueradeBit: {bit}, localhostNodePorts: {localhost}}}"
        ));
        self.line(format_args!(
            "nftables: {{masqueradeAll: {all}, masqueradeBit: {bit}}}"
        ));
        let scheduler = self.pick(&["rr", "wrr", "lc", "sh", "mh"]);
        self.line(format_args!("ipvs: {{scheduler: {scheduler}}}"));
    }
}

fn node_name(node: usize) -> &'static str {
    ["node-a", "node-b", "node-c"][node]
}

/// An address that a Service has, of a family.
fn address(family: u8, of: &str, service: u32) -> String {
    let (ipv4, ipv6) = match of {
        "cluster" => ("10.96.1", "fd00:10:96::1"),
        "external" => ("198.18.0", "fd00:198:18::1"),
        _ => ("198.18.1", "fd00:198:18::2"),
    };
    match family {
        4 => format!("{ipv4}.{}", 10 + service),
        _ => format!("'{ipv6}:{}'", 10 + service),
    }
}

fn of_families(families: &[u8], of: &str, service: u32) -> String {
    let all = families.iter().map(|family| address(*family, of, service));
    all.collect::<Vec<_>>().join(", ")
}
