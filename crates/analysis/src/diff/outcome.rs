//! What became of a packet, as far as its sender and receiver can tell.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use podwire_dataplane::Disposition;
use podwire_packet::socket;
use podwire_ruleset::RejectWith;
use podwire_sim::{NetnsId, Trace, World};

/// Probabilities nearer than this are the same: iptables rounds them to 31 bits and ten decimals.
const TOLERANCE: f64 = 1e-6;

/// How a packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// A socket gets it.
    Delivered,
    /// A rule says no, and the sender is told.
    Rejected,
    /// Nobody listens, and the sender is told.
    Refused,
    /// It is gone.
    Dropped,
    /// No way leads on.
    Unroutable,
    /// Its TTL runs out, or it is too large.
    Lost,
    /// The sender is not there.
    NoSender,
}

impl Fate {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
            Self::Unroutable => "unroutable",
            Self::Lost => "lost",
            Self::NoSender => "no sender",
        }
    }
}

/// Whose address a receiver sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceSeen {
    /// The sender's.
    Sender,
    /// A node's.
    Node,
    /// Another.
    Other,
}

/// One way that a packet may end.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// How.
    pub fate: Fate,
    /// What a rejected packet's sender is told.
    pub told: Option<RejectWith>,
    /// Who gets a delivered one.
    pub endpoint: Option<SocketAddr>,
    /// The address that the receiver sees.
    pub source: Option<IpAddr>,
    /// Whose that is.
    pub source_seen: SourceSeen,
    /// Whether the receiver is on the node whose rules see the packet first.
    pub is_local: bool,
    /// Whether the answer arrives.
    pub answered: bool,
    /// How probable that is.
    pub probability: f64,
}

impl End {
    /// What it is compared by.
    fn key(&self) -> impl Ord + use<> {
        (self.fate, self.told, self.endpoint, self.source, self.answered)
    }
}

/// Every way that a packet may end, each once, in a stated order.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The ways.
    pub ends: Vec<End>,
}

impl Outcome {
    /// What traces of one packet, with probabilities that sum to 1, come to; `first` is the node whose
    /// rules see it first.
    pub(super) fn of(world: &World<'_>, first: &str, traces: &[Trace]) -> Self {
        let mut ends: Vec<End> = traces.iter().map(|trace| end(world, first, trace)).collect();
        ends.sort_by(|a, b| a.key().cmp(&b.key()));
        ends.dedup_by(|later, kept| {
            let is_same = later.key() == kept.key();
            if is_same {
                kept.probability += later.probability;
            }
            is_same
        });
        Self { ends }
    }

    /// That of a sender who does not exist.
    pub(super) fn no_sender() -> Self {
        Self {
            ends: vec![End {
                fate: Fate::NoSender,
                told: None,
                endpoint: None,
                source: None,
                source_seen: SourceSeen::Sender,
                is_local: false,
                answered: false,
                probability: 1.0,
            }],
        }
    }

    /// Whether nobody could tell one from the other.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        same(&self.ends, &other.ends)
    }

    /// Whether nobody who gets a packet could: ways in which it is not delivered are all alike.
    #[must_use]
    pub fn delivers_same(&self, other: &Self) -> bool {
        let delivered = |ends: &[End]| -> Vec<End> {
            let delivered = ends.iter().filter(|end| end.fate == Fate::Delivered);
            delivered.cloned().collect()
        };
        same(&delivered(&self.ends), &delivered(&other.ends))
    }

    /// Whether it ends so, whatever chance does.
    #[must_use]
    pub fn is(&self, fate: Fate) -> bool {
        self.ends.iter().all(|end| end.fate == fate)
    }

    /// Whether it may be delivered.
    #[must_use]
    pub fn delivers(&self) -> bool {
        self.ends.iter().any(|end| end.fate == Fate::Delivered)
    }

    /// Receivers, in order.
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> {
        let mut endpoints: Vec<SocketAddr> =
            self.ends.iter().filter_map(|end| end.endpoint).collect();
        endpoints.dedup();
        endpoints.into_iter()
    }

    /// Whose address receivers see, if all see the same one's.
    #[must_use]
    pub fn source_seen(&self) -> Option<SourceSeen> {
        let mut seen = self
            .ends
            .iter()
            .filter(|end| end.fate == Fate::Delivered)
            .map(|end| end.source_seen);
        let first = seen.next()?;
        seen.all(|other| other == first).then_some(first)
    }
}

