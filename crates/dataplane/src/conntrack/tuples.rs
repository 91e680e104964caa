//! The tuples of confirmed connections, each with what a packet that has it needs.
//!
//! Open addressing with linear probing, in lines of two cells: a tuple is in the line that its hash
//! names or, if that was full, in the next that was not. An IPv4 line is one cache line, so that an
//! established packet costs one access to memory: there is neither an array of tags before the cells
//! nor a pointer from them. That costs two copies of what is in [`Connection`], one a direction; the
//! table's owner writes them again when a connection changes.
//!
//! # Memory
//! A cell takes 32 bytes, or 96 for IPv6; a connection has two, one a direction. The table doubles when
//! it is five eighths full, so between 5/16 and 5/8 of the cells are taken once it has grown, and an
//! IPv4 connection costs 102 to 205 bytes of it, an IPv6 connection 307 to 614. A million IPv4
//! connections have 4,194,304 cells: 134 bytes each. It does not shrink.
//!
//! # Hostile tuples
//! The hash is keyed, since whoever sends packets chooses tuples, and tuples of one hash would make
//! every lookup near them as long as they are many. It is a multiplication a word, and not SipHash,
//! which the kernel uses (`hash_conntrack_raw`): it keeps out who does not know the key, not who can
//! measure lookups to learn it. Removal shifts back what stood behind, so that no tombstones are left
//! to walk over.

use podwire_packet::{FiveTuple, Headers, SimTime};

use super::packed::{Ends, Narrow, Packed, Wide};
use super::{Connection, Direction};

/// What a cell says, besides its tuple and the one that its packets get.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Facts {
    ports: u32,
    new_ports: u32,
    /// Where the connection is kept.
    pub(super) slot: u32,
    /// Until when it surely lives, as [`fresh`] counts; it may live longer, if packets went the other
    /// way.
    fresh: u16,
    protocol: u8,
    flags: u8,
}

impl Facts {
    const TAKEN: u8 = 1;
    const REPLY: u8 = 2;
    const SEEN_REPLY: u8 = 4;
    const SNAT: u8 = 8;
    const DNAT: u8 = 16;
    /// The connection has to be asked for its mark and translation: it has a mark, which few have, or
    /// its translation is of another family and does not fit into the cell.
    const ASIDE: u8 = 32;

    #[inline]
    const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Which way packets with the tuple go.
    #[inline]
    pub(super) const fn direction(&self) -> Direction {
        if self.has(Self::REPLY) {
            Direction::Reply
        } else {
            Direction::Original
        }
    }

    /// Whether packets went both ways, once one with the tuple has come.
    #[inline]
    pub(super) const fn is_answered(&self) -> bool {
        self.has(Self::SEEN_REPLY | Self::REPLY)
    }

    #[inline]
    pub(super) const fn snat(&self) -> bool {
        self.has(Self::SNAT)
    }

    #[inline]
    pub(super) const fn dnat(&self) -> bool {
        self.has(Self::DNAT)
    }

    /// Whether the connection has to be asked.
    #[inline]
    pub(super) const fn is_aside(&self) -> bool {
        self.has(Self::ASIDE)
    }

    /// Whether it lives for sure; if not, the connection has to be asked.
    #[inline]
    pub(super) fn is_fresh(&self, now: SimTime) -> bool {
        self.fresh > fresh(now)
    }

    pub(super) fn set_expires(&mut self, expires: SimTime) {
        self.fresh = fresh(expires);
    }
}

/// A moment in units of 2^33 ns, about 8.6 s, rounded down. All that is later than 6.5 days is one
/// moment: nothing is fresh then, and the connection is asked.
#[inline]
fn fresh(moment: SimTime) -> u16 {
    u16::try_from(moment.0 >> 33).unwrap_or(u16::MAX)
}

/// A tuple, and what becomes of packets that have it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Cell<E> {
    ends: E,
    pub(super) facts: Facts,
    new_ends: E,
}

impl<E: Ends> Cell<E> {
    /// What packets of a connection in a direction need, if they are of the family that `E` is for.
    fn of(connection: &Connection, slot: u32, direction: Direction) -> Option<Self> {
        let (tuple, target) = connection.ways(direction);
        let (own, target) = (Packed::<E>::of(&tuple)?, Packed::<E>::of(&target));
        let is_aside = connection.mark.0 != 0 || target.is_none();
        let target = target.unwrap_or(own);
        let flags = [
            (true, Facts::TAKEN),
            (direction == Direction::Reply, Facts::REPLY),
            (connection.seen_reply, Facts::SEEN_REPLY),
            (connection.snat, Facts::SNAT),
            (connection.dnat, Facts::DNAT),
            (is_aside, Facts::ASIDE),
        ];
        Some(Self {
            ends: own.ends,
            facts: Facts {
                ports: own.ports,
                new_ports: target.ports,
                slot,
                fresh: fresh(connection.expires),
                protocol: own.protocol,
                flags: flags
                    .iter()
                    .filter(|(holds, _)| *holds)
                    .fold(0, |all, (_, flag)| all | flag),
            },
            new_ends: target.ends,
        })
    }

