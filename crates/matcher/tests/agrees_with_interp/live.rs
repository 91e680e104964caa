//! Rule sets that change: after every change the rules are what the changes say, and the matcher decides
//! as one that is compiled from them, and as `podwire-interp` does. A change that must be refused changes
//! nothing.

use podwire_matcher::{ChangeError, Live, Matcher};
use podwire_packet::{Family, Protocol};
use podwire_ruleset::{
    CallGraph, Chain, ChainName, Draw, Hook, HostAddresses, Inv, L4, Match, NatRange, Probability,
    Rule, RuleSet, State, StatisticMatch, TableName, Target, ipset, iptables,
};

use super::generated::{self, IPV4, IPV6, Lots, Words};
use super::mutated::originals;
use super::probes::{Probes, address};
use super::{Both, Compared, shapes};

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    set: usize,
    made: usize,
    removed: usize,
    refused: usize,
    endpoints: usize,
    /// Rules that took the place of others.
    replaced: usize,
}

pub(super) struct Changing {
    live: Live,
    /// The rules as the changes say they are.
    pub(super) expected: RuleSet,
    /// Rules to take chains from.
    donor: RuleSet,
    host: HostAddresses,
    state: State,
    changes: Changes,
}

fn rules_of(of: &RuleSet, table: TableName, chain: &ChainName) -> Vec<Rule> {
    let table = of.tables.get(&table);
    let chain = table.and_then(|table| table.chains.get(chain));
    chain.map_or_else(Vec::new, |chain| chain.rules.clone())
}

impl Changing {
    pub(super) fn new(rules: RuleSet, donor: RuleSet, host: HostAddresses, state: State) -> Self {
        Self {
            live: Live::new(rules.clone()).unwrap(),
            expected: rules,
            donor,
            host,
            state,
            changes: Changes::default(),
        }
    }

    fn any_table(&self, lots: &mut Lots) -> TableName {
        let tables: Vec<TableName> = self.expected.tables.keys().copied().collect();
        if tables.is_empty() || lots.one_in(40) {
            return TableName::ALL[lots.below(TableName::ALL.len())];
        }
        tables[lots.below(tables.len())]
    }

    fn any_chain(&self, lots: &mut Lots, table: TableName) -> ChainName {
        let Some(table) = self.expected.tables.get(&table) else {
            return "A".into();
        };
        let at = lots.below(table.chains.len().max(1));
        let chain = table.chains.get_index(at);
        chain.map_or_else(|| "NONE".into(), |(name, _)| name.clone())
    }

    fn any_rule(&self, lots: &mut Lots, table: TableName) -> Option<Rule> {
        let of = if lots.one_in(2) {
            &self.expected
        } else {
            &self.donor
        };
        let table = of.tables.get(&table)?;
        let rules: Vec<&Rule> = table.chains.values().flat_map(|of| &of.rules).collect();
        (!rules.is_empty()).then(|| rules[lots.below(rules.len())].clone())
    }

    /// Gives a chain other rules, and says whether that was taken.
    fn set(&mut self, table: TableName, chain: &ChainName, rules: Vec<Rule>) -> bool {
        let mut after = self.expected.clone();
        let own = after.table_mut(table);
        let is_new = !own.chains.contains_key(chain);
        let own = own.chain_mut(chain);
        let before = std::mem::replace(&mut own.rules, rules.clone());
        match (
            CallGraph::check(&after),
            self.live.set_chain(table, chain, rules),
        ) {
            (Ok(()), Ok(())) => {
                self.expected = after;
                self.changes.set += 1;
                self.changes.made += usize::from(is_new);
                self.changes.replaced += before.len();
                true
            }
            (Err(expected), Err(ChangeError::Link(found))) => {
                // A circle may be told from another of its chains.
                assert_eq!(
                    std::mem::discriminant(&found),
                    std::mem::discriminant(&expected),
                    "{found}, {expected}"
                );
                self.changes.refused += 1;
                false
            }
            (expected, found) => panic!("{table}, {chain}: {expected:?}, {found:?}"),
        }
    }

