//! Every fault of a text: its code, its line and its column.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use miette::Diagnostic;
use podwire_packet::Family;
use podwire_ruleset::iptables::{ParseError, line_column, parse};
use podwire_ruleset::{ipset, ipvs};

/// The fault of a text as `code line:column`.
fn fault(text: &str, family: Family) -> String {
    let error = parse(text, family).unwrap_err();
    assert!(error.help().is_some(), "{error}");
    described(&error, error.span().offset(), text)
}

fn described(error: &dyn Diagnostic, offset: usize, text: &str) -> String {
    let code = error.code().unwrap().to_string();
    let (line, column) = line_column(text, offset);
    format!("{} {line}:{column}", code.rsplit("::").next().unwrap())
}

fn in_filter(rule: &str) -> String {
    format!("*filter\n:X - [0:0]\n{rule}\nCOMMIT\n")
}

/// Rules in the third line of a table, and what is wrong with each.
const RULES: &[(&str, &str)] = &[
    ("-Q INPUT", "unknown_command 3:1"),
    ("-D INPUT 1", "unknown_command 3:1"),
    ("-A", "missing_argument 3:1"),
    ("-A NOWHERE -j ACCEPT", "unknown_chain 3:4"),
    ("-N X", "chain_exists 3:4"),
    ("-X INPUT", "built_in_chain 3:4"),
    ("-X Y", "unknown_chain 3:4"),
    ("-F Y", "unknown_chain 3:4"),
    ("-N a-name-of-twenty-nine-bytes-xx", "bad_chain_name 3:4"),
    ("-N REJECT", "bad_chain_name 3:4"),
    (":-x - [0:0]", "bad_chain_name 3:1"),
    (":Y", "missing_argument 3:1"),
    (":Y ACCEPT [0:0]", "bad_policy 3:4"),
    ("-P INPUT REJECT", "bad_policy 3:10"),
    (":Y - [1:]", "bad_counters 3:6"),
    ("[1;2] -A INPUT", "bad_counters 3:1"),
    ("-A INPUT -c 1 x", "bad_counters 3:15"),
    ("-I INPUT 2 -j X", "bad_rule_number 3:10"),
    ("-A INPUT -m comment --comment \"a b", "unclosed_quote 3:31"),
    ("-A INPUT here -j X", "unexpected_word 3:10"),
    ("-A INPUT -f=1 -j X", "unexpected_word 3:13"),
    ("-A INPUT --dport 80 -j X", "unknown_option 3:10"),
    ("-A INPUT -p tcp -j X --dprot 80", "unknown_option 3:22"),
    ("-A INPUT -j", "missing_argument 3:10"),
    ("-A INPUT -m comment -j X", "missing_option 3:13"),
    ("-A INPUT -m recent --name x -j X", "missing_option 3:13"),
    (
        "-A INPUT -m statistic --mode nth --probability 1",
        "missing_option 3:13",
    ),
    ("-A INPUT -j MARK", "missing_option 3:13"),
    ("-A INPUT -s 1.2.3.4 -s 1.2.3.4", "repeated_option 3:21"),
    ("-A INPUT -j X -j X", "repeated_option 3:15"),
    ("-A INPUT ! -j X", "not_invertible 3:12"),
    ("-A INPUT ! -s ! 1.2.3.4", "not_invertible 3:12"),
    ("-A INPUT ! -s 1.2.3.4,1.2.3.5", "not_invertible 3:12"),
    ("-A INPUT -m tcp --dport 80", "missing_protocol 3:13"),
    (
        "-A INPUT ! -p tcp -m multiport --dports 80",
        "missing_protocol 3:22",
    ),
    (
        "-A INPUT -j REJECT --reject-with tcp-reset",
        "missing_protocol 3:13",
    ),
    ("-A INPUT -s 10.0.0.256", "bad_address 3:13"),
    ("-A INPUT -s example.org", "bad_address 3:13"),
    ("-A INPUT -s 1.2.3.4,x", "bad_address 3:21"),
    ("-A INPUT -d fd00::1", "wrong_family 3:13"),
    ("-A INPUT -s 10.0.0.0/33", "bad_mask 3:22"),
    ("-A INPUT -s 10.0.0.0/255.x", "bad_mask 3:22"),
    ("-A INPUT -p tcp --dport http", "bad_port 3:25"),
    ("-A INPUT -p tcp --dport 90:80", "bad_port 3:25"),
    ("-A INPUT -p tcp --dport 80:65536", "bad_port 3:28"),
    (
        "-A INPUT -p tcp -m multiport --ports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:16",
        "too_many_ports 3:38",
    ),
    ("-A INPUT -m mark --mark 0x5/0xfffffffff", "bad_number 3:29"),
    ("-A INPUT -m recent --set --hitcount x", "bad_number 3:37"),
    (
        "-A INPUT -m statistic --mode nth --every 2 --packet 2",
        "bad_number 3:44",
    ),
    ("-A INPUT -p tpc", "bad_protocol 3:13"),
    ("-A INPUT -i a/b", "bad_device 3:13"),
    ("-A INPUT -m state --state NEW,OLD", "bad_word 3:31"),
    (
        "-A INPUT -m statistic --mode random --probability 1.5",
        "bad_word 3:51",
    ),
    ("-A INPUT -p tcp --tcp-flags SYN,X SYN", "bad_word 3:33"),
    (
        "-A INPUT -j REJECT --reject-with icmp6-no-route",
        "bad_word 3:34",
    ),
    ("-A INPUT -j Y", "link 3:13"),
    ("-A INPUT -g FORWARD", "link 3:13"),
    ("-A X -m comment --comment self -j X", "link 3:35"),
];

