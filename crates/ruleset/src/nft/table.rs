//! Rule sets, tables and chains.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use podwire_packet::Family;

use super::{
    BaseChainId, Element, ElementId, Expression, HookedChain, Key, Match, MetaKey, Name, Operand,
    Rule, RuleId, Set, SetId, Span, Statement,
};
use crate::{ChainId, Hook, Policy};

/// Whose packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableFamily {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
}

impl TableFamily {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ip, Self::Ip6, Self::Inet];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
        }
    }

    /// Whether it sees packets of `family`.
    #[must_use]
    pub const fn sees(self, family: Family) -> bool {
        matches!(
            (self, family),
            (Self::Inet, _) | (Self::Ip, Family::Ipv4) | (Self::Ip6, Family::Ipv6)
        )
    }
}

impl From<Family> for TableFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::Ip,
            Family::Ipv6 => Self::Ip6,
        }
    }
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TableFamily {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = Self::ALL.into_iter();
        all.into_iter()
            .find(|family| family.name() == text)
            .ok_or(())
    }
}

/// What a base chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainKind {
    /// Accept or drop.
    Filter,
    /// Address translation; asked for the first packet of a flow only.
    Nat,
    /// As filter, at OUTPUT: a packet that it changed is routed again.
    Route,
}

impl ChainKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Filter, Self::Nat, Self::Route];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

impl FromStr for ChainKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name() == text).ok_or(())
    }
}

/// What makes a chain one that the kernel asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BaseChain {
    /// What for.
    pub kind: ChainKind,
    /// Where.
    pub hook: Hook,
    /// When, among the chains of the hook: lower comes first. Of two with the same priority the
    /// one made later comes first (`nf_hook_entries_grow`, net/netfilter/core.c).
    pub priority: i32,
    /// What happens at its end.
    pub policy: Policy,
}

/// A list of rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Its name, unique in its table.
    pub name: Name,
    /// What the kernel asks it for; `None` for a chain that rules jump to.
    pub base: Option<BaseChain>,
    /// Its comment.
    pub comment: Option<Box<str>>,
    /// The rules, run in order.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// An empty chain that rules jump to.
    #[must_use]
    pub const fn regular(name: Name) -> Self {
        Self {
            name,
            base: None,
            comment: None,
            rules: Vec::new(),
        }
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Whose packets it sees.
    pub family: TableFamily,
    /// Its name, unique in its family.
    pub name: Name,
    /// Its comment.
    pub comment: Option<Box<str>>,
    /// Sets, maps and verdict maps, which share their names, in the order in which they were made.
    pub sets: IndexMap<Name, Set>,
    /// Chains, in the order in which they were made.
    pub chains: IndexMap<Name, Chain>,
    /// Objects that podwire does not evaluate, such as flow tables, each as it was written.
    pub others: Vec<Box<str>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(family: TableFamily, name: Name) -> Self {
        Self {
            family,
            name,
            comment: None,
            sets: IndexMap::new(),
            chains: IndexMap::new(),
            others: Vec::new(),
        }
    }

    /// The first rule that nft refuses, and the table with it: one that compares `iif`, which is a device's
    /// number, with a name that ends in a star. There is no device of that name, and nft asks for the number
    /// when it reads the rule (`ifindex_type_parse`, src/meta.c of nftables: "Interface does not exist").
    #[must_use]
    pub fn refused_rule(&self) -> Option<&Rule> {
        let is_refused = |statement: &Statement| {
            if let Statement::Match(Match {
                left: Expression::Meta(MetaKey::Iif | MetaKey::Oif),
                right: Operand::One(key),
                ..
            }) = statement
            {
                key.iter()
                    .any(|span| matches!(span, Span::InterfacePrefix(_)))
            } else {
                false
            }
        };
        let mut rules = self.chains.values().flat_map(|chain| &chain.rules);
        rules.find(|rule| rule.statements.iter().any(is_refused))
    }

    /// The chain of that name, made empty if there was none.
    pub fn chain_mut(&mut self, name: &Name) -> &mut Chain {
        self.chains
            .entry(name.clone())
            .or_insert_with(|| Chain::regular(name.clone()))
    }

    /// Where a chain stands in the table.
    #[must_use]
    pub fn chain_id(&self, name: &str) -> Option<ChainId> {
        self.chains.get_index_of(name).map(ChainId::at)
    }

    /// The chain at a place.
    #[must_use]
    pub fn chain(&self, id: ChainId) -> Option<&Chain> {
        self.chains.get_index(id.index()).map(|(_, chain)| chain)
    }

    /// The chains that the kernel asks at a hook, in the order of the table.
    pub fn at(&self, hook: Hook) -> impl Iterator<Item = (ChainId, &Chain, BaseChain)> {
        let chains = self.chains.values().enumerate();
        chains.filter_map(move |(index, chain)| {
            let base = chain.base.filter(|base| base.hook == hook)?;
            Some((ChainId::at(index), chain, base))
        })
    }
}

