//! What an established packet learns from one lookup.

use podwire_packet::{FiveTuple, Headers, Mark, SimTime};
use podwire_ruleset::CtState;

use super::tuples::{Found, Wanted};
use super::{Connection, Conntrack, Direction, tuple_of};

/// How many lookups [`Conntrack::lookup_batch`] overlaps.
const BATCH: usize = 64;

/// A tuple's entry in the table: what is to be done with packets that have it.
///
/// A view: what it says is read when it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    found: Found<'a>,
    /// The connection, if the entry does not say all of it.
    aside: Option<&'a Connection>,
}

impl Entry<'_> {
    /// State of a packet with the tuple: established once packets went both ways, this one among them.
    #[must_use]
    #[inline]
    pub const fn state(&self) -> CtState {
        match self.direction() {
            Direction::Reply => CtState::Established,
            Direction::Original if self.found.facts().seen_reply() => CtState::Established,
            Direction::Original => CtState::New,
        }
    }

    /// Which way it goes.
    #[must_use]
    #[inline]
    pub const fn direction(&self) -> Direction {
        self.found.facts().direction()
    }

    /// The connection's mark.
    #[must_use]
    #[inline]
    pub fn mark(&self) -> Mark {
        self.aside.map_or(Mark(0), |connection| connection.mark)
    }

    /// Whether the connection's source is translated.
    #[must_use]
    #[inline]
    pub const fn snat(&self) -> bool {
        self.found.facts().snat()
    }

    /// Whether the connection's destination is translated.
    #[must_use]
    #[inline]
    pub const fn dnat(&self) -> bool {
        self.found.facts().dnat()
    }

    /// The packet's tuple once every hook has translated it: its own, if nothing is translated.
    #[must_use]
    #[inline]
    pub fn target(&self) -> FiveTuple {
        match self.aside {
            None => self.found.target(),
            Some(connection) => connection.ways(self.direction()).1,
        }
    }
}

impl Conntrack {
    /// Looks a packet up: an entry exactly where [`track`](Self::track) would find a confirmed
    /// connection, with the same state and direction. It changes nothing: the packet does not make the
    /// connection live longer.
    ///
    /// # Cost
    /// One access to memory for IPv4, but for chance: at half the table's limit one tuple in eleven is
    /// in the next line. The connection itself is asked if it has a mark, or if it is not sure to live:
    /// packets went only the other way for long, or its timeout is seconds. No allocation.
    #[must_use]
    #[inline]
    pub fn lookup(&self, headers: &Headers, now: SimTime) -> Option<Entry<'_>> {
        self.entry(&self.tuples.wanted(&tuple_of(headers))?, now)
    }

    /// Looks many packets up, as [`lookup`](Self::lookup) does each, but so that one does not wait for
    /// the memory of the other: 64 at a time.
    ///
    /// Answers are written as far as there is room for them.
    pub fn lookup_batch<'a>(
        &'a self,
        packets: &[Headers],
        now: SimTime,
        answers: &mut [Option<Entry<'a>>],
    ) {
        let batches = packets.chunks(BATCH).zip(answers.chunks_mut(BATCH));
        for (packets, answers) in batches {
            let mut wanted = [None; BATCH];
            let mut touched = 0;
            for (wanted, headers) in wanted.iter_mut().zip(packets) {
                *wanted = self.tuples.wanted(&tuple_of(headers));
                touched |= wanted.as_ref().map_or(0, |one| self.tuples.touch(one));
            }
            // What was read is not needed, but that it was.
            std::hint::black_box(touched);
            for (answer, wanted) in answers.iter_mut().zip(&wanted).take(packets.len()) {
                *answer = wanted.as_ref().and_then(|one| self.entry(one, now));
            }
        }
    }

    #[inline]
    fn entry(&self, wanted: &Wanted, now: SimTime) -> Option<Entry<'_>> {
        let found = self.tuples.find(wanted)?;
        let facts = found.facts();
        let aside = if facts.is_fresh(now) && !facts.is_aside() {
            None
        } else {
            let connection = self.slots.get(facts.slot)?;
            if connection.expires <= now {
                return None;
            }
            facts.is_aside().then_some(connection)
        };
        Some(Entry { found, aside })
    }
}
