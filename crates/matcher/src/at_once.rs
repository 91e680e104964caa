//! Firewalls: base chains that begin with rules of ranges, most of which end a packet's way by themselves.
//!
//! Such a rule asks for nothing but its box and its target is a verdict, so the place that the trees
//! ([`crate::boxes`]) give is the answer. What each rule says is known beforehand, in a byte, so that nothing
//! branches on which rule it is. Where a rule says more, or the headers have not all that rules ask for, the
//! packet is walked.

use podwire_packet::Headers;
use podwire_ruleset::{Draw, Hook, Packet, State, Target, Verdict};

use crate::boxes::{Boxes, MANY, Point};
use crate::brief::Brief;
use crate::decide::Asked;
use crate::fields::Fields;
use crate::prefetch::prefetch;
use crate::program::{Block, Program, Rule, Then};

/// How many packets later the one is that is asked for.
const AHEAD: usize = 16;

/// What a rule says of packets in its box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// This is the table's verdict.
    Verdict(Verdict),
    /// Nothing: it only counts.
    Nothing,
    /// That is for a walk to find out.
    More,
}

/// A run of rules found by ranges.
#[derive(Clone, Debug)]
pub(crate) struct Ranges<F: Fields> {
    /// Place of the first of them.
    pub(crate) first: u32,
    pub(crate) boxes: Boxes<F::Address>,
    /// What each of them says.
    says: Box<[Says]>,
    /// Whether the first holds every packet and says more, so that all packets are to be walked.
    is_walked: bool,
}

/// The ranges that packets of a hook come to first, and what becomes of those that no rule of it ends.
#[derive(Clone, Copy)]
pub(crate) struct AtOnce<'m, F: Fields> {
    program: &'m Program<F>,
    hook: Hook,
    ranges: &'m Ranges<F>,
    behind: Says,
}

impl<F: Fields> Program<F> {
    /// A run of rules from a place on, found by ranges.
    pub(crate) fn ranges_of(
        &self,
        first: u32,
        rules: &[Rule],
        boxes: Boxes<F::Address>,
    ) -> Ranges<F> {
        let says: Box<[Says]> = rules.iter().map(|rule| self.says(rule)).collect();
        let is_walked = matches!(
            (rules, &*says),
            ([Rule { boxable: 0, .. }, ..], [Says::More, ..])
        );
        Ranges {
            first,
            boxes,
            says,
            is_walked,
        }
    }

    /// What a rule of ranges says.
    fn says(&self, rule: &Rule) -> Says {
        if u32::from(rule.boxable) != rule.test_count || rule.is_uncertain {
            return Says::More;
        }
        match rule.then {
            Then::Nothing => Says::Nothing,
            Then::Accept => Says::Verdict(Verdict::Accept),
            Then::Drop => Says::Verdict(Verdict::Drop),
            Then::Target(target) => {
                if let Target::Reject(with) = self.targets[target as usize] {
                    Says::Verdict(Verdict::Reject(with))
                } else {
                    Says::More
                }
            }
            Then::Jump(_) | Then::Goto(_) | Then::Mark(_) | Then::Return | Then::Dnat(_) => {
                Says::More
            }
        }
    }

    /// The ranges that packets of a hook come to first, if it begins with some that have answers.
    #[inline]
    pub(crate) fn at_once(&self, hook: Hook) -> Option<AtOnce<'_, F>> {
        let base = self.bases[hook as usize].as_ref()?;
        let plan = self.chains[base.chain.index()].plan.checked_sub(1)?;
        let [Block::Ranges(ranges), rest @ ..] = &*self.plans[plan as usize] else {
            return None;
        };
        (!ranges.is_walked).then_some(AtOnce {
            program: self,
            hook,
            ranges,
            behind: if rest.is_empty() {
                Says::Verdict(base.verdict())
            } else {
                Says::More
            },
        })
    }
}

impl<'m, F: Fields> AtOnce<'m, F> {
    /// The verdict on a packet; none if it is to be walked.
    #[inline]
    pub(crate) fn verdict(&self, headers: &Headers) -> Option<Verdict> {
        let point = point_of::<F>(headers)?;
        let mut place = self.ranges.boxes.first(&point);
        loop {
            let said = self.ranges.says.get(place as usize);
            match said.copied().unwrap_or(self.behind) {
                Says::Verdict(verdict) => return Some(verdict),
                Says::Nothing => place = self.ranges.boxes.first_from(&point, place + 1),
                Says::More => return None,
            }
        }
    }

    /// Decides about packets, [`MANY`] at a time.
    #[inline]
    pub(crate) fn decide_batch<'p, P: Asked<'p>>(
        &self,
        packets: &[P],
        like: &'p Packet<'p>,
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        let mut first = 0;
        for (packets_now, out) in packets.chunks(MANY).zip(out.chunks_mut(MANY)) {
            let mut points = [Point::default(); MANY];
            // A bit for each packet that has no point.
            let mut walked = 0_u64;
            for (at, (packet, point)) in packets_now.iter().zip(&mut points).enumerate() {
                if let Some(later) = packets.get(first + at + AHEAD) {
                    prefetch(later.parts(like).1);
                }
                match point_of::<F>(packet.parts(like).1) {
                    Some(own) => *point = own,
                    None => walked |= 1 << at,
                }
            }
            let places = self.ranges.boxes.firsts(&points, packets_now.len());
            for (at, ((packet, brief), place)) in
                packets_now.iter().zip(out).zip(places).enumerate()
            {
                let (like, headers) = packet.parts(like);
                let said = self.ranges.says.get(place as usize);
                let said = said.copied().unwrap_or(self.behind);
                // Each case is written where it is to stay: a copy of what was just written in parts would wait.
                if let Says::Verdict(verdict) = said
                    && walked >> at & 1 == 0
                {
                    *brief = Brief {
                        verdict,
                        ..Brief::accept(like)
                    };
                } else {
                    let draw = &mut draws(first + at);
                    *brief = self.program.walk(self.hook, like, headers, state, draw);
                }
            }
            first += MANY;
        }
    }
}

/// What ranges are asked about a packet; none if it is of the other family, or has no transport header.
#[inline]
fn point_of<F: Fields>(headers: &Headers) -> Option<Point<F::Address>> {
    F::point(headers).filter(|_| !headers.is_later_fragment)
}