#[test]
fn every_fault_of_a_rule_has_its_place() {
    for (rule, expected) in RULES {
        assert_eq!(fault(&in_filter(rule), Family::Ipv4), *expected, "{rule}");
    }
}

/// Whole texts.
const TEXTS: &[(&str, &str)] = &[
    ("-A INPUT -j ACCEPT\n", "outside_table 1:1"),
    ("# a comment\n\n  :INPUT ACCEPT\n", "outside_table 3:3"),
    ("*nta\nCOMMIT\n", "unknown_table 1:1"),
    ("*filter\n-A INPUT -j ACCEPT\n", "missing_commit 1:1"),
    (
        "*filter\nCOMMIT\n*nat\n*raw\nCOMMIT\n",
        "missing_commit 3:1",
    ),
    ("*filter\nCOMMIT now\n", "unexpected_word 2:8"),
];

#[test]
fn every_fault_of_a_text_has_its_place() {
    for (text, expected) in TEXTS {
        assert_eq!(fault(text, Family::Ipv4), *expected, "{text}");
    }
}

#[test]
fn lists_of_addresses_and_modules_have_an_end() {
    let many = vec!["10.0.0.1"; 33].join(",");
    let rule = format!("-A INPUT -s {many} -d {many} -j ACCEPT");
    assert_eq!(fault(&in_filter(&rule), Family::Ipv4), "too_many_rules 3:4");
    let rule = format!("-A INPUT{}", " -m comment --comment x".repeat(129));
    assert!(fault(&in_filter(&rule), Family::Ipv4).starts_with("too_many_modules 3:"));
}

#[test]
fn ipv6_rules_take_no_ipv4_address() {
    for rule in [
        "-A INPUT -s 10.0.0.0/8",
        "-A INPUT -m iprange --src-range 10.0.0.1-10.0.0.2",
    ] {
        assert!(fault(&in_filter(rule), Family::Ipv6).starts_with("wrong_family 3:"));
    }
}

#[test]
fn faults_of_the_call_graph_point_at_the_jump() {
    let text =
        "*filter\n:A - [0:0]\n:B - [0:0]\n-A A -s 10.0.0.0/8 -j B\n-A B ! -i lo -g A\nCOMMIT\n";
    assert_eq!(fault(text, Family::Ipv4), "link 4:23");
    let text = "*nat\n:B - [0:0]\nCOMMIT\n*filter\n-A INPUT -p tcp --jump=B\nCOMMIT\n";
    assert_eq!(fault(text, Family::Ipv4), "link 5:24");
    let error = parse(text, Family::Ipv4).unwrap_err();
    assert!(matches!(error, ParseError::Link { .. }));
    assert_eq!(
        error.to_string(),
        "rule 1 of chain `INPUT` jumps to `B`, and table filter has no such chain"
    );
}

