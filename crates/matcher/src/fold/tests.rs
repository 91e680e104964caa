use podwire_packet::Family;
use podwire_ruleset::{RuleSet, TableName, iptables};

use super::*;
use crate::compile::compile;
use crate::fields::{Narrow, Wide};

fn nat(lines: &str) -> RuleSet {
    let text = format!("*nat\n{lines}\nCOMMIT\n");
    let parsed = iptables::parse(&text, Family::Ipv4);
    parsed
        .unwrap_or_else(|error| panic!("{error}: {text}"))
        .rules
}

/// How many rules jump to a folded chain.
fn folded<F: Fields>(rules: &RuleSet) -> usize {
    let table = &rules.tables[&TableName::Nat];
    let program = compile::<F>(TableName::Nat, table);
    let blocks = program.explain().into_iter().flat_map(|chain| chain.blocks);
    blocks.map(|block| block.folded()).sum()
}

const SERVICE: &str = "\
:MARK-IT - [0:0]
:SVC - [0:0]
:ONE - [0:0]
:TWO - [0:0]
-A MARK-IT -j MARK --set-xmark 0x4000/0x4000
-A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j SVC
-A SVC -d 10.96.0.1/32 ! -s 10.244.0.0/16 -p tcp -m tcp --dport 80 -j MARK-IT
-A SVC -m statistic --mode random --probability 0.50000000000 -j ONE
-A SVC -j TWO
-A ONE -s 10.244.0.2/32 -j MARK-IT
-A ONE -p tcp -m tcp -j DNAT --to-destination 10.244.0.2:8080
-A TWO -s 10.244.0.3/32 -j MARK-IT
-A TWO -p tcp -m tcp -j DNAT --to-destination 10.244.0.3:8080";

#[test]
fn a_service_is_folded_by_the_rule_that_leads_to_it() {
    assert_eq!(folded::<Narrow>(&nat(SERVICE)), 1);
}

#[test]
fn what_the_dispatch_does_not_say_is_not_folded_away() {
    for (is, becomes) in [
        // The leaf asks for another protocol than is known.
        ("-A TWO -p tcp -m tcp", "-A TWO -p udp -m udp"),
        // The ladder is not even.
        ("0.50000000000", "0.25000000000"),
        // The chain may end without a translation.
        ("-A SVC -j TWO", "-A SVC -i eth0 -j TWO"),
        // A packet that is marked is not from the address that it is sent to.
        ("-s 10.244.0.2/32", "-s 10.244.0.9/32"),
        // There is more than an address and a port to choose.
        ("10.244.0.3:8080", "10.244.0.3-10.244.0.4:8080"),
        // A rule of the chain remembers.
        ("-A SVC -j TWO", "-A SVC -m recent --set --name X -j TWO"),
        // The mark depends on a port that the dispatch does not name.
        ("--dport 80 -j SVC", "--dport 80:81 -j SVC"),
    ] {
        let text = SERVICE.replace(is, becomes);
        assert_ne!(text, SERVICE);
        assert_eq!(folded::<Narrow>(&nat(&text)), 0, "{becomes}");
    }
}

#[test]
fn services_of_kube_proxy_are_folded() {
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/kube-proxy/"
    );
    for (file, family, least) in [
        (
            "002-clusterip-plain/iptables-save.node-a.txt",
            Family::Ipv4,
            1,
        ),
        ("010-nodeport/iptables-save.node-a.txt", Family::Ipv4, 3),
        ("060-ipv6/iptables-save.node-a.ipv6.txt", Family::Ipv6, 1),
    ] {
        let text = std::fs::read_to_string(format!("{golden}{file}")).unwrap();
        let rules = iptables::parse(&text, family).unwrap().rules;
        let found = match family {
            Family::Ipv4 => folded::<Narrow>(&rules),
            Family::Ipv6 => folded::<Wide>(&rules),
        };
        assert!(found >= least, "{file}: {found}");
    }
}

#[test]
fn a_table_in_which_everything_calls_everything_is_compiled() {
    let mut text = String::from(":SVC - [0:0]\n:ONE - [0:0]\n");
    for n in 0..2_000 {
        text += &format!("-A PREROUTING -d 10.0.0.{} -j SVC\n", n % 256);
        text += "-A SVC -m statistic --mode random --probability 0.5 -j ONE\n";
    }
    text += "-A ONE -j DNAT --to-destination 10.244.0.2";
    // The jumps to SVC look at 2,000 rules each until the budget is spent; those to ONE look at one.
    assert_eq!(folded::<Narrow>(&nat(&text)), 2_000);
}

#[test]
fn a_service_of_many_endpoints_behind_many_addresses_leaves_the_others_folded() {
    let mut text = String::from(":BIG - [0:0]\n:ONE - [0:0]\n");
    for n in 0..40 {
        text += &format!("-A PREROUTING -d 10.0.0.{n} -p tcp -m tcp --dport 80 -j BIG\n");
    }
    for n in 0..200 {
        text += &format!("-A PREROUTING -d 10.0.1.{n} -p tcp -m tcp --dport 80 -j ONE\n");
    }
    for n in (2..=1_000).rev() {
        let probability = 1.0 / f64::from(n);
        text +=
            &format!("-A BIG -m statistic --mode random --probability {probability:.10} -j ONE\n");
    }
    text += "-A BIG -j ONE\n-A ONE -p tcp -j DNAT --to-destination 10.244.0.2:80";
    assert!(folded::<Narrow>(&nat(&text)) >= 200);
}

#[test]
fn a_rule_and_a_service_are_small() {
    assert_eq!(size_of::<crate::program::Rule>(), 28);
    assert_eq!(size_of::<crate::test::Test<Narrow>>(), 16);
    assert_eq!(crate::dispatch::entry_size::<Narrow>(), 32);
    assert_eq!(crate::dispatch::entry_size::<Wide>(), 64);
}
