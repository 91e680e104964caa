//! Why kube-proxy's modes differ, where that is known.

use podwire_cluster::{KubeProxyConfiguration, ProxyMode};
use podwire_packet::{Family, Prefix};
use podwire_ruleset::ipvs::Scheduler;

use super::outcome::{Fate, Outcome};
use super::probe::{DestinationKind, PortFacts, Probe, SenderKind};

/// A known difference between modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Node ports on localhost.
    LocalhostNodePorts,
    /// Node ports on addresses of the node besides its first.
    NodePortAddressesDefault,
    /// nft refuses the table.
    NftRefusesInterfacePrefix,
    /// ipset refuses a source range of everybody.
    IpsetRefusesZeroPrefix,
    /// iptables mode rejects and drops on every local address.
    NoEndpointRuleOnEveryAddress,
    /// A node's own packet has the Service's address as its source.
    IpvsSourceIsServiceAddress,
    /// A node's address is on other nodes too.
    IpvsHoldsNodeAddress,
    /// Endpoints of external addresses are missed at OUTPUT too.
    ExternalCheckAtOutput,
    /// A virtual server without real servers.
    IpvsEmptyVirtualServer,
    /// IPVS mode falls back to endpoints elsewhere.
    IpvsLocalFallsBack,
    /// IPVS mode treats the cluster's own traffic to external addresses as that from outside.
    IpvsNoShortCircuit,
    /// nftables mode asks source ranges of Services without endpoints too.
    NftFirewallWithoutEndpoints,
    /// IPVS mode asks source ranges of Services without endpoints too.
    IpvsFirewallWithoutEndpoints,
    /// `iptables.masqueradeAll` is not that of nftables.
    MasqueradeAllPerMode,
    /// Addresses of Services are addresses of the node.
    IpvsAddressesAreLocal,
    /// A scheduler that does not spread connections evenly.
    IpvsScheduler,
    /// IPVS mode masquerades by other rules.
    IpvsMasquerade,
    /// What ports of a ClusterIP that it does not have say.
    InvalidClusterIpPort,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::LocalhostNodePorts,
        Self::NodePortAddressesDefault,
        Self::NftRefusesInterfacePrefix,
        Self::IpsetRefusesZeroPrefix,
        Self::NoEndpointRuleOnEveryAddress,
        Self::IpvsSourceIsServiceAddress,
        Self::IpvsHoldsNodeAddress,
        Self::ExternalCheckAtOutput,
        Self::IpvsEmptyVirtualServer,
        Self::IpvsLocalFallsBack,
        Self::IpvsNoShortCircuit,
        Self::NftFirewallWithoutEndpoints,
        Self::IpvsFirewallWithoutEndpoints,
        Self::MasqueradeAllPerMode,
        Self::IpvsAddressesAreLocal,
        Self::IpvsScheduler,
        Self::IpvsMasquerade,
        Self::InvalidClusterIpPort,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::LocalhostNodePorts => "localhost-node-ports",
            Self::NodePortAddressesDefault => "node-port-addresses-default",
            Self::NftRefusesInterfacePrefix => "nft-refuses-interface-prefix",
            Self::IpsetRefusesZeroPrefix => "ipset-refuses-zero-prefix",
            Self::NoEndpointRuleOnEveryAddress => "no-endpoint-rule-on-every-address",
            Self::IpvsSourceIsServiceAddress => "ipvs-source-is-service-address",
            Self::IpvsHoldsNodeAddress => "ipvs-holds-node-address",
            Self::ExternalCheckAtOutput => "external-check-at-output",
            Self::IpvsEmptyVirtualServer => "ipvs-empty-virtual-server",
            Self::IpvsLocalFallsBack => "ipvs-local-falls-back",
            Self::IpvsNoShortCircuit => "ipvs-no-short-circuit",
            Self::NftFirewallWithoutEndpoints => "nft-firewall-without-endpoints",
            Self::IpvsFirewallWithoutEndpoints => "ipvs-firewall-without-endpoints",
            Self::MasqueradeAllPerMode => "masquerade-all-per-mode",
            Self::IpvsAddressesAreLocal => "ipvs-addresses-are-local",
            Self::IpvsScheduler => "ipvs-scheduler",
            Self::IpvsMasquerade => "ipvs-masquerade",
            Self::InvalidClusterIpPort => "invalid-cluster-ip-port",
        }
    }

    /// What it is, in a sentence or two.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::LocalhostNodePorts => {
                "only iptables mode can open node ports on 127.0.0.0/8 (iptables.localhostNodePorts, on unless said; sysctl route_localnet); nftables and ipvs mode never do"
            }
            Self::NodePortAddressesDefault => {
                "without nodePortAddresses, nftables mode opens node ports on the node's first address of the family only, iptables and ipvs mode on every address"
            }
            Self::NftRefusesInterfacePrefix => {
                "with detectLocalMode InterfaceNamePrefix, nftables mode writes `iif prefix*`, which nft refuses (\"Interface does not exist\"), and with it the whole table: no Service works"
            }
            Self::IpsetRefusesZeroPrefix => {
                "ipset has no entry of length 0 in hash:ip,port,net, so a source range of 0.0.0.0/0 or ::/0 is missing and IPVS mode drops what only it lets in"
            }
            Self::NoEndpointRuleOnEveryAddress => {
                "for a node port without endpoints, or without local ones, iptables mode rejects or drops on every local address, 127.0.0.0/8 and addresses outside nodePortAddresses included; the others look at the addresses that they serve"
            }
            Self::IpvsSourceIsServiceAddress => {
                "in IPVS mode kube-ipvs0 holds the Services' addresses on every node, so a node's own packet to one has it as its source: masqueraded, it gets that of the device it leaves by; if not, another node drops it as its own"
            }
            Self::IpvsHoldsNodeAddress => {
                "an external or load balancer IP that is a node's own is on kube-ipvs0 of every other node in IPVS mode: to these, that node's packets come from themselves, and they drop them"
            }
            Self::ExternalCheckAtOutput => {
                "iptables mode looks for missing endpoints of external addresses at INPUT and FORWARD only, so a node's own packets leave by the default route, or go to endpoints elsewhere; nftables mode looks at OUTPUT too, before it translates, and in IPVS mode the address is the node's own"
            }
            Self::IpvsEmptyVirtualServer => {
                "where a policy is Local and no endpoint may be used, IPVS mode has a virtual server without real servers, which answers port unreachable; the others drop"
            }
            Self::IpvsLocalFallsBack => {
                "where a policy is Local and the node has no endpoint, IPVS mode uses the endpoints of all nodes, the others drop"
            }
            Self::IpvsNoShortCircuit => {
                "with externalTrafficPolicy Local, iptables and nftables mode send packets of the node and its pods to the endpoints of all nodes, and masquerade the node's own; IPVS mode treats them as those from outside"
            }
            Self::NftFirewallWithoutEndpoints => {
                "nftables mode drops what is in no source range before it looks for endpoints, iptables mode rejects for want of endpoints first"
            }
            Self::IpvsFirewallWithoutEndpoints => {
                "IPVS mode drops what is in no source range whether there are endpoints or not, iptables mode rejects for want of endpoints first"
            }
            Self::MasqueradeAllPerMode => {
                "iptables.masqueradeAll holds of iptables and IPVS mode, nftables mode has nftables.masqueradeAll"
            }
            Self::IpvsAddressesAreLocal => {
                "in IPVS mode kube-ipvs0 gives every node the Services' addresses, so that such a packet is for the node itself"
            }
            Self::IpvsScheduler => {
                "ipvs.scheduler chooses endpoints otherwise than evenly at random"
            }
            Self::IpvsMasquerade => {
                "IPVS mode masquerades by ipsets of addresses and ports, not by Service and endpoint"
            }
            Self::InvalidClusterIpPort => {
                "nftables mode rejects ports that a ClusterIP does not have, and IPVS mode ports that kube-ipvs0's addresses do not have; in iptables mode such a packet leaves by the default route"
            }
        }
    }

    /// Where that stands.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::LocalhostNodePorts => {
                "pkg/proxy/iptables/proxier.go (NewProxier, localhostNodePorts); KEP-3866"
            }
            Self::NodePortAddressesDefault => {
                "pkg/proxy/nftables/proxier.go (NewProxier, nodePortAddresses); KEP-3866"
            }
            Self::NftRefusesInterfacePrefix => {
                "pkg/proxy/util/localdetector.go; pkg/proxy/nftables/proxier.go; measured with nft 1.0.6"
            }
            Self::IpsetRefusesZeroPrefix => {
                "hash_ipportnet4_uadt, net/netfilter/ipset/ip_set_hash_ipportnet.c; measured with ipset 7.17"
            }
            Self::NoEndpointRuleOnEveryAddress => {
                "pkg/proxy/iptables/proxier.go (syncProxyRules, KUBE-EXTERNAL-SERVICES)"
            }
            Self::IpvsSourceIsServiceAddress => {
                "pkg/proxy/ipvs/proxier.go (syncService); fib_validate_source, net/ipv4/fib_frontend.c"
            }
            Self::IpvsHoldsNodeAddress => {
                "pkg/proxy/ipvs/proxier.go (syncService); fib_validate_source, net/ipv4/fib_frontend.c"
            }
            Self::ExternalCheckAtOutput => {
                "pkg/proxy/iptables/proxier.go (iptablesJumpChains); pkg/proxy/nftables/proxier.go (nftablesJumpChains)"
            }
            Self::IpvsEmptyVirtualServer => {
                "ip_vs_leave, net/netfilter/ipvs/ip_vs_core.c; pkg/proxy/ipvs/proxier.go (syncEndpoint)"
            }
            Self::IpvsLocalFallsBack | Self::IpvsNoShortCircuit => {
                "pkg/proxy/ipvs/proxier.go (syncEndpoint)"
            }
            Self::NftFirewallWithoutEndpoints => {
                "pkg/proxy/nftables/proxier.go (syncProxyRules, firewall-ips)"
            }
            Self::IpvsFirewallWithoutEndpoints => {
                "pkg/proxy/ipvs/proxier.go (syncProxyRules, KUBE-LOAD-BALANCER-FW)"
            }
            Self::MasqueradeAllPerMode => "pkg/proxy/apis/config/types.go",
            Self::IpvsAddressesAreLocal => {
                "pkg/proxy/ipvs/proxier.go (syncService, defaultDummyDevice)"
            }
            Self::IpvsScheduler => "net/netfilter/ipvs/ip_vs_sched.c; pkg/proxy/ipvs/proxier.go",
            Self::IpvsMasquerade => "pkg/proxy/ipvs/proxier.go (writeIptablesRules)",
            Self::InvalidClusterIpPort => {
                "pkg/proxy/nftables/proxier.go (cluster-ips-check); pkg/proxy/ipvs/proxier.go (KUBE-IPVS-FILTER)"
            }
        }
    }
}

