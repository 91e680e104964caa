//! Dumps of nodes beside the objects that they come from, and beside others.
//!
//! The dumps are what the real kube-proxy wrote (tests/golden/kube-proxy) and what Linux printed after
//! loading that: `kernel-iptables-save.*` and `nft-list.*`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use podwire_analysis::node_dump::{Code, NodeDump, Report, Severity, compare};
use podwire_cluster::{Cluster, ObjectName, load, read_inputs};
use podwire_controlplane::kube_proxy::KubeProxyVersion;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/kube-proxy");

fn case(name: &str) -> PathBuf {
    Path::new(GOLDEN).join(name)
}

fn cluster(case: &Path, mode: &str) -> Cluster {
    let inputs = read_inputs(&[case.join("objects.yaml"), case.join("config.yaml")]).unwrap();
    let mut cluster = load(inputs).unwrap();
    cluster.kube_proxy.get_or_insert_default().mode = mode.to_owned();
    cluster
}

fn report(cluster: &Cluster, node: &str, texts: &[String]) -> Report {
    let texts = texts.iter().enumerate();
    let texts = texts.map(|(number, text)| (PathBuf::from(format!("file-{number}")), text.clone()));
    let dump = NodeDump::of_texts(texts).unwrap();
    compare(&dump, cluster, node, KubeProxyVersion::default()).unwrap()
}

/// Code and subject of each finding.
fn told(report: &Report) -> Vec<(Code, &str)> {
    let findings = report.findings.iter();
    findings
        .map(|found| (found.code, &*found.subject))
        .collect()
}

