//! Syncs that follow one another.

use podwire_ruleset::ipvs::VirtualServers;

use super::{IpvsProgram, IpvsProxier};

/// A node over several states of the cluster, each of which kube-proxy meets with a sync.
///
/// A sync in IPVS mode goes through everything, so it leaves what a first one would, but for virtual
/// servers in `ipvs.excludeCIDRs`: those stay when their Service goes (`cleanLegacyService`). Real
/// servers are taken to have no connections, and so to go at once.
#[derive(Clone, Debug)]
pub struct IpvsHistory {
    program: IpvsProgram,
}

impl IpvsHistory {
    /// The first sync.
    #[must_use]
    pub fn first(proxier: &IpvsProxier<'_>) -> Self {
        Self {
            program: proxier.program(),
        }
    }

    /// The next sync: that of the same node's proxier for a later state of the cluster.
    pub fn then(&mut self, next: &IpvsProxier<'_>) {
        let left_alone: VirtualServers = std::mem::take(&mut self.program.virtual_servers)
            .into_iter()
            .filter(|(address, _)| {
                let mut excluded = next.excluded.iter();
                excluded.any(|prefix| prefix.contains(address.address))
            })
            .collect();
        self.program = next.program();
        for (address, server) in left_alone {
            self.program
                .virtual_servers
                .entry(address)
                .or_insert(server);
        }
    }

    /// What the last sync left.
    #[must_use]
    pub const fn program(&self) -> &IpvsProgram {
        &self.program
    }
}
