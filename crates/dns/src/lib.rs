//! CoreDNS: what a Corefile says, what it answers, and what a pod's resolver asks it.
//!
//! # Map
//! - [`corefile`]: a Corefile as data, each plugin with its own settings, or why CoreDNS would not
//!   start with it.
//! - [`version`]: releases of CoreDNS, and what each understands.

pub mod corefile;
pub mod version;
