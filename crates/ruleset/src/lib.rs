//! Netfilter's rules as data: tables, chains, rules, matches, targets and sets.
//!
//! One typed form for every rule set: the kube-proxy model writes it, `iptables-save` text parses to
//! it ([`iptables::parse`]), printing gives text back that `iptables-restore` accepts
//! ([`iptables::print()`]). What the rules *mean* is defined by `podwire-interp`; this crate holds only
//! what every evaluator must say in the same words: [`RuleId`], [`Verdict`], [`Decision`], and the
//! trait [`Classify`] that evaluators implement.
//!
//! # Map, in reading order
//! - [`RuleSet`], [`Table`], [`Chain`], [`RuleId`]: the containers.
//! - [`Rule`], [`Match`], [`Target`]: a rule.
//! - [`IpSet`]: what `-m set` looks into.
//! - [`Packet`]: what a rule may ask about a packet; [`State`]: what it may ask about the past.
//! - [`Classify`], [`Decision`], [`Effect`]: the answer; [`Choose`], [`Draw`]: chance as an argument.
//! - [`CallGraph`]: which chain calls which; missing chains and loops.
//! - [`iptables`], [`ipset`]: text in and out.
//! - [`ipvs`]: virtual servers, and their text.
//! - [`digits`]: numbers and addresses as text.
//! - [`nft`]: nftables, whose rules have a form of their own.

mod chance;
mod classify;
pub mod digits;
mod graph;
pub mod ipset;
pub mod iptables;
pub mod ipvs;
mod matches;
pub mod nft;
mod packet;
mod rule;
mod rule_ref;
mod set;
mod state;
mod table;
mod target;

pub use chance::{CERTAIN, Choose, Draw, outcomes};
pub use classify::{Classify, Decision, Effect, NatKind, Observe, RejectWith, Verdict};
pub use graph::{CallGraph, LinkError};
pub use matches::{
    AddressMatch, AddressTypeMatch, AddressTypes, ConnmarkMatch, ConntrackMatch, CtDirection,
    CtStates, CtStatuses, IcmpTypeMatch, InterfaceMatch, Inv, IprangeMatch, IpvsMatch, L4,
    LimitMatch, MarkMatch, Match, MultiportMatch, MultiportSide, PhysdevMatch, Probability,
    RecentMatch, RecentOperation, SetDirection, SetMatch, StatisticMatch, TcpFlagsMatch,
};
pub use packet::{AddressType, ConntrackInfo, CtState, HostAddresses, IpvsInfo, Packet};
pub use rule::{Counters, Origin, Rule};
pub use rule_ref::{BaseChainRef, RuleRef};
pub use set::{Element, Elements, IpSet, KeyPart, SetEntry, SetKind, SetPart, Sets};
pub use state::{LimitState, RecentEntry, RecentList, State};
pub use table::{
    BuiltIn, Chain, ChainId, ChainName, Hook, Policy, RuleId, RuleSet, Table, TableName,
};
pub use target::{
    ChecksumTarget, ConnmarkTarget, LogTarget, MssTarget, NatRange, NflogTarget, Target,
};
