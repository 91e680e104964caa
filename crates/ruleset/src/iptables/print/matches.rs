//! Text of matches.

use std::ops::RangeInclusive;

use podwire_packet::{Family, Mark, TcpFlags};

use super::{Wording, address, not, put};
use crate::iptables::address::protocol_name;
use crate::iptables::lex::{push_quoted, push_word};
use crate::iptables::matches::SET_OPTIONS;
use crate::{
    AddressTypeMatch, AddressTypes, ConntrackMatch, CtDirection, CtStates, CtStatuses,
    IcmpTypeMatch, InterfaceMatch, Inv, IprangeMatch, IpvsMatch, L4, LimitMatch, MarkMatch, Match,
    MultiportMatch, MultiportSide, PhysdevMatch, Probability, RecentMatch, RecentOperation, Rule,
    SetDirection, SetMatch, StatisticMatch,
};

/// Every match where it was written.
pub(super) fn as_written(out: &mut String, rule: &Rule, family: Family) {
    for own in &rule.matches {
        one(out, own, Wording::KubeProxy, rule.host_lengths, family);
    }
}

/// The header's tests in the order of `save_rule_details` (iptables/nft-shared.c), then modules in
/// order, each with all its options.
pub(super) fn in_kernel_words(out: &mut String, matches: &[Match], family: Family) {
    for rank in 0..6 {
        for own in matches.iter().filter(|m| m.canonical_rank() == rank) {
            if !own.holds_always() {
                one(out, own, Wording::Save, true, family);
            }
        }
    }
    for (place, own) in matches.iter().enumerate() {
        if own.is_of_ip_header() {
            continue;
        }
        match (own.l4(), own) {
            (Some(l4), Match::Module(_)) => {
                module(out, l4.name());
                options(out, &matches[place + 1..], l4, family);
            }
            (Some(l4), _) => {
                // Tests behind `-m` were written with it; others name their module by themselves.
                let is_module = |m: &Match| m.l4() == Some(l4);
                if !matches[..place].iter().any(is_module) {
                    module(out, l4.name());
                    options(out, &matches[place..], l4, family);
                }
            }
            (None, _) => one(out, own, Wording::Save, true, family),
        }
    }
}

/// The options of a protocol's module up to where `-m` names it again, in the order of
/// `iptables-save`.
fn options(out: &mut String, behind: &[Match], l4: L4, family: Family) {
    let end = behind
        .iter()
        .position(|m| matches!(m, Match::Module(own) if *own == l4))
        .unwrap_or(behind.len());
    for rank in 7..11 {
        let own = |m: &&Match| m.canonical_rank() == rank && m.l4() == Some(l4);
        for option in behind[..end].iter().filter(own) {
            one(out, option, Wording::Save, true, family);
        }
    }
}

impl Match {
    /// The protocol's module that it is or belongs to.
    pub(in crate::iptables) const fn l4(&self) -> Option<L4> {
        if let Self::Module(l4)
        | Self::SourcePort(l4, _)
        | Self::DestinationPort(l4, _)
        | Self::IcmpType(l4, _) = self
        {
            Some(*l4)
        } else if let Self::TcpFlags(_) = self {
            Some(L4::Tcp)
        } else {
            None
        }
    }
}

fn module(out: &mut String, name: &str) {
    out.push_str(" -m ");
    out.push_str(name);
}

