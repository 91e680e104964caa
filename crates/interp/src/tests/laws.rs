//! What holds of every rule set.

use podwire_packet::Family;
use podwire_ruleset::{CERTAIN, Decision, Draw, State, outcomes};
use proptest::prelude::*;

use super::{Probe, read};
use crate::Interp;

/// One rule of a chain that may call later chains only, so that no two call each other.
fn rule(chain: usize, chains: usize) -> impl Strategy<Value = String> {
    let matches = prop_oneof![
        3 => Just(String::new()),
        1 => Just("-p tcp --dport 80".to_owned()),
        1 => Just("-p udp".to_owned()),
        1 => Just("-m mark --mark 0x1/0x1".to_owned()),
        1 => Just("-m limit --limit 1/s --limit-burst 1".to_owned()),
        1 => Just("-m statistic --mode nth --every 2".to_owned()),
        4 => (0_u32..=8).prop_map(|n| {
            format!("-m statistic --mode random --probability {}", f64::from(n) / 8.0)
        }),
    ];
    let mut targets = vec!["ACCEPT", "DROP", "RETURN", "MARK --xor-mark 0x1"]
        .into_iter()
        .map(|target| format!("-j {target}"))
        .collect::<Vec<_>>();
    for later in chain + 1..chains {
        targets.extend([format!("-j C{later}"), format!("-g C{later}")]);
    }
    (matches, prop::sample::select(targets))
        .prop_map(|(matches, target)| format!("{matches} {target}"))
}

fn rule_set() -> impl Strategy<Value = Interp> {
    const CHAINS: usize = 4;
    let chains: Vec<_> = (0..CHAINS)
        .map(|chain| prop::collection::vec(rule(chain, CHAINS), 0..4))
        .collect();
    chains.prop_map(|chains| {
        let mut text = "*mangle\n:C1 - [0:0]\n:C2 - [0:0]\n:C3 - [0:0]\n".to_owned();
        for (number, rules) in chains.iter().enumerate() {
            let name = if number == 0 {
                "INPUT".to_owned()
            } else {
                format!("C{number}")
            };
            for rule in rules {
                text.push_str(&format!("-A {name} {rule}\n"));
            }
        }
        Interp::new(read(Family::Ipv4, &(text + "COMMIT\n"))).unwrap()
    })
}

proptest! {
    #[test]
    fn the_probabilities_of_all_outcomes_sum_to_one(rules in rule_set()) {
        let all = outcomes(|mut choose| Probe::tcp().ask(&rules, &State::default(), &mut choose));
        let sum: f64 = all.iter().map(|(probability, _)| probability).sum();
        prop_assert!((sum - CERTAIN).abs() < 1e-9, "{}", sum);
        prop_assert!(all.iter().all(|(probability, _)| *probability > 0.0));
    }

    #[test]
    fn every_draw_decides_for_one_of_the_outcomes(rules in rule_set(), seed: u64) {
        let all = outcomes(|mut choose| Probe::tcp().ask(&rules, &State::default(), &mut choose));
        let drawn = Probe::tcp().ask(&rules, &State::default(), &mut Draw(seed));
        let known: Vec<&Decision> = all.iter().map(|(_, decision)| decision).collect();
        prop_assert!(known.contains(&&drawn), "{:?}", drawn);
    }

    #[test]
    fn the_same_question_has_the_same_answer(rules in rule_set(), seed: u64) {
        let ask = || Probe::tcp().ask(&rules, &State::default(), &mut Draw(seed));
        prop_assert_eq!(ask(), ask());
    }
}
