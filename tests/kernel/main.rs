//! podwire against the kernel, rule by rule.
//!
//! A node's rules are loaded into a namespace that is wired as podwire wires the node, real packets are
//! sent, and the kernel's own trace and connection table are compared with what podwire says of the
//! same packets. Where the kernel leaves something to chance podwire gives every outcome, and one of
//! them must be the kernel's.
//!
//! `cni` is a lane of its own: the real CNI plugins run beside podwire's.

mod accepted;
mod agreement;
mod cni;
mod generated;
mod lab;
mod nodes;
mod policies;
mod probes;
mod tools;
mod wiring;
