//! What match modules print behind the columns: the `print` of each extension (extensions/libxt_*.c).

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use podwire_packet::{Family, TcpFlags};
use podwire_ruleset::iptables::{Wording, rule_text};
use podwire_ruleset::{
    AddressTypeMatch, AddressTypes, IcmpTypeMatch, Inv, IprangeMatch, L4, LimitMatch, MarkMatch,
    Match, MultiportMatch, MultiportSide, RecentMatch, RecentOperation, Rule, SetDirection,
    StatisticMatch,
};

use super::names::Names;

/// All modules of a rule, each behind a blank.
pub(super) fn write(out: &mut String, rule: &Rule, names: &Names<'_>, family: Family) {
    let mut done: Vec<L4> = Vec::new();
    for own in &rule.matches {
        if let Some(l4) = l4_of(own) {
            if !done.contains(&l4) {
                done.push(l4);
                transport(out, rule, l4, names);
            }
        } else if !own.is_of_ip_header() {
            one(out, own, rule, names, family);
        }
    }
}

/// The protocol whose module a match belongs to.
fn l4_of(own: &Match) -> Option<L4> {
    if let Match::Module(l4)
    | Match::SourcePort(l4, _)
    | Match::DestinationPort(l4, _)
    | Match::IcmpType(l4, _) = own
    {
        Some(*l4)
    } else if let Match::TcpFlags(_) = own {
        Some(L4::Tcp)
    } else {
        None
    }
}

/// A protocol's module with all its tests, in the module's own order.
fn transport(out: &mut String, rule: &Rule, l4: L4, names: &Names<'_>) {
    let name = match l4 {
        L4::Tcp => " tcp",
        L4::Udp => " udp",
        L4::Sctp => " sctp",
        // These print themselves with their type.
        L4::Icmp | L4::Icmp6 => "",
    };
    out.push_str(name);
    for own in &rule.matches {
        if let Match::SourcePort(of, ports) = own
            && *of == l4
        {
            port(out, "spt", ports, l4, names);
        }
    }
    for own in &rule.matches {
        if let Match::DestinationPort(of, ports) = own
            && *of == l4
        {
            port(out, "dpt", ports, l4, names);
        }
    }
    for own in &rule.matches {
        if let Match::TcpFlags(own) = own
            && l4 == L4::Tcp
        {
            let not = if own.inverted { "!" } else { "" };
            let (mask, set) = (own.value.mask, own.value.set);
            let _ = if names.numeric {
                write!(out, " flags:{not}0x{:02X}/0x{:02X}", mask.0, set.0)
            } else {
                write!(out, " flags:{not}{}/{}", flags(mask), flags(set))
            };
        } else if let Match::IcmpType(of, own) = own
            && *of == l4
        {
            icmp_type(out, l4, own, names);
        }
    }
}

fn port(out: &mut String, name: &str, own: &Inv<RangeInclusive<u16>>, l4: L4, names: &Names<'_>) {
    let not = if own.inverted { "!" } else { "" };
    let (first, last) = (*own.value.start(), *own.value.end());
    let _ = match (own.inverted, first, last) {
        (false, 0, u16::MAX) => return,
        (_, first, last) if first == last => {
            write!(out, " {name}:{not}{}", names.port(first, l4.name()))
        }
        (_, first, last) => write!(
            out,
            " {name}s:{not}{}:{}",
            names.port(first, l4.name()),
            names.port(last, l4.name())
        ),
    };
}

fn flags(own: TcpFlags) -> String {
    let named = TcpFlags::NAMES
        .iter()
        .filter(|(_, flag)| own.contains(*flag));
    let named: Vec<&str> = named.map(|(name, _)| *name).collect();
    if named.is_empty() {
        "NONE".to_owned()
    } else {
        named.join(",")
    }
}

