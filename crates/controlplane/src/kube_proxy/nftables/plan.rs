//! What a sync writes, before the rules are built: the sets with their elements, and the chains.

use podwire_ruleset::nft::{Chain, Name, Set, Table};

use super::NftablesProxier;
use super::base::TABLE_COMMENT;
use super::names::affinity_set;
use super::service::PlannedPort;

/// A table whose rules are built when they are asked for, a chain at a time.
///
/// A table of many services is mostly rules of endpoints. Names and places of its chains are enough to
/// put it in order; who prints it needs the rules of one chain at a time.
#[derive(Debug)]
pub(super) struct Plan<'p> {
    pub(super) proxier: &'p NftablesProxier<'p>,
    /// Sets by name, then maps by name.
    pub(super) sets: Vec<(Name, Set)>,
    /// Chains by name.
    pub(super) chains: Vec<PlannedChain>,
    common: Vec<Chain>,
    ports: Vec<PlannedPort<'p>>,
}

/// A chain without its rules.
#[derive(Debug)]
pub(super) struct PlannedChain {
    pub(super) name: Name,
    of: Owner,
}

/// Whose a chain is.
#[derive(Clone, Copy, Debug)]
enum Owner {
    /// One of those that every node has, by its place.
    Common(usize),
    /// Traffic of a port that may go anywhere.
    Cluster(usize),
    /// Traffic of a port that must stay on the node.
    Local(usize),
    /// Traffic of a port from outside.
    External(usize),
    /// Traffic of a port to a load balancer address with source ranges.
    Firewall(usize),
    /// An endpoint of a port.
    Endpoint(usize, usize),
    /// No one's: the chain was used by an earlier sync, and is empty.
    Stale,
}

impl<'p> Plan<'p> {
    /// Plans a sync of a node that has these chains of services already.
    pub(super) fn new(proxier: &'p NftablesProxier<'p>, existing: &[Name]) -> Self {
        let mut elements = proxier.common_sets();
        let mut ports = Vec::with_capacity(proxier.services.ports.len());
        let mut chains = Vec::new();
        let mut affinity_sets = Vec::new();
        let mut chain = |name: Name, of: Owner| chains.push(PlannedChain { name, of });
        for (place, port) in proxier.services.ports.iter().enumerate() {
            let port = PlannedPort::new(proxier, port);
            port.add_elements(proxier, &mut elements);
            for (index, name) in port.endpoint_chains.iter().enumerate() {
                chain(name.clone(), Owner::Endpoint(place, index));
                if let Some(set) = port.affinity_set(proxier) {
                    affinity_sets.push((affinity_set(name), set));
                }
            }
            let names = [
                (port.cluster_chain(), Owner::Cluster(place)),
                (port.local_chain(), Owner::Local(place)),
                (port.external_chain(), Owner::External(place)),
                (port.firewall_chain(), Owner::Firewall(place)),
            ];
            for (name, of) in names {
                if let Some(name) = name {
                    chain(name, of);
                }
            }
            ports.push(port);
        }
        let common = proxier.common_chains();
        for (place, own) in common.iter().enumerate() {
            chain(own.name.clone(), Owner::Common(place));
        }
        for name in existing {
            chain(name.clone(), Owner::Stale);
        }
        sort(&mut chains);
        // A chain of before that is used again stands behind the used one.
        chains.dedup_by(|later, first| later.name == first.name);
        affinity_sets.sort_by(|(a, _), (b, _)| a.cmp(b));
        affinity_sets.append(&mut elements);
        Self {
            proxier,
            sets: affinity_sets,
            chains,
            common,
            ports,
        }
    }

    /// The head of a chain: what it is without its rules.
    pub(super) fn head(&self, planned: &PlannedChain) -> Chain {
        let regular = Chain::regular(planned.name.clone());
        if let Owner::Common(place) = planned.of {
            Chain {
                base: self.common[place].base,
                comment: self.common[place].comment.clone(),
                ..regular
            }
        } else {
            regular
        }
    }

    /// A chain with its rules.
    pub(super) fn chain(&self, planned: &PlannedChain) -> Chain {
        let proxier = self.proxier;
        let rules = match planned.of {
            Owner::Common(place) => return self.common[place].clone(),
            Owner::Cluster(port) => self.ports[port].cluster_rules(proxier),
            Owner::Local(port) => self.ports[port].local_rules(proxier),
            Owner::External(port) => self.ports[port].external_rules(proxier),
            Owner::Firewall(port) => self.ports[port].firewall_rules(proxier),
            Owner::Endpoint(port, index) => self.ports[port].endpoint_rules(proxier, index),
            Owner::Stale => Vec::new(),
        };
        Chain {
            rules,
            ..Chain::regular(planned.name.clone())
        }
    }

    /// The endpoint that a chain is for.
    pub(super) fn endpoint(
        &self,
        planned: &PlannedChain,
    ) -> Option<&crate::kube_proxy::endpoints::ProxiedEndpoint<'p>> {
        if let Owner::Endpoint(port, index) = planned.of {
            Some(self.ports[port].endpoint(index))
        } else {
            None
        }
    }

    /// Everything.
    pub(super) fn into_table(mut self) -> Table {
        let mut table = Table::new(
            self.proxier.family().into(),
            self.proxier.common.table.clone(),
        );
        table.comment = Some(TABLE_COMMENT.into());
        table.sets.extend(std::mem::take(&mut self.sets));
        table.chains.reserve(self.chains.len());
        for planned in &self.chains {
            table
                .chains
                .insert(planned.name.clone(), self.chain(planned));
        }
        table
    }

    /// The names of the chains of services: those that hold a `/` (`isServiceChainName`).
    pub(super) fn into_service_chains(self) -> Vec<Name> {
        let chains = self.chains.into_iter();
        let services = chains.filter(|chain| !matches!(chain.of, Owner::Common(_)));
        services.map(|chain| chain.name).collect()
    }
}

/// Sorts chains by name, those that are stale behind those that are not.
///
/// There may be very many, and their names begin with one of few words; the hash behind it nearly
/// always tells them apart, so that only beginnings are compared, in place.
fn sort(chains: &mut Vec<PlannedChain>) {
    const HEAD: usize = 20;
    let mut keyed: Vec<([u8; HEAD], PlannedChain)> = std::mem::take(chains)
        .into_iter()
        .map(|chain| {
            let mut head = [0; HEAD];
            let bytes = chain.name.as_str().as_bytes();
            let length = bytes.len().min(HEAD);
            head[..length].copy_from_slice(&bytes[..length]);
            (head, chain)
        })
        .collect();
    keyed.sort_unstable_by(|(a, first), (b, second)| {
        let is_stale = |chain: &PlannedChain| matches!(chain.of, Owner::Stale);
        let by_name = || first.name.cmp(&second.name);
        a.cmp(b)
            .then_with(by_name)
            .then_with(|| is_stale(first).cmp(&is_stale(second)))
    });
    chains.extend(keyed.into_iter().map(|(_, chain)| chain));
}
