//! Address spaces: host-local ranges, node podCIDRs, flannel leases.
