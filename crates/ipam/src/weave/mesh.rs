//! All peers of a network.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use indexmap::IndexMap;
use podwire_packet::{MacAddr, Prefix};
use thiserror::Error;

use super::ring::Ring;
use super::space::Space;
use super::span::Span;

/// The longest prefix that can be shared out: the first and the last address are nobody's.
const MAX_LENGTH: u8 = 30;

/// The peers of a Weave network whose gossip has arrived: all know the same ring.
#[derive(Clone, Debug)]
pub struct Mesh {
    ring: Ring,
    peers: IndexMap<MacAddr, Peer>,
}

/// One peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub(super) space: Space,
    /// Which addresses each container has, with the length of the prefix that it was asked for.
    pub(super) owned: BTreeMap<String, Vec<(Ipv4Addr, u8)>>,
}

/// Why a prefix cannot be shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MeshError {
    /// Only IPv4 is known to Weave.
    #[error("Non-IPv4 address not supported: {universe}")]
    NotIpv4 {
        /// The prefix.
        universe: Prefix,
    },
    /// No host fits in it.
    #[error("invalid subnet - smaller than minimum size 4: {universe}")]
    TooSmall {
        /// The prefix.
        universe: Prefix,
    },
}

/// Why a container got no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AllocateError {
    /// The subnet has no address in common with what is shared out.
    #[error("range {subnet} out of bounds: {universe}")]
    OutOfBounds {
        /// The subnet.
        subnet: Prefix,
        /// What is shared out.
        universe: Prefix,
    },
    /// Nobody has a free address of the subnet. The real peer waits until somebody has, and with it
    /// whoever asked.
    #[error("no peer has a free address in {subnet}")]
    Waiting {
        /// The subnet.
        subnet: Prefix,
    },
}

/// Why a container did not get the address that it claims.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The peers have not agreed yet.
    #[error("{address} is in the range {universe}, but the allocator is not initialized yet")]
    NotSeeded {
        /// The address.
        address: Ipv4Addr,
        /// What is shared out.
        universe: Prefix,
    },
    /// Another peer has given it.
    #[error("address {address} is owned by other peer {owner}")]
    OtherPeer {
        /// The address.
        address: Ipv4Addr,
        /// Its owner.
        owner: MacAddr,
    },
    /// Another container of the peer has it.
    #[error("address {address} is already owned by {container}")]
    Taken {
        /// The address.
        address: Ipv4Addr,
        /// The container.
        container: String,
    },
    /// It is given, and nobody knows to whom.
    #[error("Address {address} is not free to claim")]
    NotFree {
        /// The address.
        address: Ipv4Addr,
    },
}

impl Mesh {
    /// A network without peers.
    ///
    /// # Errors
    /// When the prefix is not one of IPv4, or longer than /30.
    pub fn new(universe: Prefix) -> Result<Self, MeshError> {
        if universe.address().is_ipv6() {
            return Err(MeshError::NotIpv4 { universe });
        }
        if universe.len() > MAX_LENGTH {
            return Err(MeshError::TooSmall { universe });
        }
        Ok(Self {
            ring: Ring::new(universe),
            peers: IndexMap::new(),
        })
    }

    /// The ring, as every peer knows it.
    #[must_use]
    pub const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The addresses of a peer.
    #[must_use]
    pub fn space(&self, peer: MacAddr) -> Option<&Space> {
        self.peers.get(&peer).map(|peer| &peer.space)
    }

    /// The peers in the order in which they came.
    pub fn peers(&self) -> impl Iterator<Item = MacAddr> {
        self.peers.keys().copied()
    }

    /// Lets a peer join, which owns nothing yet.
    pub fn join(&mut self, peer: MacAddr) {
        self.peer(peer);
    }

    /// Shares the universe out among peers that agreed to begin ([`Ring::seed`]).
    pub fn seed(&mut self, peers: &[MacAddr]) {
        self.ring.seed(peers);
        for &peer in peers {
            let ranges: Vec<Span> = self.ring.owned(peer).collect();
            self.peer(peer).space.own(ranges);
        }
    }

