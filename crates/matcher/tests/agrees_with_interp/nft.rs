//! nftables: rule sets drawn from few values, and kube-proxy's own, each base chain asked both ways.

#[path = "nft/golden.rs"]
mod golden;
#[path = "nft/rules.rs"]
mod rules;

use std::sync::Arc;

use podwire_interp::NftInterp;
use podwire_matcher::NftMatcher;
use podwire_packet::{DeviceName, Family, FiveTuple, Headers, Mark, SimTime};
use podwire_ruleset::nft::{
    BaseChainId, Decision, ElementId, Observe, RuleId, RuleSet, State, parse,
};
use podwire_ruleset::{
    Choose, ConntrackInfo, CtDirection, CtState, CtStatuses, Draw, Hook, HostAddresses, Packet,
};

use super::{Compared, first_outcomes};

/// What an observer is told.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Matched(RuleId, Option<ElementId>),
    Policy(BaseChainId),
}

#[derive(Debug, Default)]
struct Events(Vec<Event>);

impl Observe for Events {
    fn matched(&mut self, rule: RuleId, found: Option<ElementId>) {
        self.0.push(Event::Matched(rule, found));
    }

    fn policy(&mut self, chain: BaseChainId) {
        self.0.push(Event::Policy(chain));
    }
}

/// Both evaluators of one rule set.
struct Both {
    interp: NftInterp,
    matcher: NftMatcher,
}

impl Both {
    fn new(rules: RuleSet, family: Family) -> Self {
        let rules = Arc::new(rules);
        let matcher = NftMatcher::new(&rules, family).expect("the rules hang together");
        let interp = NftInterp::new(rules, family).expect("the matcher takes them too");
        for hook in Hook::ALL {
            assert_eq!(matcher.base_chains(hook), interp.base_chains(hook));
        }
        Self { interp, matcher }
    }

    /// Asks every base chain of the packet's hook, and carries out what each wants remembered.
    fn compare(&self, packet: &Packet<'_>, state: &mut State, seed: u64, compared: &mut Compared) {
        for hooked in self.interp.base_chains(packet.hook) {
            let chain = hooked.chain;
            let interp = |mut choose: &mut dyn Choose| -> (Decision, Vec<Event>) {
                let mut events = Events::default();
                let interp = &self.interp;
                let decision = interp.classify(chain, packet, state, &mut choose, &mut events);
                (decision, events.0)
            };
            let matcher = |mut choose: &mut dyn Choose| -> (Decision, Vec<Event>) {
                let mut events = Events::default();
                let matcher = &self.matcher;
                let decision = matcher.classify(chain, packet, state, &mut choose, &mut events);
                (decision, events.0)
            };
            let (decision, events) = interp(&mut Draw(seed));
            let answer = matcher(&mut Draw(seed));
            assert_eq!(answer, (decision.clone(), events.clone()), "{packet:?}");
            let expected = first_outcomes(interp);
            assert_eq!(first_outcomes(matcher), expected, "{packet:?}");
            compared.packets += 1;
            compared.matched += usize::from(matches!(events.first(), Some(Event::Matched(..))));
            compared.outcomes += expected.len();
            state.apply(&decision.effects);
        }
    }
}

/// A packet to a host, about which nothing is known but its headers.
fn packet<'h>(headers: Headers, hook: Hook, state: CtState, host: &'h HostAddresses) -> Packet<'h> {
    Packet {
        headers,
        mark: Mark(0),
        hook,
        input: (hook != Hook::Output).then_some(DeviceName::ETH0),
        output: None,
        physdev_in: None,
        physdev_out: None,
        conntrack: ConntrackInfo::of_state(state),
        host,
        now: SimTime::START,
    }
}

/// A packet whose every field is one of few values.
fn drawn<'h>(draw: &mut Draw, family: Family, hook: Hook, host: &'h HostAddresses) -> Packet<'h> {
    let states = [
        CtState::New,
        CtState::New,
        CtState::Established,
        CtState::Related,
        CtState::Invalid,
        CtState::Untracked,
    ];
    let state = rules::pick(draw, &states);
    let mut packet = packet(rules::headers(draw, family), hook, state, host);
    let device = |draw: &mut Draw| {
        let name = rules::pick(draw, &rules::DEVICES);
        (!rules::one_in(draw, 4)).then(|| name.parse::<DeviceName>().unwrap())
    };
    packet.input = device(draw);
    packet.output = device(draw);
    packet.mark = Mark(rules::pick(draw, &rules::MARKS));
    packet.now = SimTime(u64::from(draw.one_of(30)) * 1_000_000_000);
    let conntrack = &mut packet.conntrack;
    conntrack.mark = Mark(rules::pick(draw, &rules::MARKS));
    conntrack.status = CtStatuses(rules::pick(draw, &[0, 2, 6, 8, 16]));
    if rules::one_in(draw, 2) {
        conntrack.direction = CtDirection::Reply;
    }
    let tuple = |draw: &mut Draw| -> Option<FiveTuple> {
        (!rules::one_in(draw, 3)).then(|| rules::headers(draw, family).five_tuple())
    };
    conntrack.original = tuple(draw);
    conntrack.reply = tuple(draw);
    packet
}

fn compare_drawn(seed: u64, compared: &mut Compared) {
    let mut draw = Draw(seed);
    let draw = &mut draw;
    let family = rules::pick(draw, &[Family::Ipv4, Family::Ipv4, Family::Ipv6]);
    let both = Both::new(rules::rule_set(draw, family), family);
    let host = rules::host(family);
    let mut state = State::default();
    for n in 0..40 {
        let hook = rules::pick(draw, &Hook::ALL);
        let packet = drawn(draw, family, hook, &host);
        both.compare(&packet, &mut state, n, compared);
    }
}

#[test]
fn on_rules_of_nftables_drawn_at_random() {
    let cases = std::env::var("PODWIRE_AGREEMENT_CASES");
    let cases = cases.map_or(250, |cases| cases.parse().expect("a number"));
    let mut compared = Compared::default();
    for seed in 0..cases {
        compare_drawn(seed, &mut compared);
    }
    println!("{compared:?} over {cases} rule sets");
    assert!(compared.matched * 3 > compared.packets * 2, "{compared:?}");
    assert!(compared.outcomes > compared.packets, "{compared:?}");
}

#[test]
fn what_podwire_does_not_know_makes_both_uncertain_alike() {
    let text = "table ip t {
        chain c { type filter hook input priority 0; policy drop;
            fib daddr . iif oif missing ip saddr 10.0.0.1 accept
            ip saddr 10.0.0.2 fib daddr oif exists numgen inc mod 2 1 drop
            fib daddr oif vmap { \"eth0\" : accept }
            frobnicate accept
            ip saddr 10.0.0.0/30 counter accept
        }
    }";
    let both = Both::new(parse(text).unwrap().rules, Family::Ipv4);
    let host = rules::host(Family::Ipv4);
    let mut compared = Compared::default();
    for last in 0..8 {
        let headers = Headers::first_of_flow(
            [10, 0, 0, last].into(),
            [10, 0, 0, 9].into(),
            podwire_packet::Protocol::TCP,
            1,
            2,
        );
        let packet = packet(headers, Hook::Input, CtState::New, &host);
        both.compare(&packet, &mut State::default(), 0, &mut compared);
    }
    assert_eq!(compared.matched, 4, "{compared:?}");
}
