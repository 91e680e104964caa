//! What becomes of a packet in the smallest namespace that does it.
//!
//! The namespace is a node: eth0 with 192.0.2.1/24 and a default gateway, cni0 with 10.0.0.1/24 and
//! two pods, 10.0.0.2 behind veth1 and 10.0.0.3 behind veth2; the same in IPv6.

mod bridge;
mod ipvs;
mod nat;
mod nftables;
mod routing;
mod tracking;
mod vxlan;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use podwire_interp::Interp;
use podwire_packet::{DeviceName, Family, FiveTuple, Headers, MacAddr, Prefix, Protocol, SimTime};
use podwire_ruleset::{Draw, Hook, RuleRef, iptables};

use crate::{
    BridgePort, Disposition, DropReason, Event, Frame, Link, LinkKind, Netns, NetnsState, Outcome,
    Payload, Route, Surroundings, Sysctls, receive, send,
};

const ETH0: DeviceName = DeviceName::ETH0;
const CNI0: DeviceName = DeviceName::literal("cni0");
const VETH1: DeviceName = DeviceName::literal("veth1");
const VETH2: DeviceName = DeviceName::literal("veth2");

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mac_of(address: IpAddr) -> MacAddr {
    match address {
        IpAddr::V4(ip) => MacAddr::of_docker(ip),
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            MacAddr([0x02, 0x66, a, b, c, d])
        }
    }
}

/// The first packet of a flow from `ADDRESS:PORT` to `ADDRESS:PORT`.
fn packet(protocol: Protocol, from: &str, to: &str) -> Headers {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    Headers::first_of_flow(from.ip(), to.ip(), protocol, from.port(), to.port())
}

fn tcp(from: &str, to: &str) -> Headers {
    packet(Protocol::TCP, from, to)
}

/// Everyone on a link answers, but for hosts whose address ends in 99.
struct Neighbors {
    now: SimTime,
}

impl Surroundings for Neighbors {
    fn resolve(&self, _: DeviceName, address: IpAddr) -> Option<MacAddr> {
        (!address.to_string().ends_with("99")).then(|| mac_of(address))
    }

    fn learned_port(&self, _: DeviceName, mac: MacAddr) -> Option<DeviceName> {
        let pods = [
            ("10.0.0.2", VETH1),
            ("10.0.0.3", VETH2),
            ("fd00::2", VETH1),
            ("fd00::3", VETH2),
        ];
        pods.into_iter()
            .find(|(pod, _)| mac_of(ip(pod)) == mac)
            .map(|(_, port)| port)
    }

    fn now(&self) -> SimTime {
        self.now
    }
}

struct Lab {
    ns: Netns<Interp>,
    state: NetnsState,
    around: Neighbors,
    events: Vec<Event>,
}

impl Lab {
    fn new() -> Self {
        let nic = Link::new(ETH0, LinkKind::Nic, MacAddr([2, 0, 0, 0, 0, 1]), 1500)
            .with_address(ip("192.0.2.1"), 24)
            .with_address(ip("2001:db8::1"), 64);
        let bridge = Link::new(CNI0, LinkKind::Bridge, MacAddr([2, 0, 0, 0, 0, 2]), 1500)
            .with_address(ip("10.0.0.1"), 24)
            .with_address(ip("fd00::1"), 64);
        let port = |name| Link {
            port_of: Some(BridgePort {
                bridge: CNI0,
                hairpin: false,
            }),
            ..Link::new(name, LinkKind::Veth, MacAddr([2, 0, 0, 0, 0, 3]), 1500)
        };
        Self::of([Link::loopback(), nic, bridge, port(VETH1), port(VETH2)])
            .route("0.0.0.0/0", ETH0, Some("192.0.2.254"))
            .route("::/0", ETH0, Some("2001:db8::fe"))
    }

    /// A namespace with these devices, no route but theirs, and no rule.
    fn of(links: impl IntoIterator<Item = Link>) -> Self {
        let mut ns = Netns::new(links);
        ns.sysctls.ip_forward = true;
        ns.listeners.everything = true;
        let around = Neighbors {
            now: SimTime::START,
        };
        Self {
            ns,
            state: NetnsState::default(),
            around,
            events: Vec::new(),
        }
        .rules("")
        .rules6("")
    }

    fn route(mut self, to: &str, device: DeviceName, via: Option<&str>) -> Self {
        let to: Prefix = to.parse().unwrap();
        let plain = Route::via(to, device, to.address());
        self.ns.add_route(Route {
            via: via.map(ip),
            ..plain
        });
        self
    }

