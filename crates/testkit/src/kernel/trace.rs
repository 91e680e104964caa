//! The kernel's own rule trace, as `xtables-monitor --trace` and `nft -a monitor trace` print it
//! (xtables-monitor(8), nft(8)).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use podwire_packet::{Headers, MacAddr, Protocol, wire};

use super::lines::Lines;
use super::numbers::table_label;
use super::{FrameSocket, Lane, LaneError, Namespace};

/// What a packet looked like when it came to a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketLine {
    /// The kernel's number of the packet.
    pub id: u32,
    /// Device it came in by; empty if none.
    pub input: String,
    /// Device it leaves by; empty if none.
    pub output: String,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source and destination port, of TCP and UDP.
    pub ports: Option<(u16, u16)>,
}

/// One line of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceLine {
    /// A packet came to a chain.
    Packet(PacketLine),
    /// A rule matched.
    Rule {
        /// The packet.
        id: u32,
        /// The rule's table: `nat` of iptables, `ip kube-proxy` of nftables.
        table: String,
        /// The rule's chain.
        chain: String,
        /// The kernel's number of the rule.
        handle: u64,
    },
    /// A built-in chain ended without a verdict.
    Policy {
        /// The packet.
        id: u32,
        /// The chain's table.
        table: String,
        /// The chain.
        chain: String,
    },
}

impl TraceLine {
    /// The packet that it is about.
    #[must_use]
    pub const fn id(&self) -> u32 {
        match self {
            Self::Packet(PacketLine { id, .. })
            | Self::Rule { id, .. }
            | Self::Policy { id, .. } => *id,
        }
    }

    /// Reads a line of either program; `None` for one of another kind.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim_start();
        if let Some(rest) = line.strip_prefix("trace id ") {
            return of_nft(rest);
        }
        if let Some(rest) = line.strip_prefix("PACKET: 2 ") {
            return packet(rest).map(Self::Packet);
        }
        let (id, rest) = line.strip_prefix("TRACE: 2 ")?.split_once(' ')?;
        let id = u32::from_str_radix(id, 16).ok()?;
        let mut words = rest.split_whitespace().next()?.split(':');
        let table = words.next()?.to_owned();
        let chain = words.next()?.to_owned();
        match words.next()? {
            "rule" => {
                let handle = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
                Some(Self::Rule {
                    id,
                    table,
                    chain,
                    handle,
                })
            }
            "policy" => Some(Self::Policy { id, table, chain }),
            _ => None,
        }
    }
}

/// A line of `nft -a monitor trace` behind its first words: `ID FAMILY TABLE CHAIN WHAT …`.
fn of_nft(text: &str) -> Option<TraceLine> {
    let mut words = text.split(' ');
    let id = u32::from_str_radix(words.next()?, 16).ok()?;
    let table = table_label(words.next()?, words.next()?);
    let chain = words.next()?.to_owned();
    match words.next()? {
        "packet:" => {
            let words: Vec<&str> = words.collect();
            let device = |name| {
                let at = words.iter().position(|word| *word == name)?;
                Some(words.get(at + 1)?.trim_matches('"').to_owned())
            };
            // `ip saddr 10.0.0.1`: two words for the field, one for its value.
            let field = |of: &str, name: &str| {
                let fits = |three: &&[&str]| three[0] == of && three[1] == name;
                Some(words.windows(3).find(fits)?[2])
            };
            let port = |name| {
                let of = |protocol| field(protocol, name)?.parse().ok();
                ["tcp", "udp", "sctp"].into_iter().find_map(of)
            };
            Some(TraceLine::Packet(PacketLine {
                id,
                input: device("iif").unwrap_or_default(),
                output: device("oif").unwrap_or_default(),
                src: field("ip", "saddr")?.parse().ok()?,
                dst: field("ip", "daddr")?.parse().ok()?,
                ports: port("sport").zip(port("dport")),
            }))
        }
        "rule" => {
            let (_, behind) = text.rsplit_once("# handle ")?;
            let handle = behind.split(' ').next()?.parse().ok()?;
            Some(TraceLine::Rule {
                id,
                table,
                chain,
                handle,
            })
        }
        "policy" => Some(TraceLine::Policy { id, table, chain }),
        _ => None,
    }
}

