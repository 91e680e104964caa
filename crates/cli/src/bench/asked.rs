//! Who is asked, about which packets, and whether the answers are right.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use hashbrown::HashMap;
use podwire_cluster::synthetic;
use podwire_interp::Interp;
use podwire_matcher::{Brief, Matcher, Nat};
use podwire_packet::{Headers, Mark, Protocol, SimTime};
use podwire_ruleset::{
    Choose as _, Classify as _, ConntrackInfo, CtState, Draw, Hook, HostAddresses, NatKind, Packet,
    State, TableName, Verdict,
};
use rustc_hash::FxBuildHasher;

use crate::bench::text::{ENDPOINT_PORT, ENDPOINTS, endpoint};

/// Packets of a batch.
pub(crate) const BATCH: usize = 64;

/// A port that no Service has.
const NO_PORT: u16 = 81;

/// Which Service a packet is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// The one whose rule is the first.
    First,
    /// The one whose rule is the last.
    Last,
    /// Another for each packet, from the seed.
    Random,
    /// A random one's address, and a port that it does not have.
    Miss,
}

impl Case {
    pub(crate) const ALL: [Self; 4] = [Self::First, Self::Last, Self::Random, Self::Miss];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::First => "clusterip/first",
            Self::Last => "clusterip/last",
            Self::Random => "clusterip/random",
            Self::Miss => "clusterip/miss",
        }
    }
}

/// First packets of flows, all by one device, and the Service of each that finds one.
pub(crate) struct Packets<'a> {
    pub(crate) all: Vec<Headers>,
    /// What they are like but for their headers.
    pub(crate) like: Packet<'a>,
    services: Vec<Option<u32>>,
}

impl<'a> Packets<'a> {
    pub(crate) fn new(
        case: Case,
        services: u32,
        count: usize,
        seed: u64,
        host: &'a HostAddresses,
    ) -> Self {
        let mut draw = Draw(seed);
        let mut packets = Self {
            all: Vec::with_capacity(count),
            like: like(host),
            services: Vec::with_capacity(count),
        };
        for _ in 0..count {
            let service = match case {
                Case::First => 0,
                Case::Last => services - 1,
                Case::Random | Case::Miss => draw.one_of(services),
            };
            let (address, port) = synthetic::cluster_ip(service);
            let hits = case != Case::Miss;
            let port = if hits { port } else { NO_PORT };
            packets.all.push(headers(address, port));
            packets.services.push(hits.then_some(service));
        }
        packets
    }

    /// Each as a packet of its own.
    fn whole(&self) -> impl Iterator<Item = Packet<'a>> {
        self.all.iter().map(|headers| Packet {
            headers: *headers,
            ..self.like
        })
    }

    /// Whether an answer is right for the packet of that number: an endpoint of its Service, or
    /// nothing.
    fn is_right(&self, number: usize, verdict: Verdict, to: Option<(IpAddr, Option<u16>)>) -> bool {
        let right = match (self.services[number], to) {
            (None, to) => to.is_none(),
            (Some(_), None) => false,
            (Some(service), Some((address, port))) => {
                let mut own = (service * ENDPOINTS..).take(ENDPOINTS as usize);
                port == Some(ENDPOINT_PORT) && own.any(|own| address == endpoint(own))
            }
        };
        right && verdict == Verdict::Accept
    }
}

fn headers(address: IpAddr, port: u16) -> Headers {
    let client = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 200));
    Headers::first_of_flow(client, address, Protocol::TCP, 40_000, port)
}

fn like(host: &HostAddresses) -> Packet<'_> {
    Packet {
        headers: headers(Ipv4Addr::UNSPECIFIED.into(), NO_PORT),
        mark: Mark(0),
        hook: Hook::Prerouting,
        input: None,
        output: None,
        physdev_in: None,
        physdev_out: None,
        conntrack: ConntrackInfo::of_state(CtState::New),
        host,
        now: SimTime::START,
    }
}

/// Somebody who is asked about every packet in turn.
pub(crate) trait Asked {
    /// Asks about all; an answer leads nowhere.
    fn ask(&mut self, packets: &Packets<'_>);

    /// Whether every answer is right.
    fn is_right(&mut self, packets: &Packets<'_>) -> bool;
}

fn translation(brief: &Brief<'_>) -> Option<(IpAddr, Option<u16>)> {
    match brief.nat {
        Nat::None => None,
        Nat::To(address, port) => Some((address, port)),
        Nat::Range(_, range) => {
            let first = range.addresses.as_ref().map(|all| *all.start());
            let port = range.ports.as_ref().map(|all| *all.start());
            Some((first.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port))
        }
    }
}

/// The compiled matcher, one packet a call.
pub(crate) struct One<'m>(pub(crate) &'m Matcher, pub(crate) Draw);

impl Asked for One<'_> {
    fn ask(&mut self, packets: &Packets<'_>) {
        let state = State::default();
        let nat = self.0.at(TableName::Nat, Hook::Prerouting);
        for headers in &packets.all {
            let headers = black_box(headers);
            black_box(&nat.decide_like(&packets.like, headers, &state, &mut self.1));
        }
    }

    fn is_right(&mut self, packets: &Packets<'_>) -> bool {
        let state = State::default();
        let nat = self.0.at(TableName::Nat, Hook::Prerouting);
        packets.all.iter().enumerate().all(|(number, headers)| {
            let brief = nat.decide_like(&packets.like, headers, &state, &mut self.1);
            packets.is_right(number, brief.verdict, translation(&brief))
        })
    }
}

