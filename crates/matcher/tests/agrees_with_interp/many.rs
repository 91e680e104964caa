//! A great many rule sets of every kind, on every core, and packets made for them.
//!
//! `PODWIRE_AGREEMENT_CASES` is how many rule sets, `PODWIRE_AGREEMENT_PACKETS` how many packets each is
//! asked about. Every packet is compared with one draw: the decision, the rules on the way and what
//! `decide` says. For a share of them every outcome is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use podwire_matcher::{BlockPlan, Brief, Matcher};
use podwire_packet::Family;
use podwire_ruleset::{
    Draw, Hook, HostAddresses, Packet, RuleSet, State, TableName, ipset, iptables,
};

use super::generated::{self, IPV4, IPV6, Lots, Words};
use super::mutated::{self, Original, originals};
use super::probes::Probes;
use super::{Both, Compared, shapes};

/// How many rule sets had a block of each kind.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    list: usize,
    /// Jumps of lists to a chain that is one choice.
    list_folded: usize,
    services: usize,
    /// Tables of NodePorts.
    ports: usize,
    at_once: usize,
    /// Keys that lead to a choice that stands elsewhere.
    folded: usize,
    /// Keys of which rules are asked.
    asked: usize,
    hashed: usize,
    hashed_folded: usize,
    /// Trees by ranges.
    ranges: usize,
}

