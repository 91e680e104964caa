//! The walk: a packet through a program, where no table had the whole answer.

mod spliced;

use std::marker::PhantomData;
use std::ops::ControlFlow;

use podwire_packet::Mark;
use podwire_ruleset::{
    ChainId, Choose, ConnmarkTarget, CtState, Effect, NatKind, NatRange, Observe, Packet, RuleId,
    State, Target, Verdict,
};
use smallvec::SmallVec;

use crate::boxes::Boxes;
use crate::brief::{Brief, Nat};
use crate::code::Code;
use crate::dispatch::Found;
use crate::fields::Fields;
use crate::memory::Memory;
use crate::program::{Base, Block, MarkChange, Program, Socket, Then};
use crate::view::View;

/// A place in a program: of a chain, the block, and there the first rule that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) chain: ChainId,
    pub(crate) block: u32,
    pub(crate) rule: u32,
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

/// Where to go on when called chains end. Deeper calls than these are kept on the heap.
type Callers = SmallVec<[Place; 16]>;

/// What a rule's target means for the walk.
enum Flow {
    /// To the next rule.
    Next,
    Return,
    Call(ChainId, u32),
    Replace(ChainId),
    End(Verdict),
}

/// What came of a walk.
pub(crate) struct Outcome<'m> {
    pub(crate) brief: Brief<'m>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) uncertain: Option<RuleId>,
}

impl<F: Fields> Program<F> {
    /// Takes a packet through the base chain of its hook.
    #[inline]
    pub(crate) fn run<'m>(
        &'m self,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
        observe: &mut impl Observe,
    ) -> Outcome<'m> {
        run_from(self, None, packet, state, choose, observe)
    }
}

/// Takes a packet through the base chain of its hook.
#[inline]
pub(crate) fn run<'m, F: Fields + 'm>(
    code: impl Code<'m, F>,
    packet: &Packet<'_>,
    state: &State,
    choose: &mut impl Choose,
    observe: &mut impl Observe,
) -> Outcome<'m> {
    run_from(code, None, packet, state, choose, observe)
}

/// As [`run`], from a place on, to which these calls have led.
#[inline]
pub(crate) fn run_from<'m, F: Fields + 'm>(
    code: impl Code<'m, F>,
    start: Option<(&[Place], Place)>,
    packet: &Packet<'_>,
    state: &State,
    choose: &mut impl Choose,
    observe: &mut impl Observe,
) -> Outcome<'m> {
    let mut walk = Walk {
        code,
        of: PhantomData,
        view: View::new(packet),
        memory: Memory::new(state),
        nat: Nat::None,
        notrack: false,
        trace: false,
        uncertain: None,
        choose,
        observe,
    };
    let verdict = match code.base(packet.hook) {
        Some(base) => {
            let first = || Place::start_of(code.enter(base.chain));
            let (callers, place) = start.unwrap_or_else(|| (&[], first()));
            walk.from(&base, callers.into(), place)
        }
        None => Verdict::Accept,
    };
    Outcome {
        brief: Brief {
            verdict,
            notrack: walk.notrack,
            trace: walk.trace,
            remembers: !walk.memory.effects.is_empty(),
            is_uncertain: walk.uncertain.is_some(),
            mark: walk.view.mark,
            conntrack_mark: walk.view.conntrack_mark,
            nat: walk.nat,
        },
        effects: walk.memory.effects,
        uncertain: walk.uncertain,
    }
}

/// A packet on its way, and what was decided so far.
struct Walk<'m, 'p, F: Fields, K, C, O> {
    code: K,
    of: PhantomData<&'m Program<F>>,
    view: View<'p>,
    memory: Memory<'p>,
    nat: Nat<'m>,
    notrack: bool,
    trace: bool,
    uncertain: Option<RuleId>,
    choose: &'p mut C,
    observe: &'p mut O,
}

impl<'m, F: Fields, K: Code<'m, F>, C: Choose, O: Observe> Walk<'m, '_, F, K, C, O> {
    fn from(&mut self, base: &Base, mut callers: Callers, mut at: Place) -> Verdict {
        loop {
            let next = match self.through(&mut at) {
                Flow::End(verdict) => return verdict,
                Flow::Call(chain, place) => {
                    callers.push(Place {
                        rule: place + 1,
                        ..at
                    });
                    Some(Place::start_of(self.code.enter(chain)))
                }
                Flow::Replace(chain) => Some(Place::start_of(self.code.enter(chain))),
                Flow::Next | Flow::Return => callers.pop(),
            };
            match next {
                Some(next) => at = next,
                None => {
                    self.observe
                        .policy(self.code.table(), self.view.packet.hook);
                    return base.verdict();
                }
            }
        }
    }

