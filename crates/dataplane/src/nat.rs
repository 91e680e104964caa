//! Address translation of a connection.
//!
//! Source: net/netfilter/nf_nat_core.c (`nf_nat_setup_info`, `get_unique_tuple`, `nf_nat_packet`).

use std::net::IpAddr;
use std::ops::RangeInclusive;

use podwire_packet::{FiveTuple, Headers, Protocol, SimTime};
use podwire_ruleset::{Choose, Draw, NatRange};

use crate::conntrack::tuple_of;
use crate::{ConnectionId, Conntrack, Direction};

/// Which end of a connection a hook translates (`enum nf_nat_manip_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manip {
    /// The source: INPUT and POSTROUTING.
    Source,
    /// The destination: PREROUTING and OUTPUT.
    Destination,
}

/// No port is free.
#[derive(Debug)]
pub(crate) struct PortsExhausted;

/// Decides the connection's source or destination: in `range`, and so that its replies can be told
/// from those of every other connection.
pub(crate) fn set_up(
    table: &mut Conntrack,
    id: ConnectionId,
    manip: Manip,
    range: &NatRange,
    now: SimTime,
    choose: &mut impl Choose,
) -> Result<(), PortsExhausted> {
    let Some(connection) = table.get(id) else {
        return Ok(());
    };
    // The connection's packets as they leave: what a reply answers.
    let current = connection.reply.reversed();
    // Whether nobody else's packets look like that (`nf_nat_used_tuple`).
    let is_free = |tuple: FiveTuple| !table.is_taken(&tuple.reversed(), now);
    let new = unique_tuple(is_free, current, manip, range, choose)?;
    table.settle(id, manip, new);
    Ok(())
}

fn unique_tuple(
    is_free: impl Fn(FiveTuple) -> bool,
    now: FiveTuple,
    manip: Manip,
    range: &NatRange,
    choose: &mut impl Choose,
) -> Result<FiveTuple, PortsExhausted> {
    let is_random = range.random || range.random_fully;
    // A source that fits already stays.
    if manip == Manip::Source && !is_random && fits(range, now.src, now.sport) && is_free(now) {
        return Ok(now);
    }
    let mut new = now;
    if let Some(addresses) = &range.addresses {
        let address = pick_address(addresses, choose);
        match manip {
            Manip::Source => new.src = address,
            Manip::Destination => new.dst = address,
        }
    }
    if !has_port_or_id(now.protocol) {
        return Ok(new);
    }
    let port_now = match manip {
        Manip::Source => now.sport,
        Manip::Destination => now.dport,
    };
    if !is_random {
        let fits = range
            .ports
            .as_ref()
            .is_none_or(|ports| ports.contains(&port_now) && range.base_port.is_none());
        let is_one = range
            .ports
            .as_ref()
            .is_some_and(|ports| ports.start() == ports.end());
        if fits && (is_one || is_free(new)) {
            return Ok(new);
        }
    }
    let ports = range.ports.clone().or_else(|| default_ports(manip, now));
    let Some(ports) = ports else {
        return Ok(new);
    };
    let first = first_port(&ports, manip, range, now);
    let size = u32::from(ports.end() - ports.start()) + 1;
    for step in 0..size {
        let offset = (first + step) % size;
        let port =
            ports.start() + u16::try_from(offset).expect("below the size of a range of ports");
        set_port(&mut new, manip, port);
        if size == 1 || is_free(new) {
            return Ok(new);
        }
    }
    Err(PortsExhausted)
}

/// Where to begin looking, as an offset into the range: at a pseudo-random place if the rule says
/// so, else for a destination at the beginning, or as far from it as the port is from the base; for a
/// source, where the kernel takes any, where the old port is.
fn first_port(ports: &RangeInclusive<u16>, manip: Manip, range: &NatRange, now: FiveTuple) -> u32 {
    let size = u32::from(ports.end() - ports.start()) + 1;
    let offset_from = |port: u16, base: u16| u32::from(port.wrapping_sub(base)) % size;
    match (range.base_port, manip) {
        (Some(base), Manip::Destination) => offset_from(now.dport, base),
        (Some(base), Manip::Source) => offset_from(now.sport, base),
        (None, _) if range.random || range.random_fully => Draw(seed(now)).one_of(size),
        (None, Manip::Destination) => 0,
        (None, Manip::Source) => offset_from(now.sport, *ports.start()),
    }
}

