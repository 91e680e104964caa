//! What a rule can test.
//!
//! Names follow iptables-extensions(8). A match is one test, in the unit in which it is written: an
//! option of the IP header (`-s`), an option of a protocol module (`--dport`), or a whole module
//! (`-m recent …`).

use std::net::IpAddr;
use std::ops::RangeInclusive;

use podwire_packet::{DeviceName, Mark, Prefix, Protocol, TcpFlags};

/// A value to compare with; `!` before the option inverts the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inv<T> {
    /// Whether `!` stood before it.
    pub inverted: bool,
    /// What is compared with.
    pub value: T,
}

impl<T> Inv<T> {
    /// Without `!`.
    #[must_use]
    pub const fn is(value: T) -> Self {
        Self {
            inverted: false,
            value,
        }
    }

    /// With `!`.
    #[must_use]
    pub const fn not(value: T) -> Self {
        Self {
            inverted: true,
            value,
        }
    }
}

/// Which addresses `-s` and `-d` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressMatch {
    /// A prefix.
    Prefix(Prefix),
    /// A mask with gaps, such as `10.0.0.1/255.0.0.255`: the address has these bits where the mask has ones.
    Sparse {
        /// Bits to have; zero where the mask is zero.
        address: IpAddr,
        /// Bits that count.
        mask: IpAddr,
    },
}

/// Which devices `-i`, `-o` and the options of `physdev` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceMatch {
    /// One name.
    Exact(DeviceName),
    /// `veth+`: every name that begins so.
    Prefix(DeviceName),
    /// `+`: every name.
    Any,
}

/// A protocol whose match module tests ports or types: the word behind `-m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L4 {
    /// `tcp`.
    Tcp,
    /// `udp`.
    Udp,
    /// `sctp`.
    Sctp,
    /// `icmp`.
    Icmp,
    /// `icmp6`.
    Icmp6,
}

/// `--tcp-flags MASK COMP`: of the flags in `mask`, exactly those in `set` are set. `--syn` is
/// `SYN,RST,ACK,FIN SYN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlagsMatch {
    /// Flags that are looked at.
    pub mask: TcpFlags,
    /// Flags that must be set.
    pub set: TcpFlags,
}

/// `--icmp-type`: a type, and a range of codes if one was named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IcmpTypeMatch {
    /// The type; `None` is `any`.
    pub icmp_type: Option<u8>,
    /// Codes of that type.
    pub codes: RangeInclusive<u8>,
}

/// Which ports of the packet `multiport` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MultiportSide {
    /// `--sports`.
    Source,
    /// `--dports`.
    Destination,
    /// `--ports`: either.
    Either,
}

/// `-m multiport`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MultiportMatch {
    /// Which side.
    pub side: MultiportSide,
    /// The ports, at most 15 as the kernel counts (a range counts twice).
    pub ports: Inv<Vec<RangeInclusive<u16>>>,
}

/// A set of address types, a bit for each: bit `n` is `XT_ADDRTYPE_*` number `n`
/// (include/uapi/linux/netfilter/xt_addrtype.h, the order of `RTN_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressTypes(pub u16);

/// `-m addrtype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressTypeMatch {
    /// `--src-type`.
    pub src: Option<Inv<AddressTypes>>,
    /// `--dst-type`.
    pub dst: Option<Inv<AddressTypes>>,
    /// `--limit-iface-in`: an address counts as local only on the device that the packet came in by.
    pub limit_iface_in: bool,
    /// `--limit-iface-out`: the same for the device that it leaves by.
    pub limit_iface_out: bool,
}

/// A set of connection states, as `--ctstate` and `--state` name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtStates(pub u16);

impl CtStates {
    /// Not a packet of any connection.
    pub const INVALID: Self = Self(1);
    /// Of a connection that has seen packets both ways.
    pub const ESTABLISHED: Self = Self(1 << 1);
    /// First of a connection that another one announced, or an ICMP error about one.
    pub const RELATED: Self = Self(1 << 2);
    /// First of a connection, or of one that has seen packets one way only.
    pub const NEW: Self = Self(1 << 3);
    /// Source address or port were translated.
    pub const SNAT: Self = Self(1 << 4);
    /// Destination address or port were translated.
    pub const DNAT: Self = Self(1 << 5);
    /// Not tracked, because a rule in raw said so.
    pub const UNTRACKED: Self = Self(1 << 6);

