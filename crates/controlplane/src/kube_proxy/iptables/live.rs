//! A node's tables, kept up to date while slices change.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use podwire_ruleset::{ChainName, Rule, RuleSet, TableName};

use super::sync_text::SyncText;
use super::{IptablesProxier, PortRules};
use crate::kube_proxy::SliceChange;
use crate::kube_proxy::service_ports::ServicePorts;
use crate::kube_proxy::tables::{OwnChain, Placed, print_tables, to_rule_set};

/// kube-proxy of one node in iptables mode, which follows the slices of a cluster as they change.
///
/// It says the same as [`IptablesHistory`](super::IptablesHistory), whose states are whole clusters, and
/// does for a change the work of the Services that change: their endpoints and chains are made anew, and of
/// all others the lines that every sync writes are kept as text.
///
/// ```
/// use podwire_cluster::Cluster;
/// use podwire_controlplane::kube_proxy::{
///     IptablesProxier, KubeProxyVersion, LiveIptables, ServicePorts, SliceChange,
/// };
/// use podwire_packet::Family;
///
/// # fn follow<'a>(cluster: &'a Cluster, services: &'a ServicePorts<'a>, later: &'a Cluster)
/// # -> Result<(), podwire_controlplane::kube_proxy::ProxierError> {
/// let mut live = LiveIptables::new(IptablesProxier::new(cluster, services, "node-a")?);
/// for slice in later.endpoint_slices.values() {
///     for change in live.sync([SliceChange::Set(slice)]) {
///         println!("{} of table {} is new", change.chain, change.table);
///     }
///     print!("{}", live.restore_text());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LiveIptables<'a> {
    proxier: IptablesProxier<'a>,
    /// By service port.
    ports: Vec<PortLines>,
    /// Chains of services in nat, as they were last written.
    chains: BTreeMap<ChainName, OwnChain>,
    /// Those of them that no service port uses.
    stale: BTreeSet<ChainName>,
    /// What the last sync wrote; `None` if that was everything.
    last: Option<Written>,
}

/// What a service port has in every sync.
#[derive(Clone, Debug)]
struct PortLines {
    filter: Box<str>,
    dispatch: Box<str>,
    /// The names of its chains.
    chains: Vec<ChainName>,
}

/// What a partial sync writes besides the lines of all service ports.
#[derive(Clone, Debug, Default)]
struct Written {
    /// By place of the service port, which come in their order: its chains, and their rules.
    ports: Vec<(usize, SyncText)>,
    removed: Vec<ChainName>,
}

/// A chain that a sync changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainChange {
    /// Its table.
    pub table: TableName,
    /// Its name.
    pub chain: ChainName,
    /// All its rules now; `None` if it is gone.
    pub rules: Option<Vec<Rule>>,
}

/// Where in the tables a common chain is.
type Common = (TableName, ChainName);

impl<'a> LiveIptables<'a> {
    /// The node after its first sync.
    ///
    /// # Cost
    /// All rules of the node's services stay in memory.
    #[must_use]
    pub fn new(proxier: IptablesProxier<'a>) -> Self {
        let mut chains = BTreeMap::new();
        let ports = proxier.services.ports.iter().map(|port| {
            let rules = proxier.port_rules(port);
            let lines = PortLines::of(&proxier, &rules);
            let own = rules.chains.into_iter();
            chains.extend(own.map(|chain| (chain.name.clone(), chain)));
            lines
        });
        Self {
            ports: ports.collect(),
            chains,
            stale: BTreeSet::new(),
            last: None,
            proxier,
        }
    }

    /// The next sync, a partial one, after these changes.
    ///
    /// Gives the chains that it changes or removes, in an order in which one after the other can be set: no
    /// rule jumps to a chain that is not there yet, and none to one that is removed.
    ///
    /// # Cost
    /// That of the Services that change. Where a Service gets its first endpoint or loses its last one, also
    /// that of the rules of all Services in the common chains.
    pub fn sync(&mut self, changes: impl IntoIterator<Item = SliceChange<'a>>) -> Vec<ChainChange> {
        let changed = self.proxier.services.to_mut().update(changes);
        let mut written = Written::default();
        let mut changes = Vec::new();
        let mut common = BTreeSet::new();
        for place in changed.into_iter().flatten() {
            let rules = self.proxier.port_rules(&self.proxier.services.ports[place]);
            let lines = PortLines::of(&self.proxier, &rules);
            let mut text = SyncText::default();
            text.add_own(&rules, self.proxier.family());
            written.ports.push((place, text));
            let before = std::mem::replace(&mut self.ports[place], lines);
            self.note_common(&before, place, &rules, &mut common);
            self.stale.extend(before.chains);
            for chain in rules.chains {
                self.stale.remove(&chain.name);
                let known = self.chains.get(&chain.name);
                if known.is_none_or(|known| known.rules != chain.rules) {
                    changes.push(ChainChange {
                        table: TableName::Nat,
                        chain: chain.name.clone(),
                        rules: Some(chain.rules.clone()),
                    });
                }
                self.chains.insert(chain.name.clone(), chain);
            }
        }
        // Whom others jump to comes before them.
        changes.sort_by_key(|change| Reverse(rank(&change.chain)));
        self.add_common(common, &mut changes);
        if !self.proxier.services.is_large_cluster() {
            written.removed.extend(std::mem::take(&mut self.stale));
            for chain in &written.removed {
                self.chains.remove(chain);
            }
        }
        let mut removed: Vec<_> = written.removed.iter().collect();
        removed.sort_by_key(|chain| rank(chain));
        changes.extend(removed.into_iter().map(|chain| ChainChange {
            table: TableName::Nat,
            chain: chain.clone(),
            rules: None,
        }));
        self.last = Some(written);
        changes
    }

