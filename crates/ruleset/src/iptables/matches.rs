//! Match modules: their names, how a rule with `-m` begins, and which options each takes.
//!
//! A module writes into the matches of its rule as its options come: the match stands there from
//! `-m` on, with what holds if no option follows, and [`Module::complete`] checks at the end that
//! what the module needs was given.

mod connection;
mod memory;
mod place;
mod transport;

pub(super) use place::SET_OPTIONS;

use miette::SourceSpan;
use podwire_packet::{Family, Mark, Protocol};

use super::ParseError;
use super::options::{Opt, Words};
use super::targets::TargetKind;
use crate::{
    AddressTypeMatch, ConntrackMatch, CtStates, Inv, IprangeMatch, L4, LimitMatch, MarkMatch,
    Match, MultiportMatch, MultiportSide, PhysdevMatch, Probability, RecentMatch, RecentOperation,
    SetDirection, SetMatch, StatisticMatch,
};

/// What takes options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// tcp, udp, sctp, icmp, icmp6.
    L4(L4),
    Comment,
    Multiport,
    AddressType,
    Conntrack,
    State,
    Mark,
    Connmark,
    Statistic,
    Set,
    Physdev,
    Ipvs,
    Iprange,
    Limit,
    Recent,
    /// The target of the rule.
    Target(TargetKind),
    /// A module that podwire does not know, or one with an option that it does not know.
    Opaque,
    /// The same of a target.
    OpaqueTarget,
}

impl Kind {
    /// The module of that name.
    pub(super) fn of_module(name: &str, family: Family) -> Self {
        match name {
            "comment" => Self::Comment,
            "multiport" => Self::Multiport,
            "addrtype" => Self::AddressType,
            "conntrack" => Self::Conntrack,
            "state" => Self::State,
            "mark" => Self::Mark,
            "connmark" => Self::Connmark,
            "statistic" => Self::Statistic,
            "set" => Self::Set,
            "physdev" => Self::Physdev,
            "ipvs" => Self::Ipvs,
            "iprange" => Self::Iprange,
            "limit" => Self::Limit,
            "recent" => Self::Recent,
            "tcp" => Self::L4(L4::Tcp),
            "udp" => Self::L4(L4::Udp),
            "sctp" => Self::L4(L4::Sctp),
            "icmp" if family == Family::Ipv4 => Self::L4(L4::Icmp),
            "icmp6" | "icmpv6" | "ipv6-icmp" if family == Family::Ipv6 => Self::L4(L4::Icmp6),
            _ => Self::Opaque,
        }
    }

    /// The word behind `-m` of a module that podwire knows.
    pub(super) const fn module_name(self) -> Option<&'static str> {
        Some(match self {
            Self::L4(l4) => l4.name(),
            Self::Comment => "comment",
            Self::Multiport => "multiport",
            Self::AddressType => "addrtype",
            Self::Conntrack => "conntrack",
            Self::State => "state",
            Self::Mark => "mark",
            Self::Connmark => "connmark",
            Self::Statistic => "statistic",
            Self::Set => "set",
            Self::Physdev => "physdev",
            Self::Ipvs => "ipvs",
            Self::Iprange => "iprange",
            Self::Limit => "limit",
            Self::Recent => "recent",
            Self::Target(_) | Self::Opaque | Self::OpaqueTarget => return None,
        })
    }

    /// What a rule holds as soon as `-m` named the module.
    pub(super) fn start(self, family: Family) -> Match {
        match self {
            Self::L4(l4) => Match::Module(l4),
            Self::Comment => Match::Comment("".into()),
            Self::Multiport => Match::Multiport(MultiportMatch {
                side: MultiportSide::Either,
                ports: Inv::is(Vec::new()),
            }),
            Self::AddressType => Match::AddressType(AddressTypeMatch::default()),
            Self::Conntrack => Match::Conntrack(Box::<ConntrackMatch>::default()),
            Self::State => Match::State(Inv::is(CtStates::default())),
            Self::Mark => Match::Mark(Inv::is(NO_MARK)),
            Self::Connmark => Match::Connmark(Inv::is(NO_MARK)),
            Self::Statistic => Match::Statistic(StatisticMatch::Random(Inv::is(
                Probability::new(0.0).expect("0 is a probability"),
            ))),
            Self::Set => Match::Set(Inv::is(SetMatch {
                name: "".into(),
                directions: Vec::new(),
                options: "".into(),
            })),
            Self::Physdev => Match::Physdev(PhysdevMatch::default()),
            Self::Ipvs => Match::Ipvs(Box::default()),
            Self::Iprange => Match::Iprange(Box::<IprangeMatch>::default()),
            Self::Limit => Match::Limit(LimitMatch {
                amount: 3,
                period_seconds: 3_600,
                burst: LimitMatch::DEFAULT_BURST,
            }),
            Self::Recent => Match::Recent(Box::new(RecentMatch {
                name: RecentMatch::DEFAULT_NAME.into(),
                operation: RecentOperation::Check,
                inverted: false,
                seconds: None,
                reap: false,
                hitcount: None,
                rttl: false,
                side: SetDirection::Source,
                mask: RecentMatch::whole_address(family),
            })),
            Self::Target(_) | Self::Opaque | Self::OpaqueTarget => Match::Unknown("".into()),
        }
    }
}

