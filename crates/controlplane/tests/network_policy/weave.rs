//! weave-npc's names, sets and rules beside those that its own code gave, and the rules walked beside
//! what the policies mean.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podwire_cluster::{Cluster, Pod};
use podwire_controlplane::network_policy::{Policies, Traffic, WeaveNpc, set_name};
use podwire_interp::Interp;
use podwire_matcher::Matcher;
use podwire_packet::{DeviceName, Family, Headers, Mark, Protocol, SimTime};
use podwire_ruleset::{
    Classify, ConntrackInfo, CtState, Draw, Hook, HostAddresses, Packet, RuleSet, State, TableName,
    Verdict, ipset, iptables,
};
use podwire_testkit::policies::{Kind, OUTSIDE, PORTS, cluster};
use serde_json::Value;

use super::{lines, read};

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().unwrap();
    list.iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn sets_are_called_as_weave_calls_them() {
    let names = lines("set_names.jsonl");
    assert_eq!(names.len(), 44);
    for name in names {
        let (text, set) = (name["hashed_string"].as_str(), name["set"].as_str());
        assert_eq!(&*set_name(text.unwrap()), set.unwrap(), "{name}");
    }
}

/// A rule as a set of its options, each with its values, the module of the protocol left out.
fn options<'w>(words: impl Iterator<Item = &'w str>) -> BTreeSet<Vec<String>> {
    let mut options: Vec<Vec<String>> = Vec::new();
    for word in words {
        let is_inverted = options.last().is_some_and(|last| last == &["!"]);
        if (word == "!" || word.starts_with('-') && word.len() > 1) && !is_inverted {
            // `--match-set` may be inverted behind its module.
            options.push(vec![word.to_owned()]);
        } else {
            options.last_mut().unwrap().push(word.to_owned());
        }
    }
    for option in &mut options {
        if option[0] == "-p" {
            option[1].make_ascii_lowercase();
        }
    }
    let modules = ["tcp", "udp", "sctp"];
    options.retain(|option| option[0] != "-m" || !modules.contains(&&*option[1]));
    options.into_iter().collect()
}

/// The words of a line; a quoted one is one word.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (place, part) in line.split('"').enumerate() {
        if place % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    words
}

#[test]
fn sets_and_rules_are_those_that_weave_npc_makes() {
    let cases = lines("weave_npc.jsonl");
    assert_eq!(cases.len(), 10);
    for case in cases {
        let objects = serde_json::json!({"kind": "List", "items": case["objects"]}).to_string();
        let text = WeaveNpc::new(&read(&[&objects])).save_text();
        let lines: Vec<Vec<&str>> = text.lines().map(words).collect();
        let is_of_policies = |chain: &str| {
            let fixed = ["WEAVE-NPC", "WEAVE-NPC-EGRESS", "WEAVE-NPC-EGRESS-ACCEPT"];
            chain.starts_with("WEAVE-NPC") && !fixed.contains(&chain)
        };
        let said = lines.iter().filter(|line| line.first() == Some(&"-A"));
        let said = said.map(|line| (line[1], options(line[2..].iter().copied())));
        let (own, fixed): (BTreeSet<_>, BTreeSet<_>) =
            said.partition(|(chain, _)| is_of_policies(chain));
        let rules = case["rules"].as_array().unwrap().iter();
        let wanted = rules.map(|rule| {
            let args = strings(&rule["args"]);
            (rule["chain"].as_str().unwrap(), options(args.into_iter()))
        });
        let (wanted, dropping): (BTreeSet<_>, BTreeSet<_>) =
            wanted.partition(|(chain, _)| is_of_policies(chain));
        assert_eq!(own, wanted, "{}", case["id"]);
        assert!(dropping.is_subset(&fixed), "{}", case["id"]);
        let drops = |rules: &BTreeSet<(&str, BTreeSet<Vec<String>>)>| {
            let drop = vec!["-j".to_owned(), "DROP".to_owned()];
            let of_egress = rules
                .iter()
                .filter(|(chain, _)| *chain == "WEAVE-NPC-EGRESS");
            of_egress
                .filter(|(_, options)| options.contains(&drop))
                .count()
        };
        assert_eq!(drops(&fixed), drops(&dropping), "{}", case["id"]);

        let created = lines.iter().filter(|line| line.first() == Some(&"create"));
        let said = created.map(|line| {
            let added = lines
                .iter()
                .filter(|of| of.first() == Some(&"add") && of[1] == line[1]);
            let members: BTreeSet<&str> = added.map(|of| of[2]).collect();
            (line[1], line[2], members)
        });
        let sets = case["ipsets"].as_array().unwrap().iter();
        let wanted = sets.map(|set| {
            let members = strings(&set["members"]).into_iter().collect();
            (
                set["name"].as_str().unwrap(),
                set["type"].as_str().unwrap(),
                members,
            )
        });
        assert_eq!(
            said.collect::<BTreeSet<_>>(),
            wanted.collect(),
            "{}",
            case["id"]
        );
    }
}

