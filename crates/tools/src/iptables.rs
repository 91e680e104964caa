//! `iptables -L`, `iptables -S` and `iptables-save`.
//!
//! # Map
//! - this file: chains and the columns of a rule.
//! - `matches`, `targets`: what each extension prints behind the columns.
//! - `names`: what is printed for numbers without `-n`.

mod matches;
mod names;
mod targets;

use std::fmt::Write as _;

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, print, print_with_counters, rule_text};
use podwire_ruleset::{
    AddressMatch, Chain, InterfaceMatch, Inv, Match, Rule, RuleSet, Table, TableName, Target,
};

use self::names::Names;
use crate::host::{Fault, Host};

const ANSWERED: &str = "iptables [-t TABLE] -L|-S [CHAIN] [-n] [-v] [-x] [--line-numbers], iptables-save [-t TABLE] [-c], and the same of ip6tables";

/// What a command asks for.
struct Asked<'w> {
    table: TableName,
    chain: Option<&'w str>,
    commands: bool,
    numeric: bool,
    verbose: bool,
    numbers: bool,
}

/// `iptables` and `ip6tables`.
pub(crate) fn run(host: &Host, tool: &str, words: &[&str]) -> Result<String, Fault> {
    let family = family_of(tool);
    let not_modelled = || {
        let command: Vec<&str> = std::iter::once(tool).chain(words.iter().copied()).collect();
        Fault::not_modelled(&command, ANSWERED)
    };
    let asked = read(tool, words)?.ok_or_else(not_modelled)?;
    let rules = rules(host, family);
    let table = with_built_in_chains(rules.as_ref(), asked.table);
    let chains = match asked.chain {
        None => in_order(&table),
        Some(name) => {
            let missing = || {
                let text = format!(
                    "{tool} v1.8.9 (nf_tables): Incompatible with this kernel or chain `{name}' does not exist"
                );
                Fault::tool(text, 1)
            };
            let chain = table.chains.get(name).ok_or_else(missing)?;
            vec![&**chain]
        }
    };
    let mut out = String::new();
    if asked.commands {
        commands(&mut out, &chains, family);
    } else {
        let listing = Listing {
            table: &table,
            names: Names::new(host, asked.numeric),
            asked,
            family,
        };
        for (place, chain) in chains.into_iter().enumerate() {
            if place > 0 {
                out.push('\n');
            }
            listing.chain(&mut out, chain);
        }
    }
    Ok(out)
}

/// `iptables-save` and `ip6tables-save`.
pub(crate) fn save(host: &Host, tool: &str, words: &[&str]) -> Result<String, Fault> {
    let not_modelled = || {
        let command: Vec<&str> = std::iter::once(tool).chain(words.iter().copied()).collect();
        Fault::not_modelled(&command, ANSWERED)
    };
    let (mut only, mut with_counters) = (None, false);
    let mut words_left = words.iter();
    while let Some(&word) = words_left.next() {
        match word {
            "-c" | "--counters" => with_counters = true,
            "-t" | "--table" => {
                let name = words_left.next().ok_or_else(not_modelled)?;
                only = Some(table_of(tool, name)?);
            }
            _ => return Err(not_modelled()),
        }
    }
    let mut rules = rules(host, family_of(tool)).unwrap_or_else(|| RuleSet::empty(family_of(tool)));
    rules
        .tables
        .retain(|name, _| only.is_none_or(|only| only == *name));
    rules
        .tables
        .sort_by_cached_key(|name, _| SAVED.iter().position(|one| one == name));
    for table in rules.tables.values_mut() {
        let order: Vec<_> = in_order(table)
            .iter()
            .map(|chain| chain.name.clone())
            .collect();
        table
            .chains
            .sort_by_cached_key(|name, _| order.iter().position(|one| one == name));
    }
    Ok(if with_counters {
        print_with_counters(&rules, Wording::Save)
    } else {
        print(&rules, Wording::Save)
    })
}

/// The tables in the order in which they are saved (`enum nft_table_type`, iptables/nft.h).
const SAVED: [TableName; 5] = [
    TableName::Mangle,
    TableName::Security,
    TableName::Raw,
    TableName::Filter,
    TableName::Nat,
];

fn family_of(tool: &str) -> Family {
    if tool.starts_with("ip6") {
        Family::Ipv6
    } else {
        Family::Ipv4
    }
}

fn rules(host: &Host, family: Family) -> Option<RuleSet> {
    host.rules
        .iter()
        .find(|rules| rules.family == family)
        .cloned()
}

