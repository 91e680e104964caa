//! Chains that end in one of several translations, folded into one choice.
//!
//! Where nobody watches, the rules between a dispatch and the translation need not be walked: what
//! they ask is known from the dispatch, but for the source and the draw. A chain is folded if it
//! 1. may mark, by a test of the source or without one,
//! 2. then leaves it to a ladder of even chances, the last of them certain,
//! 3. to which of several chains it goes, each of which may mark a packet of its own address and then
//!    translates to that address.
//!
//! Chains are known by these rules alone, whatever their names.

use std::net::IpAddr;
use std::num::NonZeroU32;

use podwire_packet::Mark;
use podwire_ruleset::{
    ChainName, Match, NatRange, Probability, Rule, StatisticMatch, Table, Target,
};

use crate::compile::equality_of;
use crate::fields::{Equality, Fields};
use crate::tuple_space::to_u32;

/// A chain as one choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold {
    /// Place of the first endpoint.
    first: u32,
    /// How many there are.
    count: NonZeroU32,
    /// Place of the ladder's thresholds, one fewer than endpoints.
    thresholds: u32,
    /// One more than the place of the mark; 0 if there is none.
    mark: u32,
}

/// What is folded away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folds<F> {
    endpoints: Vec<Endpoint>,
    thresholds: Vec<u32>,
    marks: Vec<SourceMark<F>>,
}

/// A translation to one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    /// Whether the port is translated too.
    has_port: bool,
    port: u16,
    /// What becomes of the mark of a packet from this same address.
    pub(crate) own: MarkChange,
}

/// Bits of the mark to clear, and then to flip; none of either changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MarkChange {
    pub(crate) value: Mark,
    pub(crate) mask: Mark,
}

/// A mark for some sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceMark<F> {
    source: Equality<F>,
    inverted: bool,
    pub(crate) change: MarkChange,
}

impl<F: Fields> SourceMark<F> {
    pub(crate) fn is_for(&self, fields: F) -> bool {
        self.source.holds(fields) != self.inverted
    }
}

impl Endpoint {
    pub(crate) fn range(&self) -> NatRange {
        NatRange::to(self.address, self.has_port.then_some(self.port))
    }
}

impl<F: Fields> Folds<F> {
    pub(crate) fn mark(&self, fold: &Fold) -> Option<&SourceMark<F>> {
        self.marks.get(fold.mark.checked_sub(1)? as usize)
    }

    pub(crate) fn thresholds(&self, fold: &Fold) -> &[u32] {
        let first = fold.thresholds as usize;
        &self.thresholds[first..first + fold.count.get() as usize - 1]
    }

    pub(crate) fn endpoint(&self, fold: &Fold, rung: usize) -> &Endpoint {
        &self.endpoints[fold.first as usize + rung]
    }
}

/// What is known of a packet for which a rule holds.
#[derive(Clone, Copy, Debug)]
struct Facts<F> {
    equality: Equality<F>,
    /// Whether it has a transport header.
    is_whole: bool,
}

impl<F: Fields> Facts<F> {
    fn of(rule: &Rule) -> Self {
        let mut facts = Self {
            equality: Equality::default(),
            is_whole: false,
        };
        for test in &rule.matches {
            if let Some(known) = equality_of(test) {
                // What is tested twice is known once; that suffices.
                facts.equality = facts.equality.and(known).unwrap_or(facts.equality);
            }
            facts.is_whole |= matches!(
                test,
                Match::Module(_) | Match::SourcePort(..) | Match::DestinationPort(..)
            );
        }
        facts
    }

    fn imply(&self, test: &Match) -> bool {
        match equality_of(test) {
            Some(asked) => {
                let looks_at_ports =
                    matches!(test, Match::SourcePort(..) | Match::DestinationPort(..));
                self.equality.implies(&asked) && (self.is_whole || !looks_at_ports)
            }
            None => self.is_whole && matches!(test, Match::Module(_)),
        }
    }
}

/// What a rule still asks when the facts are known.
#[derive(Clone, Copy, Debug)]
enum Asks<F> {
    Nothing,
    Source(Equality<F>, bool),
    Chance(u32),
}

fn asks<F: Fields>(rule: &Rule, facts: &Facts<F>) -> Option<Asks<F>> {
    let mut left = rule.in_kernel_order().filter(|test| !facts.imply(test));
    let asked = match left.next() {
        None => Asks::Nothing,
        Some(Match::Source(asked)) => {
            let source = Match::Source(podwire_ruleset::Inv::is(asked.value));
            Asks::Source(equality_of(&source)?, asked.inverted)
        }
        Some(Match::Statistic(StatisticMatch::Random(p))) if !p.inverted => {
            Asks::Chance(p.value.threshold())
        }
        Some(_) => return None,
    };
    left.next().is_none().then_some(asked)
}

/// Folds chains of one table.
pub(crate) struct Folder<'a, F> {
    table: &'a Table,
    pub(crate) folds: Folds<F>,
    /// Rules that may still be looked at, so that a table in which everything calls everything does
    /// not take forever.
    budget: usize,
}

impl<'a, F: Fields> Folder<'a, F> {
    pub(crate) fn new(table: &'a Table, rules: usize) -> Self {
        Self {
            table,
            folds: Folds::default(),
            budget: rules.saturating_mul(8),
        }
    }

