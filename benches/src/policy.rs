//! Made-up policies: one chain as an access list has it, and packets for it.
//!
//! After ClassBench (Taylor, Turner: ClassBench: A Packet Classification Benchmark, INFOCOM 2005): prefixes
//! come from a tree of networks and so nest, ports are of its five classes (any, 0:1023, 1024:65535, one
//! port, some range), and headers are aimed at corners of rules. The shares are set here and not read
//! from a seed file of ClassBench: rules are like its access lists, not equal to one.
//!
//! A [`Policy`] is boxes in the space of five header fields and so a question for every classifier;
//! [`Policy::unfavourable`] is not: no two of its rules ask the same thing about the same field, and none
//! asks about an address.
//!
//! Everything follows from a seed: the same numbers on every machine.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use podwire_packet::{DeviceName, Headers, Mark, Protocol, SimTime};
use podwire_ruleset::{
    Choose as _, ConntrackInfo, CtState, Draw, Hook, HostAddresses, Packet, RejectWith, Verdict,
};

/// Networks in a tree of prefixes, below its roots.
const NETWORKS: u32 = 400;

/// Prefixes of length 8 that a tree begins with.
const ROOTS: u32 = 8;

const ALL_PORTS: RangeInclusive<u16> = 0..=u16::MAX;

/// An IPv4 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Net {
    /// Its first address, in host order.
    pub first: u32,
    /// Its length in bits, 0 to 32.
    pub len: u8,
}

impl Net {
    /// Every address.
    pub const ANY: Self = Self { first: 0, len: 0 };

    /// The prefix of that length that holds the address.
    #[must_use]
    pub fn around(address: u32, len: u8) -> Self {
        let first = address & !Self::host_bits(len);
        Self { first, len }
    }

    /// Its last address.
    #[must_use]
    pub fn last(self) -> u32 {
        self.first | Self::host_bits(self.len)
    }

    /// Whether it holds the address.
    #[must_use]
    pub fn contains(self, address: u32) -> bool {
        address & !Self::host_bits(self.len) == self.first
    }

    fn host_bits(len: u8) -> u32 {
        u32::MAX.checked_shr(u32::from(len)).unwrap_or(0)
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.len)
    }
}

/// What a rule asks beside the five fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extra {
    /// `-m mark`.
    Mark(u32),
    /// `-m multiport --dports`.
    Ports(Vec<u16>),
    /// `-m physdev --physdev-in`.
    BridgePort(DeviceName),
}

/// A rule of a policy: a box in the space of five header fields, and what becomes of packets in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Source addresses.
    pub src: Net,
    /// Destination addresses.
    pub dst: Net,
    /// The protocol; `None` is any, and then ports are not tested.
    pub protocol: Option<Protocol>,
    /// Source ports; all of them unless the protocol is TCP or UDP.
    pub sport: RangeInclusive<u16>,
    /// Destination ports, likewise.
    pub dport: RangeInclusive<u16>,
    /// A further test, in an unfavourable policy.
    pub extra: Option<Extra>,
    /// What becomes of the packet.
    pub verdict: Verdict,
}

impl Rule {
    fn any(verdict: Verdict) -> Self {
        Self {
            src: Net::ANY,
            dst: Net::ANY,
            protocol: None,
            sport: ALL_PORTS,
            dport: ALL_PORTS,
            extra: None,
            verdict,
        }
    }

    /// Whether the packet is in the box and passes the further test.
    #[must_use]
    pub fn holds(&self, packet: &Flow) -> bool {
        self.src.contains(packet.src)
            && self.dst.contains(packet.dst)
            && self.protocol.is_none_or(|own| own == packet.protocol)
            && self.sport.contains(&packet.sport)
            && self.dport.contains(&packet.dport)
            && match &self.extra {
                None => true,
                Some(Extra::Mark(mark)) => *mark == packet.mark,
                Some(Extra::Ports(ports)) => ports.contains(&packet.dport),
                Some(Extra::BridgePort(name)) => Some(*name) == packet.bridge_port,
            }
    }

