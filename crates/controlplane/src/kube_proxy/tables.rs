//! Tables on their way to the kernel: rules in the order of writing, chains, and their text.

use std::sync::Arc;

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, write_rule};
use podwire_ruleset::{
    Chain, ChainName, CtStates, Hook, Inv, Origin, Rule, RuleSet, TableName, Target,
};

use super::spelling::Spelling;
use super::words::{comment, ctstate, rule};

/// Tables by name, each with its chains.
pub(super) type Tables = [(TableName, Vec<OwnChain>); 3];

/// A rule and the common chain it is appended to.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) chain: ChainName,
    pub(super) rule: Rule,
}

impl Placed {
    /// Appends the rule's line to `text`.
    pub(super) fn print(&self, family: Family, text: &mut String) {
        print_rule(family, &self.chain, &self.rule, text);
    }
}

/// A chain, which the rule sets of several nodes may have.
#[derive(Clone, Debug)]
pub(super) struct OwnChain {
    pub(super) chain: Arc<Chain>,
    /// `None`, but in odd clusters.
    pub(super) spelling: Option<Box<Spelling>>,
}

impl OwnChain {
    fn of(chain: Chain) -> Self {
        Self {
            chain: Arc::new(chain),
            spelling: None,
        }
    }

    pub(super) fn user(name: ChainName, rules: Vec<Rule>) -> Self {
        Self::of(Chain {
            rules,
            ..Chain::user(name)
        })
    }

    pub(super) fn name(&self) -> &ChainName {
        &self.chain.name
    }

    /// Appends the line of one of its rules to `text`.
    pub(super) fn print(&self, rule: &Rule, family: Family, text: &mut String) {
        let line = text.len();
        print_rule(family, self.name(), rule, text);
        if let Some(spelling) = &self.spelling {
            spelling.apply(text, line);
        }
    }
}

fn print_rule(family: Family, chain: &ChainName, rule: &Rule, text: &mut String) {
    text.push_str("-A ");
    text.push_str(chain.as_str());
    write_rule(text, rule, Wording::KubeProxy, family);
    text.push('\n');
}

/// A table's built-in chains and `others`.
pub(super) fn empty_chains<'c>(
    table: TableName,
    others: impl IntoIterator<Item = &'c ChainName>,
) -> Vec<OwnChain> {
    let built_in = table.hooks().iter().map(|&hook| Chain::built_in(hook));
    let others = others.into_iter().cloned().map(Chain::user);
    built_in.chain(others).map(OwnChain::of).collect()
}

/// A name that compares as its text does, in place.
fn name_key(name: &ChainName) -> [u8; ChainName::MAX] {
    let mut key = [0; ChainName::MAX];
    let bytes = name.as_str().as_bytes();
    key[..bytes.len()].copy_from_slice(bytes);
    key
}

/// Appends each rule to its chain, which must be there.
pub(super) fn place(rules: impl IntoIterator<Item = Placed>, chains: &mut [OwnChain]) {
    for Placed { chain, rule } in rules {
        let found = chains.iter_mut().find(|found| *found.name() == chain);
        let found = found.expect("common chains are all made first");
        Arc::make_mut(&mut found.chain).rules.push(rule);
    }
}

/// Declares a chain; `iptables-restore` makes it empty.
pub(super) fn chain_line(chain: &ChainName, text: &mut String) {
    text.push(':');
    text.push_str(chain.as_str());
    text.push_str(" - [0:0]\n");
}

/// A jump from a built-in chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jump<'a> {
    pub(super) table: TableName,
    pub(super) from: Hook,
    pub(super) to: &'a ChainName,
    /// Empty if there is none.
    pub(super) comment: &'static str,
    /// Whether it is for connections in state NEW.
    pub(super) only_new: bool,
}

impl Jump<'_> {
    /// The state stands before the comment here.
    fn rule(&self, origin: Origin) -> Rule {
        let mut matches = Vec::with_capacity(2);
        if self.only_new {
            matches.push(ctstate(Inv::is(CtStates::NEW)));
        }
        if !self.comment.is_empty() {
            matches.push(comment(self.comment));
        }
        rule(matches, Target::Jump(self.to.clone()), origin)
    }
}

/// Makes sure of jumps that are missing: each is inserted at the top, so built-in chains list them the
/// other way round.
pub(super) fn insert_jumps(jumps: &[Jump<'_>], origin: Origin, tables: &mut Tables) {
    for jump in jumps {
        let from = tables
            .iter_mut()
            .filter(|(name, _)| *name == jump.table)
            .flat_map(|(_, chains)| chains)
            .find(|chain| chain.name().as_str() == jump.from.name());
        let from = from.expect("the table has a chain at that hook");
        let rule = jump.rule(origin);
        Arc::make_mut(&mut from.chain).rules.insert(0, rule);
    }
}

/// Sorts the chains behind the built-in ones by name, as `iptables-save` has them.
pub(super) fn sort_own_chains(tables: &mut Tables) {
    for (name, chains) in tables {
        chains[name.hooks().len()..].sort_by_cached_key(|chain| name_key(chain.name()));
    }
}

/// The tables as rules.
pub(super) fn to_rule_set(tables: Tables, family: Family) -> RuleSet {
    let mut set = RuleSet::empty(family);
    for (name, chains) in tables {
        let table = set.table_mut(name);
        table.chains.reserve(chains.len());
        for OwnChain { chain, .. } in chains {
            table.chains.insert(chain.name.clone(), chain);
        }
    }
    set
}

/// The tables as text: in the order of `iptables-save`, in kube-proxy's words.
pub(super) fn print_tables(tables: &Tables, family: Family, estimated_bytes: usize) -> String {
    let mut text = String::with_capacity(estimated_bytes);
    for (name, chains) in tables {
        text.push('*');
        text.push_str(name.name());
        text.push('\n');
        for chain in chains {
            match &chain.chain.built_in {
                Some(built_in) => {
                    text.push(':');
                    text.push_str(built_in.hook.name());
                    text.push(' ');
                    text.push_str(built_in.policy.name());
                    text.push_str(" [0:0]\n");
                }
                None => chain_line(chain.name(), &mut text),
            }
        }
        for chain in chains {
            for rule in &chain.chain.rules {
                chain.print(rule, family, &mut text);
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}
