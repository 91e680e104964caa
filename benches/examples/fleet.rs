//! What the matchers of all nodes of a cluster take: memory, time, and the cost of a packet.
//!
//! `fleet [NODES [SERVICES [KIND]]]`, 5,000 and 10,000 and both kinds unless said. For each kind of cluster a node's rules are
//! made, compiled as an overlay and dropped, one node after the other on as many threads as there are
//! cores. Of every so many nodes the answers are compared with those of the interpreter and of a matcher
//! of the node's own, rule by rule and draw by draw; the program panics where they differ. Bytes are
//! counted by the allocator; times are those that a thread had a core.

#![expect(clippy::print_stdout, reason = "what was measured is to be read")]

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use podwire_bench::fleet::{self, Kind};
use podwire_cluster::Cluster;
use podwire_controlplane::kube_proxy::{KubeProxyVersion, ServicePorts};
use podwire_interp::Interp;
use podwire_matcher::{Matcher, Overlay, Shared};
use podwire_packet::Family;
use podwire_ruleset::{
    Classify, Draw, Hook, HostAddresses, Observe, Packet, RuleId, State, TableName,
};

/// Nodes whose answers are compared, and packets for each.
const SAMPLE: u32 = 8;
const PACKETS: usize = 1000;

/// A cluster whose matchers are made.
struct Fleet<'c> {
    kind: Kind,
    nodes: u32,
    services: u32,
    cluster: &'c Cluster,
    ports: &'c ServicePorts<'c>,
    shared: Arc<Shared>,
}

/// What one node took.
#[derive(Clone, Copy, Default)]
struct Cost {
    bytes: i64,
    own_rules: usize,
    rules_ns: i64,
    overlay_ns: i64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = env::args().skip(1).take(2).map(|own| own.parse::<u32>());
    let nodes = numbers.next().transpose()?.unwrap_or(5_000);
    let services = numbers.next().transpose()?.unwrap_or(10_000);
    let only = env::args().nth(3);
    let kinds = Kind::ALL.into_iter();
    for kind in kinds.filter(|kind| only.as_ref().is_none_or(|only| only == kind.name())) {
        let cluster = fleet::cluster(kind, nodes, services);
        let ports = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
        let first = fleet::rules(&cluster, &ports, 0);
        let rule_count = first.rule_count();
        let (alone, alone_bytes) = measured(|| Matcher::new(&first));
        drop(alone?);
        let (shared, shared_bytes) = measured(|| Shared::new(first));
        let fleet = Fleet {
            kind,
            nodes,
            services,
            cluster: &cluster,
            ports: &ports,
            shared: Arc::new(shared?),
        };
        println!(
            "{}: {nodes} nodes x {services} services, {rule_count} rules on the first node",
            kind.name()
        );
        println!("  a matcher of one node    {:>12} bytes", alone_bytes);
        println!(
            "  shared by all nodes      {:>12} bytes, the rules' own not counted",
            shared_bytes
        );
        fleet.run()?;
    }
    println!("peak resident {}", peak());
    Ok(())
}