/// An outcome in words: what outcomes of many packets have in common.
pub(super) struct Summary<'o> {
    pub(super) outcome: &'o Outcome,
    /// Whether it says who is on the node.
    pub(super) with_locality: bool,
}

impl fmt::Display for Summary<'_> {
    /// Writes `delivered to 2 endpoints (1 on the node) from the sender's address`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: BTreeMap<_, Vec<&End>> = BTreeMap::new();
        for end in &self.outcome.ends {
            let alike = (end.fate, end.told, end.source_seen, end.answered);
            runs.entry(alike).or_default().push(end);
        }
        let is_part = runs.len() > 1;
        for (number, run) in runs.values().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            self.write_run(run, is_part, f)?;
        }
        Ok(())
    }
}

impl Summary<'_> {
    fn write_run(&self, run: &[&End], is_part: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = run.first() else {
            return Ok(());
        };
        f.write_str(first.fate.name())?;
        if first.fate == Fate::Delivered {
            let local = run.iter().filter(|end| end.is_local).count();
            let plural = if run.len() == 1 { "" } else { "s" };
            write!(f, " to {} endpoint{plural}", run.len())?;
            match local {
                _ if local == 0 || !self.with_locality => {}
                _ if local == run.len() => f.write_str(" on the node")?,
                _ => write!(f, " ({local} on the node)")?,
            }
            match first.source_seen {
                SourceSeen::Sender => f.write_str(" from the sender's address")?,
                SourceSeen::Node => f.write_str(" from a node's address")?,
                SourceSeen::Other => f.write_str(" from another address")?,
            }
            if !first.answered {
                f.write_str(", no answer arrives")?;
            }
        }
        let probabilities: f64 = run.iter().map(|end| end.probability).sum();
        let uneven = run
            .iter()
            .any(|end| (end.probability - first.probability).abs() > TOLERANCE);
        if is_part {
            write!(f, " ({:.1} %)", probabilities * 100.0)?;
        }
        if uneven {
            f.write_str(", not evenly")?;
        }
        Ok(())
    }
}

fn same(a: &[End], b: &[End]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            a.key() == b.key() && (a.probability - b.probability).abs() <= TOLERANCE
        })
}

fn end(world: &World<'_>, first: &str, trace: &Trace) -> End {
    let way = &trace.forward;
    let (fate, told) = match way.disposition {
        Disposition::Delivered(_) => (Fate::Delivered, None),
        Disposition::Rejected { with, .. } => (Fate::Rejected, Some(with)),
        Disposition::Refused => (Fate::Refused, None),
        Disposition::Dropped(_) => (Fate::Dropped, None),
        Disposition::Unroutable(_) => (Fate::Unroutable, None),
        Disposition::Mtu { .. } | Disposition::Ttl => (Fate::Lost, None),
    };
    let flow = match way.disposition {
        Disposition::Delivered(delivery) => Some(delivery.flow),
        Disposition::Dropped(_)
        | Disposition::Rejected { .. }
        | Disposition::Refused
        | Disposition::Unroutable(_)
        | Disposition::Mtu { .. }
        | Disposition::Ttl => None,
    };
    let source_seen = match flow {
        Some(flow) if flow.src != way.sent.src => match world.owner(flow.src) {
            // A node that translates to another address of its own is still the sender.
            Some(at @ NetnsId::Node(_)) if at != way.from => SourceSeen::Node,
            Some(at) if at == way.from => SourceSeen::Sender,
            _ => SourceSeen::Other,
        },
        _ => SourceSeen::Sender,
    };
    End {
        fate,
        told,
        endpoint: flow.map(|flow| socket(flow.dst, flow.dport)),
        source: flow.map(|flow| flow.src),
        source_seen,
        is_local: flow.is_some() && *world.names(way.at).0 == *first,
        answered: trace.reply.as_ref().is_some_and(|reply| reply.answered),
        probability: trace.probability,
    }
}
