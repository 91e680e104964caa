//! What statements read, as numbers.
//!
//! Each thing that can be read has one [`Kind`], known when rules are compiled. So a value is a number of
//! that kind, a constant of another kind is never met, and what a mask does is known beforehand.

use std::net::IpAddr;

use podwire_packet::{DeviceName, Family, FiveTuple, Mark, Protocol};
use podwire_ruleset::nft::{
    CtKey, Expression, FibResult, FibSelectors, MetaKey, NumgenMode, Payload, Value,
};
use podwire_ruleset::{AddressType, CtDirection, CtStates, CtStatuses, L4};

use crate::addrtype::fib_type;
use crate::fields::bits;
use crate::view::View;

/// The type of a value that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Address(Family),
    Protocol,
    Port,
    Mark,
    /// A device, or 0 for none.
    Device,
    Family,
    AddressType,
    CtStates,
    CtStatuses,
    CtDirection,
    Icmp(Family),
    Number,
}

impl Kind {
    /// How many bits its numbers have at most.
    pub(super) const fn width(self) -> u32 {
        match self {
            Self::Address(Family::Ipv6) | Self::Device => 128,
            Self::Address(Family::Ipv4) | Self::Mark | Self::Number => 32,
            Self::Port | Self::CtStates | Self::CtStatuses => 16,
            Self::Protocol
            | Self::Family
            | Self::AddressType
            | Self::CtDirection
            | Self::Icmp(_) => 8,
        }
    }

    /// The number of a value; none for one of another kind. Numbers are ordered as values are.
    pub(super) fn number(self, value: &Value) -> Option<u128> {
        let (kind, number) = match value {
            Value::Address(address) => (Self::Address(Family::of(*address)), bits(*address)),
            Value::Protocol(protocol) => (Self::Protocol, protocol.0.into()),
            Value::Port(port) => (Self::Port, (*port).into()),
            Value::Mark(mark) => (Self::Mark, mark.0.into()),
            Value::Interface(name) => (Self::Device, device_number(*name)),
            Value::Family(family) => (Self::Family, family_number(*family)),
            Value::AddressType(kind) => (Self::AddressType, *kind as u128),
            Value::CtStates(states) => (Self::CtStates, states.0.into()),
            Value::CtStatuses(statuses) => (Self::CtStatuses, statuses.0.into()),
            Value::CtDirection(direction) => (Self::CtDirection, direction_number(*direction)),
            Value::IcmpType(family, kind) => (Self::Icmp(*family), (*kind).into()),
            Value::Number(number) => (Self::Number, (*number).into()),
            // The name of the device that a packet has not.
            Value::Other(text) if text.is_empty() => (Self::Device, 0),
            Value::Other(_) | Value::Present(_) => return None,
        };
        (kind == self).then_some(number)
    }

    /// The value of a number that was read.
    pub(super) fn value(self, number: u128) -> Value {
        let byte = || low(number).to_le_bytes()[0];
        let short = || u16::try_from(number).unwrap_or(u16::MAX);
        match self {
            Self::Address(Family::Ipv4) => Value::Address(IpAddr::V4(low(number).into())),
            Self::Address(Family::Ipv6) => Value::Address(IpAddr::V6(number.into())),
            Self::Protocol => Value::Protocol(Protocol(byte())),
            Self::Port => Value::Port(short()),
            Self::Mark => Value::Mark(Mark(low(number))),
            Self::Device => {
                let bytes = number.to_be_bytes();
                let name = bytes.get(1..=usize::from(bytes[0])).unwrap_or_default();
                match std::str::from_utf8(name) {
                    Ok(name) if !name.is_empty() => Value::Interface(DeviceName::literal(name)),
                    Ok(_) | Err(_) => Value::Other("".into()),
                }
            }
            Self::Family => Value::Family(if number == family_number(Family::Ipv4) {
                Family::Ipv4
            } else {
                Family::Ipv6
            }),
            Self::AddressType => {
                let mut all = AddressType::NAMES.into_iter().map(|(_, kind)| kind);
                let found = all.find(|kind| *kind as u128 == number);
                Value::AddressType(found.unwrap_or(AddressType::Unspec))
            }
            Self::CtStates => Value::CtStates(CtStates(short())),
            Self::CtStatuses => Value::CtStatuses(CtStatuses(short())),
            Self::CtDirection => {
                Value::CtDirection(if number == direction_number(CtDirection::Original) {
                    CtDirection::Original
                } else {
                    CtDirection::Reply
                })
            }
            Self::Icmp(family) => Value::IcmpType(family, byte()),
            Self::Number => Value::Number(low(number)),
        }
    }

    /// Whether it has bits to a person, which a mask can be laid on.
    const fn has_bits(self) -> bool {
        matches!(
            self,
            Self::Address(_) | Self::Port | Self::Mark | Self::Number
        )
    }
}

