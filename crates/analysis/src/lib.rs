//! What is wrong, where, and what it does to traffic: findings about a cluster and its nodes.
//!
//! Objects go in; findings with stable codes come out, each with its object and the place that shows it.
//!
//! # Map
//! - [`node_dump`]: the rules of a real node beside those that the objects call for.

pub mod node_dump;