    fn rules(mut self, text: &str) -> Self {
        let read = iptables::parse(text, Family::Ipv4).unwrap_or_else(|e| panic!("{e}: {text}"));
        self.ns.ipv4_rules = Some(Arc::new(Interp::new(read.rules).unwrap()));
        self
    }

    fn rules6(mut self, text: &str) -> Self {
        let read = iptables::parse(text, Family::Ipv6).unwrap_or_else(|e| panic!("{e}: {text}"));
        self.ns.ipv6_rules = Some(Arc::new(Interp::new(read.rules).unwrap()));
        self
    }

    fn nat(self, lines: &str) -> Self {
        self.rules(&format!("*nat\n{lines}\nCOMMIT\n"))
    }

    fn sysctl(mut self, change: impl FnOnce(&mut Sysctls)) -> Self {
        change(&mut self.ns.sysctls);
        self
    }

    fn link(mut self, name: DeviceName, change: impl FnOnce(&mut Link)) -> Self {
        change(&mut self.ns.links[&name]);
        self
    }

    /// A packet comes in by a device, for this host's Ethernet address there.
    fn receive(&mut self, device: DeviceName, headers: Headers) -> Outcome {
        let to = match self.ns.links[&device].port_of {
            Some(port) => self.ns.links[&port.bridge].mac,
            None => self.ns.links[&device].mac,
        };
        self.receive_for(device, to, headers)
    }

    /// A packet comes in by a bridge port, for a neighbour's Ethernet address.
    fn receive_for(&mut self, device: DeviceName, to: MacAddr, headers: Headers) -> Outcome {
        let src = mac_of(headers.src);
        let frame = Frame {
            src,
            dst: to,
            headers,
            payload: Payload::Data,
        };
        self.receive_frame(device, frame)
    }

    fn receive_frame(&mut self, device: DeviceName, frame: Frame) -> Outcome {
        let Self {
            ns,
            state,
            around,
            events,
        } = self;
        receive(ns, state, around, device, frame, &mut Draw(1), events)
    }

    fn send(&mut self, headers: Headers) -> Outcome {
        let Self {
            ns,
            state,
            around,
            events,
        } = self;
        send(ns, state, around, headers, &mut Draw(1), events)
    }

    /// The rules that matched so far, as `HOOK:table/CHAIN/NUMBER`.
    fn met(&self) -> Vec<String> {
        let rules = self.ns.ipv4_rules.as_ref().expect("set by new").rules();
        let of = |event: &Event| {
            if let Event::Rule {
                rule: RuleRef::Iptables(rule),
                ..
            } = event
            {
                Some(rules.label(*rule))
            } else {
                None
            }
        };
        self.events.iter().filter_map(of).collect()
    }

    /// The hooks at which a mangle chain that counts every packet was met.
    fn hooks(&self) -> Vec<Hook> {
        let of = |event: &Event| {
            if let Event::Rule { hook, .. } = event {
                Some(*hook)
            } else {
                None
            }
        };
        self.events.iter().filter_map(of).collect()
    }
}

/// A rule in each chain of mangle that counts.
const COUNT_ALL: &str =
    "*mangle\n-A PREROUTING\n-A INPUT\n-A FORWARD\n-A OUTPUT\n-A POSTROUTING\nCOMMIT\n";

/// The packet that left, its device and the next Ethernet address.
fn sent(outcome: Outcome) -> (DeviceName, Headers, MacAddr) {
    match outcome {
        Outcome::Transmitted { device, frame } => (device, frame.headers, frame.dst),
        Outcome::Ended(end) => panic!("it ended: {end:?}"),
    }
}

/// The flow of the packet that left.
fn flow(outcome: Outcome) -> FiveTuple {
    sent(outcome).1.five_tuple()
}

fn end(outcome: Outcome) -> Disposition {
    match outcome {
        Outcome::Ended(end) => end,
        Outcome::Transmitted { device, .. } => panic!("it left by {device}"),
    }
}

fn dropped(outcome: Outcome) -> DropReason {
    let end = end(outcome);
    let Disposition::Dropped(reason) = end else {
        panic!("it was not dropped: {end:?}")
    };
    reason
}

/// What the socket saw: `ADDRESS:PORT > ADDRESS:PORT`.
fn delivered(outcome: Outcome) -> String {
    let end = end(outcome);
    let Disposition::Delivered(delivery) = end else {
        panic!("it was not delivered: {end:?}")
    };
    delivery.flow.to_string()
}
