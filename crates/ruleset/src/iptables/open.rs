//! The table that is being read: its chains come, are emptied and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use miette::SourceSpan;

use super::ParseError;
use super::command::{check_chain_name, declaration, no_more, policy_of};
use super::lex::Word;
use crate::{Chain, ChainName, Counters, Rule, RuleSet, Table, TableName};

/// The table that is being read.
pub(super) struct Open {
    pub(super) name: TableName,
    /// Its `*name` line; `None` if the caller named it.
    pub(super) begun: Option<SourceSpan>,
    /// Chains that `-X` deleted; they leave the table at its end.
    deleted: BTreeSet<ChainName>,
    /// Rules that `-I` put at the beginning of chains, the first one last, so that many of them
    /// do not move a long chain each time.
    pub(super) inserted: BTreeMap<ChainName, Vec<Rule>>,
    /// Chains that may have rules, so that `-F` need not look at all.
    pub(super) filled: Vec<ChainName>,
}

impl Open {
    pub(super) fn new(name: TableName, begun: Option<SourceSpan>, table: &Table) -> Self {
        let filled = table.chains.values().filter(|c| !c.rules.is_empty());
        Self {
            name,
            begun,
            filled: filled.map(|chain| chain.name.clone()).collect(),
            deleted: BTreeSet::new(),
            inserted: BTreeMap::new(),
        }
    }

    /// Puts what `-I` and `-X` left for the end into the table.
    pub(super) fn close(self, table: &mut Table) {
        for (name, inserted) in self.inserted {
            if let Some(chain) = table.chains.get_mut(&name) {
                put_in_front(Arc::make_mut(chain), inserted);
            }
        }
        if !self.deleted.is_empty() {
            table.chains.retain(|name, _| !self.deleted.contains(name));
        }
    }

    /// Checks that the table may end without COMMIT.
    pub(super) const fn complete(&self) -> Result<(), ParseError> {
        match self.begun {
            None => Ok(()),
            Some(at) => Err(ParseError::MissingCommit {
                table: self.name,
                at,
            }),
        }
    }

    pub(super) fn has(&self, table: &Table, name: &str) -> bool {
        table.chains.contains_key(name) && !self.deleted.contains(name)
    }

    /// Where a chain stands in the table.
    pub(super) fn place(&self, table: &Table, name: &Word<'_>) -> Result<usize, ParseError> {
        table
            .chains
            .get_index_of(&*name.text)
            .filter(|_| !self.deleted.contains(&*name.text))
            .ok_or_else(|| ParseError::UnknownChain {
                table: self.name,
                chain: name.text.as_ref().into(),
                at: name.span(),
            })
    }

    pub(super) fn chain<'a>(
        &self,
        table: &'a mut Table,
        name: &Word<'_>,
    ) -> Result<&'a mut Chain, ParseError> {
        let place = self.place(table, name)?;
        Ok(table.chain_at_mut(place))
    }

    /// Makes a chain, or empties it.
    pub(super) fn renew<'a>(&mut self, table: &'a mut Table, name: &ChainName) -> &'a mut Chain {
        self.deleted.remove(name);
        self.inserted.remove(name);
        let chain = table.chain_mut(name);
        chain.rules.clear();
        chain.counters = Counters::default();
        chain
    }

    pub(super) fn delete(
        &mut self,
        table: &mut Table,
        words: &[Word<'_>],
    ) -> Result<(), ParseError> {
        let Some((word, rest)) = words.split_first() else {
            table.chains.retain(|_, chain| chain.built_in.is_some());
            self.deleted.clear();
            return Ok(());
        };
        no_more(rest)?;
        let found = table
            .chains
            .get(&*word.text)
            .filter(|chain| !self.deleted.contains(&chain.name));
        match found {
            Some(chain) if chain.built_in.is_none() => {
                self.deleted.insert(chain.name.clone());
                Ok(())
            }
            Some(_) => Err(ParseError::BuiltInChain {
                table: self.name,
                chain: word.text.as_ref().into(),
                at: word.span(),
            }),
            None => Err(ParseError::UnknownChain {
                table: self.name,
                chain: word.text.as_ref().into(),
                at: word.span(),
            }),
        }
    }

    pub(super) fn flush(
        &mut self,
        table: &mut Table,
        words: &[Word<'_>],
    ) -> Result<(), ParseError> {
        let Some((word, rest)) = words.split_first() else {
            self.inserted.clear();
            for name in self.filled.drain(..) {
                if let Some(chain) = table.chains.get_mut(&name) {
                    Arc::make_mut(chain).rules.clear();
                }
            }
            return Ok(());
        };
        no_more(rest)?;
        self.chain(table, word)?.rules.clear();
        self.inserted.remove(&*word.text);
        Ok(())
    }
}

/// `:CHAIN POLICY [PACKETS:BYTES]`.
pub(super) fn declare(
    open: &mut Open,
    rules: &mut RuleSet,
    name: &str,
    word: &Word<'_>,
    rest: &[Word<'_>],
) -> Result<(), ParseError> {
    check_chain_name(name, word.span())?;
    let (policy, counters) = declaration(word, rest)?;
    let chain = open.renew(rules.table_mut(open.name), &name.into());
    chain.counters = counters;
    set_policy(chain, policy)
}

pub(super) fn set_policy(chain: &mut Chain, word: &Word<'_>) -> Result<(), ParseError> {
    let policy = policy_of(chain.name.as_str(), chain.built_in.is_some(), word)?;
    if let (Some(built_in), Some(policy)) = (&mut chain.built_in, policy) {
        built_in.policy = policy;
    }
    Ok(())
}

pub(super) fn put_in_front(chain: &mut Chain, mut inserted: Vec<Rule>) {
    inserted.reverse();
    inserted.append(&mut chain.rules);
    chain.rules = inserted;
}
