//! A cluster that changes while packets are sent: what happens, in order of the virtual clock.
//!
//! Objects change at once; each node's kube-proxy hears of it later, syncs when its runner lets it, and
//! has new rules when the sync is done. Until then the node goes on by the rules, and the connections,
//! of before. That is the window in which packets are sent to endpoints that are gone.
//!
//! - `proxy`: kube-proxy of one node. What happens at one moment happens in this order: objects, ends of
//!   syncs, news, timers, looks at real servers that drain, packets.
//! - `written`: what its syncs have written so far, by mode.

mod proxy;
mod written;

use std::collections::BTreeSet;
use std::time::Duration;

use podwire_cluster::{Events, KubeProxyConfiguration, Place as TextPlace, Probe, ProxyMode};
use podwire_controlplane::kube_proxy::{
    ConntrackClear, ConntrackSettings, DEFAULT_CPUS, KubeProxyVersion, ProxierError, ServicePorts,
    SyncCounts,
};
use podwire_dataplane::NetnsState;
use podwire_packet::{Family, SimTime};

use crate::place::{Place, PlaceError, Target};
use crate::rules::RulesError;
use crate::topology::NetnsId;
use crate::trace::{Query, Trace, TraceError};
use crate::walk::States;
use crate::world::{Options, World};
use proxy::Proxy;

pub use proxy::RealServerOf;

/// Why a timeline cannot be made, or go on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// A place of a probe that is none.
    #[error("{}:{}: probe `{name}`: {source}", place.line, place.column)]
    Probe {
        /// The probe.
        name: String,
        /// Where it is asked for.
        place: TextPlace,
        /// What is wrong.
        source: PlaceError,
    },
    /// A mode without syncs on the clock.
    #[error("events are followed in modes iptables, nftables, ipvs and userspace only")]
    Mode,
    /// Rules cannot be made.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

impl From<ProxierError> for TimelineError {
    fn from(error: ProxierError) -> Self {
        Self::Rules(error.into())
    }
}

/// The service ports of every state of the cluster, which a [`Timeline`] looks at.
#[derive(Clone, Debug)]
pub struct ServiceStates<'c>(Vec<[ServicePorts<'c>; 2]>);

impl<'c> ServiceStates<'c> {
    /// Those of all changes.
    #[must_use]
    pub fn new(events: &'c Events, version: KubeProxyVersion) -> Self {
        let of = |family| {
            move |change: &'c podwire_cluster::Change| {
                ServicePorts::new(&change.cluster, family, version)
            }
        };
        let changes = events.changes.iter();
        Self(
            changes
                .map(|change| [of(Family::Ipv4)(change), of(Family::Ipv6)(change)])
                .collect(),
        )
    }
}

/// What a sync did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReport {
    /// Whether it wrote the chains of all Services.
    pub full: bool,
    /// What it wrote in iptables mode, IPv4 and IPv6.
    pub counts: Option<[SyncCounts; 2]>,
    /// The connections that events made it delete.
    pub clears: Vec<ConntrackClear>,
    /// How many connections it deleted.
    pub forgotten: usize,
    /// Real servers without an endpoint that got weight 0, because they have connections.
    pub draining: Vec<RealServerOf>,
}

/// One thing that happened.
#[derive(Debug)]
pub struct Happening<'t> {
    /// When.
    pub at: SimTime,
    /// What.
    pub what: What<'t>,
}

/// What happened.
#[derive(Debug)]
pub enum What<'t> {
    /// Objects changed.
    Changed(&'t [String]),
    /// A sync began.
    SyncBegins {
        /// The node.
        node: String,
    },
    /// A sync has to wait.
    SyncWaits {
        /// The node.
        node: String,
        /// Until when.
        until: SimTime,
    },
    /// A sync is done.
    SyncDone {
        /// The node.
        node: String,
        /// What it did.
        report: SyncReport,
    },
    /// kube-proxy in IPVS mode took away real servers whose last connections ended.
    Drained {
        /// The node.
        node: String,
        /// The real servers.
        gone: Vec<RealServerOf>,
    },
    /// A packet was sent.
    Sent {
        /// Of that probe.
        probe: &'t Probe,
        /// Its number, from 1.
        number: u64,
        /// What became of it; an error if there was nobody to send it, or nobody to send it to.
        result: Box<Result<Trace, TraceError>>,
    },
}

/// The source port of the first packet of a probe that does not say one.
const FIRST_PORT: u16 = 40_000;

/// A probe with its places read.
#[derive(Debug)]
struct Sending<'c> {
    probe: &'c Probe,
    query: Query,
    sent: u64,
}

