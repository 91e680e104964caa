//! `iptables -L`, `iptables -S` and `iptables-save`.
//!
//! # Map
//! - this file: chains and the columns of a rule.
//! - `matches`, `targets`: what each extension prints behind the columns.
//! - `options`: what a command line asks for.
//! - `names`: what is printed for numbers without `-n`.

mod matches;
mod names;
mod options;
mod targets;

use std::fmt::{self, Write as _};

use podwire_packet::Family;
use podwire_ruleset::iptables::{Wording, print, print_with_counters, write_rule};
use podwire_ruleset::{
    AddressMatch, Chain, Counters, InterfaceMatch, Inv, Match, Rule, RuleSet, Table, TableName,
    Target,
};

use self::names::Names;
use self::options::{Asked, Wanted};
use crate::host::{Fault, Host};

const ANSWERED: &str = "iptables [-t TABLE] -L|-S [CHAIN [N]] [-n] [-v] [-x] [--line-numbers], iptables-save [-t TABLE] [-c], -V, and the same of ip6tables";

/// Which of the programs is called.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    family: Family,
    legacy: bool,
    saves: bool,
}

impl fmt::Display for Tool {
    /// What it calls itself: `iptables-nft` is `iptables` too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.family {
            Family::Ipv4 => "iptables",
            Family::Ipv6 => "ip6tables",
        })
    }
}

impl Tool {
    /// The program of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let (family, rest) = match name.strip_prefix("ip6tables") {
            Some(rest) => (Family::Ipv6, rest),
            None => (Family::Ipv4, name.strip_prefix("iptables")?),
        };
        let (legacy, saves) = match rest {
            "" | "-nft" => (false, false),
            "-save" | "-nft-save" => (false, true),
            "-legacy" => (true, false),
            "-legacy-save" => (true, true),
            _ => return None,
        };
        Some(Self {
            family,
            legacy,
            saves,
        })
    }

    fn is_ipv6(self) -> bool {
        self.family == Family::Ipv6
    }

    fn version(self) -> String {
        let kind = if self.legacy { "legacy" } else { "nf_tables" };
        let save = if self.saves { "-save" } else { "" };
        format!("{self}{save} v1.8.9 ({kind})")
    }

    /// What it says of words that it does not take.
    fn refuses(self, why: &str) -> Fault {
        Fault::tool(self.with_hint(&format!("{}: {why}", self.version())), 2)
    }

    fn with_hint(self, text: &str) -> String {
        format!("{text}\nTry `{self} -h' or '{self} --help' for more information.")
    }

    fn table(self, name: &str) -> Result<TableName, Fault> {
        let mut all = TableName::ALL.into_iter();
        all.find(|table| table.name() == name).ok_or_else(|| {
            let text = format!(
                "{}: table '{name}' does not exist\nPerhaps {self} or your kernel needs to be upgraded.",
                self.version()
            );
            Fault::tool(text, 3)
        })
    }

    fn no_chain(self, name: &str, table: TableName) -> Fault {
        let text = if self.legacy {
            format!("{self}: No chain/target/match by that name.")
        } else {
            format!(
                "{}: chain `{name}' in table `{table}' is incompatible, use 'nft' tool.",
                self.version()
            )
        };
        Fault::tool(text, 1)
    }

    /// The rules that it sees: nothing here is written by the legacy ones.
    fn rules(self, host: &Host) -> Option<RuleSet> {
        let mut rules = host.rules.iter().filter(|_| !self.legacy);
        rules.find(|rules| rules.family == self.family).cloned()
    }

    /// What it prints.
    pub(crate) fn run(self, host: &Host, command: &[&str]) -> Result<String, Fault> {
        let words = &command[1..];
        let asked = if self.saves {
            options::saving(self, words)?
        } else {
            options::listing(self, words)?
        };
        match asked {
            Some(Asked::Listing(wanted)) => list(host, self, wanted),
            Some(Asked::Saved { table, counters }) => Ok(save(host, self, table, counters)),
            Some(Asked::Version) => Ok(format!("{}\n", self.version())),
            None => Err(Fault::not_modelled(command, ANSWERED)),
        }
    }
}

/// `-L` and `-S`.
fn list(host: &Host, tool: Tool, wanted: Wanted<'_>) -> Result<String, Fault> {
    let rules = tool.rules(host);
    let table = with_built_in_chains(rules.as_ref(), wanted.table);
    let chains = match wanted.chain {
        None => in_order(&table),
        Some(name) => {
            let chain = table.chains.get(name);
            vec![&**chain.ok_or_else(|| tool.no_chain(name, wanted.table))?]
        }
    };
    let mut out = String::new();
    if wanted.commands {
        commands(&mut out, &chains, &wanted, tool.family);
        return Ok(out);
    }
    let listing = Listing {
        table: &table,
        names: Names::new(host, wanted.numeric),
        wanted,
        family: tool.family,
    };
    for (place, chain) in chains.into_iter().enumerate() {
        if place > 0 {
            out.push('\n');
        }
        listing.chain(&mut out, chain);
    }
    Ok(out)
}

