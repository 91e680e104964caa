//! What is asked and what is answered, between the wire and the plugins.
//!
//! # Map
//! - [`Request`]: a question, who asks it, and how.
//! - [`Reply`]: an answer, before it is fitted to the asker's buffer.
//! - [`kind`]: what sort of answer a reply is.
//! - [`presentation`]: records and types as a zone file or `dig` writes them.
//! - [`size`]: how long a reply is and what is left out of one that is too long.
//! - [`wire`]: bytes in, bytes out.
//!
//! # Sources
//! request/request.go of CoreDNS; RFC 1035 section 4, RFC 6891.

pub mod kind;
pub mod presentation;
pub mod size;
pub mod wire;

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};

/// How a query came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// In a datagram.
    #[default]
    Udp,
    /// Over a connection.
    Tcp,
}

/// What the OPT record of a query says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edns {
    /// The largest datagram that the asker takes, in bytes.
    pub payload: u16,
    /// Whether it asks for DNSSEC records (bit DO).
    pub dnssec_ok: bool,
}

/// A question, who asks it, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The name, as asked.
    pub name: Name,
    /// The name in lower case, with its final dot: what plugins compare with.
    pub lower: Box<str>,
    /// The type asked for.
    pub qtype: RecordType,
    /// The class asked for.
    pub class: DNSClass,
    /// Who asks.
    pub client: IpAddr,
    /// From which port.
    pub client_port: u16,
    /// How the query came.
    pub transport: Transport,
    /// Its OPT record, if it had one.
    pub edns: Option<Edns>,
}

impl Request {
    /// A question of class IN over UDP, without EDNS, from 127.0.0.1.
    #[must_use]
    pub fn new(name: Name, qtype: RecordType) -> Self {
        Self {
            lower: lower(&name).into(),
            name,
            qtype,
            class: DNSClass::IN,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client_port: 0,
            transport: Transport::Udp,
            edns: None,
        }
    }

    /// The same asker's question about another name and type.
    #[must_use]
    pub fn about(&self, name: Name, qtype: RecordType) -> Self {
        Self {
            lower: lower(&name).into(),
            name,
            qtype,
            ..*self
        }
    }

    /// Whether DNSSEC records are asked for.
    #[must_use]
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// The longest reply that the asker takes, in bytes.
    ///
    /// Source: `Size`, plugin/pkg/edns/edns.go.
    #[must_use]
    pub fn largest_reply(&self) -> usize {
        match self.transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp => self
                .edns
                .map_or(512, |edns| usize::from(edns.payload.max(512))),
        }
    }
}

/// A name in lower case and with its final dot, odd bytes escaped as in a zone file.
#[must_use]
pub fn lower(name: &Name) -> String {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    if !text.ends_with('.') || text.ends_with("\\.") {
        text.push('.');
    }
    text
}

/// The name that a text means: absolute, with or without its final dot.
#[must_use]
pub fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// An answer, before it is fitted to the asker's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The rcode.
    pub rcode: ResponseCode,
    /// Bit AA: the server answers for the zone itself.
    pub authoritative: bool,
    /// Bit TC: records were left out.
    pub truncated: bool,
    /// What was asked for.
    pub answers: Vec<Record>,
    /// Whose the zone is.
    pub authorities: Vec<Record>,
    /// What the asker will want next; the OPT record is not among them.
    pub additionals: Vec<Record>,
}

impl Reply {
    /// A reply without records.
    #[must_use]
    pub fn empty(rcode: ResponseCode) -> Self {
        Self {
            rcode,
            authoritative: false,
            truncated: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }

    /// The same, with bit AA.
    #[must_use]
    pub fn authoritative(rcode: ResponseCode) -> Self {
        Self {
            authoritative: true,
            ..Self::empty(rcode)
        }
    }

    /// The records of all sections.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let after = self.authorities.iter().chain(&self.additionals);
        self.answers.iter().chain(after)
    }

    /// The same, to change.
    pub fn records_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        let after = self.authorities.iter_mut().chain(&mut self.additionals);
        self.answers.iter_mut().chain(after)
    }
}
