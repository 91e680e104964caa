//! Histories of Weave's ring.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use podwire_ipam::weave::{Mesh, Span};
use podwire_packet::{MacAddr, Prefix};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Told, prefix, text, yes_no};

/// The most addresses that one step asks for.
const MOST: u32 = 1 << 20;

/// What the history is of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Universe {
    #[serde(deserialize_with = "prefix")]
    universe: Prefix,
    /// All peers that appear, whether they own anything or not.
    #[serde(default)]
    peers: Vec<Name>,
}

/// A peer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(MacAddr);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text(d).map(Self)
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

/// What happens.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Step {
    /// Peers agree to share the universe out.
    Seed { peers: Vec<Name> },
    /// A peer gives addresses of its own.
    Alloc {
        peer: Name,
        #[serde(default = "one")]
        n: u32,
        subnet: Option<Subnet>,
    },
    /// A peer takes an address back.
    Free {
        peer: Name,
        #[serde(deserialize_with = "text")]
        addr: Ipv4Addr,
    },
    /// A peer gives a chosen address.
    Claim {
        peer: Name,
        #[serde(deserialize_with = "text")]
        addr: Ipv4Addr,
    },
    /// A peer asks another for space.
    Request {
        peer: Name,
        donor: Name,
        subnet: Option<Subnet>,
    },
    /// A peer takes over what one owned that is gone.
    Takeover { peer: Name, from: Name },
    /// Who owns an address?
    Owner {
        #[serde(deserialize_with = "text")]
        addr: Ipv4Addr,
    },
}

