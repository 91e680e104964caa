//! Overlays: whatever differs between a node's rules and the shared ones, the node's matcher decides as
//! one that is compiled from its rules alone, draw for draw, and as `podwire-interp` does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use podwire_matcher::{Brief, Matcher, Overlay, Shared};
use podwire_packet::{Family, Headers, Mark, Prefix, Protocol};
use podwire_ruleset::{
    AddressMatch, ChainName, Draw, Hook, HostAddresses, Match, Packet, RuleSet, State, TableName,
    ipset, iptables,
};

use super::generated::{self, IPV4, IPV6, Lots, Words};
use super::golden::{all_files, family_of, file_name};
use super::live::{Changing, cases, generated_text, parsed};
use super::mutated::originals;
use super::probes::Probes;
use super::{Both, Compared};

/// How much was shared.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    compared: Compared,
    nodes: usize,
    rules: usize,
    own_rules: usize,
}

/// A node's matcher, with what must agree with it.
struct Node {
    both: Both<Overlay>,
    alone: Matcher,
}

impl Node {
    fn new(shared: &Arc<Shared>, rules: &RuleSet, tally: &mut Tally) -> Self {
        let overlay = shared.overlay(rules).unwrap();
        tally.nodes += 1;
        tally.rules += rules.rule_count();
        tally.own_rules += overlay.own_rules();
        Self {
            both: Both {
                interp: podwire_interp::Interp::new(rules.clone()).unwrap(),
                matcher: overlay,
            },
            alone: Matcher::new(rules).unwrap(),
        }
    }

    fn compare(
        &self,
        (rules, host): (&RuleSet, &HostAddresses),
        state: &State,
        lots: &mut Lots,
        packets: usize,
        compared: &mut Compared,
    ) {
        let probes = Probes::of(rules, host);
        let mut after = state.clone();
        for n in 0..packets {
            let (table, packet) = probes.aimed(lots);
            let seed = lots.0.next();
            if n % 4 == 0 {
                self.both
                    .compare(table, &packet, &mut after, seed, compared);
            } else {
                self.both.compare_one(table, &packet, state, seed, compared);
            }
            self.compare_draws(table, &packet, state, seed);
            let group = probes.aimed_from(lots, table, packet.hook, 3);
            self.compare_together(table, &group, state, seed);
        }
    }

    /// One draw gives the same endpoint, whether a chain is folded or not.
    fn compare_draws(&self, table: TableName, packet: &Packet<'_>, state: &State, seed: u64) {
        for seed in [seed, seed ^ u64::MAX] {
            let alone = self.alone.decide(table, packet, state, &mut Draw(seed));
            let own = self
                .both
                .matcher
                .decide(table, packet, state, &mut Draw(seed));
            assert_eq!(own, alone, "{packet:?}");
        }
    }

