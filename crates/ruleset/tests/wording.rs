//! What the parser takes beyond the text of `iptables-save`, and what it keeps of what it does not
//! know.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use podwire_packet::Family;
use podwire_ruleset::iptables::{
    Parsed, Wording, parse, parse_listing, print_with_counters, rule_text,
};
use podwire_ruleset::{Counters, Policy, TableName};

fn read(rules: &str) -> Parsed {
    let text = format!("*filter\n:X - [0:0]\n{rules}\nCOMMIT\n");
    parse(&text, Family::Ipv4).unwrap()
}

/// The rules of INPUT as `iptables-save` words them.
fn saved(rules: &str) -> Vec<String> {
    let parsed = read(rules);
    parsed.rules.tables[&TableName::Filter].chains["INPUT"]
        .rules
        .iter()
        .map(|rule| rule_text(rule, Wording::Save, Family::Ipv4))
        .collect()
}

#[test]
fn options_are_read_in_any_order_and_by_any_name() {
    let expected = "! -s 10.0.0.0/8 -d 10.9.9.9/32 -i eth0 -p tcp -m tcp --dport 80 -j X";
    for rule in [
        "-A INPUT ! -s 10.0.0.0/8 -d 10.9.9.9 -i eth0 -p tcp --dport 80 -j X",
        "-A INPUT -j X -p tcp -m tcp --dport 80 -i eth0 -d 10.9.9.9 -s ! 10.0.0.0/8",
        "--append INPUT --jump=X --protocol TCP --destination-port=80 --in-interface eth0 --dst 10.9.9.9/32 ! --src 10/255.0.0.0",
        "-A INPUT -jX -ptcp -m tcp -ieth0 -d10.9.9.9/255.255.255.255 --dport 0x50 ! --source 10.0.0.0/8",
        "-A \"INPUT\" -m tcp -p 6 \"--dport\" \"80\" -i 'eth0' -d 10.9.9.9 ! -s 10.200.0.0/8 -j X",
    ] {
        assert_eq!(saved(rule), [expected], "{rule}");
    }
}

#[test]
fn lists_of_addresses_become_rules() {
    assert_eq!(
        saved("-A INPUT -d 10.0.0.1,10.0.0.2 -s 10.1.0.0/16,10.2.0.0/16"),
        [
            "-s 10.1.0.0/16 -d 10.0.0.1/32",
            "-s 10.1.0.0/16 -d 10.0.0.2/32",
            "-s 10.2.0.0/16 -d 10.0.0.1/32",
            "-s 10.2.0.0/16 -d 10.0.0.2/32",
        ]
    );
}

#[test]
fn rules_are_inserted_where_the_number_says() {
    let rules = "-A INPUT -i a\n-I INPUT -i b\n-I INPUT 1 -i c\n-I INPUT 3 -i d,\n-I INPUT 5 -i e\n-I INPUT -s 1.1.1.1,2.2.2.2";
    let expected = [
        "-s 1.1.1.1/32",
        "-s 2.2.2.2/32",
        "-i c",
        "-i b",
        "-i d,",
        "-i a",
        "-i e",
    ];
    assert_eq!(saved(rules), expected);
}

#[test]
fn chains_are_emptied_and_deleted() {
    assert_eq!(
        saved("-A INPUT -i a\n:INPUT DROP [1:2]\n-A INPUT -i b"),
        ["-i b"]
    );
    assert_eq!(saved("-A INPUT -i a\n-F INPUT"), [""; 0]);
    assert_eq!(
        saved("-A INPUT -i a\n-I INPUT -i b\n-F\n-A INPUT -i c"),
        ["-i c"]
    );
    let parsed = read("-N Y\n-N Z\n-X Y\n-X X\n-N X\n-P INPUT DROP");
    let chains = &parsed.rules.tables[&TableName::Filter].chains;
    let users: Vec<&str> = chains
        .keys()
        .map(|name| name.as_str())
        .filter(|name| !["INPUT", "FORWARD", "OUTPUT"].contains(name))
        .collect();
    assert_eq!(users, ["X", "Z"]);
    assert_eq!(chains["INPUT"].built_in.unwrap().policy, Policy::Drop);
}