/// The tables of a network namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    /// Tables by family and name, in the order in which they were made.
    pub tables: IndexMap<(TableFamily, Name), Table>,
    /// Tables of other families, each as it was written.
    pub others: Vec<Box<str>>,
}

impl RuleSet {
    /// The table of that name, made empty if there was none.
    pub fn table_mut(&mut self, family: TableFamily, name: &Name) -> &mut Table {
        self.tables
            .entry((family, name.clone()))
            .or_insert_with(|| Table::new(family, name.clone()))
    }

    /// Base chains at a hook that see packets of a family, in the order in which the kernel asks them:
    /// by priority; of equal ones, the later made first.
    #[must_use]
    pub fn at(&self, hook: Hook, family: Family) -> Vec<(u32, ChainId)> {
        let tables = (0..).zip(self.tables.values());
        let mut chains: Vec<_> = tables
            .filter(|(_, table)| table.family.sees(family))
            .flat_map(|(index, table)| {
                let chains = table.at(hook);
                chains.map(move |(id, _, base)| (base.priority, index, id))
            })
            .collect();
        chains.reverse();
        chains.sort_by_key(|&(priority, ..)| priority);
        let places = chains.into_iter().map(|(_, table, id)| (table, id));
        places.collect()
    }

    /// The base chains that see packets of a family as the kernel has them in the lists of its hooks, in
    /// the order of [`Hook::ALL`].
    #[must_use]
    pub fn hooked(&self, family: Family) -> [Vec<HookedChain>; 5] {
        let chains = Hook::ALL.map(|hook| {
            let chains = self.at(hook, family).into_iter();
            let chains = chains.filter_map(|(table, chain)| {
                let (_, found) = self.tables.get_index(table as usize)?;
                let base = found.chain(chain)?.base?;
                Some(HookedChain {
                    chain: BaseChainId { table, chain },
                    is_nat: base.kind == ChainKind::Nat,
                    priority: base.priority,
                    is_older_than_nat: false,
                })
            });
            chains.collect::<Vec<_>>()
        });
        let of_nat = chains.iter().flatten().filter(|chain| chain.is_nat);
        let first_nat = of_nat.map(|chain| chain.chain).min();
        chains.map(|chains| {
            let with_age = |chain: HookedChain| HookedChain {
                is_older_than_nat: first_nat.is_some_and(|nat| chain.chain < nat),
                ..chain
            };
            chains.into_iter().map(with_age).collect()
        })
    }

    /// The rule that an id names.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        let (_, table) = self.tables.get_index(id.table as usize)?;
        let index = id.number.checked_sub(1)? as usize;
        table.chain(id.chain)?.rules.get(index)
    }

    /// The element that an id names.
    #[must_use]
    pub fn element(&self, id: ElementId) -> Option<(&Key, &Element)> {
        let (_, table) = self.tables.get_index(id.set.table as usize)?;
        let (_, set) = table.sets.get_index(id.set.set as usize)?;
        set.elements.get_index(id.element as usize)
    }

    /// The names of a table and a set of it.
    pub(super) fn set_name(&self, id: SetId) -> Option<(&(TableFamily, Name), &Name)> {
        let (name, table) = self.tables.get_index(id.table as usize)?;
        let (set, _) = table.sets.get_index(id.set as usize)?;
        Some((name, set))
    }

    /// The set of those names.
    pub(super) fn set_id(&self, table: &(TableFamily, Name), set: &Name) -> Option<SetId> {
        let (index, _, found) = self.tables.get_full(table)?;
        Some(SetId {
            table: u32::try_from(index).ok()?,
            set: u32::try_from(found.sets.get_index_of(set)?).ok()?,
        })
    }

    /// A rule's name for people and tests: `ip kube-proxy/services/1`.
    #[must_use]
    pub fn label(&self, id: RuleId) -> String {
        let found = self.tables.get_index(id.table as usize);
        let chain = found.and_then(|(_, table)| Some((table, table.chain(id.chain)?)));
        match chain {
            Some((table, chain)) => format!(
                "{} {}/{}/{}",
                table.family, table.name, chain.name, id.number
            ),
            None => format!("?/?/{}", id.number),
        }
    }
}
