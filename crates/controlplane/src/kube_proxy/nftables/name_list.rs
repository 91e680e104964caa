//! Names in order.

use std::ops::RangeInclusive;

/// Names, one behind the other in one text.
#[derive(Clone, Debug, Default)]
pub(super) struct NameList {
    text: String,
    ends: Vec<usize>,
}

impl NameList {
    /// An empty list with room for as much.
    pub(super) fn room(&self) -> Self {
        Self {
            text: String::with_capacity(self.text.len()),
            ends: Vec::with_capacity(self.ends.len()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Adds the name that is made of these parts.
    pub(super) fn push(&mut self, parts: &[&str]) {
        for part in parts {
            self.text.push_str(part);
        }
        self.ends.push(self.text.len());
    }

    /// The name at a place.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn get(&self, place: usize) -> &str {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[place]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|place| self.get(place))
    }
}

/// The places of names in the order of their texts; of equal ones, the first comes first.
pub(super) fn sorted(names: &NameList) -> Vec<u32> {
    let mut places: Vec<(u64, u32)> = names.iter().map(rank).zip(0..).collect();
    places.sort_unstable();
    for alike in places.chunk_by_mut(|(a, _), (b, _)| a == b) {
        if alike.len() > 1 {
            alike.sort_by_key(|&(_, place)| names.get(place as usize));
        }
    }
    places.into_iter().map(|(_, place)| place).collect()
}

/// What the names of services' chains begin with, in order. A hash stands behind it.
const BEGINNINGS: [&str; 5] = ["endpoint-", "external-", "firewall-", "local-", "service-"];

/// The characters of a hash, and one on either side for all others.
const HASHED: RangeInclusive<u8> = b'2' - 1..=b'Z' + 1;

/// How many shelves there are.
pub(super) const SHELVES: usize =
    (2 * BEGINNINGS.len() + 1) * (*HASHED.end() - *HASHED.start() + 1) as usize;

/// One of [`SHELVES`] shelves, such that names on an earlier one come before those on a later one.
///
/// Nearly all names of a large table begin with one word: they are told apart by the first character of the
/// hash.
pub(super) fn shelf(name: &str) -> usize {
    let [word, character, ..] = rank(name).to_be_bytes();
    let character = character.clamp(*HASHED.start(), *HASHED.end()) - HASHED.start();
    usize::from(word) * usize::from(*HASHED.end() - *HASHED.start() + 1) + usize::from(character)
}

/// A number that names compare by, if theirs differ: which word it begins with, or between which it would
/// stand, and the first characters behind that word.
fn rank(name: &str) -> u64 {
    const CHARACTERS: usize = 7;
    for (number, beginning) in (1_u64..).step_by(2).zip(BEGINNINGS) {
        if let Some(rest) = name.strip_prefix(beginning) {
            let mut bytes = [0; 8];
            let length = rest.len().min(CHARACTERS);
            bytes[1..=length].copy_from_slice(&rest.as_bytes()[..length]);
            return (number << 56) | u64::from_be_bytes(bytes);
        }
    }
    let before = BEGINNINGS.partition_point(|beginning| *beginning <= name);
    (2 * before as u64) << 56
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(names: &[impl AsRef<str>]) -> NameList {
        let mut list = NameList::default();
        for name in names {
            list.push(&[name.as_ref()]);
        }
        list
    }

    #[test]
    fn a_list_has_its_names_in_order() {
        let mut list = list(&["service-a", "", "local"]);
        list.push(&["x-", "y"]);
        let names: Vec<&str> = list.iter().collect();
        assert_eq!(names, ["service-a", "", "local", "x-y"]);
        assert_eq!((list.len(), list.get(3)), (4, "x-y"));
    }

    proptest! {
        #[test]
        fn names_come_in_the_order_of_their_texts(
            names in prop::collection::vec(
                "(endpoint-|external-|firewall-|local-|service-|service|e|f)?[-A-B0/]{0,9}z?",
                0..40,
            ),
        ) {
            let mut expected: Vec<(&str, u32)> =
                names.iter().map(String::as_str).zip(0..).collect();
            expected.sort_unstable();
            let shelves: Vec<usize> = expected.iter().map(|(name, _)| shelf(name)).collect();
            prop_assert!(shelves.is_sorted() && shelves.iter().all(|shelf| *shelf < SHELVES));
            let places: Vec<u32> = expected.into_iter().map(|(_, place)| place).collect();
            prop_assert_eq!(sorted(&list(&names)), places);
        }
    }
}
