//! What the statements of a rule do, one after the other.

use std::ops::RangeInclusive;

use podwire_packet::Family;
use podwire_ruleset::nft::{
    self, Effect, Expression, Key, Limit, Lookup, MapValue, MarkField, Match, Nat, Operand, RuleId,
    SetMark, SetStatement, Span, Statement, StatementId, Value,
};
use podwire_ruleset::{Choose, ConntrackInfo, CtState, LimitState, NatRange, Packet, Verdict};

use super::Walk;
use super::expression::Read;

/// How a rule ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ran<'r> {
    /// A statement did not hold: `NFT_BREAK`.
    Failed,
    /// A statement is not known, and every test that is known held.
    Unknown,
    /// Every statement was run.
    Through,
    /// The base chain is done with the packet.
    Ended(Verdict),
    /// A verdict.
    Verdict(&'r nft::Verdict),
}

/// Whether a test holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Unknown,
}

impl From<bool> for Holds {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// A rule at work.
pub(super) struct Rule<'w, 'a> {
    pub(super) walk: &'w mut Walk<'a>,
    pub(super) id: RuleId,
}

impl<'a> Rule<'_, 'a> {
    /// Runs the statements until one does not hold or ends the rule.
    pub(super) fn run(mut self, rule: &'a nft::Rule, choose: &mut impl Choose) -> Ran<'a> {
        for (index, statement) in rule.statements.iter().enumerate() {
            let place = StatementId {
                rule: self.id,
                statement: u32::try_from(index).expect("a rule has fewer than 2^32 statements"),
            };
            match self.statement(statement, place, choose) {
                Ran::Through | Ran::Verdict(nft::Verdict::Continue) => {}
                Ran::Unknown => {
                    let rest = rule.statements.get(index + 1..).unwrap_or_default();
                    return if self.any_fails(rest, choose) {
                        Ran::Failed
                    } else {
                        Ran::Unknown
                    };
                }
                end @ (Ran::Failed | Ran::Ended(_) | Ran::Verdict(_)) => return end,
            }
        }
        Ran::Through
    }

    fn statement(
        &mut self,
        statement: &'a Statement,
        place: StatementId,
        choose: &mut impl Choose,
    ) -> Ran<'a> {
        match statement {
            Statement::Match(test) => through_if(self.test(test, place, choose)),
            Statement::VerdictMap { key, map } => match self.look_up(key, map, place, choose) {
                Read::Is(MapValue::Verdict(verdict)) => Ran::Verdict(verdict),
                Read::Is(MapValue::Data(_)) => {
                    unreachable!("NftInterp::new checked that it is a verdict map")
                }
                Read::Missing => Ran::Failed,
                Read::Unknown => Ran::Unknown,
            },
            Statement::Verdict(verdict) => Ran::Verdict(verdict),
            Statement::Reject { with, family } => {
                if self.is_of(*family) {
                    Ran::Ended(Verdict::Reject(*with))
                } else {
                    Ran::Failed
                }
            }
            Statement::SetMark(set) => through_if(set_mark(*set, self.walk).into()),
            Statement::Nat(nat) => self.nat(nat, place, choose),
            Statement::Set(SetStatement {
                operation,
                set,
                key,
                timeout,
            }) => match self.read_all(key, place, choose) {
                Read::Is(key) => {
                    through_if(self.walk.change(*operation, set, key, *timeout).into())
                }
                Read::Missing => Ran::Failed,
                Read::Unknown => Ran::Unknown,
            },
            Statement::Limit(limit) => through_if(self.limit(limit, place).into()),
            Statement::Counter(_) => Ran::Through,
            Statement::Log(_) => {
                let rule = self.id;
                self.walk.decision.effects.push(Effect::Logged { rule });
                Ran::Through
            }
            Statement::Notrack => {
                self.walk.decision.notrack = true;
                // `nft_notrack_eval`, net/netfilter/nft_ct.c: what has a connection keeps it.
                if self.walk.packet.conntrack.state == CtState::Invalid {
                    self.walk.packet.conntrack = ConntrackInfo::of_state(CtState::Untracked);
                }
                Ran::Through
            }
            Statement::Nftrace(on) => {
                self.walk.decision.trace = *on;
                Ran::Through
            }
            Statement::Unknown(_) => Ran::Unknown,
        }
    }

    /// Whether one of the tests among these statements fails that ask nothing but the packet.
    fn any_fails(&mut self, statements: &[Statement], choose: &mut impl Choose) -> bool {
        statements.iter().enumerate().any(|(index, statement)| {
            if let Statement::Match(test) = statement
                && !asks_numgen(&test.left)
            {
                let place = StatementId {
                    rule: self.id,
                    statement: u32::try_from(index).unwrap_or(u32::MAX),
                };
                self.test(test, place, choose) == Holds::No
            } else {
                false
            }
        })
    }

    fn test(&mut self, test: &Match, place: StatementId, choose: &mut impl Choose) -> Holds {
        let values = match self.read_all(&test.left, place, choose) {
            Read::Is(values) => values,
            Read::Missing => return Holds::No,
            Read::Unknown => return Holds::Unknown,
        };
        let holds = match &test.right {
            Operand::One(key) if test.inverted => key.contains(&values),
            Operand::One(key) => is_one(key, &values),
            Operand::Anonymous(keys) => keys.iter().any(|key| key.contains(&values)),
            Operand::Named(set) => self.walk.is_in(set, &values),
        };
        (holds != test.inverted).into()
    }

