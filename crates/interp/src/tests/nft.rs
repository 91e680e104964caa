//! What nftables' rules mean, a sentence of nft(8) or of net/netfilter/nft_*.c at a time.

mod expressions;
mod sets;
mod statements;
mod walk;

use podwire_packet::{Mark, Protocol};
use podwire_ruleset::nft::{
    BaseChain, ChainKind, Decision, Element, Expression, Key, Lookup, MapValue, MetaKey, Name,
    Operand, Payload, Rule, RuleSet, Set, Span, State, Statement, Table, TableFamily, Value,
    Verdict as Says,
};
use podwire_ruleset::{Choose, Draw, L4, Policy, Verdict};

use super::Probe;
use crate::NftInterp;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A table to be filled.
struct Tables {
    set: RuleSet,
    probe: Probe,
}

impl Tables {
    /// A table of the probe's family with an empty base chain at the probe's hook.
    fn of(probe: &Probe) -> Self {
        let family = TableFamily::from(probe.packet.headers.family());
        Self {
            set: RuleSet::default(),
            probe: probe.clone(),
        }
        .table(family)
        .base("base", 0, Policy::Accept, [])
    }

    /// Another table; chains and sets go into it from here on.
    fn table(mut self, family: TableFamily) -> Self {
        let number = self.set.tables.len();
        self.set.table_mut(family, &name(&format!("t{number}")));
        self
    }

    fn last(&mut self) -> &mut Table {
        let (_, table) = self.set.tables.last_mut().expect("made by `of`");
        table
    }

    fn base(
        mut self,
        chain: &str,
        priority: i32,
        policy: Policy,
        rules: impl IntoIterator<Item = Vec<Statement>>,
    ) -> Self {
        let hook = self.probe.packet.hook;
        self.last().chain_mut(&name(chain)).base = Some(BaseChain {
            kind: ChainKind::Filter,
            hook,
            priority,
            policy,
        });
        self.chain(chain, rules)
    }

    fn chain(mut self, chain: &str, rules: impl IntoIterator<Item = Vec<Statement>>) -> Self {
        let rules = rules.into_iter().map(Rule::of).collect();
        self.last().chain_mut(&name(chain)).rules = rules;
        self
    }

    fn named(mut self, set: &str, of: Set) -> Self {
        self.last().sets.insert(name(set), of);
        self
    }

    fn interp(&self) -> NftInterp {
        let family = self.probe.packet.headers.family();
        NftInterp::new(self.set.clone(), family).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What the first base chain says; what rules remember is kept.
    fn ask_with(&self, state: &mut State, choose: &mut impl Choose) -> Decision {
        let interp = self.interp();
        let first = interp.base_chains(self.probe.packet.hook)[0].chain;
        let decision = interp.classify(first, &self.probe.packet, state, choose, &mut ());
        state.apply(&decision.effects);
        decision
    }

    fn ask(&self) -> Decision {
        self.ask_with(&mut State::default(), &mut Draw(1))
    }

    /// The rules that match in every base chain of the hook, as `CHAIN/NUMBER`, and the last verdict.
    fn walk(&self) -> (String, Verdict) {
        let interp = self.interp();
        let (mut met, mut verdict) = (Vec::new(), Verdict::Accept);
        for base in interp.base_chains(self.probe.packet.hook) {
            let (packet, state) = (&self.probe.packet, State::default());
            verdict = interp
                .classify(base.chain, packet, &state, &mut Draw(1), &mut met)
                .verdict;
            if verdict != Verdict::Accept {
                break;
            }
        }
        let labels = met.iter().map(|&id| interp.rules().label(id));
        let trail: Vec<String> = labels
            .map(|label| label.split_once('/').expect("a table").1.to_owned())
            .collect();
        (trail.join(" "), verdict)
    }
}

impl Probe {
    /// Whether a rule of these statements reaches its end, with what it remembers.
    fn runs_with(&self, statements: &[Statement], tables: Tables, state: &mut State) -> bool {
        let mut rule = statements.to_vec();
        rule.push(verdict(Says::Drop));
        let tables = Tables {
            probe: self.clone(),
            ..tables
        };
        let decision = tables
            .base("base", 0, Policy::Accept, [rule])
            .ask_with(state, &mut Draw(1));
        assert_eq!(decision.uncertain, None, "{statements:?}");
        decision.verdict == Verdict::Drop
    }

    fn runs(&self, statements: &[Statement]) -> bool {
        self.runs_with(statements, Tables::of(self), &mut State::default())
    }

    /// Whether a test for equality holds, and whether one for a difference does.
    fn compare(&self, left: &Expression, right: impl Into<Key>) -> (bool, bool) {
        let right = right.into();
        (
            self.runs(&[Statement::is(left.clone(), right.clone())]),
            self.runs(&[Statement::is_not(left.clone(), right)]),
        )
    }
}

/// A test and the same one inverted.
const EQUAL: (bool, bool) = (true, false);
const DIFFERENT: (bool, bool) = (false, true);
/// The packet has no such field.
const NEITHER: (bool, bool) = (false, false);

fn verdict(says: Says) -> Statement {
    Statement::Verdict(says)
}

fn jump(to: &str) -> Statement {
    verdict(Says::Jump(name(to)))
}

fn goto(to: &str) -> Statement {
    verdict(Says::Goto(name(to)))
}

fn count() -> Statement {
    Statement::Counter(None)
}

fn dport() -> Expression {
    Expression::Payload(Payload::Dport(Some(L4::Tcp)))
}

fn l4proto() -> Expression {
    Expression::Meta(MetaKey::L4proto)
}

fn saddr() -> Expression {
    Expression::Payload(Payload::Saddr(podwire_packet::Family::Ipv4))
}

fn daddr() -> Expression {
    Expression::Payload(Payload::Daddr(podwire_packet::Family::Ipv4))
}

fn address(text: &str) -> Value {
    Value::Address(text.parse().unwrap())
}

fn prefix(text: &str) -> Span {
    Span::Prefix(text.parse().unwrap())
}

fn mark(mark: u32) -> Value {
    Value::Mark(Mark(mark))
}

/// An element of a verdict map.
fn element(key: impl Into<Key>, says: Says) -> (Key, Element) {
    let value = Some(MapValue::Verdict(says));
    (
        key.into(),
        Element {
            value,
            ..Element::default()
        },
    )
}

/// A test against a list in braces.
fn any_of(left: Expression, keys: impl IntoIterator<Item = Key>) -> Statement {
    Statement::Match(podwire_ruleset::nft::Match {
        left,
        inverted: false,
        right: Operand::Anonymous(keys.into_iter().collect()),
    })
}

fn look_up(key: Expression, map: &str) -> Statement {
    Statement::VerdictMap {
        key,
        map: Lookup::Named(name(map)),
    }
}

/// `ip daddr . meta l4proto . th dport`.
fn service_key() -> Expression {
    let th_dport = Expression::Payload(Payload::Dport(None));
    Expression::Concat(vec![daddr(), l4proto(), th_dport])
}

fn service(ip: &str, protocol: Protocol, port: u16) -> Key {
    Key::from([
        Span::One(address(ip)),
        Span::protocol(protocol),
        Span::port(port),
    ])
}