    /// The service ports as they are now.
    #[must_use]
    pub fn services(&self) -> &ServicePorts<'a> {
        &self.proxier.services
    }

    /// What the last sync handed to `iptables-restore --noflush --counters`.
    #[must_use]
    pub fn restore_text(&self) -> String {
        let Some(last) = &self.last else {
            return self.proxier.restore_text();
        };
        let all = self.ports.iter();
        let room: usize = all
            .map(|port| port.filter.len() + port.dispatch.len())
            .sum();
        let mut text = self.proxier.sync_text_head(room);
        let mut written = last.ports.iter().peekable();
        for (place, port) in self.ports.iter().enumerate() {
            text.filter.push_str(&port.filter);
            text.rules.push_str(&port.dispatch);
            if let Some((_, own)) = written.next_if(|(of, _)| *of == place) {
                text.chains.push_str(&own.chains);
                text.rules.push_str(&own.rules);
            }
        }
        self.proxier.finish_sync_text(text, &last.removed)
    }

    /// The tables after it, as [`IptablesProxier::save_text`] prints them.
    #[must_use]
    pub fn save_text(&self) -> String {
        let tables = self.proxier.tables(Some(&self.chains));
        print_tables(
            &tables,
            self.proxier.family(),
            self.proxier.estimated_bytes(),
        )
    }

    /// The tables after it, as [`IptablesProxier::rule_set`] gives them.
    #[must_use]
    pub fn rule_set(&self) -> RuleSet {
        to_rule_set(
            self.proxier.tables(Some(&self.chains)),
            self.proxier.family(),
        )
    }

    /// Notes the common chains in which a service port has other rules than before.
    fn note_common(
        &self,
        before: &PortLines,
        place: usize,
        rules: &PortRules,
        common: &mut BTreeSet<Common>,
    ) {
        let now = &self.ports[place];
        for (table, before, now, rules) in [
            (
                TableName::Filter,
                &before.filter,
                &now.filter,
                &rules.filter,
            ),
            (
                TableName::Nat,
                &before.dispatch,
                &now.dispatch,
                &rules.dispatch,
            ),
        ] {
            if before == now {
                continue;
            }
            // Rules that are gone are known by their lines alone.
            let gone = before.lines().filter_map(|line| line.split(' ').nth(1));
            common.extend(gone.map(|chain| (table, chain.into())));
            common.extend(rules.iter().map(|placed| (table, placed.chain.clone())));
        }
    }

    /// Makes common chains anew.
    fn add_common(&self, common: BTreeSet<Common>, changes: &mut Vec<ChainChange>) {
        if common.is_empty() {
            return;
        }
        let mut all: BTreeMap<Common, Vec<Rule>> =
            common.into_iter().map(|key| (key, Vec::new())).collect();
        let mut add = |table: TableName, rules: Vec<Placed>| {
            for Placed { chain, rule } in rules {
                if let Some(rules) = all.get_mut(&(table, chain)) {
                    rules.push(rule);
                }
            }
        };
        let proxier = &self.proxier;
        add(
            TableName::Filter,
            proxier.filter_head().into_iter().collect(),
        );
        add(TableName::Nat, proxier.nat_head().into());
        for port in &proxier.services.ports {
            let rules = proxier.common_rules(port);
            add(TableName::Filter, rules.filter);
            add(TableName::Nat, rules.dispatch);
        }
        add(TableName::Filter, proxier.filter_tail());
        add(TableName::Nat, proxier.nat_tail());
        changes.extend(all.into_iter().map(|((table, chain), rules)| ChainChange {
            table,
            chain,
            rules: Some(rules),
        }));
    }
}

/// Where a service's chain stands if those that jump to others come first.
fn rank(chain: &ChainName) -> Option<usize> {
    const CALLERS_FIRST: [&str; 5] = [
        "KUBE-FW-",
        "KUBE-EXT-",
        "KUBE-SVC-",
        "KUBE-SVL-",
        "KUBE-SEP-",
    ];
    let mut prefixes = CALLERS_FIRST.iter();
    prefixes.position(|prefix| chain.as_str().starts_with(prefix))
}

impl PortLines {
    fn of(proxier: &IptablesProxier<'_>, rules: &PortRules) -> Self {
        let mut text = SyncText::default();
        text.add_common(rules, proxier.family());
        Self {
            filter: text.filter.into(),
            dispatch: text.rules.into(),
            chains: rules
                .chains
                .iter()
                .map(|chain| chain.name.clone())
                .collect(),
        }
    }
}
