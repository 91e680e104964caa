//! kube-proxy of one node.

use std::sync::Arc;
use std::time::Duration;

use podwire_cluster::{Events, KubeProxyConfiguration, ProxyMode, Timing};
use podwire_controlplane::kube_proxy::{
    Cleanup, ConntrackSettings, IpvsHistory, KubeProxyVersion, ProxierError, ServicePorts,
    SideEffects, SyncRunner,
};
use podwire_dataplane::{NetnsState, Timeouts};
use podwire_packet::SimTime;
use podwire_ruleset::ipvs::{Change, Socket, VirtualAddress};

use super::written::{Seen, Sync, Written, unlisted_addresses};
use super::{SyncReport, Timeline, TimelineError, What};
use crate::rules::NodeRules;
use crate::world::World;

/// A real server of a virtual server.
pub type RealServerOf = (VirtualAddress, Socket);

/// A sync that runs.
#[derive(Clone, Copy, Debug)]
struct Running {
    began: SimTime,
    /// When it is done.
    done: SimTime,
    /// The state that it syncs.
    state: usize,
    /// Whether the runner let it.
    is_counted: bool,
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
    /// Whether nothing was taken away since.
    is_settled: bool,
    written: Written<'c>,
    /// When it began to look at real servers that wait for their connections to end.
    started: SimTime,
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

/// How often kube-proxy looks at real servers that wait for their connections to end
/// (`rsCheckDeleteInterval`, pkg/proxy/ipvs/graceful_termination.go).
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

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
        let index = world.node_index(node);
        let index = index.expect("every node of a cluster is one of its world");
        let config = config.with_defaults();
        let runner = match config.proxy_mode() {
            ProxyMode::Nftables => SyncRunner::new(config.nftables.min_sync_period, *now),
            ProxyMode::Ipvs => SyncRunner::new(config.ipvs.min_sync_period, *now)
                .with_interval(config.ipvs.sync_period),
            ProxyMode::Iptables | ProxyMode::Userspace | ProxyMode::Kernelspace => {
                SyncRunner::new(config.iptables.min_sync_period, *now)
            }
        };
        let seen = Seen {
            change: &events.changes[state],
            services: &services.0[state],
            node,
            addresses: &unlisted_addresses(world, node),
        };
        let timing = events.nodes.get(node).copied().unwrap_or(events.timing);
        Ok(Self {
            node,
            timing,
            heard: state,
            synced: state,
            is_settled: true,
            written: Written::first(seen, *now)?,
            started: *now,
            last_full: *now,
            runner,
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
        let seen = Seen {
            change: &events.changes[self.heard],
            services: &services[self.heard],
            node: self.node,
            addresses: &[],
        };
        let is_stale = history.hear(seen.userspace()?);
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
            began: now,
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
        kernel: &mut NetnsState,
        now: SimTime,
    ) -> Result<SyncReport, TimelineError> {
        let Some(running) = self.running.take() else {
            unreachable!("only a sync that runs is done");
        };
        let state = running.state;
        let is_hourly = now - self.last_full >= FULL_SYNC_PERIOD;
        let seen = Seen {
            change: &events.changes[state],
            services: &services[state],
            node: self.node,
            addresses: &unlisted_addresses(world, self.node),
        };
        kernel.ipvs.expire(now);
        // Each `syncPeriod` IPVS mode syncs what it has synced, and changes nothing.
        let is_ipvs = matches!(self.written, Written::Ipvs(_));
        let is_idle = is_ipvs && self.is_settled && state == self.synced;
        let sync = if is_idle {
            Sync::of_everything()
        } else {
            self.written
                .then(seen, is_hourly, running.began, &kernel.ipvs)?
        };
        for change in &sync.virtual_servers {
            kernel.ipvs.apply(change);
        }
        let conntrack = &mut kernel.conntrack;
        let mut clears = Vec::new();
        let mut forgotten = 0;
        for (before, after) in services[self.synced].iter().zip(&services[state]) {
            let cleanup = match &self.written {
                Written::Userspace(history) if history.family() == after.family() => {
                    Cleanup::Events(history.side_effects().conntrack)
                }
                Written::Userspace(_) => Cleanup::Events(Vec::new()),
                Written::Iptables(_) | Written::Nftables(_) | Written::Ipvs(_) => {
                    Cleanup::new(version, Some(before), after, self.node)
                }
            };
            forgotten += conntrack.delete(|connection| cleanup.deletes(connection));
            clears.extend_from_slice(cleanup.clears());
        }
        if sync.is_full {
            self.last_full = now;
        }
        // A sysctl that was set stays; nftables mode sets none.
        let mut route_localnet = self.rules.route_localnet;
        if matches!(self.written, Written::Iptables(_)) {
            let effects = SideEffects::new(&seen.change.cluster, &services[state][0], self.node)?;
            route_localnet |= !effects.sysctls.is_empty();
        }
        // Endpoints may have changed while it ran.
        self.hear(events, services)?;
        if !is_idle {
            if let Some(rules) = self.written.rules(world, self.node, route_localnet)? {
                self.rules = rules;
            }
            self.load_sets(kernel);
        }
        self.is_settled = true;
        self.synced = state;
        if running.is_counted {
            self.runner.ran(now);
        }
        if std::mem::take(&mut self.is_asked) {
            // It is asked again at once, by the timer.
            self.waits = true;
            self.runner.wake(now);
        }
        let mut draining = Vec::new();
        for change in sync.virtual_servers {
            if let Change::SetWeight(at, real, 0) = change {
                draining.push((at, real));
            }
        }
        Ok(SyncReport {
            full: sync.is_full,
            counts: sync.counts,
            clears,
            forgotten,
            draining,
        })
    }

    /// Puts the ipsets of IPVS mode into the kernel.
    pub(super) fn load_sets(&self, kernel: &mut NetnsState) {
        if matches!(self.written, Written::Ipvs(_)) {
            kernel.ipv4.sets = self.rules.ipvs.ipv4_sets.clone();
            kernel.ipv6.sets = self.rules.ipvs.ipv6_sets.clone();
        }
    }

    /// When it looks next at real servers that wait for their connections to end, if there are any.
    pub(super) fn next_look(&self, now: SimTime) -> Option<SimTime> {
        let Written::Ipvs(histories) = &self.written else {
            return None;
        };
        let looks = (now - self.started).as_secs() / LOOK_INTERVAL.as_secs() + 1;
        let looks = u32::try_from(looks).unwrap_or(u32::MAX);
        let is_waiting = histories.iter().any(IpvsHistory::is_waiting);
        is_waiting.then(|| self.started + LOOK_INTERVAL * looks)
    }

    /// Looks at them: those that go.
    pub(super) fn look(
        &mut self,
        world: &World<'c>,
        kernel: &mut NetnsState,
        now: SimTime,
    ) -> Result<Vec<RealServerOf>, TimelineError> {
        let Written::Ipvs(histories) = &mut self.written else {
            return Ok(Vec::new());
        };
        kernel.ipvs.expire(now);
        let mut gone = Vec::new();
        for history in &mut **histories {
            for change in history.look(|at, real| kernel.ipvs.connection_count(at, real)) {
                kernel.ipvs.apply(&change);
                if let Change::DeleteReal(at, real) = change {
                    gone.push((at, real));
                }
            }
        }
        self.is_settled &= gone.is_empty();
        if !gone.is_empty()
            && let Some(rules) = self.written.rules(world, self.node, false)?
        {
            self.rules = rules;
        }
        Ok(gone)
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
