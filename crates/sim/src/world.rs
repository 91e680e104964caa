//! Namespaces, and who owns which address: what is known at once, and what is built when asked for.
//!
//! `placing` gives every address its owner, `building` makes namespaces, `surroundings` is what one
//! of them sees of its links.

mod building;
mod placing;
mod surroundings;

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use podwire_cluster::{Cluster, Cni, FlannelBackend, NetworkPolicy, ObjectName};
use podwire_controlplane::cni::{NodeNetwork, PodNetwork};
use podwire_controlplane::kube_proxy::{KubeProxyVersion, Object, ServicePorts};
use podwire_controlplane::network_policy::{Policies, Traffic, WeaveNpc};
use podwire_dataplane::{Netns, NetnsState};
use podwire_ingress::{Options as IngressOptions, Router};
use podwire_packet::{DeviceName, Family, FiveTuple, MacAddr, Prefix, Protocol, SimTime};
use podwire_ruleset::{Origin, Sets};
use prefix_trie::PrefixMap;

use crate::evaluator::Evaluator;
use crate::rules::{NodeRules, Program, Refusal, RulesError};
use crate::topology::{End, NetnsId, Topology};
pub(crate) use surroundings::View;

/// What a simulation may be told besides the cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The kube-proxy that writes the rules.
    pub kube_proxy_version: KubeProxyVersion,
    /// Addresses of pods that are gone, whatever slices still say of them.
    pub absent: BTreeSet<IpAddr>,
}

/// A pod's namespace: of a Pod object, of an endpoint without one, or of an address of a node's range
/// that somebody asked about.
#[derive(Clone, Debug)]
pub(crate) struct PodPlace {
    pub(crate) name: Option<ObjectName>,
    pub(crate) node: usize,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A host outside the cluster.
#[derive(Clone, Debug)]
pub(crate) struct OutsideHost {
    pub(crate) address: IpAddr,
    /// The node network it is on; `None` is beyond the router.
    pub(crate) segment: Option<Prefix>,
}

/// A simulated cluster.
///
/// Nodes and the addresses of objects are known from the start; namespaces with their links, routes
/// and rules are built when a packet first comes to them, and kept.
#[derive(Debug)]
pub struct World<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) network: PodNetwork,
    program: Program<'c>,
    pub(crate) pods: Vec<PodPlace>,
    pods_of_node: Vec<Vec<usize>>,
    pods_by_mac: RefCell<IndexMap<usize, surroundings::PodsByMac>>,
    /// Pods' addresses that are of none of their node's pod ranges, with the node.
    strays: Vec<(IpAddr, usize)>,
    /// Nodes by their pod ranges.
    ipv4_ranges: PrefixMap<Ipv4Net, usize>,
    ipv6_ranges: PrefixMap<Ipv6Net, usize>,
    pub(crate) outside: Vec<OutsideHost>,
    owners: IndexMap<IpAddr, NetnsId>,
    service_addresses: IndexSet<IpAddr>,
    topology: Topology,
    /// Ports on which an address has a listener because a slice names them.
    slice_ports: BTreeMap<IpAddr, Vec<(Protocol, u16)>>,
    namespaces: RefCell<IndexMap<NetnsId, Rc<Netns<Evaluator>>>>,
    rules: RefCell<IndexMap<usize, NodeRules>>,
    /// Whether rules were given that another state of the cluster led to.
    has_foreign_rules: bool,
    pub(crate) absent: BTreeSet<IpAddr>,
    /// Decisions of Ingress controllers, by their options.
    pub(crate) routers: RefCell<Vec<(IngressOptions, Rc<Router>)>>,
    policies: OnceCell<Policies<'c>>,
    /// The time.
    pub(crate) now: SimTime,
}

impl<'c> World<'c> {
    /// The world of a cluster.
    ///
    /// # Errors
    /// [`RulesError`] where kube-proxy is configured in a way that is not modelled.
    pub fn new(cluster: &'c Cluster, options: &Options) -> Result<Self, RulesError> {
        let network = PodNetwork::after(cluster, &options.absent);
        let mut world = Self {
            cluster,
            program: Program::new(cluster, options.kube_proxy_version)?,
            pods: Vec::new(),
            pods_of_node: vec![Vec::new(); network.nodes().len()],
            pods_by_mac: RefCell::default(),
            strays: Vec::new(),
            ipv4_ranges: PrefixMap::new(),
            ipv6_ranges: PrefixMap::new(),
            outside: Vec::new(),
            owners: IndexMap::new(),
            service_addresses: service_addresses(cluster),
            topology: Topology::default(),
            slice_ports: BTreeMap::new(),
            namespaces: RefCell::default(),
            rules: RefCell::default(),
            has_foreign_rules: false,
            absent: options.absent.clone(),
            routers: RefCell::default(),
            policies: OnceCell::new(),
            now: SimTime::START,
            network,
        };
        world.index_ranges();
        world.place_nodes();
        world.place_pods();
        world.place_endpoints();
        Ok(world)
    }

