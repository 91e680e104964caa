//! Whether the real tools take every text that `podwire render` writes: those of all golden cases, of
//! each later sync, and of clusters made at random, in every mode and both families.
//!
//! What kube-proxy hands to a tool that refuses it is a finding of podwire's own (`refused`), and here
//! the tool must refuse just that.

use std::path::PathBuf;

use podwire_cluster::{Cluster, ProxyMode, load, read_inputs};
use podwire_controlplane::kube_proxy::{
    IptablesHistory, IptablesProxier, IpvsHistory, IpvsProgram, IpvsProxier, KubeProxyVersion,
    NftablesForm, NftablesHistory, NftablesProxier, ServicePorts, UserspaceHistory,
    UserspaceProxier,
};
use podwire_packet::Family;
use podwire_testkit::kernel::{self, Lane, Namespace};
use podwire_tests::{random_cluster, root};

/// A golden case of which a tool refuses the text of a mode and family.
struct Exception {
    case: &'static str,
    mode: ProxyMode,
    family: Family,
    /// Why; shown when the text is taken after all, which is a fault too.
    reason: &'static str,
}

const REFUSED: [Exception; 1] = [Exception {
    case: "052-detect-prefix",
    mode: ProxyMode::Nftables,
    family: Family::Ipv4,
    reason: "`iif` is of one device, and nft finds none of the name `cali*`",
}];

/// Rules of these matches can be read but not loaded where the kernel lacks the module.
const NOT_IN_THIS_KERNEL: [(&str, &str); 1] = [(" -m ipvs ", "ip_vs")];

/// Clusters made at random.
const RANDOM: u64 = 12;

/// The device that one case's rules name, which must be there for nft.
const BRIDGE: &str = "link add br-pods type bridge\n";

/// Tools at work in a namespace of their own, and what they said.
struct Tools {
    namespace: Namespace,
    /// Texts that were taken.
    taken: usize,
    wrong: Vec<String>,
}

impl Tools {
    fn new(lane: Lane) -> Self {
        let namespace = Namespace::new(lane).expect("a namespace");
        namespace.ip(BRIDGE).expect("a bridge");
        Self {
            namespace,
            taken: 0,
            wrong: Vec::new(),
        }
    }

    /// Hands a text to a tool, which must take it.
    fn takes(&mut self, what: &str, command: &[&str], text: &str) {
        match self.namespace.run(command, text) {
            Ok(_) => self.taken += 1,
            Err(error) => self.wrong.push(format!("{what}: {error}")),
        }
    }

    /// Hands it one that it must refuse.
    fn refuses(&mut self, what: &str, command: &[&str], text: &str) {
        if self.namespace.run(command, text).is_ok() {
            self.wrong
                .push(format!("{what}: `{}` takes it", command.join(" ")));
        }
    }
}

/// The states of a cluster on one node, as the proxiers of one family see them.
struct Node<'a> {
    label: String,
    name: &'a str,
    states: &'a [Cluster],
    services: &'a [ServicePorts<'a>],
    family: Family,
    /// What is refused of this cluster.
    refused: &'a [&'a Exception],
}

