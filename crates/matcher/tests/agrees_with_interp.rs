//! The matcher decides as the reference evaluator does: the whole decision, every matched rule in
//! order, every policy met, and every outcome that chance may have, with its probability.
//!
//! Rule sets are drawn from few addresses, ports and marks, so that rules collide, and packets from the
//! same few, so that they meet the rules' edges. `PODWIRE_AGREEMENT_CASES` is how many rule sets to
//! try; each is asked about forty packets.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where its own words are wrong"
)]

#[path = "agrees_with_interp/generated.rs"]
mod generated;
#[path = "agrees_with_interp/golden.rs"]
mod golden;
#[path = "agrees_with_interp/kept.rs"]
mod kept;
#[path = "agrees_with_interp/live.rs"]
mod live;
#[path = "agrees_with_interp/many.rs"]
mod many;
#[path = "agrees_with_interp/mutated.rs"]
mod mutated;
#[path = "agrees_with_interp/nft.rs"]
mod nft;
#[path = "agrees_with_interp/overlay.rs"]
mod overlay;
#[path = "agrees_with_interp/probes.rs"]
mod probes;
#[path = "agrees_with_interp/read.rs"]
mod read;
#[path = "agrees_with_interp/shapes.rs"]
mod shapes;

use podwire_interp::Interp;
use podwire_matcher::{Brief, Matcher, Overlay};
use podwire_ruleset::{
    Choose, Classify, Decision, Draw, Hook, Observe, Packet, RuleId, RuleSet, State, TableName,
    outcomes,
};

/// What an observer is told.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Matched(RuleId),
    Policy(TableName, Hook),
}

#[derive(Debug, Default)]
struct Events(Vec<Event>);

impl Observe for Events {
    fn matched(&mut self, rule: RuleId) {
        self.0.push(Event::Matched(rule));
    }

    fn policy(&mut self, table: TableName, hook: Hook) {
        self.0.push(Event::Policy(table, hook));
    }
}

/// Both evaluators of one rule set.
struct Both<M = Matcher> {
    interp: Interp,
    matcher: M,
}

/// What compiles a rule set.
trait Compiled: Classify {
    fn decide(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut dyn Choose,
    ) -> Brief<'_>;
}

impl Compiled for Matcher {
    fn decide(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        mut choose: &mut dyn Choose,
    ) -> Brief<'_> {
        self.decide(table, packet, state, &mut choose)
    }
}

impl Compiled for Overlay {
    fn decide(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        mut choose: &mut dyn Choose,
    ) -> Brief<'_> {
        self.decide(table, packet, state, &mut choose)
    }
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    packets: usize,
    /// Of these, how many matched a rule.
    matched: usize,
    /// Outcomes of those that chance decides.
    outcomes: usize,
}

impl Both {
    fn new(rules: RuleSet) -> Self {
        Self {
            matcher: Matcher::new(&rules).expect("interp takes it too"),
            interp: Interp::new(rules).expect("the rules hang together"),
        }
    }
}

impl<M: Compiled> Both<M> {
    /// Asks both, and returns the state that the answer leaves.
    fn compare(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &mut State,
        seed: u64,
        compared: &mut Compared,
    ) {
        let hook = packet.hook;
        assert_eq!(
            self.matcher.has_rules(table, hook),
            self.interp.has_rules(table, hook)
        );
        let ask = |choose: &mut dyn Choose| watched(&self.interp, table, packet, state, choose);
        let (decision, events) = ask(&mut Draw(seed));
        let answer = watched(&self.matcher, table, packet, state, &mut Draw(seed));
        assert_eq!(answer, (decision.clone(), events.clone()), "{packet:?}");

        let expected = first_outcomes(ask);
        let found = first_outcomes(|choose| watched(&self.matcher, table, packet, state, choose));
        assert_eq!(found, expected, "{packet:?}");
        let unwatched = first_outcomes(|mut choose| {
            self.matcher
                .classify(table, packet, state, &mut choose, &mut ())
        });
        let decisions: Vec<(f64, Decision)> = expected
            .iter()
            .map(|(probability, (decision, _))| (*probability, decision.clone()))
            .collect();
        assert_eq!(unwatched, decisions, "{packet:?}");

        let brief = first_outcomes(|choose| self.matcher.decide(table, packet, state, choose));
        assert_eq!(brief.len(), decisions.len(), "{packet:?}");
        for ((probability, brief), (expected, decision)) in brief.iter().zip(&decisions) {
            assert!(
                brief.agrees_with(decision) && probability.to_bits() == expected.to_bits(),
                "{packet:?}: {brief:?}, {decision:?}"
            );
        }

        compared.packets += 1;
        compared.matched += usize::from(matches!(events.first(), Some(Event::Matched(_))));
        compared.outcomes += expected.len();
        state.apply(&decision.effects);
    }
}

impl<M: Compiled> Both<M> {
    /// Asks both with one draw: what rules are met, what is decided, and whether `decide` says so.
    fn compare_one(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        seed: u64,
        compared: &mut Compared,
    ) {
        let steps = || Steps(Draw(seed));
        let (decision, events) = watched(&self.interp, table, packet, state, &mut steps());
        let (found, met) = watched(&self.matcher, table, packet, state, &mut steps());
        assert!(
            met == events && found == decision,
            "{packet:?}: {met:?}, {events:?}, {found:?}, {decision:?}"
        );
        let brief = self.matcher.decide(table, packet, state, &mut steps());
        assert!(
            brief.agrees_with(&decision),
            "{packet:?}: {brief:?}, {decision:?}"
        );
        compared.packets += 1;
        compared.matched += usize::from(matches!(events.first(), Some(Event::Matched(_))));
    }
}

/// Outcomes of one packet that are looked at.
const MAX_OUTCOMES: usize = 600;

/// The first outcomes, of all that chance may have: rules that each leave something to chance have as
/// many as the product of their ways.
fn first_outcomes<T>(mut run: impl FnMut(&mut dyn Choose) -> T) -> Vec<(f64, T)> {
    let mut count = 0;
    let all = outcomes(|choose| {
        count += 1;
        // Who asks for nothing has no further ways.
        (count <= MAX_OUTCOMES).then(|| run(choose))
    });
    all.into_iter()
        .filter_map(|(probability, outcome)| Some((probability, outcome?)))
        .collect()
}

/// A draw that takes ladders rung by rung, so that what is folded and what is not choose alike.
struct Steps(Draw);

impl Choose for Steps {
    fn chance(&mut self, threshold: u32) -> bool {
        self.0.chance(threshold)
    }

    fn one_of(&mut self, n: u32) -> u32 {
        self.0.one_of(n)
    }
}

fn watched(
    evaluator: &impl Classify,
    table: TableName,
    packet: &Packet<'_>,
    state: &State,
    mut choose: &mut dyn Choose,
) -> (Decision, Vec<Event>) {
    let mut events = Events::default();
    let decision = evaluator.classify(table, packet, state, &mut choose, &mut events);
    (decision, events.0)
}
