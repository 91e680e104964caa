//! The hot path: a packet through a program.

use podwire_packet::Mark;
use podwire_ruleset::{
    ChainId, Choose, ConnmarkTarget, CtState, Decision, Effect, NatKind, NatRange, Observe, Packet,
    Policy, State, TableName, Target, Verdict,
};

use crate::compile::{Base, Block, Compiled, Program, Then};
use crate::fields::Fields;
use crate::fold::Fold;
use crate::memory::Memory;
use crate::test::Asked;
use crate::tuple_space::Candidates;
use crate::view::View;

/// A place in a program: of a chain, the block, and there the first rule that counts.
#[derive(Clone, Copy, Debug)]
struct Place {
    chain: ChainId,
    block: u32,
    rule: u32,
}

impl Place {
    const fn start_of(chain: ChainId) -> Self {
        Self {
            chain,
            block: 0,
            rule: 0,
        }
    }
}

/// Where to go on when called chains end; most of it in place.
struct Callers {
    first: [Place; Self::IN_PLACE],
    more: Vec<Place>,
    len: usize,
}

impl Callers {
    const IN_PLACE: usize = 16;

    const fn new() -> Self {
        Self {
            first: [Place::start_of(ChainId(0)); Self::IN_PLACE],
            more: Vec::new(),
            len: 0,
        }
    }

    #[inline]
    fn push(&mut self, caller: Place) {
        match self.first.get_mut(self.len) {
            Some(place) => *place = caller,
            None => self.more.push(caller),
        }
        self.len += 1;
    }

    #[inline]
    fn pop(&mut self) -> Option<Place> {
        self.len = self.len.checked_sub(1)?;
        match self.first.get(self.len) {
            Some(place) => Some(*place),
            None => self.more.pop(),
        }
    }
}

/// The rules of a block that may match, from a place on.
enum Rules<'a> {
    List(std::ops::Range<u32>),
    Found(Candidates<'a>),
}

impl<'a> Rules<'a> {
    #[inline]
    fn of<F: Fields>(block: &'a Block<F>, fields: F, from: u32) -> Self {
        match block {
            Block::List(first, end) => Self::List((*first).max(from)..*end),
            Block::Hashed(space) => Self::Found(space.candidates(fields, from)),
        }
    }

    #[inline]
    fn next(&mut self) -> Option<u32> {
        match self {
            Self::List(range) => range.next(),
            Self::Found(candidates) => candidates.next(),
        }
    }
}

/// What a rule's target means for the walk.
enum Flow {
    Next,
    Return,
    Call(ChainId),
    Replace(ChainId),
    End(Verdict),
}

impl<F: Fields> Program<F> {
    /// Takes a packet through the base chain of its hook.
    pub(crate) fn run(
        &self,
        table: TableName,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Decision {
        let mut decision = Decision::accept(packet);
        let Some(base) = self.bases[packet.hook as usize] else {
            return decision;
        };
        let fields = F::of(&packet.headers);
        let mut walk = Walk {
            view: View::new(packet),
            memory: Memory::new(state),
            decision: &mut decision,
        };
        let mut callers = Callers::new();
        let mut at = Place::start_of(base.chain);
        let verdict = 'walk: loop {
            let Some(block) = self.chains[at.chain.index()].blocks.get(at.block as usize) else {
                match callers.pop() {
                    Some(caller) => at = caller,
                    None => break at_end(base, table, packet, observe),
                }
                continue;
            };
            let mut rules = Rules::of(block, fields, at.rule);
            while let Some(place) = rules.next() {
                let rule = &self.rules[place as usize];
                match walk.asks(rule, choose) {
                    Asked::No => continue,
                    Asked::Unknown => {
                        walk.decision.uncertain.get_or_insert(rule.id);
                        continue;
                    }
                    Asked::Yes => observe.matched(rule.id),
                }
                if let Some(fold) = &rule.fold
                    && observe.is_silent()
                {
                    self.serve(fold, fields, &mut walk, choose);
                    break 'walk Verdict::Accept;
                }
                match walk.applies(rule) {
                    Flow::Next => continue,
                    Flow::End(verdict) => break 'walk verdict,
                    Flow::Call(called) => {
                        callers.push(Place {
                            rule: place + 1,
                            ..at
                        });
                        at = Place::start_of(called);
                    }
                    Flow::Replace(called) => at = Place::start_of(called),
                    Flow::Return => match callers.pop() {
                        Some(caller) => at = caller,
                        None => break 'walk at_end(base, table, packet, observe),
                    },
                }
                continue 'walk;
            }
            at.block += 1;
            at.rule = 0;
        };
        let (effects, view) = (walk.memory.effects, walk.view);
        decision.verdict = verdict;
        decision.effects = effects;
        decision.mark = view.mark;
        decision.conntrack_mark = view.conntrack_mark;
        decision
    }