fn one(out: &mut String, own: &Match, wording: Wording, host_lengths: bool, family: Family) {
    let save = wording == Wording::Save;
    match own {
        Match::Source(own) => {
            option(out, own.inverted, "-s");
            address(out, &own.value, host_lengths);
        }
        Match::Destination(own) => {
            option(out, own.inverted, "-d");
            address(out, &own.value, host_lengths);
        }
        Match::InInterface(own) => {
            option(out, own.inverted, "-i");
            interface(out, &own.value);
        }
        Match::OutInterface(own) => {
            option(out, own.inverted, "-o");
            interface(out, &own.value);
        }
        Match::Protocol(own) => {
            option(out, own.inverted, "-p");
            match protocol_name(own.value) {
                Some(name) => out.push_str(name),
                None => put(out, format_args!("{}", own.value.0)),
            }
        }
        Match::Fragment(later) => out.push_str(if *later { " -f" } else { " ! -f" }),
        Match::Module(l4) => module(out, l4.name()),
        Match::SourcePort(_, own) => {
            port_option(out, own, "--sport", save);
        }
        Match::DestinationPort(_, own) => {
            port_option(out, own, "--dport", save);
        }
        Match::TcpFlags(own) => {
            option(out, own.inverted, "--tcp-flags");
            flags(out, own.value.mask);
            out.push(' ');
            flags(out, own.value.set);
        }
        Match::IcmpType(l4, own) => {
            let name = if *l4 == L4::Icmp6 {
                "--icmpv6-type"
            } else {
                "--icmp-type"
            };
            option(out, own.inverted, name);
            icmp_type(out, &own.value);
        }
        Match::Comment(text) => {
            out.push_str(" -m comment --comment ");
            match wording {
                Wording::Save => saved_string(out, text),
                Wording::KubeProxy => push_word(out, text),
            }
        }
        Match::Multiport(own) => multiport(out, own),
        Match::AddressType(own) => address_type(out, own),
        Match::Conntrack(own) => conntrack(out, own),
        Match::State(own) => {
            module(out, "state");
            option(out, own.inverted, "--state");
            states(out, own.value);
        }
        Match::Mark(own) => mark(out, "mark", own, save),
        Match::Connmark(own) => mark(out, "connmark", own, save),
        Match::Statistic(own) => statistic(out, own, save),
        Match::Set(own) => set(out, own, save),
        Match::Physdev(own) => physdev(out, own),
        Match::Ipvs(own) => ipvs(out, own, save),
        Match::Iprange(own) => iprange(out, own),
        Match::Limit(own) => limit(out, own, save),
        Match::Recent(own) => recent(out, own, save, family),
        Match::Unknown(text) => {
            out.push(' ');
            out.push_str(text);
        }
    }
}

/// Appends an option's name and the blank behind it.
fn option(out: &mut String, inverted: bool, name: &str) {
    not(out, inverted);
    out.push(' ');
    out.push_str(name);
    out.push(' ');
}

/// A flag has no value behind it.
fn flag(out: &mut String, inverted: bool, name: &str) {
    not(out, inverted);
    out.push(' ');
    out.push_str(name);
}

fn interface(out: &mut String, own: &InterfaceMatch) {
    match own {
        InterfaceMatch::Exact(name) => out.push_str(name.as_str()),
        InterfaceMatch::Prefix(name) => {
            out.push_str(name.as_str());
            out.push('+');
        }
        InterfaceMatch::Any => out.push('+'),
    }
}

/// nf_tables compares ports with two bounds, so what iptables reads back is never an inverted range
/// that one bound would do for, nor a range that holds every port.
fn port_option(out: &mut String, own: &Inv<RangeInclusive<u16>>, name: &str, save: bool) {
    const MAX: u16 = u16::MAX;
    let (inverted, first, last) = match (own.inverted, *own.value.start(), *own.value.end()) {
        (false, 0, MAX) if save => return,
        (true, 0, last) if save && last < MAX => (false, last + 1, MAX),
        (true, first, MAX) if save && first > 0 => (false, 0, first - 1),
        (inverted, first, last) => (inverted, first, last),
    };
    option(out, inverted, name);
    range(out, &(first..=last), ':');
}

pub(super) fn range<T: std::fmt::Display + PartialEq>(
    out: &mut String,
    own: &RangeInclusive<T>,
    separator: char,
) {
    put(out, format_args!("{}", own.start()));
    if own.start() != own.end() {
        put(out, format_args!("{separator}{}", own.end()));
    }
}