    fn compare_together(&self, table: TableName, packets: &[Packet<'_>], state: &State, seed: u64) {
        let Some(first) = packets.first() else {
            return;
        };
        let draws = |at: usize| Draw(seed ^ at as u64);
        let mut out = vec![Brief::accept(first); packets.len()];
        let overlay = &self.both.matcher;
        overlay.decide_batch(table, packets, state, draws, &mut out);
        for (at, (packet, brief)) in packets.iter().zip(&out).enumerate() {
            let alone = overlay.decide(table, packet, state, &mut draws(at));
            assert_eq!(*brief, alone, "{packet:?}");
        }
    }
}

/// The rules with another range in place of one that sources are compared with, as nodes have with
/// `detectLocalMode: NodeCIDR`; mostly everywhere.
fn with_other_source(lots: &mut Lots, rules: &RuleSet) -> RuleSet {
    let range = |own: &Match| {
        if let Match::Source(source) = own
            && let AddressMatch::Prefix(prefix) = source.value
        {
            Some(prefix).filter(|prefix| !prefix.is_host() && !prefix.is_empty())
        } else {
            None
        }
    };
    let all = rules
        .tables
        .values()
        .flat_map(|table| table.chains.values());
    let all = all
        .flat_map(|chain| &chain.rules)
        .flat_map(|rule| &rule.matches);
    let ranges: Vec<Prefix> = all.filter_map(range).collect();
    if ranges.is_empty() {
        return rules.clone();
    }
    let from = ranges[lots.below(ranges.len())];
    let to = if lots.one_in(3) {
        ranges[lots.below(ranges.len())]
    } else {
        Prefix::new(
            super::probes::address(rules.family, lots.0.next().into()),
            from.len(),
        )
    };
    let spared = lots.one_in(3);
    let mut other = rules.clone();
    for table in other.tables.values_mut() {
        let names: Vec<ChainName> = table.chains.keys().cloned().collect();
        for name in names {
            if !table.chains[&name]
                .rules
                .iter()
                .flat_map(|rule| &rule.matches)
                .any(|own| range(own) == Some(from))
                || spared && lots.one_in(6)
            {
                continue;
            }
            for rule in &mut table.chain_mut(&name).rules {
                for own in &mut rule.matches {
                    if range(own) == Some(from)
                        && let Match::Source(source) = own
                    {
                        source.value = AddressMatch::Prefix(to);
                    }
                }
            }
        }
    }
    other
}

#[test]
fn a_node_whose_rules_differ_is_as_one_compiled_alone() {
    let mut tally = Tally::default();
    for seed in 0..cases() {
        let mut lots = Lots(Draw(seed as u64));
        let words = if seed % 2 == 0 { &IPV4 } else { &IPV6 };
        let text = generated_text(&mut lots, words, seed % 3);
        let rules = parsed(&text, words);
        let donor = parsed(&generated_text(&mut lots, words, seed % 3), words);
        let state = State {
            sets: ipset::parse(words.sets).unwrap().into(),
            ..State::default()
        };
        let host = generated::host(words);
        // Rules that share memory with the node's, and rules that do not.
        let of = if lots.one_in(2) {
            rules.clone()
        } else {
            parsed(&text, words)
        };
        let shared = Arc::new(Shared::new(of).unwrap());
        let mut changing = Changing::new(rules, donor, host.clone(), state.clone());
        for round in 0..12 {
            for _ in 0..round % 4 {
                changing.change(&mut lots);
            }
            let mut node = changing.expected.clone();
            if round % 3 == 2 {
                node = with_other_source(&mut lots, &node);
            }
            let own = Node::new(&shared, &node, &mut tally);
            own.compare((&node, &host), &state, &mut lots, 6, &mut tally.compared);
        }
    }
    println!("{tally:?}");
    let Tally { compared, .. } = tally;
    assert!(compared.matched * 10 > compared.packets * 6, "{tally:?}");
    assert!(tally.own_rules * 2 < tally.rules, "{tally:?}");
}

#[test]
fn kube_proxys_nodes_are_as_those_compiled_alone() {
    let mut cases: BTreeMap<(PathBuf, bool), Vec<PathBuf>> = BTreeMap::new();
    for path in all_files() {
        let case = path.parent().unwrap().to_path_buf();
        let is_ipv6 = family_of(&path) == Family::Ipv6;
        cases.entry((case, is_ipv6)).or_default().push(path);
    }
    let mut tally = Tally::default();
    let mut lots = Lots(Draw(11));
    for paths in cases.values_mut() {
        paths.sort_by_key(|path| file_name(path).len());
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).unwrap();
            iptables::parse(&text, family_of(path)).unwrap().rules
        };
        let own = match family_of(&paths[0]) {
            Family::Ipv4 => "192.168.64.12",
            Family::Ipv6 => "fd64::12",
        };
        let host = HostAddresses::of([own.parse().unwrap()]);
        let shared = Arc::new(Shared::new(read(&paths[0])).unwrap());
        for path in paths.iter() {
            let rules = read(path);
            let node = Node::new(&shared, &rules, &mut tally);
            let state = State::default();
            node.compare((&rules, &host), &state, &mut lots, 40, &mut tally.compared);
        }
    }
    println!("{tally:?}");
    let Tally { compared, .. } = tally;
    assert!(tally.nodes > 100, "{tally:?}");
    assert!(compared.matched * 10 > compared.packets * 6, "{tally:?}");
    assert!(tally.own_rules * 2 < tally.rules, "{tally:?}");
}

