//! Whether a rule's matches hold for a packet.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use podwire_packet::DeviceName;
use podwire_ruleset::{
    AddressMatch, AddressType, AddressTypeMatch, AddressTypes, Choose, ConntrackMatch,
    HostAddresses, IcmpTypeMatch, InterfaceMatch, Inv, IprangeMatch, IpvsInfo, IpvsMatch, Match,
    MultiportMatch, MultiportSide, Packet, PhysdevMatch, Rule, RuleId, StatisticMatch,
    TcpFlagsMatch,
};

use crate::address_type::address_type;
use crate::ipset::is_in_set;
use crate::memory::Memory;

/// Whether a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Every test held.
    Yes,
    /// Some test did not.
    No,
    /// Every test that podwire knows held, and there is one that it does not know.
    Unknown,
}

/// Asks the rule's matches in the kernel's order and stops at the first that does not hold.
pub(crate) fn rule_holds(
    rule: &Rule,
    id: RuleId,
    packet: &Packet<'_>,
    memory: &mut Memory<'_>,
    choose: &mut impl Choose,
) -> Holds {
    let mut holds = Holds::Yes;
    for test in rule.in_kernel_order() {
        if matches!(test, Match::Unknown(_)) {
            holds = Holds::Unknown;
        } else if !match_holds(test, id, packet, memory, choose) {
            return Holds::No;
        }
    }
    holds
}

/// Compares, and inverts if the rule says `!`.
fn check<T>(test: &Inv<T>, holds: impl FnOnce(&T) -> bool) -> bool {
    holds(&test.value) != test.inverted
}

/// An option that was not given holds.
fn check_given<T>(test: &Option<Inv<T>>, holds: impl FnOnce(&T) -> bool) -> bool {
    test.as_ref().is_none_or(|test| check(test, holds))
}

fn match_holds(
    test: &Match,
    id: RuleId,
    packet: &Packet<'_>,
    memory: &mut Memory<'_>,
    choose: &mut impl Choose,
) -> bool {
    let headers = &packet.headers;
    // The modules of protocols with ports need a transport header, which a later fragment lacks.
    let has_transport = !headers.is_later_fragment;
    match test {
        Match::Source(test) => check(test, |a| address_is(a, headers.src)),
        Match::Destination(test) => check(test, |a| address_is(a, headers.dst)),
        Match::InInterface(test) => check(test, |i| device_is(*i, packet.input)),
        Match::OutInterface(test) => check(test, |i| device_is(*i, packet.output)),
        Match::Protocol(test) => check(test, |p| headers.protocol == *p),
        Match::Fragment(later) => headers.is_later_fragment == *later,

        Match::Module(_) => has_transport,
        Match::SourcePort(_, test) => {
            has_transport && check(test, |ports| ports.contains(&headers.sport))
        }
        Match::DestinationPort(_, test) => {
            has_transport && check(test, |ports| ports.contains(&headers.dport))
        }
        Match::TcpFlags(test) => {
            has_transport && check(test, |flags| tcp_flags_are(*flags, packet))
        }
        Match::IcmpType(_, test) => has_transport && check(test, |icmp| icmp_type_is(icmp, packet)),

        Match::Comment(_) => true,
        Match::Multiport(test) => has_transport && multiport_holds(test, packet),
        Match::AddressType(test) => address_type_holds(test, packet),
        Match::Conntrack(test) => conntrack_holds(test, packet),
        // `state_mt` (net/netfilter/xt_state.c) knows no SNAT and DNAT.
        Match::State(test) => check(test, |states| {
            states.intersects(packet.conntrack.state.bit())
        }),
        Match::Mark(test) => check(test, |mark| packet.mark.0 & mark.mask.0 == mark.value.0),
        // `connmark_mt` (net/netfilter/xt_connmark.c): without a connection it fails, `!` or not.
        Match::Connmark(test) => {
            packet.conntrack.state.has_connection()
                && check(test, |mark| {
                    packet.conntrack.mark.0 & mark.mask.0 == mark.value.0
                })
        }
        Match::Statistic(StatisticMatch::Random(test)) => {
            check(test, |p| choose.chance(p.threshold()))
        }
        Match::Statistic(StatisticMatch::Nth {
            inverted,
            every,
            packet,
        }) => memory.nth(id, *every, *packet) != *inverted,
        Match::Set(test) => check(test, |set| is_in_set(set, packet, memory.sets())),
        Match::Physdev(test) => physdev_holds(test, packet),
        Match::Ipvs(test) => ipvs_holds(test, packet),
        Match::Iprange(test) => iprange_holds(test, packet),
        Match::Limit(test) => memory.limit(id, test, packet.now),
        Match::Recent(test) => memory.recent(test, packet),
        Match::Unknown(_) => true,
    }
}

