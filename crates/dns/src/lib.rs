//! CoreDNS: what a Corefile says, what it answers, and what a pod's resolver asks it.
//!
//! # Map
//! - [`corefile`]: a Corefile as data, each plugin with its own settings, or why CoreDNS would not
//!   start with it.
//! - [`lint`]: what in a Corefile is dead, and what it becomes.
//! - [`resolver`]: a pod's resolv.conf, and what its resolver asks for a name.
//! - [`version`]: releases of CoreDNS, and what each understands.

pub mod corefile;
pub mod lint;
pub mod resolver;
pub mod version;
