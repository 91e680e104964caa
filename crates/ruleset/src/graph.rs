//! Which chain calls which.

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use thiserror::Error;

use crate::{ChainId, ChainName, RuleSet, Table, TableName, Target};

/// Why the kernel would refuse a rule set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A rule jumps to a chain that its table does not have.
    #[error("rule {rule} of chain `{chain}` jumps to `{to}`, and table {table} has no such chain")]
    MissingChain {
        /// Table of the rule.
        table: TableName,
        /// Chain of the rule.
        chain: ChainName,
        /// Number of the rule, from 1.
        rule: usize,
        /// The name that no chain has.
        to: ChainName,
    },
    /// A rule jumps to a built-in chain.
    #[error("rule {rule} of chain `{chain}` jumps to `{to}`, a built-in chain of table {table}")]
    BuiltInTarget {
        /// Table of the rule.
        table: TableName,
        /// Chain of the rule.
        chain: ChainName,
        /// Number of the rule, from 1.
        rule: usize,
        /// The built-in chain.
        to: ChainName,
    },
    /// Chains call each other in a circle.
    #[error("the chains {} of table {table} call each other in a circle", circle(.chains))]
    Loop {
        /// The table.
        table: TableName,
        /// The chains of the circle.
        chains: Vec<ChainName>,
    },
}

pub(crate) fn circle<T: std::fmt::Display>(chains: &[T]) -> String {
    let names: Vec<String> = chains.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The call graph of one table: an edge for each jump and goto.
///
/// The kernel refuses a table whose chains call each other in a circle (`mark_source_chains`,
/// net/ipv4/netfilter/ip_tables.c), so an evaluator may walk it without counting its steps.
#[derive(Clone, Debug)]
pub struct CallGraph {
    /// Chains, then whatever else calls chains and is called.
    graph: DiGraph<ChainId, ()>,
    chains: usize,
}

impl CallGraph {
    /// The graph of a table, if every jump leads to a user's chain and none leads in a circle.
    ///
    /// # Errors
    /// [`LinkError`], as the kernel refuses such a table.
    pub fn of(name: TableName, table: &Table) -> Result<Self, LinkError> {
        let mut calls = Vec::new();
        for (from, chain) in table.chains.values().enumerate() {
            for (rule, target) in chain
                .rules
                .iter()
                .enumerate()
                .filter_map(|(n, r)| Some((n + 1, r.target.as_ref()?)))
            {
                let (Target::Jump(to) | Target::Goto(to)) = target else {
                    continue;
                };
                let Some((id, _, called)) = table.chains.get_full(to) else {
                    return Err(LinkError::MissingChain {
                        table: name,
                        chain: chain.name.clone(),
                        rule,
                        to: to.clone(),
                    });
                };
                if called.built_in.is_some() {
                    return Err(LinkError::BuiltInTarget {
                        table: name,
                        chain: chain.name.clone(),
                        rule,
                        to: to.clone(),
                    });
                }
                calls.push((from, id));
            }
        }
        Self::of_calls(table.chains.len(), 0, &calls).map_err(|chains| LinkError::Loop {
            table: name,
            chains: chains
                .iter()
                .filter_map(|&id| Some(table.chain(id)?.name.clone()))
                .collect(),
        })
    }

    /// The graph of so many chains and, numbered behind them, so many maps through which chains call
    /// each other. If there is a circle, what is in it.
    pub(crate) fn of_calls(
        chains: usize,
        maps: usize,
        calls: &[(usize, usize)],
    ) -> Result<Self, Vec<ChainId>> {
        let mut graph = DiGraph::with_capacity(chains + maps, calls.len());
        for index in 0..chains + maps {
            graph.add_node(ChainId::at(index));
        }
        for &(from, to) in calls {
            graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
        }
        let call_graph = Self { graph, chains };
        match call_graph.a_loop() {
            Some(chains) => Err(chains),
            None => Ok(call_graph),
        }
    }

    /// How many jumps lead on from each chain and map, at most; going into a map is none.
    pub(crate) fn depths(&self) -> Vec<usize> {
        let mut depths = vec![0; self.graph.node_count()];
        for caller in self.all_callees_first() {
            let called = self.graph.neighbors(NodeIndex::new(caller.index()));
            let below = called.map(|to| {
                let is_jump = to.index() < self.chains;
                depths[to.index()] + usize::from(is_jump)
            });
            depths[caller.index()] = below.max().unwrap_or(0);
        }
        depths
    }

    /// Checks every table of a rule set.
    ///
    /// # Errors
    /// The first [`LinkError`] found.
    pub fn check(rules: &RuleSet) -> Result<(), LinkError> {
        rules
            .tables
            .iter()
            .try_for_each(|(&name, table)| Self::of(name, table).map(drop))
    }

    /// Chains in an order in which each stands behind all that it calls.
    pub fn callees_first(&self) -> impl Iterator<Item = ChainId> {
        let all = self.all_callees_first();
        all.filter(|chain| chain.index() < self.chains)
    }

    fn all_callees_first(&self) -> impl Iterator<Item = ChainId> {
        // Kosaraju's algorithm finds components in reverse topological order, and here each is one
        // chain. Tarjan's would recurse as deep as chains call each other.
        kosaraju_scc(&self.graph)
            .into_iter()
            .flatten()
            .map(|node| self.graph[node])
    }

    fn a_loop(&self) -> Option<Vec<ChainId>> {
        let component = kosaraju_scc(&self.graph)
            .into_iter()
            .find(|nodes| nodes.len() > 1 || self.graph.contains_edge(nodes[0], nodes[0]))?;
        Some(component.into_iter().map(|node| self.graph[node]).collect())
    }
}
