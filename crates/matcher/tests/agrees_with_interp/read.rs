//! A matcher read from text is as one compiled from the parsed rules.

use podwire_interp::Interp;
use podwire_matcher::{CompileError, Matcher};
use podwire_packet::Family;
use podwire_ruleset::{Draw, HostAddresses, State, TableName, iptables};

use super::generated::{self, IPV4, IPV6, Lots};
use super::mutated::{Original, originals};
use super::probes::Probes;
use super::{Both, Compared, shapes};

/// Reads and parses a text, and compares on packets.
fn compare(text: &str, family: Family, seed: u64, compared: &mut Compared) {
    let parsed = iptables::parse(text, family).unwrap();
    let (matcher, unknown) = Matcher::read(text.as_bytes(), family).unwrap();
    let compiled = Matcher::new(&parsed.rules).unwrap();
    assert_eq!(matcher.plan(), compiled.plan(), "{text}");
    assert_eq!(unknown.len(), parsed.unknown.len());
    let host = HostAddresses::of(["192.168.64.11", "fd64::11"].map(|ip| ip.parse().unwrap()));
    let probes = Probes::of(&parsed.rules, &host);
    let both = Both {
        interp: Interp::new(parsed.rules.clone()).unwrap(),
        matcher,
    };
    let mut lots = Lots(Draw(seed));
    for _ in 0..20 {
        let (table, packet) = probes.aimed(&mut lots);
        let state = State::default();
        both.compare_one(table, &packet, &state, seed, compared);
    }
}

/// The text with its rules in another order that keeps the order within each chain; every chain is
/// declared before.
fn mixed(lots: &mut Lots, text: &str) -> String {
    let mut mixed = String::new();
    for table in text.split_inclusive("COMMIT\n") {
        let (rules, others): (Vec<&str>, Vec<&str>) =
            table.lines().partition(|line| line.starts_with("-A "));
        let mut chains: Vec<(&str, std::collections::VecDeque<&str>)> = Vec::new();
        for rule in rules {
            let chain = rule.split(' ').nth(1).unwrap();
            match chains.iter_mut().find(|(own, _)| *own == chain) {
                Some((_, rules)) => rules.push_back(rule),
                None => chains.push((chain, [rule].into())),
            }
        }
        for line in others.iter().filter(|line| **line != "COMMIT") {
            mixed += &format!("{line}\n");
        }
        while !chains.is_empty() {
            let at = lots.below(chains.len());
            match chains[at].1.pop_front() {
                Some(rule) => mixed += &format!("{rule}\n"),
                None => drop(chains.swap_remove(at)),
            }
        }
        mixed += "COMMIT\n";
    }
    mixed
}

#[test]
fn generated_text_is_read_as_it_is_parsed() {
    let mut compared = Compared::default();
    for seed in 0..60 {
        let mut lots = Lots(Draw(seed));
        let words = if seed % 2 == 0 { &IPV4 } else { &IPV6 };
        let mut text: String = TableName::ALL
            .iter()
            .map(|table| generated::rules(&mut lots, words, *table))
            .collect();
        match seed % 3 {
            0 => {}
            1 => text = shapes::services(&mut lots, words),
            _ => text = shapes::policies(&mut lots, words),
        }
        compare(&text, words.family, seed, &mut compared);
        let mixed = mixed(&mut lots, &text);
        compare(&mixed, words.family, seed, &mut compared);
        let rules = |text: &str| iptables::parse(text, words.family).unwrap().rules;
        for (name, table) in &rules(&text).tables {
            let same = &rules(&mixed).tables[name];
            assert!(
                table
                    .chains
                    .iter()
                    .all(|(name, own)| same.chains[name] == *own)
            );
        }
    }
    assert!(compared.matched * 10 > compared.packets * 6, "{compared:?}");
}

#[test]
fn kube_proxys_text_is_read_as_it_is_parsed() {
    let mut compared = Compared::default();
    for (seed, Original { text, family, .. }) in (0..).zip(originals(30_000)) {
        compare(&text, family, seed, &mut compared);
        compare(
            &mixed(&mut Lots(Draw(seed)), &text),
            family,
            seed,
            &mut compared,
        );
    }
    assert!(compared.matched * 10 > compared.packets * 6, "{compared:?}");
}

