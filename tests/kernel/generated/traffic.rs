//! Packets of random flows.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podwire_controlplane::cni::NodeNetwork;
use podwire_packet::{Family, Headers, Protocol, TcpFlags};
use podwire_ruleset::{Choose, Draw};
use podwire_testkit::kernel::Tracked;

use super::later;
use super::rules::{PORTS, pick};
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
    (sender, last): (Sender, Headers),
    first: Headers,
    connection: Option<Tracked>,
    lab: &Lab,
) -> Option<(Sender, Headers)> {
    let is_answer = last.src != first.src || last.dst != first.dst;
    let began = if is_answer {
        lab.sender_of(first.src)
    } else {
        sender
    };
    match (draw.one_of(3), connection) {
        (0, _) => None,
        (1, Some(tracked)) if !is_answer => {
            let answerer = lab.sender_of(tracked.reply.src);
            // A process of the node that gets an answer says so, unasked.
            let answer = Headers {
                src: tracked.reply.dst,
                dst: tracked.reply.src,
                sport: tracked.reply.dport,
                dport: tracked.reply.sport,
                ..first
            };
            let mut answer = answer.first_of_reply();
            if first.protocol == Protocol::ICMP {
                (answer.sport, answer.dport, answer.icmp_id) = (0, 0, tracked.reply.sport);
            }
            Some((answerer, answer))
        }
        _ if is_answer => Some((began, later(first))),
        _ => Some((began, first)),
    }
}
