//! Where the items of one list stand in another.

use std::ops::Range;

use crate::program::to_u32;

/// Places of the items that two lists share, as runs of neighbours: a few where the lists are nearly the
/// same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Box<[Run]>);

#[derive(Clone, Copy, Debug)]
struct Run {
    from: u32,
    to: u32,
    len: u32,
}

impl Runs {
    /// Of pairs of places, ascending by the first.
    pub(crate) fn of(pairs: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for (from, to) in pairs {
            match runs.last_mut() {
                Some(run) if (run.from + run.len, run.to + run.len) == (from, to) => run.len += 1,
                Some(_) | None => runs.push(Run { from, to, len: 1 }),
            }
        }
        Self(runs.into_boxed_slice())
    }

    /// The place of an item in the second list, if it is there.
    pub(crate) fn place_of(&self, item: u32) -> Option<u32> {
        let behind = self.0.partition_point(|run| run.from <= item);
        let run = self.0[..behind].last()?;
        let ahead = item - run.from;
        (ahead < run.len).then_some(run.to + ahead)
    }

    /// Where the items stand in the first list that stand in a range of the second; both lists have them
    /// in the same order, and the first is so long.
    pub(crate) fn between(&self, places: Range<u32>, len: u32) -> Range<u32> {
        let start = self.at_or_behind(places.start, len);
        start..self.at_or_behind(places.end, len).max(start)
    }

    /// The place in the first list of the first item from a place of the second list on.
    fn at_or_behind(&self, place: u32, len: u32) -> u32 {
        let behind = self.0.partition_point(|run| run.to + run.len <= place);
        self.0
            .get(behind)
            .map_or(len, |run| run.from + place.saturating_sub(run.to))
    }

    /// How many items there are.
    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|run| run.len).sum()
    }

    /// How many runs there are.
    pub(crate) fn runs(&self) -> u32 {
        to_u32(self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Runs;

    #[test]
    fn items_are_found_both_ways() {
        // Of the list a to f, b and e are gone in the other, which begins with another item.
        let runs = Runs::of([(0, 1), (2, 2), (3, 3), (5, 4)]);
        let places: Vec<_> = (0..7).map(|item| runs.place_of(item)).collect();
        assert_eq!(
            places,
            [Some(1), None, Some(2), Some(3), None, Some(4), None]
        );
        assert_eq!((runs.count(), runs.runs()), (4, 3));
        assert_eq!(runs.between(0..u32::MAX, 6), 0..6);
        assert_eq!(runs.between(0..1, 6), 0..0);
        assert_eq!(runs.between(2..4, 6), 2..5);
        assert_eq!(runs.between(5..9, 6), 6..6);
    }
}
