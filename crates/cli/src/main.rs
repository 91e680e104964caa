//! The binary `podwire`.
fn main() {}