    /// Every state with its name, in the order in which `iptables-save` lists them
    /// (`print_state`, extensions/libxt_conntrack.c).
    pub const NAMES: [(&'static str, Self); 7] = [
        ("INVALID", Self::INVALID),
        ("NEW", Self::NEW),
        ("RELATED", Self::RELATED),
        ("ESTABLISHED", Self::ESTABLISHED),
        ("UNTRACKED", Self::UNTRACKED),
        ("SNAT", Self::SNAT),
        ("DNAT", Self::DNAT),
    ];

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the two sets share a state.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A set of connection status bits, as `--ctstatus` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtStatuses(pub u16);

impl CtStatuses {
    /// Announced by another connection.
    pub const EXPECTED: Self = Self(1);
    /// Packets were seen both ways.
    pub const SEEN_REPLY: Self = Self(1 << 1);
    /// Never dropped early.
    pub const ASSURED: Self = Self(1 << 2);
    /// Its first packet has left the host.
    pub const CONFIRMED: Self = Self(1 << 3);
    /// Its source is translated; nftables' word, for which iptables has the state `SNAT`.
    pub const SNAT: Self = Self(1 << 4);
    /// Its destination is translated.
    pub const DNAT: Self = Self(1 << 5);

    /// Every status with its name, in iptables' order (`print_status`, extensions/libxt_conntrack.c).
    pub const NAMES: [(&'static str, Self); 4] = [
        ("EXPECTED", Self::EXPECTED),
        ("SEEN_REPLY", Self::SEEN_REPLY),
        ("ASSURED", Self::ASSURED),
        ("CONFIRMED", Self::CONFIRMED),
    ];
}

/// A direction of a connection, as `--ctdir` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtDirection {
    /// The way of its first packet.
    Original,
    /// The way back.
    Reply,
}

/// `-m conntrack`; every option that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConntrackMatch {
    /// `--ctstate`.
    pub state: Option<Inv<CtStates>>,
    /// `--ctstatus`; an empty set is `NONE`, which holds of no packet (`conntrack_mt`).
    pub status: Option<Inv<CtStatuses>>,
    /// `--ctproto`.
    pub protocol: Option<Inv<Protocol>>,
    /// `--ctorigsrc`.
    pub orig_src: Option<Inv<AddressMatch>>,
    /// `--ctorigdst`.
    pub orig_dst: Option<Inv<AddressMatch>>,
    /// `--ctreplsrc`.
    pub reply_src: Option<Inv<AddressMatch>>,
    /// `--ctrepldst`.
    pub reply_dst: Option<Inv<AddressMatch>>,
    /// `--ctorigsrcport`.
    pub orig_sport: Option<Inv<RangeInclusive<u16>>>,
    /// `--ctorigdstport`.
    pub orig_dport: Option<Inv<RangeInclusive<u16>>>,
    /// `--ctreplsrcport`.
    pub reply_sport: Option<Inv<RangeInclusive<u16>>>,
    /// `--ctrepldstport`.
    pub reply_dport: Option<Inv<RangeInclusive<u16>>>,
    /// `--ctexpire`, seconds.
    pub expire: Option<Inv<RangeInclusive<u32>>>,
    /// `--ctdir`.
    pub direction: Option<CtDirection>,
}

/// `-m mark`: the packet's mark, masked, equals `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkMatch {
    /// What the masked mark must be.
    pub value: Mark,
    /// Bits that count.
    pub mask: Mark,
}

/// `-m connmark`: the same of the connection's mark.
pub type ConnmarkMatch = MarkMatch;

/// A probability as the kernel holds it: a threshold over 2^31.
///
/// Two of them are equal if the kernel cannot tell them apart, whatever decimals they were read from.
#[derive(Clone, Copy, Debug)]
pub struct Probability {
    decimal: f64,
    threshold: u32,
}

impl Probability {
    /// A probability of 1 as a threshold.
    pub const ONE: u32 = 1 << 31;