    /// Pods whose addresses are of none of their node's pod ranges.
    fn strays(&self) -> impl Iterator<Item = (IpAddr, &NodeNetwork)> {
        let nodes = self.network.nodes();
        self.strays
            .iter()
            .map(move |&(ip, node)| (ip, &nodes[node]))
    }

    fn index_ranges(&mut self) {
        for (index, node) in self.network.nodes().iter().enumerate() {
            for cidr in &node.pod_cidrs {
                match cidr.net() {
                    IpNet::V4(net) => drop(self.ipv4_ranges.insert(net, index)),
                    IpNet::V6(net) => drop(self.ipv6_ranges.insert(net, index)),
                }
            }
        }
    }

    const fn has_overlay(&self) -> bool {
        matches!(
            self.cluster.network.cni,
            Cni::Flannel(FlannelBackend::Vxlan { .. })
        )
    }

    /// Whether an address is a Service's, or of the range of ClusterIPs.
    #[must_use]
    pub fn is_service_address(&self, address: IpAddr) -> bool {
        self.service_addresses.contains(&address)
            || self
                .cluster
                .network
                .service_cidrs
                .iter()
                .any(|range| range.contains(address))
    }

    pub(crate) fn node_index(&self, name: &str) -> Option<usize> {
        self.cluster.nodes.get_index_of(name)
    }

    /// The node whose pod range holds an address; the smallest of several ranges.
    fn node_of_range(&self, address: IpAddr) -> Option<usize> {
        match address {
            IpAddr::V4(ip) => self.ipv4_ranges.get_lpm(&ip.into()).map(|(_, &node)| node),
            IpAddr::V6(ip) => self.ipv6_ranges.get_lpm(&ip.into()).map(|(_, &node)| node),
        }
    }

