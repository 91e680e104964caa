//! The name servers behind `forward`: zones that are given, or a real server.
//!
//! # Sources
//! plugin/file/file.go for the zones; RFC 1035 section 4.2, RFC 7766 for the real server.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use crate::message::{Reply, Request, Transport, size};
use crate::zone::Zone;

/// How long a real server may take. Source: `defaultTimeout` and `maxTimeout`, plugin/forward.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a server is asked again when it does not answer.
const TRIES: usize = 2;
/// How often a CNAME may lead from zone to zone.
const DEEPEST: usize = 8;

/// What is behind `forward`.
#[derive(Debug, Default)]
pub enum World {
    /// Nothing answers.
    #[default]
    Nothing,
    /// A server of these zones, as CoreDNS's plugin `file` would answer from them.
    Zones(Vec<Zone>),
    /// A real server.
    Real(SocketAddr),
}

impl World {
    /// The answer to a question; `None` if there is none.
    #[must_use]
    pub fn ask(&self, request: &Request) -> Option<Reply> {
        match self {
            Self::Nothing => None,
            Self::Zones(zones) => {
                let mut reply = from_zones(zones, request, 0);
                size::fit(&mut reply, request);
                Some(reply)
            }
            Self::Real(server) => exchange(*server, request).ok(),
        }
    }
}

fn from_zones(zones: &[Zone], request: &Request, depth: usize) -> Reply {
    let holding = zones.iter().filter(|zone| zone.contains(&request.lower));
    let Some(zone) = holding.max_by_key(|zone| zone.origin().len()) else {
        return Reply::empty(ResponseCode::Refused);
    };
    if matches!(request.qtype, RecordType::AXFR | RecordType::IXFR) {
        return Reply::empty(ResponseCode::Refused);
    }
    let reply = zone.lookup(request, &mut |name: &Name, qtype| {
        if depth >= DEEPEST {
            return None;
        }
        let request = request.about(name.clone(), qtype);
        Some(from_zones(zones, &request, depth + 1))
    });
    if reply.rcode == ResponseCode::ServFail && reply.answers.is_empty() {
        return Reply::empty(ResponseCode::ServFail);
    }
    reply
}

/// Asks a real server, over TCP if the question came so or the answer was cut.
fn exchange(server: SocketAddr, request: &Request) -> io::Result<Reply> {
    let query = query(request);
    let bytes = query.to_vec().map_err(io::Error::other)?;
    if request.transport == Transport::Udp {
        for _ in 0..TRIES {
            match over_udp(server, &bytes, &query) {
                Ok(answer) => return Ok(reply(answer)),
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        return Err(io::ErrorKind::TimedOut.into());
    }
    over_tcp(server, &bytes, &query).map(reply)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

fn query(request: &Request) -> Message {
    // The socket is new for each question, so its port tells answers apart as an id would.
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut query = Query::query(request.name.clone(), request.qtype);
    query.set_query_class(request.class);
    message.queries.push(query);
    if let Some(edns) = request.edns {
        let mut opt = Edns::new();
        opt.set_max_payload(edns.payload);
        opt.set_dnssec_ok(edns.dnssec_ok);
        message.edns = Some(opt);
    }
    message
}

fn over_udp(server: SocketAddr, bytes: &[u8], query: &Message) -> io::Result<Message> {
    let local: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(local)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(bytes)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let length = socket.recv(&mut buffer)?;
    answer(&buffer[..length], query)
}

fn over_tcp(server: SocketAddr, bytes: &[u8], query: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut buffer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut buffer)?;
    answer(&buffer, query)
}

fn answer(bytes: &[u8], query: &Message) -> io::Result<Message> {
    let message = Message::from_vec(bytes).map_err(io::Error::other)?;
    let matches = message.metadata.message_type == MessageType::Response
        && message.metadata.id == query.metadata.id
        && message.queries == query.queries;
    if matches {
        Ok(message)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn reply(message: Message) -> Reply {
    Reply {
        rcode: message.metadata.response_code,
        authoritative: message.metadata.authoritative,
        truncated: message.metadata.truncation,
        answers: message.answers,
        authorities: message.authorities,
        additionals: message.additionals,
    }
}
