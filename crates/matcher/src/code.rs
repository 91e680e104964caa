//! What a walk and a fold read: a program, or a program as one node has it.
//!
//! A chain is of one program: its rules, and all that stands in pools, are places there. Programs of
//! several nodes share chains, so which chain a jump leads to and what a rule is called are asked here.

use podwire_ruleset::{ChainId, Hook, RuleId, TableName};

use crate::fields::Fields;
use crate::fold::Marking;
use crate::overlay::Splice;
use crate::program::{Base, Chain, Program, Rule};
use crate::test::Test;

/// Rules to be walked.
pub(crate) trait Code<'m, F: Fields + 'm>: Copy {
    /// The table that they are of.
    fn table(self) -> TableName;

    /// The base chain of a hook.
    fn base(self, hook: Hook) -> Option<Base>;

    /// The chain that a jump to a chain leads to.
    fn enter(self, chain: ChainId) -> ChainId;

    /// The program that a chain is of; of a splice, the one of the rules put in.
    fn program(self, chain: ChainId) -> &'m Program<F>;

    /// Where its rules stand there.
    fn chain(self, chain: ChainId) -> Chain;

    /// Whether it is another chain with some of its rules changed.
    fn splice(self, chain: ChainId) -> Option<&'m Splice>;

    /// What the rule at a place of a chain is called.
    fn id(self, chain: ChainId, place: u32) -> RuleId;

    /// A test of a rule of a program, as it is asked.
    fn test(self, of: &'m Program<F>, test: &'m Test<F>) -> &'m Test<F>;

    /// What a fold of a program makes of marks.
    fn marking(self, of: &'m Program<F>, place: u32) -> &'m Marking<F>;

    /// The rules of a chain in order, each with its program.
    fn rules(self, chain: ChainId) -> impl Iterator<Item = (&'m Program<F>, &'m Rule)>;
}

impl<'m, F: Fields> Code<'m, F> for &'m Program<F> {
    #[inline]
    fn table(self) -> TableName {
        self.table
    }

    #[inline]
    fn base(self, hook: Hook) -> Option<Base> {
        self.bases[hook as usize]
    }

    #[inline]
    fn enter(self, chain: ChainId) -> ChainId {
        chain
    }

    #[inline]
    fn program(self, _: ChainId) -> &'m Program<F> {
        self
    }

    #[inline]
    fn chain(self, chain: ChainId) -> Chain {
        self.chains[chain.index()]
    }

    #[inline]
    fn splice(self, _: ChainId) -> Option<&'m Splice> {
        None
    }

    #[inline]
    fn id(self, chain: ChainId, place: u32) -> RuleId {
        RuleId {
            table: self.table,
            chain,
            number: place - self.chains[chain.index()].first + 1,
        }
    }

    #[inline]
    fn test(self, _: &'m Program<F>, test: &'m Test<F>) -> &'m Test<F> {
        test
    }

    #[inline]
    fn marking(self, of: &'m Program<F>, place: u32) -> &'m Marking<F> {
        of.folds.marking(place)
    }

    fn rules(self, chain: ChainId) -> impl Iterator<Item = (&'m Program<F>, &'m Rule)> {
        self.rules_of(chain).iter().map(move |rule| (self, rule))
    }
}
