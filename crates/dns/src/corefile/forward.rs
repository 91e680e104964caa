//! What `forward` is told, and `proxy` before it.
//!
//! # Sources
//! plugin/forward/{setup,forward}.go; plugin/proxy/upstream.go of 1.4.0.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Transport, ZoneName};

/// Settings of one `forward` (or `proxy`).
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Names below this zone are sent on.
    pub from: ZoneName,
    /// Where to, in written order; a file of nameservers is already replaced by what it says.
    pub to: Vec<Upstream>,
    /// Names below these zones are not.
    pub except: Vec<ZoneName>,
    /// Which upstream is asked first.
    pub policy: Policy,
    /// How often an upstream may fail before it counts as down; 0: never.
    pub max_fails: u32,
    /// Queries under way at once, more are refused; 0: no limit.
    pub max_concurrent: u64,
    /// Whether upstreams are asked over TCP even if the query came by UDP.
    pub force_tcp: bool,
    /// Whether upstreams are asked over UDP even if the query came by TCP.
    pub prefer_udp: bool,
    /// How long an idle connection to an upstream is kept.
    pub expire: Duration,
    /// How often an upstream that failed is asked whether it lives; 0: never.
    pub health_check: Duration,
    /// Rcodes of an upstream for which the next `forward` is asked (`next`), by number.
    pub next_on: Vec<u16>,
}

/// A nameserver behind CoreDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its address.
    pub addr: SocketAddr,
    /// How it is asked.
    pub transport: Transport,
}

/// Which upstream is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Any.
    #[default]
    Random,
    /// Each in turn.
    RoundRobin,
    /// The first that lives.
    Sequential,
}

impl Forward {
    /// What holds where the Corefile says nothing.
    pub fn new(from: ZoneName, to: Vec<Upstream>) -> Self {
        Self {
            from,
            to,
            except: Vec::new(),
            policy: Policy::Random,
            max_fails: 2,
            max_concurrent: 0,
            force_tcp: false,
            prefer_udp: false,
            expire: Duration::from_secs(10),
            health_check: Duration::from_millis(500),
            next_on: Vec::new(),
        }
    }
}
