//! A server: blocks of zones, each with its chain of plugins.
//!
//! # Map
//! - [`Server`]: made of a Corefile and a cluster; [`Server::answer`] answers one question.
//! - [`setup`]: a Corefile's plugins become handlers.
//! - [`behaviour`]: what releases of CoreDNS answer differently.
//! - [`world`]: the name servers behind `forward`.
//!
//! Time is an argument, chance a seeded stream: the same questions at the same times have the same
//! answers.
//!
//! # Departures
//! - The serial of the cluster's SOA records is 1; CoreDNS takes the time of the last change.
//! - All blocks of one port are asked, whatever addresses `bind` gives them.
//!
//! # Sources
//! `Server.ServeDNS` and `errorAndMetricsFunc`, core/dnsserver/server.go; `NextOrFailure`,
//! plugin/plugin.go.

pub mod behaviour;
pub mod setup;
pub mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, RecordType};
use indexmap::IndexMap;

use crate::message::{Reply, Request, size};

pub use behaviour::Behaviour;
pub use setup::{Setup, SetupError, TextError};
pub use world::World;

/// How deep answers may need answers: `ExternalName`s that lead from one block to another and back.
const DEEPEST: usize = 8;

/// A CoreDNS.
#[derive(Debug)]
pub struct Server {
    /// The chain that answers for each zone (lower case, final dot).
    zones: IndexMap<String, usize>,
    chains: Vec<Chain>,
    world: World,
    draws: Draws,
}

/// The plugins of a server block, in the order in which they are asked.
#[derive(Debug)]
struct Chain {
    handlers: Vec<Box<dyn Handler>>,
    /// Whether it answers questions of other classes than IN (plugin `chaos`).
    other_classes: bool,
}

/// What a plugin does with a question.
pub(crate) trait Handler: std::fmt::Debug + Send + Sync {
    /// Answers, or asks the next plugin.
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome;

    /// Forgets what it has kept.
    fn forget(&self) {}

    /// Adds its counters to the metrics, if it has any.
    fn count(&self, _counters: &mut Vec<Counter>) {}
}

/// A counter of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The metric, as CoreDNS names it.
    pub name: &'static str,
    /// Its labels.
    pub labels: Vec<(&'static str, &'static str)>,
    /// What it counts, as the metric's help says.
    pub help: &'static str,
    /// How many.
    pub value: u64,
}

/// What became of a question.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A plugin wrote a reply.
    Written(Reply),
    /// None did; for some codes the server then does.
    Unwritten(ResponseCode),
    /// The question goes unanswered.
    Dropped,
}

/// The plugins after one, and the turn that they are asked in.
#[derive(Clone, Copy)]
pub(crate) struct Next<'s> {
    handlers: &'s [Box<dyn Handler>],
    turn: Turn<'s>,
}

impl Next<'_> {
    /// Asks the next plugin. The last one's next is a failure.
    pub(crate) fn serve(self, request: &Request) -> Outcome {
        match self.handlers.split_first() {
            Some((handler, handlers)) => handler.serve(request, Next { handlers, ..self }),
            None => Outcome::Unwritten(ResponseCode::ServFail),
        }
    }

    /// The turn.
    pub(crate) fn turn(&self) -> Turn<'_> {
        self.turn
    }
}

/// One question's turn at a server.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'s> {
    server: &'s Server,
    now: Duration,
    depth: usize,
}

impl Turn<'_> {
    /// The time, since the server's start.
    pub(crate) fn now(self) -> Duration {
        self.now
    }

    /// A random number.
    pub(crate) fn draw(self) -> u64 {
        self.server.draws.next()
    }

    /// The name servers behind `forward`.
    pub(crate) fn world(&self) -> &World {
        &self.server.world
    }

    /// Asks the server itself about another name, as the asker's own question would be answered.
    ///
    /// Source: `Lookup`, plugin/pkg/upstream/upstream.go.
    pub(crate) fn look_up(self, request: &Request, name: Name, qtype: RecordType) -> Option<Reply> {
        if self.depth >= DEEPEST {
            return Some(Reply::empty(ResponseCode::ServFail));
        }
        let deeper = Self {
            depth: self.depth + 1,
            ..self
        };
        deeper.serve(&request.about(name, qtype))
    }

    fn serve(self, request: &Request) -> Option<Reply> {
        let Some(chain) = self.server.chain(request) else {
            return Some(Reply::empty(ResponseCode::Refused));
        };
        if request.class != DNSClass::IN && !chain.other_classes {
            return Some(Reply::empty(ResponseCode::Refused));
        }
        let next = Next {
            handlers: &chain.handlers,
            turn: self,
        };
        match next.serve(request) {
            Outcome::Written(mut reply) => {
                size::fit(&mut reply, request);
                Some(reply)
            }
            Outcome::Unwritten(rcode) => server_writes(rcode).then(|| Reply::empty(rcode)),
            Outcome::Dropped => None,
        }
    }
}

/// Whether the server writes a reply for this code when no plugin has.
///
/// Source: `ClientWrite`, plugin/plugin.go.
fn server_writes(rcode: ResponseCode) -> bool {
    matches!(
        rcode,
        ResponseCode::ServFail
            | ResponseCode::Refused
            | ResponseCode::FormErr
            | ResponseCode::NotImp
    )
}

impl Server {
    /// Answers a question at a time since the server's start; `None` leaves it unanswered.
    ///
    /// # Cost
    /// As the plugins': for a name of the cluster one hash probe, and an allocation for each record.
    pub fn answer(&self, request: &Request, now: Duration) -> Option<Reply> {
        let turn = Turn {
            server: self,
            now,
            depth: 0,
        };
        turn.serve(request)
    }

    /// Forgets every answer and begins the random numbers anew, as a server does that starts.
    pub fn restart(&self) {
        for handler in self.chains.iter().flat_map(|chain| &chain.handlers) {
            handler.forget();
        }
        self.draws.state.store(self.draws.seed, Ordering::Relaxed);
    }

    /// What the plugins have counted since the start.
    #[must_use]
    pub fn counters(&self) -> Vec<Counter> {
        let mut counters = Vec::new();
        for handler in self.chains.iter().flat_map(|chain| &chain.handlers) {
            handler.count(&mut counters);
        }
        counters
    }

    /// The chain of the longest zone that holds the name. A question for DS is its parent's, so
    /// the shortest zone below the root answers it.
    fn chain(&self, request: &Request) -> Option<&Chain> {
        let mut rest = &*request.lower;
        let mut found = None;
        while rest != "." && !rest.is_empty() {
            if let Some(&chain) = self.zones.get(rest) {
                found = Some(chain);
                if request.qtype != RecordType::DS {
                    break;
                }
            }
            rest = rest.split_once('.').map_or("", |(_, rest)| rest);
        }
        let found = found.or_else(|| self.zones.get(".").copied())?;
        self.chains.get(found)
    }
}

/// A seeded stream of random numbers (SplitMix64), shared by all threads.
#[derive(Debug)]
struct Draws {
    seed: u64,
    state: AtomicU64,
}

impl Draws {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    fn new(seed: u64) -> Self {
        Self {
            seed,
            state: AtomicU64::new(seed),
        }
    }

    fn next(&self) -> u64 {
        let state = self.state.fetch_add(Self::STEP, Ordering::Relaxed);
        let mut mixed = state.wrapping_add(Self::STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
