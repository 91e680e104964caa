//! What an established packet learns from one lookup.

use podwire_packet::{FiveTuple, Headers, Mark, SimTime};
use podwire_ruleset::CtState;

use super::tuples::Found;
use super::{Connection, Conntrack, Direction};

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
        // One test for both, since which way a packet goes is anybody's guess.
        if self.found.facts().is_answered() {
            CtState::Established
        } else {
            CtState::New
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
    #[inline(always)]
    pub fn lookup(&self, headers: &Headers, now: SimTime) -> Option<Entry<'_>> {
        let found = self.tuples.find_packet(headers)?;
        let facts = found.facts();
        if facts.is_fresh(now) && !facts.is_aside() {
            return Some(Entry { found, aside: None });
        }
        self.entry_of_connection(found, now)
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
            let touch = |all, headers| all | self.tuples.touch(headers);
            let touched = packets.iter().fold(0, touch);
            // What was read is not needed, but that it was.
            std::hint::black_box(touched);
            for (answer, headers) in answers.iter_mut().zip(packets) {
                *answer = self.lookup(headers, now);
            }
        }
    }

    /// The entry, where the connection has to be asked.
    #[cold]
    fn entry_of_connection<'a>(&'a self, found: Found<'a>, now: SimTime) -> Option<Entry<'a>> {
        let facts = found.facts();
        let connection = self.slots.get(facts.slot)?;
        let aside = facts.is_aside().then_some(connection);
        (connection.expires > now).then_some(Entry { found, aside })
    }
}
