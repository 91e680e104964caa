//! Connection tracking.
//!
//! Two structures: `tuples`, a table of what packets of confirmed connections need, by tuple, for both
//! directions; and `slots`, the connections themselves with their order and expiry. A packet of an
//! established flow needs the first alone ([`Conntrack::lookup`], **the hot function**).
//!
//! # Memory
//! For an IPv4 connection 102 to 205 bytes in `tuples` (134 with a million connections; IPv6 three
//! times that), 136 in `slots`, and about 30 in the order of expiry; both grow by doubling. No more
//! than [`Conntrack::max`] connections are held.
//!
//! Source: net/netfilter/nf_conntrack_core.c and nf_conntrack_proto_*.c; timeouts:
//! Documentation/networking/nf_conntrack-sysctl.rst.

mod entry;
mod packed;
mod slots;
mod tuples;

use std::time::Duration;

use podwire_packet::{FiveTuple, Headers, Mark, Protocol, SimTime, TcpFlags};
use podwire_ruleset::{ConntrackInfo, CtDirection, CtState, CtStatuses, IpvsInfo};

pub use entry::Entry;
use slots::Slots;
use tuples::Tuples;

use crate::Manip;

/// A connection in its table, as long as the table lives; in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    number: u64,
    slot: u32,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The way of its first packet.
    Original,
    /// The way back.
    Reply,
}

impl Direction {
    const BOTH: [Self; 2] = [Self::Original, Self::Reply];
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its first packet, before any translation.
    pub original: FiveTuple,
    /// A packet back, before any translation of it.
    pub reply: FiveTuple,
    /// Whether packets went both ways.
    pub seen_reply: bool,
    /// Whether its first packet left the namespace, or reached a socket.
    pub confirmed: bool,
    /// Whether its source is translated.
    pub snat: bool,
    /// Whether its destination is translated.
    pub dnat: bool,
    /// Its mark.
    pub mark: Mark,
    /// When it is forgotten.
    pub expires: SimTime,
    /// Whether its source has been decided on, be it to stay (`IPS_SRC_NAT_DONE`).
    pub(crate) source_settled: bool,
    /// Whether its destination has been decided on (`IPS_DST_NAT_DONE`).
    pub(crate) destination_settled: bool,
}

impl Connection {
    /// The tuple of packets of a direction as they come, and once they are translated.
    #[inline]
    pub(crate) const fn ways(&self, direction: Direction) -> (FiveTuple, FiveTuple) {
        match direction {
            Direction::Original => (self.original, self.reply.reversed()),
            Direction::Reply => (self.reply, self.original.reversed()),
        }
    }

    /// What a rule may ask about a packet of it.
    pub(crate) fn info(&self, state: CtState, direction: Direction, now: SimTime) -> ConntrackInfo {
        let mut status = 0;
        if self.seen_reply {
            status |= CtStatuses::SEEN_REPLY.0;
        }
        if self.confirmed {
            status |= CtStatuses::CONFIRMED.0;
        }
        ConntrackInfo {
            state,
            snat: self.snat,
            dnat: self.dnat,
            status: CtStatuses(status),
            direction: match direction {
                Direction::Original => CtDirection::Original,
                Direction::Reply => CtDirection::Reply,
            },
            mark: self.mark,
            original: Some(self.original),
            reply: Some(self.reply),
            expires_seconds: u32::try_from((self.expires - now).as_secs()).unwrap_or(u32::MAX),
            ipvs: IpvsInfo::Untouched,
        }
    }
}

/// Why a connection could not be tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection table is full")]
pub struct ConntrackFull;

/// The connections of a namespace.
#[derive(Clone, Debug)]
pub struct Conntrack {
    /// How many it may hold: sysctl `net.netfilter.nf_conntrack_max`.
    pub max: usize,
    /// How long it remembers them.
    pub timeouts: Timeouts,
    slots: Slots,
    /// Confirmed connections, by both directions.
    tuples: Tuples,
}

impl Default for Conntrack {
    fn default() -> Self {
        Self::keyed(0)
    }
}

impl Conntrack {
    /// `nf_conntrack_max` as kube-proxy sets it on a node of up to four cores.
    pub const MAX: usize = 131_072;

    /// A table whose hash has that key. Answers do not depend on it: it is for who tracks packets of
    /// strangers, and draws it once (`nf_conntrack_hash_rnd`).
    #[must_use]
    pub fn keyed(key: u64) -> Self {
        Self {
            max: Self::MAX,
            timeouts: Timeouts::default(),
            slots: Slots::default(),
            tuples: Tuples::new(key),
        }
    }