/// What became of one packet in two modes, and what the objects say of it.
pub(super) struct Seen<'a> {
    pub(super) probe: &'a Probe,
    /// The service port; `None` where there is no such port.
    pub(super) port: Option<&'a PortFacts>,
    pub(super) config: &'a KubeProxyConfiguration,
    /// Whether a Service has an address that is a node's own.
    pub(super) shares_node_address: bool,
    /// Whether nft refuses the table of this family on this node.
    pub(super) nft_refuses: bool,
    pub(super) outcomes: [(ProxyMode, &'a Outcome); 2],
}

/// Whether some of an outcome is dropped.
fn drops(outcome: &Outcome) -> bool {
    outcome.ends.iter().any(|end| end.fate == Fate::Dropped)
}

impl Seen<'_> {
    fn in_mode(&self, mode: ProxyMode) -> Option<&Outcome> {
        let found = self.outcomes.iter().find(|(of, _)| *of == mode);
        found.map(|(_, outcome)| *outcome)
    }

    /// Every reason that explains some of the difference, in the order of [`Reason::ALL`].
    pub(super) fn reasons(&self) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = Reason::ALL
            .into_iter()
            .filter(|&reason| self.is_explained_by(reason))
            .collect();
        // Where there is no table at all, nothing else matters.
        if reasons.contains(&Reason::NftRefusesInterfacePrefix) {
            reasons.retain(|&reason| reason == Reason::NftRefusesInterfacePrefix);
        }
        reasons
    }

    fn is_explained_by(&self, reason: Reason) -> bool {
        let iptables = self.in_mode(ProxyMode::Iptables);
        let nftables = self.in_mode(ProxyMode::Nftables);
        let ipvs = self.in_mode(ProxyMode::Ipvs);
        let others = || iptables.into_iter().chain(nftables);
        let differs_in_ipvs =
            || ipvs.is_some_and(|ipvs| others().any(|other| !other.is_same(ipvs)));
        let destination = self.probe.destination;
        let is_served = self.port.is_some();
        match reason {
            Reason::LocalhostNodePorts => {
                destination == DestinationKind::Loopback
                    && is_served
                    && iptables.is_some_and(Outcome::delivers)
                    && nftables
                        .into_iter()
                        .chain(ipvs)
                        .any(|other| !other.delivers())
            }
            Reason::NodePortAddressesDefault => {
                destination == DestinationKind::OtherNodeIp
                    && is_served
                    && !self.has_node_port_addresses()
                    && nftables.is_some_and(|outcome| !outcome.delivers())
                    && iptables.into_iter().chain(ipvs).any(Outcome::delivers)
            }
            Reason::NftRefusesInterfacePrefix => {
                self.nft_refuses
                    && nftables.is_some_and(|nftables| {
                        let others = iptables.into_iter().chain(ipvs);
                        others.into_iter().any(|other| !other.is_same(nftables))
                    })
            }
            Reason::IpsetRefusesZeroPrefix => {
                destination == DestinationKind::LoadBalancerIp
                    && self
                        .port
                        .is_some_and(|port| port.source_ranges.iter().any(Prefix::is_empty))
                    && ipvs.is_some_and(|ipvs| ipvs.is(Fate::Dropped))
                    && differs_in_ipvs()
            }
            Reason::NoEndpointRuleOnEveryAddress => {
                destination.is_of_node()
                    && is_served
                    && iptables.is_some_and(|iptables| {
                        iptables.is(Fate::Rejected) || iptables.is(Fate::Dropped)
                    })
                    && nftables
                        .into_iter()
                        .chain(ipvs)
                        .any(|other| other.is(Fate::Refused))
            }
            Reason::IpvsSourceIsServiceAddress => {
                !destination.is_of_node()
                    && is_served
                    && self.probe.sender == SenderKind::Node
                    && differs_in_ipvs()
                    && ipvs.is_some_and(|ipvs| {
                        drops(ipvs)
                            || others().any(|other| {
                                other.delivers() && other.endpoints().eq(ipvs.endpoints())
                            })
                    })
                    && others().any(Outcome::delivers)
            }
            Reason::IpvsHoldsNodeAddress => {
                self.shares_node_address
                    && is_served
                    && ipvs.is_some_and(drops)
                    && others().any(Outcome::delivers)
            }
            Reason::ExternalCheckAtOutput => {
                !destination.is_of_node()
                    && destination != DestinationKind::ClusterIp
                    && is_served
                    && self.probe.sender == SenderKind::Node
                    && iptables.is_some_and(|iptables| match iptables.is(Fate::Unroutable) {
                        true => nftables
                            .into_iter()
                            .chain(ipvs)
                            .any(|other| other.is(Fate::Rejected) || other.is(Fate::Dropped)),
                        false => {
                            iptables.delivers()
                                && nftables.is_some_and(|nftables| nftables.is(Fate::Dropped))
                        }
                    })
            }
            Reason::IpvsEmptyVirtualServer => {
                is_served
                    && self.is_local_policy()
                    && ipvs.is_some_and(|ipvs| ipvs.is(Fate::Rejected))
                    && others().any(|other| other.is(Fate::Dropped))
            }
            Reason::IpvsLocalFallsBack => {
                is_served
                    && self.is_local_policy()
                    && others().any(|other| other.is(Fate::Dropped))
                    && ipvs.is_some_and(Outcome::delivers)
            }
            Reason::IpvsNoShortCircuit => {
                is_served
                    && destination != DestinationKind::ClusterIp
                    && self.port.is_some_and(|port| port.external_local)
                    && self.probe.sender.is_of_cluster()
                    && differs_in_ipvs()
                    && ipvs.is_some_and(Outcome::delivers)
                    && others().any(Outcome::delivers)
            }
            Reason::NftFirewallWithoutEndpoints => {
                self.is_out_of_range()
                    && iptables.is_some_and(|outcome| outcome.is(Fate::Rejected))
                    && nftables.is_some_and(|outcome| outcome.is(Fate::Dropped))
            }
            Reason::IpvsFirewallWithoutEndpoints => {
                self.is_out_of_range()
                    && iptables.is_some_and(|outcome| outcome.is(Fate::Rejected))
                    && ipvs.is_some_and(|outcome| outcome.is(Fate::Dropped))
            }
            Reason::MasqueradeAllPerMode => {
                let in_nftables = self.config.nftables.masquerade_all;
                destination == DestinationKind::ClusterIp
                    && self.config.iptables.masquerade_all != in_nftables
                    && nftables.is_some_and(|nftables| {
                        let others = iptables.into_iter().chain(ipvs);
                        let mut seen = others.into_iter().map(Outcome::source_seen);
                        seen.any(|seen| seen != nftables.source_seen())
                    })
            }
            Reason::IpvsAddressesAreLocal => {
                !destination.is_of_node()
                    && !is_served
                    && differs_in_ipvs()
                    && destination != DestinationKind::ClusterIp
            }
            Reason::IpvsScheduler => {
                let scheduler = self.config.ipvs.scheduler.parse().ok();
                let is_even = matches!(
                    scheduler,
                    None | Some(
                        Scheduler::RoundRobin
                            | Scheduler::WeightedRoundRobin
                            | Scheduler::LeastConnection
                            | Scheduler::WeightedLeastConnection
                    )
                );
                !is_even
                    && ipvs.is_some_and(|ipvs| {
                        others().any(|other| {
                            other.delivers() && ipvs.delivers() && !other.is_same(ipvs)
                        })
                    })
            }
            Reason::IpvsMasquerade => ipvs.is_some_and(|ipvs| {
                others().any(|other| {
                    other.delivers()
                        && ipvs.delivers()
                        && !other.is_same(ipvs)
                        && other.endpoints().eq(ipvs.endpoints())
                        && other.source_seen() != ipvs.source_seen()
                })
            }),
            Reason::InvalidClusterIpPort => destination == DestinationKind::ClusterIp && !is_served,
        }
    }

    fn has_node_port_addresses(&self) -> bool {
        let ranges = self.config.node_port_addresses.iter();
        let mut families = ranges.filter_map(|range| range.parse::<Prefix>().ok());
        families.any(|range| range.family() == Family::of(self.probe.to))
    }

    /// Whether the policy that holds of the packet is Local.
    fn is_local_policy(&self) -> bool {
        let is_internal = self.probe.destination == DestinationKind::ClusterIp;
        self.port.is_some_and(|port| {
            if is_internal {
                port.internal_local
            } else {
                port.external_local
            }
        })
    }

    /// Whether a load balancer's source ranges keep the packet out.
    fn is_out_of_range(&self) -> bool {
        self.probe.destination == DestinationKind::LoadBalancerIp
            && self.port.is_some_and(|port| !port.source_ranges.is_empty())
            && self.probe.sender != SenderKind::OutsideInRange
    }
}