/// The nodes of a case that have a file of that form, of any family.
fn nodes(case: &Path, form: &str) -> Vec<String> {
    let files = fs::read_dir(case).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let nodes = names.filter_map(|name| {
        let node = name
            .strip_prefix(form)?
            .strip_prefix('.')?
            .strip_suffix(".txt")?;
        let node = node.strip_suffix(".ipv6").unwrap_or(node);
        (!node.contains('.')).then(|| node.to_owned())
    });
    let mut nodes: Vec<String> = nodes.collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

/// The files of that form of a node, one a family.
fn of_families(case: &Path, form: &str, node: &str) -> Vec<String> {
    let files = ["", ".ipv6"].map(|family| case.join(format!("{form}.{node}{family}.txt")));
    files
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect()
}

/// One table a family makes one file.
fn nft_dump(case: &Path, form: &str, node: &str) -> Vec<String> {
    vec![of_families(case, form, node).concat()]
}

/// The sections of the files of IPVS mode as the files of a dump.
fn ipvs_dump(case: &Path, node: &str) -> Vec<String> {
    let (mut servers, mut sets, mut texts) = (String::new(), String::new(), Vec::new());
    for text in of_families(case, "ipvs", node) {
        for section in text.split("### ") {
            if let Some(own) = section.strip_prefix("ipvsadm-save -n\n") {
                servers.push_str(own);
            } else if let Some(own) = section.strip_prefix("ipset save\n") {
                sets.push_str(own);
            } else if let Some(own) = section.strip_prefix("iptables-save\n") {
                texts.push(own.to_owned());
            }
        }
    }
    texts.extend([servers, sets]);
    texts
}

/// Compares the dump of every node of every case that has one; gives how many there were.
fn nothing_is_found(form: &str, mode: &str, dump: impl Fn(&Path, &str) -> Vec<String>) -> usize {
    let mut compared = 0;
    for entry in fs::read_dir(GOLDEN).unwrap() {
        let case = entry.unwrap().path();
        if !case.is_dir() {
            continue;
        }
        let nodes = nodes(&case, form);
        if nodes.is_empty() {
            continue;
        }
        let cluster = cluster(&case, mode);
        for node in nodes {
            let report = report(&cluster, &node, &dump(&case, &node));
            let found = &report.findings;
            assert!(found.is_empty(), "{} {node}: {found:#?}", case.display());
            assert!(!report.compared.is_empty(), "{} {node}", case.display());
            assert_eq!(report.mode.name(), mode);
            compared += 1;
        }
    }
    compared
}

#[test]
fn what_kube_proxy_wrote_has_no_finding() {
    let iptables = nothing_is_found("iptables-save", "iptables", |case, node| {
        of_families(case, "iptables-save", node)
    });
    let nftables = nothing_is_found("nftables", "nftables", |case, node| {
        nft_dump(case, "nftables", node)
    });
    let ipvs = nothing_is_found("ipvs", "ipvs", ipvs_dump);
    assert!(
        iptables > 30 && nftables > 30 && ipvs > 30,
        "{iptables} {nftables} {ipvs}"
    );
}

#[test]
fn what_the_kernel_lists_of_it_has_none() {
    let iptables = nothing_is_found("kernel-iptables-save", "iptables", |case, node| {
        of_families(case, "kernel-iptables-save", node)
    });
    assert_eq!(iptables, 4);
    let nftables = nothing_is_found("nft-list", "nftables", |case, node| {
        nft_dump(case, "nft-list", node)
    });
    assert!(nftables > 5, "{nftables}");
    let ipvs = nothing_is_found("kernel-ipvs-iptables-save", "ipvs", |case, node| {
        let mut texts = ipvs_dump(case, node);
        texts.retain(|text| !text.starts_with('*'));
        texts.extend(of_families(case, "kernel-ipvs-iptables-save", node));
        texts
    });
    assert_eq!(ipvs, 1);
}

const NODE: &str = "node-a";

/// Two plain services: `default/api` with an endpoint, `shop/cart` with two.
fn plain() -> PathBuf {
    case("002-clusterip-plain")
}

fn plain_text() -> String {
    of_families(&plain(), "iptables-save", NODE).concat()
}

/// What is told of an iptables dump of the plain case.
fn told_of(text: String) -> Vec<(Code, String)> {
    let report = report(&cluster(&plain(), "iptables"), NODE, &[text]);
    let found = told(&report).into_iter();
    found
        .map(|(code, subject)| (code, subject.to_owned()))
        .collect()
}

fn one(code: Code, subject: &str) -> Vec<(Code, String)> {
    vec![(code, subject.to_owned())]
}

/// A text without the lines that hold a word.
fn without(text: &str, word: &str) -> String {
    let lines = text
        .split_inclusive('\n')
        .filter(|line| !line.contains(word));
    let left: String = lines.collect();
    assert!(left.len() < text.len(), "no line has {word}");
    left
}

/// A text with a line behind the first that holds a word.
fn with_line(text: &str, behind: &str, line: &str) -> String {
    let at = text
        .find(behind)
        .unwrap_or_else(|| panic!("no line has {behind}"));
    let end = at + text[at..].find('\n').unwrap() + 1;
    format!("{}{line}\n{}", &text[..end], &text[end..])
}

#[test]
fn an_endpoint_that_is_gone_is_stale_in_every_mode() {
    let dumps = [
        ("iptables", vec![plain_text()]),
        (
            "nftables",
            nft_dump(&case("018-lb-source-ranges"), "nftables", NODE),
        ),
        ("ipvs", ipvs_dump(&case("018-lb-source-ranges"), NODE)),
    ];
    for (mode, texts) in dumps {
        let (case, service, wanted) = if mode == "iptables" {
            (
                plain(),
                "10.244.3.4",
                vec![(Code::StaleEndpoint, "shop/cart 10.244.3.4:8080")],
            )
        } else {
            let wanted = vec![
                (Code::StaleEndpoint, "prod/open:http 10.244.2.4:8080"),
                (Code::StaleEndpoint, "prod/open:u 10.244.2.4:8081"),
            ];
            (case("018-lb-source-ranges"), "10.244.2.4", wanted)
        };
        let mut cluster = cluster(&case, mode);
        for slice in cluster.endpoint_slices.values_mut() {
            slice
                .endpoints
                .retain(|endpoint| &*endpoint.addresses[0] != service);
        }
        let report = report(&cluster, NODE, &texts);
        assert_eq!(told(&report), wanted, "{mode}: {report:#?}");
        let effect = &report.findings[0].effect;
        assert!(effect.starts_with("new connections to"), "{effect}");
        assert!(effect.contains("is gone"), "{effect}");
        assert!(report.findings[0].object.is_some());
    }
}

#[test]
fn an_endpoint_that_is_not_ready_is_told_so_with_its_slice_and_line() {
    let mut cluster = cluster(&plain(), "iptables");
    for slice in cluster.endpoint_slices.values_mut() {
        for endpoint in &mut slice.endpoints {
            endpoint.ready &= &*endpoint.addresses[0] != "10.244.3.4";
        }
    }
    let text = plain_text();
    let report = report(&cluster, NODE, std::slice::from_ref(&text));
    assert_eq!(
        told(&report),
        [(Code::StaleEndpoint, "shop/cart 10.244.3.4:8080")]
    );
    let finding = &report.findings[0];
    assert!(
        finding.effect.ends_with("which is not ready"),
        "{}",
        finding.effect
    );
    let object = finding.object.as_ref().unwrap();
    assert_eq!(object.to_string(), "EndpointSlice shop/cart-7j65l");
    assert!(object.source.is_some());
    // The line that sends connections there is among the evidence, at its place.
    let evidence = finding.evidence.iter().find(|own| {
        let has = |text: &str| text.contains("-j KUBE-SEP-XNKWIME72D5CCODC");
        own.dump.as_deref().is_some_and(has)
    });
    let line = evidence.unwrap().place.as_ref().unwrap().line.unwrap();
    let shown = text.lines().nth(line as usize - 1).unwrap();
    assert!(shown.ends_with("-j KUBE-SEP-XNKWIME72D5CCODC"), "{shown}");
}

#[test]
fn a_service_that_is_gone_is_stale() {
    let mut cluster = cluster(&plain(), "iptables");
    let cart = ObjectName::new("shop", "cart");
    assert!(cluster.services.remove(&cart).is_some());
    let report = report(&cluster, NODE, &[plain_text()]);
    assert_eq!(told(&report), [(Code::StaleService, "shop/cart")]);
}

#[test]
fn a_service_that_the_node_knows_nothing_of_is_missing() {
    let chains = [
        "KUBE-SVC-N5W5PH5NLY2BP4HG",
        "KUBE-SEP-QCFAYNJY4MUDWGQW",
        "KUBE-SEP-XNKWIME72D5CCODC",
    ];
    let text = chains
        .iter()
        .fold(plain_text(), |text, chain| without(&text, chain));
    assert_eq!(told_of(text), one(Code::MissingService, "shop/cart"));
}

#[test]
fn a_chain_that_was_dropped_is_missing() {
    let text = without(&plain_text(), "KUBE-SVC-N5W5PH5NLY2BP4HG");
    assert_eq!(told_of(text), one(Code::MissingRules, "shop/cart"));
    let text = without(&plain_text(), "KUBE-SEP-XNKWIME72D5CCODC");
    assert_eq!(
        told_of(text),
        one(Code::MissingEndpoint, "shop/cart 10.244.3.4:8080")
    );
}

#[test]
fn a_chain_that_no_object_gives_is_told_by_its_comments() {
    let text = with_line(
        &plain_text(),
        ":KUBE-SVC-N5",
        ":KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]\n:KUBE-SEP-BBBBBBBBBBBBBBBB - [0:0]",
    );
    let dispatch = "-A KUBE-SERVICES -d 10.96.9.9/32 -p tcp -m comment --comment \"old/gone:http cluster IP\" -m tcp --dport 80 -j KUBE-SVC-AAAAAAAAAAAAAAAA";
    let text = with_line(&text, "\"default/api cluster IP\"", dispatch);
    let text = with_line(
        &text,
        "-A KUBE-SVC-N5",
        "-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-BBBBBBBBBBBBBBBB\n-A KUBE-SEP-BBBBBBBBBBBBBBBB -p tcp -m tcp -j DNAT --to-destination 10.0.0.9:80",
    );
    assert_eq!(told_of(text), one(Code::StaleService, "old/gone:http"));
}

#[test]
fn a_chain_that_nothing_leads_to_is_a_warning() {
    let chain = ":KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]";
    let rule = "-A KUBE-SVC-AAAAAAAAAAAAAAAA -m comment --comment \"old/gone cluster IP\" -j KUBE-MARK-MASQ";
    let text = with_line(&plain_text(), ":KUBE-SVC-N5", chain);
    let text = with_line(&text, "-A KUBE-MARK-MASQ", rule);
    let report = report(&cluster(&plain(), "iptables"), NODE, &[text]);
    assert_eq!(told(&report), [(Code::StaleService, "old/gone")]);
    assert_eq!(report.findings[0].severity, Severity::Warning);
}

#[test]
fn a_table_that_the_dump_lacks_is_one_finding() {
    let text = plain_text();
    let of_nat = &text[text.find("*nat").unwrap()..];
    let wanted = [
        (Code::MissingRules, "filter"),
        (Code::MissingRules, "mangle"),
    ];
    let report = report(&cluster(&plain(), "iptables"), NODE, &[of_nat.to_owned()]);
    assert_eq!(told(&report), wanted);
    let severities: Vec<_> = report.findings.iter().map(|found| found.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning]);
}

