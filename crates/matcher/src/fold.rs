//! Chains that end in one of several translations, folded into one choice.
//!
//! Where nobody watches, the rules between a dispatch and the translation need not be walked: what
//! they ask is known from the dispatch, but for the source and the draw. So a chain is run once, when it
//! is compiled, for all packets that its caller sends there. What comes of it is a fold if the chain
//! 1. may mark: all packets, and those for which one test of the source holds,
//! 2. then leaves it to a ladder of even chances, the last of them certain,
//! 3. to which of several chains it goes, each of which may mark a packet of its own address and then
//!    translates to one address.
//!
//! Chains are known by these rules alone, whatever their names. A rule that cannot match the caller's
//! packets is passed over; a jump without a test goes on in the chain that it names.

use std::net::IpAddr;

use podwire_packet::Mark;
use podwire_ruleset::{ChainId, Inv, Probability};

use crate::code::Code;
use crate::fields::{Equality, Fields};
use crate::program::{MarkChange, Program, Rule, Socket, Then, to_u32};
use crate::test::{Masked, Test};

/// A chain as one choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold {
    /// Place of the first endpoint.
    first: u32,
    /// How many there are, at least one.
    count: u32,
    /// One more than the place of the ladder's thresholds; 0 if it is one that all share.
    uneven: u32,
    /// Place of the marking.
    pub(crate) marking: u32,
}

/// What is folded away.
#[derive(Clone, Debug)]
pub(crate) struct Folds<F: Fields> {
    pub(crate) folds: Vec<Fold>,
    endpoints: Vec<Socket<F::Address>>,
    /// Ladders that are rounded otherwise.
    uneven: Vec<u32>,
    markings: Vec<Marking<F>>,
}

/// Rungs of the ladder that all even ladders share.
const LONGEST: usize = 1024;

/// What becomes of a mark: three changes, each for some packets, made one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Changes<F: Fields> {
    /// For all.
    always: MarkChange,
    /// For those from a source.
    source: Masked<F::Address>,
    from_source: MarkChange,
    /// For those from the address that they are sent to.
    hairpin: MarkChange,
}

/// The same as one change for each sort of packet, so that nothing branches on the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marking<F: Fields> {
    source: F::Address,
    source_mask: F::Address,
    /// Of packets from elsewhere, from the source, and both again of those that are sent to their
    /// own address.
    changes: [MarkChange; 4],
}

impl<F: Fields> Changes<F> {
    fn by_sort(&self) -> Marking<F> {
        let (elsewhere, from) = (self.always, self.always.then(self.from_source));
        let (elsewhere, from) = if self.source.inverted {
            (from, elsewhere)
        } else {
            (elsewhere, from)
        };
        Marking {
            source: self.source.value,
            source_mask: self.source.mask,
            changes: [
                elsewhere,
                from,
                elsewhere.then(self.hairpin),
                from.then(self.hairpin),
            ],
        }
    }
}

impl<F: Fields> Marking<F> {
    #[inline]
    pub(crate) fn of(&self, mark: Mark, source: IpAddr, endpoint: F::Address) -> Mark {
        // A source of the other family is neither the test's nor the endpoint's.
        let sort = F::number(source).map_or(0, |source| {
            let is_from = F::under(source, self.source_mask) == self.source;
            usize::from(is_from) | usize::from(source == endpoint) << 1
        });
        self.changes[sort].of(mark)
    }
}

impl<F: Fields> Default for Folds<F> {
    fn default() -> Self {
        Self {
            folds: Vec::new(),
            endpoints: Vec::new(),
            uneven: Vec::new(),
            markings: Vec::new(),
        }
    }
}

/// The ladder of [`LONGEST`] rungs that kube-proxy writes, of which every shorter one is the end.
static EVEN: [u32; LONGEST] = {
    let mut ladder = [0; LONGEST];
    // From the last rung up, of two ways.
    let (mut rung, mut ways) = (LONGEST, 1);
    while rung > 0 {
        (rung, ways) = (rung - 1, ways + 1);
        ladder[rung] = even(ways);
    }
    ladder
};