impl Node<'_> {
    /// The program that loads rules, for `--test` or for good.
    const fn restore(&self) -> &'static str {
        match self.family {
            Family::Ipv4 => "iptables-nft-restore",
            Family::Ipv6 => "ip6tables-nft-restore",
        }
    }

    fn seen(&self) -> impl Iterator<Item = (&Cluster, &ServicePorts<'_>)> {
        self.states.iter().zip(self.services)
    }

    /// Each sync is loaded onto what the one before it left.
    fn iptables(&self, tools: &mut Tools) {
        let proxier = |(state, services)| {
            IptablesProxier::new(state, services, self.name).expect("a known node")
        };
        let mut proxiers = self.seen().map(proxier);
        let mut history = IptablesHistory::first(proxiers.next().expect("a first state"));
        loop {
            let what = format!("{} iptables", self.label);
            let (restore, save) = (history.restore_text(), history.save_text());
            let handed = ["--noflush", "--counters"];
            let tested = [self.restore(), "--test", handed[0], handed[1]];
            tools.takes(&what, &tested, restore);
            tools.takes(&what, &[self.restore(), handed[0], handed[1]], restore);
            tools.takes(&what, &[self.restore(), "--test"], &save);
            let Some(next) = proxiers.next() else { break };
            history.then(next);
        }
        let nothing = "*filter\nCOMMIT\n*nat\nCOMMIT\n";
        tools.takes("nothing", &[self.restore()], nothing);
    }

    fn nftables(&self, tools: &mut Tools) {
        let proxier = |(state, services)| {
            NftablesProxier::new(state, services, self.name).expect("a known node")
        };
        let mut proxiers = self.seen().map(proxier);
        let mut history = NftablesHistory::first(proxiers.next().expect("a first state"));
        let check = ["nft", "-c", "-f", "-"];
        loop {
            let what = format!("{} nftables", self.label);
            let refused = self.refused.iter().find(|exception| {
                (exception.mode, exception.family) == (ProxyMode::Nftables, self.family)
            });
            let is_said = history.table().refused_rule().is_some();
            if is_said != refused.is_some() {
                tools
                    .wrong
                    .push(format!("{what}: podwire says of a refusal: {is_said}"));
            }
            for form in [NftablesForm::Commands, NftablesForm::Listing] {
                let text = history.text(form);
                match refused {
                    Some(Exception { reason, .. }) => {
                        tools.refuses(&format!("{what}: {reason}"), &check, &text);
                    }
                    None => tools.takes(&what, &check, &text),
                }
            }
            let Some(next) = proxiers.next() else { break };
            history.then(next);
        }
    }

    fn ipvs(&self, tools: &mut Tools) {
        let proxier =
            |(state, services)| IpvsProxier::new(state, services, self.name).expect("a known node");
        let mut proxiers = self.seen().map(proxier);
        let mut history = IpvsHistory::first(&proxiers.next().expect("a first state"));
        loop {
            self.ipvs_program(history.program(), tools);
            let Some(next) = proxiers.next() else { break };
            history.then(&next);
        }
    }

    /// The sets are loaded, but for entries of which podwire says that ipset refuses them; then the
    /// rules that ask them can be.
    fn ipvs_program(&self, program: &IpvsProgram, tools: &mut Tools) {
        let what = format!("{} ipvs", self.label);
        let text = program.text();
        let sets = section(&text, "### ipset save\n");
        let refused = program.refused_entries();
        let refused: Vec<String> = refused
            .map(|(set, entry)| format!("add {set} {entry}\n"))
            .collect();
        let is_kept = |line: &&str| !refused.iter().any(|refused| refused == line);
        let kept: String = sets.split_inclusive('\n').filter(is_kept).collect();
        let restore = ["ipset", "restore"];
        tools.takes(&what, &restore, &kept);
        for entry in &refused {
            tools.refuses(&format!("{what}: {entry}"), &restore, entry);
        }
        for head in ["### iptables-restore\n", "### iptables-save\n"] {
            let rules = section(&text, head);
            tools.takes(&what, &[self.restore(), "--test", "--noflush"], rules);
            if is_loadable(rules) {
                tools.takes(&what, &[self.restore()], rules);
            }
        }
        let nothing = "*filter\nCOMMIT\n*nat\nCOMMIT\n*mangle\nCOMMIT\n";
        tools.takes("nothing", &[self.restore()], nothing);
        tools.takes("no sets", &["ipset", "destroy"], "");
    }

    /// Its rules are of the node's first family alone.
    fn userspace(&self, tools: &mut Tools) {
        if UserspaceProxier::family_of(&self.states[0], self.name) != Ok(self.family) {
            return;
        }
        let proxier = |(state, services)| {
            UserspaceProxier::new(state, services, self.name).expect("a known node")
        };
        let mut proxiers = self.seen().map(proxier);
        let mut history = UserspaceHistory::first(proxiers.next().expect("a first state"));
        loop {
            let what = format!("{} userspace", self.label);
            for text in [history.restore_text(), history.save_text()] {
                tools.takes(&what, &[self.restore(), "--test"], &text);
            }
            let Some(next) = proxiers.next() else { break };
            history.then(next);
        }
    }
}

