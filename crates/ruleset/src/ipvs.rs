//! IPVS: virtual servers and the real servers behind them, as data.
//!
//! [`parse()`] reads the text of `ipvsadm-save -n`, [`print()`] writes it. What the kernel does with
//! them is in `podwire-dataplane`.
//!
//! # Departures
//! Virtual servers by firewall mark (`-f`) and persistence engines (`--pe`) are refused. Thresholds
//! (`-x`, `-y`) are printed where there are any; `ipvsadm-save` loses them.
//!
//! # Sources
//! ipvsadm(8); include/uapi/linux/ip_vs.h.

mod change;
mod error;
mod parse;
mod print;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use podwire_packet::Protocol;

pub use change::{Change, Socket};
pub use error::ParseError;
pub use parse::parse;
pub use print::print;

/// What a virtual server is found by; ordered by protocol number, address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualAddress {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The virtual address.
    pub address: IpAddr,
    /// The virtual port; 0 takes every port, of persistent servers only.
    pub port: u16,
}

/// How a real server is chosen (`ip_vs_*.c`, net/netfilter/ipvs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheduler {
    /// Round robin.
    #[default]
    RoundRobin,
    /// Weighted round robin.
    WeightedRoundRobin,
    /// Least connections.
    LeastConnection,
    /// Weighted least connections.
    WeightedLeastConnection,
    /// Locality-based least connections.
    LocalityBased,
    /// The same with replication.
    LocalityBasedReplicated,
    /// Destination hashing.
    DestinationHashing,
    /// Source hashing.
    SourceHashing,
    /// Shortest expected delay.
    ShortestExpectedDelay,
    /// Never queue.
    NeverQueue,
    /// Weighted failover: the heaviest.
    FailOver,
    /// Weighted overflow: the heaviest with room.
    Overflow,
    /// Maglev hashing.
    MaglevHashing,
    /// Two random choices.
    TwoRandomChoices,
}

impl Scheduler {
    /// Every scheduler with its word.
    pub const NAMES: [(&'static str, Self); 14] = [
        ("rr", Self::RoundRobin),
        ("wrr", Self::WeightedRoundRobin),
        ("lc", Self::LeastConnection),
        ("wlc", Self::WeightedLeastConnection),
        ("lblc", Self::LocalityBased),
        ("lblcr", Self::LocalityBasedReplicated),
        ("dh", Self::DestinationHashing),
        ("sh", Self::SourceHashing),
        ("sed", Self::ShortestExpectedDelay),
        ("nq", Self::NeverQueue),
        ("fo", Self::FailOver),
        ("ovf", Self::Overflow),
        ("mh", Self::MaglevHashing),
        ("twos", Self::TwoRandomChoices),
    ];

    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, of)| *of == self)
            .map_or("", |(name, _)| name)
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no scheduler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an IPVS scheduler: there are rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh and twos"
)]
pub struct ParseSchedulerError {
    /// The text.
    pub text: Box<str>,
}

impl FromStr for Scheduler {
    type Err = ParseSchedulerError;

    fn from_str(text: &str) -> Result<Self, ParseSchedulerError> {
        Self::NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|&(_, scheduler)| scheduler)
            .ok_or_else(|| ParseSchedulerError { text: text.into() })
    }
}

/// `IP_VS_SVC_F_SCHED1` to `3`: what a flag means is up to the scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SchedulerFlags(u8);

impl SchedulerFlags {
    /// `flag-1`; `sh-fallback`, `mh-fallback`: where the chosen server takes none, another is looked for.
    pub const FALLBACK: Self = Self(1);
    /// `flag-2`; `sh-port`, `mh-port`: the source port is hashed too.
    pub const PORT: Self = Self(2);
    /// `flag-3`.
    pub const THIRD: Self = Self(4);

    /// No flag.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Whether it has all flags of another.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// `-p`: a client stays with its real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Persistence {
    /// Seconds since its last connection that a client is remembered.
    pub timeout_seconds: u32,
    /// `-M`: bits of the source address that make a client.
    pub mask_bits: u8,
}

/// How a packet gets to a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Forwarding {
    /// `-m`: its destination is translated.
    #[default]
    Masquerading,
    /// `-g`: it is sent to the server's link as it is.
    DirectRouting,
    /// `-i`: it is packed into another.
    Tunneling,
}

/// A real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RealServer {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How packets get to it.
    pub forwarding: Forwarding,
    /// Its share; with 0 it keeps the connections that it has and gets no more.
    pub weight: u16,
    /// `-x`: with so many connections it gets no more; 0 is no bound.
    pub upper_threshold: u32,
    /// `-y`: below so many it gets some again.
    pub lower_threshold: u32,
}

impl RealServer {
    /// One that packets are translated to, with a weight.
    #[must_use]
    pub const fn masquerading(address: IpAddr, port: u16, weight: u16) -> Self {
        Self {
            address,
            port,
            forwarding: Forwarding::Masquerading,
            weight,
            upper_threshold: 0,
            lower_threshold: 0,
        }
    }
}

/// A virtual server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualServer {
    /// How it chooses.
    pub scheduler: Scheduler,
    /// What it tells its scheduler.
    pub flags: SchedulerFlags,
    /// Whether clients stay with their real server.
    pub persistence: Option<Persistence>,
    /// `-o`: every UDP packet is scheduled anew.
    pub one_packet: bool,
    /// The real servers, in the order in which they were added.
    pub real_servers: Vec<RealServer>,
}

/// The virtual servers of a network namespace.
pub type VirtualServers = BTreeMap<VirtualAddress, VirtualServer>;
