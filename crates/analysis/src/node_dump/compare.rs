//! Two listings, entry by entry.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::listing::{Block, Entry, Kind, Listing, Order, Subject};

/// How two sides differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The dump lacks it.
    Missing,
    /// Only the dump has it, and it is in kube-proxy's form.
    Stale,
    /// Both have it, elsewhere.
    Moved,
    /// Only the dump has it, and somebody else wrote it.
    Foreign,
    /// The same, in front of kube-proxy's jump in a chain of the kernel's.
    ForeignFirst,
}

/// One thing in which two sides differ.
#[derive(Clone, Debug)]
pub(super) struct Difference<'l> {
    pub(super) of: Subject,
    pub(super) how: How,
    pub(super) label: &'l str,
    /// The file of the dump.
    pub(super) file: Option<usize>,
    pub(super) line: Option<u32>,
    /// The entry; the block as a whole if there is none.
    pub(super) entry: Option<&'l Entry>,
    /// How many entries the block has.
    pub(super) entries: usize,
}

/// What differs between two listings.
pub(super) fn differences<'l>(expected: &'l Listing, dump: &'l Listing) -> Vec<Difference<'l>> {
    let mut found = Vec::new();
    let whole = |label: &'l str, block: &'l Block, how, line| Difference {
        of: block.of.clone(),
        how,
        label,
        file: dump.file,
        line,
        entry: None,
        entries: block.entries.len(),
    };
    for (label, block) in &expected.blocks {
        match dump.blocks.get(label) {
            Some(own) => of_block(label, block, own, dump.file, &mut found),
            None if block.kind == Kind::BuiltIn && block.entries.is_empty() => {}
            None => found.push(whole(label, block, How::Missing, None)),
        }
    }
    for (label, block) in &dump.blocks {
        if expected.blocks.contains_key(label) {
            continue;
        }
        match block.kind {
            Kind::KubeProxy => found.push(whole(label, block, How::Stale, block.line)),
            // A table that kube-proxy leaves alone.
            Kind::BuiltIn | Kind::Other => {}
        }
    }
    found
}

fn of_block<'l>(
    label: &'l str,
    expected: &'l Block,
    dump: &'l Block,
    file: Option<usize>,
    found: &mut Vec<Difference<'l>>,
) {
    let difference = |entry: &'l Entry, of: Subject, how: How, line: Option<u32>| Difference {
        of,
        how,
        label,
        file,
        line: line.or(dump.line),
        entry: Some(entry),
        entries: dump.entries.len(),
    };
    let mut wanted: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    for (index, entry) in expected.entries.iter().enumerate() {
        wanted.entry(&entry.key).or_default().push_back(index);
    }
    // Places in the dump, each with that of its like.
    let mut pairs: Vec<(usize, usize)> = Vec::with_capacity(dump.entries.len());
    let mut extra: Vec<usize> = Vec::new();
    for (index, entry) in dump.entries.iter().enumerate() {
        match wanted.get_mut(&*entry.key).and_then(VecDeque::pop_front) {
            Some(like) => pairs.push((index, like)),
            None => extra.push(index),
        }
    }
    let missing: BTreeSet<usize> = wanted.into_values().flatten().collect();
    let last_jump = pairs.last().map_or(0, |&(index, _)| index);
    let mut shapes = None;
    let mut is_whole = missing.is_empty();
    let before = found.len();
    for index in extra {
        let entry = &dump.entries[index];
        let is_kube_proxys = entry.is_recognised
            || (expected.kind != Kind::BuiltIn && {
                let shapes = shapes.get_or_insert_with(|| unnamed_shapes(expected));
                shapes.contains(&shape(&entry.key))
            });
        let how = match (is_kube_proxys, expected.kind) {
            (true, _) => How::Stale,
            (false, Kind::BuiltIn) if entry.ends && index < last_jump => How::ForeignFirst,
            (false, Kind::BuiltIn) => continue,
            (false, Kind::KubeProxy | Kind::Other) => How::Foreign,
        };
        is_whole &= how != How::Stale;
        found.push(difference(entry, entry.of.clone(), how, entry.line));
    }
    for &index in &missing {
        let entry = &expected.entries[index];
        found.push(difference(entry, entry.of.clone(), How::Missing, None));
    }
    if is_whole {
        if let Some(index) = out_of_order(expected.order, &pairs, dump) {
            let entry = &dump.entries[index];
            found.push(difference(entry, dump.of.clone(), How::Moved, entry.line));
        }
    } else {
        settle_shares(expected, dump, &mut found[before..]);
    }
}

/// The first entry of the dump that stands before one that it should come after.
fn out_of_order(order: Order, pairs: &[(usize, usize)], dump: &Block) -> Option<usize> {
    match order {
        Order::Exact => {
            let mut pairs = pairs.windows(2);
            pairs.find_map(|pair| (pair[0].1 > pair[1].1).then_some(pair[1].0))
        }
        Order::Free => {
            let mut entries = dump.entries.iter();
            let first = entries.position(|entry| entry.is_last)?;
            let behind = (first + 1..).zip(entries);
            let mut behind = behind.filter(|(_, entry)| !entry.is_last);
            behind.find_map(|(index, entry)| entry.is_recognised.then_some(index))
        }
    }
}

/// Where one side chooses among other endpoints than the other, every share of the rest is another too:
/// that is told of the endpoint, not of the rest.
fn settle_shares(expected: &Block, dump: &Block, found: &mut [Difference<'_>]) {
    let chosen = |block: &Block| -> BTreeSet<(Rc<str>, Rc<str>)> {
        let entries = block.entries.iter().filter(|entry| entry.chooses);
        let endpoints = entries.filter_map(|entry| match &entry.of {
            Subject::Endpoint(port, endpoint) => Some((Rc::clone(port), Rc::clone(endpoint))),
            Subject::Common | Subject::Port(_) => None,
        });
        endpoints.collect()
    };
    let (expected, dump) = (chosen(expected), chosen(dump));
    let mut on_one_side = dump.symmetric_difference(&expected);
    let told_of = on_one_side.next().cloned();
    for difference in found {
        let Some(entry) = difference.entry.filter(|entry| entry.chooses) else {
            continue;
        };
        let Subject::Endpoint(port, endpoint) = &entry.of else {
            continue;
        };
        let key = (Rc::clone(port), Rc::clone(endpoint));
        if expected.contains(&key) && dump.contains(&key) {
            difference.of = match &told_of {
                Some((port, endpoint)) => Subject::Endpoint(Rc::clone(port), Rc::clone(endpoint)),
                None => Subject::Port(key.0),
            };
            if told_of.is_some() {
                difference.how = How::Moved;
            }
        }
    }
}

/// An entry's words without what tells it from others of its form: those that hold a digit.
fn shape(key: &str) -> Vec<&str> {
    let words = key.split_whitespace();
    words
        .filter(|word| !word.bytes().any(|byte| byte.is_ascii_digit()))
        .collect()
}

/// The shapes of the entries that nothing else tells kube-proxy's.
fn unnamed_shapes(block: &Block) -> BTreeSet<Vec<&str>> {
    let entries = block.entries.iter().filter(|entry| !entry.is_recognised);
    entries.map(|entry| shape(&entry.key)).collect()
}
