//! The walk through a chain that is another with some of its rules changed.
//!
//! The rules put in are found by a plan of their own, and the other chain's rules by its plan, as far as
//! the next rule put in: so a packet costs a lookup more than in the chain as it was.

use std::ops::{ControlFlow, Range};

use podwire_packet::Headers;
use podwire_ruleset::{ChainId, Choose, Observe};

use super::{Flow, Place, Walk};
use crate::at_once::Ranges;
use crate::code::Code;
use crate::dispatch::{Dispatch, Found};
use crate::fields::Fields;
use crate::overlay::Splice;
use crate::program::{Block, Chain, Program};

impl<'m, F: Fields, K: Code<'m, F>, C: Choose, O: Observe> Walk<'m, '_, F, K, C, O> {
    /// Goes through a spliced chain from a place on, which is the number of rules before it.
    #[inline(never)]
    pub(super) fn through_splice(&mut self, at: &Place, splice: &'m Splice) -> Flow {
        let (own, chain) = (self.code.program(at.chain), self.code.chain(at.chain));
        let headers = &self.view.packet.headers;
        let mut from = at.rule;
        let mut cursor = chain.first + splice.put_in_from(from);
        loop {
            let next = own.candidate(chain, headers, cursor);
            let rank = |next: &Candidate<'_, F>| splice.rank(next.place - chain.first);
            let until = next.as_ref().map_or(u32::MAX, rank);
            let flow = self.through_kept(at.chain, splice, from..until);
            if !matches!(flow, Flow::Next) {
                return flow;
            }
            let Some(Candidate { place, made, table }) = next else {
                return Flow::Next;
            };
            let flow = match table.and_then(|table| self.at_once(own, table, place)) {
                Some(flow) => flow,
                None => self.ask_rule(own, place, made, at.chain, until),
            };
            if !matches!(flow, Flow::Next) {
                return flow;
            }
            (from, cursor) = (until, place + 1);
        }
    }

    /// What a table of Services says for the rule at a place, if that is the first of its key; the rule
    /// itself does not know it.
    fn at_once(
        &mut self,
        program: &'m Program<F>,
        table: &'m Dispatch<F>,
        place: u32,
    ) -> Option<Flow> {
        let key = F::key_of(&self.view.packet.headers)?;
        if table.first_rule(key) != Some(place) || !self.observe.is_silent() {
            return None;
        }
        match table.find(key) {
            Found::Endpoints(service) => {
                let chosen = program.choose(&service, self.choose);
                Some(self.to(program, chosen, u32::from(service.marking)))
            }
            Found::Fold(fold) => Some(self.fold(program, fold)),
            Found::Nothing | Found::Ask => None,
        }
    }

    /// Goes through the rules that were kept, between two ranks.
    fn through_kept(&mut self, chain: ChainId, splice: &'m Splice, ranks: Range<u32>) -> Flow {
        let (program, whole) = (self.code.program(splice.of), self.code.chain(splice.of));
        let kept = splice.kept.between(ranks, whole.len);
        let places = whole.first + kept.start..whole.first + kept.end;
        let Some(plan) = whole.plan.checked_sub(1) else {
            return self.each_kept(chain, splice, places);
        };
        for block in &program.plans[plan as usize] {
            let flow = match block {
                Block::List(first, end) => {
                    let places = places.start.max(*first)..places.end.min(*end);
                    self.each_kept(chain, splice, places)
                }
                Block::Dispatch(table) => {
                    let table = &program.tables[*table as usize];
                    self.dispatch_kept(chain, splice, table, &places)
                }
                Block::Hashed(space) => {
                    let fields = F::of(&self.view.packet.headers);
                    let found = space.candidates(fields, places.start);
                    self.each_kept(chain, splice, found.take_while(|&place| place < places.end))
                }
                Block::Ranges(Ranges { first, boxes, .. }) => {
                    let of_block = places.start.max(*first)..places.end.min(first + boxes.len());
                    match F::point(&self.view.packet.headers) {
                        None => self.each_with(chain, splice, of_block, |_| 0),
                        Some(_) if of_block.is_empty() => Flow::Next,
                        Some(point) => {
                            let from = of_block.start - first;
                            let end = boxes.each(&point, from, |place| {
                                let place = first + place;
                                if place >= of_block.end {
                                    return ControlFlow::Break(Flow::Next);
                                }
                                match self.ask_kept(chain, splice, place, program.made(place)) {
                                    Flow::Next => ControlFlow::Continue(()),
                                    flow @ (Flow::Return
                                    | Flow::Call(..)
                                    | Flow::Replace(_)
                                    | Flow::End(_)) => ControlFlow::Break(flow),
                                }
                            });
                            match end {
                                ControlFlow::Continue(()) => Flow::Next,
                                ControlFlow::Break(flow) => flow,
                            }
                        }
                    }
                }
            };
            if !matches!(flow, Flow::Next) {
                return flow;
            }
        }
        Flow::Next
    }