fn list<'n>(out: &mut String, names: impl Iterator<Item = &'n str>, none: &str) {
    let before = out.len();
    for name in names {
        if out.len() > before {
            out.push(',');
        }
        out.push_str(name);
    }
    if out.len() == before {
        out.push_str(none);
    }
}

fn flags(out: &mut String, own: TcpFlags) {
    let named = TcpFlags::NAMES
        .iter()
        .filter(|(_, flag)| own.contains(*flag));
    list(out, named.map(|(name, _)| *name), "NONE");
}

fn states(out: &mut String, own: CtStates) {
    let named = CtStates::NAMES
        .iter()
        .filter(|(_, state)| own.intersects(*state));
    list(out, named.map(|(name, _)| *name), "");
}

fn statuses(out: &mut String, own: CtStatuses) {
    let named = CtStatuses::NAMES
        .iter()
        .filter(|(_, status)| own.0 & status.0 != 0);
    list(out, named.map(|(name, _)| *name), "NONE");
}

fn icmp_type(out: &mut String, own: &IcmpTypeMatch) {
    let Some(icmp_type) = own.icmp_type else {
        out.push_str("any");
        return;
    };
    put(out, format_args!("{icmp_type}"));
    if own.codes != (0..=u8::MAX) {
        put(out, format_args!("/{}", own.codes.start()));
    }
}

/// As `xtables_save_string` prints (libxtables/xtables.c).
pub(super) fn saved_string(out: &mut String, text: &str) {
    let bare = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare {
        out.push_str(text);
    } else {
        push_quoted(out, text, &['"', '\\', '\'']);
    }
}

fn multiport(out: &mut String, own: &MultiportMatch) {
    module(out, "multiport");
    let side = match own.side {
        MultiportSide::Source => "--sports",
        MultiportSide::Destination => "--dports",
        MultiportSide::Either => "--ports",
    };
    option(out, own.ports.inverted, side);
    for (place, ports) in own.ports.value.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        range(out, ports, ':');
    }
}

fn address_type(out: &mut String, own: &AddressTypeMatch) {
    module(out, "addrtype");
    for (side, name) in [(&own.src, "--src-type"), (&own.dst, "--dst-type")] {
        if let Some(side) = side {
            option(out, side.inverted, name);
            let named = AddressTypes::NAMES
                .iter()
                .enumerate()
                .filter(|(bit, _)| side.value.0 & (1 << bit) != 0);
            list(out, named.map(|(_, name)| *name), "");
        }
    }
    if own.limit_iface_in {
        out.push_str(" --limit-iface-in");
    }
    if own.limit_iface_out {
        out.push_str(" --limit-iface-out");
    }
}

/// In the order of `conntrack_dump` (extensions/libxt_conntrack.c).
fn conntrack(out: &mut String, own: &ConntrackMatch) {
    module(out, "conntrack");
    if let Some(state) = own.state {
        option(out, state.inverted, "--ctstate");
        states(out, state.value);
    }
    if let Some(protocol) = own.protocol {
        option(out, protocol.inverted, "--ctproto");
        put(out, format_args!("{}", protocol.value.0));
    }
    for (side, name) in [
        (&own.orig_src, "--ctorigsrc"),
        (&own.orig_dst, "--ctorigdst"),
        (&own.reply_src, "--ctreplsrc"),
        (&own.reply_dst, "--ctrepldst"),
    ] {
        if let Some(side) = side {
            option(out, side.inverted, name);
            address(out, &side.value, false);
        }
    }
    for (side, name) in [
        (&own.orig_sport, "--ctorigsrcport"),
        (&own.orig_dport, "--ctorigdstport"),
        (&own.reply_sport, "--ctreplsrcport"),
        (&own.reply_dport, "--ctrepldstport"),
    ] {
        if let Some(side) = side {
            option(out, side.inverted, name);
            range(out, &side.value, ':');
        }
    }
    if let Some(status) = own.status {
        option(out, status.inverted, "--ctstatus");
        statuses(out, status.value);
    }
    if let Some(expire) = &own.expire {
        option(out, expire.inverted, "--ctexpire");
        range(out, &expire.value, ':');
    }
    match own.direction {
        None => {}
        Some(CtDirection::Original) => out.push_str(" --ctdir ORIGINAL"),
        Some(CtDirection::Reply) => out.push_str(" --ctdir REPLY"),
    }
}

