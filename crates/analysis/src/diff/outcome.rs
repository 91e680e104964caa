//! What became of a packet, as far as its sender and receiver can tell.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use podwire_dataplane::Disposition;
use podwire_packet::{FiveTuple, socket};
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
    /// Its TTL runs out.
    Ttl,
    /// It is too large.
    Mtu,
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
            Self::Ttl => "ttl",
            Self::Mtu => "mtu",
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
    /// Whether the receiver is on the node that serves the packet.
    pub is_local: bool,
    /// Whether the answer arrives.
    pub answered: bool,
    /// How probable that is.
    pub probability: f64,
}

impl End {
    /// What it is compared by.
    fn key(&self) -> impl Ord + use<> {
        (
            self.fate,
            self.told,
            self.endpoint,
            self.source,
            self.answered,
        )
    }
}

/// Every way that a packet may end, each once, in a stated order.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The ways.
    pub ends: Vec<End>,
    /// Whether the client's next packet goes to the same endpoint, where the Service has session
    /// affinity and there are several.
    pub client_stays: Option<bool>,
}

impl Outcome {
    /// What traces of one packet, with probabilities that sum to 1, come to; `node` is the one that
    /// serves it.
    pub(super) fn of(world: &World<'_>, node: &str, traces: &[Trace]) -> Self {
        let mut ends: Vec<End> = traces.iter().map(|trace| end(world, node, trace)).collect();
        ends.sort_by_key(End::key);
        ends.dedup_by(|later, kept| {
            let is_same = later.key() == kept.key();
            if is_same {
                kept.probability += later.probability;
            }
            is_same
        });
        Self {
            ends,
            client_stays: None,
        }
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
            client_stays: None,
        }
    }

    /// Whether nobody could tell one from the other.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.client_stays == other.client_stays && same(&self.ends, &other.ends)
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

    /// Receivers with the addresses that they see: `10.244.1.4:8080 from 192.168.10.11`.
    pub(super) fn receivers(&self) -> String {
        let delivered = self.ends.iter().filter_map(|end| {
            let (endpoint, source) = (end.endpoint?, end.source?);
            Some(format!("{endpoint} from {source}"))
        });
        delivered.collect::<Vec<_>>().join(", ")
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
    /// Whether it says where endpoints are, in place of how many there are.
    pub(super) with_locality: bool,
}

impl fmt::Display for Summary<'_> {
    /// Writes `delivered to 2 endpoints from the sender's address`, and so for every way that is not like
    /// the one before.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ways: BTreeMap<_, Vec<&End>> = BTreeMap::new();
        for end in &self.outcome.ends {
            let alike = (end.fate, end.told, end.source_seen, end.answered);
            ways.entry(alike).or_default().push(end);
        }
        for (number, (&(fate, _, source_seen, answered), ends)) in ways.iter().enumerate() {
            if number > 0 {
                f.write_str("; or ")?;
            }
            f.write_str(fate.name())?;
            if fate == Fate::Delivered {
                self.write_receivers(ends, f)?;
                f.write_str(source_seen.words())?;
                if !answered {
                    f.write_str(", no answer arrives")?;
                }
            }
            let first = ends.first().map_or(0.0, |end| end.probability);
            if ends
                .iter()
                .any(|end| (end.probability - first).abs() > TOLERANCE)
            {
                f.write_str(", not evenly")?;
            }
        }
        match self.outcome.client_stays {
            Some(true) => f.write_str(", and the client's next packet to the same"),
            Some(false) => f.write_str(", and the client's next packet to any"),
            None => Ok(()),
        }
    }
}

impl Summary<'_> {
    fn write_receivers(&self, ends: &[&End], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = ends.iter().filter(|end| end.is_local).count();
        match (self.with_locality, ends.len()) {
            (false, 1) => f.write_str(" to 1 endpoint"),
            (false, count) => write!(f, " to {count} endpoints"),
            (true, _) if local == 0 => f.write_str(" to endpoints elsewhere"),
            (true, count) if local == count => f.write_str(" to endpoints on the node"),
            (true, _) => f.write_str(" to endpoints on the node and elsewhere"),
        }
    }
}

impl SourceSeen {
    const fn words(self) -> &'static str {
        match self {
            Self::Sender => ", from the sender's address",
            Self::Node => ", from a node's address",
            Self::Other => ", from another address",
        }
    }
}

fn same(a: &[End], b: &[End]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.key() == b.key() && (a.probability - b.probability).abs() <= TOLERANCE)
}

/// Who gets a packet.
pub(super) fn receiver(trace: &Trace) -> Option<SocketAddr> {
    let flow = delivered(trace)?;
    Some(socket(flow.dst, flow.dport))
}

/// The packet as its receiver gets it.
const fn delivered(trace: &Trace) -> Option<FiveTuple> {
    match trace.forward.disposition {
        Disposition::Delivered(delivery) => Some(delivery.flow),
        Disposition::Dropped(_)
        | Disposition::Rejected { .. }
        | Disposition::Refused
        | Disposition::Unroutable(_)
        | Disposition::Mtu { .. }
        | Disposition::Ttl => None,
    }
}

fn end(world: &World<'_>, node: &str, trace: &Trace) -> End {
    let way = &trace.forward;
    let (fate, told) = match way.disposition {
        Disposition::Delivered(_) => (Fate::Delivered, None),
        Disposition::Rejected { with, .. } => (Fate::Rejected, Some(with)),
        Disposition::Refused => (Fate::Refused, None),
        Disposition::Dropped(_) => (Fate::Dropped, None),
        Disposition::Unroutable(_) => (Fate::Unroutable, None),
        Disposition::Mtu { .. } => (Fate::Mtu, None),
        Disposition::Ttl => (Fate::Ttl, None),
    };
    let flow = delivered(trace);
    let source_seen = match flow.filter(|flow| flow.src != way.sent.src) {
        None => SourceSeen::Sender,
        Some(flow) => match world.owner(flow.src) {
            // What translates to another address of its own is still the sender.
            Some(at) if at == way.from => SourceSeen::Sender,
            Some(NetnsId::Node(_)) => SourceSeen::Node,
            Some(NetnsId::Pod(_) | NetnsId::Router | NetnsId::Outside(_)) | None => {
                SourceSeen::Other
            }
        },
    };
    End {
        fate,
        told,
        endpoint: receiver(trace),
        source: flow.map(|flow| flow.src),
        source_seen,
        is_local: flow.is_some() && *world.names(way.at).0 == *node,
        answered: trace.reply.as_ref().is_some_and(|reply| reply.answered),
        probability: trace.probability,
    }
}