    /// How much it covers, in bits of the five fields: narrow rules stand before wide ones, mostly.
    fn width(&self) -> u32 {
        let ports = |range: &RangeInclusive<u16>| (range.end() - range.start()).checked_ilog2();
        u32::from(64 - self.src.len - self.dst.len)
            + ports(&self.sport).unwrap_or(0)
            + ports(&self.dport).unwrap_or(0)
            + if self.protocol.is_none() { 8 } else { 0 }
    }
}

impl fmt::Display for Rule {
    /// As a line of `iptables-save`, in chain FORWARD.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("-A FORWARD")?;
        for (option, net) in [("-s", self.src), ("-d", self.dst)] {
            if net != Net::ANY {
                write!(f, " {option} {net}")?;
            }
        }
        if let Some(protocol) = self.protocol {
            write!(f, " -p {protocol}")?;
            if (&self.sport, &self.dport) != (&ALL_PORTS, &ALL_PORTS) {
                write!(f, " -m {protocol}")?;
            }
        }
        for (option, ports) in [("--sport", &self.sport), ("--dport", &self.dport)] {
            match (ports.start(), ports.end()) {
                (0, &u16::MAX) => {}
                (first, last) if first == last => write!(f, " {option} {first}")?,
                (first, last) => write!(f, " {option} {first}:{last}")?,
            }
        }
        match &self.extra {
            None => {}
            Some(Extra::Mark(mark)) => write!(f, " -m mark --mark {mark:#x}")?,
            Some(Extra::Ports(ports)) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                write!(f, " -m multiport --dports {}", ports.join(","))?;
            }
            Some(Extra::BridgePort(name)) => write!(f, " -m physdev --physdev-in {name}")?,
        }
        f.write_str(match self.verdict {
            Verdict::Accept => " -j ACCEPT",
            Verdict::Drop => " -j DROP",
            Verdict::Reject(_) => " -j REJECT --reject-with icmp-port-unreachable",
        })
    }
}

/// The fields of a packet that a policy asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address, in host order.
    pub src: u32,
    /// Destination address, in host order.
    pub dst: u32,
    /// Source port; 0 where the protocol has none.
    pub sport: u16,
    /// Destination port; 0 where the protocol has none.
    pub dport: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Mark.
    pub mark: u32,
    /// Port of a bridge that it came in by.
    pub bridge_port: Option<DeviceName>,
}

impl Flow {
    /// As a packet on its way from one device to another.
    #[must_use]
    pub fn packet(self, hook: Hook, host: &HostAddresses) -> Packet<'_> {
        Packet {
            headers: Headers::first_of_flow(
                Ipv4Addr::from(self.src).into(),
                Ipv4Addr::from(self.dst).into(),
                self.protocol,
                self.sport,
                self.dport,
            ),
            mark: Mark(self.mark),
            hook,
            input: Some(DeviceName::ETH0),
            output: Some(DeviceName::ETH0),
            physdev_in: self.bridge_port,
            physdev_out: None,
            conntrack: ConntrackInfo::of_state(CtState::New),
            host,
            now: SimTime::START,
        }
    }

    fn random(draw: &mut Draw) -> Self {
        let protocols = [
            Protocol::TCP,
            Protocol::TCP,
            Protocol::UDP,
            Protocol::UDP,
            Protocol::ICMP,
            Protocol(47),
        ];
        Self {
            src: address(draw),
            dst: address(draw),
            sport: port(draw, &ALL_PORTS),
            dport: port(draw, &ALL_PORTS),
            protocol: *pick(draw, &protocols),
            mark: 0,
            bridge_port: None,
        }
        .with_ports_of_protocol()
    }

    /// A packet in the rule's box; in a corner of it, or anywhere in it, each as often.
    fn aimed_at(rule: &Rule, draw: &mut Draw) -> Self {
        let corner = draw.one_of(2) == 0;
        let mut net = |net: Net| match (corner, draw.one_of(2)) {
            (true, 0) => net.first,
            (true, _) => net.last(),
            (false, _) => net.first | (address(draw) & Net::host_bits(net.len)),
        };
        let (src, dst) = (net(rule.src), net(rule.dst));
        let mut ports = |ports: &RangeInclusive<u16>| match (corner, draw.one_of(2)) {
            (true, 0) => *ports.start(),
            (true, _) => *ports.end(),
            (false, _) => port(draw, ports),
        };
        let (sport, dport) = (ports(&rule.sport), ports(&rule.dport));
        let mut flow = Self {
            src,
            dst,
            sport,
            dport,
            protocol: rule.protocol.unwrap_or(Protocol::TCP),
            mark: 0,
            bridge_port: None,
        };
        match &rule.extra {
            None => {}
            Some(Extra::Mark(mark)) => flow.mark = *mark,
            Some(Extra::Ports(ports)) => flow.dport = *pick(draw, ports),
            Some(Extra::BridgePort(name)) => flow.bridge_port = Some(*name),
        }
        flow.with_ports_of_protocol()
    }

    fn with_ports_of_protocol(mut self) -> Self {
        if !self.protocol.has_ports() {
            (self.sport, self.dport) = (0, 0);
        }
        self
    }
}

