//! Operations at two sizes, whose cost a unit of work must be the same at both.

use std::hint::black_box;
use std::net::IpAddr;

use podwire_cluster::synthetic;
use podwire_matcher::Matcher;
use podwire_packet::{Family, Headers, Protocol};
use podwire_ruleset::{
    ConntrackInfo, CtState, Draw, Hook, HostAddresses, Packet, State, TableName, Verdict, ipset,
};
use podwire_sim::{Options, Place, Query, Target, World};

/// Names of the same operation at a small and at a large size.
pub const PAIRS: [(&str, &str); 3] = [
    ("walks/endpoints=50", "walks/endpoints=200"),
    ("walks/services=50", "walks/services=200"),
    ("ipset/hash:net=1000", "ipset/hash:net=20000"),
];

/// How much more a unit may cost at the large size. What is small is half of it the work that any size has,
/// and so the large size is the cheaper one, unless something grows.
pub const ALLOWED: f64 = 1.25;

/// Calls `each` with every one of them, as [`gate::operations`](crate::gate::operations) does.
///
/// # Panics
/// If an answer is wrong.
pub fn operations(each: &mut impl FnMut(&str, u64, &mut dyn FnMut())) {
    for size in [50, 200] {
        // Every way to one Service.
        let of_endpoints = synthetic::services(1, size);
        let ways = || walk_all(&of_endpoints);
        assert_eq!(ways(), size as usize);
        each(&format!("walks/endpoints={size}"), size.into(), &mut || {
            black_box(ways());
        });
        // The one way to every Service.
        let of_services = synthetic::services(size, 1);
        let ways = || walk_all(&of_services);
        assert_eq!(ways(), size as usize);
        each(&format!("walks/services={size}"), size.into(), &mut || {
            black_box(ways());
        });
    }
    for size in [1_000, 20_000] {
        look_up(size, each);
    }
}

/// Sends a packet to every Service in every way that chance allows, and counts the ways by which it arrives.
fn walk_all(cluster: &podwire_cluster::Cluster) -> usize {
    let mut world = World::new(cluster, &Options::default()).expect("a world");
    let ways = cluster.services.keys().map(|name| {
        let to = format!("svc/{}/{}:80", name.namespace, name.name);
        let query = Query {
            from: Place::parse("10.128.255.1", "default").expect("a place"),
            to: Target::parse(&to, "default").expect("a place"),
            protocol: None,
            sport: 40_000,
            length: None,
            via: None,
        };
        let traces = world.trace_all(&query).expect("an answer");
        traces.iter().filter(|trace| trace.arrived()).count()
    });
    ways.sum()
}

/// Asks a rule about a set of so many networks of 24 bits, and some larger ones, about packets of which half
/// are in an exception.
fn look_up(size: u32, each: &mut impl FnMut(&str, u64, &mut dyn FnMut())) {
    const PACKETS: u32 = 64;
    let network = |n: u32| IpAddr::from((n << 8).to_be_bytes());
    let mut lines = String::from("create s hash:net maxelem 200000\n");
    for n in 0..size {
        let exception = if n % 2 == 0 { "" } else { " nomatch" };
        lines.push_str(&format!("add s {}/24{exception}\n", network(n)));
    }
    for n in 0..4 {
        lines.push_str(&format!("add s {n}.0.0.0/8\n"));
    }
    let state = State {
        sets: ipset::parse(&lines).expect("the text is right").into(),
        ..State::default()
    };
    let rules = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m set --match-set s src -j DROP\nCOMMIT\n";
    let (matcher, _) = Matcher::read(rules.as_bytes(), Family::Ipv4).expect("the text is right");
    let host = HostAddresses::of([IpAddr::from([192, 168, 0, 1])]);
    let packets: Vec<Packet<'_>> = (0..PACKETS)
        .map(|n| {
            let src = network(n * (size / PACKETS));
            let dst = IpAddr::from([192, 168, 0, 1]);
            packet(
                Headers::first_of_flow(src, dst, Protocol::TCP, 1, 80),
                &host,
            )
        })
        .collect();
    let ask = |packet: &Packet<'_>| {
        matcher
            .decide(TableName::Filter, packet, &state, &mut Draw(1))
            .verdict
    };
    let is_right = |(n, packet): (u32, &Packet<'_>)| {
        let is_exception = n * (size / PACKETS) % 2 == 1;
        (ask(packet) == Verdict::Accept) == is_exception
    };
    assert!((0..).zip(&packets).all(is_right));
    each(
        &format!("ipset/hash:net={size}"),
        PACKETS.into(),
        &mut || {
            for packet in &packets {
                black_box(ask(black_box(packet)));
            }
        },
    );
}

fn packet<'h>(headers: Headers, host: &'h HostAddresses) -> Packet<'h> {
    Packet {
        headers,
        mark: podwire_packet::Mark(0),
        hook: Hook::Input,
        input: None,
        output: None,
        physdev_in: None,
        physdev_out: None,
        conntrack: ConntrackInfo::of_state(CtState::New),
        host,
        now: podwire_packet::SimTime::START,
    }
}
