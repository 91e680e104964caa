//! Rules that ask the sets (`writeIptablesRules`, pkg/proxy/ipvs/proxier.go).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podwire_packet::{Family, Prefix, Protocol};
use podwire_ruleset::{
    AddressMatch, ChainName, CtStates, Inv, IpvsMatch, Match, NatRange, Origin, PhysdevMatch,
    RejectWith, SetDirection, SetMatch, Target,
};

use super::IpvsProxier;
use super::service::ProgrammedPorts;
use super::sets::KubeSet;
use crate::kube_proxy::marks::{forwarding, masquerading};
use crate::kube_proxy::tables::Placed;
use crate::kube_proxy::words::{
    comment, ctstate, destination_is_local, rule, source, source_is_not_local,
};

use SetDirection::{Destination, Source};

const DST: &[SetDirection] = &[Destination];
const DST_DST: &[SetDirection] = &[Destination, Destination];
const DST_DST_SRC: &[SetDirection] = &[Destination, Destination, Source];
const SRC_DST: &[SetDirection] = &[Source, Destination];

/// What a rule of a set leads to.
type Row<'c> = (
    KubeSet,
    &'c ChainName,
    Target,
    &'static [SetDirection],
    Option<Protocol>,
);

impl IpvsProxier<'_> {
    /// The rules of nat and of filter, in the order of writing.
    pub(super) fn rules(&self, ports: &ProgrammedPorts<'_>) -> (Vec<Placed>, Vec<Placed>) {
        let mut nat = Writer::new(self, ports);
        nat.return_localhost();
        nat.rows(&self.nat_rows());
        nat.cluster_ips();
        nat.external_ips();
        nat.services();
        let mut nat = nat.rules;
        nat.extend(masquerading(
            &self.settings,
            &self.chains.postrouting,
            &self.chains.mark_masq,
            self.services.base_origin,
        ));

        let mut filter = Writer::new(self, ports);
        filter.rows(&self.filter_rows());
        filter.put(
            &self.chains.source_ranges_firewall,
            Vec::new(),
            Target::Drop,
        );
        filter.shut_addresses();
        filter.rules.extend(forwarding(
            &self.settings,
            &self.chains.forward,
            self.services.base_origin,
        ));
        filter.node_access();
        (nat, filter.rules)
    }

    /// `ipsetWithIptablesChain`, as far as it is of nat: a rule for each set that has entries.
    fn nat_rows(&self) -> [Row<'_>; 9] {
        let chains = &self.chains;
        let mark = || Target::Jump(chains.mark_masq.clone());
        let masquerade = Target::Masquerade(NatRange::default());
        let balancer = Target::Jump(chains.load_balancer.clone());
        let node_port =
            |set, target, protocol| (set, &chains.node_port, target, DST, Some(protocol));
        let sctp = |set, target| {
            let protocol = Some(Protocol::SCTP);
            (set, &chains.node_port, target, DST_DST, protocol)
        };
        let (tcp, udp) = (Protocol::TCP, Protocol::UDP);
        [
            (
                KubeSet::LoopBack,
                &chains.postrouting,
                masquerade,
                DST_DST_SRC,
                None,
            ),
            (
                KubeSet::LoadBalancer,
                &chains.services,
                balancer,
                DST_DST,
                None,
            ),
            (
                KubeSet::LoadBalancerLocal,
                &chains.load_balancer,
                Target::Return,
                DST_DST,
                None,
            ),
            node_port(KubeSet::NodePortLocalTcp, Target::Return, tcp),
            node_port(KubeSet::NodePortTcp, mark(), tcp),
            node_port(KubeSet::NodePortLocalUdp, Target::Return, udp),
            node_port(KubeSet::NodePortUdp, mark(), udp),
            sctp(KubeSet::NodePortLocalSctp, Target::Return),
            sctp(KubeSet::NodePortSctp, mark()),
        ]
    }

    /// The rest of it, of filter.
    fn filter_rows(&self) -> [Row<'_>; 3] {
        let chains = &self.chains;
        let ranges = &chains.source_ranges_firewall;
        let check = Target::Jump(ranges.clone());
        let firewall = &chains.proxy_firewall;
        [
            (KubeSet::LoadBalancerFw, firewall, check, DST_DST, None),
            (
                KubeSet::LoadBalancerSourceCidr,
                ranges,
                Target::Return,
                DST_DST_SRC,
                None,
            ),
            (
                KubeSet::LoadBalancerSourceIp,
                ranges,
                Target::Return,
                DST_DST_SRC,
                None,
            ),
        ]
    }
}

/// Appends rules to a table.
struct Writer<'w> {
    proxier: &'w IpvsProxier<'w>,
    ports: &'w ProgrammedPorts<'w>,
    rules: Vec<Placed>,
}

impl<'w> Writer<'w> {
    const fn new(proxier: &'w IpvsProxier<'_>, ports: &'w ProgrammedPorts<'_>) -> Self {
        Self {
            proxier,
            ports,
            rules: Vec::new(),
        }
    }

    fn put(&mut self, chain: &ChainName, matches: Vec<Match>, target: Target) {
        let origin = self.proxier.services.base_origin;
        self.put_of(origin, chain, matches, target);
    }

    fn put_of(&mut self, origin: Origin, chain: &ChainName, matches: Vec<Match>, target: Target) {
        let mut rule = rule(matches, target, origin);
        // Of addresses these rules hold only prefixes, which are written with their length.
        rule.host_lengths = true;
        self.rules.push(Placed {
            chain: chain.clone(),
            rule,
        });
    }

