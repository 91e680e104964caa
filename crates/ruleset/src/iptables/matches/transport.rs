//! Ports, flags and types: tcp, udp, sctp, icmp, icmp6 and multiport.

use podwire_packet::{Family, TcpFlags};

use crate::iptables::ParseError;
use crate::iptables::options::{Arg, Opt, Words};
use crate::{IcmpTypeMatch, Inv, L4, Match, MultiportMatch, MultiportSide, TcpFlagsMatch};

const SOURCE: u32 = 1;
const DESTINATION: u32 = 1 << 1;
const FLAGS: u32 = 1 << 2;
const TYPE: u32 = 1 << 3;

/// Ports that one multiport holds (`XT_MULTI_PORTS`,
/// include/uapi/linux/netfilter/xt_multiport.h).
const MULTIPORT_MAX: usize = 15;

/// An option of a protocol's module becomes a match of its own.
pub(super) fn take<'w>(
    l4: L4,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
    matches: &mut Vec<Match>,
) -> Result<bool, ParseError> {
    let has_ports = matches!(l4, L4::Tcp | L4::Udp | L4::Sctp);
    let made = match option.long() {
        "sport" | "source-port" if has_ports => {
            option.once(seen, SOURCE)?;
            let ports = words.value(option)?.ports(b':', true)?;
            Match::SourcePort(l4, inv(option, ports))
        }
        "dport" | "destination-port" if has_ports => {
            option.once(seen, DESTINATION)?;
            let ports = words.value(option)?.ports(b':', true)?;
            Match::DestinationPort(l4, inv(option, ports))
        }
        "syn" if l4 == L4::Tcp => {
            option.once(seen, FLAGS)?;
            words.none(option)?;
            Match::TcpFlags(inv(option, TcpFlagsMatch::SYN))
        }
        "tcp-flags" if l4 == L4::Tcp => {
            option.once(seen, FLAGS)?;
            let mask = words.value(option)?;
            let mask = tcp_flags(option, mask)?;
            let set = words.text(option)?;
            let set = tcp_flags(option, set)?;
            Match::TcpFlags(inv(option, TcpFlagsMatch { mask, set }))
        }
        "icmp-type" if l4 == L4::Icmp => icmp_type(l4, seen, option, words)?,
        "icmpv6-type" if l4 == L4::Icmp6 => icmp_type(l4, seen, option, words)?,
        _ => return Ok(false),
    };
    matches.push(made);
    Ok(true)
}

fn inv<T>(option: &Opt<'_>, value: T) -> Inv<T> {
    Inv {
        inverted: option.inverted,
        value,
    }
}

impl TcpFlagsMatch {
    /// What `--syn` means.
    pub const SYN: Self = Self {
        mask: TcpFlags(0x17),
        set: TcpFlags::SYN,
    };
}

fn tcp_flags(option: &Opt<'_>, list: Arg<'_>) -> Result<TcpFlags, ParseError> {
    let mut flags = TcpFlags::default();
    for word in list.list() {
        let named = TcpFlags::NAMES
            .iter()
            .find(|(name, _)| word.text.eq_ignore_ascii_case(name))
            .map(|&(_, flag)| flag)
            .or_else(|| {
                word.text
                    .eq_ignore_ascii_case("ALL")
                    .then_some(TcpFlags(0x3f))
            })
            .or_else(|| {
                word.text
                    .eq_ignore_ascii_case("NONE")
                    .then_some(TcpFlags(0))
            })
            .ok_or_else(|| option.bad_word(word, "SYN, ACK, FIN, RST, URG, PSH, ALL and NONE"))?;
        flags = flags.union(named);
    }
    Ok(flags)
}

fn icmp_type<'w>(
    l4: L4,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<Match, ParseError> {
    option.once(seen, TYPE)?;
    let word = words.value(option)?;
    let names: &[IcmpName] = match words.family {
        Family::Ipv4 => &ICMP_NAMES,
        Family::Ipv6 => &ICMPV6_NAMES,
    };
    let named = names
        .iter()
        .find(|(name, ..)| word.text.eq_ignore_ascii_case(name));
    let value = if let Some(&(_, icmp_type, code)) = named {
        IcmpTypeMatch {
            icmp_type: Some(icmp_type),
            codes: code.map_or(0..=u8::MAX, |code| code..=code),
        }
    } else if word.text == "any" && l4 == L4::Icmp {
        ANY_TYPE
    } else {
        numbered_type(l4, option, word)?
    };
    Ok(Match::IcmpType(l4, inv(option, value)))
}

const ANY_TYPE: IcmpTypeMatch = IcmpTypeMatch {
    icmp_type: None,
    codes: 0..=u8::MAX,
};

