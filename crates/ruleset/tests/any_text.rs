//! No text makes the parsers panic, and what they print they read again.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, line_column, parse, parse_listing, print};
use podwire_ruleset::{TableName, ipset, ipvs};
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn lines(names: &[&str]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    names
        .iter()
        .flat_map(|name| {
            let text = fs::read_to_string(folder.join(name)).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn real_lines() -> Vec<String> {
    lines(&[
        "hosts/docker.txt",
        "hosts/zones.txt",
        "hosts/pods.txt",
        "hosts/pods6.txt",
        "hosts/policies.txt",
        "kube-proxy/session-affinity.ipv4.save.txt",
        "kernel/ipvs.ipv4.save.txt",
    ])
}

/// What becomes of one word of a line.
#[derive(Clone, Debug)]
enum Change {
    Drop(Index),
    Double(Index),
    Swap(Index, Index),
    Cut(Index),
    Put(Index, String),
}

fn change() -> impl Strategy<Value = Change> {
    let words = select(vec![
        "!",
        "-m",
        "-j",
        "-s",
        "-p",
        "tcp",
        "\"",
        "\\",
        "'",
        "",
        "--dport",
        "=",
        ",",
        "0/0",
        ":",
        "-",
        "[1:2]",
        "COMMIT",
        "*nat",
        "--set",
        "-I",
        "\u{ac00}",
        "65536",
        "-1",
        "0x",
        "/",
        "+",
        "unknown",
        "--unknown",
        "-4",
        "-c",
    ]);
    prop_oneof![
        any::<Index>().prop_map(Change::Drop),
        any::<Index>().prop_map(Change::Double),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Swap(a, b)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), words).prop_map(|(at, word)| Change::Put(at, word.to_owned())),
    ]
}

fn changed(line: &str, changes: &[Change]) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for change in changes {
        let len = words.len();
        if len == 0 {
            break;
        }
        match change {
            Change::Drop(at) => drop(words.remove(at.index(len))),
            Change::Double(at) => words.insert(at.index(len), words[at.index(len)].clone()),
            Change::Swap(a, b) => words.swap(a.index(len), b.index(len)),
            Change::Cut(at) => {
                let word = &mut words[at.index(len)];
                word.pop();
            }
            Change::Put(at, word) => words.insert(at.index(len), word.clone()),
        }
    }
    words.join(" ")
}

