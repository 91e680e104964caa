//! Rules of single plugins that no recorded answer shows.

use std::io;
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use podwire_dns::corefile::{Corefile, Nothing, Surroundings};
use podwire_dns::message::presentation::{self, parse_record_type};
use podwire_dns::message::{Request, as_text, name};
use podwire_dns::{Server, Setup, World};

use crate::answers::{cluster, server_of};

fn ask_at(server: &Server, at: f64, qname: &str, qtype: &str) -> Option<String> {
    let request = Request::new(name(qname).unwrap(), parse_record_type(qtype).unwrap());
    let reply = server.answer(&request, Duration::from_secs_f64(at))?;
    let mut told = vec![presentation::rcode(reply.rcode)];
    told.extend(reply.records().map(|record| {
        let data = presentation::data(&record.data);
        format!("{} {} {data}", as_text(&record.name), record.ttl)
    }));
    Some(told.join("; "))
}

fn ask(server: &Server, qname: &str, qtype: &str) -> Option<String> {
    ask_at(server, 0.0, qname, qtype)
}

fn of(corefile: &str) -> Server {
    server_of(&cluster(), corefile, "1.13.2")
}

#[test]
fn acl_decides_by_the_first_policy_that_fits() {
    let server = of(". {
            acl example.com {
                block type AAAA net *
                drop type TXT net 127.0.0.0/8
                filter type MX net *
                allow net 127.0.0.0/8
                block
            }
            forward . 192.0.2.53
        }");
    assert_eq!(ask(&server, "example.com", "AAAA").unwrap(), "REFUSED");
    assert_eq!(ask(&server, "example.com", "TXT"), None);
    assert_eq!(ask(&server, "example.com", "MX").unwrap(), "NOERROR");
    let a = ask(&server, "example.com", "A").unwrap();
    assert!(
        a.starts_with("NOERROR; example.com. 86400 93.184.216.34"),
        "{a}"
    );
    let mut request = Request::new(
        name("example.com").unwrap(),
        parse_record_type("A").unwrap(),
    );
    request.client = "192.0.2.1".parse().unwrap();
    let reply = server.answer(&request, Duration::ZERO).unwrap();
    assert_eq!(reply.rcode, ResponseCode::Refused);
}

#[test]
fn an_answer_may_be_given_stale_with_a_ttl_of_nothing() {
    let server = of(". {\n cache 30 {\n serve_stale 1h immediate\n }\n forward . 192.0.2.53\n }");
    let at = |at| ask_at(&server, at, "short.upstream.example", "A").unwrap();
    assert!(at(0.0).contains(" 10 198.51.100.11"));
    assert!(at(12.0).contains(" 0 198.51.100.11"));
    // Behind the stale answer a fresh one was fetched.
    assert!(at(13.0).contains(" 9 198.51.100.11"));
}

#[test]
fn a_popular_name_is_fetched_before_it_is_stale() {
    let server = of(". {\n cache 30 {\n prefetch 2 1m 50%\n }\n forward . 192.0.2.53\n }");
    let at = |at| ask_at(&server, at, "short.upstream.example", "A").unwrap();
    assert!(at(0.0).contains(" 10 "));
    assert!(at(1.0).contains(" 9 "));
    assert!(at(6.0).contains(" 4 "), "the answer itself is the old one");
    assert!(
        at(7.0).contains(" 9 "),
        "the next is of the one fetched at 6 s"
    );
}

#[test]
fn a_cache_may_keep_the_ttl_and_may_leave_zones_out() {
    let server = of(
        ". {\n cache 30 {\n keepttl\n disable success upstream.example\n }\n forward . 192.0.2.53\n }",
    );
    ask(&server, "example.com", "A");
    let kept = ask_at(&server, 9.0, "example.com", "A").unwrap();
    assert!(kept.contains(" 30 "), "{kept}");
    ask(&server, "short.upstream.example", "A");
    let fresh = ask_at(&server, 9.0, "short.upstream.example", "A").unwrap();
    assert!(fresh.contains(" 10 "), "{fresh}");
}

#[test]
fn ttl_and_rcode_of_an_answer_can_be_rewritten() {
    let server = of(". {
            rewrite continue ttl suffix .upstream.example 60
            rewrite rcode exact gone.example.com NXDOMAIN NOERROR
            forward . 192.0.2.53
        }");
    let short = ask(&server, "short.upstream.example", "A").unwrap();
    assert!(short.contains("short.upstream.example. 60 "), "{short}");
    let gone = ask(&server, "gone.example.com", "A").unwrap();
    assert!(gone.starts_with("NOERROR"), "{gone}");
}

#[test]
fn a_rewritten_name_comes_back_in_owner_and_target() {
    let server = of(". {
            rewrite name suffix .corp.test .upstream.example answer auto
            forward . 192.0.2.53
        }");
    let chain = ask(&server, "chain.corp.test", "A").unwrap();
    assert!(
        chain.contains("chain.corp.test. 300 alias.corp.test."),
        "{chain}"
    );
    assert!(
        chain.contains("www.corp.test. 300 198.51.100.10"),
        "{chain}"
    );
    assert!(!chain.contains("upstream.example. 300 1"), "{chain}");
}