/// One chain of rules, asked in order; a packet that none holds for is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The rules.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// So many different rules, like those of an access list.
    #[must_use]
    pub fn like_an_access_list(count: usize, seed: u64) -> Self {
        let mut draw = Draw(seed);
        let (sources, destinations) = (networks(&mut draw), networks(&mut draw));
        let mut seen = BTreeSet::new();
        let mut rules = Vec::with_capacity(count);
        while rules.len() < count {
            let rule = access_rule(&sources, &destinations, &mut draw);
            let is_all = (rule.src, rule.dst) == (Net::ANY, Net::ANY) && rule.protocol.is_none();
            let key = (
                (rule.src, rule.dst, rule.protocol),
                (*rule.sport.start(), *rule.sport.end()),
                (*rule.dport.start(), *rule.dport.end()),
            );
            if !is_all && seen.insert(key) {
                // Not by width alone: else no rule would be overlapped by a wider one before it.
                rules.push((rule.width() + draw.one_of(16), rule));
            }
        }
        rules.sort_by_key(|(place, _)| *place);
        Self {
            rules: rules.into_iter().map(|(_, rule)| rule).collect(),
        }
    }

    /// So many rules that each ask something of their own: a mark, a pair of ports, or a bridge port.
    #[must_use]
    pub fn unfavourable(count: u32, seed: u64) -> Self {
        let mut draw = Draw(seed);
        let verdicts = [Verdict::Drop, Verdict::Reject(RejectWith::PortUnreachable)];
        let rule = |number: u32| {
            let mut rule = Rule::any(*pick(&mut draw, &verdicts));
            rule.extra = Some(match number % 3 {
                0 => Extra::Mark(number + 1),
                1 => {
                    rule.protocol = Some(Protocol::TCP);
                    let ports = 32_768..=u16::MAX;
                    Extra::Ports((0..2).map(|_| port(&mut draw, &ports)).collect())
                }
                _ => {
                    let name = format!("veth{number}").parse();
                    Extra::BridgePort(name.expect("a device's name"))
                }
            });
            rule
        };
        Self {
            rules: (0..count).map(rule).collect(),
        }
    }

    /// Packets: every second one is aimed at a rule, the others are random.
    #[must_use]
    pub fn packets(&self, count: usize, seed: u64) -> Vec<Flow> {
        let mut draw = Draw(seed);
        (0..count)
            .map(|number| match number % 2 {
                0 => Flow::aimed_at(pick(&mut draw, &self.rules), &mut draw),
                _ => Flow::random(&mut draw),
            })
            .collect()
    }

    /// The number of the first rule that holds for the packet, from 1; 0 if none does.
    #[must_use]
    pub fn first_match(&self, packet: &Flow) -> u32 {
        let place = self.rules.iter().position(|rule| rule.holds(packet));
        place.map_or(0, |place| u32::try_from(place + 1).expect("below 2^32"))
    }

    /// As `iptables-save` prints table filter.
    #[must_use]
    pub fn iptables_save(&self) -> String {
        let mut text = String::from("*filter\n");
        for chain in ["INPUT", "FORWARD", "OUTPUT"] {
            writeln!(text, ":{chain} ACCEPT [0:0]").expect("a string takes all");
        }
        for rule in &self.rules {
            writeln!(text, "{rule}").expect("a string takes all");
        }
        text + "COMMIT\n"
    }
}