/// Types and codes with names (`icmp_codes`, extensions/libxt_icmp.h).
const ICMP: [(u8, Option<u8>, &str); 21] = [
    (0, None, "echo-reply"),
    (3, None, "destination-unreachable"),
    (3, Some(0), "network-unreachable"),
    (3, Some(1), "host-unreachable"),
    (3, Some(2), "protocol-unreachable"),
    (3, Some(3), "port-unreachable"),
    (3, Some(4), "fragmentation-needed"),
    (3, Some(5), "source-route-failed"),
    (3, Some(6), "network-unknown"),
    (3, Some(7), "host-unknown"),
    (3, Some(9), "network-prohibited"),
    (3, Some(10), "host-prohibited"),
    (3, Some(13), "communication-prohibited"),
    (4, None, "source-quench"),
    (5, None, "redirect"),
    (8, None, "echo-request"),
    (9, None, "router-advertisement"),
    (10, None, "router-solicitation"),
    (11, None, "time-exceeded"),
    (13, None, "timestamp-request"),
    (14, None, "timestamp-reply"),
];

const ICMP6: [(u8, Option<u8>, &str); 11] = [
    (1, None, "destination-unreachable"),
    (2, None, "packet-too-big"),
    (3, None, "time-exceeded"),
    (4, None, "parameter-problem"),
    (128, None, "echo-request"),
    (129, None, "echo-reply"),
    (133, None, "router-solicitation"),
    (134, None, "router-advertisement"),
    (135, None, "neighbour-solicitation"),
    (136, None, "neighbour-advertisement"),
    (137, None, "redirect"),
];

fn icmp_type(out: &mut String, l4: L4, own: &Inv<IcmpTypeMatch>, names: &Names<'_>) {
    let (module, known): (_, &[_]) = if l4 == L4::Icmp6 {
        ("ipv6-icmp", &ICMP6)
    } else {
        ("icmp", &ICMP)
    };
    let _ = write!(out, " {module}");
    let codes = &own.value.codes;
    let Some(icmp_type) = own.value.icmp_type else {
        out.push_str(if own.inverted { " !any" } else { " any" });
        return;
    };
    let code = (*codes != (0..=u8::MAX)).then_some(*codes.start());
    let name = known
        .iter()
        .find(|(of, with, _)| *of == icmp_type && *with == code);
    if let Some((.., name)) = name.filter(|_| !names.numeric) {
        let not = if own.inverted { "!" } else { "" };
        let _ = write!(out, " {not}{name}");
        return;
    }
    out.push_str(if own.inverted { " !" } else { "" });
    let _ = write!(out, "type {icmp_type}");
    if let Some(code) = code {
        let _ = write!(out, " code {code}");
    }
}

fn one(out: &mut String, own: &Match, rule: &Rule, names: &Names<'_>, family: Family) {
    if let Match::Comment(text) = own {
        let _ = write!(out, " /* {text} */");
    } else if let Match::Multiport(own) = own {
        multiport(out, own, rule, names);
    } else if let Match::AddressType(own) = own {
        address_type(out, own);
    } else if let Match::Mark(own) = own {
        let not = if own.inverted { " !" } else { "" };
        let _ = write!(out, " mark match{not}{}", mark(own.value));
    } else if let Match::Connmark(own) = own {
        let not = if own.inverted { "!" } else { "" };
        let _ = write!(out, " connmark match {not}{}", mark(own.value));
    } else if let Match::Statistic(own) = own {
        statistic(out, own);
    } else if let Match::Physdev(_) = own {
        let _ = write!(out, " PHYSDEV match{}", options(own, family));
    } else if let Match::Iprange(own) = own {
        iprange(out, own);
    } else if let Match::Limit(own) = own {
        limit(out, *own);
    } else if let Match::Recent(own) = own {
        recent(out, own);
    } else if let Match::Unknown(_) = own {
        // What the module's own code would print is not known: its options.
        let _ = write!(out, "{}", options(own, family));
    } else {
        // conntrack, state, set and ipvs print their options without dashes.
        out.push_str(&options(own, family).replace(" --", " "));
    }
}

/// A module's options as `iptables-save` writes them.
fn options(own: &Match, family: Family) -> String {
    let mut rule = Rule::default();
    rule.matches.push(own.clone());
    let text = rule_text(&rule, Wording::Save, family);
    let behind = text.strip_prefix("-m ").unwrap_or(&text);
    let end = behind.find(' ').unwrap_or(behind.len());
    behind[end..].to_owned()
}

