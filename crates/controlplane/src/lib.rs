//! What kube-proxy and the CNI plugins make of a cluster on each node.
//!
//! A cluster's objects go in; rules for the node's tables, and what else the component sets up there,
//! come out. Nothing here looks at a packet.
//!
//! # Map
//! - [`kube_proxy`]: services and their endpoints become rules.

pub mod kube_proxy;
