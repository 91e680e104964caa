//! What the repository says of itself is true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use podwire_tests::root;
use serde_json::Value;

/// Which of our crates each of our crates depends on, tests and builds apart, by their short names.
fn arrows_of_the_code() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        cargo.status.success(),
        "{}",
        String::from_utf8_lossy(&cargo.stderr)
    );
    let metadata: Value =
        serde_json::from_slice(&cargo.stdout).expect("cargo metadata prints JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let short = |name: &str| match name {
        "podwire" => "cli".to_owned(),
        name => name.trim_start_matches("podwire-").to_owned(),
    };
    let packages = metadata["packages"].as_array().expect("packages is a list");
    let in_crates = packages
        .iter()
        .filter(|package| text(&package["manifest_path"]).contains("/crates/"));
    in_crates
        .map(|package| {
            let dependencies = package["dependencies"]
                .as_array()
                .expect("dependencies is a list");
            // A normal dependency has no kind.
            let normal = dependencies
                .iter()
                .filter(|dependency| dependency["kind"].is_null());
            let names = normal.map(|dependency| text(&dependency["name"]));
            let ours = names.filter(|name| name.starts_with("podwire"));
            (
                short(&text(&package["name"])),
                ours.map(|name| short(&name)).collect(),
            )
        })
        .collect()
}

/// The block of ARCHITECTURE.md that begins with three backticks and `arrows`.
fn arrows_of_the_drawing() -> BTreeMap<String, BTreeSet<String>> {
    let page =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let block = page
        .split("```arrows\n")
        .nth(1)
        .expect("ARCHITECTURE.md draws arrows");
    let block = block.split("```").next().unwrap_or_default();
    let line = |line: &str| {
        let (from, to) = line
            .split_once("->")
            .unwrap_or_else(|| panic!("no arrow in `{line}`"));
        (
            from.trim().to_owned(),
            to.split_whitespace().map(str::to_owned).collect(),
        )
    };
    block
        .lines()
        .filter(|l| !l.trim().is_empty())
        .map(line)
        .collect()
}

#[test]
fn the_arrows_between_crates_are_those_of_architecture_md() {
    assert_eq!(arrows_of_the_code(), arrows_of_the_drawing());
}

#[test]
fn every_model_says_in_three_lines_what_it_shows() {
    let models = ["models", "models/events"]
        .into_iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).expect("the folder is there"))
        .flatten();
    let models: Vec<_> = models
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "ron"))
        .collect();
    assert!(!models.is_empty());
    for path in models {
        let text = fs::read_to_string(&path).expect("a model is text");
        let comments = text
            .lines()
            .take(3)
            .filter(|line| line.starts_with("//"))
            .count();
        assert_eq!(comments, 3, "{}", path.display());
    }
}