    fn remove(&mut self, table: TableName, chain: &ChainName) {
        let found = self.live.remove_chain(table, chain);
        let Some(own) = self.expected.tables.get_mut(&table) else {
            assert!(
                matches!(found, Err(ChangeError::NoChain { .. })),
                "{found:?}"
            );
            self.changes.refused += 1;
            return;
        };
        let jumps_here = |rule: &Rule| match &rule.target {
            Some(Target::Jump(to) | Target::Goto(to)) => to == chain,
            Some(_) | None => false,
        };
        let is_called = own.chains.values().flat_map(|of| &of.rules).any(jumps_here);
        match own.chains.get(chain) {
            None => assert!(
                matches!(found, Err(ChangeError::NoChain { .. })),
                "{found:?}"
            ),
            Some(of) if of.built_in.is_some() || is_called => {
                assert!(matches!(found, Err(ChangeError::InUse { .. })), "{found:?}");
            }
            Some(_) => {
                assert_eq!(found, Ok(()), "{table}, {chain}");
                own.chains.swap_remove(chain);
                self.changes.removed += 1;
                return;
            }
        }
        self.changes.refused += 1;
    }

    /// The rules with one of them gone, twice, elsewhere, or with one more.
    fn edited(&self, lots: &mut Lots, table: TableName, mut rules: Vec<Rule>) -> Vec<Rule> {
        if let Some(last) = rules.len().checked_sub(1) {
            let (one, other) = (lots.below(last + 1), lots.below(last + 1));
            match lots.below(5) {
                0 => {
                    rules.remove(one);
                    return rules;
                }
                1 => {
                    rules.insert(other, rules[one].clone());
                    return rules;
                }
                2 => {
                    rules.swap(one, other);
                    return rules;
                }
                _ => {}
            }
        }
        let Some(mut rule) = self.any_rule(lots, table) else {
            return rules;
        };
        match lots.below(8) {
            0..=2 => rule.target = Some(Target::Jump(self.any_chain(lots, table))),
            3 => rule.target = Some(Target::Goto(self.any_chain(lots, table))),
            4 if lots.one_in(2) => rule.target = Some(Target::Jump("NOWHERE".into())),
            _ => {}
        }
        rules.insert(lots.below(rules.len() + 1), rule);
        rules
    }

    /// One more endpoint of a Service, or one less: the chain of the endpoint and a ladder that is even
    /// again.
    fn change_endpoints(&mut self, lots: &mut Lots, table: TableName) {
        let is_rung = |rule: &Rule| {
            let by_chance = |test: &Match| matches!(test, Match::Statistic(_));
            rule.matches.iter().any(by_chance)
        };
        let Some(own) = self.expected.tables.get(&table) else {
            return;
        };
        let has_ladder = |chain: &&Chain| chain.rules.iter().any(is_rung);
        let services: Vec<&Chain> = own
            .chains
            .values()
            .map(|chain| &**chain)
            .filter(has_ladder)
            .collect();
        if services.is_empty() {
            return;
        }
        let service = services[lots.below(services.len())].clone();
        let first = service.rules.iter().position(is_rung).unwrap();
        let (before, ladder) = service.rules.split_at(first);
        let mut ends: Vec<Option<Target>> = ladder.iter().map(|rule| rule.target.clone()).collect();
        let gone = if lots.one_in(2) && ends.len() > 1 {
            ends.remove(lots.below(ends.len()))
        } else {
            let name: ChainName = format!("NEW{}", self.changes.made).into();
            let own = address(self.expected.family, lots.0.next().into());
            let rule = Rule::to(Target::Dnat(NatRange::to(own, Some(8080))));
            let rules = vec![
                rule.when(Match::Protocol(Inv::is(Protocol::TCP)))
                    .when(Match::Module(L4::Tcp)),
            ];
            if !self.set(table, &name, rules) {
                return;
            }
            ends.push(Some(Target::Jump(name)));
            None
        };
        let mut rules = before.to_vec();
        for (n, target) in ends.iter().enumerate() {
            let left = ends.len() - n;
            let even = Probability::new(1.0 / f64::from(u32::try_from(left).unwrap())).unwrap();
            let by_chance = Match::Statistic(StatisticMatch::Random(Inv::is(even)));
            let matches = if left > 1 { vec![by_chance] } else { vec![] };
            rules.push(Rule {
                matches,
                target: target.clone(),
                ..Rule::default()
            });
        }
        if self.set(table, &service.name, rules) {
            self.changes.endpoints += 1;
        }
        if let Some(Target::Jump(end)) = gone {
            self.remove(table, &end);
        }
    }

    pub(super) fn change(&mut self, lots: &mut Lots) {
        let table = self.any_table(lots);
        let chain = self.any_chain(lots, table);
        match lots.below(12) {
            0 | 1 => {
                let rules = rules_of(&self.donor, table, &chain);
                self.set(table, &chain, rules);
            }
            2..=5 => {
                let rules = rules_of(&self.expected, table, &chain);
                let rules = self.edited(lots, table, rules);
                self.set(table, &chain, rules);
            }
            6 => {
                let name = format!("NEW{}", self.changes.made).into();
                let rules = rules_of(&self.expected, table, &chain);
                self.set(table, &name, rules);
            }
            7 | 8 => self.remove(table, &chain),
            9 if lots.one_in(3) => self.remove(table, &"NOWHERE".into()),
            _ => self.change_endpoints(lots, table),
        }
    }

