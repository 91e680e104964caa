//! Plain routes between the nodes: to each other node's pod range by its address.
//!
//! flannel's host-gw backend writes the same (pkg/backend/hostgw/hostgw.go of flannel-io/flannel),
//! and so do a cloud's route controllers.

use podwire_dataplane::{Lookup, Netns, Route};
use podwire_packet::Prefix;

use super::{NodeNetwork, PodNetwork};

pub(super) fn add<C>(host: &mut Netns<C>, network: &PodNetwork, node: &NodeNetwork) {
    for other in network
        .nodes()
        .iter()
        .filter(|other| other.name != node.name)
    {
        for &cidr in &other.pod_cidrs {
            add_direct(host, other, cidr);
        }
    }
}

/// A route to `cidr` by the other node's address, if that is on a network of this one.
pub(super) fn add_direct<C>(host: &mut Netns<C>, other: &NodeNetwork, cidr: Prefix) -> bool {
    let Some(next_hop) = other.internal_ip(cidr.family()) else {
        return false;
    };
    match host.fib.lookup(next_hop) {
        Lookup::By(Route {
            via: None, device, ..
        }) => {
            host.add_route(Route::via(cidr, device, next_hop));
            true
        }
        Lookup::By(_) | Lookup::Local(_) | Lookup::Broadcast(_) | Lookup::None => false,
    }
}
