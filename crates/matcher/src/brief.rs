//! A decision without what only a trace needs.

use std::net::IpAddr;

use podwire_packet::Mark;
use podwire_ruleset::{Decision, NatKind, NatRange, Packet, Verdict};

/// What a table decided, as far as the packet is concerned: all of [`Decision`] but the list of what is
/// to be remembered and the name of the rule that was not known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Brief<'m> {
    /// Accept, drop or reject.
    pub verdict: Verdict,
    /// Whether the packet is not to be tracked.
    pub notrack: bool,
    /// Whether the packet is to be traced.
    pub trace: bool,
    /// Whether a rule wants something remembered, [`Decision::effects`]; `classify` says what.
    pub remembers: bool,
    /// Whether a rule was passed over that is not known, [`Decision::uncertain`].
    pub is_uncertain: bool,
    /// The packet's mark afterwards.
    pub mark: Mark,
    /// The connection's mark afterwards.
    pub conntrack_mark: Mark,
    /// The translation asked for.
    pub nat: Nat<'m>,
}

/// A translation that a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nat<'m> {
    /// None.
    None,
    /// New destination: one address, and a port if it is translated too.
    To(IpAddr, Option<u16>),
    /// Any other, with what to choose from.
    Range(NatKind, &'m NatRange),
}

impl Nat<'_> {
    /// As [`Decision::nat`] says it.
    #[must_use]
    pub fn to_range(self) -> Option<(NatKind, NatRange)> {
        match self {
            Self::None => None,
            Self::To(address, port) => Some((NatKind::Dnat, NatRange::to(address, port))),
            Self::Range(kind, range) => Some((kind, range.clone())),
        }
    }
}

impl Brief<'_> {
    /// The answer of a table without rules.
    #[must_use]
    pub const fn accept(packet: &Packet<'_>) -> Self {
        Self {
            verdict: Verdict::Accept,
            notrack: false,
            trace: false,
            remembers: false,
            is_uncertain: false,
            mark: packet.mark,
            conntrack_mark: packet.conntrack.mark,
            nat: Nat::None,
        }
    }

    /// Whether it says what a whole decision says.
    #[must_use]
    pub fn agrees_with(&self, decision: &Decision) -> bool {
        (self.verdict, self.mark, self.conntrack_mark)
            == (decision.verdict, decision.mark, decision.conntrack_mark)
            && (self.notrack, self.trace) == (decision.notrack, decision.trace)
            && self.remembers != decision.effects.is_empty()
            && self.is_uncertain == decision.uncertain.is_some()
            && self.nat.to_range() == decision.nat
    }
}