const NO_MARK: MarkMatch = MarkMatch {
    value: Mark(0),
    mask: Mark(u32::MAX),
};

impl LimitMatch {
    /// `--limit-burst` if it is not said (`XT_LIMIT_BURST`, extensions/libxt_limit.c).
    pub const DEFAULT_BURST: u32 = 5;
}

impl RecentMatch {
    /// `--name` if it is not said.
    pub const DEFAULT_NAME: &'static str = "DEFAULT";

    /// `--mask` if it is not said: every bit of the address.
    #[must_use]
    pub fn whole_address(family: Family) -> std::net::IpAddr {
        podwire_packet::Prefix::host(family.unspecified()).mask()
    }
}

impl L4 {
    /// The word behind `-m`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmp6",
        }
    }

    /// The protocol whose packets the module looks into.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::TCP,
            Self::Udp => Protocol::UDP,
            Self::Sctp => Protocol::SCTP,
            Self::Icmp => Protocol::ICMP,
            Self::Icmp6 => Protocol::ICMPV6,
        }
    }

    /// The module that `-p` loads by itself when one of its options comes.
    pub(super) const fn implied_by(protocol: Protocol, family: Family) -> Option<Self> {
        match (protocol, family) {
            (Protocol::TCP, _) => Some(Self::Tcp),
            (Protocol::UDP, _) => Some(Self::Udp),
            (Protocol::SCTP, _) => Some(Self::Sctp),
            (Protocol::ICMP, Family::Ipv4) => Some(Self::Icmp),
            (Protocol::ICMPV6, Family::Ipv6) => Some(Self::Icmp6),
            (Protocol(_), _) => None,
        }
    }

    /// Options that the real module has and podwire does not evaluate.
    pub(super) fn does_not_evaluate(self, option: &str) -> bool {
        match self {
            Self::Tcp => option == "tcp-option",
            Self::Sctp => option == "chunk-types",
            Self::Udp | Self::Icmp | Self::Icmp6 => false,
        }
    }
}

/// A module of a rule.
#[derive(Clone, Debug)]
pub(super) struct Module {
    pub(super) kind: Kind,
    /// The word behind `-m` or `-j`.
    pub(super) at: SourceSpan,
    /// Where its match stands in the rule.
    pub(super) slot: usize,
    /// Options that were given, a bit for each.
    pub(super) seen: u32,
    /// Its words, if it is opaque.
    pub(super) opaque: String,
}

impl Module {
    pub(super) const fn new(kind: Kind, at: SourceSpan, slot: usize) -> Self {
        Self {
            kind,
            at,
            slot,
            seen: 0,
            opaque: String::new(),
        }
    }