impl Kinds {
    fn note(&mut self, matcher: &Matcher) {
        let has = |has: bool| usize::from(has);
        for block in matcher.plan().iter().flat_map(|chain| &chain.blocks) {
            if let BlockPlan::List { folded, .. } = block {
                self.list += 1;
                self.list_folded += has(*folded > 0);
            } else if let BlockPlan::Services {
                by_destination,
                keys,
                at_once,
                folded,
                ..
            } = block
            {
                self.services += 1;
                self.ports += has(!by_destination);
                self.at_once += has(*at_once > 0);
                self.folded += has(*folded > 0);
                self.asked += has(at_once + folded < *keys);
            } else if let BlockPlan::Hashed { folded, .. } = block {
                self.hashed += 1;
                self.hashed_folded += has(*folded > 0);
            } else {
                self.ranges += 1;
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.list += other.list;
        self.list_folded += other.list_folded;
        self.services += other.services;
        self.ports += other.ports;
        self.at_once += other.at_once;
        self.folded += other.folded;
        self.asked += other.asked;
        self.hashed += other.hashed;
        self.hashed_folded += other.hashed_folded;
        self.ranges += other.ranges;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    rule_sets: usize,
    compared: Compared,
    /// Packets decided together.
    together: usize,
    differences: usize,
    kinds: Kinds,
}

/// A rule set drawn from a seed, its text, and the host and sets that its words are about.
struct Case {
    text: String,
    rules: RuleSet,
    host: HostAddresses,
    state: State,
}

fn case(seed: u64, originals: &[Original]) -> Option<Case> {
    let mut lots = Lots(Draw(seed));
    let words = if lots.one_in(2) { &IPV4 } else { &IPV6 };
    let text = match seed % 4 {
        0 => TableName::ALL
            .iter()
            .map(|table| generated::rules(&mut lots, words, *table))
            .collect(),
        1 => shapes::services(&mut lots, words),
        2 => shapes::policies(&mut lots, words),
        _ => {
            let (text, rules) = mutated::rule_set(originals, seed)?;
            let own = match rules.family {
                Family::Ipv4 => "192.168.64.11",
                Family::Ipv6 => "fd64::11",
            };
            return Some(Case {
                text,
                rules,
                host: HostAddresses::of([own.parse().unwrap()]),
                state: State::default(),
            });
        }
    };
    Some(case_of(text, words))
}

fn case_of(text: String, words: &Words) -> Case {
    let parsed = iptables::parse(&text, words.family)
        .unwrap_or_else(|error| panic!("{error} {:?}: {text}", error.span()));
    Case {
        text,
        rules: parsed.rules,
        host: generated::host(words),
        state: State {
            sets: ipset::parse(words.sets).unwrap().into(),
            ..State::default()
        },
    }
}

fn compare(seed: u64, case: &Case, packets: usize, tally: &mut Tally) {
    let mut lots = Lots(Draw(seed ^ 0x5eed));
    let both = Both::new(case.rules.clone());
    tally.rule_sets += 1;
    tally.kinds.note(&both.matcher);
    let probes = Probes::of(&case.rules, &case.host);
    let mut state = case.state.clone();
    for n in 0..packets {
        let (table, packet) = probes.aimed(&mut lots);
        let seed = lots.0.next();
        if n % 16 == 0 {
            both.compare(table, &packet, &mut state, seed, &mut tally.compared);
        } else {
            both.compare_one(table, &packet, &state, seed, &mut tally.compared);
        }
    }
    if lots.one_in(4) {
        let count = [0, 1, 63, 64, 65, 300][lots.below(6)];
        let tables: Vec<TableName> = case.rules.tables.keys().copied().collect();
        let table = tables[lots.below(tables.len())];
        let hook = table.hooks()[lots.below(table.hooks().len())];
        let packets = probes.aimed_from(&mut lots, table, hook, count);
        compare_together(&both.matcher, table, &packets, &state, seed);
        tally.together += count;
    }
}

/// Compares what is said of packets together with what is said of each.
fn compare_together(
    matcher: &Matcher,
    table: TableName,
    packets: &[Packet<'_>],
    state: &State,
    seed: u64,
) {
    let draw = |at: usize| Draw(seed.wrapping_add(at as u64));
    let Some(first) = packets.first() else {
        let any = matcher.at(table, Hook::Prerouting);
        any.decide_batch(packets, state, draw, &mut []);
        return;
    };
    let here = matcher.at(table, first.hook);
    // One more than is asked for: it stays as it is.
    let untouched = Brief {
        trace: true,
        ..Brief::accept(first)
    };
    let mut out = vec![untouched; packets.len() + 1];
    here.decide_batch(packets, state, draw, &mut out);
    for (at, (packet, brief)) in packets.iter().zip(&out).enumerate() {
        let alone = matcher.decide(table, packet, state, &mut draw(at));
        assert_eq!(
            *brief,
            alone,
            "packet {at} of {}: {packet:?}",
            packets.len()
        );
    }
    assert_eq!(out.last(), Some(&untouched));

    let mut in_parallel = vec![untouched; packets.len()];
    here.decide_in_parallel(packets, state, draw, &mut in_parallel);
    assert_eq!(in_parallel, out[..packets.len()]);

    // The same headers, all of packets like the first.
    let headers: Vec<_> = packets.iter().map(|packet| packet.headers).collect();
    here.decide_batch_like(first, &headers, state, draw, &mut out);
    for (at, (headers, brief)) in headers.iter().zip(&out).enumerate() {
        let packet = Packet {
            headers: *headers,
            ..*first
        };
        let alone = matcher.decide(table, &packet, state, &mut draw(at));
        assert_eq!(*brief, alone, "{packet:?}");
        // The hook that is asked counts, not the one that the packet says.
        let elsewhere = Packet {
            hook: Hook::ALL[at % Hook::ALL.len()],
            ..packet
        };
        assert_eq!(here.decide(&elsewhere, state, &mut draw(at)), alone);
    }
}

pub(super) fn number_from(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |given| given.parse().expect("a number"))
}

#[test]
fn on_many_rule_sets_of_every_kind() {
    let is_large = std::env::var_os("PODWIRE_AGREEMENT_CASES").is_some();
    let cases = number_from("PODWIRE_AGREEMENT_CASES", 480);
    let packets = number_from("PODWIRE_AGREEMENT_PACKETS", 40);
    let first = number_from("PODWIRE_AGREEMENT_SEED", 0) as u64;
    let originals = originals(if is_large { usize::MAX } else { 30_000 });
    let next = AtomicU64::new(0);
    let work = || {
        let mut tally = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= cases as u64 {
                return tally;
            }
            let seed = first + number;
            let Some(case) = case(seed, &originals) else {
                continue;
            };
            let compared = catch_unwind(AssertUnwindSafe(|| {
                compare(seed, &case, packets, &mut tally);
            }));
            if compared.is_err() {
                tally.differences += 1;
                println!("seed {seed}, {:?}:\n{}", case.rules.family, case.text);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = Tally::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let tally = worker.join().expect("a worker catches what goes wrong");
            all.rule_sets += tally.rule_sets;
            all.compared.packets += tally.compared.packets;
            all.compared.matched += tally.compared.matched;
            all.compared.outcomes += tally.compared.outcomes;
            all.together += tally.together;
            all.differences += tally.differences;
            all.kinds.add(&tally.kinds);
        }
    });
    println!(
        "{} rule sets, {} packets compared, {} of them matched, {} more decided together, {} rule sets with differences",
        all.rule_sets, all.compared.packets, all.compared.matched, all.together, all.differences
    );
    println!("{all:?}");
    assert_eq!(all.differences, 0);
    // None of it is vacuous.
    let Tally {
        compared, kinds, ..
    } = all;
    assert!(all.rule_sets * 10 > cases * 8, "{all:?}");
    assert!(compared.matched * 10 > compared.packets * 6, "{all:?}");
    assert!(all.together > cases, "{all:?}");
    let floor = cases / 25;
    for (what, count) in [
        ("lists", kinds.list),
        ("lists with folds", kinds.list_folded),
        ("services", kinds.services),
        ("tables of ports", kinds.ports),
        ("services at once", kinds.at_once),
        ("services elsewhere", kinds.folded),
        ("services asked", kinds.asked),
        ("hash tables", kinds.hashed),
        ("trees by ranges", kinds.ranges),
        ("hash tables with folds", kinds.hashed_folded),
    ] {
        assert!(count > floor, "{what}: {all:?}");
    }
}

/// A table of Services that is larger than what is decided one by one.
#[test]
fn packets_together_are_decided_as_alone_in_a_large_table() {
    for words in [&IPV4, &IPV6] {
        let mut lots = Lots(Draw(7));
        let mut text = shapes::services(&mut lots, words);
        let chains = text.matches(":SVC").count();
        text.truncate(text.find("-A KUBE-SERVICES").unwrap());
        for n in 0..21_000_u128 {
            let base = match words.family {
                Family::Ipv4 => 0x0a60_0000,
                Family::Ipv6 => 0xfd << 120,
            };
            let address = super::probes::address(words.family, base + n);
            let chain = n % chains as u128;
            text +=
                &format!("-A KUBE-SERVICES -d {address} -p tcp -m tcp --dport 80 -j SVC{chain}\n");
        }
        let case = case_of(text + "COMMIT\n", words);
        let both = Both::new(case.rules.clone());
        let probes = Probes::of(&case.rules, &case.host);
        let hook = Hook::Prerouting;
        let mut changed = 0;
        for count in [0, 1, 63, 64, 65, 300] {
            let packets = probes.aimed_from(&mut lots, TableName::Nat, hook, count);
            compare_together(&both.matcher, TableName::Nat, &packets, &case.state, 3);
            let mut compared = Compared::default();
            for packet in &packets {
                both.compare_one(TableName::Nat, packet, &case.state, 3, &mut compared);
            }
            changed += compared.matched;
        }
        assert!(changed > 300, "{changed}");
    }
}
