//! From rule to rule.

use podwire_packet::{Mark, Protocol};
use podwire_ruleset::{
    Classify, CtState, Draw, Hook, NatKind, NatRange, RejectWith, RuleId, State, TableName, Verdict,
};

use super::{Probe, table};
use crate::Interp;

/// What a packet at INPUT meets in `mangle`.
fn walk(lines: &str) -> (String, Verdict) {
    Probe::tcp().walk(lines)
}

#[test]
fn rules_are_asked_in_order_and_the_first_terminal_verdict_ends_the_table() {
    let (met, verdict) =
        walk("-A INPUT -j MARK --set-mark 1\n-A INPUT -j ACCEPT\n-A INPUT -j DROP");
    assert_eq!(
        (met.as_str(), verdict),
        ("INPUT/1 INPUT/2", Verdict::Accept)
    );
}

#[test]
fn a_packet_that_no_rule_decides_meets_the_policy() {
    assert_eq!(
        walk(":INPUT DROP [0:0]\n-A INPUT -p udp -j ACCEPT"),
        (String::new(), Verdict::Drop)
    );
    assert_eq!(walk("-A INPUT -p udp -j DROP").1, Verdict::Accept);
}

#[test]
fn a_rule_without_a_target_only_counts() {
    assert_eq!(
        walk("-A INPUT -p tcp\n-A INPUT -j DROP"),
        ("INPUT/1 INPUT/2".into(), Verdict::Drop)
    );
}

#[test]
fn the_end_of_a_users_chain_leads_back_behind_the_jump() {
    let (met, verdict) = walk(":A - [0:0]\n-A INPUT -j A\n-A INPUT -j DROP\n-A A -p tcp");
    assert_eq!(
        (met.as_str(), verdict),
        ("INPUT/1 A/1 INPUT/2", Verdict::Drop)
    );
}

#[test]
fn return_leads_back_behind_the_jump_too() {
    let (met, verdict) =
        walk(":A - [0:0]\n-A INPUT -j A\n-A INPUT -j DROP\n-A A -j RETURN\n-A A -j ACCEPT");
    assert_eq!(
        (met.as_str(), verdict),
        ("INPUT/1 A/1 INPUT/2", Verdict::Drop)
    );
}

#[test]
fn return_in_a_built_in_chain_asks_the_policy() {
    let (met, verdict) = walk(":INPUT DROP [0:0]\n-A INPUT -j RETURN\n-A INPUT -j ACCEPT");
    assert_eq!((met.as_str(), verdict), ("INPUT/1", Verdict::Drop));
}

#[test]
fn goto_does_not_come_back_to_the_chain_that_said_it() {
    // "Unlike with the --jump option RETURN will not continue processing in this chain but instead
    // in the chain that called us via --jump."
    let lines = ":A - [0:0]\n:B - [0:0]\n-A INPUT -j A\n-A INPUT -j DROP\n\
                 -A A -g B\n-A A -j ACCEPT\n-A B -j RETURN";
    assert_eq!(
        walk(lines),
        ("INPUT/1 A/1 B/1 INPUT/2".into(), Verdict::Drop)
    );
}

#[test]
fn behind_a_goto_of_a_built_in_chain_stands_the_policy() {
    let lines = ":INPUT DROP [0:0]\n:A - [0:0]\n-A INPUT -g A\n-A INPUT -j ACCEPT\n-A A -p tcp";
    assert_eq!(walk(lines), ("INPUT/1 A/1".into(), Verdict::Drop));
}

#[test]
fn a_verdict_in_a_users_chain_is_the_tables() {
    let lines =
        ":A - [0:0]\n:B - [0:0]\n-A INPUT -j A\n-A INPUT -j DROP\n-A A -j B\n-A B -j ACCEPT";
    assert_eq!(walk(lines), ("INPUT/1 A/1 B/1".into(), Verdict::Accept));
}

#[test]
fn log_mark_and_their_like_do_not_end_the_walk() {
    let lines = "-A INPUT -j LOG\n-A INPUT -j NFLOG --nflog-group 3\n-A INPUT -j MARK --set-mark 1\n\
                 -A INPUT -j CONNMARK --save-mark\n-A INPUT -j TRACE\n-A INPUT -j NOTRACK\n\
                 -A INPUT -p tcp -j TCPMSS --clamp-mss-to-pmtu\n-A INPUT -j CHECKSUM --checksum-fill\n\
                 -A INPUT -j DROP";
    let (met, verdict) = walk(lines);
    assert!(met.ends_with("INPUT/8 INPUT/9"), "{met}");
    assert_eq!(verdict, Verdict::Drop);
}

