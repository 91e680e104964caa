//! One node twice: as podwire's namespace, and as a namespace of the real kernel made after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use podwire_cluster::Cluster;
use podwire_controlplane::cni::{CNI0, NodeNetwork, PodNetwork};
use podwire_dataplane::{
    Frame, LinkKind, Netns, NetnsState, Outcome, Payload, Surroundings, receive, send,
};
use podwire_interp::Interp;
use podwire_packet::{DeviceName, Family, Headers, MacAddr, Prefix, Protocol, SimTime, wire};
use podwire_ruleset::iptables::{Wording, print};
use podwire_ruleset::{
    AddressMatch, Choose, Hook, Inv, Match, Rule, RuleSet, State, TableName, Target,
};
use podwire_sim::NodeRules;
use podwire_testkit::kernel::{
    Connections, FrameSocket, Lane, LaneError, Marker, Monitor, Namespace, Numbers, PacketSocket,
    Tracked,
};

use crate::agreement::{Heard, Steps};

/// Where the packets come from that separate others in the trace (TEST-NET-1, RFC 5737).
const MARKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const CONNECTION_MARKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
/// A host beyond the router (TEST-NET-3).
pub(crate) const BEYOND: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sender {
    /// A process of the node itself.
    Host,
    /// A pod behind a port of the bridge.
    Pod(IpAddr),
    /// Somebody on the node network, or behind a router on it.
    Outside(IpAddr),
}

/// A node in podwire and in the kernel.
pub(crate) struct Lab {
    podwire: Netns<Interp>,
    around: Around,
    _namespaces: [Namespace; 3],
    host: PacketSocket,
    uplink: FrameSocket,
    pods: BTreeMap<IpAddr, (FrameSocket, MacAddr)>,
    monitor: Monitor,
    connections: Connections,
    numbers: Numbers,
}

/// The node's neighbours, in both.
#[derive(Clone, Debug, Default)]
struct Around {
    neighbors: BTreeMap<(DeviceName, IpAddr), MacAddr>,
    ports: BTreeMap<MacAddr, DeviceName>,
}

impl Surroundings for Around {
    fn resolve(&self, device: DeviceName, address: IpAddr) -> Option<MacAddr> {
        self.neighbors.get(&(device, address)).copied()
    }

    fn learned_port(&self, _: DeviceName, mac: MacAddr) -> Option<DeviceName> {
        self.ports.get(&mac).copied()
    }

    fn now(&self) -> SimTime {
        SimTime::START
    }
}

/// The IPv4 addresses of pods on a node: of Pod objects, of endpoints, and one that is no endpoint.
pub(crate) fn local_pods(cluster: &Cluster, node: &NodeNetwork) -> BTreeSet<IpAddr> {
    let Some(range) = node.pod_cidr(Family::Ipv4) else {
        return BTreeSet::new();
    };
    let of_pods = cluster
        .pods
        .values()
        .flat_map(|pod| pod.ips.iter().copied());
    let of_slices = endpoints(cluster).into_iter().map(|(ip, _, _)| ip);
    let client = range.nth(200);
    of_pods
        .chain(of_slices)
        .chain(client)
        .filter(|ip| range.contains(*ip) && Some(*ip) != range.nth(1))
        .collect()
}

/// Every endpoint of every slice: address, protocol and port.
pub(crate) fn endpoints(cluster: &Cluster) -> BTreeSet<(IpAddr, Protocol, u16)> {
    let mut all = BTreeSet::new();
    for slice in cluster.endpoint_slices.values() {
        let addresses = slice
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses);
        for ip in addresses
            .filter_map(|text| text.parse::<IpAddr>().ok())
            .filter(IpAddr::is_ipv4)
        {
            all.extend(
                slice
                    .ports
                    .iter()
                    .filter_map(|port| Some((ip, port.protocol, port.port?))),
            );
        }
    }
    all
}

