//! Whether a packet is in an ipset.
//!
//! Source: ipset(8); `ip_set_test`, net/netfilter/ipset/ip_set_core.c. A packet's key is made of its
//! addresses and ports, each part from the direction that the rule names; the set holds it if an
//! element fits.

use std::net::IpAddr;
use std::time::Duration;

use podwire_packet::{DeviceName, Family, Prefix, Protocol, SimTime};
use podwire_ruleset::{
    Element, IpSet, KeyPart, Packet, SetDirection, SetEntry, SetMatch, SetPart, Sets,
};

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
            .filter(|(_, options)| is_live(options, set, packet.now))
            .filter_map(|(values, _)| match values.as_slice() {
                [SetEntry::Word(name)] => sets.get(name),
                _ => None,
            });
        return members
            .into_iter()
            .any(|member| holds(member, test, packet));
    }
    holds(set, test, packet)
}

/// Whether the packet's key is in a set whose elements are no sets.
fn holds(set: &IpSet, test: &SetMatch, packet: &Packet<'_>) -> bool {
    let parts = set.kind.parts.iter().zip(&test.directions);
    let key: Vec<KeyPart> = parts
        .map(|(part, direction)| key_part(*part, *direction, set, packet))
        .collect();
    holds_among(set.entries.candidates(&key), set, test, packet)
}

/// Whether one of the elements fits, each given with its place in the set; where several prefixes do, the
/// longest decides, and `nomatch` makes it an exception. With `--return-nomatch` the exceptions are what
/// is asked for.
pub(crate) fn holds_among<'s>(
    elements: impl Iterator<Item = (usize, &'s Element)>,
    set: &IpSet,
    test: &SetMatch,
    packet: &Packet<'_>,
) -> bool {
    if test.directions.len() < set.kind.parts.len() {
        return false;
    }
    let parts = || set.kind.parts.iter().zip(&test.directions);
    let fitting = elements.filter(|(_, (values, options))| {
        is_live(options, set, packet.now)
            && values.len() == set.kind.parts.len()
            && parts()
                .zip(values)
                .all(|((part, direction), value)| part_fits(*part, value, *direction, set, packet))
    });
    // Of two prefixes the first is made shorter last (`mtype_test_cidrs`, ip_set_hash_gen.h).
    let lengths = |values: &[SetEntry]| -> Vec<u8> {
        let values = values.iter().zip(&test.directions);
        values
            .map(|(value, direction)| prefix_length(value, address_of(*direction, packet)))
            .collect()
    };
    // An element that is added again is added anew.
    let most_specific = fitting.max_by_key(|(place, (values, _))| (lengths(values), *place));
    let has_word = |text: &str, wanted: &str| text.split_whitespace().any(|word| word == wanted);
    most_specific.is_some_and(|(_, (_, options))| {
        has_word(options, "nomatch") == has_word(&test.options, "--return-nomatch")
    })
}

/// Whether an element's time is not over (`ip_set_timeout_expired`, ip_set.h). It counts from the
/// beginning; 0, or no timeout at all, is for ever. An element without one of its own has the set's.
fn is_live(options: &str, set: &IpSet, now: SimTime) -> bool {
    let timeout = |text: &str| -> Option<u64> {
        let mut words = text.split_whitespace();
        words.find(|&word| word == "timeout")?;
        words.next()?.parse().ok()
    };
    match timeout(options).or_else(|| timeout(&set.options)) {
        None | Some(0) => true,
        Some(seconds) => now.since_start() <= Duration::from_secs(seconds),
    }
}

/// Bits of the prefix by which an address is in a set: a range is added as the prefixes that it is made
/// of (`ip_set_range_to_cidr`, net/netfilter/ipset/pfxlen.c), each of a bit at least.
fn prefix_length(value: &SetEntry, address: IpAddr) -> u8 {
    match value {
        SetEntry::Net(prefix) => prefix.len(),
        SetEntry::Range(range) => {
            let mut around = (1..=Family::of(address).bits()).map(|n| Prefix::new(address, n));
            around
                .find(|part| range.contains(&part.address()) && range.contains(&part.last()))
                .map_or(0, |part| part.len())
        }
        SetEntry::Ports(..) | SetEntry::Mac(_) | SetEntry::Word(_) => 0,
    }
}

