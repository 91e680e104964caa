//! What a namespace sees of the links that its devices are on.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::rc::Rc;

use indexmap::IndexMap;
use podwire_controlplane::cni::PodNetwork;
use podwire_dataplane::{Netns, Surroundings};
use podwire_packet::{DeviceName, MacAddr, SimTime};

use super::World;
use super::building::WAN;
use crate::evaluator::Evaluator;
use crate::rules::RulesError;
use crate::topology::{NetnsId, Vertex};

/// What one namespace sees around it.
pub(crate) struct View<'w, 'c> {
    world: &'w World<'c>,
    at: NetnsId,
    /// Why a namespace on the same link could not be made.
    fault: OnceCell<RulesError>,
}

impl<'w, 'c> View<'w, 'c> {
    pub(crate) const fn new(world: &'w World<'c>, at: NetnsId) -> Self {
        Self {
            world,
            at,
            fault: OnceCell::new(),
        }
    }

    /// Another namespace. One that cannot be made answers nobody, and is the view's fault.
    fn neighbor(&self, id: NetnsId) -> Option<Rc<Netns<Evaluator>>> {
        let netns = self.world.netns(id);
        netns.map_err(|error| drop(self.fault.set(error))).ok()
    }

    /// What was seen through the view was right.
    ///
    /// # Errors
    /// [`RulesError`] of the first namespace that could not be made.
    pub(crate) fn check(self) -> Result<(), RulesError> {
        self.fault.into_inner().map_or(Ok(()), Err)
    }
}

/// A link-layer network: who is in the same one can answer ARP.
#[derive(PartialEq, Eq)]
enum Domain {
    Bridge(usize),
    Shared(Vertex),
}

/// A node's pods by their Ethernet addresses, as far as they have been looked at.
#[derive(Debug, Default)]
pub(super) struct PodsByMac {
    looked_at: usize,
    first_address: IndexMap<MacAddr, IpAddr>,
}

impl World<'_> {
    /// The first address of the pod with an Ethernet address on a node. Pods are only ever added to a node.
    fn pod_with_mac(&self, node: usize, mac: MacAddr) -> Option<IpAddr> {
        let mut known = self.pods_by_mac.borrow_mut();
        let known = known.entry(node).or_default();
        let network = &self.network.nodes()[node];
        let pods = &self.pods_of_node[node];
        for &pod in &pods[known.looked_at..] {
            let address = self.pods[pod].addresses[0];
            let mac = PodNetwork::pod_mac(network, address);
            known.first_address.entry(mac).or_insert(address);
        }
        known.looked_at = pods.len();
        known.first_address.get(&mac).copied()
    }

    fn domain(&self, at: NetnsId, device: DeviceName) -> Option<Domain> {
        match at {
            NetnsId::Node(index) if device == self.network.bridge() => Some(Domain::Bridge(index)),
            NetnsId::Pod(index) if device == DeviceName::ETH0 => {
                Some(Domain::Bridge(self.pods[index].node))
            }
            NetnsId::Node(_) | NetnsId::Pod(_) | NetnsId::Router | NetnsId::Outside(_) => {
                self.topology.shared_network(at, device).map(Domain::Shared)
            }
        }
    }
}

impl Surroundings for View<'_, '_> {
    fn resolve(&self, device: DeviceName, address: IpAddr) -> Option<MacAddr> {
        let here = self.world.domain(self.at, device)?;
        if here == Domain::Shared(Vertex::Beyond) && self.at != NetnsId::Router {
            // From beyond, every address is behind the router.
            let router = self.neighbor(NetnsId::Router)?;
            return router.links.get(&WAN).map(|link| link.mac);
        }
        let owner = self.world.owner(address)?;
        if let (NetnsId::Node(node), Domain::Bridge(of)) = (owner, &here)
            && node == *of
        {
            // A host answers for each of its addresses on every link (sysctl `arp_ignore` 0).
            let host = self.neighbor(owner)?;
            return host
                .links
                .get(&self.world.network.bridge())
                .map(|bridge| bridge.mac);
        }
        let netns = self.neighbor(owner)?;
        let link = netns
            .links
            .values()
            .find(|link| link.has_address(address))?;
        (self.world.domain(owner, link.name)? == here).then_some(link.mac)
    }

    fn learned_port(&self, bridge: DeviceName, mac: MacAddr) -> Option<DeviceName> {
        let NetnsId::Node(index) = self.at else {
            return None;
        };
        if bridge != self.world.network.bridge() {
            return None;
        }
        let node = &self.world.network.nodes()[index];
        let pod = self.world.pod_with_mac(index, mac)?;
        Some(self.world.network.port_name(node, pod))
    }

    fn now(&self) -> SimTime {
        self.world.now
    }
}