impl Lab {
    /// Makes both.
    pub(crate) fn new(
        lane: Lane,
        cluster: &Cluster,
        network: &PodNetwork,
        node: &NodeNetwork,
        rules: &NodeRules,
    ) -> Result<Self, LaneError> {
        let local = local_pods(cluster, node);
        let mut podwire: Netns<Interp> = network.host(node, local.iter().copied());
        podwire.sysctls.route_localnet = rules.route_localnet;
        let traced = with_trace(rules.ipv4.rules().clone());
        let text = print(&traced, Wording::Save);
        podwire.ipv4_rules = Some(
            Interp::new(traced)
                .expect("two more rules without jumps")
                .into(),
        );

        let around = around(network, node, &local);
        let kernel = Namespace::new(lane)?;
        let (outside, in_pods) = (Namespace::new(lane)?, Namespace::new(lane)?);
        configure(&kernel, [&outside, &in_pods], &podwire, &around)?;
        kernel.run(&["iptables-nft-restore"], &text)?;

        let nic = podwire
            .links
            .values()
            .find(|link| link.kind == LinkKind::Nic)
            .expect("a node has a card");
        let address = node
            .internal_ip(Family::Ipv4)
            .expect("a node has an address");
        let gateway = around
            .neighbors
            .keys()
            .find(|(device, ip)| *device == nic.name && *ip != address);
        let (_, beside) = *gateway.expect("a node has somebody beside it");
        let uplink = || outside.frames(nic.name.as_str());
        let marker = Marker {
            socket: uplink()?,
            mac: nic.mac,
            from: MARKER,
            to: address,
        };
        let pods = local.iter().map(|&ip| {
            let socket = in_pods.frames(PodNetwork::port_name(node, ip).as_str())?;
            Ok((ip, (socket, around.neighbors[&(CNI0, ip)])))
        });
        Ok(Self {
            host: kernel.packets()?,
            pods: pods.collect::<Result<_, LaneError>>()?,
            numbers: Numbers::of(&kernel)?,
            monitor: Monitor::start(&kernel, marker)?,
            connections: Connections::start(
                &kernel,
                uplink()?,
                nic.mac,
                CONNECTION_MARKER,
                beside,
            )?,
            uplink: uplink()?,
            podwire,
            around,
            _namespaces: [kernel, outside, in_pods],
        })
    }

    pub(crate) fn rules(&self) -> &RuleSet {
        self.podwire
            .ipv4_rules
            .as_ref()
            .expect("set by new")
            .rules()
    }

    /// Rules that the kernel has.
    pub(crate) fn kernel_rules(&self) -> usize {
        self.numbers.len()
    }

    /// The device that a packet comes in by, with the frame's two addresses.
    fn entry(&self, sender: Sender, dst: IpAddr) -> Option<(DeviceName, MacAddr, MacAddr)> {
        match sender {
            Sender::Host => None,
            Sender::Pod(ip) => {
                let (_, mac) = self.pods.get(&ip)?;
                // A pod asks for the address itself if it is in its own range, else for its gateway.
                let to = self.around.neighbors.get(&(CNI0, dst)).copied();
                Some((
                    self.around.ports[mac],
                    *mac,
                    to.unwrap_or(self.podwire.links[&CNI0].mac),
                ))
            }
            Sender::Outside(_) => {
                let nic = self
                    .podwire
                    .links
                    .values()
                    .find(|link| link.kind == LinkKind::Nic)?;
                Some((nic.name, MacAddr([2, 0, 0, 0, 0, 9]), nic.mac))
            }
        }
    }

    /// Sends a packet through podwire; what it did there, as the kernel would tell it.
    pub(crate) fn in_podwire(
        &self,
        sender: Sender,
        headers: Headers,
        memory: &State,
        choose: &mut dyn Choose,
    ) -> Steps {
        let mut events = Vec::new();
        let mut state = NetnsState {
            ipv4: memory.clone(),
            ..NetnsState::default()
        };
        let choose = &mut &mut *choose;
        let outcome: Outcome = match self.entry(sender, headers.dst) {
            None => send(
                &self.podwire,
                &mut state,
                &self.around,
                headers,
                choose,
                &mut events,
            ),
            Some((device, src, dst)) => {
                let frame = Frame {
                    src,
                    dst,
                    headers,
                    payload: Payload::Data,
                };
                receive(
                    &self.podwire,
                    &mut state,
                    &self.around,
                    device,
                    frame,
                    choose,
                    &mut events,
                )
            }
        };
        Steps::of_podwire(self.rules(), &events, &state, &outcome)
    }

    /// Sends the same packet through the kernel; what it told while it did.
    pub(crate) fn in_kernel(
        &mut self,
        sender: Sender,
        headers: Headers,
    ) -> Result<Heard, LaneError> {
        match self.entry(sender, headers.dst) {
            None => self.host.send(&wire::packet(&headers), headers.dst)?,
            Some((_, src, dst)) => {
                let frame = wire::frame(src, dst, &headers);
                match sender {
                    Sender::Pod(ip) => self.pods[&ip].0.send(&frame)?,
                    Sender::Host | Sender::Outside(_) => self.uplink.send(&frame)?,
                }
            }
        }
        Ok(Heard {
            lines: self.monitor.since_last()?,
        })
    }

    /// What the kernel entered into its table of connections since the last call, and what its rules
    /// are numbered.
    pub(crate) fn finish(&mut self) -> Result<(Vec<Tracked>, Numbers), LaneError> {
        Ok((self.connections.since_last()?, self.numbers.clone()))
    }
}

/// The rules, with a trace of every packet, and the end of every marker, before them.
fn with_trace(mut rules: RuleSet) -> RuleSet {
    let raw = rules.table_mut(TableName::Raw);
    let from_marker = Match::Source(Inv::is(AddressMatch::Prefix(Prefix::host(MARKER))));
    raw.chain_mut(&Hook::Prerouting.into()).rules = vec![
        Rule::to(Target::Trace),
        Rule::to(Target::Drop).when(from_marker),
    ];
    raw.chain_mut(&Hook::Output.into()).rules = vec![Rule::to(Target::Trace)];
    rules
}