impl Sending<'_> {
    /// When the next packet is due.
    fn due(&self) -> Option<SimTime> {
        let nth = u32::try_from(self.sent).unwrap_or(u32::MAX);
        let later = self.probe.every.saturating_mul(nth);
        (self.sent < self.probe.count).then(|| SimTime::START + self.probe.at + later)
    }
}

/// A cluster on the virtual clock.
#[derive(Debug)]
pub struct Timeline<'c> {
    events: &'c Events,
    services: &'c ServiceStates<'c>,
    options: Options,
    seed: u64,
    world: World<'c>,
    /// The change that holds now.
    state: usize,
    memory: States,
    proxies: Vec<Proxy<'c>>,
    sendings: Vec<Sending<'c>>,
    now: SimTime,
}

/// What is next, in the order of what happens at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Change,
    SyncDone(usize),
    News(usize),
    Timer(usize),
    Look(usize),
    Packet(usize),
}

impl<'c> Timeline<'c> {
    /// A cluster at its start, with every node in sync. Places without a namespace are of `namespace`.
    ///
    /// # Errors
    /// [`TimelineError`].
    pub fn new(
        events: &'c Events,
        services: &'c ServiceStates<'c>,
        options: &Options,
        namespace: &str,
        seed: u64,
    ) -> Result<Self, TimelineError> {
        let first = &events.changes[0];
        let config = first.cluster.kube_proxy.clone().unwrap_or_default();
        if !matches!(
            config.proxy_mode(),
            ProxyMode::Iptables | ProxyMode::Nftables | ProxyMode::Ipvs | ProxyMode::Userspace
        ) {
            return Err(TimelineError::Mode);
        }
        let world = World::new(&first.cluster, options)?;
        let mut sendings = Vec::new();
        for probe in &events.probes {
            let wrong = |source| TimelineError::Probe {
                name: probe.name.clone(),
                place: probe.place,
                source,
            };
            sendings.push(Sending {
                query: Query {
                    from: Place::parse(&probe.from, namespace).map_err(wrong)?,
                    to: Target::parse(&probe.to, namespace).map_err(wrong)?,
                    protocol: probe.protocol,
                    sport: probe.sport.unwrap_or(FIRST_PORT),
                    length: None,
                    via: None,
                },
                probe,
                sent: 0,
            });
        }
        let mut timeline = Self {
            events,
            services,
            options: options.clone(),
            seed,
            world,
            state: 0,
            memory: States::default(),
            proxies: Vec::new(),
            sendings,
            now: SimTime::START,
        };
        for name in first.cluster.nodes.keys() {
            let proxy = Proxy::new(&timeline, name, &config)?;
            timeline.proxies.push(proxy);
        }
        timeline.remember_nodes(&config);
        Ok(timeline)
    }

    /// The world as it is now.
    #[must_use]
    pub const fn world(&self) -> &World<'c> {
        &self.world
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> SimTime {
        self.now
    }

