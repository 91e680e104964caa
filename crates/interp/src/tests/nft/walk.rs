//! Chains, verdicts and base chains.

use podwire_packet::Family;
use podwire_ruleset::nft::{TableFamily, Verdict as Says};
use podwire_ruleset::{Policy, Verdict};

use super::{Tables, count, goto, jump, verdict};
use crate::tests::Probe;

/// nft(8), VERDICT STATEMENTS: "Terminate ruleset evaluation and accept the packet. The packet can still
/// be dropped later by another hook".
#[test]
fn accept_ends_its_base_chain_and_the_next_one_is_asked() {
    let tables = Tables::of(&Probe::tcp())
        .base("first", -10, Policy::Drop, [vec![jump("deep")]])
        .chain("deep", [vec![verdict(Says::Accept)], vec![count()]])
        .base("second", 10, Policy::Accept, [vec![verdict(Says::Drop)]])
        .base("third", 20, Policy::Accept, [vec![count()]]);
    assert_eq!(
        tables.walk(),
        ("first/1 deep/1 second/1".to_owned(), Verdict::Drop)
    );
}

/// nft(8): "jump: Store the current position in the call stack … continue at the first rule of that
/// chain. … return to the old position"; "goto: … the new position is not pushed to the call stack".
#[test]
fn a_jump_comes_back_and_a_goto_does_not() {
    let tables = Tables::of(&Probe::tcp())
        .base("base", 0, Policy::Accept, [vec![jump("a")], vec![count()]])
        .chain("a", [vec![goto("b")], vec![count()]])
        .chain("b", [vec![count()]]);
    assert_eq!(
        tables.walk(),
        ("base/1 a/1 b/1 base/2".to_owned(), Verdict::Accept)
    );
}

/// nft(8): "return: … If this is issued in a base chain, it is equivalent to the base chain policy."
#[test]
fn return_comes_back_and_in_a_base_chain_is_the_policy() {
    let returns = || vec![verdict(Says::Return)];
    let tables = Tables::of(&Probe::tcp())
        .base(
            "base",
            0,
            Policy::Drop,
            [vec![jump("a")], returns(), vec![count()]],
        )
        .chain("a", [returns(), vec![count()]]);
    assert_eq!(
        tables.walk(),
        ("base/1 a/1 base/2".to_owned(), Verdict::Drop)
    );
    // What a base chain went to by `goto` ends as the base chain does.
    let tables = Tables::of(&Probe::tcp())
        .base("base", 0, Policy::Drop, [vec![goto("a")], vec![count()]])
        .chain("a", [vec![count()]]);
    assert_eq!(tables.walk(), ("base/1 a/1".to_owned(), Verdict::Drop));
}

/// nft(8): "continue: Continue evaluation with the next rule"; to the kernel it is no verdict at all
/// (`NFT_CONTINUE`), and the rule itself goes on.
#[test]
fn continue_goes_on() {
    let tables = Tables::of(&Probe::tcp()).base(
        "base",
        0,
        Policy::Accept,
        [vec![verdict(Says::Continue), verdict(Says::Drop)]],
    );
    assert_eq!(tables.walk(), ("base/1".to_owned(), Verdict::Drop));
}

/// `nf_hook_entries_grow`, net/netfilter/core.c: before the first that is not of lower priority.
#[test]
fn base_chains_are_asked_by_priority_and_of_equal_ones_the_later_first() {
    let tables = Tables::of(&Probe::tcp())
        .base("a", 5, Policy::Accept, [vec![count()]])
        .base("b", 5, Policy::Accept, [vec![count()]])
        .base("early", -300, Policy::Accept, [vec![count()]])
        .table(TableFamily::Inet)
        .base("c", 5, Policy::Accept, [vec![count()]]);
    assert_eq!(tables.walk().0, "early/1 c/1 b/1 a/1");
}

#[test]
fn tables_of_the_other_family_are_not_asked() {
    let tables = Tables::of(&Probe::tcp())
        .table(TableFamily::Ip6)
        .base("six", 0, Policy::Drop, [vec![count()]])
        .table(TableFamily::Inet)
        .base("both", 1, Policy::Accept, [vec![count()]]);
    assert_eq!(tables.walk(), ("both/1".to_owned(), Verdict::Accept));
    let six = crate::NftInterp::new(tables.set.clone(), Family::Ipv6).unwrap();
    assert_eq!(six.base_chains(tables.probe.packet.hook).len(), 2);
}