    /// Marks and translates as the folded chain does.
    #[inline]
    fn serve(&self, fold: &Fold, fields: F, walk: &mut Walk<'_, '_>, choose: &mut impl Choose) {
        let mark = &mut walk.view.mark;
        if let Some(of) = self.folds.mark(fold)
            && of.is_for(fields)
        {
            *mark = flip(*mark, of.change.value, of.change.mask);
        }
        let rung = choose.even_ladder(self.folds.thresholds(fold));
        let endpoint = self.folds.endpoint(fold, rung);
        if endpoint.address == walk.view.packet.headers.src {
            *mark = flip(*mark, endpoint.own.value, endpoint.own.mask);
        }
        walk.decision.nat = Some((NatKind::Dnat, endpoint.range()));
    }
}

fn at_end(
    base: Base,
    table: TableName,
    packet: &Packet<'_>,
    observe: &mut impl Observe,
) -> Verdict {
    observe.policy(table, packet.hook);
    match base.policy {
        Policy::Accept => Verdict::Accept,
        Policy::Drop => Verdict::Drop,
    }
}

/// A packet on its way, and what was decided so far.
struct Walk<'p, 'd> {
    view: View<'p>,
    memory: Memory<'p>,
    decision: &'d mut Decision,
}

impl Walk<'_, '_> {
    #[inline]
    fn asks(&mut self, rule: &Compiled, choose: &mut impl Choose) -> Asked {
        if rule.needs_transport && self.view.packet.headers.is_later_fragment {
            return Asked::No;
        }
        for test in &rule.tests {
            if !test.holds(rule.id, &self.view, &mut self.memory, choose) {
                return Asked::No;
            }
        }
        if rule.is_uncertain {
            Asked::Unknown
        } else {
            Asked::Yes
        }
    }

    #[inline]
    fn applies(&mut self, rule: &Compiled) -> Flow {
        let target = match &rule.then {
            Then::Nothing => return Flow::Next,
            Then::Jump(chain) => return Flow::Call(*chain),
            Then::Goto(chain) => return Flow::Replace(*chain),
            Then::Mark { value, mask } => {
                self.view.mark = flip(self.view.mark, *value, *mask);
                return Flow::Next;
            }
            Then::Target(target) => target,
        };
        match &**target {
            Target::Accept => return Flow::End(Verdict::Accept),
            Target::Drop => return Flow::End(Verdict::Drop),
            Target::Reject(with) => return Flow::End(Verdict::Reject(*with)),
            Target::Return => return Flow::Return,
            Target::Dnat(range) => return self.translates(NatKind::Dnat, range),
            Target::Snat(range) => return self.translates(NatKind::Snat, range),
            Target::Masquerade(range) => return self.translates(NatKind::Masquerade, range),
            Target::Redirect(range) => return self.translates(NatKind::Redirect, range),
            Target::Connmark(operation) => self.connmark(*operation),
            Target::Log(_) | Target::Nflog(_) => {
                self.memory.effects.push(Effect::Logged { rule: rule.id });
            }
            Target::Notrack => {
                self.decision.notrack = true;
                self.view.is_untracked |= self.view.state() == CtState::Invalid;
            }
            Target::Trace => self.decision.trace = true,
            Target::Unknown(_) => {
                self.decision.uncertain.get_or_insert(rule.id);
            }
            Target::Jump(_)
            | Target::Goto(_)
            | Target::Mark { .. }
            | Target::Checksum(_)
            | Target::Tcpmss(_) => {}
        }
        Flow::Next
    }

    fn translates(&mut self, kind: NatKind, range: &NatRange) -> Flow {
        self.decision.nat = Some((kind, range.clone()));
        Flow::End(Verdict::Accept)
    }

    fn connmark(&mut self, operation: ConnmarkTarget) {
        let view = &mut self.view;
        if !view.state().has_connection() {
            return;
        }
        match operation {
            ConnmarkTarget::Set { value, mask } => {
                view.conntrack_mark = flip(view.conntrack_mark, value, mask);
            }
            ConnmarkTarget::Save {
                packet_mask,
                connection_mask,
            } => {
                let value = Mark(view.mark.0 & packet_mask.0);
                view.conntrack_mark = flip(view.conntrack_mark, value, connection_mask);
            }
            ConnmarkTarget::Restore {
                packet_mask,
                connection_mask,
            } => {
                let value = Mark(view.conntrack_mark.0 & connection_mask.0);
                view.mark = flip(view.mark, value, packet_mask);
            }
        }
    }
}

/// Clears the mask's bits, then flips the value's.
const fn flip(mark: Mark, value: Mark, mask: Mark) -> Mark {
    Mark((mark.0 & !mask.0) ^ value.0)
}
