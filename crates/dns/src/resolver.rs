//! The resolver in a pod: which names it asks for, in which order, and when it stops.
//!
//! Each library and tool walks the search list in a way of its own. [`resolve`] does so for a name,
//! asks an [`Ask`] (a server, or a recording), and tells every query that it sent.
//!
//! # Map
//! - [`conf`]: the pod's resolv.conf, from kubelet's settings, the pod's policy and its own wishes.
//! - `glibc`, `musl`: `getaddrinfo` of the two libraries.
//! - `tools`: `dig +search`, BIND's `nslookup` and busybox's.
//!
//! # Departures
//! Names in the pod's `/etc/hosts` other than `localhost` are not looked up there. Timeouts and second
//! nameservers are not walked: the server always answers, and musl, which asks all nameservers at once,
//! counts as asking one. Addresses come sorted as text, not by RFC 6724, which looks at the pod's own.

pub mod conf;
mod glibc;
mod musl;
mod tools;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use thiserror::Error;

pub use conf::ResolvConf;

/// Whom a resolver asks.
pub trait Ask {
    /// The answer to a question of class IN.
    fn ask(&mut self, name: &Name, qtype: RecordType) -> Answer;
}

impl<F: FnMut(&Name, RecordType) -> Answer> Ask for F {
    fn ask(&mut self, name: &Name, qtype: RecordType) -> Answer {
        self(name, qtype)
    }
}

/// What a resolver looks at in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The rcode.
    pub rcode: ResponseCode,
    /// The answer section.
    pub records: Vec<Record>,
}

impl Answer {
    /// Whether there is an answer: no error, and a record.
    fn is_success(&self) -> bool {
        self.rcode == ResponseCode::NoError && !self.records.is_empty()
    }

    /// Addresses in the answer.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let address = |record: &Record| record.data.ip_addr();
        self.records.iter().filter_map(address)
    }
}

/// A resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolver {
    /// `getaddrinfo` of the GNU C library.
    Glibc,
    /// `getaddrinfo` of musl, as in Alpine.
    Musl,
    /// `dig +search`.
    DigSearch,
    /// `nslookup` of BIND.
    NslookupBind,
    /// `nslookup` of busybox.
    NslookupBusybox,
}

impl Resolver {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Glibc,
        Self::Musl,
        Self::DigSearch,
        Self::NslookupBind,
        Self::NslookupBusybox,
    ];

    /// Its name, as [`FromStr`] takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::DigSearch => "dig+search",
            Self::NslookupBind => "nslookup-bind",
            Self::NslookupBusybox => "busybox-nslookup",
        }
    }
}

/// A word that should have been one of a few.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{found:?} is no {what}; accepted are {accepted}")]
pub struct UnknownWord {
    found: String,
    what: &'static str,
    accepted: &'static str,
}

impl FromStr for Resolver {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let mut all = Self::ALL.into_iter();
        all.find(|resolver| resolver.name() == text)
            .ok_or_else(|| UnknownWord {
                found: text.to_owned(),
                what: "resolver",
                accepted: "glibc, musl, dig+search, nslookup-bind and busybox-nslookup",
            })
    }
}

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
    /// Both, as `getaddrinfo` asks unless told otherwise.
    #[default]
    Both,
}

impl Wanted {
    fn types(self) -> &'static [RecordType] {
        match self {
            Self::A => &[RecordType::A],
            Self::Aaaa => &[RecordType::AAAA],
            Self::Both => &[RecordType::A, RecordType::AAAA],
        }
    }

    fn takes(self, ip: IpAddr) -> bool {
        match self {
            Self::A => ip.is_ipv4(),
            Self::Aaaa => ip.is_ipv6(),
            Self::Both => true,
        }
    }
}

impl FromStr for Wanted {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "A" => Ok(Self::A),
            "AAAA" => Ok(Self::Aaaa),
            "A+AAAA" => Ok(Self::Both),
            _ => Err(UnknownWord {
                found: text.to_owned(),
                what: "family",
                accepted: "A, AAAA and A+AAAA",
            }),
        }
    }
}

/// Queries for one name, which go out together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The name, with its final dot.
    pub qname: String,
    /// The types, and what was answered to each.
    pub asked: Vec<(RecordType, Outcome)>,
}

/// What was answered to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No error, and no record: the name is there, but not with that type.
    NoData,
    /// Anything else.
    Code(ResponseCode),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoData => "NODATA",
            Self::Code(ResponseCode::NoError) => "NOERROR",
            Self::Code(ResponseCode::FormErr) => "FORMERR",
            Self::Code(ResponseCode::ServFail) => "SERVFAIL",
            Self::Code(ResponseCode::NXDomain) => "NXDOMAIN",
            Self::Code(ResponseCode::NotImp) => "NOTIMP",
            Self::Code(ResponseCode::Refused) => "REFUSED",
            Self::Code(other) => return write!(f, "RCODE{}", u16::from(*other)),
        })
    }
}

