//! Weave Net's address space: a ring of ranges that the peers own, and what each has given of its own.
//!
//! There is no server: the peers agree once who owns what, then each gives addresses of its own
//! ranges without asking, and asks another for a piece only when it has none left.
//!
//! # Map
//! - [`Ring`]: who owns which range, as every peer knows it; [`Ring::merge`] takes in another's view.
//! - [`Space`]: the addresses of one peer, given and free, and what it gives away when asked.
//! - [`Mesh`]: all peers of a network whose gossip has arrived.
//! - [`HttpAnswer`]: what a peer's HTTP interface, which the CNI plugin talks to, answers.
//!
//! # Departures
//! - The peer that is asked for space is drawn by a number that the caller gives ([`Mesh::donors`]);
//!   the real one draws by the clock, weighted in the same way.
//! - [`Mesh`] keeps one ring for all its peers, which is what their rings are once gossip has arrived.
//!   Two halves of a network that could not talk are two meshes, and [`Ring::merge`] says what happens
//!   when they meet.
//!
//! # Sources
//! ipam/{ring/ring,ring/entry,space/space,allocator,allocate,claim,http}.go and net/address/address.go of
//! weaveworks/weave 2.8.

mod http;
mod merge;
mod mesh;
mod ring;
mod space;
mod span;
#[cfg(test)]
mod tests;

pub use http::HttpAnswer;
pub use merge::MergeError;
pub use mesh::{AllocateError, ClaimError, Mesh, MeshError};
pub use ring::{Entry, Ring};
pub use space::Space;
pub use span::Span;