fn packet(text: &str) -> Option<PacketLine> {
    let id = text.split(' ').next()?;
    let field = |name: &str| {
        text.split(' ')
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let number = |name| field(name)?.parse().ok();
    Some(PacketLine {
        id: u32::from_str_radix(id, 16).ok()?,
        input: field("IN").unwrap_or_default().to_owned(),
        output: field("OUT").unwrap_or_default().to_owned(),
        src: field("SRC")?.parse().ok()?,
        dst: field("DST")?.parse().ok()?,
        ports: number("SPORT").zip(number("DPORT")),
    })
}

/// A packet that separates the packets of interest in the trace: UDP from an address of its own, to be
/// dropped by the first rule behind `TRACE`.
#[derive(Debug)]
pub struct Marker {
    /// Sends it.
    pub socket: FrameSocket,
    /// Ethernet address of the device that receives it.
    pub mac: MacAddr,
    /// Its source address, which no other packet has.
    pub from: IpAddr,
    /// Its destination address.
    pub to: IpAddr,
}

impl Marker {
    /// Destination port tells markers apart.
    fn send(&self, number: u16) -> Result<(), LaneError> {
        let headers = Headers::first_of_flow(self.from, self.to, Protocol::UDP, 1, number);
        self.socket
            .send(&wire::frame(MacAddr::default(), self.mac, &headers))
    }
}

/// Which program tells of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracer {
    /// `xtables-monitor --trace`: of iptables' tables.
    Xtables,
    /// `nft -a monitor trace`: of every table.
    Nft,
}

impl Tracer {
    const fn program(self) -> &'static str {
        match self {
            Self::Xtables => "xtables-monitor",
            Self::Nft => "nft",
        }
    }

    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Xtables => &["--trace"],
            Self::Nft => &["-a", "monitor", "trace"],
        }
    }
}

/// Listens to the trace of a namespace.
#[derive(Debug)]
pub struct Monitor {
    lines: Lines,
    marker: Marker,
    last: u16,
    /// Numbers of packets that are markers.
    marks: BTreeSet<u32>,
}

/// How often a marker is sent before the monitor counts as deaf.
const ATTEMPTS: usize = 1_000;

impl Monitor {
    /// Starts listening.
    ///
    /// # Errors
    /// [`LaneError`].
    pub fn start(namespace: &Namespace, tracer: Tracer, marker: Marker) -> Result<Self, LaneError> {
        let program = tracer.program();
        let lines = Lines::of(namespace, program, tracer.arguments())?;
        let mut monitor = Self {
            lines,
            marker,
            last: 0,
            marks: BTreeSet::new(),
        };
        for _ in 0..ATTEMPTS {
            monitor.mark()?;
            if monitor
                .lines
                .next_within(Duration::from_millis(10))?
                .is_some()
            {
                // It listens: what came before the next marker is of no interest.
                monitor.since_last()?;
                return Ok(monitor);
            }
        }
        Err(LaneError::Silent { program })
    }

    fn mark(&mut self) -> Result<(), LaneError> {
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.marker.send(self.last)
    }

    /// What the kernel told since the last call, markers left out. All packets sent before it are in
    /// it if they and the markers go through one processor's queue: see [`stay_on_one_cpu`].
    ///
    /// # Errors
    /// [`LaneError`].
    pub fn since_last(&mut self) -> Result<Vec<TraceLine>, LaneError> {
        self.mark()?;
        let mut told = Vec::new();
        loop {
            let Some(line) = TraceLine::parse(&self.lines.next()?) else {
                continue;
            };
            if let TraceLine::Packet(packet) = &line {
                if packet.src == self.marker.from {
                    self.marks.insert(packet.id);
                    if packet.ports == Some((1, self.last)) {
                        return Ok(told);
                    }
                } else {
                    self.marks.remove(&packet.id);
                }
            }
            if !self.marks.contains(&line.id()) {
                told.push(line);
            }
        }
    }
}