    /// Compares on so many packets; `compiled` is whether to compile the rules anew too.
    fn compare(&self, lots: &mut Lots, packets: usize, compared: &mut Compared) {
        assert_eq!(*self.live.rules(), self.expected);
        let both = Both {
            interp: podwire_interp::Interp::new(self.expected.clone()).unwrap(),
            matcher: self.live.matcher().clone(),
        };
        let compiled = Both {
            interp: podwire_interp::Interp::new(self.expected.clone()).unwrap(),
            matcher: Matcher::new(self.live.rules()).unwrap(),
        };
        let probes = Probes::of(&self.expected, &self.host);
        let mut state = self.state.clone();
        for n in 0..packets {
            let (table, packet) = probes.aimed(lots);
            let seed = lots.0.next();
            if n == 0 {
                both.compare(table, &packet, &mut state, seed, compared);
            } else {
                both.compare_one(table, &packet, &state, seed, compared);
            }
            let alone = &mut Compared::default();
            compiled.compare_one(table, &packet, &state, seed, alone);
        }
    }
}

pub(super) fn parsed(text: &str, words: &Words) -> RuleSet {
    iptables::parse(text, words.family).unwrap().rules
}

pub(super) fn generated_text(lots: &mut Lots, words: &Words, kind: usize) -> String {
    match kind {
        0 => TableName::ALL
            .iter()
            .map(|table| generated::rules(lots, words, *table))
            .collect(),
        1 => shapes::services(lots, words),
        _ => shapes::services(lots, words) + &shapes::policies(lots, words),
    }
}

pub(super) fn cases() -> usize {
    super::many::number_from("PODWIRE_AGREEMENT_CASES", 30)
}

#[test]
fn a_rule_set_that_changes_is_as_one_compiled_anew() {
    let mut compared = Compared::default();
    let mut all = Changes::default();
    for seed in 0..cases() {
        let mut lots = Lots(Draw(seed as u64));
        let words = if seed % 2 == 0 { &IPV4 } else { &IPV6 };
        let rules = parsed(&generated_text(&mut lots, words, seed % 3), words);
        let donor = parsed(&generated_text(&mut lots, words, seed % 3), words);
        let state = State {
            sets: ipset::parse(words.sets).unwrap().into(),
            ..State::default()
        };
        let mut changing = Changing::new(rules, donor, generated::host(words), state);
        for _ in 0..40 {
            changing.change(&mut lots);
            changing.compare(&mut lots, 4, &mut compared);
        }
        let own = changing.changes;
        all.set += own.set;
        all.made += own.made;
        all.removed += own.removed;
        all.refused += own.refused;
        all.endpoints += own.endpoints;
    }
    println!("{all:?} {compared:?}");
    let (cases, matched) = (cases(), compared.matched);
    assert!(all.set > 10 * cases && all.made > cases, "{all:?}");
    assert!(all.removed > cases && all.refused > cases, "{all:?}");
    assert!(all.endpoints > cases / 2, "{all:?}");
    assert!(matched * 10 > compared.packets * 6, "{compared:?}");
}

#[test]
fn kube_proxys_rules_that_change_are_as_those_compiled_anew() {
    let mut compared = Compared::default();
    let originals = originals(20_000);
    for seed in 0..cases() / 4 {
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
        let mut changing = Changing::new(rules, donor, host, State::default());
        for _ in 0..20 {
            changing.change(&mut lots);
            changing.compare(&mut lots, 4, &mut compared);
        }
    }
    println!("{compared:?}");
    assert!(compared.matched * 10 > compared.packets * 6, "{compared:?}");
}

