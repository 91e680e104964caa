//! iptables as plugins call it: `-N`, `-C`, `-A`, `-I`, `-D`, `-F`, `-X`, and what it says when it refuses.
//!
//! Rules are given as the words of a command line, as the plugins have them, and kept as
//! `iptables-save` text.
//!
//! Source: github.com/coreos/go-iptables, iptables 1.8.9.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use podwire_packet::{Family, Protocol};
use podwire_ruleset::iptables::{self, Wording};
use podwire_ruleset::{Chain, ChainName, Rule, RuleSet, TableName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};

use crate::CniError;

/// The rules of both families, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuleTexts {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ipv4: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ipv6: String,
}

impl RuleTexts {
    const fn of(&mut self, family: Family) -> &mut String {
        match family {
            Family::Ipv4 => &mut self.ipv4,
            Family::Ipv6 => &mut self.ipv6,
        }
    }

    /// The rules of a family.
    pub(crate) fn rules(&self, family: Family) -> Result<RuleSet, CniError> {
        let text = match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        };
        let parsed = iptables::parse(text, family)
            .map_err(|error| CniError::other(format!("rules of the host: {error}")))?;
        Ok(parsed.rules)
    }

    /// Lets `change` change the rules of a family, also when it fails half-way.
    pub(crate) fn change<T>(
        &mut self,
        family: Family,
        change: impl FnOnce(&mut Iptables) -> Result<T, CniError>,
    ) -> Result<T, CniError> {
        let mut iptables = Iptables {
            rules: self.rules(family)?,
        };
        let outcome = change(&mut iptables);
        *self.of(family) = iptables::print(&iptables.rules, Wording::Save);
        outcome
    }
}

/// The name of a chain of one container in one network: `CNI-` or `CNI-DN-` and hexadecimal digits, 28
/// bytes in all.
///
/// Source: `FormatChainName`, pkg/utils/utils.go of containernetworking/plugins.
pub(crate) fn chain_name(prefix: &str, network: &str, container: &str) -> String {
    hashed(ChainName::MAX, &format!("CNI-{prefix}"), network, container)
}

/// A name of `length` bytes: a prefix and the hexadecimal SHA-512 of network and container.
pub(crate) fn hashed(length: usize, prefix: &str, network: &str, container: &str) -> String {
    let digest = Sha512::digest(format!("{network}{container}"));
    let mut name = format!("{prefix}{}", HEXLOWER.encode(&digest));
    name.truncate(length);
    name
}

/// The comment of rules of one container in one network.
pub(crate) fn comment(network: &str, container: &str) -> String {
    format!("name: {network:?} id: {container:?}")
}

/// Words of a rule; a literal list reads as the command line does.
pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Targets that are no chain of the user's.
const TARGETS: [&str; 6] = ["ACCEPT", "DROP", "RETURN", "MASQUERADE", "DNAT", "MARK"];

/// The rules of one family at work.
#[derive(Debug)]
pub(crate) struct Iptables {
    rules: RuleSet,
}