/// What a packet has for a part.
fn key_part(part: SetPart, direction: SetDirection, set: &IpSet, packet: &Packet<'_>) -> KeyPart {
    let address = address_of(direction, packet);
    match part {
        SetPart::Ip => KeyPart::Address(network(set, address)),
        SetPart::Net => KeyPart::Address(address),
        SetPart::Port => port_of(direction, packet).map_or(KeyPart::Other, KeyPart::Port),
        SetPart::Mac | SetPart::Interface | SetPart::Mark | SetPart::Set => KeyPart::Other,
    }
}

const fn address_of(direction: SetDirection, packet: &Packet<'_>) -> IpAddr {
    match direction {
        SetDirection::Source => packet.headers.src,
        SetDirection::Destination => packet.headers.dst,
    }
}

/// The network of an address in a set that was made with `netmask`, which keeps networks of one
/// length only.
fn network(set: &IpSet, address: IpAddr) -> IpAddr {
    let mut words = set.options.split_whitespace();
    let length = words
        .find(|&word| word == "netmask")
        .and_then(|_| words.next()?.parse().ok());
    length.map_or(address, |length| Prefix::new(address, length).address())
}

fn part_fits(
    part: SetPart,
    value: &SetEntry,
    direction: SetDirection,
    set: &IpSet,
    packet: &Packet<'_>,
) -> bool {
    let address = address_of(direction, packet);
    match (part, value) {
        (SetPart::Ip, SetEntry::Net(prefix)) => prefix.contains(network(set, address)),
        (SetPart::Ip, SetEntry::Range(range)) => range.contains(&network(set, address)),
        (SetPart::Net, SetEntry::Net(prefix)) => prefix.contains(address),
        (SetPart::Net, SetEntry::Range(range)) => range.contains(&address),
        (SetPart::Port, SetEntry::Ports(protocol, ports)) => {
            port_fits(*protocol, ports, direction, packet)
        }
        (SetPart::Port, SetEntry::Word(message)) => is_icmp_message(message, packet),
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

/// Whether the packet's port is one of these. A set of ports alone takes TCP and UDP.
fn port_fits(
    protocol: Option<Protocol>,
    ports: &std::ops::RangeInclusive<u16>,
    direction: SetDirection,
    packet: &Packet<'_>,
) -> bool {
    let own = packet.headers.protocol;
    let protocol_fits = match protocol {
        Some(wanted) => wanted == own,
        None => matches!(own, Protocol::TCP | Protocol::UDP),
    };
    protocol_fits && port_of(direction, packet).is_some_and(|port| ports.contains(&port))
}

/// `ip_set_get_ip4_port`, net/netfilter/ipset/ip_set_getport.c: protocols with ports have them, ICMP
/// has type and code, the others are in a set with port 0. A later fragment has lost its own.
fn port_of(direction: SetDirection, packet: &Packet<'_>) -> Option<u16> {
    let headers = &packet.headers;
    let port = match headers.protocol {
        Protocol::ICMP | Protocol::ICMPV6 => {
            u16::from_be_bytes([headers.icmp_type, headers.icmp_code])
        }
        protocol if protocol.has_ports() => match direction {
            SetDirection::Source => headers.sport,
            SetDirection::Destination => headers.dport,
        },
        _ => return Some(0),
    };
    (!headers.is_later_fragment).then_some(port)
}

/// Whether the packet is of an ICMP type and code, as `icmp:8/0` names them.
fn is_icmp_message(element: &str, packet: &Packet<'_>) -> bool {
    let named = element.split_once(':').and_then(|(protocol, message)| {
        let (icmp_type, code) = message.split_once('/')?;
        let protocol: Protocol = protocol.parse().ok()?;
        let port = u16::from_be_bytes([icmp_type.parse().ok()?, code.parse().ok()?]);
        Some((protocol, port))
    });
    named.is_some_and(|(protocol, port)| {
        // A message has no source and destination port: both are its type and code.
        port_fits(Some(protocol), &(port..=port), SetDirection::Source, packet)
    })
}

fn parse_mark(text: &str) -> Option<u32> {
    text.strip_prefix("0x").map_or_else(
        || text.parse().ok(),
        |hex| u32::from_str_radix(hex, 16).ok(),
    )
}