    #[inline]
    const fn is_taken(&self) -> bool {
        self.facts.has(Facts::TAKEN)
    }

    const fn tuple(&self) -> Packed<E> {
        Packed {
            ends: self.ends,
            ports: self.facts.ports,
            protocol: self.facts.protocol,
        }
    }

    /// The packets' tuple once they are translated.
    #[inline]
    pub(super) const fn target(&self) -> Packed<E> {
        Packed {
            ends: self.new_ends,
            ports: self.facts.new_ports,
            protocol: self.facts.protocol,
        }
    }

    /// Zero if it is taken by that tuple.
    #[inline]
    fn difference(&self, tuple: &Packed<E>) -> u64 {
        let own = &self.facts;
        let free = (own.flags & Facts::TAKEN) ^ Facts::TAKEN;
        self.ends.difference(tuple.ends)
            | u64::from(own.ports ^ tuple.ports)
            | u64::from((own.protocol ^ tuple.protocol) | free)
    }
}

/// Two cells, which begin where a cache line does.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line<E>([Cell<E>; 2]);

/// The tuples of one kind. The number of lines is a power of two; one cell at least is free.
#[derive(Clone, Debug)]
struct Table<E> {
    lines: Vec<Line<E>>,
    taken: usize,
}

impl<E: Ends> Table<E> {
    fn new() -> Self {
        Self {
            lines: vec![Line::default()],
            taken: 0,
        }
    }

    /// The line where a tuple of that hash belongs.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        let mask = self.lines.len() - 1;
        usize::try_from(hash & mask as u64).unwrap_or(0)
    }

    #[inline(always)]
    fn find(&self, tuple: &Packed<E>, hash: u64) -> Option<&Cell<E>> {
        let mut at = self.home(hash);
        loop {
            let Line(cells) = self.lines.get(at)?;
            let [first, second] = cells;
            // Which of both it is depends on chance: a branch here would be mispredicted, and would
            // keep the next packet's lookup from beginning while memory is waited for.
            let cell = &cells[usize::from(first.difference(tuple) != 0)];
            if cell.difference(tuple) == 0 {
                return Some(cell);
            }
            if !second.is_taken() {
                return None;
            }
            at = (at + 1) & (self.lines.len() - 1);
        }
    }

    /// Reads the line where the tuple should be, so that it is near when it is looked up.
    #[inline]
    fn touch(&self, hash: u64) -> u32 {
        let line = self.lines.get(self.home(hash));
        line.map_or(0, |Line([first, _])| first.facts.ports)
    }

    fn cell(&mut self, place: usize) -> &mut Cell<E> {
        let Line(cells) = &mut self.lines[place / 2];
        &mut cells[place % 2]
    }

    /// Where the tuple is, or else where it would go.
    fn place(&mut self, tuple: &Packed<E>, key: u64) -> usize {
        let last = self.lines.len() * 2 - 1;
        let mut place = self.home(tuple.hash(key)) * 2;
        loop {
            let cell = self.cell(place);
            if !cell.is_taken() || cell.difference(tuple) == 0 {
                return place;
            }
            place = (place + 1) & last;
        }
    }

    fn facts_mut(&mut self, tuple: &Packed<E>, key: u64) -> Option<&mut Facts> {
        let place = self.place(tuple, key);
        let cell = self.cell(place);
        cell.is_taken().then_some(&mut cell.facts)
    }

    /// Writes a cell, over the one of the same tuple if there is any.
    fn insert(&mut self, cell: Cell<E>, key: u64) {
        if (self.taken + 1) * 8 > self.lines.len() * 2 * 5 {
            let twice = vec![Line::default(); self.lines.len() * 2];
            let lines = std::mem::replace(&mut self.lines, twice);
            let cells = lines.iter().flat_map(|Line(cells)| cells);
            for cell in cells.filter(|cell| cell.is_taken()) {
                let place = self.place(&cell.tuple(), key);
                *self.cell(place) = *cell;
            }
        }
        let place = self.place(&cell.tuple(), key);
        let at = self.cell(place);
        let is_new = !at.is_taken();
        *at = cell;
        self.taken += usize::from(is_new);
    }

    /// Removes a tuple, and shifts back those behind it that can then be nearer to their home.
    fn remove(&mut self, tuple: &Packed<E>, key: u64) {
        let last = self.lines.len() * 2 - 1;
        let mut hole = self.place(tuple, key);
        if !self.cell(hole).is_taken() {
            return;
        }
        self.taken -= 1;
        let mut behind = hole;
        loop {
            behind = (behind + 1) & last;
            let cell = *self.cell(behind);
            if !cell.is_taken() {
                break;
            }
            let home = self.home(cell.tuple().hash(key)) * 2;
            let distance = behind.wrapping_sub(home) & last;
            if distance >= behind.wrapping_sub(hole) & last {
                *self.cell(hole) = cell;
                hole = behind;
            }
        }
        *self.cell(hole) = Cell::default();
    }
}

