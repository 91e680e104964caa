//! kube-proxy of one node.

use std::sync::Arc;
use std::time::Duration;

use podwire_cluster::{Change, Events, KubeProxyConfiguration, ProxyMode, Timing};
use podwire_controlplane::kube_proxy::{
    Cleanup, ConntrackSettings, IptablesHistory, IptablesProxier, KubeProxyVersion,
    NftablesHistory, NftablesProxier, ProxierError, ServicePorts, SideEffects, SyncCounts,
    SyncRunner, UserspaceHistory, UserspaceProxier,
};
use podwire_dataplane::{Conntrack, NetnsState, Timeouts};
use podwire_packet::{Family, SimTime};

use super::{SyncReport, Timeline, TimelineError, What};
use crate::rules::{IpvsNode, NodeRules, RulesError, evaluator, nft_evaluator, userspace_rules};
use crate::world::World;

/// A sync that runs.
#[derive(Clone, Copy, Debug)]
struct Running {
    /// When it is done.
    done: SimTime,
    /// The state that it syncs.
    state: usize,
    /// Whether the runner let it.
    is_counted: bool,
}

/// What a node's syncs have written so far, IPv4 and IPv6.
#[derive(Debug)]
enum Written<'c> {
    Iptables([IptablesHistory<'c>; 2]),
    Nftables([NftablesHistory<'c>; 2]),
    /// Of one family.
    Userspace(Box<UserspaceHistory<'c>>),
}

/// A state of the cluster, as the proxiers of both families see it.
type Seen<'c> = (&'c Change, &'c [ServicePorts<'c>; 2]);

impl<'c> Written<'c> {
    /// The first sync.
    fn first((change, services): Seen<'c>, node: &str) -> Result<Self, ProxierError> {
        let cluster = &change.cluster;
        let [ipv4, ipv6] = services;
        let config = cluster.kube_proxy.clone().unwrap_or_default();
        Ok(if config.proxy_mode() == ProxyMode::Userspace {
            let proxier = userspace_proxier((change, services), node)?;
            Self::Userspace(Box::new(UserspaceHistory::first(proxier)))
        } else if config.proxy_mode() == ProxyMode::Nftables {
            let first = |of| NftablesProxier::new(cluster, of, node).map(NftablesHistory::first);
            Self::Nftables([first(ipv4)?, first(ipv6)?])
        } else {
            let first = |of| IptablesProxier::new(cluster, of, node).map(IptablesHistory::first);
            Self::Iptables([first(ipv4)?, first(ipv6)?])
        })
    }

    /// A later one. Says whether it wrote everything, and in iptables mode what it wrote.
    fn then(
        &mut self,
        (change, services): Seen<'c>,
        node: &str,
        is_full: bool,
    ) -> Result<(bool, Option<[SyncCounts; 2]>), ProxierError> {
        let cluster = &change.cluster;
        match self {
            Self::Iptables(histories) => {
                let mut counts = [SyncCounts::default(); 2];
                for ((history, services), counts) in
                    histories.iter_mut().zip(services).zip(&mut counts)
                {
                    let proxier = IptablesProxier::new(cluster, services, node)?;
                    if is_full {
                        history.then_full(proxier);
                    } else {
                        history.then(proxier);
                    }
                    *counts = SyncCounts::of(services, history.restore_text());
                }
                let is_full = histories.iter().all(IptablesHistory::is_full);
                Ok((is_full, Some(counts)))
            }
            Self::Nftables(histories) => {
                for (history, services) in histories.iter_mut().zip(services) {
                    history.then(NftablesProxier::new(cluster, services, node)?);
                }
                Ok((true, None))
            }
            Self::Userspace(history) => {
                history.then(userspace_proxier((change, services), node)?);
                Ok((true, None))
            }
        }
    }

    /// The rules of a node, if it is one of the world's.
    fn rules(
        &self,
        world: &World<'c>,
        node: &str,
        route_localnet: bool,
    ) -> Result<Option<NodeRules>, RulesError> {
        let Some(index) = world.node_index(node) else {
            return Ok(None);
        };
        let network = &world.network;
        let node = &network.nodes()[index];
        let ((ipv4, refused_ipv4), (ipv6, refused_ipv6)) = match self {
            Self::Iptables([ipv4, ipv6]) => (
                (evaluator(network, node, ipv4.rule_set())?, None),
                (evaluator(network, node, ipv6.rule_set())?, None),
            ),
            Self::Nftables([ipv4, ipv6]) => (
                nft_evaluator(network, node, Family::Ipv4, ipv4.table())?,
                nft_evaluator(network, node, Family::Ipv6, ipv6.table())?,
            ),
            Self::Userspace(history) => return userspace_rules(network, node, history).map(Some),
        };
        Ok(Some(NodeRules {
            ipv4,
            ipv6,
            ipvs: IpvsNode::default(),
            proxy_sockets: Arc::default(),
            route_localnet,
            refused: [refused_ipv4, refused_ipv6].into_iter().flatten().collect(),
        }))
    }
}

/// The proxier of userspace mode, which is of one family.
fn userspace_proxier<'c>(
    (change, [ipv4, ipv6]): Seen<'c>,
    node: &str,
) -> Result<UserspaceProxier<'c>, ProxierError> {
    let services = match UserspaceProxier::family_of(&change.cluster, node)? {
        Family::Ipv4 => ipv4,
        Family::Ipv6 => ipv6,
    };
    UserspaceProxier::new(&change.cluster, services, node)
}

