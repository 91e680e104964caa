//! One hook: what hangs on it is asked in kernel order, and every outcome told.

use std::hash::Hash;
use std::net::IpAddr;

use indexmap::IndexMap;
use podwire_packet::{Family, Mark, socket};
use podwire_ruleset::{
    CERTAIN, Choose, ConntrackInfo, CtState, Decision, HostAddresses, NatKind, NatRange, Packet,
    Verdict, outcomes,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::packet::PacketLine;

/// A node's rules in one language, and who evaluates them.
pub(super) trait Asked {
    /// Names a rule.
    type Rule: Copy + Eq + Hash;

    /// A rule's name for people.
    fn label(&self, rule: Self::Rule) -> String;

    /// Asks all that hangs on the packet's hook, in the kernel's order, until something ends it.
    fn ask(&self, at: &mut AtHook<'_, Self::Rule>, choose: &mut dyn Choose);
}

/// A packet at its hook, and what has become of it so far.
pub(super) struct AtHook<'h, R> {
    pub(super) packet: Packet<'h>,
    pub(super) outcome: Outcome<R>,
}

/// What can become of a packet at a hook.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Outcome<R> {
    verdict: Verdict,
    dnat: Option<(IpAddr, u16)>,
    masquerade: bool,
    snat: Option<IpAddr>,
    mark: Mark,
    pub(super) rules: Vec<R>,
    uncertain: Option<R>,
}

/// Every outcome with its probability. Those that look alike are one; they are sorted by rules.
pub(super) fn outcomes_of<A: Asked>(asked: &A, line: &PacketLine) -> Vec<(f64, Outcome<A::Rule>)> {
    let host = HostAddresses::of(line.local.iter().copied());
    let mut all = outcomes(|choose| {
        let mut at = AtHook::new(line, &host);
        asked.ask(&mut at, choose);
        at.outcome
    });
    all.sort_by_cached_key(|(_, outcome)| labels(asked, &outcome.rules));
    merged(all)
}

/// Outcomes that look alike as one, where the first of them was.
fn merged<R: Eq + Hash>(all: Vec<(f64, Outcome<R>)>) -> Vec<(f64, Outcome<R>)> {
    let mut merged: IndexMap<Outcome<R>, f64> = IndexMap::with_capacity(all.len());
    for (probability, outcome) in all {
        *merged.entry(outcome).or_insert(0.0) += probability;
    }
    let swapped = merged.into_iter();
    swapped.map(|(outcome, sum)| (sum, outcome)).collect()
}

impl<'h, R> AtHook<'h, R> {
    fn new(line: &PacketLine, host: &'h HostAddresses) -> Self {
        Self {
            packet: Packet {
                headers: line.headers(),
                mark: line.mark,
                hook: line.hook,
                input: line.input,
                output: line.output,
                physdev_in: line.physdev_in,
                physdev_out: line.physdev_out,
                conntrack: ConntrackInfo::of_state(line.ctstate),
                host,
                now: podwire_packet::SimTime::START,
            },
            outcome: Outcome {
                verdict: Verdict::Accept,
                dnat: None,
                masquerade: false,
                snat: None,
                mark: line.mark,
                rules: Vec::new(),
                uncertain: None,
            },
        }
    }

    /// Whether rules that translate are asked: of the first packet of a connection only.
    pub(super) fn is_first(&self) -> bool {
        self.packet.conntrack.state == CtState::New
    }

    /// Does to the packet what rules decided; whether it goes on.
    pub(super) fn carry_out<E>(
        &mut self,
        decision: Decision<R, E>,
        choose: &mut dyn Choose,
    ) -> bool {
        let Self { packet, outcome } = self;
        packet.mark = decision.mark;
        packet.conntrack.mark = decision.conntrack_mark;
        outcome.mark = decision.mark;
        if outcome.uncertain.is_none() {
            outcome.uncertain = decision.uncertain;
        }
        if decision.notrack {
            packet.conntrack = ConntrackInfo::of_state(CtState::Untracked);
        }
        if let Some((kind, range)) = decision.nat {
            translate(packet, outcome, kind, &range, choose);
        }
        outcome.verdict = decision.verdict;
        decision.verdict == Verdict::Accept
    }
}

