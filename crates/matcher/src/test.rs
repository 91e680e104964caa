//! What a rule asks of a packet, one compiled test at a time.
//!
//! Addresses are compared as masked numbers. The modules of the kernel that a test follows are named
//! where `podwire-interp` defines them; the words here say only what is done differently.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use podwire_packet::{Family, Protocol};
use podwire_ruleset::{
    AddressMatch, AddressTypeMatch, AddressTypes, Choose, ConntrackMatch, CtStates, IcmpTypeMatch,
    InterfaceMatch, Inv, IprangeMatch, IpvsInfo, IpvsMatch, LimitMatch, MarkMatch, Match,
    MultiportMatch, MultiportSide, PhysdevMatch, RecentMatch, RuleId, SetMatch, StatisticMatch,
    TcpFlagsMatch,
};

use crate::addrtype::types_of;
use crate::boxes::RuleBox;
use crate::fields::{Equality, Fields, bits};
use crate::memory::Memory;
use crate::sets;
use crate::view::View;

/// An address under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Masked<A> {
    pub(crate) value: A,
    pub(crate) mask: A,
    pub(crate) inverted: bool,
}

impl<A: Copy> Masked<A> {
    /// The addresses that it names, if they are neighbours and it has no `!`.
    fn range<F: Fields<Address = A>>(&self) -> Option<RangeInclusive<A>> {
        let last = F::last_under(self.value, self.mask)?;
        (!self.inverted).then_some(self.value..=last)
    }
}

/// Fields of a [`RuleBox`].
pub(crate) const DIMENSIONS: usize = 5;

/// One test of a rule; 16 bytes for IPv4, what is larger is boxed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test<F: Fields> {
    /// Not a later fragment.
    HasTransport,
    /// Whatever the packet: an address of the other family, say.
    Constant(bool),
    Source(Masked<F::Address>),
    Destination(Masked<F::Address>),
    Input(Box<Inv<InterfaceMatch>>),
    Output(Box<Inv<InterfaceMatch>>),
    Protocol(Inv<Protocol>),
    Fragment(bool),
    SourcePort(Inv<Ports>),
    DestinationPort(Inv<Ports>),
    TcpFlags(Inv<TcpFlagsMatch>),
    IcmpType(Box<Inv<IcmpTypeMatch>>),
    Multiport(Box<MultiportMatch>),
    AddressType(AddressTypeMatch),
    Conntrack(Box<ConntrackMatch>),
    State(Inv<CtStates>),
    Mark(Inv<MarkMatch>),
    Connmark(Inv<MarkMatch>),
    /// Chance, of a threshold over 2^31.
    Random(Inv<u32>),
    Nth(Box<Nth>),
    Set(Box<Inv<SetMatch>>),
    Physdev(Box<PhysdevMatch>),
    Ipvs(Box<IpvsMatch>),
    Iprange(Box<IprangeMatch>),
    Limit(LimitMatch),
    Recent(Box<RecentMatch>),
}

/// The first and the last of some ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports(pub(crate) u16, pub(crate) u16);

impl Ports {
    fn of(ports: &RangeInclusive<u16>) -> Self {
        Self(*ports.start(), *ports.end())
    }

    /// None if there are none.
    fn range(self) -> Option<RangeInclusive<u16>> {
        (self.0 <= self.1).then_some(self.0..=self.1)
    }

    const fn contains(self, port: u16) -> bool {
        self.0 <= port && port <= self.1
    }
}

/// `statistic --mode nth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nth {
    inverted: bool,
    every: u32,
    packet: u32,
}

