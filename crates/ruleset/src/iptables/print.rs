//! Text of rules.

mod matches;
mod targets;

use std::fmt::Write as _;

use podwire_packet::Family;

use crate::digits::{push_address, push_number};
use crate::{AddressMatch, Counters, InterfaceMatch, Match, Rule, RuleSet};

/// How the same rule is worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// As `iptables-save` 1.8.9 (nf_tables) words it: tests of the IP header first, then modules in
    /// order with their options in a fixed order, every default written out.
    ///
    /// Two departures: a name that would not be read back (of a set, of a `recent` list) is quoted,
    /// and `-j NOTRACK` becomes `-j CT --notrack`, which means the same.
    Save,
    /// As kube-proxy writes it for `iptables-restore`: in the order of [`Rule::matches`], one
    /// address alone with a length only if [`Rule::host_lengths`] says so, marks with eight digits, defaults left out.
    KubeProxy,
}

/// The whole text of a rule set: tables and chains in their order, rules chain by chain.
#[must_use]
pub fn print(rules: &RuleSet, wording: Wording) -> String {
    let mut out = String::new();
    write_rules(&mut out, rules, wording, false);
    out
}

/// The same with the counters of rules before them, as `iptables-save -c` prints.
#[must_use]
pub fn print_with_counters(rules: &RuleSet, wording: Wording) -> String {
    let mut out = String::new();
    write_rules(&mut out, rules, wording, true);
    out
}

/// The text of one rule without `-A CHAIN`.
#[must_use]
pub fn rule_text(rule: &Rule, wording: Wording, family: Family) -> String {
    let mut out = String::new();
    write_rule(&mut out, rule, wording, family);
    if out.starts_with(' ') {
        out.remove(0);
    }
    out
}

/// Appends the text of one rule, with a blank before each word: what stands behind `-A CHAIN`.
pub fn write_rule(out: &mut String, rule: &Rule, wording: Wording, family: Family) {
    match wording {
        Wording::Save => matches::in_kernel_words(out, &rule.matches, family),
        Wording::KubeProxy => matches::as_written(out, rule, family),
    }
    if let Some(target) = &rule.target {
        targets::write(out, target, wording, family);
    }
}

fn write_rules(out: &mut String, rules: &RuleSet, wording: Wording, with_counters: bool) {
    for (name, table) in &rules.tables {
        put(out, format_args!("*{name}\n"));
        for chain in table.chains.values() {
            let policy = chain.built_in.map_or("-", |b| b.policy.name());
            put(out, format_args!(":{} {policy} ", chain.name));
            write_counters(out, chain.counters);
            out.push('\n');
        }
        for chain in table.chains.values() {
            for rule in &chain.rules {
                if with_counters {
                    write_counters(out, rule.counters.unwrap_or_default());
                    out.push(' ');
                }
                out.push_str("-A ");
                out.push_str(chain.name.as_str());
                write_rule(out, rule, wording, rules.family);
                out.push('\n');
            }
        }
        out.push_str("COMMIT\n");
    }
}

fn write_counters(out: &mut String, counters: Counters) {
    put(
        out,
        format_args!("[{}:{}]", counters.packets, counters.bytes),
    );
}

/// Appends formatted text.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}

/// Appends `!` if the test is inverted.
fn not(out: &mut String, inverted: bool) {
    if inverted {
        out.push_str(" !");
    }
}

/// Appends an address and its mask; `host_length` says whether one address alone gets its length.
fn address(out: &mut String, value: &AddressMatch, host_length: bool) {
    match value {
        AddressMatch::Prefix(prefix) if prefix.is_host() && !host_length => {
            push_address(out, prefix.address());
        }
        AddressMatch::Prefix(prefix) => {
            push_address(out, prefix.address());
            out.push('/');
            push_number(out, prefix.len().into());
        }
        AddressMatch::Sparse { address, mask } => put(out, format_args!("{address}/{mask}")),
    }
}

impl Match {
    /// Whether it is a test of the IP header that every packet passes: `-s 0.0.0.0/0`, `-i +`.
    #[must_use]
    pub fn holds_always(&self) -> bool {
        if let Self::Source(own) | Self::Destination(own) = self {
            !own.inverted && matches!(&own.value, AddressMatch::Prefix(prefix) if prefix.is_empty())
        } else if let Self::InInterface(own) | Self::OutInterface(own) = self {
            !own.inverted && own.value == InterfaceMatch::Any
        } else {
            false
        }
    }
}