#[test]
fn a_rule_for_the_other_family_is_left_out() {
    assert_eq!(saved("-A INPUT -6 -i a\n-A INPUT -4 -i b"), ["-i b"]);
}

#[test]
fn counters_are_kept_and_printed_if_asked_for() {
    let text = "*filter\n:INPUT DROP [7:420]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n[12:345] -A INPUT -j DROP\n[0:0] -A INPUT -j ACCEPT\nCOMMIT\n";
    let rules = parse(text, Family::Ipv4).unwrap().rules;
    let chain = &rules.tables[&TableName::Filter].chains["INPUT"];
    let counters = Counters {
        packets: 12,
        bytes: 345,
    };
    assert_eq!(chain.rules[0].counters, Some(counters));
    assert_eq!(print_with_counters(&rules, Wording::Save), text);
    let other = parse(
        &text.replace("[12:345] -A INPUT", "-A INPUT -c 12 345"),
        Family::Ipv4,
    );
    assert_eq!(other.unwrap().rules, rules);
}

#[test]
fn a_listing_names_no_table() {
    let text =
        "-P INPUT DROP -c 3 4\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-N X\n-A INPUT -i lo -j X\n";
    let parsed = parse_listing(text, TableName::Filter, Family::Ipv4).unwrap();
    let chain = &parsed.rules.tables[&TableName::Filter].chains["INPUT"];
    assert_eq!(chain.rules.len(), 1);
    assert_eq!(chain.counters.bytes, 4);
}

#[test]
fn unknown_modules_and_targets_keep_their_words() {
    for rule in [
        "-i lo -m u32 --u32 \"0>>22 & 0x3C\" -j X",
        "-m owner ! --uid-owner 0 -m mark --mark 0x1 -j X",
        "-p tcp -m tcp --dport 80 --tcp-option 5 -m comment --comment x",
        "-p sctp -m sctp --chunk-types any DATA -j X",
        "-m conntrack --ctstate NEW --ctlabel a -j X",
        "-j TTL --ttl-set 4",
        "-j LOG --log-prefix \"a b\" --log-odd",
        "-j CT --zone 5",
    ] {
        let parsed = read(&format!("-A INPUT {rule}"));
        assert_eq!(parsed.unknown.len(), 1, "{rule}");
        assert_eq!(saved(&format!("-A INPUT {rule}")), [rule]);
    }
}

#[test]
fn what_is_unknown_is_reported_with_its_place() {
    let parsed = read(
        "-A INPUT -i lo\n-A INPUT -p tcp --syn --tcp-option 5 -s 10.0.0.1 -m 가 --a ! -d 10.0.0.2 -j TEE --gateway 10.0.0.3",
    );
    let places: Vec<_> = parsed
        .unknown
        .iter()
        .map(|u| (u.line, u.column, &*u.text, u.rule.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            (4, 23, "--tcp-option", "filter/INPUT/2"),
            (4, 53, "가", "filter/INPUT/2"),
            (4, 76, "TEE", "filter/INPUT/2"),
        ]
    );
    let words = saved(
        "-A INPUT -p tcp --syn --tcp-option 5 -s 10.0.0.1 -m 가 --a ! -d 10.0.0.2 -j TEE --gateway 10.0.0.3",
    );
    assert_eq!(
        words,
        [
            "-s 10.0.0.1/32 ! -d 10.0.0.2/32 -p tcp -m tcp --syn --tcp-option 5 -m 가 --a -j TEE --gateway 10.0.0.3"
        ]
    );
}

#[test]
fn rates_are_shown_as_the_kernel_keeps_them() {
    for (written, listed) in [
        ("60/minute", "1/sec"),
        ("24/day", "1/hour"),
        ("333/hour", "333/hour"),
        ("7", "7/sec"),
    ] {
        let rule = format!("-A INPUT -m limit --limit {written}");
        assert_eq!(saved(&rule), [format!("-m limit --limit {listed}")]);
    }
}