#[test]
fn a_wildcard_of_a_zone_stands_for_what_is_not_there() {
    let server = of(". {\n forward . 192.0.2.53\n }");
    let yes = "NOERROR; a.b.wild.upstream.example. 300 198.51.100.99; \
               upstream.example. 3600 ns.upstream.example.";
    assert_eq!(ask(&server, "a.b.wild.upstream.example", "A").unwrap(), yes);
    // Below `wild` there is something, so it exists, and `_tcp` does for the same reason.
    for name in ["wild.upstream.example", "_tcp.upstream.example"] {
        let told = ask(&server, name, "A").unwrap();
        assert!(
            told.starts_with("NOERROR; upstream.example. 3600 ns"),
            "{told}"
        );
    }
    let dangling = ask(&server, "dangling.upstream.example", "A").unwrap();
    assert!(dangling.starts_with("NXDOMAIN; dangling"), "{dangling}");
}

#[test]
fn external_names_that_lead_in_a_circle_end() {
    let server = of(". {
            rewrite name exact round.example.com ext.apps.svc.cluster.local
            rewrite name exact www.upstream.example round.example.com
            kubernetes cluster.local
        }");
    // ext is www.upstream.example, which is asked for again as round.example.com, and so on.
    let told = ask(&server, "ext.apps.svc.cluster.local", "A").unwrap();
    assert!(
        told.starts_with("NOERROR; ext.apps.svc.cluster.local."),
        "{told}"
    );
}

#[test]
fn wildcards_and_odd_types_are_those_of_the_release() {
    let classic = "cluster.local {\n kubernetes cluster.local {\n upstream\n }\n }";
    let old = server_of(&cluster(), classic, "1.3.1");
    let new = of("cluster.local {\n kubernetes cluster.local\n }");
    let cases = [
        ("mysql.*.svc.cluster.local", "A", "NOERROR", "NXDOMAIN"),
        ("*.nosuch.svc.cluster.local", "A", "NXDOMAIN", "NXDOMAIN"),
        (
            "_nosuch._tcp.*.apps.svc.cluster.local",
            "SRV",
            "NOERROR",
            "NXDOMAIN",
        ),
        (
            "nosuch.apps.svc.cluster.local",
            "TXT",
            "NOERROR",
            "NXDOMAIN",
        ),
        ("nosuch.apps.svc.cluster.local", "NS", "NOERROR", "NXDOMAIN"),
        ("ns.dns.cluster.local", "A", "NOERROR", "NOERROR"),
        ("ns.dns.cluster.local", "AAAA", "NXDOMAIN", "NOERROR"),
    ];
    for (qname, qtype, old_rcode, new_rcode) in cases {
        for (server, rcode) in [(&old, old_rcode), (&new, new_rcode)] {
            let told = ask(server, qname, qtype).unwrap();
            assert!(told.starts_with(rcode), "{qname} {qtype}: {told}");
        }
    }
    let soa = |server| ask(server, "nosuch.apps.svc.cluster.local", "SOA").unwrap();
    assert!(soa(&old).starts_with("NOERROR; cluster.local. 5 ns.dns.cluster.local."));
    assert!(soa(&new).starts_with("NOERROR; cluster.local. 5 ns.dns.cluster.local."));
}

/// One file, whatever its path.
struct OneFile(String);

impl Surroundings for OneFile {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.clone())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        Nothing.list(folder)
    }

    fn env(&self, name: &str) -> Option<String> {
        Nothing.env(name)
    }
}

/// A server with zone `corp.test` in a file.
fn with_zone(version: &str, lines: &str, corefile: &str) -> Server {
    let soa = "$ORIGIN corp.test.\n@ 60 IN SOA ns hostmaster 1 1 1 1 60\n@ 60 IN NS ns\n";
    let surroundings = OneFile(format!("{soa}{lines}"));
    let version = version.parse().unwrap();
    let corefile = Corefile::load("Corefile", corefile, version, &surroundings).unwrap();
    let setup = Setup {
        cluster: &cluster(),
        version,
        world: World::Nothing,
        local: Vec::new(),
        seed: 1,
        surroundings: &surroundings,
    };
    Server::new(&corefile, setup).unwrap()
}

const ZONE_ALONE: &str = ". {\n file corp.zone corp.test\n }";

#[test]
fn a_delegations_ds_is_answered_by_the_parent() {
    let lines = "sub 60 IN NS ns.sub\nns.sub 60 IN A 192.0.2.1\nsub 60 IN DS 7 13 2 00ff\n\
                 bare 60 IN NS ns.sub\n";
    let server = with_zone("1.13.2", lines, ZONE_ALONE);
    let ds = ask(&server, "sub.corp.test", "DS").unwrap();
    assert!(
        ds.starts_with("NOERROR; sub.corp.test. 60 7 13 2 00FF; corp.test. 60 ns.corp.test."),
        "{ds}"
    );
    let none = ask(&server, "bare.corp.test", "DS").unwrap();
    assert!(
        none.starts_with("NOERROR; corp.test. 60 ns.corp.test. hostmaster"),
        "{none}"
    );
    let below = ask(&server, "a.sub.corp.test", "DS").unwrap();
    assert!(
        below.starts_with("NOERROR; sub.corp.test. 60 ns.sub"),
        "{below}"
    );
}

