//! What tests of several crates share; never a normal dependency.
//!
//! # Map
//! - [`kernel`]: network namespaces of the real kernel, its rule trace and its connections.

pub mod kernel;
pub mod policies;