impl Iptables {
    /// The program's name.
    const fn program(&self) -> &'static str {
        match self.rules.family {
            Family::Ipv4 => "iptables",
            Family::Ipv6 => "ip6tables",
        }
    }

    fn chain(&self, table: TableName, chain: &str) -> Option<&Chain> {
        let table = self.rules.tables.get(&table)?;
        table.chain(table.chain_id(chain)?)
    }

    /// Whether a chain is there.
    pub(crate) fn has_chain(&self, table: TableName, chain: &str) -> bool {
        is_built_in(table, chain) || self.chain(table, chain).is_some()
    }

    /// Makes a chain if there is none.
    pub(crate) fn ensure_chain(&mut self, table: TableName, chain: &str) {
        self.rules.table_mut(table).chain_mut(&chain.into());
    }

    /// Whether a rule is there: `-C`.
    pub(crate) fn exists(
        &self,
        table: TableName,
        chain: &str,
        rule: &[String],
    ) -> Result<bool, CniError> {
        let wanted = self.read(table, chain, rule)?;
        let chain = self.chain(table, chain);
        let found = chain.and_then(|chain| place_of(chain, wanted.as_ref()?));
        Ok(found.is_some())
    }

    /// Adds a rule behind the others, or in front of them, unless it is there.
    pub(crate) fn add_unique(
        &mut self,
        table: TableName,
        chain: &str,
        in_front: bool,
        rule: &[String],
    ) -> Result<(), CniError> {
        if self.exists(table, chain, rule)? {
            return Ok(());
        }
        let Some(read) = self.read(table, chain, rule)? else {
            return Ok(());
        };
        let chain = self.rules.table_mut(table).chain_mut(&chain.into());
        let place = if in_front { 0 } else { chain.rules.len() };
        chain.rules.insert(place, read);
        Ok(())
    }

    /// Removes a rule; that it is not there is no fault.
    pub(crate) fn delete(
        &mut self,
        table: TableName,
        chain: &str,
        rule: &[String],
    ) -> Result<(), CniError> {
        if !self.has_chain(table, chain) {
            return Ok(());
        }
        if let Ok(Some(read)) = self.read(table, chain, rule) {
            let chain = self.rules.table_mut(table).chain_mut(&chain.into());
            if let Some(place) = place_of(chain, &read) {
                chain.rules.remove(place);
            }
        }
        Ok(())
    }

    /// Removes the rules of one chain that jump to another, then that chain: that any of it is not
    /// there is no fault.
    pub(crate) fn remove_chain(&mut self, table: TableName, entries: &[&str], chain: &str) {
        if !self.has_chain(table, chain) {
            return;
        }
        let jumps = format!("-j {chain}");
        let family = self.rules.family;
        let rules = self.rules.table_mut(table);
        for entry in entries {
            if rules.chains.contains_key(*entry) {
                let entry = rules.chain_mut(&(*entry).into());
                entry.rules.retain(|rule| {
                    !iptables::rule_text(rule, Wording::Save, family).ends_with(&jumps)
                });
            }
        }
        rules.chains.shift_remove(chain);
    }

    /// The rule that the words mean; `None` for one of the other family's addresses.
    fn read(
        &self,
        table: TableName,
        chain: &str,
        rule: &[String],
    ) -> Result<Option<Rule>, CniError> {
        self.check_words(table, chain, rule)?;
        let mut text = format!("*{table}\n:RULE - [0:0]\n");
        let target = target_of(rule).filter(|target| !TARGETS.contains(target));
        if let Some(target) = target {
            let _ = writeln!(text, ":{target} - [0:0]");
        }
        text.push_str("-A RULE");
        for word in rule {
            let quoted = word.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = write!(text, " \"{quoted}\"");
        }
        text.push_str("\nCOMMIT\n");
        let parsed = iptables::parse(&text, self.rules.family).map_err(|error| {
            let error = error.to_string();
            self.refuse(table, chain, rule, 2, &error)
        })?;
        let table = parsed.rules.tables.get(&table);
        let rules = table.and_then(|table| table.chain(table.chain_id("RULE")?));
        Ok(rules.and_then(|chain| chain.rules.first().cloned()))
    }

    /// What iptables finds wrong before it asks the kernel: protocols and ports that are none, and
    /// chains that are not there.
    fn check_words(&self, table: TableName, chain: &str, rule: &[String]) -> Result<(), CniError> {
        let after = |option: &str| {
            let place = rule.iter().position(|word| word == option)?;
            rule.get(place + 1)
        };
        let is_port = |text: &str| text.parse::<u16>().is_ok();
        if let Some(protocol) = after("-p")
            && protocol.parse::<Protocol>().is_err()
        {
            let why = format!("unknown protocol \"{protocol}\" specified");
            return Err(self.refuse(table, chain, rule, 2, &why));
        }
        for option in ["--dport", "--destination-ports"] {
            let ports = after(option).map(|list| list.split(','));
            if let Some(wrong) = ports.into_iter().flatten().find(|port| !is_port(port)) {
                let why = format!("invalid port/service `{wrong}' specified");
                return Err(self.refuse(table, chain, rule, 2, &why));
            }
        }
        if let Some((_, port)) = after("--to-destination").and_then(|to| to.rsplit_once(':'))
            && !is_port(port)
        {
            let why = format!("Port `{port}' not valid");
            return Err(self.refuse(table, chain, rule, 2, &why));
        }
        if let Some(target) = target_of(rule)
            && !TARGETS.contains(&target)
            && !self.has_chain(table, target)
        {
            let why = format!("Chain '{target}' does not exist");
            return Err(self.refuse(table, chain, rule, 2, &why));
        }
        Ok(())
    }

    /// An error of go-iptables: the command line and what the program said.
    fn refuse(
        &self,
        table: TableName,
        chain: &str,
        rule: &[String],
        status: u8,
        why: &str,
    ) -> CniError {
        let program = self.program();
        CniError::other(format!(
            "running [/usr/sbin/{program} -t {table} -C {chain} {} --wait]: exit status {status}: \
             {program} v1.8.9 (nf_tables): {why}\n\
             Try `{program} -h' or '{program} --help' for more information.\n",
            rule.join(" ")
        ))
    }
}

/// The chain or verdict that a rule's words name.
fn target_of(rule: &[String]) -> Option<&str> {
    let place = rule.iter().position(|word| word == "-j")?;
    rule.get(place + 1).map(String::as_str)
}

