//! One walk through a table's rules.

use podwire_packet::Family;
use podwire_ruleset::nft::{
    BaseChainId, Decision, Effect, ElementId, MarkField, Observe, Presence, SetMark, State,
};
use podwire_ruleset::{Choose, CtState, NatRange, Packet, Policy, Verdict};
use smallvec::SmallVec;

use super::field::{Part, Read, Source, address_type, ct, meta, payload};
use super::program::{Go, Mapped, Program, Reads, Rule, Step, Test, Wanted};
use crate::view::View;

/// Numbers that were read, one for each part.
pub(super) type Numbers = SmallVec<[u128; 5]>;

/// A packet on its way, and what was decided so far.
pub(super) struct Walk<'m, 'p> {
    pub(super) program: &'m Program,
    pub(super) view: View<'p>,
    pub(super) decision: Decision,
    pub(super) state: &'p State,
    /// What the rule at work found in a named map.
    found: Option<ElementId>,
}

/// How a rule ended.
enum Ran {
    /// A statement did not hold: `NFT_BREAK`.
    Failed,
    /// A statement is not known, and no test fails that is.
    Unknown,
    Through,
    /// The base chain is done with the packet.
    Ended(Verdict),
    Go(Go),
}

/// Rules that are still to run: of a chain, or behind a jump.
#[derive(Clone, Copy)]
struct Place {
    next: u32,
    end: u32,
}

