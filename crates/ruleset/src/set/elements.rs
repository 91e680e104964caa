//! The elements of a set, and which of them a packet could be in.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::OnceLock;

use foldhash::fast::FixedState;
use indexmap::IndexMap;
use podwire_packet::{Family, Prefix};

use super::SetEntry;

/// The values of the parts, then the options behind them as they were written (`nomatch`,
/// `timeout 60`, `comment "…"`).
pub type Element = (Vec<SetEntry>, Box<str>);

/// Elements of a set, in the order in which they were added.
///
/// [`candidates`](Self::candidates) finds those that may hold a packet without asking all.
#[derive(Clone, Debug, Default)]
pub struct Elements {
    list: Vec<Element>,
    /// Made when it is first asked.
    index: OnceLock<Index>,
}

/// What a packet has for one part of a set's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// An address, under the set's netmask if it has one.
    Address(IpAddr),
    /// A port, or what stands for one.
    Port(u16),
    /// Anything else: elements are not chosen by it.
    Other,
}

impl Elements {
    /// Adds one behind the others.
    pub fn push(&mut self, element: Element) {
        self.list.push(element);
        self.index = OnceLock::new();
    }

    /// Every element that may hold the key, with its place, and few others: it is for the caller to ask
    /// whether one fits.
    ///
    /// Those of longer prefixes come first, those of the first part before those of the second; of the
    /// same lengths, the last added. A range comes where the one prefix around it does
    /// ([`has_ranges`](Self::has_ranges)).
    ///
    /// # Cost
    /// One probe for each combination of lengths that the prefixes of the set have, as in the kernel
    /// (`mtype_test_cidrs`, net/netfilter/ipset/ip_set_hash_gen.h). The first call, and the first after a
    /// [`push`](Self::push), hashes every element.
    pub fn candidates<'e>(
        &'e self,
        key: &'e [KeyPart],
    ) -> impl Iterator<Item = (usize, &'e Element)> {
        let index = self.index();
        index.groups.iter().flat_map(move |group| {
            let hash = index.hash(key, &group.lengths);
            let mut next = group.first(hash);
            std::iter::from_fn(move || {
                let node = index.nodes.get(next as usize)?;
                next = node.next;
                Some((node.hash == hash).then_some(node.element as usize))
            })
            .flatten()
            .map(|place| (place, &self.list[place]))
        })
    }

    /// Whether an element is a range of addresses, which may end up behind a shorter prefix.
    pub fn has_ranges(&self) -> bool {
        self.index().has_ranges
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(&self.list))
    }
}

impl Deref for Elements {
    type Target = [Element];

    fn deref(&self) -> &[Element] {
        &self.list
    }
}

impl From<Vec<Element>> for Elements {
    fn from(list: Vec<Element>) -> Self {
        Self {
            list,
            index: OnceLock::new(),
        }
    }
}

impl FromIterator<Element> for Elements {
    fn from_iter<I: IntoIterator<Item = Element>>(elements: I) -> Self {
        Self::from(Vec::from_iter(elements))
    }
}