fn is_built_in(table: TableName, chain: &str) -> bool {
    table.hooks().iter().any(|hook| hook.name() == chain)
}

/// Where a rule stands that says the same, comment and all.
fn place_of(chain: &Chain, wanted: &Rule) -> Option<usize> {
    let canonical = wanted.canonical();
    let same = |own: &Rule| own.canonical() == canonical && own.comment() == wanted.comment();
    chain.rules.iter().position(same)
}

/// A chain, the rules in it, and the rules elsewhere that jump to it.
///
/// Source: plugins/meta/portmap/chain.go of containernetworking/plugins.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChainPlan {
    /// Its name.
    pub(crate) name: String,
    /// Its rules.
    pub(crate) rules: Vec<Vec<String>>,
    /// The chains that jump to it.
    pub(crate) entry_chains: &'static [&'static str],
    /// What packets must be that do, without the jump.
    pub(crate) entry_rules: Vec<Vec<String>>,
    /// Whether the jump stands in front of other rules.
    pub(crate) in_front: bool,
}

impl ChainPlan {
    fn entry(&self, rule: &[String]) -> Vec<String> {
        let mut rule = rule.to_vec();
        rule.extend(words(&["-j", &self.name]));
        rule
    }

    /// Makes what is not there yet.
    pub(crate) fn set_up(&self, table: TableName, ipt: &mut Iptables) -> Result<(), CniError> {
        ipt.ensure_chain(table, &self.name);
        for rule in &self.rules {
            ipt.add_unique(table, &self.name, false, rule)?;
        }
        for entry_chain in self.entry_chains {
            for rule in &self.entry_rules {
                ipt.add_unique(table, entry_chain, self.in_front, &self.entry(rule))?;
            }
        }
        Ok(())
    }

    /// Whether all of it is there; the text says what is not.
    pub(crate) fn check(&self, table: TableName, ipt: &Iptables) -> Result<(), String> {
        let name = &self.name;
        if !ipt.has_chain(table, name) {
            return Err(format!("chain {name} not found in iptables table {table}"));
        }
        let listed = |rules: &[Vec<String>]| {
            let rules: Vec<String> = rules.iter().map(|r| format!("[{}]", r.join(" "))).collect();
            format!("[{}]", rules.join(" "))
        };
        let lacks = |chain: &str, rules: &[Vec<String>]| {
            let rules = listed(rules);
            format!("rule {rules} in chain {chain} not found in table {table}")
        };
        let is_there =
            |chain: &str, rule: &[String]| ipt.exists(table, chain, rule).unwrap_or_default();
        if !self.rules.iter().all(|rule| is_there(name, rule)) {
            return Err(lacks(name, &self.rules));
        }
        for chain in self.entry_chains {
            let mut entries = self.entry_rules.iter();
            if !entries.all(|rule| is_there(chain, &self.entry(rule))) {
                return Err(lacks(chain, &self.entry_rules));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_however_it_was_worded() {
        let mut texts = RuleTexts::default();
        let rule = words(&[
            "-m",
            "comment",
            "--comment",
            "a \"b\"",
            "-s",
            "10.0.0.1",
            "-j",
            "ACCEPT",
        ]);
        let again = words(&[
            "-s",
            "10.0.0.1/32",
            "-j",
            "ACCEPT",
            "-m",
            "comment",
            "--comment",
            "a \"b\"",
        ]);
        for words in [&rule, &again] {
            let add =
                |ipt: &mut Iptables| ipt.add_unique(TableName::Nat, "POSTROUTING", false, words);
            texts.change(Family::Ipv4, add).unwrap();
        }
        let rules = texts.rules(Family::Ipv4).unwrap();
        assert_eq!(rules.rule_count(), 1);
        let other = words(&[
            "-s",
            "10.0.0.1",
            "-j",
            "ACCEPT",
            "-m",
            "comment",
            "--comment",
            "c",
        ]);
        texts
            .change(Family::Ipv4, |ipt| {
                assert!(!ipt.exists(TableName::Nat, "POSTROUTING", &other)?);
                ipt.delete(TableName::Nat, "POSTROUTING", &again)
            })
            .unwrap();
        assert_eq!(texts.rules(Family::Ipv4).unwrap().rule_count(), 0);
    }

    #[test]
    fn names_of_chains_are_those_of_the_real_plugins() {
        assert_eq!(
            chain_name("", "mynet", "c1"),
            "CNI-f0bca4ac77cde1bf2f3da5df"
        );
        assert_eq!(
            chain_name("DN-", "pmnet", "c1"),
            "CNI-DN-0e9965f3b290e853e3753"
        );
    }
}
