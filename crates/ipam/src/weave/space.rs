//! The addresses of one peer.

use std::net::Ipv4Addr;

use super::span::{Span, Spans, address, number};

/// The addresses of the ranges that one peer owns: those that it has given, and those that are free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    given: Spans,
    free: Spans,
}

impl Space {
    /// Gives the lowest free address of a span.
    pub fn allocate(&mut self, span: Span) -> Option<Ipv4Addr> {
        let start = self.free.within(span).next()?.start;
        self.take(start);
        Some(address(start))
    }

    /// Gives a chosen address; whether it was free.
    pub fn claim(&mut self, chosen: Ipv4Addr) -> bool {
        let number = number(chosen);
        let is_free = self.free.contains(number);
        if is_free {
            self.take(number);
        }
        is_free
    }

    /// Takes an address back; whether it was given.
    pub fn free(&mut self, given: Ipv4Addr) -> bool {
        let start = number(given);
        let is_given = self.given.contains(start);
        if is_given {
            let end = start + 1;
            self.given.subtract(Span { start, end });
            self.free.add(Span { start, end });
        }
        is_given
    }

    /// Gives a part of a span away, for another peer to own: of the biggest block of free addresses
    /// that is a prefix, all, or the upper half where the block is more than half of what is free.
    /// Of blocks of one size the last goes.
    pub fn donate(&mut self, span: Span) -> Option<Span> {
        let blocks = self.free.within(span).map(Span::biggest_prefix);
        // `max_by_key` names the last of several.
        let mut block = blocks.max_by_key(|block| block.size())?;
        if block.size() > self.free_in(span) / 2 {
            block.start += block.size() / 2;
        }
        self.given.subtract(block);
        self.free.subtract(block);
        Some(block)
    }

    /// Takes in ranges that the peer owns: what was not its own before is free.
    pub fn own(&mut self, ranges: impl IntoIterator<Item = Span>) {
        let mut gained = Spans::default();
        ranges.into_iter().for_each(|range| gained.add(range));
        for mine in self.given.iter().chain(self.free.iter()) {
            gained.subtract(mine);
        }
        for span in gained.iter() {
            self.free.add(span);
        }
    }

    /// Forgets all addresses: the peer owns none any more.
    pub fn clear(&mut self) {
        self.given.clear();
        self.free.clear();
    }

    /// How many addresses are free.
    #[must_use]
    pub fn free_count(&self) -> u64 {
        self.free.iter().map(Span::size).sum()
    }

    /// How many addresses of a span are free.
    #[must_use]
    pub fn free_in(&self, span: Span) -> u64 {
        self.free.within(span).map(Span::size).sum()
    }

    /// Whether an address of a span has been given.
    #[must_use]
    pub fn has_given(&self, span: Span) -> bool {
        self.given.within(span).next().is_some()
    }

    fn take(&mut self, start: u64) {
        let end = start + 1;
        self.free.subtract(Span { start, end });
        self.given.add(Span { start, end });
    }
}