#[test]
fn kube_proxys_rules_that_changed_are_as_those_compiled_alone() {
    let originals = originals(20_000);
    let mut tally = Tally::default();
    for seed in 0..cases() {
        let mut lots = Lots(Draw(seed as u64));
        let own = &originals[lots.below(originals.len())];
        let of_family: Vec<_> = originals
            .iter()
            .filter(|of| of.family == own.family)
            .collect();
        let other = of_family[lots.below(of_family.len())];
        let [rules, donor] =
            [own, other].map(|of| iptables::parse(&of.text, of.family).unwrap().rules);
        let host = match own.family {
            Family::Ipv4 => "192.168.64.11",
            Family::Ipv6 => "fd64::11",
        };
        let host = HostAddresses::of([host.parse().unwrap()]);
        let shared = Arc::new(Shared::new(rules.clone()).unwrap());
        let state = State::default();
        let mut changing = Changing::new(rules, donor, host.clone(), state.clone());
        for _ in 0..6 {
            changing.change(&mut lots);
            let mut node = changing.expected.clone();
            if lots.one_in(3) {
                node = with_other_source(&mut lots, &node);
            }
            let own = Node::new(&shared, &node, &mut tally);
            own.compare((&node, &host), &state, &mut lots, 6, &mut tally.compared);
        }
    }
    println!("{tally:?}");
    assert!(tally.own_rules * 2 < tally.rules, "{tally:?}");
}

/// A node's Services: their numbers, in order; some lead elsewhere than the number says.
#[derive(Clone)]
struct Services {
    words: &'static Words,
    dispatched: Vec<(u32, u32)>,
    /// The range of the node's own pods.
    pods: &'static str,
    tail: &'static str,
}

impl Services {
    const COUNT: u32 = 120;

    fn address(&self, number: u32) -> IpAddr {
        let first = match self.words.family {
            Family::Ipv4 => 0x0a60_0000,
            Family::Ipv6 => 0xfd << 120,
        };
        super::probes::address(self.words.family, first + u128::from(number))
    }

    /// Each Service has two endpoints, whose numbers are its own and the next.
    fn rules(&self) -> RuleSet {
        let mut text = String::from(
            "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n",
        );
        let chains = 0..Self::COUNT;
        for n in chains.clone() {
            write!(text, ":SVC{n} - [0:0]\n:SEP{n} - [0:0]\n").unwrap();
        }
        text +=
            "-A PREROUTING -j KUBE-SERVICES\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n";
        for (to, chain) in &self.dispatched {
            let to = self.address(*to);
            writeln!(
                text,
                "-A KUBE-SERVICES -d {to} -p tcp -m tcp --dport 80 -j SVC{chain}"
            )
            .unwrap();
        }
        text += self.tail;
        for n in chains {
            let (to, next) = (self.address(n), (n + 1) % Self::COUNT);
            let pods = self.pods;
            let end = match self.words.family {
                Family::Ipv4 => format!("10.244.1.{n}"),
                Family::Ipv6 => format!("fd44::1:{n}"),
            };
            let socket = match self.words.family {
                Family::Ipv4 => format!("{end}:8080"),
                Family::Ipv6 => format!("[{end}]:8080"),
            };
            write!(
                text,
                "-A SVC{n} ! -s {pods} -d {to} -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ\n\
                 -A SVC{n} -m statistic --mode random --probability 0.5 -j SEP{n}\n\
                 -A SVC{n} -j SEP{next}\n\
                 -A SEP{n} -s {end} -j KUBE-MARK-MASQ\n\
                 -A SEP{n} -p tcp -m tcp -j DNAT --to-destination {socket}\n",
            )
            .unwrap();
        }
        parsed(&(text + "COMMIT\n"), self.words)
    }

