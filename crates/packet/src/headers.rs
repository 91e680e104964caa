//! The header fields that a rule can look at.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::{Family, FiveTuple};

/// A packet's mark: 32 bits that the kernel keeps beside the packet (`skb->mark`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u32);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A protocol number of the IP header.
///
/// Source: IANA's Assigned Internet Protocol Numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

/// Why a text is not a [`Protocol`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a protocol: a number from 0 to 255 or a name such as `tcp`, `udp`, `sctp`, `icmp`"
)]
pub struct ParseProtocolError {
    /// The text that was read.
    pub text: String,
}

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);

    /// The names that iptables knows without asking the system, its own word for each number first
    /// (`xtables_chain_protos`, libxtables/xtables.c).
    const NAMES: [(&'static str, u8); 12] = [
        ("tcp", 6),
        ("sctp", 132),
        ("udp", 17),
        ("udplite", 136),
        ("icmp", 1),
        ("ipv6-icmp", 58),
        ("icmpv6", 58),
        ("esp", 50),
        ("ah", 51),
        ("mobility-header", 135),
        ("ipv6-mh", 135),
        ("mh", 135),
    ];

    /// Its name, if iptables has one for it without asking the system.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES
            .iter()
            .find(|(_, number)| *number == self.0)
            .map(|(name, _)| *name)
    }

    /// Whether the protocol has ports.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP | Self(33 | 136))
    }

    /// ICMP of the given family.
    #[must_use]
    pub const fn icmp_of(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::ICMP,
            Family::Ipv6 => Self::ICMPV6,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl FromStr for Protocol {
    type Err = ParseProtocolError;

    fn from_str(text: &str) -> Result<Self, ParseProtocolError> {
        let lower = text.to_ascii_lowercase();
        Self::NAMES
            .iter()
            .find(|(name, _)| *name == lower)
            .map(|(_, number)| *number)
            .or_else(|| text.parse().ok())
            .map(Self)
            .ok_or_else(|| ParseProtocolError {
                text: text.to_owned(),
            })
    }
}

/// The flag bits of a TCP header, as in its fourteenth byte (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);

    /// Every flag with iptables' name for it, in iptables' order (extensions/libxt_tcp.c).
    pub const NAMES: [(&'static str, Self); 6] = [
        ("FIN", Self::FIN),
        ("SYN", Self::SYN),
        ("RST", Self::RST),
        ("PSH", Self::PSH),
        ("ACK", Self::ACK),
        ("URG", Self::URG),
    ];

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both sets have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The header fields of one packet that a rule can look at.
///
/// Fields that the packet's protocol does not have are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Headers {
    /// Source address; of the same family as `dst`.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol of the payload.
    pub protocol: Protocol,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// TCP flags.
    pub tcp_flags: TcpFlags,
    /// ICMP or ICMPv6 type.
    pub icmp_type: u8,
    /// ICMP or ICMPv6 code.
    pub icmp_code: u8,
    /// Identifier of an ICMP echo message.
    pub icmp_id: u16,
    /// Time to live, or the IPv6 hop limit.
    pub ttl: u8,
    /// The TOS byte, or the IPv6 traffic class.
    pub tos: u8,
    /// Length of the whole IP packet in bytes.
    pub length: u32,
    /// Whether this is a later fragment, one without the transport header.
    pub is_later_fragment: bool,
    /// Whether the packet may not be fragmented (the DF bit; always so for IPv6).
    pub dont_fragment: bool,
}

impl Headers {
    /// TTL that Linux gives to what it sends: sysctl `net.ipv4.ip_default_ttl`,
    /// `net.ipv6.conf.*.hop_limit`.
    pub const DEFAULT_TTL: u8 = 64;

    /// A packet as Linux would first send it for that protocol: a SYN for TCP, an empty datagram for
    /// UDP, an echo request for ICMP.
    #[must_use]
    pub fn first_of_flow(
        src: IpAddr,
        dst: IpAddr,
        protocol: Protocol,
        sport: u16,
        dport: u16,
    ) -> Self {
        let ip_header: u32 = if src.is_ipv4() { 20 } else { 40 };
        let mut headers = Self {
            src,
            dst,
            protocol,
            sport,
            dport,
            tcp_flags: TcpFlags::default(),
            icmp_type: 0,
            icmp_code: 0,
            icmp_id: 0,
            ttl: Self::DEFAULT_TTL,
            tos: 0,
            length: ip_header,
            is_later_fragment: false,
            dont_fragment: true,
        };
        match protocol {
            // A SYN of Linux carries 20 bytes of options: MSS, SACK, timestamps, window scale.
            Protocol::TCP => {
                headers.tcp_flags = TcpFlags::SYN;
                headers.length += 40;
            }
            Protocol::UDP => headers.length += 8,
            Protocol::SCTP => headers.length += 32,
            Protocol::ICMP | Protocol::ICMPV6 => {
                headers.icmp_type = if src.is_ipv4() { 8 } else { 128 };
                headers.icmp_id = sport;
                headers.sport = 0;
                headers.dport = 0;
                // ping(8) sends 56 bytes of payload.
                headers.length += 8 + 56;
                headers.dont_fragment = src.is_ipv6();
            }
            Protocol(_) => {}
        }
        headers
    }

    /// The first packet that answers this one: a SYN-ACK, a datagram back, an echo reply.
    #[must_use]
    pub fn first_of_reply(&self) -> Self {
        let mut reply = *self;
        reply.src = self.dst;
        reply.dst = self.src;
        reply.sport = self.dport;
        reply.dport = self.sport;
        reply.ttl = Self::DEFAULT_TTL;
        match self.protocol {
            Protocol::TCP => reply.tcp_flags = TcpFlags::SYN.union(TcpFlags::ACK),
            Protocol::ICMP => reply.icmp_type = 0,
            Protocol::ICMPV6 => reply.icmp_type = 129,
            Protocol(_) => {}
        }
        reply
    }

    /// The family of both addresses.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.src)
    }

    /// The packet's direction of its flow.
    #[must_use]
    pub const fn five_tuple(&self) -> FiveTuple {
        FiveTuple {
            src: self.src,
            dst: self.dst,
            protocol: self.protocol,
            sport: self.sport,
            dport: self.dport,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_read_by_name_or_number() {
        assert_eq!("TCP".parse(), Ok(Protocol::TCP));
        assert_eq!("132".parse(), Ok(Protocol::SCTP));
        assert_eq!("icmpv6".parse(), Ok(Protocol::ICMPV6));
        assert_eq!(Protocol::ICMPV6.to_string(), "ipv6-icmp");
        assert_eq!(Protocol(47).to_string(), "47");
        assert!("tpc".parse::<Protocol>().is_err());
        assert!("256".parse::<Protocol>().is_err());
    }

    #[test]
    fn a_reply_goes_back_the_way_the_packet_came() {
        let syn = Headers::first_of_flow(
            "10.244.0.5".parse().unwrap(),
            "10.96.0.10".parse().unwrap(),
            Protocol::TCP,
            40_000,
            53,
        );
        let reply = syn.first_of_reply();
        assert_eq!(reply.five_tuple(), syn.five_tuple().reversed());
        assert_eq!(reply.tcp_flags, TcpFlags(0x12));
        assert_eq!(syn.length, 60);
    }
}