/// Keeps the calling thread on the processor that it runs on. What it sends is then processed in the
/// order in which it was sent.
///
/// # Errors
/// [`LaneError::System`].
pub fn stay_on_one_cpu(_: Lane) -> Result<(), LaneError> {
    let here = sched_getcpu().map_err(LaneError::errno("sched_getcpu"))?;
    let mut set = CpuSet::new();
    set.set(here).map_err(LaneError::errno("sched_getcpu"))?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(LaneError::errno("sched_setaffinity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_monitor_are_read() {
        let packet = "PACKET: 2 9f5629ee IN=cni0 OUT=eth0 SRC=172.18.0.2 DST=172.18.0.9 LEN=28 TOS=0x0 TTL=64 ID=3146 DF SPORT=41001 DPORT=53 ";
        let Some(TraceLine::Packet(packet)) = TraceLine::parse(packet) else {
            panic!("a packet");
        };
        assert_eq!((packet.id, packet.ports), (0x9f56_29ee, Some((41_001, 53))));
        assert_eq!(
            (packet.input.as_str(), packet.output.as_str()),
            ("cni0", "eth0")
        );
        let rule = " TRACE: 2 9f5629ee nat:KUBE-POSTROUTING:rule:0x13:0xfffffffb  -4 -t nat -A KUBE-POSTROUTING -j RETURN";
        let chain = "KUBE-POSTROUTING".to_owned();
        assert_eq!(
            TraceLine::parse(rule),
            Some(TraceLine::Rule {
                id: 0x9f56_29ee,
                table: "nat".to_owned(),
                chain,
                handle: 0x13
            })
        );
        let policy = " TRACE: 2 9f5629ee filter:OUTPUT:policy:ACCEPT ";
        let chain = "OUTPUT".to_owned();
        assert_eq!(
            TraceLine::parse(policy),
            Some(TraceLine::Policy {
                id: 0x9f56_29ee,
                table: "filter".to_owned(),
                chain
            })
        );
        assert_eq!(TraceLine::parse(" NEW CHAIN"), None);
    }

    #[test]
    fn lines_of_nft_are_read() {
        let packet = "trace id 76510686 ip kube-proxy nat-output packet: oif \"lo\" ip saddr 127.0.0.1 ip daddr 10.96.0.1 ip dscp cs0 ip ecn not-ect ip ttl 64 ip id 34332 ip length 30 udp sport 36966 udp dport 999 udp length 10 @th,64,16 0x780a ";
        let Some(TraceLine::Packet(packet)) = TraceLine::parse(packet) else {
            panic!("a packet");
        };
        assert_eq!(
            (packet.id, packet.ports),
            (0x7651_0686, Some((36_966, 999)))
        );
        assert_eq!((packet.input.as_str(), packet.output.as_str()), ("", "lo"));
        assert_eq!(packet.dst, IpAddr::from([10, 96, 0, 1]));
        let rule = "trace id 76510686 ip kube-proxy services rule ip daddr . meta l4proto . th dport vmap @service-ips # handle 11 (verdict goto r)";
        let table = || "ip kube-proxy".to_owned();
        assert_eq!(
            TraceLine::parse(rule),
            Some(TraceLine::Rule {
                id: 0x7651_0686,
                table: table(),
                chain: "services".to_owned(),
                handle: 11
            })
        );
        let policy = "trace id 76510686 ip kube-proxy nat-output policy accept ";
        assert_eq!(
            TraceLine::parse(policy),
            Some(TraceLine::Policy {
                id: 0x7651_0686,
                table: table(),
                chain: "nat-output".to_owned()
            })
        );
    }
}
