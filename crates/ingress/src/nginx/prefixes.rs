//! The longest of many prefixes.

/// Byte strings with a value each, of which the longest that begins another one is found.
///
/// They stand in byte order, and each knows the longest other that begins it. All that stands between
/// a prefix of a text and the text itself begins with that prefix; so the last entry not behind the text
/// has the longest prefix among those that begin it.
#[derive(Clone, Debug)]
pub struct Prefixes<V> {
    entries: Vec<Entry<V>>,
}

#[derive(Clone, Debug)]
struct Entry<V> {
    text: Box<[u8]>,
    /// The longest other entry that begins this one.
    above: Option<usize>,
    value: V,
}

impl<V> Default for Prefixes<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<V> FromIterator<(Box<[u8]>, V)> for Prefixes<V> {
    /// Of two that are the same the first counts.
    fn from_iter<I: IntoIterator<Item = (Box<[u8]>, V)>>(prefixes: I) -> Self {
        let mut all: Vec<_> = prefixes.into_iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.dedup_by(|(later, _), (first, _)| later == first);
        let mut entries: Vec<Entry<V>> = Vec::with_capacity(all.len());
        for (text, value) in all {
            let mut above = entries.len().checked_sub(1);
            while let Some(index) = above
                && !text.starts_with(&entries[index].text)
            {
                above = entries[index].above;
            }
            entries.push(Entry { text, above, value });
        }
        Self { entries }
    }
}

impl<V> Prefixes<V> {
    /// Prefixes of a text with their values, the longest first.
    ///
    /// # Cost
    /// A binary search, then a step for each entry that begins the one found, and no allocation.
    pub fn of<'p>(&'p self, text: &[u8]) -> impl Iterator<Item = (&'p [u8], &'p V)> {
        let behind = self.entries.partition_point(|entry| *entry.text <= *text);
        let first = behind.checked_sub(1);
        std::iter::successors(first, |&index| self.entries[index].above)
            .map(|index| &self.entries[index])
            .filter(|entry| text.starts_with(&entry.text))
            .map(|entry| (&*entry.text, &entry.value))
    }
}