    fn dispatch_kept(
        &mut self,
        chain: ChainId,
        splice: &'m Splice,
        table: &'m Dispatch<F>,
        places: &Range<u32>,
    ) -> Flow {
        let headers = &self.view.packet.headers;
        if headers.is_later_fragment {
            return Flow::Next;
        }
        let Some(key) = F::key_of(headers) else {
            let of_table = places.start.max(table.first)..places.end.min(table.end);
            let is_asked = table.is_of_ports && !of_table.is_empty();
            return if is_asked {
                self.each_with(chain, splice, of_table, |_| 0)
            } else {
                Flow::Next
            };
        };
        let program = self.code.program(splice.of);
        let mut next = table.first_rule(key);
        while let Some(place) = next.filter(|&place| place < places.end) {
            next = table.rule_after(place);
            let is_kept = splice.is_kept(place - self.code.chain(splice.of).first);
            if place < places.start || !is_kept {
                continue;
            }
            let flow = match self.at_once(program, table, place) {
                Some(flow) => flow,
                None => self.ask_kept(chain, splice, place, program.made(place)),
            };
            if !matches!(flow, Flow::Next) {
                return flow;
            }
        }
        Flow::Next
    }

    fn each_kept(
        &mut self,
        chain: ChainId,
        splice: &'m Splice,
        places: impl Iterator<Item = u32>,
    ) -> Flow {
        let program = self.code.program(splice.of);
        self.each_with(chain, splice, places, |place| program.made(place))
    }

    fn each_with(
        &mut self,
        chain: ChainId,
        splice: &'m Splice,
        places: impl Iterator<Item = u32>,
        made: impl Fn(u32) -> u8,
    ) -> Flow {
        for place in places {
            let flow = self.ask_kept(chain, splice, place, made(place));
            if !matches!(flow, Flow::Next) {
                return flow;
            }
        }
        Flow::Next
    }

    /// Asks the rule at a place of the other chain, if it was kept.
    fn ask_kept(&mut self, chain: ChainId, splice: &'m Splice, place: u32, made: u8) -> Flow {
        let whole = self.code.chain(splice.of);
        match splice.kept.place_of(place - whole.first) {
            Some(rank) => self.ask_rule(self.code.program(splice.of), place, made, chain, rank),
            None => Flow::Next,
        }
    }
}

impl<F: Fields> Program<F> {
    /// How many tests of a rule its block has made already.
    fn made(&self, place: u32) -> u8 {
        self.rules[place as usize].made
    }

    /// The first rule of a chain from a place on that a packet may match.
    fn candidate(&self, chain: Chain, headers: &Headers, from: u32) -> Option<Candidate<'_, F>> {
        let Some(plan) = chain.plan.checked_sub(1) else {
            return (from < chain.first + chain.len).then(|| self.found(from));
        };
        self.plans[plan as usize].iter().find_map(|block| {
            let place = match block {
                Block::List(first, end) => Some(from.max(*first)).filter(|place| place < end),
                Block::Dispatch(table) => {
                    let table = &self.tables[*table as usize];
                    if headers.is_later_fragment {
                        return None;
                    }
                    let Some(key) = F::key_of(headers) else {
                        let place = from.max(table.first);
                        let is_asked = table.is_of_ports && place < table.end;
                        return is_asked.then(|| self.foreign(place));
                    };
                    let mut next = table.first_rule(key);
                    while let Some(place) = next.filter(|&place| place < from) {
                        next = table.rule_after(place);
                    }
                    return next.map(|place| Candidate {
                        table: Some(table),
                        ..self.found(place)
                    });
                }
                Block::Hashed(space) => space.candidates(F::of(headers), from).next(),
                Block::Ranges(Ranges { first, boxes, .. }) => {
                    let skipped = from.saturating_sub(*first);
                    let Some(point) = F::point(headers) else {
                        return (skipped < boxes.len()).then(|| self.foreign(first + skipped));
                    };
                    let found =
                        boxes.each(&point, skipped, |place| ControlFlow::Break(first + place));
                    found.break_value()
                }
            };
            place.map(|place| self.found(place))
        })
    }

    fn found(&self, place: u32) -> Candidate<'_, F> {
        Candidate {
            place,
            made: self.made(place),
            table: None,
        }
    }

    /// A rule of which a packet of the other family is asked everything.
    fn foreign(&self, place: u32) -> Candidate<'_, F> {
        Candidate {
            made: 0,
            ..self.found(place)
        }
    }
}

/// A rule that a packet may match.
struct Candidate<'m, F: Fields> {
    place: u32,
    /// How many of its tests were made.
    made: u8,
    /// The table that it was found in.
    table: Option<&'m Dispatch<F>>,
}
