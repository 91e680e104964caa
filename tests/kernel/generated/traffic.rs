//! Packets of random flows.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podwire_controlplane::cni::NodeNetwork;
use podwire_dataplane::NetnsState;
use podwire_packet::{Family, Headers, Protocol, TcpFlags};
use podwire_ruleset::{Choose, Draw};
use podwire_testkit::kernel::Tracked;

use super::rules::{PORTS, pick};
use super::{Packet, later};
use crate::agreement::Translation;
use crate::lab::{BEYOND, Lab, Sender};
use crate::wiring::outside_client;

/// Who sends the first packet of a flow, and what.
pub(super) fn first_packet(
    draw: &mut Draw,
    node: &NodeNetwork,
    pods: &BTreeSet<IpAddr>,
    number: usize,
) -> (Sender, Headers) {
    let own = node
        .internal_ip(Family::Ipv4)
        .expect("the node has an address");
    let client = outside_client(node).expect("the node has a network");
    let remote = IpAddr::from([10, 244, 2, 77]);
    let local: Vec<IpAddr> = pods.iter().copied().collect();
    let outside = [client, BEYOND, remote];
    let sender = match draw.one_of(3) {
        0 => Sender::Host,
        1 => Sender::Pod(pick(draw, &local)),
        _ => Sender::Outside(pick(draw, &outside)),
    };
    let everybody: Vec<IpAddr> = local
        .into_iter()
        .chain(outside)
        .chain([own, IpAddr::from([10, 96, 0, 1])])
        .collect();
    let src = match sender {
        Sender::Host => Family::Ipv4.unspecified(),
        Sender::Pod(ip) | Sender::Outside(ip) => ip,
    };
    let others: Vec<IpAddr> = everybody.into_iter().filter(|ip| *ip != src).collect();
    let protocols = [
        Protocol::TCP,
        Protocol::TCP,
        Protocol::UDP,
        Protocol::UDP,
        Protocol::SCTP,
        Protocol::ICMP,
    ];
    // An ICMP packet of the node itself cannot be told from its error messages.
    let protocols = if sender == Sender::Host {
        &protocols[..5]
    } else {
        &protocols[..]
    };
    let protocol = pick(draw, protocols);
    let sport = 20_000 + u16::try_from(number).expect("few flows");
    let dport = pick(draw, &PORTS);
    let mut headers = Headers::first_of_flow(src, pick(draw, &others), protocol, sport, dport);
    if draw.one_of(4) == 0 {
        match protocol {
            Protocol::TCP => {
                headers.tcp_flags = TcpFlags(u8::try_from(draw.one_of(64)).expect("six bits"))
            }
            Protocol::ICMP => {
                headers.icmp_type = pick(draw, &[8, 13, 0, 3, 17]);
                headers.icmp_code = pick(draw, &[0, 0, 1]);
            }
            Protocol(_) => {}
        }
    }
    headers.ttl = pick(draw, &[64, 64, 64, 2, 255]);
    headers.tos = pick(draw, &[0, 0, 0x10]);
    (sender, headers)
}

/// The next packet of the flow: the same again, an answer, or what follows an answer.
pub(super) fn next_packet(
    draw: &mut Draw,
    last: Packet,
    first: Headers,
    connection: Option<(Tracked, Translation)>,
    state: &NetnsState,
    lab: &Lab,
) -> Option<Packet> {
    let again = |headers| Packet {
        sender: lab.sender_of(first.src),
        kernel: headers,
        podwire: headers,
    };
    let is_answer = last.kernel.src != first.src || last.kernel.dst != first.dst;
    match (draw.one_of(3), connection) {
        (0, _) => None,
        (1, Some((tracked, translation)))
            if !is_answer && has_answer(&first) && !tracked.reply.src.is_loopback() =>
        {
            let kernel = answer(
                first,
                (tracked.reply.src, tracked.reply.sport),
                (tracked.reply.dst, tracked.reply.dport),
            );
            let Translation { to, from, .. } = translation;
            let podwire = answer(first, (to.ip(), to.port()), (from.ip(), from.port()));
            Some(Packet {
                sender: lab.sender_of(tracked.reply.src),
                kernel,
                podwire,
            })
        }
        // An ACK to what connection tracking was told not to see is no part of the connection.
        _ if is_answer && state.conntrack.connections().any(|found| found.seen_reply) => {
            Some(again(later(first)))
        }
        _ => Some(again(first)),
    }
}

/// Of ICMP, an echo request alone. (What 127.0.0.1 answers would need a bound socket: a raw one is
/// routed as if it had no address.)
fn has_answer(first: &Headers) -> bool {
    first.protocol != Protocol::ICMP || (first.icmp_type, first.icmp_code) == (8, 0)
}

/// What somebody answers to the first packet.
fn answer(first: Headers, from: (IpAddr, u16), to: (IpAddr, u16)) -> Headers {
    let request = Headers {
        src: to.0,
        sport: to.1,
        dst: from.0,
        dport: from.1,
        ..first
    };
    let mut answer = request.first_of_reply();
    if first.protocol == Protocol::ICMP {
        (answer.sport, answer.dport, answer.icmp_id) = (0, 0, from.1);
    }
    answer
}
