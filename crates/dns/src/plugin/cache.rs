//! `cache`: answers are kept for as long as their records say.
//!
//! # Departures
//! - Where a shard is full CoreDNS drops any entry, podwire the one that was kept first.
//! - What CoreDNS does behind an answer (prefetch, a stale entry's refresh) is done before the
//!   answer is handed out; no asker can tell.
//!
//! # Sources
//! plugin/cache/{cache,handler,item}.go, plugin/cache/freq/freq.go; plugin/pkg/cache/cache.go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use crate::chain::{Counter, Handler, Next, Outcome};
use crate::corefile::CacheConfig;
use crate::corefile::zone::longest;
use crate::message::kind::{self, Kind};
use crate::message::{Reply, Request, Transport};

/// Entries are in so many shards, each with a lock and room of its own.
const SHARDS: usize = 256;
/// The least room of a shard.
const LEAST_ROOM: usize = 4;

/// The plugin.
#[derive(Debug)]
pub(crate) struct Cache {
    config: CacheConfig,
    /// Whether an answer from here has bit AA.
    authoritative: bool,
    success: Half,
    denial: Half,
    hits: [AtomicU64; 2],
    misses: AtomicU64,
    prefetches: AtomicU64,
    stale: AtomicU64,
}

/// Where an answer may be kept.
#[derive(Clone, Copy, Debug)]
enum Which {
    Success,
    Denial,
}

/// One of the two halves.
#[derive(Debug)]
struct Half {
    shards: Box<[Shard]>,
    room: usize,
}

type Shard = Mutex<IndexMap<u64, Item, FxBuildHasher>>;

/// An answer that is kept.
#[derive(Clone, Debug)]
struct Item {
    name: Box<str>,
    qtype: RecordType,
    reply: Reply,
    /// In seconds.
    ttl: u32,
    stored: Duration,
    asked: Asked,
}

/// How often an answer was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    last: Duration,
    hits: u32,
}

impl Item {
    /// Seconds that are left; negative once it is stale.
    fn left(&self, now: Duration) -> i64 {
        let age = now.saturating_sub(self.stored).as_secs();
        i64::from(self.ttl) - i64::try_from(age).unwrap_or(i64::MAX)
    }
}

impl Half {
    fn new(capacity: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            room: (capacity / SHARDS).max(LEAST_ROOM),
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, IndexMap<u64, Item, FxBuildHasher>> {
        let shard = usize::try_from(key % SHARDS as u64).expect("below the number of shards");
        lock(&self.shards[shard])
    }

    fn keep(&self, key: u64, item: Item) {
        let mut shard = self.shard(key);
        if shard.len() >= self.room && !shard.contains_key(&key) {
            shard.swap_remove_index(0);
        }
        shard.insert(key, item);
    }
}

impl Cache {
    pub(crate) fn new(config: CacheConfig, authoritative: bool) -> Self {
        Self {
            success: Half::new(config.success.capacity),
            denial: Half::new(config.denial.capacity),
            config,
            authoritative,
            hits: Default::default(),
            misses: AtomicU64::new(0),
            prefetches: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        }
    }

    /// The answer that is kept, if it is fresh or may be given stale.
    fn get(&self, key: u64, request: &Request, now: Duration) -> Option<(Item, Which)> {
        let up_to = self
            .config
            .serve_stale
            .map_or(0, |stale| stale.up_to.as_secs());
        let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
        for (half, which) in [
            (&self.denial, Which::Denial),
            (&self.success, Which::Success),
        ] {
            let mut shard = half.shard(key);
            let Some(item) = shard.get_mut(&key) else {
                continue;
            };
            let left = item.left(now);
            let fits = item.qtype == request.qtype && item.name == request.lower;
            if fits && (left > 0 || -left < up_to) {
                if let Some(prefetch) = self.config.prefetch {
                    item.asked.again(now, prefetch.duration);
                }
                return Some((item.clone(), which));
            }
        }
        None
    }

    /// Keeps a reply, and gives all of its records the time for which it is kept.
    fn keep(&self, key: u64, request: &Request, reply: &mut Reply, now: Duration, asked: Asked) {
        let kind = Kind::of(reply, request);
        let bounded = |ttl: Duration, share: &crate::corefile::cache::CacheShare| {
            ttl.max(share.min_ttl).min(share.max_ttl)
        };
        let shortest = kind::shortest_ttl(reply, kind);
        let ttl = match kind {
            Kind::NameError | Kind::NoData => bounded(shortest, &self.config.denial),
            Kind::ServerError => self.config.servfail,
            Kind::Yes | Kind::Delegation | Kind::Transfer | Kind::OtherError => {
                bounded(shortest, &self.config.success)
            }
        };
        let seconds = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        for record in reply.records_mut() {
            record.ttl = seconds;
        }
        let (half, disabled) = match kind {
            Kind::Yes | Kind::Delegation => (&self.success, &self.config.disable_success),
            Kind::NameError | Kind::NoData | Kind::ServerError => {
                (&self.denial, &self.config.disable_denial)
            }
            Kind::Transfer | Kind::OtherError => return,
        };
        if ttl.is_zero() || reply.truncated || longest(disabled, &request.lower).is_some() {
            return;
        }
        let item = Item {
            name: request.lower.clone(),
            qtype: request.qtype,
            reply: reply.clone(),
            ttl: seconds,
            stored: now,
            asked,
        };
        half.keep(key, item);
    }

