//! Connection tracking.
//!
//! Source: net/netfilter/nf_conntrack_core.c and nf_conntrack_proto_*.c; timeouts:
//! Documentation/networking/nf_conntrack-sysctl.rst.

use std::time::Duration;

use indexmap::IndexMap;
use podwire_packet::{FiveTuple, Headers, Mark, Protocol, SimTime, TcpFlags};
use podwire_ruleset::{ConntrackInfo, CtDirection, CtState, CtStatuses};

/// A connection in its table, as long as the table lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The way of its first packet.
    Original,
    /// The way back.
    Reply,
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
    connections: IndexMap<ConnectionId, Connection>,
    /// Confirmed connections, by both directions.
    by_tuple: IndexMap<FiveTuple, (ConnectionId, Direction)>,
    next: u64,
}

impl Default for Conntrack {
    fn default() -> Self {
        Self {
            max: Self::MAX,
            connections: IndexMap::new(),
            by_tuple: IndexMap::new(),
            next: 0,
        }
    }
}

impl Conntrack {
    /// `nf_conntrack_max` as kube-proxy sets it on a node of up to four cores.
    pub const MAX: usize = 131_072;

    /// The connections, in the order in which they were made.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values()
    }

    /// The connection with that id.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(&id)
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
        self.forget_if_expired(&tuple, now);
        if let Some(&(id, direction)) = self.by_tuple.get(&tuple) {
            let connection = self
                .connections
                .get_mut(&id)
                .expect("by_tuple names connections that exist");
            connection.seen_reply |= direction == Direction::Reply;
            connection.expires = now + timeout(headers.protocol, connection.seen_reply);
            let state = if connection.seen_reply {
                CtState::Established
            } else {
                CtState::New
            };
            return Ok((state, Some((id, direction))));
        }
        if !may_begin(headers) {
            return Ok((CtState::Invalid, None));
        }
        if self.connections.len() >= self.max {
            self.forget_expired(now);
            if self.connections.len() >= self.max {
                return Err(ConntrackFull);
            }
        }
        let id = ConnectionId(self.next);
        self.next += 1;
        self.connections.insert(
            id,
            Connection {
                original: tuple,
                reply: tuple.reversed(),
                seen_reply: false,
                confirmed: false,
                snat: false,
                dnat: false,
                mark: Mark(0),
                expires: now + timeout(headers.protocol, false),
                source_settled: false,
                destination_settled: false,
            },
        );
        Ok((CtState::New, Some((id, Direction::Original))))
    }

    /// Enters a new connection into the table (`__nf_conntrack_confirm`).
    pub fn confirm(&mut self, id: ConnectionId) {
        if let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|connection| !connection.confirmed)
        {
            connection.confirmed = true;
            self.by_tuple
                .insert(connection.original, (id, Direction::Original));
            self.by_tuple
                .insert(connection.reply, (id, Direction::Reply));
        }
    }

    /// Forgets a connection whose first packet did not make it.
    pub fn forget_unconfirmed(&mut self, id: ConnectionId) {
        if self
            .connections
            .get(&id)
            .is_some_and(|connection| !connection.confirmed)
        {
            self.connections.swap_remove(&id);
        }
    }

    /// Forgets every connection that `which` names, as `conntrack -D` does; returns how many.
    pub fn delete(&mut self, which: impl Fn(&Connection) -> bool) -> usize {
        let before = self.connections.len();
        let Self {
            connections,
            by_tuple,
            ..
        } = self;
        connections.retain(|_, connection| !which(connection));
        by_tuple.retain(|_, (id, _)| connections.contains_key(id));
        before - connections.len()
    }

    /// Whether a confirmed connection has packets of that tuple (`nf_conntrack_tuple_taken`).
    #[must_use]
    pub fn is_taken(&self, tuple: &FiveTuple, now: SimTime) -> bool {
        let of_tuple = self.by_tuple.get(tuple);
        of_tuple
            .and_then(|(id, _)| self.connections.get(id))
            .is_some_and(|connection| connection.expires > now)
    }

    fn forget_if_expired(&mut self, tuple: &FiveTuple, now: SimTime) {
        let Some(&(id, _)) = self.by_tuple.get(tuple) else {
            return;
        };
        if let Some(connection) = self
            .connections
            .get(&id)
            .filter(|connection| connection.expires <= now)
        {
            // Since it expired another connection may have taken a tuple of it.
            for tuple in [connection.original, connection.reply] {
                if self.by_tuple.get(&tuple).is_some_and(|(of, _)| *of == id) {
                    self.by_tuple.swap_remove(&tuple);
                }
            }
            self.connections.swap_remove(&id);
        }
    }

    fn forget_expired(&mut self, now: SimTime) {
        self.delete(|connection| connection.expires <= now);
    }
}