/// What changes leave behind is more than half at some time, and all is compiled.
#[test]
fn so_many_changes_that_all_is_compiled_anew_change_nothing_else() {
    for (kind, words) in [(2, &IPV4), (1, &IPV6)] {
        let mut compared = Compared::default();
        let mut lots = Lots(Draw(5));
        let rules = parsed(&generated_text(&mut lots, words, kind), words);
        let rule_count = rules.rule_count();
        let state = State::default();
        let donor = rules.clone();
        let mut changing = Changing::new(rules, donor, generated::host(words), state);
        let mut rounds = 0;
        while changing.changes.replaced < 3 * (rule_count + 1024) {
            rounds += 1;
            for _ in 0..8 {
                changing.change(&mut lots);
                let (table, chain) = match lots.below(3) {
                    0 if kind == 2 => (TableName::Filter, "POL0".into()),
                    _ => (TableName::Nat, "KUBE-SERVICES".into()),
                };
                let rules = rules_of(&changing.expected, table, &chain);
                let rules = if rules.len() > 60 {
                    rules_of(&changing.donor, table, &chain)
                } else {
                    changing.edited(&mut lots, table, rules)
                };
                changing.set(table, &chain, rules);
            }
            if rounds % 4 == 0 {
                changing.compare(&mut lots, 8, &mut compared);
            }
        }
        changing.compare(&mut lots, 100, &mut compared);
        assert!(compared.matched > 100, "{compared:?}");
    }
}

#[test]
fn what_is_refused_leaves_the_rules_as_they_were() {
    let words = &IPV4;
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n\
                -A PREROUTING -j A\n-A A -j B\n-A B -p tcp -j DNAT --to-destination 10.0.0.1\nCOMMIT\n";
    let rules = parsed(text, words);
    let donor = RuleSet::empty(Family::Ipv4);
    let mut changing = Changing::new(rules, donor, HostAddresses::default(), State::default());
    let jump = |to: &str| vec![Rule::to(Target::Jump(to.into()))];
    for (chain, to) in [
        ("B", "A"),
        ("B", "B"),
        ("A", "NOWHERE"),
        ("NEW", "NEW"),
        ("NEW", "PREROUTING"),
        ("NEW", "NOWHERE"),
        ("PREROUTING", "OUTPUT"),
    ] {
        assert!(
            !changing.set(TableName::Nat, &chain.into(), jump(to)),
            "{chain} {to}"
        );
        assert_eq!(*changing.live.rules(), changing.expected, "{chain} {to}");
        let plan = Matcher::new(&changing.expected).unwrap().plan();
        assert_eq!(changing.live.matcher().plan(), plan, "{chain} {to}");
    }
    for chain in [
        Hook::Prerouting.into(),
        "A".into(),
        "B".into(),
        "NEW".into(),
    ] {
        changing.remove(TableName::Nat, &chain);
        assert_eq!(*changing.live.rules(), changing.expected, "{chain}");
    }
    changing.remove(TableName::Filter, &"A".into());
    changing.compare(&mut Lots(Draw(1)), 50, &mut Compared::default());
}

#[test]
fn what_is_refused_makes_no_table() {
    let mut live = Live::new(RuleSet::empty(Family::Ipv4)).unwrap();
    let before = live.rules().clone();
    let rules = vec![Rule::to(Target::Jump("NOWHERE".into()))];
    let table = TableName::Filter;
    assert!(live.set_chain(table, &"A".into(), rules).is_err());
    assert_eq!(*live.rules(), before);
}

#[test]
fn a_chain_with_the_name_of_a_hook_that_the_table_has_not_is_as_compiled_anew() {
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j ACCEPT\nCOMMIT\n";
    let rules = parsed(text, &IPV4);
    let donor = RuleSet::empty(Family::Ipv4);
    let host = HostAddresses::default();
    let mut changing = Changing::new(rules, donor, host, State::default());
    let marks = Rule::to(Target::Mark {
        value: podwire_packet::Mark(1),
        mask: podwire_packet::Mark(1),
    });
    changing.set(TableName::Nat, &Hook::Forward.into(), vec![marks]);
    let both = Both {
        interp: podwire_interp::Interp::new(changing.expected.clone()).unwrap(),
        matcher: changing.live.matcher().clone(),
    };
    let probes = Probes::of(&changing.expected, &changing.host);
    let mut lots = Lots(Draw(1));
    for packet in probes.aimed_from(&mut lots, TableName::Nat, Hook::Forward, 8) {
        let compared = &mut Compared::default();
        both.compare_one(TableName::Nat, &packet, &State::default(), 1, compared);
    }
}

#[test]
fn a_chain_with_the_name_of_a_hook_that_the_table_has_not_can_be_removed() {
    let text = "*raw\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n";
    let mut live = Live::new(parsed(text, &IPV4)).unwrap();
    let (raw, chain) = (TableName::Raw, Hook::Input.into());
    live.set_chain(raw, &chain, Vec::new()).unwrap();
    // By way of a compiling of all, which finds the chain.
    let mut live = Live::new(live.rules().clone()).unwrap();
    assert_eq!(live.remove_chain(raw, &chain), Ok(()));
}