/// Rules of Services, every seventh of another shape, as `iptables-save` has them: chains by name, and
/// their names tell nothing of the Services.
fn many_services(count: usize) -> String {
    let (chain, endpoint) = (
        |service: usize| format!("SVC-{:06}", service * 7_919 % count),
        |service: usize, way: usize| format!("EP-{:06}", (service * 3 + way) * 5_003 % (3 * count)),
    );
    let mut rules: Vec<(String, String)> = Vec::new();
    for service in 0..count {
        let (high, low) = (service / 250, service % 250);
        let own = chain(service);
        rules.push((
            "SERVICES".into(),
            format!("-d 10.0.{high}.{low} -p tcp -m tcp --dport 80 -j {own}"),
        ));
        if service % 7 == 1 {
            rules.push((own.clone(), "! -s 10.1.0.0/16 -j MASQ".into()));
        }
        for way in 0..3 {
            let (to, address) = (
                endpoint(service, way),
                format!("10.{}.{high}.{low}", 1 + way),
            );
            let chance = match way {
                _ if service % 7 == 2 => "-m recent --rcheck --seconds 60 --name X ",
                0 => "-m statistic --mode random --probability 0.3333333333 ",
                1 => "-m statistic --mode random --probability 0.5 ",
                _ => "",
            };
            rules.push((own.clone(), format!("{chance}-j {to}")));
            rules.push((to.clone(), format!("-s {address} -j MASQ")));
            let port = if service % 7 == 3 { way + 1 } else { 80 };
            rules.push((
                to,
                format!("-p tcp -m tcp -j DNAT --to-destination {address}:{port}"),
            ));
        }
    }
    rules.push(("MASQ".into(), "-j MARK --set-xmark 0x4000/0x4000".into()));
    rules.push(("PREROUTING".into(), "-j SERVICES".into()));
    // Stable: rules of one chain keep their order.
    rules.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut chains: Vec<&str> = rules.iter().map(|(chain, _)| &**chain).collect();
    chains.dedup();
    let declared: String = chains
        .iter()
        .filter(|name| **name != "PREROUTING")
        .map(|name| format!(":{name} - [0:0]\n"))
        .collect();
    let rules: String = rules
        .iter()
        .map(|(chain, rule)| format!("-A {chain} {rule}\n"))
        .collect();
    format!("*nat\n:PREROUTING ACCEPT [0:0]\n{declared}{rules}COMMIT\n")
}

#[test]
fn very_many_services_are_read_as_they_are_parsed() {
    let text = many_services(7_000);
    let parsed = iptables::parse(&text, Family::Ipv4).unwrap();
    let (matcher, _) = Matcher::read(text.as_bytes(), Family::Ipv4).unwrap();
    let compiled = Matcher::new(&parsed.rules).unwrap();
    assert_eq!(matcher.plan(), compiled.plan());
    let plan = matcher.plan();
    let shown = format!("{plan:?}");
    assert!(shown.contains("at_once"), "{shown}");
    let host = HostAddresses::default();
    let probes = Probes::of(&parsed.rules, &host);
    let both = Both {
        interp: Interp::new(parsed.rules.clone()).unwrap(),
        matcher,
    };
    let mut compared = Compared::default();
    let hook = podwire_ruleset::Hook::Prerouting;
    for packet in probes.aimed_from(&mut Lots(Draw(1)), TableName::Nat, hook, 200) {
        both.compare_one(TableName::Nat, &packet, &State::default(), 1, &mut compared);
    }
    assert!(compared.matched * 10 > compared.packets * 6, "{compared:?}");
}

#[test]
fn a_circle_and_a_chain_that_is_missing_are_refused() {
    let read = |rules: &str| {
        let chains = "*filter\n:INPUT ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n";
        let text = format!("{chains}{rules}COMMIT\n");
        assert!(iptables::parse(&text, Family::Ipv4).is_err(), "{text}");
        Matcher::read(text.as_bytes(), Family::Ipv4).unwrap_err()
    };
    for circle in [
        "-A A -j A\n",
        "-A A -j B\n-A B -g A\n",
        "-A INPUT -j A\n-A B -s 10.0.0.1 -j A\n-A A -p tcp -j B\n",
    ] {
        let error = read(circle);
        assert!(
            matches!(error, CompileError::Loop { .. }),
            "{circle}: {error}"
        );
    }
    for missing in ["-A A -j NOWHERE\n", "-A INPUT -j A\n-A A -g INPUT\n"] {
        let error = read(missing);
        assert!(matches!(error, CompileError::Read(_)), "{missing}: {error}");
    }
}

#[test]
fn a_chain_with_the_name_of_a_hook_that_the_table_has_not_is_read_as_it_is_parsed() {
    let text = "*raw\n:PREROUTING ACCEPT [0:0]\n:INPUT - [0:0]\n-A INPUT -p tcp -j DROP\n\
                -A PREROUTING -j INPUT\nCOMMIT\n";
    for hook in podwire_ruleset::Hook::ALL {
        let parsed = iptables::parse(text, Family::Ipv4).unwrap();
        let both = Both {
            interp: Interp::new(parsed.rules.clone()).unwrap(),
            matcher: Matcher::read(text.as_bytes(), Family::Ipv4).unwrap().0,
        };
        let host = HostAddresses::default();
        let probes = Probes::of(&parsed.rules, &host);
        for packet in probes.aimed_from(&mut Lots(Draw(1)), TableName::Raw, hook, 8) {
            let compared = &mut Compared::default();
            both.compare_one(TableName::Raw, &packet, &State::default(), 1, compared);
        }
    }
}
