//! What the components of a cluster make of its objects on each node.
//!
//! A [`Cluster`](podwire_cluster::Cluster) goes in; namespaces with links, addresses, routes and
//! neighbours come out of [`cni`], and rules out of [`kube_proxy`] and [`network_policy`]. One folder a component.
//!
//! # Map
//! - [`kube_proxy`]: services and their endpoints as rules.
//! - [`cni`]: the pod network: bridge, veth pairs, routes, overlay.
//! - [`network_policy`]: what policies mean, and weave-npc's ipsets and rules.

pub mod cni;
pub mod kube_proxy;
pub mod network_policy;
