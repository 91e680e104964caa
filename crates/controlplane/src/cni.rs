//! The pod network: what the CNI plugins and the network's agent make on each node.
//!
//! A [`PodNetwork`] knows every node's devices and ranges. [`PodNetwork::host`] makes a node's own
//! namespace, [`PodNetwork::pod`] one of a pod on it; nothing is kept, so a cluster of thousands of
//! nodes costs what is asked of it.
//!
//! # Map
//! - `nodes`: the devices of each node, from a model or, where only Kubernetes objects are known,
//!   from its InternalIPs.
//! - `bridge`: cni0, veth pairs, a pod's addresses and routes: the bridge plugin with host-local.
//! - `flannel`: flannel.1, its routes, ARP and FDB entries; its masquerade and forward rules.
//! - `routes`: plain routes between the nodes.
//! - `weave`: what is Weave's own of its bridge.
//!
//! # Departures
//! - Addresses from elsewhere than their node's podCIDRs, as Calico, Cilium and clouds hand them out, are
//!   reached all the same: such a pod hangs on the bridge, with a route to it alone on every node.
//! - Ethernet addresses and names of veth devices, which are random in a real cluster, are made from
//!   the names of what they belong to.
//! - The portmap plugin is not modelled: a container's `hostPort` is open on pods of the host network
//!   alone.

mod bridge;
mod flannel;
mod nodes;
mod routes;
mod weave;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use podwire_cluster::{Cluster, Cni, FlannelBackend, Nic};
use podwire_dataplane::{Link, LinkKind, Netns, Route, Sysctls};
use podwire_packet::{DeviceName, Family, MacAddr, Prefix, made_up_bits};
use podwire_ruleset::{RuleSet, Sets};

pub use nodes::NodeNetwork;

use crate::network_policy::WeaveNpc;

/// The pod network of a cluster.
#[derive(Clone, Debug)]
pub struct PodNetwork {
    cni: Cni,
    hairpin: bool,
    ip_masq: bool,
    pod_cidrs: Vec<Prefix>,
    sysctls: Sysctls,
    nodes: Vec<NodeNetwork>,
    /// Whoever makes policies hold, where somebody does.
    npc: Option<Arc<WeaveNpc>>,
}