    /// The connections, in the order in which they were made.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter()
    }

    /// The connection with that id.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.slots.get(self.slots.slot(id)?)
    }

    /// Sets a connection's mark.
    pub(crate) fn set_mark(&mut self, id: ConnectionId, mark: Mark) {
        if let Some(slot) = self.slots.slot(id)
            && let Some(connection) = self.slots.get_mut(slot)
            && connection.mark != mark
        {
            connection.mark = mark;
            self.write(slot);
        }
    }

    /// Decides on an end of a connection: once translated, its packets are `leaving`. As in the kernel
    /// (`nf_nat_setup_info`), a confirmed connection stays as it is.
    pub fn settle(&mut self, id: ConnectionId, manip: Manip, leaving: FiveTuple) {
        let slot = self.slots.slot(id);
        let connection = slot.and_then(|slot| self.slots.get_mut(slot));
        let Some(connection) = connection.filter(|connection| !connection.confirmed) else {
            return;
        };
        let is_translated = leaving != connection.reply.reversed();
        connection.reply = leaving.reversed();
        match manip {
            Manip::Source => {
                connection.snat |= is_translated;
                connection.source_settled = true;
            }
            Manip::Destination => {
                connection.dnat |= is_translated;
                connection.destination_settled = true;
            }
        }
    }

    /// Has replies of an unconfirmed connection expected from where IPVS sends its packets, which are
    /// `leaving` (`nf_conntrack_alter_reply`). That is no translation of conntrack's own.
    pub(crate) fn alter_reply(&mut self, id: ConnectionId, leaving: FiveTuple) {
        let slot = self.slots.slot(id);
        let connection = slot.and_then(|slot| self.slots.get_mut(slot));
        if let Some(connection) = connection.filter(|connection| !connection.confirmed) {
            connection.reply = leaving.reversed();
        }
    }

    /// Finds the packet's connection, or begins one that [`confirm`](Self::confirm) will enter
    /// (`resolve_normal_ct`). A packet that cannot begin one is invalid.
    ///
    /// # Errors
    /// [`ConntrackFull`] if there is no room to begin one.
    pub fn track(
        &mut self,
        headers: &Headers,
        now: SimTime,
    ) -> Result<(CtState, Option<(ConnectionId, Direction)>), ConntrackFull> {
        let tuple = tuple_of(headers);
        if let Some(found) = self.refresh(&tuple, now) {
            return Ok(found);
        }
        if !may_begin(headers) {
            return Ok((CtState::Invalid, None));
        }
        if self.slots.len() >= self.max {
            while let Some(slot) = self.slots.expired(now) {
                self.remove(slot);
            }
            if self.slots.len() >= self.max {
                return Err(ConntrackFull);
            }
        }
        let id = self.slots.insert(Connection {
            original: tuple,
            reply: tuple.reversed(),
            seen_reply: false,
            confirmed: false,
            snat: false,
            dnat: false,
            mark: Mark(0),
            expires: now + self.timeouts.of(headers.protocol, false),
            source_settled: false,
            destination_settled: false,
        });
        let id = id.ok_or(ConntrackFull)?;
        Ok((CtState::New, Some((id, Direction::Original))))
    }

    /// Takes note of a packet of a confirmed connection; forgets the connection if it has expired.
    fn refresh(
        &mut self,
        tuple: &FiveTuple,
        now: SimTime,
    ) -> Option<(CtState, Option<(ConnectionId, Direction)>)> {
        let facts = self.tuples.facts_mut(tuple)?;
        let (slot, direction) = (facts.slot, facts.direction());
        let connection = self.slots.get_mut(slot)?;
        let last = connection.expires;
        if last <= now {
            self.remove(slot);
            return None;
        }
        let is_first_reply = direction == Direction::Reply && !connection.seen_reply;
        connection.seen_reply |= is_first_reply;
        let state = if connection.seen_reply {
            CtState::Established
        } else {
            CtState::New
        };
        let expires = now + self.timeouts.of(tuple.protocol, connection.seen_reply);
        facts.set_expires(expires);
        self.slots.set_expires(slot, expires);
        if is_first_reply || expires < last {
            self.write(slot);
        }
        Some((state, Some((self.slots.id(slot)?, direction))))
    }

    /// Enters a new connection into the table (`__nf_conntrack_confirm`).
    pub fn confirm(&mut self, id: ConnectionId) {
        let Some(slot) = self.slots.slot(id) else {
            return;
        };
        if let Some(connection) = self.slots.get_mut(slot)
            && !connection.confirmed
        {
            connection.confirmed = true;
            for direction in Direction::BOTH {
                self.tuples.insert(connection, slot, direction);
            }
        }
    }

    /// Forgets a connection whose first packet did not make it.
    pub fn forget_unconfirmed(&mut self, id: ConnectionId) {
        if self.get(id).is_some_and(|connection| !connection.confirmed) {
            self.slots.remove(id.slot);
        }
    }

    /// Forgets a connection (`nf_ct_kill`).
    pub(crate) fn kill(&mut self, id: ConnectionId) {
        if let Some(slot) = self.slots.slot(id) {
            self.remove(slot);
        }
    }

    /// Forgets every connection that `which` names, as `conntrack -D` does; returns how many.
    pub fn delete(&mut self, which: impl Fn(&Connection) -> bool) -> usize {
        let before = self.slots.len();
        let mut next = self.slots.after(None);
        while let Some(slot) = next {
            next = self.slots.after(Some(slot));
            if self.slots.get(slot).is_some_and(&which) {
                self.remove(slot);
            }
        }
        before - self.slots.len()
    }

    /// Whether a confirmed connection has packets of that tuple (`nf_conntrack_tuple_taken`).
    #[must_use]
    pub fn is_taken(&self, tuple: &FiveTuple, now: SimTime) -> bool {
        let found = self.tuples.find(tuple);
        found
            .and_then(|found| self.slots.get(found.facts().slot))
            .is_some_and(|connection| connection.expires > now)
    }

    fn remove(&mut self, slot: u32) {
        if let Some(connection) = self.slots.remove(slot)
            && connection.confirmed
        {
            for (tuple, _) in Direction::BOTH.map(|direction| connection.ways(direction)) {
                // Since it expired another connection may have taken a tuple of it.
                if self
                    .tuples
                    .facts_mut(&tuple)
                    .is_some_and(|of| of.slot == slot)
                {
                    self.tuples.remove(&tuple);
                }
            }
        }
    }

    /// Writes a confirmed connection's entries again, those that are still its own.
    fn write(&mut self, slot: u32) {
        let Some(connection) = self.slots.get(slot).filter(|one| one.confirmed) else {
            return;
        };
        for direction in Direction::BOTH {
            let entry = self.tuples.facts_mut(&connection.ways(direction).0);
            if entry.is_some_and(|of| of.slot == slot && of.direction() == direction) {
                self.tuples.insert(connection, slot, direction);
            }
        }
    }
}