#[test]
fn reject_says_what_the_sender_is_told() {
    let reject = |with: &str| {
        let rules = table(
            "filter",
            &format!("-A INPUT -p tcp -j REJECT{with}"),
            &Probe::tcp().packet,
        );
        Probe::tcp()
            .ask(&rules, &State::default(), &mut Draw(1))
            .verdict
    };
    assert_eq!(reject(""), Verdict::Reject(RejectWith::PortUnreachable));
    assert_eq!(
        reject(" --reject-with tcp-reset"),
        Verdict::Reject(RejectWith::TcpReset)
    );
}

#[test]
fn a_rule_sees_the_mark_that_an_earlier_one_made() {
    let lines =
        "-A INPUT -j MARK --set-xmark 0x4000/0x4000\n-A INPUT -m mark --mark 0x4000/0x4000 -j DROP";
    let marked = Probe::tcp().with(|p| p.mark = Mark(0x0f)).decide(lines);
    assert_eq!((marked.verdict, marked.mark), (Verdict::Drop, Mark(0x400f)));
}

#[test]
fn set_xmark_clears_the_mask_and_flips_the_value() {
    // "Zeroes out the bits given by mask and XORs value into the packet mark."
    let mark = |option: &str| {
        let probe = Probe::tcp().with(|p| p.mark = Mark(0xff));
        probe.decide(&format!("-A INPUT -j MARK {option}")).mark
    };
    assert_eq!(mark("--set-xmark 0x3c/0x0f"), Mark(0xcc));
    assert_eq!(mark("--set-mark 0x01/0x0f"), Mark(0xf1));
    assert_eq!(mark("--and-mark 0x0f"), Mark(0x0f));
    assert_eq!(mark("--or-mark 0x100"), Mark(0x1ff));
    assert_eq!(mark("--xor-mark 0x0f"), Mark(0xf0));
}

#[test]
fn connmark_saves_and_restores_through_both_masks() {
    let probe = Probe::tcp().with(|p| (p.mark, p.conntrack.mark) = (Mark(0x12), Mark(0x340)));
    let saved = probe.decide("-A INPUT -j CONNMARK --save-mark --nfmask 0xf --ctmask 0xff");
    assert_eq!(
        (saved.mark, saved.conntrack_mark),
        (Mark(0x12), Mark(0x302))
    );
    let restored = probe.decide("-A INPUT -j CONNMARK --restore-mark --nfmask 0xf --ctmask 0xf0");
    assert_eq!(
        (restored.mark, restored.conntrack_mark),
        (Mark(0x50), Mark(0x340))
    );
    let set = probe.decide("-A INPUT -j CONNMARK --set-xmark 0x1/0x0");
    assert_eq!(set.conntrack_mark, Mark(0x341));
}

#[test]
fn without_a_connection_connmark_does_nothing() {
    // `connmark_tg_shift`: "if (ct == NULL) return XT_CONTINUE".
    let probe = Probe::tcp()
        .state(CtState::Untracked)
        .with(|p| p.mark = Mark(5));
    let restored = probe.decide("-A INPUT -j CONNMARK --restore-mark");
    assert_eq!(restored.mark, Mark(5));
}

#[test]
fn the_rules_behind_notrack_see_an_untracked_packet() {
    let raw = Probe::tcp().state(CtState::Invalid);
    let lines = "-A INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT\n-A INPUT -j NOTRACK\n\
                 -A INPUT -m conntrack --ctstate UNTRACKED -j DROP";
    let decision = raw.decide(lines);
    assert!(decision.notrack);
    assert_eq!(decision.verdict, Verdict::Drop);
}

