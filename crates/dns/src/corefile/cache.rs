//! What `cache` is told.
//!
//! # Sources
//! plugin/cache/{setup,cache}.go.

use std::time::Duration;

use super::ZoneName;

/// Settings of the plugin `cache`.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheConfig {
    /// Zones whose answers are kept.
    pub zones: Vec<ZoneName>,
    /// Answers that say yes.
    pub success: CacheShare,
    /// Answers that say no: NXDOMAIN and NODATA.
    pub denial: CacheShare,
    /// Which names are asked again before they are stale.
    pub prefetch: Option<Prefetch>,
    /// For how long a stale answer is given when no fresh one can be had.
    pub serve_stale: Option<ServeStale>,
    /// How long a SERVFAIL is kept.
    pub servfail: Duration,
    /// Zones whose positive answers are not kept.
    pub disable_success: Vec<ZoneName>,
    /// Zones whose negative answers are not kept.
    pub disable_denial: Vec<ZoneName>,
    /// Whether answers from the cache keep the TTL that they came with.
    pub keepttl: bool,
}

/// One of the two halves of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShare {
    /// How many answers it holds.
    pub capacity: usize,
    /// The longest time that an answer is kept.
    pub max_ttl: Duration,
    /// The shortest.
    pub min_ttl: Duration,
}

/// When a popular name is asked again before it is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// How often it must have been asked.
    pub amount: u32,
    /// With no more than this between two questions.
    pub duration: Duration,
    /// It is asked again when this part of its TTL is left, in percent.
    pub percentage: u8,
}

/// How stale answers are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeStale {
    /// For how long past its TTL an answer may be given.
    pub up_to: Duration,
    /// Whether the source is asked first (`verify`), or the stale answer given at once and the
    /// source asked behind it (`immediate`).
    pub verify: bool,
}

impl CacheConfig {
    /// What holds where the Corefile says nothing.
    pub fn new(zones: Vec<ZoneName>) -> Self {
        Self {
            zones,
            success: CacheShare {
                capacity: 9984,
                max_ttl: Duration::from_secs(3600),
                min_ttl: Duration::from_secs(5),
            },
            denial: CacheShare {
                capacity: 9984,
                max_ttl: Duration::from_secs(1800),
                min_ttl: Duration::from_secs(5),
            },
            prefetch: None,
            serve_stale: None,
            servfail: Duration::from_secs(5),
            disable_success: Vec::new(),
            disable_denial: Vec::new(),
            keepttl: false,
        }
    }
}
