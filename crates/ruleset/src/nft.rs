//! nftables: rule sets as data.
//!
//! nftables has one engine where iptables has a module for every test: a rule is a list of
//! [`Statement`]s, run from left to right, and a packet that fails a [`Match`] leaves the rule there.
//! Most of what is tested is an [`Expression`] compared with values, or looked up in a [`Set`].
//!
//! What podwire does not evaluate is kept as it was written ([`Statement::Unknown`],
//! [`RuleSet::others`]); an answer that depends on it says so.
//!
//! # Map, in reading order
//! - [`RuleSet`], [`Table`], [`Chain`], [`BaseChain`]: the containers; [`Name`] names them.
//! - [`Rule`], [`Statement`], [`Match`], [`Verdict`]: a rule.
//! - [`Expression`]: what a statement reads from the packet; [`Value`], [`Span`], [`Key`]: what that is
//!   compared with.
//! - [`Set`], [`Element`], [`Lookup`]: sets, maps and verdict maps.
//! - [`Decision`], [`Effect`], [`State`]: what evaluators answer, and what rules remember.
//! - [`check`], [`call_graph`]: which chain calls which; what the kernel would refuse.
//! - [`parse()`], [`parse_json`]: text in; [`ParseError`] says what can be wrong.
//! - [`print()`], [`rule_text`], [`Commands`], [`Listing`]: text, in one of two [`Wording`]s.
//!
//! # Departures
//! - Tables of the families `arp`, `bridge` and `netdev` are text.
//! - A comparison with `<`, `<=`, `>` or `>=` is held, and printed, as a range.
//! - `iif` and `oif`, which the kernel keeps as the number of a device, are names here.
//! - Names of services (`tcp dport ssh`), variables (`define`), `include`, `insert` and `replace` are
//!   refused.
//! - The JSON of nft 1.0.6 leaves things out (the flag `dynamic`, comments of tables and chains), and so
//!   does what is read from it. Statements that podwire does not know stay JSON in the text form.
//! - An unknown statement is taken to end before the next verdict, translation, `reject`, `counter`,
//!   `limit` or `log`: tests behind it in the same rule are part of it.
//!
//! # Sources
//! nft(8) of nftables 1.0.6; Linux: net/netfilter/nf_tables_api.c, nft_*.c.

mod canonical;
mod classify;
mod expression;
mod graph;
mod json;
mod name;
mod parse;
mod print;
mod rule;
mod set;
mod state;
mod statement;
mod table;
mod value;
mod words;

pub use classify::{
    BaseChainId, Decision, Effect, ElementId, HookedChain, Observe, SetId, StatementId,
};
pub use expression::{CtKey, Expression, FibResult, FibSelectors, MetaKey, NumgenMode, Payload};
pub use graph::{LinkError, Referrer, call_graph, check};
pub use json::parse_json;
pub use name::{Name, NameError};
pub use parse::{ParseError, Parsed, parse};
pub use print::{Commands, Listing, Wording, print, rule_text};
pub use rule::{Rule, RuleId};
pub use set::{DataType, Element, Lookup, MapValue, Set, SetFlags};
pub use state::{Presence, State};
pub use statement::{
    Limit, MarkField, Match, Nat, NatMap, Operand, SetMark, SetOperation, SetStatement, Statement,
    Verdict,
};
pub use table::{BaseChain, Chain, ChainKind, RuleSet, Table, TableFamily};
pub use value::{Key, Span, Value};
