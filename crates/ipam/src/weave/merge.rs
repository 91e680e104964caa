//! What a peer makes of another peer's view of the ring.

use podwire_packet::{MacAddr, Prefix};
use thiserror::Error;

use super::ring::{Entry, Ring};
use super::span::{Span, address};

/// Why another peer's view was refused; the peer's own stays as it was. Worded as weave does.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The two networks were begun apart.
    #[error(
        "IP allocation was seeded by different peers (received: [{}], ours: [{}])",
        list(received),
        list(ours)
    )]
    DifferentSeeds {
        /// The other's first peers.
        received: Vec<MacAddr>,
        /// The peer's own.
        ours: Vec<MacAddr>,
    },
    /// The other shares out another prefix.
    #[error("Incompatible IP allocation ranges (received: {received}, ours: {ours})")]
    DifferentRange {
        /// The other's.
        received: Prefix,
        /// The peer's own.
        ours: Prefix,
    },
    /// One version of an entry names two owners, and the peer has given addresses of it.
    #[error(
        "Inconsistent entries for {}: owned by {ours} but incoming message says {theirs}",
        address(*token)
    )]
    Inconsistent {
        /// Where the range begins.
        token: u64,
        /// The owner that the peer knows.
        ours: MacAddr,
        /// The owner that the other names.
        theirs: MacAddr,
    },
    /// Another owns a part of what the peer owns and has given addresses of.
    #[error(
        "Peer {theirs} says it owns the IP range from {}, which I think I own",
        address(*token)
    )]
    InMyRange {
        /// Where the part begins.
        token: u64,
        /// Its owner, as the other says.
        theirs: MacAddr,
    },
    /// A newer version says that another owns a range of which the peer has given addresses.
    #[error(
        "Received update for IP range I own at {} v{version}: incoming message says owner {theirs} v{their_version}",
        address(*token)
    )]
    NewerVersion {
        /// Where the range begins.
        token: u64,
        /// The peer's version of it.
        version: u32,
        /// The owner, as the other says.
        theirs: MacAddr,
        /// The other's version.
        their_version: u32,
    },
    /// More is free than there is.
    #[error(
        "Merge of incoming data causes: Entry {}-{} reporting too much free space: {free} > {size}",
        address(*start), address(*end)
    )]
    TooFree {
        /// Where the range begins.
        start: u64,
        /// Where the next begins.
        end: u64,
        /// What is said to be free.
        free: u64,
        /// How many addresses it has.
        size: u64,
    },
}

fn list(peers: &[MacAddr]) -> String {
    let names: Vec<String> = peers.iter().map(MacAddr::to_string).collect();
    names.join(" ")
}

impl Ring {
    /// Takes in the view of the ring that another peer sent to `me`; `has_given` says whether `me` has
    /// given addresses of a span. Whether anything was new.
    ///
    /// # Errors
    /// When the two views contradict each other about what `me` has given addresses of, or were begun
    /// apart.
    pub fn merge(
        &mut self,
        other: &Self,
        me: MacAddr,
        has_given: impl Fn(Span) -> bool,
    ) -> Result<bool, MergeError> {
        if !other.seeds.is_empty() && !self.seeds.is_empty() && other.seeds != self.seeds {
            return Err(MergeError::DifferentSeeds {
                received: other.seeds.clone(),
                ours: self.seeds.clone(),
            });
        }
        if self.universe() != other.universe() {
            return Err(MergeError::DifferentRange {
                received: other.universe(),
                ours: self.universe(),
            });
        }
        let mut merging = Merging {
            me,
            has_given,
            entries: Vec::with_capacity(self.entries.len().max(other.entries.len())),
            previous: None,
            updated: false,
        };
        merging.run(self, other)?;
        let Merging {
            mut entries,
            updated,
            ..
        } = merging;
        check_free(&mut entries, self.span.end, me)?;
        if self.seeds.is_empty() {
            self.seeds.clone_from(&other.seeds);
        }
        self.entries = entries;
        Ok(updated)
    }
}

/// No range may have more free addresses than it has; of its own, which others may have split, the peer
/// knows better.
fn check_free(entries: &mut [Entry], end: u64, me: MacAddr) -> Result<(), MergeError> {
    for at in 0..entries.len() {
        let end = entries.get(at + 1).map_or(end, |next| next.token);
        let entry = &mut entries[at];
        let size = end - entry.token;
        if entry.free > size {
            if entry.peer != me {
                let (start, free) = (entry.token, entry.free);
                return Err(MergeError::TooFree {
                    start,
                    end,
                    free,
                    size,
                });
            }
            entry.free = size;
        }
    }
    Ok(())
}

/// Two lists of entries becoming one, token by token.
struct Merging<F> {
    me: MacAddr,
    has_given: F,
    entries: Vec<Entry>,
    /// The owner of the range in which the next token lies, if it is the peer's own knowledge.
    previous: Option<MacAddr>,
    updated: bool,
}

impl<F: Fn(Span) -> bool> Merging<F> {
    fn run(&mut self, mine: &Ring, theirs: &Ring) -> Result<(), MergeError> {
        let (mut i, mut j) = (0, 0);
        loop {
            match (mine.entries.get(i), theirs.entries.get(j)) {
                (None, None) => return Ok(()),
                (Some(own), None) => {
                    self.keep(*own);
                    i += 1;
                }
                (Some(own), Some(their)) if own.token < their.token => {
                    self.keep(*own);
                    i += 1;
                }
                (None, Some(their)) => {
                    if self.splits_mine(their) {
                        return Err(in_my_range(their));
                    }
                    self.accept(*their);
                    j += 1;
                }
                (Some(own), Some(their)) if own.token > their.token => {
                    let (start, end) = (their.token, own.token);
                    if self.splits_mine(their) && (self.has_given)(Span { start, end }) {
                        return Err(in_my_range(their));
                    }
                    self.accept(*their);
                    j += 1;
                }
                (Some(own), Some(their)) => {
                    self.same_token(own, their, mine.range(i))?;
                    i += 1;
                    j += 1;
                }
            }
        }
    }

    fn same_token(&mut self, own: &Entry, their: &Entry, range: Span) -> Result<(), MergeError> {
        let is_mine = own.peer == self.me;
        if own.version > their.version || (own.version == their.version && own.peer == their.peer) {
            self.keep(*own);
        } else if own.version == their.version {
            if is_mine && (self.has_given)(range) {
                return Err(MergeError::Inconsistent {
                    token: own.token,
                    ours: own.peer,
                    theirs: their.peer,
                });
            }
            if own.free >= their.free {
                self.keep(*own);
            } else {
                self.accept(*their);
            }
        } else if is_mine && their.peer == self.me {
            // Nobody knows better than the owner: what it knows becomes the newest.
            let version = their.version.saturating_add(1);
            self.keep(Entry { version, ..*own });
        } else if is_mine && (self.has_given)(range) {
            return Err(MergeError::NewerVersion {
                token: own.token,
                version: own.version,
                theirs: their.peer,
                their_version: their.version,
            });
        } else {
            self.accept(*their);
        }
        Ok(())
    }

    fn splits_mine(&self, their: &Entry) -> bool {
        self.previous == Some(self.me) && their.peer != self.me
    }

    fn keep(&mut self, own: Entry) {
        self.previous = Some(own.peer);
        self.entries.push(own);
    }

    fn accept(&mut self, their: Entry) {
        self.previous = None;
        self.updated = true;
        self.entries.push(their);
    }
}

const fn in_my_range(their: &Entry) -> MergeError {
    MergeError::InMyRange {
        token: their.token,
        theirs: their.peer,
    }
}