/// The packet as a tuple; an ICMP echo has its identifier in place of both ports, so that a reply's
/// tuple is the request's reversed.
#[inline]
pub(crate) const fn tuple_of(headers: &Headers) -> FiveTuple {
    let mut tuple = headers.five_tuple();
    if matches!(headers.protocol, Protocol::ICMP | Protocol::ICMPV6) {
        tuple.sport = headers.icmp_id;
        tuple.dport = headers.icmp_id;
    }
    tuple
}

/// Whether a packet may begin a connection: a TCP packet with SYN, or in the middle of one that was
/// not seen to begin (sysctl `nf_conntrack_tcp_loose`, on) and does not end with it; an ICMP request.
fn may_begin(headers: &Headers) -> bool {
    let flags = headers.tcp_flags;
    match headers.protocol {
        Protocol::TCP if flags.contains(TcpFlags::SYN) => {
            flags.intersection(TcpFlags::ACK.union(TcpFlags::RST).union(TcpFlags::FIN))
                == TcpFlags::default()
        }
        Protocol::TCP => {
            let ends = TcpFlags::FIN.union(TcpFlags::RST);
            flags.contains(TcpFlags::ACK) && flags.intersection(ends) == TcpFlags::default()
        }
        // Echo, timestamp, information and address mask requests (`icmp_pkt_to_tuple`, `valid_new`).
        Protocol::ICMP => matches!(headers.icmp_type, 8 | 13 | 15 | 17),
        Protocol::ICMPV6 => matches!(headers.icmp_type, 128 | 139),
        Protocol(_) => true,
    }
}

/// How long a connection is remembered after its last packet: the sysctls that kube-proxy sets. Those
/// of other protocols and states are Linux's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `nf_conntrack_tcp_timeout_established`. 24 h, as kube-proxy sets it; Linux's own is five days.
    pub tcp_established: Duration,
    /// `nf_conntrack_udp_timeout`; 30 s.
    pub udp: Duration,
    /// `nf_conntrack_udp_timeout_stream`; 120 s.
    pub udp_stream: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_secs(86_400),
            udp: Duration::from_secs(30),
            udp_stream: Duration::from_secs(120),
        }
    }
}

impl Timeouts {
    /// That of a protocol, and of connections in which packets went both ways.
    ///
    /// The other sysctls: `nf_conntrack_{tcp_timeout_syn_sent,sctp_timeout_cookie_wait,
    /// sctp_timeout_established,icmp_timeout,generic_timeout}`.
    const fn of(&self, protocol: Protocol, both_ways: bool) -> Duration {
        match (protocol, both_ways) {
            (Protocol::TCP, false) => Duration::from_secs(120),
            (Protocol::TCP, true) => self.tcp_established,
            (Protocol::UDP, false) => self.udp,
            (Protocol::UDP, true) => self.udp_stream,
            (Protocol::SCTP, false) => Duration::from_secs(3),
            (Protocol::SCTP, true) => Duration::from_secs(210),
            (Protocol::ICMP | Protocol::ICMPV6, _) => Duration::from_secs(30),
            (Protocol(_), _) => Duration::from_secs(600),
        }
    }
}

#[cfg(test)]
mod tests;
