//! One node's rules as kube-proxy writes them, and packets whose answer is known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podwire_cluster::{
    AddressKind, Cluster, EndpointSlice, IpMode, LoadBalancerIngress, ServiceType, synthetic,
};
use podwire_controlplane::kube_proxy::{
    IptablesProxier, KubeProxyVersion, NftablesForm, NftablesProxier, ServicePorts,
};
use podwire_interp::{Interp, NftInterp};
use podwire_matcher::{Matcher, NftMatcher};
use podwire_packet::{DeviceName, Family, Headers, Mark, Prefix, Protocol, SimTime};
use podwire_ruleset::{
    Choose, Classify, ConntrackInfo, CtState, Decision, Draw, Hook, HostAddresses, NatKind, Packet,
    State, TableName, Verdict, nft,
};

/// How many packets a case has.
pub const PACKETS: usize = 64;

/// Endpoints of every Service that has any.
pub const ENDPOINTS: u32 = 3;

const FIRST_NODE_PORT: u16 = 30_000;

/// Who asks, from beyond the node.
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 77);

/// The node's address.
const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

/// What the Services of a cluster are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Type ClusterIP, IPv4.
    ClusterIp,
    /// Type ClusterIP, IPv6.
    ClusterIpV6,
    /// Type NodePort, IPv4.
    NodePort,
    /// Type LoadBalancer, IPv4, open to some source addresses; packets are for its own address.
    LoadBalancer,
    /// Type ClusterIP, IPv4, with no endpoint.
    NoEndpoints,
}

impl Kind {
    /// The family of its rules.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::ClusterIp | Self::NodePort | Self::LoadBalancer | Self::NoEndpoints => {
                Family::Ipv4
            }
            Self::ClusterIpV6 => Family::Ipv6,
        }
    }

    /// The hook and table that decide about the Service.
    #[must_use]
    pub const fn asked(self) -> (Hook, TableName) {
        match self {
            Self::ClusterIp | Self::ClusterIpV6 | Self::NodePort | Self::LoadBalancer => {
                (Hook::Prerouting, TableName::Nat)
            }
            Self::NoEndpoints => (Hook::Forward, TableName::Filter),
        }
    }

    /// Address and port of the Service with that number; there need be no such Service.
    #[must_use]
    pub fn receiver(self, service: u32) -> (IpAddr, u16) {
        let (address, port) = synthetic::cluster_ip(service);
        match self {
            Self::ClusterIp | Self::NoEndpoints => (address, port),
            Self::ClusterIpV6 => (v6_of(address), port),
            Self::NodePort => (OWN.into(), node_port(service)),
            Self::LoadBalancer => (balancer(service).into(), port),
        }
    }

    /// The first packet of a flow to it from beyond the node.
    #[must_use]
    pub fn packet(self, service: u32, host: &HostAddresses) -> Packet<'_> {
        let (dst, dport) = self.receiver(service);
        let src: IpAddr = match self.family() {
            Family::Ipv4 => CLIENT.into(),
            Family::Ipv6 => to_v6(CLIENT).into(),
        };
        Packet {
            headers: Headers::first_of_flow(src, dst, Protocol::TCP, 40_000, dport),
            mark: Mark(0),
            hook: self.asked().0,
            input: Some(DeviceName::ETH0),
            output: None,
            physdev_in: None,
            physdev_out: None,
            conntrack: ConntrackInfo::of_state(CtState::New),
            host,
            now: SimTime::START,
        }
    }

    /// A node's rules as kube-proxy writes them, in the form of `iptables-save`.
    ///
    /// # Panics
    /// As [`Node::new`].
    #[must_use]
    pub fn iptables_save(self, services: u32) -> String {
        let cluster = cluster(self, services);
        let ports = ServicePorts::new(&cluster, self.family(), KubeProxyVersion::default());
        let (name, _) = cluster.nodes.first().expect("there is a node");
        let proxier = IptablesProxier::new(&cluster, &ports, name).expect("the node's proxier");
        proxier.save_text()
    }

    /// A node's table as kube-proxy writes it in nftables mode, as commands for `nft -f`.
    ///
    /// # Panics
    /// As [`Node::new`].
    #[must_use]
    pub fn nftables(self, services: u32) -> String {
        let cluster = cluster(self, services);
        let ports = ServicePorts::new(&cluster, self.family(), KubeProxyVersion::default());
        let (name, _) = cluster.nodes.first().expect("there is a node");
        let proxier = NftablesProxier::new(&cluster, &ports, name).expect("the node's proxier");
        proxier.text(NftablesForm::Commands)
    }
}

