//! Operations whose instructions are counted, each on its own (`examples/gate.rs`).
//!
//! A count of instructions is the same on a busy machine and on an idle one, and so can be held to a few
//! per cent. It knows nothing of caches: what memory costs is for `podwire bench` and criterion.
//!
//! Rules are read from files, so that nothing but compiling is done to them where instructions are
//! counted, which is slow.

use std::fs;
use std::hint::black_box;
use std::io;
use std::path::Path;

use podwire_controlplane::kube_proxy::{IptablesProxier, LiveIptables, SliceChange};
use podwire_ingress::Controller;
use podwire_matcher::{Brief, Live, Matcher, Nat};
use podwire_packet::Family;
use podwire_ruleset::{
    ChainName, Choose as _, Draw, Hook, HostAddresses, Packet, Rule, State, TableName, Verdict,
    iptables, nft,
};

use crate::growth;
use crate::lookup::{Kind, Tables};
use crate::policy::Policy;
use crate::routes::Shape;
use crate::sync::{self, Mode};

/// Packets of an operation, and of a batch.
const PACKETS: usize = 64;

/// Times that the packets are asked about.
const TIMES: u64 = 16;

/// Rules of each policy.
const POLICY: usize = 1_000;

/// Services whose rules are rendered, and the endpoints of each.
const RENDERED: u32 = 500;
const ENDPOINTS: u32 = 10;

/// Chains that are changed.
const CHANGES: usize = 100;

/// Rule sets of Services: name of the file, Services.
const SERVICES: [(&str, Kind, u32); 4] = [
    ("services-1000", Kind::ClusterIp, 1_000),
    ("services-10000", Kind::ClusterIp, 10_000),
    ("services-1000-ipv6", Kind::ClusterIpV6, 1_000),
    ("node-ports-1000", Kind::NodePort, 1_000),
];

/// Tables of 1,000 Services in nftables mode.
const NFTABLES: [(&str, Kind); 2] = [
    ("nftables-1000", Kind::ClusterIp),
    ("nftables-1000-ipv6", Kind::ClusterIpV6),
];

/// Writes the rules that [`operations`] reads.
///
/// # Errors
/// Those of writing files.
pub fn write_rules(folder: &Path) -> io::Result<()> {
    for (name, kind, services) in SERVICES {
        fs::write(folder.join(name), kind.iptables_save(services))?;
    }
    for (name, kind) in NFTABLES {
        fs::write(folder.join(name), kind.nftables(1_000))?;
    }
    for (name, policy) in policies() {
        fs::write(folder.join(name), policy.iptables_save())?;
    }
    Ok(())
}

