//! nft's words for what has a name, both ways.

use podwire_packet::{Family, Protocol};

use super::{DataType, FibResult, MetaKey};
use crate::{AddressType, CtDirection, CtStates, CtStatuses, Hook, L4, Policy, RejectWith};

/// Finds the name of a value in a table.
pub(super) fn name_of<T: PartialEq>(
    table: &'static [(&'static str, T)],
    value: &T,
) -> Option<&'static str> {
    let found = table.iter().find(|(_, own)| own == value);
    found.map(|(name, _)| *name)
}

/// Finds the value of a name in a table.
pub(super) fn value_of<T: Copy>(table: &[(&'static str, T)], name: &str) -> Option<T> {
    let found = table.iter().find(|(own, _)| *own == name);
    found.map(|(_, value)| *value)
}

pub(super) const HOOKS: [(&str, Hook); 5] = [
    ("prerouting", Hook::Prerouting),
    ("input", Hook::Input),
    ("forward", Hook::Forward),
    ("output", Hook::Output),
    ("postrouting", Hook::Postrouting),
];

pub(super) const POLICIES: [(&str, Policy); 2] =
    [("accept", Policy::Accept), ("drop", Policy::Drop)];

/// Protocols whose ports have a word. `th` has none.
pub(super) const TRANSPORTS: [(&str, Option<L4>); 4] = [
    ("tcp", Some(L4::Tcp)),
    ("udp", Some(L4::Udp)),
    ("sctp", Some(L4::Sctp)),
    ("th", None),
];

/// Names of protocols, as Debian's `/etc/protocols` has them.
pub(super) const PROTOCOLS: [(&str, Protocol); 13] = [
    ("tcp", Protocol::TCP),
    ("udp", Protocol::UDP),
    ("sctp", Protocol::SCTP),
    ("icmp", Protocol::ICMP),
    ("ipv6-icmp", Protocol::ICMPV6),
    ("icmpv6", Protocol::ICMPV6),
    ("udplite", Protocol(136)),
    ("dccp", Protocol(33)),
    ("esp", Protocol(50)),
    ("ah", Protocol(51)),
    ("gre", Protocol(47)),
    ("comp", Protocol(108)),
    ("igmp", Protocol(2)),
];

pub(super) const META_KEYS: [(&str, MetaKey); 7] = [
    ("l4proto", MetaKey::L4proto),
    ("nfproto", MetaKey::Nfproto),
    ("mark", MetaKey::Mark),
    ("iif", MetaKey::Iif),
    ("oif", MetaKey::Oif),
    ("iifname", MetaKey::Iifname),
    ("oifname", MetaKey::Oifname),
];

/// In the order of their bits, which is that of a listing.
pub(super) const CT_STATES: [(&str, CtStates); 5] = [
    ("invalid", CtStates::INVALID),
    ("established", CtStates::ESTABLISHED),
    ("related", CtStates::RELATED),
    ("new", CtStates::NEW),
    ("untracked", CtStates::UNTRACKED),
];

/// In the order of their bits.
pub(super) const CT_STATUSES: [(&str, CtStatuses); 6] = [
    ("expected", CtStatuses::EXPECTED),
    ("seen-reply", CtStatuses::SEEN_REPLY),
    ("assured", CtStatuses::ASSURED),
    ("confirmed", CtStatuses::CONFIRMED),
    ("snat", CtStatuses::SNAT),
    ("dnat", CtStatuses::DNAT),
];

pub(super) const CT_DIRECTIONS: [(&str, CtDirection); 2] = [
    ("original", CtDirection::Original),
    ("reply", CtDirection::Reply),
];

pub(super) const ADDRESS_TYPES: [(&str, AddressType); 9] = [
    ("unspec", AddressType::Unspec),
    ("unicast", AddressType::Unicast),
    ("local", AddressType::Local),
    ("broadcast", AddressType::Broadcast),
    ("anycast", AddressType::Anycast),
    ("multicast", AddressType::Multicast),
    ("blackhole", AddressType::Blackhole),
    ("unreachable", AddressType::Unreachable),
    ("prohibit", AddressType::Prohibit),
];

pub(super) const FIB_RESULTS: [(&str, FibResult); 3] = [
    ("type", FibResult::Type),
    ("oif", FibResult::Oif),
    ("oifname", FibResult::Oifname),
];

/// `meta nfproto`.
pub(super) const NFPROTOS: [(&str, Family); 2] = [("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6)];

/// The words of a family's header.
pub(super) const IP_HEADERS: [(&str, Family); 2] = [("ip", Family::Ipv4), ("ip6", Family::Ipv6)];

/// The words of a family's ICMP.
pub(super) const ICMP_HEADERS: [(&str, Family); 2] =
    [("icmp", Family::Ipv4), ("icmpv6", Family::Ipv6)];

/// `icmp type` (`icmp_type_tbl`, src/proto.c).
pub(super) const ICMP_TYPES: [(&str, u8); 13] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
];

/// `icmpv6 type` (`icmp6_type_tbl`, src/proto.c).
pub(super) const ICMPV6_TYPES: [(&str, u8); 17] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("mld2-listener-report", 143),
];

/// Words of `reject with icmp`.
pub(super) const REJECT_ICMP: [(&str, RejectWith); 7] = [
    ("net-unreachable", RejectWith::NetUnreachable),
    ("host-unreachable", RejectWith::HostUnreachable),
    ("prot-unreachable", RejectWith::ProtoUnreachable),
    ("port-unreachable", RejectWith::PortUnreachable),
    ("net-prohibited", RejectWith::NetProhibited),
    ("host-prohibited", RejectWith::HostProhibited),
    ("admin-prohibited", RejectWith::AdminProhibited),
];

/// Words of `reject with icmpv6`.
pub(super) const REJECT_ICMPV6: [(&str, RejectWith); 6] = [
    ("no-route", RejectWith::NetUnreachable),
    ("admin-prohibited", RejectWith::AdminProhibited),
    ("addr-unreachable", RejectWith::HostUnreachable),
    ("port-unreachable", RejectWith::PortUnreachable),
    ("policy-fail", RejectWith::PolicyFail),
    ("reject-route", RejectWith::RejectRoute),
];

/// Words of `reject with icmpx`, which are those of both families.
pub(super) const REJECT_ICMPX: [(&str, RejectWith); 4] = [
    ("no-route", RejectWith::NetUnreachable),
    ("port-unreachable", RejectWith::PortUnreachable),
    ("host-unreachable", RejectWith::HostUnreachable),
    ("admin-prohibited", RejectWith::AdminProhibited),
];

/// Names of priorities, each with the only hook that it is for, if there is one (`std_prios`,
/// src/rule.c).
pub(super) const PRIORITIES: [(&str, i32, Option<Hook>); 6] = [
    ("raw", -300, None),
    ("mangle", -150, None),
    ("dstnat", -100, Some(Hook::Prerouting)),
    ("filter", 0, None),
    ("security", 50, None),
    ("srcnat", 100, Some(Hook::Postrouting)),
];

/// Names of types.
pub(super) const DATA_TYPES: [(&str, DataType); 17] = [
    ("ipv4_addr", DataType::Address(Family::Ipv4)),
    ("ipv6_addr", DataType::Address(Family::Ipv6)),
    ("inet_proto", DataType::Protocol),
    ("inet_service", DataType::Port),
    ("mark", DataType::Mark),
    ("ifname", DataType::Ifname),
    ("iface_index", DataType::IfaceIndex),
    ("nf_proto", DataType::Nfproto),
    ("ct_state", DataType::CtState),
    ("ct_status", DataType::CtStatus),
    ("ct_dir", DataType::CtDirection),
    ("fib_addrtype", DataType::AddressType),
    ("icmp_type", DataType::IcmpType(Family::Ipv4)),
    ("icmpv6_type", DataType::IcmpType(Family::Ipv6)),
    ("boolean", DataType::Boolean),
    ("verdict", DataType::Verdict),
    ("integer", DataType::Number),
];