    /// Goes through a chain from a place on, until a rule leads elsewhere; the place stays there.
    #[inline]
    fn through(&mut self, at: &mut Place) -> Flow {
        if let Some(splice) = self.code.splice(at.chain) {
            return self.through_splice(at, splice);
        }
        let chain = self.code.chain(at.chain);
        let Some(plan) = chain.plan.checked_sub(1) else {
            return self.each(at.chain, chain.first.max(at.rule)..chain.first + chain.len);
        };
        let plan = &self.code.program(at.chain).plans[plan as usize];
        while let Some(block) = plan.get(at.block as usize) {
            let flow = match block {
                Block::List(first, end) => self.each(at.chain, (*first).max(at.rule)..*end),
                Block::Dispatch(table) => self.dispatch(at, *table),
                Block::Ranges(ranges) => self.within(at, ranges.first, &ranges.boxes),
                Block::Hashed(space) => self.each(
                    at.chain,
                    space.candidates(F::of(&self.view.packet.headers), at.rule),
                ),
            };
            if !matches!(flow, Flow::Next) {
                return flow;
            }
            at.block += 1;
        }
        Flow::Next
    }

    /// Asks a table of Services, and then its rules where the table has not the whole answer.
    fn dispatch(&mut self, at: &Place, table: u32) -> Flow {
        let program = self.code.program(at.chain);
        let table = &program.tables[table as usize];
        let headers = &self.view.packet.headers;
        if headers.is_later_fragment {
            return Flow::Next;
        }
        let Some(key) = F::key_of(headers) else {
            if table.is_of_ports {
                return self.foreign(at.chain, table.first.max(at.rule)..table.end);
            }
            return Flow::Next;
        };
        if self.observe.is_silent() && at.rule <= table.first {
            match table.find(key) {
                Found::Nothing => return Flow::Next,
                Found::Ask => {}
                Found::Endpoints(service) => {
                    let chosen = program.choose(&service, self.choose);
                    return self.to(program, chosen, u32::from(service.marking));
                }
                Found::Fold(fold) => return self.fold(program, fold),
            }
        }
        // A walk that comes back goes on behind a rule of the same key.
        let mut next = match at.rule.checked_sub(1) {
            Some(before) if before >= table.first => table.rule_after(before),
            Some(_) | None => table.first_rule(key),
        };
        while let Some(place) = next {
            let flow = self.ask(at.chain, place);
            if !matches!(flow, Flow::Next) {
                return flow;
            }
            next = table.rule_after(place);
        }
        Flow::Next
    }

    /// Asks the rules whose ranges the packet is in.
    fn within(&mut self, at: &Place, first: u32, boxes: &Boxes<F::Address>) -> Flow {
        let Some(point) = F::point(&self.view.packet.headers) else {
            return self.foreign(at.chain, first.max(at.rule)..first + boxes.len());
        };
        let from = at.rule.saturating_sub(first);
        let end = boxes.each(&point, from, |place| {
            match self.ask(at.chain, first + place) {
                Flow::Next => ControlFlow::Continue(()),
                flow @ (Flow::Return | Flow::Call(..) | Flow::Replace(_) | Flow::End(_)) => {
                    ControlFlow::Break(flow)
                }
            }
        });
        match end {
            ControlFlow::Continue(()) => Flow::Next,
            ControlFlow::Break(flow) => flow,
        }
    }

    /// Asks all of rules, of a packet whose addresses are of the other family.
    fn foreign(&mut self, chain: ChainId, places: std::ops::Range<u32>) -> Flow {
        for place in places {
            let flow = self.ask_rule(self.code.program(chain), place, 0, chain, place);
            if !matches!(flow, Flow::Next) {
                return flow;
            }
        }
        Flow::Next
    }

    /// Asks rules one by one.
    #[inline]
    fn each(&mut self, chain: ChainId, places: impl Iterator<Item = u32>) -> Flow {
        for place in places {
            let flow = self.ask(chain, place);
            if !matches!(flow, Flow::Next) {
                return flow;
            }
        }
        Flow::Next
    }

    /// Asks a rule, and does what it says.
    #[inline]
    fn ask(&mut self, chain: ChainId, place: u32) -> Flow {
        let program = self.code.program(chain);
        let made = program.rules[place as usize].made;
        self.ask_rule(program, place, made, chain, place)
    }

