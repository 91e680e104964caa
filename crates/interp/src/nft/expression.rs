//! What an expression reads from the packet.

use std::net::IpAddr;

use podwire_packet::{Family, FiveTuple, Mark, Protocol};
use podwire_ruleset::nft::{
    CtKey, Effect, Expression, FibResult, FibSelectors, MetaKey, NumgenMode, Payload, StatementId,
    Value,
};
use podwire_ruleset::{AddressType, Choose, CtDirection, L4, Packet};

use super::statement::Rule;
use crate::address_type::address_type;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read<T = Value> {
    /// A value.
    Is(T),
    /// The packet has no such field: `NFT_BREAK`.
    Missing,
    /// Podwire cannot say.
    Unknown,
}

impl<T> From<Option<T>> for Read<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Self::Is)
    }
}

impl Rule<'_, '_> {
    /// The values of an expression, one for each part of a concatenation.
    pub(super) fn read_all(
        &mut self,
        expression: &Expression,
        statement: StatementId,
        choose: &mut impl Choose,
    ) -> Read<Box<[Value]>> {
        let parts = expression.parts();
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            match self.read(part, statement, choose) {
                Read::Is(value) => values.push(value),
                Read::Missing => return Read::Missing,
                Read::Unknown => return Read::Unknown,
            }
        }
        Read::Is(values.into())
    }

    /// The value of an expression that is no concatenation.
    fn read(
        &mut self,
        expression: &Expression,
        statement: StatementId,
        choose: &mut impl Choose,
    ) -> Read {
        let packet = &self.walk.packet;
        match expression {
            Expression::Payload(field) => payload(*field, packet).into(),
            Expression::Meta(key) => Read::Is(meta(*key, packet)),
            Expression::Ct(key) => ct(*key, packet).into(),
            Expression::Fib { selectors, result } => fib(*selectors, *result, packet),
            Expression::Numgen {
                mode,
                modulus,
                offset,
            } => {
                let number = match mode {
                    // `nft_ng_random_gen`: `reciprocal_scale` of 32 random bits.
                    NumgenMode::Random => choose.one_of(*modulus),
                    NumgenMode::Inc => self.count(statement, *modulus),
                };
                Read::Is(Value::Number(number.wrapping_add(*offset)))
            }
            Expression::Masked(inner, mask) => match self.read(inner, statement, choose) {
                Read::Is(value) => masked(value, mask).map_or(Read::Unknown, Read::Is),
                nothing @ (Read::Missing | Read::Unknown) => nothing,
            },
            Expression::Concat(_) => unreachable!("a part of a concatenation is none"),
        }
    }

    /// `nft_ng_inc_gen`, net/netfilter/nft_numgen.c: counts from 0 up to the modulus.
    fn count(&mut self, statement: StatementId, modulus: u32) -> u32 {
        let seen = self.walk.decision.effects.iter().rev().find_map(|effect| {
            if let Effect::Counted {
                statement: of,
                count,
            } = effect
            {
                (*of == statement).then_some(*count)
            } else {
                None
            }
        });
        let before = seen.or_else(|| self.walk.state.counts.get(&statement).copied());
        let count = before.unwrap_or(0) % modulus.max(1);
        self.walk.decision.effects.push(Effect::Counted {
            statement,
            count: (count + 1) % modulus.max(1),
        });
        count
    }
}

/// `nft_payload_eval`, net/netfilter/nft_payload.c, with the tests that nft puts before it
/// (`payload_gen_dependency`, src/payload.c).
fn payload(field: Payload, packet: &Packet<'_>) -> Option<Value> {
    let headers = &packet.headers;
    let of = |family: Family| headers.family() == family;
    // A later fragment has no transport header.
    let has_ports = |protocol: Option<L4>| {
        let fits = match protocol {
            None => headers.protocol.has_ports(),
            Some(L4::Tcp) => headers.protocol == Protocol::TCP,
            Some(L4::Udp) => headers.protocol == Protocol::UDP,
            Some(L4::Sctp) => headers.protocol == Protocol::SCTP,
            Some(L4::Icmp | L4::Icmp6) => false,
        };
        fits && !headers.is_later_fragment
    };
    match field {
        Payload::Saddr(family) => of(family).then_some(Value::Address(headers.src)),
        Payload::Daddr(family) => of(family).then_some(Value::Address(headers.dst)),
        Payload::Protocol(family) => of(family).then_some(Value::Protocol(headers.protocol)),
        Payload::Sport(protocol) => has_ports(protocol).then_some(Value::Port(headers.sport)),
        Payload::Dport(protocol) => has_ports(protocol).then_some(Value::Port(headers.dport)),
        Payload::IcmpType(family) => {
            let is_icmp = headers.protocol == Protocol::icmp_of(family) && of(family);
            (is_icmp && !headers.is_later_fragment)
                .then_some(Value::IcmpType(family, headers.icmp_type))
        }
    }
}

