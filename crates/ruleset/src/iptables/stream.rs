//! The text of `iptables-save` as a stream: rules are handed on as they are read, none is kept.
//!
//! A node of a cluster with a million services has text of more than a gigabyte. What stays in
//! memory here is each chain's name, once, in some 45 bytes.

mod ahead;
mod error;
mod lines;
mod names;
mod reader;

pub use error::ReadError;
pub use lines::MAX_LINE;

use std::io::BufRead;

use podwire_packet::Family;

use self::reader::Reader;
use super::UnknownOption;
use crate::{ChainId, Policy, Rule, RuleId, TableName};

/// Takes a rule set as its text is read.
///
/// Chains and rules have the numbers that they have in the [`RuleSet`](crate::RuleSet) that
/// [`parse()`](super::parse()) makes of the text: a table begins with its built-in chains, in the
/// order of [`TableName::hooks`], and the others follow as they are declared.
pub trait Sink {
    /// Whether rules come with the text of their comments. Without it every comment is empty, and
    /// reading is faster.
    const COMMENTS: bool = true;

    /// There is a chain; `policy` is that of a built-in one.
    ///
    /// As a table opens for the first time, its built-in chains come, with policy ACCEPT. A chain
    /// that is declared comes next in number. A chain that was there comes again if its line says
    /// a policy, maybe another one; it has no rules then if it is not built in.
    fn chain(&mut self, table: TableName, chain: ChainId, name: &str, policy: Option<Policy>);

    /// A rule is appended: its number is one more than that of the rule before in its chain.
    /// `jump` is the chain that its [`Target::Jump`](crate::Target::Jump) or
    /// [`Target::Goto`](crate::Target::Goto) names, a user's chain of the same table that came
    /// before.
    fn rule(&mut self, id: RuleId, rule: &Rule, jump: Option<ChainId>);
}

/// Reads the text of `iptables-save` (for IPv6, of `ip6tables-save`) into `sink`; what is returned
/// are the words that podwire will not evaluate, as in [`Parsed`](super::Parsed).
///
/// # Departures
/// This reader takes less than [`parse()`](super::parse()), though all that `iptables-save` writes:
/// - A chain must be declared before the first rule that jumps to it.
/// - What changes rules that were read before is refused: `-I`, `-F`, `-X`, and `:CHAIN` of a
///   chain that has rules.
/// - A line has [`MAX_LINE`] bytes at most; `iptables-restore` itself takes 10239.
/// - Chains that call each other in a circle are not looked for. Whoever evaluates the rules must.
///
/// # Errors
/// The first [`ReadError`] in the order of the text. The sink has then taken what stands before.
pub fn read_into(
    input: impl BufRead,
    family: Family,
    sink: &mut impl Sink,
) -> Result<Vec<UnknownOption>, ReadError> {
    let mut reader = Reader::new(family, sink);
    reader.read(input)?;
    reader.finish()
}