#[test]
fn every_code_has_a_text_here() {
    let source = include_str!("../src/iptables/error.rs");
    let mut codes: BTreeSet<&str> = source
        .split("code(podwire::iptables::")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap())
        .collect();
    // The first two have a test of their own; the third is one of streams.
    for own in ["too_many_rules", "too_many_modules", "edits_earlier"] {
        assert!(codes.remove(own));
    }
    let met: BTreeSet<&str> = RULES
        .iter()
        .chain(TEXTS)
        .map(|(_, expected)| expected.split(' ').next().unwrap())
        .collect();
    assert_eq!(met, codes);
}

#[test]
fn columns_count_characters() {
    let rule = "-A INPUT -m comment --comment \"가나 다\" -j NIX";
    assert_eq!(fault(&in_filter(rule), Family::Ipv4), "link 3:41");
    assert_eq!(line_column("", 9), (1, 1));
    assert_eq!(line_column("a\n가b", 4), (2, 1));
    assert_eq!(line_column("a\n가b", 5), (2, 2));
}

#[test]
fn every_fault_of_sets_has_its_place() {
    for (line, expected) in [
        ("destroy a", "unknown_command 2:1"),
        ("create b", "missing_word 2:8"),
        ("create b hash:ip family", "missing_word 2:18"),
        ("create a hash:ip", "set_exists 2:8"),
        ("create b hash:ip,what", "bad_type 2:10"),
        ("create b hash:ip family ipv4", "bad_family 2:25"),
        (
            "create a-name-longer-than-thirty-one-byt hash:ip",
            "bad_name 2:8",
        ),
        ("add b 1.2.3.4", "unknown_set 2:5"),
        ("add a 1.2.3.4,tcp:http", "bad_element 2:15"),
        ("add a 1.2.3.4,tcp:80,5.6.7.8", "bad_element 2:22"),
        ("add a fd00::1,tcp:80", "wrong_family 2:7"),
        ("add a 1.2.3.4 comment \"x", "unclosed_quote 2:23"),
        ("add a 0.0.0.0/0,tcp:80", "bad_element 2:7"),
        ("create b hash:ip,port,ip,net", "bad_type 2:10"),
        ("create b bitmap:port", "refused 2:10"),
        ("create b bitmap:ip range 10.0.0.0/8", "refused 2:26"),
        ("create b hash:ip timeout 2147484", "refused 2:26"),
        ("add a 1.2.3.4", "refused 2:7"),
        ("add a 1.2.3.4,80 timeout 5", "refused 2:18"),
    ] {
        let text = format!("create a hash:ip,port family inet\n{line}\n");
        let error = ipset::parse(&text).unwrap_err();
        assert!(error.help().is_some());
        assert_eq!(
            described(&error, error.span().offset(), &text),
            expected,
            "{line}"
        );
    }
}

#[test]
fn every_fault_of_virtual_servers_has_its_place() {
    for (line, expected) in [
        ("-D -t 1.2.3.4:80", "unknown_command 2:1"),
        ("-A -f 7 -s rr", "unknown_option 2:4"),
        ("-A -t 1.2.3.4:81 --pe sip", "unknown_option 2:18"),
        ("-A -s rr", "missing_word 2:7"),
        ("-A -t", "missing_word 2:4"),
        ("-a -t 1.2.3.4:80", "missing_word 2:7"),
        ("-A -t 1.2.3.4:http", "bad_value 2:7"),
        ("-A -t fd00::1:80", "bad_value 2:7"),
        ("-A -u 1.2.3.4:80 -s fastest", "bad_value 2:21"),
        ("-A -u 1.2.3.4:80 -s sh -b mh-port", "bad_value 2:27"),
        ("-A -u 1.2.3.4:80 -p x", "bad_value 2:21"),
        ("-A -u 1.2.3.4:80 -p 9 -M 255.0.255.0", "bad_value 2:26"),
        ("-a -t 1.2.3.4:80 -r 5.6.7.8:80 -w 65536", "bad_value 2:35"),
        ("-A -t 1.2.3.4:80", "server_exists 2:7"),
        ("-a -u 1.2.3.4:80 -r 5.6.7.8:80", "unknown_server 2:7"),
        ("-A -t \"1.2.3.4:80", "unclosed_quote 2:7"),
    ] {
        let text = format!("-A -t 1.2.3.4:80 -s rr\n{line}\n");
        let error = ipvs::parse(&text).unwrap_err();
        assert!(error.help().is_some());
        assert_eq!(
            described(&error, error.span().offset(), &text),
            expected,
            "{line}"
        );
    }
}
