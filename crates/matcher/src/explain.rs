//! What the compiler chose for each chain.

use std::fmt;

use podwire_ruleset::{ChainId, TableName};

use crate::at_once::Ranges;
use crate::fields::Fields;
use crate::program::{Block, Program};
use crate::{Matcher, Tables};

/// What a chain became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainPlan {
    /// The table.
    pub table: TableName,
    /// The chain.
    pub chain: ChainId,
    /// Its parts, in order; none of an empty chain.
    pub blocks: Vec<BlockPlan>,
}

/// What a run of rules became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockPlan {
    /// Rules asked one by one.
    List {
        /// How many.
        rules: u32,
        /// How many of them jump to a chain that is one choice.
        folded: usize,
    },
    /// A table by destination, protocol and port, of one probe.
    Services {
        /// Whether the destination counts; a table of NodePorts goes without.
        by_destination: bool,
        /// How many rules.
        rules: u32,
        /// How many keys.
        keys: usize,
        /// How many of them are answered by the entry alone.
        at_once: usize,
        /// How many lead to a choice that stands elsewhere.
        folded: usize,
        /// Bytes of the table.
        bytes: usize,
    },
    /// Decision trees over prefixes and ranges.
    Ranges {
        /// How many rules.
        rules: usize,
        /// How many of them jump to a chain that is one choice.
        folded: usize,
        /// How many trees.
        trees: usize,
        /// Rules that a packet is compared with at most, eight at a time.
        most_tested: usize,
        /// Bytes of the trees.
        bytes: usize,
    },
    /// Hash tables, one for each kind of rule, a probe each.
    Hashed {
        /// How many rules.
        rules: usize,
        /// How many of them jump to a chain that is one choice.
        folded: usize,
        /// What each kind compares, and how many rules are of it.
        kinds: Vec<(String, usize)>,
    },
}

impl BlockPlan {
    /// How many rules it is of.
    #[must_use]
    pub fn rules(&self) -> usize {
        match self {
            Self::List { rules, .. } | Self::Services { rules, .. } => *rules as usize,
            Self::Hashed { rules, .. } | Self::Ranges { rules, .. } => *rules,
        }
    }

    /// How many keys or rules lead to one choice, wherever it stands.
    #[must_use]
    pub const fn folded(&self) -> usize {
        match self {
            Self::List { folded, .. }
            | Self::Hashed { folded, .. }
            | Self::Ranges { folded, .. } => *folded,
            Self::Services {
                at_once, folded, ..
            } => *at_once + *folded,
        }
    }
}

impl fmt::Display for BlockPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folded = |f: &mut fmt::Formatter<'_>, folded: usize| match folded {
            0 => Ok(()),
            _ => write!(f, ", {folded} lead to one choice"),
        };
        match self {
            Self::List { rules, folded: of } => {
                write!(f, "list of {rules}, asked one by one")?;
                folded(f, *of)
            }
            Self::Services {
                by_destination,
                rules,
                keys,
                at_once,
                folded: of,
                bytes,
            } => {
                let destination = if *by_destination { "destination, " } else { "" };
                write!(
                    f,
                    "table of {rules} by {destination}protocol and port: {keys} keys, {bytes} bytes, one probe; {at_once} answered at once"
                )?;
                folded(f, *of)
            }
            Self::Ranges {
                rules,
                folded: of,
                trees,
                most_tested,
                bytes,
            } => {
                write!(
                    f,
                    "{trees} trees of {rules} by ranges: {bytes} bytes, at most {most_tested} compared"
                )?;
                folded(f, *of)
            }
            Self::Hashed {
                rules,
                folded: of,
                kinds,
            } => {
                write!(f, "hash tables of {rules}:")?;
                for (number, (fields, rules)) in kinds.iter().enumerate() {
                    let comma = if number == 0 { "" } else { "," };
                    write!(f, "{comma} {rules} by {fields}")?;
                }
                folded(f, *of)
            }
        }
    }
}

impl Matcher {
    /// What the compiler chose for each chain, table by table.
    #[must_use]
    pub fn plan(&self) -> Vec<ChainPlan> {
        match &self.tables {
            Tables::Ipv4(of) => of.iter().flatten().flat_map(Program::explain).collect(),
            Tables::Ipv6(of) => of.iter().flatten().flat_map(Program::explain).collect(),
        }
    }
}

impl<F: Fields> Program<F> {
    pub(crate) fn explain(&self) -> Vec<ChainPlan> {
        let chains = (0..).map(ChainId).zip(&self.chains);
        chains
            .map(|(id, chain)| ChainPlan {
                table: self.table,
                chain: id,
                blocks: match chain.plan.checked_sub(1) {
                    None if chain.len == 0 => Vec::new(),
                    None => vec![self.explain_list(chain.first, chain.first + chain.len)],
                    Some(plan) => self.plans[plan as usize]
                        .iter()
                        .map(|block| self.explain_block(block))
                        .collect(),
                },
            })
            .collect()
    }

    fn explain_list(&self, first: u32, end: u32) -> BlockPlan {
        BlockPlan::List {
            rules: end - first,
            folded: self.folded_of(first..end),
        }
    }

    fn folded_of(&self, places: impl Iterator<Item = u32>) -> usize {
        places
            .filter(|&place| self.rules[place as usize].fold != 0)
            .count()
    }

    fn explain_block(&self, block: &Block<F>) -> BlockPlan {
        match block {
            Block::List(first, end) => self.explain_list(*first, *end),
            Block::Dispatch(table) => {
                let table = &self.tables[*table as usize];
                let counts = table.counts();
                BlockPlan::Services {
                    by_destination: !table.is_of_ports,
                    rules: table.end - table.first,
                    keys: counts.keys,
                    at_once: counts.at_once,
                    folded: counts.folded,
                    bytes: table.bytes(),
                }
            }
            Block::Ranges(Ranges { first, boxes, .. }) => {
                let shape = boxes.shape();
                BlockPlan::Ranges {
                    rules: shape.rules,
                    folded: self.folded_of(*first..*first + boxes.len()),
                    trees: shape.trees,
                    most_tested: shape.most_tested,
                    bytes: boxes.bytes(),
                }
            }
            Block::Hashed(space) => BlockPlan::Hashed {
                rules: space.places().count(),
                folded: self.folded_of(space.places()),
                kinds: space
                    .kinds()
                    .map(|(mask, rules)| (mask.described(), rules))
                    .collect(),
            },
        }
    }
}
