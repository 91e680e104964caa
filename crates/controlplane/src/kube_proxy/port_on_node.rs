//! A service port on one node: what all modes must know of it.

use super::endpoints::{Choice, NodeEndpoint};
use super::service_ports::ProxiedPort;
use super::settings::Settings;

/// A service port with the endpoints that a node uses, and what they are enough for.
#[derive(Debug)]
pub(super) struct PortOnNode<'p> {
    pub(super) port: &'p ProxiedPort<'p>,
    pub(super) choice: Choice<'p>,
    /// Whether traffic to the ClusterIP has an endpoint that its policy allows.
    pub(super) has_internal: bool,
    /// The same of traffic from outside.
    pub(super) has_external: bool,
}

impl<'p> PortOnNode<'p> {
    /// Chooses endpoints: the beginning of the loop of each mode's `syncProxyRules`.
    pub(super) fn new(port: &'p ProxiedPort<'p>, node: &str, settings: &Settings) -> Self {
        let addresses = &port.addresses;
        let uses_topology = addresses.topology_mode || settings.ignores_topology_annotations;
        let zone = settings.zone.as_deref().filter(|_| uses_topology);
        let choice = Choice::new(port, node, zone);
        let has_local = !choice.local.is_empty();
        Self {
            port,
            has_internal: choice.has_endpoints && (!addresses.internal_local || has_local),
            has_external: choice.has_endpoints && (!addresses.external_local || has_local),
            choice,
        }
    }

    /// Whether traffic from outside has a chain of its own. It needs one without endpoints for itself
    /// too, since the node's own traffic to those addresses may go to every endpoint.
    pub(super) fn uses_external_chain(&self) -> bool {
        self.choice.has_endpoints && self.port.is_externally_accessible()
    }

    /// The endpoints of the chain for traffic that may go anywhere, if there is one.
    pub(super) fn cluster_endpoints(&self) -> Option<&[NodeEndpoint<'p>]> {
        let endpoints = &self.choice.cluster;
        let is_used = self.port.uses_cluster_endpoints() && !endpoints.is_empty();
        is_used.then_some(endpoints)
    }

    /// The endpoints of the chain for traffic that must stay on the node, if there is one.
    pub(super) fn local_endpoints(&self) -> Option<&[NodeEndpoint<'p>]> {
        let endpoints = &self.choice.local;
        let is_used = self.port.uses_local_endpoints() && !endpoints.is_empty();
        is_used.then_some(endpoints)
    }
}
