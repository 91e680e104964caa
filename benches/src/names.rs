//! A CoreDNS over made-up Services, and questions for it.

use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use podwire_cluster::synthetic::{self, cluster_ip};
use podwire_dns::corefile::{Corefile, Nothing};
use podwire_dns::message::wire::{Asked, Received, receive};
use podwire_dns::message::{Transport, name};
use podwire_dns::version::Version;
use podwire_dns::{Server, Setup, World};
use podwire_ruleset::{Choose as _, Draw};

/// Questions that are asked in turn, so that none finds the caches of the processor warm.
const QUESTIONS: u32 = 1 << 16;

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The address of a Service.
    A,
    /// Its IPv6 address, which it has not.
    NoData,
    /// A name that does not exist.
    NxDomain,
    /// Its ports.
    Srv,
    /// The name of a cluster IP.
    Ptr,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::A, Self::NoData, Self::NxDomain, Self::Srv, Self::Ptr];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::NoData => "nodata",
            Self::NxDomain => "nxdomain",
            Self::Srv => "srv",
            Self::Ptr => "ptr",
        }
    }

    /// How many records its answer has.
    #[must_use]
    pub fn answers(self) -> usize {
        match self {
            Self::A | Self::Srv | Self::Ptr => 1,
            Self::NoData | Self::NxDomain => 0,
        }
    }

    fn question(self, number: u32) -> (Name, RecordType) {
        let of = |text: String, qtype| (name(&text).expect("a name"), qtype);
        let service = format!("service-{number:07}.default.svc.cluster.local");
        match self {
            Self::A => of(service, RecordType::A),
            Self::NoData => of(service, RecordType::AAAA),
            Self::NxDomain => of(format!("no-{service}"), RecordType::A),
            Self::Srv => of(service, RecordType::SRV),
            Self::Ptr => (Name::from(cluster_ip(number).0), RecordType::PTR),
        }
    }
}

/// CoreDNS over so many Services of three endpoints, with or without kubeadm's cache.
///
/// # Panics
/// Never: the Corefile is one that CoreDNS starts with.
#[must_use]
pub fn server(services: u32, cached: bool) -> Server {
    let cluster = synthetic::services(services, 3);
    let cache = if cached { "cache 30" } else { "" };
    let corefile = format!(
        ".:53 {{\n errors\n health\n ready\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n \
         pods insecure\n fallthrough in-addr.arpa ip6.arpa\n ttl 30\n }}\n prometheus :9153\n \
         forward . 192.0.2.53\n {cache}\n loop\n reload\n loadbalance\n}}\n"
    );
    let version = Version::default();
    let corefile = Corefile::load("Corefile", &corefile, version, &Nothing).expect("it loads");
    let setup = Setup {
        cluster: &cluster,
        version,
        world: World::Nothing,
        local: Vec::new(),
        seed: 1,
        surroundings: &Nothing,
    };
    Server::new(&corefile, setup).expect("it starts")
}

/// Questions of a kind about Services at random, as messages.
///
/// # Panics
/// Never: the names are short enough.
#[must_use]
pub fn packets(kind: Kind, services: u32) -> Vec<Vec<u8>> {
    let mut draw = Draw(1);
    let packet = |_| {
        let (name, qtype) = kind.question(draw.one_of(services));
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.queries.push(Query::query(name, qtype));
        let mut opt = Edns::new();
        opt.set_max_payload(1_232);
        message.edns = Some(opt);
        message.to_vec().expect("a short message")
    };
    (0..QUESTIONS).map(packet).collect()
}

/// The question that a message asks.
///
/// # Panics
/// If it asks none.
#[must_use]
pub fn asked(packet: &[u8]) -> Box<Asked> {
    let client = SocketAddr::from(([192, 0, 2, 1], 5_353));
    match receive(packet, client, Transport::Udp) {
        Received::Asked(asked) => asked,
        Received::Refused(_) | Received::Ignored => panic!("not a question"),
    }
}
