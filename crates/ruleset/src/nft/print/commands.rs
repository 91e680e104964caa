//! The wording of kube-proxy: a command for each object.

use super::value::{data_types, element, key, seconds};
use super::{Wording, push, put, quoted, rule};
use crate::Policy;
use crate::nft::words::{HOOKS, POLICIES, name_of};
use crate::nft::{Chain, Element, Key, Name, Rule, Set, SetFlags, Table, TableFamily};

/// Writes the commands that make a table.
///
/// Each function appends one command, so that whoever makes a large table can print one object and drop
/// it before it makes the next.
#[derive(Clone, Debug)]
pub struct Commands {
    /// Family and table, with a blank before and behind each.
    table: Box<str>,
}

impl Commands {
    /// Commands for a table.
    #[must_use]
    pub fn new(family: TableFamily, table: &Name) -> Self {
        Self {
            table: [" ", family.name(), " ", table.as_str(), " "]
                .concat()
                .into(),
        }
    }

    /// Appends all commands of a table, in the order of `Fake.Dump`.
    pub fn write_table(&self, out: &mut String, table: &Table) {
        self.add_table(out, table.comment.as_deref());
        for chain in table.chains.values() {
            self.add_chain(out, chain);
        }
        for (name, set) in &table.sets {
            self.add_set(out, name, set);
        }
        for chain in table.chains.values() {
            for rule in &chain.rules {
                self.add_rule(out, chain.name.as_str(), rule);
            }
        }
        for (name, set) in &table.sets {
            for (key, element) in &set.elements {
                self.add_element(out, name, key, element);
            }
        }
    }

    /// Appends `add table`.
    pub fn add_table(&self, out: &mut String, comment: Option<&str>) {
        push(out, &["add table", self.table.trim_end()]);
        if let Some(comment) = comment {
            out.push_str(" { comment ");
            quoted(out, comment);
            out.push_str(" ; }");
        }
        out.push('\n');
    }

    /// Appends `add chain`; its rules are not part of it.
    pub fn add_chain(&self, out: &mut String, chain: &Chain) {
        if chain.base.is_none() && chain.comment.is_none() {
            return self.add_regular_chain(out, chain.name.as_str());
        }
        self.add(out, "add chain", chain.name.as_str());
        out.push_str(" {");
        if let Some(base) = chain.base {
            let hook = name_of(&HOOKS, &base.hook).unwrap_or_default();
            let kind = base.kind.name();
            push(out, &[" type ", kind, " hook ", hook, " priority "]);
            put(out, format_args!("{} ;", base.priority));
            if base.policy == Policy::Drop {
                let policy = name_of(&POLICIES, &base.policy).unwrap_or_default();
                push(out, &[" policy ", policy, " ;"]);
            }
        }
        comment_property(out, chain.comment.as_deref());
        out.push_str(" }\n");
    }

    /// Appends `add chain` for one that has nothing but rules.
    pub fn add_regular_chain(&self, out: &mut String, name: &str) {
        push(out, &["add chain", &self.table, name, "\n"]);
    }

    /// Appends `add set` or `add map`; its elements are not part of it.
    pub fn add_set(&self, out: &mut String, name: &Name, set: &Set) {
        let command = if set.is_map() { "add map" } else { "add set" };
        self.add(out, command, name.as_str());
        out.push_str(" {");
        match &set.type_of {
            Some(types) => push(out, &[" typeof ", types]),
            None => {
                out.push_str(" type ");
                data_types(out, &set.key);
                if set.is_map() {
                    out.push_str(" : ");
                    data_types(out, &set.data);
                }
            }
        }
        out.push_str(" ;");
        if set.flags != SetFlags::default() {
            out.push_str(" flags ");
            super::value::flags(out, set.flags);
            out.push_str(" ;");
        }
        if let Some(timeout) = set.timeout {
            out.push_str(" timeout ");
            seconds(out, timeout);
            out.push_str(" ;");
        }
        if let Some(interval) = set.gc_interval {
            out.push_str(" gc-interval ");
            seconds(out, interval);
            out.push_str(" ;");
        }
        if let Some(size) = set.size {
            put(out, format_args!(" size {size} ;"));
        }
        if set.auto_merge {
            out.push_str(" auto-merge ;");
        }
        for property in &set.properties {
            push(out, &[" ", property, " ;"]);
        }
        comment_property(out, set.comment.as_deref());
        out.push_str(" }\n");
    }

    /// Appends `add rule`.
    pub fn add_rule(&self, out: &mut String, chain: &str, rule: &Rule) {
        self.add(out, "add rule", chain);
        out.push(' ');
        rule::write(out, rule, Wording::KubeProxy);
        out.push('\n');
    }

    /// Appends `add rule` for a rule whose text is there already, in pieces
    /// ([`rule_text`](super::rule_text)).
    pub fn add_rule_text(&self, out: &mut String, chain: &str, pieces: &[&str]) {
        self.add(out, "add rule", chain);
        out.push(' ');
        push(out, pieces);
        out.push('\n');
    }

    /// Appends `add rule` for the one that sends each packet to one of these chains, each as likely.
    pub fn add_choice(&self, out: &mut String, chain: &str, among: &[&str]) {
        self.add(out, "add rule", chain);
        out.push(' ');
        rule::write_choice(out, among);
        out.push('\n');
    }

    /// Appends `add element`.
    pub fn add_element(&self, out: &mut String, set: &Name, own: &Key, value: &Element) {
        self.add(out, "add element", set.as_str());
        out.push_str(" { ");
        key(out, own, Wording::KubeProxy);
        element(out, value, Wording::KubeProxy);
        out.push_str(" }\n");
    }

    fn add(&self, out: &mut String, command: &str, name: &str) {
        push(out, &[command, &self.table, name]);
    }
}

fn comment_property(out: &mut String, comment: Option<&str>) {
    if let Some(comment) = comment {
        out.push_str(" comment ");
        quoted(out, comment);
        out.push_str(" ;");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{Expression, Key, Lookup, MapValue, NumgenMode, Statement, Value, Verdict};

    #[test]
    fn a_choice_is_worded_as_its_rule_is() {
        for count in [1, 2, 11] {
            let chains: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
            let elements = (0..).zip(&chains).map(|(n, chain)| {
                let to = Verdict::Goto(Name::literal(chain));
                (Key::one(Value::Number(n)), MapValue::Verdict(to))
            });
            let rule = Rule::of(vec![Statement::VerdictMap {
                key: Expression::Numgen {
                    mode: NumgenMode::Random,
                    modulus: count,
                    offset: 0,
                },
                map: Lookup::Anonymous(elements.collect()),
            }]);
            let commands = Commands::new(TableFamily::Ip, &Name::literal("t"));
            let [mut own, mut of_rule] = [String::new(), String::new()];
            let among: Vec<&str> = chains.iter().map(String::as_str).collect();
            commands.add_choice(&mut own, "s", &among);
            commands.add_rule(&mut of_rule, "s", &rule);
            assert_eq!(own, of_rule);
        }
    }
}