impl<F: Fields> Test<F> {
    /// None of what cannot fail, or is not known.
    pub(crate) fn of(test: &Match) -> Option<Self> {
        let ports = |test: &Inv<RangeInclusive<u16>>| Inv {
            inverted: test.inverted,
            value: Ports::of(&test.value),
        };
        Some(match test {
            Match::Comment(_) | Match::Unknown(_) => return None,
            Match::Source(test) => Self::address(test, Self::Source),
            Match::Destination(test) => Self::address(test, Self::Destination),
            Match::InInterface(test) => Self::Input(Box::new(*test)),
            Match::OutInterface(test) => Self::Output(Box::new(*test)),
            Match::Protocol(test) => Self::Protocol(*test),
            Match::Fragment(later) => Self::Fragment(*later),
            Match::Module(_) => Self::HasTransport,
            Match::SourcePort(_, test) => Self::SourcePort(ports(test)),
            Match::DestinationPort(_, test) => Self::DestinationPort(ports(test)),
            Match::TcpFlags(test) => Self::TcpFlags(*test),
            Match::IcmpType(_, test) => Self::IcmpType(Box::new(test.clone())),
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
            }) => Self::Nth(Box::new(Nth {
                inverted: *inverted,
                every: *every,
                packet: *packet,
            })),
            Match::Set(test) => Self::Set(Box::new(test.clone())),
            Match::Physdev(test) => Self::Physdev(Box::new(*test)),
            Match::Ipvs(test) => Self::Ipvs(test.clone()),
            Match::Iprange(test) => Self::Iprange(test.clone()),
            Match::Limit(test) => Self::Limit(*test),
            Match::Recent(test) => Self::Recent(test.clone()),
        })
    }

    fn address(test: &Inv<AddressMatch>, kind: fn(Masked<F::Address>) -> Self) -> Self {
        let (value, mask) = match test.value {
            AddressMatch::Prefix(prefix) => (prefix.address(), prefix.mask()),
            AddressMatch::Sparse { address, mask } => (address, mask),
        };
        match (F::number(value), F::number(mask)) {
            (Some(value), Some(mask)) => kind(Masked {
                value,
                mask,
                inverted: test.inverted,
            }),
            (Some(_) | None, _) => Self::Constant(test.inverted),
        }
    }

    /// Whether it holds; `id` says of which rule it is, which those ask that remember.
    #[inline]
    pub(crate) fn holds(
        &self,
        id: impl Fn() -> RuleId,
        view: &View<'_>,
        memory: &mut Memory<'_>,
        choose: &mut impl Choose,
    ) -> bool {
        let packet = view.packet;
        let headers = &packet.headers;
        let whole = !headers.is_later_fragment;
        match self {
            Self::HasTransport => whole,
            Self::Constant(holds) => *holds,
            Self::Source(test) => is_under::<F>(test, headers.src),
            Self::Destination(test) => is_under::<F>(test, headers.dst),
            Self::Input(test) => view.is_device(test, packet.input),
            Self::Output(test) => view.is_device(test, packet.output),
            Self::Protocol(test) => (headers.protocol == test.value) != test.inverted,
            Self::Fragment(later) => headers.is_later_fragment == *later,
            Self::SourcePort(test) => whole && test.value.contains(headers.sport) != test.inverted,
            Self::DestinationPort(test) => {
                whole && test.value.contains(headers.dport) != test.inverted
            }
            Self::TcpFlags(Inv { inverted, value }) => {
                whole && (headers.tcp_flags.0 & value.mask.0 == value.set.0) != *inverted
            }
            Self::IcmpType(test) => {
                let value = &test.value;
                let fits = match value.icmp_type {
                    None => true,
                    Some(of) => of == headers.icmp_type && value.codes.contains(&headers.icmp_code),
                };
                whole && fits != test.inverted
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
            Self::Nth(test) => memory.nth(id(), test.every, test.packet) != test.inverted,
            Self::Set(test) => sets::has(&test.value, view, memory.sets()) != test.inverted,
            Self::Physdev(test) => physdev(test, view),
            Self::Ipvs(test) => ipvs(test, view),
            Self::Iprange(test) => {
                let within = |range: &Option<Inv<RangeInclusive<IpAddr>>>, address: IpAddr| {
                    range
                        .as_ref()
                        .is_none_or(|range| range.value.contains(&address) != range.inverted)
                };
                within(&test.src, headers.src) && within(&test.dst, headers.dst)
            }
            Self::Limit(test) => memory.limit(id(), test, packet.now),
            Self::Recent(test) => memory.recent(test, packet),
        }
    }

    /// What it compares for equality, if that is what it does.
    pub(crate) fn equality(&self) -> Option<Equality<F>> {
        let (value, mask) = if let Self::Source(Masked {
            value,
            mask,
            inverted: false,
        }) = self
        {
            (F::source(*value), F::source(*mask).union(F::foreign()))
        } else if let Self::Destination(Masked {
            value,
            mask,
            inverted: false,
        }) = self
        {
            (
                F::destination(*value),
                F::destination(*mask).union(F::foreign()),
            )
        } else if let Self::Protocol(Inv {
            inverted: false,
            value,
        }) = self
        {
            (F::transport(0, 0, value.0), F::transport(0, 0, u8::MAX))
        } else if let Self::SourcePort(Inv {
            inverted: false,
            value: Ports(first, last),
        }) = self
            && first == last
        {
            (F::transport(*first, 0, 0), F::transport(u16::MAX, 0, 0))
        } else if let Self::DestinationPort(Inv {
            inverted: false,
            value: Ports(first, last),
        }) = self
            && first == last
        {
            (F::transport(0, *first, 0), F::transport(0, u16::MAX, 0))
        } else {
            return None;
        };
        // A value with bits outside of the mask fits no packet; let it be asked.
        (value.masked(mask) == value).then_some(Equality { value, mask })
    }

    /// Which field it asks to be within a range, if that is what it does.
    pub(crate) fn dimension(&self) -> Option<usize> {
        self.narrow(&mut RuleBox::any(F::all_bits()))
    }

    /// Makes a box smaller by what it asks, and says which field that is; none if it asks for no range.
    pub(crate) fn narrow(&self, of: &mut RuleBox<F::Address>) -> Option<usize> {
        if let Self::Source(test) = self {
            of.src = test.range::<F>()?;
            return Some(0);
        }
        if let Self::Destination(test) = self {
            of.dst = test.range::<F>()?;
            return Some(1);
        }
        if let Self::SourcePort(Inv {
            inverted: false,
            value,
        }) = self
        {
            of.sport = value.range()?;
            return Some(2);
        }
        if let Self::DestinationPort(Inv {
            inverted: false,
            value,
        }) = self
        {
            of.dport = value.range()?;
            return Some(3);
        }
        if let Self::Protocol(Inv {
            inverted: false,
            value,
        }) = self
        {
            of.protocol = Some(value.0);
            return Some(4);
        }
        None
    }

    /// Whether it looks behind the IP header.
    pub(crate) const fn is_of_ports(&self) -> bool {
        matches!(self, Self::SourcePort(_) | Self::DestinationPort(_))
    }
}