fn mark(own: MarkMatch) -> String {
    if own.mask.0 == u32::MAX {
        format!(" {:#x}", own.value.0)
    } else {
        format!(" {:#x}/{:#x}", own.value.0, own.mask.0)
    }
}

fn multiport(out: &mut String, own: &MultiportMatch, rule: &Rule, names: &Names<'_>) {
    // The rule says elsewhere of which protocol the ports are.
    let protocol = rule.matches.iter().find_map(|own| {
        if let Match::Protocol(own) = own {
            Some(own.value)
        } else {
            None
        }
    });
    let protocol = protocol.map_or_else(String::new, |own| own.to_string());
    out.push_str(match own.side {
        MultiportSide::Source => " multiport sports ",
        MultiportSide::Destination => " multiport dports ",
        MultiportSide::Either => " multiport ports ",
    });
    if own.ports.inverted {
        out.push_str(" !");
    }
    for (place, ports) in own.ports.value.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str(&names.port(*ports.start(), &protocol));
        if ports.start() != ports.end() {
            let _ = write!(out, ":{}", names.port(*ports.end(), &protocol));
        }
    }
}

fn address_type(out: &mut String, own: &AddressTypeMatch) {
    out.push_str(" ADDRTYPE match");
    for (side, name) in [(&own.src, "src-type"), (&own.dst, "dst-type")] {
        if let Some(side) = side {
            let named = AddressTypes::NAMES.iter().enumerate();
            let named = named.filter(|(bit, _)| side.value.0 & (1 << bit) != 0);
            let named: Vec<&str> = named.map(|(_, name)| *name).collect();
            let not = if side.inverted { "!" } else { "" };
            let _ = write!(out, " {name} {not}{}", named.join(","));
        }
    }
    if own.limit_iface_in {
        out.push_str(" limit-in");
    }
    if own.limit_iface_out {
        out.push_str(" limit-out");
    }
}

fn statistic(out: &mut String, own: &StatisticMatch) {
    let _ = match own {
        StatisticMatch::Random(own) => {
            let not = if own.inverted { " !" } else { "" };
            let threshold = f64::from(own.value.threshold()) / f64::from(1_u32 << 31);
            write!(
                out,
                " statistic mode random{not} probability {threshold:.11}"
            )
        }
        StatisticMatch::Nth {
            inverted,
            every,
            packet,
        } => {
            let not = if *inverted { " !" } else { "" };
            let packet = match packet {
                0 => String::new(),
                packet => format!(" packet {packet}"),
            };
            write!(out, " statistic mode nth{not} every {every}{packet}")
        }
    };
}

fn iprange(out: &mut String, own: &IprangeMatch) {
    for (side, name) in [(&own.src, "source"), (&own.dst, "destination")] {
        if let Some(side) = side {
            let not = if side.inverted { " !" } else { "" };
            let (first, last) = (side.value.start(), side.value.end());
            let _ = write!(out, " {name} IP range{not} {first}-{last}");
        }
    }
}

fn limit(out: &mut String, own: LimitMatch) {
    let period = match own.period_seconds {
        1 => "sec",
        60 => "min",
        3_600 => "hour",
        _ => "day",
    };
    let _ = write!(
        out,
        " limit: avg {}/{period} burst {}",
        own.amount, own.burst
    );
}

fn recent(out: &mut String, own: &RecentMatch) {
    let not = if own.inverted { " !" } else { " " };
    let operation = match own.operation {
        RecentOperation::Set => "SET",
        RecentOperation::Check => "CHECK",
        RecentOperation::Update => "UPDATE",
        RecentOperation::Remove => "REMOVE",
    };
    let _ = write!(out, "{not}recent: {operation}");
    if let Some(seconds) = own.seconds {
        let _ = write!(out, " seconds: {seconds}");
    }
    if own.reap {
        out.push_str(" reap");
    }
    if let Some(hitcount) = own.hitcount {
        let _ = write!(out, " hit_count: {hitcount}");
    }
    if own.rttl {
        out.push_str(" TTL-Match");
    }
    let side = match own.side {
        SetDirection::Source => "source",
        SetDirection::Destination => "dest",
    };
    let _ = write!(out, " name: {} side: {side} mask: {}", own.name, own.mask);
}
