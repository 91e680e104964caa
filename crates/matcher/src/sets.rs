//! Membership in ipsets.
//!
//! A packet's value is taken part by part, in the rule's directions, and compared with an element's.

use std::net::IpAddr;

use podwire_packet::{Family, Prefix, Protocol};
use podwire_ruleset::{IpSet, KeyPart, SetDirection, SetEntry, SetMatch, SetPart, Sets};
use smallvec::SmallVec;

use crate::view::View;

/// Whether the set that the rule names has the packet.
pub(crate) fn has(test: &SetMatch, view: &View<'_>, sets: &Sets) -> bool {
    let Some(set) = sets.get(&test.name) else {
        return false;
    };
    if !set.kind.parts.contains(&SetPart::Set) {
        return plain_set_has(set, test, view);
    }
    let lives = Lifetime::of(set, view);
    set.entries
        .iter()
        .filter(|(_, options)| lives.has(options))
        .any(|(values, _)| match values.as_slice() {
            [SetEntry::Word(member)] => sets
                .get(member)
                .is_some_and(|member| plain_set_has(member, test, view)),
            _ => false,
        })
}

fn says(options: &str, word: &str) -> bool {
    options.split_ascii_whitespace().any(|own| own == word)
}

fn plain_set_has(set: &IpSet, test: &SetMatch, view: &View<'_>) -> bool {
    let parts = &set.kind.parts;
    if parts.len() > test.directions.len() {
        return false;
    }
    let netmask = set
        .options
        .split_ascii_whitespace()
        .skip_while(|word| *word != "netmask")
        .nth(1)
        .and_then(|length| length.parse::<u8>().ok());
    let value = |n: usize| Value {
        part: parts[n],
        direction: test.directions[n],
        netmask,
    };
    let key: SmallVec<[KeyPart; 3]> = (0..parts.len()).map(|n| value(n).key(view)).collect();
    let lives = Lifetime::of(set, view);
    let mut fitting = set
        .entries
        .candidates(&key)
        .filter(|(_, (values, options))| {
            values.len() == parts.len()
                && (0..parts.len()).all(|n| value(n).fits(&values[n], view))
                && lives.has(options)
        });
    // The longest prefixes decide, those of the first part before those of the second; of equal ones the
    // last. Without ranges the first to fit is that one.
    let decides = if set.entries.has_ranges() {
        let lengths = |values: &[SetEntry]| -> SmallVec<[u8; 3]> {
            let all = values.iter().enumerate();
            all.map(|(n, entry)| length(entry, value(n).address(view)))
                .collect()
        };
        fitting.max_by_key(|(place, (values, _))| (lengths(values), *place))
    } else {
        fitting.next()
    };
    let asks_for_exceptions = says(&test.options, "--return-nomatch");
    decides.is_some_and(|(_, (_, options))| says(options, "nomatch") == asks_for_exceptions)
}

/// How old elements may be that are still there.
struct Lifetime {
    age_ns: u64,
    /// Seconds of elements that do not say; 0 is for ever.
    by_default: u64,
}

impl Lifetime {
    fn of(set: &IpSet, view: &View<'_>) -> Self {
        Self {
            age_ns: view.packet.now.0,
            by_default: Self::seconds(&set.options).unwrap_or(0),
        }
    }

    fn seconds(options: &str) -> Option<u64> {
        let mut timeout = options
            .split_ascii_whitespace()
            .skip_while(|word| *word != "timeout");
        timeout.nth(1)?.parse().ok()
    }

    /// Whether an element with these options is still there: sets are made when time begins, and the
    /// last nanosecond of an element's time is its own.
    fn has(&self, options: &str) -> bool {
        // Most have no options at all.
        let own = (!options.is_empty())
            .then(|| Self::seconds(options))
            .flatten();
        let seconds = own.unwrap_or(self.by_default);
        seconds == 0 || self.age_ns <= seconds.saturating_mul(1_000_000_000)
    }
}

/// Bits that an address shares with all others of the element's prefix: of the largest within a range that
/// holds it.
fn length(entry: &SetEntry, address: IpAddr) -> u8 {
    let range = match entry {
        SetEntry::Net(prefix) => return prefix.len(),
        SetEntry::Range(range) => range,
        SetEntry::Ports(..) | SetEntry::Mac(_) | SetEntry::Word(_) => return 0,
    };
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => address.into(),
    };
    let [first, last, own] = [*range.start(), *range.end(), address].map(number);
    let is_within = |free: &u8| {
        let low = (1_u128 << free) - 1;
        own & !low >= first && own | low <= last
    };
    let bits = Family::of(address).bits();
    // Nothing has all bits free: sets refuse such a range.
    bits - (0..bits).take_while(is_within).last().unwrap_or(0)
}