fn numbered_type(l4: L4, option: &Opt<'_>, word: Arg<'_>) -> Result<IcmpTypeMatch, ParseError> {
    if !word.text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(option.bad_word(word, "numbers, as `8` or `3/4`, and names of types"));
    }
    let Some(slash) = word.text.find('/') else {
        let icmp_type = word.u8()?;
        // 255 stands for any type of ICMP (extensions/libipt_icmp.c).
        if icmp_type == u8::MAX && l4 == L4::Icmp {
            return Ok(ANY_TYPE);
        }
        return Ok(IcmpTypeMatch {
            icmp_type: Some(icmp_type),
            codes: 0..=u8::MAX,
        });
    };
    let code = word.slice(slash + 1..word.text.len()).u8()?;
    Ok(IcmpTypeMatch {
        icmp_type: Some(word.slice(0..slash).u8()?),
        codes: code..=code,
    })
}

/// A name, its type, and its code where the name means one.
type IcmpName = (&'static str, u8, Option<u8>);

/// Source: `icmp_codes`, extensions/libxt_icmp.h.
const ICMP_NAMES: [IcmpName; 39] = [
    ("echo-reply", 0, None),
    ("pong", 0, None),
    ("destination-unreachable", 3, None),
    ("network-unreachable", 3, Some(0)),
    ("host-unreachable", 3, Some(1)),
    ("protocol-unreachable", 3, Some(2)),
    ("port-unreachable", 3, Some(3)),
    ("fragmentation-needed", 3, Some(4)),
    ("source-route-failed", 3, Some(5)),
    ("network-unknown", 3, Some(6)),
    ("host-unknown", 3, Some(7)),
    ("network-prohibited", 3, Some(9)),
    ("host-prohibited", 3, Some(10)),
    ("TOS-network-unreachable", 3, Some(11)),
    ("TOS-host-unreachable", 3, Some(12)),
    ("communication-prohibited", 3, Some(13)),
    ("host-precedence-violation", 3, Some(14)),
    ("precedence-cutoff", 3, Some(15)),
    ("source-quench", 4, None),
    ("redirect", 5, None),
    ("network-redirect", 5, Some(0)),
    ("host-redirect", 5, Some(1)),
    ("TOS-network-redirect", 5, Some(2)),
    ("TOS-host-redirect", 5, Some(3)),
    ("echo-request", 8, None),
    ("ping", 8, None),
    ("router-advertisement", 9, None),
    ("router-solicitation", 10, None),
    ("time-exceeded", 11, None),
    ("ttl-exceeded", 11, None),
    ("ttl-zero-during-transit", 11, Some(0)),
    ("ttl-zero-during-reassembly", 11, Some(1)),
    ("parameter-problem", 12, None),
    ("ip-header-bad", 12, Some(0)),
    ("required-option-missing", 12, Some(1)),
    ("timestamp-request", 13, None),
    ("timestamp-reply", 14, None),
    ("address-mask-request", 17, None),
    ("address-mask-reply", 18, None),
];

/// Source: `icmpv6_codes`, extensions/libxt_icmp.h.
const ICMPV6_NAMES: [IcmpName; 28] = [
    ("destination-unreachable", 1, None),
    ("no-route", 1, Some(0)),
    ("communication-prohibited", 1, Some(1)),
    ("beyond-scope", 1, Some(2)),
    ("address-unreachable", 1, Some(3)),
    ("port-unreachable", 1, Some(4)),
    ("failed-policy", 1, Some(5)),
    ("reject-route", 1, Some(6)),
    ("packet-too-big", 2, None),
    ("time-exceeded", 3, None),
    ("ttl-exceeded", 3, None),
    ("ttl-zero-during-transit", 3, Some(0)),
    ("ttl-zero-during-reassembly", 3, Some(1)),
    ("parameter-problem", 4, None),
    ("bad-header", 4, Some(0)),
    ("unknown-header-type", 4, Some(1)),
    ("unknown-option", 4, Some(2)),
    ("echo-request", 128, None),
    ("ping", 128, None),
    ("echo-reply", 129, None),
    ("pong", 129, None),
    ("router-solicitation", 133, None),
    ("router-advertisement", 134, None),
    ("neighbour-solicitation", 135, None),
    ("neighbor-solicitation", 135, None),
    ("neighbour-advertisement", 136, None),
    ("neighbor-advertisement", 136, None),
    ("redirect", 137, None),
];

/// `-m multiport`.
pub(super) fn multiport<'w>(
    own: &mut MultiportMatch,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    let side = match option.long() {
        "sports" | "source-ports" => MultiportSide::Source,
        "dports" | "destination-ports" => MultiportSide::Destination,
        "ports" => MultiportSide::Either,
        _ => return Ok(false),
    };
    option.once(seen, 1)?;
    let list = words.value(option)?;
    let mut count = 0;
    for part in list.list() {
        let ports = part.ports(b':', false)?;
        count += if part.text.contains(':') { 2 } else { 1 };
        if count > MULTIPORT_MAX {
            return Err(ParseError::TooManyPorts { at: list.at });
        }
        own.ports.value.push(ports);
    }
    own.side = side;
    own.ports.inverted = option.inverted;
    Ok(true)
}
