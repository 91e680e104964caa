//! The wording of `nft list ruleset`: a block for each object.

use std::time::Duration;

use super::value::{data_types, duration, element, flags, key, listed_order};
use super::{Wording, push, put, quoted, rule};
use crate::nft::words::{HOOKS, POLICIES, PRIORITIES, name_of};
use crate::nft::{BaseChain, Chain, DataType, Name, Set, SetFlags, Table, TableFamily};
use podwire_packet::Family;

/// How many elements a set has room for that rules put elements into, unless said
/// (`nft_dynset_init`, net/netfilter/nft_dynset.c).
const DYNAMIC_SIZE: u32 = 65535;

/// Writes a table as nft lists it.
///
/// Its functions append one object each, so that whoever makes a large table can print one and drop it
/// before the next.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    family: TableFamily,
    has_objects: bool,
}

impl Listing {
    /// A listing of a table of that family.
    #[must_use]
    pub const fn new(family: TableFamily) -> Self {
        Self {
            family,
            has_objects: false,
        }
    }

    /// Appends the whole of a table.
    pub fn write_table(&mut self, out: &mut String, table: &Table) {
        self.open(out, &table.name, table.comment.as_deref());
        for other in &table.others {
            self.begin(out);
            push(out, &["\t", other, "\n"]);
        }
        for (name, set) in &table.sets {
            self.write_set(out, name, set);
        }
        for chain in table.chains.values() {
            self.write_chain(out, chain);
        }
        out.push_str("}\n");
    }

    /// Appends the head of a table.
    pub fn open(&mut self, out: &mut String, table: &Name, comment: Option<&str>) {
        let family = self.family.name();
        push(out, &["table ", family, " ", table.as_str(), " {\n"]);
        if let Some(comment) = comment {
            out.push_str("\tcomment ");
            quoted(out, comment);
            out.push('\n');
        }
    }

    /// Appends the end of a table.
    pub fn close(self, out: &mut String) {
        out.push_str("}\n");
    }

    /// Appends a set or map and its elements.
    pub fn write_set(&mut self, out: &mut String, name: &Name, set: &Set) {
        self.begin(out);
        let word = if set.is_map() { "map" } else { "set" };
        push(out, &["\t", word, " ", name.as_str(), " {\n"]);
        match &set.type_of {
            Some(types) => push(out, &["\t\ttypeof ", types]),
            None => {
                out.push_str("\t\ttype ");
                data_types(out, &set.key);
                if set.is_map() {
                    out.push_str(" : ");
                    data_types(out, &set.data);
                }
            }
        }
        out.push('\n');
        let is_dynamic = set.flags.contains(SetFlags::DYNAMIC);
        if let Some(size) = set.size.or(is_dynamic.then_some(DYNAMIC_SIZE)) {
            put(out, format_args!("\t\tsize {size}\n"));
        }
        if set.flags != SetFlags::default() {
            out.push_str("\t\tflags ");
            flags(out, set.flags);
            out.push('\n');
        }
        if set.auto_merge {
            out.push_str("\t\tauto-merge\n");
        }
        time_property(out, "timeout", set.timeout);
        time_property(out, "gc-interval", set.gc_interval);
        for property in &set.properties {
            push(out, &["\t\t", property, "\n"]);
        }
        if let Some(comment) = &set.comment {
            out.push_str("\t\tcomment ");
            quoted(out, comment);
            out.push('\n');
        }
        write_elements(out, set);
        out.push_str("\t}\n");
    }

    /// Appends a chain and its rules.
    pub fn write_chain(&mut self, out: &mut String, chain: &Chain) {
        self.begin(out);
        push(out, &["\tchain ", chain.name.as_str(), " {\n"]);
        if let Some(comment) = &chain.comment {
            out.push_str("\t\tcomment ");
            quoted(out, comment);
            out.push('\n');
        }
        if let Some(base) = chain.base {
            write_base(out, base);
        }
        for own in &chain.rules {
            out.push_str("\t\t");
            rule::write(out, own, Wording::List);
            out.push('\n');
        }
        out.push_str("\t}\n");
    }

    /// An empty line between two objects.
    fn begin(&mut self, out: &mut String) {
        if self.has_objects {
            out.push('\n');
        }
        self.has_objects = true;
    }
}

fn time_property(out: &mut String, word: &str, value: Option<Duration>) {
    if let Some(value) = value {
        push(out, &["\t\t", word, " "]);
        duration(out, value);
        out.push('\n');
    }
}

fn write_elements(out: &mut String, set: &Set) {
    if set.elements.is_empty() {
        return;
    }
    out.push_str("\t\telements = { ");
    let in_a_line = elements_in_a_line(set);
    for (place, (own, value)) in listed_order(&set.elements).into_iter().enumerate() {
        match place {
            0 => {}
            _ if place % in_a_line == 0 => out.push_str(",\n\t\t\t     "),
            _ => out.push_str(", "),
        }
        key(out, own, Wording::List);
        element(out, value, Wording::List);
    }
    out.push_str(" }\n");
}

/// Elements that nft writes before it begins a new line (`calculate_delim`, src/expression.c).
fn elements_in_a_line(set: &Set) -> usize {
    match set.key.as_slice() {
        [DataType::Address(Family::Ipv4)] => 2,
        []
        | [_, _, ..]
        | [DataType::Address(Family::Ipv6) | DataType::Ifname | DataType::Other(_)] => 1,
        [_] => 5,
    }
}

fn write_base(out: &mut String, base: BaseChain) {
    let hook = name_of(&HOOKS, &base.hook).unwrap_or_default();
    let kind = base.kind.name();
    push(out, &["\t\ttype ", kind, " hook ", hook, " priority "]);
    write_priority(out, base);
    let policy = name_of(&POLICIES, &base.policy).unwrap_or_default();
    push(out, &["; policy ", policy, ";\n"]);
}

/// A priority as the nearest name that is at most ten away (`prio2str`, src/rule.c).
fn write_priority(out: &mut String, base: BaseChain) {
    let mut names = PRIORITIES
        .iter()
        .filter(|(_, _, hook)| hook.is_none_or(|hook| hook == base.hook));
    let near = names.find_map(|&(name, priority, _)| {
        let offset = base.priority.checked_sub(priority)?;
        (-10..=10).contains(&offset).then_some((name, offset))
    });
    match near {
        Some((name, 0)) => out.push_str(name),
        Some((name, offset)) => {
            let sign = if offset < 0 { '-' } else { '+' };
            put(out, format_args!("{name} {sign} {}", offset.abs()));
        }
        None => put(out, format_args!("{}", base.priority)),
    }
}
