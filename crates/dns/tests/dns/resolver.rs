//! What glibc, musl, dig and nslookup really sent, beside what is said here that they send.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use podwire_dns::resolver::conf;
use podwire_dns::resolver::{
    Answer, Found, LookupError, Outcome, Resolution, ResolvConf, Resolver, Wanted, resolve,
};
use serde::Deserialize;

/// A lookup, the queries that were seen, and its result.
#[derive(Deserialize)]
struct Case {
    id: String,
    resolver: String,
    family: String,
    search: Vec<String>,
    ndots: usize,
    name: String,
    sent: Vec<Sent>,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Sent {
    qname: String,
    types: Vec<String>,
    rcodes: Vec<String>,
}

/// What the server answered in all lookups together.
type World = BTreeMap<(String, String), (String, Vec<String>)>;

fn cases() -> Vec<Case> {
    let lines = include_str!("../data/search.jsonl").lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn world(cases: &[Case]) -> World {
    let mut world = World::new();
    for case in cases {
        let texts = |key: &str| -> Vec<String> {
            serde_json::from_value(case.result[key].clone()).unwrap_or_default()
        };
        let addresses = [texts("addrs"), texts("lines")].concat();
        for sent in &case.sent {
            for (kind, rcode) in sent.types.iter().zip(&sent.rcodes) {
                let of_kind = |ip: &&String| ip.contains(':') == (kind == "AAAA");
                let mut found: Vec<_> = addresses.iter().filter(of_kind).cloned().collect();
                if rcode == "NOERROR" && found.is_empty() {
                    // nslookup tells no address.
                    found.push(
                        if kind == "A" {
                            "192.0.2.1"
                        } else {
                            "2001:db8::1"
                        }
                        .to_owned(),
                    );
                }
                let key = (sent.qname.clone(), kind.clone());
                world.entry(key).or_insert((rcode.clone(), found));
            }
        }
    }
    world
}

fn answer(world: &World, name: &Name, kind: RecordType) -> Answer {
    let key = (name.to_ascii(), kind.to_string());
    let (rcode, addresses) = world
        .get(&key)
        .unwrap_or_else(|| panic!("nobody asked {key:?}"));
    let record = |ip: &String| {
        let data = match ip.parse().unwrap() {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        Record::from_rdata(name.clone(), 5, data)
    };
    match &**rcode {
        "NXDOMAIN" => code(ResponseCode::NXDomain),
        "NODATA" => code(ResponseCode::NoError),
        _ => Answer {
            rcode: ResponseCode::NoError,
            records: addresses.iter().map(record).collect(),
        },
    }
}

fn code(rcode: ResponseCode) -> Answer {
    Answer {
        rcode,
        records: Vec::new(),
    }
}

#[test]
fn resolvers_send_what_the_real_ones_sent() {
    let cases = cases();
    let world = world(&cases);
    for case in &cases {
        let conf = ResolvConf::new(case.search.clone(), case.ndots);
        let resolver: Resolver = case.resolver.parse().unwrap();
        let wanted: Wanted = case.family.parse().unwrap();
        let mut server = |name: &Name, kind| answer(&world, name, kind);
        let found = resolve(&conf, resolver, &case.name, wanted, &mut server);
        let sent = found.sent.iter().map(|sent| {
            let asked = sent.asked.iter();
            let asked = asked.map(|(kind, outcome)| (kind.to_string(), outcome.to_string()));
            (sent.qname.clone(), asked.collect::<Vec<_>>())
        });
        let real = case.sent.iter().map(|sent| {
            let asked = sent.types.iter().cloned().zip(sent.rcodes.iter().cloned());
            (sent.qname.clone(), asked.collect::<Vec<_>>())
        });
        assert_eq!(
            sent.collect::<Vec<_>>(),
            real.collect::<Vec<_>>(),
            "{}",
            case.id
        );
        let result = match found.found {
            Found::Addresses(ips) => {
                let ips: Vec<_> = ips.iter().map(ToString::to_string).collect();
                serde_json::json!({ "addrs": ips })
            }
            Found::Error(error) => serde_json::json!({"error": error.to_string()}),
            Found::Lines(lines) => serde_json::json!({ "lines": lines }),
            Found::Exit(exit) => serde_json::json!({ "exit": exit }),
        };
        assert_eq!(result, case.result, "{}", case.id);
    }
}

/// A lookup of `a.b` in the search list of namespace `ns`, of a server that has one answer for all.
fn lookup(resolver: Resolver, rcode: ResponseCode) -> Resolution {
    let search = ["ns.svc.cluster.local", "svc.cluster.local"].map(str::to_owned);
    let conf = ResolvConf::new(search.to_vec(), 5);
    resolve(&conf, resolver, "a.b", Wanted::A, &mut |_: &Name, _| {
        code(rcode)
    })
}

#[test]
fn glibc_goes_on_where_a_server_fails_and_musl_does_not() {
    let glibc = lookup(Resolver::Glibc, ResponseCode::ServFail);
    assert_eq!(
        (glibc.queries(), glibc.found),
        (3, Found::Error(LookupError::Again))
    );
    let musl = lookup(Resolver::Musl, ResponseCode::ServFail);
    assert_eq!(
        (musl.queries(), musl.found),
        (1, Found::Error(LookupError::Again))
    );
}

#[test]
fn glibc_goes_on_behind_a_name_without_data_and_musl_does_not() {
    let glibc = lookup(Resolver::Glibc, ResponseCode::NoError);
    assert_eq!(
        (glibc.queries(), glibc.found),
        (3, Found::Error(LookupError::NoData))
    );
    let musl = lookup(Resolver::Musl, ResponseCode::NoError);
    assert_eq!(
        (musl.queries(), musl.found),
        (1, Found::Error(LookupError::NoData))
    );
    assert_eq!(musl.sent[0].asked, [(RecordType::A, Outcome::NoData)]);
}

#[test]
fn addresses_and_localhost_are_not_asked_for() {
    let conf = ResolvConf::new(vec!["x".to_owned()], 5);
    for (name, expected) in [("10.0.0.1", "10.0.0.1"), ("localhost", "127.0.0.1")] {
        let mut nobody = |_: &Name, _| -> Answer { panic!("asked") };
        let found = resolve(&conf, Resolver::Musl, name, Wanted::A, &mut nobody);
        assert_eq!(
            found.found,
            Found::Addresses(vec![expected.parse().unwrap()])
        );
    }
}

#[test]
fn the_last_ndots_counts_and_no_more_than_fifteen() {
    let conf = ResolvConf::read(
        "search a b\nnameserver 10.96.0.10\noptions ndots:5 rotate\noptions ndots:99\n",
    );
    assert_eq!(conf.ndots(), 15);
    assert_eq!(conf.search, ["a", "b"]);
    assert_eq!(ResolvConf::default().ndots(), 1);
}

/// The resolv.conf of pod `apps/web` in a cluster of these documents, and what was said of it.
fn conf_of(yaml: &str) -> (String, Vec<String>) {
    let input = podwire_cluster::Input {
        path: "cluster.yaml".into(),
        text: yaml.to_owned(),
    };
    let cluster = podwire_cluster::load(vec![input]).unwrap();
    let pod = &cluster.pods[&podwire_cluster::ObjectName::new("apps", "web")];
    let node = ResolvConf::read("nameserver 192.168.1.1\nsearch corp.example\n");
    let found = conf::of_pod(&cluster, pod, &node);
    (found.conf.to_string(), found.warnings)
}

const KUBELET: &str = "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\nclusterDNS: [10.96.0.10]\nclusterDomain: k8s.test\n---\n";

/// A pod whose spec is this.
fn pod(spec: &str) -> String {
    format!(
        "{KUBELET}kind: Pod\napiVersion: v1\nmetadata: {{name: web, namespace: apps}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn kubelet_puts_the_clusters_domains_before_the_nodes() {
    let (conf, warnings) = conf_of(&pod(""));
    assert_eq!(
        conf,
        "search apps.svc.k8s.test svc.k8s.test k8s.test corp.example\nnameserver 10.96.0.10\noptions ndots:5\n"
    );
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_policy_and_a_pods_own_wishes_count() {
    let node = "search corp.example\nnameserver 192.168.1.1\n";
    assert_eq!(conf_of(&pod("dnsPolicy: Default")).0, node);
    assert_eq!(conf_of(&pod("hostNetwork: true")).0, node);
    let with_host = conf_of(&pod(
        "hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet",
    ))
    .0;
    assert!(with_host.contains("nameserver 10.96.0.10"), "{with_host}");
    let own = "dnsPolicy: None, dnsConfig: {nameservers: [1.1.1.1], searches: [a.b], options: [{name: ndots, value: \"2\"}, {name: rotate}]}";
    assert_eq!(
        conf_of(&pod(own)).0,
        "search a.b\nnameserver 1.1.1.1\noptions ndots:2 rotate\n"
    );
    let more = "dnsConfig: {options: [{name: ndots, value: \"1\"}]}";
    assert!(conf_of(&pod(more)).0.ends_with("options ndots:1\n"));
}

#[test]
fn what_is_over_kubelets_limits_is_cut_and_told() {
    let many: Vec<_> = (0..40).map(|n| format!("d{n}.example")).collect();
    let spec = format!(
        "dnsConfig: {{nameservers: [1.0.0.1, 1.0.0.2, 1.0.0.3], searches: [{}]}}",
        many.join(", ")
    );
    let (conf, warnings) = conf_of(&pod(&spec));
    assert_eq!(
        conf.lines()
            .filter(|line| line.starts_with("nameserver"))
            .count(),
        3
    );
    let search = conf.lines().next().unwrap();
    assert_eq!(search.split(' ').count(), 1 + 32);
    assert_eq!(
        warnings,
        [
            "4 nameservers: the first 3 count",
            "44 search domains: the first 32 count"
        ]
    );
}

#[test]
fn without_kubelets_settings_the_service_kube_dns_is_asked() {
    let yaml = "kind: Service\napiVersion: v1\nmetadata: {name: kube-dns, namespace: kube-system}\nspec: {clusterIP: 10.96.0.53, ports: [{port: 53, protocol: UDP}]}\n---\nkind: Pod\napiVersion: v1\nmetadata: {name: web, namespace: apps}\n";
    let (conf, _) = conf_of(yaml);
    assert!(conf.contains("nameserver 10.96.0.53"), "{conf}");
    let (conf, warnings) =
        conf_of("kind: Pod\napiVersion: v1\nmetadata: {name: web, namespace: apps}\n");
    assert!(
        conf.contains("192.168.1.1") && warnings.len() == 1,
        "{conf}"
    );
}