impl<'e> IntoIterator for &'e Elements {
    type Item = &'e Element;
    type IntoIter = std::slice::Iter<'e, Element>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Elements {}

/// Elements by the hash of their first addresses and ports.
#[derive(Clone, Debug)]
struct Index {
    /// Elements whose prefixes have the same lengths; longer ones first.
    groups: Vec<Group>,
    nodes: Vec<Node>,
    /// Whether every element has one port for a part, which can be hashed then.
    one_port: Vec<bool>,
    has_ranges: bool,
}

#[derive(Clone, Debug)]
struct Group {
    /// Of each part; 0 where it has no addresses.
    lengths: Box<[u8]>,
    /// The last node by the low bits of the hash. They are a power of two.
    last: Vec<u32>,
}

/// An element in the list of those whose hashes have the same low bits.
#[derive(Clone, Copy, Debug)]
struct Node {
    hash: u64,
    element: u32,
    /// The one added before.
    next: u32,
}

/// Of addresses that a file chooses, most of which differ in few bits.
const HASHER: FixedState = FixedState::with_seed(0);

/// No node.
const NONE: u32 = u32::MAX;

impl Index {
    fn of(list: &[Element]) -> Self {
        let parts = list.iter().map(|(values, _)| values.len()).max();
        let parts = parts.unwrap_or(0);
        // Shorter elements lack a part, and hold nothing.
        let whole = (0..)
            .zip(list)
            .filter(|(_, (values, _))| values.len() == parts);
        let has_one_port = |part: usize| {
            let mut values = whole.clone().map(|(_, (values, _))| &values[part]);
            values.all(|value| one_port(value).is_some())
        };
        let mut index = Self {
            groups: Vec::new(),
            nodes: Vec::with_capacity(list.len()),
            one_port: (0..parts).map(has_one_port).collect(),
            has_ranges: false,
        };
        let mut places: IndexMap<Box<[u8]>, Vec<u32>> = IndexMap::new();
        let mut lengths = Vec::with_capacity(parts);
        for (place, (values, _)) in whole.clone() {
            lengths.clear();
            lengths.extend(
                values
                    .iter()
                    .map(|value| prefix(value).map_or(0, |p| p.len())),
            );
            index.has_ranges |= values
                .iter()
                .any(|value| matches!(value, SetEntry::Range(_)));
            if let Some(group) = places.get_mut(&*lengths) {
                group.push(place);
            } else {
                places.insert(lengths.as_slice().into(), vec![place]);
            }
        }
        places.sort_by(|a, _, b, _| b.cmp(a));
        let mut key = Vec::with_capacity(parts);
        for (lengths, places) in places {
            let mut group = Group {
                lengths,
                last: vec![NONE; places.len().next_power_of_two()],
            };
            for element in places {
                key.clear();
                key.extend(list[element as usize].0.iter().map(first_key));
                let hash = index.hash(&key, &group.lengths);
                let last = group.last_mut(hash);
                let node = Node {
                    hash,
                    element,
                    next: *last,
                };
                *last = u32::try_from(index.nodes.len()).expect("as many as elements");
                index.nodes.push(node);
            }
            index.groups.push(group);
        }
        index
    }

    /// What keys hash to whose addresses begin with the same bits.
    fn hash(&self, key: &[KeyPart], lengths: &[u8]) -> u64 {
        let parts = key.iter().zip(lengths).zip(&self.one_port);
        parts.fold(0, |hash, ((part, &length), &one_port)| match *part {
            KeyPart::Address(address) => {
                let bits = high_bits(address, length);
                HASHER.hash_one((hash, bits))
            }
            KeyPart::Port(port) if one_port => HASHER.hash_one((hash, port)),
            KeyPart::Port(_) | KeyPart::Other => hash,
        })
    }
}

impl Group {
    fn first(&self, hash: u64) -> u32 {
        self.last[self.list(hash)]
    }

    fn last_mut(&mut self, hash: u64) -> &mut u32 {
        let list = self.list(hash);
        &mut self.last[list]
    }

