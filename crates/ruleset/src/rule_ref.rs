//! Rules of a namespace, whichever of the kernel's two rule languages they are in.

use crate::{Hook, RuleId, TableName, nft};

/// A rule of a network namespace.
///
/// [`RuleSet::label`](crate::RuleSet::label) and its counterpart in [`nft`] give it a readable name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleRef {
    /// Of an iptables table.
    Iptables(RuleId),
    /// Of an nftables table.
    Nft(nft::RuleId),
}

impl RuleRef {
    /// Number within its chain, from 1.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Iptables(rule) => rule.number,
            Self::Nft(rule) => rule.number,
        }
    }
}

impl From<RuleId> for RuleRef {
    fn from(rule: RuleId) -> Self {
        Self::Iptables(rule)
    }
}

impl From<nft::RuleId> for RuleRef {
    fn from(rule: nft::RuleId) -> Self {
        Self::Nft(rule)
    }
}

/// A chain that the kernel asks at a hook, and whose policy it follows at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BaseChainRef {
    /// A built-in chain of iptables.
    Iptables {
        /// Its table.
        table: TableName,
        /// Its hook.
        hook: Hook,
    },
    /// A base chain of nftables.
    Nft {
        /// Which.
        chain: nft::BaseChainId,
        /// Its hook.
        hook: Hook,
    },
}

impl BaseChainRef {
    /// Where the kernel asks it.
    #[must_use]
    pub const fn hook(self) -> Hook {
        match self {
            Self::Iptables { hook, .. } | Self::Nft { hook, .. } => hook,
        }
    }
}