    /// The cluster it was made of.
    #[must_use]
    pub const fn cluster(&self) -> &'c Cluster {
        self.cluster
    }

    /// Who owns an address.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<NetnsId> {
        self.owners.get(&address).copied()
    }

    /// The node that a namespace is on, and the namespace's name there: `host` for the node's own, a
    /// pod's name or address, an outside host's address.
    #[must_use]
    pub fn names(&self, id: NetnsId) -> (Arc<str>, Arc<str>) {
        match id {
            NetnsId::Node(index) => (self.network.nodes()[index].name.clone(), "host".into()),
            NetnsId::Pod(index) => {
                let pod = &self.pods[index];
                let name = pod
                    .name
                    .as_ref()
                    .map_or_else(|| pod.addresses[0].to_string(), ObjectName::to_string);
                (self.network.nodes()[pod.node].name.clone(), name.into())
            }
            NetnsId::Router => ("router".into(), "host".into()),
            NetnsId::Outside(index) => (
                self.outside[index].address.to_string().into(),
                "host".into(),
            ),
        }
    }

    /// What a namespace is called as a place: `pod/default/web`, `node/a`, an address.
    #[must_use]
    pub fn place_name(&self, id: NetnsId) -> String {
        match id {
            NetnsId::Node(index) => format!("node/{}", self.network.nodes()[index].name),
            NetnsId::Pod(index) => {
                let pod = &self.pods[index];
                pod.name.as_ref().map_or_else(
                    || pod.addresses[0].to_string(),
                    |name| format!("pod/{name}"),
                )
            }
            NetnsId::Router => "router".to_owned(),
            NetnsId::Outside(index) => self.outside[index].address.to_string(),
        }
    }

    /// The largest packet of a device, in bytes.
    #[must_use]
    pub fn mtu(&self, at: NetnsId, device: DeviceName) -> Option<u32> {
        Some(self.netns(at).ok()?.links.get(&device)?.mtu)
    }

    /// The rules of a node.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn rules(&self, node: usize) -> Result<NodeRules, RulesError> {
        if let Some(rules) = self.rules.borrow().get(&node) {
            return Ok(rules.clone());
        }
        let rules = self
            .program
            .node(&self.network, &self.network.nodes()[node])?;
        self.rules.borrow_mut().insert(node, rules.clone());
        Ok(rules)
    }

    /// The service ports of a family.
    #[must_use]
    pub const fn services(&self, family: Family) -> &ServicePorts<'c> {
        self.program.services(family)
    }

    /// What real tools refuse of the rules that were made so far, with the node.
    #[must_use]
    pub fn refused(&self) -> Vec<(Arc<str>, Refusal)> {
        let rules = self.rules.borrow();
        let of_nodes = rules.iter().flat_map(|(&node, rules)| {
            let name = &self.network.nodes()[node].name;
            let refused = rules.refused.iter();
            refused.map(move |refusal| (name.clone(), refusal.clone()))
        });
        of_nodes.collect()
    }

    /// Gives a node other rules than the ones that the cluster leads to.
    pub(crate) fn set_rules(&mut self, node: usize, rules: NodeRules) {
        self.has_foreign_rules = true;
        self.rules.get_mut().insert(node, rules);
        self.namespaces.get_mut().shift_remove(&NetnsId::Node(node));
    }

    /// The object that a rule comes from, and the endpoint if it is about one. Where rules may be of an
    /// earlier state of the cluster than its objects, nothing is said.
    #[must_use]
    pub fn object(&self, family: Family, origin: Origin) -> Option<(&Object, Option<&str>)> {
        if self.has_foreign_rules {
            return None;
        }
        self.program.services(family).provenance().get(origin)
    }

    /// A namespace, built if it was not yet.
    ///
    /// # Errors
    /// [`RulesError`] where its node's rules cannot be made.
    pub(crate) fn netns(&self, id: NetnsId) -> Result<Rc<Netns<Evaluator>>, RulesError> {
        if let Some(netns) = self.namespaces.borrow().get(&id) {
            return Ok(netns.clone());
        }
        let netns = Rc::new(match id {
            NetnsId::Node(index) => self.build_node(index)?,
            NetnsId::Pod(index) => self.build_pod(index),
            NetnsId::Router => self.router(),
            NetnsId::Outside(index) => self.build_outside(&self.outside[index]),
        });
        self.namespaces.borrow_mut().insert(id, netns.clone());
        Ok(netns)
    }

    /// What a namespace remembers before the first packet: on nodes, the ipsets.
    pub(crate) fn first_state(&self, id: NetnsId) -> Result<NetnsState, RulesError> {
        let mut state = NetnsState::default();
        if let NetnsId::Node(index) = id {
            let ipvs = self.rules(index)?.ipvs;
            state.ipv4.sets = self.all_sets(Family::Ipv4, ipvs.ipv4_sets);
            state.ipv6.sets = self.all_sets(Family::Ipv6, ipvs.ipv6_sets);
        }
        Ok(state)
    }

    /// The pods on a node.
    pub(crate) fn pods_on(&self, id: NetnsId) -> impl Iterator<Item = usize> {
        let of_node = match id {
            NetnsId::Node(index) => self.pods_of_node.get(index),
            NetnsId::Pod(_) | NetnsId::Router | NetnsId::Outside(_) => None,
        };
        of_node.into_iter().flatten().copied()
    }

    /// kube-proxy's sets and those of the pod network.
    fn all_sets(&self, family: Family, of_kube_proxy: Arc<Sets>) -> Arc<Sets> {
        match self.network.sets(family) {
            None => of_kube_proxy,
            Some(of_network) if of_kube_proxy.is_empty() => of_network.clone(),
            Some(of_network) => {
                let mut all = of_kube_proxy.as_ref().clone();
                let added = of_network.iter();
                all.extend(added.map(|(name, set)| (name.clone(), set.clone())));
                all.into()
            }
        }
    }

    /// The cluster's policies.
    #[must_use]
    pub fn policies(&self) -> &Policies<'c> {
        self.policies.get_or_init(|| Policies::new(self.cluster))
    }

    /// The controller that makes policies hold, where the pod network has one.
    #[must_use]
    pub fn policy_controller(&self) -> Option<&WeaveNpc> {
        self.network.policy_controller()
    }

    /// The policies that isolate an end of a flow: those that keep it out or, where none does, all. The
    /// addresses are those behind any Service.
    #[must_use]
    pub fn isolating_policies(&self, flow: FiveTuple) -> Vec<&'c NetworkPolicy> {
        let policies = self.policies();
        let verdict = policies.verdict(&Traffic {
            from: policies.address(flow.src),
            to: policies.address(flow.dst),
            protocol: flow.protocol,
            port: flow.dport,
        });
        let sides = [&verdict.egress, &verdict.ingress];
        let denying = sides.into_iter().find(|side| !side.allowed());
        let isolating = sides.into_iter().find(|side| !side.policies.is_empty());
        let side = denying.or(isolating);
        let judged = side.into_iter().flat_map(|side| &side.policies);
        judged.map(|judged| judged.policy).collect()
    }

    /// Puts a namespace in place of the one that the world has.
    pub(crate) fn replace(&mut self, id: NetnsId, netns: Rc<Netns<Evaluator>>) {
        self.namespaces.get_mut().insert(id, netns);
    }

    /// The other end of a device's wire.
    pub(crate) fn carry(&self, from: NetnsId, device: DeviceName, to: MacAddr) -> Option<End> {
        self.topology.carry(from, device, to)
    }
}

/// Every address that a Service has.
fn service_addresses(cluster: &Cluster) -> IndexSet<IpAddr> {
    let texts = cluster.services.values().flat_map(|service| {
        let balancer = service.load_balancer.iter().map(|ingress| &ingress.ip);
        service
            .cluster_ips
            .iter()
            .chain(&service.external_ips)
            .chain(balancer)
    });
    texts.filter_map(|text| text.parse().ok()).collect()
}