fn table_of(tool: &str, name: &str) -> Result<TableName, Fault> {
    let mut all = TableName::ALL.into_iter();
    all.find(|table| table.name() == name).ok_or_else(|| {
        let text = format!("{tool} v1.8.9 (nf_tables): table '{name}' does not exist\nPerhaps iptables or your kernel needs to be upgraded.");
        Fault::tool(text, 3)
    })
}

/// Reads options, alone or several behind one dash; `None` for those that are not answered.
fn read<'w>(tool: &str, words: &[&'w str]) -> Result<Option<Asked<'w>>, Fault> {
    let mut asked = Asked {
        table: TableName::Filter,
        chain: None,
        commands: false,
        numeric: false,
        verbose: false,
        numbers: false,
    };
    let mut is_listing = false;
    let mut words = words.iter().copied().peekable();
    while let Some(word) = words.next() {
        let letters: Vec<&str> = match word {
            "--list" => vec!["L"],
            "--list-rules" => vec!["S"],
            "--numeric" => vec!["n"],
            "--verbose" => vec!["v"],
            "--exact" => vec!["x"],
            "--wait" => vec!["w"],
            "--table" => vec!["t"],
            "--line-numbers" => {
                asked.numbers = true;
                continue;
            }
            word => match word.strip_prefix('-') {
                Some(letters) if !letters.starts_with('-') => letters.split("").collect(),
                _ => return Ok(None),
            },
        };
        for letter in letters {
            match letter {
                "L" | "S" => {
                    is_listing = true;
                    asked.commands = letter == "S";
                    asked.chain = words.next_if(|next| !next.starts_with('-'));
                }
                "n" => asked.numeric = true,
                "v" => asked.verbose = true,
                // No counter is large, and there is nobody to wait for.
                "x" | "w" | "" => {}
                "t" => {
                    let Some(name) = words.next() else {
                        return Ok(None);
                    };
                    asked.table = table_of(tool, name)?;
                }
                _ => return Ok(None),
            }
        }
    }
    Ok(is_listing.then_some(asked))
}

/// A table with all its built-in chains, as the tool makes them before it lists them.
fn with_built_in_chains(rules: Option<&RuleSet>, name: TableName) -> Table {
    let mut table = Table::with_built_in_chains(name);
    let there = rules.and_then(|rules| rules.tables.get(&name));
    for (name, chain) in there.into_iter().flat_map(|table| &table.chains) {
        table.chains.insert(name.clone(), chain.clone());
    }
    table
}

/// The built-in chains by their hooks, then the others by their names.
fn in_order(table: &Table) -> Vec<&Chain> {
    let mut chains: Vec<&Chain> = table.chains.values().map(|chain| &**chain).collect();
    chains.sort_by(|one, other| {
        let key = |chain: &Chain| chain.built_in.map(|built_in| built_in.hook);
        match (key(one), key(other)) {
            (Some(one), Some(other)) => one.cmp(&other),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => one.name.as_str().cmp(other.name.as_str()),
        }
    });
    chains
}

/// What would make the chains.
fn commands(out: &mut String, chains: &[&Chain], family: Family) {
    for chain in chains {
        let _ = match chain.built_in {
            Some(built_in) => writeln!(out, "-P {} {}", chain.name, built_in.policy.name()),
            None => writeln!(out, "-N {}", chain.name),
        };
    }
    for chain in chains {
        for rule in &chain.rules {
            let text = rule_text(rule, Wording::Save, family);
            let blank = if text.is_empty() { "" } else { " " };
            let _ = writeln!(out, "-A {}{blank}{text}", chain.name);
        }
    }
}

/// A listing in columns.
struct Listing<'l, 'w> {
    table: &'l Table,
    names: Names<'l>,
    asked: Asked<'w>,
    family: Family,
}

impl Listing<'_, '_> {
    fn chain(&self, out: &mut String, chain: &Chain) {
        let _ = match chain.built_in {
            Some(built_in) if self.asked.verbose => write!(
                out,
                "Chain {} (policy {} {} packets, {} bytes)",
                chain.name,
                built_in.policy.name(),
                chain.counters.packets,
                chain.counters.bytes
            ),
            Some(built_in) => write!(
                out,
                "Chain {} (policy {})",
                chain.name,
                built_in.policy.name()
            ),
            None => write!(
                out,
                "Chain {} ({} references)",
                chain.name,
                self.references(chain)
            ),
        };
        out.push('\n');
        if self.asked.numbers {
            out.push_str("num  ");
        }
        if self.asked.verbose {
            out.push_str(" pkts bytes ");
        }
        out.push_str("target     prot opt ");
        if self.asked.verbose {
            out.push_str("in     out     ");
        }
        out.push_str("source               destination         \n");
        for (number, rule) in (1..).zip(&chain.rules) {
            self.rule(out, number, rule);
        }
    }

