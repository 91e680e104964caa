//! The text of `iptables-save` and `iptables-restore`.
//!
//! [`parse()`] reads it, [`print()`] writes it. Both keep what podwire does not evaluate: an unknown
//! match module or target becomes [`Match::Unknown`](crate::Match::Unknown) or
//! [`Target::Unknown`](crate::Target::Unknown) with its words, and [`Parsed::unknown`] says where
//! it stood.
//!
//! # Map
//! - [`parse()`] for `iptables-save`, [`restore`] for texts that change rules, [`parse_listing`] for
//!   `iptables -S`.
//! - [`read_into`]: rules handed to a [`Sink`] as they are read, for text that memory cannot hold.
//! - [`ParseError`]: what can be wrong, and where; [`line_column`] turns a place into line and column.
//! - [`print()`], [`write_rule`]: text in one of two [`Wording`]s.
//!
//! # Departures
//! - Service names (`--dport http`) are refused: the answer would depend on `/etc/services`.
//! - Host names in `-s` and `-d` are refused: the answer would depend on DNS.
//! - Options must be written in full; `iptables` also takes any unique beginning of one.
//! - A word that begins with a single quote ends at the next one, as in a shell; `iptables-restore`
//!   takes single quotes as they are, and its own output never begins a word with one.
//! - `--opt=value`, `-s1.2.3.4` and `! ` behind the option are read wherever they stand;
//!   `iptables` 1.8.9 takes each of them in some places only.
//! - `-D`, `-R`, `-E` and `-Z` are refused; `iptables-save` never writes them.
//! - One line makes at most [`MAX_RULES_OF_A_LINE`] rules.
//!
//! # Sources
//! iptables 1.8.9: iptables/xtables-restore.c, libxtables/xtables.c, extensions/*.c;
//! iptables-extensions(8).

pub(crate) mod address;
mod command;
mod error;
pub(crate) mod lex;
mod link;
mod matches;
mod open;
mod options;
mod parse;
mod print;
mod rule;
mod stream;
mod targets;

pub use error::{ParseError, line_column};
pub use parse::{Parsed, UnknownOption, parse, parse_listing, restore};
pub use print::{Wording, print, print_with_counters, rule_text, write_rule};
pub use rule::MAX_RULES_OF_A_LINE;
pub use stream::{MAX_LINE, ReadError, Sink, read_into};
