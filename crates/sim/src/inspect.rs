//! A namespace looked at from inside, as tools look at it.

use std::net::IpAddr;
use std::rc::Rc;

use podwire_controlplane::cni::{NodeNetwork, PodNetwork};
use podwire_dataplane::{Lookup, Netns, Surroundings};
use podwire_interp::Interp;
use podwire_packet::{DeviceName, Family, MacAddr};

use crate::place::{Place, PlaceError};
use crate::rules::RulesError;
use crate::topology::NetnsId;
use crate::world::{View, World};

/// A namespace, and where it is.
#[derive(Clone, Debug)]
pub struct Inspected<'w> {
    /// Which one it is.
    pub id: NetnsId,
    /// Its devices, routes and rules.
    pub netns: Rc<Netns<Interp>>,
    /// The node that it is on; none for the router and hosts outside.
    pub node: Option<&'w NodeNetwork>,
    /// The port of a pod on the node's bridge.
    pub port: Option<DeviceName>,
}

/// Why a place cannot be looked at.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is no such place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Its rules cannot be made.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

impl World<'_> {
    /// The namespace of a place: a pod of the host network has its node's.
    ///
    /// # Errors
    /// When there is none, or its rules cannot be made.
    pub fn inspect(&self, place: &Place) -> Result<Inspected<'_>, InspectError> {
        let ipv4 = self.sender(place, Family::Ipv4);
        let found = ipv4.or_else(|error| {
            if matches!(error, PlaceError::NoAddress { .. }) {
                self.sender(place, Family::Ipv6)
            } else {
                Err(error)
            }
        });
        let (id, _) = found?;
        let nodes = self.network.nodes();
        let (node, port) = match id {
            NetnsId::Node(index) => (Some(&nodes[index]), None),
            NetnsId::Pod(index) => {
                let pod = &self.pods[index];
                let node = &nodes[pod.node];
                let port = self.network.port_name(node, pod.addresses[0]);
                (Some(node), Some(port))
            }
            NetnsId::Router | NetnsId::Outside(_) => (None, None),
        };
        let netns = self.netns(id)?;
        Ok(Inspected {
            id,
            netns,
            node,
            port,
        })
    }

    /// Who answers on the links of a namespace, of those that it would talk to: nodes, routers, and pods on
    /// its bridge.
    ///
    /// # Errors
    /// [`RulesError`] where the rules of one of them cannot be made.
    pub fn neighbors(&self, id: NetnsId) -> Result<Vec<(IpAddr, DeviceName, MacAddr)>, RulesError> {
        let netns = self.netns(id)?;
        let view = View::new(self, id);
        let nics = self.network.nodes().iter().flat_map(|node| &node.nics);
        let of_nodes = nics.flat_map(|nic| nic.addresses.iter().map(|&(ip, _)| ip));
        let gateways = netns.fib.routes().filter_map(|route| route.via);
        let pods = self.pods_on(id).map(|pod| self.pods[pod].addresses[0]);
        let mut found: Vec<(IpAddr, DeviceName, MacAddr)> = Vec::new();
        for address in of_nodes.chain(gateways).chain(pods) {
            let Lookup::By(route) = netns.fib.lookup(address) else {
                continue;
            };
            if route.via.is_some() || found.iter().any(|(known, ..)| *known == address) {
                continue;
            }
            if let Some(mac) = view.resolve(route.device, address) {
                found.push((address, route.device, mac));
            }
        }
        view.check()?;
        Ok(found)
    }

    /// The pod network.
    #[must_use]
    pub const fn network(&self) -> &PodNetwork {
        &self.network
    }
}
