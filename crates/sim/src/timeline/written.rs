//! What a node's syncs have written so far.

use std::net::IpAddr;
use std::sync::Arc;

use podwire_cluster::{Change, ProxyMode};
use podwire_controlplane::kube_proxy::{
    IptablesHistory, IptablesProxier, IpvsHistory, IpvsProxier, NftablesHistory, NftablesProxier,
    ProxierError, ServicePorts, SyncCounts, UserspaceHistory, UserspaceProxier,
};
use podwire_dataplane::Ipvs;
use podwire_packet::{Family, SimTime};
use podwire_ruleset::ipvs;

use crate::rules::{
    IpvsNode, NodeRules, RulesError, bridge_addresses, interp, ipvs_rules, nft_interp,
    userspace_rules,
};
use crate::world::World;

/// It, by mode, IPv4 and IPv6.
#[derive(Debug)]
pub(super) enum Written<'c> {
    Iptables([IptablesHistory<'c>; 2]),
    Nftables([NftablesHistory<'c>; 2]),
    Ipvs(Box<[IpvsHistory; 2]>),
    /// Of one family.
    Userspace(Box<UserspaceHistory<'c>>),
}

/// A state of the cluster, as the proxiers of both families see it on a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'c, 's> {
    pub(super) change: &'c Change,
    pub(super) services: &'c [ServicePorts<'c>; 2],
    pub(super) node: &'s str,
    /// Addresses of the node that no Node lists.
    pub(super) addresses: &'s [IpAddr],
}

/// The addresses of a node's bridge; none where it is no node of the world.
pub(super) fn unlisted_addresses(world: &World<'_>, node: &str) -> Vec<IpAddr> {
    let index = world.node_index(node);
    index.map_or_else(Vec::new, |index| {
        bridge_addresses(&world.network.nodes()[index])
    })
}

impl<'c> Seen<'c, '_> {
    fn iptables(
        &self,
        services: &'c ServicePorts<'c>,
    ) -> Result<IptablesProxier<'c>, ProxierError> {
        let proxier = IptablesProxier::new(&self.change.cluster, services, self.node)?;
        Ok(proxier.with_addresses(self.addresses))
    }

    fn nftables(
        &self,
        services: &'c ServicePorts<'c>,
    ) -> Result<NftablesProxier<'c>, ProxierError> {
        let proxier = NftablesProxier::new(&self.change.cluster, services, self.node)?;
        Ok(proxier.with_addresses(self.addresses))
    }

    fn ipvs(&self, services: &'c ServicePorts<'c>) -> Result<IpvsProxier<'c>, ProxierError> {
        let proxier = IpvsProxier::new(&self.change.cluster, services, self.node)?;
        Ok(proxier.with_addresses(self.addresses))
    }

    /// The proxier of userspace mode, which is of one family.
    pub(super) fn userspace(&self) -> Result<UserspaceProxier<'c>, ProxierError> {
        let cluster = &self.change.cluster;
        let [ipv4, ipv6] = self.services;
        let services = match UserspaceProxier::family_of(cluster, self.node)? {
            Family::Ipv4 => ipv4,
            Family::Ipv6 => ipv6,
        };
        UserspaceProxier::new(cluster, services, self.node)
    }
}

/// What a later sync wrote.
#[derive(Debug, Default)]
pub(super) struct Sync {
    /// Whether it wrote everything.
    pub(super) is_full: bool,
    /// What it wrote in iptables mode.
    pub(super) counts: Option<[SyncCounts; 2]>,
    /// What it changed about virtual servers.
    pub(super) virtual_servers: Vec<ipvs::Change>,
}

impl Sync {
    /// One that went through everything.
    pub(super) fn of_everything() -> Self {
        Self {
            is_full: true,
            ..Self::default()
        }
    }
}