    /// A probability from 0 to 1, rounded to the nearest threshold as iptables rounds it
    /// (`lround(0x80000000 * prob)`, extensions/libxt_statistic.c); `None` outside that range.
    #[must_use]
    pub fn new(decimal: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&decimal) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 2^31"
        )]
        let threshold = (decimal * f64::from(Self::ONE)).round() as u32;
        Some(Self { decimal, threshold })
    }

    /// As it was written.
    #[must_use]
    pub const fn decimal(self) -> f64 {
        self.decimal
    }

    /// The 31-bit random number must be below this.
    #[must_use]
    pub const fn threshold(self) -> u32 {
        self.threshold
    }
}

impl PartialEq for Probability {
    fn eq(&self, other: &Self) -> bool {
        self.threshold == other.threshold
    }
}

impl Eq for Probability {}

/// `-m statistic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatisticMatch {
    /// `--mode random --probability P`.
    Random(Inv<Probability>),
    /// `--mode nth --every N --packet P`.
    Nth {
        /// Whether `!` stood before `--every`.
        inverted: bool,
        /// One packet of so many; at least 1.
        every: u32,
        /// Which of them, from 0.
        packet: u32,
    },
}

/// Which address or port of the packet a dimension of a set looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetDirection {
    /// `src`.
    Source,
    /// `dst`.
    Destination,
}

/// `-m set --match-set NAME FLAGS`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetMatch {
    /// The set.
    pub name: Box<str>,
    /// A direction for each dimension of the set.
    pub directions: Vec<SetDirection>,
    /// `--return-nomatch`, `--update-counters` and the like, as they were written.
    pub options: Box<str>,
}

/// `-m physdev`: the bridge port behind a bridge device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PhysdevMatch {
    /// `--physdev-in`.
    pub input: Option<Inv<InterfaceMatch>>,
    /// `--physdev-out`.
    pub output: Option<Inv<InterfaceMatch>>,
    /// `--physdev-is-in`, or with `!`.
    pub is_in: Option<bool>,
    /// `--physdev-is-out`.
    pub is_out: Option<bool>,
    /// `--physdev-is-bridged`: the packet goes from port to port and is not routed.
    pub is_bridged: Option<bool>,
}

/// `-m ipvs`: what IPVS did with the packet. With more than `--ipvs`, only packets on their way to a real
/// server fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IpvsMatch {
    /// `--ipvs`, or with `!`.
    pub is_ipvs: Option<bool>,
    /// `--vproto`.
    pub protocol: Option<Inv<Protocol>>,
    /// `--vaddr`.
    pub address: Option<Inv<AddressMatch>>,
    /// `--vport`.
    pub port: Option<Inv<u16>>,
    /// `--vdir`.
    pub direction: Option<Inv<CtDirection>>,
}

/// `-m iprange`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IprangeMatch {
    /// `--src-range`.
    pub src: Option<Inv<RangeInclusive<IpAddr>>>,
    /// `--dst-range`.
    pub dst: Option<Inv<RangeInclusive<IpAddr>>>,
}

/// `-m limit`: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitMatch {
    /// Tokens of each period.
    pub amount: u32,
    /// The period in seconds: 1, 60, 3,600 or 86,400.
    pub period_seconds: u32,
    /// Size of the bucket.
    pub burst: u32,
}

/// What `-m recent` does with its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecentOperation {
    /// `--set`: note the address; always holds.
    Set,
    /// `--rcheck`: holds if the address is there.
    Check,
    /// `--update`: as `--rcheck`, and notes the address again.
    Update,
    /// `--remove`: holds if the address is there, and takes it out.
    Remove,
}

/// `-m recent`: a list of addresses and when they were seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecentMatch {
    /// The list; `DEFAULT` if none was named.
    pub name: Box<str>,
    /// What to do.
    pub operation: RecentOperation,
    /// Whether `!` stood before the operation.
    pub inverted: bool,
    /// `--seconds`: only if seen within so many.
    pub seconds: Option<u32>,
    /// `--reap`: forget what is older than that.
    pub reap: bool,
    /// `--hitcount`: only if seen so many times.
    pub hitcount: Option<u32>,
    /// `--rttl`: only if the TTL is that of the noted packet.
    pub rttl: bool,
    /// `--rsource` or `--rdest`: which address is noted.
    pub side: SetDirection,
    /// Applied to the address before it is noted or looked up.
    pub mask: IpAddr,
}