/// The packet as a tuple; an ICMP echo has its identifier in place of both ports, so that a reply's
/// tuple is the request's reversed.
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

/// How long a connection is remembered after its last packet.
///
/// sysctls `nf_conntrack_{tcp_timeout_syn_sent,tcp_timeout_established,udp_timeout,
/// udp_timeout_stream,sctp_timeout_cookie_wait,sctp_timeout_established,icmp_timeout,
/// generic_timeout}`; TCP's 24 h is what kube-proxy sets, Linux's own is five days.
const fn timeout(protocol: Protocol, both_ways: bool) -> Duration {
    let seconds = match (protocol, both_ways) {
        (Protocol::TCP, false) => 120,
        (Protocol::TCP, true) => 86_400,
        (Protocol::UDP, false) => 30,
        (Protocol::UDP, true) => 120,
        (Protocol::SCTP, false) => 3,
        (Protocol::SCTP, true) => 210,
        (Protocol::ICMP | Protocol::ICMPV6, _) => 30,
        (Protocol(_), _) => 600,
    };
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn() -> Headers {
        Headers::first_of_flow(
            "10.0.0.1".parse().unwrap(),
            "10.0.0.2".parse().unwrap(),
            Protocol::TCP,
            40_000,
            80,
        )
    }

    #[test]
    fn a_connection_is_established_once_a_reply_came() {
        let mut table = Conntrack::default();
        let (state, found) = table.track(&syn(), SimTime::START).unwrap();
        assert_eq!(state, CtState::New);
        table.confirm(found.unwrap().0);
        assert_eq!(table.track(&syn(), SimTime::START).unwrap().0, CtState::New);
        let (state, found) = table
            .track(&syn().first_of_reply(), SimTime::START)
            .unwrap();
        assert_eq!(
            (state, found.unwrap().1),
            (CtState::Established, Direction::Reply)
        );
        assert_eq!(
            table.track(&syn(), SimTime::START).unwrap().0,
            CtState::Established
        );
    }

    #[test]
    fn a_reply_without_a_connection_is_invalid() {
        let mut table = Conntrack::default();
        let answer = table.track(&syn().first_of_reply(), SimTime::START);
        assert_eq!(answer, Ok((CtState::Invalid, None)));
    }

    #[test]
    fn an_unanswered_udp_flow_is_forgotten_after_30_seconds() {
        let mut table = Conntrack::default();
        let packet = Headers {
            protocol: Protocol::UDP,
            ..syn()
        };
        let (_, first) = table.track(&packet, SimTime::START).unwrap();
        table.confirm(first.unwrap().0);
        let (_, same) = table
            .track(&packet, SimTime::START + Duration::from_secs(29))
            .unwrap();
        assert_eq!(same, first);
        let (_, other) = table
            .track(&packet, SimTime::START + Duration::from_secs(60))
            .unwrap();
        assert_ne!(other, first);
    }

    #[test]
    fn a_full_table_takes_nobody_until_somebody_expires() {
        let mut table = Conntrack {
            max: 1,
            ..Conntrack::default()
        };
        let (_, first) = table.track(&syn(), SimTime::START).unwrap();
        table.confirm(first.unwrap().0);
        let second = Headers {
            sport: 40_001,
            ..syn()
        };
        assert_eq!(table.track(&second, SimTime::START), Err(ConntrackFull));
        assert!(
            table
                .track(&second, SimTime::START + Duration::from_secs(120))
                .is_ok()
        );
    }
}