impl Program {
    /// What a chain says about a packet; accept if there is no such chain.
    pub(super) fn run(
        &self,
        base: BaseChainId,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Decision {
        let mut walk = Walk {
            program: self,
            view: View::new(packet),
            decision: Decision::accept(packet),
            state,
            found: None,
        };
        if let Some(chain) = self.chains.get(base.chain.index()) {
            walk.decision.verdict =
                walk.through(base.chain.0, choose, observe)
                    .unwrap_or_else(|| {
                        observe.policy(base);
                        match chain.policy {
                            Policy::Accept => Verdict::Accept,
                            Policy::Drop => Verdict::Drop,
                        }
                    });
        }
        walk.decision
    }

    const fn start_of(&self, chain: u32) -> Place {
        let chain = &self.chains.as_slice()[chain as usize];
        Place {
            next: chain.first,
            end: chain.end,
        }
    }
}

impl Walk<'_, '_> {
    /// From the beginning of a base chain to a verdict; none if its policy is to say.
    fn through(
        &mut self,
        base: u32,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Option<Verdict> {
        // `NFT_JUMP_STACK_SIZE`: `check` took no rules that go deeper.
        let mut callers: SmallVec<[Place; 16]> = SmallVec::new();
        let program = self.program;
        let mut at = program.start_of(base);
        loop {
            if at.next == at.end {
                at = callers.pop()?;
                continue;
            }
            let rule = &program.rules[at.next as usize];
            at.next += 1;
            let ran = self.rule(rule, choose);
            match ran {
                Ran::Failed => continue,
                Ran::Unknown => {
                    let id = rule.id(program.table);
                    self.decision.uncertain.get_or_insert(id);
                    continue;
                }
                Ran::Through | Ran::Ended(_) | Ran::Go(_) => {
                    observe.matched(rule.id(program.table), self.found);
                }
            }
            match ran {
                Ran::Failed | Ran::Unknown | Ran::Through | Ran::Go(Go::Continue) => {}
                Ran::Ended(verdict) => return Some(verdict),
                Ran::Go(Go::Accept) => return Some(Verdict::Accept),
                Ran::Go(Go::Drop) => return Some(Verdict::Drop),
                Ran::Go(Go::Return) => at = callers.pop()?,
                Ran::Go(Go::Jump(chain)) => {
                    callers.push(at);
                    at = program.start_of(chain);
                }
                Ran::Go(Go::Goto(chain)) => at = program.start_of(chain),
            }
        }
    }

    /// Runs steps until one does not hold or ends the rule.
    #[inline]
    fn rule(&mut self, rule: &Rule, choose: &mut impl Choose) -> Ran {
        let program = self.program;
        let steps = &program.steps[rule.first as usize..rule.end as usize];
        self.found = None;
        for (index, step) in steps.iter().enumerate() {
            let ran = match step {
                Step::Test(test) => {
                    let test = &program.tests[*test as usize];
                    match self.test(test, rule, choose) {
                        Read::Is(true) => continue,
                        Read::Is(false) | Read::Missing => Ran::Failed,
                        Read::Unknown => Ran::Unknown,
                    }
                }
                Step::VerdictMap(lookup) => match self.look_up(*lookup, rule, choose) {
                    Read::Is(Mapped::Go(Go::Continue)) => continue,
                    Read::Is(Mapped::Go(go)) => Ran::Go(go),
                    Read::Is(Mapped::Nothing | Mapped::Target(_) | Mapped::Other)
                    | Read::Missing => Ran::Failed,
                    Read::Unknown => Ran::Unknown,
                },
                Step::Go(go) => Ran::Go(*go),
                Step::Reject(with, family) if self.is_of(*family) => {
                    Ran::Ended(Verdict::Reject(*with))
                }
                Step::Reject(..) => Ran::Failed,
                Step::SetMark(set) => {
                    if self.set_mark(&program.marks[*set as usize]) {
                        continue;
                    }
                    Ran::Failed
                }
                Step::Translate(place) => self.translate(*place, rule, choose),
                Step::Change(change) => {
                    let change = &program.changes[*change as usize];
                    match self.read(&change.reads, rule, choose) {
                        Read::Is(numbers) if self.change(change, &numbers) => continue,
                        Read::Is(_) | Read::Missing => Ran::Failed,
                        Read::Unknown => Ran::Unknown,
                    }
                }
                Step::Limit(limit) => {
                    let limit = &program.limits[*limit as usize];
                    if self.take_token(rule.id(program.table), limit) {
                        continue;
                    }
                    Ran::Failed
                }
                Step::Log => {
                    let rule = rule.id(program.table);
                    self.decision.effects.push(Effect::Logged { rule });
                    continue;
                }
                Step::Notrack => {
                    self.decision.notrack = true;
                    // What has a connection keeps it (`nft_notrack_eval`, net/netfilter/nft_ct.c).
                    self.view.is_untracked |= self.view.state() == CtState::Invalid;
                    continue;
                }
                Step::Trace(on) => {
                    self.decision.trace = *on;
                    continue;
                }
                Step::Unknown => Ran::Unknown,
            };
            return match ran {
                Ran::Unknown => self.beside_unknown(&steps[index + 1..], rule, choose),
                Ran::Failed | Ran::Through | Ran::Ended(_) | Ran::Go(_) => ran,
            };
        }
        Ran::Through
    }

    /// What a rule comes to that is not all known: one test that fails is enough, if asking changes nothing.
    #[cold]
    fn beside_unknown(&mut self, rest: &[Step], rule: &Rule, choose: &mut impl Choose) -> Ran {
        let program = self.program;
        for step in rest {
            if let Step::Test(test) = step {
                let test = &program.tests[*test as usize];
                let asks_numgen = test.reads.parts.iter().any(Part::is_numgen);
                if !asks_numgen
                    && matches!(
                        self.test(test, rule, choose),
                        Read::Is(false) | Read::Missing
                    )
                {
                    return Ran::Failed;
                }
            }
        }
        Ran::Unknown
    }

    #[inline]
    fn test(&mut self, test: &Test, rule: &Rule, choose: &mut impl Choose) -> Read<bool> {
        let one = match (&test.wanted, &test.reads.parts[..]) {
            (Wanted::One(span), [part]) => {
                let number = self.number(part, rule, test.reads.statement, choose);
                number.map(|number| span.holds(number))
            }
            (Wanted::Bits(bits), [part]) => {
                let number = self.number(part, rule, test.reads.statement, choose);
                number.map(|number| number & bits != 0)
            }
            _ => self
                .read(&test.reads, rule, choose)
                .map(|numbers| self.holds(test, &numbers)),
        };
        one.map(|holds| holds != test.inverted)
    }

    fn holds(&self, test: &Test, numbers: &[u128]) -> bool {
        match &test.wanted {
            Wanted::Nothing => false,
            Wanted::One(span) => super::span::hold(std::slice::from_ref(span), numbers),
            Wanted::Many(spans) => super::span::hold(spans, numbers),
            Wanted::Bits(bits) => numbers.iter().any(|number| number & bits != 0),
            Wanted::Anonymous(index) => {
                let index = &self.program.indices[*index as usize];
                index.find(numbers).is_some()
            }
            Wanted::Named { set, index } => self.has(*set, *index, &test.reads, numbers),
        }
    }

    /// What a map has for the packet.
    #[inline]
    fn look_up(&mut self, lookup: u32, rule: &Rule, choose: &mut impl Choose) -> Read<Mapped> {
        let program = self.program;
        let lookup = &program.lookups[lookup as usize];
        let numbers = match self.read(&lookup.reads, rule, choose) {
            Read::Is(numbers) => numbers,
            Read::Missing => return Read::Missing,
            Read::Unknown => return Read::Unknown,
        };
        let map = &program.sets[lookup.map as usize];
        if self.changed(map.id, &lookup.reads, &numbers) == Some(Presence::Gone) {
            return Read::Missing;
        }
        let Some((element, found)) = self.declared(map, lookup.index, &numbers) else {
            return Read::Missing;
        };
        if let Some(set) = map.id {
            self.found = Some(ElementId { set, element });
        }
        match found.value {
            Mapped::Nothing => Read::Missing,
            value @ (Mapped::Go(_) | Mapped::Target(_) | Mapped::Other) => Read::Is(value),
        }
    }

    /// The numbers of all parts, read in order.
    #[inline]
    fn read(&mut self, reads: &Reads, rule: &Rule, choose: &mut impl Choose) -> Read<Numbers> {
        let mut numbers = Numbers::new();
        for part in &reads.parts {
            match self.number(part, rule, reads.statement, choose) {
                Read::Is(number) => numbers.push(number),
                Read::Missing => return Read::Missing,
                Read::Unknown => return Read::Unknown,
            }
        }
        Read::Is(numbers)
    }

    #[inline]
    fn number(
        &mut self,
        part: &Part,
        rule: &Rule,
        statement: u32,
        choose: &mut impl Choose,
    ) -> Read<u128> {
        let read = match part.source {
            Source::Payload(field) => payload(field, &self.view),
            Source::Meta(key) => Some(meta(key, &self.view)),
            Source::Ct(key) => ct(key, &self.view),
            Source::FibType(selectors) => Some(address_type(selectors, &self.view)),
            // `nft_ng_random_gen`, net/netfilter/nft_numgen.c.
            Source::Random { modulus, offset } => {
                Some(choose.one_of(modulus).wrapping_add(offset).into())
            }
            Source::Counted { modulus, offset } => {
                let rule = rule.id(self.program.table);
                let number = self.count(rule, statement, modulus);
                Some(number.wrapping_add(offset).into())
            }
            Source::Unknown => return Read::Unknown,
        };
        match read {
            None => Read::Missing,
            Some(_) if !part.is_known => Read::Unknown,
            Some(number) => Read::Is(number & part.mask),
        }
    }

    /// The base chain is done with a packet that is translated.
    fn translate(&mut self, place: u32, rule: &Rule, choose: &mut impl Choose) -> Ran {
        let program = self.program;
        let translation = &program.translations[place as usize];
        if !self.is_of(translation.family) {
            return Ran::Failed;
        }
        let mut range: NatRange = translation.range.clone();
        if let Some(lookup) = translation.lookup {
            match self.look_up(lookup, rule, choose) {
                Read::Is(Mapped::Target(target)) => {
                    let target = &program.targets[target as usize];
                    range.addresses = Some(target.addresses.clone());
                    if target.ports.is_some() {
                        range.ports.clone_from(&target.ports);
                    }
                }
                Read::Is(Mapped::Nothing) | Read::Missing => return Ran::Failed,
                Read::Is(Mapped::Go(_) | Mapped::Other) | Read::Unknown => return Ran::Unknown,
            }
        }
        self.decision.nat = Some((translation.kind, range));
        Ran::Ended(Verdict::Accept)
    }

    fn is_of(&self, family: Option<Family>) -> bool {
        family.is_none_or(|family| self.view.packet.headers.family() == family)
    }

    /// `nft_meta_set_eval`, `nft_ct_set_eval`. Without a connection its mark cannot be read, and setting it
    /// does nothing; a constant reads nothing.
    fn set_mark(&mut self, set: &SetMark) -> bool {
        let has_connection = self.view.state().has_connection();
        let from = match set.from {
            MarkField::Meta => self.view.mark,
            MarkField::Ct if has_connection => self.view.conntrack_mark,
            MarkField::Ct if set.mask.0 == 0 => self.view.mark,
            MarkField::Ct => return false,
        };
        let mark = set.apply(from);
        match set.field {
            MarkField::Meta => {
                self.view.mark = mark;
                self.decision.mark = mark;
            }
            MarkField::Ct if has_connection => {
                self.view.conntrack_mark = mark;
                self.decision.conntrack_mark = mark;
            }
            MarkField::Ct => {}
        }
        true
    }
}