    /// The next thing that happens, until `end` or, without one, until nothing more is to come but the
    /// hourly syncs.
    ///
    /// # Errors
    /// [`TimelineError::Rules`].
    pub fn step(&mut self, end: Option<SimTime>) -> Result<Option<Happening<'c>>, TimelineError> {
        loop {
            let Some((at, next)) = self.next(end.is_some()) else {
                return Ok(None);
            };
            if end.is_some_and(|end| at > end) {
                return Ok(None);
            }
            self.now = at;
            self.world.now = at;
            let what = match next {
                Next::Change => Some(self.change()?),
                Next::SyncDone(proxy) => Some(self.sync_done(proxy)?),
                Next::News(proxy) => self.news(proxy)?,
                Next::Timer(proxy) => {
                    let proxy = &mut self.proxies[proxy];
                    Some(proxy.request(at))
                }
                Next::Look(proxy) => self.look(proxy)?,
                Next::Packet(sending) => Some(self.send(sending)),
            };
            if let Some(what) = what {
                return Ok(Some(Happening { at, what }));
            }
        }
    }

    /// Goes on to a moment, and then sends a packet, as [`World::trace`] does; nothing is remembered of
    /// it.
    ///
    /// # Errors
    /// Those of the timeline come first, then those of the packet.
    pub fn trace(
        &mut self,
        at: SimTime,
        query: &Query,
    ) -> Result<Result<Trace, TraceError>, TimelineError> {
        self.go_to(at)?;
        let mut memory = self.memory.clone();
        Ok(self.world.trace_on(&mut memory, query, true, self.seed))
    }

    /// The same in every way that rules leave to chance.
    ///
    /// # Errors
    /// As [`Timeline::trace`].
    pub fn trace_all(
        &mut self,
        at: SimTime,
        query: &Query,
    ) -> Result<Result<Vec<Trace>, TraceError>, TimelineError> {
        self.go_to(at)?;
        Ok(self.world.trace_all_on(&self.memory, query))
    }

    fn go_to(&mut self, at: SimTime) -> Result<(), TimelineError> {
        while self.step(Some(at))?.is_some() {}
        self.now = at;
        self.world.now = at;
        Ok(())
    }

    /// What is next, and when; hourly syncs only if they are wanted.
    fn next(&self, with_idle_timers: bool) -> Option<(SimTime, Next)> {
        let moment = |change: usize, delay: Duration| {
            let change = self.events.changes.get(change)?;
            Some(SimTime::START + change.at + delay)
        };
        let change = moment(self.state + 1, Duration::ZERO).map(|at| (at, Next::Change));
        let of_proxies = self.proxies.iter().enumerate().flat_map(|(i, proxy)| {
            let done = proxy.done().map(|at| (at, Next::SyncDone(i)));
            let heard = moment(proxy.heard + 1, proxy.timing.watch_delay);
            let news = heard.map(|at| (at, Next::News(i)));
            let timer = proxy.timer(with_idle_timers);
            let timer = timer.map(|at| (at, Next::Timer(i)));
            let look = proxy.next_look(self.now).map(|at| (at, Next::Look(i)));
            [done, news, timer, look]
        });
        let packets = self.sendings.iter().enumerate().map(|(i, sending)| {
            let due = sending.due();
            due.map(|at| (at, Next::Packet(i)))
        });
        std::iter::once(change)
            .chain(of_proxies)
            .chain(packets)
            .flatten()
            .min()
    }

    /// Objects change: another world, with the rules and the memories of before.
    fn change(&mut self) -> Result<What<'c>, TimelineError> {
        self.state += 1;
        let change = &self.events.changes[self.state];
        self.options.absent.clone_from(&change.absent);
        let mut world = World::new(&change.cluster, &self.options)?;
        world.now = self.now;
        world.keep_places(&self.world);
        let before = std::mem::replace(&mut self.world, world);
        let States { netns, balancers } = std::mem::take(&mut self.memory);
        for (id, state) in netns {
            if let Some(id) = self.world.same(&before, id) {
                self.memory.netns.insert(id, state);
            }
        }
        for ((id, port), balancer) in balancers {
            if let Some(id) = self.world.same(&before, id) {
                self.memory.balancers.insert((id, port), balancer);
            }
        }
        let cluster = &change.cluster;
        self.proxies
            .retain(|proxy| cluster.nodes.contains_key(proxy.node()));
        let config = cluster.kube_proxy.clone().unwrap_or_default();
        for name in cluster.nodes.keys() {
            if !self.proxies.iter().any(|proxy| proxy.node() == &**name) {
                // kube-proxy of a node that joins begins with a full sync of what is there.
                let proxy = Proxy::new(self, name, &config)?;
                self.proxies.push(proxy);
            }
        }
        self.remember_nodes(&config);
        for proxy in &self.proxies {
            if let Some(node) = self.world.node_index(proxy.node()) {
                self.world.set_rules(node, proxy.rules.clone());
            }
        }
        Ok(What::Changed(&change.what))
    }

    /// Nodes track connections as kube-proxy told them to.
    fn remember_nodes(&mut self, config: &KubeProxyConfiguration) {
        for (index, node) in self.world.cluster().nodes.values().enumerate() {
            let cpus = node.cpus.unwrap_or(DEFAULT_CPUS);
            let settings = ConntrackSettings::new(config, cpus);
            let id = NetnsId::Node(index);
            self.memory
                .netns
                .entry(id)
                .or_insert_with(|| proxy::tracking(&settings));
        }
        for proxy in &self.proxies {
            let node = self.world.node_index(proxy.node()).map(NetnsId::Node);
            if let Some(kernel) = node.and_then(|node| self.memory.netns.get_mut(&node)) {
                proxy.load_sets(kernel);
            }
        }
    }

    fn news(&mut self, proxy: usize) -> Result<Option<What<'c>>, TimelineError> {
        let proxy = &mut self.proxies[proxy];
        let (before, heard) = (proxy.heard, proxy.heard + 1);
        proxy.heard = heard;
        let services = &self.services.0;
        if let Some(is_stale) = proxy.hear(self.events, services)? {
            if let Some(node) = self.world.node_index(proxy.node()) {
                self.world.set_rules(node, proxy.rules.clone());
            }
            return Ok(is_stale.then(|| proxy.request(self.now)));
        }
        let labels = |state: usize| {
            let nodes = &self.events.changes[state].cluster.nodes;
            nodes.get(proxy.node()).map(|node| &node.meta.labels)
        };
        // A change of the node's labels is synced at once, whatever the runner would say.
        if labels(before) != labels(heard) {
            return Ok(proxy.sync_at_once(self.now));
        }
        let mut families = services[heard].iter().zip(&services[before]);
        Ok(families
            .any(|(now, earlier)| now.differs_from(earlier))
            .then(|| proxy.request(self.now)))
    }

    fn sync_done(&mut self, proxy: usize) -> Result<What<'c>, TimelineError> {
        let Self {
            proxies,
            events,
            services,
            world,
            memory,
            options,
            ..
        } = self;
        let proxy = &mut proxies[proxy];
        let node = world.node_index(proxy.node());
        let mut no_memory = NetnsState::default();
        let state = node.and_then(|node| memory.netns.get_mut(&NetnsId::Node(node)));
        let state = state.unwrap_or(&mut no_memory);
        let version = options.kube_proxy_version;
        let before = proxy.rules.clone();
        let report = proxy.sync(events, &services.0, world, version, state, self.now)?;
        for (memory, family) in [
            (&mut state.ipv4.nft, Family::Ipv4),
            (&mut state.ipv6.nft, Family::Ipv6),
        ] {
            let rules = (before.of(family).nft(), proxy.rules.of(family).nft());
            if let (Some(before), Some(after)) = rules {
                memory.carry_over(before.rules(), after.rules());
            }
        }
        if let Some(node) = node {
            world.set_rules(node, proxy.rules.clone());
            // A service port that is gone takes its clients with it (`DeleteService`).
            let sockets: BTreeSet<&str> = proxy
                .rules
                .proxy_sockets
                .iter()
                .map(|of| &*of.name)
                .collect();
            let stays = |(at, port): &(NetnsId, Box<str>)| {
                *at != NetnsId::Node(node) || sockets.contains(&**port)
            };
            memory.balancers.retain(|key, _| stays(key));
        }
        Ok(What::SyncDone {
            node: proxy.node().to_owned(),
            report,
        })
    }

    fn look(&mut self, proxy: usize) -> Result<Option<What<'c>>, TimelineError> {
        let proxy = &mut self.proxies[proxy];
        let node = self.world.node_index(proxy.node());
        let mut no_memory = NetnsState::default();
        let kernel = node.and_then(|node| self.memory.netns.get_mut(&NetnsId::Node(node)));
        let gone = proxy.look(&self.world, kernel.unwrap_or(&mut no_memory), self.now)?;
        if let Some(node) = node {
            self.world.set_rules(node, proxy.rules.clone());
        }
        Ok((!gone.is_empty()).then(|| What::Drained {
            node: proxy.node().to_owned(),
            gone,
        }))
    }

    fn send(&mut self, sending: usize) -> What<'c> {
        let sending = &mut self.sendings[sending];
        sending.sent += 1;
        // Every packet has chances of its own.
        let seed = self
            .seed
            .wrapping_add(sending.sent.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let answered = !sending.probe.one_way;
        if sending.probe.sport.is_none() {
            let nth = (sending.sent - 1) % u64::from(u16::MAX - FIRST_PORT + 1);
            sending.query.sport = FIRST_PORT + u16::try_from(nth).unwrap_or_default();
        }
        let result = self
            .world
            .trace_on(&mut self.memory, &sending.query, answered, seed);
        What::Sent {
            probe: sending.probe,
            number: sending.sent,
            result: Box::new(result),
        }
    }
}

impl World<'_> {
    /// The namespace that is here what another was in an earlier world.
    fn same(&self, before: &World<'_>, id: NetnsId) -> Option<NetnsId> {
        match id {
            NetnsId::Node(node) => {
                let name = &before.network.nodes()[node].name;
                self.node_index(name).map(NetnsId::Node)
            }
            NetnsId::Pod(pod) => {
                let now = self.owner(*before.pods[pod].addresses.first()?)?;
                matches!(now, NetnsId::Pod(_)).then_some(now)
            }
            NetnsId::Router => Some(id),
            NetnsId::Outside(host) => {
                let now = self.owner(before.outside[host].address)?;
                matches!(now, NetnsId::Outside(_)).then_some(now)
            }
        }
    }
}
