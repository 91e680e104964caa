//! One node twice: as podwire's namespace, and as a namespace of the real kernel made after it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use podwire_controlplane::cni::{NodeNetwork, PodNetwork};
use podwire_dataplane::{Frame, LinkKind, Netns, NetnsState, Outcome, Payload, receive, send};
use podwire_interp::{Interp, NftInterp};
use podwire_packet::{DeviceName, Family, Headers, MacAddr, Prefix, wire};
use podwire_ruleset::iptables::{Wording, print};
use podwire_ruleset::{
    AddressMatch, Choose, Hook, Inv, Match, Policy, Rule, RuleSet, TableName, Target, nft,
};
use podwire_sim::NodeRules;
use podwire_testkit::kernel::{
    Connections, FrameSocket, Lane, LaneError, Marker, Monitor, Namespace, Numbers, PacketSocket,
    Tracer, Tracked,
};

use crate::agreement::{Heard, Steps};
use crate::wiring::{Around, configure};

/// Where the packets come from that separate others in the trace (TEST-NET-1, RFC 5737).
pub(crate) const MARKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const CONNECTION_MARKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
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

/// A node and where its pods are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) network: &'a PodNetwork,
    pub(crate) node: &'a NodeNetwork,
    /// Addresses of its pods.
    pub(crate) pods: &'a BTreeSet<IpAddr>,
}

/// Rules, and the text of them that the kernel gets.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) interp: Interp,
    /// For `iptables-restore`; none for none.
    pub(crate) iptables: String,
    /// For `nft -f`; none for none.
    pub(crate) nft: String,
    /// The sets that iptables' rules ask about, as text; none for none.
    pub(crate) sets: &'static str,
    pub(crate) route_localnet: bool,
}

impl Rules {
    /// The rules of a node, with a trace of every packet.
    pub(crate) fn traced(rules: &NodeRules) -> Self {
        let interp = &rules.ipv4;
        let route_localnet = rules.route_localnet;
        let Some(nft) = interp.nft() else {
            let set = with_trace(interp.rules().clone());
            return Self::of_iptables(print(&set, Wording::Save), set, "", route_localnet);
        };
        let set = interp.rules().clone();
        let text = match set.rule_count() {
            0 => String::new(),
            _ => print(&set, Wording::Save),
        };
        let rules = Self::of_both(text, set, "", nft.rules().clone());
        Self {
            route_localnet,
            ..rules
        }
    }

    /// Rules of both kinds, with a trace of every packet.
    pub(crate) fn of_both(
        text: String,
        set: RuleSet,
        sets: &'static str,
        nft: nft::RuleSet,
    ) -> Self {
        let nft = with_nftrace(nft);
        let rules = Self::of_iptables(text, set, sets, false);
        let nft_text = nft::print(&nft, nft::Wording::List);
        let nft = NftInterp::new(nft, Family::Ipv4).expect("rules that the kernel takes");
        Self {
            interp: rules.interp.with_nft(nft),
            nft: nft_text,
            ..rules
        }
    }

    /// The text of all of them.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", self.iptables, self.nft)
    }

    /// Rules of iptables alone.
    pub(crate) fn of_iptables(
        text: String,
        set: RuleSet,
        sets: &'static str,
        route_localnet: bool,
    ) -> Self {
        Self {
            interp: Interp::new(set).expect("rules that the kernel takes"),
            iptables: text,
            nft: String::new(),
            sets,
            route_localnet,
        }
    }
}

/// A node in podwire and in the kernel.
pub(crate) struct Lab {
    podwire: Netns<Interp>,
    bridge: DeviceName,
    around: Around,
    _namespaces: [Namespace; 3],
    host: PacketSocket,
    uplink: FrameSocket,
    pods: BTreeMap<IpAddr, (FrameSocket, MacAddr)>,
    monitor: Monitor,
    connections: Connections,
    numbers: Numbers,
}

