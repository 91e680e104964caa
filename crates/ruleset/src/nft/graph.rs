//! Which chain calls which, through rules and through verdict maps.

use indexmap::IndexSet;
use thiserror::Error;

use super::{
    Expression, Lookup, MapValue, Match, Name, Nat, Operand, RuleSet, Set, SetStatement, Statement,
    Table, TableFamily, Verdict,
};
use crate::CallGraph;
use crate::graph::circle;

/// Jumps and gotos in a row that the kernel allows (`NFT_JUMP_STACK_SIZE`,
/// include/net/netfilter/nf_tables.h).
const MAX_DEPTH: usize = 16;

/// Why the kernel would refuse a table.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A rule, or an element of a verdict map, leads to a chain that the table does not have.
    #[error("{from} leads to `{to}`, and table `{family} {table}` has no such chain")]
    MissingChain {
        /// Family of the table.
        family: TableFamily,
        /// The table.
        table: Name,
        /// What leads there.
        from: Referrer,
        /// The name that no chain has.
        to: Name,
    },
    /// A rule, or an element of a verdict map, leads to a base chain.
    #[error("{from} leads to `{to}`, a base chain of table `{family} {table}`")]
    BaseChainTarget {
        /// Family of the table.
        family: TableFamily,
        /// The table.
        table: Name,
        /// What leads there.
        from: Referrer,
        /// The base chain.
        to: Name,
    },
    /// A rule looks into a set that the table does not have.
    #[error("{from} looks into `{set}`, and table `{family} {table}` has no such set")]
    MissingSet {
        /// Family of the table.
        family: TableFamily,
        /// The table.
        table: Name,
        /// What looks there.
        from: Referrer,
        /// The name that no set has.
        set: Name,
    },
    /// A rule uses a set for what it is not.
    #[error("{from} uses `{set}` of table `{family} {table}` as {wanted}, which it is not")]
    WrongSet {
        /// Family of the table.
        family: TableFamily,
        /// The table.
        table: Name,
        /// What looks there.
        from: Referrer,
        /// The set.
        set: Name,
        /// What it would have to be.
        wanted: &'static str,
    },
    /// Chains call each other in a circle.
    #[error("the chains {} of table `{family} {table}` call each other in a circle", circle(.chains))]
    Loop {
        /// Family of the table.
        family: TableFamily,
        /// The table.
        table: Name,
        /// The chains of the circle.
        chains: Vec<Name>,
    },
    /// Chains call each other more than 16 deep.
    #[error("from chain `{chain}` of table `{family} {table}` jumps go more than {MAX_DEPTH} deep")]
    TooDeep {
        /// Family of the table.
        family: TableFamily,
        /// The table.
        table: Name,
        /// The chain where they begin.
        chain: Name,
    },
}

impl LinkError {
    /// The table that would be refused.
    #[must_use]
    pub const fn table(&self) -> (TableFamily, &Name) {
        match self {
            Self::MissingChain { family, table, .. }
            | Self::BaseChainTarget { family, table, .. }
            | Self::MissingSet { family, table, .. }
            | Self::WrongSet { family, table, .. }
            | Self::Loop { family, table, .. }
            | Self::TooDeep { family, table, .. } => (*family, table),
        }
    }
}

/// What names a chain or set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Referrer {
    /// A rule.
    #[error("rule {rule} of chain `{chain}`")]
    Rule {
        /// Its chain.
        chain: Name,
        /// Its number, from 1.
        rule: usize,
    },
    /// An element of a map.
    #[error("an element of map `{0}`")]
    Element(Name),
}

/// Checks every table of a rule set.
///
/// # Errors
/// The first [`LinkError`] found.
pub fn check(rules: &RuleSet) -> Result<(), LinkError> {
    rules
        .tables
        .values()
        .try_for_each(|table| call_graph(table).map(drop))
}