    /// Asks about every Service, from pods of this range and of others, of the node, and of endpoints.
    fn compare(&self, shared: &Arc<Shared>, tally: &mut Tally) -> usize {
        let rules = self.rules();
        let node = Node::new(shared, &rules, tally);
        let (host, state) = (generated::host(self.words), State::default());
        let sources = match self.words.family {
            Family::Ipv4 => ["10.244.1.7", "10.244.2.7", "10.244.3.7", "192.0.2.1"],
            Family::Ipv6 => ["fd44::1:7", "fd44::2:7", "fd44::3:7", "2001:db8::1"],
        };
        let mut packet = Probes::of(&rules, &host)
            .aimed_from(&mut Lots(Draw(1)), TableName::Nat, Hook::Prerouting, 1)
            .remove(0);
        for number in 0..=Self::COUNT {
            for source in sources {
                let (from, to) = (source.parse().unwrap(), self.address(number));
                packet.headers = Headers::first_of_flow(from, to, Protocol::TCP, 40_000, 80);
                packet.mark = Mark(0);
                let compared = &mut tally.compared;
                node.both
                    .compare_one(TableName::Nat, &packet, &state, number.into(), compared);
                node.compare_draws(TableName::Nat, &packet, &state, number.into());
            }
        }
        node.both.matcher.own_rules()
    }
}

/// What nodes of a cluster have otherwise is told apart, and no more than that is the node's own.
#[test]
fn a_long_table_of_services_shares_what_is_the_same() {
    let mut tally = Tally::default();
    for words in [&IPV4, &IPV6] {
        let (pods, other_pods, tail, other_tail) = match words.family {
            Family::Ipv4 => (
                "10.244.1.0/24",
                "10.244.2.0/24",
                "-A KUBE-SERVICES -d 192.0.2.1 -j SVC0\n",
                "-A KUBE-SERVICES -d 192.0.2.2 -j SVC0\n",
            ),
            Family::Ipv6 => (
                "fd44::1:0/112",
                "fd44::2:0/112",
                "-A KUBE-SERVICES -d 2001:db8::1 -j SVC0\n",
                "-A KUBE-SERVICES -d 2001:db8::2 -j SVC0\n",
            ),
        };
        let first = Services {
            words,
            dispatched: (0..Services::COUNT).map(|n| (n, n)).collect(),
            pods,
            tail,
        };
        let shared = Arc::new(Shared::new(first.rules()).unwrap());
        let mut compare = |of: &Services| of.compare(&shared, &mut tally);
        assert_eq!(compare(&first), 0);
        let with = |change: &dyn Fn(&mut Services)| {
            let mut node = first.clone();
            change(&mut node);
            node
        };
        assert_eq!(compare(&with(&|node| node.tail = other_tail)), 1);
        assert_eq!(compare(&with(&|node| node.pods = other_pods)), 0);
        // A Service that a node has not is one that it knows not to have.
        assert_eq!(compare(&with(&|node| _ = node.dispatched.remove(70))), 1);
        assert_eq!(compare(&with(&|node| _ = node.dispatched.pop())), 1);
        assert_eq!(compare(&with(&|node| node.dispatched[5].1 = 9)), 1);
        assert_eq!(
            compare(&with(&|node| node.dispatched.insert(3, (70, 9)))),
            2
        );
        assert_eq!(compare(&with(&|node| node.dispatched.push((70, 9)))), 2);
        let all = with(&|node| {
            (node.tail, node.pods) = ("", other_pods);
            node.dispatched.remove(70);
            node.dispatched.insert(0, (Services::COUNT, 3));
            node.dispatched[118].1 = 4;
            node.dispatched.push((70, 9));
        });
        assert!(compare(&all) < 8);
        // The common rules may be those of the node that has less.
        let less = with(&|node| node.dispatched.truncate(100));
        let shared = Arc::new(Shared::new(less.rules()).unwrap());
        assert!(first.compare(&shared, &mut tally) <= 20);
    }
    println!("{tally:?}");
}