/// `nft_meta_get_eval`, net/netfilter/nft_meta.c. A device that the packet has not is an empty name
/// (`nft_meta_store_ifname`) and number 0, which no device of a rule is.
fn meta(key: MetaKey, packet: &Packet<'_>) -> Value {
    let device = |device: Option<podwire_packet::DeviceName>| {
        device.map_or_else(|| Value::Other("".into()), Value::Interface)
    };
    match key {
        MetaKey::L4proto => Value::Protocol(packet.headers.protocol),
        MetaKey::Nfproto => Value::Family(packet.headers.family()),
        MetaKey::Mark => Value::Mark(packet.mark),
        MetaKey::Iif | MetaKey::Iifname => device(packet.input),
        MetaKey::Oif | MetaKey::Oifname => device(packet.output),
    }
}

/// `nft_ct_get_eval`, net/netfilter/nft_ct.c: only the state can be asked of a packet without a
/// connection.
fn ct(key: CtKey, packet: &Packet<'_>) -> Option<Value> {
    let conntrack = &packet.conntrack;
    if key == CtKey::State {
        return Some(Value::CtStates(conntrack.state.bit()));
    }
    if !conntrack.state.has_connection() {
        return None;
    }
    let original = conntrack.original.unwrap_or(packet.headers.five_tuple());
    let reply = conntrack.reply.unwrap_or(original.reversed());
    let of = |direction: CtDirection| -> &FiveTuple {
        match direction {
            CtDirection::Original => &original,
            CtDirection::Reply => &reply,
        }
    };
    let address = |address: IpAddr, family: Family| {
        (Family::of(address) == family).then_some(Value::Address(address))
    };
    match key {
        CtKey::State => None,
        CtKey::Status => Some(Value::CtStatuses(conntrack.status)),
        CtKey::Mark => Some(Value::Mark(conntrack.mark)),
        CtKey::Direction => Some(Value::CtDirection(conntrack.direction)),
        CtKey::Saddr(direction, family) => address(of(direction).src, family),
        CtKey::Daddr(direction, family) => address(of(direction).dst, family),
        CtKey::ProtoSrc(direction) => Some(Value::Port(of(direction).sport)),
        CtKey::ProtoDst(direction) => Some(Value::Port(of(direction).dport)),
        CtKey::Protocol(direction) => Some(Value::Protocol(of(direction).protocol)),
    }
}

/// `nft_fib4_eval_type`, net/ipv4/netfilter/nft_fib_ipv4.c, and `__nft_fib6_eval_type`,
/// net/ipv6/netfilter/nft_fib_ipv6.c.
fn fib(selectors: FibSelectors, result: FibResult, packet: &Packet<'_>) -> Read {
    match result {
        FibResult::Type => {}
        FibResult::Oif | FibResult::Oifname => return Read::Unknown,
    }
    let address = if selectors.contains(FibSelectors::DADDR) {
        packet.headers.dst
    } else {
        packet.headers.src
    };
    let device = if selectors.contains(FibSelectors::IIF) {
        packet.input
    } else if selectors.contains(FibSelectors::OIF) {
        packet.output
    } else {
        None
    };
    let found = match address {
        IpAddr::V6(ip) if ip.is_unspecified() => AddressType::Unspec,
        IpAddr::V4(_) | IpAddr::V6(_) => address_type(packet.host, address, device),
    };
    Read::Is(Value::AddressType(found))
}

/// `nft_bitwise_eval_bool`, net/netfilter/nft_bitwise.c, of what has bits to a person; `None` where
/// that is no question to ask.
fn masked(value: Value, mask: &Value) -> Option<Value> {
    match (value, mask) {
        (Value::Mark(mark), Value::Mark(mask)) => Some(Value::Mark(Mark(mark.0 & mask.0))),
        (Value::Number(number), Value::Number(mask)) => Some(Value::Number(number & mask)),
        (Value::Port(port), Value::Port(mask)) => Some(Value::Port(port & mask)),
        (Value::Address(IpAddr::V4(ip)), Value::Address(IpAddr::V4(mask))) => {
            Some(Value::Address((ip & *mask).into()))
        }
        (Value::Address(IpAddr::V6(ip)), Value::Address(IpAddr::V6(mask))) => {
            Some(Value::Address((ip & *mask).into()))
        }
        _ => None,
    }
}