/// The call graph of a table, if every jump leads to a regular chain, none in a circle or deeper than
/// the kernel allows, and every set that a rule names is there and of its kind.
///
/// A rule that looks into a verdict map calls every chain of the map.
///
/// # Errors
/// [`LinkError`], as the kernel refuses such a table (`nft_chain_validate` and `nf_tables_check_loops`,
/// net/netfilter/nf_tables_api.c).
pub fn call_graph(table: &Table) -> Result<CallGraph, LinkError> {
    let linker = Linker { table };
    let mut calls = IndexSet::new();
    for (index, (name, set)) in table.sets.iter().enumerate() {
        let from = || Referrer::Element(name.clone());
        for verdict in set.elements.values().filter_map(verdict_of) {
            linker.call(verdict, &from, &mut |to| {
                calls.insert((table.chains.len() + index, to));
            })?;
        }
    }
    for (from, chain) in table.chains.values().enumerate() {
        for (index, rule) in chain.rules.iter().enumerate() {
            let referrer = || Referrer::Rule {
                chain: chain.name.clone(),
                rule: index + 1,
            };
            for statement in &rule.statements {
                linker.follow(statement, &referrer, &mut |to| {
                    calls.insert((from, to));
                })?;
            }
        }
    }
    let calls: Vec<_> = calls.into_iter().collect();
    let graph =
        CallGraph::of_calls(table.chains.len(), table.sets.len(), &calls).map_err(|circle| {
            let chains = circle.iter().filter_map(|&id| table.chain(id));
            LinkError::Loop {
                family: table.family,
                table: table.name.clone(),
                chains: chains.map(|chain| chain.name.clone()).collect(),
            }
        })?;
    linker.check_depth(&graph)?;
    Ok(graph)
}

struct Linker<'t> {
    table: &'t Table,
}

impl Linker<'_> {
    /// Reports the chains and maps that a statement leads to, by their places in the graph.
    fn follow(
        &self,
        statement: &Statement,
        from: &dyn Fn() -> Referrer,
        call: &mut impl FnMut(usize),
    ) -> Result<(), LinkError> {
        match statement {
            Statement::Match(Match {
                right: Operand::Named(set),
                ..
            }) => {
                let is_plain = |set: &Set| !set.is_map();
                self.set(set, from, "a set", is_plain).map(drop)
            }
            Statement::Set(SetStatement { set, key, .. }) => {
                let wanted = "a set with as many parts";
                let fits = |set: &Set| !set.is_map() && has_parts_of(set, key);
                self.set(set, from, wanted, fits).map(drop)
            }
            Statement::Verdict(verdict) => self.call(verdict, from, call),
            Statement::VerdictMap { key, map } => match map {
                Lookup::Named(name) => {
                    let wanted = "a verdict map with as many parts";
                    let is_verdicts = |set: &Set| is_verdict_map(set) && has_parts_of(set, key);
                    let map = self.set(name, from, wanted, is_verdicts)?;
                    call(self.table.chains.len() + map);
                    Ok(())
                }
                Lookup::Anonymous(elements) => elements.iter().try_for_each(|(_, value)| {
                    if let MapValue::Verdict(verdict) = value {
                        self.call(verdict, from, call)?;
                    }
                    Ok(())
                }),
            },
            Statement::Nat(Nat { map: Some(map), .. }) => {
                let Lookup::Named(name) = &map.map else {
                    return Ok(());
                };
                let is_data =
                    |set: &Set| set.is_map() && !is_verdict_map(set) && has_parts_of(set, &map.key);
                self.set(name, from, "a map with as many parts", is_data)
                    .map(drop)
            }
            Statement::Match(_)
            | Statement::Reject { .. }
            | Statement::SetMark(_)
            | Statement::Nat(_)
            | Statement::Limit(_)
            | Statement::Counter(_)
            | Statement::Log(_)
            | Statement::Notrack
            | Statement::Nftrace(_)
            | Statement::Unknown(_) => Ok(()),
        }
    }

    fn call(
        &self,
        verdict: &Verdict,
        from: &dyn Fn() -> Referrer,
        call: &mut impl FnMut(usize),
    ) -> Result<(), LinkError> {
        let Some(to) = verdict.chain() else {
            return Ok(());
        };
        let Table { family, name, .. } = self.table;
        match self.table.chains.get_full(to) {
            None => Err(LinkError::MissingChain {
                family: *family,
                table: name.clone(),
                from: from(),
                to: to.clone(),
            }),
            Some((_, _, chain)) if chain.base.is_some() => Err(LinkError::BaseChainTarget {
                family: *family,
                table: name.clone(),
                from: from(),
                to: to.clone(),
            }),
            Some((index, ..)) => {
                call(index);
                Ok(())
            }
        }
    }

    fn set(
        &self,
        set: &Name,
        from: &dyn Fn() -> Referrer,
        wanted: &'static str,
        fits: impl Fn(&Set) -> bool,
    ) -> Result<usize, LinkError> {
        let Table { family, name, .. } = self.table;
        match self.table.sets.get_full(set) {
            None => Err(LinkError::MissingSet {
                family: *family,
                table: name.clone(),
                from: from(),
                set: set.clone(),
            }),
            Some((.., found)) if !fits(found) => Err(LinkError::WrongSet {
                family: *family,
                table: name.clone(),
                from: from(),
                set: set.clone(),
                wanted,
            }),
            Some((index, ..)) => Ok(index),
        }
    }

    fn check_depth(&self, graph: &CallGraph) -> Result<(), LinkError> {
        let mut depths = self.table.chains.values().zip(graph.depths());
        if let Some((chain, _)) = depths.find(|&(_, depth)| depth > MAX_DEPTH) {
            return Err(LinkError::TooDeep {
                family: self.table.family,
                table: self.table.name.clone(),
                chain: chain.name.clone(),
            });
        }
        Ok(())
    }
}

