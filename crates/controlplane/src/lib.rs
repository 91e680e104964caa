//! What the components of a cluster make of its objects on each node.
//!
//! A [`Cluster`](podwire_cluster::Cluster) goes in; namespaces with links, addresses, routes and
//! neighbours come out of [`cni`], and rules out of [`kube_proxy`]. One folder a component.

pub mod cni;