/// The threshold of the first of so many ways that are even.
const fn even(ways: u32) -> u32 {
    (Probability::ONE + ways / 2) / ways
}

impl<F: Fields> Folds<F> {
    #[inline]
    pub(crate) fn marking(&self, place: u32) -> &Marking<F> {
        &self.markings[place as usize]
    }

    /// The longest of the ladders that even ways share.
    #[inline]
    pub(crate) const fn even(&self) -> &[u32] {
        &EVEN
    }

    /// The thresholds of an even ladder to so many ways, at most [`LONGEST`] + 1.
    #[inline]
    pub(crate) fn ladder(&self, ways: usize) -> &[u32] {
        let first = (LONGEST + 1).saturating_sub(ways);
        EVEN.get(first..).unwrap_or_default()
    }

    pub(crate) fn thresholds(&self, fold: &Fold) -> &[u32] {
        match fold.uneven.checked_sub(1) {
            None => self.ladder(fold.count as usize),
            Some(first) => &self.uneven[first as usize..(first + fold.count) as usize - 1],
        }
    }

    pub(crate) fn endpoints(&self, fold: &Fold) -> &[Socket<F::Address>] {
        &self.endpoints[fold.first as usize..(fold.first + fold.count) as usize]
    }

    /// The port that all endpoints of a fold have, and the endpoints; none if they have several or the
    /// ladder is not the shared one.
    pub(crate) fn in_one_entry(&self, fold: &Fold) -> Option<(u16, &[Socket<F::Address>])> {
        let endpoints = self.endpoints(fold);
        let port = endpoints.first()?.port?;
        let is_plain = endpoints.iter().all(|own| own.port == Some(port)) && fold.uneven == 0;
        is_plain.then_some((port, endpoints))
    }

    /// How many endpoints a fold has.
    pub(crate) fn size(&self, fold: u32) -> usize {
        self.folds[fold as usize].count as usize
    }

    /// The markings that ask for a source, with another in its place; ascending.
    pub(crate) fn markings_of(
        &self,
        source: &Masked<F::Address>,
        other: &Masked<F::Address>,
    ) -> Vec<(u32, Marking<F>)> {
        let is_of = |own: &Marking<F>| (own.source, own.source_mask) == (source.value, source.mask);
        let with_other = |own: &Marking<F>| Marking {
            source: other.value,
            source_mask: other.mask,
            ..*own
        };
        (0..)
            .zip(&self.markings)
            .filter(|(_, own)| is_of(own))
            .map(|(place, own)| (place, with_other(own)))
            .collect()
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.folds.shrink_to_fit();
        self.endpoints.shrink_to_fit();
        self.uneven.shrink_to_fit();
        self.markings.shrink_to_fit();
    }

    /// Lets go of the last fold, which nothing refers to.
    pub(crate) fn forget_last(&mut self) {
        if let Some(fold) = self.folds.pop() {
            self.endpoints.truncate(fold.first as usize);
        }
    }

    /// Keeps a fold.
    pub(crate) fn add(&mut self, found: &Finding<F>) -> u32 {
        let ladder = &found.thresholds;
        let count = found.endpoints.len();
        let shared = count <= LONGEST && self.ladder(count) == ladder;
        let uneven = if shared {
            0
        } else {
            self.uneven.extend(ladder);
            to_u32(self.uneven.len() - ladder.len() + 1)
        };
        let own = found.changes.by_sort();
        let known = self
            .markings
            .iter()
            .take(MANY)
            .position(|known| *known == own);
        let marking = known.unwrap_or_else(|| {
            self.markings.push(own);
            self.markings.len() - 1
        });
        self.folds.push(Fold {
            first: to_u32(self.endpoints.len()),
            count: to_u32(count),
            uneven,
            marking: to_u32(marking),
        });
        self.endpoints.extend(&found.endpoints);
        to_u32(self.folds.len() - 1)
    }
}

