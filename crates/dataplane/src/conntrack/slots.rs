//! The connections themselves, where established packets do not look.

use std::collections::BTreeSet;

use podwire_packet::SimTime;

use super::{Connection, ConnectionId};

/// No slot.
const NONE: u32 = u32::MAX;

/// A connection, or a place for one.
#[derive(Clone, Debug)]
struct Slot {
    /// Number of the connection; `None` if the slot is free.
    number: Option<u64>,
    /// The one made before it.
    before: u32,
    /// The one made after it; of a free slot the next free one.
    after: u32,
    /// Its place in `by_expiry`; not later than when it expires.
    listed: SimTime,
    connection: Connection,
}

/// Connections, in the order in which they were made. Each step takes the same time however many there
/// are, or grows with their logarithm where expiry is looked at.
///
/// A packet makes its connection live longer without a word to `by_expiry`, so a packet costs no
/// reordering: who is found there too early is listed anew then.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    by_expiry: BTreeSet<(SimTime, u32)>,
    first: u32,
    last: u32,
    free: u32,
    len: usize,
    next: u64,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            by_expiry: BTreeSet::new(),
            first: NONE,
            last: NONE,
            free: NONE,
            len: 0,
            next: 0,
        }
    }
}

impl Slots {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The slot of a connection that is still there.
    pub(super) fn slot(&self, id: ConnectionId) -> Option<u32> {
        let slot = self.slots.get(id.slot as usize)?;
        (slot.number == Some(id.number)).then_some(id.slot)
    }

    /// The id of the connection in a slot.
    pub(super) fn id(&self, slot: u32) -> Option<ConnectionId> {
        let number = self.slots.get(slot as usize)?.number?;
        Some(ConnectionId { number, slot })
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Connection> {
        let slot = self.slots.get(slot as usize)?;
        slot.number.is_some().then_some(&slot.connection)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(slot as usize)?;
        slot.number.is_some().then_some(&mut slot.connection)
    }

    /// The slot of the first connection, or of the one made after that in `slot`.
    pub(super) fn after(&self, slot: Option<u32>) -> Option<u32> {
        let after = slot.map_or(Some(self.first), |slot| {
            Some(self.slots.get(slot as usize)?.after)
        });
        after.filter(|after| *after != NONE)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Connection> {
        let slots = std::iter::successors(self.after(None), |slot| self.after(Some(*slot)));
        slots.filter_map(|slot| self.get(slot))
    }

    /// Adds a connection, unless there are 2^32 - 1.
    pub(super) fn insert(&mut self, connection: Connection) -> Option<ConnectionId> {
        let listed = connection.expires;
        let slot = Slot {
            number: Some(self.next),
            before: self.last,
            after: NONE,
            listed,
            connection,
        };
        let at = if self.free == NONE {
            let at = u32::try_from(self.slots.len()).ok();
            let at = at.filter(|at| *at != NONE)?;
            self.slots.push(slot);
            at
        } else {
            let at = self.free;
            let old = std::mem::replace(&mut self.slots[at as usize], slot);
            self.free = old.after;
            at
        };
        match self.slots.get_mut(self.last as usize) {
            Some(last) => last.after = at,
            None => self.first = at,
        }
        self.last = at;
        self.by_expiry.insert((listed, at));
        self.len += 1;
        let number = self.next;
        self.next += 1;
        Some(ConnectionId { number, slot: at })
    }

    /// Frees a slot; returns the connection that was there.
    pub(super) fn remove(&mut self, at: u32) -> Option<Connection> {
        let slot = self.slots.get_mut(at as usize)?;
        slot.number.take()?;
        let (before, after) = (slot.before, slot.after);
        slot.after = self.free;
        self.free = at;
        self.by_expiry.remove(&(slot.listed, at));
        let connection = slot.connection.clone();
        match self.slots.get_mut(before as usize) {
            Some(before) => before.after = after,
            None => self.first = after,
        }
        match self.slots.get_mut(after as usize) {
            Some(after) => after.before = before,
            None => self.last = before,
        }
        self.len -= 1;
        Some(connection)
    }

    /// Sets when a connection expires.
    pub(super) fn set_expires(&mut self, at: u32, expires: SimTime) {
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.connection.expires = expires;
            if expires < slot.listed {
                self.list_anew(at);
            }
        }
    }

    /// The slot of a connection that has expired, if there is any: of those that expired first.
    pub(super) fn expired(&mut self, now: SimTime) -> Option<u32> {
        while let Some(&(listed, at)) = self.by_expiry.first()
            && listed <= now
        {
            if self.get(at)?.expires <= now {
                return Some(at);
            }
            self.list_anew(at);
        }
        None
    }

    fn list_anew(&mut self, at: u32) {
        if let Some(slot) = self.slots.get_mut(at as usize) {
            self.by_expiry.remove(&(slot.listed, at));
            slot.listed = slot.connection.expires;
            self.by_expiry.insert((slot.listed, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_as_large_as_is_said() {
        assert_eq!(size_of::<Slot>(), 136);
        assert_eq!(size_of::<(SimTime, u32)>(), 16);
    }
}
