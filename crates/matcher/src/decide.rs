//! **The hot functions**: packets that a table of Services answers at once.

use std::ops::ControlFlow;

use podwire_packet::Headers;
use podwire_ruleset::{Choose, Draw, Packet, Policy, State, Target, Verdict};

use crate::brief::{Brief, Nat};
use crate::dispatch::{Dispatch, Found, Service};
use crate::fields::Fields;
use crate::program::{Block, Program, Socket, Then};

impl<F: Fields> Program<F> {
    /// What the table decides about a packet with those headers, and otherwise like another.
    #[inline]
    pub(crate) fn decide<'m>(
        &'m self,
        like: &Packet<'_>,
        headers: &Headers,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        if let Some(table) = self.front(like)
            && let Some(key) = key_of::<F>(headers)
        {
            match table.find(key) {
                Found::Endpoints(service) => {
                    return self.translated(like, headers, &service, choose);
                }
                Found::Fold(fold) => return self.folded(like, headers, fold, choose),
                Found::Nothing | Found::Ask => {}
            }
        }
        self.walk(like, headers, state, choose)
    }

    /// As [`decide`](Self::decide) of each packet with a draw of its own. All are of one hook.
    #[inline]
    pub(crate) fn decide_batch<'m, 'p, P: Asked<'p>>(
        &'m self,
        packets: &[P],
        like: &'p Packet<'p>,
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        let Some(table) = self.front(like) else {
            for (at, (packet, brief)) in packets.iter().zip(out).enumerate() {
                let (like, headers) = packet.parts(like);
                *brief = self.walk(like, headers, state, &mut draws(at));
            }
            return;
        };
        if table.bytes() <= NEAR {
            for (at, (packet, brief)) in packets.iter().zip(out).enumerate() {
                let batch = like;
                let (like, headers) = packet.parts(like);
                let draw = &mut draws(at);
                // Written where it stays: a copy of what was just written in parts would wait.
                match Self::key_in(packet, batch).map(|key| table.find(key)) {
                    Some(Found::Endpoints(service)) => {
                        *brief = self.translated(like, headers, &service, draw);
                    }
                    Some(Found::Fold(fold)) => *brief = self.folded(like, headers, fold, draw),
                    Some(Found::Nothing | Found::Ask) | None => {
                        *brief = self.walk(like, headers, state, draw);
                    }
                }
            }
            return;
        }
        let chunks = packets.chunks(BATCH).zip(out.chunks_mut(BATCH));
        for (chunk, (packets, out)) in chunks.enumerate() {
            let draws = |at| draws(chunk * BATCH + at);
            self.decide_chunk(table, packets, like, state, draws, out);
        }
    }

    /// As many packets as are looked up at a time.
    ///
    /// Where they stand is worked out for all before anything is looked at, and everything is looked at
    /// before anything is decided: so the processor waits for many cache lines at once, and no branch
    /// waits for one of them.
    #[inline]
    fn decide_chunk<'m, 'p, P: Asked<'p>>(
        &'m self,
        table: &Dispatch<F>,
        packets: &[P],
        like: &'p Packet<'p>,
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        let mut keys = [(F::Key::default(), 0_usize); BATCH];
        for (packet, own) in packets.iter().zip(&mut keys) {
            let key = Self::key_in(packet, like);
            *own = key.map_or((F::Key::default(), usize::MAX), |key| {
                (key, table.slot_of(key))
            });
        }
        let mut is_there = [false; BATCH];
        for (is_there, (key, slot)) in is_there.iter_mut().zip(&keys[..packets.len()]) {
            *is_there = table.is_at(*slot, *key);
        }
        for (at, (packet, brief)) in packets.iter().zip(out).enumerate() {
            let (key, slot) = keys[at];
            let (like, headers) = packet.parts(like);
            let draw = &mut draws(at);
            match is_there[at].then(|| table.at(slot, key)) {
                Some(Found::Endpoints(service)) => {
                    *brief = self.translated(like, headers, &service, draw);
                }
                Some(Found::Fold(fold)) => *brief = self.folded(like, headers, fold, draw),
                Some(Found::Nothing | Found::Ask) | None => {
                    *brief = self.walk(like, headers, state, draw);
                }
            }
        }
    }

    /// The key of a packet of a batch; a packet of another hook than the batch's has none.
    #[inline]
    fn key_in<'p, P: Asked<'p>>(packet: &P, like: &'p Packet<'p>) -> Option<F::Key> {
        let (own, headers) = packet.parts(like);
        key_of::<F>(headers).filter(|_| own.hook == like.hook)
    }

    /// The table of Services that every packet of the hook comes to first.
    #[inline]
    fn front(&self, like: &Packet<'_>) -> Option<&Dispatch<F>> {
        self.tables.get(self.fronts[like.hook as usize] as usize)
    }

    /// What the table decides where no table of Services has the whole answer. Apart, so that the
    /// common case stays short.
    #[inline(never)]
    fn walk<'m>(
        &'m self,
        like: &Packet<'_>,
        headers: &Headers,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        if let Some(verdict) = self.by_ranges(like, headers) {
            return Brief {
                verdict,
                ..Brief::accept(like)
            };
        }
        if std::ptr::eq(headers, &raw const like.headers) {
            return self.run(like, state, choose, &mut ()).brief;
        }
        let packet = Packet {
            headers: *headers,
            ..*like
        };
        self.run(&packet, state, choose, &mut ()).brief
    }

    /// The verdict of a base chain that begins with rules of ranges, if the first of them that the packet
    /// is within says it and asks for nothing else, as most of a firewall's do.
    #[inline]
    fn by_ranges(&self, like: &Packet<'_>, headers: &Headers) -> Option<Verdict> {
        let base = self.bases[like.hook as usize].as_ref()?;
        let plan = self.chains[base.chain.index()].plan.checked_sub(1)?;
        let [Block::Ranges(first, boxes), rest @ ..] = &*self.plans[plan as usize] else {
            return None;
        };
        let point = F::point(headers)?;
        let rules = &self.rules[*first as usize..];
        let said = boxes.each(&point, 0, |place| {
            let rule = &rules[place as usize];
            let asks_more = u32::from(rule.made) != rule.test_count
                || rule.is_uncertain
                || rule.needs_transport && headers.is_later_fragment;
            ControlFlow::Break(match rule.then {
                Then::Accept if !asks_more => Some(Verdict::Accept),
                Then::Drop if !asks_more => Some(Verdict::Drop),
                Then::Target(target) if !asks_more => self.rejects(target),
                Then::Nothing if !asks_more => return ControlFlow::Continue(()),
                Then::Accept
                | Then::Drop
                | Then::Nothing
                | Then::Jump(_)
                | Then::Goto(_)
                | Then::Mark(_)
                | Then::Return
                | Then::Dnat(_)
                | Then::Target(_) => None,
            })
        });
        match said {
            ControlFlow::Break(verdict) => verdict,
            ControlFlow::Continue(()) => rest.is_empty().then_some(match base.policy {
                Policy::Accept => Verdict::Accept,
                Policy::Drop => Verdict::Drop,
            }),
        }
    }

    /// The verdict of a target that rejects.
    fn rejects(&self, target: u32) -> Option<Verdict> {
        if let Target::Reject(with) = self.targets[target as usize] {
            Some(Verdict::Reject(with))
        } else {
            None
        }
    }

    /// One of the endpoints of a Service.
    #[inline]
    pub(crate) fn choose(
        &self,
        service: &Service<'_, F>,
        choose: &mut impl Choose,
    ) -> Socket<F::Address> {
        let rung = choose.even_way(service.endpoints.len(), self.folds.even());
        Socket {
            address: service.endpoints.get(rung).copied().unwrap_or_default(),
            port: Some(service.port),
        }
    }

    /// A choice that does not fit into an entry.
    fn folded<'m>(
        &'m self,
        like: &Packet<'_>,
        headers: &Headers,
        fold: u32,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        let fold = &self.folds.folds[fold as usize];
        let rung = choose.even_ladder(self.folds.thresholds(fold));
        let socket = self.folds.endpoints(fold)[rung];
        self.sent(like, headers, socket, fold.marking)
    }

    #[inline]
    fn translated<'m>(
        &'m self,
        like: &Packet<'_>,
        headers: &Headers,
        service: &Service<'_, F>,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        let socket = self.choose(service, choose);
        self.sent(like, headers, socket, service.marking.into())
    }

    /// Sent to a socket, and marked.
    #[inline]
    fn sent<'m>(
        &'m self,
        like: &Packet<'_>,
        headers: &Headers,
        socket: Socket<F::Address>,
        marking: u32,
    ) -> Brief<'m> {
        let marking = self.folds.marking(marking);
        let mark = marking.of(like.mark, headers.src, socket.address);
        Brief {
            mark,
            nat: Nat::To(F::address_of(socket.address), socket.port),
            ..Brief::accept(like)
        }
    }
}

/// Packets that are looked up at a time: enough to keep every outstanding miss of a core busy.
pub(crate) const BATCH: usize = 64;

/// Bytes of a table that stays near the core, in its own cache, so that there is nothing to wait for.
const NEAR: usize = 1 << 20;

/// A packet of a batch.
pub(crate) trait Asked<'p> {
    /// A packet that it is like but for its headers, and its headers; `like` is the batch's.
    fn parts<'a>(&'a self, like: &'a Packet<'p>) -> (&'a Packet<'p>, &'a Headers);
}

impl<'p> Asked<'p> for Packet<'p> {
    #[inline]
    fn parts<'a>(&'a self, _: &'a Self) -> (&'a Self, &'a Headers) {
        (self, &self.headers)
    }
}

impl<'p> Asked<'p> for Headers {
    #[inline]
    fn parts<'a>(&'a self, like: &'a Packet<'p>) -> (&'a Packet<'p>, &'a Self) {
        (like, self)
    }
}

/// The key of a packet, if it has a transport header and is of the family.
#[inline]
fn key_of<F: Fields>(headers: &Headers) -> Option<F::Key> {
    F::key_of(headers).filter(|_| !headers.is_later_fragment)
}
