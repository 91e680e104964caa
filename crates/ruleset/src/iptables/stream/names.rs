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

/// The number of a chain, and half of its name's hash, so that a table that grows or is searched reads
/// no name in vain.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    hash: u32,
    number: u32,
}

/// The chains of a table, by number and by name.
///
/// `iptables-save` declares chains in the order of their names, so that a name behind the last one is
/// new; then the table by name can wait until it is asked, and is filled in one go.
#[derive(Debug, Default)]
pub(super) struct Names {
    chains: Vec<Known>,
    /// Of the first chains, as many as it has.
    by_name: HashTable<Numbered>,
    /// Some users' chain came behind one that has a later name.
    is_mixed: bool,
    /// How many of them, the first ones, are built in.
    built_in: usize,
}

/// The hash that [`Names::guess`] asks for.
pub(super) fn hash_of(name: &str) -> Option<u32> {
    Some(hash(&padded(name)?))
}

fn hash(name: &[u8; ChainName::MAX]) -> u32 {
    let whole = BuildHasherDefault::<FxHasher>::default().hash_one(name);
    let [a, b, c, d, rest @ ..] = whole.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) ^ u32::from_be_bytes(rest)
}

/// Half of a hash as a whole one: the table takes its places from the low bits, and from the high ones
/// what tells those of a place apart.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn padded(name: &str) -> Option<[u8; ChainName::MAX]> {
    let mut bytes = [0; ChainName::MAX];
    bytes
        .get_mut(..name.len())?
        .copy_from_slice(name.as_bytes());
    Some(bytes)
}

impl Names {
    /// Of a table that has only chains that are built in.
    pub(super) fn of_built_in(names: impl Iterator<Item = &'static str>) -> Self {
        let mut own = Self::default();
        for name in names {
            own.insert(name);
        }
        own.built_in = own.len();
        own.is_mixed = false;
        own
    }

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
        let is_behind = self.last().is_none_or(|last| last < &name);
        if self.is_mixed || !is_behind || self.is_name_of_built_in(&name) {
            if let Some(known) = self.found(&name) {
                return known;
            }
            self.is_mixed |= !is_behind;
        }
        self.chains.push(Known { name, rules: 0 });
        next
    }

    /// The name of the last chain that is not built in.
    fn last(&self) -> Option<&[u8; ChainName::MAX]> {
        self.chains[self.built_in..].last().map(|known| &known.name)
    }

    fn is_name_of_built_in(&self, name: &[u8; ChainName::MAX]) -> bool {
        self.chains[..self.built_in]
            .iter()
            .any(|known| &known.name == name)
    }

    /// Brings into the table by name what is not there yet.
    pub(super) fn fill(&mut self) {
        let first = self.by_name.len();
        let missing = &self.chains[first..];
        self.by_name
            .reserve(missing.len(), |known| spread(known.hash));
        for (known, number) in missing.iter().zip(ChainId::at(first).0..) {
            let hash = hash(&known.name);
            let own = Numbered { hash, number };
            self.by_name
                .insert_unique(spread(hash), own, |known| spread(known.hash));
        }
    }

    fn found(&mut self, name: &[u8; ChainName::MAX]) -> Option<ChainId> {
        self.fill();
        let hash = hash(name);
        let is_it = |known: &Numbered| {
            known.hash == hash && &self.chains[known.number as usize].name == name
        };
        let known = self.by_name.find(spread(hash), is_it)?;
        Some(ChainId(known.number))
    }

    pub(super) fn find(&mut self, name: &str) -> Option<ChainId> {
        self.found(&padded(name)?)
    }

    /// A chain that may have a name, as far as half of its hash tells; of those in the table by name.
    pub(super) fn guess(&self, hash: u32) -> Option<u32> {
        let known = self
            .by_name
            .find(spread(hash), |known| known.hash == hash)?;
        Some(known.number)
    }

    /// The chain of that name if it has one of these numbers: memory that was just read is asked
    /// before a table that is far too large for any cache.
    pub(super) fn near(
        &self,
        name: &str,
        numbers: impl IntoIterator<Item = u32>,
    ) -> Option<ChainId> {
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
    fn a_name_is_known_in_whatever_order_names_come() {
        let mut names = Names::of_built_in(["PREROUTING", "INPUT"].into_iter());
        let all = [
            "A",
            "B",
            "C",
            "B",
            "INPUT",
            "AA",
            "C",
            "D",
            "AA",
            "PREROUTING",
        ];
        let numbers = [2, 3, 4, 3, 1, 5, 4, 6, 5, 0];
        for (name, number) in all.into_iter().zip(numbers) {
            assert_eq!(names.insert(name), ChainId(number), "{name}");
            assert_eq!(names.find(name), Some(ChainId(number)), "{name}");
        }
        assert_eq!(names.len(), 7);
        let is_built_in: Vec<bool> = (0..7).map(|id| names.is_built_in(ChainId(id))).collect();
        assert_eq!(is_built_in, [true, true, false, false, false, false, false]);
    }

    #[test]
    fn a_chain_takes_half_a_cache_line() {
        assert_eq!(size_of::<Known>(), 32);
    }
}
