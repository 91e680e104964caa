//! What podwire and its peers are asked alike: Services, and files of rules and packets.
//!
//! Peers are other programs that answer the same question (`benches/peers/`): they read these files,
//! and so does `peer_podwire`. All numbers in the files are little-endian.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use podwire_cluster::{Cluster, synthetic};
use podwire_packet::Protocol;
use podwire_ruleset::{Choose as _, Draw, Verdict};

use crate::policy::{Flow, Net, Rule};

/// Endpoints of every Service.
pub const ENDPOINTS: u32 = 3;

/// The pod that asks: of the cluster's range of pods, so that no source address is translated.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);

/// Bytes of a [`Question`] in a file.
pub const QUESTION_BYTES: usize = 40;

/// Bytes of a box in a file.
pub const BOX_BYTES: usize = 20;

/// A packet and what is right for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The packet.
    pub flow: Flow,
    /// Number of the first rule (or of the Service) that holds for it, from 1; 0 if none does.
    pub rule: u32,
}

impl Question {
    /// As in a file: source and destination address, source and destination port, the protocol and
    /// three empty bytes, the mark, the bridge port's name with zeros behind it, the rule.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; QUESTION_BYTES] {
        let mut bytes = [0; QUESTION_BYTES];
        bytes[0..4].copy_from_slice(&self.flow.src.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.flow.dst.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.flow.sport.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.flow.dport.to_le_bytes());
        bytes[12] = self.flow.protocol.0;
        bytes[16..20].copy_from_slice(&self.flow.mark.to_le_bytes());
        if let Some(name) = self.flow.bridge_port {
            let name = name.as_str().as_bytes();
            bytes[20..20 + name.len()].copy_from_slice(name);
        }
        bytes[36..40].copy_from_slice(&self.rule.to_le_bytes());
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` where that cannot have written it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; QUESTION_BYTES]) -> Option<Self> {
        let long = |at: usize| Some(u32::from_le_bytes(bytes[at..at + 4].try_into().ok()?));
        let short = |at: usize| Some(u16::from_le_bytes(bytes[at..at + 2].try_into().ok()?));
        let name = bytes[20..36].split(|byte| *byte == 0).next()?;
        let bridge_port = match name {
            [] => None,
            name => Some(std::str::from_utf8(name).ok()?.parse().ok()?),
        };
        Some(Self {
            flow: Flow {
                src: long(0)?,
                dst: long(4)?,
                sport: short(8)?,
                dport: short(10)?,
                protocol: Protocol(bytes[12]),
                mark: long(16)?,
                bridge_port,
            },
            rule: long(36)?,
        })
    }
}

/// A rule's box as in a file: first source and destination address, first and last source port, first
/// and last destination port, lengths of the source and destination prefix, protocol and the bits of
/// it that count.
#[must_use]
pub fn box_bytes(rule: &Rule) -> [u8; BOX_BYTES] {
    let mut bytes = [0; BOX_BYTES];
    bytes[0..4].copy_from_slice(&rule.src.first.to_le_bytes());
    bytes[4..8].copy_from_slice(&rule.dst.first.to_le_bytes());
    bytes[8..10].copy_from_slice(&rule.sport.start().to_le_bytes());
    bytes[10..12].copy_from_slice(&rule.sport.end().to_le_bytes());
    bytes[12..14].copy_from_slice(&rule.dport.start().to_le_bytes());
    bytes[14..16].copy_from_slice(&rule.dport.end().to_le_bytes());
    bytes[16] = rule.src.len;
    bytes[17] = rule.dst.len;
    bytes[18] = rule.protocol.map_or(0, |protocol| protocol.0);
    bytes[19] = rule.protocol.map_or(0, |_| u8::MAX);
    bytes
}

/// A cluster of so many Services of type ClusterIP, each one UDP port with [`ENDPOINTS`] endpoints: a
/// datagram is enough to make a flow.
#[must_use]
pub fn services(count: u32) -> Cluster {
    let mut cluster = synthetic::services(count, ENDPOINTS);
    let ports = cluster.services.values_mut().flat_map(|own| &mut own.ports);
    ports.for_each(|port| port.protocol = Protocol::UDP);
    let slices = cluster.endpoint_slices.values_mut();
    let ports = slices.flat_map(|own| &mut own.ports);
    ports.for_each(|port| port.protocol = Protocol::UDP);
    cluster
}

/// Address and port of the Service with that number, from 0.
#[must_use]
pub fn service(number: u32) -> (u32, u16) {
    match synthetic::cluster_ip(number) {
        (IpAddr::V4(address), port) => (address.into(), port),
        (IpAddr::V6(_), port) => (0, port),
    }
}

/// Address and port of an endpoint of that Service, numbered from 0: as `synthetic` gives them out.
#[must_use]
pub fn endpoint(service: u32, number: u32) -> (u32, u16) {
    let first = u32::from(Ipv4Addr::new(10, 128, 1, 0));
    (first + service * ENDPOINTS + number, 8080)
}

/// The box of packets for that Service.
#[must_use]
pub fn service_box(number: u32) -> Rule {
    let (address, port) = service(number);
    Rule {
        src: Net::ANY,
        dst: Net::around(address, 32),
        protocol: Some(Protocol::UDP),
        sport: 0..=u16::MAX,
        dport: port..=port,
        extra: None,
        verdict: Verdict::Accept,
    }
}

/// The first packet of a flow to that Service.
#[must_use]
pub fn to_service(number: u32, draw: &mut Draw) -> Question {
    let (dst, dport) = service(number);
    let sport = 1_024 + draw.one_of(64_512);
    Question {
        flow: Flow {
            src: CLIENT.into(),
            dst,
            sport: u16::try_from(sport).expect("below 2^16"),
            dport,
            protocol: Protocol::UDP,
            mark: 0,
            bridge_port: None,
        },
        rule: number + 1,
    }
}

/// The Services as a verdict map of nftables: address, protocol and port choose a Service's chain, a
/// random number in it an endpoint's chain, and that translates. It is asked at OUTPUT.
#[must_use]
pub fn verdict_map(count: u32) -> String {
    let mut text = String::from("table ip services {\n");
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        text.write_fmt(arguments).expect("a string takes all");
        text.push('\n');
    };
    for number in 0..count {
        for own in 0..ENDPOINTS {
            let (address, port) = endpoint(number, own);
            let address = Ipv4Addr::from(address);
            line(format_args!(
                "chain endpoint-{number}-{own} {{ meta l4proto udp dnat to {address}:{port}; }}"
            ));
        }
        let ways: Vec<String> = (0..ENDPOINTS)
            .map(|own| format!("{own} : goto endpoint-{number}-{own}"))
            .collect();
        line(format_args!(
            "chain service-{number} {{ numgen random mod {ENDPOINTS} vmap {{ {} }}; }}",
            ways.join(", ")
        ));
    }
    line(format_args!(
        "map ports {{ type ipv4_addr . inet_proto . inet_service : verdict; elements = {{"
    ));
    for number in 0..count {
        let (address, port) = service(number);
        let address = Ipv4Addr::from(address);
        line(format_args!(
            "{address} . udp . {port} : goto service-{number},"
        ));
    }
    line(format_args!("}} }}"));
    line(format_args!(
        "chain output {{ type nat hook output priority -100; ip daddr . meta l4proto . th dport vmap @ports; }}"
    ));
    line(format_args!("}}"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    #[test]
    fn a_question_reads_back_as_it_was_written() {
        let policy = Policy::unfavourable(30, 1);
        for flow in policy.packets(200, 1) {
            let rule = policy.first_match(&flow);
            let question = Question { flow, rule };
            assert_eq!(Question::from_bytes(&question.to_bytes()), Some(question));
        }
    }

    #[test]
    fn endpoints_are_those_of_the_cluster() {
        let cluster = services(5);
        for (number, slice) in (0..).zip(cluster.endpoint_slices.values()) {
            for (own, endpoint) in (0..).zip(&slice.endpoints) {
                let address: Ipv4Addr = endpoint.addresses[0].parse().unwrap();
                assert_eq!(super::endpoint(number, own), (address.into(), 8080));
            }
        }
    }

    #[test]
    fn a_packet_for_a_service_is_in_its_box_alone() {
        let boxes: Vec<Rule> = (0..20).map(service_box).collect();
        let policy = Policy { rules: boxes };
        for number in 0..20 {
            let question = to_service(number, &mut Draw(1));
            assert_eq!(policy.first_match(&question.flow), question.rule);
        }
    }
}
