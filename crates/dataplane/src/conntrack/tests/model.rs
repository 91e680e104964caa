//! The table against a list of connections that is searched from its beginning.

use std::net::IpAddr;
use std::time::Duration;

use podwire_packet::{FiveTuple, Headers, Mark, Protocol, SimTime, TcpFlags};
use podwire_ruleset::CtState;
use proptest::prelude::*;

use crate::conntrack::{Timeouts, may_begin, tuple_of};
use crate::nat::Manip;
use crate::{Connection, ConnectionId, Conntrack, ConntrackFull, Direction};

/// What is tracked: connections in the order in which they were made, each with its number, and who
/// has which tuple.
struct Model {
    max: usize,
    made: usize,
    connections: Vec<(usize, Connection)>,
    entered: Vec<(FiveTuple, usize, Direction)>,
}

type Tracked = Result<(CtState, Option<(usize, Direction)>), ConntrackFull>;

impl Model {
    fn get(&mut self, number: usize) -> Option<&mut Connection> {
        let mut all = self.connections.iter_mut();
        all.find_map(|(own, one)| (*own == number).then_some(one))
    }

    fn holder(&self, tuple: &FiveTuple) -> Option<(usize, Direction, &Connection)> {
        let (_, number, direction) = self.entered.iter().find(|(of, ..)| of == tuple)?;
        let mut all = self.connections.iter();
        let (_, connection) = all.find(|(own, _)| own == number)?;
        Some((*number, *direction, connection))
    }

    fn forget(&mut self, which: impl Fn(usize, &Connection) -> bool) {
        self.connections
            .retain(|(number, connection)| !which(*number, connection));
        let Self {
            connections,
            entered,
            ..
        } = self;
        entered.retain(|(_, number, _)| connections.iter().any(|(own, _)| own == number));
    }

    fn track(&mut self, headers: &Headers, now: SimTime) -> Tracked {
        let tuple = tuple_of(headers);
        if let Some((number, direction, connection)) = self.holder(&tuple) {
            if connection.expires > now {
                let connection = self.get(number).unwrap();
                connection.seen_reply |= direction == Direction::Reply;
                let seen_reply = connection.seen_reply;
                connection.expires = now + Timeouts::default().of(headers.protocol, seen_reply);
                let state = [CtState::New, CtState::Established][usize::from(seen_reply)];
                return Ok((state, Some((number, direction))));
            }
            self.forget(|own, _| own == number);
        }
        if !may_begin(headers) {
            return Ok((CtState::Invalid, None));
        }
        if self.connections.len() >= self.max {
            self.forget(|_, connection| connection.expires <= now);
            if self.connections.len() >= self.max {
                return Err(ConntrackFull);
            }
        }
        let number = self.made;
        self.made += 1;
        let connection = Connection {
            original: tuple,
            reply: tuple.reversed(),
            seen_reply: false,
            confirmed: false,
            snat: false,
            dnat: false,
            mark: Mark(0),
            expires: now + Timeouts::default().of(headers.protocol, false),
            source_settled: false,
            destination_settled: false,
        };
        self.connections.push((number, connection));
        Ok((CtState::New, Some((number, Direction::Original))))
    }

    fn confirm(&mut self, number: usize) {
        let Some(connection) = self.get(number).filter(|one| !one.confirmed) else {
            return;
        };
        connection.confirmed = true;
        let ways = [
            (connection.original, number, Direction::Original),
            (connection.reply, number, Direction::Reply),
        ];
        for way in ways {
            self.entered.retain(|(tuple, ..)| *tuple != way.0);
            self.entered.push(way);
        }
    }

