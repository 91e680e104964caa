//! Questions about whole clusters.
//!
//! Clusters go in; a [`Diff`] comes out: every class of packet that they, or kube-proxy's modes, treat
//! differently, with a packet that shows it. Or objects and the rules of a real node go in, and
//! findings with stable codes come out ([`node_dump`]). Called by `cli`; sends packets with `podwire-sim`.
//!
//! ```
//! use podwire_analysis::{Diff, Side};
//! use podwire_cluster::Cluster;
//! use podwire_sim::Options;
//!
//! let cluster = Cluster::default();
//! let sides = ["iptables", "nftables"].map(|mode| Side::in_mode(&cluster, mode));
//! let diff = Diff::of(&sides, &Options::default()).unwrap();
//! assert!(diff.is_empty());
//! ```
//!
//! # Map, in reading order
//! - [`Diff::of`], in `diff`: packets are made, sent on every side and compared.
//! - [`Probe`], in `diff/probe`: which packets.
//! - [`Outcome`], in `diff/outcome`: what became of one, and when two outcomes are the same.
//! - [`Reason`], in `diff/reason`: why modes differ, where that is known.
//! - [`Class`], in `diff/class`: packets that differ alike.
//! - [`node_dump`]: the rules of a real node beside those that the objects call for.
//!
//! # Departures
//! - Every packet is the first of a flow. Of a Service with `sessionAffinity` a second flow of the client is
//!   sent, to the same address at the same moment; what timeouts and connections of earlier states do is not
//!   compared.
//! - Of nodes that are alike (their own addresses, zone, and which Services have which kind of endpoint
//!   there) one is asked for all; so is one pod, and one host outside, of those that no rule tells apart.
//!   A packet to a node's address comes from that node and from one other.
//! - Node ports are tried on the addresses that a Node or the model lists, on the pod bridge's and on
//!   loopback, not on those of overlays.
//! - A load balancer's own address as a source is not tried, nor are pods of other nodes through the rules
//!   of a node that they do not pass.
//! - Ports that no Service has count only where a packet to them arrives: [`Diff::unserved`].

mod diff;
pub mod node_dump;

pub use diff::{
    Change, Class, DestinationKind, Diff, End, Fate, Outcome, PortFacts, Probe, Reason, Refused,
    SenderKind, Side, SourceSeen,
};