impl<'c> Written<'c> {
    /// The first sync, which begins at that moment.
    pub(super) fn first(seen: Seen<'c, '_>, began: SimTime) -> Result<Self, ProxierError> {
        let config = seen.change.cluster.kube_proxy.clone().unwrap_or_default();
        let [ipv4, ipv6] = seen.services;
        Ok(match config.proxy_mode() {
            ProxyMode::Userspace => {
                Self::Userspace(Box::new(UserspaceHistory::first(seen.userspace()?)))
            }
            ProxyMode::Nftables => {
                let first = |of| Ok(NftablesHistory::first(seen.nftables(of)?).at(began));
                Self::Nftables([first(ipv4)?, first(ipv6)?])
            }
            ProxyMode::Ipvs => {
                let first = |of| seen.ipvs(of).map(|proxier| IpvsHistory::first(&proxier));
                Self::Ipvs(Box::new([first(ipv4)?, first(ipv6)?]))
            }
            ProxyMode::Iptables | ProxyMode::Kernelspace => {
                let first = |of| seen.iptables(of).map(IptablesHistory::first);
                Self::Iptables([first(ipv4)?, first(ipv6)?])
            }
        })
    }

    /// A later one, which may have to be full; `kernel` has the connections of virtual servers.
    pub(super) fn then(
        &mut self,
        seen: Seen<'c, '_>,
        is_full: bool,
        began: SimTime,
        kernel: &Ipvs,
    ) -> Result<Sync, ProxierError> {
        let mut sync = Sync::of_everything();
        match self {
            Self::Iptables(histories) => {
                let mut counts = [SyncCounts::default(); 2];
                for ((history, services), counts) in
                    histories.iter_mut().zip(seen.services).zip(&mut counts)
                {
                    let proxier = seen.iptables(services)?;
                    if is_full {
                        history.then_full(proxier);
                    } else {
                        history.then(proxier);
                    }
                    *counts = SyncCounts::of(services, history.restore_text());
                }
                sync.is_full = histories.iter().all(IptablesHistory::is_full);
                sync.counts = Some(counts);
            }
            Self::Nftables(histories) => {
                for (history, services) in histories.iter_mut().zip(seen.services) {
                    history.then_at(seen.nftables(services)?, began);
                }
            }
            Self::Ipvs(histories) => {
                for (history, services) in histories.iter_mut().zip(seen.services) {
                    let proxier = seen.ipvs(services)?;
                    let changes =
                        history.sync(&proxier, |at, real| kernel.connection_count(at, real));
                    sync.virtual_servers.extend(changes);
                }
            }
            Self::Userspace(history) => history.then(seen.userspace()?),
        }
        Ok(sync)
    }

    /// The rules of a node, if it is one of the world's.
    pub(super) fn rules(
        &self,
        world: &World<'c>,
        node: &str,
        route_localnet: bool,
    ) -> Result<Option<NodeRules>, RulesError> {
        let Some(index) = world.node_index(node) else {
            return Ok(None);
        };
        let network = &world.network;
        let node = &network.nodes()[index];
        let ((ipv4, refused_ipv4), (ipv6, refused_ipv6)) = match self {
            Self::Iptables([ipv4, ipv6]) => (
                (interp(network, node, ipv4.rule_set())?, None),
                (interp(network, node, ipv6.rule_set())?, None),
            ),
            Self::Nftables([ipv4, ipv6]) => (
                nft_interp(network, node, Family::Ipv4, ipv4.table())?,
                nft_interp(network, node, Family::Ipv6, ipv6.table())?,
            ),
            Self::Ipvs(histories) => {
                let [ipv4, ipv6] = &**histories;
                return ipvs_rules(network, node, [ipv4.program(), ipv6.program()]).map(Some);
            }
            Self::Userspace(history) => return userspace_rules(network, node, history).map(Some),
        };
        Ok(Some(NodeRules {
            ipv4,
            ipv6,
            ipvs: IpvsNode::default(),
            proxy_sockets: Arc::default(),
            route_localnet,
            refused: [refused_ipv4, refused_ipv6].into_iter().flatten().collect(),
        }))
    }
}