fn address_is(test: &AddressMatch, address: IpAddr) -> bool {
    match test {
        AddressMatch::Prefix(prefix) => prefix.contains(address),
        AddressMatch::Sparse {
            address: wanted,
            mask,
        } => match (wanted, mask, address) {
            (IpAddr::V4(wanted), IpAddr::V4(mask), IpAddr::V4(is)) => {
                u32::from(is) & u32::from(*mask) == u32::from(*wanted)
            }
            (IpAddr::V6(wanted), IpAddr::V6(mask), IpAddr::V6(is)) => {
                u128::from(is) & u128::from(*mask) == u128::from(*wanted)
            }
            (IpAddr::V4(_) | IpAddr::V6(_), ..) => false,
        },
    }
}

/// `ip_packet_match`: where the packet has no such device, the kernel compares with an empty name
/// (`nulldevname`), which `+` alone fits.
fn device_is(test: InterfaceMatch, device: Option<DeviceName>) -> bool {
    match test {
        InterfaceMatch::Any => true,
        InterfaceMatch::Exact(name) => device == Some(name),
        InterfaceMatch::Prefix(start) => {
            device.is_some_and(|name| name.as_str().starts_with(start.as_str()))
        }
    }
}

fn tcp_flags_are(test: TcpFlagsMatch, packet: &Packet<'_>) -> bool {
    packet.headers.tcp_flags.intersection(test.mask) == test.set
}

/// `icmp_type_code_match`: type 255 is any.
fn icmp_type_is(test: &IcmpTypeMatch, packet: &Packet<'_>) -> bool {
    test.icmp_type.is_none_or(|icmp_type| {
        packet.headers.icmp_type == icmp_type && test.codes.contains(&packet.headers.icmp_code)
    })
}

/// `ports_match_v1`, net/netfilter/xt_multiport.c.
fn multiport_holds(test: &MultiportMatch, packet: &Packet<'_>) -> bool {
    let has = |port: u16| test.ports.value.iter().any(|range| range.contains(&port));
    let holds = match test.side {
        MultiportSide::Source => has(packet.headers.sport),
        MultiportSide::Destination => has(packet.headers.dport),
        MultiportSide::Either => has(packet.headers.sport) || has(packet.headers.dport),
    };
    packet.headers.protocol.has_ports() && holds != test.ports.inverted
}

/// `addrtype_mt_v1`, net/netfilter/xt_addrtype.c.
fn address_type_holds(test: &AddressTypeMatch, packet: &Packet<'_>) -> bool {
    let device = match (test.limit_iface_in, test.limit_iface_out) {
        (true, _) => packet.input,
        (false, true) => packet.output,
        (false, false) => None,
    };
    let is_of = |types: &AddressTypes, address: IpAddr| match address {
        IpAddr::V4(_) => has_type(*types, address_type(packet.host, address, device)),
        IpAddr::V6(_) => ipv6_address_is(*types, packet.host, address, device),
    };
    check_given(&test.src, |types| is_of(types, packet.headers.src))
        && check_given(&test.dst, |types| is_of(types, packet.headers.dst))
}

const fn has_type(types: AddressTypes, kind: AddressType) -> bool {
    types.0 & (1 << kind as u16) != 0
}

/// `match_type6`: of IPv6 the kernel asks each named type in turn, and an own address is unicast too.
///
/// It also knows ANYCAST and UNREACHABLE, which need routes that a packet does not carry here; no
/// address is of these.
fn ipv6_address_is(
    types: AddressTypes,
    host: &HostAddresses,
    address: IpAddr,
    device: Option<DeviceName>,
) -> bool {
    let is_unicast = !address.is_multicast() && !address.is_unspecified();
    let is_local = address_type(host, address, device) == AddressType::Local;
    let asks_routes = [
        AddressType::Local,
        AddressType::Anycast,
        AddressType::Unreachable,
    ];
    (!has_type(types, AddressType::Multicast) || address.is_multicast())
        && (!has_type(types, AddressType::Unicast) || is_unicast)
        && (!has_type(types, AddressType::Unspec) || address.is_unspecified())
        && (!asks_routes.iter().any(|&kind| has_type(types, kind))
            || has_type(types, AddressType::Local) && is_local)
}