/// kube-proxy of a node.
#[derive(Debug)]
pub(super) struct Proxy<'c> {
    node: &'c str,
    pub(super) timing: Timing,
    /// The last change that it has heard of.
    pub(super) heard: usize,
    /// The state of its last sync.
    synced: usize,
    written: Written<'c>,
    last_full: SimTime,
    runner: SyncRunner,
    running: Option<Running>,
    /// Whether somebody asked while a sync ran.
    is_asked: bool,
    /// Whether a sync waits for the runner.
    waits: bool,
    /// The rules that hold on the node.
    pub(super) rules: NodeRules,
}

/// An hour after the last full sync the next is full (`FullSyncPeriod`, pkg/proxy/util).
const FULL_SYNC_PERIOD: Duration = Duration::from_secs(3_600);

impl<'c> Proxy<'c> {
    /// That of a node which is in sync with the state that holds.
    pub(super) fn new(
        timeline: &Timeline<'c>,
        node: &'c str,
        config: &KubeProxyConfiguration,
    ) -> Result<Self, TimelineError> {
        let Timeline {
            events,
            services,
            world,
            state,
            now,
            ..
        } = timeline;
        let state = *state;
        let index = world.node_index(node).unwrap_or_default();
        let config = config.with_defaults();
        let min = match config.proxy_mode() {
            ProxyMode::Nftables => config.nftables.min_sync_period,
            ProxyMode::Iptables
            | ProxyMode::Ipvs
            | ProxyMode::Userspace
            | ProxyMode::Kernelspace => config.iptables.min_sync_period,
        };
        let timing = events.nodes.get(node).copied().unwrap_or(events.timing);
        Ok(Self {
            node,
            timing,
            heard: state,
            synced: state,
            written: Written::first((&events.changes[state], &services.0[state]), node)?,
            last_full: *now,
            runner: SyncRunner::new(min, *now),
            running: None,
            is_asked: false,
            waits: false,
            rules: world.rules(index)?,
        })
    }

