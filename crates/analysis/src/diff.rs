//! Which traffic do two clusters, or kube-proxy's modes, treat differently?
//!
//! `probe` makes every packet that rules could tell from the others; each is sent on every side, in every
//! way that chance allows, and what becomes of it is compared. Packets that differ alike are one class.

mod class;
mod outcome;
mod probe;
mod reason;

use std::net::IpAddr;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use podwire_cluster::{Cluster, ObjectName, ProxyMode};
use podwire_packet::{Family, Prefix};
use podwire_sim::{Options, Refusal, RulesError, TraceError, World};

pub use class::{Change, Class};
pub use outcome::{End, Fate, Outcome, SourceSeen};
pub use probe::{DestinationKind, PortFacts, Probe, SenderKind};
pub use reason::Reason;

use class::Classes;
use outcome::receiver;
use probe::Probes;
use reason::Seen;

/// One of the things that are compared.
#[derive(Clone, Debug)]
pub struct Side {
    /// What it is called.
    pub name: String,
    /// The cluster, kube-proxy's mode included.
    pub cluster: Cluster,
}

impl Side {
    /// A cluster whose kube-proxy is in `mode`, whatever its configuration says.
    #[must_use]
    pub fn in_mode(cluster: &Cluster, mode: &str) -> Self {
        let mut cluster = cluster.clone();
        mode.clone_into(&mut cluster.kube_proxy.get_or_insert_default().mode);
        Self {
            name: mode.to_owned(),
            cluster,
        }
    }

    fn mode(&self) -> ProxyMode {
        let config = self.cluster.kube_proxy.as_ref();
        config.map_or(ProxyMode::Iptables, |config| config.proxy_mode())
    }
}

/// Something that a real tool refuses on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The side, by its place.
    pub side: usize,
    /// What.
    pub refusal: Refusal,
    /// Nodes where it is refused, of those that were asked.
    pub nodes: Vec<Arc<str>>,
    /// The Services that bring it about.
    pub services: IndexSet<ObjectName>,
}

/// How sides differ.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// Classes of packets that the sides treat differently, those of a Service together.
    pub classes: Vec<Class>,
    /// Classes of packets to ports that no Service has, which arrive nowhere, and end differently. They
    /// do not count as a difference.
    pub unserved: Vec<Class>,
    /// What real tools refuse.
    pub refused: Vec<Refused>,
    /// The service ports.
    pub ports: Vec<PortFacts>,
    /// How many packets were sent on each side.
    pub sent: usize,
    /// How many of them the sides treat differently.
    pub differing: usize,
}

/// What became of every packet on one side, and what was refused there.
struct Answers {
    outcomes: Vec<Outcome>,
    refused: Vec<(Arc<str>, Refusal)>,
}

impl Diff {
    /// Compares sides with the first of them.
    ///
    /// # Errors
    /// [`RulesError`] where kube-proxy of a side is configured in a way that is not modelled.
    ///
    /// # Cost
    /// A thread a side. On each, about a dozen packets for every node that is like no other, service port
    /// and address, each walked once for every endpoint that it may go to.
    pub fn of(sides: &[Side], options: &Options) -> Result<Self, RulesError> {
        let mut ports = IndexSet::new();
        let mut probes = IndexSet::new();
        for side in sides {
            let world = World::new(&side.cluster, options)?;
            for family in [Family::Ipv4, Family::Ipv6] {
                (ports, probes) = Probes::add(&world, family, ports, probes);
            }
        }
        let ports: Vec<PortFacts> = ports.into_iter().collect();
        let answers = ask_all(sides, options, &probes, &ports)?;
        let mut diff = Self {
            refused: refused(&answers, &ports),
            sent: probes.len(),
            ..Self::default()
        };
        let shares = shares_node_address(sides, &ports);
        let mut classes = Classes::default();
        let mut unserved = Classes::default();
        for (index, probe) in probes.iter().enumerate() {
            let outcome = |side: usize| &answers[side].outcomes[index];
            let port = probe.of.map(|of| &ports[of]);
            let mut differs = false;
            for side in 1..sides.len() {
                let outcomes = [outcome(0), outcome(side)];
                let [first, other] = outcomes;
                if first.is_same(other) {
                    continue;
                }
                let reasons = reasons(
                    [0, side].map(|side| &sides[side]),
                    &answers,
                    port,
                    probe,
                    outcomes,
                    shares,
                );
                let counts = port.is_some() || !first.delivers_same(other);
                let kind = if counts { &mut classes } else { &mut unserved };
                kind.add(probe, side, outcomes, reasons);
                differs |= counts;
            }
            diff.differing += usize::from(differs);
        }
        Ok(Self {
            classes: classes.into_sorted(),
            unserved: unserved.into_sorted(),
            ports,
            ..diff
        })
    }

    /// Whether the sides treat all traffic to Services alike, and nothing is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty() && self.refused.is_empty()
    }
}

