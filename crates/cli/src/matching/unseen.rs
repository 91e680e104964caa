//! Sets that ask for what podwire's packets do not have: Ethernet addresses.

use std::collections::BTreeSet;

use podwire_ruleset::{ChainName, Match, RuleSet, SetEntry, SetPart, Sets, TableName};

/// Has the tests of such sets count as not evaluated, so that an answer which depends on one says so.
/// Answers with the names of those that rules ask.
pub(super) fn set_aside<'s>(rules: &mut RuleSet, sets: &'s Sets) -> Vec<&'s str> {
    let mut unseen: Vec<&str> = sets
        .keys()
        .filter(|name| asks_for_mac(sets, name))
        .map(|name| &**name)
        .collect();
    let chains = rules
        .tables
        .values()
        .flat_map(|table| table.chains.values());
    let tests = chains.flat_map(|chain| chain.rules.iter().flat_map(|rule| &rule.matches));
    let asked: BTreeSet<&str> = tests
        .filter_map(|test| {
            if let Match::Set(set) = test {
                Some(&*set.value.name)
            } else {
                None
            }
        })
        .collect();
    unseen.retain(|name| asked.contains(name));
    let is_unseen = |test: &Match| {
        if let Match::Set(set) = test {
            unseen.contains(&&*set.value.name)
        } else {
            false
        }
    };
    let chains = rules.tables.iter().flat_map(|(table, of)| {
        let chains = of.chains.iter();
        chains.map(move |(name, chain)| (*table, name, chain))
    });
    let affected: Vec<(TableName, ChainName)> = chains
        .filter(|(_, _, chain)| {
            let mut tests = chain.rules.iter().flat_map(|rule| &rule.matches);
            tests.any(is_unseen)
        })
        .map(|(table, name, _)| (table, name.clone()))
        .collect();
    for (table, name) in affected {
        let chain = rules.table_mut(table).chain_mut(&name);
        let tests = chain.rules.iter_mut().flat_map(|rule| &mut rule.matches);
        for test in tests.filter(|test| is_unseen(test)) {
            *test = Match::Unknown("-m set".into());
        }
    }
    unseen
}

/// Whether an element of the set, or of a member of a list, has an Ethernet address.
fn asks_for_mac(sets: &Sets, name: &str) -> bool {
    let Some(set) = sets.get(name) else {
        return false;
    };
    let members = set.entries.iter().flat_map(|(values, _)| values);
    let mut members = members.filter_map(|value| match value {
        SetEntry::Word(member) if set.kind.parts.contains(&SetPart::Set) => sets.get(member),
        SetEntry::Word(_)
        | SetEntry::Net(_)
        | SetEntry::Range(_)
        | SetEntry::Ports(..)
        | SetEntry::Mac(_) => None,
    });
    set.kind.parts.contains(&SetPart::Mac)
        || members.any(|member| member.kind.parts.contains(&SetPart::Mac))
}
