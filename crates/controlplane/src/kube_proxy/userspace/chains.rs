//! Chains that every node has, and the rules that lead there.

use podwire_ruleset::{ChainName, Hook, Origin, Target};

use crate::kube_proxy::tables::Placed;
use crate::kube_proxy::words::{comment, destination_is_local, rule};

const PORTALS: &str = "handle ClusterIPs; NOTE: this must be before the NodePort rules";
const NODE_PORTS: &str = "handle service NodePorts; NOTE: this must be the last rule in the chain";
const NON_LOCAL: &str = "Ensure that non-local NodePort traffic can flow";

/// Names of the chains. "Container" is what comes in by a device, "host" what the node itself sends.
#[derive(Clone, Debug)]
pub(super) struct Chains {
    pub(super) portals_container: ChainName,
    pub(super) portals_host: ChainName,
    pub(super) node_port_container: ChainName,
    pub(super) node_port_host: ChainName,
    /// In filter; the others are in nat.
    pub(super) node_port_non_local: ChainName,
}

impl Chains {
    pub(super) fn new() -> Self {
        Self {
            portals_container: "KUBE-PORTALS-CONTAINER".into(),
            portals_host: "KUBE-PORTALS-HOST".into(),
            node_port_container: "KUBE-NODEPORT-CONTAINER".into(),
            node_port_host: "KUBE-NODEPORT-HOST".into(),
            node_port_non_local: "KUBE-NODEPORT-NON-LOCAL".into(),
        }
    }

    /// The chains of nat, in the order in which they are made (`iptablesInit`).
    pub(super) const fn nat(&self) -> [&ChainName; 4] {
        [
            &self.portals_container,
            &self.portals_host,
            &self.node_port_container,
            &self.node_port_host,
        ]
    }

    /// The jumps of nat from built-in chains: portals are put first and node ports last, since an
    /// address of a load balancer may be local where the node has a route for it.
    pub(super) fn nat_jumps(&self, origin: Origin) -> [Placed; 4] {
        let portals = |from: Hook, to: &ChainName| Placed {
            chain: from.into(),
            rule: rule(vec![comment(PORTALS)], Target::Jump(to.clone()), origin),
        };
        let node_ports = |from: Hook, to: &ChainName| {
            let matches = vec![destination_is_local(), comment(NODE_PORTS)];
            Placed {
                chain: from.into(),
                rule: rule(matches, Target::Jump(to.clone()), origin),
            }
        };
        [
            portals(Hook::Prerouting, &self.portals_container),
            portals(Hook::Output, &self.portals_host),
            node_ports(Hook::Prerouting, &self.node_port_container),
            node_ports(Hook::Output, &self.node_port_host),
        ]
    }

    /// The jump of filter.
    pub(super) fn filter_jump(&self, origin: Origin) -> Placed {
        let to = Target::Jump(self.node_port_non_local.clone());
        Placed {
            chain: Hook::Input.into(),
            rule: rule(vec![comment(NON_LOCAL)], to, origin),
        }
    }
}