/// `iptables-save` and `ip6tables-save`.
fn save(host: &Host, tool: Tool, only: Option<TableName>, with_counters: bool) -> String {
    let rules = tool.rules(host);
    let mut rules = rules.unwrap_or_else(|| RuleSet::empty(tool.family));
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
    if with_counters {
        print_with_counters(&rules, Wording::Save)
    } else {
        print(&rules, Wording::Save)
    }
}

/// The tables in the order in which they are saved (`enum nft_table_type`, iptables/nft.h).
const SAVED: [TableName; 5] = [
    TableName::Mangle,
    TableName::Security,
    TableName::Raw,
    TableName::Filter,
    TableName::Nat,
];

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
fn commands(out: &mut String, chains: &[&Chain], wanted: &Wanted<'_>, family: Family) {
    let counted = |counters: Counters| {
        let Counters { packets, bytes } = counters;
        if wanted.verbose {
            format!(" -c {packets} {bytes}")
        } else {
            String::new()
        }
    };
    // A rule by its number is printed without its chain.
    for chain in chains.iter().filter(|_| wanted.rule.is_none()) {
        let _ = match chain.built_in {
            Some(built_in) => {
                let policy = built_in.policy.name();
                writeln!(out, "-P {} {policy}{}", chain.name, counted(chain.counters))
            }
            None => writeln!(out, "-N {}", chain.name),
        };
    }
    for chain in chains {
        for (_, rule) in wanted.rules(chain) {
            let _ = write!(out, "-A {}", chain.name);
            let mut tests = rule.clone();
            let target = tests.target.take();
            write_rule(out, &tests, Wording::Save, family);
            // Counters stand between what a rule tests and its target.
            out.push_str(&counted(rule.counters.unwrap_or_default()));
            tests.matches.clear();
            tests.target = target;
            write_rule(out, &tests, Wording::Save, family);
            out.push('\n');
        }
    }
}

impl Wanted<'_> {
    /// The rules of a chain that are asked for, with their numbers.
    fn rules<'c>(&self, chain: &'c Chain) -> impl Iterator<Item = (usize, &'c Rule)> {
        let only = self.rule;
        let rules = (1..).zip(&chain.rules);
        rules.filter(move |(number, _)| only.is_none_or(|only| only == *number))
    }
}

/// A listing in columns.
struct Listing<'l, 'w> {
    table: &'l Table,
    names: Names<'l>,
    wanted: Wanted<'w>,
    family: Family,
}

impl Listing<'_, '_> {
    fn chain(&self, out: &mut String, chain: &Chain) {
        if self.wanted.rule.is_none() {
            self.header(out, chain);
        }
        for (number, rule) in self.wanted.rules(chain) {
            self.rule(out, number, rule);
        }
    }

    fn header(&self, out: &mut String, chain: &Chain) {
        let _ = match chain.built_in {
            Some(built_in) if self.wanted.verbose => write!(
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
        if self.wanted.numbers {
            out.push_str("num  ");
        }
        if self.wanted.verbose {
            out.push_str(if self.wanted.exact {
                "    pkts      bytes "
            } else {
                " pkts bytes "
            });
        }
        out.push_str("target     prot opt ");
        if self.wanted.verbose {
            out.push_str("in     out     ");
        }
        out.push_str("source               destination         \n");
    }

    /// How many rules lead to a chain.
    fn references(&self, chain: &Chain) -> usize {
        let rules = self.table.chains.values().flat_map(|chain| &chain.rules);
        let leads = |rule: &&Rule| matches!(&rule.target, Some(Target::Jump(to) | Target::Goto(to)) if *to == chain.name);
        rules.filter(leads).count()
    }

    /// A rule, column by column (`nft_ipv4_print_rule` and `print_rule_details`, iptables/xshared.c).
    fn rule(&self, out: &mut String, number: usize, rule: &Rule) {
        if self.wanted.numbers {
            let _ = write!(out, "{number:<4} ");
        }
        if self.wanted.verbose {
            let counters = rule.counters.unwrap_or_default();
            let width = if self.wanted.exact { 8 } else { 5 };
            let _ = write!(
                out,
                "{:>width$} {:>width$} ",
                counters.packets, counters.bytes
            );
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
        if self.wanted.verbose {
            let any = if self.wanted.numeric { "*" } else { "any" };
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