/// Markings that are searched before one more is kept.
const MANY: usize = 64;

/// What is known of the packets that come to a chain.
#[derive(Clone, Copy, Debug)]
struct Facts<F> {
    equality: Equality<F>,
    /// Whether they have a transport header.
    are_whole: bool,
}

/// Which packets of those that are known a rule matches.
#[derive(Clone, Copy, Debug)]
enum Matches<A> {
    All,
    None,
    From(Masked<A>),
    ByChance(u32),
}

impl<F: Fields> Facts<F> {
    /// Of the packets that a rule matches.
    fn of<'m>(code: impl Code<'m, F>, (program, rule): Placed<'m, F>) -> Self
    where
        F: 'm,
    {
        let mut facts = Self {
            equality: Equality::default(),
            are_whole: rule.needs_transport,
        };
        for test in program.tests_of(rule) {
            let test = code.test(program, test);
            if let Some(known) = test.equality() {
                // What is tested twice is known once; that suffices.
                facts.equality = facts.equality.and(known).unwrap_or(facts.equality);
            }
            facts.are_whole |= test.is_of_ports() || matches!(test, Test::HasTransport);
        }
        facts
    }

    /// Which of them a rule matches; none if that is not known.
    fn matched_by<'m>(
        &self,
        code: impl Code<'m, F>,
        (program, rule): Placed<'m, F>,
    ) -> Option<Matches<F::Address>>
    where
        F: 'm,
    {
        if rule.is_uncertain || rule.needs_transport && !self.are_whole {
            return None;
        }
        let mut asked = Matches::All;
        for test in program.tests_of(rule) {
            let own = self.held_by(code.test(program, test))?;
            asked = match (asked, own) {
                (asked, Matches::All) => asked,
                (_, Matches::None) => return Some(Matches::None),
                (Matches::All, own) => own,
                (Matches::None | Matches::From(_) | Matches::ByChance(_), _) => return None,
            };
        }
        Some(asked)
    }

    fn held_by(&self, test: &Test<F>) -> Option<Matches<F::Address>> {
        if let Some((asked, inverted)) = straight(test) {
            if test.is_of_ports() && !self.are_whole {
                return None;
            }
            let known = if self.equality.implies(&asked) {
                Some(true)
            } else if self.equality.excludes(&asked) {
                Some(false)
            } else {
                None
            };
            match known {
                Some(holds) if holds != inverted => return Some(Matches::All),
                Some(_) => return Some(Matches::None),
                None => {}
            }
        }
        if let Test::Source(source) = test {
            return Some(Matches::From(*source));
        }
        if let Test::Random(Inv {
            inverted: false,
            value,
        }) = test
        {
            return Some(Matches::ByChance(*value));
        }
        if let Test::Constant(false) = test {
            return Some(Matches::None);
        }
        let holds = matches!(test, Test::Constant(true))
            || matches!(test, Test::HasTransport) && self.are_whole;
        holds.then_some(Matches::All)
    }
}

/// What a test compares for equality, if it does, whether or not it has a `!`.
fn straight<F: Fields>(test: &Test<F>) -> Option<(Equality<F>, bool)> {
    let (plain, inverted) = if let Test::Source(own) = test {
        (
            Test::Source(Masked {
                inverted: false,
                ..*own
            }),
            own.inverted,
        )
    } else if let Test::Destination(own) = test {
        (
            Test::Destination(Masked {
                inverted: false,
                ..*own
            }),
            own.inverted,
        )
    } else if let Test::SourcePort(own) = test {
        (Test::SourcePort(Inv::is(own.value)), own.inverted)
    } else if let Test::DestinationPort(own) = test {
        (Test::DestinationPort(Inv::is(own.value)), own.inverted)
    } else if let Test::Protocol(own) = test {
        (Test::Protocol(Inv::is(own.value)), own.inverted)
    } else {
        return None;
    };
    Some((plain.equality()?, inverted))
}

