//! Whatever the bytes, reading ends in a cluster or in errors with places.

use std::path::Path;

use podwire_cluster::{Cluster, Input, KubeProxyConfiguration, load, read_events};
use proptest::prelude::*;

fn read(text: String) {
    let lines = u32::try_from(text.lines().count().max(1) + 1).expect("few lines");
    let path = "input".into();
    match load(vec![Input { path, text }]) {
        Ok(cluster) => drop(cluster),
        Err(errors) => {
            assert!(!errors.errors.is_empty());
            for error in errors.errors {
                assert!(error.place.line >= 1 && error.place.column >= 1, "{error}");
                assert!(error.place.line <= lines, "{error}");
            }
        }
    }
}

/// Reads events that happen to no cluster.
fn read_as_events(text: &str) {
    let path = Path::new("models/events/input.ron");
    if let Err(errors) = read_events(path, text, Some(Cluster::default())) {
        assert!(!errors.errors.is_empty());
        for error in errors.errors {
            assert!(error.place.line >= 1 && error.place.column >= 1, "{error}");
        }
    }
}

/// Real inputs of all three languages.
fn seeds() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    [
        "tests/golden/110-odd-slices/objects.yaml",
        "tests/errors/port-is-a-word-json/input.json",
        "tests/errors/bad-configuration/input.yaml",
        "tests/errors/ingress/input.yaml",
        "tests/errors/ingress-json/input.json",
        "../../models/two-node.ron",
        "tests/errors/policy-faults/input.yaml",
        "../../models/policies.ron",
        "../../models/external.ron",
        "../../models/ingress-quiz.ron",
        "../../models/events/endpoints-0-n.ron",
    ]
    .map(|file| std::fs::read_to_string(root.join(file)).expect("a seed"))
    .into()
}

/// A seed with a piece cut out and another text in its place.
fn mutated() -> impl Strategy<Value = String> {
    let seed = prop::sample::select(seeds());
    (seed, any::<prop::sample::Index>(), 0..40_usize, ".{0,6}").prop_map(|(seed, at, cut, put)| {
        let mut chars: Vec<char> = seed.chars().collect();
        let from = at.index(chars.len());
        let to = (from + cut).min(chars.len());
        chars.splice(from..to, put.chars());
        chars.into_iter().collect()
    })
}

/// A seed that ends early.
fn cut_off() -> impl Strategy<Value = String> {
    let seed = prop::sample::select(seeds());
    (seed, any::<prop::sample::Index>()).prop_map(|(seed, at)| {
        let chars = seed.chars().count();
        seed.chars().take(at.index(chars)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Failures are kept as tests of their own.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn arbitrary_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(String::from_utf8_lossy(&bytes).into_owned());
    }

    #[test]
    fn arbitrary_words_of_the_languages_are_read(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "apiVersion: v1\n", "kind: ", "List\n", "items:\n", "- ", "  ", "\n", "---\n", "{", "}",
                "[", "]", ",", ":", "\"", "kind", "Pod", "metadata:", "name: a\n", "&a ", "*a", "<<: ",
                "(", ")", "Cluster(", "nodes", "services", "1", "~", "null", "!!str ", "|\n", "%YAML",
                "\"kind\":\"List\"", "\"items\":", "#", "//", "/*", "...\n", "\t", "Some(", "name:",
            ]),
            0..40,
        ),
    ) {
        let text = words.concat();
        read_as_events(&text);
        read(text);
    }

    #[test]
    fn mutated_inputs_are_read(text in mutated()) {
        read_as_events(&text);
        read(text);
    }

    #[test]
    fn inputs_that_end_early_are_read(text in cut_off()) {
        read_as_events(&text);
        read(text);
    }

    #[test]
    fn any_field_can_be_tried(field in "[a-zA-Z.]{0,30}", value in ".{0,20}") {
        let mut config = KubeProxyConfiguration::default();
        if let Err(error) = config.set(&field, &value) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [
        ("[", "]"),
        ("{\"a\":", "}"),
        ("(", ")"),
        ("- ", ""),
        ("a: {b: ", "}}"),
    ] {
        for depth in [120, 200, 5_000] {
            read(format!("{}1{}", open.repeat(depth), close.repeat(depth)));
            read(format!(
                "{{\"kind\":\"Pod\",\"a\":{}1{}}}",
                open.repeat(depth),
                close.repeat(depth)
            ));
            let list = format!(
                "kind: Pod\nspec: {}1{}\n",
                open.repeat(depth),
                close.repeat(depth)
            );
            read(list);
        }
    }
}
