//! Texts of kube-proxy 1.30.5, byte for byte.
//!
//! Each folder of tests/golden/kube-proxy has a cluster (`objects.yaml`), a configuration
//! (`config.yaml`) and what the real kube-proxy made of them on some nodes: `iptables.NODE.txt` is what
//! it handed to `iptables-restore`, `iptables-save.NODE.txt` the tables after that, `ipvs.NODE.txt` all
//! that it does in IPVS mode, `misc.NODE.txt` the rest. `nftables.NODE.txt` is its table in nftables mode,
//! `nft-list.NODE.txt` what Linux lists after loading that. IPv6 has `.ipv6` behind the node.
//! `objects.step2.yaml` and so on are later states of the
//! cluster, and what kube-proxy did then has `.step2` behind the node.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use podwire_cluster::{AddressKind, Cluster, ObjectName, load, read_inputs, synthetic};
use podwire_controlplane::kube_proxy::{
    IptablesHistory, IptablesProxier, IpvsHistory, IpvsProxier, KubeProxyVersion, LiveIptables,
    NftablesForm, NftablesHistory, NftablesProxier, ServicePorts, SideEffects, SliceChange,
    side_effects_text,
};
use podwire_packet::Family;
use podwire_ruleset::{ipset, iptables, ipvs, nft};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/kube-proxy");

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(GOLDEN).unwrap();
    let mut cases: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {GOLDEN}");
    cases
}

fn cluster(case: &Path) -> Cluster {
    state(case, "objects.yaml")
}

fn state(case: &Path, objects: &str) -> Cluster {
    let files = [case.join(objects), case.join("config.yaml")];
    load(read_inputs(&files).unwrap()).unwrap()
}

/// The states of a case, in order.
fn states(case: &Path) -> Vec<Cluster> {
    let steps = (2..)
        .map(|step| format!("objects.step{step}.yaml"))
        .take_while(|objects| case.join(objects).exists())
        .map(|objects| state(case, &objects));
    std::iter::once(cluster(case)).chain(steps).collect()
}

fn services(cluster: &Cluster) -> [ServicePorts<'_>; 2] {
    [Family::Ipv4, Family::Ipv6]
        .map(|family| ServicePorts::new(cluster, family, KubeProxyVersion::default()))
}

/// Golden files that were compared, and a line for each that differs.
#[derive(Default)]
struct Comparison {
    compared: usize,
    differences: Vec<String>,
}

impl Comparison {
    /// Compares with a golden file, if the case has it.
    fn compare(&mut self, golden: &Path, printed: impl FnOnce() -> String) {
        let Ok(golden_text) = fs::read_to_string(golden) else {
            return;
        };
        self.compared += 1;
        let printed = printed();
        if printed == golden_text {
            return;
        }
        let lines = || printed.lines().zip(golden_text.lines());
        let difference = match lines().position(|(ours, theirs)| ours != theirs) {
            Some(at) => {
                let (ours, theirs) = lines().nth(at).unwrap();
                format!("line {}\n  printed {ours}\n  golden  {theirs}", at + 1)
            }
            None => format!("{} bytes, golden has {}", printed.len(), golden_text.len()),
        };
        self.differences
            .push(format!("{}: {difference}", golden.display()));
    }

    fn finish(self) {
        assert!(self.compared > 0);
        assert!(
            self.differences.is_empty(),
            "{} of {} files differ:\n{}",
            self.differences.len(),
            self.compared,
            self.differences.join("\n")
        );
    }
}

