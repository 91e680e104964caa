//! Tables on their way to the kernel: rules in the order of writing, chains, and their text.

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
        print_rule(&self.chain, &self.rule, None, family, text);
    }
}

/// A chain and its rules.
#[derive(Clone, Debug)]
pub(super) struct OwnChain {
    pub(super) name: ChainName,
    pub(super) rules: Vec<Rule>,
    /// `None`, but in odd clusters.
    pub(super) spelling: Option<Box<Spelling>>,
}

impl OwnChain {
    /// Appends the line of one of its rules to `text`.
    pub(super) fn print(&self, rule: &Rule, family: Family, text: &mut String) {
        let spelling = self.spelling.as_deref();
        print_rule(&self.name, rule, spelling, family, text);
    }
}

/// Appends a rule's line to `text`.
pub(super) fn print_rule(
    chain: &ChainName,
    rule: &Rule,
    spelling: Option<&Spelling>,
    family: Family,
    text: &mut String,
) {
    let line = text.len();
    text.push_str("-A ");
    text.push_str(chain.as_str());
    write_rule(text, rule, Wording::KubeProxy, family);
    text.push('\n');
    if let Some(spelling) = spelling {
        spelling.apply(text, line);
    }
}

/// A table's built-in chains and `others`.
pub(super) fn empty_chains<'c>(
    table: TableName,
    others: impl IntoIterator<Item = &'c ChainName>,
) -> Vec<OwnChain> {
    let built_in = table.hooks().iter().map(|&hook| ChainName::from(hook));
    built_in
        .chain(others.into_iter().cloned())
        .map(|name| OwnChain {
            name,
            rules: Vec::new(),
            spelling: None,
        })
        .collect()
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
        let found = chains.iter_mut().find(|found| found.name == chain);
        found
            .expect("common chains are all made first")
            .rules
            .push(rule);
    }
}

/// Declares a chain; `iptables-restore` makes it empty.
pub(super) fn chain_line(chain: &ChainName, text: &mut String) {
    chain_line_of(chain.as_str(), text);
}

/// The same by the name's text.
pub(super) fn chain_line_of(chain: &str, text: &mut String) {
    text.push(':');
    text.push_str(chain);
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
            .find(|chain| chain.name.as_str() == jump.from.name());
        let from = from.expect("the table has a chain at that hook");
        from.rules.insert(0, jump.rule(origin));
    }
}

/// Sorts the chains behind the built-in ones by name, as `iptables-save` has them.
pub(super) fn sort_own_chains(tables: &mut Tables) {
    for (name, chains) in tables {
        chains[name.hooks().len()..].sort_by_cached_key(|chain| name_key(&chain.name));
    }
}

/// The tables as rules.
pub(super) fn to_rule_set(tables: Tables, family: Family) -> RuleSet {
    let mut set = RuleSet::empty(family);
    for (name, chains) in tables {
        let table = set.table_mut(name);
        table.chains.reserve(chains.len());
        for OwnChain { name, rules, .. } in chains {
            table.chain_mut(&name).rules = rules;
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
            match chain.name.as_str().parse::<Hook>() {
                Ok(hook) => {
                    let policy = Chain::built_in(hook).built_in.map(|chain| chain.policy);
                    text.push(':');
                    text.push_str(hook.name());
                    text.push(' ');
                    text.push_str(policy.map_or("-", podwire_ruleset::Policy::name));
                    text.push_str(" [0:0]\n");
                }
                Err(()) => chain_line(&chain.name, &mut text),
            }
        }
        for chain in chains {
            for rule in &chain.rules {
                chain.print(rule, family, &mut text);
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}
