//! Connections that the kernel enters into its table, as `conntrack -E` prints them (conntrack(8)).

use std::net::IpAddr;
use std::time::Duration;

use podwire_packet::{FiveTuple, Headers, MacAddr, Protocol, wire};

use super::lines::Lines;
use super::{FrameSocket, LaneError, Namespace};

/// A connection of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Its first packet, before any translation.
    pub original: FiveTuple,
    /// A packet back, before any translation of it.
    pub reply: FiveTuple,
}

impl Tracked {
    /// Reads a line of `conntrack -E -e NEW`; `None` for a protocol without ports. An ICMP echo has its
    /// identifier in place of both ports.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "[NEW]")?;
        let protocol = Protocol(words.get(at + 4)?.parse().ok()?);
        let field = |name: &str| {
            let mut values = words
                .iter()
                .filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='));
            Some((values.next()?, values.next()?))
        };
        let (src, reply_src) = field("src")?;
        let (dst, reply_dst) = field("dst")?;
        let (sport, reply_sport) = field("sport").or_else(|| field("id"))?;
        let (dport, reply_dport) = field("dport").or_else(|| field("id"))?;
        let tuple = |src: &str, dst: &str, sport: &str, dport: &str| {
            Some(FiveTuple {
                src: src.parse().ok()?,
                dst: dst.parse().ok()?,
                protocol,
                sport: sport.parse().ok()?,
                dport: dport.parse().ok()?,
            })
        };
        Some(Self {
            original: tuple(src, dst, sport, dport)?,
            reply: tuple(reply_src, reply_dst, reply_sport, reply_dport)?,
        })
    }
}

/// Listens to the new connections of a namespace.
#[derive(Debug)]
pub struct Connections {
    lines: Lines,
    socket: FrameSocket,
    mac: MacAddr,
    from: IpAddr,
    to: IpAddr,
    last: u16,
}

const PROGRAM: &str = "conntrack";
/// How often a packet is sent before the program counts as deaf.
const ATTEMPTS: usize = 1_000;

impl Connections {
    /// Starts listening. Packets of its own, from `from` to `to` through `socket` to the device with
    /// `mac`, tell how far it has come: rules must let them in or through.
    ///
    /// # Errors
    /// [`LaneError`].
    pub fn start(
        namespace: &Namespace,
        socket: FrameSocket,
        mac: MacAddr,
        from: IpAddr,
        to: IpAddr,
    ) -> Result<Self, LaneError> {
        // Events of a whole run fit into 8 MB, however slowly they are read.
        let arguments = [
            "-E", "-e", "NEW", "-f", "ipv4", "-o", "extended", "-b", "8388608",
        ];
        let lines = Lines::of(namespace, PROGRAM, &arguments)?;
        let mut connections = Self {
            lines,
            socket,
            mac,
            from,
            to,
            last: 0,
        };
        for _ in 0..ATTEMPTS {
            connections.mark()?;
            if connections
                .lines
                .next_within(Duration::from_millis(10))?
                .is_some()
            {
                connections.since_last()?;
                return Ok(connections);
            }
        }
        Err(LaneError::Silent { program: PROGRAM })
    }

    fn mark(&mut self) -> Result<(), LaneError> {
        self.last += 1;
        let headers =
            Headers::first_of_flow(self.from, self.to, Protocol::UDP, self.last, MARKER_PORT);
        self.socket
            .send(&wire::frame(MacAddr::default(), self.mac, &headers))
    }

    /// Connections that began since the last call.
    ///
    /// # Errors
    /// [`LaneError`].
    pub fn since_last(&mut self) -> Result<Vec<Tracked>, LaneError> {
        self.mark()?;
        let mut all = Vec::new();
        loop {
            let Some(tracked) = Tracked::parse(&self.lines.next()?) else {
                continue;
            };
            let FiveTuple {
                src, sport, dport, ..
            } = tracked.original;
            if src != self.from || dport != MARKER_PORT {
                all.push(tracked);
            } else if sport == self.last {
                return Ok(all);
            }
        }
    }
}

/// Discard (RFC 863).
const MARKER_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_connection_is_read_with_both_directions() {
        let line = "    [NEW] ipv4     2 udp      17 30 src=172.18.0.2 dst=10.96.0.1 sport=41001 dport=53 [UNREPLIED] src=10.244.1.5 dst=172.18.0.2 sport=5353 dport=1234";
        let tracked = Tracked::parse(line).unwrap();
        let text = |tuple: FiveTuple| {
            format!(
                "{}:{} {}:{}",
                tuple.src, tuple.sport, tuple.dst, tuple.dport
            )
        };
        assert_eq!(text(tracked.original), "172.18.0.2:41001 10.96.0.1:53");
        assert_eq!(text(tracked.reply), "10.244.1.5:5353 172.18.0.2:1234");
        assert_eq!(tracked.original.protocol, Protocol::UDP);
        assert_eq!(
            Tracked::parse("[NEW] ipv4 2 unknown 2 600 src=10.244.1.1 dst=224.0.0.22"),
            None
        );
    }
}