/// A fold as it is found.
pub(crate) struct Finding<F: Fields> {
    changes: Changes<F>,
    endpoints: Vec<Socket<F::Address>>,
    thresholds: Vec<u32>,
}

impl<F: Fields> Finding<F> {
    /// Whether there is an endpoint, and each has the same chance.
    fn is_even(&self) -> bool {
        let ways = (2..=to_u32(self.endpoints.len())).rev();
        let mut ladder = ways.zip(&self.thresholds);
        // kube-proxy writes ten decimals, which may round otherwise.
        !self.endpoints.is_empty() && ladder.all(|(ways, &is)| even(ways).abs_diff(is) <= 1)
    }
}

/// Rules that may be looked at for one fold, and chains that may go on in one another: more are a
/// table in which everything calls everything.
const MAX_RULES: usize = 1 << 16;
/// Rules that every fold may look at: a Service of many endpoints behind many addresses, which is folded once
/// for each, leaves the others as they are.
const FREE: usize = 1 << 8;
const MAX_CHAINS: usize = 16;

/// Finds what the chain that a rule jumps to folds to, for the packets of that rule.
///
/// `budget` is how many rules may still be looked at beyond those that every fold may.
pub(crate) fn find<'m, F: Fields + 'm>(
    code: impl Code<'m, F>,
    rule: Placed<'m, F>,
    budget: &mut usize,
) -> Option<Finding<F>> {
    let to = rule.1.then.chain()?;
    let nothing = MarkChange::default();
    let mut search = Search {
        code,
        facts: Facts::of(code, rule),
        found: Finding {
            changes: Changes {
                always: nothing,
                source: Masked {
                    value: F::Address::default(),
                    mask: F::Address::default(),
                    inverted: false,
                },
                from_source: nothing,
                hairpin: nothing,
            },
            endpoints: Vec::new(),
            thresholds: Vec::new(),
        },
        budget: budget.saturating_add(FREE).min(MAX_RULES),
    };
    let before = search.budget;
    let is_fold = search.follow(to, MAX_CHAINS);
    *budget -= (before - search.budget).saturating_sub(FREE);
    is_fold.map(|()| search.found).filter(Finding::is_even)
}

/// A rule and its program.
pub(crate) type Placed<'m, F> = (&'m Program<F>, &'m Rule);

/// A fold that is being looked for.
struct Search<F: Fields, K> {
    code: K,
    facts: Facts<F>,
    found: Finding<F>,
    budget: usize,
}

