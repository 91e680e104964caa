//! What the benchmarks measure: made-up clusters, their rules, packets, and the answers to expect.
//!
//! # Map
//! - [`lookup`]: one node's rules and packets for them (`benches/lookup.rs`).
//! - [`text`]: the same cluster as Kubernetes YAML and JSON, and a model (`benches/load.rs`).

pub mod lookup;
pub mod text;