#[test]
fn rules_of_others_are_foreign() {
    let rule = "-A KUBE-SERVICES -s 10.1.2.3/32 -j ACCEPT";
    let text = with_line(&plain_text(), "\"default/api cluster IP\"", rule);
    assert_eq!(told_of(text), one(Code::ForeignRule, "nat KUBE-SERVICES"));
    // In a chain of the kernel's it matters where it stands.
    let rule = "-A PREROUTING -d 10.9.9.9/32 -j DNAT --to-destination 10.0.0.9";
    let text = plain_text();
    let jump = "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES";
    let first = text.replace(jump, &format!("{rule}\n{jump}"));
    assert_eq!(told_of(first), one(Code::ForeignFirst, "nat PREROUTING"));
    assert_eq!(told_of(with_line(&text, jump, rule)), []);
}

#[test]
fn chains_of_others_are_counted_and_those_with_a_name_noted() {
    let jump = "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES";
    let chains = ":CNI-HOSTPORT-DNAT - [0:0]\n:LOGS - [0:0]";
    let text = with_line(&plain_text(), ":KUBE-SVC-N5", chains);
    let text = text.replace(
        jump,
        &format!("-A PREROUTING -j LOGS\n-A PREROUTING -j CNI-HOSTPORT-DNAT\n{jump}"),
    );
    let text = with_line(
        &text,
        jump,
        "-A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.0.0.9:80\n-A LOGS -j LOG",
    );
    let report = report(&cluster(&plain(), "iptables"), NODE, &[text]);
    assert_eq!(
        told(&report),
        [(Code::ForeignFirst, "nat PREROUTING (CNI plugins)")]
    );
    assert_eq!(report.findings[0].severity, Severity::Note);
    assert!(report.is_clean());
    let counted: Vec<_> = report
        .foreign
        .iter()
        .map(|own| (own.owner, own.chains, own.rules))
        .collect();
    assert_eq!(counted, [("CNI plugins", 1, 2), ("unknown", 1, 2)]);
}