#[test]
fn its_text_reads_back_as_what_is_walked() {
    for seed in 0..20 {
        let npc = WeaveNpc::new(&read(&[&cluster(seed, Kind::Weave)]));
        let text = npc.save_text();
        let (sets, rules) = text.split_once("*filter").unwrap();
        assert_eq!(ipset::parse(sets).unwrap(), **npc.sets());
        let mut walked = RuleSet::empty(Family::Ipv4);
        npc.add_rules(&mut walked);
        let rules = iptables::parse(&format!("*filter{rules}"), Family::Ipv4).unwrap();
        assert_eq!(
            iptables::print(&rules.rules, iptables::Wording::Save),
            iptables::print(&walked, iptables::Wording::Save)
        );
    }
}

const BRIDGE: &str = "weave";

fn device(name: &str) -> DeviceName {
    name.parse().unwrap()
}

/// The packet where a node forwards it: `None` is its card.
fn forwarded<'h>(
    host: &'h HostAddresses,
    headers: Headers,
    [from, to]: [Option<&Pod>; 2],
) -> Packet<'h> {
    let end = |pod: Option<&Pod>| device(if pod.is_some() { BRIDGE } else { "eth0" });
    let port = |pod: Option<&Pod>, name: &str| pod.map(|_| device(name));
    let is_bridged = from.is_some() && to.is_some();
    Packet {
        headers,
        mark: Mark(0),
        hook: Hook::Forward,
        input: Some(end(from)),
        output: Some(end(to)),
        physdev_in: port(from, "vethwepl0000001"),
        physdev_out: port(to, "vethwepl0000002").filter(|_| is_bridged),
        conntrack: ConntrackInfo::of_state(CtState::New),
        host,
        now: SimTime::START,
    }
}

fn pod_at(cluster: &Cluster, ip: IpAddr) -> Option<&Pod> {
    cluster.pods.values().find(|pod| pod.ips.contains(&ip))
}

