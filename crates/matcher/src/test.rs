//! What a rule asks of a packet, one compiled test at a time.
//!
//! Addresses are compared as masked numbers. The modules of the kernel that a test follows are named
//! where `podwire-interp` defines them; the words here say only what is done differently.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use podwire_packet::{Family, Protocol};
use podwire_ruleset::{
    AddressMatch, AddressTypeMatch, AddressTypes, Choose, ConntrackMatch, CtStates, IcmpTypeMatch,
    InterfaceMatch, Inv, IprangeMatch, LimitMatch, MarkMatch, Match, MultiportMatch, MultiportSide,
    PhysdevMatch, RecentMatch, RuleId, SetMatch, StatisticMatch, TcpFlagsMatch,
};

use crate::addrtype::types_of;
use crate::fields::bits;
use crate::memory::Memory;
use crate::sets;
use crate::view::View;

/// Whether a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Every test held.
    Yes,
    /// Some test did not.
    No,
    /// Every known test held, and there is one that is not known.
    Unknown,
}

/// An address under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Masked {
    family: Family,
    value: u128,
    mask: u128,
}

impl Masked {
    fn of(test: &AddressMatch) -> Self {
        let (value, mask) = match test {
            AddressMatch::Prefix(prefix) => (prefix.address(), prefix.mask()),
            AddressMatch::Sparse { address, mask } => (*address, *mask),
        };
        if Family::of(value) == Family::of(mask) {
            Self {
                family: Family::of(value),
                value: bits(value),
                mask: bits(mask),
            }
        } else {
            // No address has a bit that is not looked at.
            Self {
                family: Family::of(value),
                value: 1,
                mask: 0,
            }
        }
    }

    fn fits(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family && bits(address) & self.mask == self.value
    }
}

/// One test of a rule.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// Not a later fragment.
    HasTransport,
    Source(Inv<Masked>),
    Destination(Inv<Masked>),
    Input(Inv<InterfaceMatch>),
    Output(Inv<InterfaceMatch>),
    Protocol(Inv<Protocol>),
    Fragment(bool),
    SourcePort(Inv<RangeInclusive<u16>>),
    DestinationPort(Inv<RangeInclusive<u16>>),
    TcpFlags(Inv<TcpFlagsMatch>),
    IcmpType(Inv<IcmpTypeMatch>),
    Multiport(Box<MultiportMatch>),
    AddressType(AddressTypeMatch),
    Conntrack(Box<ConntrackMatch>),
    State(Inv<CtStates>),
    Mark(Inv<MarkMatch>),
    Connmark(Inv<MarkMatch>),
    /// Chance, of a threshold over 2^31.
    Random(Inv<u32>),
    Nth {
        inverted: bool,
        every: u32,
        packet: u32,
    },
    Set(Box<Inv<SetMatch>>),
    Physdev(Box<PhysdevMatch>),
    Iprange(Box<IprangeMatch>),
    Limit(LimitMatch),
    Recent(Box<RecentMatch>),
}

