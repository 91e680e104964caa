//! One table of one node: what it has otherwise than the common program.

use podwire_ruleset::{ChainId, Hook, RuleId, TableName};

use super::runs::Runs;
use super::splice::Splice;
use crate::code::Code;
use crate::fields::Fields;
use crate::fold::Marking;
use crate::program::{Base, Chain, Program, Rule};
use crate::test::{Masked, Test};

/// What a node has otherwise.
///
/// A chain of the node has the number of the common chain, or, where the node has another, a number behind
/// the last common one. What rules are called is worked out when somebody asks.
#[derive(Clone, Debug)]
pub(crate) struct Part<F: Fields> {
    /// Chains of the node's own; their jumps name chains by the numbers above.
    pub(crate) own: Program<F>,
    /// The common chains of which the node has another, and its number, ascending.
    pub(crate) moved: Vec<(ChainId, ChainId)>,
    /// Of each own chain its number in the node's table.
    pub(crate) own_ids: Vec<ChainId>,
    /// Of each common chain that the node has too its number in the node's table.
    pub(crate) ids: Runs,
    /// Own chains that are common ones with some of their rules changed, ascending.
    pub(crate) splices: Vec<(ChainId, Splice)>,
    pub(crate) fronts: [Front; Hook::ALL.len()],
    /// The source that the node has in place of another, everywhere.
    pub(crate) local: Option<Local<F>>,
    /// Markings of common folds with that source.
    pub(crate) markings: Vec<(u32, Marking<F>)>,
}

/// The table of Services that every packet of a hook comes to first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Front {
    #[default]
    None,
    /// One of the common program.
    Common(u32),
    /// One of the node's own.
    Own(u32),
    /// One of the node's own for the keys that it has otherwise, and for others a common one.
    Spliced { own: u32, common: u32 },
}

/// A source that a node has in place of another: with `detectLocalMode: NodeCIDR` its own pod range.
#[derive(Clone, Debug)]
pub(crate) struct Local<F: Fields> {
    /// What stands in the common program.
    pub(crate) common: Masked<F::Address>,
    /// What the node has there, without and with `!`.
    pub(crate) own: [Masked<F::Address>; 2],
    tests: [Test<F>; 2],
}

impl<F: Fields> Local<F> {
    /// Of two sources, neither with `!`.
    pub(crate) const fn new(common: Masked<F::Address>, own: Masked<F::Address>) -> Self {
        let inverted = Masked {
            inverted: true,
            ..own
        };
        Self {
            common,
            own: [own, inverted],
            tests: [Test::Source(own), Test::Source(inverted)],
        }
    }

    /// Whether a test is of the common source.
    pub(crate) fn is_of(&self, test: &Test<F>) -> bool {
        matches!(test, Test::Source(source) if self.has(source))
    }

    fn has(&self, source: &Masked<F::Address>) -> bool {
        (source.value, source.mask) == (self.common.value, self.common.mask)
    }

    fn test<'m>(&'m self, test: &'m Test<F>) -> &'m Test<F> {
        if let Test::Source(source) = test
            && self.has(source)
        {
            &self.tests[usize::from(source.inverted)]
        } else {
            test
        }
    }
}

/// The common program as a node has it.
#[derive(Debug)]
pub(crate) struct Patched<'m, F: Fields> {
    pub(crate) common: &'m Program<F>,
    pub(crate) part: &'m Part<F>,
}

impl<F: Fields> Clone for Patched<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Fields> Copy for Patched<'_, F> {}

impl<'m, F: Fields> Patched<'m, F> {
    /// How many own chains stand before a chain, if it is one.
    fn own(self, chain: ChainId) -> Option<usize> {
        chain.index().checked_sub(self.common.chains.len())
    }

    pub(crate) fn has_rules(self, hook: Hook) -> bool {
        self.base(hook).is_some_and(|base| {
            base.policy == podwire_ruleset::Policy::Drop || self.rules(base.chain).next().is_some()
        })
    }
}

impl<'m, F: Fields> Code<'m, F> for Patched<'m, F> {
    fn table(self) -> TableName {
        self.common.table
    }

    fn base(self, hook: Hook) -> Option<Base> {
        self.part.own.bases[hook as usize]
    }

    fn enter(self, chain: ChainId) -> ChainId {
        let moved = &self.part.moved;
        moved
            .binary_search_by_key(&chain, |(common, _)| *common)
            .map_or(chain, |place| moved[place].1)
    }

    fn program(self, chain: ChainId) -> &'m Program<F> {
        match self.own(chain) {
            Some(_) => &self.part.own,
            None => self.common,
        }
    }

    fn chain(self, chain: ChainId) -> Chain {
        match self.own(chain) {
            Some(own) => self.part.own.chains[own],
            None => self.common.chains[chain.index()],
        }
    }

    fn splice(self, chain: ChainId) -> Option<&'m Splice> {
        self.own(chain)?;
        let splices = &self.part.splices;
        let place = splices.binary_search_by_key(&chain, |(own, _)| *own);
        Some(&splices[place.ok()?].1)
    }

    fn id(self, chain: ChainId, place: u32) -> RuleId {
        let own = self.own(chain);
        let number = if self.splice(chain).is_some() {
            place
        } else {
            place - self.chain(chain).first
        };
        RuleId {
            table: self.common.table,
            chain: match own {
                Some(own) => self.part.own_ids[own],
                None => ChainId(
                    self.part
                        .ids
                        .place_of(chain.0)
                        .expect("rules lead to chains of the node only"),
                ),
            },
            number: number + 1,
        }
    }

    fn test(self, of: &'m Program<F>, test: &'m Test<F>) -> &'m Test<F> {
        match &self.part.local {
            Some(local) if std::ptr::eq(of, self.common) => local.test(test),
            Some(_) | None => test,
        }
    }

    fn marking(self, of: &'m Program<F>, place: u32) -> &'m Marking<F> {
        if std::ptr::eq(of, self.common) {
            let own = &self.part.markings;
            if let Ok(place) = own.binary_search_by_key(&place, |(common, _)| *common) {
                return &own[place].1;
            }
        }
        of.folds.marking(place)
    }

    fn rules(self, chain: ChainId) -> impl Iterator<Item = (&'m Program<F>, &'m Rule)> {
        let chain = self.enter(chain);
        let splice = self.splice(chain);
        let of = |chain: ChainId| {
            let (program, own) = (self.program(chain), self.chain(chain));
            let rules = &program.rules[own.first as usize..(own.first + own.len) as usize];
            rules.iter().map(move |rule| (program, rule))
        };
        let mut own = of(chain).zip(0..).peekable();
        let kept = splice.map(|splice| {
            let kept = of(splice.of).zip(0..);
            kept.filter_map(|(rule, number)| Some((rule, splice.kept.place_of(number)?)))
        });
        let mut kept = kept.into_iter().flatten().peekable();
        std::iter::from_fn(move || {
            let rank = splice
                .zip(own.peek())
                .map(|(splice, &(_, n))| splice.rank(n));
            let is_kept = kept
                .peek()
                .is_some_and(|&(_, place)| rank.is_none_or(|rank| place < rank));
            if is_kept {
                kept.next().map(|(rule, _)| rule)
            } else {
                own.next().map(|(rule, _)| rule)
            }
        })
    }
}