/// What was found of a tuple.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    Narrow(&'a Cell<Narrow>),
    Wide(&'a Cell<Wide>),
}

impl<'a> Found<'a> {
    #[inline]
    pub(super) const fn facts(self) -> &'a Facts {
        match self {
            Self::Narrow(cell) => &cell.facts,
            Self::Wide(cell) => &cell.facts,
        }
    }

    #[inline]
    pub(super) fn target(self) -> FiveTuple {
        match self {
            Self::Narrow(cell) => cell.target().unpack(),
            Self::Wide(cell) => cell.target().unpack(),
        }
    }
}

/// The tuples of confirmed connections.
#[derive(Clone, Debug)]
pub(super) struct Tuples {
    narrow: Table<Narrow>,
    wide: Table<Wide>,
    key: u64,
}

impl Tuples {
    pub(super) fn new(key: u64) -> Self {
        Self {
            narrow: Table::new(),
            wide: Table::new(),
            key,
        }
    }

    pub(super) fn find(&self, tuple: &FiveTuple) -> Option<Found<'_>> {
        match Packed::of(tuple) {
            Some(narrow) => self.find_narrow(&narrow),
            None => self.find_wide(&Packed::of(tuple)?),
        }
    }

    /// Finds the tuple of a packet. IPv4 stays in the caller's loop, so that the processor can begin with
    /// the next packet while memory is waited for.
    #[inline(always)]
    pub(super) fn find_packet(&self, headers: &Headers) -> Option<Found<'_>> {
        match Packed::of_packet(headers) {
            Some(narrow) => self.find_narrow(&narrow),
            None => self.find_wide(&Packed::of_packet(headers)?),
        }
    }

    #[inline(always)]
    fn find_narrow(&self, tuple: &Packed<Narrow>) -> Option<Found<'_>> {
        let found = self.narrow.find(tuple, tuple.hash(self.key));
        found.map(Found::Narrow)
    }

    #[inline(never)]
    fn find_wide(&self, tuple: &Packed<Wide>) -> Option<Found<'_>> {
        let found = self.wide.find(tuple, tuple.hash(self.key));
        found.map(Found::Wide)
    }

    /// Reads what [`find_packet`](Self::find_packet) will need, so that it is near then.
    #[inline]
    pub(super) fn touch(&self, headers: &Headers) -> u32 {
        match Packed::<Narrow>::of_packet(headers) {
            Some(narrow) => self.narrow.touch(narrow.hash(self.key)),
            None => Packed::<Wide>::of_packet(headers)
                .map_or(0, |wide| self.wide.touch(wide.hash(self.key))),
        }
    }

    pub(super) fn facts_mut(&mut self, tuple: &FiveTuple) -> Option<&mut Facts> {
        if let Some(narrow) = Packed::of(tuple) {
            self.narrow.facts_mut(&narrow, self.key)
        } else {
            self.wide.facts_mut(&Packed::of(tuple)?, self.key)
        }
    }

    /// Enters a direction of a connection, over whatever had its tuple.
    pub(super) fn insert(&mut self, connection: &Connection, slot: u32, direction: Direction) {
        if let Some(cell) = Cell::of(connection, slot, direction) {
            self.narrow.insert(cell, self.key);
        } else if let Some(cell) = Cell::of(connection, slot, direction) {
            self.wide.insert(cell, self.key);
        }
    }

    pub(super) fn remove(&mut self, tuple: &FiveTuple) {
        if let Some(narrow) = Packed::of(tuple) {
            self.narrow.remove(&narrow, self.key);
        } else if let Some(wide) = Packed::of(tuple) {
            self.wide.remove(&wide, self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cells_of_ipv4_are_one_cache_line() {
        assert_eq!(size_of::<Cell<Narrow>>(), 32);
        assert_eq!(size_of::<Line<Narrow>>(), 64);
        assert_eq!(size_of::<Cell<Wide>>(), 96);
        assert_eq!(size_of::<Line<Wide>>(), 192);
    }
}
