use podwire_interp::Interp;
use podwire_packet::{Family, Headers, Mark, SimTime};
use podwire_ruleset::{
    Classify as _, ConntrackInfo, CtState, Hook, HostAddresses, Packet, RuleId, RuleSet, State,
    TableName, iptables,
};

use super::*;

fn both() -> [Policy; 2] {
    [
        Policy::like_an_access_list(300, 1),
        Policy::unfavourable(300, 1),
    ]
}

fn read(policy: &Policy) -> RuleSet {
    let parsed = iptables::parse(&policy.iptables_save(), Family::Ipv4).unwrap();
    assert_eq!(parsed.unknown, []);
    parsed.rules
}

#[test]
fn a_seed_gives_the_same_policy_and_packets_again() {
    let policy = Policy::like_an_access_list(1_000, 7);
    assert_eq!(policy, Policy::like_an_access_list(1_000, 7));
    assert_ne!(policy, Policy::like_an_access_list(1_000, 8));
    assert_eq!(policy.packets(100, 1), policy.packets(100, 1));
}

#[test]
fn the_text_prints_back_as_it_was_read() {
    for policy in both() {
        let rules = read(&policy);
        assert_eq!(rules.rule_count(), 300);
        let text = iptables::print(&rules, iptables::Wording::Save);
        assert_eq!(text, policy.iptables_save());
    }
}

#[test]
fn the_reference_finds_the_same_first_match() {
    for policy in both() {
        let interp = Interp::new(read(&policy)).unwrap();
        let host = HostAddresses::default();
        let mut hits = 0;
        for flow in policy.packets(2_000, 2) {
            let headers = Headers::first_of_flow(
                Ipv4Addr::from(flow.src).into(),
                Ipv4Addr::from(flow.dst).into(),
                flow.protocol,
                flow.sport,
                flow.dport,
            );
            let packet = Packet {
                headers,
                mark: Mark(flow.mark),
                hook: Hook::Forward,
                input: Some(DeviceName::ETH0),
                output: Some(DeviceName::ETH0),
                physdev_in: flow.bridge_port,
                physdev_out: None,
                conntrack: ConntrackInfo::of_state(CtState::New),
                host: &host,
                now: SimTime::START,
            };
            let mut matched: Vec<RuleId> = Vec::new();
            let decision = interp.classify(
                TableName::Filter,
                &packet,
                &State::default(),
                &mut Draw(1),
                &mut matched,
            );
            let number = policy.first_match(&flow);
            assert_eq!(
                matched.first().map_or(0, |id| id.number),
                number,
                "{flow:?}"
            );
            let verdict = match number {
                0 => Verdict::Accept,
                _ => policy.rules[number as usize - 1].verdict,
            };
            assert_eq!(decision.verdict, verdict, "{flow:?}");
            hits += usize::from(number > 0);
        }
        assert!(hits >= 1_000, "half of the packets are aimed: {hits}");
    }
}

#[test]
fn prefixes_nest_and_have_many_lengths() {
    let policy = Policy::like_an_access_list(1_000, 3);
    let nets: BTreeSet<Net> = policy.rules.iter().map(|rule| rule.src).collect();
    let lengths: BTreeSet<u8> = nets.iter().map(|net| net.len).collect();
    assert!(lengths.len() > 15, "{lengths:?}");
    let is_inside = |own: &&Net| {
        let mut wider = nets.iter().filter(|net| (8..own.len).contains(&net.len));
        wider.any(|net| net.contains(own.first))
    };
    assert!(nets.iter().filter(is_inside).count() * 2 > nets.len());
}

#[test]
fn rules_overlap_but_most_are_reached() {
    let policy = Policy::like_an_access_list(1_000, 3);
    let mut draw = Draw(5);
    let reached = policy.rules.iter().zip(1..).filter(|(rule, number)| {
        let flow = Flow::aimed_at(rule, &mut draw);
        policy.first_match(&flow) == *number
    });
    let reached = reached.count();
    assert!((500..1_000).contains(&reached), "{reached}");
}
