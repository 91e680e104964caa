//! Compiles a table: chains, sets and what is read become numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use podwire_packet::SimTime;
use podwire_ruleset::nft::{
    self, Expression, Key, MapValue, Match, Name, Nat, Operand, SetFlags, SetId, SetStatement,
    Statement, Table, Value, Verdict,
};
use podwire_ruleset::{ChainId, Policy};

use super::field::{Kind, Part};
use super::index::{Index, Precedence};
use super::program::{
    Chain, Change, Element, Go, Limit, Lookup, Mapped, Program, Reads, Rule, Set, Step, Target,
    Test, Translation, Wanted,
};
use super::span::spans;

/// Elements of a dynamic set that says nothing of its size (`set_size`, src/evaluate.c).
const DYNAMIC_SIZE: u32 = 65_535;

/// The program of a table at a place of its rule set, which the kernel would take.
pub(super) fn compile(place: u32, table: &Table) -> Program {
    let mut compiler = Compiler {
        table,
        program: Program {
            table: place,
            ..Program::default()
        },
        of_named: BTreeMap::new(),
    };
    compiler.sets();
    for (chain, own) in (0..).map(ChainId).zip(table.chains.values()) {
        compiler.chain(chain, own);
    }
    compiler.program
}

struct Compiler<'r> {
    table: &'r Table,
    program: Program,
    /// Indices of named sets, by the place of the set and what is looked up.
    of_named: BTreeMap<(u32, Vec<Kind>), u32>,
}

/// A length, or the place of what comes next.
fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a table has fewer than 2^32 of anything")
}

/// Appends, and says where.
fn put<T>(to: &mut Vec<T>, item: T) -> u32 {
    to.push(item);
    count(to.len() - 1)
}

impl<'r> Compiler<'r> {
    fn sets(&mut self) {
        for (place, set) in (0..).zip(self.table.sets.values()) {
            let elements = set.elements.values().map(|element| {
                let left = element.expires.or(element.timeout).or(set.timeout);
                Element {
                    // What it has left begins with the simulation.
                    expires: lasting(left).map(|left| SimTime::START + left),
                    value: match &element.value {
                        Some(value) => self.mapped(value),
                        None => Mapped::Nothing,
                    },
                }
            });
            let elements = elements.collect();
            let is_dynamic = set.flags.contains(SetFlags::DYNAMIC);
            let size = set.size.or(is_dynamic.then_some(DYNAMIC_SIZE));
            self.program.sets.push(Set {
                id: Some(SetId {
                    table: self.program.table,
                    set: place,
                }),
                room: size.map(|size| usize::try_from(size).unwrap_or(usize::MAX)),
                elements,
            });
        }
    }

    fn mapped(&mut self, value: &MapValue) -> Mapped {
        match value {
            MapValue::Verdict(verdict) => Mapped::Go(self.go(verdict)),
            MapValue::Data(data) => match target(data) {
                Some(target) => Mapped::Target(put(&mut self.program.targets, target)),
                None => Mapped::Other,
            },
        }
    }

    fn go(&self, verdict: &Verdict) -> Go {
        let place = |name: &Name| {
            let found = self.table.chain_id(name.as_str());
            found.expect("`check` found every chain").0
        };
        match verdict {
            Verdict::Accept => Go::Accept,
            Verdict::Drop => Go::Drop,
            Verdict::Continue => Go::Continue,
            Verdict::Return => Go::Return,
            Verdict::Jump(chain) => Go::Jump(place(chain)),
            Verdict::Goto(chain) => Go::Goto(place(chain)),
        }
    }

    fn chain(&mut self, id: ChainId, chain: &'r nft::Chain) {
        let first = count(self.program.rules.len());
        for (number, rule) in (1..).zip(&chain.rules) {
            let first = count(self.program.steps.len());
            for (place, statement) in (0..).zip(&rule.statements) {
                let step = self.step(statement, place);
                self.program.steps.extend(step);
            }
            self.program.rules.push(Rule {
                first,
                end: count(self.program.steps.len()),
                chain: id,
                number,
            });
        }
        self.program.chains.push(Chain {
            first,
            end: count(self.program.rules.len()),
            policy: chain.base.map_or(Policy::Accept, |base| base.policy),
        });
    }

    /// A statement; none if it changes nothing that podwire keeps.
    fn step(&mut self, statement: &'r Statement, place: u32) -> Option<Step> {
        Some(match statement {
            Statement::Match(test) => {
                let test = self.test(test, place);
                Step::Test(put(&mut self.program.tests, test))
            }
            Statement::VerdictMap { key, map } => Step::VerdictMap(self.lookup(key, map, place)),
            Statement::Verdict(Verdict::Continue) | Statement::Counter(_) => return None,
            Statement::Verdict(verdict) => Step::Go(self.go(verdict)),
            Statement::Reject { with, family } => Step::Reject(*with, *family),
            Statement::SetMark(set) => Step::SetMark(put(&mut self.program.marks, *set)),
            Statement::Nat(nat) => {
                let translation = self.translation(nat, place);
                Step::Translate(put(&mut self.program.translations, translation))
            }
            Statement::Set(set) => {
                let change = self.change(set, place);
                Step::Change(put(&mut self.program.changes, change))
            }
            Statement::Limit(limit) => {
                let bucket = limit.bucket;
                let period_ns = u64::from(bucket.period_seconds) * 1_000_000_000;
                let token_ns = period_ns / u64::from(bucket.amount).max(1);
                let limit = Limit {
                    statement: place,
                    token_ns,
                    size_ns: token_ns.saturating_mul(bucket.burst.into()),
                    over: limit.over,
                };
                Step::Limit(put(&mut self.program.limits, limit))
            }
            Statement::Log(_) => Step::Log,
            Statement::Notrack => Step::Notrack,
            Statement::Nftrace(on) => Step::Trace(*on),
            Statement::Unknown(_) => Step::Unknown,
        })
    }

