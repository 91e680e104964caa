//! **The hot functions**: packets that a table of Services answers at once.

use podwire_packet::Headers;
use podwire_ruleset::{Choose, Draw, Hook, Packet, State};

use crate::behind::Front;
use crate::brief::{Brief, Nat};
use crate::dispatch::{Dispatch, Found, Lookup, Service};
use crate::fields::Fields;
use crate::prefetch::{LINE, prefetch};
use crate::program::{Program, Socket};

/// A table at a hook, ready to be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtHook<'m, F: Fields> {
    program: &'m Program<F>,
    /// The table of Services that every packet comes to first; an empty one if there is none.
    services: Lookup<'m, F>,
    front: Option<&'m Front>,
    hook: Hook,
}

impl<'m, F: Fields> AtHook<'m, F> {
    #[inline]
    pub(crate) fn new(program: &'m Program<F>, hook: Hook) -> Self {
        let front = program.fronts[hook as usize].as_ref();
        let table = front.map(|front| &program.tables[front.table as usize]);
        Self {
            program,
            services: table.map_or_else(Lookup::default, Dispatch::lookup),
            front,
            hook,
        }
    }

    /// What the table decides about a packet with those headers, and otherwise like another.
    #[expect(
        clippy::inline_always,
        reason = "as a call it takes half as many instructions more"
    )]
    #[inline(always)]
    pub(crate) fn decide(
        &self,
        like: &Packet<'_>,
        headers: &Headers,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        if self.front.is_none() {
            return self.program.walk(self.hook, like, headers, state, choose);
        }
        match self.found(headers, self.slot(headers)) {
            Found::Endpoints(service) => self.program.translated(like, headers, &service, choose),
            Found::Fold(fold) => self.program.folded(like, headers, fold, choose),
            found @ (Found::Nothing | Found::Ask) => {
                self.decide_elsewhere(&found, like, headers, state, choose)
            }
        }
    }

    /// Where the Service that a packet is for stands, if it is there.
    #[inline]
    fn slot(&self, headers: &Headers) -> usize {
        key_of::<F>(headers).map_or(usize::MAX, |key| self.services.slot_of(key))
    }

    /// What stands there for it; a packet without a key is to be asked about as any.
    #[inline]
    fn found(&self, headers: &Headers, slot: usize) -> Found<'m, F> {
        key_of::<F>(headers).map_or(Found::Ask, |key| self.services.at(slot, key))
    }

    /// What the table decides where no entry has the answer.
    #[inline]
    fn decide_elsewhere(
        &self,
        found: &Found<'_, F>,
        like: &Packet<'_>,
        headers: &Headers,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        if let (Found::Nothing, Some(front)) = (found, self.front)
            && let Some(key) = key_of::<F>(headers)
        {
            let (front, packet) = ((front, self.hook), (like, headers));
            return self.program.behind(front, key, packet, state, choose);
        }
        self.program.walk(self.hook, like, headers, state, choose)
    }

    /// Writes what the table decides about a packet of a batch, each case where it is to stay: a copy of what
    /// was just written in parts would wait.
    #[expect(clippy::inline_always, reason = "see `AtHook::decide`")]
    #[inline(always)]
    fn write(
        &self,
        found: &Found<'m, F>,
        like: &Packet<'_>,
        headers: &Headers,
        state: &State,
        draw: &mut Draw,
        brief: &mut Brief<'m>,
    ) {
        match found {
            Found::Endpoints(service) => {
                *brief = self.program.translated(like, headers, service, draw);
            }
            Found::Fold(fold) => *brief = self.program.folded(like, headers, *fold, draw),
            Found::Nothing | Found::Ask => {
                *brief = self.decide_elsewhere(found, like, headers, state, draw);
            }
        }
    }

    /// As [`decide`](Self::decide) of each packet with a draw of its own.
    ///
    /// Where entries stand is worked out for 64 packets before anything is decided, and they are asked for: so
    /// the processor waits for many cache lines at once, and no branch waits for one of them. The
    /// packets of the next 64 are asked for too.
    #[inline]
    pub(crate) fn decide_batch<'p, P: Asked<'p>>(
        &self,
        packets: &[P],
        like: &'p Packet<'p>,
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        if self.front.is_none() {
            if let Some(ranges) = self.program.at_once(self.hook) {
                return ranges.decide_batch(packets, like, state, draws, out);
            }
            for (at, (packet, brief)) in packets.iter().zip(out).enumerate() {
                let (like, headers) = packet.parts(like);
                let draw = &mut draws(at);
                *brief = self.program.walk(self.hook, like, headers, state, draw);
            }
            return;
        }
        if self.services.bytes() <= NEAR {
            for (at, (packet, brief)) in packets.iter().zip(out).enumerate() {
                if size_of::<P>() > LINE
                    && let Some(later) = packets.get(at + AHEAD)
                {
                    prefetch(later);
                }
                let (like, headers) = packet.parts(like);
                let draw = &mut draws(at);
                let found = self.found(headers, self.slot(headers));
                self.write(&found, like, headers, state, draw, brief);
            }
            return;
        }
        let mut slots = [0; BATCH];
        let mut first = 0;
        for (packets_of_batch, out) in packets.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let after = packets.get(first + BATCH..).unwrap_or_default();
            for (at, (packet, slot)) in packets_of_batch.iter().zip(&mut slots).enumerate() {
                if size_of::<P>() > LINE
                    && let Some(packet) = after.get(at)
                {
                    prefetch(packet);
                }
                *slot = self.slot(packet.parts(like).1);
                self.services.prefetch(*slot);
            }
            let slots = slots.iter().copied();
            for (at, ((packet, brief), slot)) in
                packets_of_batch.iter().zip(out).zip(slots).enumerate()
            {
                let (like, headers) = packet.parts(like);
                let draw = &mut draws(first + at);
                let found = self.found(headers, slot);
                self.write(&found, like, headers, state, draw, brief);
            }
            first += BATCH;
        }
    }
}

impl<F: Fields> Program<F> {
    /// What the table decides at a hook where no table of Services has the whole answer.
    #[inline(never)]
    pub(crate) fn walk<'m>(
        &'m self,
        hook: Hook,
        like: &Packet<'_>,
        headers: &Headers,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        let at_once = self.at_once(hook);
        if let Some(verdict) = at_once.and_then(|ranges| ranges.verdict(headers)) {
            return Brief {
                verdict,
                ..Brief::accept(like)
            };
        }
        if like.hook == hook && std::ptr::eq(headers, &raw const like.headers) {
            return self.run(like, state, choose, &mut ()).brief;
        }
        let packet = Packet {
            headers: *headers,
            hook,
            ..*like
        };
        self.run(&packet, state, choose, &mut ()).brief
    }

    /// One of the endpoints of a Service.
    #[expect(clippy::inline_always, reason = "see `AtHook::decide`")]
    #[inline(always)]
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
    #[inline(never)]
    pub(crate) fn folded<'m>(
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

    #[expect(clippy::inline_always, reason = "see `AtHook::decide`")]
    #[inline(always)]
    pub(crate) fn translated<'m>(
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
    #[expect(clippy::inline_always, reason = "see `AtHook::decide`")]
    #[inline(always)]
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

/// How many packets later the one is that is asked for.
const AHEAD: usize = 8;

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