/// The compiled matcher, [`BATCH`] packets a call.
pub(crate) struct Batch<'m>(pub(crate) &'m Matcher, pub(crate) Draw);

impl Batch<'_> {
    #[inline]
    fn each_batch(&mut self, packets: &Packets<'_>, mut each: impl FnMut(usize, &[Brief<'_>])) {
        let state = State::default();
        let nat = self.0.at(TableName::Nat, Hook::Prerouting);
        let mut out = [Brief::accept(&packets.like); BATCH];
        for (number, batch) in packets.all.chunks(BATCH).enumerate() {
            let begin = self.1.next();
            let draws = |packet: usize| Draw(begin.wrapping_add(packet as u64));
            nat.decide_batch_like(&packets.like, black_box(batch), &state, draws, &mut out);
            each(number * BATCH, &out[..batch.len()]);
        }
    }
}

impl Asked for Batch<'_> {
    fn ask(&mut self, packets: &Packets<'_>) {
        self.each_batch(packets, |_, briefs| {
            black_box(briefs);
        });
    }

    fn is_right(&mut self, packets: &Packets<'_>) -> bool {
        let mut right = true;
        self.each_batch(packets, |begin, briefs| {
            right &= briefs
                .iter()
                .zip(begin..)
                .all(|(brief, number)| packets.is_right(number, brief.verdict, translation(brief)));
        });
        right
    }
}

/// The reference, rule by rule.
pub(crate) struct Reference<'i>(pub(crate) &'i Interp, pub(crate) Draw);

impl Asked for Reference<'_> {
    fn ask(&mut self, packets: &Packets<'_>) {
        let state = State::default();
        for packet in packets.whole() {
            let packet = black_box(&packet);
            let decision = self
                .0
                .classify(TableName::Nat, packet, &state, &mut self.1, &mut ());
            black_box(&decision);
        }
    }

    fn is_right(&mut self, packets: &Packets<'_>) -> bool {
        let state = State::default();
        packets.whole().enumerate().all(|(number, packet)| {
            let decision = self
                .0
                .classify(TableName::Nat, &packet, &state, &mut self.1, &mut ());
            let to = decision.nat.map(|(kind, range)| {
                let address = range.addresses.map(|all| *all.start());
                let port = range.ports.map(|all| *all.start());
                (kind, address, port)
            });
            let to = match to {
                None => None,
                Some((NatKind::Dnat, Some(address), port)) => Some((address, port)),
                Some(_) => return false,
            };
            packets.is_right(number, decision.verdict, to)
        })
    }
}

/// What a lookup cannot be without: a hash table of Services, by destination, protocol and port.
#[derive(Default)]
pub(crate) struct Table {
    services: HashMap<(u32, u8, u16), u32, FxBuildHasher>,
    /// Of Service n those from n times [`ENDPOINTS`] on.
    endpoints: Vec<(u32, u16)>,
}

impl Table {
    pub(crate) fn new(services: u32) -> Self {
        let key = |service| match synthetic::cluster_ip(service) {
            (IpAddr::V4(address), port) => ((address.into(), Protocol::TCP.0, port), service),
            (IpAddr::V6(_), port) => ((0, Protocol::TCP.0, port), service),
        };
        let endpoint = |number| (endpoint(number).into(), ENDPOINT_PORT);
        Self {
            services: (0..services).map(key).collect(),
            endpoints: (0..services * ENDPOINTS).map(endpoint).collect(),
        }
    }

    #[inline]
    fn service(&self, headers: &Headers) -> Option<u32> {
        let IpAddr::V4(address) = headers.dst else {
            return None;
        };
        let key = (address.into(), headers.protocol.0, headers.dport);
        self.services.get(&key).copied()
    }

    #[inline]
    fn endpoint(&self, headers: &Headers, draw: &mut Draw) -> Option<(u32, u16)> {
        let place = self.service(headers)? * ENDPOINTS + draw.one_of(ENDPOINTS);
        self.endpoints.get(place as usize).copied()
    }
}

/// One probe of the table: which Service.
pub(crate) struct BareProbe<'t>(pub(crate) &'t Table);

impl Asked for BareProbe<'_> {
    fn ask(&mut self, packets: &Packets<'_>) {
        for headers in &packets.all {
            black_box(&self.0.service(black_box(headers)));
        }
    }

    fn is_right(&mut self, packets: &Packets<'_>) -> bool {
        let services = packets.all.iter().map(|headers| self.0.service(headers));
        services.eq(packets.services.iter().copied())
    }
}

/// One probe of the table, then the endpoint that the draw names: two loads, of which the second waits
/// for the first.
pub(crate) struct Floor<'t>(pub(crate) &'t Table, pub(crate) Draw);

impl Asked for Floor<'_> {
    fn ask(&mut self, packets: &Packets<'_>) {
        for headers in &packets.all {
            black_box(&self.0.endpoint(black_box(headers), &mut self.1));
        }
    }

    fn is_right(&mut self, packets: &Packets<'_>) -> bool {
        packets.all.iter().enumerate().all(|(number, headers)| {
            let to = self.0.endpoint(headers, &mut self.1);
            let to = to.map(|(address, port)| (Ipv4Addr::from(address).into(), Some(port)));
            packets.is_right(number, Verdict::Accept, to)
        })
    }
}