    fn test(&mut self, test: &'r Match, statement: u32) -> Test {
        let (reads, kinds) = reads(&test.left, statement);
        let wanted = match &test.right {
            Operand::One(key) => one(key, &kinds, test.inverted),
            Operand::Anonymous(keys) => {
                let index = Index::new(keys.iter(), &kinds, Precedence::Written);
                Wanted::Anonymous(put(&mut self.program.indices, index))
            }
            Operand::Named(name) => {
                let (set, index) = self.named(name, kinds);
                Wanted::Named { set, index }
            }
        };
        Test {
            reads,
            inverted: test.inverted,
            wanted,
        }
    }

    fn lookup(&mut self, key: &'r Expression, map: &'r nft::Lookup, statement: u32) -> u32 {
        let (reads, kinds) = reads(key, statement);
        let (map, index) = match map {
            nft::Lookup::Named(name) => self.named(name, kinds),
            nft::Lookup::Anonymous(elements) => {
                let keys = elements.iter().map(|(key, _)| key);
                let index = Index::new(keys, &kinds, Precedence::Written);
                let values = elements.iter().map(|(_, value)| Element {
                    expires: None,
                    value: self.mapped(value),
                });
                let set = Set {
                    id: None,
                    room: None,
                    elements: values.collect(),
                };
                let index = put(&mut self.program.indices, index);
                (put(&mut self.program.sets, set), index)
            }
        };
        let lookup = Lookup { reads, map, index };
        put(&mut self.program.lookups, lookup)
    }

    /// A named set and its index for what is looked up, which all that look up the same share.
    fn named(&mut self, name: &Name, kinds: Vec<Kind>) -> (u32, u32) {
        let found = self.table.sets.get_full(name);
        let (place, _, set) = found.expect("`check` found every set");
        let (place, indices) = (count(place), &mut self.program.indices);
        let index = *self
            .of_named
            .entry((place, kinds))
            .or_insert_with_key(|(_, kinds)| {
                let interval = set.flags.contains(SetFlags::INTERVAL);
                let precedence = Precedence::Named { interval };
                put(indices, Index::new(set.elements.keys(), kinds, precedence))
            });
        (place, index)
    }

    fn translation(&mut self, nat: &'r Nat, statement: u32) -> Translation {
        let map = nat.map.as_ref();
        Translation {
            kind: nat.kind,
            family: nat.family,
            range: nat.range.clone(),
            lookup: map.map(|map| self.lookup(&map.key, &map.map, statement)),
        }
    }

    fn change(&mut self, change: &SetStatement, statement: u32) -> Change {
        let (reads, kinds) = reads(&change.key, statement);
        let of_set = self.table.sets.get(&change.set).and_then(|set| set.timeout);
        let (set, index) = self.named(&change.set, kinds);
        Change {
            reads,
            operation: change.operation,
            set,
            index,
            timeout: lasting(change.timeout.or(of_set)),
        }
    }
}

/// A timeout; one of zero is none.
fn lasting(timeout: Option<Duration>) -> Option<Duration> {
    timeout.filter(|timeout| !timeout.is_zero())
}

fn reads(expression: &Expression, statement: u32) -> (Reads, Vec<Kind>) {
    let parts = Part::of(expression);
    let kinds = parts.iter().map(|part| part.kind).collect();
    (Reads { parts, statement }, kinds)
}

/// One key as the right side of a test. Of states and statuses any will do, unless they are to differ.
fn one(key: &Key, kinds: &[Kind], inverted: bool) -> Wanted {
    if let ([nft::Span::One(value)], [kind]) = (&**key, kinds)
        && matches!(value, Value::CtStates(_) | Value::CtStatuses(_))
        && !inverted
    {
        return kind.number(value).map_or(Wanted::Nothing, Wanted::Bits);
    }
    match spans(key, kinds) {
        None => Wanted::Nothing,
        Some(spans) => match spans[..] {
            [span] => Wanted::One(span),
            _ => Wanted::Many(spans),
        },
    }
}

/// What a translation takes from a map's data: an address, and a port if there is one.
fn target(data: &Key) -> Option<Target> {
    let mut ends = data.iter().map(nft::Span::ends);
    let (Value::Address(first), Value::Address(last)) = ends.next()?? else {
        return None;
    };
    let ports = match ends.next() {
        None => None,
        Some(ends) => match ends? {
            (Value::Port(first), Value::Port(last)) => Some(first..=last),
            _ => return None,
        },
    };
    Some(Target {
        addresses: first..=last,
        ports,
    })
}
