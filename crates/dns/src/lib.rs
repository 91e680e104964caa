//! CoreDNS: what a Corefile says, what it answers, and what a pod's resolver asks it.
//!
//! # Map
//! - [`corefile`]: a Corefile as data, each plugin with its own settings, or why CoreDNS would not
//!   start with it.
//! - [`lint`]: what in a Corefile is dead, and what it becomes.
//! - [`resolver`]: a pod's resolv.conf, and what its resolver asks for a name.
//! - [`version`]: releases of CoreDNS, and what each understands.
//! - [`records`]: the names of a cluster; [`zone`]: those of a master file.
//! - [`chain`]: a [`Server`]: its blocks, and the plugins that a question meets in turn.
//!   [`Server::answer`] is the hot function.
//! - [`message`]: questions and answers, and their bytes.
//! - [`serve`]: a server on a socket.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "types and data of records are enums of another crate, of dozens of variants and more to come"
)]

pub mod chain;
pub mod corefile;
pub mod lint;
pub mod message;
mod plugin;
pub mod records;
pub mod resolver;
pub mod serve;
pub mod version;
pub mod zone;

pub use chain::{Behaviour, Server, Setup, SetupError, World};