#[inline]
pub(crate) fn is_under<F: Fields>(test: &Masked<F::Address>, address: IpAddr) -> bool {
    F::number(address).is_some_and(|of| F::under(of, test.mask) == test.value) != test.inverted
}

/// Whether an address is one that the connection test names.
fn fits(test: &AddressMatch, address: IpAddr) -> bool {
    let (value, mask) = match test {
        AddressMatch::Prefix(prefix) => (prefix.address(), prefix.mask()),
        AddressMatch::Sparse { address, mask } => (*address, *mask),
    };
    let is_of_one =
        Family::of(value) == Family::of(mask) && Family::of(value) == Family::of(address);
    is_of_one && bits(address) & bits(mask) == bits(value)
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
            asked.is_none_or(|asked| fits(&asked.value, *address) != asked.inverted)
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

/// A packet on its way to a real server has what its connection began with; an answer has nothing that
/// can be asked for but that it is one.
fn ipvs(test: &IpvsMatch, view: &View<'_>) -> bool {
    let known = view.packet.conntrack;
    let plain = IpvsMatch {
        is_ipvs: test.is_ipvs,
        ..IpvsMatch::default()
    };
    if *test == plain {
        return test.is_ipvs != Some(known.ipvs == IpvsInfo::Untouched);
    }
    let has_connection = known.ipvs == IpvsInfo::Request && !view.is_untracked;
    let asked = known.original.filter(|_| has_connection);
    asked.is_some_and(|asked| {
        let own = view.packet.headers.protocol;
        let fails = test
            .protocol
            .is_some_and(|t| (t.value == own) == t.inverted)
            || test
                .port
                .is_some_and(|t| (t.value == asked.dport) == t.inverted)
            || test
                .direction
                .is_some_and(|t| (t.value == known.direction) == t.inverted)
            || test.address.as_ref().is_some_and(|t| {
                let within = match t.value {
                    AddressMatch::Prefix(prefix) => prefix.contains(asked.dst),
                    AddressMatch::Sparse { address, mask } => {
                        masked(asked.dst, mask) == masked(address, mask)
                    }
                };
                within == t.inverted
            });
        !fails
    })
}

/// The bits of an address that a mask of its family keeps.
fn masked(address: IpAddr, mask: IpAddr) -> Option<u128> {
    match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => {
            Some((address.to_bits() & mask.to_bits()).into())
        }
        (IpAddr::V6(address), IpAddr::V6(mask)) => Some(address.to_bits() & mask.to_bits()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
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