/// A node's nftables.
#[derive(Debug)]
pub struct Tables {
    /// The reference evaluator.
    pub interp: NftInterp,
    /// The compiled one.
    pub matcher: NftMatcher,
    /// The base chain that translates at PREROUTING.
    pub chain: nft::BaseChainId,
}

impl Tables {
    /// The tables of a node of kube-proxy's text.
    ///
    /// # Panics
    /// If kube-proxy does not write such text.
    #[must_use]
    pub fn new(text: &str, family: Family) -> Self {
        let rules = nft::parse(text).expect("kube-proxy's own text").rules;
        let matcher = NftMatcher::new(&rules, family).expect("kube-proxy's rules hang together");
        let mut chains = matcher.base_chains(Hook::Prerouting).iter();
        let of_nat = chains.find(|chain| chain.is_nat);
        Self {
            chain: of_nat.expect("kube-proxy has such a chain").chain,
            interp: NftInterp::new(rules, family).expect("the matcher takes the same rules"),
            matcher,
        }
    }
}

/// Which Service the packets are for, by the order of its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// The first.
    First,
    /// The last.
    Last,
    /// One at random for each packet, from a fixed seed.
    Random,
    /// None: an address of the Service range that no Service has.
    Miss,
}

impl Case {
    /// As in the name of a benchmark.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Random => "random",
            Self::Miss => "miss",
        }
    }
}

/// A node's rules.
#[derive(Debug)]
pub struct Node {
    /// What its Services are.
    pub kind: Kind,
    /// How many there are.
    pub services: u32,
    /// The reference evaluator.
    pub interp: Interp,
    /// The compiled one.
    pub matcher: Matcher,
    /// Addresses of each Service's endpoints.
    endpoints: Vec<Vec<IpAddr>>,
    host: HostAddresses,
}

/// How many answers of each sort there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Translated to an endpoint of the Service that the packet was for.
    pub endpoint: usize,
    /// Rejected.
    pub rejected: usize,
    /// Accepted as they were.
    pub untouched: usize,
    /// Anything else: a wrong answer.
    pub wrong: usize,
}

impl Node {
    /// The node of a cluster of so many Services.
    ///
    /// # Panics
    /// If the rules cannot be made: the cluster is made here, so that is a fault of podwire.
    #[must_use]
    pub fn new(kind: Kind, services: u32) -> Self {
        let cluster = cluster(kind, services);
        let ports = ServicePorts::new(&cluster, kind.family(), KubeProxyVersion::default());
        let (name, node) = cluster.nodes.first().expect("there is a node");
        let own = node
            .addresses
            .iter()
            .map(|own| own.address.parse().expect("an address"));
        let host = HostAddresses::of(own);
        let proxier = IptablesProxier::new(&cluster, &ports, name).expect("the node's proxier");
        let interp = Interp::new(proxier.rule_set()).expect("kube-proxy's rules hang together");
        Self {
            kind,
            services,
            matcher: Matcher::new(interp.rules()).expect("interp takes the same rules"),
            interp,
            endpoints: cluster
                .endpoint_slices
                .values()
                .map(endpoint_addresses)
                .collect(),
            host,
        }
    }

    /// The packets of a case, each with the number of the Service that it is for.
    #[must_use]
    pub fn packets(&self, case: Case) -> Vec<(u32, Packet<'_>)> {
        let mut draw = Draw(1);
        let mut service = || match case {
            Case::First => 0,
            Case::Last => self.services - 1,
            Case::Random => draw.one_of(self.services),
            Case::Miss => self.services,
        };
        (0..PACKETS)
            .map(|_| service())
            .map(|service| (service, self.kind.packet(service, &self.host)))
            .collect()
    }