impl Fleet<'_> {
    fn run(&self) -> Result<(), Box<dyn Error>> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the time that it takes is measured"
        )]
        let start = Instant::now();
        let next = AtomicU32::new(0);
        let threads = thread::available_parallelism()?;
        let mut all: Vec<(u32, Overlay, Cost)> = Vec::new();
        thread::scope(|scope| {
            let work = || {
                let mut own = Vec::new();
                loop {
                    let node = next.fetch_add(1, Ordering::Relaxed);
                    if node >= self.nodes {
                        return own;
                    }
                    let (overlay, cost) = self.node(node);
                    own.push((node, overlay, cost));
                }
            };
            let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                all.extend(worker.join().expect("a worker's answers agree"));
            }
        });
        let took = start.elapsed();
        all.sort_by_key(|(node, ..)| *node);
        let costs = || all.iter().map(|(.., cost)| *cost);
        let bytes: i64 = costs().map(|cost| cost.bytes).sum();
        let most = costs().map(|cost| cost.bytes).max().unwrap_or(0);
        let own_rules: usize = costs().map(|cost| cost.own_rules).sum();
        let nodes = i64::from(self.nodes);
        let mean_ms = |of: fn(&Cost) -> i64| {
            let all: i64 = costs().map(|cost| of(&cost)).sum();
            all as f64 / f64::from(self.nodes) / 1e6
        };
        println!(
            "  all nodes beside it      {bytes:>12} bytes, {} a node, at most {most}",
            bytes / nodes
        );
        println!(
            "  rules of a node's own    {:>12.1} a node",
            own_rules as f64 / f64::from(self.nodes)
        );
        println!(
            "  a node's rules made in   {:>12.1} ms",
            mean_ms(|cost| cost.rules_ns)
        );
        println!(
            "  a node's overlay in      {:>12.1} ms",
            mean_ms(|cost| cost.overlay_ns)
        );
        println!(
            "  all of it in             {:>12.1} s on {threads} cores",
            took.as_secs_f64()
        );
        let every = (self.nodes / SAMPLE).max(1) as usize;
        let mut matched = 0;
        for (node, overlay, _) in all.iter().step_by(every) {
            matched += self.check(*node, overlay)?;
        }
        println!(
            "  {SAMPLE} nodes asked about {PACKETS} packets each, {matched} translated, all as the interpreter says"
        );
        if let Some((node, overlay, _)) = all.get(all.len() / 2) {
            self.time(*node, overlay)?;
        }
        Ok(())
    }

    fn node(&self, node: u32) -> (Overlay, Cost) {
        let start = cpu_ns();
        let rules = fleet::rules(self.cluster, self.ports, node);
        let rules_ns = cpu_ns() - start;
        let start = cpu_ns();
        let (overlay, bytes) = measured(|| self.shared.overlay(&rules));
        let overlay = overlay.expect("kube-proxy's rules hang together");
        let overlay_ns = cpu_ns() - start;
        let own_rules = overlay.own_rules();
        let cost = Cost {
            bytes,
            own_rules,
            rules_ns,
            overlay_ns,
        };
        (overlay, cost)
    }

    /// Compares a node's answers; gives how many packets were translated.
    fn check(&self, node: u32, overlay: &Overlay) -> Result<usize, Box<dyn Error>> {
        let rules = fleet::rules(self.cluster, self.ports, node);
        let alone = Matcher::new(&rules)?;
        let interp = Interp::new(rules)?;
        let host = fleet::host(node);
        let (state, mut translated) = (State::default(), 0);
        for (seed, packet) in (0..).zip(self.packets(node, &host, PACKETS)) {
            for table in [TableName::Nat, TableName::Filter] {
                let expected = watched(&interp, table, &packet, &state, seed);
                assert_eq!(
                    watched(overlay, table, &packet, &state, seed),
                    expected,
                    "{packet:?}"
                );
                let brief = overlay.decide(table, &packet, &state, &mut Draw(seed));
                assert_eq!(
                    brief,
                    alone.decide(table, &packet, &state, &mut Draw(seed)),
                    "{packet:?}"
                );
                translated += usize::from(expected.0.nat.is_some());
            }
        }
        Ok(translated)
    }

    /// Prints what a packet costs, in an overlay and in a matcher of the node's own.
    fn time(&self, node: u32, overlay: &Overlay) -> Result<(), Box<dyn Error>> {
        let alone = Matcher::new(&fleet::rules(self.cluster, self.ports, node))?;
        let host = fleet::host(node);
        let packets = self.packets(node, &host, 1 << 14);
        let state = State::default();
        let mut of = [Vec::new(), Vec::new()];
        for _ in 0..31 {
            for (which, times) in of.iter_mut().enumerate() {
                let start = cpu_ns();
                for (seed, packet) in (0..).zip(&packets) {
                    let draw = &mut Draw(seed);
                    let brief = if which == 0 {
                        alone.decide(TableName::Nat, packet, &state, draw)
                    } else {
                        overlay.decide(TableName::Nat, packet, &state, draw)
                    };
                    std::hint::black_box(brief);
                }
                times.push((cpu_ns() - start) as f64 / packets.len() as f64);
            }
        }
        let [alone, own] = of.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        println!(
            "  a packet                 {own:>12.1} ns, of a matcher of the node's own {alone:.1}"
        );
        Ok(())
    }

    fn packets<'h>(&self, node: u32, host: &'h HostAddresses, count: usize) -> Vec<Packet<'h>> {
        fleet::packets(self.kind, (node, self.nodes, self.services), host, count)
    }
}

/// The rules that matched.
#[derive(Default)]
struct Rules(Vec<RuleId>);

impl Observe for Rules {
    fn matched(&mut self, rule: RuleId) {
        self.0.push(rule);
    }

    fn policy(&mut self, _: TableName, _: Hook) {}
}

fn watched(
    of: &impl Classify,
    table: TableName,
    packet: &Packet<'_>,
    state: &State,
    seed: u64,
) -> (podwire_ruleset::Decision, Vec<RuleId>) {
    let mut rules = Rules::default();
    let decision = of.classify(table, packet, state, &mut Draw(seed), &mut rules);
    (decision, rules.0)
}

/// What a call gives, and bytes that are still allocated after it.
fn measured<T>(call: impl FnOnce() -> T) -> (T, i64) {
    let (mut call, mut out) = (Some(call), None);
    let info = allocation_counter::measure(|| out = call.take().map(|call| call()));
    (out.expect("it was called"), info.bytes_current)
}

/// Time that the thread has had a core.
fn cpu_ns() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it");
    time.num_nanoseconds()
}

/// The most memory that the process had, as the kernel says it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "?".to_owned(), |line| line.trim().to_owned())
}