/// Notes a translation; the tables behind nat see the packet's new destination.
fn translate<R>(
    packet: &mut Packet<'_>,
    outcome: &mut Outcome<R>,
    kind: NatKind,
    range: &NatRange,
    choose: &mut dyn Choose,
) {
    let headers = &mut packet.headers;
    match kind {
        NatKind::Dnat | NatKind::Redirect => {
            headers.dst = match kind {
                NatKind::Redirect if packet.input.is_some() => {
                    first_local(packet.host, headers.family())
                }
                NatKind::Redirect => Some(match headers.family() {
                    Family::Ipv4 => IpAddr::from([127, 0, 0, 1]),
                    Family::Ipv6 => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
                }),
                NatKind::Dnat | NatKind::Snat | NatKind::Masquerade => pick(range, choose),
            }
            .unwrap_or(headers.dst);
            if let Some(ports) = &range.ports
                && !ports.contains(&headers.dport)
            {
                headers.dport = *ports.start();
            }
            packet.conntrack.dnat = true;
            outcome.dnat = Some((headers.dst, headers.dport));
        }
        NatKind::Snat => {
            headers.src = pick(range, choose).unwrap_or(headers.src);
            packet.conntrack.snat = true;
            outcome.snat = Some(headers.src);
        }
        NatKind::Masquerade => {
            packet.conntrack.snat = true;
            outcome.masquerade = true;
        }
    }
}

fn first_local(host: &HostAddresses, family: Family) -> Option<IpAddr> {
    let own = host.local().iter().map(|(prefix, _)| prefix.address());
    own.into_iter()
        .find(|&ip| Family::of(ip) == family && !ip.is_loopback())
}

/// An address of the range, each as likely as another.
fn pick(range: &NatRange, choose: &mut dyn Choose) -> Option<IpAddr> {
    let addresses = range.addresses.as_ref()?;
    match (*addresses.start(), *addresses.end()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let size = u32::from(to)
                .saturating_sub(u32::from(from))
                .saturating_add(1);
            Some(IpAddr::V4((u32::from(from) + choose.one_of(size)).into()))
        }
        (from, _) => Some(from),
    }
}

fn labels<A: Asked>(asked: &A, ids: &[A::Rule]) -> Vec<String> {
    ids.iter().map(|&id| asked.label(id)).collect()
}

/// The answer to a packet.
#[derive(Debug, Serialize)]
pub(super) struct AnswerLine<'a> {
    id: &'a Value,
    outcomes: Vec<OutcomeJson>,
}

#[derive(Debug, Serialize)]
struct OutcomeJson {
    probability: Box<RawValue>,
    verdict: &'static str,
    dnat: Option<String>,
    masquerade: bool,
    snat: Option<IpAddr>,
    mark: u32,
    rules: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncertain: Option<String>,
}

/// The answer as it is printed.
pub(super) fn answer<'a, A: Asked>(
    asked: &A,
    line: &'a PacketLine,
    outcomes: Vec<(f64, Outcome<A::Rule>)>,
) -> AnswerLine<'a> {
    let json = |(probability, outcome): (f64, Outcome<A::Rule>)| OutcomeJson {
        probability: probability_json(probability),
        verdict: match outcome.verdict {
            Verdict::Accept => "ACCEPT",
            Verdict::Drop => "DROP",
            Verdict::Reject(_) => "REJECT",
        },
        dnat: outcome.dnat.map(|(ip, port)| socket(ip, port).to_string()),
        masquerade: outcome.masquerade,
        snat: outcome.snat,
        mark: outcome.mark.0,
        rules: labels(asked, &outcome.rules),
        uncertain: outcome.uncertain.map(|id| asked.label(id)),
    };
    AnswerLine {
        id: &line.id,
        outcomes: outcomes.into_iter().map(json).collect(),
    }
}

/// Twelve decimals, the same from every evaluator.
fn probability_json(probability: f64) -> Box<RawValue> {
    RawValue::from_string(format!("{:.12}", probability.min(CERTAIN)))
        .expect("a decimal number is JSON")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hash::Hasher;

    use super::*;

    thread_local! {
        /// How often two rules were compared.
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    #[derive(Clone, Copy, Debug, Eq)]
    struct Rule(u32);

    impl PartialEq for Rule {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }

    impl Hash for Rule {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    fn to(address: u32) -> Outcome<Rule> {
        Outcome {
            verdict: Verdict::Accept,
            dnat: Some((IpAddr::V4(address.into()), 80)),
            masquerade: false,
            snat: None,
            mark: Mark(0),
            rules: vec![Rule(1)],
            uncertain: None,
        }
    }

    #[test]
    fn outcomes_of_a_large_range_are_not_all_compared_with_each_other() {
        const ADDRESSES: u32 = 20_000;
        let each = 1.0 / f64::from(2 * ADDRESSES);
        let twice = (0..ADDRESSES).chain(0..ADDRESSES);
        let merged = merged(twice.map(|address| (each, to(address))).collect());
        assert_eq!(merged.len(), ADDRESSES as usize);
        let is_right = |(at, (probability, outcome)): (u32, &(f64, Outcome<Rule>))| {
            *outcome == to(at) && (probability - 2.0 * each).abs() < f64::EPSILON
        };
        let compared = COMPARED.get();
        assert!((0..).zip(&merged).all(is_right));
        assert!(compared < 4 * ADDRESSES as usize, "{compared}");
    }
}
