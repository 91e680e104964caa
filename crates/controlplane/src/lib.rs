//! What kube-proxy and the CNI plugins make of a cluster on each node.

pub mod kube_proxy;