    /// How many rules lead to a chain.
    fn references(&self, chain: &Chain) -> usize {
        let rules = self.table.chains.values().flat_map(|chain| &chain.rules);
        let leads = |rule: &&Rule| matches!(&rule.target, Some(Target::Jump(to) | Target::Goto(to)) if *to == chain.name);
        rules.filter(leads).count()
    }

    /// A rule, column by column (`nft_ipv4_print_rule` and `print_rule_details`, iptables/xshared.c).
    fn rule(&self, out: &mut String, number: usize, rule: &Rule) {
        if self.asked.numbers {
            let _ = write!(out, "{number:<4} ");
        }
        if self.asked.verbose {
            let counters = rule.counters.unwrap_or_default();
            let _ = write!(out, "{:>5} {:>5} ", counters.packets, counters.bytes);
        }
        let header = Header::of(rule);
        let target = rule.target.as_ref();
        let _ = write!(
            out,
            "{:<9} ",
            target.map_or("", |target| targets::name(target))
        );
        let protocol = header
            .protocol
            .unwrap_or(Inv::is(podwire_packet::Protocol(0)));
        let mark = |inverted: bool| if inverted { '!' } else { ' ' };
        let _ = write!(
            out,
            "{}{:<4} ",
            mark(protocol.inverted),
            self.names.protocol(protocol.value)
        );
        let (first, second) = match header.fragment {
            None => ('-', '-'),
            Some(true) => ('-', 'f'),
            Some(false) => ('!', 'f'),
        };
        match self.family {
            Family::Ipv4 => drop(write!(out, "{first}{second} ")),
            Family::Ipv6 => out.push_str("-- "),
        }
        if self.asked.verbose {
            let any = if self.asked.numeric { "*" } else { "any" };
            let input = device(header.input, any);
            let output = device(header.output, any);
            let _ = write!(out, " {input:<6} {output:<6} ");
        }
        let source = self.address(header.source);
        let destination = self.address(header.destination);
        let _ = write!(
            out,
            "{}{source:<19} {}{destination:<19}",
            mark(header.source.is_some_and(|own| own.inverted)),
            mark(header.destination.is_some_and(|own| own.inverted))
        );
        // A longer address still has a blank behind it.
        out.push(' ');
        if let Some(Target::Goto(_)) = target {
            out.push_str("[goto] ");
        }
        matches::write(out, rule, &self.names, self.family);
        if let Some(target) = target {
            targets::write(out, target, &self.names, self.family);
        }
        out.push('\n');
    }

    fn address(&self, own: Option<&Inv<AddressMatch>>) -> String {
        match own.map(|own| own.value) {
            None => self.names.anywhere(self.family),
            Some(AddressMatch::Prefix(prefix)) if prefix.is_empty() => {
                self.names.anywhere(self.family)
            }
            Some(AddressMatch::Prefix(prefix)) if prefix.is_host() => {
                self.names.address(prefix.address())
            }
            Some(AddressMatch::Prefix(prefix)) => {
                format!("{}/{}", self.names.address(prefix.address()), prefix.len())
            }
            Some(AddressMatch::Sparse { address, mask }) => format!("{address}/{mask}"),
        }
    }
}

/// What a rule tests of the IP header: the columns.
#[derive(Default)]
struct Header<'r> {
    source: Option<&'r Inv<AddressMatch>>,
    destination: Option<&'r Inv<AddressMatch>>,
    input: Option<&'r Inv<InterfaceMatch>>,
    output: Option<&'r Inv<InterfaceMatch>>,
    protocol: Option<Inv<podwire_packet::Protocol>>,
    fragment: Option<bool>,
}

impl<'r> Header<'r> {
    fn of(rule: &'r Rule) -> Self {
        let mut header = Self::default();
        for own in &rule.matches {
            if let Match::Source(own) = own {
                header.source = Some(own);
            } else if let Match::Destination(own) = own {
                header.destination = Some(own);
            } else if let Match::InInterface(own) = own {
                header.input = Some(own);
            } else if let Match::OutInterface(own) = own {
                header.output = Some(own);
            } else if let Match::Protocol(own) = own {
                header.protocol = Some(*own);
            } else if let Match::Fragment(own) = own {
                header.fragment = Some(*own);
            }
        }
        header
    }
}

fn device(own: Option<&Inv<InterfaceMatch>>, any: &str) -> String {
    let Some(own) = own else {
        return any.to_owned();
    };
    let not = if own.inverted { "!" } else { "" };
    match own.value {
        InterfaceMatch::Exact(name) => format!("{not}{name}"),
        InterfaceMatch::Prefix(name) => format!("{not}{name}+"),
        InterfaceMatch::Any => any.to_owned(),
    }
}