/// Everybody beside the node: its pods, the other nodes, the router, a client.
fn around(network: &PodNetwork, node: &NodeNetwork, local: &BTreeSet<IpAddr>) -> Around {
    let mut around = Around::default();
    for &ip in local {
        let pod: Netns<Interp> = network.pod(node, &[ip]);
        let mac = pod.links[&DeviceName::ETH0].mac;
        around.neighbors.insert((CNI0, ip), mac);
        around.ports.insert(mac, PodNetwork::port_name(node, ip));
    }
    for nic in &node.nics {
        let beside = network
            .nodes()
            .iter()
            .filter(|other| other.name != node.name);
        let addresses = beside
            .flat_map(|other| other.internal_ips.iter().copied())
            .chain(nic.gateway);
        for ip in addresses.chain(outside_client(node)) {
            if let IpAddr::V4(v4) = ip
                && nic.networks().any(|range| range.contains(ip))
            {
                around
                    .neighbors
                    .insert((nic.name, ip), MacAddr::of_docker(v4));
            }
        }
    }
    around
}

/// A host on the node network that is neither a node nor the router.
pub(crate) fn outside_client(node: &NodeNetwork) -> Option<IpAddr> {
    let nic = node.nic_of(node.internal_ip(Family::Ipv4)?)?;
    let network = nic
        .networks()
        .find(|network| network.family() == Family::Ipv4)?;
    network.nth(199)
}

/// Makes the kernel's namespace as podwire's: `[outside, pods]` hold the other ends of the wires.
fn configure(
    kernel: &Namespace,
    [outside, pods]: [&Namespace; 2],
    podwire: &Netns<Interp>,
    around: &Around,
) -> Result<(), LaneError> {
    let flag = |on: bool| if on { "1" } else { "0" };
    let sysctls = podwire.sysctls;
    kernel.sysctl("net.ipv4.ip_forward", flag(sysctls.ip_forward))?;
    kernel.sysctl(
        "net.bridge.bridge-nf-call-iptables",
        flag(sysctls.bridge_nf_call_iptables),
    )?;
    for of in ["all", "default"] {
        kernel.sysctl(
            &format!("net.ipv4.conf.{of}.rp_filter"),
            &sysctls.rp_filter.to_string(),
        )?;
        kernel.sysctl(
            &format!("net.ipv4.conf.{of}.route_localnet"),
            flag(sysctls.route_localnet),
        )?;
        // Nobody listens to advice about routes here.
        kernel.sysctl(&format!("net.ipv4.conf.{of}.send_redirects"), "0")?;
    }
    let (mut ip, mut far) = (
        String::from("link set lo up\n"),
        [String::new(), String::new()],
    );
    for link in podwire.links.values() {
        let (name, mac) = (link.name, link.mac);
        let peer = match link.kind {
            LinkKind::Loopback => continue,
            LinkKind::Bridge => {
                line(
                    &mut ip,
                    format_args!("link add {name} address {mac} type bridge mcast_snooping 0"),
                );
                None
            }
            LinkKind::Nic => Some((0, outside)),
            LinkKind::Veth | LinkKind::Vxlan(_) | LinkKind::Dummy => Some((1, pods)),
        };
        if let Some((at, namespace)) = peer {
            let path = namespace.path();
            line(
                &mut ip,
                format_args!(
                    "link add {name} address {mac} type veth peer name {name} netns {path}"
                ),
            );
            line(&mut far[at], format_args!("link set {name} up"));
        }
        if let Some(port) = link.port_of {
            let hairpin = if port.hairpin { "on" } else { "off" };
            line(
                &mut ip,
                format_args!("link set {name} master {}", port.bridge),
            );
            line(
                &mut ip,
                format_args!("link set {name} type bridge_slave hairpin {hairpin}"),
            );
        }
        for (address, length) in link.addresses_of(Family::Ipv4) {
            line(
                &mut ip,
                format_args!("address add {address}/{length} dev {name}"),
            );
        }
        line(&mut ip, format_args!("link set {name} up"));
    }
    for route in podwire
        .fib
        .routes()
        .filter(|route| route.to.family() == Family::Ipv4)
    {
        if let Some(via) = route.via {
            line(
                &mut ip,
                format_args!("route add {} via {via} dev {}", route.to, route.device),
            );
        }
    }
    for ((device, address), mac) in &around.neighbors {
        line(
            &mut ip,
            format_args!("neighbor replace {address} lladdr {mac} dev {device} nud permanent"),
        );
    }
    kernel.ip(&ip)?;
    outside.ip(&far[0])?;
    pods.ip(&far[1])?;
    let mut fdb = String::new();
    for (mac, port) in &around.ports {
        line(
            &mut fdb,
            format_args!("fdb replace {mac} dev {port} master static"),
        );
    }
    kernel.run(&["bridge", "-batch", "-"], &fdb).map(drop)
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("a string takes everything");
}
