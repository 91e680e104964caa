//! What finally becomes of a packet.

use std::fmt;
use std::net::IpAddr;

use podwire_packet::{DeviceName, FiveTuple};
use podwire_ruleset::{BaseChainRef, RejectWith, RuleRef};

/// A packet that a socket got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Source and destination as the socket sees them.
    pub flow: FiveTuple,
    /// Identifier of an ICMP echo, which translation may change; zero for other protocols.
    pub icmp_id: u16,
}

/// Why no route led on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unroutable {
    /// The FIB has no route.
    NoRoute,
    /// A route says unreachable or prohibit.
    RouteRefuses,
    /// Nobody on the link answers for the next hop.
    NoNeighbor {
        /// The next hop.
        next_hop: IpAddr,
        /// The device.
        device: DeviceName,
    },
    /// The address is of a Service, or of the Service range, and no rule translated it.
    ServiceAddress(IpAddr),
    /// Beyond the cluster, no host has the address.
    NoSuchHost(IpAddr),
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// A rule said DROP.
    Rule(RuleRef),
    /// A base chain's policy said DROP.
    Policy(BaseChainRef),
    /// The connection table is full (sysctl `net.netfilter.nf_conntrack_max`).
    ConntrackFull,
    /// NAT found no port that is free.
    NatPortsExhausted,
    /// MASQUERADE found no address on the outgoing device.
    NoMasqueradeAddress(DeviceName),
    /// The real server is reached by direct routing or a tunnel, which podwire does not walk.
    IpvsForwarding,
    /// The real server of its connection is gone, and the connection goes with it (sysctl
    /// `net.ipv4.vs.expire_nodest_conn`): the next packet begins another.
    IpvsServerGone,
    /// A packet for another host came in and sysctl `net.ipv4.ip_forward` is 0.
    ForwardingOff,
    /// The way back to the source is not the way it came (sysctl `net.ipv4.conf.*.rp_filter`).
    ReversePathFilter,
    /// A source address that cannot come in by that device: one of this host, or loopback.
    MartianSource,
    /// A destination of 127.0.0.0/8 from outside (sysctl `net.ipv4.conf.*.route_localnet` is 0).
    MartianDestination,
    /// A route says blackhole.
    Blackhole,
    /// The frame is for another Ethernet address.
    OtherHost,
    /// A bridge does not send a frame back by the port it came in by, unless the port is in hairpin
    /// mode.
    NoHairpin(DeviceName),
    /// No port of the bridge leads to the frame's address.
    NoBridgePort(DeviceName),
    /// The VXLAN device knows no other end for the frame's address.
    NoVtep(DeviceName),
    /// A VXLAN packet came in for a network that this host has no device of.
    UnknownVni(u32),
    /// The device carries nothing.
    DeadDevice(DeviceName),
    /// A packet to a broadcast or multicast address, which podwire does not follow.
    NotUnicast,
    /// A proxy has no endpoint to pass it on to.
    NoEndpoint,
    /// A proxy tried as many endpoints as it may, and none took its connection.
    NoEndpointAnswers,
    /// It went from device to device without end.
    Loop,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(_) => f.write_str("a rule says DROP"),
            Self::Policy(BaseChainRef::Iptables { table, hook }) => {
                write!(f, "the policy of {hook} in table {table} is DROP")
            }
            Self::Policy(BaseChainRef::Nft { hook, .. }) => {
                write!(
                    f,
                    "the policy of a base chain of nftables at {hook} is drop"
                )
            }
            Self::ConntrackFull => f.write_str("the connection table is full (nf_conntrack_max)"),
            Self::NatPortsExhausted => f.write_str("NAT has no free port"),
            Self::IpvsForwarding => {
                f.write_str("IPVS forwards to the real server in a way that podwire does not walk")
            }
            Self::IpvsServerGone => f.write_str(
                "the real server of its connection is gone, and IPVS forgets the connection with this packet",
            ),
            Self::NoMasqueradeAddress(device) => {
                write!(f, "MASQUERADE finds no address on {device}")
            }
            Self::ForwardingOff => f.write_str("forwarding is off (net.ipv4.ip_forward = 0)"),
            Self::ReversePathFilter => {
                f.write_str("the way back is not the way it came (rp_filter)")
            }
            Self::MartianSource => {
                f.write_str("martian source: an address of this host from outside")
            }
            Self::MartianDestination => {
                f.write_str("martian destination: 127.0.0.0/8 from outside (route_localnet = 0)")
            }
            Self::Blackhole => f.write_str("a blackhole route"),
            Self::OtherHost => f.write_str("the frame is for another host"),
            Self::NoHairpin(port) => write!(f, "bridge port {port} is not in hairpin mode"),
            Self::NoBridgePort(bridge) => {
                write!(f, "no port of bridge {bridge} leads to the frame's address")
            }
            Self::NoVtep(device) => {
                write!(f, "{device} knows no remote end for the frame's address")
            }
            Self::UnknownVni(vni) => write!(f, "no VXLAN device of network {vni}"),
            Self::DeadDevice(device) => write!(f, "{device} carries nothing"),
            Self::NotUnicast => f.write_str("a broadcast or multicast destination"),
            Self::NoEndpoint => f.write_str(
                "kube-proxy has no endpoint for it: it closes a TCP connection that it took, and says nothing to UDP",
            ),
            Self::NoEndpointAnswers => f.write_str(
                "no endpoint that kube-proxy tried took its connection, so it closes the one that it was asked on",
            ),
            Self::Loop => f.write_str("it went from device to device without end"),
        }
    }
}

impl fmt::Display for Unroutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no route to the destination"),
            Self::RouteRefuses => f.write_str("a route says unreachable"),
            Self::NoNeighbor { next_hop, device } => {
                write!(f, "nobody on {device} answers for {next_hop}")
            }
            Self::ServiceAddress(ip) => {
                write!(
                    f,
                    "{ip} is an address of Services that no rule translated, and no host has it"
                )
            }
            Self::NoSuchHost(ip) => write!(f, "no host has the address {ip}"),
        }
    }
}

/// What finally became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// A socket got it.
    Delivered(Delivery),
    /// Gone without a word.
    Dropped(DropReason),
    /// A rule refused it, and the sender was told.
    Rejected {
        /// What the sender was told.
        with: RejectWith,
        /// The rule.
        rule: Option<RuleRef>,
    },
    /// It reached its host, and nobody listens there.
    Refused,
    /// No way led on.
    Unroutable(Unroutable),
    /// Too large for a device, and it may not be cut.
    Mtu {
        /// The device.
        device: DeviceName,
        /// Its largest packet in bytes.
        mtu: u32,
    },
    /// Its TTL ran out.
    Ttl,
}

impl Disposition {
    /// The word for it in output: `delivered`, `dropped` …
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Dropped(_) => "dropped",
            Self::Rejected { .. } => "rejected",
            Self::Refused => "refused",
            Self::Unroutable(_) => "unroutable",
            Self::Mtu { .. } => "mtu",
            Self::Ttl => "ttl",
        }
    }
}
