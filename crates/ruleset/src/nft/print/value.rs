//! Values, keys and elements.

use std::time::Duration;

use indexmap::IndexMap;
use podwire_packet::{Family, Mark, Prefix, Protocol};

use super::{Wording, address, number, push, put, quoted};
use crate::nft::words::{
    ADDRESS_TYPES, CT_DIRECTIONS, CT_STATES, CT_STATUSES, DATA_TYPES, NFPROTOS, PROTOCOLS, name_of,
};
use crate::nft::{DataType, Element, Key, MapValue, SetFlags, Span, Value, Verdict};

/// Appends a value.
pub(super) fn value(out: &mut String, value: &Value, wording: Wording) {
    match value {
        Value::Address(own) => address(out, *own),
        Value::Protocol(own) => protocol(out, *own),
        Value::Port(port) => number(out, (*port).into()),
        Value::Mark(own) => mark(out, *own, wording),
        Value::Interface(name) => match wording {
            Wording::List => quoted(out, name.as_str()),
            Wording::KubeProxy => out.push_str(name.as_str()),
        },
        Value::Family(family) => out.push_str(name_of(&NFPROTOS, family).unwrap_or_default()),
        Value::AddressType(own) => out.push_str(name_of(&ADDRESS_TYPES, own).unwrap_or_default()),
        Value::CtStates(own) => bits(out, &CT_STATES, |bit| own.intersects(*bit)),
        Value::CtStatuses(own) => bits(out, &CT_STATUSES, |bit| own.0 & bit.0 != 0),
        Value::CtDirection(own) => out.push_str(name_of(&CT_DIRECTIONS, own).unwrap_or_default()),
        Value::IcmpType(family, own) => {
            let name = match family {
                Family::Ipv4 => name_of(&crate::nft::words::ICMP_TYPES, own),
                Family::Ipv6 => name_of(&crate::nft::words::ICMPV6_TYPES, own),
            };
            match name {
                Some(name) => out.push_str(name),
                None => put(out, format_args!("{own}")),
            }
        }
        Value::Present(true) => out.push_str("exists"),
        Value::Present(false) => out.push_str("missing"),
        Value::Number(own) => number(out, *own),
        Value::Other(text) => out.push_str(text),
    }
}

fn protocol(out: &mut String, protocol: Protocol) {
    match name_of(&PROTOCOLS, &protocol) {
        Some(name) => out.push_str(name),
        None => put(out, format_args!("{}", protocol.0)),
    }
}

/// Eight digits; kube-proxy writes zero as `0`.
pub(super) fn mark(out: &mut String, mark: Mark, wording: Wording) {
    if mark.0 == 0 && wording == Wording::KubeProxy {
        out.push('0');
    } else {
        put(out, format_args!("{:#010x}", mark.0));
    }
}

/// Names of the bits that are set.
fn bits<T>(out: &mut String, names: &[(&str, T)], is_set: impl Fn(&T) -> bool) {
    let mut separator = "";
    for (name, _) in names.iter().filter(|(_, bit)| is_set(bit)) {
        push(out, &[separator, name]);
        separator = ",";
    }
}

/// Appends one part of a key.
fn span(out: &mut String, own: &Span, wording: Wording) {
    match own {
        Span::One(one) => value(out, one, wording),
        Span::Prefix(prefix) => write_prefix(out, prefix, wording),
        Span::Range(first, last) => {
            value(out, first, wording);
            out.push('-');
            value(out, last, wording);
        }
        Span::InterfacePrefix(name) => match wording {
            Wording::List => push(out, &["\"", name.as_str(), "*\""]),
            Wording::KubeProxy => push(out, &[name.as_str(), "*"]),
        },
        Span::Any => out.push('*'),
    }
}

fn write_prefix(out: &mut String, prefix: &Prefix, wording: Wording) {
    if prefix.is_host() && wording == Wording::List {
        address(out, prefix.address());
    } else {
        address(out, prefix.address());
        out.push('/');
        number(out, prefix.len().into());
    }
}

/// Appends a key, with ` . ` between its parts.
pub(super) fn key(out: &mut String, key: &Key, wording: Wording) {
    let mut separator = "";
    for part in key.iter() {
        out.push_str(separator);
        span(out, part, wording);
        separator = " . ";
    }
}

/// Appends what stands behind the key of an element.
pub(super) fn element(out: &mut String, element: &Element, wording: Wording) {
    let time = match wording {
        Wording::List => duration,
        Wording::KubeProxy => seconds,
    };
    if let Some(timeout) = element.timeout {
        out.push_str(" timeout ");
        time(out, timeout);
    }
    if let Some(expires) = element.expires {
        out.push_str(" expires ");
        time(out, expires);
    }
    if let Some(comment) = &element.comment {
        out.push_str(" comment ");
        quoted(out, comment);
    }
    if let Some(own) = &element.value {
        out.push_str(" : ");
        map_value(out, own, wording);
    }
}

/// Appends what a map has for a key.
pub(super) fn map_value(out: &mut String, value: &MapValue, wording: Wording) {
    match value {
        MapValue::Verdict(own) => verdict(out, own),
        MapValue::Data(data) => key(out, data, wording),
    }
}

