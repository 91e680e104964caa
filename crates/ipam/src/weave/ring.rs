//! Who owns which range.

use std::net::Ipv4Addr;

use podwire_packet::{MacAddr, Prefix};

use super::span::{Span, number};

/// A range from its token to the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the range begins.
    pub token: u64,
    /// The peer that owns it.
    pub peer: MacAddr,
    /// How often the entry has changed; of two views of it the newer is right.
    pub version: u32,
    /// How many of its addresses are free, as the owner said last.
    pub free: u64,
}

/// The ring of all ranges: each belongs to one peer. Empty until peers have agreed to share it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    universe: Prefix,
    pub(super) span: Span,
    /// In order of their tokens, none of which is there twice.
    pub(super) entries: Vec<Entry>,
    pub(super) seeds: Vec<MacAddr>,
}

/// Added to an entry's version when a range is taken over, so that no older change outdoes it.
const TRANSFER: u32 = 100;

impl Ring {
    /// A ring over an IPv4 prefix that nobody owns yet.
    #[must_use]
    pub fn new(universe: Prefix) -> Self {
        Self {
            universe,
            span: Span::of(universe),
            entries: Vec::new(),
            seeds: Vec::new(),
        }
    }

    /// The prefix whose addresses are shared out.
    #[must_use]
    pub const fn universe(&self) -> Prefix {
        self.universe
    }

    /// The entries in order of their tokens.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The peers that it was shared out among at first, in order.
    #[must_use]
    pub fn seeds(&self) -> &[MacAddr] {
        &self.seeds
    }

    /// Whether nobody owns anything yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Shares the universe out among peers, halving it again and again, in the order of their names;
    /// where there are more peers than addresses, some get nothing. Without peers, or where it has been
    /// shared out before, nothing happens.
    pub fn seed(&mut self, peers: &[MacAddr]) {
        if !self.is_empty() {
            return;
        }
        let mut peers = peers.to_vec();
        peers.sort_unstable();
        peers.dedup();
        self.subdivide(self.span, &peers);
        self.seeds = peers;
    }

    fn subdivide(&mut self, span: Span, peers: &[MacAddr]) {
        let Some((&first, others)) = peers.split_first() else {
            return;
        };
        match span.size() {
            0 => {}
            size if size == 1 || others.is_empty() => self.entries.push(Entry {
                token: span.start,
                peer: first,
                version: 0,
                free: size,
            }),
            size => {
                let middle = span.start + size / 2;
                let (lower, upper) = peers.split_at(peers.len() / 2);
                let (start, end) = (span.start, middle);
                self.subdivide(Span { start, end }, lower);
                let (start, end) = (middle + size % 2, span.end);
                self.subdivide(Span { start, end }, upper);
            }
        }
    }

    /// The end of the range that begins at entry `at`: the next token, or the end of the ring.
    pub(super) fn end_of(&self, at: usize) -> u64 {
        self.entries
            .get(at + 1)
            .map_or(self.span.end, |next| next.token)
    }

    pub(super) fn range(&self, at: usize) -> Span {
        Span {
            start: self.entries[at].token,
            end: self.end_of(at),
        }
    }

    /// The ranges of a peer in order. Neighbours of one owner stay apart.
    pub fn owned(&self, peer: MacAddr) -> impl Iterator<Item = Span> {
        let mine = self.entries.iter().enumerate();
        mine.filter(move |(_, entry)| entry.peer == peer)
            .map(|(at, _)| self.range(at))
    }

    /// The peer that owns an address.
    #[must_use]
    pub fn owner(&self, address: Ipv4Addr) -> Option<MacAddr> {
        let inside = self.span.contains(address);
        let after = self
            .entries
            .partition_point(|entry| entry.token <= number(address));
        let at = after.checked_sub(1).filter(|_| inside)?;
        Some(self.entries[at].peer)
    }

    /// Makes `span`, which must lie in ranges of one peer, another's: there is a token at its start
    /// and, unless one is there already, one at its end for what remains.
    pub fn grant(&mut self, span: Span, to: MacAddr) {
        let after = self
            .entries
            .partition_point(|entry| entry.token <= span.start);
        let (Some(mut at), false) = (after.checked_sub(1), span.is_empty()) else {
            return;
        };
        let owner = self.entries[at].peer;
        let first_end = self.end_of(at);
        let free = span.end.min(first_end) - span.start;
        if self.entries[at].token == span.start {
            self.entries[at].change(to, free);
        } else {
            let before = &mut self.entries[at];
            before.change(owner, span.start - before.token);
            at += 1;
            self.entries.insert(at, Entry::new(span.start, to, free));
        }
        at += 1;
        while at < self.entries.len() && self.entries[at].token < span.end {
            let room = span.end - self.entries[at].token;
            let free = self.entries[at].free.min(room);
            self.entries[at].change(to, free);
            at += 1;
        }
        let next = self
            .entries
            .get(at)
            .map_or(self.span.end, |entry| entry.token);
        if span.end < next {
            let rest = Entry::new(span.end, owner, next - span.end);
            self.entries.insert(at, rest);
        }
    }

    /// Makes all ranges of a peer another's, whatever the first has given of them (`weave rmpeer`);
    /// which ranges these are.
    pub fn transfer(&mut self, from: MacAddr, to: MacAddr) -> Vec<Span> {
        let gained: Vec<Span> = self.owned(from).collect();
        for entry in self.entries.iter_mut().filter(|entry| entry.peer == from) {
            entry.peer = to;
            entry.version = entry.version.saturating_add(TRANSFER);
        }
        gained
    }

    /// Notes what its owner says is free of each of a peer's ranges.
    pub fn report_free(&mut self, peer: MacAddr, free_in: impl Fn(Span) -> u64) {
        for at in 0..self.entries.len() {
            let free = free_in(self.range(at));
            let entry = &mut self.entries[at];
            if entry.peer == peer && entry.free != free {
                entry.free = free;
                entry.version = entry.version.saturating_add(1);
            }
        }
    }
}

impl Entry {
    const fn new(token: u64, peer: MacAddr, free: u64) -> Self {
        Self {
            token,
            peer,
            version: 0,
            free,
        }
    }

    const fn change(&mut self, peer: MacAddr, free: u64) {
        self.peer = peer;
        self.free = free;
        self.version = self.version.saturating_add(1);
    }
}