    fn look_up(
        &mut self,
        key: &Expression,
        map: &'a Lookup,
        place: StatementId,
        choose: &mut impl Choose,
    ) -> Read<&'a MapValue> {
        match self.read_all(key, place, choose) {
            Read::Is(values) => self.walk.look_up(map, &values).into(),
            Read::Missing => Read::Missing,
            Read::Unknown => Read::Unknown,
        }
    }

    /// `nft_nat_eval`, net/netfilter/nft_nat.c, and its like: the base chain is done with the packet.
    fn nat(&mut self, nat: &'a Nat, place: StatementId, choose: &mut impl Choose) -> Ran<'a> {
        if !self.is_of(nat.family) {
            return Ran::Failed;
        }
        let mut range = nat.range.clone();
        if let Some(map) = &nat.map {
            match self.look_up(&map.key, &map.map, place, choose) {
                Read::Is(value) => match mapped(value, &range) {
                    Some(to) => range = to,
                    None => return Ran::Unknown,
                },
                Read::Missing => return Ran::Failed,
                Read::Unknown => return Ran::Unknown,
            }
        }
        self.walk.decision.nat = Some((nat.kind, range));
        Ran::Ended(Verdict::Accept)
    }

    /// Whether the packet is of a family that a statement names.
    fn is_of(&self, family: Option<Family>) -> bool {
        family.is_none_or(|family| self.walk.packet.headers.family() == family)
    }

    /// `nft_limit_eval`, net/netfilter/nft_limit.c: a bucket that fills with time, holds `burst` tokens,
    /// and gives one to each packet while it has one.
    fn limit(&mut self, limit: &Limit, statement: StatementId) -> bool {
        let now = self.walk.packet.now;
        let period_ns = u64::from(limit.bucket.period_seconds) * 1_000_000_000;
        let cost = period_ns / u64::from(limit.bucket.amount.max(1));
        let full = cost.saturating_mul(u64::from(limit.bucket.burst));
        let before = self.bucket(statement).unwrap_or(LimitState {
            credit_ns: full,
            at: now,
        });
        let earned = u64::try_from((now - before.at).as_nanos()).unwrap_or(u64::MAX);
        let credit = before.credit_ns.saturating_add(earned).min(full);
        let has_token = credit >= cost;
        self.walk.decision.effects.push(Effect::Limit {
            statement,
            state: LimitState {
                credit_ns: if has_token { credit - cost } else { credit },
                at: now,
            },
        });
        has_token != limit.over
    }

    fn bucket(&self, statement: StatementId) -> Option<LimitState> {
        let seen = self.walk.decision.effects.iter().rev().find_map(|effect| {
            if let Effect::Limit {
                statement: of,
                state,
            } = effect
            {
                (*of == statement).then_some(*state)
            } else {
                None
            }
        });
        seen.or_else(|| self.walk.state.limits.get(&statement).copied())
    }
}

const fn through_if<'r>(holds: Holds) -> Ran<'r> {
    match holds {
        Holds::Yes => Ran::Through,
        Holds::No => Ran::Failed,
        Holds::Unknown => Ran::Unknown,
    }
}

fn asks_numgen(expression: &Expression) -> bool {
    expression.parts().iter().any(|part| match part {
        Expression::Numgen { .. } => true,
        Expression::Masked(inner, _) => asks_numgen(inner),
        Expression::Payload(_)
        | Expression::Meta(_)
        | Expression::Ct(_)
        | Expression::Fib { .. }
        | Expression::Concat(_) => false,
    })
}

/// Whether values are those of a test's right side. Of states and statuses one in common is enough; not
/// so with `!=`, which asks for exactly these (`netlink_gen_relational`, src/netlink_linearize.c).
fn is_one(key: &Key, values: &[Value]) -> bool {
    match (&**key, values) {
        ([Span::One(Value::CtStates(wanted))], [Value::CtStates(states)]) => {
            wanted.intersects(*states)
        }
        ([Span::One(Value::CtStatuses(wanted))], [Value::CtStatuses(statuses)]) => {
            wanted.0 & statuses.0 != 0
        }
        _ => key.contains(values),
    }
}

/// `nft_meta_set_eval`, `nft_ct_set_eval`: without a connection its mark cannot be read, and setting it
/// does nothing.
fn set_mark(set: SetMark, walk: &mut Walk<'_>) -> bool {
    let packet: &mut Packet<'_> = &mut walk.packet;
    let has_connection = packet.conntrack.state.has_connection();
    let from = match set.from {
        MarkField::Meta => packet.mark,
        MarkField::Ct if has_connection => packet.conntrack.mark,
        // A constant reads nothing.
        MarkField::Ct if set.mask.0 == 0 => packet.mark,
        MarkField::Ct => return false,
    };
    match set.field {
        MarkField::Meta => {
            packet.mark = set.apply(from);
            walk.decision.mark = packet.mark;
        }
        MarkField::Ct if has_connection => {
            packet.conntrack.mark = set.apply(from);
            walk.decision.conntrack_mark = packet.conntrack.mark;
        }
        MarkField::Ct => {}
    }
    true
}

/// The range that a map gives a translation: an address, and a port if there is one.
fn mapped(value: &MapValue, range: &NatRange) -> Option<NatRange> {
    let MapValue::Data(data) = value else {
        return None;
    };
    let mut parts = data.iter();
    let (first, last) = parts.next()?.ends()?;
    let addresses = if let (Value::Address(first), Value::Address(last)) = (first, last) {
        first..=last
    } else {
        return None;
    };
    let ports = match parts.next() {
        None => range.ports.clone(),
        Some(span) => Some(ports_of(span)?),
    };
    Some(NatRange {
        addresses: Some(addresses),
        ports,
        ..range.clone()
    })
}

fn ports_of(span: &Span) -> Option<RangeInclusive<u16>> {
    if let (Value::Port(first), Value::Port(last)) = span.ends()? {
        Some(first..=last)
    } else {
        None
    }
}
