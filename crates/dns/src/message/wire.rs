//! Bytes in, bytes out.
//!
//! # Departures
//! Options of an OPT record (NSID, cookies, …) are read and not answered. What CoreDNS reads and
//! hickory-proto does not, such as an A record of five bytes in a query, is a format error here
//! as it is there, but the two readers may differ on rarer damage.
//!
//! # Sources
//! `serveDNS` (server.go), `defaultMsgAcceptFunc` (acceptfunc.go) and `SetReply` (defaults.go) of
//! miekg/dns; `Version`, plugin/pkg/edns/edns.go of CoreDNS.

use std::net::SocketAddr;

use hickory_proto::op::{self, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use super::{Edns, Reply, Request, Transport};

/// Bytes of a header.
const HEADER: usize = 12;
/// Bits of a header that a refusal of the whole message hands back: TC, RD, RA, AD, CD.
const KEPT_BITS: u16 = 0x03b0;
/// Bit QR.
const RESPONSE: u16 = 0x8000;

/// What came in.
#[derive(Debug)]
pub enum Received {
    /// A query.
    Asked(Box<Asked>),
    /// Something that no plugin is asked about: these bytes go back.
    Refused(Vec<u8>),
    /// Something that is not answered at all: less than a header, or a response.
    Ignored,
}

/// A query, and what its answer must hand back.
#[derive(Debug)]
pub struct Asked {
    /// What the plugins are asked.
    pub request: Request,
    id: u16,
    op_code: OpCode,
    recursion_desired: bool,
    checking_disabled: bool,
}

/// Reads a message.
#[must_use]
pub fn receive(bytes: &[u8], client: SocketAddr, transport: Transport) -> Received {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Received::Ignored;
    };
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let bits = word(2);
    if bits & RESPONSE != 0 {
        return Received::Ignored;
    }
    let op_code = (bits >> 11) & 0xf;
    if op_code != 0 && op_code != 4 {
        return Received::Refused(refusal(bytes, op_code, 4));
    }
    let (questions, answers, authorities, additionals) = (word(4), word(6), word(8), word(10));
    if questions != 1 || answers > 1 || authorities > 1 || additionals > 2 {
        return Received::Refused(refusal(bytes, 0, 1));
    }
    let Ok(message) = Message::from_vec(bytes) else {
        return Received::Refused(refusal(bytes, 0, 1));
    };
    let Some(query) = message.queries.first() else {
        return Received::Refused(refusal(bytes, 0, 1));
    };
    let mut request = Request::new(query.name.clone(), query.query_type);
    request.class = query.query_class;
    request.client = client.ip().to_canonical();
    request.client_port = client.port();
    request.transport = transport;
    request.edns = message.edns.as_ref().map(|edns| Edns {
        payload: edns.max_payload(),
        dnssec_ok: edns.flags().dnssec_ok,
    });
    let asked = Asked {
        request,
        id: message.metadata.id,
        op_code: message.metadata.op_code,
        recursion_desired: message.metadata.recursion_desired,
        checking_disabled: message.metadata.checking_disabled,
    };
    if message.edns.is_some_and(|edns| edns.version() != 0) {
        let reply = Reply::empty(ResponseCode::BADVERS);
        return Received::Refused(asked.bytes(reply));
    }
    Received::Asked(Box::new(asked))
}

/// A header with an rcode, and the question if it can be read.
fn refusal(bytes: &[u8], op_code: u16, rcode: u16) -> Vec<u8> {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let bits = RESPONSE | (op_code << 11) | (word(2) & KEPT_BITS) | rcode;
    let mut decoder = BinDecoder::new(&bytes[HEADER..]);
    let question = if word(4) == 1 && Query::read(&mut decoder).is_ok() {
        &bytes[HEADER..HEADER + decoder.index()]
    } else {
        &[]
    };
    let count = u16::from(!question.is_empty());
    let mut out = Vec::with_capacity(HEADER + question.len());
    for word in [word(0), bits, count, 0, 0, 0] {
        out.extend(word.to_be_bytes());
    }
    out.extend(question);
    out
}

impl Asked {
    /// The message that answers the query.
    #[must_use]
    pub fn bytes(&self, reply: Reply) -> Vec<u8> {
        let mut message = Message::new(self.id, MessageType::Response, self.op_code);
        message.metadata.authoritative = reply.authoritative;
        message.metadata.truncation = reply.truncated;
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.response_code = reply.rcode;
        let mut query = Query::query(self.request.name.clone(), self.request.qtype);
        query.set_query_class(self.request.class);
        message.queries.push(query);
        message.answers = reply.answers;
        message.authorities = reply.authorities;
        message.additionals = reply.additionals;
        if let Some(edns) = self.request.edns {
            let mut opt = op::Edns::new();
            opt.set_max_payload(edns.payload);
            opt.set_dnssec_ok(edns.dnssec_ok);
            message.edns = Some(opt);
        }
        // Every name was read from a message or a checked text, so this does not fail; if it ever
        // does, the asker gets what CoreDNS sends when it cannot pack a reply: nothing.
        message.to_vec().unwrap_or_default()
    }
}
