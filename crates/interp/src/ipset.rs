//! Whether a packet is in an ipset.
//!
//! Source: ipset(8); `ip_set_test`, net/netfilter/ipset/ip_set_core.c. A packet's key is made of its
//! addresses and ports, each part from the direction that the rule names; the set holds it if an
//! element fits.

use std::net::IpAddr;

use podwire_packet::{DeviceName, Protocol};
use podwire_ruleset::{IpSet, Packet, SetDirection, SetEntry, SetMatch, SetPart, Sets};

/// Whether the packet is in the set that the rule names; a set that does not exist holds nothing.
pub(crate) fn is_in_set(test: &SetMatch, packet: &Packet<'_>, sets: &Sets) -> bool {
    let Some(set) = sets.get(&test.name) else {
        return false;
    };
    if set.kind.parts.contains(&SetPart::Set) {
        // Members of a list are plain sets: the kernel refuses a list within a list.
        let members = set
            .entries
            .iter()
            .filter_map(|(values, _)| match values.as_slice() {
                [SetEntry::Word(name)] => sets.get(name),
                _ => None,
            });
        return members
            .into_iter()
            .any(|member| holds(member, &test.directions, packet));
    }
    holds(set, &test.directions, packet)
}

/// Whether an element fits; where several prefixes do, the longest decides, and `nomatch` makes it
/// an exception.
fn holds(set: &IpSet, directions: &[SetDirection], packet: &Packet<'_>) -> bool {
    if directions.len() < set.kind.parts.len() {
        return false;
    }
    let fitting = set.entries.iter().filter(|(values, _)| {
        values.len() == set.kind.parts.len()
            && set
                .kind
                .parts
                .iter()
                .zip(values)
                .zip(directions)
                .all(|((part, value), direction)| part_fits(*part, value, *direction, packet))
    });
    let most_specific =
        fitting.max_by_key(|(values, _)| values.iter().map(prefix_length).sum::<u32>());
    most_specific
        .is_some_and(|(_, options)| !options.split_whitespace().any(|word| word == "nomatch"))
}

fn prefix_length(value: &SetEntry) -> u32 {
    match value {
        SetEntry::Net(prefix) => u32::from(prefix.len()),
        SetEntry::Range(_) | SetEntry::Ports(..) | SetEntry::Mac(_) | SetEntry::Word(_) => 0,
    }
}

fn part_fits(
    part: SetPart,
    value: &SetEntry,
    direction: SetDirection,
    packet: &Packet<'_>,
) -> bool {
    let headers = &packet.headers;
    let pick = |source, destination| match direction {
        SetDirection::Source => source,
        SetDirection::Destination => destination,
    };
    match (part, value) {
        (SetPart::Ip | SetPart::Net, SetEntry::Net(prefix)) => {
            prefix.contains(pick(headers.src, headers.dst))
        }
        (SetPart::Ip | SetPart::Net, SetEntry::Range(range)) => {
            let address: IpAddr = pick(headers.src, headers.dst);
            range.contains(&address)
        }
        (SetPart::Port, SetEntry::Ports(protocol, ports)) => {
            port_fits(*protocol, ports, direction, packet)
        }
        (SetPart::Interface, SetEntry::Word(name)) => {
            let device = match direction {
                SetDirection::Source => packet.input,
                SetDirection::Destination => packet.output,
            };
            device.as_ref().map(DeviceName::as_str) == Some(name)
        }
        (SetPart::Mark, SetEntry::Word(mark)) => parse_mark(mark) == Some(packet.mark.0),
        // Ethernet addresses are not among the headers that podwire's rules see.
        (
            SetPart::Ip
            | SetPart::Net
            | SetPart::Port
            | SetPart::Mac
            | SetPart::Interface
            | SetPart::Mark
            | SetPart::Set,
            _,
        ) => false,
    }
}

/// `ip_set_get_ip_port`, net/netfilter/ipset/ip_set_getport.c: protocols with ports have them, ICMP
/// has type and code, the others are in a set with port 0.
fn port_fits(
    protocol: Option<Protocol>,
    ports: &std::ops::RangeInclusive<u16>,
    direction: SetDirection,
    packet: &Packet<'_>,
) -> bool {
    let headers = &packet.headers;
    if headers.is_later_fragment {
        return false;
    }
    let port = match headers.protocol {
        Protocol::ICMP | Protocol::ICMPV6 => {
            u16::from_be_bytes([headers.icmp_type, headers.icmp_code])
        }
        protocol if protocol.has_ports() => match direction {
            SetDirection::Source => headers.sport,
            SetDirection::Destination => headers.dport,
        },
        // bitmap:port takes TCP and UDP only.
        _ if protocol.is_none() => return false,
        _ => 0,
    };
    protocol.is_none_or(|wanted| wanted == headers.protocol) && ports.contains(&port)
}

fn parse_mark(text: &str) -> Option<u32> {
    text.strip_prefix("0x").map_or_else(
        || text.parse().ok(),
        |hex| u32::from_str_radix(hex, 16).ok(),
    )
}