    /// Gives the lowest free address of a peer's own in the host range of a subnet.
    pub fn give(&mut self, peer: MacAddr, subnet: Prefix) -> Option<Ipv4Addr> {
        let address = self.peer(peer).space.allocate(Span::hosts_of(subnet));
        self.report(peer);
        address
    }

    /// Gives a chosen address of a peer's own; whether it was free.
    pub fn claim(&mut self, peer: MacAddr, address: Ipv4Addr) -> bool {
        let claimed = self.peer(peer).space.claim(address);
        self.report(peer);
        claimed
    }

    /// Takes an address back that a peer has given; whether it had.
    pub fn free(&mut self, peer: MacAddr, address: Ipv4Addr) -> bool {
        let freed = self.peer(peer).space.free(address);
        self.report(peer);
        freed
    }

    /// Lets a peer ask another for space in a subnet; what it got.
    pub fn request(&mut self, asker: MacAddr, donor: MacAddr, subnet: Prefix) -> Option<Span> {
        self.request_span(asker, donor, Span::of(subnet))
    }

    pub(super) fn request_span(
        &mut self,
        asker: MacAddr,
        donor: MacAddr,
        span: Span,
    ) -> Option<Span> {
        if asker == donor {
            return None;
        }
        let donated = self.peer(donor).space.donate(span)?;
        self.ring.grant(donated, asker);
        self.peer(asker).space.own([donated]);
        self.report(donor);
        self.report(asker);
        Some(donated)
    }