/// What the caller of a resolver gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Addresses, sorted as text.
    Addresses(Vec<IpAddr>),
    /// Why there are none.
    Error(LookupError),
    /// The lines that `dig +short` prints.
    Lines(Vec<String>),
    /// The exit code of a tool.
    Exit(i32),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(ips) => {
                for (at, ip) in ips.iter().enumerate() {
                    let space = if at > 0 { " " } else { "" };
                    write!(f, "{space}{ip}")?;
                }
                Ok(())
            }
            Self::Error(error) => write!(f, "no address: {error}"),
            Self::Lines(lines) => f.write_str(&lines.join(" ")),
            Self::Exit(code) => write!(f, "exit code {code}"),
        }
    }
}

/// Why `getaddrinfo` gives no addresses: EAI_…
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LookupError {
    /// No name of the list exists.
    #[error("NONAME")]
    NoName,
    /// A name exists, but not with such an address.
    #[error("NODATA")]
    NoData,
    /// A server failed: it may be there later.
    #[error("AGAIN")]
    Again,
    /// A server refused.
    #[error("FAIL")]
    Fail,
}

/// What a resolver did for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The queries, in the order in which they were sent.
    pub sent: Vec<Sent>,
    /// What came of it.
    pub found: Found,
}

impl Resolution {
    /// Whether the name led to something.
    pub fn is_success(&self) -> bool {
        match &self.found {
            Found::Addresses(ips) => !ips.is_empty(),
            Found::Error(_) => false,
            Found::Lines(lines) => !lines.is_empty(),
            Found::Exit(code) => *code == 0,
        }
    }

    /// How many queries were sent.
    pub fn queries(&self) -> usize {
        self.sent.iter().map(|sent| sent.asked.len()).sum()
    }
}

/// Resolves a name as a pod does.
///
/// Which addresses are wanted is heard by the libraries; tools ask for what they ask for.
pub fn resolve(
    conf: &ResolvConf,
    resolver: Resolver,
    name: &str,
    wanted: Wanted,
    server: &mut impl Ask,
) -> Resolution {
    let mut queries = Queries {
        server,
        sent: Vec::new(),
    };
    let found = match resolver {
        Resolver::Glibc | Resolver::Musl => {
            let known = literal(name, wanted).or_else(|| localhost(name, wanted));
            known.map_or_else(
                || {
                    let addresses = if resolver == Resolver::Glibc {
                        glibc::addresses(conf, name, wanted, &mut queries)
                    } else {
                        musl::addresses(conf, name, wanted, &mut queries)
                    };
                    addresses.map_or_else(Found::Error, sorted)
                },
                Found::Addresses,
            )
        }
        Resolver::DigSearch => Found::Lines(tools::dig(conf, name, &mut queries)),
        Resolver::NslookupBind => Found::Exit(tools::nslookup_bind(conf, name, &mut queries)),
        Resolver::NslookupBusybox => Found::Exit(tools::nslookup_busybox(name, &mut queries)),
    };
    let sent = queries.sent;
    Resolution { sent, found }
}

fn sorted(addresses: Vec<IpAddr>) -> Found {
    let mut addresses = addresses;
    addresses.sort_by_key(ToString::to_string);
    addresses.dedup();
    Found::Addresses(addresses)
}

/// A name that is an address already.
fn literal(name: &str, wanted: Wanted) -> Option<Vec<IpAddr>> {
    let ip = name.parse().ok()?;
    wanted.takes(ip).then(|| vec![ip])
}

/// What kubelet writes into every pod's `/etc/hosts`.
fn localhost(name: &str, wanted: Wanted) -> Option<Vec<IpAddr>> {
    let both = [
        IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
    ];
    let is_it = name.eq_ignore_ascii_case("localhost");
    is_it.then(|| both.into_iter().filter(|ip| wanted.takes(*ip)).collect())
}

/// Sends queries, and notes them.
struct Queries<'q, S> {
    server: &'q mut S,
    sent: Vec<Sent>,
}

impl<S: Ask> Queries<'_, S> {
    /// Asks for types of a name at once. `None` if that is no name, which is not sent.
    fn ask(&mut self, name: &str, types: &[RecordType]) -> Option<Vec<Answer>> {
        let mut qname = name.to_owned();
        if !qname.ends_with('.') {
            qname.push('.');
        }
        let asked = Name::from_ascii(&qname).ok()?;
        let answers: Vec<_> = types
            .iter()
            .map(|&qtype| self.server.ask(&asked, qtype))
            .collect();
        let outcome = |answer: &Answer| {
            if answer.rcode == ResponseCode::NoError && answer.records.is_empty() {
                Outcome::NoData
            } else {
                Outcome::Code(answer.rcode)
            }
        };
        let outcomes = answers.iter().map(outcome);
        self.sent.push(Sent {
            qname,
            asked: types.iter().copied().zip(outcomes).collect(),
        });
        Some(answers)
    }
}

/// How many dots a name has.
fn dots(name: &str) -> usize {
    name.bytes().filter(|&b| b == b'.').count()
}