/// Reads the text in every way; what could be read is printed and read again.
fn read_in_every_way(text: &str) -> Result<(), TestCaseError> {
    for family in [Family::Ipv4, Family::Ipv6] {
        for read in [
            parse(text, family),
            parse_listing(text, TableName::Filter, family),
        ] {
            match read {
                Err(error) => {
                    let span = error.span();
                    prop_assert!(span.offset() + span.len() <= text.len(), "{error:?}");
                    let (line, column) = line_column(text, span.offset());
                    prop_assert!(line >= 1 && column >= 1);
                }
                Ok(parsed) => {
                    for wording in [Wording::Save, Wording::KubeProxy] {
                        let printed = print(&parsed.rules, wording);
                        let again = parse(&printed, family);
                        prop_assert!(again.is_ok(), "{printed}\n{again:?}");
                        prop_assert_eq!(print(&again.unwrap().rules, wording), printed);
                    }
                }
            }
        }
    }
    if let Ok(sets) = ipset::parse(text) {
        let printed = ipset::print(&sets);
        prop_assert_eq!(ipset::parse(&printed), Ok(sets), "{}", printed);
    }
    match ipvs::parse(text) {
        Ok(servers) => {
            let printed = ipvs::print(&servers);
            prop_assert_eq!(ipvs::parse(&printed), Ok(servers), "{}", printed);
        }
        Err(error) => {
            let span = error.span();
            prop_assert!(span.offset() + span.len() <= text.len(), "{error:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_characters_are_read_or_refused(text in "\\PC*") {
        read_in_every_way(&text)?;
        read_in_every_way(&format!("*filter\n-A INPUT {text}\nCOMMIT\n"))?;
    }

    #[test]
    fn any_bytes_of_the_grammar_are_read_or_refused(text in "[-*:!A-Fa-f0-9 \"\\\\'=,/\n\\[\\]]{0,200}") {
        read_in_every_way(&text)?;
        read_in_every_way(&format!("*filter\n:A - [0:0]\n-A A -p tcp {text}"))?;
    }

    #[test]
    fn changed_lines_are_read_or_refused(
        line in select(real_lines()),
        changes in prop::collection::vec(change(), 0..6),
        table in select(TableName::ALL.to_vec()),
    ) {
        let line = changed(&line, &changes);
        let mut text = format!("*{table}\n");
        for chain in real_chains() {
            text.push_str(&format!(":{chain} - [0:0]\n"));
        }
        text.push_str(&line);
        text.push_str("\nCOMMIT\n");
        read_in_every_way(&text)?;
    }

    #[test]
    fn virtual_servers_are_read_back_or_refused(text in virtual_servers()) {
        read_in_every_way(&text)?;
    }

    #[test]
    fn changed_sets_are_read_or_refused(
        kind in select(vec!["hash:ip", "hash:net,iface", "bitmap:port", "hash:ip,port,net", "list:set", "hash:mac"]),
        element in "[0-9a-f.:,/\\[\\]-]{0,20}|10\\.0\\.0\\.1,(tcp|udp|gre|icmp):[0-9]{1,5}|[0-9]{1,5}",
        options in "( (timeout 5|comment \"[a-z ]*\"|nomatch|family inet6?|[a-z]{3}))*",
    ) {
        read_in_every_way(&format!("create a {kind}{options}\nadd a {element}{options}\n"))?;
    }
}

fn virtual_servers() -> impl Strategy<Value = String> {
    let scheduler = select(ipvs::Scheduler::NAMES.map(|(name, _)| name).to_vec());
    let socket = select(vec!["10.0.0.1:80", "10.0.0.2:0", "[fd00::1]:443"]);
    let option = prop_oneof![
        select(vec![
            " -p",
            " -p 300",
            " -p 0",
            " -M 255.255.255.0",
            " -M 64",
            " -o",
            " -b sh-port",
            " -b flag-1,flag-3",
            " -b mh-port,mh-fallback",
            " -b",
            " -f 1",
        ])
        .prop_map(str::to_owned),
        scheduler.prop_map(|name| format!(" -s {name}")),
    ];
    let protocol = || select(vec!["-t", "-u", "--sctp-service"]);
    let virtual_server = (
        protocol(),
        socket.clone(),
        prop::collection::vec(option, 0..4),
    )
        .prop_map(|(protocol, socket, options)| {
            format!("-A {protocol} {socket}{}\n", options.concat())
        });
    let real_server = (
        protocol(),
        socket.clone(),
        socket,
        select(vec!["-m", "-g -w 0", "-i -w 7 -x 9 -y 3", "-w"]),
    )
        .prop_map(|(protocol, socket, real, options)| {
            format!("-a {protocol} {socket} -r {real} {options}\n")
        });
    (
        prop::collection::vec(virtual_server, 1..4),
        prop::collection::vec(real_server, 0..4),
    )
        .prop_map(|(servers, real)| servers.concat() + &real.concat())
}

fn real_chains() -> Vec<String> {
    let mut chains: Vec<String> = real_lines()
        .iter()
        .filter_map(|line| {
            let (chain, policy) = line.strip_prefix(':')?.split_once(' ')?;
            policy.starts_with('-').then(|| chain.to_owned())
        })
        .collect();
    chains.sort();
    chains.dedup();
    chains
}

#[test]
fn chains_that_call_each_other_very_deep_are_read() {
    let mut text = String::from("*filter\n");
    for n in 0..100_000 {
        text.push_str(&format!(":C{n} - [0:0]\n"));
    }
    for n in 1..100_000 {
        text.push_str(&format!("-A C{} -j C{n}\n", n - 1));
    }
    let right = format!("{text}COMMIT\n");
    assert_eq!(
        parse(&right, Family::Ipv4).unwrap().rules.rule_count(),
        99_999
    );
    let circle = format!("{text}-A C99999 -j C0\nCOMMIT\n");
    assert!(parse(&circle, Family::Ipv4).is_err());
}

#[test]
fn long_lines_and_many_insertions_take_linear_work() {
    let words = " -m mark --mark 1 --odd".repeat(100_000);
    assert!(parse(&format!("*filter\n-A INPUT{words}\nCOMMIT\n"), Family::Ipv4).is_err());
    let inserted = "-I INPUT -s 10.0.0.1\n".repeat(200_000);
    let parsed = parse(&format!("*filter\n{inserted}COMMIT\n"), Family::Ipv4).unwrap();
    assert_eq!(parsed.rules.rule_count(), 200_000);
    let flushed = "-N A\n-A A\n-F\n-X\n".repeat(50_000);
    assert!(parse(&format!("*filter\n{flushed}COMMIT\n"), Family::Ipv4).is_ok());
}
