//! What a sync writes, before the rules are built: the sets with their elements, and the chains.

use podwire_ruleset::L4;
use podwire_ruleset::nft::{Chain, Commands, Name, Rule, Set, Table};

use super::NftablesProxier;
use super::base::TABLE_COMMENT;
use super::name_list::{self, NameList, SHELVES};
use super::names::affinity_set;
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

/// Chains without their rules.
///
/// They are asked for by name, which is by hash, while service ports and endpoints lie elsewhere in the
/// memory. So what the text of most needs is kept by the beginning of the name too, in pieces that fit into
/// a processor's cache.
#[derive(Debug)]
pub(super) struct PlannedChains {
    /// In the order of service ports, as their rules name them.
    names: NameList,
    shelves: Vec<Shelf>,
}

/// Chains whose names begin alike.
#[derive(Clone, Debug, Default)]
struct Shelf {
    names: NameList,
    owners: Vec<Owner>,
    /// What is known of the chain's text ([`PlannedChain::text`]).
    texts: NameList,
}

/// A chain without its rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlannedChain<'c> {
    pub(super) name: &'c str,
    pub(super) of: Owner,
    /// Of an endpoint that has a protocol in [`Owner::Endpoint`], its address and port; of traffic that
    /// chooses among endpoints, the commands that add its rules, if the plan is for them; else nothing.
    pub(super) text: &'c str,
}

/// Whose a chain is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// One of those that every node has, by its place.
    Common(u32),
    /// Traffic of a port that may go anywhere.
    Cluster(u32),
    /// Traffic of a port that must stay on the node.
    Local(u32),
    /// Traffic of a port from outside.
    External(u32),
    /// Traffic of a port to a load balancer address with source ranges.
    Firewall(u32),
    /// An endpoint.
    Endpoint {
        /// Its port's place, and its own in the port.
        place: (u32, u32),
        /// Its protocol, if its rules hold nothing else but its address and port: it has no session
        /// affinity, and its address is spelled as it is printed.
        plain: Option<L4>,
    },
    /// No one's: the chain was used by an earlier sync, and is empty.
    Stale,
}

impl Owner {
    /// Whether a chain that chooses among endpoints does so among those on the node only.
    const fn chooses_among_local(self) -> Option<bool> {
        match self {
            Self::Cluster(_) => Some(false),
            Self::Local(_) => Some(true),
            Self::Common(_)
            | Self::External(_)
            | Self::Firewall(_)
            | Self::Endpoint { .. }
            | Self::Stale => None,
        }
    }
}

impl PlannedChains {
    fn new() -> Self {
        Self {
            names: NameList::default(),
            shelves: vec![Shelf::default(); SHELVES],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Adds a chain whose name is made of these parts.
    fn push(&mut self, name: &[&str], of: Owner) {
        self.shelve(name, of, "");
    }

    /// Adds the chain of an endpoint.
    pub(super) fn push_endpoint(
        &mut self,
        name: &str,
        place: (u32, u32),
        plain: Option<(L4, &str)>,
    ) {
        let (plain, text) = plain.map_or((None, ""), |(l4, text)| (Some(l4), text));
        self.shelve(&[name], Owner::Endpoint { place, plain }, text);
    }

    fn shelve(&mut self, name: &[&str], of: Owner, text: &str) {
        let place = self.names.len();
        self.names.push(name);
        let name = self.names.get(place);
        self.shelves[name_list::shelf(name)].push(PlannedChain { name, of, text });
    }

    /// The commands that add the rules of a chain that chooses among endpoints, who are there already.
    fn policy_text(
        &self,
        proxier: &NftablesProxier<'_>,
        port: &PlannedPort<'_>,
        is_local: bool,
        name: &str,
        commands: &Commands,
    ) -> String {
        let mut text = String::new();
        for rule in port.policy_rules(proxier, is_local, &|place| self.name(place)) {
            commands.add_rule(&mut text, name, &rule);
        }
        let among = port.choice(is_local).map(|place| self.names.get(place));
        commands.add_choice(&mut text, name, &among.collect::<Vec<_>>());
        text
    }

    /// The name at a place in the order of service ports.
    fn name(&self, place: usize) -> Name {
        Name::literal(self.names.get(place))
    }

    /// Puts them in order; of those that have the same name, only the first stays.
    fn sort(&mut self) {
        for shelf in &mut self.shelves {
            *shelf = shelf.sorted();
        }
    }

    /// All by name.
    fn by_name(&self) -> impl Iterator<Item = PlannedChain<'_>> {
        self.shelves
            .iter()
            .flat_map(|shelf| (0..shelf.owners.len()).map(|place| shelf.get(place)))
    }
}

impl Shelf {
    fn push(&mut self, PlannedChain { name, of, text }: PlannedChain<'_>) {
        self.names.push(&[name]);
        self.owners.push(of);
        self.texts.push(&[text]);
    }

    fn get(&self, place: usize) -> PlannedChain<'_> {
        PlannedChain {
            name: self.names.get(place),
            of: self.owners[place],
            text: self.texts.get(place),
        }
    }

    /// The same by name; of chains that have the same, the first. They are moved: who asks for one after the
    /// other finds the next one behind the last.
    fn sorted(&self) -> Self {
        let mut sorted = Self {
            names: self.names.room(),
            owners: Vec::with_capacity(self.owners.len()),
            texts: self.texts.room(),
        };
        let mut last = None;
        for place in name_list::sorted(&self.names) {
            let chain = self.get(place as usize);
            if last.replace(chain.name) != Some(chain.name) {
                sorted.push(chain);
            }
        }
        sorted
    }
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
                let names = endpoints.map(|place| affinity_set(chains.names.get(place)));
                affinity_sets.extend(names.map(|name| (name, set.clone())));
            }
            for (prefix, of) in port.own_chains(place) {
                let name = [prefix, port.hashed_name()];
                let text = commands.and_then(|commands| {
                    let is_local = of.chooses_among_local()?;
                    let name = name.concat();
                    Some(chains.policy_text(proxier, &port, is_local, &name, commands))
                });
                chains.shelve(&name, of, &text.unwrap_or_default());
            }
            ports.push(port);
        }
        let common = proxier.common_chains();
        for (place, own) in (0..).zip(&common) {
            chains.push(&[own.name.as_str()], Owner::Common(place));
        }
        // A chain of before that is used again stands behind the used one.
        for name in existing {
            chains.push(&[name.as_str()], Owner::Stale);
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
        let names: Vec<Name> = self.chains.names.iter().map(Name::literal).collect();
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