    fn settle(&mut self, number: usize, manip: Manip, leaving: FiveTuple) {
        if let Some(connection) = self.get(number).filter(|one| !one.confirmed) {
            let differs = leaving != connection.reply.reversed();
            connection.reply = leaving.reversed();
            let (translated, settled) = match manip {
                Manip::Source => (&mut connection.snat, &mut connection.source_settled),
                Manip::Destination => (&mut connection.dnat, &mut connection.destination_settled),
            };
            *translated |= differs;
            *settled = true;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Track(Headers),
    Confirm(usize),
    ForgetUnconfirmed(usize),
    Settle(usize, bool, IpAddr, u16),
    Mark(usize, u32),
    Delete(u16),
    /// Seconds; time runs back, too, as far as the table is concerned.
    Wait(i64),
}

fn address() -> impl Strategy<Value = IpAddr> {
    let all = ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2", "::10.0.0.1"];
    prop::sample::select(all.map(|one| one.parse().unwrap()).to_vec())
}

/// Packets of few flows, so that they meet. Not every one has a single family.
fn headers() -> impl Strategy<Value = Headers> {
    let protocols = [
        Protocol::TCP,
        Protocol::TCP,
        Protocol::UDP,
        Protocol::ICMP,
        Protocol::SCTP,
        Protocol(47),
    ];
    let flags = [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::RST];
    let ends = (address(), address(), 0..8_u16, 0..4_u16);
    let what = (
        prop::sample::select(protocols.to_vec()),
        prop::sample::select(flags.to_vec()),
    );
    (ends, what, any::<bool>()).prop_map(|((src, dst, sport, dport), (protocol, flags), back)| {
        let mut first = Headers::first_of_flow(src, dst, protocol, sport, dport);
        first.tcp_flags = flags;
        if back { first.first_of_reply() } else { first }
    })
}

fn step() -> impl Strategy<Value = Step> {
    // Of the last connections made, the last but so many.
    let which = || 0..6_usize;
    let seconds = [-40, 1, 2, 9, 25, 31, 119, 120, 700, 86_400, 700_000];
    prop_oneof![
        8 => headers().prop_map(Step::Track),
        6 => which().prop_map(Step::Confirm),
        1 => which().prop_map(Step::ForgetUnconfirmed),
        3 => (which(), any::<bool>(), address(), 0..6_u16)
            .prop_map(|(which, source, to, port)| Step::Settle(which, source, to, port)),
        2 => (which(), 0..2_u32).prop_map(|(which, mark)| Step::Mark(which, mark)),
        1 => (0..8_u16).prop_map(Step::Delete),
        2 => prop::sample::select(seconds.to_vec()).prop_map(Step::Wait),
    ]
}

/// Both tables, and the ids of the connections that were made.
struct Pair {
    table: Conntrack,
    model: Model,
    ids: Vec<ConnectionId>,
    now: SimTime,
}

impl Pair {
    fn new(max: usize, key: u64) -> Self {
        Self {
            table: Conntrack {
                max,
                ..Conntrack::keyed(key)
            },
            model: Model {
                max,
                made: 0,
                connections: Vec::new(),
                entered: Vec::new(),
            },
            ids: Vec::new(),
            now: SimTime(1 << 40),
        }
    }

    fn chosen(&self, back: usize) -> Option<(usize, ConnectionId)> {
        let number = self.ids.len().checked_sub(back + 1)?;
        Some((number, self.ids[number]))
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Track(headers) => {
                self.look_up(headers);
                let (state, found) = match self.table.track(headers, self.now) {
                    Ok(tracked) => tracked,
                    Err(full) => return assert_eq!(self.model.track(headers, self.now), Err(full)),
                };
                let expected = self.model.track(headers, self.now);
                if self.model.made > self.ids.len() {
                    self.ids.extend(found.map(|(id, _)| id));
                }
                let number = |id| self.ids.iter().position(|own| *own == id).unwrap();
                let found = found.map(|(id, direction)| (number(id), direction));
                assert_eq!(Ok((state, found)), expected, "{headers:?}");
                self.look_up(headers);
                self.look_up(&headers.first_of_reply());
            }
            Step::Confirm(back) => {
                if let Some((number, id)) = self.chosen(*back) {
                    self.table.confirm(id);
                    self.model.confirm(number);
                }
            }
            Step::ForgetUnconfirmed(back) => {
                if let Some((number, id)) = self.chosen(*back) {
                    self.table.forget_unconfirmed(id);
                    self.model
                        .forget(|own, connection| own == number && !connection.confirmed);
                }
            }
            Step::Settle(back, source, to, port) => {
                if let Some((number, id)) = self.chosen(*back)
                    && let Some(connection) = self.model.get(number)
                {
                    let mut leaving = connection.reply.reversed();
                    let manip = if *source {
                        (leaving.src, leaving.sport) = (*to, *port);
                        Manip::Source
                    } else {
                        (leaving.dst, leaving.dport) = (*to, *port);
                        Manip::Destination
                    };
                    self.table.settle(id, manip, leaving);
                    self.model.settle(number, manip, leaving);
                }
            }
            Step::Mark(back, mark) => {
                if let Some((number, id)) = self.chosen(*back) {
                    self.table.set_mark(id, Mark(*mark));
                    if let Some(connection) = self.model.get(number) {
                        connection.mark = Mark(*mark);
                    }
                }
            }
            Step::Delete(port) => {
                let of_port = |connection: &Connection| connection.original.sport == *port;
                let before = self.model.connections.len();
                self.model.forget(|_, connection| of_port(connection));
                let deleted = before - self.model.connections.len();
                assert_eq!(self.table.delete(of_port), deleted);
            }
            Step::Wait(seconds) => {
                let later = Duration::from_secs(seconds.unsigned_abs());
                self.now = if *seconds < 0 {
                    SimTime::START + (self.now - (SimTime::START + later))
                } else {
                    self.now + later
                };
            }
        }
    }

    /// Whether both say the same of a packet.
    fn look_up(&self, headers: &Headers) {
        let (tuple, now) = (tuple_of(headers), self.now);
        let holder = self.model.holder(&tuple);
        let holder = holder.filter(|(_, _, connection)| connection.expires > now);
        let expected = holder.map(|(_, direction, of)| {
            let target = match direction {
                Direction::Original => of.reply.reversed(),
                Direction::Reply => of.original.reversed(),
            };
            let answered = of.seen_reply || direction == Direction::Reply;
            let state = [CtState::New, CtState::Established][usize::from(answered)];
            (state, direction, of.mark, of.snat, of.dnat, target)
        });
        let entry = self.table.lookup(headers, now);
        let found = entry.map(|of| {
            let how = (of.state(), of.direction(), of.mark());
            (how.0, how.1, how.2, of.snat(), of.dnat(), of.target())
        });
        assert_eq!(found, expected, "{headers:?}");
        assert_eq!(self.table.is_taken(&tuple, now), expected.is_some());
    }

    fn compare(&self) {
        let of_model = self.model.connections.iter().map(|(_, one)| one);
        assert!(self.table.connections().eq(of_model));
        for (number, id) in self.ids.iter().enumerate() {
            let mut all = self.model.connections.iter();
            let expected = all.find(|(own, _)| *own == number).map(|(_, one)| one);
            assert_eq!(self.table.get(*id), expected);
        }
    }
}

proptest! {
    #[test]
    fn the_table_answers_as_a_list_does(
        steps in prop::collection::vec(step(), 1..200),
        max in 1..40_usize,
        key in any::<u64>(),
    ) {
        let mut pair = Pair::new(max, key);
        for step in &steps {
            pair.take(step);
            pair.compare();
        }
        for step in &steps {
            if let Step::Track(headers) = step {
                pair.look_up(headers);
            }
        }
    }
}
