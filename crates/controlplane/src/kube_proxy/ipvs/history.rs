//! Syncs that follow one another.

use std::collections::BTreeSet;

use podwire_packet::Protocol;
use podwire_ruleset::ipvs::{Change, RealServer, Socket, VirtualAddress, VirtualServer};

use super::{IpvsProgram, IpvsProxier};

/// A node over several states of the cluster, each of which kube-proxy meets with a sync.
///
/// A sync in IPVS mode goes through everything, so it leaves what a first one would, but for
///
/// - virtual servers in `ipvs.excludeCIDRs`, which stay when their Service goes
///   (`cleanLegacyService`);
/// - real servers of TCP whose endpoint is gone: one with connections stays with weight 0, and goes when
///   a later [look](Self::look) finds none (`GracefulTerminationManager`).
///
/// Sources: `syncEndpoint`, `syncService` of pkg/proxy/ipvs/proxier.go;
/// pkg/proxy/ipvs/graceful_termination.go.
#[derive(Clone, Debug)]
pub struct IpvsHistory {
    program: IpvsProgram,
    /// Real servers that wait for their connections to end (`graceTerminateRSList`).
    terminating: BTreeSet<(VirtualAddress, Socket)>,
}

impl IpvsHistory {
    /// The first sync.
    #[must_use]
    pub fn first(proxier: &IpvsProxier<'_>) -> Self {
        Self {
            program: proxier.program(),
            terminating: BTreeSet::new(),
        }
    }

    /// The next sync: that of the same node's proxier for a later state of the cluster. Real servers are
    /// taken to have no connections, and so to go at once.
    pub fn then(&mut self, next: &IpvsProxier<'_>) {
        self.sync(next, |_, _| 0);
    }

    /// The next sync where a real server has so many connections; answers with what it changes, in
    /// order.
    pub fn sync(
        &mut self,
        next: &IpvsProxier<'_>,
        connections: impl Fn(&VirtualAddress, Socket) -> u32,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut program = next.program();
        let mut before = std::mem::take(&mut self.program.virtual_servers);
        for (&at, server) in &mut program.virtual_servers {
            match before.remove(&at) {
                None => changes.push(Change::AddServer(at, server.clone())),
                Some(before) => {
                    if !has_same_settings(&before, server) {
                        changes.push(Change::EditServer(at, server.clone()));
                    }
                    self.sync_real_servers(at, &before, server, &connections, &mut changes);
                }
            }
        }
        for (at, server) in before {
            let mut excluded = next.excluded.iter();
            if excluded.any(|prefix| prefix.contains(at.address)) {
                program.virtual_servers.insert(at, server);
            } else {
                changes.push(Change::DeleteServer(at));
            }
        }
        self.program = program;
        changes
    }

    /// `syncEndpoint`: adds what is new, then takes away what is old. An endpoint that comes back while its
    /// real server still waits is removed and added.
    fn sync_real_servers(
        &mut self,
        at: VirtualAddress,
        before: &VirtualServer,
        server: &mut VirtualServer,
        connections: &impl Fn(&VirtualAddress, Socket) -> u32,
        changes: &mut Vec<Change>,
    ) {
        let sockets = |server: &VirtualServer| -> BTreeSet<Socket> {
            server.real_servers.iter().map(RealServer::socket).collect()
        };
        let (current, wanted) = (sockets(before), sockets(server));
        for real in &server.real_servers {
            let socket = real.socket();
            if current.contains(&socket) {
                if !self.terminating.remove(&(at, socket)) {
                    continue;
                }
                changes.push(Change::DeleteReal(at, socket));
            }
            changes.push(Change::AddReal(at, *real));
        }
        let mut waiting = Vec::new();
        for real in &before.real_servers {
            let socket = real.socket();
            if wanted.contains(&socket) {
                continue;
            }
            if self.terminating.contains(&(at, socket)) {
                waiting.push(*real);
            } else if at.protocol == Protocol::TCP && connections(&at, socket) > 0 {
                self.terminating.insert((at, socket));
                changes.push(Change::SetWeight(at, socket, 0));
                waiting.push(RealServer { weight: 0, ..*real });
            } else {
                changes.push(Change::DeleteReal(at, socket));
            }
        }
        server.real_servers.append(&mut waiting);
        server.real_servers.sort_by_key(RealServer::socket);
    }

    /// Whether real servers wait for their connections to end.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.terminating.is_empty()
    }

    /// What kube-proxy does each minute: takes away the real servers that wait and have no connections
    /// any more (`tryDeleteRs`).
    pub fn look(&mut self, connections: impl Fn(&VirtualAddress, Socket) -> u32) -> Vec<Change> {
        let servers = &mut self.program.virtual_servers;
        let mut changes = Vec::new();
        self.terminating.retain(|&(at, socket)| {
            // One whose virtual server is gone cannot be looked at, and waits on.
            let Some(server) = servers.get_mut(&at) else {
                return true;
            };
            if connections(&at, socket) > 0 {
                return true;
            }
            let count = server.real_servers.len();
            server.real_servers.retain(|real| real.socket() != socket);
            if server.real_servers.len() < count {
                changes.push(Change::DeleteReal(at, socket));
            }
            false
        });
        changes
    }

    /// What the last sync left.
    #[must_use]
    pub const fn program(&self) -> &IpvsProgram {
        &self.program
    }
}

/// Whether two virtual servers differ in their real servers only (`VirtualServer.Equal`).
fn has_same_settings(one: &VirtualServer, other: &VirtualServer) -> bool {
    (one.scheduler, one.flags, one.persistence) == (other.scheduler, other.flags, other.persistence)
}
