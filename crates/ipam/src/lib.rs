//! Address spaces: host-local ranges, node podCIDRs, flannel leases, Weave's ring.
//!
//! All state is a value in memory: the same requests in the same order give the same addresses.
//!
//! # Map
//! - [`HostLocal`]: the CNI plugin host-local: addresses of pods on one node.
//! - [`NodeCidrs`]: the controller manager's node IPAM: a pod CIDR for each node.
//! - [`FlannelConfig`]: what flannel's own leases would be, without Kubernetes.
//! - [`weave`]: the ring of ranges that Weave Net's peers own.

mod flannel;
mod host_local;
mod node_ipam;
mod range;
pub mod weave;

pub use flannel::{FlannelConfig, FlannelError};
pub use host_local::{AddError, Allocation, HostLocal, ImportError};
pub use node_ipam::{NodeCidrError, NodeCidrs};
pub use range::{Range, RangeError, RangeSet, RangeSets, RangeSetsError};