/// A seed made of the tuple: the port is not left to the caller's chance, since it changes nothing
/// about where the packet goes.
fn seed(tuple: FiveTuple) -> u64 {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => u64::try_from(u128::from(ip) % u128::from(u64::MAX)).unwrap_or_default(),
    };
    let ports = u64::from(tuple.sport) << 16 | u64::from(tuple.dport);
    let mut draw = Draw(bits(tuple.src));
    draw.0 ^= draw.next() ^ bits(tuple.dst);
    draw.0 ^= draw.next() ^ ports ^ u64::from(tuple.protocol.0) << 32;
    draw.next()
}

/// One address of several is chosen by a hash that is random since boot (`find_best_ips_proto`), so
/// to us by chance.
fn pick_address(addresses: &RangeInclusive<IpAddr>, choose: &mut impl Choose) -> IpAddr {
    let (first, last) = (*addresses.start(), *addresses.end());
    match (first, last) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let size = u32::from(to)
                .saturating_sub(u32::from(from))
                .saturating_add(1);
            IpAddr::V4((u32::from(from) + choose.one_of(size)).into())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let size = u128::from(to)
                .saturating_sub(u128::from(from))
                .saturating_add(1);
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            IpAddr::V6((u128::from(from) + u128::from(choose.one_of(size))).into())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => first,
    }
}

fn fits(range: &NatRange, address: IpAddr, port: u16) -> bool {
    range
        .addresses
        .as_ref()
        .is_none_or(|addresses| addresses.contains(&address))
        && range
            .ports
            .as_ref()
            .is_none_or(|ports| ports.contains(&port))
}

const fn has_port_or_id(protocol: Protocol) -> bool {
    protocol.has_ports() || matches!(protocol, Protocol::ICMP | Protocol::ICMPV6)
}

/// The ports to choose from where the rule names none: none for a destination; for a source those of
/// the same kind as its own (`nf_nat_l4proto_unique_tuple`).
fn default_ports(manip: Manip, now: FiveTuple) -> Option<RangeInclusive<u16>> {
    if matches!(now.protocol, Protocol::ICMP | Protocol::ICMPV6) {
        return Some(0..=u16::MAX);
    }
    match manip {
        Manip::Destination => None,
        Manip::Source => Some(match now.sport {
            0..512 => 1..=511,
            512..1024 => 600..=1023,
            1024.. => 1024..=u16::MAX,
        }),
    }
}

fn set_port(tuple: &mut FiveTuple, manip: Manip, port: u16) {
    if matches!(tuple.protocol, Protocol::ICMP | Protocol::ICMPV6) {
        (tuple.sport, tuple.dport) = (port, port);
    } else {
        match manip {
            Manip::Source => tuple.sport = port,
            Manip::Destination => tuple.dport = port,
        }
    }
}

/// Translates one packet of a connection at a hook that translates `manip` of first packets: of a
/// reply, the other end (`nf_nat_packet`).
pub(crate) fn translate(
    headers: &mut Headers,
    table: &Conntrack,
    id: ConnectionId,
    direction: Direction,
    manip: Manip,
) -> Option<(FiveTuple, FiveTuple)> {
    let connection = table.get(id)?;
    let is_translated = match (manip, direction) {
        (Manip::Source, Direction::Original) | (Manip::Destination, Direction::Reply) => {
            connection.snat
        }
        (Manip::Destination, Direction::Original) | (Manip::Source, Direction::Reply) => {
            connection.dnat
        }
    };
    if !is_translated {
        return None;
    }
    let (_, target) = connection.ways(direction);
    let before = tuple_of(headers);
    match manip {
        Manip::Source => headers.src = target.src,
        Manip::Destination => headers.dst = target.dst,
    }
    if matches!(headers.protocol, Protocol::ICMP | Protocol::ICMPV6) {
        headers.icmp_id = target.sport;
    } else if headers.protocol.has_ports() {
        match manip {
            Manip::Source => headers.sport = target.sport,
            Manip::Destination => headers.dport = target.dport,
        }
    }
    let after = tuple_of(headers);
    (before != after).then_some((before, after))
}