/// One part of a packet's value.
struct Value {
    part: SetPart,
    direction: SetDirection,
    netmask: Option<u8>,
}

impl Value {
    fn fits(&self, entry: &SetEntry, view: &View<'_>) -> bool {
        match self.part {
            SetPart::Ip | SetPart::Net => is_within(entry, self.network(view)),
            SetPart::Port => match entry {
                SetEntry::Ports(protocol, ports) => self
                    .port(*protocol, view)
                    .is_some_and(|port| ports.contains(&port)),
                SetEntry::Word(message) => {
                    icmp_message(message).is_some_and(|(protocol, wanted)| {
                        // A message has no source and destination port: both are its type and code.
                        let either = Self {
                            direction: SetDirection::Source,
                            ..*self
                        };
                        either.port(Some(protocol), view) == Some(wanted)
                    })
                }
                SetEntry::Net(_) | SetEntry::Range(_) | SetEntry::Mac(_) => false,
            },
            SetPart::Interface => {
                let device = match self.direction {
                    SetDirection::Source => &view.packet.input,
                    SetDirection::Destination => &view.packet.output,
                };
                word(entry)
                    .is_some_and(|name| device.as_ref().is_some_and(|own| own.as_str() == name))
            }
            SetPart::Mark => word(entry).is_some_and(|text| {
                let value = match text.strip_prefix("0x") {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => text.parse(),
                };
                value.is_ok_and(|mark| mark == view.mark.0)
            }),
            SetPart::Mac | SetPart::Set => false,
        }
    }

    fn key(&self, view: &View<'_>) -> KeyPart {
        match self.part {
            SetPart::Ip | SetPart::Net => KeyPart::Address(self.network(view)),
            SetPart::Port => {
                let own = view.packet.headers.protocol;
                let port = self.port(Some(own), view);
                port.map_or(KeyPart::Other, KeyPart::Port)
            }
            SetPart::Interface | SetPart::Mark | SetPart::Mac | SetPart::Set => KeyPart::Other,
        }
    }

    /// The address, without the bits that the set's netmask takes away; prefixes have them all.
    fn network(&self, view: &View<'_>) -> IpAddr {
        let whole = self.address(view);
        match self.netmask {
            Some(length) if self.part == SetPart::Ip => Prefix::new(whole, length).address(),
            Some(_) | None => whole,
        }
    }

    const fn address(&self, view: &View<'_>) -> IpAddr {
        match self.direction {
            SetDirection::Source => view.packet.headers.src,
            SetDirection::Destination => view.packet.headers.dst,
        }
    }

    /// The packet's port, if it is of the protocol: ICMP's is type and code, one without ports has 0,
    /// a later fragment has none. Where no protocol is named, TCP and UDP are meant.
    fn port(&self, protocol: Option<Protocol>, view: &View<'_>) -> Option<u16> {
        let headers = &view.packet.headers;
        let own = headers.protocol;
        let is_wanted = protocol.map_or(own == Protocol::TCP || own == Protocol::UDP, |p| p == own);
        if !is_wanted {
            return None;
        }
        let port = if own == Protocol::ICMP || own == Protocol::ICMPV6 {
            u16::from(headers.icmp_type) << 8 | u16::from(headers.icmp_code)
        } else if own.has_ports() {
            match self.direction {
                SetDirection::Source => headers.sport,
                SetDirection::Destination => headers.dport,
            }
        } else {
            return Some(0);
        };
        (!headers.is_later_fragment).then_some(port)
    }
}

const fn word(entry: &SetEntry) -> Option<&str> {
    match entry {
        SetEntry::Word(text) => Some(text),
        SetEntry::Net(_) | SetEntry::Range(_) | SetEntry::Ports(..) | SetEntry::Mac(_) => None,
    }
}

fn is_within(entry: &SetEntry, address: IpAddr) -> bool {
    match entry {
        SetEntry::Net(prefix) => prefix.contains(address),
        SetEntry::Range(range) => range.contains(&address),
        SetEntry::Ports(..) | SetEntry::Mac(_) | SetEntry::Word(_) => false,
    }
}

/// `icmp:8/0` as a protocol and what stands for a port.
fn icmp_message(text: &str) -> Option<(Protocol, u16)> {
    let (protocol, message) = text.split_once(':')?;
    let (kind, code) = message.split_once('/')?;
    let (kind, code): (u8, u8) = (kind.parse().ok()?, code.parse().ok()?);
    Some((
        protocol.parse().ok()?,
        u16::from(kind) << 8 | u16::from(code),
    ))
}
