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

use std::fmt::Write as _;
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

/// A name as text, with its final dot, in the letters that it has. Odd bytes are escaped as in a
/// zone file.
///
/// Source: `UnpackDomainName` and `isDomainNameLabelSpecial`, msg.go of miekg/dns.
#[must_use]
pub fn as_text(name: &Name) -> String {
    written(name, |byte| byte)
}

/// A name as text in lower case.
#[must_use]
pub fn lower(name: &Name) -> String {
    written(name, |byte| byte.to_ascii_lowercase())
}

fn written(name: &Name, letter: impl Fn(u8) -> u8) -> String {
    // Few names have a byte that takes more room than one.
    let mut text = String::with_capacity(name.len() + 1);
    for label in name.iter() {
        for &byte in label {
            match byte {
                b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                    text.push('\\');
                    text.push(char::from(byte));
                }
                b'!'..=b'~' => text.push(char::from(letter(byte))),
                _ => write!(text, "\\{byte:03}").expect("a String takes any text"),
            }
        }
        text.push('.');
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

/// The name that a text means: absolute, with or without its final dot. Any byte may stand in a
/// label, a dot as `\\.`, others also as `\\DDD`.
#[must_use]
pub fn name(text: &str) -> Option<Name> {
    let mut name = Name::root();
    let mut label: Vec<u8> = Vec::new();
    let mut labels: Vec<Vec<u8>> = Vec::new();
    let mut bytes = text.bytes();
    if text == "." {
        return Some(name);
    }
    while let Some(byte) = bytes.next() {
        match byte {
            b'.' if label.is_empty() => return None,
            b'.' => labels.push(std::mem::take(&mut label)),
            b'\\' => label.push(escaped(&mut bytes)?),
            _ => label.push(byte),
        }
    }
    if !label.is_empty() {
        labels.push(label);
    }
    if !labels.is_empty() {
        let labels = labels.iter().map(Vec::as_slice);
        name = Name::from_labels(labels).ok()?;
    }
    name.set_fqdn(true);
    (name.iter().map(|label| label.len() + 1).sum::<usize>() < 255).then_some(name)
}

/// The byte that a backslash stands before.
fn escaped(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let first = bytes.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let digits = [first, bytes.next()?, bytes.next()?];
    std::str::from_utf8(&digits).ok()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_any_bytes_between_dots() {
        let text = |text: &str| name(text).map(|name| lower(&name));
        assert_eq!(text("_*._TCP.Web"), Some("_*._tcp.web.".to_owned()));
        assert_eq!(text(r"a\.b.c."), Some(r"a\.b.c.".to_owned()));
        assert_eq!(text("."), Some(".".to_owned()));
        assert_eq!(text(""), Some(".".to_owned()));
        assert_eq!(text("a..b"), None);
        assert_eq!(text(&"a".repeat(64)), None);
        assert_eq!(text(&"a.".repeat(128)), None);
        assert_eq!(text(&"a.".repeat(127)), Some("a.".repeat(127)));
    }
}
