//! Rules.

use podwire_packet::{Family, Mark};

use super::value::{self, by_rank, duration, key, map_value, seconds, verdict};
use super::{Wording, address, number, push, put, quoted};
use crate::nft::words::{
    CT_DIRECTIONS, FIB_RESULTS, ICMP_HEADERS, IP_HEADERS, META_KEYS, REJECT_ICMP, REJECT_ICMPV6,
    REJECT_ICMPX, TRANSPORTS, name_of,
};
use crate::nft::{
    CtKey, Expression, FibSelectors, Key, Limit, Lookup, MarkField, Match, MetaKey, Nat,
    NumgenMode, Operand, Payload, Rule, SetMark, SetOperation, SetStatement, Span, Statement,
    Value,
};
use crate::{Counters, L4, NatKind, NatRange, RejectWith};

/// Appends a rule's text.
pub(super) fn write(out: &mut String, rule: &Rule, wording: Wording) {
    let mut separator = "";
    for statement in &rule.statements {
        out.push_str(separator);
        write_statement(out, statement, wording);
        separator = " ";
    }
    if let Some(comment) = &rule.comment {
        push(out, &[separator, "comment "]);
        quoted(out, comment);
    }
}

fn write_statement(out: &mut String, statement: &Statement, wording: Wording) {
    match statement {
        Statement::Match(own) => write_match(out, own, wording),
        Statement::VerdictMap { key, map } => {
            expression(out, key, wording);
            out.push_str(" vmap ");
            lookup(out, map, wording);
        }
        Statement::Verdict(own) => verdict(out, own),
        Statement::Reject { with, family } => reject(out, *with, *family),
        Statement::SetMark(own) => set_mark(out, *own, wording),
        Statement::Nat(own) => nat(out, own, wording),
        Statement::Set(own) => set_statement(out, own, wording),
        Statement::Limit(own) => limit(out, *own),
        Statement::Counter(None) => out.push_str("counter"),
        Statement::Counter(Some(Counters { packets, bytes })) => {
            put(out, format_args!("counter packets {packets} bytes {bytes}"));
        }
        Statement::Log(options) if options.is_empty() => out.push_str("log"),
        Statement::Log(options) => push(out, &["log ", options]),
        Statement::Notrack => out.push_str("notrack"),
        Statement::Nftrace(on) => push(out, &["meta nftrace set ", if *on { "1" } else { "0" }]),
        Statement::Unknown(text) => out.push_str(text),
    }
}

fn write_match(out: &mut String, own: &Match, wording: Wording) {
    if wording == Wording::List
        && let Some((mark, first, length)) = mark_prefix(own)
    {
        expression(out, mark, wording);
        out.push_str(if own.inverted { " != " } else { " " });
        value::mark(out, first, wording);
        return put(out, format_args!("/{length}"));
    }
    expression(out, &own.left, wording);
    out.push(' ');
    if own.inverted {
        out.push_str("!= ");
    } else if matches!(own.left, Expression::Masked(..)) {
        out.push_str("== ");
    }
    match &own.right {
        Operand::One(one) => key(out, one, wording),
        Operand::Named(set) => push(out, &["@", set.as_str()]),
        Operand::Anonymous(keys) => anonymous_set(out, keys, wording),
    }
}

/// A test of the first bits of a mark, which nft lists as it does a prefix: the mark, the bits and how
/// many they are.
fn mark_prefix(own: &Match) -> Option<(&Expression, Mark, u32)> {
    let Expression::Masked(mark, Value::Mark(mask)) = &own.left else {
        return None;
    };
    let Operand::One(key) = &own.right else {
        return None;
    };
    let [Span::One(Value::Mark(first))] = &**key else {
        return None;
    };
    let length = mask.0.leading_ones();
    (length > 0 && length + mask.0.trailing_zeros() == 32).then_some((&**mark, *first, length))
}

/// kube-proxy sets a comma apart and keeps the order; a listing is sorted, ranges that touch are one,
/// and a set of one value is the value.
fn anonymous_set(out: &mut String, keys: &[Key], wording: Wording) {
    match wording {
        Wording::KubeProxy => list(out, keys.iter(), " , ", |out, own| key(out, own, wording)),
        Wording::List => {
            let merged = crate::nft::canonical::merged(keys);
            if let [one] = merged.as_slice()
                && one.len() == 1
            {
                return key(out, one, wording);
            }
            let ordered = by_rank(&merged, |own| own);
            list(out, ordered.into_iter(), ", ", |out, own| {
                key(out, own, wording);
            });
        }
    }
}

fn lookup(out: &mut String, map: &Lookup, wording: Wording) {
    let elements = match map {
        Lookup::Named(name) => return push(out, &["@", name.as_str()]),
        Lookup::Anonymous(elements) => elements,
    };
    let mut write = |out: &mut String, (own, data): &(Key, crate::nft::MapValue)| {
        key(out, own, wording);
        out.push_str(" : ");
        map_value(out, data, wording);
    };
    match wording {
        Wording::KubeProxy => list(out, elements.iter(), " , ", &mut write),
        Wording::List => {
            let ordered = by_rank(elements, |(own, _)| own);
            list(out, ordered.into_iter(), ", ", &mut write);
        }
    }
}