impl PodNetwork {
    /// The network of a cluster; nodes are numbered as the cluster lists them.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self::after(cluster, &BTreeSet::new())
    }

    /// The same where somebody had addresses who is gone: where it is not said which address a router
    /// has, it is none of them.
    #[must_use]
    pub fn after(cluster: &Cluster, gone: &BTreeSet<IpAddr>) -> Self {
        let network = &cluster.network;
        Self {
            cni: network.cni,
            hairpin: network.hairpin_mode,
            ip_masq: network.ip_masq,
            pod_cidrs: network.pod_cidrs.clone(),
            sysctls: Sysctls {
                ip_forward: network.ip_forward,
                rp_filter: network.rp_filter,
                bridge_nf_call_iptables: network.bridge_nf_call_iptables,
                route_localnet: false,
            },
            nodes: nodes::of(cluster, gone),
            npc: match network.cni {
                Cni::Weave => Some(Arc::new(WeaveNpc::new(cluster))),
                Cni::Routes | Cni::Bridge | Cni::Flannel(_) => None,
            },
        }
    }

    /// The controller that makes policies hold, where the pod network has one.
    #[must_use]
    pub fn policy_controller(&self) -> Option<&WeaveNpc> {
        self.npc.as_deref()
    }

    /// The ipsets that the network's rules look into.
    #[must_use]
    pub fn sets(&self, family: Family) -> Option<&Arc<Sets>> {
        let npc = self.npc.as_ref().filter(|_| family == Family::Ipv4)?;
        Some(npc.sets())
    }

    /// The nodes, in the cluster's order.
    #[must_use]
    pub fn nodes(&self) -> &[NodeNetwork] {
        &self.nodes
    }

    /// Largest packet of a pod on that node: the underlay's, less what the overlay adds.
    #[must_use]
    pub fn pod_mtu(&self, node: &NodeNetwork) -> u32 {
        let overhead = match self.cni {
            Cni::Flannel(FlannelBackend::Vxlan { .. }) => flannel::VXLAN_OVERHEAD,
            Cni::Weave => return weave::MTU,
            Cni::Flannel(FlannelBackend::HostGw) | Cni::Routes | Cni::Bridge => 0,
        };
        node.underlay_mtu().saturating_sub(overhead)
    }

    /// The bridge that pods hang on.
    #[must_use]
    pub const fn bridge(&self) -> DeviceName {
        match self.cni {
            Cni::Weave => weave::BRIDGE,
            Cni::Routes | Cni::Bridge | Cni::Flannel(_) => bridge::CNI0,
        }
    }

    /// Whether plain routes join the nodes, those to single pods among them.
    #[must_use]
    pub const fn routes_to_pods(&self) -> bool {
        matches!(self.cni, Cni::Routes | Cni::Weave)
    }

    /// A node's own namespace, with a bridge port for each of its pods.
    #[must_use]
    pub fn host<C>(&self, node: &NodeNetwork, pods: impl IntoIterator<Item = IpAddr>) -> Netns<C> {
        let mut links = vec![Link::loopback()];
        links.extend(node.nics.iter().map(|nic| nic_link(&node.name, nic)));
        if let Cni::Flannel(FlannelBackend::Vxlan { vni, port, .. }) = self.cni {
            links.extend(flannel::vxlan_links(self, node, vni, port));
        }
        let pods: Vec<IpAddr> = pods.into_iter().collect();
        if !node.pod_cidrs.is_empty() || !pods.is_empty() {
            links.push(bridge::bridge_link(self, node));
            let port = |&ip| bridge::port_link(self, node, ip, self.hairpin);
            links.extend(pods.iter().map(port));
        }
        links.extend(
            node.links
                .iter()
                .filter(|(_, facts)| facts.bridge)
                .map(|(&name, facts)| Link {
                    addresses: facts.addresses.clone(),
                    ..Link::new(
                        name,
                        LinkKind::Bridge,
                        node.device_mac(name),
                        Link::ETHERNET_MTU,
                    )
                }),
        );
        for link in &mut links {
            let said = node.links.get(&link.name).and_then(|facts| facts.mtu);
            link.mtu = said.unwrap_or(link.mtu);
        }
        let mut host = Netns::new(links);
        host.sysctls = self.sysctls;
        for nic in &node.nics {
            if let Some(gateway) = nic.gateway {
                let everything = Prefix::any(Family::of(gateway));
                host.add_route(Route::via(everything, nic.name, gateway));
            }
        }
        match self.cni {
            Cni::Bridge => {}
            Cni::Routes | Cni::Weave | Cni::Flannel(FlannelBackend::HostGw) => {
                routes::add(&mut host, self, node)
            }
            Cni::Flannel(FlannelBackend::Vxlan {
                vni,
                direct_routing,
                ..
            }) => {
                flannel::add_routes(&mut host, self, node, vni, direct_routing);
            }
        }
        host
    }

    /// Adds routes to pods whose addresses are of no pod range of their node, to each alone: by the
    /// bridge on its own node, and by that node on the others, as pod networks that know every pod
    /// write them. The latter only where plain routes join the nodes.
    pub fn add_stray_routes<'a, C>(
        &self,
        host: &mut Netns<C>,
        node: &NodeNetwork,
        strays: impl IntoIterator<Item = (IpAddr, &'a NodeNetwork)>,
    ) {
        for (pod, of) in strays {
            if of.name == node.name {
                host.add_route(Route {
                    via: None,
                    ..Route::via(Prefix::host(pod), self.bridge(), pod)
                });
            } else if self.routes_to_pods() {
                routes::add_direct(host, of, Prefix::host(pod));
            }
        }
    }

    /// Adds the rules that the network's agents write on a node to those that are there.
    pub fn add_rules(&self, node: &NodeNetwork, rules: &mut RuleSet) {
        let of_cluster = self
            .pod_cidrs
            .iter()
            .find(|cidr| cidr.family() == rules.family);
        if let (Cni::Flannel(_), Some(&cluster), Some(range)) =
            (self.cni, of_cluster, node.pod_cidr(rules.family))
        {
            flannel::rules::add(rules, cluster, range, self.ip_masq);
        }
        if let Some(npc) = self.npc.as_ref().filter(|_| rules.family == Family::Ipv4) {
            npc.add_rules(rules);
        }
    }

    /// The namespace of a pod on that node.
    #[must_use]
    pub fn pod<C>(&self, node: &NodeNetwork, addresses: &[IpAddr]) -> Netns<C> {
        bridge::pod(node, addresses, self.pod_mtu(node))
    }

    /// The Ethernet address of a node's card.
    #[must_use]
    pub fn nic_mac(node: &NodeNetwork, nic: &Nic) -> MacAddr {
        nodes::nic_mac(&node.name, nic)
    }

    /// The Ethernet address of a pod's eth0, by the pod's first address.
    #[must_use]
    pub fn pod_mac(node: &NodeNetwork, pod: IpAddr) -> MacAddr {
        bridge::pod_mac(node, pod)
    }

    /// The host's end of a pod's veth pair, by the pod's first address.
    #[must_use]
    pub fn port_name(&self, node: &NodeNetwork, pod: IpAddr) -> DeviceName {
        let mut said = node.links.iter();
        if let Some((&name, _)) = said.find(|(_, facts)| facts.pod == Some(pod)) {
            return name;
        }
        let digits = made_up_bits(&[&node.name, &pod.to_string(), "veth"]) >> 32;
        // As the plugins name it: `veth` and eight hexadecimal digits, or seven.
        let name = match self.cni {
            Cni::Weave => format!("{}{:07x}", weave::PORT_PREFIX, digits >> 4),
            Cni::Routes | Cni::Bridge | Cni::Flannel(_) => format!("veth{digits:08x}"),
        };
        name.parse().expect("at most fifteen letters and digits")
    }
}

fn nic_link(node: &str, nic: &Nic) -> Link {
    Link {
        addresses: nic.addresses.clone(),
        ..Link::new(nic.name, LinkKind::Nic, nodes::nic_mac(node, nic), nic.mtu)
    }
}

/// An Ethernet address for a device, always the same for the same names.
fn made_up_mac(node: &str, device: &str) -> MacAddr {
    MacAddr::of_bits(made_up_bits(&[node, device]))
}
