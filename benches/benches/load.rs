//! How fast texts are read and written, and how long one question takes.
//!
//! - `load`: Kubernetes text in memory to a cluster. Reading the file is not timed.
//! - `iptables`: the rules of 1,000 Services, `iptables-save` text to rules and back.
//! - `render`: a cluster in memory to the text that kube-proxy hands to `iptables-restore`, and to all that
//!   it programs in IPVS mode.
//! - `trace`: one packet and its answer between two of three nodes. `first` makes the world, with the
//!   rules and devices of every node that the packet comes to; `next` asks a world that has them.
//!
//! Each counts what came out before it is timed.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use podwire_bench::text::{THREE_NODES, json_list, yaml_list};
use podwire_cluster::{Cluster, Input, load, synthetic};
use podwire_controlplane::kube_proxy::{
    IptablesProxier, IpvsProxier, KubeProxyVersion, ServicePorts,
};
use podwire_packet::Family;
use podwire_ruleset::iptables::{self, Wording};
use podwire_sim::{Options, Place, Query, Target, Trace, World};

const SERVICES: u32 = 1_000;

fn read(text: &str) -> Cluster {
    let input = Input {
        path: PathBuf::from("-"),
        text: text.to_owned(),
    };
    load(vec![input]).expect("the text is right")
}

fn loading(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("load/services={SERVICES}"));
    for (name, text) in [("json", json_list(SERVICES)), ("yaml", yaml_list(SERVICES))] {
        let cluster = read(&text);
        assert_eq!(cluster.services.len(), 1_000);
        assert!(
            cluster
                .services
                .values()
                .all(|service| service.ports[0].port == 80)
        );
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    vec![Input {
                        path: PathBuf::from("-"),
                        text: text.clone(),
                    }]
                },
                load,
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// What kube-proxy of the cluster's first node programs in IPVS mode.
fn programmed(cluster: &Cluster) -> String {
    let services = ServicePorts::new(cluster, Family::Ipv4, KubeProxyVersion::default());
    let node = cluster.nodes.keys().next().expect("there is a node");
    let proxier = IpvsProxier::new(cluster, &services, node).expect("the node's proxier");
    proxier.program().text()
}

/// What kube-proxy of the cluster's first node writes.
fn written(cluster: &Cluster, form: fn(&IptablesProxier<'_>) -> String) -> String {
    let services = ServicePorts::new(cluster, Family::Ipv4, KubeProxyVersion::default());
    let node = cluster.nodes.keys().next().expect("there is a node");
    form(&IptablesProxier::new(cluster, &services, node).expect("the node's proxier"))
}

fn rules_as_text(c: &mut Criterion) {
    let cluster = synthetic::services(SERVICES, 3);
    let text = written(&cluster, |proxier| proxier.save_text());
    let lines = text.lines().filter(|line| line.starts_with("-A ")).count();
    let rules = iptables::parse(&text, Family::Ipv4)
        .expect("kube-proxy's text is right")
        .rules;
    assert_eq!(rules.rule_count(), lines);
    assert_eq!(text.matches(" -j DNAT ").count(), 3_000);
    assert_eq!(
        iptables::print(&rules, Wording::KubeProxy)
            .matches("\n-A ")
            .count(),
        lines
    );

    let mut group = c.benchmark_group(format!("iptables/services={SERVICES}"));
    group.throughput(Throughput::Elements(lines as u64));
    group.bench_function("parse", |b| {
        b.iter(|| iptables::parse(black_box(&text), Family::Ipv4));
    });
    group.bench_function("print", |b| {
        b.iter(|| iptables::print(black_box(&rules), Wording::KubeProxy));
    });
    group.finish();
}

fn rendering(c: &mut Criterion) {
    const ENDPOINTS: u32 = 10;
    let cluster = synthetic::services(SERVICES, ENDPOINTS);
    let text = written(&cluster, |proxier| proxier.restore_text());
    assert_eq!(text.matches(" -j DNAT ").count(), 10_000);

    let mut group = c.benchmark_group(format!("render/services={SERVICES}/endpoints={ENDPOINTS}"));
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("restore", |b| {
        b.iter(|| written(black_box(&cluster), |proxier| proxier.restore_text()));
    });
    let text = programmed(&cluster);
    assert_eq!(text.matches(" -m -w 1\n").count(), 10_000);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("ipvs", |b| b.iter(|| programmed(black_box(&cluster))));
    group.finish();
}

fn query() -> Query {
    Query {
        from: Place::parse("pod/default/client", "default").expect("a place"),
        to: Target::parse("svc/default/web:80", "default").expect("a place"),
        protocol: None,
        sport: 40_000,
        length: None,
        via: None,
    }
}

fn traced(world: &mut World<'_>, query: &Query) -> Trace {
    world.trace(query, 1).expect("an answer")
}

fn tracing(c: &mut Criterion) {
    let cluster = read(THREE_NODES);
    assert_eq!(cluster.nodes.len(), 3);
    let query = query();
    let world = || World::new(&cluster, &Options::default()).expect("a world");
    let mut known = world();
    let first = traced(&mut known, &query);
    assert!(first.arrived(), "{:?}", first.forward.disposition);
    assert_eq!(
        first.forward.steps,
        traced(&mut known, &query).forward.steps
    );

    let mut group = c.benchmark_group("trace/nodes=3");
    group.throughput(Throughput::Elements(1));
    group.bench_function("first", |b| b.iter(|| traced(&mut world(), &query)));
    group.bench_function("next", |b| b.iter(|| traced(&mut known, &query)));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = loading, rules_as_text, rendering, tracing
}
criterion_main!(benches);