/// Appends `{ a, b }`.
fn list<T>(
    out: &mut String,
    items: impl Iterator<Item = T>,
    separator: &str,
    mut write: impl FnMut(&mut String, T),
) {
    let mut before = "{ ";
    for item in items {
        out.push_str(before);
        write(out, item);
        before = separator;
    }
    out.push_str(" }");
}

/// Appends an expression.
fn expression(out: &mut String, own: &Expression, wording: Wording) {
    match own {
        Expression::Payload(field) => payload(out, *field),
        Expression::Meta(key) => meta(out, *key, wording),
        Expression::Ct(key) => ct(out, *key),
        Expression::Fib { selectors, result } => {
            out.push_str("fib ");
            let mut separator = "";
            for (name, _) in FibSelectors::NAMES
                .iter()
                .filter(|(_, selector)| selectors.contains(*selector))
            {
                push(out, &[separator, name]);
                separator = " . ";
            }
            push(
                out,
                &[" ", name_of(&FIB_RESULTS, result).unwrap_or_default()],
            );
        }
        Expression::Numgen {
            mode,
            modulus,
            offset,
        } => {
            numgen(out, *mode, *modulus);
            if *offset != 0 {
                put(out, format_args!(" offset {offset}"));
            }
        }
        Expression::Masked(inner, mask) => {
            expression(out, inner, wording);
            out.push_str(match wording {
                Wording::KubeProxy => " and ",
                Wording::List => " & ",
            });
            value::value(out, mask, wording);
        }
        Expression::Concat(parts) => {
            let mut separator = "";
            for part in parts {
                out.push_str(separator);
                expression(out, part, wording);
                separator = " . ";
            }
        }
    }
}

fn numgen(out: &mut String, mode: NumgenMode, modulus: u32) {
    let mode = match mode {
        NumgenMode::Random => "random",
        NumgenMode::Inc => "inc",
    };
    push(out, &["numgen ", mode, " mod "]);
    number(out, modulus);
}

/// Appends what [`write()`] does for the rule that goes to one of these chains, each as likely, in the wording
/// of kube-proxy: most of what it writes for a large Service, and so worth doing without the rule.
pub(super) fn write_choice(out: &mut String, among: &[&str]) {
    let count = u32::try_from(among.len()).expect("there are fewer than 2^32 chains");
    numgen(out, NumgenMode::Random, count);
    out.push_str(" vmap ");
    let elements = (0..).zip(among);
    list(out, elements, " , ", |out, (place, chain)| {
        number(out, place);
        out.push_str(" : ");
        value::goto(out, chain);
    });
}

fn payload(out: &mut String, field: Payload) {
    let ip = |family: Family| name_of(&IP_HEADERS, &family).unwrap_or_default();
    let transport = |l4: Option<L4>| name_of(&TRANSPORTS, &l4).unwrap_or_default();
    let (header, field) = match field {
        Payload::Saddr(family) => (ip(family), " saddr"),
        Payload::Daddr(family) => (ip(family), " daddr"),
        Payload::Protocol(Family::Ipv4) => ("ip", " protocol"),
        Payload::Protocol(Family::Ipv6) => ("ip6", " nexthdr"),
        Payload::Sport(l4) => (transport(l4), " sport"),
        Payload::Dport(l4) => (transport(l4), " dport"),
        Payload::IcmpType(family) => (name_of(&ICMP_HEADERS, &family).unwrap_or_default(), " type"),
    };
    push(out, &[header, field]);
}

fn meta(out: &mut String, key: MetaKey, wording: Wording) {
    let name = name_of(&META_KEYS, &key).unwrap_or_default();
    let is_short = match key {
        MetaKey::Iif | MetaKey::Oif | MetaKey::Iifname | MetaKey::Oifname => true,
        MetaKey::Mark => wording == Wording::KubeProxy,
        MetaKey::L4proto | MetaKey::Nfproto => false,
    };
    push(out, &[if is_short { "" } else { "meta " }, name]);
}

fn ct(out: &mut String, key: CtKey) {
    let ip = |family: Family| name_of(&IP_HEADERS, &family).unwrap_or_default();
    let (direction, field) = match key {
        CtKey::State => (None, ["state", ""]),
        CtKey::Status => (None, ["status", ""]),
        CtKey::Mark => (None, ["mark", ""]),
        CtKey::Direction => (None, ["direction", ""]),
        CtKey::Saddr(direction, family) => (Some(direction), [ip(family), " saddr"]),
        CtKey::Daddr(direction, family) => (Some(direction), [ip(family), " daddr"]),
        CtKey::ProtoSrc(direction) => (Some(direction), ["proto-src", ""]),
        CtKey::ProtoDst(direction) => (Some(direction), ["proto-dst", ""]),
        CtKey::Protocol(direction) => (Some(direction), ["protocol", ""]),
    };
    out.push_str("ct ");
    if let Some(direction) = direction {
        push(
            out,
            &[name_of(&CT_DIRECTIONS, &direction).unwrap_or_default(), " "],
        );
    }
    push(out, &field);
}

