//! Requests through Ingresses: real answers of nginx, what controllers do otherwise, and laws.

mod controllers;
mod laws;
mod routes;

use std::path::PathBuf;

use podwire_cluster::{Cluster, Input, load};

/// The cluster of a text.
fn cluster(texts: &[&str]) -> Cluster {
    let input = |(n, text): (usize, &&str)| Input {
        path: PathBuf::from(format!("input-{n}")),
        text: (*text).to_owned(),
    };
    load(texts.iter().enumerate().map(input).collect()).unwrap_or_else(|errors| panic!("{errors}"))
}
