//! What real CoreDNS 1.13.2 and 1.3.1 answered, beside what podwire says that they answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::rr::Record;
use podwire_cluster::{Cluster, load, read_inputs};
use podwire_dns::corefile::{Corefile, Machine};
use podwire_dns::message::presentation::{self, parse_record_type};
use podwire_dns::message::{Edns, Reply, Request, Transport, as_text, lower, name};
use podwire_dns::zone::master;
use podwire_dns::{Server, Setup, World};
use serde::Deserialize;

pub(crate) fn data(file: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    data.join(file)
}

pub(crate) fn text(file: &str) -> String {
    std::fs::read_to_string(data(file)).unwrap()
}

pub(crate) fn cluster() -> Cluster {
    load(read_inputs(&[data("cluster.yaml")]).unwrap()).unwrap()
}

/// The zones that stand behind `forward`.
fn world() -> World {
    let files = ["example.com", "root", "stub.example", "upstream.example"];
    let zones = files.map(|file| {
        let text = text(&format!("corefiles/{file}.zone"));
        master::zone(&text, None).unwrap()
    });
    World::Zones(zones.into())
}

/// The server of a Corefile's text.
pub(crate) fn server_of(cluster: &Cluster, text: &str, version: &str) -> Server {
    let version = version.parse().unwrap();
    let machine = Machine::default();
    let corefile = Corefile::load("Corefile", text, version, &machine).unwrap();
    let setup = Setup {
        cluster,
        version,
        world: world(),
        local: Vec::new(),
        seed: 1,
        surroundings: &machine,
    };
    Server::new(&corefile, setup).unwrap()
}

fn server(cluster: &Cluster, corefile: &str, version: &str) -> Server {
    let text = text(&format!("corefiles/{corefile}.Corefile"));
    server_of(cluster, &text, version)
}

#[derive(Deserialize)]
struct Case {
    id: String,
    corefile: String,
    coredns: String,
    from_ip: Option<std::net::IpAddr>,
    edns: Option<u16>,
    transport: Option<String>,
    /// Present where the records that were left out are not compared.
    check: Option<String>,
    #[serde(flatten)]
    answer: Expected,
}

/// A question and what was answered.
#[derive(Deserialize)]
struct Expected {
    qname: String,
    qtype: String,
    rcode: String,
    #[serde(default)]
    aa: bool,
    #[serde(default)]
    tc: bool,
    #[serde(default)]
    answer: Vec<Row>,
    #[serde(default)]
    ns: Vec<Row>,
    #[serde(default)]
    extra: Vec<Row>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    name: String,
    r#type: String,
    ttl: u32,
    rdata: String,
}

fn request(expected: &Expected) -> Request {
    let qtype = parse_record_type(&expected.qtype).unwrap();
    let mut request = Request::new(name(&expected.qname).unwrap(), qtype);
    request.edns = Some(Edns {
        payload: 4_096,
        dnssec_ok: false,
    });
    request
}

/// Records as rows, in an order of their own; `*` for a serial, which is a clock's in CoreDNS.
fn rows(records: &[Record]) -> Vec<Row> {
    let row = |record: &Record| Row {
        name: as_text(&record.name),
        r#type: presentation::record_type(record.record_type()),
        ttl: record.ttl,
        rdata: presentation::data(&record.data),
    };
    records.iter().map(row).collect()
}

fn sorted(mut rows: Vec<Row>, serials: &[Row]) -> Vec<Row> {
    for row in &mut rows {
        let wild = serials
            .iter()
            .any(|other| other.name == row.name && other.rdata.split(' ').nth(2) == Some("*"));
        if row.r#type == "SOA" && wild {
            let mut words: Vec<_> = row.rdata.split(' ').collect();
            words[2] = "*";
            row.rdata = words.join(" ");
        }
    }
    rows.sort();
    rows
}

/// What differs, in words; the sections are compared as sets.
fn difference(expected: &Expected, reply: &Reply) -> Option<String> {
    let rcode = presentation::rcode(reply.rcode);
    if (&rcode, reply.authoritative) != (&expected.rcode, expected.aa) {
        return Some(format!("{rcode}, aa {}", reply.authoritative));
    }
    for (section, wanted) in [
        (&reply.answers, &expected.answer),
        (&reply.authorities, &expected.ns),
        (&reply.additionals, &expected.extra),
    ] {
        let have = sorted(rows(section), wanted);
        if have != sorted(wanted.clone(), wanted) {
            return Some(format!("{have:#?}"));
        }
    }
    None
}

#[test]
fn a_server_that_has_just_started_answers_as_coredns_does() {
    let cluster = cluster();
    let mut servers = std::collections::BTreeMap::new();
    let text = text("queries.jsonl");
    let mut asked = 0;
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let key = (case.corefile.clone(), case.coredns.clone());
        let server = servers
            .entry(key)
            .or_insert_with(|| server(&cluster, &case.corefile, &case.coredns));
        let mut request = request(&case.answer);
        request.client = case.from_ip.unwrap_or(request.client);
        if case.transport.as_deref() == Some("tcp") {
            request.transport = Transport::Tcp;
        }
        if case.edns == Some(0) {
            request.edns = None;
        }
        server.restart();
        let reply = server.answer(&request, Duration::ZERO).unwrap();
        let differs = if case.check.is_some() {
            (reply.truncated != case.answer.tc).then(|| format!("tc {}", reply.truncated))
        } else {
            difference(&case.answer, &reply)
        };
        assert_eq!(differs, None, "{}: {line}", case.id);
        asked += 1;
    }
    assert!(asked > 100, "only {asked} questions");
}

#[derive(Deserialize)]
struct Sequence {
    corefile: String,
    coredns: String,
    note: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    at_s: f64,
    from: Option<std::net::IpAddr>,
    #[serde(flatten)]
    answer: Expected,
}

#[test]
fn a_cache_counts_down_and_forgets_as_coredns_does() {
    let cluster = cluster();
    for line in text("sequences.jsonl").lines() {
        let sequence: Sequence = serde_json::from_str(line).unwrap();
        let server = server(&cluster, &sequence.corefile, &sequence.coredns);
        for step in &sequence.steps {
            let mut request = request(&step.answer);
            request.client = step.from.unwrap_or(request.client);
            let at = Duration::from_secs_f64(step.at_s);
            let reply = server.answer(&request, at).unwrap();
            let differs = difference(&step.answer, &reply);
            assert_eq!(differs, None, "{} at {}", sequence.note, step.at_s);
        }
    }
}

#[test]
fn a_cname_stands_before_what_it_points_to() {
    let cluster = cluster();
    let server = server(&cluster, "modern", "1.13.2");
    let ask = |qname: &str| {
        let request = Request::new(name(qname).unwrap(), parse_record_type("A").unwrap());
        server.answer(&request, Duration::ZERO).unwrap().answers
    };
    for qname in ["chain.upstream.example", "ext.apps.svc.cluster.local"] {
        let answers = ask(qname);
        let mut at = lower(&name(qname).unwrap());
        for record in &answers[..answers.len() - 1] {
            assert_eq!(lower(&record.name), at);
            at = lower(&name(&presentation::data(&record.data)).unwrap());
        }
        assert_eq!(lower(&answers[answers.len() - 1].name), at);
    }
}
