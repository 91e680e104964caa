//! One hook: its tables in kernel order, and every outcome.

use std::cmp::Ordering;
use std::net::IpAddr;

use podwire_packet::{Family, Mark, socket};
use podwire_ruleset::{
    CERTAIN, Choose, Classify, ConntrackInfo, CtState, Hook, HostAddresses, NatKind, NatRange,
    Packet, RuleId, RuleSet, State, TableName, Verdict, outcomes,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::packet::PacketLine;

/// What can become of a packet at a hook.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    verdict: Verdict,
    dnat: Option<(IpAddr, u16)>,
    masquerade: bool,
    snat: Option<IpAddr>,
    mark: Mark,
    rules: Vec<RuleId>,
    uncertain: Option<RuleId>,
}

/// Every outcome with its probability. Those that look alike are one; they are sorted by rules.
pub(super) fn outcomes_of(
    evaluator: &impl Classify,
    rules: &RuleSet,
    state: &State,
    line: &PacketLine,
) -> Vec<(f64, Outcome)> {
    let host = HostAddresses::of(line.local.iter().copied());
    let mut all = outcomes(|choose| evaluate(evaluator, state, line, &host, choose));
    let by_rules = |a: &Outcome, b: &Outcome| -> Ordering {
        labels(rules, &a.rules).cmp(&labels(rules, &b.rules))
    };
    all.sort_by(|(_, a), (_, b)| by_rules(a, b));
    let mut merged: Vec<(f64, Outcome)> = Vec::with_capacity(all.len());
    for (probability, outcome) in all {
        match merged.iter_mut().find(|(_, same)| *same == outcome) {
            Some((sum, _)) => *sum += probability,
            None => merged.push((probability, outcome)),
        }
    }
    merged
}

/// The tables of a hook in the order in which the kernel asks them: source translation comes last.
const fn tables(hook: Hook) -> [TableName; 5] {
    use TableName::{Filter, Mangle, Nat, Raw, Security};
    match hook {
        Hook::Prerouting | Hook::Output | Hook::Forward => [Raw, Mangle, Nat, Filter, Security],
        Hook::Input | Hook::Postrouting => [Raw, Mangle, Filter, Security, Nat],
    }
}

fn evaluate(
    evaluator: &impl Classify,
    state: &State,
    line: &PacketLine,
    host: &HostAddresses,
    choose: &mut dyn Choose,
) -> Outcome {
    let mut state = state.clone();
    let mut choose = choose;
    let mut packet = Packet {
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
    };
    let mut outcome = Outcome {
        verdict: Verdict::Accept,
        dnat: None,
        masquerade: false,
        snat: None,
        mark: line.mark,
        rules: Vec::new(),
        uncertain: None,
    };
    for table in tables(line.hook) {
        // nat is asked about the first packet of a connection only.
        if table == TableName::Nat && packet.conntrack.state != CtState::New {
            continue;
        }
        let decision = evaluator.classify(table, &packet, &state, &mut choose, &mut outcome.rules);
        state.apply(&decision.effects);
        packet.mark = decision.mark;
        packet.conntrack.mark = decision.conntrack_mark;
        outcome.mark = decision.mark;
        outcome.uncertain = outcome.uncertain.or(decision.uncertain);
        if decision.notrack {
            packet.conntrack = ConntrackInfo::of_state(CtState::Untracked);
        }
        if let Some((kind, range)) = decision.nat {
            translate(&mut packet, &mut outcome, kind, &range, choose);
        }
        if decision.verdict != Verdict::Accept {
            outcome.verdict = decision.verdict;
            break;
        }
    }
    outcome
}

/// Notes a translation; the tables behind nat see the packet's new destination.
fn translate(
    packet: &mut Packet<'_>,
    outcome: &mut Outcome,
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

fn labels(rules: &RuleSet, ids: &[RuleId]) -> Vec<String> {
    ids.iter().map(|&id| rules.label(id)).collect()
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
pub(super) fn answer<'a>(
    rules: &RuleSet,
    line: &'a PacketLine,
    outcomes: Vec<(f64, Outcome)>,
) -> AnswerLine<'a> {
    let json = |(probability, outcome): (f64, Outcome)| OutcomeJson {
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
        rules: labels(rules, &outcome.rules),
        uncertain: outcome.uncertain.map(|id| rules.label(id)),
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
