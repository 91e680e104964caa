//! The chains of a table by name, small.

use std::hash::{BuildHasher, BuildHasherDefault};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use crate::{ChainId, ChainName};

/// What is kept of a chain; half a cache line.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The name, zeros behind it; no name has a zero.
    name: [u8; ChainName::MAX],
    /// How many rules it has.
    rules: u32,
}

/// The chains of a table, by number and by name.
#[derive(Debug, Default)]
pub(super) struct Names {
    chains: Vec<Known>,
    by_name: HashTable<u32>,
    /// How many of them, the first ones, are built in.
    pub(super) built_in: usize,
}

fn hash(name: &[u8; ChainName::MAX]) -> u64 {
    BuildHasherDefault::<FxHasher>::default().hash_one(name)
}

fn padded(name: &str) -> Option<[u8; ChainName::MAX]> {
    let mut bytes = [0; ChainName::MAX];
    bytes
        .get_mut(..name.len())?
        .copy_from_slice(name.as_bytes());
    Some(bytes)
}

impl Names {
    pub(super) const fn len(&self) -> usize {
        self.chains.len()
    }

    pub(super) const fn is_built_in(&self, chain: ChainId) -> bool {
        chain.index() < self.built_in
    }

    /// How many rules a chain has.
    pub(super) fn rules(&self, chain: ChainId) -> u32 {
        self.chains[chain.index()].rules
    }

    pub(super) fn set_rules(&mut self, chain: ChainId, rules: u32) {
        self.chains[chain.index()].rules = rules;
    }

    /// The number of a chain, which is the next one if the name is new.
    ///
    /// The name is one that a chain may have.
    pub(super) fn insert(&mut self, name: &str) -> ChainId {
        let name = padded(name).expect("the name was checked");
        let next = ChainId::at(self.chains.len());
        let chains = &mut self.chains;
        let entry = self.by_name.entry(
            hash(&name),
            |&known| chains[known as usize].name == name,
            |&known| hash(&chains[known as usize].name),
        );
        let number = *entry.or_insert(next.0).get();
        if number == next.0 {
            chains.push(Known { name, rules: 0 });
        }
        ChainId(number)
    }

    pub(super) fn find(&self, name: &str) -> Option<ChainId> {
        let name = padded(name)?;
        self.by_name
            .find(hash(&name), |&known| {
                self.chains[known as usize].name == name
            })
            .map(|&known| ChainId(known))
    }

    /// The chain of that name if it has one of these numbers: memory that was just read is asked
    /// before a table that is far too large for any cache.
    pub(super) fn near(&self, name: &str, numbers: [u32; 2]) -> Option<ChainId> {
        let is_it = |known: &Known| {
            let behind = known.name.strip_prefix(name.as_bytes());
            behind.is_some_and(|rest| rest.first().is_none_or(|&byte| byte == 0))
        };
        numbers
            .into_iter()
            .find(|&number| self.chains.get(number as usize).is_some_and(is_it))
            .map(ChainId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_once_in_their_order() {
        let mut names = Names::default();
        let all: Vec<String> = (0..5_000).map(|n| format!("KUBE-SEP-{n}")).collect();
        for (n, name) in all.iter().enumerate() {
            assert_eq!(names.find(name), None);
            assert_eq!(names.insert(name), ChainId::at(n));
        }
        for (n, name) in all.iter().enumerate() {
            assert_eq!(names.find(name), Some(ChainId::at(n)));
            assert_eq!(names.insert(name), ChainId::at(n));
        }
        assert_eq!(names.len(), 5_000);
        assert_eq!(names.find("KUBE-SEP"), None);
        assert_eq!(names.find("a-name-that-is-longer-than-any"), None);
        assert_eq!(names.near("KUBE-SEP-7", [6, 7]), Some(ChainId(7)));
        assert_eq!(names.near("KUBE-SEP-7", [77, 6]), None);
        assert_eq!(names.near("KUBE-SEP-77", [7, 76]), None);
        assert_eq!(names.near("KUBE-SEP-7", [5_000, u32::MAX]), None);
    }

    #[test]
    fn a_chain_takes_half_a_cache_line() {
        assert_eq!(size_of::<Known>(), 32);
    }
}
