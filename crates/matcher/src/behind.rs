//! What a packet comes to behind the table of Services at a hook, where the table has nothing for it.
//!
//! Such a packet need not walk from the hook again: no rule of the table fits it, and the rules before
//! it were jumps without a test. What is left in kube-proxy's rules is a jump to KUBE-NODEPORTS for the
//! node's own addresses, and the policy. Jumps that ask for the destination alone are gates here, and a
//! gate to a chain that is one table by ports is answered by that table. Anything else is walked, from
//! where it stands.

use podwire_packet::Headers;
use podwire_ruleset::{AddressTypeMatch, Choose, Hook, Packet, State, Verdict};
use smallvec::SmallVec;

use crate::addrtype::types_of;
use crate::brief::Brief;
use crate::dispatch::Found;
use crate::fields::Fields;
use crate::program::{Block, Program, Rule, Then};
use crate::test::{Test, is_under};
use crate::walk::{self, Place};

/// The table of Services that every packet of a hook comes to first, past jumps without a test, and what
/// is behind it.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// Place of the table.
    pub(crate) table: u32,
    /// Where walks go on when the chains end that led to the table, the first call first.
    callers: SmallVec<[Place; 4]>,
    gates: SmallVec<[Gate; 2]>,
    rest: Rest,
}

/// A jump that asks for the destination.
#[derive(Clone, Copy, Debug)]
struct Gate {
    at: Place,
    /// Place of the rule's first test, and behind its last one.
    tests: (u32, u32),
    to: To,
}

/// What a gate leads to.
#[derive(Clone, Copy, Debug)]
enum To {
    /// A chain without rules.
    Nothing,
    /// A chain that is one table by ports: its place.
    Ports(u32),
    /// Another, which is to be walked.
    Chain,
}

/// What is behind the gates.
#[derive(Clone, Copy, Debug)]
enum Rest {
    Policy(Verdict),
    Rules(Place),
}

impl<F: Fields> Program<F> {
    /// Finds for every hook the table of Services that every packet comes to first.
    pub(crate) fn find_fronts(&mut self) {
        for hook in Hook::ALL {
            self.fronts[hook as usize] = self.front(hook);
        }
    }

    fn front(&self, hook: Hook) -> Option<Front> {
        let base = self.bases[hook as usize]?;
        let mut chain = base.chain;
        let mut callers = SmallVec::new();
        // Chains do not call each other in a circle.
        while self.chains[chain.index()].plan == 0
            && let [
                Rule {
                    then: then @ (Then::Jump(next) | Then::Goto(next)),
                    test_count: 0,
                    needs_transport: false,
                    is_uncertain: false,
                    ..
                },
                ..,
            ] = self.rules_of(chain)
        {
            if matches!(then, Then::Jump(_)) {
                callers.push(Place {
                    chain,
                    block: 0,
                    rule: self.chains[chain.index()].first + 1,
                });
            }
            chain = *next;
        }
        let plan = (self.chains[chain.index()].plan as usize).checked_sub(1)?;
        let (table, behind) = match &*self.plans[plan] {
            [Block::Dispatch(table), behind @ ..] => (*table, behind),
            _ => return None,
        };
        if self.tables[table as usize].is_of_ports {
            return None;
        }
        let mut at = Place {
            chain,
            block: 1,
            rule: 0,
        };
        let mut gates: SmallVec<[Gate; 2]> = SmallVec::new();
        let mut is_end = behind.is_empty();
        if let [Block::List(first, end), others @ ..] = behind {
            let all = (*first..*end).map_while(|rule| self.gate(Place { rule, ..at }));
            gates.extend(all);
            at.rule = gates.last().map_or(*first, |gate| gate.at.rule + 1);
            is_end = at.rule == *end && others.is_empty();
        }
        let goes_on = |caller: &Place| {
            let chain = self.chains[caller.chain.index()];
            caller.rule < chain.first + chain.len
        };
        let rest = if is_end && !callers.iter().any(goes_on) {
            Rest::Policy(base.verdict())
        } else {
            Rest::Rules(at)
        };
        Some(Front {
            table,
            callers,
            gates,
            rest,
        })
    }

    /// The gate that a rule is; none if it is none.
    fn gate(&self, at: Place) -> Option<Gate> {
        let rule = &self.rules[at.rule as usize];
        let Then::Jump(to) = rule.then else {
            return None;
        };
        let tests = self.tests_of(rule);
        if rule.is_uncertain || rule.needs_transport || !tests.iter().all(is_of_destination) {
            return None;
        }
        let own = self.chains[to.index()];
        let to = match (own.plan as usize).checked_sub(1) {
            _ if own.len == 0 => To::Nothing,
            Some(plan) => match *self.plans[plan] {
                [Block::Dispatch(table)] if self.tables[table as usize].is_of_ports => {
                    To::Ports(table)
                }
                _ => To::Chain,
            },
            None => To::Chain,
        };
        Some(Gate {
            at,
            tests: (rule.tests, rule.tests + rule.test_count),
            to,
        })
    }

    /// What the table at a hook decides about a packet of that hook for which the front has nothing. The
    /// key is the packet's.
    #[inline(never)]
    pub(crate) fn behind<'m>(
        &'m self,
        (front, hook): (&'m Front, Hook),
        key: F::Key,
        (like, headers): (&Packet<'_>, &Headers),
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        let mut place = None;
        for gate in &front.gates {
            if matches!(gate.to, To::Nothing) || !self.takes(gate, like, headers) {
                continue;
            }
            if let To::Ports(table) = gate.to {
                match self.tables[table as usize].find(key) {
                    Found::Nothing => continue,
                    Found::Endpoints(service) => {
                        return self.translated(like, headers, &service, choose);
                    }
                    Found::Fold(fold) => return self.folded(like, headers, fold, choose),
                    Found::Ask => {}
                }
            }
            place = Some(gate.at);
            break;
        }
        let place = match (place, front.rest) {
            (Some(place), _) | (None, Rest::Rules(place)) => place,
            (None, Rest::Policy(verdict)) => {
                return Brief {
                    verdict,
                    ..Brief::accept(like)
                };
            }
        };
        let packet = Packet {
            headers: *headers,
            hook,
            ..*like
        };
        let start = Some((&*front.callers, place));
        walk::run_from(self, start, &packet, state, choose, &mut ()).brief
    }

    /// Whether a packet goes through a gate.
    #[inline]
    fn takes(&self, gate: &Gate, like: &Packet<'_>, headers: &Headers) -> bool {
        let (first, end) = gate.tests;
        let tests = &self.tests[first as usize..end as usize];
        tests.iter().all(|test| {
            if let Test::Destination(test) = test {
                return is_under::<F>(test, headers.dst);
            }
            let Test::AddressType(AddressTypeMatch {
                dst: Some(asked), ..
            }) = test
            else {
                return false;
            };
            types_of(like.host, headers.dst, None).fit(asked.value) != asked.inverted
        })
    }
}

/// Whether a test asks for nothing but the destination, as [`Program::takes`] asks it.
fn is_of_destination<F: Fields>(test: &Test<F>) -> bool {
    let is_of_type = matches!(
        test,
        Test::AddressType(AddressTypeMatch {
            src: None,
            dst: Some(_),
            limit_iface_in: false,
            limit_iface_out: false,
        })
    );
    is_of_type || matches!(test, Test::Destination(_))
}
