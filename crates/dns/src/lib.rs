//! CoreDNS: what a Corefile says, what it answers, and what a pod's resolver asks it.
//!
//! # Map
//! - [`corefile`]: a Corefile as data, each plugin with its own settings.

pub mod corefile;