/// A number of at most 32 bits.
fn low(number: u128) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const fn family_number(family: Family) -> u128 {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1,
    }
}

const fn direction_number(direction: CtDirection) -> u128 {
    match direction {
        CtDirection::Original => 0,
        CtDirection::Reply => 1,
    }
}

/// The length in the highest byte, then the name.
fn device_number(name: DeviceName) -> u128 {
    let mut bytes = [0; 16];
    let name = name.as_str().as_bytes();
    bytes[0] = u8::try_from(name.len()).unwrap_or(u8::MAX);
    for (to, from) in bytes[1..].iter_mut().zip(name) {
        *to = *from;
    }
    u128::from_be_bytes(bytes)
}

/// Mask and value of the devices whose names begin so.
pub(super) fn device_prefix(start: DeviceName) -> (u128, u128) {
    let length = start.as_str().len();
    let mut mask = [0; 16];
    for byte in mask[1..].iter_mut().take(length) {
        *byte = u8::MAX;
    }
    let mask = u128::from_be_bytes(mask);
    (mask, device_number(start) & mask)
}

/// What was read, or whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read<T> {
    Is(T),
    /// The packet has no such field: `NFT_BREAK`.
    Missing,
    /// Podwire cannot say.
    Unknown,
}

impl<T> Read<T> {
    /// What is made of it, if it is something.
    #[inline]
    pub(super) fn map<U>(self, of: impl FnOnce(T) -> U) -> Read<U> {
        match self {
            Self::Is(read) => Read::Is(of(read)),
            Self::Missing => Read::Missing,
            Self::Unknown => Read::Unknown,
        }
    }
}

/// Where a number comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Payload(Payload),
    Meta(MetaKey),
    Ct(CtKey),
    FibType(FibSelectors),
    Random { modulus: u32, offset: u32 },
    Counted { modulus: u32, offset: u32 },
    Unknown,
}

/// One part of what a statement reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) source: Source,
    pub(super) kind: Kind,
    /// Bits that are looked at.
    pub(super) mask: u128,
    /// Whether podwire can say what the mask makes of it.
    pub(super) is_known: bool,
}

impl Part {
    /// Every part of an expression.
    pub(super) fn of(expression: &Expression) -> Box<[Self]> {
        expression.parts().iter().map(Self::one).collect()
    }

    fn one(expression: &Expression) -> Self {
        let of = |source, kind| Self {
            source,
            kind,
            mask: u128::MAX,
            is_known: true,
        };
        match expression {
            Expression::Payload(field) => of(Source::Payload(*field), payload_kind(*field)),
            Expression::Meta(key) => of(Source::Meta(*key), meta_kind(*key)),
            Expression::Ct(key) => of(Source::Ct(*key), ct_kind(*key)),
            Expression::Fib { selectors, result } => match result {
                FibResult::Type => of(Source::FibType(*selectors), Kind::AddressType),
                FibResult::Oif | FibResult::Oifname => of(Source::Unknown, Kind::Device),
            },
            Expression::Numgen {
                mode,
                modulus,
                offset,
            } => {
                let (modulus, offset) = (*modulus, *offset);
                let source = match mode {
                    NumgenMode::Random => Source::Random { modulus, offset },
                    NumgenMode::Inc => Source::Counted { modulus, offset },
                };
                of(source, Kind::Number)
            }
            Expression::Masked(inner, mask) => {
                let inner = Self::one(inner);
                let fits = inner.kind.has_bits().then(|| inner.kind.number(mask));
                match fits.flatten() {
                    Some(mask) => Self {
                        mask: inner.mask & mask,
                        ..inner
                    },
                    None => Self {
                        is_known: false,
                        ..inner
                    },
                }
            }
            // No part of a concatenation is one.
            Expression::Concat(_) => of(Source::Unknown, Kind::Number),
        }
    }

    /// Whether it asks for a number of `numgen`.
    pub(super) const fn is_numgen(&self) -> bool {
        matches!(self.source, Source::Random { .. } | Source::Counted { .. })
    }
}

const fn payload_kind(field: Payload) -> Kind {
    match field {
        Payload::Saddr(family) | Payload::Daddr(family) => Kind::Address(family),
        Payload::Protocol(_) => Kind::Protocol,
        Payload::Sport(_) | Payload::Dport(_) => Kind::Port,
        Payload::IcmpType(family) => Kind::Icmp(family),
    }
}

const fn meta_kind(key: MetaKey) -> Kind {
    match key {
        MetaKey::L4proto => Kind::Protocol,
        MetaKey::Nfproto => Kind::Family,
        MetaKey::Mark => Kind::Mark,
        MetaKey::Iif | MetaKey::Oif | MetaKey::Iifname | MetaKey::Oifname => Kind::Device,
    }
}