    /// Asks the next plugin and keeps what it says.
    fn refresh(&self, key: u64, request: &Request, next: Next<'_>, asked: Asked) -> Outcome {
        let outcome = next.serve(request);
        let Outcome::Written(mut reply) = outcome else {
            return outcome;
        };
        self.keep(key, request, &mut reply, next.turn().now(), asked);
        Outcome::Written(reply)
    }

    /// The same behind an answer that was already given: an answer that says yes takes the place
    /// of one that said no.
    fn refresh_behind(&self, key: u64, request: &Request, next: Next<'_>, asked: Asked) {
        self.prefetches.fetch_add(1, Ordering::Relaxed);
        let request = Request {
            transport: Transport::Tcp,
            ..request.clone()
        };
        let outcome = self.refresh(key, &request, next, asked);
        if let Outcome::Written(reply) = outcome
            && Kind::of(&reply, &request) == Kind::Yes
        {
            self.denial.shard(key).swap_remove(&key);
        }
    }
}

impl Asked {
    /// Counts another question; a pause longer than `within` begins anew.
    fn again(&mut self, now: Duration, within: Duration) {
        if now.saturating_sub(self.last) > within {
            self.hits = 0;
        }
        self.last = now;
        self.hits += 1;
    }
}

impl Handler for Cache {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        if longest(&self.config.zones, &request.lower).is_none() {
            return next.serve(request);
        }
        let now = next.turn().now();
        let key = key(request);
        let Some((item, which)) = self.get(key, request, now) else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return self.refresh(key, request, next, Asked::default());
        };
        self.hits[which as usize].fetch_add(1, Ordering::Relaxed);
        let mut left = item.left(now);
        if left < 0 {
            if self.config.serve_stale.is_some_and(|stale| stale.verify) {
                let outcome = self.verify(key, request, next, item.asked);
                if let Some(reply) = outcome {
                    return Outcome::Written(reply);
                }
            } else {
                self.refresh_behind(key, request, next, item.asked);
            }
            self.stale.fetch_add(1, Ordering::Relaxed);
            left = 0;
        } else if let Some(prefetch) = self.config.prefetch {
            let percent = u64::from(prefetch.percentage) * u64::from(item.ttl);
            let threshold = i64::try_from(percent.div_ceil(100)).unwrap_or(i64::MAX);
            if prefetch.amount > 0 && item.asked.hits >= prefetch.amount && left <= threshold {
                self.refresh_behind(key, request, next, item.asked);
            }
        }
        if self.config.keepttl {
            left = item.ttl.into();
        }
        let mut reply = item.reply;
        reply.authoritative = self.authoritative;
        for record in reply.records_mut() {
            record.ttl = u32::try_from(left).unwrap_or(0);
        }
        Outcome::Written(reply)
    }

    fn forget(&self) {
        let shards = self.success.shards.iter().chain(&self.denial.shards);
        shards.for_each(|shard| lock(shard).clear());
    }

    fn count(&self, counters: &mut Vec<Counter>) {
        let kept = |half: &Half| half.shards.iter().map(|s| lock(s).len() as u64).sum();
        let halves = [("denial", &self.denial, 1), ("success", &self.success, 0)];
        for (name, half, index) in halves {
            counters.push(Counter {
                name: "coredns_cache_entries",
                labels: vec![("type", name)],
                help: "The number of elements in the cache.",
                value: kept(half),
            });
            counters.push(Counter {
                name: "coredns_cache_hits_total",
                labels: vec![("type", name)],
                help: "The count of cache hits.",
                value: self.hits[index].load(Ordering::Relaxed),
            });
        }
        for (name, help, value) in [
            (
                "coredns_cache_misses_total",
                "The count of cache misses.",
                &self.misses,
            ),
            (
                "coredns_cache_prefetch_total",
                "The number of times the cache has prefetched a cached item.",
                &self.prefetches,
            ),
            (
                "coredns_cache_served_stale_total",
                "The number of requests served from stale cache entries.",
                &self.stale,
            ),
        ] {
            counters.push(Counter {
                name,
                labels: Vec::new(),
                help,
                value: value.load(Ordering::Relaxed),
            });
        }
    }
}

impl Cache {
    /// A fresh answer in place of a stale one, if there is one that says yes or no.
    fn verify(&self, key: u64, request: &Request, next: Next<'_>, asked: Asked) -> Option<Reply> {
        let Outcome::Written(mut reply) = next.serve(request) else {
            return None;
        };
        if !matches!(reply.rcode, ResponseCode::NoError | ResponseCode::NXDomain) {
            return None;
        }
        self.keep(key, request, &mut reply, next.turn().now(), asked);
        Some(reply)
    }
}

/// A shard is changed by single calls, so a panic elsewhere leaves it whole.
fn lock(shard: &Shard) -> MutexGuard<'_, IndexMap<u64, Item, FxBuildHasher>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// FNV-1 of bit DO, type and name, as CoreDNS has it: it says which shard an answer is in.
fn key(request: &Request) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let dnssec_ok = if request.dnssec_ok() { b'1' } else { b'0' };
    let [high, low] = u16::from(request.qtype).to_be_bytes();
    let bytes = [dnssec_ok, high, low]
        .into_iter()
        .chain(request.lower.bytes());
    bytes.fold(OFFSET, |hash, byte| {
        hash.wrapping_mul(PRIME) ^ u64::from(byte)
    })
}