    pub(super) const fn node(&self) -> &'c str {
        self.node
    }

    /// In userspace mode it uses the endpoints of the state that it has heard of last, without a sync;
    /// says whether there are service ports to sync. Other modes sync whatever they hear.
    pub(super) fn hear(
        &mut self,
        events: &'c Events,
        services: &'c [[ServicePorts<'c>; 2]],
    ) -> Result<Option<bool>, ProxierError> {
        let Written::Userspace(history) = &mut self.written else {
            return Ok(None);
        };
        let seen = (&events.changes[self.heard], &services[self.heard]);
        let is_stale = history.hear(userspace_proxier(seen, self.node)?);
        self.rules.proxy_sockets = Arc::new(history.sockets().collect());
        Ok(Some(is_stale))
    }

    /// When the sync that runs is done.
    pub(super) fn done(&self) -> Option<SimTime> {
        self.running.map(|running| running.done)
    }

    /// When the runner is to be asked again; the hourly sync only if it is wanted.
    pub(super) fn timer(&self, with_idle: bool) -> Option<SimTime> {
        let is_due = self.running.is_none() && (self.waits || with_idle);
        is_due.then(|| self.runner.timer())
    }

    /// Somebody asks for a sync.
    pub(super) fn request<'t>(&mut self, now: SimTime) -> What<'t> {
        let node = self.node.to_owned();
        match self.running {
            Some(running) => {
                self.is_asked = true;
                let until = running.done;
                What::SyncWaits { node, until }
            }
            None if self.runner.try_run(now) => self.begin(now, true),
            None => {
                self.waits = true;
                let until = self.runner.timer();
                What::SyncWaits { node, until }
            }
        }
    }

    /// A sync that does not ask the runner; none if one runs, after which it is asked.
    pub(super) fn sync_at_once<'t>(&mut self, now: SimTime) -> Option<What<'t>> {
        if self.running.is_some() {
            self.is_asked = true;
            return None;
        }
        Some(self.begin(now, false))
    }

    fn begin<'t>(&mut self, now: SimTime, is_counted: bool) -> What<'t> {
        self.waits &= !is_counted;
        self.running = Some(Running {
            done: now + self.timing.sync_takes,
            state: self.heard,
            is_counted,
        });
        What::SyncBegins {
            node: self.node.to_owned(),
        }
    }

    /// The sync that runs is done.
    pub(super) fn sync(
        &mut self,
        events: &'c Events,
        services: &'c [[ServicePorts<'c>; 2]],
        world: &World<'c>,
        version: KubeProxyVersion,
        conntrack: &mut Conntrack,
        now: SimTime,
    ) -> Result<SyncReport, TimelineError> {
        let Some(running) = self.running.take() else {
            unreachable!("only a sync that runs is done");
        };
        let state = running.state;
        let change = &events.changes[state];
        let is_hourly = now - self.last_full >= FULL_SYNC_PERIOD;
        let seen = (change, &services[state]);
        let (full, counts) = self.written.then(seen, self.node, is_hourly)?;
        let mut clears = Vec::new();
        let mut forgotten = 0;
        for (before, after) in services[self.synced].iter().zip(&services[state]) {
            let cleanup = match &self.written {
                Written::Userspace(history) if history.family() == after.family() => {
                    Cleanup::Events(history.side_effects().conntrack)
                }
                Written::Userspace(_) => Cleanup::Events(Vec::new()),
                Written::Iptables(_) | Written::Nftables(_) => {
                    Cleanup::new(version, Some(before), after, self.node)
                }
            };
            forgotten += conntrack.delete(|connection| cleanup.deletes(connection));
            clears.extend_from_slice(cleanup.clears());
        }
        if full {
            self.last_full = now;
        }
        // A sysctl that was set stays; nftables mode sets none.
        let mut route_localnet = self.rules.route_localnet;
        if matches!(self.written, Written::Iptables(_)) {
            let effects = SideEffects::new(&change.cluster, &services[state][0], self.node)?;
            route_localnet |= !effects.sysctls.is_empty();
        }
        // Endpoints may have changed while it ran.
        self.hear(events, services)?;
        if let Some(rules) = self.written.rules(world, self.node, route_localnet)? {
            self.rules = rules;
        }
        self.synced = state;
        if running.is_counted {
            self.runner.ran(now);
        }
        if std::mem::take(&mut self.is_asked) {
            // It is asked again at once, by the timer.
            self.waits = true;
            self.runner.wake(now);
        }
        Ok(SyncReport {
            full,
            counts,
            clears,
            forgotten,
        })
    }
}

/// What a node remembers at first: nothing, with those settings of its connection table.
pub(super) fn tracking(settings: &ConntrackSettings) -> NetnsState {
    let unless = Timeouts::default();
    let mut state = NetnsState::default();
    if let Some(max) = settings.max {
        state.conntrack.max = usize::try_from(max).unwrap_or(usize::MAX);
    }
    state.conntrack.timeouts = Timeouts {
        tcp_established: settings.tcp_established.unwrap_or(unless.tcp_established),
        udp: settings.udp.unwrap_or(unless.udp),
        udp_stream: settings.udp_stream.unwrap_or(unless.udp_stream),
    };
    state
}
