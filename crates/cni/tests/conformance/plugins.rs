//! Calls of single plugins.

use std::fs;

use podwire_cni::{Environment, PluginsVersion};
use serde_json::{Value, json};

use super::{RELEASES, Scratch, ask, blank, cases, files, is_of_go, json, named, state, used};

/// The environment of a step.
fn environment(step: &Value) -> Environment {
    Environment::of(|name| {
        let changed = &step["env_changes"];
        if changed.get(name).is_some() {
            return changed[name].as_str().map(str::to_owned);
        }
        if name == "CNI_PATH" {
            return Some("/opt/cni/bin".to_owned());
        }
        step["env"][name].as_str().map(str::to_owned)
    })
}

/// What the step should give with a release.
fn expected(step: &Value, release: PluginsVersion) -> &Value {
    let of_old = &step["expect_plugins_1.1.1"];
    if release == PluginsVersion::V1_1_1 && !of_old.is_null() {
        of_old
    } else {
        &step["expect"]
    }
}

fn run(case: &Value, release: PluginsVersion) {
    let scratch = Scratch::new();
    let options = scratch.options(release);
    let prior = case["prior_state"].as_object();
    for (name, text) in prior.into_iter().flatten() {
        let path = scratch.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.as_str().unwrap()).unwrap();
    }
    let plugin = case["plugin"].as_str().unwrap();
    let mut added = Value::Null;
    for (number, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        // A text says "the ADD config plus the ADD result as prevResult".
        let conf = if step["stdin"].is_string() {
            added.to_string()
        } else {
            step["stdin"].to_string()
        };
        let conf = step["stdin_text"].as_str().map_or(conf, str::to_owned);
        let reply = ask(plugin, &options, &environment(step), &conf);
        let wanted = expected(step, release);
        let place = format!(
            "{} step {number} of {release}: {}",
            case["id"], reply.stdout
        );
        assert_eq!(json!(u8::from(reply.failed)), wanted["exit"], "{place}");
        let told = json(&reply.stdout);
        if wanted.get("result").is_some() {
            assert_eq!(blank(&told), blank(&wanted["result"]), "{place}");
            if told.get("cniVersion").is_some() && told.get("supportedVersions").is_none() {
                added.clone_from(&step["stdin"]);
                added["prevResult"] = told;
            }
        } else {
            let error = &wanted["error"];
            assert_eq!(told["code"], error["code"], "{place}");
            assert_eq!(told["details"], error["details"], "{place}");
            let text = error["msg"].as_str().unwrap();
            if !is_of_go(text) {
                assert_eq!(named(told["msg"].as_str().unwrap()), text, "{place}");
            }
        }
        if wanted.get("state").is_some() {
            let (found, wanted) = match plugin {
                "host-local" => (files(&scratch.0), wanted["state"].clone()),
                _ => (state(&options), used(&wanted["state"])),
            };
            assert_eq!(found, wanted, "{place}");
        }
    }
}

fn run_all(table: &str, cases_in_it: usize) {
    let mut count = 0;
    for case in cases(table) {
        for release in RELEASES {
            run(&case, release);
        }
        count += 1;
    }
    assert_eq!(count, cases_in_it);
}

#[test]
fn host_local_answers_and_leaves_what_the_real_one_does() {
    run_all(
        include_str!("../../../ipam/tests/data/host_local.jsonl"),
        37,
    );
    run_all(include_str!("../data/host_local.jsonl"), 24);
}

#[test]
fn bridge_loopback_and_static_leave_what_the_real_ones_do() {
    run_all(include_str!("../data/bridge.jsonl"), 20);
}
