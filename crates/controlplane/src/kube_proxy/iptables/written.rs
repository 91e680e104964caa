//! Rules in the order of writing, and their text.

use std::sync::Arc;

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, write_rule};
use podwire_ruleset::{Chain, ChainName, Rule};

use crate::kube_proxy::spelling::Spelling;

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
pub(in crate::kube_proxy) struct OwnChain {
    pub(super) chain: Arc<Chain>,
    /// `None`, but in odd clusters.
    pub(super) spelling: Option<Box<Spelling>>,
}

impl OwnChain {
    pub(super) fn of(chain: Chain) -> Self {
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
