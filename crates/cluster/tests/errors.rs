//! What is wrong with an input, told to people: `tests/errors/NAME/input.*` and the exact
//! `message.txt`. `PODWIRE_BLESS=1` writes the messages anew.

use std::path::{Path, PathBuf};

use podwire_cluster::{Input, load};

#[test]
fn every_faulty_input_gets_its_message() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    let mut cases: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    let mut differing = Vec::new();
    for case in cases {
        let file = std::fs::read_dir(&case)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.file_stem().is_some_and(|stem| stem == "input"))
            .unwrap();
        let input = Input {
            path: PathBuf::from(file.file_name().unwrap()),
            text: std::fs::read_to_string(&file).unwrap(),
        };
        let errors = load(vec![input]).unwrap_err();
        let mut message = errors.to_string();
        for error in &errors.errors {
            assert!(error.code().starts_with("podwire::cluster::"), "{error:?}");
            assert!(error.place.line > 0 && error.place.column > 0, "{error:?}");
        }
        message.push('\n');
        let golden = case.join("message.txt");
        if std::env::var_os("PODWIRE_BLESS").is_some() {
            std::fs::write(&golden, &message).unwrap();
        }
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        if message != wanted {
            differing.push(format!("{}:\n{message}", case.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