/// Whether a Service has an address that is a node's own.
fn shares_node_address(sides: &[Side], ports: &[PortFacts]) -> bool {
    let nodes = sides.iter().flat_map(|side| side.cluster.nodes.values());
    let own: IndexSet<IpAddr> = nodes
        .flat_map(|node| {
            let families = [Family::Ipv4, Family::Ipv6].into_iter();
            families.flat_map(|family| node.internal_ips(family))
        })
        .collect();
    let mut addresses = ports
        .iter()
        .flat_map(|port| port.external_ips.iter().chain(&port.vips));
    addresses.any(|ip| own.contains(ip))
}

/// Why two sides differ, if it is their modes in which they do.
fn reasons(
    sides: [&Side; 2],
    answers: &[Answers],
    port: Option<&PortFacts>,
    probe: &Probe,
    outcomes: [&Outcome; 2],
    shares: bool,
) -> Vec<Reason> {
    let modes = sides.map(Side::mode);
    if modes[0] == modes[1] {
        return Vec::new();
    }
    let config = sides[0].cluster.kube_proxy.clone().unwrap_or_default();
    let nft_refuses = answers
        .iter()
        .flat_map(|answers| &answers.refused)
        .any(|(node, refusal)| {
            *node == probe.node
                && matches!(refusal, Refusal::NftTable { family, .. } if *family == probe.family())
        });
    let seen = Seen {
        probe,
        port,
        config: &config,
        shares_node_address: shares,
        nft_refuses,
        outcomes: [(modes[0], outcomes[0]), (modes[1], outcomes[1])],
    };
    seen.reasons()
}

/// Sends every packet on every side.
fn ask_all(
    sides: &[Side],
    options: &Options,
    probes: &IndexSet<Probe>,
    ports: &[PortFacts],
) -> Result<Vec<Answers>, RulesError> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = sides
            .iter()
            .map(|side| scope.spawn(|| ask(side, options, probes, ports)))
            .collect();
        let joined = asked.into_iter().map(|side| {
            let answers = side.join();
            answers.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.collect()
    })
}

fn ask(
    side: &Side,
    options: &Options,
    probes: &IndexSet<Probe>,
    ports: &[PortFacts],
) -> Result<Answers, RulesError> {
    let mut world = World::new(&side.cluster, options)?;
    let outcomes = probes
        .iter()
        .map(|probe| match world.trace_all(&probe.query()) {
            Ok(traces) => {
                let mut outcome = Outcome::of(&world, &probe.node, &traces);
                let has_affinity = probe.of.is_some_and(|of| ports[of].has_affinity);
                if has_affinity && outcome.endpoints().nth(1).is_some() {
                    outcome.client_stays = Some(client_stays(&mut world, probe)?);
                }
                Ok(outcome)
            }
            Err(TraceError::Rules(error)) => Err(error),
            // A sender of another side, whom this one does not have.
            Err(_) => Ok(Outcome::no_sender()),
        });
    let outcomes = outcomes.collect::<Result<_, _>>()?;
    Ok(Answers {
        outcomes,
        refused: world.refused(),
    })
}

/// Whether a client's next packet goes where its first one went, whichever of some ways that takes.
fn client_stays(world: &mut World<'_>, probe: &Probe) -> Result<bool, RulesError> {
    const WAYS: u64 = 3;
    let query = probe.query();
    for seed in 1..=WAYS {
        let (first, next) = match world.trace_twice(&query, seed) {
            Ok(traces) => traces,
            Err(TraceError::Rules(error)) => return Err(error),
            Err(_) => return Ok(false),
        };
        let first = receiver(&first);
        if next.iter().any(|trace| receiver(trace) != first) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What was refused, once for all nodes, and the Services that it comes from.
fn refused(answers: &[Answers], ports: &[PortFacts]) -> Vec<Refused> {
    let mut found: IndexMap<(usize, Refusal), Vec<Arc<str>>> = IndexMap::new();
    for (side, answers) in answers.iter().enumerate() {
        for (node, refusal) in &answers.refused {
            let nodes = found.entry((side, refusal.clone())).or_default();
            nodes.push(node.clone());
        }
    }
    let with_services = found.into_iter().map(|((side, refusal), nodes)| Refused {
        side,
        services: services_behind(&refusal, ports),
        refusal,
        nodes,
    });
    with_services.collect()
}

/// The Services whose addresses an entry of an ipset begins with; a refused table is the configuration's.
fn services_behind(refusal: &Refusal, ports: &[PortFacts]) -> IndexSet<ObjectName> {
    let Refusal::IpsetEntry { entry, .. } = refusal else {
        return IndexSet::new();
    };
    let address = entry
        .split(',')
        .next()
        .and_then(|text| text.parse::<IpAddr>().ok());
    let behind = ports.iter().filter(|port| {
        port.vips.iter().any(|&vip| Some(vip) == address)
            && port.source_ranges.iter().any(Prefix::is_empty)
    });
    behind.map(|port| port.service.clone()).collect()
}