impl<'m, F: Fields + 'm, K: Code<'m, F>> Search<F, K> {
    /// Goes through a chain; some if every packet is translated in it.
    fn follow(&mut self, chain: ChainId, deep: usize) -> Option<()> {
        for placed in self.code.rules(chain) {
            let (_, rule) = placed;
            self.budget = self.budget.checked_sub(1)?;
            let Some(matched) = self.facts.matched_by(self.code, placed) else {
                if self.is_done_already(placed) {
                    continue;
                }
                return None;
            };
            if matches!(matched, Matches::None) {
                continue;
            }
            if let Some(change) = self.mark_change(placed) {
                if !self.found.endpoints.is_empty() {
                    return None;
                }
                self.found.changes.add(change, matched)?;
                continue;
            }
            if rule.then == Then::Nothing && !matches!(matched, Matches::ByChance(_)) {
                continue;
            }
            match matched {
                Matches::None | Matches::From(_) => return None,
                Matches::ByChance(threshold) => {
                    self.end(placed)?;
                    self.found.thresholds.push(threshold);
                }
                Matches::All => {
                    if self.end(placed).is_some() {
                        return Some(());
                    }
                    return self.follow(rule.then.chain()?, deep.checked_sub(1)?);
                }
            }
        }
        // The chain may end without a translation.
        None
    }

    /// Whether a rule does only what was done to every packet already, so that it does not matter which
    /// of them it matches. One that remembers, draws or is not known does more.
    fn is_done_already(&self, (program, rule): Placed<'m, F>) -> bool {
        let is_plain = |test: &Test<F>| {
            let has_more = matches!(
                test,
                Test::Random(_) | Test::Nth(_) | Test::Limit(_) | Test::Recent(_)
            );
            !has_more
        };
        let changes = &self.found.changes;
        !rule.is_uncertain
            && program.tests_of(rule).iter().all(is_plain)
            && self.mark_change((program, rule)) == Some(changes.always)
            && changes.always.is_idempotent()
            && changes.from_source == MarkChange::default()
    }

    /// What a rule does to the mark, if that is all that it does.
    fn mark_change(&self, (program, rule): Placed<'m, F>) -> Option<MarkChange> {
        if let Then::Mark(change) = rule.then {
            return Some(program.marks[change as usize]);
        }
        let Then::Jump(chain) = rule.then else {
            return None;
        };
        let mut rules = self.code.rules(chain);
        let (Some((program, only)), None) = (rules.next(), rules.next()) else {
            return None;
        };
        let is_plain = only.test_count == 0 && !only.is_uncertain && !only.needs_transport;
        match only.then {
            Then::Mark(change) if is_plain => Some(program.marks[change as usize]),
            Then::Mark(_)
            | Then::Nothing
            | Then::Jump(_)
            | Then::Goto(_)
            | Then::Accept
            | Then::Drop
            | Then::Return
            | Then::Dnat(_)
            | Then::Target(_) => None,
        }
    }

    /// Adds the endpoint that a rule leads to: itself a translation, or a jump to a chain with one.
    fn end(&mut self, (program, rule): Placed<'m, F>) -> Option<()> {
        let (socket, own) = if let Then::Dnat(socket) = rule.then {
            (program.sockets[socket as usize], None)
        } else {
            self.leaf(rule.then.chain()?)?
        };
        let own = own.unwrap_or_default();
        let found = &mut self.found;
        if found.endpoints.is_empty() {
            found.changes.hairpin = own;
        } else if found.changes.hairpin != own {
            return None;
        }
        found.endpoints.push(socket);
        Some(())
    }

    /// A chain that may mark packets of one address and then translates to it.
    fn leaf(&self, chain: ChainId) -> Option<(Socket<F::Address>, Option<MarkChange>)> {
        let mut rules = self.code.rules(chain);
        let first = rules.next()?;
        let (marks, translates) = if matches!(first.1.then, Then::Dnat(_)) {
            (None, first)
        } else {
            (Some(first), rules.next()?)
        };
        let (Then::Dnat(socket), Matches::All) = (
            translates.1.then,
            self.facts.matched_by(self.code, translates)?,
        ) else {
            return None;
        };
        let socket = translates.0.sockets[socket as usize];
        let own = match marks {
            None => None,
            Some(rule) => match self.facts.matched_by(self.code, rule)? {
                Matches::None => None,
                Matches::From(source) if is_host::<F>(&source, socket.address) => {
                    Some(self.mark_change(rule)?)
                }
                Matches::All | Matches::From(_) | Matches::ByChance(_) => return None,
            },
        };
        Some((socket, own))
    }
}

/// Whether a source is that one address.
fn is_host<F: Fields>(source: &Masked<F::Address>, address: F::Address) -> bool {
    !source.inverted && source.value == address && source.mask == F::all_bits()
}

impl<F: Fields> Changes<F> {
    /// One more change, behind those that there are; none if that cannot be said.
    fn add(&mut self, change: MarkChange, of: Matches<F::Address>) -> Option<()> {
        let nothing = MarkChange::default();
        if self.always == change && change.is_idempotent() && self.from_source == nothing {
            // It was made already, for all.
            return matches!(of, Matches::All | Matches::From(_)).then_some(());
        }
        if self.from_source != nothing {
            return None;
        }
        match of {
            Matches::All if self.always == nothing => self.always = change,
            Matches::From(source) => (self.source, self.from_source) = (source, change),
            Matches::All | Matches::None | Matches::ByChance(_) => return None,
        }
        Some(())
    }
}

mod reach;
#[cfg(test)]
mod tests;