impl Test {
    /// None of what cannot fail, or is not known.
    pub(crate) fn of(test: &Match) -> Option<Self> {
        let masked = |test: &Inv<AddressMatch>| Inv {
            inverted: test.inverted,
            value: Masked::of(&test.value),
        };
        Some(match test {
            Match::Comment(_) | Match::Unknown(_) => return None,
            Match::Source(test) => Self::Source(masked(test)),
            Match::Destination(test) => Self::Destination(masked(test)),
            Match::InInterface(test) => Self::Input(*test),
            Match::OutInterface(test) => Self::Output(*test),
            Match::Protocol(test) => Self::Protocol(*test),
            Match::Fragment(later) => Self::Fragment(*later),
            Match::Module(_) => Self::HasTransport,
            Match::SourcePort(_, test) => Self::SourcePort(test.clone()),
            Match::DestinationPort(_, test) => Self::DestinationPort(test.clone()),
            Match::TcpFlags(test) => Self::TcpFlags(*test),
            Match::IcmpType(_, test) => Self::IcmpType(test.clone()),
            Match::Multiport(test) => Self::Multiport(Box::new(test.clone())),
            Match::AddressType(test) => Self::AddressType(*test),
            Match::Conntrack(test) => Self::Conntrack(test.clone()),
            Match::State(test) => Self::State(*test),
            Match::Mark(test) => Self::Mark(*test),
            Match::Connmark(test) => Self::Connmark(*test),
            Match::Statistic(StatisticMatch::Random(test)) => Self::Random(Inv {
                inverted: test.inverted,
                value: test.value.threshold(),
            }),
            Match::Statistic(StatisticMatch::Nth {
                inverted,
                every,
                packet,
            }) => Self::Nth {
                inverted: *inverted,
                every: *every,
                packet: *packet,
            },
            Match::Set(test) => Self::Set(Box::new(test.clone())),
            Match::Physdev(test) => Self::Physdev(Box::new(*test)),
            Match::Iprange(test) => Self::Iprange(test.clone()),
            Match::Limit(test) => Self::Limit(*test),
            Match::Recent(test) => Self::Recent(test.clone()),
        })
    }

    pub(crate) fn holds(
        &self,
        id: RuleId,
        view: &View<'_>,
        memory: &mut Memory<'_>,
        choose: &mut impl Choose,
    ) -> bool {
        let packet = view.packet;
        let headers = &packet.headers;
        let whole = !headers.is_later_fragment;
        match self {
            Self::HasTransport => whole,
            Self::Source(test) => test.value.fits(headers.src) != test.inverted,
            Self::Destination(test) => test.value.fits(headers.dst) != test.inverted,
            Self::Input(test) => view.is_device(test, packet.input),
            Self::Output(test) => view.is_device(test, packet.output),
            Self::Protocol(test) => (headers.protocol == test.value) != test.inverted,
            Self::Fragment(later) => headers.is_later_fragment == *later,
            Self::SourcePort(test) => whole && test.value.contains(&headers.sport) != test.inverted,
            Self::DestinationPort(test) => {
                whole && test.value.contains(&headers.dport) != test.inverted
            }
            Self::TcpFlags(Inv { inverted, value }) => {
                whole && (headers.tcp_flags.0 & value.mask.0 == value.set.0) != *inverted
            }
            Self::IcmpType(Inv { inverted, value }) => {
                let fits = match value.icmp_type {
                    None => true,
                    Some(of) => of == headers.icmp_type && value.codes.contains(&headers.icmp_code),
                };
                whole && fits != *inverted
            }
            Self::Multiport(test) => whole && multiport(test, view),
            Self::AddressType(test) => address_type(test, view),
            Self::Conntrack(test) => conntrack(test, view),
            Self::State(test) => test.value.intersects(view.state().bit()) != test.inverted,
            Self::Mark(test) => mark(test, view.mark.0),
            Self::Connmark(test) => {
                view.state().has_connection() && mark(test, view.conntrack_mark.0)
            }
            Self::Random(test) => choose.chance(test.value) != test.inverted,
            Self::Nth {
                inverted,
                every,
                packet,
            } => memory.nth(id, *every, *packet) != *inverted,
            Self::Set(test) => sets::has(&test.value, view, memory.sets()) != test.inverted,
            Self::Physdev(test) => physdev(test, view),
            Self::Iprange(test) => {
                let within = |range: &Option<Inv<RangeInclusive<IpAddr>>>, address: IpAddr| {
                    range
                        .as_ref()
                        .is_none_or(|range| range.value.contains(&address) != range.inverted)
                };
                within(&test.src, headers.src) && within(&test.dst, headers.dst)
            }
            Self::Limit(test) => memory.limit(id, test, packet.now),
            Self::Recent(test) => memory.recent(test, packet),
        }
    }
}

const fn mark(test: &Inv<MarkMatch>, mark: u32) -> bool {
    (mark & test.value.mask.0 == test.value.value.0) != test.inverted
}

