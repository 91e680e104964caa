//! Rules in the order of writing, and their text.

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, write_rule};
use podwire_ruleset::{ChainName, Rule};

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
        let line = text.len();
        print_rule(family, &self.name, rule, text);
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
