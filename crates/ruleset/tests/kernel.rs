//! What podwire prints, beside what `iptables-restore` and `iptables-save` of this machine print.
//!
//! These tests load rules in a network namespace of their own, for which they need root and the
//! tools of iptables 1.8.9 (nf_tables). Where that is missing they say so and check nothing;
//! `PODWIRE_KERNEL=require` makes that a failure.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, parse, print};
use podwire_ruleset::nft;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Runs a shell command in a fresh namespace with `input`; its output, or what it complained of.
fn in_namespace(command: &str, input: &str) -> Result<String, String> {
    let mut child = Command::new("unshare")
        .args(["-n", "sh", "-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().unwrap();
    let text = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    // A command that stopped early closes its input; its own words say why.
    drop(writer.join().unwrap());
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Whether the tools of iptables are here; if not, says so.
fn kernel() -> bool {
    let tried = in_namespace(
        "iptables-nft-restore && iptables-nft-restore --version",
        "*filter\n-A INPUT -m comment --comment x -j ACCEPT\nCOMMIT\n",
    );
    is_here("iptables 1.8.9", "v1.8.9 (nf_tables)", tried)
}

/// Whether nft is here; if not, says so.
fn kernel_nft() -> bool {
    let tried = in_namespace("nft -f - && nft --version", "add table ip t\n");
    is_here("nft 1.0.6", "v1.0.6", tried)
}

#[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
fn is_here(tool: &str, version: &str, tried: Result<String, String>) -> bool {
    let reason = match tried {
        Ok(said) if said.contains(version) => return true,
        Ok(other) | Err(other) => other,
    };
    let required = std::env::var("PODWIRE_KERNEL").is_ok_and(|value| value == "require");
    assert!(!required, "no {tool} in a namespace: {reason}");
    eprintln!("skipped: no {tool} in a namespace: {reason}");
    false
}

const fn tools(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::Ipv4 => ("iptables-nft-restore", "iptables-nft-save"),
        Family::Ipv6 => ("ip6tables-nft-restore", "ip6tables-nft-save"),
    }
}

fn data(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Policies and rules by table and chain. The kernel lists tables and users' chains in an order of
/// its own, and counters begin anew.
fn by_chain(text: &str) -> BTreeMap<(&str, &str), Vec<&str>> {
    let mut table = "";
    let mut chains = BTreeMap::<_, Vec<_>>::new();
    for line in text.lines() {
        if line.starts_with('*') {
            table = line;
        } else if let Some(chain) = line.strip_prefix(':') {
            let (chain, policy) = chain.split_once(' ').unwrap();
            let policy = policy.split(' ').next().unwrap();
            chains.entry((table, chain)).or_default().push(policy);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let chain = rule.split(' ').next().unwrap();
            chains.entry((table, chain)).or_default().push(line);
        }
    }
    chains
}

/// Loads a text as it stands, and asserts that podwire words it as the kernel's tools list it.
fn assert_listed_alike(text: &str, family: Family, sets: &str) {
    let rules = parse(text, family).unwrap().rules;
    let printed = print(&rules, Wording::Save);
    let (restore, save) = tools(family);
    let command = format!("{sets}{restore} && {save}");
    let listed = in_namespace(&command, text).unwrap_or_else(|e| panic!("{}", refused(&e, text)));
    let (printed, listed) = (by_chain(&printed), by_chain(&listed));
    for (chain, rules) in &printed {
        let other = listed.get(chain).map_or(&[][..], Vec::as_slice);
        for (ours, theirs) in rules.iter().zip(other) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(rules.len(), other.len(), "{chain:?}");
    }
    assert_eq!(printed.len(), listed.len());
}

/// What the tool complained of, with the line that it names.
fn refused(complaint: &str, text: &str) -> String {
    let line = complaint
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse::<usize>().ok())
        .filter_map(|number| text.lines().nth(number.checked_sub(1)?))
        .next_back();
    format!("{complaint}{}", line.unwrap_or(text))
}

/// Texts of kube-proxy's nftables mode in the golden cases, but for those that nft refuses: a device's
/// number by a name with a star.
fn nft_texts() -> Vec<(String, String)> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/kube-proxy");
    let folders = fs::read_dir(cases)
        .unwrap()
        .map(|case| case.unwrap().path());
    let files = folders
        .filter(|case| case.is_dir())
        .flat_map(|case| fs::read_dir(case).unwrap())
        .map(|file| file.unwrap().path());
    let mut texts: Vec<_> = files
        .map(|file| (file.display().to_string(), file))
        .filter(|(name, _)| name.contains("/nftables.") && !name.contains("052-detect-prefix"))
        .map(|(name, file)| (name, fs::read_to_string(file).unwrap()))
        .collect();
    texts.sort();
    assert!(!texts.is_empty());
    texts
}

#[test]
fn nft_takes_both_wordings_and_lists_them_as_podwire_prints_them() {
    if !kernel_nft() {
        return;
    }
    for (name, text) in nft_texts().into_iter().step_by(3) {
        let rules = nft::parse(&text).unwrap().rules;
        let listing = nft::print(&rules, nft::Wording::List);
        for wording in [nft::Wording::List, nft::Wording::KubeProxy] {
            let printed = nft::print(&rules, wording);
            // Local pods are known by a bridge in one case.
            let command = "ip link add br-pods type bridge && nft -f - && nft list ruleset";
            let listed = in_namespace(command, &printed)
                .unwrap_or_else(|e| panic!("{name} {wording:?}: {}", refused(&e, &printed)));
            for (ours, theirs) in listing.lines().zip(listed.lines()) {
                assert_eq!(ours, theirs, "{name} {wording:?}");
            }
            assert_eq!(listing, listed);
        }
    }
}

#[test]
fn rules_of_hosts_are_worded_as_the_kernel_lists_them() {
    if !kernel() {
        return;
    }
    for name in ["docker", "zones", "pods"] {
        assert_listed_alike(&data(&format!("hosts/{name}.txt")), Family::Ipv4, "");
    }
    assert_listed_alike(&data("hosts/pods6.txt"), Family::Ipv6, "");
    let sets = format!(
        "ipset restore -file {}/tests/data/hosts/policies.ipset && ",
        env!("CARGO_MANIFEST_DIR")
    );
    assert_listed_alike(&data("hosts/policies.txt"), Family::Ipv4, &sets);
}

#[test]
fn iptables_accepts_both_wordings() {
    if !kernel() {
        return;
    }
    for (name, family) in [
        ("hosts/docker.txt", Family::Ipv4),
        ("hosts/zones.txt", Family::Ipv4),
        ("hosts/pods.txt", Family::Ipv4),
        ("hosts/pods6.txt", Family::Ipv6),
        ("kube-proxy/nodeport.ipv4.save.txt", Family::Ipv4),
        ("kube-proxy/session-affinity.ipv4.save.txt", Family::Ipv4),
        ("kube-proxy/ipv6.ipv6.save.txt", Family::Ipv6),
    ] {
        let rules = parse(&data(name), family).unwrap().rules;
        for wording in [Wording::Save, Wording::KubeProxy] {
            let text = print(&rules, wording);
            let (restore, _) = tools(family);
            in_namespace(&format!("{restore} --test"), &text)
                .unwrap_or_else(|e| panic!("{name} {wording:?}: {}", refused(&e, &text)));
        }
    }
}

/// Words of a rule that the kernel takes in any order: of the header, of modules, of the target.
fn rule() -> impl Strategy<Value = String> {
    let not = select(vec!["", "! "]);
    let address = || {
        (not.clone(), any::<[u8; 4]>(), 1..=32_u8)
            .prop_map(|(not, [a, b, c, d], len)| (not, format!("{a}.{b}.{c}.{d}/{len}")))
    };
    let source = prop::option::of(address().prop_map(|(not, a)| format!("{not}-s {a}")));
    let destination =
        prop::option::of(address().prop_map(|(not, a)| format!("{not}--destination {a}")));
    let device = prop::option::of(
        (not.clone(), "[a-z]{1,9}[+]?").prop_map(|(not, d)| format!("{not}-i {d}")),
    );
    let fragment = prop::option::weighted(0.1, not.clone().prop_map(|not| format!("{not}-f")));
    let port = || {
        (1..=65_534_u16, 1..=65_534_u16, any::<bool>()).prop_map(|(a, b, one)| {
            if one || a == b {
                a.to_string()
            } else {
                format!("{}:{}", a.min(b), a.max(b))
            }
        })
    };
    let flags = || {
        prop::sample::subsequence(vec!["SYN", "ACK", "FIN", "RST", "URG", "PSH"], 1..=6)
            .prop_map(|f| f.join(","))
    };
    let tcp = (
        prop::option::of((not.clone(), port()).prop_map(|(not, p)| format!("{not}--sport {p}"))),
        prop::option::of(
            (not.clone(), port()).prop_map(|(not, p)| format!("{not}--destination-port {p}")),
        ),
        prop::option::of(
            (not.clone(), flags(), flags())
                .prop_map(|(not, a, b)| format!("{not}--tcp-flags {a} {a},{b}")),
        ),
        any::<bool>(),
    )
        .prop_map(|(source, destination, flags, named)| {
            let options = [source, destination, flags];
            // nf_tables forgets a module that tests nothing, but for its name.
            let name = (named || options.iter().all(Option::is_none)).then(|| "-m tcp".to_owned());
            let mut words = vec!["-p tcp".to_owned()];
            words.push(
                name.into_iter()
                    .chain(options.into_iter().flatten())
                    .collect::<Vec<_>>()
                    .join(" "),
            );
            words
        });
    let icmp = (not.clone(), 0..=18_u8, prop::option::of(0..=15_u8)).prop_map(|(not, t, code)| {
        let code = code.map_or(String::new(), |code| format!("/{code}"));
        vec![
            "-p icmp".to_owned(),
            format!("-m icmp {not}--icmp-type {t}{code}"),
        ]
    });
    let udp = (not.clone(), port(), port()).prop_map(|(not, a, b)| {
        vec![
            "-p udp".to_owned(),
            format!("-m multiport {not}--ports {a},{b}"),
        ]
    });
    let other = select(vec!["-p 47", "! -p udp", "-p sctp", "-p esp", "-p all"])
        .prop_map(|p| vec![p.to_owned()]);
    let protocol = prop_oneof![3 => tcp, 1 => icmp, 2 => udp, 1 => other];
    let modules = prop::collection::vec(module(), 0..4);
    (
        source,
        destination,
        device,
        fragment,
        protocol,
        modules,
        target(),
    )
        .prop_map(
            |(source, destination, device, fragment, protocol, modules, target)| {
                let mut words: Vec<String> = [source, destination, device, fragment]
                    .into_iter()
                    .flatten()
                    .collect();
                words.extend(protocol);
                words.extend(modules);
                words.push(target);
                words
            },
        )
        .prop_shuffle()
        .prop_map(|words| words.join(" "))
        // Where both are named again, the tool mistakes one's `--mark` for the other's.
        .prop_filter("mark or connmark", |rule| {
            !(rule.contains("-m mark") && rule.contains("-m connmark"))
        })
        // `-p` must be known where the options of its module come.
        .prop_filter("protocol first", |rule| {
            let at = |word: &str| rule.find(word);
            match at("-p ") {
                None => true,
                Some(p) => ["port ", "--tcp-flags", "-m icmp", "-m multiport", "-m tcp"]
                    .iter()
                    .all(|option| at(option).is_none_or(|o| o > p)),
            }
        })
}

fn module() -> impl Strategy<Value = String> {
    let not = select(vec!["", "! "]);
    let mark = || {
        (any::<u32>(), prop::option::of(any::<u32>())).prop_map(|(value, mask)| match mask {
            None => format!("{value}"),
            Some(mask) => format!("{value:#x}/{mask:#x}"),
        })
    };
    let states = prop::sample::subsequence(
        vec!["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"],
        1..=5,
    )
    .prop_shuffle()
    .prop_map(|s| s.join(","));
    prop_oneof![
        "[ -~]{0,40}".prop_map(|text| format!(
            "-m comment --comment \"{}\"",
            text.replace('\\', "\\\\").replace('"', "\\\"")
        )),
        (not.clone(), mark()).prop_map(|(not, m)| format!("-m mark {not}--mark {m}")),
        (not.clone(), mark()).prop_map(|(not, m)| format!("-m connmark {not}--mark {m}")),
        (not.clone(), states.clone()).prop_map(|(not, s)| format!("-m state {not}--state {s}")),
        (not.clone(), states, not.clone(), "[a-z]{1,3}").prop_map(|(not, s, not2, _)| format!(
            "-m conntrack {not2}--ctorigdst 10.0.0.0/9 {not}--ctstate {s},DNAT --ctdir REPLY"
        )),
        (not.clone(), 0.0..=1.0_f64)
            .prop_map(|(not, p)| format!("-m statistic --mode random {not}--probability {p:.10}")),
        (not.clone(), 2..=99_u32).prop_map(|(not, n)| format!(
            "-m statistic --mode nth {not}--every {n} --packet {}",
            n / 2
        )),
        (
            1..=5_000_u32,
            select(vec!["s", "min", "hour", "day"]),
            1..=99_u32
        )
            .prop_map(|(n, unit, burst)| format!(
                "-m limit --limit {n}/{unit} --limit-burst {burst}"
            )),
        (
            not.clone(),
            select(vec!["--rcheck", "--update"]),
            1..=9_999_u32,
            any::<bool>(),
            any::<bool>()
        )
            .prop_map(|(not, operation, seconds, reap, dest)| format!(
                "-m recent --name L{seconds} {not}{operation} --seconds {seconds}{}{}",
                if reap { " --reap" } else { "" },
                if dest { " --rdest" } else { "" },
            )),
        (not.clone(), not.clone()).prop_map(|(a, b)| format!(
            "-m addrtype {a}--dst-type LOCAL,MULTICAST {b}--src-type UNICAST"
        )),
        (not.clone(), any::<u8>())
            .prop_map(|(not, n)| format!("-m iprange {not}--dst-range 10.0.0.{n}-10.0.1.{n}")),
        (not.clone(), not)
            .prop_map(|(a, b)| format!("-m physdev {a}--physdev-is-bridged {b}--physdev-in veth+")),
    ]
}

fn target() -> impl Strategy<Value = String> {
    let mark = (any::<u32>(), any::<u32>());
    prop_oneof![
        select(vec![
            "-j ACCEPT",
            "-j DROP",
            "-j RETURN",
            "-j OTHER",
            "-g OTHER",
            "--jump NFLOG --nflog-group 3 --nflog-prefix \"a 'b'\"",
            "-j LOG --log-level notice --log-prefix x --log-uid --log-tcp-sequence",
            "-j CONNMARK --restore-mark",
            "-j CONNMARK --save-mark --mask 0xff",
        ])
        .prop_map(str::to_owned),
        (
            mark,
            select(vec!["set-mark", "set-xmark"]),
            select(vec!["MARK", "CONNMARK"])
        )
            .prop_map(|((value, mask), option, target)| format!(
                "-j {target} --{option} {value}/{mask:#x}"
            )),
        (
            any::<u32>(),
            select(vec!["and-mark", "or-mark", "xor-mark"])
        )
            .prop_map(|(bits, option)| format!("-j MARK --{option} {bits:#x}")),
    ]
}

#[test]
fn any_rules_are_worded_as_the_kernel_lists_them() {
    if !kernel() {
        return;
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for _ in 0..16 {
        let mut text = String::from("*mangle\n:OTHER - [0:0]\n");
        for _ in 0..100 {
            let rule = rule().new_tree(&mut runner).unwrap().current();
            text.push_str(&format!("-A PREROUTING {rule}\n"));
        }
        text.push_str("COMMIT\n");
        assert_listed_alike(&text, Family::Ipv4, "");
    }
}