    /// Which of the lists.
    fn list(&self, hash: u64) -> usize {
        let mask = self.last.len() as u64 - 1;
        usize::try_from(hash & mask).expect("below the number of lists")
    }
}

/// The first key that an element holds.
fn first_key(value: &SetEntry) -> KeyPart {
    match (prefix(value), one_port(value)) {
        (Some(prefix), _) => KeyPart::Address(prefix.address()),
        (None, Some(port)) => KeyPart::Port(port),
        (None, None) => KeyPart::Other,
    }
}

/// The longest prefix around the addresses of a value.
fn prefix(value: &SetEntry) -> Option<Prefix> {
    match value {
        SetEntry::Net(prefix) => Some(*prefix),
        SetEntry::Range(range) => {
            let (first, last) = (*range.start(), *range.end());
            let bits = Family::of(first).bits();
            let differ = high_bits(first, bits) ^ high_bits(last, bits);
            let same = u8::try_from(differ.leading_zeros()).unwrap_or(u8::MAX);
            Some(Prefix::new(first, same))
        }
        SetEntry::Ports(..) | SetEntry::Mac(_) | SetEntry::Word(_) => None,
    }
}

fn one_port(value: &SetEntry) -> Option<u16> {
    match value {
        SetEntry::Ports(_, ports) if ports.start() == ports.end() => Some(*ports.start()),
        SetEntry::Ports(..)
        | SetEntry::Net(_)
        | SetEntry::Range(_)
        | SetEntry::Mac(_)
        | SetEntry::Word(_) => None,
    }
}

/// The first bits of an address, at the high end.
fn high_bits(address: IpAddr, length: u8) -> u128 {
    let bits = match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => address.into(),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128)));
    bits & mask.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use podwire_packet::Protocol;
    use proptest::prelude::*;

    use super::*;

    fn net(address: impl Into<IpAddr>, length: u8) -> SetEntry {
        SetEntry::Net(Prefix::new(address.into(), length))
    }

    fn places(elements: &Elements, key: &[KeyPart]) -> Vec<usize> {
        elements.candidates(key).map(|(place, _)| place).collect()
    }

    #[test]
    fn as_many_candidates_as_prefixes_around_the_address_in_a_set_of_100_000() {
        let networks = (0..100_000_u32).map(|n| net((n << 8).to_be_bytes(), 24));
        let wide = (0..4).map(|n| net([n, 0, 0, 0], 8));
        let values = networks.chain(wide);
        let elements: Elements = values.map(|value| (vec![value], Box::default())).collect();
        for n in (0..100_000).step_by(997) {
            let address = IpAddr::from((n << 8 | 7_u32).to_be_bytes());
            let found = places(&elements, &[KeyPart::Address(address)]);
            let wide = 100_000 + (n >> 16) as usize;
            assert_eq!(found, [n as usize, wide], "the longer prefix comes first");
        }
    }

    #[test]
    fn of_equal_elements_the_last_comes_first() {
        let element = |options: &str| (vec![net([10, 0, 0, 0], 8)], Box::from(options));
        let mut elements = Elements::from(vec![element(""), element("nomatch")]);
        let key = [KeyPart::Address(IpAddr::from([10, 0, 0, 1]))];
        assert_eq!(places(&elements, &key), [1, 0]);
        elements.push(element(""));
        assert_eq!(places(&elements, &key), [2, 1, 0], "it is found at once");
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        (prop::sample::select(&[10, 192][..]), 0..4_u8, 0..8_u8)
            .prop_map(|(a, b, c)| IpAddr::from([a, b, 0, c]))
    }

    /// The values of an address and a port.
    fn element() -> impl Strategy<Value = Element> {
        let addresses = prop_oneof![
            3 => (address(), 0..=32_u8).prop_map(|(address, length)| net(address, length)),
            1 => (address(), address())
                .prop_map(|(a, b)| SetEntry::Range(a.min(b)..=a.max(b))),
        ];
        let ports = prop_oneof![
            3 => (0..4_u16).prop_map(|port| SetEntry::Ports(Some(Protocol::TCP), port..=port)),
            1 => (0..4_u16, 0..4_u16)
                .prop_map(|(port, more)| SetEntry::Ports(None, port..=port + more)),
        ];
        (addresses, ports).prop_map(|(address, port)| (vec![address, port], Box::default()))
    }

    proptest! {
        #[test]
        fn no_element_that_holds_a_key_is_missing_from_the_candidates(
            list in prop::collection::vec(element(), 0..20),
            address in address(),
            port in 0..8_u16,
        ) {
            let key = [KeyPart::Address(address), KeyPart::Port(port)];
            let elements = Elements::from(list);
            let found = places(&elements, &key);
            let once: BTreeSet<usize> = found.iter().copied().collect();
            prop_assert_eq!(once.len(), found.len(), "each is there once");
            for (place, (values, _)) in elements.iter().enumerate() {
                let holds = values.iter().all(|value| match value {
                    SetEntry::Net(prefix) => prefix.contains(address),
                    SetEntry::Range(range) => range.contains(&address),
                    SetEntry::Ports(_, ports) => ports.contains(&port),
                    SetEntry::Mac(_) | SetEntry::Word(_) => false,
                });
                prop_assert!(!holds || once.contains(&place), "{:?}", values);
            }
        }
    }
}