    /// Asks the tests of a rule of a program behind the first few, and does what it says; `number` is
    /// its place as its chain counts.
    #[inline]
    fn ask_rule(
        &mut self,
        program: &'m Program<F>,
        place: u32,
        made: u8,
        chain: ChainId,
        number: u32,
    ) -> Flow {
        let code = self.code;
        let rule = &program.rules[place as usize];
        if rule.needs_transport && self.view.packet.headers.is_later_fragment {
            return Flow::Next;
        }
        let tests = program.tests_of(rule);
        let id = || code.id(chain, number);
        for test in &tests[usize::from(made)..] {
            let test = code.test(program, test);
            if !test.holds(id, &self.view, &mut self.memory, self.choose) {
                return Flow::Next;
            }
        }
        if rule.is_uncertain {
            self.uncertain.get_or_insert_with(id);
            return Flow::Next;
        }
        if !self.observe.is_silent() {
            self.observe.matched(id());
        }
        if rule.fold != 0 && self.observe.is_silent() {
            return self.fold(program, rule.fold - 1);
        }
        match rule.then {
            Then::Nothing => Flow::Next,
            Then::Jump(called) => Flow::Call(called, number),
            Then::Goto(called) => Flow::Replace(called),
            Then::Mark(change) => {
                self.view.mark = program.marks[change as usize].of(self.view.mark);
                Flow::Next
            }
            Then::Accept => Flow::End(Verdict::Accept),
            Then::Drop => Flow::End(Verdict::Drop),
            Then::Return => Flow::Return,
            Then::Dnat(socket) => {
                let socket = program.sockets[socket as usize];
                self.nat = Nat::To(F::address_of(socket.address), socket.port);
                Flow::End(Verdict::Accept)
            }
            Then::Target(target) => self.apply(id(), &program.targets[target as usize]),
        }
    }

    /// Lets a fold decide.
    fn fold(&mut self, program: &'m Program<F>, fold: u32) -> Flow {
        let folds = &program.folds;
        let fold = &folds.folds[fold as usize];
        let rung = self.choose.even_ladder(folds.thresholds(fold));
        self.to(program, folds.endpoints(fold)[rung], fold.marking)
    }

    /// Marks and translates as the folded chain does.
    #[inline]
    fn to(&mut self, program: &'m Program<F>, socket: Socket<F::Address>, marking: u32) -> Flow {
        let source = self.view.packet.headers.src;
        let marking = self.code.marking(program, marking);
        self.view.mark = marking.of(self.view.mark, source, socket.address);
        self.nat = Nat::To(F::address_of(socket.address), socket.port);
        Flow::End(Verdict::Accept)
    }

    fn apply(&mut self, id: RuleId, target: &'m Target) -> Flow {
        match target {
            Target::Reject(with) => return Flow::End(Verdict::Reject(*with)),
            Target::Dnat(range) => return self.translate(NatKind::Dnat, range),
            Target::Snat(range) => return self.translate(NatKind::Snat, range),
            Target::Masquerade(range) => return self.translate(NatKind::Masquerade, range),
            Target::Redirect(range) => return self.translate(NatKind::Redirect, range),
            Target::Connmark(operation) => self.connmark(*operation),
            Target::Log(_) | Target::Nflog(_) => {
                self.memory.effects.push(Effect::Logged { rule: id });
            }
            Target::Notrack => {
                self.notrack = true;
                self.view.is_untracked |= self.view.state() == CtState::Invalid;
            }
            Target::Trace => self.trace = true,
            Target::Unknown(_) => {
                self.uncertain.get_or_insert(id);
            }
            Target::Accept
            | Target::Drop
            | Target::Return
            | Target::Jump(_)
            | Target::Goto(_)
            | Target::Mark { .. }
            | Target::Checksum(_)
            | Target::Tcpmss(_) => {}
        }
        Flow::Next
    }

    fn translate(&mut self, kind: NatKind, range: &'m NatRange) -> Flow {
        self.nat = Nat::Range(kind, range);
        Flow::End(Verdict::Accept)
    }

    fn connmark(&mut self, operation: ConnmarkTarget) {
        let view = &mut self.view;
        if !view.state().has_connection() {
            return;
        }
        match operation {
            ConnmarkTarget::Set { value, mask } => {
                view.conntrack_mark = MarkChange { value, mask }.of(view.conntrack_mark);
            }
            ConnmarkTarget::Save {
                packet_mask,
                connection_mask: mask,
            } => {
                let value = Mark(view.mark.0 & packet_mask.0);
                view.conntrack_mark = MarkChange { value, mask }.of(view.conntrack_mark);
            }
            ConnmarkTarget::Restore {
                packet_mask: mask,
                connection_mask,
            } => {
                let value = Mark(view.conntrack_mark.0 & connection_mask.0);
                view.mark = MarkChange { value, mask }.of(view.mark);
            }
        }
    }
}
