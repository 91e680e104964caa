//! The text of a sync, in the making.

use podwire_packet::Family;
use podwire_ruleset::ChainName;

use super::IptablesProxier;
use super::service::PortRules;
use crate::kube_proxy::tables::{Placed, chain_line};

/// The parts of the text, which grow together and stand one behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct SyncText {
    /// Table filter.
    pub(super) filter: String,
    /// Table nat up to its rules.
    pub(super) chains: String,
    /// Rules of nat.
    pub(super) rules: String,
}

impl SyncText {
    /// Adds the rules of a service port in common chains, which every sync writes.
    pub(super) fn add_common(&mut self, port: &PortRules, family: Family) {
        print_all(&port.filter, family, &mut self.filter);
        print_all(&port.dispatch, family, &mut self.rules);
    }

    /// Adds the chains of a service port.
    pub(super) fn add_own(&mut self, port: &PortRules, family: Family) {
        for chain in &port.chains {
            chain_line(&chain.name, &mut self.chains);
        }
        for (chain, rule) in port.own_rules() {
            chain.print(rule, family, &mut self.rules);
        }
    }
}

impl IptablesProxier<'_> {
    /// What stands before the rules of service ports. There is room for so many bytes of theirs in nat.
    pub(super) fn sync_text_head(&self, room: usize) -> SyncText {
        const COMMON: usize = 4096;
        let mut text = SyncText {
            filter: String::from("*filter\n"),
            chains: String::from("*nat\n"),
            rules: String::with_capacity(room + COMMON),
        };
        for chain in self.chains.filter() {
            chain_line(chain, &mut text.filter);
        }
        if let Some(block) = self.filter_head() {
            chain_line(&block.chain, &mut text.filter);
            block.print(self.family(), &mut text.filter);
        }
        for chain in self.chains.nat() {
            chain_line(chain, &mut text.chains);
        }
        print_all(&self.nat_head(), self.family(), &mut text.rules);
        text
    }

    /// Removes chains, and adds what stands behind the rules of service ports.
    pub(super) fn finish_sync_text(&self, text: SyncText, removed: &[ChainName]) -> String {
        let SyncText {
            mut filter,
            mut chains,
            mut rules,
        } = text;
        for name in removed {
            chain_line(name, &mut chains);
            rules.push_str("-X ");
            rules.push_str(name.as_str());
            rules.push('\n');
        }
        print_all(&self.filter_tail(), self.family(), &mut filter);
        print_all(&self.nat_tail(), self.family(), &mut rules);
        filter.push_str("COMMIT\n");
        filter.push_str(&chains);
        rules.push_str("COMMIT\n");
        rules.insert_str(0, &filter);
        rules
    }
}

fn print_all(rules: &[Placed], family: Family, text: &mut String) {
    for placed in rules {
        placed.print(family, text);
    }
}