impl Lab {
    /// Makes both.
    pub(crate) fn new(
        lane: Lane,
        Place {
            network,
            node,
            pods,
        }: Place<'_>,
        rules: &Rules,
    ) -> Result<Self, LaneError> {
        let mut podwire: Netns<Interp> = network.host(node, pods.iter().copied());
        podwire.sysctls.route_localnet = rules.route_localnet;
        podwire.ipv4_rules = Some(rules.interp.clone().into());

        let around = Around::of(network, node, pods);
        let kernel = Namespace::new(lane)?;
        let (outside, in_pods) = (Namespace::new(lane)?, Namespace::new(lane)?);
        configure(&kernel, [&outside, &in_pods], &podwire, &around)?;
        if !rules.sets.is_empty() {
            kernel.run(&["ipset", "restore"], rules.sets)?;
        }
        if !rules.iptables.is_empty() {
            kernel.run(&["iptables-nft-restore"], &rules.iptables)?;
        }
        if !rules.nft.is_empty() {
            kernel.run(&["nft", "-f", "-"], &rules.nft)?;
        }
        let tracer = match rules.interp.nft() {
            Some(_) => Tracer::Nft,
            None => Tracer::Xtables,
        };

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
        let pods = pods.iter().map(|&ip| {
            let socket = in_pods.frames(network.port_name(node, ip).as_str())?;
            Ok((ip, (socket, around.neighbors[&(network.bridge(), ip)])))
        });
        Ok(Self {
            host: kernel.packets()?,
            pods: pods.collect::<Result<_, LaneError>>()?,
            numbers: Numbers::of(&kernel)?,
            monitor: Monitor::start(&kernel, tracer, marker)?,
            connections: Connections::start(
                &kernel,
                uplink()?,
                nic.mac,
                CONNECTION_MARKER,
                beside,
            )?,
            uplink: uplink()?,
            podwire,
            bridge: network.bridge(),
            around,
            _namespaces: [kernel, outside, in_pods],
        })
    }

    pub(crate) fn rules(&self) -> &Interp {
        self.podwire.ipv4_rules.as_ref().expect("set by new")
    }

    /// Rules that podwire has.
    pub(crate) fn podwire_rules(&self) -> usize {
        let rules = self.rules();
        let tables = rules.nft().map(|nft| nft.rules().tables.values());
        let chains = tables.into_iter().flatten().flat_map(|t| t.chains.values());
        let of_nft: usize = chains.map(|chain| chain.rules.len()).sum();
        rules.rules().rule_count() + of_nft
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
                let to = self.around.neighbors.get(&(self.bridge, dst)).copied();
                Some((
                    self.around.ports[mac],
                    *mac,
                    to.unwrap_or(self.podwire.links[&self.bridge].mac),
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
        before: &NetnsState,
        choose: &mut dyn Choose,
    ) -> Steps {
        let mut events = Vec::new();
        let mut state = before.clone();
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
        Steps::of_podwire(self.rules(), &events, before, state, &outcome)
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

    /// Who sends what comes from an address.
    pub(crate) fn sender_of(&self, address: IpAddr) -> Sender {
        if address.is_unspecified() || self.podwire.has_address(address) {
            Sender::Host
        } else if self.pods.contains_key(&address) {
            Sender::Pod(address)
        } else {
            Sender::Outside(address)
        }
    }

    /// What both said, where it is not the same, from the step on at which they part.
    pub(crate) fn disagreement(
        &self,
        sender: Sender,
        headers: &Headers,
        told: &Steps,
        said: &[Steps],
    ) -> String {
        let common = |said: &Steps| {
            let pairs = said.steps.iter().zip(&told.steps);
            pairs.take_while(|(one, other)| one == other).count()
        };
        let nearest = said
            .iter()
            .max_by_key(|said| common(said))
            .expect("a way at least");
        let rules: Vec<String> = told
            .steps
            .iter()
            .chain(nearest.steps.get(common(nearest)..).unwrap_or_default())
            .filter_map(|step| Some(format!("    {step}: {}", step.rule_text(self.rules())?)))
            .collect();
        format!(
            "{sender:?} sends {headers:?}\n  kernel: {told}\n  podwire:{nearest} ({})\n{}",
            nearest.end,
            rules.join("\n")
        )
    }

    /// Rules of the kernel by their handles.
    pub(crate) const fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// What the kernel entered into its table of connections since the last call.
    pub(crate) fn connections(&mut self) -> Result<Vec<Tracked>, LaneError> {
        self.connections.since_last()
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

/// The same for nftables, in a table of its own.
fn with_nftrace(mut rules: nft::RuleSet) -> nft::RuleSet {
    let table = rules.table_mut(nft::TableFamily::Ip, &nft::Name::literal("trace"));
    let trace = || nft::Rule::of(vec![nft::Statement::Nftrace(true)]);
    let from = nft::Expression::Payload(nft::Payload::Saddr(Family::Ipv4));
    let end_marker = nft::Rule::of(vec![
        nft::Statement::is(from, nft::Span::address(MARKER)),
        nft::Statement::Verdict(nft::Verdict::Drop),
    ]);
    let chains = [
        ("prerouting", Hook::Prerouting, vec![trace(), end_marker]),
        ("output", Hook::Output, vec![trace()]),
    ];
    for (name, hook, rules) in chains {
        let chain = table.chain_mut(&nft::Name::literal(name));
        chain.base = Some(nft::BaseChain {
            kind: nft::ChainKind::Filter,
            hook,
            priority: -399,
            policy: Policy::Accept,
        });
        chain.rules = rules;
    }
    rules
}