    /// The chain that a rule jumps to, if it can be folded for the packets of that rule.
    pub(crate) fn fold(&mut self, rule: &Rule, to: &ChainName) -> Option<Fold> {
        let facts = Facts::of(rule);
        let (mut mark, mut endpoints, mut thresholds) = (None, Vec::new(), Vec::new());
        for rule in self.rules(to)? {
            let asked = asks(rule, &facts)?;
            if mark.is_none()
                && endpoints.is_empty()
                && let Some(change) = self.mark_change(rule)
            {
                let (source, inverted) = match asked {
                    Asks::Nothing => (Equality::default(), false),
                    Asks::Source(source, inverted) => (source, inverted),
                    Asks::Chance(_) => return None,
                };
                mark = Some(SourceMark {
                    source,
                    inverted,
                    change,
                });
                continue;
            }
            let (Some(Target::Jump(leaf)) | Some(Target::Goto(leaf))) = &rule.target else {
                return None;
            };
            endpoints.push(self.endpoint(leaf, &facts)?);
            match asked {
                Asks::Chance(threshold) => thresholds.push(threshold),
                Asks::Nothing => return self.add(mark, endpoints, &thresholds),
                Asks::Source(..) => return None,
            }
        }
        // The chain may end without a translation.
        None
    }

    fn rules(&mut self, chain: &ChainName) -> Option<&'a [Rule]> {
        let rules = &self.table.chains.get(chain)?.rules;
        self.budget = self.budget.checked_sub(rules.len())?;
        Some(rules)
    }

    /// What a rule does to the mark, if that is all that it does.
    fn mark_change(&mut self, rule: &Rule) -> Option<MarkChange> {
        if let Some(Target::Mark { value, mask }) = &rule.target {
            return Some(MarkChange {
                value: *value,
                mask: *mask,
            });
        }
        let Some(Target::Jump(name)) = &rule.target else {
            return None;
        };
        let [only] = self.rules(name)? else {
            return None;
        };
        match (&only.target, only.in_kernel_order().next()) {
            (Some(Target::Mark { value, mask }), None) => Some(MarkChange {
                value: *value,
                mask: *mask,
            }),
            (Some(_) | None, _) => None,
        }
    }

    fn endpoint(&mut self, leaf: &ChainName, facts: &Facts<F>) -> Option<Endpoint> {
        let rules = self.rules(leaf)?;
        let (marks, translates) = match rules {
            [translates] => (None, translates),
            [marks, translates, ..] => match &translates.target {
                Some(Target::Dnat(_)) => (Some(marks), translates),
                Some(_) | None => return None,
            },
            [] => return None,
        };
        let (Some(Target::Dnat(range)), Asks::Nothing) =
            (&translates.target, asks(translates, facts)?)
        else {
            return None;
        };
        let address = *range.addresses.as_ref()?.start();
        let port = range.ports.as_ref().map(|ports| *ports.start());
        if *range != NatRange::to(address, port) {
            return None;
        }
        let own = match marks {
            None => MarkChange::default(),
            Some(rule) => {
                let host = podwire_packet::Prefix::host(address);
                match asks(rule, facts)? {
                    Asks::Source(source, false) if Some(source) == Equality::source(&host) => {
                        self.mark_change(rule)?
                    }
                    Asks::Nothing | Asks::Source(..) | Asks::Chance(_) => return None,
                }
            }
        };
        Some(Endpoint {
            address,
            has_port: port.is_some(),
            port: port.unwrap_or(0),
            own,
        })
    }

    fn add(
        &mut self,
        mark: Option<SourceMark<F>>,
        endpoints: Vec<Endpoint>,
        thresholds: &[u32],
    ) -> Option<Fold> {
        let count = NonZeroU32::new(to_u32(endpoints.len()))?;
        let even = (2..=count.get()).rev().map(|left| {
            // Rounded to the nearest; kube-proxy writes ten decimals, which may round otherwise.
            (Probability::ONE + left / 2) / left
        });
        if !even
            .zip(thresholds)
            .all(|(even, &is)| even.abs_diff(is) <= 1)
        {
            return None;
        }
        let folds = &mut self.folds;
        let place = |of: usize| to_u32(of);
        let mark = mark.map_or(0, |mark| {
            let known = folds.marks.iter().take(MANY).position(|own| *own == mark);
            known.map_or_else(
                || {
                    folds.marks.push(mark);
                    place(folds.marks.len())
                },
                |known| place(known + 1),
            )
        });
        let fold = Fold {
            first: place(folds.endpoints.len()),
            count,
            thresholds: folds.place_of(thresholds),
            mark,
        };
        folds.endpoints.extend(endpoints);
        Some(fold)
    }
}

/// Marks and thresholds that are searched before one more is kept.
const MANY: usize = 64;

impl<F> Folds<F> {
    /// Where thresholds stand, which most services of one size share.
    fn place_of(&mut self, thresholds: &[u32]) -> u32 {
        if thresholds.is_empty() {
            return 0;
        }
        let known = self
            .thresholds
            .windows(thresholds.len())
            .take(MANY)
            .position(|own| own == thresholds);
        to_u32(known.unwrap_or_else(|| {
            self.thresholds.extend(thresholds);
            self.thresholds.len() - thresholds.len()
        }))
    }
}

#[cfg(test)]
mod tests;
