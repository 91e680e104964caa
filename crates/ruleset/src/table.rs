//! Rule sets, tables and chains.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use indexmap::IndexMap;
use podwire_packet::Family;

use crate::{Counters, Rule};

/// A place in the kernel's packet path where rules are asked.
///
/// Source: `enum nf_inet_hooks`, include/uapi/linux/netfilter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// A packet came in and is not routed yet.
    Prerouting,
    /// A packet is for a socket of this host.
    Input,
    /// A packet goes through this host.
    Forward,
    /// A packet was made by this host.
    Output,
    /// A packet is about to leave.
    Postrouting,
}

impl Hook {
    /// All of them, in the kernel's order.
    pub const ALL: [Self; 5] = [
        Self::Prerouting,
        Self::Input,
        Self::Forward,
        Self::Output,
        Self::Postrouting,
    ];

    /// Its name in iptables, which is also the name of the built-in chain there.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Hook {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|hook| hook.name() == text)
            .ok_or(())
    }
}

/// An iptables table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableName {
    /// Before connection tracking: NOTRACK, TRACE.
    Raw,
    /// Changes of headers and marks.
    Mangle,
    /// Address translation; asked for the first packet of a flow only.
    Nat,
    /// Accept or drop.
    Filter,
    /// Labels of mandatory access control; after filter.
    Security,
}

impl TableName {
    /// All of them, in the order in which a hook asks them (`enum nf_ip_hook_priorities`,
    /// include/uapi/linux/netfilter_ipv4.h), but that source translation, which is nat at INPUT and
    /// POSTROUTING, has priority 100 and so comes after filter.
    pub const ALL: [Self; 5] = [
        Self::Raw,
        Self::Mangle,
        Self::Nat,
        Self::Filter,
        Self::Security,
    ];

    /// Its name in iptables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Filter => "filter",
            Self::Security => "security",
        }
    }

    /// The hooks at which the table has a built-in chain, in the order of `iptables-save`.
    #[must_use]
    pub const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Raw => &[Hook::Prerouting, Hook::Output],
            Self::Mangle => &Hook::ALL,
            Self::Nat => &[
                Hook::Prerouting,
                Hook::Input,
                Hook::Output,
                Hook::Postrouting,
            ],
            Self::Filter | Self::Security => &[Hook::Input, Hook::Forward, Hook::Output],
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TableName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|table| table.name() == text)
            .ok_or(())
    }
}

/// A chain's name; cheap to copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName(Arc<str>);

impl ChainName {
    /// The longest name in bytes: `XT_EXTENSION_MAXNAMELEN` less the closing zero
    /// (include/uapi/linux/netfilter/x_tables.h).
    pub const MAX: usize = 28;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ChainName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for ChainName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<Hook> for ChainName {
    fn from(hook: Hook) -> Self {
        hook.name().into()
    }
}

impl std::borrow::Borrow<str> for ChainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What becomes of a packet that reaches the end of a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
}

impl Policy {
    /// Its name in iptables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
        }
    }
}

/// What makes a chain a built-in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BuiltIn {
    /// Where the kernel asks it.
    pub hook: Hook,
    /// What happens at its end.
    pub policy: Policy,
}

/// A list of rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Its name, unique in its table.
    pub name: ChainName,
    /// The hook and policy of a built-in chain; `None` for a user's chain, which rules jump to.
    pub built_in: Option<BuiltIn>,
    /// Packets that met the policy, where the text said so.
    pub counters: Counters,
    /// The rules, asked in order.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// An empty user's chain.
    #[must_use]
    pub fn user(name: ChainName) -> Self {
        Self {
            name,
            built_in: None,
            counters: Counters::default(),
            rules: Vec::new(),
        }
    }

    /// An empty built-in chain with policy ACCEPT.
    #[must_use]
    pub fn built_in(hook: Hook) -> Self {
        Self {
            name: hook.into(),
            built_in: Some(BuiltIn {
                hook,
                policy: Policy::Accept,
            }),
            counters: Counters::default(),
            rules: Vec::new(),
        }
    }
}