#[test]
fn the_order_of_services_is_free_but_for_node_ports() {
    let text = plain_text();
    let rule = |begin: &str| {
        text.lines()
            .find(|line| line.contains(begin))
            .unwrap()
            .to_owned()
    };
    let (api, cart) = (
        rule("\"default/api cluster IP\" -m tcp"),
        rule("\"shop/cart cluster IP\" -m tcp"),
    );
    let swapped = text
        .replace(&api, "-")
        .replace(&cart, &api)
        .replace("\n-\n", &format!("\n{cart}\n"));
    assert_ne!(swapped, text);
    assert_eq!(told_of(swapped), []);
    let last = rule("NOTE: this must be the last");
    let moved = text
        .replace(&format!("{last}\n"), "")
        .replace(&api, &format!("{last}\n{api}"));
    assert_eq!(
        told_of(moved),
        one(Code::DifferentRules, "nat KUBE-SERVICES")
    );
}

#[test]
fn other_shares_of_the_same_endpoints_differ() {
    let text = plain_text().replace("0.5000000000", "0.9000000000");
    assert_eq!(told_of(text), one(Code::DifferentRules, "shop/cart"));
}

#[test]
fn the_mode_is_that_of_the_dump_and_told_where_the_configuration_has_another() {
    let told_of = |texts: &[String]| {
        let report = report(&cluster(&plain(), "nftables"), NODE, texts);
        assert_eq!(report.mode.name(), "iptables");
        told(&report)
            .into_iter()
            .map(|(code, _)| code)
            .collect::<Vec<_>>()
    };
    assert_eq!(told_of(&[plain_text()]), [Code::OtherMode]);
    // Where both are there, the configured one counts, and the other is a leftover.
    let case = case("018-lb-source-ranges");
    let mut texts = nft_dump(&case, "nftables", NODE);
    texts.extend(of_families(&case, "iptables-save", NODE));
    let both = report(&cluster(&case, "nftables"), NODE, &texts);
    assert_eq!(told(&both), [(Code::LeftoverMode, "iptables")]);
    // The rules of iptables-nft are seen in the listing of nft too.
    let table = "table ip nat {\n\tchain KUBE-NODEPORTS {\n\t}\n}\n";
    let listed = [nft_dump(&case, "nftables", NODE).concat() + table];
    let both = report(&cluster(&case, "nftables"), NODE, &listed);
    assert_eq!(told(&both), [(Code::LeftoverMode, "iptables")]);
}

