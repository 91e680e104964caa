//! One network namespace of a node: links, FIB, hooks, conntrack and NAT.