/// `conntrack_mt`, net/netfilter/xt_conntrack.c.
fn conntrack_holds(test: &ConntrackMatch, packet: &Packet<'_>) -> bool {
    let conntrack = &packet.conntrack;
    if !check_given(&test.state, |states| states.intersects(conntrack.states())) {
        return false;
    }
    // A packet of no connection: what was asked besides its state is not looked at.
    if !conntrack.state.has_connection() {
        return test.state.is_some();
    }
    let original = conntrack.original.unwrap_or(packet.headers.five_tuple());
    let reply = conntrack.reply.unwrap_or(original.reversed());
    test.direction
        .is_none_or(|direction| direction == conntrack.direction)
        && check_given(&test.orig_src, |a| address_is(a, original.src))
        && check_given(&test.orig_dst, |a| address_is(a, original.dst))
        && check_given(&test.reply_src, |a| address_is(a, reply.src))
        && check_given(&test.reply_dst, |a| address_is(a, reply.dst))
        && check_given(&test.protocol, |p| original.protocol == *p)
        && port_is(&test.orig_sport, original.sport)
        && port_is(&test.orig_dport, original.dport)
        && port_is(&test.reply_sport, reply.sport)
        && port_is(&test.reply_dport, reply.dport)
        // NONE is an empty set, which the kernel finds in no connection.
        && check_given(&test.status, |status| conntrack.status.0 & status.0 != 0)
        && check_given(&test.expire, |seconds| {
            seconds.contains(&conntrack.expires_seconds)
        })
}

fn port_is(test: &Option<Inv<RangeInclusive<u16>>>, port: u16) -> bool {
    check_given(test, |range| range.contains(&port))
}

/// `ipvs_mt`, net/netfilter/xt_ipvs.c. The virtual address and port are those of the connection, which
/// is found by packets on their way to a real server only. `--ipvs` counts where nothing else is asked.
fn ipvs_holds(test: &IpvsMatch, packet: &Packet<'_>) -> bool {
    let IpvsMatch {
        is_ipvs,
        protocol,
        address,
        port,
        direction,
    } = test;
    let asks_more =
        protocol.is_some() || address.is_some() || port.is_some() || direction.is_some();
    if !asks_more {
        let is_own = packet.conntrack.ipvs != IpvsInfo::Untouched;
        return is_ipvs.is_none_or(|is_ipvs| is_ipvs == is_own);
    }
    let (IpvsInfo::Request, Some(original)) = (packet.conntrack.ipvs, packet.conntrack.original)
    else {
        return false;
    };
    let holds = |test: Option<bool>| test.unwrap_or(true);
    holds(
        protocol
            .as_ref()
            .map(|test| check(test, |p| *p == packet.headers.protocol)),
    ) && holds(
        address
            .as_ref()
            .map(|test| check(test, |a| address_is(a, original.dst))),
    ) && holds(
        port.as_ref()
            .map(|test| check(test, |p| *p == original.dport)),
    ) && holds(
        direction
            .as_ref()
            .map(|test| check(test, |d| *d == packet.conntrack.direction)),
    )
}

/// `physdev_mt`, net/netfilter/xt_physdev.c. A packet that did not cross a bridge fits only what was
/// asked with `!`; of one that did, a port to leave by that is not known fits nothing, and one it came
/// in by that is not known fits everything.
fn physdev_holds(test: &PhysdevMatch, packet: &Packet<'_>) -> bool {
    let (input, output) = (packet.physdev_in, packet.physdev_out);
    if input.is_none() && output.is_none() {
        let is_not = |asked: Option<bool>| asked != Some(true);
        let is_inverted = |asked: Option<Inv<InterfaceMatch>>| asked.is_none_or(|t| t.inverted);
        return is_not(test.is_bridged)
            && is_not(test.is_in)
            && is_not(test.is_out)
            && is_inverted(test.input)
            && is_inverted(test.output);
    }
    test.is_bridged
        .is_none_or(|wanted| wanted == output.is_some())
        && test.is_in.is_none_or(|wanted| wanted == input.is_some())
        && test.is_out.is_none_or(|wanted| wanted == output.is_some())
        && (input.is_none() || check_given(&test.input, |wanted| device_is(*wanted, input)))
        && (test.output.is_none() || output.is_some())
        && check_given(&test.output, |wanted| device_is(*wanted, output))
}

fn iprange_holds(test: &IprangeMatch, packet: &Packet<'_>) -> bool {
    check_given(&test.src, |range| range.contains(&packet.headers.src))
        && check_given(&test.dst, |range| range.contains(&packet.headers.dst))
}
