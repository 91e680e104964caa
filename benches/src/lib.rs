//! What the benchmarks measure: made-up clusters, their rules, packets, and the answers to expect.
//!
//! # Map
//! - [`lookup`]: one node's rules and packets for them (`benches/lookup.rs`).
//! - [`policy`]: chains like access lists, and packets for them; [`peers`]: the files from which
//!   podwire and other programs are asked the same (`benches/peers/`).
//! - [`names`]: a CoreDNS over made-up Services, and questions for it (`benches/dns.rs`, `examples/dns.rs`).
//! - [`gate`]: operations whose instructions are counted (`examples/gate.rs`, `baseline.json`).
//! - [`sync`]: the cluster on which syncs of kube-proxy are measured (`examples/sync.rs`).
//! - [`fleet`]: clusters of many nodes (`examples/fleet.rs`).
//! - [`text`]: the same cluster as Kubernetes YAML and JSON, and a model (`benches/load.rs`).

pub mod fleet;
pub mod gate;
pub mod lookup;
pub mod names;
pub mod peers;
pub mod policy;
pub mod sync;
pub mod text;
