//! Clusters with random NetworkPolicies, as the text of a list of objects.

use std::fmt::Write as _;

/// A small generator of numbers that are the same on every machine
/// (splitmix64, Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The numbers of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (z ^ (z >> 31)) % end as u64;
        usize::try_from(drawn).expect("below a usize")
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// What policies may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything that the API has.
    Any,
    /// What weave-npc knows: IPv4, ports by single numbers, rules of the ways that `policyTypes` names.
    Weave,
}

const NAMESPACES: [&str; 3] = ["red", "green", "blue"];
const APPS: [&str; 3] = ["web", "api", "db"];
/// Pods of a namespace.
const PODS: usize = 4;
/// Ports that policies and probes name.
pub const PORTS: [u16; 4] = [53, 80, 81, 8_080];
/// Hosts that are no pods.
pub const OUTSIDE: [&str; 3] = ["198.51.100.20", "203.0.113.9", "203.0.113.130"];

/// Three namespaces of four pods each on two nodes, and up to six policies.
#[must_use]
pub fn cluster(seed: u64, kind: Kind) -> String {
    let numbers = &mut Numbers::new(seed);
    let mut text = String::new();
    for node in 0..2 {
        object(
            &mut text,
            &format!(
                "{{apiVersion: v1, kind: Node, metadata: {{name: node{node}}}, spec: {{podCIDRs: [10.244.{node}.0/24]}}, \
                 status: {{addresses: [{{type: InternalIP, address: 192.168.7.1{node}}}]}}}}"
            ),
        );
    }
    for (place, namespace) in NAMESPACES.into_iter().enumerate() {
        let team = numbers.pick(&["a", "b"]);
        object(
            &mut text,
            &format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}, labels: {{team: {team}}}}}}}"
            ),
        );
        for pod in 0..PODS {
            let (node, host) = (pod % 2, 10 + place * PODS + pod);
            let mut labels = format!("app: {}", numbers.pick(&APPS));
            if numbers.below(2) == 0 {
                labels.push_str(", tier: front");
            }
            let http = numbers.pick(&[80, 8_080]);
            let ipv6 = match kind {
                Kind::Any => format!(", {{ip: 'fd00:10:244:{node}::{host}'}}"),
                Kind::Weave => String::new(),
            };
            object(
                &mut text,
                &format!(
                    "{{apiVersion: v1, kind: Pod, metadata: {{namespace: {namespace}, name: p{pod}, labels: {{{labels}}}}}, \
                     spec: {{nodeName: node{node}, containers: [{{name: c, ports: [\
                     {{name: http, containerPort: {http}}}, {{name: dns, containerPort: 53, protocol: UDP}}]}}]}}, \
                     status: {{phase: Running, podIPs: [{{ip: 10.244.{node}.{host}}}{ipv6}]}}}}"
                ),
            );
        }
    }
    for number in 0..=numbers.below(6) {
        policy(&mut text, number, numbers, kind);
    }
    text
}

fn object(text: &mut String, object: &str) {
    writeln!(text, "---\n{object}").expect("a String takes any text");
}

fn policy(text: &mut String, number: usize, numbers: &mut Numbers, kind: Kind) {
    let namespace = numbers.pick(&NAMESPACES);
    let selector = selector(numbers);
    let types = numbers.pick(&["Ingress", "Egress", "Ingress, Egress"]);
    let mut spec = format!("podSelector: {selector}, policyTypes: [{types}]");
    for (way, field, peers) in [("Ingress", "ingress", "from"), ("Egress", "egress", "to")] {
        let rules: Vec<String> = (0..numbers.below(3))
            .map(|_| rule(numbers, peers, kind))
            .collect();
        if kind == Kind::Any || types.contains(way) {
            write!(spec, ", {field}: [{}]", rules.join(", ")).expect("a String takes any text");
        }
    }
    object(
        text,
        &format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{namespace: {namespace}, name: p{number}}}, \
             spec: {{{spec}}}}}"
        ),
    );
}

fn selector(numbers: &mut Numbers) -> String {
    let app = numbers.pick(&APPS);
    match numbers.below(6) {
        0 | 1 => "{}".to_owned(),
        2 => format!("{{matchLabels: {{app: {app}}}}}"),
        3 => {
            format!("{{matchExpressions: [{{key: app, operator: NotIn, values: [{app}, none]}}]}}")
        }
        4 => {
            let operator = numbers.pick(&["Exists", "DoesNotExist"]);
            format!(
                "{{matchLabels: {{app: {app}}}, matchExpressions: [{{key: tier, operator: {operator}}}]}}"
            )
        }
        _ => format!("{{matchExpressions: [{{key: app, operator: In, values: [{app}, web]}}]}}"),
    }
}

fn namespace_selector(numbers: &mut Numbers) -> String {
    match numbers.below(4) {
        0 => "{}".to_owned(),
        1 => {
            let name = numbers.pick(&NAMESPACES);
            format!("{{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}")
        }
        2 => "{matchExpressions: [{key: team, operator: NotIn, values: [a]}]}".to_owned(),
        _ => "{matchLabels: {team: b}}".to_owned(),
    }
}

fn rule(numbers: &mut Numbers, field: &str, kind: Kind) -> String {
    let peers: Vec<String> = (0..numbers.below(3)).map(|_| peer(numbers, kind)).collect();
    let ports: Vec<String> = (0..numbers.below(3)).map(|_| port(numbers, kind)).collect();
    format!(
        "{{{field}: [{}], ports: [{}]}}",
        peers.join(", "),
        ports.join(", ")
    )
}

fn peer(numbers: &mut Numbers, kind: Kind) -> String {
    let (pods, namespaces) = (selector(numbers), namespace_selector(numbers));
    match numbers.below(5) {
        0 => format!("{{podSelector: {pods}}}"),
        1 => format!("{{namespaceSelector: {namespaces}}}"),
        // An empty selector of pods beside one of namespaces is the same set as the latter alone to
        // weave-npc, which makes the two of different types and ends.
        2 if kind == Kind::Any || pods != "{}" => {
            format!("{{podSelector: {pods}, namespaceSelector: {namespaces}}}")
        }
        3 if kind == Kind::Any => {
            "{ipBlock: {cidr: 'fd00:10:244::/47', except: ['fd00:10:244:1::/64']}}".to_owned()
        }
        _ => numbers
            .pick(&[
                "{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.0.12/30, 10.244.1.0/28]}}",
                "{ipBlock: {cidr: 0.0.0.0/0, except: [203.0.113.128/25]}}",
                "{ipBlock: {cidr: 203.0.113.77/24}}",
                "{ipBlock: {cidr: 10.244.1.11/32}}",
            ])
            .to_owned(),
    }
}

fn port(numbers: &mut Numbers, kind: Kind) -> String {
    let protocol = numbers.pick(&["TCP", "UDP", "SCTP"]);
    let number = numbers.pick(&PORTS);
    match (kind, numbers.below(5)) {
        (_, 0) => format!("{{protocol: {protocol}}}"),
        (Kind::Any, 1) => format!(
            "{{protocol: {protocol}, port: {number}, endPort: {}}}",
            number + 30
        ),
        (Kind::Any, 2) => "{port: http}".to_owned(),
        (Kind::Any, 3) => format!("{{port: dns, protocol: {protocol}}}"),
        _ => format!("{{protocol: {protocol}, port: {number}}}"),
    }
}
