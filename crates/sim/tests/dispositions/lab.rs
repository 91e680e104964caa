//! A small cluster, written as people write it, and questions to it.
//!
//! Nodes `a` and `b` are 192.168.0.1 and 192.168.0.2, in IPv6 fd01::1 and fd01::2. Each has a pod
//! `web` that listens on TCP 8080 (10.244.0.2, 10.244.1.2) and one that only asks (10.244.0.3,
//! 10.244.1.3).

use std::path::PathBuf;

use podwire_cluster::{Cluster, Input, load};
use podwire_dataplane::{Disposition, Event};
use podwire_packet::Protocol;
use podwire_sim::{Options, Place, Query, Target, Trace, World};

pub(crate) const OUTSIDE: &str = "203.0.113.9";

const CONFIG: &str = "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16,fd00:244::/48
";

fn node(name: &str, number: u8) -> String {
    let other = number - 1;
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
         spec: {{podCIDRs: [10.244.{other}.0/24, 'fd00:244:0:{other}::/64']}}\n\
         status: {{addresses: [{{type: InternalIP, address: 192.168.0.{number}}}, \
         {{type: InternalIP, address: 'fd01::{number}'}}]}}\n"
    )
}

fn pod(name: &str, node: &str, host: &str) -> String {
    let range = if node == "a" { 0 } else { 1 };
    let ports = if name.starts_with("web") {
        "[{name: http, containerPort: 8080}]"
    } else {
        "[{containerPort: 1}]"
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{nodeName: {node}, containers: [{{name: c, ports: {ports}}}]}}\n\
         status: {{podIPs: [{{ip: 10.244.{range}.{host}}}, {{ip: 'fd00:244:0:{range}::{host}'}}], \
         conditions: [{{type: Ready, status: 'True'}}]}}\n"
    )
}

/// An endpoint of a slice: `ADDRESS@NODE`.
fn endpoint(text: &str) -> String {
    let (address, node) = text.split_once('@').expect("ADDRESS@NODE");
    format!("{{addresses: ['{address}'], conditions: {{ready: true}}, nodeName: {node}}}")
}

pub(crate) struct Lab {
    pub(crate) cluster: Cluster,
}

impl Lab {
    /// The two nodes and their pods.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same with more objects.
    pub(crate) fn with(objects: &str) -> Self {
        Self::configured("", objects)
    }

    /// The same with more lines of kube-proxy's configuration.
    pub(crate) fn configured(config: &str, objects: &str) -> Self {
        let base = [
            format!("{CONFIG}{config}"),
            node("a", 1),
            node("b", 2),
            pod("web-a", "a", "2"),
            pod("client-a", "a", "3"),
            pod("web-b", "b", "2"),
            pod("client-b", "b", "3"),
        ];
        let text = format!("{}---\n{objects}", base.join("---\n"));
        let input = Input {
            path: PathBuf::from("lab.yaml"),
            text,
        };
        let cluster = load(vec![input]).unwrap_or_else(|errors| panic!("{errors}"));
        Self { cluster }
    }

    /// With a Service `web` on port 80, and these endpoints on port 8080.
    pub(crate) fn service(spec: &str, endpoints: &[&str]) -> Self {
        Self::with(&service(spec, endpoints))
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut podwire_cluster::Network)) -> Self {
        change(&mut self.cluster.network);
        self
    }

    pub(crate) fn query(from: &str, to: &str) -> Query {
        Query {
            from: Place::parse(from, "default").expect("a place"),
            to: Target::parse(to, "default").expect("a target"),
            protocol: None,
            sport: 40_000,
            length: None,
            via: None,
        }
    }

    /// Every way a packet can go.
    pub(crate) fn all(&self, query: &Query) -> Vec<Trace> {
        let mut world = World::new(&self.cluster, &Options::default()).expect("iptables mode");
        world
            .trace_all(query)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The one way that a packet goes.
    pub(crate) fn one(&self, query: &Query) -> Trace {
        let [trace] = <[Trace; 1]>::try_from(self.all(query)).unwrap_or_else(|all| {
            panic!("{} ways", all.len());
        });
        trace
    }

    /// The words for all that becomes of a packet and its answer, sorted.
    pub(crate) fn ends(&self, from: &str, to: &str) -> Vec<String> {
        let mut ends: Vec<String> = self
            .all(&Self::query(from, to))
            .iter()
            .map(describe)
            .collect();
        ends.sort();
        ends
    }

    /// The word for the one thing that becomes of it.
    pub(crate) fn end(&self, from: &str, to: &str) -> String {
        let mut ends = self.ends(from, to);
        ends.dedup();
        assert_eq!(ends.len(), 1, "{ends:?}");
        ends.remove(0)
    }
}

/// A Service `default/web` and its slice.
pub(crate) fn service(spec: &str, endpoints: &[&str]) -> String {
    let of_family = |v6: bool| {
        let own = endpoints.iter().filter(|e| e.starts_with('f') == v6);
        own.map(|e| endpoint(e)).collect::<Vec<_>>().join(", ")
    };
    let slice = |kind: &str, v6: bool| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: web-{kind}, namespace: default, labels: {{kubernetes.io/service-name: web}}}}\n\
             addressType: {kind}\nports: [{{name: http, port: 8080, protocol: TCP}}]\n\
             endpoints: [{}]\n",
            of_family(v6)
        )
    };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: default}}\n\
         spec: {{{spec}, ports: [{{name: http, port: 80, targetPort: 8080, protocol: TCP, nodePort: 30080}}]}}\n\
         {}{}",
        slice("IPv4", false),
        slice("IPv6", true)
    )
}

pub(crate) const CLUSTER_IP: &str =
    "clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10, 'fd96::10'], ipFamilies: [IPv4, IPv6]";
pub(crate) const BOTH: [&str; 4] = [
    "10.244.0.2@a",
    "10.244.1.2@b",
    "fd00:244::2@a",
    "fd00:244:0:1::2@b",
];
pub(crate) const ON_A: [&str; 2] = ["10.244.0.2@a", "fd00:244::2@a"];
pub(crate) const ON_B: [&str; 2] = ["10.244.1.2@b", "fd00:244:0:1::2@b"];

/// `answered as SOURCE` where packet and answer arrive, else what became of the one that did not.
pub(crate) fn describe(trace: &Trace) -> String {
    let name = |end: &Disposition| match end {
        Disposition::Dropped(reason) => format!("dropped: {reason}"),
        Disposition::Unroutable(why) => format!("unroutable: {why}"),
        Disposition::Delivered(_)
        | Disposition::Rejected { .. }
        | Disposition::Refused
        | Disposition::Mtu { .. }
        | Disposition::Ttl => end.name().to_owned(),
    };
    match &trace.reply {
        None => name(&trace.forward.disposition),
        Some(reply) if !reply.answered => format!("answer {}", name(&reply.disposition)),
        Some(_) => format!(
            "{} answered {}",
            trace.forward.arrived.dst, trace.forward.arrived.src
        ),
    }
}

/// Whether anything translated the packet or its answer.
pub(crate) fn is_translated(trace: &Trace) -> bool {
    let steps = trace
        .forward
        .steps
        .iter()
        .chain(trace.reply.iter().flat_map(|r| &r.steps));
    steps
        .into_iter()
        .any(|step| matches!(step.event, Event::Translated { .. }))
}

pub(crate) const TCP: Protocol = Protocol::TCP;