/// Appends a verdict.
pub(super) fn verdict(out: &mut String, verdict: &Verdict) {
    match verdict {
        Verdict::Accept => out.push_str("accept"),
        Verdict::Drop => out.push_str("drop"),
        Verdict::Continue => out.push_str("continue"),
        Verdict::Return => out.push_str("return"),
        Verdict::Jump(chain) => push(out, &["jump ", chain.as_str()]),
        Verdict::Goto(chain) => goto(out, chain.as_str()),
    }
}

/// Appends a verdict that goes to a chain.
pub(super) fn goto(out: &mut String, chain: &str) {
    push(out, &["goto ", chain]);
}

/// Appends the names of types, with ` . ` between them.
pub(super) fn data_types(out: &mut String, types: &[DataType]) {
    let mut separator = "";
    for own in types {
        out.push_str(separator);
        out.push_str(if let DataType::Other(name) = own {
            name
        } else {
            name_of(&DATA_TYPES, own).unwrap_or_default()
        });
        separator = " . ";
    }
}

/// Appends the flags of a set.
pub(super) fn flags(out: &mut String, flags: SetFlags) {
    bits(out, &SetFlags::NAMES, |flag| flags.contains(*flag));
}

/// Appends a time as kube-proxy writes it: whole seconds.
pub(super) fn seconds(out: &mut String, time: Duration) {
    put(out, format_args!("{}s", time.as_secs()));
}

/// Appends a time as nft lists it: `1d1h1m1s`, and milliseconds (`time_print`, src/datatype.c).
pub(super) fn duration(out: &mut String, time: Duration) {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(time.subsec_millis()), "ms"),
    ];
    for (number, unit) in parts.iter().filter(|(number, _)| *number > 0) {
        put(out, format_args!("{number}{unit}"));
    }
    if seconds == 0 && time.subsec_millis() == 0 {
        out.push_str("0s");
    }
}

/// Elements in the order in which nft lists them: by value, where it can be told, else as they are.
///
/// Parts of a concatenation lie behind one another in 32-bit words, and nft compares the whole as one
/// number in the byte order of the host: on most machines, from the last byte on
/// (`expr_msort_value`, src/mergesort.c).
pub(super) fn listed_order(elements: &IndexMap<Key, Element>) -> Vec<(&Key, &Element)> {
    let mut listed: Vec<_> = elements.iter().collect();
    if elements.keys().all(has_rank) {
        listed.sort_by_cached_key(|(key, _)| rank(key));
    }
    listed
}

/// The same for the keys of an anonymous set or map.
pub(super) fn by_rank<T>(elements: &[T], key: impl Fn(&T) -> &Key) -> Vec<&T> {
    let mut listed: Vec<&T> = elements.iter().collect();
    if listed.iter().all(|element| has_rank(key(element))) {
        listed.sort_by_cached_key(|element| rank(key(element)));
    }
    listed
}

/// Whether nft sorts a key: concatenations with intervals stay as they are.
fn has_rank(key: &Key) -> bool {
    key.len() == 1 || key.is_exact()
}

/// What elements are compared by. `*` is the last.
fn rank(key: &Key) -> (bool, Vec<u8>) {
    if let [Span::Any] = &**key {
        return (true, Vec::new());
    }
    if let [one] = &**key {
        return (false, first_bytes(one));
    }
    let mut words = Vec::with_capacity(24);
    for part in key.iter() {
        words.extend(first_bytes(part));
        words.resize(words.len().next_multiple_of(4), 0);
    }
    words.reverse();
    (false, words)
}

/// The first value of a span, as the kernel keeps it, high byte first.
fn first_bytes(span: &Span) -> Vec<u8> {
    let first = match span {
        Span::One(value) | Span::Range(value, _) => value,
        Span::Prefix(prefix) => &Value::Address(prefix.address()),
        Span::InterfacePrefix(name) => return name.as_str().as_bytes().to_vec(),
        Span::Any => return Vec::new(),
    };
    match first {
        Value::Address(std::net::IpAddr::V4(address)) => address.octets().to_vec(),
        Value::Address(std::net::IpAddr::V6(address)) => address.octets().to_vec(),
        Value::Protocol(protocol) => vec![protocol.0],
        Value::Port(port) => port.to_be_bytes().to_vec(),
        Value::Mark(mark) => mark.0.to_be_bytes().to_vec(),
        Value::Interface(name) => name.as_str().as_bytes().to_vec(),
        Value::Family(family) => vec![u8::from(*family == Family::Ipv6)],
        Value::AddressType(own) => vec![*own as u8],
        Value::CtStates(own) => own.0.to_be_bytes().to_vec(),
        Value::CtStatuses(own) => own.0.to_be_bytes().to_vec(),
        Value::CtDirection(own) => vec![*own as u8],
        Value::IcmpType(_, own) => vec![*own],
        Value::Present(own) => vec![u8::from(*own)],
        Value::Number(number) => number.to_be_bytes().to_vec(),
        Value::Other(text) => text.as_bytes().to_vec(),
    }
}
