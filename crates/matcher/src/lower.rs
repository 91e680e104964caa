//! Rules, each by itself, in their small form.

use podwire_ruleset::{ChainId, ChainName, Match, NatRange, Rule as Written, Target};

use crate::fields::{Equality, Fields};
use crate::program::{MarkChange, Program, Rule, Socket, Then, to_u32};
use crate::test::{DIMENSIONS, Test};

/// Tests of a rule that one probe makes; with one more of each field they are counted in a byte.
const MOST_HASHABLE: u8 = 200;

/// Lists of tests, and targets, that are searched before one more is kept.
const MANY: usize = 64;

impl<F: Fields> Program<F> {
    /// A rule in its small form, its tests and target in the pools.
    pub(crate) fn lower(
        &mut self,
        rule: &Written,
        id: impl Fn(&ChainName) -> Option<ChainId>,
    ) -> Rule {
        // The order in which tests without memory are asked is free; so is that of the IP header's,
        // which come first.
        let is_free = !rule.matches.iter().any(Match::has_memory_or_chance);
        let first = self.tests.len();
        let (mut needs_transport, mut is_uncertain, mut has_address) = (false, false, false);
        let mut equality = Equality::<F>::default();
        // The tests that a table can make come first: those for equality, then those of ranges, one of
        // each field. A mask with holes is no range; then none of the rule's is used.
        let (mut hashable, mut boxable) = (0_u8, 0_u8);
        let (mut has_range, mut is_odd) = ([false; DIMENSIONS], false);
        for of in rule.in_kernel_order() {
            is_uncertain |= matches!(of, Match::Unknown(_));
            has_address |= matches!(of, Match::Source(_) | Match::Destination(_));
            let Some(test) = Test::of(of) else { continue };
            let may_move = is_free || of.is_of_ip_header();
            if is_free && (matches!(test, Test::HasTransport) || test.is_of_ports()) {
                needs_transport = true;
            }
            if is_free && matches!(test, Test::HasTransport) {
                continue;
            }
            let joined = test
                .equality()
                .filter(|_| may_move && hashable < MOST_HASHABLE);
            let joined = joined.and_then(|own| equality.and(own));
            let dimension = test.dimension().filter(|_| may_move);
            let tests = &mut self.tests;
            if let Some(joined) = joined {
                equality = joined;
                tests.insert(first + usize::from(hashable), test);
                hashable += 1;
                boxable += 1;
                match dimension {
                    Some(of) if !has_range[of] => has_range[of] = true,
                    Some(_) | None => is_odd = true,
                }
            } else if let Some(of) = dimension
                && !has_range[of]
            {
                has_range[of] = true;
                tests.insert(first + usize::from(boxable), test);
                boxable += 1;
            } else {
                tests.push(test);
            }
        }
        if is_odd {
            boxable = 0;
        }
        let count = self.tests.len() - first;
        let (tests, test_count) = self.keep(first, count, has_address);
        Rule {
            tests,
            test_count,
            hashable,
            boxable,
            made: 0,
            needs_transport,
            is_uncertain,
            then: self.then(rule.target.as_ref(), id),
            fold: 0,
        }
    }

    /// Where the last tests of the pool stand, which may be where the same ones stood before.
    fn keep(&mut self, first: usize, count: usize, has_address: bool) -> (u32, u32) {
        let own = (to_u32(first), to_u32(count));
        if has_address || count == 0 {
            // Such tests are seldom the same twice.
            return own;
        }
        let pool = &mut self.tests;
        let same = self.known_tests.iter().find(|(at, length)| {
            *length as usize == count && pool[*at as usize..][..count] == pool[first..]
        });
        if let Some(&same) = same {
            pool.truncate(first);
            return same;
        }
        if self.known_tests.len() < MANY {
            self.known_tests.push(own);
        }
        own
    }

    fn then(
        &mut self,
        target: Option<&Target>,
        id: impl Fn(&ChainName) -> Option<ChainId>,
    ) -> Then {
        let chain = |name: &ChainName| id(name).expect("every jump was checked");
        match target {
            None | Some(Target::Checksum(_) | Target::Tcpmss(_)) => Then::Nothing,
            Some(Target::Jump(name)) => Then::Jump(chain(name)),
            Some(Target::Goto(name)) => Then::Goto(chain(name)),
            Some(Target::Accept) => Then::Accept,
            Some(Target::Drop) => Then::Drop,
            Some(Target::Return) => Then::Return,
            Some(Target::Mark { value, mask }) => {
                let (value, mask) = (*value, *mask);
                Then::Mark(to_u32(self.marks.insert_full(MarkChange { value, mask }).0))
            }
            Some(target) => {
                if let Target::Dnat(range) = target
                    && let Some(socket) = one_socket::<F>(range)
                {
                    self.sockets.push(socket);
                    return Then::Dnat(to_u32(self.sockets.len() - 1));
                }
                let known = self.targets.iter().take(MANY).position(|own| own == target);
                Then::Target(to_u32(known.unwrap_or_else(|| {
                    self.targets.push(target.clone());
                    self.targets.len() - 1
                })))
            }
        }
    }
}

/// The one address that a translation names, and the one port if it names any.
fn one_socket<F: Fields>(range: &NatRange) -> Option<Socket<F::Address>> {
    let address = *range.addresses.as_ref()?.start();
    let port = range.ports.as_ref().map(|ports| *ports.start());
    let is_all = *range == NatRange::to(address, port);
    let address = F::number(address).filter(|_| is_all)?;
    Some(Socket { address, port })
}
