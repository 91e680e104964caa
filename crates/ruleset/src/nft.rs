//! nftables' rules as data.

mod classify;
mod state;

pub use classify::{
    ChainId, Decision, Effect, HookedChain, Observe, RuleId, SetId, StatementId, TableId,
};
pub use state::{SetKey, State};