fn policies() -> [(&'static str, Policy); 2] {
    let count = u32::try_from(POLICY).unwrap_or(u32::MAX);
    [
        ("policy-1000", Policy::like_an_access_list(POLICY, 1)),
        ("unfavourable-1000", Policy::unfavourable(count, 1)),
    ]
}

/// Calls `each` with every operation: its name, how many units of work one call of it does (packets,
/// rules, changes), and the call.
///
/// # Errors
/// Those of reading files.
///
/// # Panics
/// If an answer is wrong.
pub fn operations(
    folder: &Path,
    mut each: impl FnMut(&str, u64, &mut dyn FnMut()),
) -> io::Result<()> {
    let host = HostAddresses::of(["192.168.0.1".parse().map_err(io::Error::other)?]);
    for (name, kind, services) in SERVICES {
        let text = fs::read(folder.join(name))?;
        let matcher = read(&text, kind.family())?;
        let mut draw = Draw(1);
        let hits: Vec<Packet<'_>> = (0..PACKETS)
            .map(|_| kind.packet(draw.one_of(services), &host))
            .collect();
        let misses: Vec<Packet<'_>> = hits.iter().map(without_service).collect();
        for (case, packets) in [("hit", &hits), ("miss", &misses)] {
            let translated = |brief: &Brief<'_>| matches!(brief.nat, Nat::To(..));
            let right = count(&matcher, TableName::Nat, packets, translated);
            assert_eq!(right, if case == "hit" { PACKETS } else { 0 }, "{name}");
            let name = format!("decide/{name}/{case}");
            each(&name, TIMES * PACKETS as u64, &mut || {
                decide(&matcher, TableName::Nat, packets);
            });
            let name = name.replace("decide", "decide-batch");
            each(&name, TIMES * PACKETS as u64, &mut || {
                decide_batch(&matcher, TableName::Nat, packets);
            });
        }
    }
    nftables(folder, &host, &mut each)?;
    for (name, policy) in policies() {
        let matcher = read(&fs::read(folder.join(name))?, Family::Ipv4)?;
        let flows = policy.packets(PACKETS, 1);
        let packets: Vec<Packet<'_>> = flows
            .iter()
            .map(|flow| flow.packet(Hook::Forward, &host))
            .collect();
        let dropped = |brief: &Brief<'_>| brief.verdict != Verdict::Accept;
        let right = flows.iter().filter(|flow| {
            let rule = policy.first_match(flow).checked_sub(1);
            rule.is_some_and(|rule| policy.rules[rule as usize].verdict != Verdict::Accept)
        });
        let found = count(&matcher, TableName::Filter, &packets, dropped);
        assert_eq!(found, right.count(), "{name}");
        each(
            &format!("decide/{name}/mixed"),
            TIMES * PACKETS as u64,
            &mut || decide(&matcher, TableName::Filter, &packets),
        );
    }
    let text = fs::read(folder.join("services-10000"))?;
    let rules = text.split(|byte| *byte == b'\n');
    let rules = rules.filter(|line| line.starts_with(b"-A")).count() as u64;
    each("compile/services-10000", rules, &mut || {
        black_box(Matcher::read(black_box(&text[..]), Family::Ipv4).is_ok());
    });
    changes(folder, &mut each)?;
    routes(&mut each);
    syncs(&mut each)?;
    growth::operations(&mut each);
    Ok(())
}

/// The base chain that translates, asked about Services and about none.
fn nftables(
    folder: &Path,
    host: &HostAddresses,
    each: &mut impl FnMut(&str, u64, &mut dyn FnMut()),
) -> io::Result<()> {
    for (name, kind) in NFTABLES {
        let text = fs::read_to_string(folder.join(name))?;
        let Tables { matcher, chain, .. } = Tables::new(&text, kind.family());
        let mut draw = Draw(1);
        let hits: Vec<Packet<'_>> = (0..PACKETS)
            .map(|_| kind.packet(draw.one_of(1_000), host))
            .collect();
        let misses: Vec<Packet<'_>> = hits.iter().map(without_service).collect();
        let state = nft::State::default();
        for (case, packets) in [("hit", &hits), ("miss", &misses)] {
            let mut ask =
                |packet: &Packet<'_>| matcher.classify(chain, packet, &state, &mut draw, &mut ());
            let translated = packets.iter().filter(|packet| ask(packet).nat.is_some());
            let right = if case == "hit" { PACKETS } else { 0 };
            assert_eq!(translated.count(), right, "{name}");
            let name = format!("decide/{name}/{case}");
            each(&name, TIMES * PACKETS as u64, &mut || {
                for _ in 0..TIMES {
                    for packet in packets {
                        black_box(&ask(black_box(packet)));
                    }
                }
            });
        }
    }
    Ok(())
}

/// One endpoint goes, and comes back.
fn changes(folder: &Path, each: &mut impl FnMut(&str, u64, &mut dyn FnMut())) -> io::Result<()> {
    let text = fs::read_to_string(folder.join("services-1000"))?;
    let parsed = iptables::parse(&text, Family::Ipv4).map_err(io::Error::other)?;
    let nat = parsed.rules.tables.get(&TableName::Nat);
    let chains = nat.into_iter().flat_map(|table| &table.chains);
    let services: Vec<(ChainName, Vec<Rule>)> = chains
        .filter(|(name, _)| name.as_str().starts_with("KUBE-SVC-"))
        .map(|(name, chain)| (name.clone(), chain.rules.clone()))
        .take(CHANGES)
        .collect();
    assert_eq!(services.len(), CHANGES);
    let mut live = Live::new(parsed.rules).map_err(io::Error::other)?;
    each("change/services-1000", 2 * CHANGES as u64, &mut || {
        for (name, rules) in &services {
            // Without the first rule of the ladder the others are as kube-proxy has them for one
            // endpoint less.
            for rules in [&rules[1..], rules] {
                let changed = live.set_chain(TableName::Nat, name, rules.to_vec());
                assert!(changed.is_ok(), "{changed:?}");
            }
        }
    });
    Ok(())
}

/// Requests for paths among 10,000, of one host and of a thousand.
fn routes(each: &mut impl FnMut(&str, u64, &mut dyn FnMut())) {
    for shape in [Shape::Hosts, Shape::OneHost] {
        let router = shape.router(Controller::IngressNginx, 10_000);
        let requests = shape.requests(&router, 10_000, PACKETS);
        let name = format!("route/ingress-nginx/{}-10000", shape.name());
        each(&name, TIMES * PACKETS as u64, &mut || {
            for _ in 0..TIMES {
                for request in &requests {
                    black_box(&router.route(black_box(request)));
                }
            }
        });
    }
}

/// First syncs of kube-proxy, from objects in memory to text; and one after an endpoint changed.
fn syncs(each: &mut impl FnMut(&str, u64, &mut dyn FnMut())) -> io::Result<()> {
    let cluster = sync::cluster(RENDERED, ENDPOINTS);
    for mode in Mode::ALL {
        let text = || mode.text(&cluster, &sync::ports(&cluster), sync::NODE);
        let written = text().map_err(io::Error::other)?;
        let is_right = mode.is_right(&written, RENDERED as usize, ENDPOINTS as usize);
        assert!(is_right, "{}", mode.name());
        each(
            &format!("sync/{}/{RENDERED}/first", mode.name()),
            RENDERED.into(),
            &mut || {
                black_box(text().is_ok());
            },
        );
    }
    let services = sync::ports(&cluster);
    let proxier = IptablesProxier::new(&cluster, &services, sync::NODE);
    let mut live = LiveIptables::new(proxier.map_err(io::Error::other)?);
    let slices = [0, 1].map(|round| sync::one_endpoint_changed(&cluster, round));
    live.sync([SliceChange::Set(&slices[1])]);
    each(&format!("sync/iptables/{RENDERED}/change"), 2, &mut || {
        for slice in &slices {
            // The Service's chain, and at first that of the new endpoint: large clusters keep the old ones.
            let changed = live.sync([SliceChange::Set(slice)]).len();
            assert!((1..=2).contains(&changed), "{changed}");
        }
    });
    each(&format!("sync/iptables/{RENDERED}/partial"), 1, &mut || {
        black_box(live.restore_text());
    });
    Ok(())
}

fn read(text: &[u8], family: Family) -> io::Result<Matcher> {
    let (matcher, _) = Matcher::read(text, family).map_err(io::Error::other)?;
    Ok(matcher)
}

/// The same packet for a port that no Service has.
fn without_service<'a>(packet: &Packet<'a>) -> Packet<'a> {
    let mut packet = *packet;
    packet.headers.dport = 81;
    packet
}

fn count(
    matcher: &Matcher,
    table: TableName,
    packets: &[Packet<'_>],
    holds: impl Fn(&Brief<'_>) -> bool,
) -> usize {
    let (state, mut draw) = (State::default(), Draw(1));
    let all = packets.iter();
    let briefs = all.map(|packet| matcher.decide(table, packet, &state, &mut draw));
    briefs.filter(holds).count()
}

fn decide(matcher: &Matcher, table: TableName, packets: &[Packet<'_>]) {
    let (state, mut draw) = (State::default(), Draw(1));
    let here = matcher.at(table, packets[0].hook);
    for _ in 0..TIMES {
        for packet in packets {
            black_box(&here.decide(black_box(packet), &state, &mut draw));
        }
    }
}

fn decide_batch(matcher: &Matcher, table: TableName, packets: &[Packet<'_>]) {
    let state = State::default();
    let here = matcher.at(table, packets[0].hook);
    let mut out = [Brief::accept(&packets[0]); PACKETS];
    for time in 0..TIMES {
        let draws = |packet: usize| Draw(time * PACKETS as u64 + packet as u64);
        here.decide_batch(black_box(packets), &state, draws, &mut out);
        black_box(&out);
    }
}