/// One test of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// `-s`.
    Source(Inv<AddressMatch>),
    /// `-d`.
    Destination(Inv<AddressMatch>),
    /// `-i`.
    InInterface(Inv<InterfaceMatch>),
    /// `-o`.
    OutInterface(Inv<InterfaceMatch>),
    /// `-p`.
    Protocol(Inv<Protocol>),
    /// `-f`: a later fragment (`true`), or `! -f`.
    Fragment(bool),

    /// `-m tcp` and its like: names the module whose options follow. Its tests stand for
    /// themselves; the word alone still asks for an unfragmented packet with a whole header.
    Module(L4),
    /// `--sport`.
    SourcePort(L4, Inv<RangeInclusive<u16>>),
    /// `--dport`.
    DestinationPort(L4, Inv<RangeInclusive<u16>>),
    /// `--tcp-flags`, `--syn`.
    TcpFlags(Inv<TcpFlagsMatch>),
    /// `--icmp-type`, `--icmpv6-type`.
    IcmpType(L4, Inv<IcmpTypeMatch>),

    /// `-m comment`; always holds.
    Comment(Box<str>),
    /// `-m multiport`.
    Multiport(MultiportMatch),
    /// `-m addrtype`.
    AddressType(AddressTypeMatch),
    /// `-m conntrack`.
    Conntrack(Box<ConntrackMatch>),
    /// `-m state`.
    State(Inv<CtStates>),
    /// `-m mark`.
    Mark(Inv<MarkMatch>),
    /// `-m connmark`.
    Connmark(Inv<ConnmarkMatch>),
    /// `-m statistic`.
    Statistic(StatisticMatch),
    /// `-m set`.
    Set(Inv<SetMatch>),
    /// `-m physdev`.
    Physdev(PhysdevMatch),
    /// `-m ipvs`.
    Ipvs(Box<IpvsMatch>),
    /// `-m iprange`.
    Iprange(Box<IprangeMatch>),
    /// `-m limit`.
    Limit(LimitMatch),
    /// `-m recent`.
    Recent(Box<RecentMatch>),

    /// A module that podwire does not evaluate, with its options as they were written, from `-m` on.
    /// An answer that depends on it says so.
    Unknown(Box<str>),
}

impl Match {
    /// Whether the kernel tests it with the IP header, before any module.
    #[must_use]
    pub const fn is_of_ip_header(&self) -> bool {
        matches!(
            self,
            Self::Source(_)
                | Self::Destination(_)
                | Self::InInterface(_)
                | Self::OutInterface(_)
                | Self::Protocol(_)
                | Self::Fragment(_)
        )
    }

    /// Whether it can fail: a comment cannot.
    #[must_use]
    pub const fn is_a_test(&self) -> bool {
        !matches!(self, Self::Comment(_))
    }

    /// Whether the answer depends on earlier packets, on time or on chance.
    #[must_use]
    pub const fn has_memory_or_chance(&self) -> bool {
        matches!(self, Self::Statistic(_) | Self::Limit(_) | Self::Recent(_))
    }

    /// Place in [`Rule::canonical`](crate::Rule::canonical): one number for each header and port
    /// test, one for all that keep their order.
    pub(crate) const fn canonical_rank(&self) -> u8 {
        match self {
            Self::Source(_) => 0,
            Self::Destination(_) => 1,
            Self::InInterface(_) => 2,
            Self::OutInterface(_) => 3,
            Self::Protocol(_) => 4,
            Self::Fragment(_) => 5,
            Self::Module(_) => 6,
            Self::SourcePort(..) => 7,
            Self::DestinationPort(..) => 8,
            Self::TcpFlags(_) => 9,
            Self::IcmpType(..) => 10,
            Self::Comment(_)
            | Self::Multiport(_)
            | Self::AddressType(_)
            | Self::Conntrack(_)
            | Self::State(_)
            | Self::Mark(_)
            | Self::Connmark(_)
            | Self::Statistic(_)
            | Self::Set(_)
            | Self::Physdev(_)
            | Self::Ipvs(_)
            | Self::Iprange(_)
            | Self::Limit(_)
            | Self::Recent(_)
            | Self::Unknown(_) => 11,
        }
    }
}
