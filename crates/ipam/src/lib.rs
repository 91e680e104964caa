//! Address spaces: host-local ranges, node podCIDRs, flannel leases.
//!
//! All state is a value in memory: the same requests in the same order give the same addresses.
//!
//! # Map
//! - [`HostLocal`]: the CNI plugin host-local: addresses of pods on one node.
//! - [`NodeCidrs`]: the controller manager's node IPAM: a pod CIDR for each node.
//! - [`FlannelConfig`]: what flannel's own leases would be, without Kubernetes.

mod flannel;
mod host_local;
mod node_ipam;
mod range;

pub use flannel::{FlannelConfig, FlannelError};
pub use host_local::{AddError, Allocation, HostLocal, ImportError};
pub use node_ipam::{NodeCidrError, NodeCidrs};
pub use range::{Range, RangeError, RangeSet, RangeSets, RangeSetsError};
