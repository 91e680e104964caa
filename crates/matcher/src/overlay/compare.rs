//! In which chains a node's table differs from the common one.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use podwire_ruleset::{Chain, ChainId, Match, Rule, Table, Target};
use rustc_hash::FxHasher;

use super::Common;
use super::part::Local;
use super::runs::Runs;
use crate::fields::Fields;
use crate::program::to_u32;
use crate::test::{Masked, Test};

/// A chain that the node has otherwise.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// All of it is the node's own.
    Whole,
    /// Rules that are the same: how many stand before each in the common chain, and in the node's; both
    /// ascending.
    Splice(Vec<(u32, u32)>),
}

/// Chains of this many rules share those rules that are the same; shorter ones are the node's own.
pub(super) const SPLICED: usize = 16;

/// A node's table beside the common one.
pub(super) struct Difference<F: Fields> {
    /// Of each common chain that the node has too its number in the node's table.
    pub(super) ids: Runs,
    /// Common chains that the node has otherwise.
    pub(super) edits: BTreeMap<ChainId, Edit>,
    /// Numbers in the node's table of chains that are not common.
    pub(super) added: Vec<ChainId>,
    pub(super) local: Option<Local<F>>,
    /// Common chains that name the source that the node has otherwise, ascending.
    pub(super) local_chains: Vec<ChainId>,
}

impl<F: Fields> Difference<F> {
    pub(super) fn of(common: &Common<'_, F>, node: &Table) -> Self {
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(node.chains.len());
        let mut added = Vec::new();
        let mut expected = 0;
        for (at, name) in node.chains.keys().enumerate() {
            let of = &common.table.chains;
            let found = match of.get_index(expected) {
                Some((next, _)) if next == name => Some(expected),
                Some(_) | None => of.get_index_of(name),
            };
            if let Some(found) = found {
                pairs.push((to_u32(found), to_u32(at)));
                expected = found + 1;
            } else {
                added.push(ChainId(to_u32(at)));
            }
        }
        pairs.sort_unstable();
        let both = Both {
            common,
            node,
            pairs: &pairs,
        };
        let local = both.local();
        let local_chains = local
            .as_ref()
            .map(|local| common.index.naming(&local.common));
        let mut own = Self {
            ids: Runs::of(pairs.iter().copied()),
            edits: BTreeMap::new(),
            added,
            local,
            local_chains: local_chains.unwrap_or_default().to_vec(),
        };
        own.edits = both
            .each()
            .filter_map(|(id, a, b)| Some((id, own.edit(common, id, a, b)?)))
            .collect();
        own
    }

    /// Whether the table is the common one, but for policies.
    pub(super) fn is_none(&self, common: &Table) -> bool {
        let all = to_u32(common.chains.len());
        self.edits.is_empty()
            && self.added.is_empty()
            && self.local.is_none()
            && self.ids.count() == all
            && self.ids.runs() <= 1
    }

    pub(super) fn names_local(&self, chain: ChainId) -> bool {
        self.local_chains.binary_search(&chain).is_ok()
    }

    /// How a chain differs, if it does.
    fn edit(
        &self,
        common: &Common<'_, F>,
        id: ChainId,
        a: &Arc<Chain>,
        b: &Arc<Chain>,
    ) -> Option<Edit> {
        let names_local = self.names_local(id);
        if let Some(local) = self.local.as_ref().filter(|_| names_local) {
            // What a table has looked up already is not asked under another name.
            let is_asked = common.program.chains[id.index()].plan == 0;
            let is_same = |(a, b): (&Rule, &Rule)| is_same_but_for(local, a, b);
            let are_same = is_asked
                && a.rules.len() == b.rules.len()
                && a.rules.iter().zip(&b.rules).all(is_same);
            return (!are_same).then_some(Edit::Whole);
        }
        if Arc::ptr_eq(a, b) || a.rules == b.rules {
            return None;
        }
        if a.rules.len() >= SPLICED {
            let kept = kept(&a.rules, &b.rules);
            if kept.len() * 2 > b.rules.len() {
                return Some(Edit::Splice(kept));
            }
        }
        Some(Edit::Whole)
    }
}

/// The chains that both tables have.
struct Both<'a, F: Fields> {
    common: &'a Common<'a, F>,
    node: &'a Table,
    pairs: &'a [(u32, u32)],
}

impl<'a, F: Fields> Both<'a, F> {
    fn each(&self) -> impl Iterator<Item = (ChainId, &'a Arc<Chain>, &'a Arc<Chain>)> {
        let (common, node) = (self.common.table, self.node);
        self.pairs.iter().map(move |&(a, b)| {
            let id = ChainId(a);
            (
                id,
                &common.chains[id.index()],
                &node.chains[ChainId(b).index()],
            )
        })
    }