#[test]
fn the_last_file_refuses_names_of_other_zones() {
    let before_another = ". {\n file corp.zone corp.test\n loop\n }";
    for (version, rcode) in [("1.12.2", "SERVFAIL"), ("1.12.3", "REFUSED")] {
        let server = with_zone(version, "", ZONE_ALONE);
        assert_eq!(ask(&server, "example.com", "A").unwrap(), rcode);
        let server = with_zone(version, "", before_another);
        assert_eq!(ask(&server, "example.com", "A").unwrap(), "SERVFAIL");
    }
}

#[test]
fn names_of_services_keep_their_capitals_in_zones() {
    let lines = "Printer._ipp._tcp 60 IN SRV 0 0 631 Host.corp.test.\nUpper 60 IN CNAME Host\n";
    let of = |version| with_zone(version, lines, ZONE_ALONE);
    let (old, new) = (of("1.12.2"), of("1.12.3"));
    let srv = |server| ask(server, "printer._ipp._tcp.corp.test", "SRV").unwrap();
    assert!(
        srv(&old).contains("printer._ipp._tcp.corp.test. 60 0 0 631 host.corp.test."),
        "{}",
        srv(&old)
    );
    assert!(
        srv(&new).contains("Printer._ipp._tcp.corp.test. 60 0 0 631 Host.corp.test."),
        "{}",
        srv(&new)
    );
    let cname = ask(&new, "upper.corp.test", "CNAME").unwrap();
    assert!(
        cname.contains("upper.corp.test. 60 host.corp.test."),
        "{cname}"
    );
}

/// A cluster of these objects.
fn objects(text: &str) -> podwire_cluster::Cluster {
    let input = podwire_cluster::Input {
        path: "objects.yaml".into(),
        text: text.to_owned(),
    };
    podwire_cluster::load(vec![input]).unwrap()
}

#[test]
fn aliases_may_follow_one_another_so_many_times() {
    // `n1` is an alias of `n0`, and so on; `n0` has an address.
    let cluster = |count: usize| {
        let mut text = "{apiVersion: v1, kind: Service, metadata: {name: n0, namespace: apps}, \
                        spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}}\n"
            .to_owned();
        for number in 1..=count {
            let next = number - 1;
            text += &format!(
                "---\n{{apiVersion: v1, kind: Service, metadata: {{name: n{number}, namespace: apps}}, \
                 spec: {{type: ExternalName, externalName: n{next}.apps.svc.cluster.local}}}}\n"
            );
        }
        objects(&text)
    };
    let cluster = cluster(12);
    let corefile = ". {\n kubernetes cluster.local\n }";
    for (version, longest) in [("1.12.0", 8), ("1.12.1", 11)] {
        let server = server_of(&cluster, corefile, version);
        for number in [longest, longest + 1] {
            let told = ask(&server, &format!("n{number}.apps.svc.cluster.local"), "A").unwrap();
            let arrives = told.contains(" 10.0.0.1");
            assert_eq!(arrives, number == longest, "{version} n{number}: {told}");
        }
    }
}

#[test]
fn verified_pods_are_those_that_the_api_server_lists() {
    let pod = |name: &str, end: u8, labels: &str, phase: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: apps, labels: {{{labels}}}}}, \
             spec: {{containers: []}}, status: {{phase: {phase}, podIP: 10.1.0.{end}}}}}\n"
        )
    };
    let cluster = objects(
        &[
            pod("in", 1, "tier: web", "Running"),
            pod("out", 2, "tier: db", "Running"),
            pod("lost", 3, "tier: web", "Unknown"),
            pod("new", 4, "tier: web", "Pending"),
        ]
        .concat(),
    );
    let corefile = ". {\n kubernetes cluster.local {\n pods verified\n labels tier=web\n }\n }";
    let server = server_of(&cluster, corefile, "1.13.2");
    for (end, rcode) in [
        (1, "NOERROR"),
        (2, "NXDOMAIN"),
        (3, "NXDOMAIN"),
        (4, "NOERROR"),
    ] {
        let told = ask(
            &server,
            &format!("10-1-0-{end}.apps.pod.cluster.local"),
            "A",
        )
        .unwrap();
        assert!(told.starts_with(rcode), "{end}: {told}");
    }
}

#[test]
fn plugins_that_answers_do_not_heed_are_named_once() {
    let text = "a.test:53 b.test:54 {\n pprof\n trace\n k8s_external x.test\n errors\n}\n\
                . {\n dns64\n dns64\n whoami\n}\n";
    let corefile = Corefile::load("C", text, "1.13.2".parse().unwrap(), &Nothing).unwrap();
    let told: Vec<_> = corefile
        .unheeded()
        .iter()
        .map(|(name, place)| format!("{place} {name}"))
        .collect();
    assert_eq!(told, ["C:4:2 k8s_external", "C:8:2 dns64"]);
}