/// Compares a form of every node and family of every case.
fn compare_form(form: &str, print: impl Fn(&Cluster, &ServicePorts<'_>, &str) -> String) {
    let mut comparison = Comparison::default();
    for case in cases() {
        let cluster = cluster(&case);
        for services in services(&cluster) {
            let suffix = match services.family() {
                Family::Ipv4 => "",
                Family::Ipv6 => ".ipv6",
            };
            for node in cluster.nodes.keys() {
                let golden = case.join(format!("{form}.{node}{suffix}.txt"));
                comparison.compare(&golden, || print(&cluster, &services, node));
            }
        }
    }
    comparison.finish();
}

#[test]
fn the_restore_text_is_that_of_kube_proxy() {
    compare_form("iptables", |cluster, services, node| {
        let proxier = IptablesProxier::new(cluster, services, node).unwrap();
        proxier.restore_text()
    });
}

/// Endpoints of no Service, more than a cluster may have that is not large.
fn make_large(cluster: &mut Cluster) {
    for (name, kind, network) in [
        ("gone-4", AddressKind::Ipv4, "10.9."),
        ("gone-6", AddressKind::Ipv6, "2001:db8::"),
    ] {
        let mut alike = synthetic::services(1, 1_001);
        let (_, mut slice) = alike.endpoint_slices.pop_first().unwrap();
        slice.meta.name = ObjectName::new("default", name);
        slice.address_type = kind;
        let labels = &mut slice.meta.labels;
        labels.insert("kubernetes.io/service-name".into(), "gone".into());
        for (number, endpoint) in slice.endpoints.iter_mut().enumerate() {
            let (high, low) = (number / 256, number % 256);
            let address = match kind {
                AddressKind::Ipv4 => format!("{network}{high}.{low}"),
                AddressKind::Ipv6 | AddressKind::Fqdn => format!("{network}{number:x}"),
            };
            endpoint.addresses = vec![address.into()];
        }
        cluster
            .endpoint_slices
            .insert(slice.meta.name.clone(), slice);
    }
}

#[test]
fn the_text_of_a_large_cluster_is_that_of_its_rules() {
    let mut compared = 0;
    for case in cases() {
        let mut cluster = cluster(&case);
        make_large(&mut cluster);
        for services in services(&cluster) {
            assert!(services.is_large_cluster());
            for node in cluster.nodes.keys() {
                let proxier = IptablesProxier::new(&cluster, &services, node).unwrap();
                // A history keeps the rules, and prints what it keeps.
                let history = IptablesHistory::first(proxier.clone());
                let text = proxier.restore_text();
                assert_eq!(text, history.restore_text(), "{}", case.display());
                compared += usize::from(text.contains(" -j KUBE-SEP-"));
            }
        }
    }
    assert!(compared > 50, "{compared} with endpoints");
}

#[test]
fn the_saved_tables_are_those_after_kube_proxy() {
    compare_form("iptables-save", |cluster, services, node| {
        let proxier = IptablesProxier::new(cluster, services, node).unwrap();
        proxier.save_text()
    });
}

#[test]
fn the_table_of_nftables_mode_is_that_of_kube_proxy() {
    compare_form("nftables", |cluster, services, node| {
        let proxier = NftablesProxier::new(cluster, services, node).unwrap();
        proxier.text(NftablesForm::Commands)
    });
}

#[test]
fn the_listed_table_is_that_of_the_kernel() {
    compare_form("nft-list", |cluster, services, node| {
        let proxier = NftablesProxier::new(cluster, services, node).unwrap();
        proxier.text(NftablesForm::Listing)
    });
}

#[test]
fn later_syncs_of_nftables_mode_leave_unused_chains_empty() {
    let mut comparison = Comparison::default();
    for case in cases() {
        let states = states(&case);
        let services: Vec<_> = states.iter().map(|state| services(state)).collect();
        for node in states[0].nodes.keys() {
            let proxier = |step: usize| {
                let [ipv4, _] = &services[step];
                NftablesProxier::new(&states[step], ipv4, node).unwrap()
            };
            let mut history = NftablesHistory::first(proxier(0));
            for step in 1..states.len() {
                history.then(proxier(step));
                let golden = |form| case.join(format!("{form}.{node}.step{}.txt", step + 1));
                comparison.compare(&golden("nftables"), || history.text(NftablesForm::Commands));
                comparison.compare(&golden("nft-list"), || history.text(NftablesForm::Listing));
            }
        }
    }
    comparison.finish();
}

#[test]
fn the_table_is_the_one_that_its_text_reads_back_as() {
    for case in cases() {
        let cluster = cluster(&case);
        for services in services(&cluster) {
            for node in cluster.nodes.keys() {
                let proxier = NftablesProxier::new(&cluster, &services, node).unwrap();
                let table = proxier.table();
                let text = proxier.text(NftablesForm::Commands);
                let parsed = nft::parse(&text).unwrap();
                assert_eq!(parsed.unknown, []);
                assert!(
                    parsed.rules.tables.values().eq([&table]),
                    "{} {node}",
                    case.display()
                );
                let provenance = services.provenance();
                let rules = table.chains.values().flat_map(|chain| &chain.rules);
                let elements = table.sets.values().flat_map(|set| set.elements.values());
                let origins = rules.map(|rule| rule.origin);
                for origin in origins.chain(elements.map(|element| element.origin)) {
                    let (object, _) = provenance.get(origin.unwrap()).unwrap();
                    assert!(object.source.is_some(), "{object}");
                }
            }
        }
    }
}

/// What stands before `.txt` in the name of a file about a state.
fn step(place: usize) -> String {
    match place {
        0 => String::new(),
        _ => format!(".step{}", place + 1),
    }
}

#[test]
fn later_syncs_are_those_of_kube_proxy() {
    let mut comparison = Comparison::default();
    let mut followed = 0;
    for case in cases() {
        let states = states(&case);
        let services: Vec<_> = states.iter().map(|state| services(state)).collect();
        for node in states[0].nodes.keys() {
            let proxier = |step: usize| {
                let [ipv4, _] = &services[step];
                IptablesProxier::new(&states[step], ipv4, node).unwrap()
            };
            let mut history = IptablesHistory::first(proxier(0));
            let mut live = LiveIptables::new(proxier(0));
            assert_eq!(history.restore_text(), proxier(0).restore_text());
            for place in 1..states.len() {
                history.then(proxier(place));
                let [before, now] = [&states[place - 1], &states[place]];
                if before.services == now.services && before.nodes == now.nodes {
                    let gone = before.endpoint_slices.keys();
                    let gone = gone.filter(|name| !now.endpoint_slices.contains_key(*name));
                    let set = now.endpoint_slices.values().map(SliceChange::Set);
                    live.sync(gone.map(SliceChange::Remove).chain(set));
                    assert_eq!(live.restore_text(), history.restore_text());
                    assert_eq!(live.save_text(), history.save_text());
                    followed += 1;
                } else {
                    live = LiveIptables::new(proxier(place));
                }
                let golden = |form| case.join(format!("{form}.{node}{}.txt", step(place)));
                comparison.compare(&golden("iptables"), || history.restore_text().to_owned());
                comparison.compare(&golden("iptables-save"), || history.save_text());
            }
        }
    }
    comparison.finish();
    assert!(followed > 0, "no golden step changes slices alone");
}

#[test]
fn side_effects_of_later_syncs_are_those_of_kube_proxy() {
    let mut lines = 0;
    for case in cases() {
        let states = states(&case);
        let services: Vec<_> = states.iter().map(|state| services(state)).collect();
        for node in states[0].nodes.keys() {
            for (step, state) in states.iter().enumerate().skip(1) {
                let [before, after] = [step - 1, step].map(|step| &services[step][0]);
                let effects = SideEffects::later(state, before, after, node).unwrap();
                let golden = case.join(format!("misc.{node}.step{}.txt", step + 1));
                // A step in which nothing happened beside rules has no file.
                let golden = fs::read_to_string(golden).unwrap_or_default();
                lines += golden.lines().count();
                assert_eq!(effects.to_string(), golden, "{} {node}", case.display());
            }
        }
    }
    assert!(lines >= 10, "{lines} lines");
}

#[test]
fn every_sync_in_ipvs_mode_is_that_of_kube_proxy() {
    let mut comparison = Comparison::default();
    for case in cases() {
        let states = states(&case);
        let services: Vec<_> = states.iter().map(|state| services(state)).collect();
        for (family, suffix) in [(0, ""), (1, ".ipv6")] {
            for node in states[0].nodes.keys() {
                let proxier = |place: usize| {
                    IpvsProxier::new(&states[place], &services[place][family], node).unwrap()
                };
                let mut history = IpvsHistory::first(&proxier(0));
                for place in 0..states.len() {
                    if place > 0 {
                        history.then(&proxier(place));
                    }
                    let golden = case.join(format!("ipvs.{node}{suffix}{}.txt", step(place)));
                    comparison.compare(&golden, || history.program().text());
                }
            }
        }
    }
    comparison.finish();
}

#[test]
fn what_ipvs_mode_programs_reads_back_from_its_text() {
    let mut compared = 0;
    for case in cases() {
        let cluster = cluster(&case);
        for services in services(&cluster) {
            for node in cluster.nodes.keys() {
                let program = IpvsProxier::new(&cluster, &services, node)
                    .unwrap()
                    .program();
                let text = program.text();
                let section = |head: &str, next: &str| {
                    let text = text.split_once(head).unwrap().1;
                    text.split_once(next).map_or(text, |(section, _)| section)
                };
                let servers = ipvs::parse(section("### ipvsadm-save -n\n", "### ")).unwrap();
                assert_eq!(&servers, program.virtual_servers());
                let sets = ipset::parse(section("### ipset save\n", "### ")).unwrap();
                assert_eq!(sets, program.sets());
                let saved = section("### iptables-save\n", "### ");
                let parsed = iptables::parse(saved, services.family()).unwrap();
                assert!(parsed.rules == program.rule_set(), "{}", case.display());
                compared += servers.len();
            }
        }
    }
    assert!(compared > 100);
}

#[test]
fn side_effects_are_those_of_kube_proxy() {
    let mut comparison = Comparison::default();
    for case in cases() {
        let cluster = cluster(&case);
        for node in cluster.nodes.keys() {
            let golden = case.join(format!("misc.{node}.txt"));
            comparison.compare(&golden, || {
                side_effects_text(&cluster, &services(&cluster), node).unwrap()
            });
        }
    }
    comparison.finish();
}

#[test]
fn the_rules_are_those_that_the_text_reads_back_as() {
    for case in cases() {
        let cluster = cluster(&case);
        for services in services(&cluster) {
            for node in cluster.nodes.keys() {
                let proxier = IptablesProxier::new(&cluster, &services, node).unwrap();
                let parsed = iptables::parse(&proxier.save_text(), services.family()).unwrap();
                assert!(parsed.unknown.is_empty(), "{:?}", parsed.unknown);
                assert!(
                    parsed.rules == proxier.rule_set(),
                    "{} {node}",
                    case.display()
                );
            }
        }
    }
}

#[test]
fn every_rule_names_the_object_it_comes_from() {
    for case in cases() {
        let cluster = cluster(&case);
        for services in services(&cluster) {
            for node in cluster.nodes.keys() {
                let proxier = IptablesProxier::new(&cluster, &services, node).unwrap();
                let set = proxier.rule_set();
                let chains = set.tables.values().flat_map(|table| table.chains.values());
                for rule in chains.flat_map(|chain| &chain.rules) {
                    let origin = rule.origin.expect("kube-proxy made it");
                    let (object, endpoint) = services.provenance().get(origin).unwrap();
                    assert!(object.source.is_some(), "{object}");
                    assert!(endpoint.is_none() || object.name.is_some(), "{object}");
                }
            }
        }
    }
}
