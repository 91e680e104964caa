//! Elements of sets.

use std::fmt::Write as _;
use std::net::IpAddr;

use miette::SourceSpan;
use podwire_packet::{Family, Prefix, Protocol};

use super::ParseError;
use crate::iptables::address::{protocol, protocol_name};
use crate::iptables::lex::Word;
use crate::{SetEntry, SetKind, SetPart};

/// Reads the values of an element, in the order of the set's parts; the last ones may be missing.
pub(super) fn parse(
    word: &Word<'_>,
    kind: &SetKind,
    family: Family,
) -> Result<Vec<SetEntry>, ParseError> {
    let mut values = Vec::with_capacity(kind.parts.len());
    let mut start = 0;
    for (place, text) in word.text.split(',').enumerate() {
        let whole = word.span();
        // A quoted word is longer than its text, and points to itself as a whole.
        let at = if whole.len() == word.text.len() {
            (whole.offset() + start, text.len()).into()
        } else {
            whole
        };
        start += text.len() + 1;
        let Some(part) = kind.parts.get(place) else {
            return Err(bad(text, "an element with so many parts", at));
        };
        values.push(value(text, *part, kind, family, at)?);
    }
    Ok(values)
}

fn bad(text: &str, expected: &'static str, at: SourceSpan) -> ParseError {
    ParseError::BadElement {
        text: text.into(),
        expected,
        at,
    }
}

fn value(
    text: &str,
    part: SetPart,
    kind: &SetKind,
    family: Family,
    at: SourceSpan,
) -> Result<SetEntry, ParseError> {
    match part {
        SetPart::Ip | SetPart::Net => {
            let read = addresses(text, family, at)?;
            match read {
                SetEntry::Net(prefix) if prefix.is_empty() && !takes_every_address(kind) => {
                    Err(bad(
                        text,
                        "a prefix that this type of set takes, which is one of a bit at least",
                        at,
                    ))
                }
                SetEntry::Net(_)
                | SetEntry::Range(_)
                | SetEntry::Ports(..)
                | SetEntry::Mac(_)
                | SetEntry::Word(_) => Ok(read),
            }
        }
        SetPart::Port => ports(text, kind, at),
        SetPart::Mac => text
            .parse()
            .map(SetEntry::Mac)
            .map_err(|_| bad(text, "an Ethernet address", at)),
        SetPart::Interface | SetPart::Mark | SetPart::Set if !text.is_empty() => {
            Ok(SetEntry::Word(text.into()))
        }
        SetPart::Interface | SetPart::Mark | SetPart::Set => {
            Err(bad(text, "a device, a mark or the name of a set", at))
        }
    }
}

/// Whether a prefix of no length can be in such a set: in hash:net,iface and in those of two prefixes
/// (`IPSET_ERR_INVALID_CIDR` in the `uadt` functions of net/netfilter/ipset/ip_set_hash_*.c).
fn takes_every_address(kind: &SetKind) -> bool {
    matches!(
        kind.parts.as_slice(),
        [SetPart::Net, SetPart::Interface]
            | [SetPart::Net, SetPart::Net]
            | [SetPart::Net, SetPart::Port, SetPart::Net]
    )
}

/// An address, a prefix, or two addresses with `-` between them.
fn addresses(text: &str, family: Family, at: SourceSpan) -> Result<SetEntry, ParseError> {
    let expected = "an address, a prefix or a range of addresses";
    let own_family = |address: IpAddr| {
        if Family::of(address) == family {
            Ok(())
        } else {
            Err(ParseError::WrongFamily {
                text: text.into(),
                family,
                at,
            })
        }
    };
    if let Some((first, last)) = text.split_once('-') {
        let (Ok(first), Ok(last)) = (first.parse::<IpAddr>(), last.parse::<IpAddr>()) else {
            return Err(bad(text, expected, at));
        };
        own_family(first)?;
        own_family(last)?;
        // The kernel turns one that goes down around.
        return Ok(SetEntry::Range(first.min(last)..=first.max(last)));
    }
    let prefix: Prefix = text.parse().map_err(|_| bad(text, expected, at))?;
    own_family(prefix.address())?;
    Ok(SetEntry::Net(prefix))
}

/// A port or two, behind a protocol and `:` except in a bitmap; TCP where none is named. Types of
/// ICMP messages are kept as words.
fn ports(text: &str, kind: &SetKind, at: SourceSpan) -> Result<SetEntry, ParseError> {
    let expected = "a port, as `tcp:80`, or a range of ports";
    let (named, ports) = match text.split_once(':') {
        None if &*kind.method == "bitmap" => (None, text),
        None => (Some(Protocol::TCP), text),
        Some((name, ports)) => {
            let bare = name.trim_start_matches('[').trim_end_matches(']');
            let named = protocol(bare).ok_or_else(|| bad(text, expected, at))?;
            if matches!(named, Protocol::ICMP | Protocol::ICMPV6) {
                return Ok(SetEntry::Word(text.into()));
            }
            (Some(named), ports)
        }
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) => Ok(SetEntry::Ports(named, first.min(last)..=first.max(last))),
        _ => Err(bad(text, expected, at)),
    }
}

/// Appends the values with commas between.
pub(super) fn write(out: &mut String, entry: &[SetEntry]) {
    for (place, value) in entry.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        let done = match value {
            SetEntry::Net(prefix) if prefix.is_host() => write!(out, "{}", prefix.address()),
            SetEntry::Net(prefix) => write!(out, "{prefix}"),
            SetEntry::Range(range) => write!(out, "{}-{}", range.start(), range.end()),
            SetEntry::Ports(named, range) => {
                let name = named.and_then(protocol_name);
                let prefix = match (named, name) {
                    (None, _) => Ok(()),
                    (Some(_), Some(name)) => write!(out, "{name}:"),
                    (Some(protocol), None) => write!(out, "{}:", protocol.0),
                };
                prefix.and_then(|()| {
                    if range.start() == range.end() {
                        write!(out, "{}", range.start())
                    } else {
                        write!(out, "{}-{}", range.start(), range.end())
                    }
                })
            }
            // ipset(8) prints capital letters.
            SetEntry::Mac(address) => {
                let [a, b, c, d, e, f] = address.0;
                write!(out, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{f:02X}")
            }
            SetEntry::Word(word) => write!(out, "{word}"),
        };
        done.expect("a String takes any text");
    }
}