fn multiport(test: &MultiportMatch, view: &View<'_>) -> bool {
    let headers = &view.packet.headers;
    let (source, destination) = match test.side {
        MultiportSide::Source => (true, false),
        MultiportSide::Destination => (false, true),
        MultiportSide::Either => (true, true),
    };
    let fits = test.ports.value.iter().any(|ports| {
        source && ports.contains(&headers.sport) || destination && ports.contains(&headers.dport)
    });
    headers.protocol.has_ports() && fits != test.ports.inverted
}

fn address_type(test: &AddressTypeMatch, view: &View<'_>) -> bool {
    let device = if test.limit_iface_in {
        view.packet.input
    } else if test.limit_iface_out {
        view.packet.output
    } else {
        None
    };
    let fits = |asked: &Option<Inv<AddressTypes>>, address: IpAddr| match asked {
        None => true,
        Some(asked) => {
            types_of(view.packet.host, address, device).fit(asked.value) != asked.inverted
        }
    };
    fits(&test.src, view.packet.headers.src) && fits(&test.dst, view.packet.headers.dst)
}

fn conntrack(test: &ConntrackMatch, view: &View<'_>) -> bool {
    let states = view.states();
    if let Some(asked) = &test.state
        && asked.value.intersects(states) == asked.inverted
    {
        return false;
    }
    if !view.state().has_connection() {
        return test.state.is_some();
    }
    let connection = &view.packet.conntrack;
    let first = connection
        .original
        .unwrap_or_else(|| view.packet.headers.five_tuple());
    let back = connection.reply.unwrap_or_else(|| first.reversed());
    let addresses = [
        (&test.orig_src, first.src),
        (&test.orig_dst, first.dst),
        (&test.reply_src, back.src),
        (&test.reply_dst, back.dst),
    ];
    let ports = [
        (&test.orig_sport, first.sport),
        (&test.orig_dport, first.dport),
        (&test.reply_sport, back.sport),
        (&test.reply_dport, back.dport),
    ];
    let direction_fits = test
        .direction
        .is_none_or(|asked| asked == connection.direction);
    direction_fits
        && addresses.iter().all(|(asked, address)| {
            asked.is_none_or(|asked| Masked::of(&asked.value).fits(*address) != asked.inverted)
        })
        && ports.iter().all(|(asked, port)| {
            asked
                .as_ref()
                .is_none_or(|asked| asked.value.contains(port) != asked.inverted)
        })
        && test
            .protocol
            .is_none_or(|asked| (asked.value == first.protocol) != asked.inverted)
        && test
            .status
            .is_none_or(|asked| (asked.value.0 & connection.status.0 != 0) != asked.inverted)
        && test
            .expire
            .as_ref()
            .is_none_or(|asked| asked.value.contains(&connection.expires_seconds) != asked.inverted)
}

fn physdev(test: &PhysdevMatch, view: &View<'_>) -> bool {
    let (input, output) = (view.packet.physdev_in, view.packet.physdev_out);
    let given = |asked: Option<bool>, is: bool| asked.is_none_or(|asked| asked == is);
    if input.is_none() && output.is_none() {
        // Not of a bridge: any option that is not inverted fails.
        let asks_for = [test.is_bridged, test.is_in, test.is_out].contains(&Some(true));
        let names = [test.input, test.output];
        let names_one = names.iter().flatten().any(|asked| !asked.inverted);
        return !asks_for && !names_one;
    }
    given(test.is_bridged, output.is_some())
        && given(test.is_in, input.is_some())
        && given(test.is_out, output.is_some())
        && match (&test.input, input) {
            (Some(asked), Some(_)) => view.is_device(asked, input),
            (Some(_), None) | (None, _) => true,
        }
        && match (&test.output, output) {
            (Some(asked), Some(_)) => view.is_device(asked, output),
            (Some(_), None) => false,
            (None, _) => true,
        }
}