/// Whether this kernel has what the rules ask for.
fn is_loadable(rules: &str) -> bool {
    let is_here = |module: &str| PathBuf::from("/proc/net").join(module).exists();
    NOT_IN_THIS_KERNEL
        .iter()
        .all(|(words, module)| !rules.contains(words) || is_here(module))
}

/// A section of what is written in IPVS mode.
fn section<'t>(text: &'t str, head: &str) -> &'t str {
    let (_, behind) = text.split_once(head).expect("every section is there");
    behind
        .split_once("### ")
        .map_or(behind, |(section, _)| section)
}

/// Hands over every text of the states of a cluster.
fn all_texts(tools: &mut Tools, label: &str, states: &[Cluster], refused: &[&Exception]) {
    for family in [Family::Ipv4, Family::Ipv6] {
        let services: Vec<_> = states
            .iter()
            .map(|state| ServicePorts::new(state, family, KubeProxyVersion::default()))
            .collect();
        for name in states[0].nodes.keys() {
            let node = Node {
                label: format!("{label} {name} {family}"),
                name,
                states,
                services: &services,
                family,
                refused,
            };
            node.iptables(tools);
            node.nftables(tools);
            node.ipvs(tools);
            node.userspace(tools);
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was compared is to be read")]
fn finish(what: &str, tools: &Tools) {
    println!(
        "kernel lane: {what}: {} texts taken, {} not as said",
        tools.taken,
        tools.wrong.len()
    );
    assert!(tools.taken >= 1_000, "{} texts are too few", tools.taken);
    let first: Vec<_> = tools.wrong.iter().take(8).map(String::as_str).collect();
    assert!(first.is_empty(), "{}", first.join("\n"));
}

#[test]
fn the_real_tools_take_every_text_of_the_golden_cases() {
    let Some(lane) = kernel::lane() else {
        return;
    };
    let mut tools = Tools::new(lane);
    let golden = root().join("tests/golden/kube-proxy");
    let entries = std::fs::read_dir(golden).expect("golden cases");
    let mut cases: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    for case in cases {
        let label = case.file_name().expect("a folder").to_string_lossy();
        let refused: Vec<_> = REFUSED
            .iter()
            .filter(|exception| exception.case == label)
            .collect();
        all_texts(&mut tools, &label, &states(&case), &refused);
    }
    finish("golden cases", &tools);
}

#[test]
fn the_real_tools_take_every_text_of_random_clusters() {
    let Some(lane) = kernel::lane() else {
        return;
    };
    let mut tools = Tools::new(lane);
    for seed in 1..=RANDOM {
        // The second is a later state of the first: other Services, and some of the same name.
        let states = [2 * seed, 2 * seed + 1].map(random_cluster::cluster);
        all_texts(&mut tools, &format!("random cluster {seed}"), &states, &[]);
    }
    finish("random clusters", &tools);
}

/// The states of a golden case, in order.
fn states(case: &std::path::Path) -> Vec<Cluster> {
    let later = (2..).map(|step| case.join(format!("objects.step{step}.yaml")));
    let objects = std::iter::once(case.join("objects.yaml")).chain(later);
    let objects = objects.take_while(|path| path.exists());
    let of = |objects| {
        let files = [objects, case.join("config.yaml")];
        load(read_inputs(&files).expect("the golden case is there"))
            .expect("the golden case can be read")
    };
    objects.map(of).collect()
}

/// Texts of sets, each of which ipset takes or refuses for a reason of its own.
const SETS: [&str; 58] = [
    "create B bitmap:port range 0-100\nadd B 200",
    "create B bitmap:port range 100-0\nadd B 20",
    "create B bitmap:port\nadd B 20",
    "create B bitmap:port range 0-70000",
    "create B bitmap:port range 0-100\nadd B 20-10",
    "create B bitmap:port range 0-100\nadd B 90-110",
    "create B bitmap:port range 0-65535\nadd B tcp:80",
    "create B bitmap:port range 0-65535\nadd B 80\nadd B 80",
    "create B bitmap:ip range 10.0.0.0/24\nadd B 10.0.1.1",
    "create B bitmap:ip range 10.0.0.0/24\nadd B 10.0.0.255",
    "create B bitmap:ip range 10.0.0.0/8",
    "create B bitmap:ip range 10.0.0.0/16",
    "create B bitmap:ip range 10.0.0.9-10.0.0.1\nadd B 10.0.0.5",
    "create B bitmap:ip",
    "create B bitmap:ip range 10.0.0.0/16 netmask 24\nadd B 10.0.1.1",
    "create B bitmap:ip,mac range 10.0.0.0/24\nadd B 10.0.0.1,00:11:22:33:44:55",
    "create B bitmap:ip,mac range 10.0.0.0/24\nadd B 10.0.0.1",
    "create H hash:ip\nadd H 10.0.0.9-10.0.0.1",
    "create H hash:ip\nadd H 10.0.0.0/24",
    "create H hash:ip\nadd H 10.0.0.0/0",
    "create H hash:ip maxelem 2\nadd H 10.0.0.1\nadd H 10.0.0.2",
    "create H hash:ip maxelem 2\nadd H 10.0.0.1\nadd H 10.0.0.2\nadd H 10.0.0.3",
    "create H hash:ip maxelem 2\nadd H 10.0.0.0/30",
    "create H hash:ip maxelem 2 netmask 24\nadd H 10.0.0.0/23",
    "create H hash:ip maxelem 0\nadd H 10.0.0.1",
    "create H hash:ip maxelem x",
    "create H hash:ip\nadd H 10.0.0.1\nadd H 10.0.0.1",
    "create H hash:ip,port,ip\nadd H 1.1.1.1,80,1.1.1.2,3",
    "create H hash:ip,port\nadd H 1.1.1.1",
    "create H hash:ip,port\nadd H 1.1.1.1,tcp:90-80",
    "create H hash:ip,port\nadd H 1.1.1.1,70000",
    "create H hash:ip,port maxelem 10\nadd H 1.1.1.1,80-90",
    "create H hash:ip,port maxelem 11\nadd H 1.1.1.1,80-90",
    "create H hash:port",
    "create H hash:ip,port,ip,net",
    "create H bitmap:net",
    "create H list:ip",
    "create H hash:net,iface\nadd H 10.0.0.0/8,eth0",
    "create H hash:net,iface\nadd H 10.0.0.0/8,eth0123456789abcdef",
    "create H hash:net maxelem 3\nadd H 10.0.0.1-10.0.0.6",
    "create H hash:net maxelem 4\nadd H 10.0.0.1-10.0.0.6",
    "create H hash:net\nadd H 10.0.0.9-10.0.0.1",
    "create H hash:net\nadd H 10.0.0.0/8 nomatch",
    "create H hash:ip,port,net\nadd H 10.0.0.1,80,10.0.0.9-10.0.0.3",
    "create L list:set\nadd L L",
    "create L list:set\nadd L M",
    "create M list:set\ncreate L list:set\nadd L M",
    "create M hash:ip\ncreate L list:set\nadd L M",
    "create M hash:ip\ncreate L list:set\nadd L M\nadd L M",
    "create H hash:ip timeout 2147483\nadd H 1.1.1.1 timeout 2147484",
    "create H hash:ip timeout 2147483\nadd H 1.1.1.1 timeout 2147483",
    "create H hash:ip timeout 2147484",
    "create H hash:ip timeout x",
    "create H hash:ip\nadd H 1.1.1.1 timeout 5",
    "create H hash:ip\nadd H 1.1.1.1 comment \"x\"",
    "create H hash:ip comment\nadd H 1.1.1.1 comment \"timeout\"",
    "create H hash:ip\nadd H 1.1.1.1 packets 5",
    "create H hash:ip counters\nadd H 1.1.1.1 packets 5 bytes 3",
];

#[test]
fn ipset_takes_the_sets_that_podwire_takes_and_no_others() {
    let Some(lane) = kernel::lane() else {
        return;
    };
    let mut wrong = Vec::new();
    for text in SETS {
        // A namespace each, so that nothing is left of the one before.
        let namespace = Namespace::new(lane).expect("a namespace");
        let real = namespace.run(&["ipset", "restore"], &format!("{text}\n"));
        let own = podwire_ruleset::ipset::parse(text);
        if own.is_ok() != real.is_ok() {
            wrong.push(format!("{text:?}\n  podwire: {own:?}\n  ipset: {real:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
