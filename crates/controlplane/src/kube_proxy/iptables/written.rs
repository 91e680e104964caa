//! Rules with the spelling in which kube-proxy writes them, and chains of them.

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, write_rule};
use podwire_ruleset::{ChainName, Rule};

/// An address that kube-proxy writes otherwise than the printer would.
///
/// A rule holds addresses, not texts. Where kube-proxy passes a text on, the two may differ: an
/// endpoint's IPv6 address as its slice spells it, or a pod range that is one address, with its `/32`,
/// beside a ClusterIP without.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spelling {
    printed: Box<str>,
    written: Box<str>,
}

/// A rule as kube-proxy writes it.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) rule: Rule,
    /// `None`, but for a few rules of odd clusters.
    spelling: Option<Box<Spelling>>,
}

impl From<Rule> for Written {
    fn from(rule: Rule) -> Self {
        Self {
            rule,
            spelling: None,
        }
    }
}

impl Written {
    /// Writes the rule's addresses as ranges, with a length even if they hold one address only.
    pub(super) fn with_lengths(mut self) -> Self {
        self.rule.host_lengths = true;
        self
    }

    /// Writes `written` where the printer says `printed`.
    pub(super) fn spelled(mut self, printed: String, written: String) -> Self {
        self.spelling = (printed != written).then(|| {
            Box::new(Spelling {
                printed: printed.into(),
                written: written.into(),
            })
        });
        self
    }

    /// Appends the rule's line to `text`, with its newline.
    pub(super) fn print(&self, family: Family, chain: &ChainName, text: &mut String) {
        let Some(spelling) = &self.spelling else {
            print_rule(family, chain, &self.rule, text);
            return;
        };
        let mut line = String::new();
        print_rule(family, chain, &self.rule, &mut line);
        // A comment before it may hold the same text.
        if let Some(at) = line.rfind(&*spelling.printed) {
            line.replace_range(at..at + spelling.printed.len(), &spelling.written);
        }
        text.push_str(&line);
    }
}

/// A rule and the chain it is appended to.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) chain: ChainName,
    pub(super) written: Written,
}

impl Placed {
    pub(super) fn print(&self, family: Family, text: &mut String) {
        self.written.print(family, &self.chain, text);
    }
}

/// A chain of a service port and its rules.
#[derive(Clone, Debug)]
pub(super) struct OwnChain {
    pub(super) name: ChainName,
    pub(super) rules: Vec<Written>,
}

fn print_rule(family: Family, chain: &ChainName, rule: &Rule, text: &mut String) {
    text.push_str("-A ");
    text.push_str(chain.as_str());
    write_rule(text, rule, Wording::KubeProxy, family);
    text.push('\n');
}
