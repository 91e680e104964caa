//! What policies mean: answers that other evaluators agree on, and a second evaluator of our own that
//! reads the API's sentences one by one.

use std::net::IpAddr;

use podwire_cluster::{
    Cluster, IpBlock, Namespace, NetworkPolicy, Peer, Pod, PolicyPort, PolicyRule, PolicyType,
    PortNumbers,
};
use podwire_controlplane::network_policy::{Matrix, Policies, Traffic};
use podwire_packet::{Family, Protocol};
use podwire_testkit::policies::{Kind, OUTSIDE, PORTS, cluster};
use serde_json::Value;

use super::{data, lines, party, read};

fn of_set(set: &str) -> Cluster {
    read(&[&data("world.yaml"), &data(&format!("sets/{set}.yaml"))])
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap()
}

#[test]
fn probes_have_the_answers_that_other_evaluators_gave() {
    let probes = lines("probes.jsonl");
    assert!(probes.len() >= 80);
    for probe in probes {
        let cluster = of_set(text(&probe, "set"));
        let policies = Policies::new(&cluster);
        let end = |name: &str, ip: &str| {
            party(
                &policies,
                text(&probe, name),
                text(&probe, ip).parse().unwrap(),
            )
        };
        let traffic = Traffic {
            from: end("from", "from_ip"),
            to: end("to", "to_ip"),
            protocol: text(&probe, "protocol").parse().unwrap(),
            port: u16::try_from(probe["port"].as_u64().unwrap()).unwrap(),
        };
        let verdict = policies.verdict(&traffic);
        let both = (verdict.egress.allowed(), verdict.ingress.allowed());
        let wanted = ["egress_ok", "ingress_ok"].map(|key| probe[key].as_bool().unwrap());
        assert_eq!(both, (wanted[0], wanted[1]), "{probe}");
        assert_eq!(policies.allows(&traffic), verdict.allowed(), "{probe}");
    }
}

#[test]
fn matrices_are_those_that_other_evaluators_gave() {
    for given in lines("matrices.jsonl") {
        let cluster = of_set(text(&given, "set"));
        let policies = Policies::new(&cluster);
        let pods: Vec<&str> = given["pods"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| pod.as_str().unwrap())
            .collect();
        for (key, rows) in given["rows_from_columns_to"].as_object().unwrap() {
            let (port, protocol) = key.split_once('/').unwrap();
            let matrix = Matrix::new(
                &policies,
                Family::Ipv4,
                protocol.parse().unwrap(),
                port.parse().unwrap(),
            );
            let place = |name: &str| {
                matrix
                    .pods()
                    .iter()
                    .position(|pod| pod.meta.name.to_string() == name)
                    .unwrap()
            };
            for (from, row) in pods.iter().zip(rows.as_array().unwrap()) {
                let marks = pods.iter().map(|to| {
                    if matrix.allows(place(from), place(to)) {
                        '.'
                    } else {
                        'X'
                    }
                });
                assert_eq!(
                    marks.collect::<String>(),
                    row.as_str().unwrap(),
                    "{} {key} from {from}",
                    given["set"]
                );
            }
        }
    }
}

/// The second evaluator.
struct Plain<'c>(&'c Cluster);

impl Plain<'_> {
    fn pod_at(&self, ip: IpAddr) -> Option<&Pod> {
        self.0.pods.values().find(|pod| pod.ips.contains(&ip))
    }

    fn allows(&self, from: IpAddr, to: IpAddr, protocol: Protocol, port: u16) -> bool {
        let (sender, receiver) = (self.pod_at(from), self.pod_at(to));
        let is_itself = sender.is_some() && sender == receiver;
        is_itself
            || self.side(
                PolicyType::Egress,
                sender,
                (receiver, to),
                receiver,
                (protocol, port),
            ) && self.side(
                PolicyType::Ingress,
                receiver,
                (sender, from),
                receiver,
                (protocol, port),
            )
    }

    fn side(
        &self,
        way: PolicyType,
        own: Option<&Pod>,
        other: (Option<&Pod>, IpAddr),
        receiver: Option<&Pod>,
        port: (Protocol, u16),
    ) -> bool {
        let Some(own) = own else { return true };
        let isolates = |policy: &&NetworkPolicy| {
            policy.policy_types.contains(&way)
                && policy.meta.name.namespace == own.meta.name.namespace
                && policy.pod_selector.matches(&own.meta.labels)
        };
        let mut isolating = self.0.network_policies.values().filter(isolates).peekable();
        isolating.peek().is_none()
            || isolating.any(|policy| {
                let rules = policy.rules(way).iter();
                rules
                    .clone()
                    .any(|rule| self.peers(policy, rule, other) && ports(rule, receiver, port))
            })
    }

    fn peers(
        &self,
        policy: &NetworkPolicy,
        rule: &PolicyRule,
        (pod, ip): (Option<&Pod>, IpAddr),
    ) -> bool {
        let is_peer = |peer: &Peer| match peer {
            Peer::Block(IpBlock { cidr, except }) => {
                cidr.prefix.contains(ip) && except.iter().all(|part| !part.prefix.contains(ip))
            }
            Peer::Pods { namespaces, pods } => pod.is_some_and(|pod| {
                let name = &pod.meta.name.namespace;
                let in_namespace = match namespaces {
                    None => *name == policy.meta.name.namespace,
                    Some(selector) => {
                        let listed: &Namespace = &self.0.namespaces[name];
                        selector.matches(&listed.labels)
                    }
                };
                in_namespace
                    && pods
                        .as_ref()
                        .is_none_or(|pods| pods.matches(&pod.meta.labels))
            }),
        };
        rule.peers.is_empty() || rule.peers.iter().any(is_peer)
    }
}

