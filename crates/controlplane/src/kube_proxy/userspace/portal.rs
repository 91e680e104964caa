//! The portal of one service port: its proxy's port, and the rules that lead there.

use std::net::IpAddr;

use podwire_packet::Prefix;
use podwire_ruleset::{CtStates, Inv, L4, Match, NatRange, Origin, PhysdevMatch, Rule, Target};

use super::UserspaceProxier;
use super::chains::Chains;
use crate::kube_proxy::service_ports::ProxiedPort;
use crate::kube_proxy::tables::Placed;
use crate::kube_proxy::words::{
    comment, destination, destination_is_local, destination_port, protocol,
};

/// What a portal was opened with. Where any of it changes, kube-proxy closes the portal and opens
/// another (`sameConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Opened {
    l4: L4,
    port: u16,
    node_port: u16,
    cluster_ip: IpAddr,
    external_ips: Vec<IpAddr>,
    vips: Vec<IpAddr>,
    has_affinity: bool,
}

impl Opened {
    fn of(port: &ProxiedPort<'_>) -> Self {
        let addresses = &port.addresses;
        Self {
            l4: port.l4,
            port: port.port,
            node_port: port.node_port,
            cluster_ip: addresses.cluster_ip,
            external_ips: addresses.external_ips.clone(),
            vips: addresses.vips.clone(),
            has_affinity: addresses.affinity_seconds.is_some(),
        }
    }
}

/// An open portal.
#[derive(Clone, Debug)]
pub(super) struct Portal {
    /// The service port's printed name.
    pub(super) name: Box<str>,
    opened: Opened,
    /// The proxy's port.
    pub(super) proxy_port: u16,
    /// Seconds of ClientIP affinity, as they were when it was opened.
    pub(super) affinity_seconds: Option<u32>,
    pub(super) origin: Origin,
    pub(super) nat: Vec<Placed>,
    pub(super) filter: Option<Placed>,
}

/// Who a rule is for.
#[derive(Clone, Copy, Debug)]
enum From {
    /// What comes in by a device.
    Container,
    /// The node.
    Host,
}

/// What a rule asks besides protocol and port.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    address: Option<IpAddr>,
    /// That the packet came in by no port of a bridge.
    not_bridged: bool,
    /// That the destination is an address of the node.
    local: bool,
}

impl Portal {
    /// Opens one (`openPortal`).
    pub(super) fn open(
        proxier: &UserspaceProxier<'_>,
        chains: &Chains,
        port: &ProxiedPort<'_>,
        proxy_port: u16,
    ) -> Self {
        let words = Words {
            proxier,
            port,
            proxy_port,
        };
        let addresses = &port.addresses;
        let container = |asked| Placed {
            chain: chains.portals_container.clone(),
            rule: words.to_proxy(From::Container, port.port, asked),
        };
        let host = |asked| Placed {
            chain: chains.portals_host.clone(),
            rule: words.to_proxy(From::Host, port.port, asked),
        };
        let at = |ip: &IpAddr| Asked {
            address: Some(*ip),
            ..Asked::default()
        };
        let internal = |ip| [container(at(ip)), host(at(ip))];
        // Anybody may own an external address. What comes by a port of a bridge, and what the node
        // sends, goes to its owner, unless that is the node itself.
        let external = |ip| {
            let (not_bridged, local) = (true, true);
            [
                container(Asked {
                    not_bridged,
                    ..at(ip)
                }),
                container(Asked { local, ..at(ip) }),
                host(Asked { local, ..at(ip) }),
            ]
        };
        let mut nat: Vec<Placed> = internal(&addresses.cluster_ip).into();
        nat.extend(addresses.external_ips.iter().flat_map(external));
        nat.extend(addresses.vips.iter().flat_map(internal));
        let mut filter = None;
        if port.node_port != 0 {
            for (from, chain) in [
                (From::Container, &chains.node_port_container),
                (From::Host, &chains.node_port_host),
            ] {
                nat.push(Placed {
                    chain: chain.clone(),
                    rule: words.to_proxy(from, port.node_port, Asked::default()),
                });
            }
            filter = Some(Placed {
                chain: chains.node_port_non_local.clone(),
                rule: words.accepted(),
            });
        }
        Self {
            name: port.name.clone(),
            opened: Opened::of(port),
            proxy_port,
            affinity_seconds: addresses.affinity_seconds,
            origin: port.origin,
            nat: without_repeated(nat),
            filter,
        }
    }