#[test]
fn its_rules_let_through_what_policies_mean_by_either_evaluator() {
    let (mut allowed, mut denied) = (0, 0);
    for seed in 0..24 {
        let cluster = read(&[&cluster(seed, Kind::Weave)]);
        let policies = Policies::new(&cluster);
        let npc = WeaveNpc::new(&cluster);
        assert_eq!(npc.refused(), [""; 0], "seed {seed}");
        let mut rules = RuleSet::empty(Family::Ipv4);
        npc.add_rules(&mut rules);
        let state = State {
            sets: npc.sets().clone(),
            ..State::default()
        };
        let matcher = Matcher::new(&rules).unwrap();
        let interp = Interp::new(rules).unwrap();
        let outside = OUTSIDE.iter().map(|ip| ip.parse().unwrap());
        let ips: Vec<IpAddr> = cluster
            .pods
            .values()
            .map(|pod| pod.ips[0])
            .chain(outside)
            .collect();
        let host = HostAddresses::of(["192.168.7.10".parse().unwrap()]);
        for &from in &ips {
            for &to in ips.iter().filter(|&&to| to != from) {
                for (protocol, port) in [Protocol::TCP, Protocol::UDP, Protocol::SCTP]
                    .into_iter()
                    .zip(
                        PORTS
                            .into_iter()
                            .cycle()
                            .skip(usize::try_from(seed).unwrap() % 4),
                    )
                {
                    let ends = [pod_at(&cluster, from), pod_at(&cluster, to)];
                    if ends == [None, None] {
                        continue;
                    }
                    let headers = Headers::first_of_flow(from, to, protocol, 40_000, port);
                    let packet = forwarded(&host, headers, ends);
                    let ask =
                        |evaluator: &dyn Fn(&Packet<'_>) -> (Verdict, Mark)| evaluator(&packet);
                    let by_interp = ask(&|packet| {
                        let said = interp.classify(
                            TableName::Filter,
                            packet,
                            &state,
                            &mut Draw(1),
                            &mut (),
                        );
                        (said.verdict, said.mark)
                    });
                    let by_matcher = ask(&|packet| {
                        let said = matcher.classify(
                            TableName::Filter,
                            packet,
                            &state,
                            &mut Draw(1),
                            &mut (),
                        );
                        (said.verdict, said.mark)
                    });
                    assert_eq!(
                        by_interp, by_matcher,
                        "seed {seed}: {from} to {to} {port}/{protocol}"
                    );
                    let wanted = policies.allows(&Traffic {
                        from: policies.address(from),
                        to: policies.address(to),
                        protocol,
                        port,
                    });
                    assert_eq!(
                        by_interp.0 == Verdict::Accept,
                        wanted,
                        "seed {seed}: {from} to {to} {port}/{protocol}"
                    );
                    *(if wanted { &mut allowed } else { &mut denied }) += 1;
                }
            }
        }
    }
    assert!(
        allowed > 2_000 && denied > 2_000,
        "{allowed} allowed, {denied} denied"
    );
}

#[test]
fn what_it_does_not_know_is_told() {
    let text = "\
{apiVersion: v1, kind: Namespace, metadata: {name: a}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: a, name: v6},
 spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 'fd00::/8'}}]}]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: a, name: lists},
 spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}, {namespaceSelector: {}, podSelector: {}}]}]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: a, name: range},
 spec: {podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}, {port: 22, endPort: 22}]}]}}
";
    let npc = WeaveNpc::new(&read(&[text]));
    assert_eq!(
        npc.refused(),
        [
            "NetworkPolicy a/lists: weave-npc ends: its set weave-!KbcPP7#:Z;q|kV;:5)S@i1Yb would be both list:set and hash:ip",
            "NetworkPolicy a/range: weave-npc knows no `endPort` and lets 80 alone of 80 to 90 through",
            "NetworkPolicy a/v6: weave-npc knows IPv4 only, and iptables refuses: cidr: fd00::/8 -> pods: namespace: a, selector:  (ingress)",
        ]
    );
}

/// By the API the egress rules of a policy for Ingress alone do not count. weave-npc writes them, and they
/// let through what pods send that another policy isolates.
#[test]
fn rules_that_do_not_count_let_traffic_through_under_weave() {
    let text = "\
{apiVersion: v1, kind: Pod, metadata: {name: web}, status: {podIP: 10.244.0.5}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: {}, policyTypes: [Egress]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: odd},
 spec: {podSelector: {}, policyTypes: [Ingress], egress: [{}]}}
";
    let cluster = read(&[text]);
    let (policies, npc) = (Policies::new(&cluster), WeaveNpc::new(&cluster));
    let [from, to] = ["10.244.0.5", "203.0.113.9"].map(|ip| ip.parse().unwrap());
    let traffic = Traffic {
        from: policies.address(from),
        to: policies.address(to),
        protocol: Protocol::TCP,
        port: 80,
    };
    assert!(!policies.allows(&traffic));
    let mut rules = RuleSet::empty(Family::Ipv4);
    npc.add_rules(&mut rules);
    let state = State {
        sets: npc.sets().clone(),
        ..State::default()
    };
    let host = HostAddresses::of(["192.168.7.10".parse().unwrap()]);
    let headers = Headers::first_of_flow(from, to, Protocol::TCP, 40_000, 80);
    let packet = forwarded(&host, headers, [pod_at(&cluster, from), None]);
    let interp = Interp::new(rules).unwrap();
    let said = interp.classify(TableName::Filter, &packet, &state, &mut Draw(1), &mut ());
    assert_eq!(said.verdict, Verdict::Accept);
}
