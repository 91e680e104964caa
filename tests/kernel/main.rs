//! podwire against the kernel, rule by rule.
//!
//! A node's rules are loaded into a namespace that is wired as podwire wires the node, real packets are
//! sent, and the kernel's own trace and connection table are compared with what podwire says of the
//! same packets. Where the kernel leaves something to chance podwire gives every outcome, and one of
//! them must be the kernel's.

mod accepted;
mod agreement;
mod generated;
mod lab;
mod nodes;
mod probes;
mod tools;
mod wiring;