/// A table: its chains, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Chains by name. The rule sets of many nodes share those that are the same on all of them;
    /// [`chain_mut`](Self::chain_mut) copies a shared one first.
    pub chains: IndexMap<ChainName, Arc<Chain>>,
}

impl Table {
    /// The table as the kernel starts it: its built-in chains, empty, policy ACCEPT.
    #[must_use]
    pub fn with_built_in_chains(name: TableName) -> Self {
        Self {
            chains: name
                .hooks()
                .iter()
                .map(|&hook| (hook.into(), Arc::new(Chain::built_in(hook))))
                .collect(),
        }
    }

    /// The chain of that name, made empty if there was none.
    pub fn chain_mut(&mut self, name: &ChainName) -> &mut Chain {
        let chain = self.chains.entry(name.clone());
        Arc::make_mut(chain.or_insert_with(|| Arc::new(Chain::user(name.clone()))))
    }

    /// The chain at a place, which must be there, to change it.
    ///
    /// # Panics
    /// If there is none.
    pub fn chain_at_mut(&mut self, place: usize) -> &mut Chain {
        Arc::make_mut(&mut self.chains[place])
    }

    /// Where a chain stands in the table.
    #[must_use]
    pub fn chain_id(&self, name: &str) -> Option<ChainId> {
        self.chains.get_index_of(name).map(ChainId::at)
    }

    /// The chain at a place.
    #[must_use]
    pub fn chain(&self, id: ChainId) -> Option<&Chain> {
        self.chains.get_index(id.index()).map(|(_, chain)| &**chain)
    }

    /// The built-in chain that is asked at `hook`.
    #[must_use]
    pub fn at(&self, hook: Hook) -> Option<(ChainId, &Chain)> {
        let (index, _, chain) = self.chains.get_full(hook.name())?;
        // A user's chain may have the name of a hook that the table has not.
        chain.built_in?;
        Some((ChainId::at(index), chain))
    }
}

/// The tables of one family of one network namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSet {
    /// Whose packets it is asked about.
    pub family: Family,
    /// Tables by name, in the order of the text.
    pub tables: IndexMap<TableName, Table>,
}

impl RuleSet {
    /// No tables: every packet is accepted.
    #[must_use]
    pub fn empty(family: Family) -> Self {
        Self {
            family,
            tables: IndexMap::new(),
        }
    }

    /// The table of that name, made with its built-in chains if there was none.
    pub fn table_mut(&mut self, name: TableName) -> &mut Table {
        self.tables
            .entry(name)
            .or_insert_with(|| Table::with_built_in_chains(name))
    }

    /// The rule that an id names.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.tables
            .get(&id.table)?
            .chain(id.chain)?
            .rules
            .get(id.index())
    }

    /// The name of a rule's chain.
    #[must_use]
    pub fn chain_name(&self, id: RuleId) -> Option<&ChainName> {
        Some(&self.tables.get(&id.table)?.chain(id.chain)?.name)
    }

    /// A rule's name for people and tests: `nat/KUBE-SERVICES/3`.
    #[must_use]
    pub fn label(&self, id: RuleId) -> String {
        let chain = self.chain_name(id).map_or("?", ChainName::as_str);
        format!("{}/{chain}/{}", id.table, id.number)
    }

    /// How many rules there are in all tables.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.tables
            .values()
            .flat_map(|table| table.chains.values())
            .map(|chain| chain.rules.len())
            .sum()
    }
}

/// A chain by its place in its [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub u32);

impl ChainId {
    pub(crate) fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("a table has fewer than 2^32 chains"))
    }

    /// The place as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A rule by table, chain and number, as `iptables -L --line-numbers` counts: from 1.
///
/// [`RuleSet::label`] gives it a readable name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// The table.
    pub table: TableName,
    /// The chain.
    pub chain: ChainId,
    /// Number within the chain, from 1.
    pub number: u32,
}

impl RuleId {
    const fn index(self) -> usize {
        (self.number - 1) as usize
    }
}
