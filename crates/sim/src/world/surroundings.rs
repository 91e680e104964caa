//! What a namespace sees of the links that its devices are on.

use std::net::IpAddr;

use podwire_controlplane::cni::{CNI0, PodNetwork};
use podwire_dataplane::Surroundings;
use podwire_packet::{DeviceName, MacAddr, SimTime};

use super::World;
use super::building::WAN;
use crate::topology::{NetnsId, Vertex};

/// What one namespace sees around it.
pub(crate) struct View<'w, 'c> {
    pub(crate) world: &'w World<'c>,
    pub(crate) at: NetnsId,
}

/// A link-layer network: who is in the same one can answer ARP.
#[derive(PartialEq, Eq)]
enum Domain {
    Bridge(usize),
    Shared(Vertex),
}

impl World<'_> {
    fn domain(&self, at: NetnsId, device: DeviceName) -> Option<Domain> {
        match at {
            NetnsId::Node(index) if device == CNI0 => Some(Domain::Bridge(index)),
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
            let router = self.world.netns(NetnsId::Router).ok()?;
            return router.links.get(&WAN).map(|link| link.mac);
        }
        let owner = self.world.owner(address)?;
        if let (NetnsId::Node(node), Domain::Bridge(of)) = (owner, &here)
            && node == *of
        {
            // A host answers for each of its addresses on every link (sysctl `arp_ignore` 0).
            let host = self.world.netns(owner).ok()?;
            return host.links.get(&CNI0).map(|bridge| bridge.mac);
        }
        let netns = self.world.netns(owner).ok()?;
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
        if bridge != CNI0 {
            return None;
        }
        let node = &self.world.network.nodes()[index];
        let mut pods = self.world.pods_of_node[index]
            .iter()
            .map(|&pod| self.world.pods[pod].addresses[0]);
        let pod = pods.find(|&pod| PodNetwork::pod_mac(node, pod) == mac)?;
        Some(PodNetwork::port_name(node, pod))
    }

    fn now(&self) -> SimTime {
        self.world.now
    }
}