/// Which packets of a load balancer's source ranges are of the node's pods is known where those ranges are;
/// so what they fold to is another thing on a node with other pods.
#[test]
fn a_source_that_is_known_may_be_of_the_nodes_pods() {
    let text = |pods: &str| {
        let mut text =
            String::from("*nat\n:PREROUTING ACCEPT [0:0]\n:MARK-MASQ - [0:0]\n:EXT - [0:0]\n");
        for n in 0..8 {
            writeln!(text, ":SVC{n} - [0:0]").unwrap();
        }
        text += "-A PREROUTING -d 192.0.2.9 -s 10.244.2.0/25 -p tcp -m tcp --dport 80 -j EXT\n\
                 -A MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n";
        writeln!(text, "-A EXT -s {pods} -j SVC0\n-A EXT -j SVC1").unwrap();
        for n in 0..8 {
            writeln!(
                text,
                "-A SVC{n} ! -s {pods} -j MARK-MASQ\n\
                 -A SVC{n} -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.0.0.{n}\n\
                 -A SVC{n} -j DNAT --to-destination 10.0.1.{n}"
            )
            .unwrap();
        }
        parsed(&(text + "COMMIT\n"), &IPV4)
    };
    let shared = Arc::new(Shared::new(text("10.244.1.0/24")).unwrap());
    let mut tally = Tally::default();
    for pods in ["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"] {
        let rules = text(pods);
        let node = Node::new(&shared, &rules, &mut tally);
        let host = generated::host(&IPV4);
        let mut packet = Probes::of(&rules, &host)
            .aimed_from(&mut Lots(Draw(1)), TableName::Nat, Hook::Prerouting, 1)
            .remove(0);
        for seed in 0..16 {
            let (from, to) = ([10, 244, 2, 3].into(), [192, 0, 2, 9].into());
            packet.headers = Headers::first_of_flow(from, to, Protocol::TCP, 40_000, 80);
            let compared = &mut tally.compared;
            node.both
                .compare_one(TableName::Nat, &packet, &State::default(), seed, compared);
            node.compare_draws(TableName::Nat, &packet, &State::default(), seed);
        }
    }
    assert_eq!(tally.compared.matched, tally.compared.packets);
}

#[test]
fn rules_of_the_other_family_share_nothing() {
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1\nCOMMIT\n";
    let shared = Shared::new(RuleSet::empty(Family::Ipv6)).unwrap();
    let rules = parsed(text, &IPV4);
    let mut tally = Tally::default();
    let node = Node::new(&Arc::new(shared), &rules, &mut tally);
    let host = generated::host(&IPV4);
    let mut lots = Lots(Draw(1));
    let probes = Probes::of(&rules, &host);
    for packet in probes.aimed_from(&mut lots, TableName::Nat, Hook::Prerouting, 8) {
        let compared = &mut tally.compared;
        node.both
            .compare_one(TableName::Nat, &packet, &State::default(), 1, compared);
    }
    assert_eq!(tally.own_rules, 1);
}

#[test]
fn rules_that_do_not_hang_together_are_refused() {
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n:A - [0:0]\n-A PREROUTING -j A\n-A A -j MARK --set-mark 1\nCOMMIT\n";
    let rules = parsed(text, &IPV4);
    let shared = Arc::new(Shared::new(rules.clone()).unwrap());
    let mut node = rules;
    let nat = node.table_mut(TableName::Nat);
    nat.chains.swap_remove("A");
    assert!(shared.overlay(&node).is_err());
}