fn verdict_of(element: &super::Element) -> Option<&Verdict> {
    if let Some(MapValue::Verdict(verdict)) = &element.value {
        Some(verdict)
    } else {
        None
    }
}

fn is_verdict_map(set: &Set) -> bool {
    set.data == [super::DataType::Verdict]
}

/// Whether a key of the set has a part for each of the expression's.
fn has_parts_of(set: &Set, key: &Expression) -> bool {
    set.key.len() == key.parts().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{BaseChain, Chain, ChainKind, DataType, Element, Key, MetaKey, Rule, Value};
    use crate::{Hook, Policy};
    use podwire_packet::Protocol;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn jump(to: &str) -> Rule {
        Rule::of(vec![Statement::Verdict(Verdict::Jump(name(to)))])
    }

    fn table(chains: &[(&str, Vec<Rule>)]) -> Table {
        let mut table = Table::new(TableFamily::Ip, name("t"));
        for (chain, rules) in chains {
            table.chain_mut(&name(chain)).rules = rules.clone();
        }
        table
    }

    fn said(table: &Table) -> String {
        call_graph(table).unwrap_err().to_string()
    }

    #[test]
    fn a_jump_leads_to_a_regular_chain_of_the_table() {
        let mut table = table(&[("a", vec![jump("b")])]);
        assert_eq!(
            said(&table),
            "rule 1 of chain `a` leads to `b`, and table `ip t` has no such chain"
        );
        table.chains.insert(
            name("b"),
            Chain {
                base: Some(BaseChain {
                    kind: ChainKind::Filter,
                    hook: Hook::Input,
                    priority: 0,
                    policy: Policy::Accept,
                }),
                ..Chain::regular(name("b"))
            },
        );
        assert_eq!(
            said(&table),
            "rule 1 of chain `a` leads to `b`, a base chain of table `ip t`"
        );
    }

    #[test]
    fn chains_may_not_call_each_other_in_a_circle_even_through_a_map() {
        let mut table = table(&[("a", vec![jump("b")]), ("b", vec![])]);
        assert!(call_graph(&table).is_ok());
        let mut map = Set::verdict_map([DataType::Protocol]);
        let to_a = Element {
            value: Some(MapValue::Verdict(Verdict::Goto(name("a")))),
            ..Element::default()
        };
        map.elements
            .insert(Key::one(Value::Protocol(Protocol::TCP)), to_a);
        table.sets.insert(name("m"), map);
        let lookup = |map| Statement::VerdictMap {
            key: Expression::Meta(MetaKey::L4proto),
            map: Lookup::Named(name(map)),
        };
        table.chain_mut(&name("b")).rules = vec![Rule::of(vec![lookup("m")])];
        let said_of_loop = said(&table);
        assert!(said_of_loop.contains("in a circle"), "{said_of_loop}");
        table.chain_mut(&name("b")).rules = vec![Rule::of(vec![lookup("n")])];
        assert_eq!(
            said(&table),
            "rule 1 of chain `b` looks into `n`, and table `ip t` has no such set"
        );
    }

    #[test]
    fn jumps_go_sixteen_deep_at_most() {
        let chain = |n: usize| {
            let next = jump(&format!("c{}", n + 1));
            (format!("c{n}"), if n < 16 { vec![next] } else { vec![] })
        };
        let chains: Vec<_> = (0..=16).map(chain).collect();
        let borrowed: Vec<_> = chains
            .iter()
            .map(|(name, rules)| (name.as_str(), rules.clone()))
            .collect();
        let mut deep = table(&borrowed);
        assert!(call_graph(&deep).is_ok());
        deep.chain_mut(&name("top")).rules = vec![jump("c0")];
        assert_eq!(
            said(&deep),
            "from chain `top` of table `ip t` jumps go more than 16 deep"
        );
    }
}