    /// The source that the node has in place of another, if in most chains that name the other.
    fn local(&self) -> Option<Local<F>> {
        let mut counts: Vec<(Sources<F>, usize)> = Vec::new();
        for (_, a, b) in self.each() {
            if Arc::ptr_eq(a, b) || a.rules.len() != b.rules.len() {
                continue;
            }
            let mut rules = a.rules.iter().zip(&b.rules);
            let Some(found) = rules
                .find(|(a, b)| a != b)
                .and_then(|(a, b)| sources::<F>(a, b))
            else {
                continue;
            };
            let known = counts.iter().position(|(pair, _)| *pair == found);
            if let Some(known) = known {
                counts[known].1 += 1;
            } else if counts.len() < MANY {
                counts.push((found, 1));
            }
        }
        let &((common, own), count) = counts.iter().max_by_key(|(_, count)| *count)?;
        (count * 2 > self.common.index.naming(&common).len()).then(|| Local::new(common, own))
    }
}

/// The common source, and the node's.
type Sources<F> = (
    Masked<<F as Fields>::Address>,
    Masked<<F as Fields>::Address>,
);

/// Pairs of sources that are counted.
const MANY: usize = 8;

/// The sources of two rules that differ in nothing else, without `!`. One address alone is an endpoint's;
/// what a chain folds to may hang on it.
fn sources<F: Fields>(a: &Rule, b: &Rule) -> Option<Sources<F>> {
    if a.matches.len() != b.matches.len() || a.target != b.target {
        return None;
    }
    let mut others = a.matches.iter().zip(&b.matches).filter(|(a, b)| a != b);
    let (Some((a, b)), None) = (others.next(), others.next()) else {
        return None;
    };
    let (a, b) = (source::<F>(a)?, source::<F>(b)?);
    let is_range = |own: &Masked<F::Address>| !is_all_or_one::<F>(own.mask);
    let plain = |own| Masked {
        inverted: false,
        ..own
    };
    (a.inverted == b.inverted && is_range(&a) && is_range(&b)).then(|| (plain(a), plain(b)))
}

/// Whether a mask is of any address, or of one.
pub(super) fn is_all_or_one<F: Fields>(mask: F::Address) -> bool {
    mask == F::all_bits() || mask == F::Address::default()
}

fn source<F: Fields>(of: &Match) -> Option<Masked<F::Address>> {
    let Match::Source(_) = of else {
        return None;
    };
    match Test::<F>::of(of) {
        Some(Test::Source(source)) => Some(source),
        Some(_) | None => None,
    }
}

/// Whether a node's rule is the common one with the node's source.
fn is_same_but_for<F: Fields>(local: &Local<F>, common: &Rule, node: &Rule) -> bool {
    let is_same = |(a, b): (&Match, &Match)| match source::<F>(a) {
        Some(source) if local.is_of(&Test::Source(source)) => {
            let own = local.own[usize::from(source.inverted)];
            self::source::<F>(b) == Some(own)
        }
        Some(_) | None => a == b,
    };
    common.target == node.target
        && common.matches.len() == node.matches.len()
        && common.matches.iter().zip(&node.matches).all(is_same)
}

/// Rules that two chains have in the same order: all at their beginnings and ends, and between those
/// what is found by looking ahead.
fn kept(a: &[Rule], b: &[Rule]) -> Vec<(u32, u32)> {
    let pairs = a.iter().zip(b);
    let start = pairs.take_while(|(a, b)| a == b).count();
    let pairs = a[start..].iter().rev().zip(b[start..].iter().rev());
    let end = pairs.take_while(|(a, b)| a == b).count();
    let mut kept: Vec<(u32, u32)> = (0..to_u32(start)).map(|place| (place, place)).collect();
    let mut places: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (place, rule) in a.iter().enumerate().take(a.len() - end).skip(start) {
        places.entry(fingerprint(rule)).or_default().push(place);
    }
    let mut next = start;
    for (place, rule) in b.iter().enumerate().take(b.len() - end).skip(start) {
        let Some(found) = places.get(&fingerprint(rule)) else {
            continue;
        };
        let ahead = found.partition_point(|&place| place < next);
        if let Some(&found) = found.get(ahead)
            && a[found] == *rule
        {
            kept.push((to_u32(found), to_u32(place)));
            next = found + 1;
        }
    }
    kept.extend((0..end).map(|back| (to_u32(a.len() - end + back), to_u32(b.len() - end + back))));
    kept
}

/// A number that equal rules share, and few others.
fn fingerprint(rule: &Rule) -> u64 {
    let mut hasher = FxHasher::default();
    rule.comment().hash(&mut hasher);
    if let Some(Target::Jump(to) | Target::Goto(to)) = &rule.target {
        to.hash(&mut hasher);
    }
    for own in &rule.matches {
        if let Match::Destination(to) = own {
            to.hash(&mut hasher);
        } else if let Match::DestinationPort(_, ports) = own {
            ports.value.hash(&mut hasher);
        }
    }
    hasher.finish()
}