/// A tree of networks: each but the roots is a part of one before it, 1 to 8 bits longer.
fn networks(draw: &mut Draw) -> Vec<Net> {
    let root = |draw: &mut Draw| Net::around((1 + draw.one_of(222)) << 24, 8);
    let mut tree: Vec<Net> = (0..ROOTS).map(|_| root(draw)).collect();
    for _ in 0..NETWORKS {
        let parent = *pick(draw, &tree);
        let longer = parent.len + 1 + number_below(draw, 8);
        let below = address(draw) & Net::host_bits(parent.len);
        tree.push(Net::around(parent.first | below, longer.min(32)));
    }
    tree
}

fn access_rule(sources: &[Net], destinations: &[Net], draw: &mut Draw) -> Rule {
    // Shares of: any address, a network of the tree, one host in such a network.
    let net = |tree: &[Net], shares: &[u32; 3], draw: &mut Draw| {
        let own = *pick(draw, tree);
        match class(draw, shares) {
            0 => Net::ANY,
            1 => own,
            _ => Net::around(own.first | (address(draw) & Net::host_bits(own.len)), 32),
        }
    };
    let verdicts = [
        Verdict::Accept,
        Verdict::Drop,
        Verdict::Reject(RejectWith::PortUnreachable),
    ];
    let mut rule = Rule::any(verdicts[class(draw, &[60, 25, 15])]);
    rule.src = net(sources, &[20, 55, 25], draw);
    rule.dst = net(destinations, &[10, 50, 40], draw);
    rule.protocol = match class(draw, &[55, 25, 5, 15]) {
        0 => Some(Protocol::TCP),
        1 => Some(Protocol::UDP),
        2 => Some(Protocol::ICMP),
        _ => None,
    };
    if rule.protocol.is_some_and(Protocol::has_ports) {
        rule.sport = ports(&[85, 1, 9, 2, 3], draw);
        rule.dport = ports(&[15, 5, 10, 50, 20], draw);
    }
    rule
}

/// Ports of one of ClassBench's classes: any, low, high, one well-known port, some range.
fn ports(shares: &[u32; 5], draw: &mut Draw) -> RangeInclusive<u16> {
    const WELL_KNOWN: [u16; 24] = [
        20, 21, 22, 23, 25, 53, 67, 80, 88, 110, 111, 123, 135, 139, 143, 161, 389, 443, 445, 514,
        993, 3306, 5432, 8080,
    ];
    match class(draw, shares) {
        0 => ALL_PORTS,
        1 => 0..=1023,
        2 => 1024..=u16::MAX,
        3 => {
            let port = *pick(draw, &WELL_KNOWN);
            port..=port
        }
        _ => {
            let first = port(draw, &(1..=60_000));
            let wide = 1 << (1 + draw.one_of(12));
            first..=first.saturating_add(port(draw, &(1..=wide)))
        }
    }
}

/// A class by shares that sum to 100.
fn class(draw: &mut Draw, shares: &[u32]) -> usize {
    let mut left = draw.one_of(100);
    for (class, share) in shares.iter().enumerate() {
        match left.checked_sub(*share) {
            Some(rest) => left = rest,
            None => return class,
        }
    }
    shares.len() - 1
}

fn pick<'a, T>(draw: &mut Draw, from: &'a [T]) -> &'a T {
    let count = u32::try_from(from.len()).expect("below 2^32");
    &from[draw.one_of(count) as usize]
}

fn number_below(draw: &mut Draw, end: u8) -> u8 {
    u8::try_from(draw.one_of(end.into())).expect("below an u8")
}

fn port(draw: &mut Draw, from: &RangeInclusive<u16>) -> u16 {
    let count = u32::from(from.end() - from.start()) + 1;
    from.start() + u16::try_from(draw.one_of(count)).expect("within the range")
}

fn address(draw: &mut Draw) -> u32 {
    u32::try_from(draw.next() >> 32).expect("32 bits are left")
}

#[cfg(test)]
mod tests;