    /// Asks about every packet once, and counts answers by whether they are right.
    #[must_use]
    pub fn answers(&self, evaluator: &impl Classify, packets: &[(u32, Packet<'_>)]) -> Answers {
        let (state, mut draw, table) = (State::default(), Draw(1), self.kind.asked().1);
        self.counted(packets, |packet| {
            evaluator.classify(table, packet, &state, &mut draw, &mut ())
        })
    }

    /// Counts answers by whether they are right.
    pub fn counted<R, E>(
        &self,
        packets: &[(u32, Packet<'_>)],
        mut decide: impl FnMut(&Packet<'_>) -> Decision<R, E>,
    ) -> Answers {
        let mut answers = Answers::default();
        for (service, packet) in packets {
            let decision = decide(packet);
            let counter = match (decision.verdict, &decision.nat) {
                (Verdict::Accept, None) => &mut answers.untouched,
                (Verdict::Reject(_), None) => &mut answers.rejected,
                (Verdict::Accept, Some((NatKind::Dnat, range))) => match &range.addresses {
                    Some(to) if self.is_endpoint(*service, *to.start()) => &mut answers.endpoint,
                    Some(_) | None => &mut answers.wrong,
                },
                (Verdict::Accept | Verdict::Drop | Verdict::Reject(_), _) => &mut answers.wrong,
            };
            *counter += 1;
        }
        answers
    }

    /// Addresses of a Service's endpoints.
    #[must_use]
    pub fn endpoints(&self, service: u32) -> &[IpAddr] {
        let own = usize::try_from(service).ok();
        own.and_then(|number| self.endpoints.get(number))
            .map_or(&[], Vec::as_slice)
    }

    fn is_endpoint(&self, service: u32, address: IpAddr) -> bool {
        self.endpoints(service).contains(&address)
    }
}

fn endpoint_addresses(slice: &EndpointSlice) -> Vec<IpAddr> {
    let own = slice.endpoints.iter().flat_map(|own| &own.addresses);
    own.map(|own| own.parse().expect("an address")).collect()
}

fn node_port(service: u32) -> u16 {
    let offset = u16::try_from(service).expect("at most 10,000 Services");
    FIRST_NODE_PORT + offset
}

/// A load balancer's address, of a range of its own.
fn balancer(service: u32) -> Ipv4Addr {
    let range = u32::from(Ipv4Addr::new(100, 64, 1, 0));
    (range + service).into()
}

fn to_v6(address: Ipv4Addr) -> Ipv6Addr {
    let unique_local = u128::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0));
    (unique_local | u128::from(u32::from(address))).into()
}

fn v6_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => to_v6(address).into(),
        IpAddr::V6(_) => address,
    }
}

fn cluster(kind: Kind, services: u32) -> Cluster {
    let endpoints = if kind == Kind::NoEndpoints {
        0
    } else {
        ENDPOINTS
    };
    let mut cluster = synthetic::services(services, endpoints);
    match kind {
        Kind::ClusterIp | Kind::NoEndpoints => {}
        Kind::ClusterIpV6 => make_v6(&mut cluster),
        Kind::NodePort => {
            for (number, service) in (0..).zip(cluster.services.values_mut()) {
                service.kind = ServiceType::NodePort;
                for port in &mut service.ports {
                    port.node_port = node_port(number);
                }
            }
        }
        Kind::LoadBalancer => {
            for (number, service) in (0..).zip(cluster.services.values_mut()) {
                service.kind = ServiceType::LoadBalancer;
                service.load_balancer = vec![LoadBalancerIngress {
                    ip: balancer(number).to_string().into(),
                    ip_mode: IpMode::default(),
                }];
                service.load_balancer_source_ranges =
                    vec!["192.168.0.0/24".into(), "172.16.0.0/12".into()];
            }
        }
    }
    cluster
}

/// Every address of the cluster becomes that of IPv6 which ends in it.
fn make_v6(cluster: &mut Cluster) {
    let v6 = |text: &mut Box<str>| {
        let address: IpAddr = text.parse().expect("made-up clusters hold addresses");
        *text = v6_of(address).to_string().into();
    };
    for node in cluster.nodes.values_mut() {
        node.addresses
            .iter_mut()
            .for_each(|own| v6(&mut own.address));
        node.pod_cidrs
            .iter_mut()
            .for_each(|cidr| *cidr = Prefix::new(v6_of(cidr.address()), cidr.len() + 96));
    }
    for service in cluster.services.values_mut() {
        service.ip_families = vec![Family::Ipv6];
        service.cluster_ips.iter_mut().for_each(v6);
    }
    for slice in cluster.endpoint_slices.values_mut() {
        slice.address_type = AddressKind::Ipv6;
        let addresses = slice
            .endpoints
            .iter_mut()
            .flat_map(|own| &mut own.addresses);
        addresses.for_each(v6);
    }
}
