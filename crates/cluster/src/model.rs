//! Models: a whole cluster in a screenful of RON.
//!
//! A model says what a person would draw: nodes and their devices, ranges, workloads, services. It is
//! expanded to the same objects that a cluster's dump holds, always in the same way:
//!
//! - Nodes: those listed, then `node_count` ones named `node-1`, `node-2` …. A node without devices has
//!   `eth0` with an address of `node_network`, from its 11th on. Its first device's addresses are its
//!   InternalIPs. Pod CIDRs are parts of the pod ranges in order, /24 (/64 in IPv6) unless
//!   `node_cidr_mask` says otherwise, after those that nodes have fixed.
//! - Workloads: one replica is a pod of the workload's name, more are `NAME-1` to `NAME-n`. Pods go
//!   to nodes in turn, in the order of the model, the turn going on from workload to workload; a workload
//!   with `nodes` has its own turn over those. Labels are `app: NAME` unless said. Addresses are
//!   host-local's: .2 is a node's first pod; those fixed by `ips` are taken before all others.
//! - Services: `default/kubernetes` gets the range's first address and `kube-system/kube-dns` the
//!   tenth, others the dynamic part from its start on, as do node ports (KEP-3070, KEP-3668).
//! - EndpointSlices: `NAME-1`, `NAME-2` …, of at most 100 endpoints; one or more for each family and
//!   each set of resolved target ports, as the EndpointSlice controller makes them.
//! - `policies`: NetworkPolicies with the API's fields in this spelling; `namespace_labels` gives namespaces
//!   the labels that they select by.
//! - Ingresses: those listed, the first the oldest; `repeat` is not for them.
//! - `repeat: n` on a workload or service makes n of it; `{n}` in its texts is the number, and goes
//!   to the end of the name if it is nowhere in it.
//! - kube-proxy's `clusterCIDR` is the pod ranges unless `kube_proxy` says otherwise.

pub(crate) mod at;
mod expand;
mod ingresses;
mod nodes;
mod policies;
mod schema;
mod services;
mod slices;
mod workloads;

pub(crate) use expand::{Expanded, expand};
