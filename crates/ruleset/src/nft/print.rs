//! Text of rule sets, in two wordings.

mod commands;
mod listing;
mod rule;
mod value;

pub use commands::Commands;
pub use listing::Listing;

use super::{Rule, RuleSet};

/// How the same rule set is worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// As nft 1.0.6 lists it: a block for each table, set and chain; values of anonymous sets sorted
    /// and merged; every default written out.
    List,
    /// As kube-proxy writes it for `nft -f -`: an `add` command for each object, in the order of
    /// `Fake.Dump` of sigs.k8s.io/knftables 0.0.16: chains, sets and maps, rules, elements.
    KubeProxy,
}

/// The whole text of a rule set: tables, sets and chains in their order.
///
/// Both wordings are read back as the same rules, by podwire and by nft.
#[must_use]
pub fn print(rules: &RuleSet, wording: Wording) -> String {
    let mut out = String::new();
    for table in rules.tables.values() {
        match wording {
            Wording::List => Listing::new(table.family).write_table(&mut out, table),
            Wording::KubeProxy => {
                Commands::new(table.family, &table.name).write_table(&mut out, table);
            }
        }
    }
    for other in &rules.others {
        out.push_str(other);
        out.push('\n');
    }
    out
}

/// The text of one rule.
#[must_use]
pub fn rule_text(rule: &Rule, wording: Wording) -> String {
    let mut out = String::new();
    rule::write(&mut out, rule, wording);
    out
}

/// Appends formatted text.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    std::fmt::Write::write_fmt(out, text).expect("a String takes any text");
}

/// Appends a number in decimal digits: a large table is mostly names and numbers, and this takes a
/// fraction of what formatting does.
fn number(out: &mut String, mut number: u32) {
    let mut digits = [0; 10];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend(digits[start..].iter().map(|&digit| char::from(digit)));
}

/// Appends an address.
fn address(out: &mut String, address: std::net::IpAddr) {
    match address {
        std::net::IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            for (octet, end) in [(a, "."), (b, "."), (c, "."), (d, "")] {
                number(out, octet.into());
                out.push_str(end);
            }
        }
        std::net::IpAddr::V6(ip) => put(out, format_args!("{ip}")),
    }
}

/// Appends texts.
fn push(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

/// Appends a text in double quotes; nft knows no way to write a quote inside.
fn quoted(out: &mut String, text: &str) {
    push(out, &["\"", text, "\""]);
}