    /// Takes an option and its value if it is one of this match module's; false if it is not.
    pub(super) fn take<'w>(
        &mut self,
        option: &mut Opt<'w>,
        words: &mut Words<'w, '_>,
        matches: &mut Vec<Match>,
    ) -> Result<bool, ParseError> {
        let seen = &mut self.seen;
        if let Kind::L4(l4) = self.kind {
            return transport::take(l4, seen, option, words, matches);
        }
        let Some(own) = matches.get_mut(self.slot) else {
            return Ok(false);
        };
        match own {
            Match::Comment(text) => place::comment(text, seen, option, words),
            Match::Multiport(m) => transport::multiport(m, seen, option, words),
            Match::AddressType(m) => place::address_type(m, seen, option, words),
            Match::Conntrack(m) => connection::conntrack(m, seen, option, words),
            Match::State(m) => connection::state(m, seen, option, words),
            Match::Mark(m) | Match::Connmark(m) => connection::mark(m, seen, option, words),
            Match::Statistic(m) => memory::statistic(m, seen, option, words),
            Match::Set(m) => place::set(m, seen, option, words),
            Match::Physdev(m) => place::physdev(m, seen, option, words),
            Match::Ipvs(m) => place::ipvs(m, seen, option, words),
            Match::Iprange(m) => place::iprange(m, seen, option, words),
            Match::Limit(m) => memory::limit(m, seen, option, words),
            Match::Recent(m) => memory::recent(m, seen, option, words),
            Match::Source(_)
            | Match::Destination(_)
            | Match::InInterface(_)
            | Match::OutInterface(_)
            | Match::Protocol(_)
            | Match::Fragment(_)
            | Match::Module(_)
            | Match::SourcePort(..)
            | Match::DestinationPort(..)
            | Match::TcpFlags(_)
            | Match::IcmpType(..)
            | Match::Unknown(_) => Ok(false),
        }
    }

    /// Checks that everything the module needs was given.
    pub(super) fn complete(&self, protocol: Option<Protocol>) -> Result<(), ParseError> {
        let needs = match self.kind {
            Kind::L4(l4) => {
                return self.needs_protocol(
                    l4.name(),
                    protocol == Some(l4.protocol()),
                    match l4 {
                        L4::Tcp => "-p tcp",
                        L4::Udp => "-p udp",
                        L4::Sctp => "-p sctp",
                        L4::Icmp => "-p icmp",
                        L4::Icmp6 => "-p ipv6-icmp",
                    },
                );
            }
            Kind::Comment => (self.seen == 0).then_some(("comment", "--comment")),
            Kind::Multiport => {
                self.needs_protocol(
                    "multiport",
                    protocol.is_some_and(Protocol::has_ports),
                    "-p tcp, udp, udplite, dccp or sctp",
                )?;
                (self.seen == 0).then_some(("multiport", "--sports, --dports or --ports"))
            }
            Kind::AddressType => {
                place::lacks_type(self.seen).then_some(("addrtype", "--src-type or --dst-type"))
            }
            Kind::Conntrack => (self.seen == 0).then_some(("conntrack", "an option")),
            Kind::State => (self.seen == 0).then_some(("state", "--state")),
            Kind::Mark => (self.seen == 0).then_some(("mark", "--mark")),
            Kind::Connmark => (self.seen == 0).then_some(("connmark", "--mark")),
            Kind::Statistic => memory::statistic_needs(self.seen).map(|n| ("statistic", n)),
            Kind::Set => (self.seen & 1 == 0).then_some(("set", "--match-set")),
            Kind::Physdev => (self.seen == 0).then_some(("physdev", "an option")),
            Kind::Ipvs => (self.seen == 0).then_some(("ipvs", "an option")),
            Kind::Iprange => (self.seen == 0).then_some(("iprange", "--src-range or --dst-range")),
            Kind::Recent => memory::recent_needs(self.seen).map(|n| ("recent", n)),
            Kind::Limit | Kind::Target(_) | Kind::Opaque | Kind::OpaqueTarget => None,
        };
        match needs {
            None => Ok(()),
            Some((module, needs)) => Err(ParseError::MissingOption {
                module: module.into(),
                needs,
                at: self.at,
            }),
        }
    }

    /// Checks that the rule is about a protocol that the module needs.
    pub(super) fn needs_protocol(
        &self,
        module: &str,
        holds: bool,
        needs: &'static str,
    ) -> Result<(), ParseError> {
        if holds {
            return Ok(());
        }
        Err(ParseError::MissingProtocol {
            module: module.into(),
            needs,
            at: self.at,
        })
    }
}