const fn one() -> u32 {
    1
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Subnet(#[serde(deserialize_with = "prefix")] Prefix);

/// What came of a step, and who owns what afterwards.
#[derive(Debug, Serialize)]
pub(super) struct After {
    #[serde(flatten)]
    outcome: Outcome,
    /// The ranges of each peer.
    owned: BTreeMap<Name, Vec<String>>,
    /// How many addresses each has free.
    free: BTreeMap<Name, u64>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Outcome {
    Seed {},
    Alloc {
        peer: Name,
        ok: bool,
        got: Vec<Ipv4Addr>,
        first: Option<Ipv4Addr>,
        last: Option<Ipv4Addr>,
        count: usize,
    },
    Free {
        peer: Name,
        ok: bool,
    },
    Claim {
        peer: Name,
        ok: bool,
    },
    Request {
        peer: Name,
        ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        donated: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        donated_size: Option<u64>,
    },
    Takeover {
        peer: Name,
        ranges: Vec<String>,
    },
    Owner {
        owner: Option<Name>,
    },
}

/// Plays a history.
pub(super) fn replay(space: Universe, steps: Vec<Step>) -> Result<Vec<After>, String> {
    let mut mesh = Mesh::new(space.universe).map_err(|error| error.to_string())?;
    let mut listed: BTreeSet<Name> = space.peers.into_iter().collect();
    let mut after = Vec::with_capacity(steps.len());
    for (number, step) in (1..).zip(steps) {
        let outcome =
            take(&mut mesh, &mut listed, step).map_err(|why| format!("step {number}: {why}"))?;
        let owned = listed.iter().map(|&name| {
            let ranges = mesh.ring().owned(name.0);
            (name, ranges.map(|range| range.to_string()).collect())
        });
        let free = listed.iter().map(|&name| {
            let space = mesh.space(name.0);
            (
                name,
                space.map_or(0, podwire_ipam::weave::Space::free_count),
            )
        });
        after.push(After {
            outcome,
            owned: owned.collect(),
            free: free.collect(),
        });
    }
    Ok(after)
}

fn take(mesh: &mut Mesh, listed: &mut BTreeSet<Name>, step: Step) -> Result<Outcome, String> {
    let subnet_of = |subnet: Option<Subnet>, mesh: &Mesh| {
        subnet.map_or(mesh.ring().universe(), |Subnet(prefix)| prefix)
    };
    Ok(match step {
        Step::Seed { peers } => {
            if !mesh.ring().is_empty() {
                return Err("the ring has been shared out already".to_owned());
            }
            if peers.is_empty() {
                return Err("`peers` is empty: at least one peer begins".to_owned());
            }
            listed.extend(&peers);
            mesh.seed(&peers.into_iter().map(|Name(mac)| mac).collect::<Vec<_>>());
            Outcome::Seed {}
        }
        Step::Alloc { peer, n, subnet } => {
            if n > MOST {
                return Err(format!("`n` is {n}: accepted are 0 to {MOST}"));
            }
            listed.insert(peer);
            let subnet = subnet_of(subnet, mesh);
            let got: Vec<Ipv4Addr> = (0..n).map_while(|_| mesh.give(peer.0, subnet)).collect();
            Outcome::Alloc {
                peer,
                ok: got.len() == n as usize,
                first: got.first().copied(),
                last: got.last().copied(),
                count: got.len(),
                got,
            }
        }
        Step::Free { peer, addr } => {
            listed.insert(peer);
            let ok = mesh.free(peer.0, addr);
            Outcome::Free { peer, ok }
        }
        Step::Claim { peer, addr } => {
            listed.insert(peer);
            let ok = mesh.claim(peer.0, addr);
            Outcome::Claim { peer, ok }
        }
        Step::Request {
            peer,
            donor,
            subnet,
        } => {
            if peer == donor {
                return Err(format!("{} asks itself for space", peer.0));
            }
            listed.extend([peer, donor]);
            let subnet = subnet_of(subnet, mesh);
            let donated = mesh.request(peer.0, donor.0, subnet);
            Outcome::Request {
                peer,
                ok: donated.is_some(),
                donated: donated.map(|span| span.to_string()),
                donated_size: donated.map(Span::size),
            }
        }
        Step::Takeover { peer, from } => {
            if peer == from {
                return Err(format!("{} takes over from itself", peer.0));
            }
            listed.insert(peer);
            listed.remove(&from);
            let ranges = mesh.take_over(peer.0, from.0);
            let ranges = ranges.iter().map(Span::to_string).collect();
            Outcome::Takeover { peer, ranges }
        }
        Step::Owner { addr } => {
            let owner = mesh.ring().owner(addr).map(Name);
            Outcome::Owner { owner }
        }
    })
}

impl Told for After {
    fn told(&self) -> String {
        match &self.outcome {
            Outcome::Seed {} => {
                let shares = self.owned.iter().filter(|(_, ranges)| !ranges.is_empty());
                let shares: Vec<String> = shares
                    .map(|(name, ranges)| format!("{} has {}", name.0, ranges.join(", ")))
                    .collect();
                format!("seed: {}", shares.join("; "))
            }
            Outcome::Alloc {
                peer,
                ok,
                first,
                last,
                count,
                ..
            } => {
                let which = match (first, last) {
                    (Some(first), Some(last)) if first != last => format!(" {first} to {last}"),
                    (Some(first), _) => format!(" {first}"),
                    (None, _) => String::new(),
                };
                format!("{} alloc: {count}{which}, {}", peer.0, yes_no(*ok))
            }
            Outcome::Free { peer, ok } => format!("{} free: {}", peer.0, yes_no(*ok)),
            Outcome::Claim { peer, ok } => format!("{} claim: {}", peer.0, yes_no(*ok)),
            Outcome::Request { peer, donated, .. } => match donated {
                Some(range) => format!("{} request: got {range}", peer.0),
                None => format!("{} request: {}", peer.0, yes_no(false)),
            },
            Outcome::Takeover { peer, ranges } => {
                format!("{} takeover: {}", peer.0, ranges.join(", "))
            }
            Outcome::Owner { owner } => match owner {
                Some(Name(mac)) => format!("owner: {mac}"),
                None => "owner: none".to_owned(),
            },
        }
    }
}
