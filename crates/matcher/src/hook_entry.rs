//! A table at a hook: one packet, many, or many on all cores.

use podwire_packet::Headers;
use podwire_ruleset::{Choose, Draw, Packet, State};
use rayon::prelude::*;

use crate::brief::Brief;
use crate::decide::{Asked, AtHook};
use crate::fields::{Narrow, Wide};

/// A table of a [`Matcher`](crate::Matcher) at a hook, as `struct nf_hook_entry` is in the kernel: where packets
/// of that hook begin is found once for all of them.
///
/// A packet is asked about as one at this hook, whatever its own [`hook`](Packet::hook) says.
#[derive(Clone, Copy, Debug)]
pub struct HookEntry<'m>(pub(crate) OfFamily<'m>);

#[derive(Clone, Copy, Debug)]
pub(crate) enum OfFamily<'m> {
    Ipv4(AtHook<'m, Narrow>),
    Ipv6(AtHook<'m, Wide>),
    /// The rule set has no such table.
    Empty,
}

impl<'m> HookEntry<'m> {
    /// What the table decides: as [`Matcher::decide`](crate::Matcher::decide).
    #[expect(clippy::inline_always, reason = "see `AtHook::decide`")]
    #[inline(always)]
    #[must_use]
    pub fn decide(
        &self,
        packet: &Packet<'_>,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        self.decide_like(packet, &packet.headers, state, choose)
    }

    /// [`decide`](Self::decide) of a packet that has those headers and is otherwise like `packet`: one
    /// of many that come by the same device in the same state.
    #[expect(clippy::inline_always, reason = "see `AtHook::decide`")]
    #[inline(always)]
    #[must_use]
    pub fn decide_like(
        &self,
        packet: &Packet<'_>,
        headers: &Headers,
        state: &State,
        choose: &mut impl Choose,
    ) -> Brief<'m> {
        match &self.0 {
            OfFamily::Ipv4(table) => table.decide(packet, headers, state, choose),
            OfFamily::Ipv6(table) => table.decide(packet, headers, state, choose),
            OfFamily::Empty => Brief::accept(packet),
        }
    }

    /// [`decide`](Self::decide) for many packets, 64 at a time. Packet `n` has the draw that `draws` gives
    /// for it, and every packet is decided as if it were the first: what rules remember is not carried
    /// from one to the next.
    ///
    /// # Panics
    /// If `out` is shorter than `packets`.
    pub fn decide_batch(
        &self,
        packets: &[Packet<'_>],
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        if let Some(like) = packets.first() {
            self.decide_all(packets, like, state, draws, out);
        }
    }

    /// [`decide_batch`](Self::decide_batch) of packets that have those headers and are otherwise like
    /// one.
    ///
    /// # Panics
    /// If `out` is shorter than `headers`.
    pub fn decide_batch_like(
        &self,
        packet: &Packet<'_>,
        headers: &[Headers],
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        self.decide_all(headers, packet, state, draws, out);
    }

    /// [`decide_batch`](Self::decide_batch) on all cores that rayon's pool has. The answers are the same on
    /// any number of them, since a packet's draw is its own.
    ///
    /// # Panics
    /// If `out` is shorter than `packets`.
    pub fn decide_in_parallel(
        &self,
        packets: &[Packet<'_>],
        state: &State,
        draws: impl Fn(usize) -> Draw + Sync,
        out: &mut [Brief<'m>],
    ) {
        // Long enough that handing it out costs nothing, short enough that the cores end together.
        const PART: usize = 4096;
        let out = &mut out[..packets.len()];
        let parts = packets.par_chunks(PART).zip(out.par_chunks_mut(PART));
        parts.enumerate().for_each(|(part, (packets, out))| {
            let draws = |at| draws(part * PART + at);
            self.decide_batch(packets, state, draws, out);
        });
    }

    #[inline]
    fn decide_all<'p, P: Asked<'p>>(
        &self,
        packets: &[P],
        like: &'p Packet<'p>,
        state: &State,
        draws: impl Fn(usize) -> Draw,
        out: &mut [Brief<'m>],
    ) {
        let out = &mut out[..packets.len()];
        match &self.0 {
            OfFamily::Ipv4(table) => table.decide_batch(packets, like, state, draws, out),
            OfFamily::Ipv6(table) => table.decide_batch(packets, like, state, draws, out),
            OfFamily::Empty => {
                for (packet, brief) in packets.iter().zip(out) {
                    *brief = Brief::accept(packet.parts(like).0);
                }
            }
        }
    }
}