    /// Whether it would be opened the same way for that service port.
    pub(super) fn is_of(&self, port: &ProxiedPort<'_>) -> bool {
        self.opened == Opened::of(port)
    }

    /// Its protocol.
    pub(super) const fn l4(&self) -> L4 {
        self.opened.l4
    }

    /// Its ClusterIP.
    pub(super) const fn cluster_ip(&self) -> IpAddr {
        self.opened.cluster_ip
    }
}

/// A rule that is there already is not appended again (`EnsureRule`): an address may be named twice.
fn without_repeated(rules: Vec<Placed>) -> Vec<Placed> {
    let mut kept: Vec<Placed> = Vec::with_capacity(rules.len());
    for placed in rules {
        let is_there = kept.iter().any(|before| {
            before.chain == placed.chain
                && before.rule.matches == placed.rule.matches
                && before.rule.target == placed.rule.target
        });
        if !is_there {
            kept.push(placed);
        }
    }
    kept
}

/// What the rules of one service port are worded with.
struct Words<'w> {
    proxier: &'w UserspaceProxier<'w>,
    port: &'w ProxiedPort<'w>,
    proxy_port: u16,
}

impl Words<'_> {
    /// `iptablesContainerPortalArgs`, `iptablesHostPortalArgs`, `iptablesHostNodePortArgs`.
    ///
    /// A proxy that listens on all addresses gets what comes in by REDIRECT, so that it answers from an
    /// address of the device by which the packet came. The node's own packets would come from loopback
    /// then, so they go to the node's address.
    fn to_proxy(&self, from: From, port: u16, asked: Asked) -> Rule {
        let to = |ip| Target::Dnat(NatRange::to(ip, Some(self.proxy_port)));
        let target = match (from, self.proxier.listen_ip) {
            (_, Some(listen)) => to(listen),
            (From::Host, None) => to(self.proxier.host_ip),
            (From::Container, None) => Target::Redirect(NatRange {
                ports: Some(self.proxy_port..=self.proxy_port),
                ..NatRange::default()
            }),
        };
        self.rule(port, asked, &[], target)
    }

    /// `iptablesNonLocalNodePortArgs`: what was led to the proxy may come in, whatever the policy of
    /// INPUT.
    fn accepted(&self) -> Rule {
        let is_new = Match::State(Inv::is(CtStates::NEW));
        self.rule(self.proxy_port, Asked::default(), &[is_new], Target::Accept)
    }

    /// `iptablesCommonPortalArgs`, and more behind it. Addresses are written with their length.
    fn rule(&self, port: u16, asked: Asked, more: &[Match], target: Target) -> Rule {
        let l4 = self.port.l4;
        let [module, is_protocol] = protocol(l4);
        let mut matches = vec![
            comment(&*self.port.name),
            is_protocol,
            module,
            destination_port(l4, port),
        ];
        matches.extend(asked.address.map(|ip| destination(Prefix::host(ip))));
        if asked.not_bridged {
            matches.push(Match::Physdev(PhysdevMatch {
                is_in: Some(false),
                ..PhysdevMatch::default()
            }));
        }
        if asked.local {
            matches.push(destination_is_local());
        }
        matches.extend_from_slice(more);
        Rule {
            matches,
            target: Some(target),
            counters: None,
            origin: Some(self.port.origin),
            host_lengths: true,
        }
    }
}