#[test]
fn a_real_server_that_drains_is_a_note() {
    let case = case("018-lb-source-ranges");
    let mut texts = ipvs_dump(&case, NODE);
    for text in &mut texts {
        if text.starts_with("-A") {
            *text = with_line(
                text,
                "-A -t 10.96.166.11:80",
                "-a -t 10.96.166.11:80 -r 10.244.9.9:8080 -m -w 0",
            );
        }
    }
    let report = report(&cluster(&case, "ipvs"), NODE, &texts);
    assert_eq!(
        told(&report),
        [(Code::StaleEndpoint, "prod/open:http 10.244.9.9:8080")]
    );
    assert_eq!(report.findings[0].severity, Severity::Note);
}

/// Takes each line away that `is_entry` says of which block it is: a finding must name the block, and
/// show the line as missing.
fn every_line_is_missed(
    case: &Path,
    mode: &str,
    texts: &[String],
    is_entry: impl Fn(&str) -> Option<String>,
) -> usize {
    let cluster = cluster(case, mode);
    let mut tried = 0;
    for (file, text) in texts.iter().enumerate() {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for (number, line) in lines.iter().enumerate() {
            let Some(block) = is_entry(line.trim()) else {
                continue;
            };
            let mut left = lines.clone();
            left.remove(number);
            let mut texts = texts.to_vec();
            texts[file] = left.concat();
            let report = report(&cluster, NODE, &texts);
            let evidence = report.findings.iter().flat_map(|found| &found.evidence);
            let mut of_block = evidence.filter(|own| own.block.ends_with(&block));
            let is_missed = of_block.any(|own| own.expected.is_some());
            assert!(
                is_missed,
                "{} without {line}: {:#?}",
                case.display(),
                report.findings
            );
            tried += 1;
        }
    }
    tried
}

#[test]
fn any_one_rule_of_iptables_is_missed() {
    let mut tried = 0;
    for name in [
        "012-nodeport-local",
        "018-lb-source-ranges",
        "028-session-affinity",
    ] {
        let case = case(name);
        let texts = of_families(&case, "iptables-save", NODE);
        tried += every_line_is_missed(&case, "iptables", &texts, |line| {
            let chain = line.strip_prefix("-A ")?.split(' ').next()?;
            Some(format!(" {chain}"))
        });
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn any_one_rule_of_nftables_is_missed() {
    let mut tried = 0;
    for name in ["018-lb-source-ranges", "028-session-affinity"] {
        let case = case(name);
        let texts = nft_dump(&case, "nftables", NODE);
        tried += every_line_is_missed(&case, "nftables", &texts, |line| {
            let rest = line.strip_prefix("add rule ip kube-proxy ");
            let rest = rest.or_else(|| line.strip_prefix("add element ip kube-proxy "));
            Some(format!(" {}", rest?.split(' ').next()?))
        });
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn any_one_server_or_element_of_ipvs_is_missed() {
    let case = case("018-lb-source-ranges");
    let texts = ipvs_dump(&case, NODE);
    let tried = every_line_is_missed(&case, "ipvs", &texts, |line| {
        let mut words = line.split(' ');
        match words.next()? {
            "add" => Some(format!("set {}", words.next()?)),
            "-a" => Some(format!(
                "virtual server {} {}",
                words.next()?,
                words.next()?
            )),
            // A rule of iptables names a chain; a virtual server is needed by its real ones.
            "-A" => words
                .next()
                .filter(|chain| !chain.starts_with('-'))
                .map(|chain| format!(" {chain}")),
            _ => None,
        }
    });
    assert!(tried > 60, "{tried}");
}
