//! What became of a probe's packet.

use podwire_dataplane::{Disposition, Event};
use podwire_ruleset::{RuleRef, TableName};
use podwire_sim::{Trace, TraceError, Way, World};
use serde::Serialize;

use crate::trace::reason;

/// What became of a packet, and of its answer where one is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Outcome {
    /// Whether the packet was delivered, and the answer to whoever sent it.
    pub(super) arrived: bool,
    /// `delivered`, `dropped` … or `unsent`.
    pub(super) disposition: &'static str,
    /// Source and destination as it was sent.
    pub(super) flow: String,
    /// The destination that it was translated to.
    pub(super) dnat: Option<String>,
    /// Whether an earlier packet's connection translated it, and no rule was asked.
    pub(super) by_connection: bool,
    /// Who got it, or where it ended.
    pub(super) at: String,
    /// Why it did not arrive.
    pub(super) reason: Option<String>,
}

impl Outcome {
    pub(super) fn of(world: &World<'_>, result: &Result<Trace, TraceError>) -> Self {
        let trace = match result {
            Ok(trace) => trace,
            Err(error) => {
                return Self {
                    arrived: false,
                    disposition: "unsent",
                    flow: String::new(),
                    dnat: None,
                    by_connection: false,
                    at: String::new(),
                    reason: Some(error.to_string()),
                };
            }
        };
        let forward = &trace.forward;
        let is_delivered = matches!(forward.disposition, Disposition::Delivered(_));
        let reply = trace.reply.as_ref().filter(|reply| !reply.answered);
        let lost_reply = reply.map(|reply| {
            let why = reason(world, reply).unwrap_or_else(|| "to somebody else".to_owned());
            format!("the answer is {}: {why}", reply.disposition.name())
        });
        let is_translated = forward.arrived.dst != forward.sent.dst;
        Self {
            arrived: is_delivered && lost_reply.is_none(),
            disposition: forward.disposition.name(),
            flow: forward.sent.to_string(),
            dnat: is_translated.then(|| {
                let (ip, port) = (forward.arrived.dst, forward.arrived.dport);
                std::net::SocketAddr::new(ip, port).to_string()
            }),
            by_connection: is_translated && !asked_nat(forward),
            at: world.place_name(forward.at),
            reason: reason(world, forward).or(lost_reply),
        }
    }
}

impl Outcome {
    /// Whether another packet of the probe fared the same. Packets of one flow are expected to go the
    /// same way; of several flows each may go another, as long as it arrives.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let is_same_flow = self.flow == other.flow;
        let is_same_end = self.arrived == other.arrived
            && self.disposition == other.disposition
            && self.at == other.at
            && self.reason == other.reason;
        is_same_end || (!is_same_flow && self.arrived && other.arrived)
    }
}

/// Whether a rule that translates may have had a say. Which of nftables' rules translate is not seen
/// here: any of them may.
fn asked_nat(way: &Way) -> bool {
    let may_translate = |rule: RuleRef| match rule {
        RuleRef::Iptables(rule) => rule.table == TableName::Nat,
        RuleRef::Nft(_) => true,
    };
    let mut steps = way.steps.iter();
    steps.any(|step| matches!(step.event, Event::Rule { rule, .. } if may_translate(rule)))
}