fn mark(out: &mut String, name: &str, own: &Inv<MarkMatch>, save: bool) {
    module(out, name);
    option(out, own.inverted, "--mark");
    let MarkMatch { value, mask } = own.value;
    if save {
        put(out, format_args!("{value}"));
        if mask != Mark(u32::MAX) {
            put(out, format_args!("/{mask}"));
        }
    } else {
        put(out, format_args!("{:#010x}", value.0));
        if mask != Mark(u32::MAX) {
            put(out, format_args!("/{:#010x}", mask.0));
        }
    }
}

fn statistic(out: &mut String, own: &StatisticMatch, save: bool) {
    module(out, "statistic");
    match own {
        StatisticMatch::Random(own) => {
            out.push_str(" --mode random");
            option(out, own.inverted, "--probability");
            if save {
                let exact = f64::from(own.value.threshold()) / f64::from(Probability::ONE);
                put(out, format_args!("{exact:.11}"));
            } else {
                put(out, format_args!("{:.10}", own.value.decimal()));
            }
        }
        StatisticMatch::Nth {
            inverted,
            every,
            packet,
        } => {
            out.push_str(" --mode nth");
            option(out, *inverted, "--every");
            put(out, format_args!("{every} --packet {packet}"));
        }
    }
}

fn set(out: &mut String, own: &Inv<SetMatch>, save: bool) {
    module(out, "set");
    option(out, own.inverted, "--match-set");
    push_word(out, &own.value.name);
    out.push(' ');
    let directions = own
        .value
        .directions
        .iter()
        .map(|direction| match direction {
            SetDirection::Source => "src",
            SetDirection::Destination => "dst",
        });
    list(out, directions, "");
    let options = &own.value.options;
    if save {
        sorted_set_options(out, options);
    } else if !options.is_empty() {
        out.push(' ');
        out.push_str(options);
    }
}

/// Options in the order of `iptables-save`, without those that say what holds anyway.
fn sorted_set_options(out: &mut String, options: &str) {
    for name in SET_OPTIONS {
        let mut inverted = false;
        let mut words = options.split(' ');
        while let Some(word) = words.next() {
            if word.strip_prefix("--") == Some(name) {
                let is_default = name.starts_with("update-") && !inverted;
                if !is_default {
                    flag(out, inverted, word);
                    let value = words
                        .next()
                        .filter(|v| v.starts_with(|c: char| c.is_ascii_digit()));
                    if let Some(value) = value {
                        out.push(' ');
                        out.push_str(value);
                    }
                }
                break;
            }
            inverted = word == "!";
        }
    }
}

/// In the order of `physdev_save` (extensions/libxt_physdev.c).
fn physdev(out: &mut String, own: &PhysdevMatch) {
    module(out, "physdev");
    for (is, is_name, side, name) in [
        (own.is_in, "--physdev-is-in", &own.input, "--physdev-in"),
        (own.is_out, "--physdev-is-out", &own.output, "--physdev-out"),
    ] {
        if let Some(is) = is {
            flag(out, !is, is_name);
        }
        if let Some(side) = side {
            option(out, side.inverted, name);
            interface(out, &side.value);
        }
    }
    if let Some(is) = own.is_bridged {
        flag(out, !is, "--physdev-is-bridged");
    }
}