fn reject(out: &mut String, with: RejectWith, family: Option<Family>) {
    let (protocol, name) = match (with, family) {
        (RejectWith::TcpReset, _) => ("tcp", Some("reset")),
        (RejectWith::PortUnreachable, None) => return out.push_str("reject"),
        (_, Some(Family::Ipv4)) => ("icmp", name_of(&REJECT_ICMP, &with)),
        (_, Some(Family::Ipv6)) => ("icmpv6", name_of(&REJECT_ICMPV6, &with)),
        (_, None) => ("icmpx", name_of(&REJECT_ICMPX, &with)),
    };
    push(
        out,
        &["reject with ", protocol, " ", name.unwrap_or_default()],
    );
}

fn set_mark(out: &mut String, own: SetMark, wording: Wording) {
    let name = |field| match (field, wording) {
        (MarkField::Meta, Wording::List) => "meta mark",
        (MarkField::Meta, Wording::KubeProxy) => "mark",
        (MarkField::Ct, _) => "ct mark",
    };
    let [and, or, xor] = match wording {
        Wording::List => [" & ", " | ", " ^ "],
        Wording::KubeProxy => [" and ", " or ", " xor "],
    };
    push(out, &[name(own.field), " set "]);
    let SetMark { mask, value, .. } = own;
    if mask.0 == 0 {
        return value::mark(out, value, Wording::List);
    }
    out.push_str(name(own.from));
    // What is flipped among the bits kept is an xor; what is set among those cleared, an or.
    let is_or = mask.0 & value.0 == 0;
    let kept = if is_or { mask.0 | value.0 } else { mask.0 };
    if kept != !0 {
        out.push_str(and);
        value::mark(out, Mark(kept), Wording::List);
    }
    if value.0 != 0 {
        out.push_str(if is_or { or } else { xor });
        value::mark(out, value, Wording::List);
    }
}

fn nat(out: &mut String, own: &Nat, wording: Wording) {
    out.push_str(match own.kind {
        NatKind::Dnat => "dnat",
        NatKind::Snat => "snat",
        NatKind::Masquerade => "masquerade",
        NatKind::Redirect => "redirect",
    });
    if let Some(family) = own.family {
        push(
            out,
            &[" ", name_of(&IP_HEADERS, &family).unwrap_or_default()],
        );
    }
    let NatRange {
        addresses, ports, ..
    } = &own.range;
    if own.map.is_some() || addresses.is_some() || ports.is_some() {
        out.push_str(" to ");
    }
    if let Some(map) = &own.map {
        expression(out, &map.key, wording);
        out.push_str(" map ");
        lookup(out, &map.map, wording);
    }
    if let Some(addresses) = addresses {
        let (first, last) = (addresses.start(), addresses.end());
        let in_brackets = first.is_ipv6() && ports.is_some();
        let [open, close] = if in_brackets { ["[", "]"] } else { ["", ""] };
        out.push_str(open);
        address(out, *first);
        out.push_str(close);
        if first != last {
            push(out, &["-", open]);
            address(out, *last);
            out.push_str(close);
        }
    }
    if let Some(ports) = ports {
        out.push(':');
        number(out, (*ports.start()).into());
        if ports.start() != ports.end() {
            out.push('-');
            number(out, (*ports.end()).into());
        }
    }
    let mut separator = " ";
    for (name, is_set) in [
        ("random", own.range.random),
        ("fully-random", own.range.random_fully),
        ("persistent", own.range.persistent),
    ] {
        if is_set {
            push(out, &[separator, name]);
            separator = ",";
        }
    }
}

fn set_statement(out: &mut String, own: &SetStatement, wording: Wording) {
    out.push_str(match own.operation {
        SetOperation::Add => "add @",
        SetOperation::Update => "update @",
        SetOperation::Delete => "delete @",
    });
    push(out, &[own.set.as_str(), " { "]);
    expression(out, &own.key, wording);
    if let Some(timeout) = own.timeout {
        out.push_str(" timeout ");
        match wording {
            Wording::List => duration(out, timeout),
            Wording::KubeProxy => seconds(out, timeout),
        }
    }
    out.push_str(" }");
}

fn limit(out: &mut String, own: Limit) {
    let period = match own.bucket.period_seconds {
        1 => "second",
        60 => "minute",
        3_600 => "hour",
        86_400 => "day",
        _ => "week",
    };
    let over = if own.over { "over " } else { "" };
    let amount = own.bucket.amount;
    put(out, format_args!("limit rate {over}{amount}/{period}"));
    if own.bucket.burst != Limit::BURST {
        put(out, format_args!(" burst {} packets", own.bucket.burst));
    }
}

impl Value {
    /// Its text in a listing.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        value::value(&mut out, self, Wording::List);
        out
    }
}
