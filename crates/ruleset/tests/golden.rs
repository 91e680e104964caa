//! Texts of the real kube-proxy, and what Linux lists after loading them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, parse, print, restore};
use podwire_ruleset::{Rule, RuleSet, ipset};

fn data(folder: &str) -> Vec<(PathBuf, Family, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".ipv"))
        .map(|path| {
            let family = if path.to_string_lossy().contains(".ipv6.") {
                Family::Ipv6
            } else {
                Family::Ipv4
            };
            let text = fs::read_to_string(&path).unwrap();
            (path, family, text)
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn is(path: &Path, part: &str) -> bool {
    path.file_name().unwrap().to_string_lossy().contains(part)
}

fn rules(text: &str, family: Family) -> RuleSet {
    let parsed = parse(text, family).unwrap();
    assert_eq!(parsed.unknown, []);
    parsed.rules
}

/// The `-A` lines of each chain.
fn by_chain(text: &str) -> BTreeMap<(&str, &str), Vec<&str>> {
    let mut table = "";
    let mut chains = BTreeMap::<_, Vec<_>>::new();
    for line in text.lines() {
        if line.starts_with('*') {
            table = line;
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let chain = rule.split(' ').next().unwrap();
            chains.entry((table, chain)).or_default().push(line);
        }
    }
    chains
}

#[test]
fn kube_proxys_wording_is_printed_byte_for_byte() {
    for (path, family, text) in data("kube-proxy") {
        if is(&path, ".save.") {
            let printed = print(&rules(&text, family), Wording::KubeProxy);
            assert!(printed == text, "{}", path.display());
        }
    }
}

#[test]
fn rules_of_interleaved_chains_are_printed_byte_for_byte() {
    for (path, family, text) in data("kube-proxy") {
        if is(&path, ".restore.txt") {
            let printed = print(&rules(&text, family), Wording::KubeProxy);
            assert_eq!(by_chain(&printed), by_chain(&text), "{}", path.display());
        }
    }
}

#[test]
fn the_kernels_wording_is_printed_byte_for_byte() {
    for (path, family, text) in data("kernel") {
        let printed = print(&rules(&text, family), Wording::Save);
        assert!(printed == text, "{}", path.display());
    }
}

#[test]
fn both_wordings_mean_the_same_rules() {
    let written = data("kube-proxy");
    let mut pairs = 0;
    for (path, family, listed) in data("kernel") {
        let same = |(other, ..): &&(PathBuf, _, _)| other.file_name() == path.file_name();
        let Some((_, _, written)) = written.iter().find(same) else {
            continue;
        };
        pairs += 1;
        let listed = rules(&listed, family);
        let written = rules(written, family);
        assert_eq!(listed.rule_count(), written.rule_count());
        for (name, table) in &written.tables {
            for (chain_name, chain) in &table.chains {
                let canonical =
                    |rules: &[Rule]| -> Vec<_> { rules.iter().map(Rule::canonical).collect() };
                assert_eq!(
                    canonical(&listed.tables[name].chains[chain_name].rules),
                    canonical(&chain.rules),
                    "{} {chain_name}",
                    path.display()
                );
            }
        }
    }
    assert_eq!(pairs, 6);
}

#[test]
fn printing_what_was_printed_changes_nothing() {
    for folder in ["kube-proxy", "kernel"] {
        for (path, family, text) in data(folder) {
            if is(&path, ".step") {
                continue;
            }
            let once = print(&rules(&text, family), Wording::Save);
            let twice = print(&rules(&once, family), Wording::Save);
            assert!(once == twice, "{}", path.display());
        }
    }
}

#[test]
fn partial_texts_one_after_the_other_lead_to_the_whole_one() {
    let files = data("kube-proxy");
    let text = |name: &str| {
        let (_, _, text) = files.iter().find(|(path, ..)| is(path, name)).unwrap();
        text
    };
    let mut rules = RuleSet::empty(Family::Ipv4);
    for step in [
        "restore.txt",
        "restore.step2",
        "restore.step3",
        "restore.step4",
    ] {
        rules = restore(text(&format!("incremental.ipv4.{step}")), rules)
            .unwrap()
            .rules;
    }
    let printed = print(&rules, Wording::KubeProxy);
    let mut saved = by_chain(text("incremental.ipv4.save.step4"));
    // Rules of built-in chains are not part of the texts: kube-proxy adds them one by one.
    saved.retain(|(_, chain), _| chain.starts_with("KUBE-"));
    assert_eq!(by_chain(&printed), saved);
}

#[test]
fn sets_are_printed_byte_for_byte() {
    for name in ["kube-proxy/ipvs.ipset.txt", "hosts/policies.ipset"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(name);
        let text = fs::read_to_string(path).unwrap();
        let sets = ipset::parse(&text).unwrap();
        assert_eq!(ipset::print(&sets), text);
    }
}
