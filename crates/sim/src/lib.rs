//! The cluster as a graph of namespaces, and the walk of a packet through it.