    fn in_set(&self, set: KubeSet, directions: &[SetDirection]) -> Match {
        Match::Set(Inv::is(SetMatch {
            name: set.name(self.proxier.services.family()).into(),
            directions: directions.to_vec(),
            options: Box::default(),
        }))
    }

    /// The comment of a set, and the question whether the packet is in it.
    fn named(&self, set: KubeSet, directions: &[SetDirection]) -> Vec<Match> {
        vec![comment(set.comment()), self.in_set(set, directions)]
    }

    fn rows(&mut self, rows: &[Row<'_>]) {
        for (set, chain, target, directions, protocol) in rows {
            if self.ports.sets.is_empty(*set) {
                continue;
            }
            let protocol = protocol.map(|protocol| Match::Protocol(Inv::is(protocol)));
            let matches = protocol.into_iter().chain(self.named(*set, directions));
            self.put(chain, matches.collect(), target.clone());
        }
    }

    /// Connections to localhost are not for Services.
    fn return_localhost(&mut self) {
        let localhost = match self.proxier.services.family() {
            Family::Ipv4 => Prefix::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8),
            Family::Ipv6 => Prefix::host(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        };
        let chain = &self.proxier.chains.services;
        self.put(chain, vec![source(localhost)], Target::Return);
    }

    /// Masquerades what is not a pod's own way to a ClusterIP.
    fn cluster_ips(&mut self) {
        if self.ports.sets.is_empty(KubeSet::ClusterIp) {
            return;
        }
        let settings = &self.proxier.settings;
        let matches = match &settings.local_detector {
            Some(detector) if !settings.masquerade_all => {
                let mut matches = self.named(KubeSet::ClusterIp, DST_DST);
                matches.push(detector.if_not_local());
                matches
            }
            // What the node sends to a ClusterIP may come from one: `kube-ipvs0` has them.
            None if !settings.masquerade_all => self.named(KubeSet::ClusterIp, SRC_DST),
            Some(_) | None => self.named(KubeSet::ClusterIp, DST_DST),
        };
        let chains = &self.proxier.chains;
        let mark = Target::Jump(chains.mark_masq.clone());
        self.put(&chains.services, matches, mark);
    }

    fn external_ips(&mut self) {
        let chains = &self.proxier.chains;
        for set in [KubeSet::ExternalIp, KubeSet::ExternalIpLocal] {
            if self.ports.sets.is_empty(set) {
                continue;
            }
            let matches = self.named(set, DST_DST);
            if set == KubeSet::ExternalIp {
                let mark = Target::Jump(chains.mark_masq.clone());
                self.put(&chains.services, matches.clone(), mark);
            }
            // What comes from another machine: neither from a bridge nor from here.
            let mut foreign = matches.clone();
            foreign.push(Match::Physdev(PhysdevMatch {
                is_in: Some(false),
                ..PhysdevMatch::default()
            }));
            foreign.push(source_is_not_local());
            self.put(&chains.services, foreign, Target::Accept);
            let mut to_node = matches;
            to_node.push(destination_is_local());
            self.put(&chains.services, to_node, Target::Accept);
        }
    }

    /// Node ports; and what is for a virtual server is let through (`acceptIPVSTraffic`).
    fn services(&mut self) {
        let chains = &self.proxier.chains;
        let node_port = Target::Jump(chains.node_port.clone());
        self.put(&chains.services, vec![destination_is_local()], node_port);
        let mark = Target::Jump(chains.mark_masq.clone());
        self.put(&chains.load_balancer, Vec::new(), mark);
        for set in [KubeSet::ClusterIp, KubeSet::LoadBalancer] {
            if !self.ports.sets.is_empty(set) {
                let matches = vec![self.in_set(set, DST_DST)];
                self.put(&chains.services, matches, Target::Accept);
            }
        }
    }

    /// Load balancer addresses whose source ranges do not hold the node.
    fn shut_addresses(&mut self) {
        for &(ip, port) in &self.ports.shut {
            let virtual_server = IpvsMatch {
                address: Some(Inv::is(AddressMatch::Prefix(Prefix::host(ip)))),
                protocol: Some(Inv::is(port.l4.protocol())),
                port: Some(Inv::is(port.port)),
                ..IpvsMatch::default()
            };
            let matches = vec![
                source(Prefix::host(ip)),
                Match::Ipvs(Box::new(virtual_server)),
            ];
            let chain = &self.proxier.chains.ipvs_out_filter;
            self.put_of(port.origin, chain, matches, Target::Drop);
            if let Some(placed) = self.rules.last_mut() {
                placed.rule.host_lengths = false;
            }
        }
    }

    /// Health checks, and that no other port of the node answers under the addresses of `kube-ipvs0`.
    fn node_access(&mut self) {
        let chains = &self.proxier.chains;
        let health = self.named(KubeSet::HealthCheckNodePort, DST);
        self.put(&chains.node_port, health, Target::Accept);
        for (set, directions) in [
            (KubeSet::LoadBalancer, DST_DST),
            (KubeSet::ClusterIp, DST_DST),
            (KubeSet::ExternalIp, DST_DST),
            (KubeSet::ExternalIpLocal, DST_DST),
            (KubeSet::HealthCheckNodePort, DST),
        ] {
            let matches = vec![self.in_set(set, directions)];
            self.put(&chains.ipvs_filter, matches, Target::Return);
        }
        let matches = vec![
            ctstate(Inv::is(CtStates::NEW)),
            self.in_set(KubeSet::IpvsIps, DST),
        ];
        let reject = Target::Reject(RejectWith::PortUnreachable);
        self.put(&chains.ipvs_filter, matches, reject);
    }
}
