//! What the tests that span crates share: the repository's own files, and what holds of any input.

pub mod fuzz;
pub mod random_cluster;

use std::path::{Path, PathBuf};

use podwire_cluster::{Cluster, load, read_inputs};

/// The root of the repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// The folder of a golden case of kube-proxy, by its number.
///
/// # Panics
/// When there is no such case.
#[must_use]
pub fn golden_case(number: &str) -> PathBuf {
    let cases = root().join("tests/golden/kube-proxy");
    let mut folders = std::fs::read_dir(&cases)
        .expect("tests/golden/kube-proxy is there")
        .flatten();
    let found = folders.find(|folder| {
        folder
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{number}-"))
    });
    found
        .unwrap_or_else(|| panic!("no case {number} in {}", cases.display()))
        .path()
}

/// The cluster of a golden case, configuration included.
///
/// # Panics
/// When it does not load.
#[must_use]
pub fn golden_cluster(number: &str) -> Cluster {
    let folder = golden_case(number);
    let inputs = read_inputs(&[folder.join("objects.yaml"), folder.join("config.yaml")]);
    let inputs = inputs.unwrap_or_else(|error| panic!("{error}"));
    load(inputs).unwrap_or_else(|errors| panic!("{errors}"))
}