fn ports(rule: &PolicyRule, receiver: Option<&Pod>, (protocol, port): (Protocol, u16)) -> bool {
    let is_port = |one: &PolicyPort| {
        let is_number = match &one.numbers {
            PortNumbers::All => true,
            PortNumbers::Range(range) => range.contains(&port),
            PortNumbers::Named(name) => receiver.is_some_and(|pod| {
                let mut named = pod.ports.iter();
                named.any(|of| {
                    of.name.as_ref() == Some(name) && of.protocol == protocol && of.port == port
                })
            }),
        };
        one.protocol == protocol && is_number
    };
    rule.ports.is_empty() || rule.ports.iter().any(is_port)
}

const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

#[test]
fn compiled_policies_say_what_the_plain_reading_says() {
    let (mut allowed, mut denied) = (0, 0);
    for seed in 0..20 {
        let cluster = read(&[&cluster(seed, Kind::Any)]);
        let policies = Policies::new(&cluster);
        let outside = OUTSIDE.iter().map(|ip| ip.parse().unwrap());
        let ips: Vec<IpAddr> = cluster
            .pods
            .values()
            .flat_map(|pod| pod.ips.clone())
            .chain(outside)
            .collect();
        let pairs = ips
            .iter()
            .flat_map(|&from| ips.iter().map(move |&to| (from, to)));
        for (from, to) in pairs.filter(|(from, to)| from.is_ipv4() == to.is_ipv4()) {
            for protocol in PROTOCOLS {
                for port in PORTS {
                    let traffic = Traffic {
                        from: policies.address(from),
                        to: policies.address(to),
                        protocol,
                        port,
                    };
                    let wanted = Plain(&cluster).allows(from, to, protocol, port);
                    let said = policies.allows(&traffic);
                    assert_eq!(
                        said, wanted,
                        "seed {seed}: {from} to {to} {port}/{protocol}"
                    );
                    assert_eq!(policies.verdict(&traffic).allowed(), wanted);
                    *(if said { &mut allowed } else { &mut denied }) += 1;
                }
            }
        }
    }
    assert!(
        allowed > 5_000 && denied > 5_000,
        "{allowed} allowed, {denied} denied"
    );
}

#[test]
fn classes_of_pods_that_are_alike_have_the_answers_of_every_pair() {
    let mut fewer = 0;
    for seed in 100..120 {
        let cluster = read(&[&cluster(seed, Kind::Any)]);
        let policies = Policies::new(&cluster);
        for family in [Family::Ipv4, Family::Ipv6] {
            for (protocol, port) in [
                (Protocol::TCP, 80),
                (Protocol::TCP, 8_080),
                (Protocol::UDP, 53),
            ] {
                let matrix = Matrix::new(&policies, family, protocol, port);
                let pods = matrix.pods();
                fewer += usize::from(matrix.classes() < pods.len());
                let ip = |pod: &Pod| {
                    pod.ips
                        .iter()
                        .copied()
                        .find(|&ip| Family::of(ip) == family)
                        .unwrap()
                };
                let mut count = 0;
                for (from, sender) in pods.iter().enumerate() {
                    for (to, receiver) in pods.iter().enumerate() {
                        let wanted =
                            Plain(&cluster).allows(ip(sender), ip(receiver), protocol, port);
                        assert_eq!(matrix.allows(from, to), wanted, "seed {seed}");
                        count += u64::from(wanted);
                    }
                }
                assert_eq!(matrix.count(), count, "seed {seed}");
            }
        }
    }
    assert!(fewer > 0, "no two pods were ever alike");
}

const HOST_NETWORK: &str = "\
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.7.10}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 192.168.7.11}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {nodeName: n1}, status: {podIP: 10.244.0.5}}
---
{apiVersion: v1, kind: Pod, metadata: {name: agent}, spec: {nodeName: n1, hostNetwork: true}, status: {podIP: 192.168.7.10}}
---
{apiVersion: v1, kind: Pod, metadata: {name: old}, spec: {nodeName: n1}, status: {phase: Succeeded, podIP: 10.244.0.6}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: {}}}
";

#[test]
fn a_node_reaches_its_own_pods_and_no_others() {
    let cluster = read(&[HOST_NETWORK]);
    let policies = Policies::new(&cluster);
    let web = party(&policies, "default/web", "10.244.0.5".parse().unwrap());
    let allows = |from| {
        policies.allows(&Traffic {
            from,
            to: web,
            protocol: Protocol::TCP,
            port: 80,
        })
    };
    assert!(allows(policies.address("192.168.7.10".parse().unwrap())));
    assert!(allows(party(
        &policies,
        "default/agent",
        "192.168.7.10".parse().unwrap()
    )));
    assert!(!allows(policies.address("192.168.7.11".parse().unwrap())));
    assert!(!allows(policies.address("10.244.0.6".parse().unwrap())));
}