#[test]
fn a_translation_ends_the_table_and_says_where_to() {
    let rules =
        "-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.9:8080\n-A PREROUTING -j DROP";
    let probe = Probe::tcp().at(Hook::Prerouting, "eth0", "-");
    let decision = probe.ask(
        &table("nat", rules, &probe.packet),
        &State::default(),
        &mut Draw(1),
    );
    let to = NatRange::to("10.0.0.9".parse().unwrap(), Some(8080));
    assert_eq!(
        (decision.verdict, decision.nat),
        (Verdict::Accept, Some((NatKind::Dnat, to)))
    );
}

#[test]
fn each_hook_has_its_own_chain() {
    let lines = "-A INPUT -j DROP\n-A FORWARD -j ACCEPT";
    let forwarded = Probe::tcp().at(Hook::Forward, "eth0", "cni0");
    assert_eq!(forwarded.walk(lines), ("FORWARD/1".into(), Verdict::Accept));
    assert_eq!(Probe::tcp().walk(lines).1, Verdict::Drop);
}

#[test]
fn an_unknown_match_is_passed_over_and_told() {
    let decision = Probe::tcp().decide("-A INPUT -m quota --quota 7 -j DROP\n-A INPUT -j ACCEPT");
    assert_eq!(decision.verdict, Verdict::Accept);
    assert_eq!(decision.uncertain.map(|id| id.number), Some(1));
}

#[test]
fn an_unknown_match_does_not_count_where_another_test_fails() {
    for rule in [
        "-p udp -m quota --quota 7",
        "-m quota --quota 7 -m mark --mark 9",
    ] {
        assert_eq!(
            Probe::tcp()
                .decide(&format!("-A INPUT {rule} -j DROP"))
                .uncertain,
            None,
            "{rule}"
        );
    }
}

#[test]
fn an_unknown_target_is_passed_over_and_told() {
    let decision = Probe::tcp().decide("-A INPUT -p tcp -j TARPIT\n-A INPUT -j DROP");
    assert_eq!(
        (decision.verdict, decision.uncertain.is_some()),
        (Verdict::Drop, true)
    );
}

#[test]
fn a_table_that_is_not_there_accepts() {
    let rules = table("filter", "-A INPUT -j DROP", &Probe::tcp().packet);
    let state = State::default();
    let mut met: Vec<RuleId> = Vec::new();
    let decision = rules.classify(
        TableName::Raw,
        &Probe::tcp().packet,
        &state,
        &mut Draw(1),
        &mut met,
    );
    assert_eq!((decision.verdict, met.len()), (Verdict::Accept, 0));
}

#[test]
fn a_hook_needs_no_asking_where_nothing_can_match() {
    let lines = ":OUTPUT DROP [0:0]\n-A INPUT -j ACCEPT";
    let rules = table("filter", lines, &Probe::tcp().packet);
    let asked = |hook| rules.has_rules(TableName::Filter, hook);
    assert_eq!(
        [Hook::Input, Hook::Output, Hook::Forward].map(asked),
        [true, true, false]
    );
}

#[test]
fn chains_in_a_circle_and_missing_chains_are_refused() {
    use podwire_packet::Family;
    use podwire_ruleset::{Rule, RuleSet, Target};
    let mut rules = RuleSet::empty(Family::Ipv4);
    let chain = rules.table_mut(TableName::Filter).chain_mut(&"A".into());
    chain.rules.push(Rule::to(Target::Jump("B".into())));
    assert!(Interp::new(rules.clone()).is_err());
    let back = Rule::to(Target::Goto("A".into()));
    rules
        .table_mut(TableName::Filter)
        .chain_mut(&"B".into())
        .rules
        .push(back);
    assert!(Interp::new(rules).is_err());
}

#[test]
fn the_policy_is_told_to_whoever_watches() {
    struct Policies(Vec<Hook>);
    impl podwire_ruleset::Observe for Policies {
        fn matched(&mut self, _: RuleId) {}
        fn policy(&mut self, _: TableName, hook: Hook) {
            self.0.push(hook);
        }
    }
    let probe = Probe::new(Protocol::UDP, "198.51.100.7", 1, "192.0.2.1", 2);
    let rules = table("mangle", "-A INPUT -p tcp -j DROP", &probe.packet);
    let mut seen = Policies(Vec::new());
    let state = State::default();
    rules.classify(
        TableName::Mangle,
        &probe.packet,
        &state,
        &mut Draw(1),
        &mut seen,
    );
    assert_eq!(seen.0, [Hook::Input]);
}