    /// The peers that have free space in a span, in the order in which `asker` asks them: those with
    /// more free space come first more often. `draw` gives numbers from 0 to 1, one for each such peer
    /// in the order of their first tokens.
    pub fn donors(
        &self,
        asker: MacAddr,
        span: Span,
        mut draw: impl FnMut() -> f64,
    ) -> Vec<MacAddr> {
        let mut free: IndexMap<MacAddr, u64> = IndexMap::new();
        for (at, entry) in self.ring.entries().iter().enumerate() {
            let overlaps = !self.ring.range(at).and(span).is_empty();
            if overlaps && entry.free > 0 && entry.peer != asker {
                *free.entry(entry.peer).or_default() += entry.free;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "at most 2^32 addresses")]
        let mut weighed: Vec<(f64, MacAddr)> = free
            .into_iter()
            .map(|(peer, free)| (free as f64 * draw(), peer))
            .collect();
        weighed.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        weighed.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Gives a container an address of a subnet: the one it has there, a free one of the peer's own, or
    /// one of a range that another peer then gives away. `draw` chooses whom to ask ([`Mesh::donors`]).
    ///
    /// # Errors
    /// When the subnet lies outside, or no peer has space in it.
    pub fn allocate(
        &mut self,
        peer: MacAddr,
        container: &str,
        subnet: Prefix,
        draw: impl FnMut() -> f64,
    ) -> Result<Ipv4Addr, AllocateError> {
        let span = Span::of(subnet);
        if let Some(owned) = self.peer(peer).owned.get(container)
            && let Some(&(address, _)) = owned.iter().find(|(ip, _)| span.contains(*ip))
        {
            return Ok(address);
        }
        let universe = self.ring.universe();
        if span.and(self.ring.span).is_empty() {
            return Err(AllocateError::OutOfBounds { subnet, universe });
        }
        let mut given = self.give(peer, subnet);
        if given.is_none() {
            for donor in self.donors(peer, span, draw) {
                // A donor's last free addresses may be such that no host may have.
                if self.request_span(peer, donor, span).is_some() {
                    given = self.give(peer, subnet);
                }
                if given.is_some() {
                    break;
                }
            }
        }
        let address = given.ok_or(AllocateError::Waiting { subnet })?;
        self.own(peer, container, address, subnet.len());
        Ok(address)
    }

    /// Gives a container the address that it says it has: of another peer's ranges too, if it is free
    /// there. An address outside what is shared out is noted, no more.
    ///
    /// # Errors
    /// When another has it, or the peers have not agreed yet.
    pub fn claim_for(
        &mut self,
        peer: MacAddr,
        container: &str,
        address: Ipv4Addr,
        length: u8,
    ) -> Result<(), ClaimError> {
        let universe = self.ring.universe();
        if !Span::of(universe).contains(address) {
            self.own(peer, container, address, length);
            return Ok(());
        }
        let owner = self.ring.owner(address);
        let owner = owner.ok_or(ClaimError::NotSeeded { address, universe })?;
        if owner != peer {
            let one = Span::of(Prefix::host(address.into()));
            if self.request_span(peer, owner, one).is_none() {
                return Err(ClaimError::OtherPeer { address, owner });
            }
        }
        if let Some(holder) = self.peer(peer).holder(address) {
            if holder == container {
                return Ok(());
            }
            let container = holder.to_owned();
            return Err(ClaimError::Taken { address, container });
        }
        if !self.claim(peer, address) {
            return Err(ClaimError::NotFree { address });
        }
        self.own(peer, container, address, length);
        Ok(())
    }

    /// Takes one address of a container back; whether it had it.
    pub fn free_of(&mut self, peer: MacAddr, container: &str, address: Ipv4Addr) -> bool {
        let owned = &mut self.peer(peer).owned;
        let Some(addresses) = owned.get_mut(container) else {
            return false;
        };
        let Some(at) = addresses.iter().position(|(ip, _)| *ip == address) else {
            return false;
        };
        addresses.remove(at);
        if addresses.is_empty() {
            owned.remove(container);
        }
        self.free(peer, address);
        true
    }

    /// Takes all addresses of a container back; how many it had.
    pub fn delete(&mut self, peer: MacAddr, container: &str) -> usize {
        let addresses = self.peer(peer).owned.remove(container).unwrap_or_default();
        for &(address, _) in &addresses {
            self.peer(peer).space.free(address);
        }
        self.report(peer);
        addresses.len()
    }

    /// Lets a peer take over all ranges of one that is gone for good (`weave rmpeer`). What that peer had
    /// given is free now, whether its containers still run or not.
    pub fn take_over(&mut self, peer: MacAddr, gone: MacAddr) -> Vec<Span> {
        if peer == gone {
            return Vec::new();
        }
        let gained = self.ring.transfer(gone, peer);
        self.peers.shift_remove(&gone);
        self.peer(peer).space.own(gained.iter().copied());
        self.report(peer);
        gained
    }

    /// Lets a peer leave in an orderly way (`weave reset`): the peer with the lowest range takes its
    /// ranges over, or the first that has none; which one.
    pub fn reset(&mut self, leaving: MacAddr) -> Option<MacAddr> {
        let with_range = self.ring.entries().iter().map(|entry| entry.peer);
        let heir = with_range
            .chain(self.peers())
            .find(|&peer| peer != leaving && self.peers.contains_key(&peer))?;
        self.take_over(heir, leaving);
        Some(heir)
    }

    pub(super) fn peer(&mut self, peer: MacAddr) -> &mut Peer {
        self.peers.entry(peer).or_default()
    }

    fn own(&mut self, peer: MacAddr, container: &str, address: Ipv4Addr, length: u8) {
        let owned = &mut self.peer(peer).owned;
        owned
            .entry(container.to_owned())
            .or_default()
            .push((address, length));
    }

    /// Lets the others know what is free, as a peer does after all that it has done.
    fn report(&mut self, peer: MacAddr) {
        let Self { ring, peers } = self;
        if let Some(Peer { space, .. }) = peers.get(&peer) {
            ring.report_free(peer, |span| space.free_in(span));
        }
    }
}

impl Peer {
    /// The container that has an address.
    fn holder(&self, address: Ipv4Addr) -> Option<&str> {
        let mut owned = self.owned.iter();
        let found = owned.find(|(_, addresses)| addresses.iter().any(|(ip, _)| *ip == address));
        found.map(|(container, _)| container.as_str())
    }
}
