//! What a sync writes, before the rules are built: the sets with their elements, and the chains.

use podwire_ruleset::nft::{Chain, Commands, Name, Rule, Set, Table};

use super::NftablesProxier;
use super::base::TABLE_COMMENT;
use super::names::affinity_set;
use super::planned_chains::{Owner, PlannedChain, PlannedChains};
use super::service::{EndpointNames, PlannedPort};
use crate::kube_proxy::spelling::Spelling;

/// A table whose rules are built when they are asked for, a chain at a time.
///
/// A table of many services is mostly rules of endpoints. Names and places of its chains are enough to
/// put it in order; who prints it needs the rules of one chain at a time.
#[derive(Debug)]
pub(super) struct Plan<'p> {
    pub(super) proxier: &'p NftablesProxier<'p>,
    /// Sets by name, then maps by name.
    pub(super) sets: Vec<(Name, Set)>,
    chains: PlannedChains,
    common: Vec<Chain>,
    ports: Vec<PlannedPort<'p>>,
}

impl<'p> Plan<'p> {
    /// Plans a sync of a node that has these chains of services already; `commands` says that it is for
    /// these.
    pub(super) fn new(
        proxier: &'p NftablesProxier<'p>,
        existing: &[Name],
        commands: Option<&Commands>,
    ) -> Self {
        let mut elements = proxier.common_sets();
        let mut ports = Vec::with_capacity(proxier.services.ports.len());
        let mut chains = PlannedChains::new();
        let mut affinity_sets = Vec::new();
        for (place, port) in (0..).zip(&proxier.services.ports) {
            let port = PlannedPort::new(proxier, port, place, &mut chains);
            port.add_elements(proxier, &mut elements);
            if let Some(set) = port.affinity_set(proxier) {
                let endpoints = (port.first_chain..).take(port.endpoint_count());
                let names = endpoints.map(|place| affinity_set(chains.names().get(place)));
                affinity_sets.extend(names.map(|name| (name, set.clone())));
            }
            for (prefix, of) in port.own_chains(place) {
                let name = [prefix, port.hashed_name()];
                let text = commands.and_then(|commands| {
                    let is_local = of.chooses_among_local()?;
                    let name = name.concat();
                    Some(policy_text(
                        &port, proxier, is_local, &name, &chains, commands,
                    ))
                });
                chains.push(&name, of, &text.unwrap_or_default());
            }
            ports.push(port);
        }
        let common = proxier.common_chains();
        for (place, own) in (0..).zip(&common) {
            chains.push(&[own.name.as_str()], Owner::Common(place), "");
        }
        // A chain of before that is used again stands behind the used one.
        for name in existing {
            chains.push(&[name.as_str()], Owner::Stale, "");
        }
        chains.sort();
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

    /// Chains by name.
    pub(super) fn chains(&self) -> impl Iterator<Item = PlannedChain<'_>> {
        self.chains.by_name()
    }

    /// A chain that every node has.
    pub(super) fn common(&self, planned: PlannedChain<'_>) -> Option<&Chain> {
        if let Owner::Common(place) = planned.of {
            Some(&self.common[place as usize])
        } else {
            None
        }
    }

    /// A chain with its rules.
    pub(super) fn chain(&self, planned: PlannedChain<'_>) -> Chain {
        self.chain_with(planned, &|place| self.chains.name(place))
    }

    /// The rules of a chain whose text is not known.
    pub(super) fn rules(&self, planned: PlannedChain<'_>) -> Vec<Rule> {
        self.rules_before_choice(planned, &|place| self.chains.name(place))
    }

    fn chain_with(&self, planned: PlannedChain<'_>, names: &EndpointNames<'_>) -> Chain {
        if let Some(common) = self.common(planned) {
            return common.clone();
        }
        let mut rules = self.rules_before_choice(planned, names);
        let choice = self.chooses(planned);
        rules.extend(choice.map(|(port, is_local)| port.choice_rule(is_local, names)));
        let name = match planned.of {
            Owner::Endpoint { place, .. } => names(self.endpoint_chain(place)),
            Owner::Common(_)
            | Owner::Cluster(_)
            | Owner::Local(_)
            | Owner::External(_)
            | Owner::Firewall(_)
            | Owner::Stale => Name::literal(planned.name),
        };
        Chain {
            rules,
            ..Chain::regular(name)
        }
    }

    /// The place of an endpoint's chain in the order of service ports.
    fn endpoint_chain(&self, (port, index): (u32, u32)) -> usize {
        self.ports[port as usize].first_chain + index as usize
    }

    /// The port among whose endpoints traffic that comes to a chain chooses, and whether only among those on
    /// the node.
    fn chooses(&self, planned: PlannedChain<'_>) -> Option<(&PlannedPort<'p>, bool)> {
        let is_local = planned.of.chooses_among_local()?;
        match planned.of {
            Owner::Cluster(port) | Owner::Local(port) => {
                Some((&self.ports[port as usize], is_local))
            }
            Owner::Common(_)
            | Owner::External(_)
            | Owner::Firewall(_)
            | Owner::Endpoint { .. }
            | Owner::Stale => None,
        }
    }

    /// The rules of a chain; where it chooses among endpoints, up to the one that does.
    fn rules_before_choice(
        &self,
        planned: PlannedChain<'_>,
        names: &EndpointNames<'_>,
    ) -> Vec<Rule> {
        let proxier = self.proxier;
        let port = |place: u32| &self.ports[place as usize];
        match planned.of {
            Owner::Common(place) => self.common[place as usize].rules.clone(),
            Owner::Cluster(place) => port(place).policy_rules(proxier, false, names),
            Owner::Local(place) => port(place).policy_rules(proxier, true, names),
            Owner::External(place) => port(place).external_rules(proxier),
            Owner::Firewall(place) => port(place).firewall_rules(proxier),
            Owner::Endpoint {
                place: (place, index),
                ..
            } => port(place).endpoint_rules(proxier, index, planned.name),
            Owner::Stale => Vec::new(),
        }
    }

    /// How the address of the endpoint that a chain is for is spelled, if not as it would be printed.
    pub(super) fn spelling(&self, planned: PlannedChain<'_>) -> Option<Spelling> {
        if let Owner::Endpoint {
            place: (port, index),
            ..
        } = planned.of
        {
            Spelling::of_endpoint(self.ports[port as usize].endpoint(index))
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
        // One name for a chain and for all that go to it.
        let names: Vec<Name> = self.chains.names().iter().map(Name::literal).collect();
        for planned in self.chains() {
            let chain = self.chain_with(planned, &|place| names[place].clone());
            table.chains.insert(chain.name.clone(), chain);
        }
        table
    }

    /// The names of the chains of services: those that hold a `/` (`isServiceChainName`).
    pub(super) fn service_chains(&self) -> impl Iterator<Item = Name> {
        let services = self
            .chains()
            .filter(|planned| self.common(*planned).is_none());
        services.map(|planned| Name::literal(planned.name))
    }
}

/// The commands that add the rules of a chain that chooses among endpoints, whose chains are there already.
fn policy_text(
    port: &PlannedPort<'_>,
    proxier: &NftablesProxier<'_>,
    is_local: bool,
    name: &str,
    chains: &PlannedChains,
    commands: &Commands,
) -> String {
    let mut text = String::new();
    for rule in port.policy_rules(proxier, is_local, &|place| chains.name(place)) {
        commands.add_rule(&mut text, name, &rule);
    }
    let among = port.choice(is_local).map(|place| chains.names().get(place));
    commands.add_choice(&mut text, name, &among.collect::<Vec<_>>());
    text
}
