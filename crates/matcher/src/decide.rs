//! **The hot functions**: packets that a table of Services answers at once.

use podwire_ruleset::{Choose, Draw, Packet, State};

use crate::brief::{Brief, Nat};
use crate::dispatch::{Dispatch, Found, Service};
use crate::fields::Fields;
use crate::program::{Program, Socket};

impl<F: Fields> Program<F> {
    /// What the table decides, told in brief.
    #[inline]
    pub(crate) fn decide<'m>(
        &'m self,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        if let Some(table) = self.tables.get(self.fronts[packet.hook as usize] as usize)
            && let Some(key) = key_of::<F>(packet)
            && let Found::Endpoints(service) = table.find(key)
        {
            return self.translated(packet, &service, choose);
        }
        self.walk(packet, state, choose)
    }

    /// As [`decide`](Self::decide) of each packet with a draw of its own. All are of one hook.
    pub(crate) fn decide_batch<'m>(
        &'m self,
        packets: &[Packet<'_>],
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        let front = packets
            .first()
            .map_or(u32::MAX, |first| self.fronts[first.hook as usize]);
        let Some(table) = self.tables.get(front as usize) else {
            for (at, (packet, brief)) in packets.iter().zip(out).enumerate() {
                *brief = self.walk(packet, state, &mut draws(at));
            }
            return;
        };
        if table.bytes() <= NEAR {
            for (at, (packet, brief)) in packets.iter().zip(out).enumerate() {
                *brief = match key_of::<F>(packet).map(|key| table.find(key)) {
                    Some(Found::Endpoints(service)) => {
                        self.translated(packet, &service, &mut draws(at))
                    }
                    Some(Found::Nothing | Found::Fold(_) | Found::Ask) | None => {
                        self.walk(packet, state, &mut draws(at))
                    }
                };
            }
            return;
        }
        let chunks = packets.chunks(BATCH).zip(out.chunks_mut(BATCH));
        for (chunk, (packets, out)) in chunks.enumerate() {
            self.decide_chunk(table, packets, state, |at| draws(chunk * BATCH + at), out);
        }
    }

    /// As many packets as are looked up at a time.
    ///
    /// Where they stand is worked out for all before anything is looked at, and everything is looked at
    /// before anything is decided: so the processor waits for many cache lines at once, and no branch
    /// waits for one of them.
    fn decide_chunk<'m>(
        &'m self,
        table: &Dispatch<F>,
        packets: &[Packet<'_>],
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        let mut keys = [(F::Key::default(), 0_usize); BATCH];
        for (packet, own) in packets.iter().zip(&mut keys) {
            if let Some(key) = key_of::<F>(packet) {
                *own = (key, table.slot_of(key));
            } else {
                *own = (F::Key::default(), usize::MAX);
            }
        }
        let mut is_there = [false; BATCH];
        for (is_there, (key, slot)) in is_there.iter_mut().zip(&keys[..packets.len()]) {
            *is_there = table.is_at(*slot, *key);
        }
        for (at, (packet, brief)) in packets.iter().zip(out).enumerate() {
            let (key, slot) = keys[at];
            *brief = if is_there[at]
                && let Found::Endpoints(service) = table.at(slot, key)
            {
                self.translated(packet, &service, &mut draws(at))
            } else {
                self.walk(packet, state, &mut draws(at))
            };
        }
    }

    /// What the table decides where no table of Services has the whole answer. Apart, so that the
    /// common case stays short.
    #[inline(never)]
    fn walk<'m>(
        &'m self,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        self.run(packet, state, choose, &mut ()).brief
    }

    /// One of the endpoints of a Service.
    #[inline]
    pub(crate) fn choose(
        &self,
        service: &Service<'_, F>,
        choose: &mut impl Choose,
    ) -> Socket<F::Address> {
        let ladder = self.folds.ladder(service.endpoints.len());
        let rung = choose.even_ladder(ladder);
        Socket {
            address: service.endpoints.get(rung).copied().unwrap_or_default(),
            port: Some(service.port),
        }
    }

    #[inline]
    fn translated<'m>(
        &'m self,
        packet: &Packet<'_>,
        service: &Service<'_, F>,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        let socket = self.choose(service, choose);
        let marking = self.folds.marking(service.marking.into());
        // A source of the other family is no endpoint, and no rule's source.
        let mark = match F::number(packet.headers.src) {
            Some(source) => marking.of(packet.mark, source, socket.address),
            None => packet.mark,
        };
        Brief {
            mark,
            nat: Nat::To(F::address_of(socket.address), socket.port),
            ..Brief::accept(packet)
        }
    }
}

/// Packets that are looked up at a time: enough to keep every outstanding miss of a core busy.
pub(crate) const BATCH: usize = 64;

/// Bytes of a table that stays near the core, in its own cache, so that there is nothing to wait for.
const NEAR: usize = 256 << 10;

/// The key of a packet, if it has a transport header and is of the family.
#[inline]
fn key_of<F: Fields>(packet: &Packet<'_>) -> Option<F::Key> {
    F::key_of(&packet.headers).filter(|_| !packet.headers.is_later_fragment)
}