/// In the order of `ipvs_mt_dump` (extensions/libxt_ipvs.c), which writes protocols as numbers; or in
/// kube-proxy's.
fn ipvs(out: &mut String, own: &IpvsMatch, save: bool) {
    module(out, "ipvs");
    if let Some(is) = own.is_ipvs {
        flag(out, !is, "--ipvs");
    }
    if save {
        virtual_protocol(out, own, save);
    }
    if let Some(address) = &own.address {
        option(out, address.inverted, "--vaddr");
        self::address(out, &address.value, false);
    }
    if !save {
        virtual_protocol(out, own, save);
    }
    if let Some(port) = own.port {
        option(out, port.inverted, "--vport");
        put(out, format_args!("{}", port.value));
    }
    if let Some(direction) = own.direction {
        option(out, direction.inverted, "--vdir");
        out.push_str(match direction.value {
            CtDirection::Original => "ORIGINAL",
            CtDirection::Reply => "REPLY",
        });
    }
}

fn virtual_protocol(out: &mut String, own: &IpvsMatch, save: bool) {
    if let Some(protocol) = own.protocol {
        option(out, protocol.inverted, "--vproto");
        match protocol_name(protocol.value).filter(|_| !save) {
            Some(name) => out.push_str(name),
            None => put(out, format_args!("{}", protocol.value.0)),
        }
    }
}

fn iprange(out: &mut String, own: &IprangeMatch) {
    module(out, "iprange");
    for (side, name) in [(&own.src, "--src-range"), (&own.dst, "--dst-range")] {
        if let Some(side) = side {
            option(out, side.inverted, name);
            put(
                out,
                format_args!("{}-{}", side.value.start(), side.value.end()),
            );
        }
    }
}

/// The kernel keeps the time between two tokens in steps of 1/10,000 second; `iptables-save` prints
/// the largest unit in which that is an amount (`print_rate`, extensions/libxt_limit.c).
fn limit(out: &mut String, own: &LimitMatch, save: bool) {
    const UNITS: [(&str, u32); 4] = [("day", 86_400), ("hour", 3_600), ("min", 60), ("sec", 1)];
    module(out, "limit");
    let step = (own.period_seconds.saturating_mul(LimitMatch::SCALE) / own.amount.max(1)).max(1);
    let mut shown = UNITS[0];
    for unit in &UNITS[1..] {
        let whole = unit.1 * LimitMatch::SCALE;
        if step > whole || whole / step < whole % step {
            break;
        }
        shown = *unit;
    }
    let amount = shown.1 * LimitMatch::SCALE / step;
    put(out, format_args!(" --limit {amount}/{}", shown.0));
    if own.burst != LimitMatch::DEFAULT_BURST || !save {
        put(out, format_args!(" --limit-burst {}", own.burst));
    }
}

fn recent(out: &mut String, own: &RecentMatch, save: bool, family: Family) {
    module(out, "recent");
    if !save {
        out.push_str(" --name ");
        push_word(out, &own.name);
    }
    let operation = match own.operation {
        RecentOperation::Set => "--set",
        RecentOperation::Check => "--rcheck",
        RecentOperation::Update => "--update",
        RecentOperation::Remove => "--remove",
    };
    flag(out, own.inverted, operation);
    if let Some(seconds) = own.seconds {
        put(out, format_args!(" --seconds {seconds}"));
    }
    if own.reap {
        out.push_str(" --reap");
    }
    if let Some(hitcount) = own.hitcount {
        put(out, format_args!(" --hitcount {hitcount}"));
    }
    if own.rttl {
        out.push_str(" --rttl");
    }
    if save {
        out.push_str(" --name ");
        push_word(out, &own.name);
    }
    if save || own.mask != RecentMatch::whole_address(family) {
        put(out, format_args!(" --mask {}", own.mask));
    }
    match own.side {
        SetDirection::Source if save => out.push_str(" --rsource"),
        SetDirection::Source => {}
        SetDirection::Destination => out.push_str(" --rdest"),
    }
}