const fn ct_kind(key: CtKey) -> Kind {
    match key {
        CtKey::State => Kind::CtStates,
        CtKey::Status => Kind::CtStatuses,
        CtKey::Mark => Kind::Mark,
        CtKey::Direction => Kind::CtDirection,
        CtKey::Saddr(_, family) | CtKey::Daddr(_, family) => Kind::Address(family),
        CtKey::ProtoSrc(_) | CtKey::ProtoDst(_) => Kind::Port,
        CtKey::Protocol(_) => Kind::Protocol,
    }
}

/// A header field, where the packet is of the family and protocol that it belongs to.
#[inline]
pub(super) fn payload(field: Payload, view: &View<'_>) -> Option<u128> {
    let headers = &view.packet.headers;
    let in_family = |family: Family, address: IpAddr| {
        let is_own = match (family, headers.src) {
            (Family::Ipv4, IpAddr::V4(_)) | (Family::Ipv6, IpAddr::V6(_)) => true,
            (Family::Ipv4 | Family::Ipv6, _) => false,
        };
        is_own.then(|| bits(address))
    };
    let port = |protocol: Option<L4>, port: u16| {
        let own = headers.protocol;
        let has_it = match protocol {
            Some(L4::Tcp) => own == Protocol::TCP,
            Some(L4::Udp) => own == Protocol::UDP,
            Some(L4::Sctp) => own == Protocol::SCTP,
            Some(L4::Icmp | L4::Icmp6) => false,
            None => own.has_ports(),
        };
        (has_it && !headers.is_later_fragment).then_some(port.into())
    };
    match field {
        Payload::Saddr(family) => in_family(family, headers.src),
        Payload::Daddr(family) => in_family(family, headers.dst),
        Payload::Protocol(family) => {
            (headers.family() == family).then_some(headers.protocol.0.into())
        }
        Payload::Sport(protocol) => port(protocol, headers.sport),
        Payload::Dport(protocol) => port(protocol, headers.dport),
        Payload::IcmpType(family) => {
            let is_message = !headers.is_later_fragment
                && headers.family() == family
                && headers.protocol == Protocol::icmp_of(family);
            is_message.then_some(headers.icmp_type.into())
        }
    }
}

/// What is kept beside the packet: always there.
#[inline]
pub(super) fn meta(key: MetaKey, view: &View<'_>) -> u128 {
    match key {
        MetaKey::L4proto => view.packet.headers.protocol.0.into(),
        MetaKey::Nfproto => family_number(view.packet.headers.family()),
        MetaKey::Mark => view.mark.0.into(),
        MetaKey::Iif | MetaKey::Iifname => view.packet.input.map_or(0, device_number),
        MetaKey::Oif | MetaKey::Oifname => view.packet.output.map_or(0, device_number),
    }
}

/// What connection tracking says: of a packet without a connection, its state alone.
#[inline]
pub(super) fn ct(key: CtKey, view: &View<'_>) -> Option<u128> {
    let state = view.state();
    if key == CtKey::State {
        return Some(state.bit().0.into());
    }
    if !state.has_connection() {
        return None;
    }
    let conntrack = &view.packet.conntrack;
    let tuple = |direction: CtDirection| -> FiveTuple {
        let original = || match conntrack.original {
            Some(original) => original,
            None => view.packet.headers.five_tuple(),
        };
        match direction {
            CtDirection::Original => original(),
            CtDirection::Reply => match conntrack.reply {
                Some(reply) => reply,
                None => original().reversed(),
            },
        }
    };
    let address =
        |family: Family, address: IpAddr| (Family::of(address) == family).then(|| bits(address));
    match key {
        CtKey::State => None,
        CtKey::Status => Some(conntrack.status.0.into()),
        CtKey::Mark => Some(view.conntrack_mark.0.into()),
        CtKey::Direction => Some(direction_number(conntrack.direction)),
        CtKey::Saddr(direction, family) => address(family, tuple(direction).src),
        CtKey::Daddr(direction, family) => address(family, tuple(direction).dst),
        CtKey::ProtoSrc(direction) => Some(tuple(direction).sport.into()),
        CtKey::ProtoDst(direction) => Some(tuple(direction).dport.into()),
        CtKey::Protocol(direction) => Some(tuple(direction).protocol.0.into()),
    }
}

/// The kind of an address: of the destination, where both are named.
pub(super) fn address_type(selectors: FibSelectors, view: &View<'_>) -> u128 {
    let packet = view.packet;
    let address = if selectors.contains(FibSelectors::DADDR) {
        packet.headers.dst
    } else {
        packet.headers.src
    };
    let device = match (
        selectors.contains(FibSelectors::IIF),
        selectors.contains(FibSelectors::OIF),
    ) {
        (true, _) => packet.input,
        (false, true) => packet.output,
        (false, false) => None,
    };
    fib_type(packet.host, address, device) as u128
}
