//! The portals that are open after a sync.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use podwire_cluster::ObjectName;
use podwire_packet::Family;
use podwire_ruleset::{L4, RuleSet, TableName};

use super::chains::Chains;
use super::portal::Portal;
use super::{ProxySocket, UserspaceProxier};
use crate::kube_proxy::SideEffects;
use crate::kube_proxy::cleanup::ConntrackClear;
use crate::kube_proxy::service_ports::ProxiedPort;
use crate::kube_proxy::tables::{
    Placed, Tables, chain_line, empty_chains, place, print_tables, sort_own_chains, to_rule_set,
};

/// What a portal is known by: its Service and the name of the port.
type Key<'a> = (&'a ObjectName, &'a str);

/// What the syncs of one node's kube-proxy left: portals in the order in which they were opened.
///
/// A sync opens those of new service ports, behind the others, and closes and opens again those of
/// service ports that changed. Endpoints are no part of it.
#[derive(Clone, Debug)]
pub struct UserspaceHistory<'a> {
    proxier: UserspaceProxier<'a>,
    chains: Chains,
    portals: IndexMap<Key<'a>, Portal>,
    /// Ports that no proxy has.
    free: BTreeSet<u16>,
    clears: Vec<ConntrackClear>,
}

impl<'a> UserspaceHistory<'a> {
    /// The first sync.
    #[must_use]
    pub fn first(proxier: UserspaceProxier<'a>) -> Self {
        let mut history = Self {
            free: proxier.ports.clone().collect(),
            chains: Chains::new(),
            portals: IndexMap::new(),
            clears: Vec::new(),
            proxier: proxier.clone(),
        };
        history.then(proxier);
        history
    }

    /// A later one, of the same node (`mergeService`, `unmergeService`).
    ///
    /// # Cost
    /// Linear in service ports, but for sorting.
    pub fn then(&mut self, proxier: UserspaceProxier<'a>) {
        let wanted = wanted(&proxier);
        let mut cleared = BTreeSet::new();
        let free = &mut self.free;
        self.portals.retain(|key, portal| {
            let port = wanted.get(key);
            let stays = port.is_some_and(|port| portal.is_of(port));
            if !stays {
                free.insert(portal.proxy_port);
            }
            if port.is_none() && portal.l4() == L4::Udp {
                cleared.insert(portal.cluster_ip());
            }
            stays
        });
        for (key, port) in wanted {
            if self.portals.contains_key(&key) {
                continue;
            }
            let Some(proxy_port) = self.free.pop_first() else {
                break;
            };
            let portal = Portal::open(&proxier, &self.chains, port, proxy_port);
            self.portals.insert(key, portal);
        }
        let clear = |ip| ConntrackClear::OriginalDestination(ip);
        self.clears = cleared.into_iter().map(clear).collect();
        self.proxier = proxier;
    }

    /// Endpoints of the same node's proxier are known at once, without a sync (`OnEndpointsUpdate`). Says
    /// whether there is something to sync: service ports that are new, gone or other than before.
    pub fn hear(&mut self, proxier: UserspaceProxier<'a>) -> bool {
        self.proxier = proxier;
        let wanted = wanted(&self.proxier);
        let is_open = |(key, port): (&Key<'a>, &&ProxiedPort<'a>)| {
            let portal = self.portals.get(key);
            portal.is_some_and(|portal| portal.is_of(port))
        };
        wanted.len() != self.portals.len() || !wanted.iter().all(is_open)
    }

    /// The rules as text that `iptables-restore --noflush` takes. kube-proxy itself runs `iptables`
    /// once for each.
    #[must_use]
    pub fn restore_text(&self) -> String {
        let mut text = String::from("*filter\n");
        chain_line(&self.chains.node_port_non_local, &mut text);
        let print = |placed: &Placed, text: &mut String| placed.print(self.family(), text);
        for portal in self.portals.values() {
            portal.filter.iter().for_each(|rule| print(rule, &mut text));
        }
        text.push_str("COMMIT\n*nat\n");
        for chain in self.chains.nat() {
            chain_line(chain, &mut text);
        }
        for portal in self.portals.values() {
            portal.nat.iter().for_each(|rule| print(rule, &mut text));
        }
        text.push_str("COMMIT\n");
        text
    }

    /// All tables as text, as `iptables-save` orders them, in kube-proxy's words.
    #[must_use]
    pub fn save_text(&self) -> String {
        const PORTAL: usize = 300;
        let bytes = self.portals.len() * PORTAL;
        print_tables(&self.tables(), self.family(), bytes)
    }

    /// All tables, the jumps from the built-in chains included.
    #[must_use]
    pub fn rule_set(&self) -> RuleSet {
        to_rule_set(self.tables(), self.family())
    }

    /// kube-proxy's sockets, in the order in which they were opened.
    pub fn sockets(&self) -> impl Iterator<Item = ProxySocket> {
        let ports = wanted(&self.proxier);
        self.portals.iter().map(move |(key, portal)| {
            let endpoints = ports.get(key).map_or(&[][..], |port| &port.endpoints);
            let ready = endpoints
                .iter()
                .filter(|endpoint| endpoint.is_ready_on(self.proxier.node));
            ProxySocket {
                name: portal.name.clone(),
                protocol: portal.l4().protocol(),
                address: self.proxier.listen_ip,
                port: portal.proxy_port,
                endpoints: ready.map(|of| (of.address, of.port)).collect(),
                affinity_seconds: portal.affinity_seconds,
                origin: portal.origin,
            }
        })
    }

    /// What the last sync did besides: the kernel is made to forget connections to UDP services that
    /// are gone.
    #[must_use]
    pub fn side_effects(&self) -> SideEffects {
        SideEffects {
            family: self.family(),
            sysctls: Vec::new(),
            health_checks: Vec::new(),
            conntrack: self.clears.clone(),
        }
    }

    /// The tables: built-in chains first, then the others by name.
    fn tables(&self) -> Tables {
        let origin = self.proxier.services.base_origin;
        let mut filter = empty_chains(TableName::Filter, [&self.chains.node_port_non_local]);
        let mut nat = empty_chains(TableName::Nat, self.chains.nat());
        place([self.chains.filter_jump(origin)], &mut filter);
        place(self.chains.nat_jumps(origin), &mut nat);
        for portal in self.portals.values() {
            place(portal.filter.clone(), &mut filter);
            place(portal.nat.iter().cloned(), &mut nat);
        }
        let mut tables = [
            (TableName::Mangle, empty_chains(TableName::Mangle, [])),
            (TableName::Filter, filter),
            (TableName::Nat, nat),
        ];
        sort_own_chains(&mut tables);
        tables
    }

    /// The family that the proxier works in.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.proxier.services.family()
    }
}

/// The service ports that have a proxy: there is none for SCTP (`newProxySocket`).
fn wanted<'a>(proxier: &UserspaceProxier<'a>) -> BTreeMap<Key<'a>, &'a ProxiedPort<'a>> {
    let ports = proxier.services.ports.iter();
    ports
        .filter(|port| port.l4 != L4::Sctp)
        .map(|port| ((port.service, port.port_name), port))
        .collect()
}
